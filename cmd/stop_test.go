package cmd_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/lending"
	"example.com/library/library"
)

// A worker promises to stop within 5 s, for container engines kill after 10. The rest
// is for a machine that is busy.
const stopWithin = 5*time.Second + 2500*time.Millisecond

// wantStopSoon tells a worker to stop, and checks that it does in time.
func wantStopSoon(t *testing.T, worker *programtest.Process) {
	t.Helper()
	began := time.Now()
	if err := worker.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, err := worker.Wait()
	if took := time.Since(began); err != nil || code != 0 || took > stopWithin {
		t.Errorf("it ended with code %d, %v, after %s, want code 0 within %s", code, err, took, stopWithin)
	}
}

func TestAWorkerStopsInTimeThoughRedisHangs(t *testing.T) {
	// Redis does nothing any more but to take connections.
	for state, prepare := range map[string]func(*branch) *programtest.Process{
		"when it reads": func(b *branch) *programtest.Process {
			worker := b.worker("worker1")
			b.until("it reads", func() bool {
				return len(b.rdb.XInfoConsumers(context.Background(), keys.Stores(), library.Shelving).Val()) == 1
			})
			b.server.Pause(b)
			return worker
		},
		"when it decides": func(b *branch) *programtest.Process {
			worker := b.worker("worker1", "--front", "1")
			client, err := lending.NewClient(b.rdb, keys.Library)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var asking sync.WaitGroup
			for i := range 10 {
				asking.Go(func() {
					for user := fmt.Sprintf("user%d", i); ctx.Err() == nil; {
						_, _ = client.Request(ctx, user, user)
						_, _ = client.Return(ctx, user, user)
					}
				})
			}
			b.Cleanup(func() { cancel(); asking.Wait(); client.Close() })
			b.until("it decides", func() bool { return b.rdb.XLen(context.Background(), keys.Events()).Val() > 50 })
			b.server.Pause(b)
			return worker
		},
		"when it walks": func(b *branch) *programtest.Process {
			worker := b.worker("worker1", "--fetch-time", "10m")
			b.ask("request", "user1", "geb")
			b.until("it walks", func() bool { return b.pending(keys.Fetches(), library.Shelving) == 1 })
			b.server.Pause(b)
			return worker
		},
		"when it takes over": func(b *branch) *programtest.Process {
			dead := b.worker("dead", mortal, "--fetch-time", "10m")
			b.ask("request", "user1", "geb")
			b.until("it walks", func() bool { return b.pending(keys.Fetches(), library.Shelving) == 1 })
			dead.Kill()
			worker := b.worker("worker1", "--fetch-time", "10m")
			if err := worker.Await("took over"); err != nil {
				b.Fatal(err)
			}
			b.server.Pause(b)
			return worker
		},
		"when it takes its name": func(b *branch) *programtest.Process {
			// This holds up all scripts, and answers the rest.
			if err := b.rdb.Do(context.Background(), "CLIENT", "PAUSE", time.Hour.Milliseconds(), "WRITE").Err(); err != nil {
				b.Fatal(err)
			}
			worker := programtest.Start(b, nil, "lendingd", "-a", b.address, "worker1")
			b.until("it takes its name", func() bool {
				clients, err := b.rdb.ClientList(context.Background()).Result()
				return err == nil && strings.Contains(clients, "cmd=evalsha")
			})
			return worker
		},
		"when it leaves": func(b *branch) *programtest.Process {
			worker := b.worker("worker1")
			if err := b.rdb.Do(context.Background(), "CLIENT", "PAUSE", time.Hour.Milliseconds(), "WRITE").Err(); err != nil {
				b.Fatal(err)
			}
			return worker
		},
	} {
		t.Run(state, func(t *testing.T) {
			b := open(t)
			worker := prepare(b)
			wantStopSoon(t, worker)
			b.server.Resume(t)
		})
	}
	t.Run("when it looks for it", func(t *testing.T) {
		t.Parallel()
		deaf, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer deaf.Close()
		worker := programtest.Start(t, nil, "lendingd", "-a", deaf.Addr().String(), "worker1")
		connection, err := deaf.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		wantStopSoon(t, worker)
	})
}
