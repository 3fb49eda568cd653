package shelving

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

var names = library.Keys{Library: "main"}

// deadline returns a context for the calls of one test.
var deadline = patience.Deadline

// newService makes a service of an instance that holds its name.
func newService(t *testing.T, ctx context.Context, rdb *redis.Client, logs *bytes.Buffer) *Service {
	t.Helper()
	logger := log.New(logs)
	i, err := worker.Take(ctx, rdb, worker.LockConfig{Keys: names, Name: "worker1", TTL: 10 * time.Minute, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	s := NewService(Config{Config: worker.Config{
		Redis: rdb, Keys: names, Instance: i, Outage: redisconn.NewOutage(logger), Log: logger,
	}})
	if err := s.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// receive appends entries to an inbox, reads them for the service and returns them.
func (s *Service) receive(t *testing.T, ctx context.Context, inbox string, entries ...map[string]string) []worker.Entry {
	t.Helper()
	rdb := s.config.Redis
	for _, fields := range entries {
		values := map[string]any{}
		for name, value := range fields {
			values[name] = value
		}
		if len(values) == 0 {
			values[""] = "" // an entry needs a field
		}
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	streams, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: library.Shelving, Consumer: "worker1", Streams: []string{inbox, ">"}, Count: 100, Block: -1,
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

// toFetch are the fields of an entry that orders books: request, book, request, book…
func toFetch(pairs ...string) map[string]string {
	list := [][]string{}
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, pairs[i:i+2])
	}
	return map[string]string{"orders": toJSON(list)}
}

// toStore are the fields of an entry with books to put away.
func toStore(books ...string) map[string]string { return map[string]string{"books": toJSON(books)} }

// outOf reads what is off the shelves, of all bays.
func outOf(t *testing.T, ctx context.Context, rdb *redis.Client) []string {
	t.Helper()
	var out []string
	for _, bay := range rdb.Keys(ctx, "{main}:shelving:out:*").Val() {
		for book, value := range rdb.HGetAll(ctx, bay).Val() {
			out = append(out, book)
			if value != "" {
				t.Errorf("%s has %q for %s, want nothing", bay, value, book)
			}
			if onShelves, err := OnShelves(ctx, rdb, names, book); onShelves || err != nil {
				t.Errorf("OnShelves(%s) = %v, %v, but it is out", book, onShelves, err)
			}
		}
	}
	slices.Sort(out)
	return out
}

// wantShelves checks what is off the shelves, what is awaited, and what was sent to
// the lending service, an entry after another.
func wantShelves(t *testing.T, ctx context.Context, rdb *redis.Client, out []string, awaited map[string]string, deliveries ...map[string]string) {
	t.Helper()
	k := keys{names}
	if diff := cmp.Diff(out, outOf(t, ctx, rdb), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("off the shelves (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(awaited, rdb.HGetAll(ctx, k.awaited()).Val(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("awaited (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(deliveries, entriesOf(ctx, rdb, k.Deliveries()), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}
	counts, err := Count(ctx, rdb, names)
	if want := (Counts{Out: int64(len(out)), Awaited: int64(len(awaited))}); counts != want || err != nil {
		t.Errorf("Count = %+v, %v, want %+v", counts, err, want)
	}
	for _, book := range []string{"geb", "alice", "cities"} {
		onShelves, err := OnShelves(ctx, rdb, names, book)
		if onShelves == slices.Contains(out, book) || err != nil {
			t.Errorf("OnShelves(%s) = %v, %v", book, onShelves, err)
		}
	}
}

// entriesOf reads the fields of a stream's entries.
func entriesOf(ctx context.Context, rdb *redis.Client, key string) []map[string]string {
	var entries []map[string]string
	for _, message := range rdb.XRange(ctx, key, "-", "+").Val() {
		fields := map[string]string{}
		for name, value := range message.Values {
			fields[name] = value.(string)
		}
		entries = append(entries, fields)
	}
	return entries
}

func reasons(rejections []worker.Rejection) map[string]string {
	reasons := map[string]string{}
	for _, rejection := range rejections {
		reasons[rejection.Entry.ID] = rejection.Reason
	}
	return reasons
}

func TestBooksLeaveTheShelvesAndComeBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)

		first := s.receive(t, ctx, names.Fetches(), toFetch("r1", "geb"), map[string]string{}, toFetch("r1", "alice"), toFetch("r 2", "cities"))
		rejections, err := s.Fetch(ctx, first)
		want := map[string]string{
			first[1].ID: `it has no field "orders"`,
			first[3].ID: `request "r 2": not a usable name: use 1 to 64 letters, digits, hyphens and underscores`,
		}
		if diff := cmp.Diff(want, reasons(rejections)); err != nil || diff != "" {
			t.Errorf("Fetch = %v, rejected (-want +got):\n%s", err, diff)
		}
		sent := []map[string]string{toFetch("r1", "geb"), toFetch("r1", "alice")}
		wantShelves(t, ctx, rdb, []string{"alice", "geb"}, nil, sent...)

		// The order overtook the return of the same book; a second one cannot be.
		batch := s.receive(t, ctx, names.Fetches(), toFetch("r3", "geb"), toFetch("r4", "geb"), toFetch("r3", "geb"))
		rejections, err = s.Fetch(ctx, batch)
		const conflict = "the book is awaited by another request already"
		want = map[string]string{batch[1].ID: conflict, batch[2].ID: conflict}
		if diff := cmp.Diff(want, reasons(rejections)); err != nil || diff != "" {
			t.Errorf("Fetch = %v, rejected (-want +got):\n%s", err, diff)
		}
		wantShelves(t, ctx, rdb, []string{"alice", "geb"}, map[string]string{"geb": "r3"}, sent...)

		batch = s.receive(t, ctx, names.Stores(), toStore("geb"), toStore("cities"), toStore("alice"))
		rejections, err = s.Store(ctx, batch)
		want = map[string]string{batch[1].ID: "the book is on the shelves already"}
		if diff := cmp.Diff(want, reasons(rejections)); err != nil || diff != "" {
			t.Errorf("Store = %v, rejected (-want +got):\n%s", err, diff)
		}
		wantShelves(t, ctx, rdb, []string{"geb"}, nil, append(sent, toFetch("r3", "geb"))...)

		// What was decided is not decided again.
		if _, err := s.Store(ctx, batch); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Fetch(ctx, first); err != nil {
			t.Fatal(err)
		}
		wantShelves(t, ctx, rdb, []string{"geb"}, nil, append(sent, toFetch("r3", "geb"))...)
		for _, word := range []string{"fetched book=geb id=r1", "fetched book=alice id=r1", "awaited book=geb id=r3", "handed_on book=geb", "stored book=alice"} {
			if n := strings.Count(logs.String(), word); n != 1 {
				t.Errorf("the log says %q %d times, want once:\n%s", word, n, &logs)
			}
		}
	})
}

func TestBooksOfOneEntryGoTheirOwnWays(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		const odd = `<a "b" \>`

		fetch := func(entries ...map[string]string) []worker.Rejection {
			t.Helper()
			rejections, err := s.Fetch(ctx, s.receive(t, ctx, names.Fetches(), entries...))
			if err != nil {
				t.Fatal(err)
			}
			return rejections
		}
		store := func(entries ...map[string]string) []worker.Rejection {
			t.Helper()
			rejections, err := s.Store(ctx, s.receive(t, ctx, names.Stores(), entries...))
			if err != nil {
				t.Fatal(err)
			}
			return rejections
		}
		// An entry of which all are there is passed on as it came.
		if rejections := fetch(toFetch("r1", odd, "r2", "geb")); len(rejections) != 0 {
			t.Errorf("Fetch: rejected %+v", rejections)
		}
		sent := []map[string]string{toFetch("r1", odd, "r2", "geb")}
		wantShelves(t, ctx, rdb, []string{odd, "geb"}, nil, sent...)

		// One leaves, one is out, and one is ordered twice more than it can be.
		if rejections := fetch(toFetch("r3", odd, "r3", "alice", "r4", odd, "r3", "geb")); len(rejections) != 0 {
			t.Errorf("Fetch: rejected %+v, want the order that does not fit apart", rejections)
		}
		sent = append(sent, toFetch("r3", "alice"))
		wantShelves(t, ctx, rdb, []string{odd, "alice", "geb"}, map[string]string{odd: "r3", "geb": "r3"}, sent...)
		if diff := cmp.Diff([]map[string]string{toFetch("r4", odd)}, entriesOf(ctx, rdb, names.Fetches())); diff != "" {
			t.Errorf("apart (-want +got):\n%s", diff)
		}
		if rejections := fetch(); len(rejections) != 1 || rejections[0].Reason != "the book is awaited by another request already" {
			t.Errorf("Fetch of what was apart: rejected %+v", rejections)
		}

		// One goes on, one back, and one was never taken.
		if rejections := store(toStore(odd, "alice", "cities")); len(rejections) != 0 {
			t.Errorf("Store: rejected %+v, want the book that does not fit apart", rejections)
		}
		sent = append(sent, toFetch("r3", odd))
		wantShelves(t, ctx, rdb, []string{odd, "geb"}, map[string]string{"geb": "r3"}, sent...)
		if diff := cmp.Diff([]map[string]string{toStore("cities")}, entriesOf(ctx, rdb, names.Stores())); diff != "" {
			t.Errorf("apart (-want +got):\n%s", diff)
		}
		if rejections := store(); len(rejections) != 1 || rejections[0].Reason != "the book is on the shelves already" {
			t.Errorf("Store of what was apart: rejected %+v", rejections)
		}
		if rejections := store(toStore("geb"), toStore("geb", odd)); len(rejections) != 0 {
			t.Errorf("Store: rejected %+v", rejections)
		}
		wantShelves(t, ctx, rdb, nil, nil, append(sent, toFetch("r3", "geb"))...)

		var events []map[string]string
		for _, event := range entriesOf(ctx, rdb, names.Events()) {
			if event["by"] != "worker1" {
				t.Errorf("an event is by %q", event["by"])
			}
			delete(event, "by")
			events = append(events, event)
		}
		with := func(event string, fields map[string]string) map[string]string {
			fields["event"] = event
			return fields
		}
		if diff := cmp.Diff([]map[string]string{
			with("fetched", toFetch("r1", odd, "r2", "geb")),
			with("fetched", toFetch("r3", "alice")), with("awaited", toFetch("r3", odd, "r3", "geb")),
			with("handed_on", toFetch("r3", odd)), with("stored", toStore("alice")),
			with("handed_on", toFetch("r3", "geb")), with("stored", toStore("geb", odd)),
		}, events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		for _, word := range []string{"fetched books=", "awaited book=", "apart book=", "handed_on book=", "stored books="} {
			if !strings.Contains(logs.String(), word) {
				t.Errorf("the log does not say %q:\n%s", word, &logs)
			}
		}
	})
}

// A script takes 2,000 books, so a batch of more is applied in several calls.
func TestABatchOfMoreBooksThanOneCallTakesIsAppliedWhole(t *testing.T) {
	ctx := deadline(t)
	rdb := redistest.Start(t).Client(t) // the embedded server is slow with thousands of keys
	var logs bytes.Buffer
	s := newService(t, ctx, rdb, &logs)
	for _, script := range []*redis.Script{scripts.Fetch, scripts.Store} { // one that the server does not know is called twice
		if err := script.Load(ctx, rdb).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var calls atomic.Int64
	rdb.AddHook(callHook(func(cmd redis.Cmder) {
		if cmd.Name() == "evalsha" {
			calls.Add(1)
		}
	}))
	var fetches, stores []map[string]string
	for i := range 21 {
		var pairs, books []string
		for j := range library.BooksMax {
			book := fmt.Sprintf("book %d of %d", j, i)
			pairs, books = append(pairs, fmt.Sprint("r", i), book), append(books, book)
		}
		fetches, stores = append(fetches, toFetch(pairs...)), append(stores, toStore(books...))
	}
	// What is odd is found by its own answer, in the last call.
	s.await(t, ctx, "geb")
	batch := s.receive(t, ctx, names.Fetches(), append(fetches, toFetch("r9", "geb"))...)
	rejections, err := s.Fetch(ctx, batch)
	if err != nil || len(rejections) != 1 || rejections[0].Entry.ID != batch[21].ID {
		t.Errorf("Fetch: rejected %+v, %v, want the last entry", rejections, err)
	}
	if n := calls.Swap(0); n != 2 {
		t.Errorf("fetched in %d calls, want 2, of at most 2,000 books", n)
	}
	if counts, err := Count(ctx, rdb, names); counts != (Counts{Out: 2101, Awaited: 1}) || err != nil {
		t.Errorf("Count = %+v, %v, want 2,101 books out", counts, err)
	}
	if got := entriesOf(ctx, rdb, names.Deliveries()); len(got) != 21 || !cmp.Equal(got, fetches) {
		t.Errorf("%d entries were sent, want 21 as they came", len(got))
	}
	batch = s.receive(t, ctx, names.Stores(), append(stores, toStore("cities"))...)
	rejections, err = s.Store(ctx, batch)
	if err != nil || len(rejections) != 1 || rejections[0].Entry.ID != batch[21].ID {
		t.Errorf("Store: rejected %+v, %v, want the last entry", rejections, err)
	}
	if n := calls.Swap(0); n != 2 {
		t.Errorf("stored in %d calls, want 2, of at most 2,000 books", n)
	}
	if counts, err := Count(ctx, rdb, names); counts != (Counts{Out: 1, Awaited: 1}) || err != nil {
		t.Errorf("Count = %+v, %v, want one book out", counts, err)
	}
	for _, word := range []string{"fetched books=", "stored books="} {
		if n := strings.Count(logs.String(), word); n != 21 {
			t.Errorf("the log says %q %d times, want 21 times", word, n)
		}
	}
}

// await makes a book out and awaited, so that no further order of it fits.
func (s *Service) await(t *testing.T, ctx context.Context, book string) {
	t.Helper()
	_, err := s.config.Redis.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.HSet(ctx, s.keys.out(book), book, "")
		pipe.Incr(ctx, s.keys.away())
		pipe.HSet(ctx, s.keys.awaited(), book, "r0")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A callHook is called before each command outside a pipeline.
type callHook func(redis.Cmder)

func (callHook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (callHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h callHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h(cmd)
		return next(ctx, cmd)
	}
}

func TestABatchWithoutOneGoodEntryIsRejectedWhole(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		batch := s.receive(t, ctx, names.Fetches(), toStore("geb"))
		if rejections, err := s.Fetch(ctx, batch); err != nil || len(rejections) != 1 {
			t.Errorf("Fetch = %+v, %v, want one rejection", rejections, err)
		}
		batch = s.receive(t, ctx, names.Stores(), toStore("geb "))
		if rejections, err := s.Store(ctx, batch); err != nil || len(rejections) != 1 {
			t.Errorf("Store = %+v, %v, want one rejection", rejections, err)
		}
		wantShelves(t, ctx, rdb, nil, nil)
	})
}

// The name is held again, under another token; the entries may be another's by now.
func TestEntriesReadUnderAFormerTokenAreFencedOff(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		fetches := s.receive(t, ctx, names.Fetches(), toFetch("r1", "geb"))
		stores := s.receive(t, ctx, names.Stores(), toStore("geb"))
		if err := rdb.Del(ctx, names.Instance("worker1")).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.config.Instance.Keep(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Fetch(ctx, fetches); redisconn.KindOf(err) != redisconn.Fenced || !strings.Contains(err.Error(), names.Fetches()) {
			t.Errorf("Fetch = %v, want an error of kind Fenced", err)
		}
		if _, err := s.Store(ctx, stores); redisconn.KindOf(err) != redisconn.Fenced || !strings.Contains(err.Error(), names.Stores()) {
			t.Errorf("Store = %v, want an error of kind Fenced", err)
		}
		wantShelves(t, ctx, rdb, nil, nil)
	})
}

func TestTheInboxesOfTheServiceAreReadAheadInBatches(t *testing.T) {
	type inbox struct {
		Service, Stream string
		Batch, Batches  int64
		Paced           bool
	}
	for fetchTime, want := range map[time.Duration][]inbox{
		0: {
			{library.Shelving, names.Fetches(), 32, 4, false}, {library.Shelving, names.Stores(), 32, 4, false},
		},
		// An instance that walks reads one entry at a time.
		2 * time.Second: {
			{library.Shelving, names.Fetches(), 1, 1, true}, {library.Shelving, names.Stores(), 32, 4, false},
		},
	} {
		s := NewService(Config{Config: worker.Config{Keys: names}, FetchTime: fetchTime})
		var got []inbox
		for _, i := range s.Inboxes() {
			got = append(got, inbox{i.Service, i.Stream, i.Batch, int64(i.Batches), i.Pace != nil})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("inboxes, with a fetch time of %v (-want +got):\n%s", fetchTime, diff)
		}
	}
}

func TestAnInstanceWalksForEachBook(t *testing.T) {
	pace := NewService(Config{Config: worker.Config{Keys: names}, FetchTime: 2 * time.Second}).Inboxes()[0].Pace
	for want, fields := range map[time.Duration]map[string]string{
		2 * time.Second: toFetch("r1", "geb"),
		6 * time.Second: toFetch("r1", "geb", "r1", "alice", "r2", "cities"),
	} {
		if got := pace(worker.Entry{Fields: fields}); got != want {
			t.Errorf("the walk for %v takes %v, want %v", fields, got, want)
		}
	}
}

func TestAnEntryThatIsNoOrderIsNotWalkedFor(t *testing.T) {
	pace := NewService(Config{Config: worker.Config{Keys: names}, FetchTime: 2 * time.Second}).Inboxes()[0].Pace
	var many []string
	for i := range library.BooksMax + 1 {
		many = append(many, "r1", fmt.Sprint("book ", i))
	}
	for title, fields := range map[string]map[string]string{
		"nothing":            {},
		"no list":            {"orders": "x"},
		"no order":           toFetch(),
		"a bad book":         toFetch("r1", "geb", "r1", "geb "),
		"more than may be":   toFetch(many...),
		"a book to put away": toStore("geb"),
	} {
		if got := pace(worker.Entry{Fields: fields}); got != 0 {
			t.Errorf("%s: the walk takes %v, want no time", title, got)
		}
	}
}
