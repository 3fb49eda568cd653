package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

// ErrNoServer is returned when Redis did not answer at all.
var ErrNoServer = errors.New("no Redis answers")

// A Purpose is what a server is wanted for.
type Purpose struct {
	patience time.Duration // with a server that does not answer
	undone   string        // what to say of what was to be done
}

// The purposes. Who sends something, or waits for what may come, has time: a server
// that is away may come back. Who looks something up can look again, and is told within
// a second.
var (
	ToSend   = Purpose{5 * time.Second, "nothing was sent"}
	ToWait   = Purpose{5 * time.Second, "nothing was changed"}
	ToLookUp = Purpose{700 * time.Millisecond, "this was a look-up, so nothing was changed"}
)

// Reach waits until the server that has a library answers. Its error wraps ErrNoServer
// if it does not in time, or is Redis's.
func Reach(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, purpose Purpose) error {
	ctx, cancel := context.WithTimeout(ctx, purpose.patience)
	defer cancel()
	var telling error // the last that is not just that the time is up
	err := redisconn.Retry(ctx, redisconn.Passes, func() error {
		err := redisconn.Ping(ctx, rdb, keys)
		if telling == nil || ctx.Err() == nil {
			telling = err
		}
		return err
	})
	where := redisconn.Where(rdb)
	switch _, replied := redisconn.Replied(telling); {
	case err == nil:
		return nil
	case !redisconn.Passes(telling):
		return fmt.Errorf("connect to %s: %w", where, telling)
	case replied:
		return fmt.Errorf("the server at %s cannot serve just now: %w; %s", where, telling, purpose.undone)
	default:
		return fmt.Errorf("%w at %s: %w; %s; is it running? --address says where to look", ErrNoServer, where, telling, purpose.undone)
	}
}
