package scripts_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"

	"example.com/library/scripts"

	"github.com/google/go-cmp/cmp"
)

// takeBack is the call for returns that stand in the inbox as 1-0, 2-0, …, where
// front storage has room for so many books. A loan weighs twice as much as the one
// that ended before it, so the demand can be read off: 1, 2, 4, … and the clock is
// what the next weighs.
func takeBack(frontMax int, orders ...order) call { return takeBackAging(1, frontMax, orders...) }

// takeBackAging is the same, where a loan weighs twice as much as one that ended
// demandHalf loans before.
func takeBackAging(demandHalf, frontMax int, orders ...order) call {
	keys, args := place("return",
		[]string{
			"instance", "returns", "terms", "loans", "fetching", "front", "demand", "faded", "clock", "receipts", "older", "page", "stores", "events",
		},
		[]any{secret, worker, group, version, frontMax, demandHalf, demandMax, weekMS, logMax, bells},
		orders)
	return call{scripts.Return, keys, args, agreed}
}

// shelved is the event of books that went from front storage to the shelves.
func shelved(books ...string) entry { return booksEvent("shelved", books...) }

func TestReturningEndsLoansOneAfterAnother(t *testing.T) {
	geb := by("ann", "r1", "geb")
	returned := receipt("return", geb, "returned returned")
	lentToAnn := state{"loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "20000001"}}
	lentToBob := state{"loans": hash{"geb": "bob"}, "card:bob": hash{"geb": "20000001"}}
	tests := []struct {
		decision
		frontMax int
	}{
		{frontMax: 20, decision: decision{
			name:   "a book that comes back stands in front storage, in more demand than before",
			start:  lentToAnn.with(state{"demand": weights{"geb": 3, "alice": 4}, "front": setOf("alice"), "clock": 8.0}),
			orders: []order{geb},
			want:   []string{"returned returned"},
			end:    state{"front": setOf("geb", "alice"), "demand": weights{"geb": 3 + 8, "alice": 4}, "clock": 16.0},
		}},
		{frontMax: 20, decision: decision{
			name:   "the first book that ever comes back weighs 1",
			start:  lentToAnn,
			orders: []order{geb},
			want:   []string{"returned returned"},
			end:    state{"front": setOf("geb"), "demand": weights{"geb": 1}, "clock": 2.0},
		}},
		{frontMax: 20, decision: decision{
			name: "loans that are not ended still stand",
			start: state{
				"loans": hash{"geb": "ann", "emma": "ann", "dune": "bob"}, "fetching": hash{"dune": "r0 "},
				"card:ann": hash{"geb": "20000001", "emma": "40003"}, "card:bob": hash{"dune": "60005"},
			},
			orders: []order{geb.rung("b1")},
			want:   []string{"returned returned"},
			rings:  []string{"bell:b1 " + returned},
			end: state{
				"loans": hash{"emma": "ann", "dune": "bob"}, "fetching": hash{"dune": "r0 "},
				"card:ann": hash{"emma": "40003"}, "card:bob": hash{"dune": "60005"},
				"front": setOf("geb"), "demand": weights{"geb": 1}, "clock": 2.0,
			},
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that another user holds is refused",
			start:  lentToBob,
			orders: []order{geb.rung("b1")},
			want:   []string{"refused not_yours"},
			rings:  []string{"bell:b1 " + receipt("return", geb, "refused not_yours")},
			end:    lentToBob,
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that nobody holds is refused",
			start:  state{"front": setOf("geb"), "demand": weights{"geb": 2}, "clock": 4.0},
			orders: []order{geb},
			want:   []string{"refused not_yours"},
			end:    state{"front": setOf("geb"), "demand": weights{"geb": 2}, "clock": 4.0},
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that is still being fetched is on its way and cannot come back yet",
			start:  lentToAnn.with(state{"fetching": hash{"geb": "r0 b0"}}),
			orders: []order{geb},
			want:   []string{"refused on_its_way"},
			end:    lentToAnn.with(state{"fetching": hash{"geb": "r0 b0"}}),
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that is being fetched for another user is not yours",
			start:  lentToBob.with(state{"fetching": hash{"geb": "r0 b0"}}),
			orders: []order{geb},
			want:   []string{"refused not_yours"},
			end:    lentToBob.with(state{"fetching": hash{"geb": "r0 b0"}}),
		}},
		{frontMax: 20, decision: decision{
			name: "what can come back does, where other books cannot, and only that counts",
			start: state{
				"loans": hash{"geb": "ann", "alice": "bob", "emma": "ann", "dune": "ann"}, "fetching": hash{"emma": "r0 "},
				"card:ann": hash{"geb": "20001", "emma": "40003", "dune": "60005"}, "card:bob": hash{"alice": "80007"},
			},
			orders: []order{by("ann", "r1", "alice", "geb", "emma", "dune")},
			want:   []string{"partial not_yours returned on_its_way returned"},
			end: state{
				"loans": hash{"alice": "bob", "emma": "ann"}, "fetching": hash{"emma": "r0 "},
				"card:ann": hash{"emma": "40003"}, "card:bob": hash{"alice": "80007"},
				"front": setOf("geb", "dune"), "demand": weights{"geb": 1, "dune": 2}, "clock": 4.0,
			},
		}},
		{frontMax: 20, decision: decision{
			name: "each order's books leave its own user's card",
			start: state{
				"loans":    hash{"a": "ann", "b": "bob", "c": "bob", "d": "cy", "e": "cy", "x": "bob"},
				"card:ann": hash{"a": "20001", "b": "0"}, "card:bob": hash{"a": "0", "b": "20001", "c": "20001", "d": "0", "x": "20001"},
				"card:cy": hash{"c": "0", "d": "20001", "e": "20001"}, "receipts": hash{"r2": "the receipt"},
			},
			orders: []order{
				by("ann", "r1", "a"), by("bob", "r2", "x"), by("bob", "r3", "y", "b", "c"), by("dee", "r4", "d"), by("cy", "r5", "d", "e"),
			},
			want: []string{"returned returned", "repeat", "partial not_yours returned returned", "refused not_yours", "returned returned returned"},
			end: state{
				"loans": hash{"x": "bob"}, "card:ann": hash{"b": "0"}, "card:bob": hash{"a": "0", "d": "0", "x": "20001"}, "card:cy": hash{"c": "0"},
				"receipts": hash{"r2": "the receipt"}, "front": setOf("a", "b", "c", "d", "e"),
				"demand": weights{"a": 1, "b": 2, "c": 4, "d": 8, "e": 16}, "clock": 32.0,
			},
		}},
		{frontMax: 0, decision: decision{
			name:   "without any front storage a book goes to the shelves, and the demand for it is remembered",
			start:  lentToAnn.with(state{"demand": weights{"geb": 7, "alice": 1}}),
			orders: []order{geb},
			want:   []string{"returned returned"},
			end: state{
				"stores": entries(putAway("geb")), "events": entries(shelved("geb")), "demand": weights{"geb": 7 + 1, "alice": 1}, "clock": 2.0,
			},
		}},
		{frontMax: 1, decision: decision{
			name:   "where there is room for one, the book that comes back stays if it is in more demand",
			start:  lentToAnn.with(state{"demand": weights{"geb": 3, "alice": 2}, "front": setOf("alice")}),
			orders: []order{geb},
			want:   []string{"returned returned"},
			end: state{
				"demand": weights{"geb": 3 + 1, "alice": 2}, "clock": 2.0, "front": setOf("geb"),
				"stores": entries(putAway("alice")), "events": entries(shelved("alice")),
			},
		}},
		{frontMax: 1, decision: decision{
			name:   "the loan that ends counts before the book's demand is compared",
			start:  lentToAnn.with(state{"demand": weights{"geb": 3, "alice": 4}, "front": setOf("alice"), "clock": 2.0}),
			orders: []order{geb},
			want:   []string{"returned returned"},
			end: state{
				"demand": weights{"geb": 3 + 2, "alice": 4}, "clock": 4.0, "front": setOf("geb"),
				"stores": entries(putAway("alice")), "events": entries(shelved("alice")),
			},
		}},
		{frontMax: 1, decision: decision{
			name:   "where there is room for one, the book that stands there stays if it is in more demand",
			start:  lentToAnn.with(state{"demand": weights{"geb": 2, "alice": 4}, "front": setOf("alice")}),
			orders: []order{geb},
			want:   []string{"returned returned"},
			end: state{
				"demand": weights{"geb": 2 + 1, "alice": 4}, "clock": 2.0, "front": setOf("alice"),
				"stores": entries(putAway("geb")), "events": entries(shelved("geb")),
			},
		}},
		{frontMax: 1, decision: decision{
			name:   "a book in front storage whose demand nobody knows leaves before any other",
			start:  lentToAnn.with(state{"front": setOf("alice")}),
			orders: []order{geb},
			want:   []string{"returned returned"},
			end: state{
				"demand": weights{"geb": 1}, "clock": 2.0, "front": setOf("geb"),
				"stores": entries(putAway("alice")), "events": entries(shelved("alice")),
			},
		}},
		{frontMax: 2, decision: decision{
			name:   "the last place in front storage is filled before anything leaves it",
			start:  lentToAnn.with(state{"front": setOf("alice")}),
			orders: []order{geb},
			want:   []string{"returned returned"},
			end:    state{"front": setOf("alice", "geb"), "demand": weights{"geb": 1}, "clock": 2.0},
		}},
		{frontMax: 3, decision: decision{
			name: "of all that came back in a batch and all that stood there, the least in demand go",
			start: state{
				"loans": hash{"a": "ann", "b": "ann", "c": "bob"}, "card:ann": hash{"a": "20001", "b": "40003"}, "card:bob": hash{"c": "60005"},
				"demand": weights{"a": 9, "b": 2, "c": 7, "d": 8, "e": 5, "f": 1}, "front": setOf("d", "e", "f"),
				"stores": entries(entry{"1-0", "books", `["z"]`}),
			},
			orders: []order{by("ann", "r1", "a", "b"), by("bob", "r2", "c")},
			want:   []string{"returned returned returned", "returned returned"},
			end: state{
				"demand": weights{"a": 9 + 1, "b": 2 + 2, "c": 7 + 4, "d": 8, "e": 5, "f": 1}, "clock": 8.0, "front": setOf("a", "d", "c"),
				"stores": entries(entry{"1-0", "books", `["z"]`}, putAway("f"), putAway("b"), putAway("e")),
				"events": entries(shelved("f"), shelved("b"), shelved("e")),
			},
			anyOrder: true,
		}},
		{frontMax: 1, decision: decision{
			name:   "a front storage that has become smaller is emptied by the next return",
			start:  lentToAnn.with(state{"demand": weights{"geb": 9, "a": 1, "b": 2, "c": 3}, "front": setOf("a", "b", "c")}),
			orders: []order{geb},
			want:   []string{"returned returned"},
			end: state{
				"demand": weights{"geb": 9 + 1, "a": 1, "b": 2, "c": 3}, "clock": 2.0, "front": setOf("geb"),
				"stores": entries(putAway("a"), putAway("b"), putAway("c")),
				"events": entries(shelved("a"), shelved("b"), shelved("c")),
			},
			anyOrder: true,
		}},
		{frontMax: 1, decision: decision{
			name:   "a refused return moves nothing, even out of a front storage that has become smaller",
			start:  state{"front": setOf("a", "b", "c")},
			orders: []order{geb},
			want:   []string{"refused not_yours"},
			end:    state{"front": setOf("a", "b", "c")},
		}},
		{frontMax: 20, decision: decision{
			name:   "a return with a receipt is a repeat: its receipt is rung again, and nothing else happens",
			start:  lentToAnn.with(state{"receipts": hash{"r1": "the receipt"}}),
			orders: []order{geb.rung("b1")},
			want:   []string{"repeat"},
			rings:  []string{"bell:b1 the receipt"},
			end:    lentToAnn.with(state{"receipts": hash{"r1": "the receipt"}}),
		}},
		{frontMax: 20, decision: decision{
			name:   "a return with a receipt on the page before is a repeat, too",
			start:  lentToAnn.with(state{"receipts": hash{"r0": "another"}, "older": hash{"r1": "the receipt"}}),
			orders: []order{geb.rung("b1")},
			want:   []string{"repeat"},
			rings:  []string{"bell:b1 the receipt"},
			end:    lentToAnn.with(state{"receipts": hash{"r0": "another"}, "older": hash{"r1": "the receipt"}}),
		}},
		{frontMax: 20, decision: decision{
			name: "the same return twice in one batch is decided once, even if it names other books then",
			start: state{
				"loans": hash{"geb": "ann", "alice": "ann"}, "card:ann": hash{"geb": "20001", "alice": "40003"},
			},
			orders: []order{geb.rung("b1"), by("ann", "r1", "alice").rung("b2")},
			want:   []string{"returned returned", "repeat"},
			rings:  []string{"bell:b1 " + returned, "bell:b2 " + returned},
			end: state{
				"loans": hash{"alice": "ann"}, "card:ann": hash{"alice": "40003"},
				"front": setOf("geb"), "demand": weights{"geb": 1}, "clock": 2.0,
			},
		}},
		{frontMax: 20, decision: decision{
			name:   "a book that came back earlier in the batch is not yours any more, and counts once",
			start:  lentToAnn,
			orders: []order{geb, by("ann", "r2", "geb"), by("bob", "r3", "geb")},
			want:   []string{"returned returned", "refused not_yours", "refused not_yours"},
			end:    state{"front": setOf("geb"), "demand": weights{"geb": 1}, "clock": 2.0},
		}},
		{frontMax: 20, decision: decision{
			name:   "another user's return earlier in the batch does not end the loan",
			start:  lentToAnn,
			orders: []order{by("bob", "r0", "geb"), geb},
			want:   []string{"refused not_yours", "returned returned"},
			end:    state{"front": setOf("geb"), "demand": weights{"geb": 1}, "clock": 2.0},
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
				start:  state{"loans": hash{name: name}, "card:" + name: hash{name: "20000001"}},
				orders: []order{odd},
				want:   []string{"partial returned not_yours"},
				end:    state{"stores": entries(putAway(name)), "events": entries(shelved(name)), "demand": weights{name: 1}, "clock": 2.0},
			}
			b.run(t, []test{d.test("returns", takeBack(0, odd))})
		}
	})
}

// lentTo is a state in which a user has these books.
func lentTo(user string, books ...string) state {
	loans, card := hash{}, hash{}
	for _, book := range books {
		loans[book], card[book] = user, "20000001"
	}
	return state{"returns": given(1), "loans": loans, "card:" + user: card}
}

// numbered are the names of so many books.
func numbered(name string, n int) []string {
	var books []string
	for i := range n {
		books = append(books, fmt.Sprintf("%s%04d", name, i))
	}
	return books
}

// moved are the books in the entries of a stream that have some field, by entry.
func (b *bench) moved(t *testing.T, stream, field string) [][]string {
	t.Helper()
	var all [][]string
	for _, entry := range must(b.rdb.XRange(t.Context(), stream, "-", "+").Result())(t) {
		text, ok := entry.Values[field].(string)
		if !ok {
			continue
		}
		var books []string
		if err := json.Unmarshal([]byte(text), &books); err != nil {
			t.Fatal(err)
		}
		all = append(all, books)
	}
	return all
}

func TestBooksThatLeaveFrontStorageShareEntries(t *testing.T) {
	for _, n := range []int{1, 16, 17, 32, 33, 241, 256, 257, 300} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			books := append(numbered("book", n), oddNames...)[len(oddNames)*min(1, n/100):][:n]
			onBoth(t, func(t *testing.T, b *bench) {
				b.start(t, lentTo("ann", books...))
				must(b.do(t, takeBack(0, inParts("ann", books...)...)))(t)
				stores, events := b.moved(t, "stores", "books"), b.moved(t, "events", "books")
				if diff := cmp.Diff(stores, events); diff != "" {
					t.Errorf("entries and events (-stores +events):\n%s", diff)
				}
				var sizes, want []int
				for _, some := range packed(books) {
					want = append(want, len(some))
				}
				for _, some := range stores {
					sizes = append(sizes, len(some))
				}
				if diff := cmp.Diff(want, sizes); diff != "" {
					t.Errorf("books an entry (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(slices.Sorted(slices.Values(books)), slices.Sorted(slices.Values(slices.Concat(stores...)))); diff != "" {
					t.Errorf("books (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestReturnsShareEvents(t *testing.T) {
	for _, n := range []int{16, 17, 33} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			d := decision{start: state{"receipts": hash{"r": "a receipt"}}, end: state{"receipts": hash{"r": "a receipt"}}}
			for _, book := range numbered("book", n) {
				d.orders = append(d.orders, by("ann", "r"+book, book), by("ann", "r", book))
				d.want = append(d.want, "refused not_yours", "repeat")
			}
			onBoth(t, func(t *testing.T, b *bench) {
				test := d.test("returns", takeBack(20, d.orders...))
				b.start(t, test.start)
				b.check(t, test)
			})
		})
	}
}

func TestAReturnMovesAtMostAThousandBooksMoreThanCameBack(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		front, demand := numbered("book", 1500), weights{}
		for i, book := range front {
			demand[book] = weight(i + 10)
		}
		b.start(t, lentTo("ann", "geb", "dune").with(state{"front": setOf(front...), "demand": demand}))
		must(b.do(t, takeBack(20, by("ann", "r1", "geb", "dune"))))(t)
		after := b.state(t, span{})
		demand["geb"], demand["dune"] = 1, 2
		if diff := cmp.Diff([]any{setOf(front[1000:]...), demand}, []any{after["front"], after["demand"]}, alike); diff != "" {
			t.Errorf("front storage and demand (-want +got):\n%s", diff)
		}
		gone := slices.Concat(b.moved(t, "stores", "books")...)
		if diff := cmp.Diff(setOf(append(front[:1000:1000], "geb", "dune")...), setOf(gone...)); diff != "" || len(gone) != 1002 {
			t.Errorf("%d books went to the shelves, want 1002 (-want +got):\n%s", len(gone), diff)
		}
	})
}

// TestOfBooksInEqualDemandAnyMayLeave wants of four just as many as must.
func TestOfBooksInEqualDemandAnyMayLeave(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, lentTo("ann", "a", "b").with(state{
			"front": setOf("c", "d", "high"), "demand": weights{"a": 7, "b": 6, "c": 8, "d": 8, "high": 9},
		}))
		must(b.do(t, takeBack(3, by("ann", "r1", "a", "b"))))(t)
		after, gone := b.state(t, span{}), slices.Concat(b.moved(t, "stores", "books")...)
		front := slices.Collect(maps.Keys(after["front"].(set)))
		if len(gone) != 2 || len(front) != 3 || slices.Contains(gone, "high") {
			t.Errorf("%q went to the shelves and %q stay, want two gone, and three to stay with high", gone, front)
		}
		if diff := cmp.Diff(setOf("a", "b", "c", "d", "high"), setOf(slices.Concat(gone, front)...)); diff != "" {
			t.Errorf("books (-want +got):\n%s", diff)
		}
	})
}

// TestWhatLeavesALargeFrontStorageIsTheLowestOfASample has a front storage of which
// only a part is looked at: of a sample of four times as many as must leave, and at
// least 32, the others are all in at least as much demand.
func TestWhatLeavesALargeFrontStorageIsTheLowestOfASample(t *testing.T) {
	for _, test := range []struct{ back, front, sample int }{{1, 40, 32}, {8, 40, 32}, {9, 46, 36}, {30, 150, 120}} {
		t.Run(fmt.Sprintf("%d of %d", test.back, test.front), func(t *testing.T) {
			onBoth(t, func(t *testing.T, b *bench) {
				front, demand := numbered("book", test.front), weights{}
				for i, book := range front {
					demand[book] = weight(i + 1)
				}
				back := numbered("back", test.back)
				for _, book := range back {
					demand[book] = 1e6 // so they stay
				}
				for range 5 {
					b.start(t, lentTo("ann", back...).with(state{"front": setOf(front...), "demand": demand}))
					must(b.do(t, takeBackAging(1000, test.front, by("ann", "r1", back...))))(t)
					gone := slices.Concat(b.moved(t, "stores", "books")...)
					if len(gone) != test.back {
						t.Errorf("%d books left front storage, want %d", len(gone), test.back)
					}
					// As many of the sample as do not leave are above those that do.
					highest := test.front - 1 - (test.sample - test.back)
					if last := slices.Max(gone); last > front[highest] {
						t.Errorf("%s left front storage, want none above %s", last, front[highest])
					}
					if got := must(b.rdb.SCard(t.Context(), "front").Result())(t); got != int64(test.front) {
						t.Errorf("%d books stand in front storage, want %d", got, test.front)
					}
				}
			})
		})
	}
}

// TestOfALargeBatchOnlySomeBooksCountButForAll has more books come back at once than
// are counted one by one: every so-manieth counts for as many.
func TestOfALargeBatchOnlySomeBooksCountButForAll(t *testing.T) {
	const half, began = 100, 5.0
	for n, stride := range map[int]int{31: 1, 32: 1, 33: 2, 64: 2, 65: 3, 100: 4, 2000: 63} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			books := numbered("book", n)
			before, want := weights{"other": 3}, weights{"other": 3}
			for i, book := range books {
				if i%3 > 0 {
					before[book] = weight(i%7 + 1)
					want[book] = before[book]
				}
				if (i+1)%stride == 0 {
					want[book] += weight(float64(stride) * began * math.Pow(2, float64(i)/half))
				}
			}
			onBoth(t, func(t *testing.T, b *bench) {
				b.start(t, lentTo("ann", books...).with(state{"demand": before, "clock": began}))
				must(b.do(t, takeBackAging(half, n, inParts("ann", books...)...)))(t)
				after := b.state(t, span{})
				if diff := cmp.Diff(want, after["demand"], alike); diff != "" {
					t.Errorf("demand (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(setOf(books...), after["front"]); diff != "" {
					t.Errorf("front storage (-want +got):\n%s", diff)
				}
				clock := must(strconv.ParseFloat(must(b.rdb.Get(t.Context(), "clock").Result())(t), 64))(t)
				if want := math.Log(began) + float64(n)*math.Ln2/half; math.Abs(clock-want) > 1e-9 {
					t.Errorf("the clock is at %v, want %v", clock, want)
				}
			})
		})
	}
}

func TestALoanWeighsTwiceAsMuchAsOneDemandHalfLoansBefore(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		books, want := numbered("book", 11), weights{}
		for i, book := range books {
			want[book] = weight(math.Pow(2, float64(i)/10))
		}
		for name, batch := range map[string]int{"in one call": len(books), "in a call each": 1} {
			t.Run(name, func(t *testing.T) {
				b.start(t, lentTo("ann", books...))
				for some := range slices.Chunk(books, batch) {
					must(b.do(t, takeBackAging(10, 100, by("ann", "r"+some[0], some...))))(t)
				}
				if diff := cmp.Diff(want, b.state(t, span{})["demand"], alike); diff != "" {
					t.Errorf("demand (-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestAnOldFavouriteIsOvertakenByFewerLoansThatAreNewer(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.start(t, state{"returns": given(1)})
		loans := 0
		endLoans := func(books ...string) weights {
			t.Helper()
			for _, book := range books {
				loans++
				b.put(t, "loans", hash{book: "ann"})
				must(b.do(t, takeBackAging(10, 100, by("ann", fmt.Sprint("r", loans), book))))(t)
			}
			return b.state(t, span{})["demand"].(weights)
		}
		before := endLoans("old", "old", "old")["old"]
		after := endLoans("a", "b", "c", "d", "e", "f", "g", "new", "new")
		if after["old"] != before {
			t.Errorf("the demand of a book nobody had went from %v to %v", before, after["old"])
		}
		if after["new"] <= after["old"] {
			t.Errorf("two loans ten loans later weigh %v, want more than the three old ones' %v", after["new"], after["old"])
		}
	})
}

// TestOlderNotesOfDemandFade has demand noted of two books at most.
func TestOlderNotesOfDemandFade(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		back := func(start state, books ...string) state {
			t.Helper()
			c := takeBackAging(1, 20, by("ann", "r1", books...)).with(demandMax, 2)
			b.start(t, lentTo("ann", books...).with(start))
			must(b.do(t, c))(t)
			after := b.state(t, span{})
			return state{"demand": after["demand"], "faded": after["faded"]}
		}
		for name, test := range map[string]struct {
			start state
			books []string
			want  state
		}{
			"as many as may be": {
				state{"demand": weights{"a": 3}, "faded": weights{"z": 9}}, []string{"b"},
				state{"demand": weights{"a": 3, "b": 1}, "faded": weights{"z": 9}},
			},
			"one too many": {
				state{"demand": weights{"a": 3, "b": 4}, "faded": weights{"z": 9}}, []string{"c"},
				state{"demand": nil, "faded": weights{"a": 3, "b": 4, "c": 1}},
			},
			"a faded note counts, and is noted anew": {
				state{"demand": weights{"b": 4}, "faded": weights{"a": 3, "z": 9}}, []string{"a"},
				state{"demand": weights{"a": 3 + 1, "b": 4}, "faded": weights{"a": 3, "z": 9}},
			},
			"a newer note counts before a faded one": {
				state{"demand": weights{"a": 5}, "faded": weights{"a": 3}}, []string{"a"},
				state{"demand": weights{"a": 5 + 1}, "faded": weights{"a": 3}},
			},
		} {
			if diff := cmp.Diff(test.want, back(test.start, test.books...), alike); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}
