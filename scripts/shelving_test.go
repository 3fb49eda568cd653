package scripts_test

import (
	"fmt"
	"testing"

	"example.com/library/scripts"
)

// bay is the key of what is out of a book's bay of the shelves. There are two bays
// in these tests: some books share one.
func bay(book string) string { return fmt.Sprint("bay:", book[len(book)-1]%2) }

// out is a state in which these books are not on the shelves.
func out(books ...string) state {
	s := state{"away": fmt.Sprint(len(books))}
	for _, book := range books {
		if s[bay(book)] == nil {
			s[bay(book)] = hash{}
		}
		s[bay(book)].(hash)[book] = ""
	}
	return s
}

// fetch is the call for orders that stand in the inbox as 1-0, 2-0, …
func fetch(inEntries ...[]parcel) call {
	keys := []string{"instance", "fetches", "away", "awaited", "deliveries", "events"}
	args := []any{secret, worker, group}
	for i, parcels := range inEntries {
		args = append(args, id(i+1), len(parcels), ordersOf(parcels...))
		for _, parcel := range parcels {
			args = append(args, parcel.request, parcel.book)
			keys = append(keys, bay(parcel.book))
		}
	}
	return call{scripts.Fetch, keys, args, nil}
}

// store is the call for books that stand in the inbox as 1-0, 2-0, …
func store(inEntries ...[]string) call {
	keys := []string{"instance", "stores", "away", "awaited", "deliveries", "events"}
	args := []any{secret, worker, group}
	for i, books := range inEntries {
		args = append(args, id(i+1), len(books), list(books...))
		for _, book := range books {
			args = append(args, book)
			keys = append(keys, bay(book))
		}
	}
	return call{scripts.Store, keys, args, nil}
}

// pendingForAnother is an inbox of n entries, all pending for another instance.
func pendingForAnother(n int) stream {
	s := given(n)
	s.Pending = map[string][]string{"worker2": s.Pending[worker]}
	return s
}

// and is the inbox with more entries, which nobody has read yet.
func (s stream) and(more ...entry) stream {
	s.Entries = append(s.Entries[:len(s.Entries):len(s.Entries)], more...)
	return s
}

func TestFetchingTakesBooksOffTheShelves(t *testing.T) {
	tests := []test{
		{
			name:  "the first book that ever leaves the shelves goes to the lending service",
			start: state{"fetches": given(1)},
			call:  fetch(each(parcel{"r1", "geb"})...),
			want:  []string{"fetched"},
			end: out("geb").with(state{
				"fetches": handled(1), "deliveries": entries(sent(parcel{"r1", "geb"})),
				"events": entries(ordersEvent("fetched", parcel{"r1", "geb"})),
			}),
		},
		{
			name:  "a book on the shelves leaves them, and what was out of its bay and others is out still",
			start: out("alice", "web", "z").with(state{"fetches": given(1), "awaited": hash{"alice": "r9"}}),
			call:  fetch(each(parcel{"r1", "geb"})...),
			want:  []string{"fetched"},
			end: out("alice", "web", "z", "geb").with(state{
				"fetches": handled(1), "awaited": hash{"alice": "r9"}, "deliveries": entries(sent(parcel{"r1", "geb"})),
				"events": entries(ordersEvent("fetched", parcel{"r1", "geb"})),
			}),
		},
		{
			name:  "a book on the shelves is fetched, even if it is awaited",
			start: state{"fetches": given(1), "awaited": hash{"geb": "r1"}},
			call:  fetch(each(parcel{"r1", "geb"})...),
			want:  []string{"fetched"},
			end: out("geb").with(state{
				"fetches": handled(1), "awaited": hash{"geb": "r1"},
				"deliveries": entries(sent(parcel{"r1", "geb"})), "events": entries(ordersEvent("fetched", parcel{"r1", "geb"})),
			}),
		},
		{
			name:  "an order that overtook the book's way back to the shelves awaits it",
			start: out("geb").with(state{"fetches": given(1), "awaited": hash{"emma": "r9"}}),
			call:  fetch(each(parcel{"r2", "geb"})...),
			want:  []string{"awaited"},
			end: out("geb").with(state{
				"fetches": handled(1), "awaited": hash{"emma": "r9", "geb": "r2"},
				"events": entries(ordersEvent("awaited", parcel{"r2", "geb"})),
			}),
		},
		{
			name:  "an order for a book that is awaited, by whomever, is a conflict and stays pending",
			start: out("geb").with(state{"fetches": given(2), "awaited": hash{"geb": "r2"}}),
			call:  fetch(each(parcel{"r3", "geb"}, parcel{"r2", "geb"})...),
			want:  []string{"conflict", "conflict"},
			end:   out("geb").with(state{"fetches": given(2), "awaited": hash{"geb": "r2"}}),
		},
		{
			name:  "an order that is pending for another instance is gone, whatever its book",
			start: out("geb", "emma").with(state{"fetches": pendingForAnother(4), "awaited": hash{"emma": "r9"}}),
			call:  fetch([]parcel{{"r1", "geb"}, {"r2", "geb"}}, []parcel{{"r3", "dune"}}, []parcel{{"r4", "emma"}}, []parcel{{"r5", "emma"}, {"r6", "a"}}),
			want:  []string{"gone", "gone", "gone", "gone", "gone", "gone"},
			end:   out("geb", "emma").with(state{"fetches": pendingForAnother(4), "awaited": hash{"emma": "r9"}}),
		},
		{
			name:  "an order that was acknowledged before is gone, and the others are not",
			start: state{"fetches": inbox(3, 1, 3)},
			call:  fetch([]parcel{{"r1", "geb"}}, []parcel{{"r2", "dune"}, {"r2", "z"}}, []parcel{{"r3", "emma"}}),
			want:  []string{"fetched", "gone", "gone", "fetched"},
			end: out("geb", "emma").with(state{
				"fetches":    handled(3),
				"deliveries": entries(sent(parcel{"r1", "geb"}), sent(parcel{"r3", "emma"})),
				"events":     entries(ordersEvent("fetched", parcel{"r1", "geb"}), ordersEvent("fetched", parcel{"r3", "emma"})),
			}),
		},
		{
			name:  "orders for one book in one batch are decided one after another",
			start: state{"fetches": given(4)},
			call:  fetch(each(parcel{"r1", "geb"}, parcel{"r2", "geb"}, parcel{"r3", "geb"}, parcel{"r3", "dune"})...),
			want:  []string{"fetched", "awaited", "conflict", "fetched"},
			end: out("geb", "dune").with(state{
				"fetches": inbox(4, 3), "awaited": hash{"geb": "r2"},
				"deliveries": entries(sent(parcel{"r1", "geb"}), sent(parcel{"r3", "dune"})),
				"events": entries(
					ordersEvent("fetched", parcel{"r1", "geb"}), ordersEvent("fetched", parcel{"r3", "dune"}),
					ordersEvent("awaited", parcel{"r2", "geb"})),
			}),
		},
		{
			name:  "books that share an entry go on sharing one",
			start: state{"fetches": given(2)},
			call:  fetch([]parcel{{"r1", "geb"}, {"r1", "alice"}, {"r2", "emma"}}, []parcel{{"r3", "a"}, {"r3", "b"}}),
			want:  []string{"fetched", "fetched", "fetched", "fetched", "fetched"},
			end: out("geb", "alice", "emma", "a", "b").with(state{
				"fetches":    handled(2),
				"deliveries": entries(sent(parcel{"r1", "geb"}, parcel{"r1", "alice"}, parcel{"r2", "emma"}), sent(parcel{"r3", "a"}, parcel{"r3", "b"})),
				"events": entries(
					ordersEvent("fetched", parcel{"r1", "geb"}, parcel{"r1", "alice"}, parcel{"r2", "emma"}),
					ordersEvent("fetched", parcel{"r3", "a"}, parcel{"r3", "b"})),
			}),
		},
		{
			name:  "of books that share an entry, each is fetched, awaited, or set apart by itself",
			start: out("geb", "emma", "dune").with(state{"fetches": given(1), "awaited": hash{"emma": "r9"}}),
			call:  fetch([]parcel{{"r1", "alice"}, {"r2", "geb"}, {"r3", "emma"}, {"r4", "b"}, {"r5", "dune"}, {"r6", "b"}, {"r7", "geb"}}),
			want:  []string{"fetched", "awaited", "apart", "fetched", "awaited", "awaited", "apart"},
			end: out("geb", "emma", "dune", "alice", "b").with(state{
				"fetches":    handled(1).and(sent(parcel{"r3", "emma"}), sent(parcel{"r7", "geb"})),
				"awaited":    hash{"emma": "r9", "geb": "r2", "dune": "r5", "b": "r6"},
				"deliveries": entries(sent(parcel{"r1", "alice"}, parcel{"r4", "b"})),
				"events": entries(
					ordersEvent("fetched", parcel{"r1", "alice"}, parcel{"r4", "b"}),
					ordersEvent("awaited", parcel{"r2", "geb"}, parcel{"r5", "dune"}, parcel{"r6", "b"})),
			}),
		},
		{
			name:  "a count of what is away that was lost and is below zero goes on, and keeps no book on the shelves",
			start: state{"fetches": given(1), "away": "-2"},
			call:  fetch(each(parcel{"r1", "geb"})...),
			want:  []string{"fetched"},
			end: out("geb").with(state{
				"fetches": handled(1), "away": "-1",
				"deliveries": entries(sent(parcel{"r1", "geb"})), "events": entries(ordersEvent("fetched", parcel{"r1", "geb"})),
			}),
		},
		{
			name:  "a book is set apart in an entry of its own, where it is a conflict and stays pending",
			start: out("geb").with(state{"fetches": given(2), "awaited": hash{"geb": "r9"}}),
			call:  fetch([]parcel{{"r1", "geb"}, {"r2", "geb"}}, []parcel{{"r2", "geb"}}),
			want:  []string{"apart", "apart", "conflict"},
			end: out("geb").with(state{
				"fetches": inbox(2, 2).and(sent(parcel{"r1", "geb"}), sent(parcel{"r2", "geb"})), "awaited": hash{"geb": "r9"},
			}),
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestStoringPutsBooksOnTheShelves(t *testing.T) {
	gebOut := out("geb", "emma", "b")
	tests := []test{
		{
			name:  "a book that is out comes to stand on the shelves",
			start: gebOut.with(state{"stores": given(1), "awaited": hash{"emma": "r9"}}),
			call:  store(each("geb")...),
			want:  []string{"stored"},
			end: out("emma", "b").with(state{
				"stores": handled(1), "awaited": hash{"emma": "r9"}, "events": entries(booksEvent("stored", "geb")),
			}),
		},
		{
			name:  "the last book that was out leaves nothing behind but that none is",
			start: out("geb").with(state{"stores": given(1)}),
			call:  store(each("geb")...),
			want:  []string{"stored"},
			end:   out().with(state{"stores": handled(1), "events": entries(booksEvent("stored", "geb"))}),
		},
		{
			name:  "a book that is awaited is handed straight on",
			start: gebOut.with(state{"stores": given(1), "awaited": hash{"geb": "r2", "emma": "r9"}}),
			call:  store(each("geb")...),
			want:  []string{"handed_on"},
			end: gebOut.with(state{
				"stores": handled(1), "awaited": hash{"emma": "r9"},
				"deliveries": entries(sent(parcel{"r2", "geb"})), "events": entries(ordersEvent("handed_on", parcel{"r2", "geb"})),
			}),
		},
		{
			name:  "a book that stands on the shelves already is a conflict and stays pending, even if it is awaited",
			start: gebOut.with(state{"stores": given(2), "awaited": hash{"alice": "r2"}}),
			call:  store(each("dune", "alice")...),
			want:  []string{"conflict", "conflict"},
			end:   gebOut.with(state{"stores": given(2), "awaited": hash{"alice": "r2"}}),
		},
		{
			name:  "an entry that is pending for another instance is gone, whatever its book",
			start: gebOut.with(state{"stores": pendingForAnother(3), "awaited": hash{"emma": "r9"}}),
			call:  store([]string{"geb", "emma"}, []string{"dune"}, []string{"dune", "geb"}),
			want:  []string{"gone", "gone", "gone", "gone", "gone"},
			end:   gebOut.with(state{"stores": pendingForAnother(3), "awaited": hash{"emma": "r9"}}),
		},
		{
			name:  "an entry that was acknowledged before is gone, and the others are not",
			start: gebOut.with(state{"stores": inbox(2, 2)}),
			call:  store([]string{"geb", "b"}, []string{"emma"}),
			want:  []string{"gone", "gone", "stored"},
			end:   out("geb", "b").with(state{"stores": handled(2), "events": entries(booksEvent("stored", "emma"))}),
		},
		{
			name:  "the same book twice in one batch is stored once, and then a conflict",
			start: gebOut.with(state{"stores": given(3)}),
			call:  store(each("geb", "geb", "emma")...),
			want:  []string{"stored", "conflict", "stored"},
			end:   out("b").with(state{"stores": inbox(3, 2), "events": entries(booksEvent("stored", "geb"), booksEvent("stored", "emma"))}),
		},
		{
			name:  "an awaited book twice in one batch is handed on, and then stored, and then a conflict",
			start: gebOut.with(state{"stores": given(3), "awaited": hash{"geb": "r2"}}),
			call:  store(each("geb", "geb", "geb")...),
			want:  []string{"handed_on", "stored", "conflict"},
			end: out("emma", "b").with(state{
				"stores":     inbox(3, 3),
				"deliveries": entries(sent(parcel{"r2", "geb"})),
				"events":     entries(ordersEvent("handed_on", parcel{"r2", "geb"}), booksEvent("stored", "geb")),
			}),
		},
		{
			name:  "books that share an entry go on sharing one",
			start: out("geb", "emma", "a", "b", "c").with(state{"stores": given(2), "awaited": hash{"b": "r1", "c": "r2"}}),
			call:  store([]string{"geb", "a", "emma"}, []string{"c", "b"}),
			want:  []string{"stored", "stored", "stored", "handed_on", "handed_on"},
			end: out("b", "c").with(state{
				"stores": handled(2), "deliveries": entries(sent(parcel{"r2", "c"}, parcel{"r1", "b"})),
				"events": entries(ordersEvent("handed_on", parcel{"r2", "c"}, parcel{"r1", "b"}), booksEvent("stored", "geb", "a", "emma")),
			}),
		},
		{
			name:  "of books that share an entry, each is handed on, stored, or set apart by itself",
			start: out("geb", "emma", "dune", "b").with(state{"stores": given(1), "awaited": hash{"emma": "r1", "b": "r2"}}),
			call:  store([]string{"alice", "geb", "emma", "dune", "b", "geb", "emma"}),
			want:  []string{"apart", "stored", "handed_on", "stored", "handed_on", "apart", "stored"},
			end: out("b").with(state{
				"stores":     handled(1).and(putAway("alice"), putAway("geb")),
				"deliveries": entries(sent(parcel{"r1", "emma"}, parcel{"r2", "b"})),
				"events": entries(
					ordersEvent("handed_on", parcel{"r1", "emma"}, parcel{"r2", "b"}), booksEvent("stored", "geb", "dune", "emma")),
			}),
		},
		{
			name:  "a count of what is away that was lost goes below zero, and keeps no book from the shelves",
			start: out("geb", "emma").with(state{"stores": given(1), "away": "-1"}),
			call:  store(each("geb")...),
			want:  []string{"stored"},
			end:   out("emma").with(state{"stores": handled(1), "away": "-2", "events": entries(booksEvent("stored", "geb"))}),
		},
		{
			name:  "a book is set apart in an entry of its own, where it is a conflict and stays pending",
			start: gebOut.with(state{"stores": given(2)}),
			call:  store([]string{"alice", "dune"}, []string{"dune"}),
			want:  []string{"apart", "apart", "conflict"},
			end:   gebOut.with(state{"stores": inbox(2, 2).and(putAway("alice"), putAway("dune"))}),
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

// TestAnOrderMayOvertakeTheBooksWayBack lets the order of r2 come before or after
// the book that r1 brings back, and wants the same in the end.
func TestAnOrderMayOvertakeTheBooksWayBack(t *testing.T) {
	fetchGEB, storeGEB := fetch(each(parcel{"r2", "geb"})...), store(each("geb")...)
	onBoth(t, func(t *testing.T, b *bench) {
		for name, calls := range map[string][]call{
			"the book comes first":  {storeGEB, fetchGEB},
			"the order comes first": {fetchGEB, storeGEB},
		} {
			t.Run(name, func(t *testing.T) {
				b.start(t, out("geb").with(state{"fetches": given(1), "stores": given(1)}))
				from := b.now(t)
				for _, call := range calls {
					must(b.do(t, call))(t)
				}
				must(b.rdb.Del(t.Context(), "events").Result())(t) // they tell how it came about
				end := out("geb").with(state{
					"fetches": handled(1), "stores": handled(1), "deliveries": entries(sent(parcel{"r2", "geb"})),
				})
				wantState(t, end.full(), b.state(t, span{from, b.now(t)}))
			})
		}
	})
}

func TestTheShelvesKnowNamesAsTheyAre(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for _, name := range oddNames {
			odd := parcel{"r1", name}
			t.Run(name, func(t *testing.T) {
				b.run(t, []test{{
					name:  "fetched and awaited, and set apart",
					start: state{"fetches": given(1)},
					call:  fetch([]parcel{odd, {"r2", name}, {"r3", name}}),
					want:  []string{"fetched", "awaited", "apart"},
					end: out(name).with(state{
						"fetches": handled(1).and(sent(parcel{"r3", name})), "awaited": hash{name: "r2"}, "deliveries": entries(sent(odd)),
						"events": entries(ordersEvent("fetched", odd), ordersEvent("awaited", parcel{"r2", name})),
					}),
				}, {
					name:  "handed on and stored, and set apart",
					start: out(name).with(state{"stores": given(1), "awaited": hash{name: "r1"}}),
					call:  store([]string{name, name, name}),
					want:  []string{"handed_on", "stored", "apart"},
					end: out().with(state{
						"stores": handled(1).and(putAway(name)), "deliveries": entries(sent(odd)),
						"events": entries(ordersEvent("handed_on", odd), booksEvent("stored", name)),
					}),
				}})
			})
		}
	})
}
