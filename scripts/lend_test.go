package scripts_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"example.com/library/scripts"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Terms are the numbers by which lend.lua decides.
type terms struct{ loansMax, demandMax, demandHalf int }

// usual are the terms of most tests. An ask weighs twice as much as the one before
// it, so the demand can be read off: 1, 2, 4, … and the clock is what the next weighs.
var usual = terms{loansMax: 5, demandMax: 100, demandHalf: 1}

// lend is the call for requests that stand in the inbox as 1-0, 2-0, …
func lend(by terms, orders ...order) call {
	keys, args := place(
		[]string{"instance", "requests", "loans", "fetching", "front", "demand", "clock", "fetches", "events"},
		[]any{secret, worker, group, by.loansMax, loanMS, weekMS, logMax, by.demandMax, by.demandHalf, bells},
		orders)
	return call{scripts.Lend, keys, args}
}

func TestLendingDecidesEachRequestAsIfItCameAlone(t *testing.T) {
	geb := by("ann", "r1", "geb")
	tests := []struct {
		decision
		terms terms
	}{
		{decision: decision{
			name:   "a book in front storage is in the user's hands at once",
			start:  state{"front": zset{"geb": 3, "alice": 1}},
			orders: []order{geb},
			want:   []string{receipt("request", geb, "granted", lent("geb", "front"))},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE NOW"},
				"front": zset{"alice": 1}, "demand": zset{"geb": 1}, "clock": 2.0,
			},
		}},
		{decision: decision{
			name:   "the last book leaves front storage empty",
			start:  state{"front": zset{"geb": 3}},
			orders: []order{geb},
			want:   []string{receipt("request", geb, "granted", lent("geb", "front"))},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE NOW"},
				"demand": zset{"geb": 1}, "clock": 2.0,
			},
		}},
		{decision: decision{
			name:   "any other book is ordered from the shelves, for the request and its bell",
			start:  state{"front": zset{"alice": 1}},
			orders: []order{geb.rung("b1")},
			want:   []string{receipt("request", geb, "granted", lent("geb", "shelves"))},
			rings:  []string{"bell:b1 " + receipt("request", geb, "granted", lent("geb", "shelves"))},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE NOW"}, "fetching": hash{"geb": "r1 b1"},
				"fetches": entries(entry{"new", "request", "r1", "book", "geb"}),
				"front":   zset{"alice": 1}, "demand": zset{"geb": 1}, "clock": 2.0,
			},
		}},
		{decision: decision{
			name:   "an order of nobody who waits for a ring has no bell",
			orders: []order{geb},
			want:   []string{receipt("request", geb, "granted", lent("geb", "shelves"))},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE NOW"}, "fetching": hash{"geb": "r1 "},
				"fetches": entries(entry{"new", "request", "r1", "book", "geb"}), "demand": zset{"geb": 1}, "clock": 2.0,
			},
		}},
		{decision: decision{
			name: "orders and loans that stood before still stand",
			start: state{
				"loans": hash{"dune": "ann", "emma": "bob"}, "card:ann": hash{"dune": "9 8"}, "card:bob": hash{"emma": "7 6"},
				"fetching": hash{"dune": "r0 b0"}, "fetches": entries(entry{"1-0", "request", "r0", "book", "dune"}),
				"demand": zset{"emma": 1}, "clock": 8.0, "receipt:r0": expiring{"a receipt", 2},
			},
			orders: []order{geb},
			want:   []string{receipt("request", geb, "granted", lent("geb", "shelves"))},
			end: state{
				"loans":    hash{"dune": "ann", "emma": "bob", "geb": "ann"},
				"card:ann": hash{"dune": "9 8", "geb": "DUE NOW"}, "card:bob": hash{"emma": "7 6"},
				"fetching": hash{"dune": "r0 b0", "geb": "r1 "},
				"fetches":  entries(entry{"1-0", "request", "r0", "book", "dune"}, entry{"new", "request", "r1", "book", "geb"}),
				"demand":   zset{"emma": 1, "geb": 8}, "clock": 16.0, "receipt:r0": expiring{"a receipt", 2},
			},
		}},
		{decision: decision{
			name: "the free books are lent where others are not, in the order they were asked for",
			start: state{
				"loans": hash{"alice": "bob", "emma": "ann"}, "card:ann": hash{"emma": "2000 1000"}, "card:bob": hash{"alice": "3000 1000"},
				"front": zset{"geb": 1},
			},
			orders: []order{by("ann", "r1", "alice", "geb", "emma", "dune")},
			want: []string{receipt("request", by("ann", "r1"), "partial",
				line("alice", "unavailable"), lent("geb", "front"), alreadyYours("emma", "2000"), lent("dune", "shelves"))},
			end: state{
				"loans":    hash{"alice": "bob", "emma": "ann", "geb": "ann", "dune": "ann"},
				"card:ann": hash{"emma": "2000 1000", "geb": "DUE NOW", "dune": "DUE NOW"}, "card:bob": hash{"alice": "3000 1000"},
				"fetching": hash{"dune": "r1 "}, "fetches": entries(entry{"new", "request", "r1", "book", "dune"}),
				"demand": zset{"alice": 1, "geb": 2, "emma": 4, "dune": 8}, "clock": 16.0,
			},
		}},
		{decision: decision{
			name:   "a request for books of which none is free is denied",
			start:  state{"loans": hash{"geb": "bob"}, "card:bob": hash{"geb": "2000 1000"}},
			orders: []order{geb.rung("b1")},
			want:   []string{receipt("request", geb, "denied", line("geb", "unavailable"))},
			rings:  []string{"bell:b1 " + receipt("request", geb, "denied", line("geb", "unavailable"))},
			end: state{
				"loans": hash{"geb": "bob"}, "card:bob": hash{"geb": "2000 1000"}, "demand": zset{"geb": 1}, "clock": 2.0,
			},
		}},
		{decision: decision{
			name:   "a book the user holds is theirs already, with the loan's own due time and no new loan",
			start:  state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "2000 1000"}},
			orders: []order{geb},
			want:   []string{receipt("request", geb, "denied", alreadyYours("geb", "2000"))},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "2000 1000"}, "demand": zset{"geb": 1}, "clock": 2.0,
			},
		}},
		{decision: decision{
			name:   "a loan that is not on the card is theirs already, with no due time",
			start:  state{"loans": hash{"geb": "ann"}},
			orders: []order{geb},
			want:   []string{receipt("request", geb, "denied", line("geb", "already_yours"))},
			end:    state{"loans": hash{"geb": "ann"}, "demand": zset{"geb": 1}, "clock": 2.0},
		}},
		{
			terms: terms{2, 100, 1},
			decision: decision{
				name: "a request that would take the user over the limit is denied whole",
				start: state{
					"loans": hash{"emma": "ann", "alice": "bob"}, "card:ann": hash{"emma": "2000 1000"}, "card:bob": hash{"alice": "3000 1000"},
					"front": zset{"geb": 1},
				},
				orders: []order{by("ann", "r1", "geb", "alice", "dune", "emma")},
				want: []string{receipt("request", by("ann", "r1"), "denied",
					line("geb", "over_limit"), line("alice", "unavailable"), line("dune", "over_limit"), alreadyYours("emma", "2000"))},
				end: state{
					"loans": hash{"emma": "ann", "alice": "bob"}, "card:ann": hash{"emma": "2000 1000"}, "card:bob": hash{"alice": "3000 1000"},
					"front": zset{"geb": 1}, "demand": zset{"geb": 1, "alice": 2, "dune": 4, "emma": 8}, "clock": 16.0,
				},
			},
		},
		{
			terms: terms{2, 100, 1},
			decision: decision{
				name: "a user may hold as many books as the limit says, and only free ones count against it",
				start: state{
					"loans": hash{"emma": "ann", "alice": "bob"}, "card:ann": hash{"emma": "2000 1000"}, "card:bob": hash{"alice": "3000 1000"},
					"front": zset{"geb": 1},
				},
				orders: []order{by("ann", "r1", "geb", "alice", "emma")},
				want: []string{receipt("request", by("ann", "r1"), "partial",
					lent("geb", "front"), line("alice", "unavailable"), alreadyYours("emma", "2000"))},
				end: state{
					"loans":    hash{"emma": "ann", "alice": "bob", "geb": "ann"},
					"card:ann": hash{"emma": "2000 1000", "geb": "DUE NOW"}, "card:bob": hash{"alice": "3000 1000"},
					"demand": zset{"geb": 1, "alice": 2, "emma": 4}, "clock": 8.0,
				},
			},
		},
		{decision: decision{
			name:   "a request with a receipt is a repeat: its receipt is rung again, and nothing else happens",
			start:  state{"receipt:r1": expiring{"the receipt", 1}, "front": zset{"geb": 1}, "demand": zset{"geb": 1}, "clock": 2.0},
			orders: []order{geb.rung("b1")},
			want:   []string{"repeat"},
			rings:  []string{"bell:b1 the receipt"},
			end:    state{"receipt:r1": expiring{"the receipt", 1}, "front": zset{"geb": 1}, "demand": zset{"geb": 1}, "clock": 2.0},
		}},
		{decision: decision{
			name:   "a repeat in a batch leaves the others to be decided, and counts no demand",
			start:  state{"receipt:r1": expiring{"the receipt", 1}, "demand": zset{"geb": 3}, "clock": 4.0},
			orders: []order{by("ann", "r1", "geb", "alice"), by("bob", "r2", "emma")},
			want:   []string{"repeat", receipt("request", by("bob", "r2"), "granted", lent("emma", "shelves"))},
			end: state{
				"receipt:r1": expiring{"the receipt", 1},
				"loans":      hash{"emma": "bob"}, "card:bob": hash{"emma": "DUE NOW"},
				"fetching": hash{"emma": "r2 "}, "fetches": entries(entry{"new", "request", "r2", "book", "emma"}),
				"demand": zset{"geb": 3, "emma": 4}, "clock": 8.0,
			},
		}},
		{decision: decision{
			name:   "the same request twice in one batch is decided once, even if it asks for other books then",
			orders: []order{geb.rung("b1"), by("ann", "r1", "alice").rung("b2")},
			want:   []string{receipt("request", geb, "granted", lent("geb", "shelves")), "repeat"},
			rings: []string{
				"bell:b1 " + receipt("request", geb, "granted", lent("geb", "shelves")),
				"bell:b2 " + receipt("request", geb, "granted", lent("geb", "shelves")),
			},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE NOW"}, "fetching": hash{"geb": "r1 b1"},
				"fetches": entries(entry{"new", "request", "r1", "book", "geb"}), "demand": zset{"geb": 1}, "clock": 2.0,
			},
		}},
		{decision: decision{
			name:   "of two users who ask for one book in front storage in one batch, the first gets it",
			start:  state{"front": zset{"geb": 1}},
			orders: []order{geb, by("bob", "r2", "geb")},
			want: []string{
				receipt("request", geb, "granted", lent("geb", "front")),
				receipt("request", by("bob", "r2"), "denied", line("geb", "unavailable")),
			},
			end: state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE NOW"}, "demand": zset{"geb": 3}, "clock": 4.0},
		}},
		{decision: decision{
			name:   "of two users who ask for one book on the shelves in one batch, the first gets it, and it is ordered once",
			orders: []order{geb, by("bob", "r2", "alice", "geb")},
			want: []string{
				receipt("request", geb, "granted", lent("geb", "shelves")),
				receipt("request", by("bob", "r2"), "partial", lent("alice", "shelves"), line("geb", "unavailable")),
			},
			end: state{
				"loans": hash{"geb": "ann", "alice": "bob"}, "card:ann": hash{"geb": "DUE NOW"}, "card:bob": hash{"alice": "DUE NOW"},
				"fetching": hash{"geb": "r1 ", "alice": "r2 "},
				"fetches":  entries(entry{"new", "request", "r1", "book", "geb"}, entry{"new", "request", "r2", "book", "alice"}),
				"demand":   zset{"geb": 5, "alice": 2}, "clock": 8.0,
			},
		}},
		{decision: decision{
			name:   "a book the user was lent earlier in the batch is theirs already",
			orders: []order{geb, by("ann", "r2", "geb")},
			want: []string{
				receipt("request", geb, "granted", lent("geb", "shelves")),
				receipt("request", by("ann", "r2"), "denied", alreadyYours("geb", "DUE")),
			},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE NOW"}, "fetching": hash{"geb": "r1 "},
				"fetches": entries(entry{"new", "request", "r1", "book", "geb"}), "demand": zset{"geb": 3}, "clock": 4.0,
			},
		}},
		{
			terms: terms{3, 100, 1},
			decision: decision{
				name:   "one user's requests in one batch count against the limit one after another",
				start:  state{"card:ann": hash{"dune": "2000 1000"}, "loans": hash{"dune": "ann"}, "front": zset{"a": 1, "b": 1, "c": 1, "d": 1}},
				orders: []order{by("ann", "r1", "a"), by("ann", "r2", "b", "c"), by("ann", "r3", "d"), by("ann", "r4", "c"), by("bob", "r5", "c")},
				want: []string{
					receipt("request", by("ann", "r1"), "granted", lent("a", "front")),
					receipt("request", by("ann", "r2"), "denied", line("b", "over_limit"), line("c", "over_limit")),
					receipt("request", by("ann", "r3"), "granted", lent("d", "front")),
					receipt("request", by("ann", "r4"), "denied", line("c", "over_limit")),
					receipt("request", by("bob", "r5"), "granted", lent("c", "front")),
				},
				end: state{
					"card:ann": hash{"dune": "2000 1000", "a": "DUE NOW", "d": "DUE NOW"}, "card:bob": hash{"c": "DUE NOW"},
					"loans": hash{"dune": "ann", "a": "ann", "d": "ann", "c": "bob"}, "front": zset{"b": 1},
					"demand": zset{"a": 1, "b": 2, "c": 4 + 16 + 32, "d": 8}, "clock": 64.0,
				},
			},
		},
		{
			terms: terms{5, 2, 1},
			decision: decision{
				name:   "demand is remembered for so many books only, and the one in least demand is forgotten",
				start:  state{"demand": zset{"alice": 1000, "dune": 3}, "clock": 4.0, "front": zset{"geb": 1}},
				orders: []order{geb},
				want:   []string{receipt("request", geb, "granted", lent("geb", "front"))},
				end: state{
					"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE NOW"},
					"demand": zset{"alice": 1000, "geb": 4}, "clock": 8.0,
				},
			},
		},
		{
			terms: terms{5, 2, 1},
			decision: decision{
				name:   "demand keeps its bound where one batch asks for more books than that",
				start:  state{"loans": hash{"a": "bob", "b": "bob", "c": "bob", "d": "bob"}},
				orders: []order{by("ann", "r1", "a", "b", "c"), by("ann", "r2", "d", "a")},
				want: []string{
					receipt("request", by("ann", "r1"), "denied", line("a", "unavailable"), line("b", "unavailable"), line("c", "unavailable")),
					receipt("request", by("ann", "r2"), "denied", line("d", "unavailable"), line("a", "unavailable")),
				},
				end: state{
					"loans":  hash{"a": "bob", "b": "bob", "c": "bob", "d": "bob"},
					"demand": zset{"a": 1 + 16, "d": 8}, "clock": 32.0,
				},
			},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) {
		var all []test
		for _, test := range tests {
			if test.terms == (terms{}) {
				test.terms = usual
			}
			all = append(all, test.test("requests", lend(test.terms, test.orders...)))
		}
		b.run(t, all)
	})
}

// TestNamesAreLentAsTheyAre asks, by users with odd names, for books with odd names.
func TestNamesAreLentAsTheyAre(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for _, name := range oddNames {
			t.Run(name, func(t *testing.T) {
				odd := by(name, "r1", name, "plain")
				d := decision{
					start:  state{"front": zset{name: 1}},
					orders: []order{odd},
					want:   []string{receipt("request", odd, "granted", lent(name, "front"), lent("plain", "shelves"))},
					end: state{
						"loans": hash{name: name, "plain": name}, "card:" + name: hash{name: "DUE NOW", "plain": "DUE NOW"},
						"fetching": hash{"plain": "r1 "}, "fetches": entries(entry{"new", "request", "r1", "book", "plain"}),
						"demand": zset{name: 1, "plain": 2}, "clock": 4.0,
					},
				}
				b.run(t, []test{d.test("requests", lend(usual, odd))})
				var read struct {
					User  string
					Books []struct{ Book string }
				}
				if err := json.Unmarshal([]byte(must(b.rdb.Get(t.Context(), "receipt:r1").Result())(t)), &read); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{name, name}, []string{read.User, read.Books[0].Book}); diff != "" {
					t.Errorf("names in the receipt (-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestALoanIsDueItsTimeAfterTheServersClock(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, state{"requests": given(1)})
		from := b.now(t)
		reply := must(b.do(t, lend(usual, by("ann", "r1", "geb"))))(t).([]any)[0].(string)
		to := b.now(t)
		var due, since, told int64
		card := must(b.rdb.HGet(t.Context(), "card:ann", "geb").Result())(t)
		if _, err := fmt.Sscanf(card, "%d %d", &due, &since); err != nil {
			t.Fatalf("the card says %q: %v", card, err)
		}
		if since < from || since > to {
			t.Errorf("the loan began at %d, want from %d to %d", since, from, to)
		}
		if due != since+loanMS {
			t.Errorf("the loan is due at %d, want %d", due, since+loanMS)
		}
		var read struct {
			Books []struct {
				DueMS int64 `json:"due_ms"`
			}
		}
		if err := json.Unmarshal([]byte(reply), &read); err != nil {
			t.Fatal(err)
		}
		if told = read.Books[0].DueMS; told != due {
			t.Errorf("the receipt says it is due at %d, the card at %d", told, due)
		}
	})
}

func TestAnAskWeighsTwiceAsMuchAsOneDemandHalfAsksBefore(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, state{"requests": given(1)})
		order, want := by("ann", "r1"), zset{}
		for i := range 11 {
			book := fmt.Sprint("book", i)
			order.books = append(order.books, book)
			want[book] = math.Pow(2, float64(i)/10)
		}
		must(b.do(t, lend(terms{5, 100, 10}, order)))(t)
		if diff := cmp.Diff(want, b.state(t, span{})["demand"], cmpopts.EquateApprox(1e-9, 0)); diff != "" {
			t.Errorf("demand (-want +got):\n%s", diff)
		}
	})
}

func TestAnOldFavouriteIsOvertakenByFewerAsksThatAreNewer(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, state{"requests": given(1)})
		asks := 0
		ask := func(books ...string) zset {
			t.Helper()
			for _, book := range books {
				asks++
				must(b.do(t, lend(terms{5, 100, 10}, by("ann", fmt.Sprint("r", asks), book))))(t)
			}
			return b.state(t, span{})["demand"].(zset)
		}
		before := ask("old", "old", "old")["old"]
		after := ask("a", "b", "c", "d", "e", "f", "g", "new", "new")
		if after["old"] != before {
			t.Errorf("the demand of a book nobody asked for went from %v to %v", before, after["old"])
		}
		if after["new"] <= after["old"] {
			t.Errorf("two asks ten asks later weigh %v, want more than the three old ones' %v", after["new"], after["old"])
		}
	})
}
