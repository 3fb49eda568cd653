package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrNotWhole is returned when a state cannot be made from the log, as a part of the
	// log is gone.
	ErrNotWhole = errors.New("the log is not whole any more: entries were trimmed away or deleted, so it does not tell all")

	// ErrNotEmpty is returned when a library to be rebuilt has keys already.
	ErrNotEmpty = errors.New("the library has keys already")
)

// Verify makes the state anew from the log, and reports where the library's keys
// differ from it. It writes nothing. Its error may wrap ErrNotWhole.
func Verify(ctx context.Context, config Config) (*Report, error) {
	a, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	return a.run(ctx, a.wholly, a.agreement, a.books, a.receipts, a.limit, a.away)
}

// wholly gives up where the log is not whole.
func (a *audit) wholly(context.Context) error {
	if !a.log.whole || a.eyes.broken[a.keys.Events()] {
		return ErrNotWhole
	}
	return nil
}

// Rebuild makes another library out of the log of this one, on the same server:
// a copy of the log, and the state to which it leads, orders under way included.
// What is not in the log is not in the copy: orders that are not decided yet, how
// much books are in demand, entries that were set aside, and whom to ring. Receipts
// that had ended stand again. Its error may wrap ErrNotWhole or ErrNotEmpty. A copy
// that was interrupted is not empty, and an audit of it finds so.
func Rebuild(ctx context.Context, config Config, to library.Keys) (*Report, error) {
	a, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := a.wholly(ctx); err != nil {
		return nil, err
	}
	if err := vacant(ctx, config.Redis, to); err != nil {
		return nil, err
	}
	a.report.To = to.Library
	w := &writer{ctx: ctx, pipe: config.Redis.Pipeline(), keys: keys{to}, report: a.report}
	a.log.keep = w.log
	return a.run(ctx, a.wholly, func(ctx context.Context) error {
		noted, err := config.Redis.HGetAll(ctx, a.keys.NotedTerms()).Result()
		if err := a.eyes.missing(a.keys.NotedTerms(), err); err != nil {
			return err
		}
		if err := w.state(a.log, noted); err != nil {
			return fmt.Errorf("write library %q: %w", to.Library, err)
		}
		return nil
	})
}

// vacant reports whether a library has no key yet.
func vacant(ctx context.Context, rdb redis.UniversalClient, to library.Keys) error {
	master, err := redisconn.Master(ctx, rdb, to)
	if err != nil {
		return err
	}
	eyes := &observer{rdb: rdb, master: master, keys: keys{to}}
	return eyes.scan(ctx, func(names []string) error {
		if len(names) > 0 {
			return fmt.Errorf("%w: %s, among others", ErrNotEmpty, quoted(names[0]))
		}
		return nil
	})
}

// A writer writes a library, some commands at a time.
type writer struct {
	ctx    context.Context
	pipe   redis.Pipeliner
	keys   keys
	report *Report
}

// flush sends the commands that have gathered, if they are many or must be sent.
func (w *writer) flush(must bool) error {
	if w.pipe.Len() == 0 || w.pipe.Len() < pipelined && !must {
		return nil
	}
	_, err := w.pipe.Exec(w.ctx)
	return err
}

// log copies a page of the log, and its receipts.
func (w *writer) log(page []redis.XMessage) error {
	for _, message := range page {
		w.pipe.XAdd(w.ctx, &redis.XAddArgs{Stream: w.keys.Events(), ID: message.ID, Values: inOrder(message.Values)})
		if e, err := newEvent(message); err == nil { // else it was reported
			for _, r := range e.receipts {
				if e.name == "decided" {
					w.pipe.HSet(w.ctx, w.keys.receipts(), r.ID, r.text)
				} else {
					w.pipe.HSetNX(w.ctx, w.keys.receipts(), r.ID, r.text)
				}
			}
		}
		if err := w.flush(false); err != nil {
			return fmt.Errorf("copy the log: %w", err)
		}
	}
	return nil
}

// inOrder are an event's fields, as the scripts write them: first event, then by.
func inOrder(values map[string]any) []any {
	var list []any
	for _, name := range []string{"event", "by"} {
		if value, has := values[name]; has {
			list = append(list, name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if name != "event" && name != "by" {
			list = append(list, name, values[name])
		}
	}
	return list
}

// state writes what the log leads to.
func (w *writer) state(log *replay, noted map[string]string) error {
	k, ctx, report := w.keys, w.ctx, w.report
	cards := map[string]bool{}
	orders := func(inbox string, pair ...string) {
		text, _ := json.Marshal([][]string{pair}) // texts always marshal
		w.pipe.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: []any{"orders", string(text)}})
	}
	for _, name := range slices.Sorted(maps.Keys(log.books)) {
		b := log.books[name]
		if b.holder != "" {
			report.Loans++
			cards[b.holder] = true
			w.pipe.HSet(ctx, k.loans(), name, b.holder)
			w.pipe.HSet(ctx, k.card(b.holder), name, fmt.Sprintf("%d%04d", b.dueMS, b.days))
		}
		if b.fetching != "" {
			w.pipe.HSet(ctx, k.fetching(), name, b.fetching+" ")
		}
		if b.at != onShelves {
			report.Out++
			w.pipe.HSet(ctx, k.bay(name), name, "")
		}
		switch b.at {
		case inFront:
			report.Front++
			w.pipe.SAdd(ctx, k.front(), name)
		case toShelves:
			text, _ := json.Marshal([]string{name})
			w.pipe.XAdd(ctx, &redis.XAddArgs{Stream: k.Stores(), Values: []any{"books", string(text)}})
		case toUser:
			orders(k.Deliveries(), b.delivery, name)
		}
		switch b.stage {
		case ordered:
			orders(k.Fetches(), b.order, name)
		case expected:
			w.pipe.HSet(ctx, k.awaited(), name, b.order)
		}
		if err := w.flush(false); err != nil {
			return err
		}
	}
	report.Cards, report.Receipts = len(cards), len(log.answers)
	if report.Out > 0 {
		w.pipe.Set(ctx, k.away(), report.Out, 0)
	}
	for field, value := range noted {
		w.pipe.HSet(ctx, k.NotedTerms(), field, value)
	}
	if terms := log.terms; terms.version != "" {
		w.pipe.HSet(ctx, k.Terms(), "version", terms.version, "by", terms.by)
		for _, term := range library.EachTerm {
			w.pipe.HSet(ctx, k.Terms(), term.Field, term.Text(terms.Terms))
		}
	}
	keep := log.terms.ReceiptKeep()
	for _, answer := range log.answers {
		keep = max(keep, time.Duration(answer.keepMS)*time.Millisecond)
	}
	if report.Receipts > 0 && keep > 0 {
		w.pipe.Set(ctx, k.page(), "rebuilt", keep)
		w.pipe.PExpire(ctx, k.receipts(), 3*keep)
	}
	return w.flush(true)
}
