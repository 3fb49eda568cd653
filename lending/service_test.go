package lending

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// newService makes a service of an instance that holds its name, and reads nothing.
func newService(t *testing.T, ctx context.Context, rdb *redis.Client, logs *bytes.Buffer) *Service {
	t.Helper()
	logger := log.New(logs)
	i, err := worker.Take(ctx, rdb, worker.LockConfig{Keys: names, Name: "worker1", TTL: 10 * time.Minute, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	s := NewService(Config{
		Config: worker.Config{
			Redis: rdb, Keys: names, Instance: i, Outage: redisconn.NewOutage(logger), Log: logger,
		},
		Terms: library.Terms{LoansMax: 100, LoanDays: 1, FrontMax: 20, ReceiptMS: time.Hour.Milliseconds(), LogMax: 100_000, TimeZone: "UTC"},
	})
	if err := s.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// receive appends entries to an inbox, reads them for the service and returns them.
func (s *Service) receive(t *testing.T, ctx context.Context, inbox string, entries ...[]any) []worker.Entry {
	t.Helper()
	for _, values := range entries {
		if err := s.config.Redis.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	streams, err := s.config.Redis.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: library.Lending, Consumer: "worker1", Streams: []string{inbox, ">"}, Count: 1000, Block: -1,
	}).Result()
	if err != nil {
		t.Fatal(err)
	}
	var batch []worker.Entry
	for _, message := range streams[0].Messages {
		entry := worker.Entry{ID: message.ID, Fields: map[string]string{}, Deliveries: 1, Token: s.config.Instance.Token()}
		for name, value := range message.Values {
			entry.Fields[name] = value.(string)
		}
		batch = append(batch, entry)
	}
	return batch
}

func TestPrepareMakesTheInboxesAndSetsTheTerms(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		stands, err := LookUpTerms(ctx, rdb, names)
		if err != nil || stands.Terms != s.config.Terms || stands.By != "worker1" {
			t.Errorf("the terms are %+v, %v, want %+v by worker1", stands, err, s.config.Terms)
		}
		for _, service := range library.Services() {
			for _, inbox := range names.Inboxes(service) {
				if groups := rdb.XInfoGroups(ctx, inbox).Val(); len(groups) != 1 || groups[0].Name != service {
					t.Errorf("%s has the groups %+v, want %s", inbox, groups, service)
				}
			}
		}
	})
}

// A script takes 2,000 books, so a batch of more is decided in several calls.
func TestABatchOfMoreBooksThanOneCallTakesIsDecidedWhole(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		calls := countCalls(t, rdb, scripts.Lend, scripts.Return)
		for action, apply := range map[library.Action]func(context.Context, []worker.Entry) ([]worker.Rejection, error){library.Request: s.Lend, library.Return: s.Return} {
			logs.Reset()
			inbox := s.keys.Requests()
			if action == library.Return {
				inbox = s.keys.Returns()
			}
			const orders = 41
			var entries [][]any
			for i := range orders {
				var books []string
				for j := range library.BooksMax {
					books = append(books, fmt.Sprintf("book %d of %d", j, i))
				}
				order := Order{ID: fmt.Sprintf("%s-%d", action, i), Action: action, User: fmt.Sprint("user ", i), Books: books}
				entries = append(entries, order.values(""))
			}
			entries = append(entries, []any{"id", "odd"})
			batch := s.receive(t, ctx, inbox, entries...)
			rejections, err := apply(ctx, batch)
			if err != nil || len(rejections) != 1 || rejections[0].Entry.ID != batch[orders].ID {
				t.Errorf("%s: rejected %+v, %v, want the last entry", action, rejections, err)
			}
			if n := calls.Swap(0); n != 3 {
				t.Errorf("%s: decided in %d calls, want 3, of at most 2,000 books", action, n)
			}
			ids, receipts := []string{}, 0
			for i := range orders {
				ids = append(ids, fmt.Sprintf("%s-%d", action, i))
				if rdb.HExists(ctx, s.keys.receipts(), ids[i]).Val() {
					receipts++
				}
			}
			if lines := strings.Count(logs.String(), "outcome="); receipts != orders || lines != orders {
				t.Errorf("%s: %d receipts and %d lines in the log, want %d", action, receipts, lines, orders)
			}
			wantOneAnswerEach(t, ctx, rdb, ids...)
			if err := rdb.Del(ctx, names.Events()).Err(); err != nil {
				t.Fatal(err)
			}
			if n := rdb.XPending(ctx, inbox, library.Lending).Val().Count; n != 1 {
				t.Errorf("%s: %d entries are pending, want the one to reject", action, n)
			}
		}
	})
}

// countCalls counts the calls of scripts from now on.
func countCalls(t *testing.T, rdb *redis.Client, called ...*redis.Script) *atomic.Int64 {
	t.Helper()
	for _, script := range called { // a script that the server does not know is called twice
		if err := script.Load(deadline(t), rdb).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var calls atomic.Int64
	rdb.AddHook(hook(func(cmd redis.Cmder) {
		if cmd.Name() == "evalsha" {
			calls.Add(1)
		}
	}))
	return &calls
}

// orders is the field of an entry that tells of books and the requests they are for.
func orders(pairs ...string) []any {
	list := [][]string{}
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, pairs[i:i+2])
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return []any{"orders", string(text)}
}

func TestABatchOfMoreBooksThanOneCallTakesIsDeliveredWhole(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		var requests, deliveries [][]any
		for i := range 21 {
			order := Order{ID: fmt.Sprint("r", i), Action: library.Request, User: fmt.Sprint("user ", i)}
			var pairs []string
			for j := range library.BooksMax {
				book := fmt.Sprintf("book %d of %d", j, i)
				order.Books = append(order.Books, book)
				pairs = append(pairs, order.ID, book)
			}
			requests, deliveries = append(requests, order.values("")), append(deliveries, orders(pairs...))
		}
		if _, err := s.Lend(ctx, s.receive(t, ctx, s.keys.Requests(), requests...)); err != nil {
			t.Fatal(err)
		}
		if n := rdb.HLen(ctx, s.keys.fetching()).Val(); n != 2100 {
			t.Fatalf("%d books are on their way, want 2,100", n)
		}
		logs.Reset()
		calls := countCalls(t, rdb, scripts.Deliver)
		rejections, err := s.Deliver(ctx, s.receive(t, ctx, s.keys.Deliveries(), append(deliveries, []any{"odd", "1"})...))
		if err != nil || len(rejections) != 1 {
			t.Errorf("Deliver: rejected %+v, %v, want the last entry", rejections, err)
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("delivered in %d calls, want 2, of at most 2,000 books", n)
		}
		if n := rdb.HLen(ctx, s.keys.fetching()).Val(); n != 0 {
			t.Errorf("%d books are still on their way", n)
		}
		for i := range 21 {
			// The answers of each call are told of its own books.
			line := fmt.Sprintf(`delivered books="book 0 of %d for r%d; book 1 of %d for r%d; `, i, i, i, i)
			if n := strings.Count(logs.String(), line); n != 1 {
				t.Errorf("the log says %q %d times, want once", line, n)
			}
		}
	})
}

// TestABatchRingsForEachAskerItsOwnReceipt has four orders decided at once, of which
// only the second and the fourth are waited for.
func TestABatchRingsForEachAskerItsOwnReceipt(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		rings := rdb.PSubscribe(ctx, s.keys.bells()+"*")
		defer rings.Close()
		if _, err := rings.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		for round, inbox := range []struct {
			key    string
			decide func(context.Context, []worker.Entry) ([]worker.Rejection, error)
		}{{s.keys.Requests(), s.Lend}, {s.keys.Returns(), s.Return}} {
			var entries [][]any
			for n := range 4 {
				order := Order{ID: fmt.Sprintf("r%d-%d", n, round), User: "ann", Books: []string{fmt.Sprint("book", n)}}
				entries = append(entries, order.values([]string{"", "B1", "", "B3"}[n]))
			}
			if rejections, err := inbox.decide(ctx, s.receive(t, ctx, inbox.key, entries...)); err != nil || len(rejections) > 0 {
				t.Fatalf("decided with %v, %v", rejections, err)
			}
			for _, n := range []int{1, 3} {
				ring, err := rings.ReceiveMessage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				bell := fmt.Sprintf("%sB%d", s.keys.bells(), n)
				receipt := rdb.HGet(ctx, s.keys.receipts(), entries[n][1].(string)).Val()
				if ring.Channel != bell || ring.Payload != receipt || receipt == "" {
					t.Errorf("%s rang with %q, want %s with %q", ring.Channel, ring.Payload, bell, receipt)
				}
			}
		}
	})
}

func TestABatchWithoutOneGoodEntryIsRejectedWhole(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		for inbox, apply := range map[string]func(context.Context, []worker.Entry) ([]worker.Rejection, error){
			s.keys.Requests(): s.Lend, s.keys.Returns(): s.Return, s.keys.Deliveries(): s.Deliver,
		} {
			rejections, err := apply(ctx, s.receive(t, ctx, inbox, []any{"odd", "1"}, []any{"odd", "2"}))
			if err != nil || len(rejections) != 2 {
				t.Errorf("%s: rejected %+v, %v, want both", inbox, rejections, err)
			}
		}
	})
}

func TestARejectionTellsItsAskerAsFarAsHeIsKnown(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		for _, test := range []struct {
			fields                 []any
			request, bell, receipt string
		}{
			{[]any{"id", "r 1", "user", "ann", "books", "[]", "bell", "B1"}, "", "", ""},
			{[]any{"id", "r1", "user", "ann", "books", "[]", "bell", "B1"}, "r1", "{main}:lending:bell:B1",
				`{"id":"r1","action":"request","user":"ann","books":[],"outcome":"rejected","reason":"not a usable order: it names no book","results":[]}`},
			{[]any{"id", "r1", "user", "ann\x1b", "books", "[]"}, "r1", "",
				`{"id":"r1","action":"request","user":"","books":[],"outcome":"rejected","reason":"not a usable order: user \"ann\\x1b\": not a usable name: it contains U+001B, a character that does not print","results":[]}`},
			{[]any{"id", "r1", "books", "[]", "bell", "*"}, "r1", "",
				`{"id":"r1","action":"request","user":"","books":[],"outcome":"rejected","reason":"bell \"*\": not a usable name: use 1 to 64 letters, digits, hyphens and underscores","results":[]}`},
		} {
			rejections, err := s.Lend(ctx, s.receive(t, ctx, s.keys.Requests(), test.fields))
			if err != nil || len(rejections) != 1 {
				t.Fatalf("%q: rejected %+v, %v, want it", test.fields, rejections, err)
			}
			got := rejections[0]
			if got.Request != test.request || got.Bell != test.bell {
				t.Errorf("%q: the receipt is of %q and bell %q, want %q and %q", test.fields, got.Request, got.Bell, test.request, test.bell)
			}
			var pages []string
			if test.request != "" {
				pages = []string{"{main}:lending:receipts", "{main}:lending:receipts:older", "{main}:lending:receipts:page"}
			}
			if diff := cmp.Diff(pages, got.Pages); diff != "" {
				t.Errorf("%q: the receipt's pages (-want +got):\n%s", test.fields, diff)
			}
			if diff := cmp.Diff(test.receipt, got.Receipt); diff != "" {
				t.Errorf("%q: receipt (-want +got):\n%s", test.fields, diff)
			}
		}
	})
}

func TestARejectedOrderThatCanBeReadHasAReceiptOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		order := Order{ID: "r1", Action: library.Return, User: "ann <3", Books: []string{`a "b"`, "geb"}}
		entry := s.receive(t, ctx, s.keys.Returns(), order.values(""))[0]
		got := s.rejectOrder(library.Return)(entry, "it was delivered <6> times").Receipt
		if !strings.HasPrefix(got, order.slip()+`,"outcome":"rejected","reason":"`) {
			t.Errorf("the receipt is %s, want it to begin with the slip %s", got, order.slip())
		}
		receipt, err := library.ParseReceipt(got)
		if err != nil || receipt.Outcome != library.Rejected || receipt.User != order.User || receipt.Reason != "it was delivered <6> times" || len(receipt.Books) != 0 {
			t.Errorf("it is read as %+v, %v", receipt, err)
		}
	})
}

// A rejection's receipt must not answer an order that waits in the other inbox.
func TestRubbishWithAnOrdersIDDoesNotVoidTheOrder(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "ann", "geb")
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		receipts := make(chan *library.Receipt, 1)
		go func() {
			receipt, err := client.Do(ctx, order)
			if err != nil {
				t.Errorf("Do: %v", err)
			}
			receipts <- receipt
		}()
		if err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{s.keys.Requests(), "0"}, Block: time.Minute}).Err(); err != nil {
			t.Fatal(err)
		}
		waiting := s.receive(t, ctx, s.keys.Requests())
		// The rubbish rings the bell of the one who waits, too.
		rejection := s.rejectOrder(library.Return)(s.receive(t, ctx, s.keys.Returns(), []any{"id", order.ID, "bell", client.bell})[0], "rubbish")
		if err := rdb.HSet(ctx, s.keys.receipts(), rejection.Request, rejection.Receipt).Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.Publish(ctx, rejection.Bell, rejection.Receipt).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lend(ctx, waiting); err != nil {
			t.Fatal(err)
		}
		if receipt := <-receipts; receipt == nil || receipt.Outcome != library.Granted {
			t.Errorf("Do = %+v, want it granted", receipt)
		}
	})
}

func TestADeliveryThatNobodyWaitsForGoesBackOrIsRejected(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		order := Order{ID: "r1", Action: library.Request, User: "ann", Books: []string{"geb", "alice"}}
		if _, err := s.Lend(ctx, s.receive(t, ctx, s.keys.Requests(), order.values(""))); err != nil {
			t.Fatal(err)
		}
		batch := s.receive(t, ctx, s.keys.Deliveries(),
			orders("r1", "geb"), orders("forged", "alice"), orders("r1", "cities"), orders("r1", "geb"))
		rejections, err := s.Deliver(ctx, batch)
		if err != nil || len(rejections) != 1 || rejections[0].Entry.ID != batch[3].ID || !strings.Contains(rejections[0].Reason, "nobody waits for this book") {
			t.Errorf("Deliver: rejected %+v, %v, want the second delivery of geb", rejections, err)
		}
		var back []any
		for _, message := range rdb.XRange(ctx, s.keys.Stores(), "-", "+").Val() {
			back = append(back, message.Values["books"])
		}
		if diff := cmp.Diff([]any{`["alice"]`, `["cities"]`}, back); diff != "" {
			t.Errorf("sent back (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"alice": "r1 "}, rdb.HGetAll(ctx, s.keys.fetching()).Val()); diff != "" {
			t.Errorf("still on its way (-want +got):\n%s", diff)
		}
		for _, line := range []string{"delivered user=ann book=geb id=r1", "sent_back user=ann book=alice id=forged", `sent_back user="" book=cities id=r1`} {
			if n := strings.Count(logs.String(), line); n != 1 {
				t.Errorf("the log says %q %d times, want once:\n%s", line, n, &logs)
			}
		}
		// What was decided is not decided again.
		if rejections, err := s.Deliver(ctx, batch[:3]); err != nil || len(rejections) != 0 {
			t.Errorf("Deliver again: rejected %+v, %v", rejections, err)
		}
		if n := rdb.XLen(ctx, s.keys.Stores()).Val(); n != 2 {
			t.Errorf("%d books were sent back, want 2", n)
		}
	})
}

func TestABookThatDoesNotFitTheOthersOfItsDeliveryGetsAnEntryOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		order := Order{ID: "r1", Action: library.Request, User: "ann", Books: []string{"geb", `a "b" \`}}
		if _, err := s.Lend(ctx, s.receive(t, ctx, s.keys.Requests(), order.values(""))); err != nil {
			t.Fatal(err)
		}
		batch := s.receive(t, ctx, s.keys.Deliveries(), orders("r1", `a "b" \`), orders("r1", "geb", "r2", `a "b" \`, "forged", "cities"))
		if rejections, err := s.Deliver(ctx, batch); err != nil || len(rejections) != 0 {
			t.Errorf("Deliver: rejected %+v, %v, want nothing yet", rejections, err)
		}
		for _, line := range []string{"delivered user=ann book=geb id=r1", "apart ", "sent_back user=\"\" book=cities id=forged"} {
			if n := strings.Count(logs.String(), line); n != 1 {
				t.Errorf("the log says %q %d times, want once:\n%s", line, n, &logs)
			}
		}
		messages := rdb.XRange(ctx, s.keys.Deliveries(), "-", "+").Val()
		if len(messages) != 1 || messages[0].Values["orders"] != `[["r2","a \"b\" \\"]]` {
			t.Errorf("the inbox has %+v, want one entry of the book apart", messages)
		}
		apart := s.receive(t, ctx, s.keys.Deliveries())
		rejections, err := s.Deliver(ctx, apart)
		if err != nil || len(rejections) != 1 || rejections[0].Entry.ID != apart[0].ID || !strings.Contains(rejections[0].Reason, "nobody waits for this book") {
			t.Errorf("Deliver: rejected %+v, %v, want the book apart", rejections, err)
		}
	})
}

// The name is held again, under another token; the entries may be another's by now.
func TestEntriesReadUnderAFormerTokenAreFencedOff(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		order := Order{ID: "r1", Action: library.Request, User: "ann", Books: []string{"geb"}}
		batches := map[string][]worker.Entry{
			s.keys.Requests():   s.receive(t, ctx, s.keys.Requests(), order.values("")),
			s.keys.Returns():    s.receive(t, ctx, s.keys.Returns(), order.values("")),
			s.keys.Deliveries(): s.receive(t, ctx, s.keys.Deliveries(), orders("r1", "geb")),
		}
		before := stateOf(t, ctx, rdb)
		if err := rdb.Del(ctx, names.Instance("worker1")).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.config.Instance.Keep(ctx); err != nil {
			t.Fatal(err)
		}
		for inbox, apply := range map[string]func(context.Context, []worker.Entry) ([]worker.Rejection, error){
			s.keys.Requests(): s.Lend, s.keys.Returns(): s.Return, s.keys.Deliveries(): s.Deliver,
		} {
			if _, err := apply(ctx, batches[inbox]); redisconn.KindOf(err) != redisconn.Fenced {
				t.Errorf("%s: %v, want an error of kind Fenced", inbox, err)
			}
		}
		if diff := cmp.Diff(before, stateOf(t, ctx, rdb)); diff != "" {
			t.Errorf("state (-before +after):\n%s", diff)
		}
		if n := rdb.Exists(ctx, s.keys.receipts(), s.keys.olderReceipts(), s.keys.page()).Val(); n != 0 {
			t.Error("there is a receipt")
		}
		if n := rdb.XLen(ctx, names.Events()).Val(); n != 1 {
			t.Errorf("there are %d events, want the one of the terms alone", n)
		}
	})
}

func TestTheInboxesOfTheServiceAreReadAheadInBatches(t *testing.T) {
	s := NewService(Config{Config: worker.Config{Keys: names}})
	type inbox struct {
		Service, Stream string
		Batch, Batches  int64
		Paced           bool
	}
	var got []inbox
	for _, i := range s.Inboxes() {
		got = append(got, inbox{i.Service, i.Stream, i.Batch, int64(i.Batches), i.Pace != nil})
	}
	want := []inbox{
		{library.Lending, names.Requests(), 128, 4, false},
		{library.Lending, names.Returns(), 128, 4, false},
		{library.Lending, names.Deliveries(), 32, 4, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inboxes (-want +got):\n%s", diff)
	}
}
