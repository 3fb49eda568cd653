package scripts_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"example.com/library/scripts"

	"github.com/google/go-cmp/cmp"
)

// lend is the call for requests that stand in the inbox as 1-0, 2-0, …
func lend(loansMax int, orders ...order) call {
	keys, args := place("request",
		[]string{"instance", "requests", "terms", "loans", "fetching", "front", "receipts", "older", "page", "fetches", "events"},
		[]any{secret, worker, group, version, loansMax, 0, dayEndsMS, stamp, weekMS, logMax, bells},
		orders)
	return call{scripts.Lend, keys, args, agreed}
}

func TestLendingDecidesEachRequestAsIfItCameAlone(t *testing.T) {
	geb := by("ann", "r1", "geb")
	tests := []struct {
		decision
		loansMax int // 5 if it does not matter
	}{
		{decision: decision{
			name:   "a book in front storage is in the user's hands at once",
			start:  state{"front": setOf("geb", "alice")},
			orders: []order{geb},
			want:   []string{"granted front"},
			end:    state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE0028"}, "front": setOf("alice")},
		}},
		{decision: decision{
			name:   "the last book leaves front storage empty",
			start:  state{"front": setOf("geb")},
			orders: []order{geb},
			want:   []string{"granted front"},
			end:    state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE0028"}},
		}},
		{decision: decision{
			name:   "any other book is ordered from the shelves, for the request and its bell",
			start:  state{"front": setOf("alice")},
			orders: []order{geb.rung("b1")},
			want:   []string{"granted shelves"},
			rings:  []string{"bell:b1 " + receipt("request", geb, "granted shelves")},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE0028"}, "fetching": hash{"geb": "r1 b1"},
				"fetches": entries(sent(parcel{"r1", "geb"})), "front": setOf("alice"),
			},
		}},
		{decision: decision{
			name:   "an order of nobody who waits for a ring has no bell",
			orders: []order{geb},
			want:   []string{"granted shelves"},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE0028"}, "fetching": hash{"geb": "r1 "},
				"fetches": entries(sent(parcel{"r1", "geb"})),
			},
		}},
		{decision: decision{
			name: "what stood before still stands",
			start: state{
				"loans": hash{"dune": "ann", "emma": "bob"}, "card:ann": hash{"dune": "90008"}, "card:bob": hash{"emma": "70006"},
				"fetching": hash{"dune": "r0 b0"}, "fetches": entries(entry{"1-0", "orders", `[["r0","dune"]]`}),
				"demand": weights{"emma": 1, "geb": 2}, "clock": 8.0,
				"receipts": hash{"r0": "a receipt"}, "older": passing{hash{"r00": "an older one"}, 2},
			},
			orders: []order{geb},
			want:   []string{"granted shelves"},
			end: state{
				"loans":    hash{"dune": "ann", "emma": "bob", "geb": "ann"},
				"card:ann": hash{"dune": "90008", "geb": "DUE0028"}, "card:bob": hash{"emma": "70006"},
				"fetching": hash{"dune": "r0 b0", "geb": "r1 "},
				"fetches":  entries(entry{"1-0", "orders", `[["r0","dune"]]`}, sent(parcel{"r1", "geb"})),
				"demand":   weights{"emma": 1, "geb": 2}, "clock": 8.0,
				"receipts": hash{"r0": "a receipt"}, "older": passing{hash{"r00": "an older one"}, 2},
			},
		}},
		{decision: decision{
			name: "the free books are lent where others are not, in the order they were asked for",
			start: state{
				"loans": hash{"alice": "bob", "emma": "ann"}, "card:ann": hash{"emma": "20000001"}, "card:bob": hash{"alice": "30000001"},
				"front": setOf("geb"),
			},
			orders: []order{by("ann", "r1", "alice", "geb", "emma", "dune")},
			want:   []string{"partial unavailable front already_yours:2000 shelves"},
			end: state{
				"loans":    hash{"alice": "bob", "emma": "ann", "geb": "ann", "dune": "ann"},
				"card:ann": hash{"emma": "20000001", "geb": "DUE0028", "dune": "DUE0028"}, "card:bob": hash{"alice": "30000001"},
				"fetching": hash{"dune": "r1 "}, "fetches": entries(sent(parcel{"r1", "dune"})),
			},
		}},
		{decision: decision{
			name:   "a request for books of which none is free is denied",
			start:  state{"loans": hash{"geb": "bob"}, "card:bob": hash{"geb": "20000001"}},
			orders: []order{geb.rung("b1")},
			want:   []string{"denied unavailable"},
			rings:  []string{"bell:b1 " + receipt("request", geb, "denied unavailable")},
			end:    state{"loans": hash{"geb": "bob"}, "card:bob": hash{"geb": "20000001"}},
		}},
		{decision: decision{
			name:   "a book the user holds is theirs already, with the loan's own due time and no new loan",
			start:  state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "20000001"}},
			orders: []order{geb},
			want:   []string{"denied already_yours:2000"},
			end:    state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "20000001"}},
		}},
		{decision: decision{
			name:   "a loan that is not on the card is theirs already, with no due time",
			start:  state{"loans": hash{"geb": "ann"}},
			orders: []order{geb},
			want:   []string{"denied already_yours"},
			end:    state{"loans": hash{"geb": "ann"}},
		}},
		{loansMax: 2, decision: decision{
			name: "a request that would take the user over the limit is denied whole",
			start: state{
				"loans": hash{"emma": "ann", "alice": "bob"}, "card:ann": hash{"emma": "20000001"}, "card:bob": hash{"alice": "30000001"},
				"front": setOf("geb"),
			},
			orders: []order{by("ann", "r1", "geb", "alice", "dune", "emma")},
			want:   []string{"denied over_limit unavailable over_limit already_yours:2000"},
			end: state{
				"loans": hash{"emma": "ann", "alice": "bob"}, "card:ann": hash{"emma": "20000001"}, "card:bob": hash{"alice": "30000001"},
				"front": setOf("geb"),
			},
		}},
		{loansMax: 2, decision: decision{
			name: "a user may hold as many books as the limit says, and only free ones count against it",
			start: state{
				"loans": hash{"emma": "ann", "alice": "bob"}, "card:ann": hash{"emma": "20000001"}, "card:bob": hash{"alice": "30000001"},
				"front": setOf("geb"),
			},
			orders: []order{by("ann", "r1", "geb", "alice", "emma")},
			want:   []string{"partial front unavailable already_yours:2000"},
			end: state{
				"loans":    hash{"emma": "ann", "alice": "bob", "geb": "ann"},
				"card:ann": hash{"emma": "20000001", "geb": "DUE0028"}, "card:bob": hash{"alice": "30000001"},
			},
		}},
		{decision: decision{
			name:   "a request with a receipt is a repeat: its receipt is rung again, and nothing else happens",
			start:  state{"receipts": hash{"r1": "the receipt"}, "front": setOf("geb")},
			orders: []order{geb.rung("b1")},
			want:   []string{"repeat"},
			rings:  []string{"bell:b1 the receipt"},
			end:    state{"receipts": hash{"r1": "the receipt"}, "front": setOf("geb")},
		}},
		{decision: decision{
			name:   "a request with a receipt on the page before is a repeat, too",
			start:  state{"receipts": hash{"r0": "another"}, "older": hash{"r1": "the receipt"}, "front": setOf("geb")},
			orders: []order{geb.rung("b1")},
			want:   []string{"repeat"},
			rings:  []string{"bell:b1 the receipt"},
			end:    state{"receipts": hash{"r0": "another"}, "older": hash{"r1": "the receipt"}, "front": setOf("geb")},
		}},
		{decision: decision{
			name:   "a request that was itself rejected is a repeat",
			start:  state{"receipts": hash{"r1": slip("request", geb) + rejectedEnd}, "front": setOf("geb")},
			orders: []order{geb.rung("b1")},
			want:   []string{"repeat"},
			rings:  []string{"bell:b1 " + slip("request", geb) + rejectedEnd},
			end:    state{"receipts": hash{"r1": slip("request", geb) + rejectedEnd}, "front": setOf("geb")},
		}},
		{decision: decision{
			name: "rubbish and other orders that were rejected with the ids of requests do not void them",
			start: state{
				"receipts": hash{"r1": rubbish("r1"), "r9": rubbish("r9")}, "older": hash{"r2": slip("return", by("ann", "r2", "emma")) + rejectedEnd, "r8": "an older one"},
				"front": setOf("geb", "emma"),
			},
			orders: []order{geb.rung("b1"), by("ann", "r2", "emma"), geb},
			want:   []string{"granted front", "granted front", "repeat"},
			rings:  []string{"bell:b1 " + receipt("request", geb, "granted front")},
			end: state{
				"receipts": hash{"r9": rubbish("r9")}, "older": hash{"r8": "an older one"},
				"loans": hash{"geb": "ann", "emma": "ann"}, "card:ann": hash{"geb": "DUE0028", "emma": "DUE0028"},
			},
		}},
		{decision: decision{
			name:   "a repeat in a batch leaves the others to be decided",
			start:  state{"receipts": hash{"r1": "the receipt"}, "older": hash{"r3": "an older one"}, "front": setOf("geb")},
			orders: []order{by("ann", "r1", "geb", "alice"), by("bob", "r2", "emma"), by("ann", "r3", "geb"), by("cy", "r4", "geb")},
			want:   []string{"repeat", "granted shelves", "repeat", "granted front"},
			end: state{
				"receipts": hash{"r1": "the receipt"}, "older": hash{"r3": "an older one"},
				"loans": hash{"emma": "bob", "geb": "cy"}, "card:bob": hash{"emma": "DUE0028"}, "card:cy": hash{"geb": "DUE0028"},
				"fetching": hash{"emma": "r2 "}, "fetches": entries(sent(parcel{"r2", "emma"})),
			},
		}},
		{decision: decision{
			name:   "the same request twice in one batch is decided once, even if it asks for other books then",
			orders: []order{geb.rung("b1"), by("ann", "r1", "alice").rung("b2")},
			want:   []string{"granted shelves", "repeat"},
			rings: []string{
				"bell:b1 " + receipt("request", geb, "granted shelves"),
				"bell:b2 " + receipt("request", geb, "granted shelves"),
			},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE0028"}, "fetching": hash{"geb": "r1 b1"},
				"fetches": entries(sent(parcel{"r1", "geb"})),
			},
		}},
		{decision: decision{
			name:   "of two users who ask for one book in front storage in one batch, the first gets it",
			start:  state{"front": setOf("geb")},
			orders: []order{geb, by("bob", "r2", "geb")},
			want:   []string{"granted front", "denied unavailable"},
			end:    state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE0028"}},
		}},
		{decision: decision{
			name:   "of two users who ask for one book on the shelves in one batch, the first gets it, and it is ordered once",
			orders: []order{geb, by("bob", "r2", "alice", "geb")},
			want:   []string{"granted shelves", "partial shelves unavailable"},
			end: state{
				"loans": hash{"geb": "ann", "alice": "bob"}, "card:ann": hash{"geb": "DUE0028"}, "card:bob": hash{"alice": "DUE0028"},
				"fetching": hash{"geb": "r1 ", "alice": "r2 "},
				"fetches":  entries(sent(parcel{"r1", "geb"}), sent(parcel{"r2", "alice"})),
			},
		}},
		{decision: decision{
			name:   "a book the user was lent earlier in the batch is theirs already",
			orders: []order{geb, by("ann", "r2", "geb")},
			want:   []string{"granted shelves", "denied already_yours:DUE"},
			end: state{
				"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "DUE0028"}, "fetching": hash{"geb": "r1 "},
				"fetches": entries(sent(parcel{"r1", "geb"})),
			},
		}},
		{loansMax: 3, decision: decision{
			name:   "one user's requests in one batch count against the limit one after another",
			start:  state{"card:ann": hash{"dune": "20000001"}, "loans": hash{"dune": "ann"}, "front": setOf("a", "b", "c", "d")},
			orders: []order{by("ann", "r1", "a"), by("ann", "r2", "b", "c"), by("ann", "r3", "d"), by("ann", "r4", "c"), by("bob", "r5", "c")},
			want:   []string{"granted front", "denied over_limit over_limit", "granted front", "denied over_limit", "granted front"},
			end: state{
				"card:ann": hash{"dune": "20000001", "a": "DUE0028", "d": "DUE0028"}, "card:bob": hash{"c": "DUE0028"},
				"loans": hash{"dune": "ann", "a": "ann", "d": "ann", "c": "bob"}, "front": setOf("b"),
			},
		}},
	}
	onBoth(t, func(t *testing.T, b *bench) {
		var all []test
		for _, test := range tests {
			if test.loansMax == 0 {
				test.loansMax = 5
			}
			all = append(all, test.test("requests", lend(test.loansMax, test.orders...)))
		}
		b.run(t, all)
	})
}

// TestReceiptsAreKeptByPages has both scripts that write receipts find the page not
// full, or full.
func TestReceiptsAreKeptByPages(t *testing.T) {
	begun := expiring{worker, weekHours}
	one, two := by("ann", "r1", "geb"), by("bob", "r2", "dune")
	// Nothing is free, and nothing comes back: only receipts are written.
	scripts := []struct {
		inbox, word string
		call        func(orders ...order) call
	}{
		{"requests", "denied unavailable", func(orders ...order) call { return lend(5, orders...) }},
		{"returns", "refused not_yours", func(orders ...order) call { return takeBack(5, orders...) }},
	}
	for _, script := range scripts {
		tests := []decision{
			{
				name:   "the first receipt begins a page, which lasts three times as long as it must, where nobody turns it",
				start:  state{"page": nil},
				orders: []order{one},
				want:   []string{script.word},
				end:    state{"page": begun, "receipts": passing{nil, keptHours}},
			},
			{
				name:   "a page that is not full takes more receipts, and lasts three times as long as they must",
				start:  state{"receipts": passing{hash{"r0": "a receipt"}, 300}, "older": passing{hash{"r00": "an older one"}, 200}},
				orders: []order{one, two},
				want:   []string{script.word, script.word},
				end:    state{"receipts": passing{hash{"r0": "a receipt"}, keptHours}, "older": passing{hash{"r00": "an older one"}, 200}},
			},
			{
				name:   "a full page becomes the older one, the one before is forgotten, and another begins",
				start:  state{"page": nil, "receipts": passing{hash{"r0": "a receipt"}, 300}, "older": passing{hash{"r00": "an older one"}, 200}},
				orders: []order{one, two},
				want:   []string{script.word, script.word},
				end:    state{"page": begun, "receipts": passing{nil, keptHours}, "older": passing{hash{"r0": "a receipt"}, 300}},
			},
			{
				name:   "a full page becomes the older one where there was none before",
				start:  state{"page": nil, "receipts": passing{hash{"r0": "a receipt"}, 300}},
				orders: []order{one},
				want:   []string{script.word},
				end:    state{"page": begun, "receipts": passing{nil, keptHours}, "older": passing{hash{"r0": "a receipt"}, 300}},
			},
			{
				name:   "where the full page is gone already, the one before it is forgotten all the same",
				start:  state{"page": nil, "older": passing{hash{"r00": "an older one"}, 200}},
				orders: []order{one},
				want:   []string{script.word},
				end:    state{"page": begun, "receipts": passing{nil, keptHours}},
			},
			{
				name:   "a repeat turns no page",
				start:  state{"page": nil, "receipts": passing{hash{"r1": "one"}, 300}, "older": passing{hash{"r2": "two"}, 200}},
				orders: []order{one.rung("b1"), two.rung("b2")},
				want:   []string{"repeat", "repeat"},
				rings:  []string{"bell:b1 one", "bell:b2 two"},
				end:    state{"page": nil, "receipts": passing{hash{"r1": "one"}, 300}, "older": passing{hash{"r2": "two"}, 200}},
			},
			{
				name:   "a repeat is rung with its receipt, even as the page is turned",
				start:  state{"page": nil, "receipts": passing{hash{"r1": "one"}, 300}, "older": passing{hash{"r2": "two"}, 200}},
				orders: []order{one.rung("b1"), two.rung("b2"), by("cy", "r3", "geb"), by("cy", "r3", "dune").rung("b3")},
				want:   []string{"repeat", "repeat", script.word, "repeat"},
				rings:  []string{"bell:b1 one", "bell:b2 two", "bell:b3 " + receipt(actions[script.inbox], by("cy", "r3", "geb"), script.word)},
				end:    state{"page": begun, "receipts": passing{nil, keptHours}, "older": passing{hash{"r1": "one"}, 300}},
			},
		}
		t.Run(script.inbox, func(t *testing.T) {
			onBoth(t, func(t *testing.T, b *bench) {
				var all []test
				for _, d := range tests {
					d.start = d.start.with(state{"loans": hash{"geb": "dee", "dune": "dee"}})
					d.end = d.end.with(state{"loans": hash{"geb": "dee", "dune": "dee"}})
					all = append(all, d.test(script.inbox, script.call(d.orders...)))
				}
				b.run(t, all)
			})
		})
	}
}

// TestARequestIsARepeatAsLongAsItsPageAndTheNext ends pages as their time to live
// does: so a receipt is kept for at least one such time, and at most for two.
func TestARequestIsARepeatAsLongAsItsPageAndTheNext(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, state{"page": nil, "requests": given(1), "returns": given(1), "loans": hash{"geb": "dee"}})
		var got []string
		request := func(id string) {
			got = append(got, fmt.Sprint(id, " ", must(b.do(t, lend(5, by("ann", id, "geb"))))(t).([]any)[0]))
		}
		takesBack := func(id string) {
			got = append(got, fmt.Sprint(id, " ", must(b.do(t, takeBack(5, by("ann", id, "geb"))))(t).([]any)[0]))
		}
		ends := func() {
			got = append(got, "the page is full")
			if left := must(b.rdb.PTTL(t.Context(), "page").Result())(t).Milliseconds(); left < weekMS-60_000 || left > weekMS/100*101 {
				t.Errorf("the page is full in %d ms, want %d", left, weekMS)
			}
			b.put(t, "page", nil)
		}
		request("r1")
		takesBack("r2")
		request("r1")
		ends()
		request("r1") // it writes nothing, so it begins no page
		b.put(t, "page", expiring{worker, weekHours})
		ends()
		request("r3")
		takesBack("r2")
		request("r1")
		ends()
		takesBack("r4")
		request("r3")
		request("r1")
		takesBack("r2")
		want := []string{
			"r1 denied unavailable", "r2 refused not_yours", "r1 repeat",
			"the page is full", "r1 repeat",
			"the page is full", "r3 denied unavailable", "r2 repeat", "r1 repeat",
			"the page is full", "r4 refused not_yours", "r3 repeat", "r1 denied unavailable", "r2 refused not_yours",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
	})
}

func TestAPageLastsAsLongAsTheScriptsAreTold(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for inbox, call := range map[string]call{
			"requests": lend(5, by("ann", "r1", "geb")),
			"returns":  takeBack(5, by("ann", "r1", "geb")),
		} {
			b.start(t, state{"page": nil, inbox: given(1)})
			must(b.do(t, call.with(weekMS, 7_200_000)))(t)
			got := []float64{
				must(b.rdb.PTTL(t.Context(), "page").Result())(t).Hours(),
				must(b.rdb.PTTL(t.Context(), "receipts").Result())(t).Hours(),
			}
			if diff := cmp.Diff([]float64{2, 7}, []float64{math.Ceil(got[0]), math.Ceil(got[1])}); diff != "" {
				t.Errorf("%s: hours that the page and its receipts last (-want +got):\n%s", inbox, diff)
			}
		}
	})
}

// TestOrdersShareEventsAndBooksShareEntries asks for so many books at once, each by
// a request of its own.
func TestOrdersShareEventsAndBooksShareEntries(t *testing.T) {
	for _, n := range []int{1, 15, 16, 17, 31, 32, 33, 48, 49, 240, 241, 256, 257, 300} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			onBoth(t, func(t *testing.T, b *bench) {
				d := decision{start: state{"loans": hash{"lent": "bob"}, "front": setOf("front")}}
				loans, card, fetching, parcels := hash{"lent": "bob", "front": "ann"}, hash{"front": "DUE0028"}, hash{}, []parcel{}
				add := func(want, book string) {
					d.orders = append(d.orders, by("ann", fmt.Sprint("r", len(d.orders)), book))
					d.want = append(d.want, want)
				}
				add("denied unavailable", "lent")
				for i := range n {
					book := fmt.Sprint("book", i)
					parcels = append(parcels, parcel{fmt.Sprint("r", len(d.orders)), book})
					loans[book], card[book], fetching[book] = "ann", "DUE0028", parcels[i].request+" "
					add("granted shelves", book)
					if i == n/2 {
						add("granted front", "front")
					}
				}
				var fetches []entry
				for _, some := range packed(parcels) {
					fetches = append(fetches, sent(some...))
				}
				d.end = state{"loans": loans, "card:ann": card, "fetching": fetching, "fetches": entries(fetches...)}
				test := d.test("requests", lend(1000, d.orders...))
				b.start(t, test.start)
				b.check(t, test)
			})
		})
	}
}

// TestNamesAreLentAsTheyAre asks, by users with odd names, for books with odd names.
func TestNamesAreLentAsTheyAre(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for _, name := range oddNames {
			t.Run(name, func(t *testing.T) {
				odd := by(name, "r1", "in front", name)
				d := decision{
					start:  state{"front": setOf("in front")},
					orders: []order{odd},
					want:   []string{"granted front shelves"},
					end: state{
						"loans": hash{name: name, "in front": name}, "card:" + name: hash{name: "DUE0028", "in front": "DUE0028"},
						"fetching": hash{name: "r1 "}, "fetches": entries(sent(parcel{"r1", name})),
					},
				}
				b.run(t, []test{d.test("requests", lend(5, odd))})
				var read struct {
					User    string
					Books   []string
					Results []string
				}
				if err := json.Unmarshal([]byte(must(b.rdb.HGet(t.Context(), "receipts", "r1").Result())(t)), &read); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{name, name, "shelves"}, []string{read.User, read.Books[1], read.Results[1]}); diff != "" {
					t.Errorf("names in the receipt (-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestNamesShareEntriesAsTheyAre(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, state{"requests": given(1)})
		must(b.do(t, lend(100, by("ann", "r1", oddNames...))))(t)
		fetches := must(b.rdb.XRange(t.Context(), "fetches", "-", "+").Result())(t)
		var got []string
		for _, entry := range fetches {
			var orders [][2]string
			if err := json.Unmarshal([]byte(entry.Values["orders"].(string)), &orders); err != nil {
				t.Fatal(err)
			}
			for _, order := range orders {
				got = append(got, order[1])
			}
		}
		if len(fetches) == len(got) {
			t.Error("no books share an entry")
		}
		if diff := cmp.Diff(oddNames, got); diff != "" {
			t.Errorf("books (-want +got):\n%s", diff)
		}
	})
}

func TestALoanIsDueWhenTheInstanceSays(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for _, days := range []string{"0001", "0028", "3650"} {
			b.start(t, state{"requests": given(1)})
			must(b.do(t, lend(5, by("ann", "r1", "geb")).with(stamp, "1795836489247"+days)))(t)
			if card := must(b.rdb.HGet(t.Context(), "card:ann", "geb").Result())(t); card != "1795836489247"+days {
				t.Errorf("the card says %q, want the time and %s", card, days)
			}
			if text := must(b.rdb.HGet(t.Context(), "receipts", "r1").Result())(t); !strings.HasSuffix(text, `,"due_ms":1795836489247}`) {
				t.Errorf("the receipt says %s, want it to be due at 1795836489247", text)
			}
		}
	})
}

// rejectedEnd is how the receipt of an order ends that was set aside; it begins with the slip.
const rejectedEnd = `,"outcome":"rejected","reason":"it was delivered too often","results":[]}`

// rubbish is the receipt of an entry with an id that could not be understood.
func rubbish(id string) string {
	return fmt.Sprintf(`{"id":%s,"action":"return","user":"","books":[],"outcome":"rejected","reason":"it has no books","results":[]}`, quoted(id))
}
