package shelving

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"example.com/library/instance"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/stream"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

var names = library.Keys{Library: "main"}

// deadline returns a context for the calls of one test.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// newService makes a service of an instance that holds its name.
func newService(t *testing.T, ctx context.Context, rdb *redis.Client, logs *bytes.Buffer) *Service {
	t.Helper()
	logger := log.New(logs)
	i, err := instance.Take(ctx, rdb, instance.Config{Keys: names, Name: "worker1", TTL: 10 * time.Second, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	s := NewService(Config{Config: stream.Config{
		Redis: rdb, Keys: names, Instance: i, Outage: library.NewOutage(logger), Log: logger, LogMax: 1000, ReceiptTTL: time.Hour,
	}})
	if err := s.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// receive appends entries to an inbox, reads them for the service and returns them.
func (s *Service) receive(t *testing.T, ctx context.Context, inbox string, entries ...map[string]string) []stream.Entry {
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
	var batch []stream.Entry
	for i, message := range streams[0].Messages {
		batch = append(batch, stream.Entry{ID: message.ID, Fields: entries[i], Deliveries: 1, Token: s.config.Instance.Token()})
	}
	return batch
}

// wantShelves checks what is off the shelves, what is awaited, and what was sent to
// the lending service.
func wantShelves(t *testing.T, ctx context.Context, rdb *redis.Client, out, awaited map[string]string, deliveries ...map[string]any) {
	t.Helper()
	k := keys{names}
	if diff := cmp.Diff(out, rdb.HGetAll(ctx, k.out()).Val(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("off the shelves (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(awaited, rdb.HGetAll(ctx, k.awaited()).Val(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("awaited (-want +got):\n%s", diff)
	}
	var got []map[string]any
	for _, message := range rdb.XRange(ctx, k.Deliveries(), "-", "+").Val() {
		got = append(got, message.Values)
	}
	if diff := cmp.Diff(deliveries, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}
	counts, err := Count(ctx, rdb, names)
	if want := (Counts{Out: int64(len(out)), Awaited: int64(len(awaited))}); counts != want || err != nil {
		t.Errorf("Count = %+v, %v, want %+v", counts, err, want)
	}
	for _, book := range []string{"geb", "alice", "cities"} {
		onShelves, err := OnShelves(ctx, rdb, names, book)
		if _, isOut := out[book]; onShelves == isOut || err != nil {
			t.Errorf("OnShelves(%s) = %v, %v", book, onShelves, err)
		}
	}
}

func reasons(rejections []stream.Rejection) map[string]string {
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
		order := func(request, book string) map[string]string {
			return map[string]string{"request": request, "book": book}
		}
		delivery := func(request, book string) map[string]any { return map[string]any{"request": request, "book": book} }

		first := s.receive(t, ctx, names.Fetches(), order("r1", "geb"), map[string]string{}, order("r1", "alice"), order("r 2", "cities"))
		rejections, err := s.Fetch(ctx, first)
		want := map[string]string{
			first[1].ID: `it has no field "request"`,
			first[3].ID: `request "r 2": not a usable name: use 1 to 64 letters, digits, hyphens and underscores`,
		}
		if diff := cmp.Diff(want, reasons(rejections)); err != nil || diff != "" {
			t.Errorf("Fetch = %v, rejected (-want +got):\n%s", err, diff)
		}
		sent := []map[string]any{delivery("r1", "geb"), delivery("r1", "alice")}
		wantShelves(t, ctx, rdb, map[string]string{"geb": "r1", "alice": "r1"}, nil, sent...)

		// The order overtook the return of the same book; a second one cannot be.
		batch := s.receive(t, ctx, names.Fetches(), order("r3", "geb"), order("r4", "geb"), order("r3", "geb"))
		rejections, err = s.Fetch(ctx, batch)
		want = map[string]string{batch[1].ID: "the book is awaited by another request already"}
		if diff := cmp.Diff(want, reasons(rejections)); err != nil || diff != "" {
			t.Errorf("Fetch = %v, rejected (-want +got):\n%s", err, diff)
		}
		wantShelves(t, ctx, rdb, map[string]string{"geb": "r1", "alice": "r1"}, map[string]string{"geb": "r3"}, sent...)

		batch = s.receive(t, ctx, names.Stores(), map[string]string{"book": "geb"}, map[string]string{"book": "cities"}, map[string]string{"book": "alice"})
		rejections, err = s.Store(ctx, batch)
		want = map[string]string{batch[1].ID: "the book is on the shelves already"}
		if diff := cmp.Diff(want, reasons(rejections)); err != nil || diff != "" {
			t.Errorf("Store = %v, rejected (-want +got):\n%s", err, diff)
		}
		wantShelves(t, ctx, rdb, map[string]string{"geb": "r3"}, nil, append(sent, delivery("r3", "geb"))...)

		// What was decided is not decided again.
		if _, err := s.Store(ctx, batch); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Fetch(ctx, first); err != nil {
			t.Fatal(err)
		}
		wantShelves(t, ctx, rdb, map[string]string{"geb": "r3"}, nil, append(sent, delivery("r3", "geb"))...)
		for _, word := range []string{"fetched book=geb id=r1", "fetched book=alice id=r1", "awaited book=geb id=r3", "handed_on book=geb", "stored book=alice"} {
			if n := strings.Count(logs.String(), word); n != 1 {
				t.Errorf("the log says %q %d times, want once:\n%s", word, n, &logs)
			}
		}
	})
}

func TestABatchWithoutOneGoodEntryIsRejectedWhole(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		batch := s.receive(t, ctx, names.Fetches(), map[string]string{"book": "geb"})
		if rejections, err := s.Fetch(ctx, batch); err != nil || len(rejections) != 1 {
			t.Errorf("Fetch = %+v, %v, want one rejection", rejections, err)
		}
		batch = s.receive(t, ctx, names.Stores(), map[string]string{"book": "geb "})
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
		fetches := s.receive(t, ctx, names.Fetches(), map[string]string{"request": "r1", "book": "geb"})
		stores := s.receive(t, ctx, names.Stores(), map[string]string{"book": "geb"})
		if err := rdb.Del(ctx, names.Instance("worker1")).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.config.Instance.Keep(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Fetch(ctx, fetches); library.KindOf(err) != library.Fenced || !strings.HasPrefix(err.Error(), "fetch: ") {
			t.Errorf("Fetch = %v, want an error of kind Fenced", err)
		}
		if _, err := s.Store(ctx, stores); library.KindOf(err) != library.Fenced || !strings.HasPrefix(err.Error(), "store: ") {
			t.Errorf("Store = %v, want an error of kind Fenced", err)
		}
		wantShelves(t, ctx, rdb, nil, nil)
	})
}

func TestAnInstanceThatWalksReadsOneOrderAtATime(t *testing.T) {
	s := NewService(Config{Config: stream.Config{Keys: names}, FetchTime: 2 * time.Second})
	type pace struct {
		Stream         string
		Batch, Batches int64
		Pace           time.Duration
	}
	var got []pace
	for _, inbox := range s.Inboxes() {
		got = append(got, pace{inbox.Stream, inbox.Batch, int64(inbox.Batches), inbox.Pace})
	}
	want := []pace{{names.Fetches(), 1, 1, 2 * time.Second}, {names.Stores(), 128, 4, 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inboxes (-want +got):\n%s", diff)
	}
}
