package scripts_test

import (
	"testing"
	"time"

	"example.com/library/scripts"

	"github.com/google/go-cmp/cmp"
)

const reason = `it names no "book", but {braces} and a \`

// A refusal is what reject.lua is told of the entry 2-0.
type refusal struct {
	request string // its request id; "" without one
	receipt string // its text; "" without a request id
	bell    string
	fields  []any // the entry's own
}

func reject(r refusal) call {
	keys := []string{"instance", "inbox", "terms", "rejected", "events"}
	if r.request != "" {
		keys = append(keys, "receipts", "older", "page")
	}
	args := []any{secret, worker, group, setMax, "2-0", reason, r.request, r.receipt, r.bell}
	return call{scripts.Reject, keys, append(args, r.fields...), nil}
}

// claim is the call for entries of worker2's, whose lock is the key "owner", that
// count as delivered twice then.
func claim(ids ...string) call { return claimFrom("worker2", 2, ids...) }

func claimFrom(owner string, count int, ids ...string) call {
	args := []any{secret, worker, owner, group, setMax}
	for _, id := range ids {
		args = append(args, id, count, 5000)
	}
	return call{scripts.Claim, []string{"instance", "owner", "inbox", "terms", "rejected", "events"}, args, nil}
}

// retire is the call for worker1, whose lock is the key "instance".
func retire() call {
	return call{scripts.Retire, []string{"instance", "inbox"}, []any{worker, group}, nil}
}

// retry is the call for the entry 2-0 of those set aside, by its request id; ""
// where it has none.
func retry(request string) call {
	return call{scripts.Retry, []string{"rejected", "inbox", "events", "receipts", "older"}, []any{"2-0", request}, nil}
}

// drop is the call for the entry 2-0 of those set aside.
func drop() call {
	return call{scripts.Drop, []string{"rejected", "events"}, []any{"2-0"}, nil}
}

// shed is the call that leaves so many unread entries, and so many of the log.
func shed(keep, logKeep int) call {
	return call{scripts.Shed, []string{"instance", "inbox", "events"}, []any{secret, worker, group, keep, logKeep}, nil}
}

// waiting is an inbox of n entries, of which the first few are pending for worker1.
func waiting(n, pending int) stream {
	s := given(pending)
	s.Entries = filled(1, n)
	return s
}

func prolong() call {
	return call{scripts.Prolong, []string{"receipts", "older"}, []any{3600 * 1000}, nil}
}

// setAside is an entry of the inbox as it stands among the rejected.
func setAside(id, from, reason string, fields ...string) entry {
	return append(entry{id, "stream", "inbox", "entry", from, "reason", reason}, fields...)
}

func rejectedEvent(from, reason, receipt string) entry {
	return entry{"new", "event", "rejected", "by", worker, "stream", "inbox", "entry", from, "reason", reason, "receipt", receipt}
}

func TestRejectingSetsAnEntryAside(t *testing.T) {
	three := state{"inbox": given(3)}
	without2 := state{"inbox": stream{
		Entries: []entry{filled(1, 1)[0], filled(3, 3)[0]}, Read: "3-0", Pending: map[string][]string{worker: {"1-0", "3-0"}},
	}}
	sorry := `{"id":"r1","outcome":"rejected"}`
	tests := []test{
		{
			name:  "an entry without a request id is set aside with the reason and its fields, and the others stay",
			start: three.with(state{"rejected": entries(entry{"1-0", "stream", "older"})}),
			call:  reject(refusal{fields: []any{".book", `a "b" \c`, ".", "", "..x", "百年"}}),
			want:  "rejected",
			end: without2.with(state{
				"rejected": entries(entry{"1-0", "stream", "older"}, setAside("new", "2-0", reason, ".book", `a "b" \c`, ".", "", "..x", "百年")),
				"events":   entries(rejectedEvent("2-0", reason, "")),
			}),
		},
		{
			name:  "an entry whose fields are too large to keep is set aside without them",
			start: three,
			call:  reject(refusal{}),
			want:  "rejected",
			end: without2.with(state{
				"rejected": entries(setAside("new", "2-0", reason)), "events": entries(rejectedEvent("2-0", reason, "")),
			}),
		},
		{
			name:  "the first receipt begins a page, and lasts three times as long as it must, where nobody turns that",
			start: three.with(state{"page": nil}),
			call:  reject(refusal{request: "r1", receipt: sorry}),
			want:  "rejected",
			end: without2.with(state{
				"page": expiring{worker, weekHours}, "receipts": passing{hash{"r1": sorry}, keptHours},
				"rejected": entries(setAside("new", "2-0", reason)),
				"events":   entries(rejectedEvent("2-0", reason, sorry)),
			}),
		},
		{
			name:  "a request gets a receipt that says so, and the one who waits is rung",
			start: three.with(state{"receipts": passing{hash{"r0": "another"}, 300}, "older": passing{hash{"r00": "an older one"}, 200}}),
			call:  reject(refusal{request: "r1", receipt: sorry, bell: "bell:b1", fields: []any{".id", "r1"}}),
			want:  "rejected",
			rings: []string{"bell:b1 " + sorry},
			end: without2.with(state{
				"receipts": passing{hash{"r0": "another", "r1": sorry}, keptHours}, "older": passing{hash{"r00": "an older one"}, 200},
				"rejected": entries(setAside("new", "2-0", reason, ".id", "r1")),
				"events":   entries(rejectedEvent("2-0", reason, sorry)),
			}),
		},
		{
			name:  "a full page is turned, so that receipts for rubbish come to an end",
			start: three.with(state{"page": nil, "receipts": passing{hash{"r0": "another"}, 1}, "older": passing{hash{"r00": "an older one"}, 200}}),
			call:  reject(refusal{request: "r1", receipt: sorry}),
			want:  "rejected",
			end: without2.with(state{
				"page": expiring{worker, weekHours}, "receipts": passing{hash{"r1": sorry}, keptHours}, "older": passing{hash{"r0": "another"}, 1},
				"rejected": entries(setAside("new", "2-0", reason)),
				"events":   entries(rejectedEvent("2-0", reason, sorry)),
			}),
		},
		{
			name:  "a receipt that stood before still stands",
			start: three.with(state{"receipts": passing{hash{"r1": "the receipt"}, 300}}),
			call:  reject(refusal{request: "r1", receipt: sorry}),
			want:  "rejected",
			end: without2.with(state{
				"receipts": passing{hash{"r1": "the receipt"}, 300},
				"rejected": entries(setAside("new", "2-0", reason)),
				"events":   entries(rejectedEvent("2-0", reason, sorry)),
			}),
		},
		{
			name:  "the one who waits is rung with the receipt that stands",
			start: three.with(state{"receipts": hash{"r1": "the receipt"}}),
			call:  reject(refusal{request: "r1", receipt: sorry, bell: "bell:b1"}),
			want:  "rejected",
			rings: []string{"bell:b1 the receipt"},
			end: without2.with(state{
				"receipts": hash{"r1": "the receipt"},
				"rejected": entries(setAside("new", "2-0", reason)),
				"events":   entries(rejectedEvent("2-0", reason, sorry)),
			}),
		},
		{
			name:  "a receipt on the page before still stands, and is rung",
			start: three.with(state{"receipts": hash{"r0": "another"}, "older": hash{"r1": "the receipt"}}),
			call:  reject(refusal{request: "r1", receipt: sorry, bell: "bell:b1"}),
			want:  "rejected",
			rings: []string{"bell:b1 the receipt"},
			end: without2.with(state{
				"receipts": hash{"r0": "another"}, "older": hash{"r1": "the receipt"},
				"rejected": entries(setAside("new", "2-0", reason)),
				"events":   entries(rejectedEvent("2-0", reason, sorry)),
			}),
		},
		{
			name:  "what was decided behind it while it was pending is trimmed away",
			start: state{"inbox": inbox(3, 2)},
			call:  reject(refusal{}),
			want:  "rejected",
			end: state{
				"inbox":    handled(3),
				"rejected": entries(setAside("new", "2-0", reason)), "events": entries(rejectedEvent("2-0", reason, "")),
			},
		},
		{
			name:  "an entry that is pending for another instance is gone",
			start: state{"inbox": pendingForAnother(3)},
			call:  reject(refusal{request: "r1", receipt: sorry, bell: "bell:b1", fields: []any{".id", "r1"}}),
			want:  "gone",
			end:   state{"inbox": pendingForAnother(3)},
		},
		{
			name:  "an entry that was acknowledged before is gone",
			start: state{"inbox": inbox(3, 1, 3)},
			call:  reject(refusal{request: "r1", receipt: sorry, bell: "bell:b1", fields: []any{".id", "r1"}}),
			want:  "gone",
			end:   state{"inbox": inbox(3, 1, 3)},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestClaimingTakesOverWhatNobodyWorksOn(t *testing.T) {
	const trimmed = "it was trimmed away before it was handled"
	inHands := func(s stream, pending map[string][]string) state {
		s.Pending = pending
		return state{"inbox": s}
	}
	tests := []test{
		{
			name:  "entries of an instance that is gone are pending for this one then",
			start: inHands(given(5), map[string][]string{"worker2": {"1-0", "2-0", "4-0"}, worker: {"3-0"}, "worker3": {"5-0"}}),
			call:  claim("1-0", "4-0"),
			want:  []any{[]any{"1-0", "4-0"}, []any{}},
			end:   inHands(given(5), map[string][]string{"worker2": {"2-0"}, worker: {"1-0", "3-0", "4-0"}, "worker3": {"5-0"}}),
		},
		{
			name:  "nothing is taken from an instance whose lock is held again",
			start: inHands(given(2), map[string][]string{"worker2": {"1-0", "2-0"}}).with(state{"owner": expiring{"token2", 1}}),
			call:  claim("1-0", "2-0"),
			want:  []any{[]any{}, []any{}},
			end:   inHands(given(2), map[string][]string{"worker2": {"1-0", "2-0"}}).with(state{"owner": expiring{"token2", 1}}),
		},
		{
			name:  "what a name left of a service that it does not run any more is taken over",
			start: inHands(given(2), map[string][]string{"worker2": {"1-0", "2-0"}}).with(state{"owner": expiring{`token2{"services":["other"]}`, 1}}),
			call:  claim("1-0"),
			want:  []any{[]any{"1-0"}, []any{}},
			end: inHands(given(2), map[string][]string{"worker2": {"2-0"}, worker: {"1-0"}}).
				with(state{"owner": expiring{`token2{"services":["other"]}`, 1}}),
		},
		{
			name:  "nothing is taken from a name that runs this service among others",
			start: inHands(given(1), map[string][]string{"worker2": {"1-0"}}).with(state{"owner": expiring{`token2{"services":["other","` + group + `"]}`, 1}}),
			call:  claim("1-0"),
			want:  []any{[]any{}, []any{}},
			end:   inHands(given(1), map[string][]string{"worker2": {"1-0"}}).with(state{"owner": expiring{`token2{"services":["other","` + group + `"]}`, 1}}),
		},
		{
			name:  "entries that this instance lost sight of are claimed although its lock is held",
			start: state{"inbox": given(2), "owner": lock},
			call:  claimFrom(worker, 2, "2-0"),
			want:  []any{[]any{"2-0"}, []any{}},
			end:   state{"inbox": given(2), "owner": lock},
		},
		{
			name:  "entries that are no longer pending for the owner stay as they are",
			start: inHands(given(4), map[string][]string{"worker2": {"1-0"}, "worker3": {"2-0"}, worker: {"3-0"}}),
			call:  claim("1-0", "2-0", "3-0", "4-0", "5-0"),
			want:  []any{[]any{"1-0"}, []any{}},
			end:   inHands(given(4), map[string][]string{"worker2": nil, "worker3": {"2-0"}, worker: {"1-0", "3-0"}}),
		},
		{
			name:  "of an owner that was never in the group nothing is claimed",
			start: state{"inbox": given(2)},
			call:  claim("1-0", "2-0"),
			want:  []any{[]any{}, []any{}},
			end:   state{"inbox": given(2)},
		},
		{
			name:      "an entry that was trimmed away while it was pending is set aside",
			onlyRedis: "the embedded server does not show pending entries that were trimmed away",
			start:     inHands(stream{Entries: filled(2, 3), Read: "3-0"}, map[string][]string{"worker2": {"1-0", "2-0", "3-0"}}),
			call:      claim("1-0", "2-0"),
			want:      []any{[]any{"2-0"}, []any{"1-0"}},
			end: inHands(stream{Entries: filled(2, 3), Read: "3-0"}, map[string][]string{"worker2": {"3-0"}, worker: {"2-0"}}).with(state{
				"rejected": entries(setAside("new", "1-0", trimmed)), "events": entries(rejectedEvent("1-0", trimmed, "")),
			}),
		},
		{
			name:      "where all were trimmed away, all are set aside and nothing is claimed",
			onlyRedis: "the embedded server does not show pending entries that were trimmed away",
			start:     inHands(stream{Read: "2-0"}, map[string][]string{worker: {"1-0", "2-0"}}),
			call:      claimFrom(worker, 2, "1-0", "2-0"),
			want:      []any{[]any{}, []any{"1-0", "2-0"}},
			end: inHands(stream{Read: "2-0"}, map[string][]string{worker: nil}).with(state{
				"rejected": entries(setAside("new", "1-0", trimmed), setAside("new", "2-0", trimmed)),
				"events":   entries(rejectedEvent("1-0", trimmed, ""), rejectedEvent("2-0", trimmed, "")),
			}),
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestAClaimSaysHowOftenAnEntryWasDeliveredAndSinceWhen(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, state{"inbox": given(2)})
		for _, count := range []int{2, 1, 0, 7} {
			must(b.do(t, claimFrom(worker, count, "2-0")))(t)
			pending := must(b.rdb.XPendingExt(t.Context(), pendingOf("inbox")).Result())(t)
			if got := pending[1].RetryCount; got != int64(count) {
				t.Errorf("the group says it was delivered %d times, want %d", got, count)
			}
			if got := pending[1].Idle; got < 5*time.Second || got > time.Minute {
				t.Errorf("the group says it was delivered %v ago, want 5s", got)
			}
			if got := pending[0].RetryCount; got != 1 {
				t.Errorf("the group says the other was delivered %d times, want 1 as before", got)
			}
		}
	})
}

func TestRetiringLosesNothing(t *testing.T) {
	tests := []test{
		{
			name:  "an instance whose lock is held is alive, even if nothing is pending for it",
			start: state{"inbox": handled(2)},
			call:  retire(),
			want:  "alive",
			end:   state{"inbox": handled(2)},
		},
		{
			name:  "an instance whose lock is held is alive, even if entries are pending for it",
			start: state{"inbox": given(2)},
			call:  retire(),
			want:  "alive",
			end:   state{"inbox": given(2)},
		},
		{
			name:  "a name that does not run this service any more leaves its group",
			start: state{"instance": expiring{`token{"services":["other"]}`, 1}, "inbox": handled(2)},
			call:  retire(),
			want:  "retired",
			end:   state{"instance": expiring{`token{"services":["other"]}`, 1}, "inbox": stream{Read: "2-0", Pending: map[string][]string{}}},
		},
		{
			name:  "an instance that is gone stays in the group while an entry is pending for it",
			start: state{"instance": nil, "inbox": inbox(2, 2)},
			call:  retire(),
			want:  "pending",
			end:   state{"instance": nil, "inbox": inbox(2, 2)},
		},
		{
			name:      "an instance that is gone stays in the group while a trimmed entry is pending for it",
			onlyRedis: "the embedded server does not show pending entries that were trimmed away",
			start:     state{"instance": nil, "inbox": stream{Read: "1-0", Pending: map[string][]string{worker: {"1-0"}}}},
			call:      retire(),
			want:      "pending",
			end:       state{"instance": nil, "inbox": stream{Read: "1-0", Pending: map[string][]string{worker: {"1-0"}}}},
		},
		{
			name:  "an instance that is gone and has nothing pending is not in the group any more",
			start: state{"instance": nil, "inbox": stream{Entries: filled(1, 3), Read: "2-0", Pending: map[string][]string{worker: nil, "worker2": {"2-0"}}}},
			call:  retire(),
			want:  "retired",
			end:   state{"instance": nil, "inbox": stream{Entries: filled(1, 3), Read: "2-0", Pending: map[string][]string{"worker2": {"2-0"}}}},
		},
		{
			name:  "an instance that was never in the group is not in it",
			start: state{"instance": nil, "inbox": stream{Read: "2-0", Pending: map[string][]string{"worker2": nil}}},
			call:  retire(),
			want:  "retired",
			end:   state{"instance": nil, "inbox": stream{Read: "2-0", Pending: map[string][]string{"worker2": nil}}},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestWhatIsShedIsTheNewestThatNobodyHasRead(t *testing.T) {
	old := []entry{{"1-0", "event", "before"}, {"2-0", "event", "before"}}
	event := func(first, last, count string) entry {
		return entry{"new", "event", "shed", "by", worker, "stream", "inbox", "entry", first, "last", last, "entries", count}
	}
	tests := []test{
		{
			name:  "the newest go, and what an instance has stays",
			start: state{"inbox": waiting(5, 2), "events": entries(old...)},
			call:  shed(1, 5),
			want:  []any{2, 1, 2},
			end:   state{"inbox": waiting(3, 2), "events": entries(old[0], old[1], event("4-0", "5-0", "2"))},
		},
		{
			name:  "all that is unread may go",
			start: state{"inbox": waiting(3, 2), "events": entries(old...)},
			call:  shed(0, 5),
			want:  []any{1, 0, 2},
			end:   state{"inbox": waiting(2, 2), "events": entries(old[0], old[1], event("3-0", "3-0", "1"))},
		},
		{
			name:  "nothing goes where no more wait than may stay",
			start: state{"inbox": waiting(3, 1), "events": entries(old...)},
			call:  shed(2, 5),
			want:  []any{0, 2, 2},
			end:   state{"inbox": waiting(3, 1), "events": entries(old...)},
		},
		{
			name:  "the log is shortened to its newest entries",
			start: state{"inbox": waiting(1, 1), "events": entries(old...)},
			call:  shed(5, 1),
			want:  []any{0, 0, 1},
			end:   state{"inbox": waiting(1, 1), "events": entries(old[1])},
		},
	}
	// The embedded server has no limit on its memory, so nothing is shed there.
	onRedis(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestRetryingPutsAnEntryBack(t *testing.T) {
	inbox := stream{Entries: filled(3, 3), Read: "3-0", Pending: map[string][]string{worker: {"3-0"}}}
	back := func(fields ...string) stream {
		with := inbox
		with.Entries = append(filled(3, 3), append(entry{"new"}, fields...))
		return with
	}
	retried := entries(entry{"new", "event", "retried", "stream", "inbox", "entry", "new", "rejected", "2-0"})
	older, kept := setAside("1-0", "1-0", reason, ".id", "r0"), setAside("2-0", "2-0", reason, ".id", "r1", ".books", `["a \"b\""]`)
	sorry := `{"id":"r1","action":"request","user":"","books":[],"outcome":"rejected","reason":"no"}`
	denied := receipt("request", by("ann", "r1", `"outcome":"rejected"`, `,"outcome":"rejected`), "denied unavailable unavailable")
	tests := []test{
		{
			name:  "an entry that is not set aside is unknown",
			start: state{"inbox": inbox, "rejected": entries(older), "receipts": hash{"r1": `{"outcome":"rejected"}`}},
			call:  retry("r1"),
			want:  "unknown",
			end:   state{"inbox": inbox, "rejected": entries(older), "receipts": hash{"r1": `{"outcome":"rejected"}`}},
		},
		{
			name:  "an entry is unknown where nothing was ever set aside",
			start: state{"inbox": inbox},
			call:  retry(""),
			want:  "unknown",
			end:   state{"inbox": inbox},
		},
		{
			name:  "an entry whose fields were not kept stays set aside",
			start: state{"inbox": inbox, "rejected": entries(older, setAside("2-0", "2-0", reason)), "receipts": hash{"r1": `{"outcome":"rejected"}`}},
			call:  retry("r1"),
			want:  "not_kept",
			end:   state{"inbox": inbox, "rejected": entries(older, setAside("2-0", "2-0", reason)), "receipts": hash{"r1": `{"outcome":"rejected"}`}},
		},
		{
			name:  "an entry goes back into its inbox as it was",
			start: state{"inbox": inbox, "rejected": entries(older, kept)},
			call:  retry(""),
			want:  "new",
			end:   state{"inbox": back("id", "r1", "books", `["a \"b\""]`), "rejected": entries(older), "events": retried},
		},
		{
			name: "a field of the entry's own is told from what was noted with it by the first dot only",
			start: state{"inbox": inbox, "rejected": entries(
				setAside("2-0", "2-0", reason, ".stream", "its own", "..entry", "dotted", ".", "no name", ".id", ""))},
			call: retry(""),
			want: "new",
			end: state{
				"inbox": back("stream", "its own", ".entry", "dotted", "", "no name", "id", ""), "rejected": stream{}, "events": retried,
			},
		},
		{
			name: "a receipt that says it was rejected is taken back",
			start: state{
				"inbox": inbox, "rejected": entries(kept), "receipts": passing{hash{"r0": "another", "r1": sorry}, 300}, "older": hash{"r00": sorry},
			},
			call: retry("r1"),
			want: "new",
			end: state{
				"inbox": back("id", "r1", "books", `["a \"b\""]`), "rejected": stream{}, "events": retried,
				"receipts": passing{hash{"r0": "another"}, 300}, "older": hash{"r00": sorry},
			},
		},
		{
			name: "a receipt that says it was rejected is taken back from the page before",
			start: state{
				"inbox": inbox, "rejected": entries(kept), "receipts": hash{"r0": sorry}, "older": passing{hash{"r00": sorry, "r1": sorry}, 200},
			},
			call: retry("r1"),
			want: "new",
			end: state{
				"inbox": back("id", "r1", "books", `["a \"b\""]`), "rejected": stream{}, "events": retried,
				"receipts": hash{"r0": sorry}, "older": passing{hash{"r00": sorry}, 200},
			},
		},
		{
			name:  "an entry without a request id takes no receipt back",
			start: state{"inbox": inbox, "rejected": entries(kept), "receipts": hash{"r1": sorry}, "older": hash{"r2": sorry}},
			call:  retry(""),
			want:  "new",
			end: state{
				"inbox": back("id", "r1", "books", `["a \"b\""]`), "rejected": stream{}, "events": retried,
				"receipts": hash{"r1": sorry}, "older": hash{"r2": sorry},
			},
		},
		{
			name: "any other receipt stands, even one of books with names like that of the outcome",
			start: state{
				"inbox": inbox, "rejected": entries(kept), "receipts": hash{"r1": denied}, "older": hash{"r00": sorry},
			},
			call: retry("r1"),
			want: "new",
			end: state{
				"inbox": back("id", "r1", "books", `["a \"b\""]`), "rejected": stream{}, "events": retried,
				"receipts": hash{"r1": denied}, "older": hash{"r00": sorry},
			},
		},
		{
			name:  "any other receipt stands on the page before, too",
			start: state{"inbox": inbox, "rejected": entries(kept), "older": hash{"r1": denied}},
			call:  retry("r1"),
			want:  "new",
			end: state{
				"inbox": back("id", "r1", "books", `["a \"b\""]`), "rejected": stream{}, "events": retried, "older": hash{"r1": denied},
			},
		},
		{
			name:  "an entry without any receipt goes back",
			start: state{"inbox": inbox, "rejected": entries(kept)},
			call:  retry("r1"),
			want:  "new",
			end:   state{"inbox": back("id", "r1", "books", `["a \"b\""]`), "rejected": stream{}, "events": retried},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestDroppingGivesAnEntryUp(t *testing.T) {
	older, bare := setAside("1-0", "1-0", reason, ".id", "r0"), entry{"2-0", ".stream", "forged", ".entry", "forged"}
	event := func(inbox, id string) stream {
		return entries(entry{"new", "event", "dropped", "stream", inbox, "entry", id, "rejected", "2-0"})
	}
	sorry := hash{"r1": `{"id":"r1","action":"request","user":"","books":[],"outcome":"rejected","reason":"no"}`}
	tests := []test{
		{
			name:  "an entry that is not set aside is unknown",
			start: state{"rejected": entries(older)},
			call:  drop(),
			want:  "unknown",
			end:   state{"rejected": entries(older)},
		},
		{
			name:  "an entry is unknown where nothing was ever set aside",
			start: state{},
			call:  drop(),
			want:  "unknown",
			end:   state{},
		},
		{
			name:  "an entry is gone, and its receipt stands",
			start: state{"rejected": entries(older, setAside("2-0", "7-0", reason, ".id", "r1")), "receipts": sorry},
			call:  drop(),
			want:  "dropped",
			end:   state{"rejected": entries(older), "receipts": sorry, "events": event("inbox", "7-0")},
		},
		{
			name:  "of one that does not say where it came from the log does not, either",
			start: state{"rejected": entries(bare)},
			call:  drop(),
			want:  "dropped",
			end:   state{"rejected": stream{}, "events": event("", "")},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestARetryTellsTheIDOfTheNewEntry(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, state{"rejected": entries(setAside("2-0", "2-0", reason, ".id", "r1"))})
		reply := must(b.do(t, retry("")))(t)
		again := must(b.do(t, retry("")))(t)
		inbox := must(b.rdb.XRange(t.Context(), "inbox", "-", "+").Result())(t)
		events := must(b.rdb.XRange(t.Context(), "events", "-", "+").Result())(t)
		if len(inbox) != 1 || len(events) != 1 {
			t.Fatalf("the inbox has %v and the log %v, want one entry each", inbox, events)
		}
		want := []any{inbox[0].ID, inbox[0].ID, "unknown"}
		if diff := cmp.Diff(want, []any{reply, events[0].Values["entry"], again}); diff != "" {
			t.Errorf("reply, event, and reply to the same again (-want +got):\n%s", diff)
		}
	})
}

func TestProlongingChangesNothingButTheEnd(t *testing.T) {
	page, before := hash{"r1": "a receipt"}, hash{"r0": "an older one"}
	tests := []test{
		{
			name:  "this page lives longer, and the older one no longer",
			start: state{"receipts": passing{page, 5}, "older": passing{before, 2}},
			call:  prolong(),
			want:  "prolonged",
			end:   state{"receipts": passing{page, 6}, "older": passing{before, 2}},
		},
		{
			name:  "the older page lives longer where there is no other",
			start: state{"older": passing{before, 2}},
			call:  prolong(),
			want:  "prolonged",
			end:   state{"older": passing{before, 3}},
		},
		{
			name:  "a page without an end is let alone",
			start: state{"receipts": page, "older": passing{before, 2}},
			call:  prolong(),
			want:  "prolonged",
			end:   state{"receipts": page, "older": passing{before, 3}},
		},
		{
			name:  "no page, no end",
			start: state{"older": before},
			call:  prolong(),
			want:  "gone",
			end:   state{"older": before},
		},
		{
			name:  "nothing at all",
			start: state{},
			call:  prolong(),
			want:  "gone",
			end:   state{},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}
