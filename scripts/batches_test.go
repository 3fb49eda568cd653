package scripts_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestABatchIsDecidedAsIfEachEntryCameAlone gives each script random entries that
// get in each other's way, once in one call and once in a call each.
func TestABatchIsDecidedAsIfEachEntryCameAlone(t *testing.T) {
	const size = 8
	onBoth(t, func(t *testing.T, b *bench) {
		for seed := range uint64(25) {
			random := rand.New(rand.NewPCG(seed, 0))
			one := func(of ...string) string { return of[random.IntN(len(of))] }
			start := randomState(one)
			var orders []order
			var parcels []parcel
			var books []string
			for range size {
				order := by(one("ann", "bob", "cy"), one("r1", "r2", "r3", "r4", "r5", "r6"), "a", one("b", "c"), one("d", "e")).rung(one("", "b1"))
				order.books = order.books[random.IntN(3):]
				orders = append(orders, order)
				parcels = append(parcels, parcel{one("r1", "r2", "r3"), one("a", "b", "c", "d", "e")})
				books = append(books, one("a", "b", "c", "d", "e"))
			}
			scripts := map[string]func(first, end int) call{
				"requests":   func(first, end int) call { return lend(terms{3, 100, 1}, orders[first:end]...) },
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
						for first := 0; first < size; first += batch {
							b.put(t, inbox, given(batch))
							replies = append(replies, must(b.do(t, calls(first, first+batch)))(t).([]any)...)
						}
						during := span{from, b.now(t)}
						b.put(t, inbox, nil) // what conflicts is left there
						for i, reply := range replies {
							replies[i] = during.plain(asJSON(t, reply))
						}
						return replies, b.rung(t, during), b.state(t, during)
					}
					replies, rings, after := run(1)
					batchReplies, batchRings, batchAfter := run(size)
					if diff := cmp.Diff(replies, batchReplies); diff != "" {
						t.Errorf("replies (-alone +batch):\n%s", diff)
					}
					if diff := cmp.Diff(rings, batchRings); diff != "" {
						t.Errorf("rings (-alone +batch):\n%s", diff)
					}
					if diff := cmp.Diff(after, batchAfter, cmpopts.EquateApprox(1e-9, 0)); diff != "" {
						t.Errorf("state (-alone +batch):\n%s", diff)
					}
				})
			}
		}
	})
}

// randomState has the books a to e in random places, where the others' are not.
func randomState(one func(of ...string) string) state {
	loans, fetching, front := hash{"z": "dee"}, hash{"z": "r0 "}, zset{"y": 1}
	out, awaited := hash{"y": "r0", "z": "r0"}, hash{"z": "r9"}
	cards := map[string]hash{"ann": {"x": "2 1"}, "bob": {"w": "2 1"}, "cy": {"v": "2 1"}}
	for _, book := range []string{"a", "b", "c", "d", "e"} {
		place := one("shelves", "front", "lent", "on its way", "awaited")
		if place == "shelves" {
			continue
		}
		out[book] = one("r1", "r2", "r3")
		if place == "front" {
			front[book] = 2
			continue
		}
		user := one("ann", "bob", "cy")
		loans[book], cards[user][book] = user, "2 1"
		if place == "lent" {
			continue
		}
		fetching[book] = one("r1", "r2", "r3") + " " + one("", "b1")
		if place == "awaited" {
			awaited[book] = one("r1", "r2", "r3")
		}
	}
	return state{
		"loans": loans, "fetching": fetching, "front": front, "demand": zset{"a": 5, "b": 3}, "clock": 7.0,
		"card:ann": cards["ann"], "card:bob": cards["bob"], "card:cy": cards["cy"],
		"out": out, "awaited": awaited, "receipt:r6": expiring{"the receipt", 1},
	}
}

// TestABatchMayBeAsLargeAsItsHeaderSays has 2,000 books handled in one call.
// Neither server's Lua may run out of room for what it passes to a command.
func TestABatchMayBeAsLargeAsItsHeaderSays(t *testing.T) {
	const users, each, total = 20, 100, 2_000
	var orders []order
	var parcels []parcel
	var books []string
	taken, cards := hash{}, state{}
	for n := range users {
		user := fmt.Sprint("user", n)
		order, card := by(user, fmt.Sprint("r", n)), hash{}
		for m := range each {
			book := fmt.Sprintf("book %d of %s", m, user)
			order.books = append(order.books, book)
			books = append(books, book)
			parcels = append(parcels, parcel{order.id, book})
			taken[book], card[book] = user, "2000 1000"
		}
		cards["card:"+user] = card
		orders = append(orders, order)
	}
	out, fetching := hash{}, hash{}
	for _, parcel := range parcels {
		out[parcel.book], fetching[parcel.book] = parcel.request, parcel.request+" "
	}
	tests := []struct {
		name  string
		call  call
		start state
		want  map[string]int64 // how many books are in these keys then
	}{
		{
			"lend", lend(terms{each, total, 1000}, orders...), state{"requests": given(users)},
			map[string]int64{"loans": total, "fetching": total, "fetches": total, "demand": total, "card:user0": each, "events": users},
		},
		{
			"return", takeBack(total, orders...), cards.with(state{"returns": given(users), "loans": taken}),
			map[string]int64{"loans": 0, "front": total, "card:user0": 0, "events": users},
		},
		{
			"return to the shelves", takeBack(0, orders...), cards.with(state{"returns": given(users), "loans": taken}),
			map[string]int64{"loans": 0, "front": 0, "stores": total, "card:user0": 0, "events": users + 1},
		},
		{
			"fetch", fetch(parcels...), state{"fetches": given(total)},
			map[string]int64{"out": total, "deliveries": total, "fetches": 0},
		},
		{
			"fetch, and all are awaited", fetch(parcels...), state{"fetches": given(total), "out": taken},
			map[string]int64{"out": total, "awaited": total, "deliveries": 0, "fetches": 0},
		},
		{
			"store", store(books...), state{"stores": given(total), "out": out},
			map[string]int64{"out": 0, "stores": 0},
		},
		{
			"store, and all are handed on", store(books...), state{"stores": given(total), "out": taken, "awaited": out},
			map[string]int64{"out": total, "awaited": 0, "deliveries": total, "stores": 0},
		},
		{
			"deliver", deliver(parcels...), state{"deliveries": given(total), "loans": taken, "fetching": fetching},
			map[string]int64{"fetching": 0, "loans": total, "stores": 0, "deliveries": 0},
		},
		{
			"deliver, and all are sent back", deliver(parcels...), state{"deliveries": given(total)},
			map[string]int64{"stores": total, "deliveries": 0},
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
					case "zset":
						got[key] = must(b.rdb.ZCard(t.Context(), key).Result())(t)
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
