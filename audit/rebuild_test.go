package audit_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"example.com/library/audit"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

var another = library.Keys{Library: "copy"}

// hashes are all HASHes and SETs of a library, and the count of what is away, by the
// rest of their keys. Receipts are shown as one page.
func hashes(t *testing.T, ctx context.Context, rdb *redis.Client, keys library.Keys) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, name := range rdb.Keys(ctx, keys.Key("*")).Val() {
		rest := strings.TrimPrefix(name, keys.Key(""))
		switch rdb.Type(ctx, name).Val() {
		case "hash":
			fields := rdb.HGetAll(ctx, name).Val()
			if rest = strings.TrimSuffix(rest, ":older"); all[rest] == nil {
				all[rest] = map[string]string{}
			}
			for field, value := range fields {
				if rest == "lending:fetching" {
					value, _, _ = strings.Cut(value, " ") // nobody is rung in a copy
				}
				all[rest][field] = value
			}
		case "set":
			all[rest] = map[string]string{}
			for _, member := range rdb.SMembers(ctx, name).Val() {
				all[rest][member] = ""
			}
		}
	}
	all["away"] = map[string]string{"count": rdb.Get(ctx, keys.Key("shelving:away")).Val()}
	return all
}

func TestALibraryIsRebuiltFromItsLogAndGoesOn(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names).furnish()
		report, err := audit.Rebuild(d.ctx, audit.Config{Redis: rdb, Keys: names}, another)
		d.must(err)
		checked := d.check(audit.Config{})
		want := *checked
		want.To = "copy"
		if diff := cmp.Diff(&want, report); diff != "" {
			t.Errorf("the report of the rebuilding (-what an audit counts +got):\n%s", diff)
		}

		// Every fact is the same, but for those that are not in the log: demand.
		live := hashes(t, d.ctx, rdb, names)
		delete(live, "lending:demand")
		if diff := cmp.Diff(live, hashes(t, d.ctx, rdb, another)); diff != "" {
			t.Errorf("the copy differs (-live +copy):\n%s", diff)
		}
		type message struct {
			ID     string
			Values map[string]any
		}
		var logs [2][]message
		for i, keys := range []library.Keys{names, another} {
			for _, m := range rdb.XRange(d.ctx, keys.Events(), "-", "+").Val() {
				logs[i] = append(logs[i], message{m.ID, m.Values})
			}
		}
		if diff := cmp.Diff(logs[0], logs[1]); diff != "" {
			t.Errorf("the log of the copy differs (-live +copy):\n%s", diff)
		}

		// The copy is a library like any other: what was under way is finished there.
		c := newDesk(t, rdb, another)
		copied := c.check(audit.Config{})
		copied.Library = "main"
		if diff := cmp.Diff(checked, copied); diff != "" {
			t.Errorf("an audit of the copy differs (-live +copy):\n%s", diff)
		}
		c.serve("shelving:fetches", "shelving:stores", "lending:deliveries")
		c.send(library.Return, "t9", "user1", "held", "arriving", "walking", "coming")
		c.send(library.Return, "t10", "user3", "awaited")
		c.send(library.Request, "r1", "user1", "held") // a repeat, in the copy too
		c.serve("lending:returns", "lending:requests")
		for id, want := range map[string]library.Outcome{"t9": library.Returned, "t10": library.Returned, "r1": library.Granted} {
			receipt, err := c.client.Receipt(c.ctx, id)
			c.must(err)
			if receipt.Outcome != want {
				t.Errorf("in the copy %s is %s, want %s", id, receipt.Summary(), want)
			}
		}
		c.wants(c.check(audit.Config{}).Findings)
		if loans := rdb.HLen(c.ctx, another.Key("lending:loans")).Val(); loans != 2 {
			t.Errorf("in the copy %d books are lent in the end, want taken and odd", loans)
		}
		d.wants(d.check(audit.Config{}).Findings) // the other library was left alone
	})
}

func TestARebuiltLibraryMayNotHaveBeenThere(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names).furnish()
		d.must(rdb.Set(d.ctx, another.Key("instance:worker1"), "somebody", 0).Err())
		for _, to := range []library.Keys{another, names} {
			if _, err := audit.Rebuild(d.ctx, audit.Config{Redis: rdb, Keys: names}, to); !errors.Is(err, audit.ErrNotEmpty) {
				t.Errorf("into %s: %v, want ErrNotEmpty", to.Library, err)
			}
		}
		if keys := rdb.Keys(d.ctx, another.Key("*")).Val(); len(keys) != 1 {
			t.Errorf("something was written: %q", keys)
		}
	})
}

func TestAnInterruptedCopyIsFoundToBeOne(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names).furnish()
		_, err := audit.Rebuild(d.ctx, audit.Config{Redis: rdb, Keys: names}, another)
		d.must(err)
		d.must(rdb.Del(d.ctx, another.Key("lending:loans"), another.Key("shelving:away"), another.Key("lending:terms")).Err())
		d.keys = another
		if d.check(audit.Config{}).Clean() {
			t.Error("nothing is found of a copy that lacks its loans")
		}
	})
}

// Verify compares all that can be made from the log.
func TestVerifyFindsEachCorruptionOfWhatTheLogTells(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	for _, c := range corruptions {
		t.Run(c.name, func(t *testing.T) {
			rdb.FlushAll(t.Context())
			d := newDesk(t, rdb, names).furnish()
			if report, err := audit.Verify(d.ctx, audit.Config{Redis: rdb, Keys: names}); err != nil || !report.Clean() {
				t.Fatalf("before: %v, %v", report, err)
			}
			d.corrupt(c.do)
			want := []audit.Finding{}
			for _, f := range d.check(audit.Config{}).Findings {
				inLog := f.Kind != "entry" && f.Kind != "pending" && f.Kind != "lock" && !strings.Contains(f.Problem, "time to live") &&
					!strings.HasPrefix(f.Key, key("lending:demand")) && f.Key != key("lending:clock")
				if inLog {
					want = append(want, f)
				}
			}
			report, err := audit.Verify(d.ctx, audit.Config{Redis: rdb, Keys: names})
			if strings.HasSuffix(c.name, "is deleted") {
				if !errors.Is(err, audit.ErrNotWhole) {
					t.Errorf("Verify = %v, want ErrNotWhole", err)
				}
				return
			}
			d.must(err)
			if diff := cmp.Diff(want, report.Findings); diff != "" {
				t.Errorf("Verify (-what Check finds of it +got):\n%s", diff)
			}
		})
	}
}
