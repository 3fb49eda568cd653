package hostile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/library/internal/hostile"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

var names = library.Keys{Library: "main"}

// A desk is a server with three instances of both services, each with a log of another
// format.
type desk struct {
	rdb   *redis.Client
	logs  []*lines
	ended chan error // has the first error of an instance
	sent  int
}

// Lines keep what a log writes, which many may write to.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

// taken returns what was written, and forgets it.
func (l *lines) taken() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func open(f *testing.F, rdb *redis.Client) *desk {
	f.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	d := &desk{rdb: rdb, ended: make(chan error, 1)}
	for i, format := range []log.Formatter{log.TextFormatter, log.JSONFormatter, log.LogfmtFormatter} {
		kept := &lines{}
		d.logs = append(d.logs, kept)
		logger := log.NewWithOptions(kept, log.Options{Level: log.DebugLevel, Formatter: format})
		held, err := worker.Take(ctx, rdb, worker.LockConfig{Keys: names, Name: fmt.Sprint("worker", i+1), TTL: 5 * time.Minute, Log: logger})
		if err != nil {
			f.Fatal(err)
		}
		config := worker.Config{Redis: rdb, Keys: names, Instance: held, Outage: redisconn.NewOutage(logger), Log: logger}
		lends := lending.NewService(lending.Config{Config: config})
		shelves := shelving.NewService(shelving.Config{Config: config})
		if err := lends.Prepare(ctx); err != nil {
			f.Fatal(err)
		}
		for _, inbox := range append(lends.Inboxes(), shelves.Inboxes()...) {
			group.Go(func() error { return worker.Run(ctx, config, inbox) })
		}
	}
	go func() { d.ended <- group.Wait() }()
	f.Cleanup(func() {
		cancel()
		<-d.ended
	})
	return d
}

// FuzzEntries appends to each of the five inboxes what nobody should append, and behind
// it an entry as it should be. The instances live on, that entry is handled, nothing is
// left, no key lies outside of the library, and the logs hold nothing that does not print.
func FuzzEntries(f *testing.F) {
	for i, text := range hostile.Texts {
		f.Add(uint8(i), text, hostile.Texts[(i+1)%len(hostile.Texts)], "B1", text)
		f.Add(uint8(i+2), "r1", "ann", text, text)
		f.Add(uint8(3), "r1", text, "B1", `[["r1","geb"]]`)
		f.Add(uint8(i%2), fmt.Sprint("id-", i), text, "B1", `["geb"]`)
		quoted, err := json.Marshal(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i%2), fmt.Sprint("id--", i), "ann", "B1", "["+string(quoted)+"]")
		f.Add(uint8(2), "", "", "", `[["r1",`+string(quoted)+`]]`)
	}
	f.Add(uint8(0), "r1", "ann", "B1", `["geb","a\u0308"]`)
	f.Add(uint8(2), "", "", "", `[["r1","geb"],["r1","geb"]]`)
	desks := []*desk{open(f, redistest.Start(f).Client(f)), open(f, redistest.Embedded(f))}
	f.Fuzz(func(t *testing.T, which uint8, id, user, bell, books string) {
		for _, d := range desks {
			d.send(t, which, id, user, bell, books)
		}
	})
}

func (d *desk) send(t *testing.T, which uint8, id, user, bell, books string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d.sent++
	inbox := []string{names.Requests(), names.Returns(), names.Fetches(), names.Deliveries(), names.Stores()}[which%5]
	field, good := "books", fmt.Sprintf(`["good-%d"]`, d.sent)
	if which%5 == 2 || which%5 == 3 {
		field, good = "orders", fmt.Sprintf(`[["order-%d","good-%d"]]`, d.sent, d.sent)
	}
	seen := "0-0"
	for _, message := range d.rdb.XRevRangeN(ctx, names.Events(), "+", "-", 1).Val() {
		seen = message.ID
	}
	var entry *redis.StringCmd
	if _, err := d.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		// Somebody wrote a loan by hand, and the book is on its way.
		pipe.HSet(ctx, names.Key("lending:loans"), "geb", user)
		pipe.HSet(ctx, names.Key("lending:fetching"), "geb", "r1 "+bell)
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: []string{"id", id, "user", user, "bell", bell, field, books, bell, user}})
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: []string{books, id}})
		entry = pipe.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: []string{
			"id", fmt.Sprint("order-", d.sent), "user", fmt.Sprint("good-", d.sent), field, good,
		}})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// What is done with the good entry is in the log, under its book's name or its own id.
	for done := false; !done; {
		read, err := d.rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{names.Events(), seen}, Block: time.Second}).Result()
		if err != nil && err != redis.Nil {
			t.Fatalf("the good entry behind it was not handled: %v", err)
		}
		for _, stream := range read {
			for _, message := range stream.Messages {
				seen = message.ID
				told := fmt.Sprint(message.Values)
				done = done || strings.Contains(told, fmt.Sprintf(`"good-%d"`, d.sent)) || strings.Contains(told, entry.Val())
			}
		}
		select {
		case err := <-d.ended:
			t.Fatalf("an instance ended: %v", err)
		default:
		}
	}
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range names.Inboxes(service) {
			for {
				state, err := worker.Look(ctx, d.rdb, inbox, service)
				if err != nil {
					t.Fatalf("%s is not empty: %+v, %v", inbox, state, err)
				}
				if state.Unread == 0 && state.Pending == 0 {
					break
				}
			}
		}
	}
	for _, key := range d.rdb.Keys(ctx, "*").Val() {
		if !strings.HasPrefix(key, "{main}:") {
			t.Errorf("there is a key %q", key)
		}
	}
	for i, kept := range d.logs {
		text := kept.taken()
		if r := hostile.Unprintable(text); r >= 0 {
			t.Errorf("a log holds %U: %q", r, text)
		}
		for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			if i == 1 && line != "" && !json.Valid([]byte(line)) {
				t.Errorf("the log in JSON holds %q", line)
			}
		}
	}
}
