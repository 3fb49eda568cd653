package scripts_test

import (
	"testing"

	"example.com/library/scripts"
)

var shelvingKeys = []string{"out", "awaited", "deliveries", "events"}

// fetch is the call for orders that stand in the inbox as 1-0, 2-0, …
func fetch(orders ...parcel) call {
	args := []any{secret, worker, group, logMax}
	for i, order := range orders {
		args = append(args, id(i+1), order.request, order.book)
	}
	return call{scripts.Fetch, append([]string{"instance", "fetches"}, shelvingKeys...), args}
}

// store is the call for books that stand in the inbox as 1-0, 2-0, …
func store(books ...string) call {
	args := []any{secret, worker, group, logMax}
	for i, book := range books {
		args = append(args, id(i+1), book)
	}
	return call{scripts.Store, append([]string{"instance", "stores"}, shelvingKeys...), args}
}

func fetchEvent(event, request, book string) entry {
	return entry{"new", "event", event, "by", worker, "request", request, "book", book}
}

func storedEvent(book string) entry {
	return entry{"new", "event", "stored", "by", worker, "book", book}
}

// delivery is the entry by which a book goes to the lending service.
func delivery(request, book string) entry { return entry{"new", "request", request, "book", book} }

// pendingForAnother is an inbox of n entries, all pending for another instance.
func pendingForAnother(n int) stream {
	s := given(n)
	s.Pending = map[string][]string{"worker2": s.Pending[worker]}
	return s
}

func TestFetchingTakesBooksOffTheShelves(t *testing.T) {
	outForR1 := state{"out": hash{"geb": "r1"}}
	tests := []test{
		{
			name:  "a book on the shelves leaves them and goes to the lending service",
			start: state{"fetches": given(1), "out": hash{"alice": "r0"}, "awaited": hash{"alice": "r9"}},
			call:  fetch(parcel{"r1", "geb"}),
			want:  []string{"fetched"},
			end: state{
				"fetches": handled(1), "out": hash{"alice": "r0", "geb": "r1"}, "awaited": hash{"alice": "r9"},
				"deliveries": entries(delivery("r1", "geb")), "events": entries(fetchEvent("fetched", "r1", "geb")),
			},
		},
		{
			name:  "an order whose book is out for it already is a repeat and only acknowledged",
			start: outForR1.with(state{"fetches": given(1)}),
			call:  fetch(parcel{"r1", "geb"}),
			want:  []string{"repeat"},
			end:   outForR1.with(state{"fetches": handled(1)}),
		},
		{
			name:  "an order whose book is awaited for it already is a repeat and only acknowledged",
			start: outForR1.with(state{"fetches": given(1), "awaited": hash{"geb": "r2"}}),
			call:  fetch(parcel{"r2", "geb"}),
			want:  []string{"repeat"},
			end:   outForR1.with(state{"fetches": handled(1), "awaited": hash{"geb": "r2"}}),
		},
		{
			name:  "an order whose book is out for it already is a repeat, even if another awaits the book",
			start: outForR1.with(state{"fetches": given(1), "awaited": hash{"geb": "r2"}}),
			call:  fetch(parcel{"r1", "geb"}),
			want:  []string{"repeat"},
			end:   outForR1.with(state{"fetches": handled(1), "awaited": hash{"geb": "r2"}}),
		},
		{
			name:  "a book on the shelves is fetched, even if it is awaited",
			start: state{"fetches": given(1), "awaited": hash{"geb": "r1"}},
			call:  fetch(parcel{"r1", "geb"}),
			want:  []string{"fetched"},
			end: state{
				"fetches": handled(1), "out": hash{"geb": "r1"}, "awaited": hash{"geb": "r1"},
				"deliveries": entries(delivery("r1", "geb")), "events": entries(fetchEvent("fetched", "r1", "geb")),
			},
		},
		{
			name:  "an order that overtook the book's way back to the shelves awaits it",
			start: outForR1.with(state{"fetches": given(1)}),
			call:  fetch(parcel{"r2", "geb"}),
			want:  []string{"awaited"},
			end: outForR1.with(state{
				"fetches": handled(1), "awaited": hash{"geb": "r2"}, "events": entries(fetchEvent("awaited", "r2", "geb")),
			}),
		},
		{
			name:  "an order for a book that another awaits is a conflict and stays pending",
			start: outForR1.with(state{"fetches": given(1), "awaited": hash{"geb": "r2"}}),
			call:  fetch(parcel{"r3", "geb"}),
			want:  []string{"conflict"},
			end:   outForR1.with(state{"fetches": given(1), "awaited": hash{"geb": "r2"}}),
		},
		{
			name:  "an order that is pending for another instance is gone, whatever its book",
			start: outForR1.with(state{"fetches": pendingForAnother(3)}),
			call:  fetch(parcel{"r1", "geb"}, parcel{"r2", "geb"}, parcel{"r3", "dune"}),
			want:  []string{"gone", "gone", "gone"},
			end:   outForR1.with(state{"fetches": pendingForAnother(3)}),
		},
		{
			name:  "an order that was acknowledged before is gone, and the others are not",
			start: state{"fetches": inbox(3, 1, 3)},
			call:  fetch(parcel{"r1", "geb"}, parcel{"r2", "dune"}, parcel{"r3", "emma"}),
			want:  []string{"fetched", "gone", "fetched"},
			end: state{
				"fetches": handled(3), "out": hash{"geb": "r1", "emma": "r3"},
				"deliveries": entries(delivery("r1", "geb"), delivery("r3", "emma")),
				"events":     entries(fetchEvent("fetched", "r1", "geb"), fetchEvent("fetched", "r3", "emma")),
			},
		},
		{
			name:  "orders for one book in one batch are decided one after another",
			start: state{"fetches": given(6)},
			call: fetch(parcel{"r1", "geb"}, parcel{"r1", "geb"}, parcel{"r2", "geb"}, parcel{"r2", "geb"},
				parcel{"r3", "geb"}, parcel{"r3", "dune"}),
			want: []string{"fetched", "repeat", "awaited", "repeat", "conflict", "fetched"},
			end: state{
				"fetches": inbox(6, 5), "out": hash{"geb": "r1", "dune": "r3"}, "awaited": hash{"geb": "r2"},
				"deliveries": entries(delivery("r1", "geb"), delivery("r3", "dune")),
				"events": entries(
					fetchEvent("fetched", "r1", "geb"), fetchEvent("awaited", "r2", "geb"), fetchEvent("fetched", "r3", "dune")),
			},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestStoringPutsBooksOnTheShelves(t *testing.T) {
	out := state{"out": hash{"geb": "r1", "emma": "r8"}}
	tests := []test{
		{
			name:  "a book that is out comes to stand on the shelves",
			start: out.with(state{"stores": given(1), "awaited": hash{"emma": "r9"}}),
			call:  store("geb"),
			want:  []string{"stored"},
			end: state{
				"stores": handled(1), "out": hash{"emma": "r8"}, "awaited": hash{"emma": "r9"}, "events": entries(storedEvent("geb")),
			},
		},
		{
			name:  "the last book that was out leaves nothing behind",
			start: state{"stores": given(1), "out": hash{"geb": "r1"}},
			call:  store("geb"),
			want:  []string{"stored"},
			end:   state{"stores": handled(1), "events": entries(storedEvent("geb"))},
		},
		{
			name:  "a book that is awaited is handed straight on",
			start: out.with(state{"stores": given(1), "awaited": hash{"geb": "r2", "emma": "r9"}}),
			call:  store("geb"),
			want:  []string{"handed_on"},
			end: state{
				"stores": handled(1), "out": hash{"geb": "r2", "emma": "r8"}, "awaited": hash{"emma": "r9"},
				"deliveries": entries(delivery("r2", "geb")), "events": entries(fetchEvent("handed_on", "r2", "geb")),
			},
		},
		{
			name:  "a book that stands on the shelves already is a conflict and stays pending, even if it is awaited",
			start: out.with(state{"stores": given(2), "awaited": hash{"alice": "r2"}}),
			call:  store("dune", "alice"),
			want:  []string{"conflict", "conflict"},
			end:   out.with(state{"stores": given(2), "awaited": hash{"alice": "r2"}}),
		},
		{
			name:  "an entry that is pending for another instance is gone, whatever its book",
			start: out.with(state{"stores": pendingForAnother(3), "awaited": hash{"emma": "r9"}}),
			call:  store("geb", "emma", "dune"),
			want:  []string{"gone", "gone", "gone"},
			end:   out.with(state{"stores": pendingForAnother(3), "awaited": hash{"emma": "r9"}}),
		},
		{
			name:  "an entry that was acknowledged before is gone, and the others are not",
			start: out.with(state{"stores": inbox(2, 2)}),
			call:  store("geb", "emma"),
			want:  []string{"gone", "stored"},
			end:   state{"stores": handled(2), "out": hash{"geb": "r1"}, "events": entries(storedEvent("emma"))},
		},
		{
			name:  "the same book twice in one batch is stored once, and then a conflict",
			start: out.with(state{"stores": given(3)}),
			call:  store("geb", "geb", "emma"),
			want:  []string{"stored", "conflict", "stored"},
			end:   state{"stores": inbox(3, 2), "events": entries(storedEvent("geb"), storedEvent("emma"))},
		},
		{
			name:  "an awaited book twice in one batch is handed on, and then stored",
			start: out.with(state{"stores": given(2), "awaited": hash{"geb": "r2"}}),
			call:  store("geb", "geb"),
			want:  []string{"handed_on", "stored"},
			end: state{
				"stores": handled(2), "out": hash{"emma": "r8"},
				"deliveries": entries(delivery("r2", "geb")),
				"events":     entries(fetchEvent("handed_on", "r2", "geb"), storedEvent("geb")),
			},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

// TestAnOrderMayOvertakeTheBooksWayBack lets the order of r2 come before or after
// the book that r1 brings back, and wants the same in the end.
func TestAnOrderMayOvertakeTheBooksWayBack(t *testing.T) {
	fetchGEB, storeGEB := fetch(parcel{"r2", "geb"}), store("geb")
	onBoth(t, func(t *testing.T, b *bench) {
		for name, calls := range map[string][]call{
			"the book comes first":  {storeGEB, fetchGEB},
			"the order comes first": {fetchGEB, storeGEB},
		} {
			t.Run(name, func(t *testing.T) {
				b.start(t, state{"out": hash{"geb": "r1"}, "fetches": given(1), "stores": given(1)})
				from := b.now(t)
				for _, call := range calls {
					must(b.do(t, call))(t)
				}
				must(b.rdb.Del(t.Context(), "events").Result())(t) // they tell how it came about
				b.wantState(t, state{
					"out": hash{"geb": "r2"}, "fetches": handled(1), "stores": handled(1), "deliveries": entries(delivery("r2", "geb")),
				}, span{from, b.now(t)})
			})
		}
	})
}

func TestTheShelvesKnowNamesAsTheyAre(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for _, name := range oddNames {
			t.Run(name, func(t *testing.T) {
				b.run(t, []test{{
					name:  "fetched",
					start: state{"fetches": given(1)},
					call:  fetch(parcel{"r1", name}),
					want:  []string{"fetched"},
					end: state{
						"fetches": handled(1), "out": hash{name: "r1"},
						"deliveries": entries(delivery("r1", name)), "events": entries(fetchEvent("fetched", "r1", name)),
					},
				}, {
					name:  "stored",
					start: state{"stores": given(1), "out": hash{name: "r1"}},
					call:  store(name),
					want:  []string{"stored"},
					end:   state{"stores": handled(1), "events": entries(storedEvent(name))},
				}})
			})
		}
	})
}
