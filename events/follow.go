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
	last := "$"
	if !since.IsZero() {
		// The last id there can be in the millisecond before.
		last = fmt.Sprintf("%d-%d", max(0, since.UnixMilli()-1), uint64(math.MaxUint64))
	}
	for {
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
			streams, err = rdb.XRead(ctx, &redis.XReadArgs{
				Streams: []string{keys.Events(), last}, Count: 1000, Block: 500 * time.Millisecond,
			}).Result()
			return err
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, redis.Nil):
			continue
		case err != nil:
			return fmt.Errorf("read the log: %w", err)
		}
		for _, message := range streams[0].Messages {
			last = message.ID
			for _, event := range Parse(message) {
				if err := seen(event); err != nil {
					return err
				}
			}
		}
	}
}
