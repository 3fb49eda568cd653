package scripts_test

import (
	"strings"
	"testing"

	"example.com/library/scripts"
)

// deliver is the call for books that stand in the inbox as 1-0, 2-0, …
func deliver(inEntries ...[]parcel) call {
	args := []any{secret, worker, group, bells}
	for i, parcels := range inEntries {
		args = append(args, id(i+1), len(parcels))
		for _, parcel := range parcels {
			args = append(args, parcel.request, parcel.book)
		}
	}
	return call{scripts.Deliver, []string{"instance", "deliveries", "loans", "fetching", "front", "stores", "events"}, args, nil}
}

// A handover is a parcel as it is logged, with the user who has the book on loan.
type handover struct{ request, book, user string }

func deliveredEvent(event string, handovers ...handover) entry {
	var all []string
	for _, handover := range handovers {
		all = append(all, list(handover.request, handover.book, handover.user))
	}
	return entry{"new", "event", event, "by", worker, "orders", "[" + strings.Join(all, ",") + "]"}
}

func TestDeliveringPutsBooksIntoTheUsersHands(t *testing.T) {
	geb := parcel{"r1", "geb"}
	ordered := state{"loans": hash{"geb": "ann", "dune": "bob"}, "fetching": hash{"geb": "r1 b1", "dune": "r9 "}}
	arrived := state{"loans": hash{"geb": "ann", "dune": "bob"}, "fetching": hash{"dune": "r9 "}}
	tests := []test{
		{
			name:  "a book that was ordered is in the user's hands, and the one who waits is rung",
			start: ordered.with(state{"deliveries": given(1)}),
			call:  deliver(each(geb)...),
			want:  []string{"delivered", "ann"},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end:   arrived.with(state{"deliveries": handled(1), "events": entries(deliveredEvent("delivered", handover{"r1", "geb", "ann"}))}),
		},
		{
			name:  "nobody is rung for an order without a bell",
			start: ordered.with(state{"deliveries": given(1)}),
			call:  deliver(each(parcel{"r9", "dune"})...),
			want:  []string{"delivered", "bob"},
			end: state{
				"loans": hash{"geb": "ann", "dune": "bob"}, "fetching": hash{"geb": "r1 b1"},
				"deliveries": handled(1), "events": entries(deliveredEvent("delivered", handover{"r9", "dune", "bob"})),
			},
		},
		{
			name:  "the last book that was awaited leaves nothing behind",
			start: state{"deliveries": given(1), "loans": hash{"geb": "ann"}, "fetching": hash{"geb": "r1 "}},
			call:  deliver(each(geb)...),
			want:  []string{"delivered", "ann"},
			end: state{
				"deliveries": handled(1), "loans": hash{"geb": "ann"}, "events": entries(deliveredEvent("delivered", handover{"r1", "geb", "ann"})),
			},
		},
		{
			name:  "a book that was ordered is delivered, even if a copy stands in front storage",
			start: ordered.with(state{"deliveries": given(1), "front": setOf("geb")}),
			call:  deliver(each(geb)...),
			want:  []string{"delivered", "ann"},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end: arrived.with(state{
				"deliveries": handled(1), "front": setOf("geb"), "events": entries(deliveredEvent("delivered", handover{"r1", "geb", "ann"})),
			}),
		},
		{
			name:  "a second copy of a book in a user's hands is a conflict and stays pending",
			start: arrived.with(state{"deliveries": given(1)}),
			call:  deliver(each(geb)...),
			want:  []string{"conflict", "ann"},
			end:   arrived.with(state{"deliveries": given(1)}),
		},
		{
			name:  "a second copy of a book in front storage is a conflict and stays pending",
			start: state{"deliveries": given(1), "front": setOf("geb")},
			call:  deliver(each(geb)...),
			want:  []string{"conflict", ""},
			end:   state{"deliveries": given(1), "front": setOf("geb")},
		},
		{
			name:  "a book that nobody asked for is sent back to the shelves",
			start: ordered.with(state{"deliveries": given(1), "front": setOf("alice"), "stores": entries(entry{"1-0", "books", `["z"]`})}),
			call:  deliver(each(parcel{"r1", "emma"})...),
			want:  []string{"sent_back", ""},
			end: ordered.with(state{
				"deliveries": handled(1), "front": setOf("alice"),
				"stores": entries(entry{"1-0", "books", `["z"]`}, putAway("emma")),
				"events": entries(deliveredEvent("sent_back", handover{"r1", "emma", ""})),
			}),
		},
		{
			name:  "a book that came for another request than the one that awaits it is sent back, for the shelves to hand it on",
			start: ordered.with(state{"deliveries": given(1)}),
			call:  deliver(each(parcel{"r0", "geb"})...),
			want:  []string{"sent_back", "ann"},
			end: ordered.with(state{
				"deliveries": handled(1), "stores": entries(putAway("geb")),
				"events": entries(deliveredEvent("sent_back", handover{"r0", "geb", "ann"})),
			}),
		},
		{
			name:  "a request whose id is the beginning of that one's is another request",
			start: state{"deliveries": given(1), "loans": hash{"geb": "ann"}, "fetching": hash{"geb": "r10 b1"}},
			call:  deliver(each(geb)...),
			want:  []string{"sent_back", "ann"},
			end: state{
				"deliveries": handled(1), "loans": hash{"geb": "ann"}, "fetching": hash{"geb": "r10 b1"}, "stores": entries(putAway("geb")),
				"events": entries(deliveredEvent("sent_back", handover{"r1", "geb", "ann"})),
			},
		},
		{
			name:  "an entry that is pending for another instance is gone, whatever its book",
			start: ordered.with(state{"deliveries": pendingForAnother(3), "front": setOf("alice")}),
			call:  deliver(each(geb, parcel{"r1", "alice"}, parcel{"r1", "emma"})...),
			want:  []string{"gone", "ann", "gone", "", "gone", ""},
			end:   ordered.with(state{"deliveries": pendingForAnother(3), "front": setOf("alice")}),
		},
		{
			name:  "an entry that was acknowledged before is gone, and the others are not",
			start: ordered.with(state{"deliveries": inbox(2, 2)}),
			call:  deliver(each(geb, parcel{"r9", "dune"})...),
			want:  []string{"gone", "ann", "delivered", "bob"},
			end: state{
				"deliveries": handled(2), "loans": hash{"geb": "ann", "dune": "bob"}, "fetching": hash{"geb": "r1 b1"},
				"events": entries(deliveredEvent("delivered", handover{"r9", "dune", "bob"})),
			},
		},
		{
			name:  "the same delivery twice in one batch is delivered once, and then a conflict",
			start: ordered.with(state{"deliveries": given(4)}),
			call:  deliver(each(parcel{"r0", "geb"}, geb, geb, parcel{"r9", "dune"})...),
			want:  []string{"sent_back", "ann", "delivered", "ann", "conflict", "ann", "delivered", "bob"},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end: state{
				"deliveries": inbox(4, 3), "loans": hash{"geb": "ann", "dune": "bob"}, "stores": entries(putAway("geb")),
				"events": entries(
					deliveredEvent("delivered", handover{"r1", "geb", "ann"}),
					deliveredEvent("delivered", handover{"r9", "dune", "bob"}),
					deliveredEvent("sent_back", handover{"r0", "geb", "ann"}),
				),
			},
		},
		{
			name:  "books that share an entry are delivered together, each to its user",
			start: ordered.with(state{"deliveries": given(1)}),
			call:  deliver([]parcel{geb, {"r9", "dune"}}),
			want:  []string{"delivered", "ann", "delivered", "bob"},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end: state{
				"deliveries": handled(1), "loans": hash{"geb": "ann", "dune": "bob"},
				"events": entries(deliveredEvent("delivered", handover{"r1", "geb", "ann"}, handover{"r9", "dune", "bob"})),
			},
		},
		{
			name:  "of books that share an entry, each is delivered, sent back, or set apart by itself",
			start: ordered.with(state{"deliveries": given(2), "front": setOf("alice")}),
			call:  deliver([]parcel{{"r5", "emma"}, geb, {"r6", "alice"}, {"r0", "dune"}, geb}, []parcel{{"r7", "x"}, {"r9", "dune"}}),
			want: []string{
				"sent_back", "", "delivered", "ann", "apart", "", "sent_back", "bob", "apart", "ann", "sent_back", "", "delivered", "bob",
			},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end: state{
				"deliveries": handled(2).and(sent(parcel{"r6", "alice"}), sent(geb)), "front": setOf("alice"),
				"loans":  hash{"geb": "ann", "dune": "bob"},
				"stores": entries(putAway("emma", "dune"), putAway("x")),
				"events": entries(
					deliveredEvent("delivered", handover{"r1", "geb", "ann"}),
					deliveredEvent("delivered", handover{"r9", "dune", "bob"}),
					deliveredEvent("sent_back", handover{"r5", "emma", ""}, handover{"r0", "dune", "bob"}),
					deliveredEvent("sent_back", handover{"r7", "x", ""}),
				),
			},
		},
		{
			name:  "a book is set apart in an entry of its own, where it is a conflict and stays pending",
			start: arrived.with(state{"deliveries": given(2), "front": setOf("alice")}),
			call:  deliver([]parcel{geb, {"r1", "alice"}}, []parcel{geb}),
			want:  []string{"apart", "ann", "apart", "", "conflict", "ann"},
			end: arrived.with(state{
				"deliveries": inbox(2, 2).and(sent(geb), sent(parcel{"r1", "alice"})), "front": setOf("alice"),
			}),
		},
		{
			name:  "of an entry of several books that is gone, all are",
			start: ordered.with(state{"deliveries": inbox(2, 2)}),
			call:  deliver([]parcel{geb, {"r1", "emma"}}, []parcel{geb}),
			want:  []string{"gone", "ann", "gone", "", "delivered", "ann"},
			rings: []string{`bell:b1 {"id":"r1","delivered":"geb"}`},
			end:   arrived.with(state{"deliveries": handled(2), "events": entries(deliveredEvent("delivered", handover{"r1", "geb", "ann"}))}),
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
				call:  deliver([]parcel{{"r0", name}, {"r1", name}, {"r2", name}}),
				want:  []string{"sent_back", name, "delivered", name, "apart", name},
				rings: []string{`bell:b1 {"id":"r1","delivered":` + quoted(name) + `}`},
				end: state{
					"deliveries": handled(1).and(sent(parcel{"r2", name})), "loans": hash{name: name}, "stores": entries(putAway(name)),
					"events": entries(
						deliveredEvent("delivered", handover{"r1", name, name}), deliveredEvent("sent_back", handover{"r0", name, name})),
				},
			}})
		}
	})
}
