package audit_test

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/library/audit"
	"example.com/library/internal/patience"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
)

var names = library.Keys{Library: "main"}

// key is a key of the library main.
func key(suffix string) string { return names.Key(suffix) }

// deadline returns a context for the calls of one test.
var deadline = patience.Deadline

// A desk is a library whose real services take one step at a time, so that a test
// can stop between any two.
type desk struct {
	*testing.T
	ctx    context.Context
	rdb    *redis.Client
	keys   library.Keys
	worker *worker.Instance
	config lending.Config
	client *lending.Client
}

func newDesk(t *testing.T, rdb *redis.Client, keys library.Keys) *desk {
	t.Helper()
	d := &desk{T: t, ctx: deadline(t), rdb: rdb, keys: keys}
	logger := log.New(io.Discard)
	var err error
	d.worker, err = worker.Take(d.ctx, rdb, worker.LockConfig{Keys: keys, Name: "worker1", TTL: 10 * time.Minute, Log: logger})
	d.must(err)
	d.config = lending.Config{
		Config: worker.Config{
			Redis: rdb, Keys: keys, Instance: d.worker, Outage: redisconn.NewOutage(logger), Log: logger,
		},
		Terms: library.Terms{LoansMax: 5, LoanDays: 28, FrontMax: 20, ReceiptMS: time.Hour.Milliseconds(), LogMax: 100_000, TimeZone: "UTC"},
	}
	d.must(lending.NewService(d.config).Prepare(d.ctx))
	d.client, err = lending.NewClient(rdb, keys.Library)
	d.must(err)
	return d
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// agree sets the library's terms.
func (d *desk) agree(terms library.Terms) {
	d.Helper()
	var all []string
	for _, term := range library.EachTerm {
		all = append(all, term.Flag)
	}
	_, _, err := lending.SetTerms(d.ctx, d.rdb, d.keys, "lisa", terms, all...)
	d.must(err)
}

// send appends an order.
func (d *desk) send(action library.Action, id, user string, books ...string) {
	d.Helper()
	order, err := lending.NewOrder(action, user, books...)
	d.must(err)
	order.ID = id
	d.must(d.client.Send(d.ctx, order))
}

// inbox is the end of an inbox that its service reads.
func (d *desk) inbox(name string) worker.Inbox {
	d.Helper()
	for _, inbox := range append(lending.NewService(d.config).Inboxes(), shelving.NewService(shelving.Config{Config: d.config.Config}).Inboxes()...) {
		if inbox.Stream == d.keys.Key(name) {
			return inbox
		}
	}
	d.Fatalf("no inbox %s", name)
	return worker.Inbox{}
}

// take has the worker take entries into its hands.
func (d *desk) take(name, which string) []worker.Entry {
	d.Helper()
	inbox := d.inbox(name)
	streams, err := d.rdb.XReadGroup(d.ctx, &redis.XReadGroupArgs{
		Group: inbox.Service, Consumer: d.worker.Name(), Streams: []string{inbox.Stream, which}, Count: 1000, Block: -1,
	}).Result()
	if err == redis.Nil {
		return nil
	}
	d.must(err)
	var batch []worker.Entry
	for _, message := range streams[0].Messages {
		entry := worker.Entry{ID: message.ID, Fields: map[string]string{}, Deliveries: 1, Token: d.worker.Token()}
		for field, value := range message.Values {
			entry.Fields[field] = value.(string)
		}
		batch = append(batch, entry)
	}
	return batch
}

// serve has the worker do all that waits in inboxes, one after the other.
func (d *desk) serve(inboxes ...string) {
	d.Helper()
	for _, name := range inboxes {
		for batch := d.take(name, ">"); len(batch) > 0; batch = d.take(name, ">") {
			d.handle(name, batch)
		}
	}
}

func (d *desk) handle(name string, batch []worker.Entry) {
	d.Helper()
	inbox := d.inbox(name)
	rejections, err := inbox.Handle(d.ctx, batch)
	d.must(err)
	for _, r := range rejections {
		args := []any{r.Entry.Token, d.worker.Name(), inbox.Service, 1000, r.Entry.ID, r.Reason, r.Request, r.Receipt, ""}
		for field, value := range r.Entry.Fields {
			args = append(args, "."+field, value)
		}
		keys := append([]string{d.worker.Key(), inbox.Stream, d.keys.Terms(), d.keys.Rejected(inbox.Service), d.keys.Events()}, r.Pages...)
		d.must(scripts.Reject.Run(d.ctx, d.rdb, keys, args...).Err())
	}
}

// append appends an entry of any fields, as somebody could by hand.
func (d *desk) append(name string, fields ...any) string {
	d.Helper()
	id, err := d.rdb.XAdd(d.ctx, &redis.XAddArgs{Stream: d.keys.Key(name), Values: fields}).Result()
	d.must(err)
	return id
}

// odd is a name that would disturb much if it were not escaped.
const odd = "a\"b{c}*?[d]\\, é-\u05d0"

// furnish brings the library into a state in which there is one of everything:
//
//	book      who has it  where it is
//	held      user1       in hand, fetched from the shelves
//	arriving  user1       in an entry of the deliveries
//	walking   user1       ordered; worker1 has the entry in its hands
//	coming    user1       ordered; the entry is unread
//	taken     user2       in hand, from front storage
//	awaited   user3       on its way to the shelves, and awaited
//	odd       odd         in hand
//	front     -           in front storage
//	leaving   -           on its way to the shelves
//	home      -           on the shelves again
//
// Receipts stand on both pages; orders were denied, refused, repeated, rejected, and
// put back; one is unread and one in the worker's hands.
func (d *desk) furnish() *desk {
	d.Helper()
	request, giveBack := library.Request, library.Return
	d.send(request, "r1", "user1", "held")
	d.send(request, "r2", "user2", "home", "leaving", "awaited")
	d.send(request, "r3", "user3", "front", "taken")
	d.send(request, "r4", odd, odd)
	d.send(request, "r1", "user1", "held")
	d.serve("lending:requests", "shelving:fetches", "lending:deliveries")

	terms := d.config.Terms
	terms.FrontMax = 0
	d.agree(terms)
	d.send(giveBack, "t1", "user2", "home")
	d.serve("lending:returns", "shelving:stores")
	d.send(giveBack, "t2", "user2", "leaving", "awaited")
	d.serve("lending:returns")
	d.agree(d.config.Terms)
	d.must(d.rdb.Del(d.ctx, key("lending:receipts:page")).Err()) // as if its time had ended

	d.send(request, "r5", "user3", "awaited", "held")
	d.send(giveBack, "t3", "user3", "front", "taken")
	d.send(request, "r6", "user1", "arriving")
	d.serve("lending:requests", "lending:returns", "shelving:fetches")
	d.send(request, "r7", "user2", "taken")
	d.send(request, "r8", "user1", "walking")
	d.serve("lending:requests")
	d.take("shelving:fetches", ">")
	d.send(request, "r9", "user1", "coming", "held")
	d.send(request, "r10", "user1", "one", "two")
	d.send(request, "r11", "user4", "held")
	d.send(giveBack, "t4", "user4", "held")
	d.send(giveBack, "t5", "user1", "coming")
	d.append("lending:requests", "id", "bad1", "user", "user1", "books", "[geb")
	d.append("lending:requests", "id", "bad2", "user", "user1", "books", "[geb")
	d.append("lending:requests", "rubbish", "\x1b[31m")
	d.append("shelving:stores", "books", `[""]`)
	stores := d.take("shelving:stores", ">")
	d.handle("shelving:stores", stores[len(stores)-1:]) // the others stay in the worker's hands
	d.serve("lending:requests", "lending:returns")
	for _, rejected := range d.rdb.XRange(d.ctx, key("lending:rejected"), "-", "+").Val() {
		if rejected.Values[".id"] == "bad2" {
			_, err := d.client.Retry(d.ctx, library.Lending, rejected.ID)
			d.must(err)
		}
	}
	d.serve("lending:requests")
	d.send(giveBack, "t6", "user1", "held")
	d.take("lending:returns", ">")
	d.send(request, "r12", "user4", "nobody's")
	return d
}

// check audits the library.
func (d *desk) check(config audit.Config) *audit.Report {
	d.Helper()
	config.Redis, config.Keys = d.rdb, d.keys
	if config.Patience == 0 {
		config.Patience = time.Millisecond
	}
	report, err := audit.Check(d.ctx, config)
	d.must(err)
	return report
}

// event is the id of the last event of a kind that names a book, an order or a user, or
// anything if the name is *; "" if there is none.
func (d *desk) event(kind, name string) string {
	d.Helper()
	id := ""
	for _, message := range d.rdb.XRange(d.ctx, d.keys.Events(), "-", "+").Val() {
		if message.Values["event"] == kind && (name == "*" || strings.Contains(fmt.Sprint(message.Values), strconv.Quote(name))) {
			id = message.ID
		}
	}
	return id
}
