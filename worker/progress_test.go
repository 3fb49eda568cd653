package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/internal/redistest"
	"example.com/library/redisconn"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

const (
	stuck = "work does not move on; the name is let go"
	back  = "work moves on, and the name was taken again"
)

// runKeeping starts a worker, and keeps its lock beside it, every second. Work may take
// as long as patience says.
func (w *worker) runKeeping(t *testing.T, patience time.Duration) {
	t.Helper()
	w.Instance.config.TTL, w.Instance.patience = 3*time.Second, patience
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Instance.Run(ctx, w.Outage) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("keep the lock: %v", err)
		}
	})
	w.run(t)
}

// ticks waits until the instance's clock has gone on by so many refreshes.
func (w *worker) ticks(t *testing.T, ctx context.Context, n int64) {
	t.Helper()
	until := w.Instance.clock.Load() + n*int64(w.Instance.config.TTL/3)
	soon(t, ctx, "the instance's clock", true, func() bool { return w.Instance.clock.Load() >= until })
}

func TestABatchThatDoesNotMoveOnLetsTheNameGo(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		w, other := newWorker(t, rdb, "worker1"), newWorker(t, rdb, "worker2")
		goOn := make(chan struct{})
		ids := add(t, ctx, rdb, 3)
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			if batch[0].ID == ids[0] {
				<-goOn
			}
			return w.handleFenced(ctx, batch)
		}
		w.runKeeping(t, 2*time.Second)
		soon(t, ctx, "what is in hand", map[string]int64{"worker1": 3}, func() map[string]int64 { return pending(t, ctx, rdb) })
		other.run(t)
		w.logs.wait(t, ctx, stuck)
		if got := idsOf(other.take(t, ctx, 3)); !slices.Equal(got, ids) {
			t.Errorf("the other took over %v, want %v", got, ids)
		}
		add(t, ctx, rdb, 50)
		other.take(t, ctx, 50)
		if n := len(w.handled); n > 1 {
			t.Errorf("%d batches were read without the name, want one at most: by the read that was under way", n)
		}
		if n := rdb.Exists(ctx, w.Instance.Key()).Val(); n != 0 {
			t.Error("the name is held again though the batch is stuck")
		}

		close(goOn)
		w.logs.wait(t, ctx, back)
		other.stop()
		if err := other.end(t, ctx); err != nil {
			t.Fatal(err)
		}
		for id := add(t, ctx, rdb, 1)[0]; ; {
			select {
			case batch := <-w.handled: // what was stuck, and perhaps what a read brought just then, are fenced off
				if slices.Contains(idsOf(batch), id) {
					wantNothingLeft(t, ctx, rdb)
					return
				}
			case <-ctx.Done():
				t.Fatal("a new entry is not handled when the name is held again")
			}
		}
	})
}

// What is asked is lost on the way, and so are the answers, while the lock's own
// commands arrive: a path that takes no large packets.
func TestAReadOrASweepWithoutAnAnswerLetsTheNameGo(t *testing.T) {
	for part, lost := range map[string]string{"read": "xreadgroup", "sweep": "xinfo"} {
		t.Run(part, func(t *testing.T) {
			each(t, func(t *testing.T, rdb *redis.Client) {
				ctx := deadline(t)
				add(t, ctx, rdb, 0)
				w := newWorker(t, rdb, "worker1")
				var mended atomic.Bool
				w.Redis.AddHook(loss(func(cmd redis.Cmder) bool { return cmd.Name() == lost && !mended.Load() }))
				w.runKeeping(t, 2*time.Second)
				w.logs.wait(t, ctx, stuck+" until it does, so that others take over what is pending instance=worker1 part=\""+inboxKey+" "+part)
				mended.Store(true)
				w.logs.wait(t, ctx, back)
				ids := add(t, ctx, rdb, 1)
				if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 1))); diff != "" {
					t.Errorf("handled (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A loss says which commands never arrive.
type loss func(redis.Cmder) bool

func (loss) DialHook(next redis.DialHook) redis.DialHook { return next }
func (loss) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (l loss) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if l(cmd) {
			return context.DeadlineExceeded
		}
		return next(ctx, cmd)
	}
}

func TestALongWalkIsNotStuck(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		w := newWorker(t, rdb, "worker1")
		w.inbox.Batch, w.inbox.Batches, w.inbox.Pace = 1, 1, func(Entry) time.Duration { return 4 * time.Second }
		w.runKeeping(t, 2*time.Second)
		add(t, ctx, rdb, 1)
		soon(t, ctx, "what is in hand", map[string]int64{"worker1": 1}, func() map[string]int64 { return pending(t, ctx, rdb) })
		// The sweep waits for the only slot, and then it walks and the reading waits.
		add(t, ctx, rdb, 1)
		give(t, ctx, rdb, "dead")
		w.take(t, ctx, 2)
		w.ticks(t, ctx, 2)
		if strings.Contains(w.logs.String(), stuck) {
			t.Errorf("it let its name go:\n%s", w.logs)
		}
	})
}

func TestWhatWaitsAtTheServersWordIsNotStuck(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		w := newWorker(t, rdb, "worker1")
		var served atomic.Bool
		full := time.Now().Add(5 * time.Second)
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			if time.Now().Before(full) {
				return nil, fmt.Errorf("decide: %w", reply("OOM command not allowed when used memory > 'maxmemory'."))
			}
			served.Store(true)
			w.handled <- batch
			return nil, w.acknowledge(ctx, batch)
		}
		add(t, ctx, rdb, 1)
		w.runKeeping(t, 2*time.Second)
		w.take(t, ctx, 1)
		w.ticks(t, ctx, 2)
		if strings.Contains(w.logs.String(), stuck) {
			t.Errorf("it let its name go:\n%s", w.logs)
		}
	})
}

func TestWhatWaitedForAServerThatWasAwayIsNotStuck(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := server.Client(t)
	w := newWorker(t, rdb, "worker1")
	w.runKeeping(t, 2*time.Second)
	w.ticks(t, ctx, 1)
	server.Pause(t)
	select {
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
	}
	server.Resume(t)
	w.ticks(t, ctx, 3)
	if strings.Contains(w.logs.String(), stuck) {
		t.Errorf("it let its name go:\n%s", w.logs)
	}
	if redisconn.KindOf(rdb.Ping(ctx).Err()) == redisconn.Passing {
		t.Error("the server does not answer")
	}
}

func TestWhatWaitsForASlowServerIsNotStuck(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		w := newWorker(t, rdb, "worker1")
		slow := func() { // longer than the time between two refreshes
			select {
			case <-time.After(1200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		w.Redis.AddHook(hook(func(cmd redis.Cmder) {
			if args := cmd.Args(); strings.HasPrefix(cmd.Name(), "eval") && args[3] == w.Instance.Key() {
				slow()
			}
		}))
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			for range 8 {
				slow()
			}
			w.handled <- batch
			return nil, w.acknowledge(ctx, batch)
		}
		add(t, ctx, rdb, 1)
		w.runKeeping(t, time.Second)
		w.take(t, ctx, 1)
		if strings.Contains(w.logs.String(), stuck) {
			t.Errorf("it let its name go:\n%s", w.logs)
		}
	})
}
