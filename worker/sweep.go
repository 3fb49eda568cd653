package worker

import (
	"context"
	"errors"
	"iter"
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
		// How much is pending for each, the embedded server does not count exactly.
		err := c.takeOver(ctx, other.Name)
		if err == nil && !me {
			err = Retire(ctx, c.Redis, c.Keys, c.Stream, c.Service, other.Name)
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// takeOver has the entries of one owner handled that nobody works on, one by one. What
// was in hand together when an instance ended is not tried together again, for one of
// it may be what ended the instance.
func (c *consumer) takeOver(ctx context.Context, owner string) error {
	// One slot does for all pages. A read that waits for new entries may hold the only
	// slot for as long as readBlock, and the take-over would wait for that once a page.
	var slot bool
	for page, err := range c.left(ctx, owner) {
		if err != nil {
			return err
		}
		due := slices.DeleteFunc(page, func(pending redis.XPendingExt) bool { return !c.isDue(pending) })
		if len(due) > 0 {
			c.Log.Info("took over pending entries", "stream", c.Stream, "from", library.Plain(owner), "entries", len(due))
		}
		for _, pending := range due {
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
			if err := c.try(ctx, pending); err != nil || ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// left are the entries that an owner left, in pages, each made pending for this instance
// when its turn comes, so that other instances have their share.
func (c *consumer) left(ctx context.Context, owner string) iter.Seq2[[]redis.XPendingExt, error] {
	args := redis.XPendingExtArgs{Stream: c.Stream, Group: c.Service, Consumer: owner, Count: c.Batch}
	if owner == c.Instance.Name() {
		args.Idle = c.strayIdle()
		return redisconn.Pending(ctx, c.Redis, args)
	}
	args.Start, args.End = "-", "+" // again and again: what was adopted is not among them any more
	return func(yield func([]redis.XPendingExt, error) bool) {
		for {
			page, err := c.Redis.XPendingExt(ctx, &args).Result()
			if err == nil && len(page) > 0 {
				page, err = c.adopt(ctx, owner, page)
			}
			if err == nil && len(page) == 0 || !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// strayIdle is how long an entry must have been pending for this instance to count as
// lost sight of: longer than the read under way has taken, which may yet bring it.
func (c *consumer) strayIdle() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading.IsZero() {
		return strayIdleMin
	}
	return strayIdleMin + time.Since(c.reading)
}

// isDue reports whether an entry that is pending for this instance is to be tried now.
func (c *consumer) isDue(pending redis.XPendingExt) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inHand[pending.ID] == nil && (!c.Patient || pending.Idle >= slowPace(pending.RetryCount))
}

// slowPace is how long an entry is left alone that was delivered so often: not at all
// at first, then for a minute, and each time twice as long as before, up to an hour.
func slowPace(deliveries int64) time.Duration {
	if deliveries < deliveriesMax {
		return 0
	}
	return min(time.Hour, time.Minute<<min(deliveries-deliveriesMax, 6))
}

// try handles an entry that is pending for this instance and not in hand, by itself.
func (c *consumer) try(ctx context.Context, pending redis.XPendingExt) error {
	batch := []Entry{{ID: pending.ID, Deliveries: pending.RetryCount + 1, Token: c.Instance.Token()}}
	if batch[0].suspect() {
		resume := c.sweeping.rests()
		select {
		case <-ctx.Done():
			return nil
		case c.Alone <- struct{}{}:
		}
		defer func() { <-c.Alone }()
		resume()
	}
	c.sweeping.rests() // the entry is watched by itself
	c.take(batch)
	defer func() {
		c.forget(batch)
		c.sweeping.moves(0)
	}()
	left, err := c.count(batch, 0)
	if err != nil || len(left) == 0 {
		return fatal(err)
	}
	c.Observer.claimed(c.Stream, 1)
	if !c.Patient && batch[0].Deliveries > looksMax {
		return fatal(c.reject(Reject(batch[0], tooOften)))
	}
	reason, err := c.examine(ctx, &batch[0])
	switch often := batch[0].Deliveries > deliveriesMax; {
	case err != nil && ctx.Err() != nil:
		c.giveBack(batch)
		return nil
	case err != nil:
		return err
	case reason == "" && often && !c.Patient:
		return fatal(c.reject(c.Reject(batch[0], tooOften)))
	case reason == "" && often:
		c.Log.Error("an entry was delivered too often; it is tried again at a slow pace",
			"stream", c.Stream, "entry", pending.ID, "deliveries", batch[0].Deliveries)
	}
	if reason != "" {
		return fatal(c.reject(Reject(batch[0], reason)))
	}
	return c.handle(ctx, batch)
}

// examine reads an entry's fields. It returns a reason to set the entry aside without
// them, if there is one.
func (c *consumer) examine(ctx context.Context, entry *Entry) (reason string, err error) {
	messages, err := c.Redis.XRange(ctx, c.Stream, entry.ID, entry.ID).Result()
	var large *redisconn.LargeReplyError
	switch {
	case errors.As(err, &large):
		return tooLarge(large), nil
	case err == nil && len(messages) == 0:
		return isTrimmed, nil
	case err == nil:
		entry.Fields = newEntry(messages[0], "").Fields
		return "", nil
	}
	looks := int64(looksMax)
	if count, _, _ := redisconn.PageMax(ctx, c.Redis, c.Stream, 2); count == 1 {
		looks = looksLargeMax
	}
	if entry.Deliveries > looks && redisconn.Ping(ctx, c.Redis, c.Keys) == nil {
		return "it cannot be read: " + err.Error(), nil
	}
	return "", err
}

// adopt makes entries of an owner that is gone pending for this instance, and changes
// nothing else: they count as delivered as often, and as long ago. It returns those
// that it was in time for.
func (c *consumer) adopt(ctx context.Context, owner string, page []redis.XPendingExt) ([]redis.XPendingExt, error) {
	var entries []any
	for _, pending := range page {
		entries = append(entries, pending.ID, pending.RetryCount, pending.Idle.Milliseconds())
	}
	ids, err := c.claim(ctx, c.Instance.Token(), owner, entries)
	return slices.DeleteFunc(page, func(pending redis.XPendingExt) bool { return !slices.Contains(ids, pending.ID) }), err
}

// count notes how often the entries in hand were delivered, and some more or less. It
// returns the ids of those that are still pending for this instance. Its error is
// errDropped, or must end the instance.
func (c *consumer) count(batch []Entry, more int64) (left []string, err error) {
	err = c.insist(func(ctx context.Context) (err error) {
		left, err = c.note(ctx, batch, more)
		return err
	})
	if err != nil && !errors.Is(err, errDropped) && !isFatal(err) {
		c.Log.Error("how often an entry was delivered cannot be noted", "stream", c.Stream, "entry", batch[0].ID, "error", library.Plain(err.Error()))
		return nil, errDropped
	}
	return left, err
}

// giveBack notes that what is left of a batch was not finished, though nothing was
// wrong with it: the instance was told to stop. If Redis does not answer now, the
// entries count as delivered once more.
func (c *consumer) giveBack(batch []Entry) {
	ctx, cancel := context.WithTimeout(context.Background(), giveBackPatience)
	defer cancel()
	_, _ = c.note(ctx, batch, -1)
}

func (c *consumer) note(ctx context.Context, batch []Entry, more int64) ([]string, error) {
	var entries []any
	for _, entry := range batch {
		entries = append(entries, entry.ID, entry.Deliveries+more, 0)
	}
	return c.claim(ctx, batch[0].Token, c.Instance.Name(), entries)
}

// claim runs claim.lua on entries, each with how often it counts as delivered then, and
// since how many milliseconds. It returns the ids of those that are pending for this
// instance now. An entry that was trimmed away while it was pending is set aside.
func (c *consumer) claim(ctx context.Context, token, owner string, entries []any) ([]string, error) {
	reply, err := scripts.Claim.Run(ctx, redisconn.Regardless(c.Redis),
		[]string{c.Instance.Key(), c.Keys.Instance(owner), c.Stream, c.Keys.Terms(), c.Keys.Rejected(c.Service), c.Keys.Events()},
		append([]any{token, c.Instance.Name(), owner, c.Service, rejectedMax}, entries...)...).Slice()
	if err != nil {
		return nil, err
	}
	c.Observer.rejected(c.Stream, len(reply[1].([]any)))
	for _, id := range reply[1].([]any) {
		c.Log.Warn("rejected", "stream", c.Stream, "entry", id, "reason", isTrimmed)
	}
	var ids []string
	for _, id := range reply[0].([]any) {
		ids = append(ids, id.(string))
	}
	return ids, nil
}
