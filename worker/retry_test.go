package worker

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"example.com/library/redisconn"

	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
)

func TestAfterAnOutageTheNextOneIsNotWaitedForAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(Config{Outage: redisconn.NewOutage(log.New(io.Discard))}, Inbox{Stream: inboxKey})
		const outage = 20 // tries
		var tries []time.Time
		step := func() error {
			switch tries = append(tries, time.Now()); len(tries) {
			case outage + 1, outage + 3:
				return nil
			}
			return io.EOF
		}
		for range 2 {
			if err := c.succeed(t.Context(), "read", step); err != nil {
				t.Fatal(err)
			}
		}
		if wait := tries[outage].Sub(tries[outage-1]); wait < 500*time.Millisecond {
			t.Errorf("the last wait of the outage was %s, want it to have grown", wait)
		}
		if wait := tries[outage+2].Sub(tries[outage+1]); wait > 30*time.Millisecond {
			t.Errorf("the first wait of the next outage was %s, want 30 ms at most", wait)
		}
	})
}

// Reading new entries is not fenced. Where none come, only the sweep can notice.
func TestAFencedSweepNoticesThatTheNameIsTaken(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		w := newWorker(t, rdb, "worker1")
		if _, err := Take(ctx, rdb, LockConfig{Keys: keys, Name: "worker1", TTL: time.Minute, Force: true, Log: w.Log}); err != nil {
			t.Fatal(err)
		}
		ids := add(t, ctx, rdb, 1)
		give(t, ctx, rdb, "dead")
		w.run(t)
		if err := w.end(t, ctx); !errors.Is(err, ErrTaken) {
			t.Errorf("Run = %v, want an error that wraps ErrTaken", err)
		}
		if got := pending(t, ctx, rdb)["dead"]; got != int64(len(ids)) {
			t.Errorf("%d entries are pending for the dead instance, want %d", got, len(ids))
		}
	})
}
