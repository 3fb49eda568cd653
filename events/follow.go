package events

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

// Follow calls seen with every event of a library's log from a moment on, as it
// happens, until ctx is done or seen returns an error, which it returns. A zero since
// means from now on. It carries on by itself after Redis was away; its other errors are
// Redis's.
func Follow(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, since time.Time, seen func(*Event) error) error {
	return FollowUntil(ctx, rdb, keys, since, time.Time{}, seen)
}

// batch is how many entries of the log are read at once.
const batch = 1000

// FollowUntil is Follow up to a moment: it returns nil when that has come and the events
// before it were seen. A zero until means for ever.
func FollowUntil(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, since, until time.Time, seen func(*Event) error) error {
	last := "$"
	if !since.IsZero() {
		// The last id there can be in the millisecond before.
		last = fmt.Sprintf("%d-%d", max(0, since.UnixMilli()-1), uint64(math.MaxUint64))
	}
	for {
		block, over := 500*time.Millisecond, false
		if !until.IsZero() {
			if left := time.Until(until); left < time.Millisecond {
				block, over = -1, true // does not block
			} else {
				block = min(block, left)
			}
		}
		var streams []redis.XStream
		err := redisconn.Retry(ctx, redisconn.Passes, func() (err error) {
			if last == "$" {
				// Between two reads of "$" events would be missed, so it is read once.
				newest, err := rdb.XRevRangeN(ctx, keys.Events(), "+", "-", 1).Result()
				if err != nil {
					return err
				}
				last = "0-0"
				for _, message := range newest {
					last = message.ID
				}
			}
			streams, err = rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{keys.Events(), last}, Count: batch, Block: block}).Result()
			return err
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, redis.Nil) && over:
			return nil
		case errors.Is(err, redis.Nil):
			continue
		case err != nil:
			return fmt.Errorf("read the log: %w", err)
		}
		for _, message := range streams[0].Messages {
			last = message.ID
			for _, event := range Parse(message) {
				if !until.IsZero() && event.Time.After(until) {
					return nil
				}
				if err := seen(event); err != nil {
					return err
				}
			}
		}
		// The clock here may be behind the one that made the ids.
		if !until.IsZero() && len(streams[0].Messages) < batch && !library.EntryTime(last).Before(until) {
			return nil
		}
	}
}
