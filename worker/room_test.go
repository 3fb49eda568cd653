package worker

import (
	"strings"
	"testing"

	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// roomy is a worker whose inbox waits, and gives up, as that for requests does.
func roomy(t *testing.T, rdb redis.UniversalClient) *worker {
	w := newWorker(t, rdb, "worker1")
	w.inbox.MemoryMax, w.inbox.Waits, w.inbox.UnreadMax = 90, true, 100_000
	return w
}

// fill appends large entries until the server takes no more.
func fill(t *testing.T, rdb *redis.Client, stream string) {
	t.Helper()
	ctx := deadline(t)
	for {
		err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []string{"event", strings.Repeat("x", 2000)}}).Err()
		if redis.HasErrorPrefix(err, "OOM") {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAServerThatTheLogHasFilledIsRelievedOfTheOlderPart(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t, "--maxmemory", "10mb").Client(t)
	ids := add(t, ctx, rdb, 4)
	fill(t, rdb, keys.Events())
	before := rdb.XLen(ctx, keys.Events()).Val()
	w := roomy(t, rdb)
	w.run(t)
	if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 4))); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
	w.logs.wait(t, ctx, "has room again")
	if after := rdb.XLen(ctx, keys.Events()).Val(); after >= before || after < loggedMin {
		t.Errorf("the log has %d entries, want fewer than %d and at least %d", after, before, loggedMin)
	}
}

// What fills the server is nothing that may be given up: so what is there waits.
func TestWhatThereIsNoRoomForWaitsUnread(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t, "--maxmemory", "10mb").Client(t)
	ids := add(t, ctx, rdb, 4)
	fill(t, rdb, "another's")
	w := roomy(t, rdb)
	w.run(t)
	w.logs.wait(t, ctx, "memory is full")
	w.wantNone(t)
	if state, err := Look(ctx, rdb, inboxKey, library.Lending); err != nil || state.Unread != 4 {
		t.Errorf("%+v, %v, want 4 unread", state, err)
	}
	if err := rdb.Unlink(ctx, "another's").Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 4))); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
}
