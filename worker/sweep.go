package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

// sweep looks once through the group for entries that nobody works on: those
// pending for an instance whose lock is gone or does not name this service any
// more, and those pending for this one that it does not have in hand (because it has
// just been started, or a reply was lost). It takes them over and handles them.
// Instances that are gone and have nothing pending are removed from the group.
func (c *consumer) sweep(ctx context.Context) error {
	consumers, err := c.Redis.XInfoConsumers(ctx, c.Stream, c.Service).Result()
	if err != nil {
		return err
	}
	isMe := func(other redis.XInfoConsumer) bool { return other.Name == c.Instance.Name() }
	if !slices.ContainsFunc(consumers, isMe) {
		// Redis would list this instance only once it was given an entry.
		err := c.Redis.XGroupCreateConsumer(ctx, c.Stream, c.Service, c.Instance.Name()).Err()
		if redisconn.IsFull(err) {
			err = redisconn.Insist(ctx, c.Redis, c.Stream, "XGROUP", "CREATECONSUMER", c.Stream, c.Service, c.Instance.Name())
		}
		if err != nil {
			return err
		}
	}
	locks := make([]*redis.StringCmd, len(consumers))
	_, err = c.Redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, other := range consumers {
			locks[i] = pipe.Get(ctx, c.Keys.Instance(other.Name))
			if c.sweeps%boundSweeps == 0 && !isMe(other) {
				boundLock(ctx, pipe.Do, c.Keys.Instance(other.Name))
			}
		}
		c.sweeps++
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	for i, other := range consumers {
		me := isMe(other)
		if !me && Serves(locks[i].Val(), c.Service) {
			continue
		}
		var err error
		if other.Pending > 0 {
			err = c.takeOver(ctx, other.Name)
		} else if !me {
			err = Retire(ctx, c.Redis, c.Keys, c.Stream, c.Service, other.Name)
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// takeOver claims, page after page, all entries of one owner that nobody works on.
func (c *consumer) takeOver(ctx context.Context, owner string) error {
	// One slot does for all pages. A read that waits for new entries may hold the only
	// slot for as long as readBlock, and the take-over would wait for that once a page.
	var slot bool
	var idle time.Duration
	if owner == c.Instance.Name() {
		idle = strayIdle
	}
	for ctx.Err() == nil {
		// What this instance has in hand is left out below, so a page must be larger
		// than that.
		pending, err := c.Redis.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: c.Stream, Group: c.Service, Consumer: owner, Idle: idle,
			Start: "-", End: "+", Count: c.Batch * int64(c.Batches+1),
		}).Result()
		if err != nil {
			return err
		}
		var ids []any
		c.mu.Lock()
		for _, entry := range pending {
			if c.inHand[entry.ID] == nil && len(ids) < int(c.Batch) {
				ids = append(ids, entry.ID)
			}
		}
		c.mu.Unlock()
		if len(ids) == 0 {
			return nil
		}
		if !slot {
			resume := c.sweeping.rests()
			select {
			case <-ctx.Done():
				return nil
			case c.slots <- struct{}{}:
			}
			resume()
			slot = true
			defer func() { <-c.slots }()
		}
		batch, err := c.claim(ctx, owner, ids)
		c.take(batch)
		if err == nil && len(batch) > 0 {
			c.Log.Info("took over pending entries", "stream", c.Stream, "from", library.Plain(owner), "entries", len(batch))
			c.Observer.claimed(c.Stream, len(batch))
			c.sweeping.rests() // the batch is watched by itself
			err = c.handle(ctx, batch)
			c.sweeping.moves(0)
		}
		c.forget(batch)
		if err != nil || len(batch) == 0 {
			return err
		}
	}
	return nil
}

// claim makes entries pending for this instance and returns them. An entry that
// was trimmed away while it was pending is set aside.
func (c *consumer) claim(ctx context.Context, owner string, ids []any) ([]Entry, error) {
	token := c.Instance.Token()
	reply, err := scripts.Claim.Run(ctx, redisconn.Regardless(c.Redis),
		[]string{c.Instance.Key(), c.Keys.Instance(owner), c.Stream, c.Keys.Terms(), c.Keys.Rejected(c.Service), c.Keys.Events()},
		append([]any{token, c.Instance.Name(), owner, c.Service, rejectedMax}, ids...)...).Slice()
	if err != nil {
		return nil, err
	}
	claimed, trimmed := reply[0].([]any), reply[1].([]any)
	c.Observer.rejected(c.Stream, len(trimmed))
	for _, id := range trimmed {
		c.Log.Warn("rejected", "stream", c.Stream, "entry", id, "reason", "it was trimmed away before it was handled")
	}
	batch := make([]Entry, len(claimed))
	for i := range claimed {
		triple := claimed[i].([]any)
		values := triple[2].([]any)
		fields := make(map[string]string, len(values)/2)
		for j := 0; j+1 < len(values); j += 2 {
			fields[values[j].(string)] = values[j+1].(string)
		}
		batch[i] = Entry{ID: triple[0].(string), Fields: fields, Deliveries: triple[1].(int64), Token: token}
	}
	return batch, nil
}
