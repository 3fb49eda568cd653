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

	"github.com/redis/go-redis/v9"
)

var (
	// ErrNotWhole is returned when a state cannot be made from the log, as the log's
	// beginning is gone.
	ErrNotWhole = errors.New("the log's beginning was trimmed away, so it does not tell all")

	// ErrNotEmpty is returned when a library to be rebuilt has keys already.
	ErrNotEmpty = errors.New("the library has keys already")
)

// Verify makes the state anew from the log, and reports where the library's keys
// differ from it. It writes nothing. Its error may wrap ErrNotWhole.
func Verify(ctx context.Context, config Config) (*Report, error) {
	a, err := begin(ctx, config)
	if err != nil {
		return nil, err
	}
	if !a.log.whole {
		return nil, ErrNotWhole
	}
	for _, step := range []func(context.Context) error{a.books, a.receipts, a.away} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a.finish(), nil
}

// Rebuild makes another library out of the log of this one, on the same server:
// a copy of the log, and the state to which it leads, orders under way included.
// What is not in the log is not in the copy: orders that are not decided yet, how
// much books are in demand, and whom to ring. Its error may wrap ErrNotWhole or
// ErrNotEmpty. A copy that was interrupted is not empty, and not whole.
func Rebuild(ctx context.Context, config Config, to library.Keys) (*Report, error) {
	master, err := library.Master(ctx, config.Redis, to)
	if err != nil {
		return nil, err
	}
	for cursor := uint64(0); ; {
		names, next, err := master.Scan(ctx, cursor, to.Key("*"), scanCount).Result()
		if err != nil {
			return nil, fmt.Errorf("look for keys of library %q: %w", to.Library, err)
		}
		if len(names) > 0 {
			return nil, fmt.Errorf("%w: %s", ErrNotEmpty, library.Printable(names[0]))
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	a, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	if !a.log.whole {
		return nil, ErrNotWhole
	}
	w := &writer{ctx: ctx, pipe: config.Redis.Pipeline(), keys: keys{to}, texts: map[string]string{}}
	a.log.keep = w.log
	if err := a.follow(ctx); err != nil {
		return nil, err
	}
	fields, err := config.Redis.HGetAll(ctx, a.keys.terms()).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", a.keys.terms(), err)
	}
	if err := w.state(a.log, fields); err != nil {
		return nil, fmt.Errorf("write library %q: %w", to.Library, err)
	}
	return a.finish(), nil
}

// A writer writes a library, some commands at a time.
type writer struct {
	ctx   context.Context
	pipe  redis.Pipeliner
	keys  keys
	texts map[string]string // request → receipt
}

// flush sends the commands that have gathered, if they are many or must be sent.
func (w *writer) flush(must bool) error {
	if w.pipe.Len() == 0 || w.pipe.Len() < pipelined && !must {
		return nil
	}
	_, err := w.pipe.Exec(w.ctx)
	return err
}

// log copies a page of the log, and notes its receipts.
func (w *writer) log(page []redis.XMessage) error {
	for _, message := range page {
		w.pipe.XAdd(w.ctx, &redis.XAddArgs{Stream: w.keys.Events(), ID: message.ID, Values: inOrder(message.Values)})
		if err := w.flush(false); err != nil {
			return fmt.Errorf("copy the log: %w", err)
		}
		e, err := newEvent(message)
		if err != nil {
			continue // it was reported
		}
		for _, r := range e.receipts {
			if w.texts[r.ID] == "" || e.name == "decided" {
				w.texts[r.ID] = r.text
			}
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
func (w *writer) state(log *replay, terms map[string]string) error {
	k, ctx, out := w.keys, w.ctx, 0
	orders := func(inbox string, pair ...string) {
		text, _ := json.Marshal([][]string{pair})
		w.pipe.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: []any{"orders", string(text)}})
	}
	for _, name := range slices.Sorted(maps.Keys(log.books)) {
		b := log.books[name]
		if b.holder != "" {
			w.pipe.HSet(ctx, k.loans(), name, b.holder)
			w.pipe.HSet(ctx, k.card(b.holder), name, fmt.Sprintf("%d%04d", b.dueMS, b.days))
		}
		if b.fetching != "" {
			w.pipe.HSet(ctx, k.fetching(), name, b.fetching+" ")
		}
		if b.at != onShelves {
			out++
			w.pipe.HSet(ctx, k.bay(name), name, "")
		}
		switch b.at {
		case inFront:
			w.pipe.SAdd(ctx, k.front(), name)
		case toShelves:
			text, _ := json.Marshal([]string{name})
			w.pipe.XAdd(ctx, &redis.XAddArgs{Stream: k.Stores(), Values: []any{"books", string(text)}})
		case toUser:
			orders(k.Deliveries(), b.order, name)
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
	if out > 0 {
		w.pipe.Set(ctx, k.away(), out, 0)
	}
	for field, value := range terms {
		w.pipe.HSet(ctx, k.terms(), field, value)
	}
	for id, text := range w.texts {
		w.pipe.HSet(ctx, k.receipts(), id, text)
		if err := w.flush(false); err != nil {
			return err
		}
	}
	if len(w.texts) > 0 && log.terms.receiptMS > 0 {
		keep := time.Duration(log.terms.receiptMS) * time.Millisecond
		w.pipe.Set(ctx, k.page(), "rebuilt", keep)
		w.pipe.PExpire(ctx, k.receipts(), 3*keep)
	}
	return w.flush(true)
}
