package scripts_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// A handled batch is one of the entries 1-0 and 2-0, and a state in which they can be
// handled.
type handledBatch struct {
	inbox string
	call  call
	start state
}

func batches() []handledBatch {
	return []handledBatch{
		{"requests", lend(5, by("ann", "r1", "a"), by("ann", "r2", "b")), nil},
		{"returns", takeBack(0, by("ann", "r1", "a"), by("ann", "r2", "b")), nil},
		{"fetches", fetch(each(parcel{"r1", "a"}, parcel{"r2", "b"})...), nil},
		{"stores", store(each("a", "b")...), out("a", "b")},
		{"deliveries", deliver(each(parcel{"r1", "a"}, parcel{"r2", "b"})...), nil},
	}
}

// TestABatchLeavesInItsInboxWhatIsStillNeeded has every script that handles a
// batch trim its inbox: to what is pending for anyone or was not read yet.
func TestABatchLeavesInItsInboxWhatIsStillNeeded(t *testing.T) {
	batch := []string{"1-0", "2-0"}
	tests := []struct {
		name       string
		start, end stream
	}{
		{
			name:  "nothing, where nothing is pending any more",
			start: given(2),
			end:   handled(2),
		},
		{
			name:  "nothing of what was handled before and is still there",
			start: stream{Entries: filled(1, 3), Read: "3-0", Pending: map[string][]string{worker: batch}},
			end:   handled(3),
		},
		{
			name:  "what was not read yet",
			start: stream{Entries: filled(1, 4), Read: "2-0", Pending: map[string][]string{worker: batch}},
			end:   stream{Entries: filled(3, 4), Read: "2-0", Pending: map[string][]string{worker: nil}},
		},
		{
			name:  "all, where the group was made anew and has read nothing",
			start: stream{Entries: filled(1, 3), Read: unread},
			end:   stream{Entries: filled(1, 3), Read: unread},
		},
		{
			name:  "a newer entry that is pending for another instance, and all after it",
			start: stream{Entries: filled(1, 5), Read: "4-0", Pending: map[string][]string{worker: batch, "worker2": {"3-0"}}},
			end:   stream{Entries: filled(3, 5), Read: "4-0", Pending: map[string][]string{worker: nil, "worker2": {"3-0"}}},
		},
		{
			name:  "a newer entry of this instance that is not in the batch",
			start: given(3),
			end:   inbox(3, 3),
		},
		{
			name: "an older entry that is pending for another instance, and all after it",
			start: stream{
				Entries: append([]entry{{"0-1", "of", "no matter"}, {"0-2", "of", "no matter"}}, filled(1, 3)...),
				Read:    "2-0", Pending: map[string][]string{worker: batch, "worker2": {"0-2"}},
			},
			end: stream{
				Entries: append([]entry{{"0-2", "of", "no matter"}}, filled(1, 3)...),
				Read:    "2-0", Pending: map[string][]string{worker: nil, "worker2": {"0-2"}},
			},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) {
		for _, batch := range batches() {
			for _, test := range tests {
				t.Run(batch.inbox+": "+test.name, func(t *testing.T) {
					b.start(t, batch.start.with(state{batch.inbox: test.start}))
					must(b.do(t, batch.call))(t)
					if diff := cmp.Diff(test.end, b.stream(t, batch.inbox, span{}), cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("inbox (-want +got):\n%s", diff)
					}
				})
			}
		}
	})
}

// TestASingleEntryLeavesInItsInboxWhatIsStillNeeded has every script that handles a
// batch handle one entry, which is taken away without a look at the group where
// nothing else stands in the inbox.
func TestASingleEntryLeavesInItsInboxWhatIsStillNeeded(t *testing.T) {
	handlers := []struct {
		inbox string
		call  call
		start state
	}{
		{"requests", lend(5, by("ann", "r1", "a")), nil},
		{"returns", takeBack(0, by("ann", "r1", "a")), nil},
		{"fetches", fetch(each(parcel{"r1", "a"})...), nil},
		{"stores", store(each("a")...), out("a")},
		{"deliveries", deliver(each(parcel{"r1", "a"})...), nil},
	}
	one := map[string][]string{worker: {"1-0"}}
	tests := []struct {
		name       string
		start, end stream
		onlyRedis  string
	}{
		{name: "nothing, where it stood alone", start: given(1), end: handled(1)},
		{
			name:  "what was not read yet",
			start: stream{Entries: filled(1, 2), Read: "1-0", Pending: one},
			end:   stream{Entries: filled(2, 2), Read: "1-0", Pending: map[string][]string{worker: nil}},
		},
		{
			name:      "the one that was not read yet, where it was itself trimmed away before",
			start:     stream{Entries: filled(2, 2), Read: "1-0", Pending: one},
			end:       stream{Entries: filled(2, 2), Read: "1-0", Pending: map[string][]string{worker: nil}},
			onlyRedis: "the embedded server does not show pending entries that were trimmed away",
		},
		{
			name:      "nothing of what was handled before and is still there, where it was itself trimmed away before",
			start:     stream{Entries: filled(2, 2), Read: "2-0", Pending: one},
			end:       handled(2),
			onlyRedis: "the embedded server does not show pending entries that were trimmed away",
		},
	}
	onBoth(t, func(t *testing.T, b *bench) {
		for _, handler := range handlers {
			for _, test := range tests {
				t.Run(handler.inbox+": "+test.name, func(t *testing.T) {
					if b.embedded && test.onlyRedis != "" {
						t.Skip(test.onlyRedis)
					}
					b.start(t, handler.start.with(state{handler.inbox: test.start}))
					must(b.do(t, handler.call))(t)
					if diff := cmp.Diff(test.end, b.stream(t, handler.inbox, span{}), cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("inbox (-want +got):\n%s", diff)
					}
				})
			}
		}
	})
}

// trimming are the scripts that trim the log: those that decide and that set aside, and
// the one that sets how long it is. What else is logged follows from a decision, and the
// next one trims it.
var trimming = map[string]bool{"lend": true, "return": true, "reject": true, "claim": true, "terms": true}

// TestWhatIsKeptForTheRecordIsBounded lets each of them append to a log, and to
// what is set aside, that are longer than they may be. Redis trims by whole nodes
// of 100 entries, so up to that many more may stay.
func TestWhatIsKeptForTheRecordIsBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for name, example := range examples {
			if example.emits == 0 || !trimming[scriptOf(name)] || b.embedded && example.onlyRedis != "" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				b.start(t, example.start)
				records := map[string]int{"events": logMax}
				if name == "reject" || name == "claim" {
					records["rejected"] = setMax
				}
				for record := range records {
					b.put(t, record, nil)
					pipe := b.rdb.Pipeline()
					for i := range 350 {
						pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: record, ID: id(i + 1), Values: []string{"of", "no matter"}})
					}
					must(pipe.Exec(t.Context()))(t)
				}
				must(b.do(t, example.call))(t)
				for record, most := range records {
					got := must(b.rdb.XRange(t.Context(), record, "-", "+").Result())(t)
					if len(got) < most || len(got) >= most+100 {
						t.Errorf("%s has %d entries, want %d to %d", record, len(got), most, most+99)
					}
					if last := got[len(got)-1]; number(last.ID) <= number(id(350)) {
						t.Errorf("the last of %s is %v, want a new one", record, last)
					}
				}
			})
		}
	})
}

// TestAnEntryThatStaysPendingDoesNotKeepEverythingAfterIt has an entry that is held for
// long, and behind it what was decided meanwhile. That may grow only so far; then a batch
// takes away what it has decided. What was not read yet does not count.
func TestAnEntryThatStaysPendingDoesNotKeepEverythingAfterIt(t *testing.T) {
	const leftMax = 10_000
	tests := []struct {
		name         string
		left, unread int
		batchStays   bool
	}{
		{"few were decided behind it", leftMax - 2, 1, true},
		{"many were decided behind it", leftMax, 1, false},
		{"many were not read yet", 10, leftMax, true},
	}
	onRedis(t, func(t *testing.T, b *bench) {
		for _, batch := range batches() {
			for _, test := range tests {
				t.Run(batch.inbox+": "+test.name, func(t *testing.T) {
					b.start(t, batch.start)
					pipe := b.rdb.Pipeline()
					add := func(id string) {
						pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: batch.inbox, ID: id, Values: []string{"of", "no matter"}})
					}
					read := func(consumer string, count int) {
						pipe.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group, Consumer: consumer, Streams: []string{batch.inbox, ">"}, Count: int64(count), Block: -1})
					}
					pipe.XGroupCreateMkStream(t.Context(), batch.inbox, group, "0")
					add("0-1")
					var left []string
					for i := range test.left {
						left = append(left, fmt.Sprintf("0-%d", i+2))
						add(left[i])
					}
					for i := range 2 + test.unread {
						add(id(i + 1))
					}
					read("worker2", 1)
					read(worker, test.left)
					pipe.XAck(t.Context(), batch.inbox, group, left...)
					read(worker, 2)
					must(pipe.Exec(t.Context()))(t)

					must(b.do(t, batch.call))(t)
					want := 1 + test.left + test.unread
					if test.batchStays {
						want += 2
					}
					if got := must(b.rdb.XLen(t.Context(), batch.inbox).Result())(t); got != int64(want) {
						t.Errorf("the inbox has %d entries, want %d", got, want)
					}
					if got := must(b.rdb.XRange(t.Context(), batch.inbox, "1-0", "2-0").Result())(t); len(got) != 2 && test.batchStays || len(got) > 0 && !test.batchStays {
						t.Errorf("of the batch there is %v; does it stay: %v", got, test.batchStays)
					}

					// When nothing is pending any more, nothing of it is kept.
					must(b.rdb.XAck(t.Context(), batch.inbox, group, "0-1").Result())(t)
					must(b.do(t, batch.call))(t)
					if got := must(b.rdb.XLen(t.Context(), batch.inbox).Result())(t); got != int64(test.unread) {
						t.Errorf("after the held entry was acknowledged the inbox has %d entries, want %d", got, test.unread)
					}
				})
			}
		}
	})
}
