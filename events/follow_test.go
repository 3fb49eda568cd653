package events

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

var names = library.Keys{Library: "main"}

// deadline returns a context for the calls of one test.
var deadline = patience.Deadline

// own makes another client of the server of rdb.
func own(t *testing.T, rdb *redis.Client) redis.UniversalClient {
	t.Helper()
	another, err := redisconn.Connect(redisconn.Options{Address: redisconn.Where(rdb)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { another.Close() })
	return another
}

// A hook is called before each command outside a pipeline.
type hook func(redis.Cmder)

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h(cmd)
		return next(ctx, cmd)
	}
}

func TestFollowBeginsAtItsMoment(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		at := time.UnixMilli(1_800_000_000_000)
		for _, id := range []string{"1799999999998-0", "1799999999999-0", "1799999999999-1", "1800000000000-0", "1800000000000-1", "1800000000001-0"} {
			if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: names.Events(), ID: id, Values: []string{"event", "lent"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		var seen []string
		enough := errors.New("enough")
		err := Follow(ctx, rdb, names, at, func(event *Event) error {
			if seen = append(seen, event.ID); event.ID == "1800000000001-0" {
				return enough
			}
			return nil
		})
		want := []string{"1800000000000-0", "1800000000000-1", "1800000000001-0"}
		if diff := cmp.Diff(want, seen); !errors.Is(err, enough) || diff != "" {
			t.Errorf("Follow since %v = %v (-want +got):\n%s", at.UTC(), err, diff)
		}
	})
}

func TestFollowUntilEndsWhenTheEventsBeforeWereSeen(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		add := func(id string) {
			t.Helper()
			if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: names.Events(), ID: id, Values: []string{"event", "lent"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		ids := func(until time.Time) []string {
			t.Helper()
			seen := []string{}
			err := FollowUntil(ctx, rdb, names, time.UnixMilli(0), until, func(event *Event) error {
				seen = append(seen, event.ID)
				return nil
			})
			if err != nil || ctx.Err() != nil {
				t.Fatalf("FollowUntil %v: %v, %v", until, err, ctx.Err())
			}
			return seen
		}
		if seen := ids(time.UnixMilli(1_500_000_000_000)); len(seen) > 0 {
			t.Errorf("in an empty log it saw %q", seen)
		}
		// More than it reads at once have the same time.
		add("1500000000000-0")
		var want []string
		for i := range EntriesMax + 1 {
			want = append(want, fmt.Sprintf("1500000000001-%d", i))
			add(want[i])
		}
		want = append([]string{"1500000000000-0"}, want...)
		add("1500000000002-0")
		if diff := cmp.Diff(want, ids(time.UnixMilli(1_500_000_000_001))); diff != "" {
			t.Errorf("until a moment of the past (-want +got):\n%s", diff)
		}
		want = append(want, "1500000000002-0")
		if diff := cmp.Diff(want, ids(time.Now().Add(50*time.Millisecond))); diff != "" {
			t.Errorf("until a moment to come (-want +got):\n%s", diff)
		}
		// Redis's clock may be ahead of the one here.
		ahead := time.Now().Add(time.Hour)
		want = append(want, fmt.Sprintf("%d-0", ahead.UnixMilli()))
		add(want[len(want)-1])
		if diff := cmp.Diff(want, ids(ahead.Truncate(time.Millisecond))); diff != "" {
			t.Errorf("until the newest entry (-want +got):\n%s", diff)
		}
	})
}

func TestFollowMissesNothingThatComesBetweenItsReads(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		watcher := own(t, rdb)
		added := 0
		watcher.AddHook(hook(func(cmd redis.Cmder) {
			if cmd.Name() == "xread" {
				added++
				if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: names.Events(), Values: []any{"event", "fetched", "orders", fmt.Sprintf(`[["%d","geb"]]`, added)}}).Err(); err != nil {
					t.Error(err)
				}
			}
		}))
		var seen []string
		enough := errors.New("enough")
		err := Follow(ctx, watcher, names, time.Time{}, func(event *Event) error {
			if seen = append(seen, event.Request); len(seen) == 3 {
				return enough
			}
			return nil
		})
		if diff := cmp.Diff([]string{"1", "2", "3"}, seen); !errors.Is(err, enough) || diff != "" {
			t.Errorf("Follow = %v (-want +got):\n%s", err, diff)
		}
	})
}

func TestFollowCarriesOnAfterTheServerWasAway(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := server.Client(t)
	appendEvent := func(word string) {
		t.Helper()
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: names.Events(), Values: []string{"event", word}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	appendEvent("first")
	seen := make(chan string, 100)
	watching, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- Follow(watching, own(t, rdb), names, time.Now().Add(-patience.Long), func(event *Event) error {
			seen <- event.Event
			return nil
		})
	}()
	if got := <-seen; got != "first" {
		t.Errorf("saw %q", got)
	}
	server.Kill(t)
	server.Restart(t)
	// The pool's old connections are dead; a first call on each may fail.
	for rdb.Ping(ctx).Err() != nil && ctx.Err() == nil {
	}
	appendEvent("second")
	if got := <-seen; got != "second" {
		t.Errorf("saw %q", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Follow = %v, want nil after a stop", err)
	}
}
