package explain

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/library/events"
	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// A library is what stands in Redis before an order is explained. Times are milliseconds
// after start, and so are the ids of entries: at(3) is the id of an entry of 3 ms after it.
const start = 1_800_000_000_000

func at(ms int64) string      { return fmt.Sprintf("%d-0", start+ms) }
func when(ms int64) time.Time { return time.UnixMilli(start + ms).UTC() }

const (
	requests  = "{main}:lending:requests"
	returns   = "{main}:lending:returns"
	fetches   = "{main}:shelving:fetches"
	stores    = "{main}:shelving:stores"
	delivers  = "{main}:lending:deliveries"
	logged    = "{main}:events"
	receipts  = "{main}:lending:receipts"
	setAside  = "{main}:lending:rejected"
	setAside2 = "{main}:shelving:rejected"

	// Of geb, dune and emma one is lent from front storage, one from the shelves, and one not.
	granted = `{"id":"r1","action":"request","user":"ann","books":["geb","dune","a \"b\""],"outcome":"partial","results":["shelves","front","unavailable"],"due_ms":1802419200000}`
	broken  = `{"id":"r1","action":"request","user":"ann","books":["geb"],"outcome":"rejected","reason":"it cannot be applied","results":[]}`
	back    = `{"id":"r2","action":"return","user":"ann","books":["dune","geb"],"outcome":"partial","results":["returned","on_its_way"]}`
	nobody  = `{"id":"r3","action":"request","user":"bob","books":["r1"],"outcome":"denied","results":["unavailable"]}`
)

var due = time.UnixMilli(1802419200000).UTC()

// lines are the granted receipt's.
func lines() []library.Line {
	return []library.Line{
		{Book: "geb", Result: library.Lent, From: "shelves", Due: due}, {Book: "dune", Result: library.Lent, From: "front", Due: due},
		{Book: `a "b"`, Result: library.Unavailable},
	}
}

// decided are the steps of an order that was accepted at 0 and decided at 7.
func decided() []Step {
	return []Step{
		{Time: when(0), Step: Accepted, Stream: requests, Entry: at(0)},
		{Time: when(7), Step: "lent", TookMS: 7, By: "worker1", Books: []string{"geb", "dune", `a "b"`}, Results: lines(), Event: at(7)},
		{Time: when(7), Step: Ordered, By: "worker1", Books: []string{"geb"}, Event: at(7)},
	}
}

// The commands of a decision at 7, of an entry of 0.
func decision() [][]any {
	return [][]any{
		{"HSET", receipts, "r1", granted},
		{"XADD", logged, at(7), "event", "decided", "by", "worker1", "receipts", "[" + nobody + "," + granted + "]", "entries", `["` + at(1) + `","` + at(0) + `"]`},
	}
}

func receiptOf(text string) *library.Receipt {
	receipt, err := library.ParseReceipt(text)
	if err != nil {
		panic(err)
	}
	return receipt
}

func TestALifeIsTold(t *testing.T) {
	for _, test := range []struct {
		title string
		given [][]any
		want  Life
	}{
		{
			"waiting and unread", [][]any{
				{"XADD", requests, at(0), "id", "r0", "user", "ann", "books", `["emma"]`},
				{"XADD", requests, at(2), "id", "r1", "user", "ann", "books", `["geb"]`},
			},
			Life{State: Waiting, Action: library.Request, User: "ann",
				Steps: []Step{{Time: when(2), Step: Accepted, Stream: requests, Entry: at(2)}},
				Next:  []Next{{Step: "decided", Books: []string{"geb"}, Stream: requests, Entry: at(2), Ahead: 1}}},
		},
		{
			"waiting in the hands of the second who took it", [][]any{
				{"XADD", returns, at(2), "id", "r1", "user", "ann", "books", `["geb"]`},
				{"XGROUP", "CREATE", returns, "lending", "0"},
				{"XREADGROUP", "GROUP", "lending", "worker1", "STREAMS", returns, ">"},
				{"XCLAIM", returns, "lending", "worker2", "0", at(2)},
			},
			Life{State: Waiting, Action: library.Return, User: "ann",
				Steps: []Step{{Time: when(2), Step: Accepted, Stream: returns, Entry: at(2)}},
				Next:  []Next{{Step: "decided", Books: []string{"geb"}, Stream: returns, Entry: at(2), Pending: &Pending{By: "worker2", Deliveries: 2}}}},
		},
		{
			"put back and waiting again", [][]any{
				{"XADD", logged, at(7), "event", "rejected", "by", "worker1", "stream", requests, "entry", at(0), "reason", "it cannot be applied", "receipt", broken},
				{"XADD", requests, at(9), "id", "r1", "user", "ann", "books", `["geb"]`},
				{"XADD", logged, at(10), "event", "retried", "stream", requests, "entry", at(9), "rejected", at(8)},
			},
			Life{State: Waiting, Action: library.Request, User: "ann",
				Steps: []Step{
					{Time: when(0), Step: Accepted, Stream: requests, Entry: at(0)},
					{Time: when(7), Step: "rejected", TookMS: 7, By: "worker1", Stream: requests, Entry: at(0), Reason: "it cannot be applied", Books: []string{}, Event: at(7)},
					{Time: when(10), Step: "retried", TookMS: 3, Stream: requests, Entry: at(9), Event: at(10)},
				},
				Next: []Next{{Step: "decided", Books: []string{"geb"}, Stream: requests, Entry: at(9)}}},
		},
		{
			"set aside", [][]any{
				{"HSET", receipts, "r1", broken},
				{"XADD", logged, at(7), "event", "rejected", "by", "worker1", "stream", requests, "entry", at(0), "reason", "it cannot be applied", "receipt", broken},
				{"XADD", setAside, at(6), "stream", requests, "entry", "1-1", "reason", "another"},
				{"XADD", setAside, at(8), "stream", requests, "entry", at(0), "reason", "it cannot be applied", ".id", "r1"},
			},
			Life{State: Rejected, Action: library.Request, User: "ann", Receipt: receiptOf(broken),
				Steps: []Step{
					{Time: when(0), Step: Accepted, Stream: requests, Entry: at(0)},
					{Time: when(7), Step: "rejected", TookMS: 7, By: "worker1", Stream: requests, Entry: at(0), Reason: "it cannot be applied", Books: []string{}, Event: at(7)},
				},
				Next: []Next{{Step: "retried", Books: []string{}, Stream: setAside, Entry: at(8), Reason: "it cannot be applied"}}},
		},
		{
			"decided, and the book ordered from the shelves is waited for", append(decision(),
				[]any{"XADD", fetches, at(7), "orders", `[["r0","emma"]]`}, []any{"XADD", fetches, at(8), "orders", `[["r0","geb"],["r1","geb"]]`},
				[]any{"XGROUP", "CREATE", fetches, "shelving", "0"}, []any{"XREADGROUP", "GROUP", "shelving", "worker3", "STREAMS", fetches, ">"}),
			Life{State: OnItsWay, Action: library.Request, User: "ann", Receipt: receiptOf(granted), Steps: decided(),
				Next: []Next{{Step: "fetched", Books: []string{"geb"}, Stream: fetches, Entry: at(8), Ahead: 1, Pending: &Pending{By: "worker3", Deliveries: 1}}}},
		},
		{
			"the book must come back first", append(decision(),
				[]any{"XADD", logged, at(9), "event", "awaited", "by", "worker2", "orders", `[["r0","geb"],["r1","geb"]]`}, []any{"XADD", stores, at(5), "books", `["emma","geb"]`}),
			Life{State: OnItsWay, Action: library.Request, User: "ann", Receipt: receiptOf(granted),
				Steps: append(decided(), Step{Time: when(9), Step: "awaited", TookMS: 2, By: "worker2", Books: []string{"geb"}, Event: at(9)}),
				Next:  []Next{{Step: "handed_on", Books: []string{"geb"}, Stream: stores, Entry: at(5)}}},
		},
		{
			"the book's entry was set aside", append(decision(),
				[]any{"XADD", logged, at(9), "event", "rejected", "by", "worker2", "stream", fetches, "entry", at(8), "reason", "odd", "receipt", ""},
				[]any{"XADD", setAside2, at(9), "stream", fetches, "entry", at(8), "reason", "odd", ".orders", `[["r1","geb"]]`}),
			Life{State: OnItsWay, Action: library.Request, User: "ann", Receipt: receiptOf(granted), Steps: decided(),
				Next: []Next{{Step: "retried", Books: []string{"geb"}, Stream: setAside2, Entry: at(9), Reason: "odd"}}},
		},
		{
			"the book is nowhere", decision(),
			Life{State: OnItsWay, Action: library.Request, User: "ann", Receipt: receiptOf(granted), Steps: decided(),
				Next: []Next{{Step: "fetched", Books: []string{"geb"}}}},
		},
		{
			"fetched, delivered, and one book brought back", append(decision(),
				[]any{"XADD", logged, at(107), "event", "fetched", "by", "worker2", "orders", `[["r1","geb"],["r0","emma"]]`},
				[]any{"XADD", logged, at(110), "event", "delivered", "by", "worker3", "orders", `[["r1","geb","ann"]]`},
				[]any{"XADD", logged, at(200), "event", "decided", "by", "worker1", "receipts", "[" + back + "]", "entries", `["` + at(199) + `"]`}),
			Life{State: Done, Action: library.Request, User: "ann", Receipt: receiptOf(granted),
				Steps: append(decided(),
					Step{Time: when(107), Step: "fetched", TookMS: 100, By: "worker2", Books: []string{"geb"}, Event: at(107)},
					Step{Time: when(110), Step: "delivered", TookMS: 3, By: "worker3", Books: []string{"geb"}, Event: at(110)},
					Step{Time: when(200), Step: BroughtBack, TookMS: 193, By: "worker1", Books: []string{"dune"}, Order: "r2", Event: at(200)})},
		},
		{
			"the receipt has ended", append(decision()[1:],
				[]any{"XADD", logged, at(107), "event", "fetched", "by", "worker2", "orders", `[["r1","geb"]]`}, []any{"XADD", delivers, at(107), "orders", `[["r1","geb"]]`}),
			Life{State: OnItsWay, Action: library.Request, User: "ann", Receipt: receiptOf(granted),
				Steps: append(decided(), Step{Time: when(107), Step: "fetched", TookMS: 100, By: "worker2", Books: []string{"geb"}, Event: at(107)}),
				Next:  []Next{{Step: "delivered", Books: []string{"geb"}, Stream: delivers, Entry: at(107)}}},
		},
		{
			"the log was cut", append(decision()[:1], []any{"XADD", logged, at(110), "event", "delivered", "by", "worker3", "orders", `[["r1","geb","ann"]]`}),
			Life{State: Done, Action: library.Request, User: "ann", Receipt: receiptOf(granted), Cut: true,
				Steps: []Step{{Time: when(110), Step: "delivered", By: "worker3", Books: []string{"geb"}, Event: at(110)}}},
		},
		{
			"an older version's log", [][]any{
				{"HSET", receipts, "r2", back},
				{"XADD", logged, at(7), "event", "decided", "by", "worker1", "receipts", "[" + back + "]"},
			},
			Life{ID: "r2", State: Done, Action: library.Return, User: "ann", Receipt: receiptOf(back),
				Steps: []Step{{Time: when(7), Step: "returned", By: "worker1", Books: []string{"dune", "geb"}, Results: receiptOf(back).Books, Event: at(7)}}},
		},
		{
			"rubbish with its id was set aside later", append(decision(),
				[]any{"XADD", logged, at(107), "event", "delivered", "by", "worker2", "orders", `[["r1","geb","ann"]]`},
				[]any{"XADD", logged, at(300), "event", "rejected", "by", "worker2", "stream", requests, "entry", at(299), "reason", "odd", "receipt", broken}),
			Life{State: Done, Action: library.Request, User: "ann", Receipt: receiptOf(granted),
				Steps: append(decided(),
					Step{Time: when(107), Step: "delivered", TookMS: 100, By: "worker2", Books: []string{"geb"}, Event: at(107)},
					Step{Time: when(300), Step: "rejected", TookMS: 193, By: "worker2", Books: []string{}, Stream: requests, Entry: at(299), Reason: "odd", Event: at(300)})},
		},
	} {
		t.Run(test.title, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				ctx := patience.Deadline(t)
				for _, command := range test.given {
					if err := rdb.Do(ctx, command...).Err(); err != nil {
						t.Fatalf("%v: %v", command, err)
					}
				}
				want := test.want
				if want.ID == "" {
					want.ID = "r1"
				}
				if want.Next == nil {
					want.Next = []Next{}
				}
				got, err := explained(t, ctx, rdb, want.ID)
				if diff := cmp.Diff(&want, got, cmpopts.IgnoreFields(Life{}, "Log"), cmpopts.IgnoreFields(Pending{}, "ForMS"), cmpopts.IgnoreFields(library.Line{}, "OnItsWay"), cmpopts.EquateEmpty()); err != nil || diff != "" {
					t.Errorf("Order = %v (-want +got):\n%s", err, diff)
				}
			})
		})
	}
}

func explained(t *testing.T, ctx context.Context, rdb *redis.Client, id string) (*Life, error) {
	t.Helper()
	client, err := lending.NewClient(rdb, "main")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	return Order(ctx, client, rdb, library.Keys{Library: "main"}, id)
}

func TestAnOrderWithoutATraceIsNotMadeUp(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := patience.Deadline(t)
		for _, command := range decision() {
			if err := rdb.Do(ctx, command...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if life, err := explained(t, ctx, rdb, "r4"); !errors.Is(err, ErrNoTrace) {
			t.Errorf("Order = %+v, %v, want ErrNoTrace", life, err)
		}
		if life, err := explained(t, ctx, rdb, "r 4"); !errors.Is(err, library.ErrName) {
			t.Errorf("Order = %+v, %v, want ErrName", life, err)
		}
	})
}

func TestTheLogIsReadBackToTheDecisionOnly(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := patience.Deadline(t)
		pipe := rdb.Pipeline()
		for i := range int64(3000) {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: logged, ID: at(i - 3000), Values: []any{"event", "fetched", "by", "worker1", "orders", `[["r9","emma"]]`}})
		}
		for _, command := range decision() {
			pipe.Do(ctx, command...)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		life, err := explained(t, ctx, rdb, "r1")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(events.Reach{Entries: 1, Since: when(7)}, life.Log); diff != "" {
			t.Errorf("the log was read so far (-want +got):\n%s", diff)
		}
	})
}
