package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/library/events"
	"example.com/library/lending"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// logMax is how many of the log's entries are read at most: all of a log of the default
// length.
const logMax = 250_000

// tries is how often a life is read because something happened to the order between the
// look at the log and the look at the inboxes.
const tries = 3

// Order tells an order's life. Its error wraps ErrNoTrace or library.ErrName, or is Redis's.
func Order(ctx context.Context, client *lending.Client, rdb redis.UniversalClient, keys library.Keys, id string) (*Life, error) {
	if err := library.CheckID("id", id); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		r := &reader{rdb: rdb, keys: keys, id: id}
		found, err := r.read(ctx, client)
		switch {
		case err != nil:
			return nil, err
		case !found && try < tries:
		case r.life.State == "":
			return nil, fmt.Errorf("%w: %s: it was never sent, or so long ago that its receipt and its events are gone", ErrNoTrace, id)
		default:
			return &r.life, nil
		}
	}
}

// A reader puts one life together.
type reader struct {
	rdb      redis.UniversalClient
	keys     library.Keys
	id       string
	life     Life
	decision *events.Event   // which gave the order the answer that stands; nil if the log has none
	later    []*events.Event // what the log tells of the order, the newest first
	setAside []*events.Event // what it tells of entries that were set aside without a receipt
}

// read reports whether all that is still to come was found where it waits.
func (r *reader) read(ctx context.Context, client *lending.Client) (found bool, err error) {
	r.life = Life{ID: r.id, Steps: []Step{}, Next: []Next{}}
	r.life.Receipt, err = client.Receipt(ctx, r.id)
	if err != nil && !errors.Is(err, lending.ErrNoReceipt) && !errors.Is(err, lending.ErrUnknown) {
		return false, err
	}
	// The inbox is looked at before the log: an order that does not wait there by then was
	// decided before, and the log tells of it.
	if receipt := r.life.Receipt; receipt == nil || receipt.Outcome == library.Rejected {
		if waits, err := r.waits(ctx); err != nil || waits {
			r.times()
			return true, err
		}
	}
	if err := r.readLog(ctx); err != nil || r.life.Receipt == nil {
		return true, err
	}
	if found, err = r.lookAhead(ctx); err != nil {
		return false, err
	}
	r.addLater()
	if err := r.addBroughtBack(ctx); err != nil {
		return false, err
	}
	r.times()
	return found, nil
}

// readLog reads what the log tells of the order, back to its decision.
func (r *reader) readLog(ctx context.Context) (err error) {
	standing := r.life.Receipt
	r.life.Log, err = events.Backward(ctx, r.rdb, r.keys, logMax, []string{`"` + r.id + `"`, rejected}, func(event *events.Event) bool {
		if event.Event == rejected && event.Receipt == nil {
			r.setAside = append(r.setAside, event)
		}
		if event.Request != r.id {
			return true
		}
		r.later = append(r.later, event)
		if event.Receipt == nil || standing != nil && (event.Event == rejected) != (standing.Outcome == library.Rejected) {
			return true // somebody sent rubbish with this id
		}
		if r.decision == nil || event.Event != rejected {
			r.decision = event
		}
		return standing == nil && event.Event == rejected // it may have been decided before
	})
	r.life.Cut = standing != nil && r.decision == nil
	if r.decision != nil && standing == nil {
		r.life.Receipt = r.decision.Receipt
	}
	return err
}

// addOrigin adds how an entry came into its inbox, by the times in its id and in those
// before it: it was accepted, or put back after it was set aside, which once was accepted.
func (r *reader) addOrigin(ctx context.Context, stream, entry string) error {
	at := library.EntryTime(entry)
	if at.IsZero() {
		return nil // an older version's log does not tell the entry
	}
	retried, err := r.about(ctx, at, func(event *events.Event) bool {
		return event.Event == "retried" && event.Stream == stream && event.Entry == entry
	})
	if err != nil {
		return err
	}
	if retried == nil {
		r.life.Steps = append(r.life.Steps, Step{Time: at, Step: Accepted, Stream: stream, Entry: entry})
		return nil
	}
	before, err := r.about(ctx, library.EntryTime(retried.Rejected), func(event *events.Event) bool {
		return event.Event == rejected && event.Stream == stream && (event.Request == r.id || event.Request == "")
	})
	if err != nil {
		return err
	}
	if before != nil {
		if err := r.addOrigin(ctx, stream, before.Entry); err != nil {
			return err
		}
		r.add(before)
	}
	r.add(retried)
	return nil
}

// about finds an event of a moment; nil if there is none.
func (r *reader) about(ctx context.Context, at time.Time, is func(*events.Event) bool) (found *events.Event, err error) {
	err = events.About(ctx, r.rdb, r.keys, at, func(event *events.Event) {
		if is(event) {
			found = event
		}
	})
	return found, err
}

// add adds a step that an event tells of.
func (r *reader) add(event *events.Event) {
	step := Step{
		Time: event.Time, Step: event.Event, By: event.By, Books: event.Books,
		Stream: event.Stream, Reason: event.Reason, Event: event.ID,
	}
	if event.Stream != "" {
		step.Entry = event.Entry
	}
	if event.Receipt != nil && event.Event != rejected {
		step.Results = event.Receipt.Books
	}
	if last := len(r.life.Steps) - 1; last >= 0 && r.life.Steps[last].Event == event.ID && r.life.Steps[last].Step == event.Event {
		// Books that share an entry of the log went the same way in one step.
		r.life.Steps[last].Books = append(slices.Clip(r.life.Steps[last].Books), event.Books...)
		return
	}
	r.life.Steps = append(r.life.Steps, step)
	if ordered := fromShelves(step.Results); len(ordered) > 0 {
		r.life.Steps = append(r.life.Steps, Step{Time: event.Time, Step: Ordered, By: event.By, Books: ordered, Event: event.ID})
	}
}

// addLater adds what the log tells of the order, but for what addOrigin has added.
func (r *reader) addLater() {
	known := map[string]bool{}
	for _, step := range r.life.Steps {
		known[step.Event] = true
	}
	for _, event := range slices.Backward(r.later) {
		if !known[event.ID] {
			r.add(event)
		}
	}
}

// addBroughtBack adds the returns by which loans of this request ended.
func (r *reader) addBroughtBack(ctx context.Context) error {
	if r.decision == nil || r.decision.Event != "lent" {
		return nil
	}
	lent := map[string]bool{} // and not known to be back
	var named []string
	for _, line := range r.decision.Receipt.Books {
		if line.Result == library.Lent {
			lent[line.Book], named = true, append(named, inJSON(line.Book))
		}
	}
	var ends []*events.Event
	if _, err := events.Backward(ctx, r.rdb, r.keys, logMax, named, func(event *events.Event) bool {
		if event.Event == "returned" && event.User == r.decision.User {
			ends = append(ends, event)
		}
		return event.ID != r.decision.ID
	}); err != nil {
		return err
	}
	for _, event := range slices.Backward(ends) {
		step := Step{Time: event.Time, Step: BroughtBack, By: event.By, Order: event.Request, Event: event.ID}
		for _, line := range event.Receipt.Books {
			if line.Result == library.TakenBack && lent[line.Book] {
				delete(lent, line.Book)
				step.Books = append(step.Books, line.Book)
			}
		}
		if len(step.Books) > 0 {
			r.life.Steps = append(r.life.Steps, step)
		}
	}
	return nil
}

// times sorts the steps, and tells how long each took since the one that it follows: the
// last before it that concerns one of its books, or the whole order.
func (r *reader) times() {
	slices.SortStableFunc(r.life.Steps, func(a, b Step) int { return a.Time.Compare(b.Time) })
	follows := func(step, before Step) bool {
		return len(step.Books) == 0 || len(before.Books) == 0 ||
			slices.ContainsFunc(step.Books, func(book string) bool { return slices.Contains(before.Books, book) })
	}
	for i := range r.life.Steps {
		for _, before := range slices.Backward(r.life.Steps[:i]) {
			if follows(r.life.Steps[i], before) {
				r.life.Steps[i].TookMS = r.life.Steps[i].Time.Sub(before.Time).Milliseconds()
				break
			}
		}
	}
}

func fromShelves(lines []library.Line) (books []string) {
	for _, line := range lines {
		if line.From == library.FromShelves {
			books = append(books, line.Book)
		}
	}
	return books
}

// inJSON is a name as it stands in what the scripts write.
func inJSON(name string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(name) + `"`
}
