package scripts_test

import (
	"fmt"
	"testing"

	"example.com/library/scripts"

	"github.com/google/go-cmp/cmp"
)

// takeBack is the call for returns that stand in the inbox as 1-0, 2-0, …, where
// front storage has room for so many books.
func takeBack(frontMax int, orders ...order) call {
	keys, args := place(
		[]string{"instance", "returns", "loans", "fetching", "front", "demand", "stores", "events"},
		[]any{secret, worker, group, frontMax, weekMS, logMax, bells},
		orders)
	return call{scripts.Return, keys, args}
}

// shelved is the event of books that went from front storage to the shelves.
func shelved(books string) entry {
	return entry{"new", "event", "shelved", "by", worker, "books", books}
}

func TestReturningEndsLoansOneAfterAnother(t *testing.T) {
	geb := by("ann", "r1", "geb")
	returned := receipt("return", geb, "returned", line("geb", "returned"))
	notYours := receipt("return", geb, "refused", line("geb", "not_yours"))
	lentToAnn := state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "2000 1000"}}
	lentToBob := state{"loans": hash{"geb": "bob"}, "card:bob": hash{"geb": "2000 1000"}}
	tests := []struct {
		decision
		frontMax int
	}{
		{frontMax: 20, decision: decision{
			name:   "a book that comes back stands in front storage, by the demand for it",
			start:  lentToAnn.with(state{"demand": zset{"geb": 3, "alice": 4}, "front": zset{"alice": 1}, "clock": 8.0}),
			orders: []order{geb},
			want:   []string{returned},
			end:    state{"front": zset{"geb": 3, "alice": 1}, "demand": zset{"geb": 3, "alice": 4}, "clock": 8.0},
		}},
		{frontMax: 20, decision: decision{
			name:   "a book whose demand is forgotten comes back as one asked for at the beginning of time",
			start:  lentToAnn,
			orders: []order{geb},
			want:   []string{returned},
			end:    state{"front": zset{"geb": 1}},
		}},
		{frontMax: 20, decision: decision{
			name: "loans that are not ended still stand",
			start: state{
				"loans": hash{"geb": "ann", "emma": "ann", "dune": "bob"}, "fetching": hash{"dune": "r0 "},
				"card:ann": hash{"geb": "2000 1000", "emma": "4 3"}, "card:bob": hash{"dune": "6 5"},
			},
			orders: []order{geb.rung("b1")},
			want:   []string{returned},
			rings:  []string{"bell:b1 " + returned},
			end: state{
				"loans": hash{"emma": "ann", "dune": "bob"}, "fetching": hash{"dune": "r0 "},
				"card:ann": hash{"emma": "4 3"}, "card:bob": hash{"dune": "6 5"}, "front": zset{"geb": 1},
			},
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that another user holds is refused",
			start:  lentToBob,
			orders: []order{geb.rung("b1")},
			want:   []string{notYours},
			rings:  []string{"bell:b1 " + notYours},
			end:    lentToBob,
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that nobody holds is refused",
			start:  state{"front": zset{"geb": 2}},
			orders: []order{geb},
			want:   []string{notYours},
			end:    state{"front": zset{"geb": 2}},
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that is still being fetched is on its way and cannot come back yet",
			start:  lentToAnn.with(state{"fetching": hash{"geb": "r0 b0"}}),
			orders: []order{geb},
			want:   []string{receipt("return", geb, "refused", line("geb", "on_its_way"))},
			end:    lentToAnn.with(state{"fetching": hash{"geb": "r0 b0"}}),
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that is being fetched for another user is not yours",
			start:  lentToBob.with(state{"fetching": hash{"geb": "r0 b0"}}),
			orders: []order{geb},
			want:   []string{notYours},
			end:    lentToBob.with(state{"fetching": hash{"geb": "r0 b0"}}),
		}},
		{frontMax: 20, decision: decision{
			name: "what can come back does, where other books cannot",
			start: state{
				"loans": hash{"geb": "ann", "alice": "bob", "emma": "ann", "dune": "ann"}, "fetching": hash{"emma": "r0 "},
				"card:ann": hash{"geb": "2 1", "emma": "4 3", "dune": "6 5"}, "card:bob": hash{"alice": "8 7"},
			},
			orders: []order{by("ann", "r1", "alice", "geb", "emma", "dune")},
			want: []string{receipt("return", by("ann", "r1"), "partial",
				line("alice", "not_yours"), line("geb", "returned"), line("emma", "on_its_way"), line("dune", "returned"))},
			end: state{
				"loans": hash{"alice": "bob", "emma": "ann"}, "fetching": hash{"emma": "r0 "},
				"card:ann": hash{"emma": "4 3"}, "card:bob": hash{"alice": "8 7"}, "front": zset{"geb": 1, "dune": 1},
			},
		}},
		{frontMax: 0, decision: decision{
			name:   "without any front storage a book goes to the shelves",
			start:  lentToAnn,
			orders: []order{geb},
			want:   []string{returned},
			end:    state{"stores": entries(entry{"new", "book", "geb"}), "events": entries(shelved(`["geb"]`))},
		}},
		{frontMax: 1, decision: decision{
			name:   "where there is room for one, the book that comes back stays if it is in more demand",
			start:  lentToAnn.with(state{"demand": zset{"geb": 3}, "front": zset{"alice": 2}}),
			orders: []order{geb},
			want:   []string{returned},
			end: state{
				"demand": zset{"geb": 3}, "front": zset{"geb": 3},
				"stores": entries(entry{"new", "book", "alice"}), "events": entries(shelved(`["alice"]`)),
			},
		}},
		{frontMax: 1, decision: decision{
			name:   "where there is room for one, the book that stands there stays if it is in more demand",
			start:  lentToAnn.with(state{"demand": zset{"geb": 2}, "front": zset{"alice": 3}}),
			orders: []order{geb},
			want:   []string{returned},
			end: state{
				"demand": zset{"geb": 2}, "front": zset{"alice": 3},
				"stores": entries(entry{"new", "book", "geb"}), "events": entries(shelved(`["geb"]`)),
			},
		}},
		{frontMax: 2, decision: decision{
			name:   "the last place in front storage is filled before anything leaves it",
			start:  lentToAnn.with(state{"front": zset{"alice": 3}}),
			orders: []order{geb},
			want:   []string{returned},
			end:    state{"front": zset{"alice": 3, "geb": 1}},
		}},
		{frontMax: 3, decision: decision{
			name: "of all that came back in a batch and all that stood there, the least in demand go, in that order",
			start: state{
				"loans": hash{"a": "ann", "b": "ann", "c": "bob"}, "card:ann": hash{"a": "2 1", "b": "4 3"}, "card:bob": hash{"c": "6 5"},
				"demand": zset{"a": 9, "b": 2, "c": 7}, "front": zset{"d": 8, "e": 5, "f": 1},
				"stores": entries(entry{"1-0", "book", "z"}),
			},
			orders: []order{by("ann", "r1", "a", "b"), by("bob", "r2", "c")},
			want: []string{
				receipt("return", by("ann", "r1"), "returned", line("a", "returned"), line("b", "returned")),
				receipt("return", by("bob", "r2"), "returned", line("c", "returned")),
			},
			end: state{
				"demand": zset{"a": 9, "b": 2, "c": 7}, "front": zset{"a": 9, "d": 8, "c": 7},
				"stores": entries(entry{"1-0", "book", "z"}, entry{"new", "book", "f"}, entry{"new", "book", "b"}, entry{"new", "book", "e"}),
				"events": entries(shelved(`["f","b","e"]`)),
			},
		}},
		{frontMax: 1, decision: decision{
			name:   "a front storage that has become smaller is emptied by the next return",
			start:  lentToAnn.with(state{"demand": zset{"geb": 9}, "front": zset{"a": 1, "b": 2, "c": 3}}),
			orders: []order{geb},
			want:   []string{returned},
			end: state{
				"demand": zset{"geb": 9}, "front": zset{"geb": 9},
				"stores": entries(entry{"new", "book", "a"}, entry{"new", "book", "b"}, entry{"new", "book", "c"}),
				"events": entries(shelved(`["a","b","c"]`)),
			},
		}},
		{frontMax: 1, decision: decision{
			name:   "a refused return moves nothing, even out of a front storage that has become smaller",
			start:  state{"front": zset{"a": 1, "b": 2, "c": 3}},
			orders: []order{geb},
			want:   []string{notYours},
			end:    state{"front": zset{"a": 1, "b": 2, "c": 3}},
		}},
		{frontMax: 20, decision: decision{
			name:   "a return with a receipt is a repeat: its receipt is rung again, and nothing else happens",
			start:  lentToAnn.with(state{"receipt:r1": expiring{"the receipt", 1}}),
			orders: []order{geb.rung("b1")},
			want:   []string{"repeat"},
			rings:  []string{"bell:b1 the receipt"},
			end:    lentToAnn.with(state{"receipt:r1": expiring{"the receipt", 1}}),
		}},
		{frontMax: 20, decision: decision{
			name: "the same return twice in one batch is decided once, even if it names other books then",
			start: state{
				"loans": hash{"geb": "ann", "alice": "ann"}, "card:ann": hash{"geb": "2 1", "alice": "4 3"},
			},
			orders: []order{geb.rung("b1"), by("ann", "r1", "alice").rung("b2")},
			want:   []string{returned, "repeat"},
			rings:  []string{"bell:b1 " + returned, "bell:b2 " + returned},
			end:    state{"loans": hash{"alice": "ann"}, "card:ann": hash{"alice": "4 3"}, "front": zset{"geb": 1}},
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that came back earlier in the batch is not yours any more",
			start:  lentToAnn,
			orders: []order{geb, by("ann", "r2", "geb"), by("bob", "r3", "geb")},
			want: []string{
				returned,
				receipt("return", by("ann", "r2"), "refused", line("geb", "not_yours")),
				receipt("return", by("bob", "r3"), "refused", line("geb", "not_yours")),
			},
			end: state{"front": zset{"geb": 1}},
		}},
		{frontMax: 20, decision: decision{
			name:   "another user's return earlier in the batch does not end the loan",
			start:  lentToAnn,
			orders: []order{by("bob", "r0", "geb"), geb},
			want:   []string{receipt("return", by("bob", "r0"), "refused", line("geb", "not_yours")), returned},
			end:    state{"front": zset{"geb": 1}},
		}},
	}
	onBoth(t, func(t *testing.T, b *bench) {
		var all []test
		for _, test := range tests {
			all = append(all, test.test("returns", takeBack(test.frontMax, test.orders...)))
		}
		b.run(t, all)
	})
}

// TestNamesComeBackAsTheyAre has users with odd names bring books with odd names.
func TestNamesComeBackAsTheyAre(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for _, name := range oddNames {
			odd := by(name, "r1", name, "plain")
			d := decision{
				name:   name,
				start:  state{"loans": hash{name: name}, "card:" + name: hash{name: "2000 1000"}},
				orders: []order{odd},
				want:   []string{receipt("return", odd, "partial", line(name, "returned"), line("plain", "not_yours"))},
				end:    state{"stores": entries(entry{"new", "book", name}), "events": entries(shelved("[" + quoted(name) + "]"))},
			}
			b.run(t, []test{d.test("returns", takeBack(0, odd))})
		}
	})
}

func TestAReturnMovesAtMostAThousandBooksMoreThanCameBack(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		front := zset{}
		for i := range 1500 {
			front[fmt.Sprintf("book%04d", i)] = float64(i + 1)
		}
		b.start(t, state{
			"returns": given(1), "front": front,
			"loans": hash{"geb": "ann", "dune": "ann"}, "card:ann": hash{"geb": "2 1", "dune": "4 3"},
		})
		must(b.do(t, takeBack(20, by("ann", "r1", "geb", "dune"))))(t)
		got := []int64{
			must(b.rdb.XLen(t.Context(), "stores").Result())(t),
			must(b.rdb.ZCard(t.Context(), "front").Result())(t),
			must(b.rdb.ZRank(t.Context(), "front", "book1000").Result())(t),
		}
		if diff := cmp.Diff([]int64{1002, 500, 0}, got); diff != "" {
			t.Errorf("books shelved, books left in front, rank of the least in demand that stays (-want +got):\n%s", diff)
		}
	})
}
