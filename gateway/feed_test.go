package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

var main = library.Keys{Library: "main"}

// serveFeed is a gateway of a server's library, at an address.
func serveFeed(t *testing.T, rdb *redis.Client) (*Server, *httptest.Server) {
	t.Helper()
	s, err := New(Config{Libraries: []Library{{Redis: rdb, Keys: main}}, Log: log.New(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	at := httptest.NewServer(s.Handler())
	t.Cleanup(func() { at.CloseClientConnections(); at.Close(); s.Close() })
	return s, at
}

// appendEvents appends count entries of three decisions each.
func appendEvents(ctx context.Context, rdb *redis.Client, first, count int) error {
	_, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for n := first; n < first+count; n++ {
			var receipts []string
			for i := range 3 {
				receipts = append(receipts, fmt.Sprintf(`{"id":"r%d-%d","action":"request","user":"user%d","books":["b%d"],"outcome":"granted","results":["front"],"due_ms":1}`, n, i, i, n))
			}
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: main.Events(), Values: []string{"event", "decided", "by", "worker1", "receipts", "[" + strings.Join(receipts, ",") + "]"}})
		}
		return nil
	})
	return err
}

// logged are the ids that the feed should give the events of the log, in order.
func logged(t *testing.T, rdb *redis.Client, wanted choice) []string {
	t.Helper()
	entries, err := rdb.XRange(t.Context(), main.Events(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, entry := range entries {
		for _, event := range tell(entry) {
			if wanted.takes(&event) {
				ids = append(ids, event.at.String())
			}
		}
	}
	return ids
}

// A sent event is one as a browser understands it.
type sent struct{ id, event, data string }

// listen reads a feed from a position on and calls got with each event until it returns
// false or the feed ends. It returns the last id, as a browser keeps it.
func listen(ctx context.Context, address, query, last string, got func(sent) bool) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", address+"/events"+query, nil)
	if err != nil {
		return last, err
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return last, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return last, fmt.Errorf("status %d", answer.StatusCode)
	}
	var now sent
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			now.id = value
		case "event":
			now.event = value
		case "data":
			now.data = value
		case "":
			if now.id != "" {
				last = now.id
			}
			if now.data != "" && !got(now) {
				return last, nil
			}
			now = sent{}
		}
	}
	return last, lines.Err()
}

func TestABrowserThatComesAgainMissesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := patience.Deadline(t)
		s, at := serveFeed(t, rdb)
		s.libraries[0].feed.recentMax = 20_000 // so that the log has to be read, too
		if err := appendEvents(ctx, rdb, 0, 10); err != nil {
			t.Fatal(err)
		}
		const entries = 1500
		failed := make(chan error, 1)
		go func() {
			var err error
			for n := 10; n < entries && err == nil; n += 10 {
				err = appendEvents(ctx, rdb, n, 10)
			}
			failed <- err
		}()
		var wait sync.WaitGroup
		for n := range 4 {
			query := []string{"", "?user=user1", "?book=b77", "?order=r99-2"}[n]
			wanted := []choice{{}, {user: "user1"}, {book: "b77"}, {order: "r99-2"}}[n]
			wait.Go(func() {
				var ids []string
				last, random := "0-0", rand.New(rand.NewPCG(1, uint64(n)))
				total := []int{3 * entries, entries, 3, 1}[n]
				for len(ids) < total && ctx.Err() == nil {
					stay := 1 + random.IntN(400)
					var err error
					last, err = listen(ctx, at.URL, query, last, func(e sent) bool {
						if e.event != "" {
							t.Errorf("%s: unexpected %+v", query, e)
						}
						ids = append(ids, e.id)
						stay--
						return stay > 0 && len(ids) < total
					})
					_ = err // the browser went away itself, or was dropped
				}
				if diff := cmp.Diff(logged(t, rdb, wanted), ids); diff != "" {
					t.Errorf("%s (-log +feed):\n%.2000s", query, diff)
				}
			})
		}
		if err := <-failed; err != nil {
			t.Error(err)
		}
		wait.Wait()
	})
}

func TestABrowserIsToldWhatIsGone(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := patience.Deadline(t)
		_, at := serveFeed(t, rdb)
		if err := appendEvents(ctx, rdb, 0, 2500); err != nil {
			t.Fatal(err)
		}
		all := logged(t, rdb, choice{})
		begin := slices.Index(all, all[3*1000-1])
		if err := rdb.XTrimMinID(ctx, main.Events(), all[3*1200-1]).Err(); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			last string
			gap  bool
		}{{all[begin], true}, {all[begin-1], true}, {"0-0", true}, {all[3*1200-1], false}, {all[3*1200-2], false}, {all[3*1300-1], false}} {
			var got []sent
			if _, err := listen(ctx, at.URL, "", test.last, func(e sent) bool { got = append(got, e); return len(got) < 2 }); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf(`{"from":%q,"to":%q}`, test.last, all[3*1200-1])
			if told := got[0].event == "gap"; told != test.gap || told && got[0].data != want {
				t.Errorf("after %s came first %+v, want a gap: %v %s", test.last, got[0], test.gap, want)
			}
			if next := got[1]; test.gap && next.id != all[3*1200-3] {
				t.Errorf("after the gap came %+v, want %s", next, all[3*1200-3])
			}
		}
	})
}

func TestASlowBrowserIsDroppedAndMissesNothing(t *testing.T) {
	t.Parallel()
	ctx := patience.Deadline(t)
	rdb := redistest.Start(t).Client(t)
	s, at := serveFeed(t, rdb)
	f := s.libraries[0].feed
	f.patience, f.recentMax = 50*time.Millisecond, 100_000
	if err := appendEvents(ctx, rdb, 0, 1); err != nil {
		t.Fatal(err)
	}
	count := 1
	last, err := listen(ctx, at.URL, "", "0-0", func(sent) bool { // it reads nothing more while events are appended
		for drops := int64(0); drops == 0 && ctx.Err() == nil; count += 500 {
			if err := appendEvents(ctx, rdb, count, 500); err != nil {
				t.Error(err)
				return false
			}
			f.mu.Lock()
			drops = f.drops
			f.mu.Unlock()
		}
		return false
	})
	if err != nil || ctx.Err() != nil {
		t.Fatalf("the browser was not dropped after %d entries: %v", count, err)
	}
	f.mu.Lock()
	if kept := f.bytes; len(f.chapters) > 1 && kept > f.recentMax {
		t.Errorf("%d bytes are kept, want at most %d", kept, f.recentMax)
	}
	f.mu.Unlock()
	all := logged(t, rdb, choice{})
	rest := all[slices.Index(all, last)+1:]
	var ids []string
	for len(ids) < len(rest) && ctx.Err() == nil {
		last, _ = listen(ctx, at.URL, "", last, func(e sent) bool { ids = append(ids, e.id); return len(ids) < len(rest) })
	}
	if diff := cmp.Diff(rest, ids); diff != "" {
		t.Errorf("after it came again (-log +feed):\n%.2000s", diff)
	}
}

func TestManyBrowsersShareOneReaderAndItsMemory(t *testing.T) {
	t.Parallel()
	ctx := patience.Deadline(t)
	rdb := redistest.Start(t).Client(t)
	s, at := serveFeed(t, rdb)
	f := s.libraries[0].feed
	const browsers, entries = 200, 2000
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: browsers}}
	var ready, done sync.WaitGroup
	for range browsers {
		ready.Add(1)
		done.Go(func() {
			r, _ := http.NewRequestWithContext(ctx, "GET", at.URL+"/events", nil)
			answer, err := client.Do(r)
			ready.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			lines := bufio.NewScanner(answer.Body)
			lines.Buffer(make([]byte, 0, 4<<10), 1<<20)
			for seen := 0; seen < 3*entries; {
				if !lines.Scan() {
					t.Errorf("after %d events: %v", seen, lines.Err())
					return
				}
				if bytes.HasPrefix(lines.Bytes(), []byte("data: ")) {
					seen++
				}
			}
		})
	}
	ready.Wait()
	for _, ready, changed := f.newest(); !ready; _, ready, changed = f.newest() {
		<-changed
	}
	memory := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := memory()
	for n := 0; n < entries; n += 200 {
		if err := appendEvents(ctx, rdb, n, 200); err != nil {
			t.Fatal(err)
		}
	}
	during := memory()
	done.Wait()
	reads, err := rdb.Info(ctx, "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("200 browsers and %d events took %d KiB more", 3*entries, (int64(during)-int64(before))/1024)
	if grown := int64(during) - int64(before); grown > 128<<20 {
		t.Errorf("200 browsers took %d MiB more, want at most 128", grown>>20)
	}
	for line := range strings.Lines(reads) {
		var calls int
		if _, err := fmt.Sscanf(line, "cmdstat_xread:calls=%d", &calls); err == nil && calls > browsers {
			t.Errorf("the log was read %d times for %d browsers, want once for all", calls, browsers)
		}
	}
}

func TestCountsTellHowMuchHappenedAndNoNames(t *testing.T) {
	ctx := patience.Deadline(t)
	rdb := redistest.Embedded(t)
	s, at := serveFeed(t, rdb)
	sum := 0
	_, err := listen(ctx, at.URL, "?rate=counts", "", func(e sent) bool {
		if sum == 0 {
			if err := appendEvents(ctx, rdb, 0, 7); err != nil {
				t.Error(err)
			}
		}
		var n int
		if strings.Contains(e.data, "user") {
			t.Errorf("counts with a name: %s", e.data)
		}
		if _, err := fmt.Sscanf(e.data, `{"events":{"lent":%d}`, &n); err == nil {
			sum += n
		}
		return sum < 21
	})
	if err != nil || sum < 21 {
		t.Errorf("counted %d, %v, want at least 21", sum, err)
	}
	_ = s
}

func TestWhatCannotBeChosenIsRefused(t *testing.T) {
	s := open(t, nil)
	for _, query := range []string{"?since=yesterday", "?user=%00", "?book=%20x", "?rate=slow", "?since=-5m"} {
		if got := ask(s, here, "GET", "/events"+query, nil); got.Code != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", query, got.Code)
		}
	}
	if got := ask(s, elsewhere, "GET", "/events", nil); got.Code != http.StatusUnauthorized {
		t.Errorf("the feed for anybody: %d, want 401", got.Code)
	}
}

func TestPositionsStandInTheOrderOfTheLog(t *testing.T) {
	var before position
	for _, text := range []string{"0-0.0", "0-1", "5-0.1", "5-0.2", "5-0", "5-1.1", "18446744073709551615-18446744073709551615"} {
		at, ok := parsePosition(text)
		if !ok || at.String() != text {
			t.Errorf("%s is read as %v, %v", text, at, ok)
		}
		if at.compare(before) < 0 {
			t.Errorf("%v is before %v", at, before)
		}
		before = at
	}
	for _, text := range []string{"", "5", "5-", "-5", "5-1.", "5-1.x", "5-1.-1", "x-1", "5-1-1"} {
		if at, ok := parsePosition(text); ok {
			t.Errorf("%q is read as %v", text, at)
		}
	}
}
