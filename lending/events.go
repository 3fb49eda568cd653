package lending

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/library/redisconn"
	"github.com/redis/go-redis/v9"
)

// An Event is something that happened, as the log tells it.
type Event struct {
	// ID is the id of the log's entry. Events that one step made may share an entry;
	// they are told in their order.
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	// Event is what happened: lent, denied, returned, refused, shelved (by the
	// lending service), fetched, awaited, stored, handed_on (by the shelving service),
	// delivered, sent_back (by the lending service again), rejected or retried.
	Event string `json:"event"`
	// By is the instance that did it.
	By string `json:"by,omitempty"`
	// Receipt is the answer, for lent, denied, returned, refused, and a rejected
	// request or return; else nil.
	Receipt *Receipt `json:"receipt,omitempty"`
	// Request, User and Books tell whom and what it is about, as far as it has a word on that.
	Request string   `json:"request,omitempty"`
	User    string   `json:"user,omitempty"`
	Books   []string `json:"books,omitempty"`
	// Stream, Entry and Reason tell what was rejected or retried.
	Stream string `json:"stream,omitempty"`
	Entry  string `json:"entry,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Concerns reports whether an event is about a user and a book; an empty name
// stands for any.
func (e *Event) Concerns(user, book string) bool {
	return (user == "" || e.User == user) && (book == "" || slices.Contains(e.Books, book))
}

// newEvents understands an entry of the log, which may tell of several events. What
// it does not know stays empty.
func newEvents(message redis.XMessage) []*Event {
	field := func(name string) string {
		text, _ := message.Values[name].(string)
		return text
	}
	event := Event{
		ID: message.ID, Event: field("event"), By: field("by"),
		Stream: field("stream"), Entry: field("entry"), Reason: field("reason"),
	}
	milliseconds, _, _ := strings.Cut(message.ID, "-")
	if ms, err := strconv.ParseInt(milliseconds, 10, 64); err == nil {
		event.Time = moment(ms)
	}
	var events []*Event
	var receipts []storedReceipt
	_ = json.Unmarshal([]byte(field("receipts")), &receipts)
	for _, receipt := range receipts {
		events = append(events, event.with(receipt.receipt()))
	}
	var orders [][]string // request, book, and user where known
	_ = json.Unmarshal([]byte(field("orders")), &orders)
	for _, order := range orders {
		one := event
		for i, part := range order[:min(len(order), 3)] {
			switch i {
			case 0:
				one.Request = part
			case 1:
				one.Books = []string{part}
			case 2:
				one.User = part
			}
		}
		events = append(events, &one)
	}
	if len(events) > 0 {
		return events
	}
	_ = json.Unmarshal([]byte(field("books")), &event.Books)
	if receipt, err := parseReceipt(field("receipt")); err == nil {
		return []*Event{event.with(receipt)}
	}
	return []*Event{&event}
}

// with is the event of a receipt.
func (e Event) with(receipt *Receipt) *Event {
	e.Receipt, e.Request, e.User = receipt, receipt.ID, receipt.User
	for _, line := range receipt.Books {
		e.Books = append(e.Books, line.Book)
	}
	if e.Event == "decided" {
		switch {
		case receipt.Outcome == Denied || receipt.Outcome == Refused:
			e.Event = string(receipt.Outcome)
		case receipt.Action == Return:
			e.Event = "returned"
		default:
			e.Event = "lent"
		}
	}
	return &e
}

// Watch calls seen with every event of the log from a moment on, as it happens,
// until ctx is done or seen returns an error, which it returns. A zero since means
// from now on. It carries on by itself after Redis was away.
func (c *Client) Watch(ctx context.Context, since time.Time, seen func(*Event) error) error {
	last := "$"
	if !since.IsZero() {
		// The last id there can be in the millisecond before.
		last = fmt.Sprintf("%d-%d", max(0, since.UnixMilli()-1), uint64(math.MaxUint64))
	}
	waits := redisconn.NewBackoff()
	for {
		if last == "$" {
			// Between two reads of "$" events would be missed, so it is read once.
			newest, err := c.rdb.XRevRangeN(ctx, c.keys.Events(), "+", "-", 1).Result()
			if err == nil {
				last = "0-0"
				for _, message := range newest {
					last = message.ID
				}
			}
		}
		streams, err := c.rdb.XRead(ctx, &redis.XReadArgs{
			Streams: []string{c.keys.Events(), last}, Count: 1000, Block: 500 * time.Millisecond,
		}).Result()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, redis.Nil):
			continue
		case err != nil && redisconn.KindOf(err) != redisconn.Passing:
			return fmt.Errorf("read the log: %w", err)
		case err != nil:
			pause(ctx, waits.NextBackOff())
			continue
		}
		waits.Reset()
		for _, message := range streams[0].Messages {
			last = message.ID
			for _, event := range newEvents(message) {
				if err := seen(event); err != nil {
					return err
				}
			}
		}
	}
}
