package worker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestEnsureMakesAGroupThatSeesWhatWasThereBefore(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, Values: []string{"number", "0"}}).Result()
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []bool{true, false, false} {
			if made, err := Ensure(ctx, rdb, inboxKey, library.Lending); made != want || err != nil {
				t.Errorf("Ensure, call %d = %v, %v, want %v", i+1, made, err, want)
			}
		}
		streams, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: library.Lending, Consumer: "worker1", Streams: []string{inboxKey, ">"}, Block: -1,
		}).Result()
		if err != nil || len(streams) != 1 || len(streams[0].Messages) != 1 || streams[0].Messages[0].ID != id {
			t.Errorf("the group is given %+v, %v, want the entry %s", streams, err, id)
		}
	})
}

func TestEnsureReportsAKeyThatIsNoStream(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		if err := rdb.Set(ctx, inboxKey, "text", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if made, err := Ensure(ctx, rdb, inboxKey, library.Lending); made || err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE") {
			t.Errorf("Ensure = %v, %v, want a WRONGTYPE error", made, err)
		}
		if err := EnsureAll(ctx, rdb, keys); err == nil || !strings.Contains(err.Error(), inboxKey) {
			t.Errorf("EnsureAll = %v, want an error that names the key", err)
		}
	})
}

func TestEnsureAllMakesEveryInboxWithItsGroup(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		for range 2 {
			if err := EnsureAll(ctx, rdb, keys); err != nil {
				t.Fatal(err)
			}
		}
		got := map[string]string{}
		for _, key := range rdb.Keys(ctx, "*").Val() {
			groups, err := rdb.XInfoGroups(ctx, key).Result()
			if err != nil || len(groups) != 1 {
				t.Fatalf("%s has the groups %+v, %v, want one", key, groups, err)
			}
			got[key] = groups[0].Name
		}
		want := map[string]string{
			"{main}:lending:requests": "lending", "{main}:lending:returns": "lending", "{main}:lending:deliveries": "lending",
			"{main}:shelving:fetches": "shelving", "{main}:shelving:stores": "shelving",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("streams and groups (-want +got):\n%s", diff)
		}
	})
}

func TestRetireRemovesAnInstanceOnlyIfNothingIsLost(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		i, err := Take(ctx, rdb, LockConfig{Keys: keys, Name: "worker1", TTL: 10 * time.Minute, Log: log.New(newJournal())})
		if err != nil {
			t.Fatal(err)
		}
		add(t, ctx, rdb, 0)
		if err := rdb.XGroupCreateConsumer(ctx, inboxKey, library.Lending, "worker1").Err(); err != nil {
			t.Fatal(err)
		}
		want := func(when string, want map[string]int64) {
			t.Helper()
			if err := Retire(ctx, rdb, keys, inboxKey, library.Lending, "worker1"); err != nil {
				t.Errorf("Retire %s = %v", when, err)
			}
			if diff := cmp.Diff(want, pending(t, ctx, rdb)); diff != "" {
				t.Errorf("%s, pending (-want +got):\n%s", when, diff)
			}
		}
		want("while its lock stands", map[string]int64{"worker1": 0})
		ids := add(t, ctx, rdb, 1)
		give(t, ctx, rdb, "worker1")
		want("while its lock stands and an entry is pending", map[string]int64{"worker1": 1})
		if err := i.Release(ctx); err != nil {
			t.Fatal(err)
		}
		want("while an entry is pending for it", map[string]int64{"worker1": 1})
		if err := rdb.XAck(ctx, inboxKey, library.Lending, ids[0]).Err(); err != nil {
			t.Fatal(err)
		}
		want("when nothing holds it", map[string]int64{})
		want("when it is gone already", map[string]int64{})
	})
}

func TestLookTellsHowFarAGroupHasCome(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		want := func(when string, want State) {
			t.Helper()
			state, err := Look(ctx, rdb, inboxKey, library.Lending)
			if err != nil {
				t.Errorf("%s: Look = %v", when, err)
			}
			if aged := state.Oldest > 0; aged != (want.Unread+want.Pending > 0) || state.Oldest > patience.Long {
				t.Errorf("%s: the oldest entry is %v old", when, state.Oldest)
			}
			state.Oldest = 0
			want.Stream, want.Appended = inboxKey, state.Appended
			if want.Consumers == nil {
				want.Consumers = []Consumer{}
			}
			if diff := cmp.Diff(want, state); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		appendOne := func() string {
			t.Helper()
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, Values: []string{"number", "0"}}).Result()
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		done := func(id string) {
			t.Helper()
			if err := rdb.XAck(ctx, inboxKey, library.Lending, id).Err(); err != nil {
				t.Fatal(err)
			}
			if err := rdb.XDel(ctx, inboxKey, id).Err(); err != nil {
				t.Fatal(err)
			}
		}

		want("without a stream", State{})
		first := appendOne()
		want("without a group", State{Unread: 1})
		if _, err := Ensure(ctx, rdb, inboxKey, library.Lending); err != nil {
			t.Fatal(err)
		}
		want("before anything is read", State{Unread: 1})
		second := appendOne()
		give(t, ctx, rdb, "worker1")
		want("when all is read", State{Pending: 2, Consumers: []Consumer{{"worker1", 2}}})
		third := appendOne()
		want("with a new entry", State{Unread: 1, Pending: 2, Consumers: []Consumer{{"worker1", 2}}})
		give(t, ctx, rdb, "worker2")
		want("when another instance reads", State{Pending: 3, Consumers: []Consumer{{"worker1", 2}, {"worker2", 1}}})
		done(second)
		want("when an entry in the middle is done", State{Pending: 2, Consumers: []Consumer{{"worker1", 1}, {"worker2", 1}}})
		done(first)
		done(third)
		want("when all is done", State{Consumers: []Consumer{{"worker1", 0}, {"worker2", 0}}})
	})
}

func TestLookTellsTheAgeOfTheOldestEntry(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		now, err := rdb.Time(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, age := range []time.Duration{time.Hour, time.Minute} {
			id := fmt.Sprintf("%d-1", now.Add(-age).UnixMilli())
			if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, ID: id, Values: []string{"number", "0"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		state, err := Look(ctx, rdb, inboxKey, library.Lending)
		if err != nil || state.Oldest < time.Hour || state.Oldest > time.Hour+patience.Long {
			t.Errorf("Look = %+v, %v, want an age of about an hour", state, err)
		}
	})
}

// Many entries stay behind one that is pending for long. How many are unread is then
// Redis's word, or counted where it has none.
func TestLookTellsHowManyAreUnreadBehindManyThatWereRead(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		if _, err := Ensure(ctx, rdb, inboxKey, library.Lending); err != nil {
			t.Fatal(err)
		}
		appendMany := func(n int) (ids []string) {
			t.Helper()
			commands, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
				for range n {
					pipe.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, Values: []string{"number", "0"}})
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, command := range commands {
				ids = append(ids, command.(*redis.StringCmd).Val())
			}
			return ids
		}
		appendMany(readMax + 5)
		read := &redis.XReadGroupArgs{Group: library.Lending, Consumer: "worker1", Streams: []string{inboxKey, ">"}, Count: readMax + 5, Block: -1}
		if err := rdb.XReadGroup(ctx, read).Err(); err != nil {
			t.Fatal(err)
		}
		unread := appendMany(3)
		want := func(when string, unread int64) {
			t.Helper()
			if state, err := Look(ctx, rdb, inboxKey, library.Lending); err != nil || state.Unread != unread {
				t.Errorf("%s: Look = %+v, %v, want %d unread", when, state, err, unread)
			}
		}
		want("when all is there", 3)
		if err := rdb.XDel(ctx, inboxKey, unread[1]).Err(); err != nil {
			t.Fatal(err)
		}
		want("when the lag is not known", 2)
	})
}

func TestLookTellsHowManyEntriesThereEverWere(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	ctx := deadline(t)
	for range 3 {
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, Values: []string{"number", "0"}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := rdb.XTrimMaxLen(ctx, inboxKey, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if state, err := Look(ctx, rdb, inboxKey, library.Lending); err != nil || state.Appended != 3 {
		t.Errorf("Look = %+v, %v, want 3 that were appended", state, err)
	}
}

func TestLookReportsAServerThatIsAway(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: t.TempDir() + "/nobody.sock", MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	if state, err := Look(context.Background(), rdb, inboxKey, library.Lending); redisconn.KindOf(err) != redisconn.Passing {
		t.Errorf("Look = %+v, %v, want an error of kind Passing", state, err)
	}
}

func TestLookTellsOfEntriesThatAreTooLargeToRead(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t).Client(t)
	bounded, err := redisconn.Connect(redisconn.Options{Address: redisconn.Where(rdb), ReplyMax: replyMax})
	if err != nil {
		t.Fatal(err)
	}
	defer bounded.Close()
	add(t, ctx, rdb, 1)
	addSized(t, ctx, rdb, unreadable)
	add(t, ctx, rdb, 1)
	want := func(when string, want State) {
		t.Helper()
		got, err := Look(ctx, bounded, inboxKey, library.Lending)
		if got.Oldest <= 0 {
			t.Errorf("%s: the oldest is %v old", when, got.Oldest)
		}
		got.Oldest = 0
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", when, err, diff)
		}
	}
	want("nothing is read", State{Stream: inboxKey, Appended: 3, Unread: 3, Consumers: []Consumer{}})
	give(t, ctx, rdb, "worker1")
	want("all is read", State{Appended: -1, Stream: inboxKey, Pending: 3, Consumers: []Consumer{{"worker1", 3}}})
	id := addSized(t, ctx, rdb, 20<<20) // so much that memory shows
	want("more comes", State{Appended: -1, Stream: inboxKey, Unread: 1, Pending: 3, Consumers: []Consumer{{"worker1", 3}}})
	give(t, ctx, rdb, "worker1")
	setCount(t, ctx, rdb, "worker1", id, deliveriesMax, 0)
	want("one came back often", State{Appended: -1, Stream: inboxKey, Pending: 4, Stuck: 1, Consumers: []Consumer{{"worker1", 4}}})
}
