package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

const (
	// quiet is how long a test listens for what must not happen.
	quiet = 50 * time.Millisecond

	inboxKey = "{main}:lending:requests"

	// replyMax is what the tests' workers read of a reply.
	replyMax = 2 << 20
)

var keys = library.Keys{Library: "main"}

// deadline returns a context for the calls of one test.
var deadline = patience.Deadline

// each runs f on both servers, beside other tests.
func each(t *testing.T, f func(t *testing.T, rdb *redis.Client)) {
	t.Helper()
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		t.Parallel()
		f(t, rdb)
	})
}

// A journal keeps what is logged.
type journal struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{} // closed and made anew at each line
}

func newJournal() *journal { return &journal{wrote: make(chan struct{})} }

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.wrote)
	j.wrote = make(chan struct{})
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// wait returns when the words were logged.
func (j *journal) wait(t *testing.T, ctx context.Context, words string) {
	t.Helper()
	for {
		j.mu.Lock()
		text, wrote := j.text.String(), j.wrote
		j.mu.Unlock()
		if strings.Contains(text, words) {
			return
		}
		select {
		case <-wrote:
		case <-ctx.Done():
			t.Fatalf("the log never says %q:\n%s", words, text)
		}
	}
}

// A worker is an instance that reads one inbox. Its handler passes each batch to
// the test and then acknowledges it, unless the test says otherwise.
type worker struct {
	Config
	inbox   Inbox
	logs    *journal
	handled chan []Entry
	sweeps  atomic.Int64       // how many sweeps have begun
	swept   chan struct{}      // told of each
	ended   chan error         // what Run returned
	stop    context.CancelFunc // asks Run to end
}

// newWorker makes a worker with a client of its own to the server of rdb.
func newWorker(t *testing.T, rdb redis.UniversalClient, name string) *worker {
	t.Helper()
	own, err := redisconn.Connect(redisconn.Options{Address: redisconn.Where(rdb), ReplyMax: replyMax})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	w := &worker{logs: newJournal(), handled: make(chan []Entry, 1000), swept: make(chan struct{}, 1000), ended: make(chan error, 1)}
	logger := log.New(w.logs)
	i, err := Take(deadline(t), own, LockConfig{Keys: keys, Name: name, TTL: 10 * time.Minute, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	w.Config = Config{
		Redis: own, Keys: keys, Instance: i, Outage: redisconn.NewOutage(logger), Log: logger,
	}
	w.inbox = Inbox{
		Service: library.Lending, Stream: inboxKey, Batch: 4, Batches: 2,
		Prepare: func(ctx context.Context) error { return EnsureAll(ctx, own, keys) },
		Handle: func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			w.handled <- batch
			return nil, w.acknowledge(ctx, batch)
		},
		Reject: Reject,
	}
	own.AddHook(hook(func(cmd redis.Cmder) {
		if args := cmd.Args(); cmd.Name() == "xinfo" && args[1] == "consumers" {
			w.sweeps.Add(1)
			w.swept <- struct{}{}
		}
	}))
	return w
}

// A hook is called before each command outside a pipeline.
type hook func(redis.Cmder)

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h(cmd)
		return next(ctx, cmd)
	}
}

// run starts the worker. It is stopped with the test.
func (w *worker) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.ended <- Run(ctx, w.Config, w.inbox) }()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Logf("%s logged:\n%s", w.Instance.Name(), w.logs)
		}
	})
}

// end waits for Run's end.
func (w *worker) end(t *testing.T, ctx context.Context) error {
	t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-ctx.Done():
		t.Fatal("Run does not end")
		return nil
	}
}

func (w *worker) acknowledge(ctx context.Context, batch []Entry) error {
	_, err := w.Redis.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, id := range idsOf(batch) {
			pipe.XAck(ctx, inboxKey, library.Lending, id)
			pipe.XDel(ctx, inboxKey, id)
		}
		return nil
	})
	return err
}

// take returns the next n entries that were handled.
func (w *worker) take(t *testing.T, ctx context.Context, n int) []Entry {
	t.Helper()
	var entries []Entry
	for len(entries) < n {
		select {
		case batch := <-w.handled:
			entries = append(entries, batch...)
		case <-ctx.Done():
			t.Fatalf("%d entries were handled, want %d: %v", len(entries), n, idsOf(entries))
		}
	}
	if len(entries) > n {
		t.Fatalf("%d entries were handled, want %d", len(entries), n)
	}
	return entries
}

// wantNone checks that nothing more was handled.
func (w *worker) wantNone(t *testing.T) {
	t.Helper()
	select {
	case batch := <-w.handled:
		t.Errorf("%v were handled, too", idsOf(batch))
	default:
	}
}

// sweep waits until n more sweeps have begun after the one under way.
func (w *worker) sweep(t *testing.T, ctx context.Context, n int) {
	t.Helper()
	for len(w.swept) > 0 {
		<-w.swept
	}
	for range n {
		select {
		case <-w.swept:
		case <-ctx.Done():
			t.Fatal("the sweeps have ended")
		}
	}
}

func idsOf(entries []Entry) []string {
	ids := make([]string, len(entries))
	for i, entry := range entries {
		ids[i] = entry.ID
	}
	return ids
}

// add appends n entries and returns their ids.
func add(t *testing.T, ctx context.Context, rdb redis.UniversalClient, n int) []string {
	t.Helper()
	if _, err := Ensure(ctx, rdb, inboxKey, library.Lending); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range n {
		id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, Values: []string{"number", fmt.Sprint(i)}}).Result()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// give reads all new entries in the name of an instance that then does nothing.
func give(t *testing.T, ctx context.Context, rdb redis.UniversalClient, name string) {
	t.Helper()
	err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: library.Lending, Consumer: name, Streams: []string{inboxKey, ">"}, Count: 1000, Block: -1,
	}).Err()
	if err != nil {
		t.Fatal(err)
	}
}

// pending counts what is pending for each instance.
func pending(t *testing.T, ctx context.Context, rdb redis.UniversalClient) map[string]int64 {
	t.Helper()
	consumers, err := rdb.XInfoConsumers(ctx, inboxKey, library.Lending).Result()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, consumer := range consumers {
		counts[consumer.Name] = consumer.Pending
	}
	return counts
}

// soon waits until got returns what is wanted.
func soon[T any](t *testing.T, ctx context.Context, what string, want T, got func() T) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		diff := cmp.Diff(want, got())
		if diff == "" {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s never comes out right (-want +got):\n%s", what, diff)
		}
	}
}

// rejected lists what the lending service set aside, without its ids.
func rejected(t *testing.T, ctx context.Context, rdb redis.UniversalClient) []RejectedEntry {
	t.Helper()
	var entries []RejectedEntry
	err := EachRejected(ctx, rdb, keys, library.Lending, func(entry RejectedEntry) error {
		entry.ID = ""
		entries = append(entries, entry)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// wantNothingLeft checks that the inbox is empty and nothing was set aside.
func wantNothingLeft(t *testing.T, ctx context.Context, rdb redis.UniversalClient) {
	t.Helper()
	want := State{Stream: inboxKey}
	soon(t, ctx, "the inbox", want, func() State {
		state, err := Look(ctx, rdb, inboxKey, library.Lending)
		if err != nil {
			t.Fatal(err)
		}
		state.Consumers, state.Oldest, state.Appended = nil, 0, 0
		return state
	})
	if entries := rejected(t, ctx, rdb); len(entries) > 0 {
		t.Errorf("set aside: %+v", entries)
	}
}

func TestNewEntriesAreHandledOnceInTheirOrder(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 6)
		w := newWorker(t, rdb, "worker1")
		w.inbox.Batches = 1 // with more, batches overtake each other
		w.run(t)
		entries := w.take(t, ctx, 6)
		ids = append(ids, add(t, ctx, rdb, 3)...)
		entries = append(entries, w.take(t, ctx, 3)...)
		if diff := cmp.Diff(ids, idsOf(entries)); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(Entry{ID: ids[0], Fields: map[string]string{"number": "0"}, Deliveries: 1, Token: w.Instance.Token()}, entries[0]); diff != "" {
			t.Errorf("the first entry (-want +got):\n%s", diff)
		}
		w.wantNone(t)
		wantNothingLeft(t, ctx, rdb)
	})
}

func TestABatchHoldsAtMostItsNumberOfEntries(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		add(t, ctx, rdb, 10)
		w := newWorker(t, rdb, "worker1")
		w.run(t)
		for n := 0; n < 10; {
			select {
			case batch := <-w.handled:
				if len(batch) > 4 {
					t.Errorf("a batch of %d entries, want at most 4", len(batch))
				}
				n += len(batch)
			case <-ctx.Done():
				t.Fatalf("%d entries were handled", n)
			}
		}
		wantNothingLeft(t, ctx, rdb)
	})
}

func TestNoMoreBatchesAreInHandThanAllowed(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		for _, batches := range []int{1, 2} {
			add(t, ctx, rdb, 20)
			w := newWorker(t, rdb, fmt.Sprint("worker", batches))
			w.inbox.Batches = batches
			begun, goOn := make(chan struct{}, 20), make(chan struct{})
			w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
				begun <- struct{}{}
				<-goOn
				return nil, w.acknowledge(ctx, batch)
			}
			w.run(t)
			for range batches {
				<-begun
			}
			select {
			case <-begun:
				t.Errorf("more than %d batches are in hand", batches)
			case <-time.After(quiet):
			}
			want := int64(4 * batches)
			if got := pending(t, ctx, rdb)[w.Instance.Name()]; got != want {
				t.Errorf("%d entries were read, want %d with %d batches of 4", got, want, batches)
			}
			close(goOn)
			wantNothingLeft(t, ctx, rdb)
			w.stop()
			if err := w.end(t, ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
		}
	})
}

func TestADeadInstancesEntriesAreTakenOverPageAfterPage(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 50)
		give(t, ctx, rdb, "dead")
		w := newWorker(t, rdb, "living")
		w.run(t)
		entries := w.take(t, ctx, 50)
		if n := w.sweeps.Load(); n != 1 {
			t.Errorf("it took %d sweeps, want 1 that follows the pages to the end", n)
		}
		if diff := cmp.Diff(ids, idsOf(entries)); diff != "" {
			t.Errorf("taken over (-want +got):\n%s", diff)
		}
		for i, entry := range entries {
			want := Entry{ID: ids[i], Fields: map[string]string{"number": fmt.Sprint(i)}, Deliveries: 2, Token: w.Instance.Token()}
			if diff := cmp.Diff(want, entry); diff != "" {
				t.Errorf("entry %d (-want +got):\n%s", i, diff)
			}
		}
		w.logs.wait(t, ctx, "took over pending entries")
		soon(t, ctx, "the group, without the dead instance", map[string]int64{"living": 0}, func() map[string]int64 { return pending(t, ctx, rdb) })
		w.wantNone(t)
		wantNothingLeft(t, ctx, rdb)
	})
}

func TestATakeOverDoesNotWaitForAReadAtEachPage(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		add(t, ctx, rdb, 10)
		give(t, ctx, rdb, "dead")
		w := newWorker(t, rdb, "living")
		w.inbox.Batch, w.inbox.Batches = 1, 1 // as an instance that walks to the shelves
		var reads atomic.Int64
		w.Redis.AddHook(hook(func(cmd redis.Cmder) {
			if cmd.Name() == "xreadgroup" {
				reads.Add(1)
			}
		}))
		w.run(t)
		w.take(t, ctx, 1)
		before := reads.Load()
		w.take(t, ctx, 9)
		// The one read that may be under way when the first page is taken over is not
		// begun after it; each page that waited for a read would have one behind it.
		if n := reads.Load() - before; n > 1 {
			t.Errorf("%d reads were begun between the first and the last page, want none to wait for", n)
		}
	})
}

func TestOfTwoInstancesOneTakesOverEachEntry(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 50)
		give(t, ctx, rdb, "dead")
		one, other := newWorker(t, rdb, "one"), newWorker(t, rdb, "other")
		other.handled = one.handled
		one.run(t)
		other.run(t)
		entries := one.take(t, ctx, 50)
		got := idsOf(entries)
		slices.Sort(got)
		slices.Sort(ids)
		if diff := cmp.Diff(ids, got); diff != "" {
			t.Errorf("taken over by both together (-want +got):\n%s", diff)
		}
		wantNothingLeft(t, ctx, rdb)
	})
}

func TestADeadInstanceWithoutEntriesIsRemoved(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		add(t, ctx, rdb, 0)
		for _, name := range []string{"dead", "dead too"} {
			if err := rdb.XGroupCreateConsumer(ctx, inboxKey, library.Lending, name).Err(); err != nil {
				t.Fatal(err)
			}
		}
		w := newWorker(t, rdb, "living")
		w.run(t)
		soon(t, ctx, "the group, without the dead instances", map[string]int64{"living": 0}, func() map[string]int64 { return pending(t, ctx, rdb) })
	})
}

func TestALivingInstanceIsNotRobbedHoweverSlowItIs(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		slow := newWorker(t, rdb, "slow")
		ids := add(t, ctx, rdb, 6)
		give(t, ctx, rdb, "slow")
		w := newWorker(t, rdb, "quick")
		w.run(t)
		w.sweep(t, ctx, 3)
		w.wantNone(t)
		if diff := cmp.Diff(map[string]int64{"quick": 0, "slow": 6}, pending(t, ctx, rdb)); diff != "" {
			t.Errorf("pending while slow lives (-want +got):\n%s", diff)
		}
		if err := slow.Instance.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 6))); diff != "" {
			t.Errorf("taken over when slow had ended (-want +got):\n%s", diff)
		}
	})
}

func TestWhatANameLeftOfAServiceItDoesNotRunAnyMoreIsTakenOver(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 3)
		give(t, ctx, rdb, "changed")
		_, err := Take(ctx, rdb, LockConfig{Keys: keys, Name: "changed", TTL: time.Minute, Services: []string{library.Shelving}})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorker(t, rdb, "quick")
		w.run(t)
		if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 3))); diff != "" {
			t.Errorf("taken over (-want +got):\n%s", diff)
		}
		soon(t, ctx, "the group, without the name", map[string]int64{"quick": 0}, func() map[string]int64 { return pending(t, ctx, rdb) })
	})
}

func TestAnInstanceThatLivesAgainKeepsItsEntries(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 2)
		give(t, ctx, rdb, "revived")
		revived := newWorker(t, rdb, "revived")
		w := newWorker(t, rdb, "quick")
		c := newConsumer(w.Config, w.inbox)
		// The sweep saw no lock; by the time it claims, there is one.
		claimed, err := c.claim(ctx, w.Instance.Token(), "revived", []any{ids[0], 1, 0, ids[1], 1, 0})
		if err != nil || len(claimed) != 0 {
			t.Errorf("claimed %v, %v, want nothing", claimed, err)
		}
		if got := pending(t, ctx, rdb)[revived.Instance.Name()]; got != 2 {
			t.Errorf("%d entries are pending for the revived instance, want 2", got)
		}
	})
}

func TestEntriesOfAFormerLifeAreFoundAgain(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 10)
		give(t, ctx, rdb, "worker1")
		w := newWorker(t, rdb, "worker1")
		w.run(t)
		entries := w.take(t, ctx, 10)
		if diff := cmp.Diff(ids, idsOf(entries)); diff != "" {
			t.Errorf("found again (-want +got):\n%s", diff)
		}
		if entries[0].Deliveries != 2 {
			t.Errorf("the first entry was delivered %d times, want 2", entries[0].Deliveries)
		}
		w.wantNone(t)
		wantNothingLeft(t, ctx, rdb)
	})
}

func TestEntriesInHandAreNotTakenForStray(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 4)
		w := newWorker(t, rdb, "worker1")
		goOn := make(chan struct{})
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			w.handled <- batch
			<-goOn
			return nil, w.acknowledge(ctx, batch)
		}
		w.run(t)
		if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 4))); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		w.sweep(t, ctx, 4) // the third has seen them pending for more than a second
		w.wantNone(t)
		close(goOn)
		wantNothingLeft(t, ctx, rdb)
	})
}

func TestAnEntryThatCameBackTooOftenIsSetAside(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 2)
		give(t, ctx, rdb, "dead")
		for i, deliveries := range []int{deliveriesMax - 1, deliveriesMax} {
			if err := rdb.Do(ctx, "XCLAIM", inboxKey, library.Lending, "dead", 0, ids[i], "RETRYCOUNT", deliveries).Err(); err != nil {
				t.Fatal(err)
			}
		}
		rings := rdb.Subscribe(ctx, "bell")
		defer rings.Close()
		if _, err := rings.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		w := newWorker(t, rdb, "living")
		w.inbox.Reject = func(entry Entry, reason string) Rejection {
			rejection := Reject(entry, reason)
			rejection.Request, rejection.Receipt, rejection.Bell = "r1", `{"outcome":"rejected"}`, "bell"
			rejection.Pages = []string{receiptsKey, olderKey, pageKey}
			return rejection
		}
		w.run(t)

		want := Entry{ID: ids[0], Fields: map[string]string{"number": "0"}, Deliveries: deliveriesMax, Token: w.Instance.Token()}
		if diff := cmp.Diff([]Entry{want}, w.take(t, ctx, 1)); diff != "" {
			t.Errorf("delivered for the last time (-want +got):\n%s", diff)
		}
		ring, err := rings.ReceiveMessage(ctx)
		if err != nil || ring.Payload != `{"outcome":"rejected"}` {
			t.Errorf("the bell rang %+v, %v, want the receipt", ring, err)
		}
		reason := "it was delivered more than 5 times and never finished"
		aside := RejectedEntry{Service: library.Lending, Stream: inboxKey, Entry: ids[1], Reason: reason, Fields: map[string]string{"number": "1"}}
		if diff := cmp.Diff([]RejectedEntry{aside}, rejected(t, ctx, rdb)); diff != "" {
			t.Errorf("set aside (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"r1": `{"outcome":"rejected"}`}, rdb.HGetAll(ctx, receiptsKey).Val()); diff != "" {
			t.Errorf("receipts (-want +got):\n%s", diff)
		}
		// The library has no terms, so the receipt lives for the least that any may promise.
		if left := rdb.PTTL(ctx, receiptsKey).Val(); left <= library.ReceiptKeepMin || left > 4*library.ReceiptKeepMin {
			t.Errorf("the receipt's page lives for %v, want more than %v", left, library.ReceiptKeepMin)
		}
		if n := rdb.Exists(ctx, olderKey).Val(); n != 0 {
			t.Error("there is a receipt on the older page")
		}
		wantEvents(t, ctx, rdb, map[string]any{
			"event": "rejected", "by": "living", "stream": inboxKey, "entry": ids[1], "reason": reason, "receipt": `{"outcome":"rejected"}`,
		})
		soon(t, ctx, "the inbox's length", 0, func() int64 { return rdb.XLen(ctx, inboxKey).Val() })
		w.wantNone(t)
	})
}

func TestAReceiptThatStoodBeforeARejectionStandsOnEitherPage(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		rings := rdb.Subscribe(ctx, "bell")
		defer rings.Close()
		if _, err := rings.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		w := newWorker(t, rdb, "worker1")
		w.inbox.Batch, w.inbox.Batches = 1, 1 // so their order stays
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			rejection := Reject(batch[0], "for a test")
			rejection.Request, rejection.Receipt, rejection.Bell = "r"+batch[0].Fields["number"], `{"outcome":"rejected"}`, "bell"
			rejection.Pages = []string{receiptsKey, olderKey, pageKey}
			return []Rejection{rejection}, nil
		}
		if err := errors.Join(rdb.HSet(ctx, receiptsKey, "r0", "this").Err(), rdb.HSet(ctx, olderKey, "r1", "older").Err(),
			rdb.Set(ctx, pageKey, "worker9", time.Hour).Err()); err != nil {
			t.Fatal(err)
		}
		add(t, ctx, rdb, 3)
		w.run(t)
		for _, want := range []string{"this", "older", `{"outcome":"rejected"}`} {
			if ring, err := rings.ReceiveMessage(ctx); err != nil || ring.Payload != want {
				t.Errorf("the bell rang %+v, %v, want %s", ring, err, want)
			}
		}
		want := []map[string]string{{"r0": "this", "r2": `{"outcome":"rejected"}`}, {"r1": "older"}}
		got := []map[string]string{rdb.HGetAll(ctx, receiptsKey).Val(), rdb.HGetAll(ctx, olderKey).Val()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the pages of receipts (-want +got):\n%s", diff)
		}
	})
}

// wantEvents checks the whole log.
func wantEvents(t *testing.T, ctx context.Context, rdb redis.UniversalClient, want ...map[string]any) {
	t.Helper()
	messages, err := rdb.XRange(ctx, keys.Events(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	for _, message := range messages {
		got = append(got, message.Values)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the log of events (-want +got):\n%s", diff)
	}
}

func TestAPoisonedEntryDoesNotStopTheOthersOfItsBatch(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 8)
		w := newWorker(t, rdb, "worker1")
		w.inbox.Batch = 8
		var tries atomic.Int64
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			if slices.ContainsFunc(batch, func(e Entry) bool { return e.ID == ids[5] }) {
				if len(batch) == 1 {
					tries.Add(1)
				}
				return nil, errors.New("ERR poisoned\x1b[2J")
			}
			w.handled <- batch
			return nil, w.acknowledge(ctx, batch)
		}
		w.run(t)
		want := slices.Delete(slices.Clone(ids), 5, 6)
		entries := w.take(t, ctx, 7)
		if diff := cmp.Diff(want, idsOf(entries)); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(slices.Repeat([]int64{1}, 7), deliveriesOf(entries)); diff != "" {
			t.Errorf("delivered, where each half of a batch that was cut in two is handled at once (-want +got):\n%s", diff)
		}
		aside := RejectedEntry{
			Service: library.Lending, Stream: inboxKey, Entry: ids[5],
			Reason: `it cannot be applied: ERR poisoned\x1b[2J`, Fields: map[string]string{"number": "5"},
		}
		soon(t, ctx, "what is set aside", []RejectedEntry{aside}, func() []RejectedEntry { return rejected(t, ctx, rdb) })
		if n := tries.Load(); n != faultsMax {
			t.Errorf("the poisoned entry was tried %d times by itself, want %d", n, faultsMax)
		}
		if n := strings.Count(w.logs.String(), "an entry cannot be applied; trying again"); n != faultsMax-1 {
			t.Errorf("the log tells of %d tries, want %d", n, faultsMax-1)
		}
		soon(t, ctx, "the inbox's length", 0, func() int64 { return rdb.XLen(ctx, inboxKey).Val() })
		w.wantNone(t)
	})
}

func TestAnEntryThatTheHandlerRejectsIsSetAside(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 4)
		w := newWorker(t, rdb, "worker1")
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			var good []Entry
			var rejections []Rejection
			for _, entry := range batch {
				if entry.ID == ids[1] || entry.ID == ids[2] {
					rejections = append(rejections, Reject(entry, "it is number "+entry.Fields["number"]))
					continue
				}
				good = append(good, entry)
			}
			w.handled <- good
			return rejections, w.acknowledge(ctx, good)
		}
		w.run(t)
		aside := func(i int) RejectedEntry {
			return RejectedEntry{
				Service: library.Lending, Stream: inboxKey, Entry: ids[i], Reason: fmt.Sprint("it is number ", i),
				Fields: map[string]string{"number": fmt.Sprint(i)},
			}
		}
		soon(t, ctx, "what is set aside", []RejectedEntry{aside(1), aside(2)}, func() []RejectedEntry { return rejected(t, ctx, rdb) })
		if diff := cmp.Diff([]string{ids[0], ids[3]}, idsOf(w.take(t, ctx, 2))); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		soon(t, ctx, "the inbox's length", 0, func() int64 { return rdb.XLen(ctx, inboxKey).Val() })
		soon(t, ctx, "how many rejections the log tells of", 2, func() int { return strings.Count(w.logs.String(), "rejected") })
	})
}

func TestATrimmedEntryIsSetAsideWithoutItsFields(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		for _, owner := range []string{"dead", "worker1"} {
			ctx := deadline(t)
			if err := rdb.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			ids := add(t, ctx, rdb, 5)
			give(t, ctx, rdb, owner)
			if err := rdb.XTrimMinID(ctx, inboxKey, ids[2]).Err(); err != nil {
				t.Fatal(err)
			}
			if err := rdb.XDel(ctx, inboxKey, ids[3]).Err(); err != nil {
				t.Fatal(err)
			}
			w := newWorker(t, rdb, "worker1")
			w.run(t)
			if diff := cmp.Diff([]string{ids[2], ids[4]}, idsOf(w.take(t, ctx, 2))); diff != "" {
				t.Errorf("handled (-want +got):\n%s", diff)
			}
			reason := "it was trimmed away before it was handled"
			var want []RejectedEntry
			var events []map[string]any
			for _, i := range []int{0, 1, 3} {
				want = append(want, RejectedEntry{Service: library.Lending, Stream: inboxKey, Entry: ids[i], Reason: reason, Fields: map[string]string{}})
				events = append(events, map[string]any{
					"event": "rejected", "by": "worker1", "stream": inboxKey, "entry": ids[i], "reason": reason, "receipt": "",
				})
			}
			soon(t, ctx, "what is set aside", want, func() []RejectedEntry { return rejected(t, ctx, rdb) })
			wantEvents(t, ctx, rdb, events...)
			soon(t, ctx, "what is pending", map[string]int64{}, func() map[string]int64 { return counts(t, ctx, rdb) })
			if n := strings.Count(w.logs.String(), "rejected"); n != 3 {
				t.Errorf("the log tells of %d rejections, want 3", n)
			}
			w.wantNone(t)
			w.stop()
			if err := w.end(t, ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
		}
	})
}

// fence is a script that, like all of the services', acts only for the owner of
// the name.
var fence = redis.NewScript(`
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return redis.error_reply('FENCED the instance no longer holds its name')
end
redis.call('XACK', KEYS[2], 'lending', unpack(ARGV, 2))
return redis.call('XDEL', KEYS[2], unpack(ARGV, 2))`)

// handleFenced is a handler that applies a batch by the script fence.
func (w *worker) handleFenced(ctx context.Context, batch []Entry) ([]Rejection, error) {
	args := []any{batch[0].Token}
	for _, id := range idsOf(batch) {
		args = append(args, id)
	}
	err := fence.Run(ctx, w.Redis, []string{w.Instance.Key(), inboxKey}, args...).Err()
	w.handled <- batch
	return nil, err
}

func TestAnInstanceWhoseNameWasTakenEndsAndWritesNothing(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		w := newWorker(t, rdb, "worker1")
		w.inbox.Handle = w.handleFenced
		w.run(t)
		w.sweep(t, ctx, 1)
		taken, err := Take(ctx, rdb, LockConfig{Keys: keys, Name: "worker1", TTL: 10 * time.Minute, Force: true, Log: w.Log})
		if err != nil {
			t.Fatal(err)
		}
		add(t, ctx, rdb, 3)
		if err := w.end(t, ctx); !errors.Is(err, ErrTaken) {
			t.Errorf("Run = %v, want an error that wraps ErrTaken", err)
		}
		if n := rdb.XLen(ctx, inboxKey).Val(); n != 3 {
			t.Errorf("%d entries are in the inbox, want all 3", n)
		}
		if entries := rejected(t, ctx, rdb); len(entries) != 0 {
			t.Errorf("set aside: %+v", entries)
		}
		if value := rdb.Get(ctx, taken.Key()).Val(); !strings.HasPrefix(value, taken.Token()) {
			t.Errorf("the lock holds %q, want the new owner's", value)
		}
	})
}

func TestALapsedLockDropsTheBatchAndTheSweepFindsItAgain(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		w := newWorker(t, rdb, "worker1")
		w.inbox.Handle = w.handleFenced
		w.run(t)
		w.sweep(t, ctx, 1)
		if err := rdb.Del(ctx, w.Instance.Key()).Err(); err != nil {
			t.Fatal(err)
		}
		ids := add(t, ctx, rdb, 3)
		w.logs.wait(t, ctx, "was taken again")
		seen := map[string]int{}
		for _, id := range ids {
			seen[id] = 0
		}
		for len(w.handled) > 0 || rdb.XLen(ctx, inboxKey).Val() > 0 {
			select {
			case batch := <-w.handled:
				for _, id := range idsOf(batch) {
					seen[id]++
				}
			case <-ctx.Done():
				t.Fatalf("handled %v, and %v is still pending", seen, pending(t, ctx, rdb))
			}
		}
		if len(seen) != len(ids) || seen[ids[0]] != 2 {
			t.Errorf("handled %v, want the first entry twice: fenced off, and then for good", seen)
		}
		wantNothingLeft(t, ctx, rdb)
	})
}

// The name is taken again under another token, so that what was in hand meanwhile,
// and may have been handled by others, is not handled by it too.
func TestABatchInHandWhenTheLockLapsedIsFencedThoughTheNameIsHeldAgain(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 3)
		w := newWorker(t, rdb, "worker1")
		goOn, results := make(chan struct{}, 10), make(chan error, 10)
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			<-goOn
			rejections, err := w.handleFenced(ctx, batch)
			results <- err
			return rejections, err
		}
		w.run(t)
		soon(t, ctx, "what is in hand", map[string]int64{"worker1": 3}, func() map[string]int64 { return pending(t, ctx, rdb) })
		token := w.Instance.Token()
		if err := rdb.Del(ctx, w.Instance.Key()).Err(); err != nil {
			t.Fatal(err)
		}
		other := newWorker(t, rdb, "worker2")
		other.run(t)
		if diff := cmp.Diff(ids, idsOf(other.take(t, ctx, 3))); diff != "" {
			t.Errorf("taken over by the other (-want +got):\n%s", diff)
		}
		wantNothingLeft(t, ctx, rdb)
		if err := w.Instance.Keep(ctx); err != nil || w.Instance.Token() == token {
			t.Fatalf("Keep = %v; the token is the old one: %v", err, w.Instance.Token() == token)
		}
		goOn <- struct{}{}
		if err := <-results; redisconn.KindOf(err) != redisconn.Fenced {
			t.Errorf("the batch in hand: %v, want it fenced off", err)
		}
		add(t, ctx, rdb, 1) // service goes on
		close(goOn)
		wantNothingLeft(t, ctx, rdb)
	})
}

// An after hook is called after each command outside a pipeline, with its error.
type after func(redis.Cmder, error)

func (after) DialHook(next redis.DialHook) redis.DialHook { return next }
func (after) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (a after) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		a(cmd, err)
		return err
	}
}

// lapse has the worker's lock end, and the worker take its name again under a new token.
func (w *worker) lapse(t *testing.T, ctx context.Context) {
	t.Helper()
	token := w.Instance.Token()
	if err := w.Redis.Del(ctx, w.Instance.Key()).Err(); err != nil {
		t.Error(err)
	}
	if err := w.Instance.Keep(ctx); err != nil || w.Instance.Token() == token {
		t.Errorf("Keep = %v; the token is the old one: %v", err, w.Instance.Token() == token)
	}
}

// Between the moment in which Redis gives an entry to a name and the one in which its
// holder hears of it, the name may have been lost and taken again, and others may have
// handled the entry. So it is fenced by the token from before.
func TestAnEntryIsFencedByTheTokenFromBeforeItWasGivenOut(t *testing.T) {
	for title, given := range map[string]struct {
		former bool   // to a former life of the name
		by     string // how the command's name begins
	}{
		"a new entry":               {false, "xreadgroup"},
		"an entry of a former life": {true, "eval"},
	} {
		t.Run(title, func(t *testing.T) {
			each(t, func(t *testing.T, rdb *redis.Client) {
				ctx := deadline(t)
				ids := add(t, ctx, rdb, 1)
				if given.former {
					give(t, ctx, rdb, "worker1")
				}
				w := newWorker(t, rdb, "worker1")
				before := w.Instance.Token()
				w.inbox.Handle = w.handleFenced
				var lapsed atomic.Bool
				w.Redis.AddHook(after(func(cmd redis.Cmder, err error) {
					if strings.HasPrefix(cmd.Name(), given.by) && err == nil && lapsed.CompareAndSwap(false, true) {
						w.lapse(t, ctx)
					}
				}))
				w.run(t)
				tries := w.take(t, ctx, 2)
				if diff := cmp.Diff([]string{ids[0], ids[0]}, idsOf(tries)); diff != "" {
					t.Errorf("tried (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{before, w.Instance.Token()}, []string{tries[0].Token, tries[1].Token}); diff != "" {
					t.Errorf("by the tokens (-want +got):\n%s", diff)
				}
				wantNothingLeft(t, ctx, rdb)
			})
		})
	}
}

func TestARejectionIsFencedByTheTokenOfItsEntry(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 1)
		w := newWorker(t, rdb, "worker1")
		var once sync.Once
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			w.handled <- batch
			once.Do(func() { w.lapse(t, ctx) })
			return []Rejection{Reject(batch[0], "for a test")}, nil
		}
		w.run(t)
		if diff := cmp.Diff([]string{ids[0], ids[0]}, idsOf(w.take(t, ctx, 2))); diff != "" {
			t.Errorf("tried (-want +got):\n%s", diff)
		}
		soon(t, ctx, "the inbox's length", 0, func() int64 { return rdb.XLen(ctx, inboxKey).Val() })
		if entries := rejected(t, ctx, rdb); len(entries) != 1 {
			t.Errorf("set aside: %+v, want the entry once", entries)
		}
	})
}

func TestATakeOverThatIsFencedOffLooksAtTheLock(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 1)
		give(t, ctx, rdb, "dead")
		w := newWorker(t, rdb, "worker1")
		if err := rdb.Del(ctx, w.Instance.Key()).Err(); err != nil {
			t.Fatal(err)
		}
		w.run(t)
		if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 1))); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		w.logs.wait(t, ctx, "was taken again")
	})
}

func TestAStopFinishesTheBatchInHand(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 9)
		w := newWorker(t, rdb, "worker1")
		w.inbox.Batches = 1
		goOn := make(chan struct{})
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			w.handled <- batch
			<-goOn
			if ctx.Err() != nil {
				t.Errorf("the handler's context is done: %v", ctx.Err())
			}
			return nil, w.acknowledge(ctx, batch)
		}
		w.run(t)
		if diff := cmp.Diff(ids[:4], idsOf(w.take(t, ctx, 4))); diff != "" {
			t.Errorf("in hand (-want +got):\n%s", diff)
		}
		w.stop()
		select {
		case err := <-w.ended:
			t.Fatalf("Run = %v while a batch was in hand", err)
		case <-time.After(quiet):
		}
		close(goOn)
		if err := w.end(t, ctx); err != nil {
			t.Errorf("Run = %v, want nil after a stop", err)
		}
		w.wantNone(t)
		state, err := Look(ctx, rdb, inboxKey, library.Lending)
		if err != nil || state.Unread != 5 || state.Pending != 0 {
			t.Errorf("the inbox is %+v, %v, want 5 entries unread and none pending", state, err)
		}
	})
}

// Redis has given entries out, and the reply is under way, when the stop comes.
func TestAStopHandlesWhatWasJustGivenOut(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	through, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	rdb := server.Client(t)
	add(t, ctx, rdb, 0)
	w := newWorker(t, through, "worker1")
	reading := make(chan struct{}, 1000)
	proxy.LoseCommand(func(args []string) bool { // none, but it sees them all
		if args[0] == "xreadgroup" {
			reading <- struct{}{}
		}
		return false
	})
	w.run(t)
	<-reading
	proxy.Stall()
	ids := add(t, ctx, rdb, 1)
	soon(t, ctx, "what was given out", map[string]int64{"worker1": 1}, func() map[string]int64 { return pending(t, ctx, rdb) })
	w.stop()
	select {
	case err := <-w.ended:
		t.Fatalf("Run = %v while a read was under way", err)
	case <-time.After(quiet):
	}
	proxy.Resume()
	if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 1))); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
	if err := w.end(t, ctx); err != nil {
		t.Errorf("Run = %v, want nil after a stop", err)
	}
	wantNothingLeft(t, ctx, rdb)
}

// A batch that was dropped, because all data vanished, leaves nothing to do by which
// the instance would notice that Redis serves again.
func TestAnOutageEndsThoughItsBatchWasDropped(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		add(t, ctx, rdb, 1)
		w := newWorker(t, rdb, "worker1")
		var tries atomic.Int64
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			if tries.Add(1) == 1 {
				return nil, reply("OOM command not allowed when used memory > 'maxmemory'.")
			}
			if err := rdb.Del(ctx, inboxKey).Err(); err != nil {
				t.Error(err)
			}
			return nil, reply("NOGROUP No such key '{main}:lending:requests' or consumer group 'lending'")
		}
		w.run(t)
		w.logs.wait(t, ctx, "Redis cannot serve just now")
		soon, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		w.logs.wait(t, soon, "Redis serves again")
	})
}

func TestAStopGivesUpOnAServerThatStaysAway(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	rdb := server.Client(t)
	add(t, ctx, rdb, 1)
	w := newWorker(t, rdb, "worker1")
	w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
		w.handled <- batch
		return nil, w.Redis.Ping(ctx).Err()
	}
	begun := make(chan struct{})
	var once sync.Once
	handle := w.inbox.Handle
	w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
		once.Do(func() {
			server.Kill(t)
			close(begun)
		})
		return handle(ctx, batch)
	}
	w.run(t)
	<-begun
	w.stop()
	start := time.Now()
	if err := w.end(t, ctx); err != nil {
		t.Errorf("Run = %v, want nil after a stop", err)
	}
	if took := time.Since(start); took < stopGrace/2 || took > 2*stopGrace {
		t.Errorf("the stop took %v, want about %v", took, stopGrace)
	}
}

func TestAServerThatIsFullOrAwayIsTriedUntilItServes(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 4)
		w := newWorker(t, rdb, "worker1")
		var tries atomic.Int64
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			if tries.Add(1) < 8 { // more often than an entry that fails by itself is tried
				return nil, fmt.Errorf("decide: %w", reply("OOM command not allowed when used memory > 'maxmemory'."))
			}
			w.handled <- batch
			return nil, w.acknowledge(ctx, batch)
		}
		w.run(t)
		if diff := cmp.Diff(ids, idsOf(w.take(t, ctx, 4))); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		wantNothingLeft(t, ctx, rdb)
		w.logs.wait(t, ctx, "Redis serves again")
		if n := strings.Count(w.logs.String(), "\n"); n != 2 {
			t.Errorf("the log has %d lines, want the outage's begin and end:\n%s", n, w.logs)
		}
	})
}

// reply is an error reply of Redis.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestARefusalEndsTheRunAndSetsNothingAside(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		add(t, ctx, rdb, 4)
		w := newWorker(t, rdb, "worker1")
		w.inbox.Handle = func(context.Context, []Entry) ([]Rejection, error) {
			return nil, fmt.Errorf("decide: %w", reply("NOPERM this user has no permissions"))
		}
		w.run(t)
		if err := w.end(t, ctx); redisconn.KindOf(err) != redisconn.Refused {
			t.Errorf("Run = %v, want an error of kind Refused", err)
		}
		if got := pending(t, ctx, rdb)["worker1"]; got != 4 {
			t.Errorf("%d entries are pending, want 4", got)
		}
		if entries := rejected(t, ctx, rdb); len(entries) > 0 {
			t.Errorf("set aside: %+v", entries)
		}
	})
}

func TestAServiceGoesOnAfterItsDataVanished(t *testing.T) {
	for title, vanish := range map[string]func(ctx context.Context, rdb *redis.Client) error{
		"the stream": func(ctx context.Context, rdb *redis.Client) error { return rdb.Del(ctx, inboxKey).Err() },
		"the group": func(ctx context.Context, rdb *redis.Client) error {
			return rdb.XGroupDestroy(ctx, inboxKey, library.Lending).Err()
		},
		"all": func(ctx context.Context, rdb *redis.Client) error { return rdb.FlushAll(ctx).Err() },
	} {
		t.Run(title, func(t *testing.T) {
			each(t, func(t *testing.T, rdb *redis.Client) {
				ctx := deadline(t)
				add(t, ctx, rdb, 1)
				w := newWorker(t, rdb, "worker1")
				prepared := make(chan struct{}, 100)
				prepare := w.inbox.Prepare
				w.inbox.Prepare = func(ctx context.Context) error {
					prepared <- struct{}{}
					return prepare(ctx)
				}
				w.run(t)
				w.take(t, ctx, 1)
				wantNothingLeft(t, ctx, rdb)
				if err := vanish(ctx, rdb); err != nil {
					t.Fatal(err)
				}
				// Whoever appends first makes the stream anew, without a group.
				id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, Values: []string{"number", "7"}}).Result()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{id}, idsOf(w.take(t, ctx, 1))); diff != "" {
					t.Errorf("handled (-want +got):\n%s", diff)
				}
				select {
				case <-prepared:
				case <-ctx.Done():
					t.Fatal("the service does not prepare what it needs again")
				}
				wantNothingLeft(t, ctx, rdb)
				if n := strings.Count(w.logs.String(), "the library's data is gone"); n != 1 {
					t.Errorf("the log tells %d times that the data is gone, want once", n)
				}
			})
		})
	}
}

func TestEachEntryOfABatchTakesItsTime(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		w := newWorker(t, rdb, "worker1")
		paces := map[string]time.Duration{"0": 30 * time.Millisecond, "1": 0, "2": 60 * time.Millisecond}
		var asked []string
		w.inbox.Batches, w.inbox.Pace = 1, func(entry Entry) time.Duration {
			asked = append(asked, entry.Fields["number"])
			return paces[entry.Fields["number"]]
		}
		add(t, ctx, rdb, 3)
		start := time.Now()
		w.run(t)
		w.take(t, ctx, 3)
		if took := time.Since(start); took < 90*time.Millisecond {
			t.Errorf("3 entries took %v, want 90ms in all", took)
		}
		if diff := cmp.Diff([]string{"0", "1", "2"}, asked); diff != "" {
			t.Errorf("asked for the time of (-want +got):\n%s", diff)
		}
	})
}

func TestAStopFinishesAShortWalkAndLeavesALongOneToOthers(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		for _, test := range []struct {
			pace    time.Duration
			handled int
		}{{300 * time.Millisecond, 1}, {time.Hour, 0}} {
			ids := add(t, ctx, rdb, 1)
			w := newWorker(t, rdb, "worker1")
			w.inbox.Batch, w.inbox.Batches, w.inbox.Pace = 1, 1, func(Entry) time.Duration { return test.pace }
			w.run(t)
			soon(t, ctx, "what is in hand", map[string]int64{"worker1": 1}, func() map[string]int64 { return pending(t, ctx, rdb) })
			start := time.Now()
			w.stop()
			if err := w.end(t, ctx); err != nil {
				t.Errorf("with a walk of %v: Run = %v, want nil after a stop", test.pace, err)
			}
			if took := time.Since(start); took > 2*stopGrace {
				t.Errorf("with a walk of %v: the stop took %v, want at most about %v", test.pace, took, stopGrace)
			}
			if len(w.handled) != test.handled {
				t.Errorf("with a walk of %v: %d batches were handled, want %d", test.pace, len(w.handled), test.handled)
			}
			if left := rdb.XRange(ctx, inboxKey, ids[0], ids[0]).Val(); len(left) != 1-test.handled {
				t.Errorf("with a walk of %v: %d entries are left, want %d", test.pace, len(left), 1-test.handled)
			}
			if err := w.Instance.Release(ctx); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestALostReadIsMadeUpForByTheSweep(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	through, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	rdb := server.Client(t)
	ids := add(t, ctx, rdb, 7)
	w := newWorker(t, through, "worker1")
	proxy.DropReply(func(args []string) bool { return args[0] == "xreadgroup" })
	w.run(t)
	entries := w.take(t, ctx, 7)
	got := idsOf(entries)
	slices.Sort(got)
	slices.Sort(ids)
	if diff := cmp.Diff(ids, got); diff != "" || proxy.Faults() != 1 {
		t.Errorf("handled after %d lost replies (-want +got):\n%s", proxy.Faults(), diff)
	}
	w.logs.wait(t, ctx, "took over pending entries") // so the lost reply did hold entries
	wantNothingLeft(t, ctx, rdb)
}
