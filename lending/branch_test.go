package lending

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/library/events"
	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// names are the keys of the library that all tests use, each on its own server.
var names = library.Keys{Library: "main"}

// TestMain lets more tests run at once than there are processors: many of them
// mostly wait, for a client looks and an instance sweeps now and then only.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

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

// connect returns one more client of the server of rdb, as the programs make it.
func connect(t testing.TB, rdb redis.UniversalClient) redis.UniversalClient {
	t.Helper()
	own, err := redisconn.Connect(redisconn.Options{Address: redisconn.Where(rdb)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	return own
}

// newClient returns a client of the library, with a connection of its own.
func newClient(t testing.TB, rdb redis.UniversalClient) *Client {
	t.Helper()
	client, err := NewClient(connect(t, rdb), names.Library)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// A journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// A branch is an instance that runs services of the library.
type branch struct {
	name     string
	services []string // default: both
	loansMax int      // default: 5
	frontMax int      // default: 0, so that every book goes back to the shelves

	logs  journal
	stop  context.CancelFunc
	ended chan error
}

// open starts the branch, with a connection of its own to the server of rdb. It is
// closed with the test.
func (b *branch) open(t testing.TB, rdb redis.UniversalClient) *branch {
	t.Helper()
	if b.name == "" {
		b.name = "worker1"
	}
	if b.services == nil {
		b.services = []string{library.Lending, library.Shelving}
	}
	if b.loansMax == 0 {
		b.loansMax = 5
	}
	own := connect(t, rdb)
	logger := log.NewWithOptions(&b.logs, log.Options{Level: log.DebugLevel})
	config := worker.Config{
		Redis: own, Keys: names, Outage: redisconn.NewOutage(logger), Log: logger,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	config.Instance, err = worker.Take(ctx, own, worker.LockConfig{
		Keys: names, Name: b.name, TTL: 10 * time.Minute, Services: b.services, Log: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	terms := library.DefaultTerms()
	terms.LoansMax, terms.FrontMax, terms.ReceiptMS = b.loansMax, b.frontMax, time.Hour.Milliseconds()
	services := map[string]interface {
		Prepare(context.Context) error
		Inboxes() []worker.Inbox
	}{
		library.Lending:  NewService(Config{Config: config, Terms: terms}),
		library.Shelving: shelving.NewService(shelving.Config{Config: config}),
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return config.Instance.Run(groupCtx, config.Outage) })
	for _, name := range b.services {
		if err := services[name].Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		for _, inbox := range services[name].Inboxes() {
			group.Go(func() error { return worker.Run(groupCtx, config, inbox) })
		}
	}
	b.stop, b.ended = cancel, make(chan error, 1)
	go func() {
		err := group.Wait()
		if err == nil {
			// As lendingd does; a server that is gone by now has forgotten the name.
			leave, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = config.Instance.Release(leave)
		}
		b.ended <- err
	}()
	t.Cleanup(func() {
		b.close(t)
		if t.Failed() {
			t.Logf("%s logged:\n%s", b.name, &b.logs)
		}
	})
	return b
}

// close stops the branch and waits until it has finished what it has in hand.
func (b *branch) close(t testing.TB) {
	t.Helper()
	if b.stop == nil {
		return
	}
	b.stop()
	b.stop = nil
	select {
	case err := <-b.ended:
		if err != nil {
			t.Errorf("%s ended with %v", b.name, err)
		}
	case <-time.After(patience.Long):
		t.Errorf("%s does not end", b.name)
	}
}

// A state is all that the services know, but for receipts, demand and the log.
type state struct {
	Loans    map[string]string   // book → user
	Cards    map[string][]string // user → books
	Fetching []string            // books
	Front    []string            // books
	Out      []string            // books
	Awaited  []string            // books
	Inboxes  map[string]int64    // stream → entries, where there are any
	Rejected int64               // entries that either service set aside
}

func stateOf(t testing.TB, ctx context.Context, rdb redis.UniversalClient) state {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("read the state: %v", err)
		}
	}
	k := keys{names}
	s := state{Cards: map[string][]string{}, Inboxes: map[string]int64{}}
	var err error
	s.Loans, err = rdb.HGetAll(ctx, k.loans()).Result()
	must(err)
	list := func(command func(context.Context, string) *redis.StringSliceCmd, key string) []string {
		books, err := command(ctx, key).Result()
		must(err)
		slices.Sort(books)
		return books
	}
	cards := list(rdb.Keys, k.card("*"))
	for _, key := range cards {
		s.Cards[strings.TrimPrefix(key, k.card(""))] = list(rdb.HKeys, key)
	}
	s.Fetching = list(rdb.HKeys, k.fetching())
	s.Front = list(rdb.SMembers, k.front())
	for _, bay := range list(rdb.Keys, "{main}:shelving:out:*") {
		s.Out = append(s.Out, list(rdb.HKeys, bay)...)
	}
	slices.Sort(s.Out)
	s.Awaited = list(rdb.HKeys, "{main}:shelving:awaited")
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range names.Inboxes(service) {
			n, err := rdb.XLen(ctx, inbox).Result()
			must(err)
			if n > 0 {
				s.Inboxes[inbox] = n
			}
		}
		n, err := rdb.XLen(ctx, names.Rejected(service)).Result()
		must(err)
		s.Rejected += n
	}
	return s
}

// wantState waits until nothing is under way, and checks all the services know then.
func wantState(t testing.TB, ctx context.Context, rdb redis.UniversalClient, want state) {
	t.Helper()
	got := settled(t, ctx, rdb)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// settled waits until every inbox is empty, checks that each book is in exactly one
// place then, and returns the state.
func settled(t testing.TB, ctx context.Context, rdb redis.UniversalClient) state {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for busy := underWay(t, ctx, rdb); len(busy) > 0; busy = underWay(t, ctx, rdb) {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("the library never comes to rest: %v", busy)
		}
	}
	s := stateOf(t, ctx, rdb)
	held := map[string][]string{}
	for book, user := range s.Loans {
		held[user] = append(held[user], book)
	}
	for _, books := range held {
		slices.Sort(books)
	}
	if diff := cmp.Diff(held, s.Cards, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the cards differ from the loans (-loans +cards):\n%s", diff)
	}
	out := slices.Sorted(maps.Keys(s.Loans))
	out = append(out, s.Front...)
	slices.Sort(out)
	if diff := cmp.Diff(out, s.Out, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("what is lent or in front storage differs from what is off the shelves (-lent +off):\n%s", diff)
	}
	if counts, err := shelving.Count(ctx, rdb, names); err != nil || counts.Out != int64(len(s.Out)) {
		t.Errorf("the shelving service counts %d books out, %v, but these are: %q", counts.Out, err, s.Out)
	}
	if len(s.Awaited) > 0 {
		t.Errorf("books are awaited though none is on its way: %q", s.Awaited)
	}
	return s
}

// underWay counts the entries of each inbox and the books that are being fetched, in
// one moment, and leaves out what is zero.
func underWay(t testing.TB, ctx context.Context, rdb redis.UniversalClient) map[string]int64 {
	t.Helper()
	lengths := map[string]*redis.IntCmd{}
	_, err := rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, inbox := range slices.Concat(names.Inboxes(library.Lending), names.Inboxes(library.Shelving)) {
			lengths[inbox] = pipe.XLen(ctx, inbox)
		}
		lengths["fetching"] = pipe.HLen(ctx, keys{names}.fetching())
		return nil
	})
	if err != nil {
		t.Fatalf("read what is under way: %v", err)
	}
	counts := map[string]int64{}
	for name, length := range lengths {
		if n := length.Val(); n > 0 {
			counts[name] = n
		}
	}
	return counts
}

// wantOneAnswerEach checks that the log holds exactly one decision on each order.
func wantOneAnswerEach(t testing.TB, ctx context.Context, rdb redis.UniversalClient, ids ...string) {
	t.Helper()
	messages, err := rdb.XRange(ctx, names.Events(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]int{}, map[string]int{}
	for _, id := range ids {
		want[id] = 1
	}
	for _, message := range messages {
		for _, event := range events.Parse(message) {
			if event.Receipt != nil {
				got[event.Receipt.ID]++
			}
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("decisions on each order (-want +got):\n%s", diff)
	}
}

// waitForEntry returns the first entry that comes after another in a stream.
func waitForEntry(t testing.TB, ctx context.Context, rdb redis.UniversalClient, key, after string) redis.XMessage {
	t.Helper()
	for {
		streams, err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{key, after}, Count: 1, Block: time.Second}).Result()
		if err == nil {
			return streams[0].Messages[0]
		}
		if err != redis.Nil || ctx.Err() != nil {
			t.Fatalf("wait for an entry of %s: %v", key, err)
		}
	}
}
