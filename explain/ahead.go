package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/library/events"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

const (
	// inboxPage is how many entries of an inbox are read in one go, and inboxMax how many
	// at most: clients send no more where so many wait (lending.UnreadMax).
	inboxPage = 500
	inboxMax  = lending.UnreadMax
	// setAsideMax is how many entries that were set aside are looked at for a book.
	setAsideMax = 100
)

const rejected = "rejected" // the event, and the end of the name of a stream

// lookAhead tells how far an order has come that was answered, and what is still to come.
// It reports whether all of that was found where it waits: if not, it has moved on meanwhile.
func (r *reader) lookAhead(ctx context.Context) (found bool, err error) {
	receipt := r.life.Receipt
	r.life.Action, r.life.User = receipt.Action, receipt.User
	if r.decision != nil {
		stream := r.decision.Stream
		if stream == "" {
			stream = inboxOf(r.keys, receipt.Action)
		}
		if err := r.addOrigin(ctx, stream, r.decision.Entry); err != nil {
			return false, err
		}
	}
	if receipt.Outcome == library.Rejected {
		r.life.State = Rejected
		return true, r.addSetAside(ctx)
	}
	return r.onTheWay(ctx)
}

func inboxOf(keys library.Keys, action library.Action) string {
	if action == library.Return {
		return keys.Returns()
	}
	return keys.Requests()
}

// waits reports whether the order is undecided, in an inbox.
func (r *reader) waits(ctx context.Context) (bool, error) {
	for _, action := range []library.Action{library.Request, library.Return} {
		var entry redis.XMessage
		next, err := r.search(ctx, inboxOf(r.keys, action), "decided", func(message redis.XMessage) []string {
			if message.Values["id"] != r.id {
				return nil
			}
			entry = message
			books := []string{}
			text, _ := message.Values["books"].(string)
			_ = json.Unmarshal([]byte(text), &books) // the service will tell what is wrong with it
			return books
		}, 1)
		if err != nil {
			return false, err
		}
		if len(next) == 0 {
			continue
		}
		user, _ := entry.Values["user"].(string)
		r.life.State, r.life.Action, r.life.User, r.life.Receipt, r.life.Next = Waiting, action, user, nil, next
		return true, r.addOrigin(ctx, next[0].Stream, entry.ID)
	}
	return false, nil
}

// addSetAside adds where the order itself was set aside, if it is there still.
func (r *reader) addSetAside(ctx context.Context) error {
	if r.decision == nil {
		r.life.Next = append(r.life.Next, Next{Step: "retried", Reason: r.life.Receipt.Reason})
		return nil
	}
	next, err := r.aside(ctx, r.decision, func(fields map[string]any) []string { return []string{} })
	if err == nil && next != nil {
		r.life.Next = append(r.life.Next, *next)
	}
	return err
}

// onTheWay tells of books that have not arrived.
func (r *reader) onTheWay(ctx context.Context) (found bool, err error) {
	// By the step that comes next, the books that wait for it.
	next := map[string][]string{}
	for _, line := range r.life.Receipt.Books {
		if line.From != library.FromShelves {
			continue
		}
		step := "fetched"
		if r.decision == nil && !line.OnItsWay {
			step = ""
		}
		for _, event := range slices.Backward(r.later) {
			if !slices.Contains(event.Books, line.Book) {
				continue
			}
			switch event.Event {
			case "awaited":
				step = "handed_on"
			case "fetched", "handed_on":
				step = "delivered"
			case "delivered":
				step = ""
			}
		}
		if step != "" {
			next[step] = append(next[step], line.Book)
		}
	}
	r.life.State = Done
	found = true
	for _, look := range []struct{ step, stream string }{
		{"fetched", r.keys.Fetches()}, {"handed_on", r.keys.Stores()}, {"delivered", r.keys.Deliveries()},
	} {
		books := next[look.step]
		if len(books) == 0 {
			continue
		}
		r.life.State = OnItsWay
		all, err := r.findBooks(ctx, look.step, look.stream, books)
		if err != nil {
			return false, err
		}
		found = found && all
	}
	return found, nil
}

// findBooks adds where books wait that are on their way. It reports whether all were found.
func (r *reader) findBooks(ctx context.Context, step, stream string, books []string) (bool, error) {
	left := slices.Clone(books)
	// of takes from what is left the books that an entry's list names for this order.
	of := func(fields map[string]any, prefix string) (named []string) {
		text, _ := fields[prefix+"orders"].(string)
		if !strings.Contains(text, `"`+r.id+`"`) && step != "handed_on" {
			return nil
		}
		var orders [][]string
		_ = json.Unmarshal([]byte(text), &orders)
		if step == "handed_on" { // books that come back are not for anybody yet
			var back []string
			text, _ := fields[prefix+"books"].(string)
			_ = json.Unmarshal([]byte(text), &back)
			for _, book := range back {
				orders = append(orders, []string{r.id, book})
			}
		}
		for _, order := range orders {
			if len(order) < 2 || order[0] != r.id {
				continue
			}
			if i := slices.Index(left, order[1]); i >= 0 {
				named, left = append(named, order[1]), slices.Delete(left, i, i+1)
			}
		}
		return named
	}
	next, err := r.search(ctx, stream, step, func(message redis.XMessage) []string { return of(message.Values, "") }, len(books))
	if err != nil {
		return false, err
	}
	looked := 0
	for _, event := range r.setAside {
		if len(left) == 0 || looked == setAsideMax {
			break
		}
		if event.Stream != stream || r.decision != nil && event.Time.Before(r.decision.Time) {
			continue
		}
		looked++
		aside, err := r.aside(ctx, event, func(fields map[string]any) []string { return of(fields, ".") })
		if err != nil {
			return false, err
		}
		if aside != nil {
			next = append(next, *aside)
		}
	}
	if len(left) > 0 {
		next = append(next, Next{Step: step, Books: left})
	}
	r.life.Next = append(r.life.Next, next...)
	return len(left) == 0, nil
}

// search looks through an inbox for the entries that name books which wait there for a
// step, until as many books were named as there are. What stands behind inboxMax entries,
// or may not be looked at, is not found. A nil list of books says that the entry is another.
func (r *reader) search(ctx context.Context, stream, step string, named func(redis.XMessage) []string, many int) (found []Next, err error) {
	ahead := 0
	for start := "-"; many > 0 && ahead < inboxMax; {
		page, err := r.rdb.XRangeN(ctx, stream, start, "+", inboxPage).Result()
		if mayNot(err) || err == nil && len(page) == 0 {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look through %s: %w", stream, err)
		}
		for _, message := range page {
			if books := named(message); books != nil {
				next := Next{Step: step, Books: books, Stream: stream, Entry: message.ID, Ahead: ahead}
				if next.Pending, err = r.pending(ctx, stream, message.ID); err != nil {
					return nil, err
				}
				found = append(found, next)
				if many -= max(1, len(books)); step == "decided" || many <= 0 {
					return found, nil
				}
			}
			ahead++
		}
		start = "(" + page[len(page)-1].ID
	}
	return found, nil
}

// pending tells in whose hands an entry is.
func (r *reader) pending(ctx context.Context, stream, entry string) (*Pending, error) {
	found, err := r.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: stream, Group: r.serviceOf(stream), Start: entry, End: entry, Count: 1,
	}).Result()
	switch {
	case mayNot(err) || redisconn.KindOf(err) == redisconn.NoGroup || err == nil && len(found) == 0:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look who has entry %s of %s: %w", entry, stream, err)
	}
	return &Pending{By: found[0].Consumer, ForMS: found[0].Idle.Milliseconds(), Deliveries: found[0].RetryCount}, nil
}

// aside tells where the entry is kept that an event says was set aside, if it is one that
// names books.
func (r *reader) aside(ctx context.Context, event *events.Event, named func(fields map[string]any) []string) (*Next, error) {
	stream := r.keys.Rejected(r.serviceOf(event.Stream))
	from, to := events.Around(event.Time)
	page, err := r.rdb.XRange(ctx, stream, from, to).Result()
	if mayNot(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look through %s: %w", stream, err)
	}
	for _, message := range page {
		if message.Values["stream"] != event.Stream || message.Values["entry"] != event.Entry {
			continue
		}
		if books := named(message.Values); books != nil {
			return &Next{Step: "retried", Books: books, Stream: stream, Entry: message.ID, Reason: event.Reason}, nil
		}
	}
	return nil, nil
}

func (r *reader) serviceOf(stream string) string {
	for _, service := range library.Services() {
		if slices.Contains(r.keys.Inboxes(service), stream) {
			return service
		}
	}
	return ""
}

// mayNot reports whether this user of Redis may not look there, as one with rules of an
// older version may not.
func mayNot(err error) bool { return err != nil && redisconn.KindOf(err) == redisconn.Refused }
