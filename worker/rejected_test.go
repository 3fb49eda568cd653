package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// The pages of receipts, as the lending service names them.
const (
	receiptsKey = "{main}:lending:receipts"
	olderKey    = "{main}:lending:receipts:older"
	pageKey     = "{main}:lending:receipts:page"
)

// setAside has a worker reject entries with the given fields, and returns them.
func setAside(t *testing.T, ctx context.Context, rdb *redis.Client, entries ...[]string) []RejectedEntry {
	t.Helper()
	w := newWorker(t, rdb, "worker1")
	w.inbox.Batch, w.inbox.Batches = 100, 1 // so their order stays
	w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
		var rejections []Rejection
		for _, entry := range batch {
			rejections = append(rejections, Reject(entry, "for a test"))
		}
		return rejections, nil
	}
	add(t, ctx, rdb, 0)
	for _, fields := range entries {
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, Values: fields}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	w.run(t)
	soon(t, ctx, "the number of entries set aside", int64(len(entries)), func() int64 {
		return rdb.XLen(ctx, keys.Rejected(library.Lending)).Val()
	})
	w.stop()
	if err := w.end(t, ctx); err != nil {
		t.Fatal(err)
	}
	var aside []RejectedEntry
	if err := EachRejected(ctx, rdb, keys, library.Lending, func(entry RejectedEntry) error {
		aside = append(aside, entry)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return aside
}

func TestAnEntrySetAsideKeepsItsFieldsUnlessItIsTooLarge(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		long := strings.Repeat("x", keptBytesMax-len("id"))
		var many []string
		for i := range keptFieldsMax + 1 {
			many = append(many, fmt.Sprint("f", i), "x")
		}
		aside := setAside(t, ctx, rdb,
			[]string{"id", "r1", "books", "[\"geb\"]\x00\xff", "stream", "mine", "", "empty", ".dotted", "."},
			[]string{"id", long},
			[]string{"id", long + "x"},
			many,
			many[2:],
		)
		var got []map[string]string
		for _, entry := range aside {
			if entry.Service != library.Lending || entry.Stream != inboxKey || entry.Reason != "for a test" {
				t.Errorf("set aside: %+v", entry)
			}
			got = append(got, entry.Fields)
		}
		all := map[string]string{}
		for i := 2; i < len(many); i += 2 {
			all[many[i]] = many[i+1]
		}
		want := []map[string]string{
			{"id": "r1", "books": "[\"geb\"]\x00\xff", "stream": "mine", "": "empty", ".dotted": "."}, {"id": long}, {}, {}, all,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("fields (-want +got):\n%.2000s", diff)
		}
	})
}

func TestEachRejectedTellsOfMoreEntriesThanOnePage(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		pipe := rdb.Pipeline()
		for i := range 250 {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Rejected(library.Shelving), Values: []string{"stream", "s", "entry", fmt.Sprint(i), "reason", "r"}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		n := 0
		err := EachRejected(ctx, rdb, keys, library.Shelving, func(entry RejectedEntry) error {
			if entry.Entry != fmt.Sprint(n) || entry.Service != library.Shelving {
				t.Fatalf("entry %d is %+v", n, entry)
			}
			n++
			return nil
		})
		if err != nil || n != 250 {
			t.Errorf("EachRejected told of %d entries, %v, want 250", n, err)
		}
		enough := errors.New("enough")
		if err := EachRejected(ctx, rdb, keys, library.Shelving, func(RejectedEntry) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("EachRejected = %v, want the function's own error", err)
		}
		if err := EachRejected(ctx, rdb, keys, library.Lending, func(RejectedEntry) error { return enough }); err != nil {
			t.Errorf("EachRejected of a service that set nothing aside = %v", err)
		}
	})
}

func TestRetryPutsAnEntryBackAsItWas(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		aside := setAside(t, ctx, rdb, []string{"id", "r1", "books", "[1]\x00\xff", "stream", "mine"}, []string{"book", "geb"}, []string{"id", "r3"})
		const rejection, granted = `{"id":"r","outcome":"rejected"}`, `{"id":"r","outcome":"granted"}`
		for page, receipts := range map[string][]string{
			receiptsKey: {"r1", rejection, "r2", granted}, olderKey: {"r3", rejection, "r4", granted, "r5", rejection},
		} {
			if err := rdb.HSet(ctx, page, receipts).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := rdb.Del(ctx, keys.Events()).Err(); err != nil {
			t.Fatal(err)
		}
		var ids []string
		var events []map[string]any
		for _, entry := range aside {
			id, err := Retry(ctx, rdb, keys, library.Lending, entry.ID, receiptsKey, olderKey)
			if err != nil {
				t.Fatalf("Retry: %v", err)
			}
			ids = append(ids, id)
			events = append(events, map[string]any{"event": "retried", "stream": inboxKey, "entry": id, "rejected": entry.ID})
		}
		messages, err := rdb.XRange(ctx, inboxKey, "-", "+").Result()
		want := []redis.XMessage{
			{ID: ids[0], Values: map[string]any{"id": "r1", "books": "[1]\x00\xff", "stream": "mine"}},
			{ID: ids[1], Values: map[string]any{"book": "geb"}},
			{ID: ids[2], Values: map[string]any{"id": "r3"}},
		}
		if diff := cmp.Diff(want, messages); err != nil || diff != "" {
			t.Errorf("the inbox, %v (-want +got):\n%s", err, diff)
		}
		wantEvents(t, ctx, rdb, events...)
		if left := rejected(t, ctx, rdb); len(left) != 0 {
			t.Errorf("still set aside: %+v", left)
		}
		// The receipts that say rejected are taken back, on either page.
		pages := []map[string]string{rdb.HGetAll(ctx, receiptsKey).Val(), rdb.HGetAll(ctx, olderKey).Val()}
		wantPages := []map[string]string{{"r2": granted}, {"r4": granted, "r5": rejection}}
		if diff := cmp.Diff(wantPages, pages); diff != "" {
			t.Errorf("the pages of receipts (-want +got):\n%s", diff)
		}
	})
}

func TestDropGivesAnEntryUpAndLeavesItsReceipt(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		aside := setAside(t, ctx, rdb, []string{"id", "r1"}, []string{"id", "r2"})
		if err := errors.Join(rdb.HSet(ctx, receiptsKey, "r1", "rejected").Err(), rdb.Del(ctx, keys.Events()).Err()); err != nil {
			t.Fatal(err)
		}
		if err := Drop(ctx, rdb, keys, library.Lending, aside[0].ID); err != nil {
			t.Errorf("Drop = %v", err)
		}
		for _, id := range []string{aside[0].ID, "1-1"} {
			if err := Drop(ctx, rdb, keys, library.Lending, id); !errors.Is(err, ErrNotRejected) {
				t.Errorf("Drop of no entry = %v, want an error that wraps ErrNotRejected", err)
			}
		}
		if err := Drop(ctx, rdb, keys, library.Shelving, aside[1].ID); !errors.Is(err, ErrNotRejected) {
			t.Errorf("Drop at the other service = %v, want an error that wraps ErrNotRejected", err)
		}
		wantEvents(t, ctx, rdb, map[string]any{"event": "dropped", "stream": inboxKey, "entry": aside[0].Entry, "rejected": aside[0].ID})
		if left := rejected(t, ctx, rdb); len(left) != 1 || left[0].Fields["id"] != "r2" {
			t.Errorf("still set aside: %+v, want the other", left)
		}
		if n := rdb.XLen(ctx, inboxKey).Val(); n != 0 || rdb.HGet(ctx, receiptsKey, "r1").Val() != "rejected" {
			t.Errorf("the inbox has %d entries, and the receipts are %v", n, rdb.HGetAll(ctx, receiptsKey).Val())
		}
		if entry, err := FindRejected(ctx, rdb, keys, library.Lending, aside[1].ID); err != nil || cmp.Diff(aside[1], entry) != "" {
			t.Errorf("FindRejected = %+v, %v, want %+v", entry, err, aside[1])
		}
	})
}

func TestRetryLeavesAReceiptThatIsNoRejection(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		// A book's name cannot pass for an outcome, for its quotes are escaped.
		const granted = `{"id":"r1","books":["\"outcome\":\"rejected\""],"outcome":"granted"}`
		for page, request := range map[string]string{receiptsKey: "r1", olderKey: "r2"} {
			if err := rdb.HSet(ctx, page, request, granted).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for _, entry := range setAside(t, ctx, rdb, []string{"id", "r1", "user", "ann"}, []string{"id", "r2", "user", "ann"}) {
			if _, err := Retry(ctx, rdb, keys, library.Lending, entry.ID, receiptsKey, olderKey); err != nil {
				t.Fatal(err)
			}
		}
		if text := rdb.HGet(ctx, receiptsKey, "r1").Val(); text != granted {
			t.Errorf("the receipt became %q", text)
		}
		if text := rdb.HGet(ctx, olderKey, "r2").Val(); text != granted {
			t.Errorf("the receipt on the older page became %q", text)
		}
	})
}

func TestRetryRefusesWhatIsNotThereOrWasNotKept(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		aside := setAside(t, ctx, rdb, []string{"id", strings.Repeat("x", keptBytesMax)})
		for range 2 {
			if id, err := Retry(ctx, rdb, keys, library.Lending, aside[0].ID, receiptsKey, olderKey); !errors.Is(err, ErrNotKept) {
				t.Errorf("Retry of an entry that was too large = %q, %v, want an error that wraps ErrNotKept", id, err)
			}
		}
		if id, err := Retry(ctx, rdb, keys, library.Shelving, aside[0].ID, receiptsKey, olderKey); !errors.Is(err, ErrNotRejected) {
			t.Errorf("Retry at the other service = %q, %v, want an error that wraps ErrNotRejected", id, err)
		}
		if id, err := Retry(ctx, rdb, keys, library.Lending, "1-1", receiptsKey, olderKey); !errors.Is(err, ErrNotRejected) {
			t.Errorf("Retry of no entry = %q, %v, want an error that wraps ErrNotRejected", id, err)
		}
		if n := rdb.XLen(ctx, inboxKey).Val(); n != 0 {
			t.Errorf("the inbox has %d entries, want none", n)
		}
		if left := rejected(t, ctx, rdb); len(left) != 1 {
			t.Errorf("set aside: %+v, want the one entry still", left)
		}
	})
}

func TestRetryRefusesAnEntryOfAStreamThatTheServiceDoesNotRead(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		for _, inbox := range []string{"", "loot", keys.Fetches(), "{north}:lending:requests"} {
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{
				Stream: keys.Rejected(library.Lending), Values: []string{"stream", inbox, "entry", "1-1", "reason", "forged", ".book", "geb"},
			}).Result()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Retry(ctx, rdb, keys, library.Lending, id, receiptsKey, olderKey); !errors.Is(err, ErrNotKept) {
				t.Errorf("Retry of an entry of %q = %v, want an error that wraps ErrNotKept", inbox, err)
			}
		}
		if got := rdb.Keys(ctx, "*").Val(); len(got) != 1 {
			t.Errorf("the keys are %q, want only what was set aside", got)
		}
	})
}

func TestAnEntryIsPutBackOnceThoughTheReplyWasLost(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	through, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	rdb := server.Client(t)
	aside := setAside(t, ctx, rdb, []string{"book", "geb"})
	if err := scripts.Retry.Load(ctx, rdb).Err(); err != nil {
		t.Fatal(err)
	}
	proxy.DropReply(func(args []string) bool { return args[0] == "evalsha" })
	if _, err := Retry(ctx, through, keys, library.Lending, aside[0].ID, receiptsKey, olderKey); redisconn.KindOf(err) != redisconn.Passing {
		t.Errorf("Retry without a reply = %v, want an error of kind Passing", err)
	}
	if _, err := Retry(ctx, through, keys, library.Lending, aside[0].ID, receiptsKey, olderKey); !errors.Is(err, ErrNotRejected) {
		t.Errorf("Retry again = %v, want an error that wraps ErrNotRejected", err)
	}
	if n := rdb.XLen(ctx, inboxKey).Val(); n != 1 {
		t.Errorf("the inbox has %d entries, want 1", n)
	}
}

func TestARejectionWhoseReplyWasLostIsMadeOnce(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]*redis.Script{"reject": scripts.Reject, "claim": scripts.Claim, "retire": scripts.Retire} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server)
			through, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
			if err != nil {
				t.Fatal(err)
			}
			defer through.Close()
			rdb := server.Client(t)
			ids := add(t, ctx, rdb, 8)
			give(t, ctx, rdb, "dead")
			if err := rdb.XDel(ctx, inboxKey, ids[0]).Err(); err != nil {
				t.Fatal(err)
			}
			for _, script := range []*redis.Script{scripts.Reject, scripts.Claim, scripts.Retire} {
				if err := script.Load(ctx, rdb).Err(); err != nil {
					t.Fatal(err)
				}
			}
			proxy.DropReply(func(args []string) bool { return args[0] == "evalsha" && args[1] == script.Hash() })
			w := newWorker(t, through, "living")
			w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
				var good []Entry
				var rejections []Rejection
				for _, entry := range batch {
					if entry.ID == ids[5] {
						rejections = append(rejections, Reject(entry, "for a test"))
						continue
					}
					good = append(good, entry)
				}
				w.handled <- good
				return rejections, w.acknowledge(ctx, good)
			}
			w.run(t)
			soon(t, ctx, "what is pending, without the dead instance", map[string]int64{"living": 0}, func() map[string]int64 { return pending(t, ctx, rdb) })
			soon(t, ctx, "the number of lost replies", 1, func() int { return proxy.Faults() })
			want := []RejectedEntry{
				{Service: library.Lending, Stream: inboxKey, Entry: ids[0], Reason: "it was trimmed away before it was handled", Fields: map[string]string{}},
				{Service: library.Lending, Stream: inboxKey, Entry: ids[5], Reason: "for a test", Fields: map[string]string{"number": "5"}},
			}
			if diff := cmp.Diff(want, rejected(t, ctx, rdb)); diff != "" {
				t.Errorf("set aside (-want +got):\n%s", diff)
			}
			handled := idsOf(w.take(t, ctx, 6))
			slices.Sort(handled) // a lost claim is made up for last
			good := slices.Concat(ids[1:5], ids[6:])
			slices.Sort(good)
			if diff := cmp.Diff(good, handled); diff != "" {
				t.Errorf("handled (-want +got):\n%s", diff)
			}
			w.wantNone(t)
		})
	}
}
