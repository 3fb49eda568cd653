package cmd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/library/internal/patience"
	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// flood appends small orders until the server takes no more, and returns how many it took.
func (b *branch) flood(inbox string) (taken int) {
	b.Helper()
	for {
		added, err := b.rdb.Pipelined(b.Context(), func(pipe redis.Pipeliner) error {
			for i := range 1000 {
				n := taken + i
				pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: inbox, Values: []any{
					"id", fmt.Sprint("flood-", n), "user", fmt.Sprint("u", n%50_000), "books", fmt.Sprintf(`["b%d"]`, n),
				}})
			}
			return nil
		})
		for _, one := range added {
			if one.Err() == nil {
				taken++
			}
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "OOM ") {
				b.Fatal(err)
			}
			return taken
		}
	}
}

// A flood by hand fills the server while no worker runs. Nobody helps: a worker that starts
// then makes room, takes what is brought back, and lends again.
func TestAServerThatAFloodHasFilledServesAgain(t *testing.T) {
	for _, inbox := range []string{keys.Requests(), keys.Returns()} {
		_, name, _ := strings.Cut(inbox, ":lending:")
		t.Run("of "+name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, "--maxmemory", "16mb", "--maxmemory-policy", "noeviction")
			b := &branch{T: t, server: server, rdb: server.Client(t), address: server.URL()}
			client, err := lending.NewClient(b.rdb, keys.Library)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience.Long)
			defer cancel()
			want := func(outcome library.Outcome, ask func(context.Context, string, ...string) (*library.Receipt, error), user string) *library.Receipt {
				t.Helper()
				for {
					receipt, err := ask(ctx, user, "geb")
					if errors.Is(err, lending.ErrBusy) {
						continue // as who is told so may do
					}
					if err != nil || receipt.Outcome != outcome {
						t.Fatalf("%+v, %v; want %s", receipt, err, outcome)
					}
					return receipt
				}
			}
			first := b.worker("worker1")
			receipt := want(library.Granted, client.Request, "ann")
			if err := client.Arrivals(ctx, receipt, func(library.Line) {}); err != nil {
				t.Fatal(err)
			}
			wantStopSoon(t, first)
			taken := b.flood(inbox)
			t.Logf("the server took %d orders", taken)
			if err := b.rdb.Set(ctx, "more", "of it", 0).Err(); err == nil {
				t.Fatal("the server is not full")
			}

			status := programtest.Start(b, nil, "lendingd", "status", "-a", b.address)
			if code, err := status.Wait(); code != 0 || err != nil || !strings.Contains(status.Output(), "the server's memory is full") {
				t.Errorf("lendingd status ended with %d, %v:\n%s", code, err, status.Output())
			}

			b.worker("worker2")
			want(library.Returned, client.Return, "ann")
			want(library.Granted, client.Request, "bob")
			b.until("the library comes to rest", func() bool { return atRest(b.rdb, keys) })
			report := soundLibrary(b, b.rdb, keys)
			t.Logf("%d orders were decided; memory: %s", report.Orders, b.rdb.Info(ctx, "memory").Val()[:60])
		})
	}
}
