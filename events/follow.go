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

// EntriesMax is how many entries of the log are read at once.
const EntriesMax = 1000

// Now is the position after all that the log has when it is read first.
const Now = "$"

// Before is the position before all that happened from a moment on: the last id there can
// be in the millisecond before.
func Before(moment time.Time) string {
	return fmt.Sprintf("%d-%d", max(0, moment.UnixMilli()-1), uint64(math.MaxUint64))
}

// FollowUntil is Follow up to a moment: it returns nil when that has come and the events
// before it were seen. A zero until means for ever.
func FollowUntil(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, since, until time.Time, seen func(*Event) error) error {
	last := Now
	if !since.IsZero() {
		last = Before(since)
	}
	over := errors.New("over")
	err := followEntries(ctx, rdb, keys, last, until, func(entries []redis.XMessage) error {
		for _, entry := range entries {
			for _, event := range Parse(entry) {
				if !until.IsZero() && event.Time.After(until) {
					return over
				}
				if err := seen(event); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == over {
		return nil
	}
	return err
}

// FollowEntries is Follow for the log's entries after a position, which is the id of one
// or Now: seen is called with those that were read at once.
func FollowEntries(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, last string, seen func([]redis.XMessage) error) error {
	return followEntries(ctx, rdb, keys, last, time.Time{}, seen)
}

func followEntries(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, last string, until time.Time, seen func([]redis.XMessage) error) error {
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
			if last == Now {
				// Between two reads of "$" events would be missed, so it is read once.
				newest, err := Newest(ctx, rdb, keys)
				if err != nil {
					return err
				}
				last = newest
			}
			streams, err = rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{keys.Events(), last}, Count: EntriesMax, Block: block}).Result()
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
		entries := streams[0].Messages
		last = entries[len(entries)-1].ID
		if err := seen(entries); err != nil {
			return err
		}
		// The clock here may be behind the one that made the ids.
		if !until.IsZero() && len(entries) < EntriesMax && !library.EntryTime(last).Before(until) {
			return nil
		}
	}
}

// Newest is the id of the log's last entry; "0-0" if it has none.
func Newest(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (string, error) {
	newest, err := rdb.XRevRangeN(ctx, keys.Events(), "+", "-", 1).Result()
	if err != nil || len(newest) == 0 {
		return "0-0", err
	}
	return newest[0].ID, nil
}
