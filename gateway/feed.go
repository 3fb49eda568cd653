package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"example.com/library/events"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
)

const (
	// heartbeat is how often a client hears something, at least.
	heartbeat = 10 * time.Second
	// slowClient is how long a client may take to accept what it is sent.
	slowClient = 10 * time.Second
	// readPause is the time between two reads of the log, in which events gather.
	readPause = 20 * time.Millisecond
	// recentBytesMax bounds the events that are kept for all clients.
	recentBytesMax = 8 << 20
	// catchUpEntries is how many entries of the log are read for one client in one go, and
	// catchUpsMax how many clients are read for at once.
	catchUpEntries = 200
	catchUpsMax    = 4
	// countedMax is how many kinds of events, and how many instances, are counted apart.
	countedMax = 64
)

// A told event is one as clients are sent it, and what they may choose it by.
type told struct {
	at                   position // after the event
	event, user, request string
	books                []string
	text                 []byte
	time                 time.Time
	front, shelves       int // how many books it lent from there
}

func tell(entry redis.XMessage) []told {
	happened := events.Parse(entry)
	all := make([]told, len(happened))
	for i, event := range happened {
		at, _ := parsePosition(entry.ID)
		if i < len(happened)-1 {
			at.events = i + 1
		}
		all[i] = told{at: at, event: event.Event, user: event.User, request: event.Request, books: event.Books, time: event.Time}
		if event.Event == "lent" && event.Receipt != nil {
			for _, line := range event.Receipt.Books {
				switch line.From {
				case library.FromFront:
					all[i].front++
				case library.FromShelves:
					all[i].shelves++
				}
			}
		}
		data, err := json.Marshal(event)
		if err != nil {
			continue // not one of its fields can fail
		}
		all[i].text = slices.Concat([]byte("id: "+at.String()+"\ndata: "), data, []byte("\n\n"))
	}
	return all
}

// A cut is a part of the log that is gone before it was read.
type cut struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func (c *cut) text() []byte {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err) // texts always marshal
	}
	return slices.Concat([]byte("event: gap\ndata: "), data, []byte("\n\n"))
}

// A chapter is what one read of the log found.
type chapter struct {
	gap    *cut // before it
	events []told
	end    position
	bytes  int
}

// A feed follows the log once for all clients that are up to date, and keeps the most
// recent events for them. Each client goes through these at its own pace, so a client
// costs a position and not a queue. One whose position is no longer among them is dropped;
// it comes again with its position, and is read for from the log until it is up to date.
type feed struct {
	Library
	log       *log.Logger
	catchUps  chan struct{} // one for each client that is being read for
	patience  time.Duration // with a client, see slowClient
	recentMax int           // see recentBytesMax

	mu       sync.Mutex
	stop     context.CancelFunc // ends the following; nil before it has begun
	ready    bool
	first    position // the chapters have all that is after it
	end      position
	chapters []chapter
	bytes    int
	changed  chan struct{} // closed and made anew with each change

	drops  int64            // clients that were too slow
	totals map[string]int64 // events by what happened, since the gateway began
	byWhom map[string]int64 // and by the instance that did it
	noted  course
}

func newFeed(l Library, log *log.Logger) *feed {
	return &feed{
		Library: l, log: log, patience: slowClient, recentMax: recentBytesMax, catchUps: make(chan struct{}, catchUpsMax), changed: make(chan struct{}),
		totals: map[string]int64{}, byWhom: map[string]int64{},
		noted: course{decided: map[string]time.Time{}},
	}
}

// begin has the log followed until close, if it is not yet.
func (f *feed) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		f.stop = stop
		go f.follow(ctx)
	}
}

// close ends the following.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

// follow reads the log from now on until ctx is done.
func (f *feed) follow(ctx context.Context) {
	outage := redisconn.NewOutage(f.log)
	var last string
	err := outage.Retry(ctx, "feed", func(error) bool { return true }, func() (err error) {
		last, err = events.Newest(ctx, f.Redis, f.Keys)
		return err
	})
	if err != nil {
		return // ctx is done
	}
	at, _ := parsePosition(last)
	f.change(ctx, func() { f.ready, f.first, f.end = true, at, at })
	read := time.Now()
	for ctx.Err() == nil {
		err := events.FollowEntries(ctx, f.Redis, f.Keys, at.entry(), func(entries []redis.XMessage) error {
			// Whoever is behind may have lost something.
			var gap *cut
			if len(entries) == events.EntriesMax || time.Since(read) > 2*time.Second {
				var err error
				if _, gap, err = f.readAfter(ctx, at, 1); err != nil {
					return err
				}
			}
			read = time.Now()
			outage.Over("feed")
			at = f.add(ctx, gap, entries)
			select {
			case <-ctx.Done():
			case <-time.After(readPause):
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			outage.Begin("feed", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// A log is whole if it counts as many entries as were ever added. The embedded server does
// not count them; but no log is cut that has fewer than logKeepMin.
const logKeepMin = 1000

// readAfter reads the log after a position, and what of it is gone; a nil gap is for nothing.
// The entry at the position itself counts as gone, too, where it was the last of these.
func (f *feed) readAfter(ctx context.Context, at position, entriesMax int64) (entries []redis.XMessage, gap *cut, err error) {
	var first, next *redis.XMessageSliceCmd
	var info *redis.XInfoStreamCmd
	err = redisconn.Together(ctx, f.Redis, func(pipe redis.Pipeliner) {
		first = pipe.XRangeN(ctx, f.Keys.Events(), "-", "+", 1)
		next = pipe.XRangeN(ctx, f.Keys.Events(), at.next(), "+", entriesMax)
		info = pipe.XInfoStream(ctx, f.Keys.Events())
	})
	if first.Err() == nil && len(first.Val()) == 0 {
		return nil, nil, nil // there is no log, of which XINFO complains
	}
	if err != nil {
		return nil, nil, err
	}
	begin, _ := parsePosition(first.Val()[0].ID)
	added, length := info.Val().EntriesAdded, info.Val().Length
	if added == length || added == 0 && length < logKeepMin || begin.compare(at) <= 0 || begin.entry() == at.entry() {
		return next.Val(), nil, nil
	}
	return next.Val(), &cut{From: at.String(), To: begin.String()}, nil
}

// add puts what was read before the clients, and returns the position after it.
func (f *feed) add(ctx context.Context, gap *cut, entries []redis.XMessage) position {
	next := chapter{gap: gap}
	for _, entry := range entries {
		next.events = append(next.events, tell(entry)...)
	}
	for _, event := range next.events {
		next.bytes += 2*len(event.text) + 100 // and what it is chosen by
	}
	next.end = next.events[len(next.events)-1].at
	whom := map[string]int64{}
	for _, entry := range entries {
		if by, ok := entry.Values["by"].(string); ok {
			whom[library.Plain(by)]++
		}
	}
	f.change(ctx, func() {
		f.chapters = append(f.chapters, next)
		f.bytes += next.bytes
		for len(f.chapters) > 1 && f.bytes > f.recentMax {
			f.first = f.chapters[0].end
			f.bytes -= f.chapters[0].bytes
			f.chapters = f.chapters[1:]
		}
		f.end = next.end
		for _, event := range next.events {
			count(f.totals, library.Plain(event.event), 1)
			f.noted.note(&event)
		}
		for by, n := range whom {
			count(f.byWhom, by, n)
		}
	})
	return next.end
}

// count counts under a name of its own as long as there are few.
func count(counts map[string]int64, name string, n int64) {
	if _, known := counts[name]; !known && len(counts) >= countedMax {
		name = "other"
	}
	counts[name] += n
}

// change changes what clients look at, unless another follows by now, and wakes them.
func (f *feed) change(ctx context.Context, change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// after is the chapter that goes on after a position; nil if there is none yet, and then
// changed is closed when there may be. behind says that the log itself has to be read.
func (f *feed) after(at position) (next *chapter, behind bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ready {
		return nil, false, f.changed
	}
	if at.compare(f.first) < 0 {
		return nil, true, nil
	}
	i, _ := slices.BinarySearchFunc(f.chapters, at, func(c chapter, at position) int {
		if c.end.compare(at) <= 0 {
			return -1
		}
		return 1
	})
	if i == len(f.chapters) {
		return nil, false, f.changed
	}
	found := f.chapters[i]
	return &found, false, nil
}

// catchUp reads the log after a position for one client, as far as fits one chapter.
func (f *feed) catchUp(ctx context.Context, at position) (*chapter, error) {
	select {
	case f.catchUps <- struct{}{}:
		defer func() { <-f.catchUps }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var entries []redis.XMessage
	var gap *cut
	err := redisconn.Retry(ctx, redisconn.Passes, func() (err error) {
		entries, gap, err = f.readAfter(ctx, at, catchUpEntries)
		return err
	})
	if err != nil {
		return nil, err
	}
	read := &chapter{gap: gap, end: at}
	for _, entry := range entries {
		read.events = append(read.events, tell(entry)...)
	}
	if n := len(read.events); n > 0 {
		read.end = read.events[n-1].at
	} else {
		// The log has nothing although the feed has begun later: it was emptied.
		read.end = f.beginning()
	}
	return read, nil
}

// newest is the position of who wants to be told from now on; ok is false while the log
// was not read yet.
func (f *feed) newest() (at position, ok bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end, f.ready, f.changed
}

// A tally is how much happened in a second.
type tally struct {
	Events map[string]int64 `json:"events"`
	By     map[string]int64 `json:"by"`
}

func (f *feed) tally() (so tally, at position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return tally{maps.Clone(f.totals), maps.Clone(f.byWhom)}, f.end
}

// course is what was noted since it was asked last.
func (f *feed) course() course {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.noted.take(time.Now())
}

// since is what happened since an earlier tally.
func (t tally) since(before tally) tally {
	less := func(now, then map[string]int64) map[string]int64 {
		left := map[string]int64{}
		for name, n := range now {
			if n -= then[name]; n > 0 {
				left[name] = n
			}
		}
		return left
	}
	return tally{less(t.Events, before.Events), less(t.By, before.By)}
}

// A choice is which events a client wants; an empty text is for any.
type choice struct{ user, book, event, order string }

func (c choice) takes(e *told) bool {
	return (c.user == "" || c.user == e.user) && (c.event == "" || c.event == e.event) &&
		(c.order == "" || c.order == e.request) && (c.book == "" || slices.Contains(e.books, c.book))
}

// text is what a client is sent of a chapter: what it wants of all after its position.
func (c *chapter) text(at position, wanted choice) []byte {
	var text bytes.Buffer
	if c.gap != nil {
		text.Write(c.gap.text())
	}
	for i := range c.events {
		if event := &c.events[i]; event.at.compare(at) > 0 && wanted.takes(event) {
			text.Write(event.text)
		}
	}
	return text.Bytes()
}

func (s *Server) feedRoutes(mux *http.ServeMux) {
	events, counts := s.guard(staff, s.showEvents), s.guard(anyone, s.showCounts)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		switch rate := r.URL.Query().Get("rate"); rate {
		case "":
			events.ServeHTTP(w, r)
		case "counts":
			counts.ServeHTTP(w, r)
		default:
			s.refuse(w, r, http.StatusBadRequest, "rate can be counts, or be left out")
		}
	})
}

// A client is a browser that is sent a feed.
type client struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
}

func (f *feed) newClient(w http.ResponseWriter) client {
	c := client{w, http.NewResponseController(w), f.patience}
	_ = c.control.SetReadDeadline(time.Time{}) // there is nothing more to read
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	return c
}

// send gives the client some time to accept a text. Its error says that the client is gone,
// or too slow.
func (c client) send(text []byte) error {
	if err := c.control.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return err
	}
	if _, err := c.w.Write(text); err != nil {
		return err
	}
	return c.control.Flush()
}

// showEvents sends the log's events, as they happen, until the client is gone or too slow.
func (s *Server) showEvents(w http.ResponseWriter, r *http.Request, l *served) {
	wanted, at, now, err := readChoice(r)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, library.Plain(err.Error()))
		return
	}
	l.feed.begin()
	to := l.feed.newClient(w)
	ctx := r.Context()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	text := []byte("retry: 1000\n\n")
	for live := false; ; {
		if len(text) > 0 {
			if err := to.send(text); err != nil {
				l.feed.failed(err)
				return
			}
			text = nil
		}
		var changed <-chan struct{}
		if now {
			var ready bool
			at, ready, changed = l.feed.newest()
			now = !ready
		} else {
			var next *chapter
			var behind bool
			next, behind, changed = l.feed.after(at)
			switch {
			case behind && live:
				l.feed.failed(os.ErrDeadlineExceeded) // the client comes again, and is read for
				return
			case behind:
				if next, err = l.feed.catchUp(ctx, at); err != nil {
					return // the client comes again
				}
			case next != nil:
				live = true
			}
			if next != nil {
				text, at = next.text(at, wanted), next.end
				continue
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-beat.C:
			// It moves the client's position on, even if nothing was for it.
			text = []byte(":\n\n")
			if !now {
				text = []byte("id: " + at.String() + "\n\n")
			}
		}
	}
}

// beginning is the position after which the feed has everything.
func (f *feed) beginning() position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first
}

// failed notes that a client was too slow, if that is why it could not be sent more.
func (f *feed) failed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.drops++
	}
}

// showCounts sends each second how much happened in it, and no names.
func (s *Server) showCounts(w http.ResponseWriter, r *http.Request, l *served) {
	l.feed.begin()
	to := l.feed.newClient(w)
	before, _ := l.feed.tally()
	text := []byte("retry: 1000\n\n")
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		if err := to.send(text); err != nil {
			l.feed.failed(err)
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-second.C:
		}
		so, at := l.feed.tally()
		data, err := json.Marshal(so.since(before))
		if err != nil {
			return // numbers always marshal
		}
		before = so
		text = slices.Concat([]byte("event: counts\nid: "+at.String()+"\ndata: "), data, []byte("\n\n"))
	}
}
