package scripts_test

import (
	"testing"

	"example.com/library/scripts"
)

// deliver is the call for books that stand in the inbox as 1-0, 2-0, …
func deliver(parcels ...parcel) call {
	args := []any{secret, worker, group, logMax, bells}
	for i, parcel := range parcels {
		args = append(args, id(i+1), parcel.request, parcel.book)
	}
	return call{scripts.Deliver, []string{"instance", "deliveries", "loans", "fetching", "front", "stores", "events"}, args}
}

func deliveredEvent(event, request, book, user string) entry {
	return entry{"new", "event", event, "by", worker, "request", request, "book", book, "user", user}
}

func TestDeliveringPutsBooksIntoTheUsersHands(t *testing.T) {
	geb := parcel{"r1", "geb"}
	ordered := state{"loans": hash{"geb": "ann", "dune": "bob"}, "fetching": hash{"geb": "r1 b1", "dune": "r9 "}}
	arrived := state{"loans": hash{"geb": "ann", "dune": "bob"}, "fetching": hash{"dune": "r9 "}}
	tests := []test{
		{
			name:  "a book that was ordered is in the user's hands, and the one who waits is rung",
			start: ordered.with(state{"deliveries": given(1)}),
			call:  deliver(geb),
			want:  [][]string{{"delivered", "ann"}},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end:   arrived.with(state{"deliveries": handled(1), "events": entries(deliveredEvent("delivered", "r1", "geb", "ann"))}),
		},
		{
			name:  "nobody is rung for an order without a bell",
			start: ordered.with(state{"deliveries": given(1)}),
			call:  deliver(parcel{"r9", "dune"}),
			want:  [][]string{{"delivered", "bob"}},
			end: state{
				"loans": hash{"geb": "ann", "dune": "bob"}, "fetching": hash{"geb": "r1 b1"},
				"deliveries": handled(1), "events": entries(deliveredEvent("delivered", "r9", "dune", "bob")),
			},
		},
		{
			name:  "the last book that was awaited leaves nothing behind",
			start: state{"deliveries": given(1), "loans": hash{"geb": "ann"}, "fetching": hash{"geb": "r1 "}},
			call:  deliver(geb),
			want:  [][]string{{"delivered", "ann"}},
			end: state{
				"deliveries": handled(1), "loans": hash{"geb": "ann"}, "events": entries(deliveredEvent("delivered", "r1", "geb", "ann")),
			},
		},
		{
			name:  "a book that was ordered is delivered, even if a copy stands in front storage",
			start: ordered.with(state{"deliveries": given(1), "front": zset{"geb": 1}}),
			call:  deliver(geb),
			want:  [][]string{{"delivered", "ann"}},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end: arrived.with(state{
				"deliveries": handled(1), "front": zset{"geb": 1}, "events": entries(deliveredEvent("delivered", "r1", "geb", "ann")),
			}),
		},
		{
			name:  "a second copy of a book in a user's hands is a conflict and stays pending",
			start: arrived.with(state{"deliveries": given(1)}),
			call:  deliver(geb),
			want:  [][]string{{"conflict", "ann"}},
			end:   arrived.with(state{"deliveries": given(1)}),
		},
		{
			name:  "a second copy of a book in front storage is a conflict and stays pending",
			start: state{"deliveries": given(1), "front": zset{"geb": 2}},
			call:  deliver(geb),
			want:  [][]string{{"conflict", ""}},
			end:   state{"deliveries": given(1), "front": zset{"geb": 2}},
		},
		{
			name:  "a book that nobody asked for is sent back to the shelves",
			start: ordered.with(state{"deliveries": given(1), "front": zset{"alice": 1}, "stores": entries(entry{"1-0", "book", "z"})}),
			call:  deliver(parcel{"r1", "emma"}),
			want:  [][]string{{"sent_back", ""}},
			end: ordered.with(state{
				"deliveries": handled(1), "front": zset{"alice": 1},
				"stores": entries(entry{"1-0", "book", "z"}, entry{"new", "book", "emma"}),
				"events": entries(deliveredEvent("sent_back", "r1", "emma", "")),
			}),
		},
		{
			name:  "a book that came for another request than the one that awaits it is sent back, for the shelves to hand it on",
			start: ordered.with(state{"deliveries": given(1)}),
			call:  deliver(parcel{"r0", "geb"}),
			want:  [][]string{{"sent_back", "ann"}},
			end: ordered.with(state{
				"deliveries": handled(1), "stores": entries(entry{"new", "book", "geb"}),
				"events": entries(deliveredEvent("sent_back", "r0", "geb", "ann")),
			}),
		},
		{
			name:  "an entry that is pending for another instance is gone, whatever its book",
			start: ordered.with(state{"deliveries": pendingForAnother(3), "front": zset{"alice": 1}}),
			call:  deliver(geb, parcel{"r1", "alice"}, parcel{"r1", "emma"}),
			want:  [][]string{{"gone", "ann"}, {"gone", ""}, {"gone", ""}},
			end:   ordered.with(state{"deliveries": pendingForAnother(3), "front": zset{"alice": 1}}),
		},
		{
			name:  "an entry that was acknowledged before is gone, and the others are not",
			start: ordered.with(state{"deliveries": inbox(2, 2)}),
			call:  deliver(geb, parcel{"r9", "dune"}),
			want:  [][]string{{"gone", "ann"}, {"delivered", "bob"}},
			end: state{
				"deliveries": handled(2), "loans": hash{"geb": "ann", "dune": "bob"}, "fetching": hash{"geb": "r1 b1"},
				"events": entries(deliveredEvent("delivered", "r9", "dune", "bob")),
			},
		},
		{
			name:  "the same delivery twice in one batch is delivered once, and then a conflict",
			start: ordered.with(state{"deliveries": given(4)}),
			call:  deliver(parcel{"r0", "geb"}, geb, geb, parcel{"r9", "dune"}),
			want:  [][]string{{"sent_back", "ann"}, {"delivered", "ann"}, {"conflict", "ann"}, {"delivered", "bob"}},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end: state{
				"deliveries": inbox(4, 3), "loans": hash{"geb": "ann", "dune": "bob"}, "stores": entries(entry{"new", "book", "geb"}),
				"events": entries(
					deliveredEvent("sent_back", "r0", "geb", "ann"),
					deliveredEvent("delivered", "r1", "geb", "ann"),
					deliveredEvent("delivered", "r9", "dune", "bob"),
				),
			},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

func TestNamesAreDeliveredAsTheyAre(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for _, name := range oddNames {
			b.run(t, []test{{
				name:  name,
				start: state{"deliveries": given(1), "loans": hash{name: name}, "fetching": hash{name: "r1 b1"}},
				call:  deliver(parcel{"r1", name}),
				want:  [][]string{{"delivered", name}},
				rings: []string{`bell:b1 {"id":"r1","delivered":` + quoted(name) + `}`},
				end: state{
					"deliveries": handled(1), "loans": hash{name: name}, "events": entries(deliveredEvent("delivered", "r1", name, name)),
				},
			}})
		}
	})
}
