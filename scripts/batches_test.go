package scripts_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestABatchIsDecidedAsIfEachEntryCameAlone gives each script random entries that
// get in each other's way, once in one call and once in a call each. The log is the
// same but for the order of events of different kinds, and for what shares an event.
func TestABatchIsDecidedAsIfEachEntryCameAlone(t *testing.T) {
	const size = 8
	onBoth(t, func(t *testing.T, b *bench) {
		for seed := range uint64(25) {
			random := rand.New(rand.NewPCG(seed, 0))
			one := func(of ...string) string { return of[random.IntN(len(of))] }
			start := randomState(one)
			var orders []order
			var parcels [][]parcel
			var books [][]string
			for range size {
				order := by(one("ann", "bob", "cy"), one("r1", "r2", "r3", "r4", "r5", "r6", "r7"), "a", one("b", "c"), one("d", "e")).rung(one("", "b1"))
				order.books = order.books[random.IntN(3):]
				orders = append(orders, order)
				var some []parcel
				var of []string
				for range 1 + random.IntN(3) {
					some = append(some, parcel{one("r1", "r2", "r3"), one("a", "b", "c", "d", "e")})
					of = append(of, one("a", "b", "c", "d", "e"))
				}
				parcels, books = append(parcels, some), append(books, of)
			}
			scripts := map[string]func(first, end int) call{
				"requests":   func(first, end int) call { return lend(3, orders[first:end]...) },
				"returns":    func(first, end int) call { return takeBack(100, orders[first:end]...) },
				"fetches":    func(first, end int) call { return fetch(parcels[first:end]...) },
				"stores":     func(first, end int) call { return store(books[first:end]...) },
				"deliveries": func(first, end int) call { return deliver(parcels[first:end]...) },
			}
			for inbox, calls := range scripts {
				t.Run(fmt.Sprint(inbox, " ", seed), func(t *testing.T) {
					// run handles the entries in calls of so many.
					run := func(batch int) (replies []any, rings []string, after state) {
						b.start(t, start)
						from := b.now(t)
						var apart []entry
						for first := 0; first < size; first += batch {
							b.put(t, inbox, given(batch))
							replies = append(replies, must(b.do(t, calls(first, first+batch)))(t).([]any)...)
							for _, entry := range b.stream(t, inbox, span{}).Entries {
								if entry[1] != "of" { // else it is a conflict, which is left there
									apart = append(apart, entry[1:])
								}
							}
						}
						during := span{from, b.now(t)}
						b.put(t, inbox, nil)
						for i, reply := range replies {
							replies[i] = during.plain(asJSON(t, reply))
						}
						after = b.state(t, during)
						after[inbox] = apart
						after["events"] = unpacked(t, after["events"])
						return replies, b.rung(t, during), after
					}
					replies, rings, after := run(1)
					batchReplies, batchRings, batchAfter := run(size)
					if diff := cmp.Diff(replies, batchReplies); diff != "" {
						t.Errorf("replies (-alone +batch):\n%s", diff)
					}
					if diff := cmp.Diff(rings, batchRings); diff != "" {
						t.Errorf("rings (-alone +batch):\n%s", diff)
					}
					if diff := cmp.Diff(after, batchAfter, cmpopts.EquateApprox(1e-9, 0), alike); diff != "" {
						t.Errorf("state (-alone +batch):\n%s", diff)
					}
				})
			}
		}
	})
}

// unpacked is what a log says by kind of event, each receipt, order or book for itself.
func unpacked(t *testing.T, log any) map[string][]string {
	t.Helper()
	by := map[string][]string{}
	events, _ := log.(stream)
	for _, event := range events.Entries {
		var all []json.RawMessage
		// The texts may have words in place of times, see test, that are no JSON.
		text := strings.ReplaceAll(listed(event), "DUE", "1")
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			by[event[2]] = append(by[event[2]], string(one))
		}
	}
	return by
}

// listed is what an event tells of, the last of its fields but for the entries that decided
// orders came in: entries that come alone all have the id of the first here.
func listed(event entry) string {
	if last := len(event) - 2; event[last] == "entries" {
		event = event[:last]
	}
	return event[len(event)-1]
}

// randomState has the books a to e in random places, where the others' are not.
func randomState(one func(of ...string) string) state {
	loans, fetching, front := hash{"z": "dee"}, hash{"z": "r0 "}, setOf("y")
	away, awaited := []string{"y", "z"}, hash{"z": "r9"}
	cards := map[string]hash{"ann": {"x": "20001"}, "bob": {"w": "20001"}, "cy": {"v": "20001"}}
	for _, book := range []string{"a", "b", "c", "d", "e"} {
		place := one("shelves", "front", "lent", "on its way", "awaited")
		if place == "shelves" {
			continue
		}
		away = append(away, book)
		if place == "front" {
			front[book] = true
			continue
		}
		user := one("ann", "bob", "cy")
		loans[book], cards[user][book] = user, "20001"
		if place == "lent" {
			continue
		}
		fetching[book] = one("r1", "r2", "r3") + " " + one("", "b1")
		if place == "awaited" {
			awaited[book] = one("r1", "r2", "r3")
		}
	}
	return out(away...).with(state{
		"loans": loans, "fetching": fetching, "front": front, "demand": weights{"a": 5, "b": 3}, "clock": 7.0,
		"card:ann": cards["ann"], "card:bob": cards["bob"], "card:cy": cards["cy"], "awaited": awaited,
		"receipts": hash{"r6": "the receipt"}, "older": hash{"r7": "an older one"},
	})
}

// TestABatchMayBeAsLargeAsItsHeaderSays has 2,000 books handled in one call, by
// hundreds and one by one. Neither server's Lua may run out of room for what it
// passes to a command.
func TestABatchMayBeAsLargeAsItsHeaderSays(t *testing.T) {
	const users, each, total, stood = 20, 100, 2_000, 12_000
	var orders, single []order
	var parcels, alone [][]parcel
	var books, singly [][]string
	taken, awaited, fetching, cards := hash{}, hash{}, hash{}, state{}
	var all []string
	for n := range users {
		user := fmt.Sprint("user", n)
		order, card := by(user, fmt.Sprint("r", n)), hash{}
		var some []parcel
		for m := range each {
			book := fmt.Sprintf("book %d of %s", m, user)
			one := parcel{fmt.Sprint(order.id, "-", m), book}
			order.books = append(order.books, book)
			single = append(single, by(user, one.request, book))
			some, alone = append(some, parcel{order.id, book}), append(alone, []parcel{one})
			singly, all = append(singly, []string{book}), append(all, book)
			taken[book], card[book], awaited[book], fetching[book] = user, "20000001", one.request, order.id+" "
		}
		cards["card:"+user] = card
		orders, parcels, books = append(orders, order), append(parcels, some), append(books, order.books)
	}
	away := out(all...)
	aBay := int64(len(away["bay:0"].(hash)))
	lent, front := cards.with(state{"loans": taken}), setOf(numbered("front", stood)...)
	tests := []struct {
		name  string
		call  call
		start state
		want  map[string]int64 // how many entries or fields these keys have then
	}{
		{
			"lend", lend(each, orders...), state{"requests": given(users)},
			map[string]int64{"loans": total, "fetching": total, "fetches": total / 16, "card:user0": each, "events": 2, "receipts": users},
		},
		{
			"lend, each by a request of its own", lend(each, single...), state{"requests": given(total), "page": nil},
			map[string]int64{"loans": total, "fetching": total, "fetches": total / 16, "card:user0": each, "receipts": total},
		},
		{
			"lend from front storage", lend(each, single...), state{"requests": given(total), "front": setOf(all...)},
			map[string]int64{"loans": total, "fetching": 0, "fetches": 0, "front": 0, "card:user0": each},
		},
		{
			"return", takeBack(total, orders...), lent.with(state{"returns": given(users)}),
			map[string]int64{"loans": 0, "front": total, "card:user0": 0, "events": 2, "receipts": users},
		},
		{
			"return, each by a request of its own", takeBack(total, single...), lent.with(state{"returns": given(total), "page": nil}),
			map[string]int64{"loans": 0, "front": total, "card:user0": 0, "receipts": total},
		},
		{
			"return to the shelves", takeBack(0, orders...), lent.with(state{"returns": given(users)}),
			map[string]int64{"loans": 0, "front": 0, "stores": total / 16, "card:user0": 0},
		},
		{
			"return to a large front storage that is full", takeBack(stood, orders...), lent.with(state{"returns": given(users), "front": front}),
			map[string]int64{"loans": 0, "front": stood, "stores": total / 16, "card:user0": 0},
		},
		{
			"return to a large front storage that has become smaller", takeBack(0, orders...), lent.with(state{"returns": given(users), "front": front}),
			map[string]int64{"loans": 0, "front": stood - 1000, "stores": (total+1000)/16 + 1, "card:user0": 0},
		},
		{
			"fetch", fetch(parcels...), state{"fetches": given(users)},
			map[string]int64{"bay:0": aBay, "bay:1": total - aBay, "deliveries": users, "fetches": 0, "events": users},
		},
		{
			"fetch, each in an entry of its own", fetch(alone...), state{"fetches": given(total)},
			map[string]int64{"bay:0": aBay, "bay:1": total - aBay, "deliveries": total, "fetches": 0},
		},
		{
			"fetch, and all are awaited", fetch(parcels...), away.with(state{"fetches": given(users)}),
			map[string]int64{"bay:0": aBay, "awaited": total, "deliveries": 0, "fetches": 0, "events": users},
		},
		{
			"fetch, and all are set apart", fetch(parcels...), away.with(state{"fetches": given(users), "awaited": awaited}),
			map[string]int64{"bay:0": aBay, "awaited": total, "deliveries": 0, "fetches": total, "events": 0},
		},
		{
			"store", store(books...), away.with(state{"stores": given(users)}),
			map[string]int64{"bay:0": 0, "bay:1": 0, "stores": 0, "events": users},
		},
		{
			"store, each in an entry of its own", store(singly...), away.with(state{"stores": given(total)}),
			map[string]int64{"bay:0": 0, "bay:1": 0, "stores": 0},
		},
		{
			"store, and all are handed on", store(books...), away.with(state{"stores": given(users), "awaited": awaited}),
			map[string]int64{"bay:0": aBay, "awaited": 0, "deliveries": users, "stores": 0, "events": users},
		},
		{
			"store, and all are set apart", store(books...), state{"stores": given(users)},
			map[string]int64{"bay:0": 0, "stores": total, "events": 0},
		},
		{
			"deliver", deliver(parcels...), state{"deliveries": given(users), "loans": taken, "fetching": fetching},
			map[string]int64{"fetching": 0, "loans": total, "stores": 0, "deliveries": 0, "events": users},
		},
		{
			"deliver, each in an entry of its own", deliver(alone...), state{"deliveries": given(total), "loans": taken, "fetching": ringing(awaited)},
			map[string]int64{"fetching": 0, "loans": total, "stores": 0, "deliveries": 0},
		},
		{
			"deliver, and all are sent back", deliver(parcels...), state{"deliveries": given(users)},
			map[string]int64{"stores": users, "deliveries": 0, "events": users},
		},
		{
			"deliver, and all are set apart", deliver(parcels...), state{"deliveries": given(users), "loans": taken},
			map[string]int64{"loans": total, "stores": 0, "deliveries": total, "events": 0},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				b.start(t, test.start)
				must(b.do(t, test.call))(t)
				types, got := b.types(t), map[string]int64{}
				for key := range test.want {
					switch types[key] {
					case "hash":
						got[key] = must(b.rdb.HLen(t.Context(), key).Result())(t)
					case "set":
						got[key] = must(b.rdb.SCard(t.Context(), key).Result())(t)
					case "stream":
						got[key] = must(b.rdb.XLen(t.Context(), key).Result())(t)
					default:
						got[key] = 0
					}
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("books (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// ringing are requests that wait for books, with a bell for each.
func ringing(awaited hash) hash {
	fetching := hash{}
	for book, request := range awaited {
		fetching[book] = request + " b1"
	}
	return fetching
}
