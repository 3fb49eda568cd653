package worker

import (
	"context"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestAnObserverIsToldWhatBecomesOfEachEntry(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 6)
		give(t, ctx, rdb, "dead")
		if err := rdb.XDel(ctx, inboxKey, ids[0]).Err(); err != nil { // trimmed away while it was pending
			t.Fatal(err)
		}
		w := newWorker(t, rdb, "living")
		w.inbox.Handle = func(ctx context.Context, batch []Entry) (rejections []Rejection, err error) {
			var good []Entry
			for _, entry := range batch {
				if entry.ID == ids[1] {
					rejections = append(rejections, Reject(entry, "it is the second"))
				} else {
					good = append(good, entry)
				}
			}
			return rejections, w.acknowledge(ctx, good)
		}
		var mu sync.Mutex
		told := map[string]int{}
		count := func(what string) func(string, int) {
			return func(stream string, entries int) {
				mu.Lock()
				defer mu.Unlock()
				told[what+" "+stream] += entries
			}
		}
		w.Observer = Observer{Applied: count("applied"), Claimed: count("claimed"), Rejected: count("rejected")}
		w.run(t)
		want := map[string]int{"claimed " + inboxKey: 5, "applied " + inboxKey: 4, "rejected " + inboxKey: 2}
		soon(t, ctx, "what the observer was told", "", func() string {
			mu.Lock()
			defer mu.Unlock()
			return cmp.Diff(want, told)
		})
	})
}
