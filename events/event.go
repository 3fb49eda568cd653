// Package events reads the log: what happened in a library, in its order. Every
// script that changes something appends to it, and whoever follows the library reads
// it here.
package events

import (
	"encoding/json"
	"slices"
	"time"

	"example.com/library/library"
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
	// delivered, sent_back (by the lending service again), rejected, retried, dropped, shed,
	// or terms: the library's terms were set.
	Event string `json:"event"`
	// By is the instance that did it, or the person.
	By string `json:"by,omitempty"`
	// Receipt is the answer, for lent, denied, returned, refused, and a rejected
	// request or return; else nil.
	Receipt *library.Receipt `json:"receipt,omitempty"`
	// Request, User and Books tell whom and what it is about, as far as it has a word on that.
	Request string   `json:"request,omitempty"`
	User    string   `json:"user,omitempty"`
	Books   []string `json:"books,omitempty"`
	// Stream, Entry and Reason tell what was rejected, retried or dropped. Entry is also the one that
	// a decided order came in; its id tells when that was. Logs of older versions do not.
	Stream string `json:"stream,omitempty"`
	Entry  string `json:"entry,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Rejected is the id among the rejected of what was retried.
	Rejected string `json:"rejected,omitempty"`
	// From and To are the terms before and after they were set; From is nil where the
	// library had none.
	From *library.Terms `json:"from,omitempty"`
	To   *library.Terms `json:"to,omitempty"`
}

// Concerns reports whether an event is about a user and a book; an empty name
// stands for any.
func (e *Event) Concerns(user, book string) bool {
	return (user == "" || e.User == user) && (book == "" || slices.Contains(e.Books, book))
}

// Parse understands an entry of the log, which may tell of several events. What
// it does not know stays empty.
func Parse(message redis.XMessage) []*Event {
	field := func(name string) string {
		text, _ := message.Values[name].(string)
		return text
	}
	event := Event{
		ID: message.ID, Time: library.EntryTime(message.ID), Event: field("event"), By: field("by"),
		Stream: field("stream"), Entry: field("entry"), Reason: field("reason"), Rejected: field("rejected"),
	}
	if event.Event == "terms" {
		event.From, event.To = parseTerms(field("from")), parseTerms(field("to"))
	}
	var events []*Event
	var receipts []library.StoredReceipt
	var entries []string
	_ = json.Unmarshal([]byte(field("receipts")), &receipts)
	_ = json.Unmarshal([]byte(field("entries")), &entries)
	for i, receipt := range receipts {
		one := event.with(receipt.Receipt())
		if len(entries) == len(receipts) {
			one.Entry = entries[i]
		}
		events = append(events, one)
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
	if receipt, err := library.ParseReceipt(field("receipt")); err == nil {
		return []*Event{event.with(receipt)}
	}
	return []*Event{&event}
}

// parseTerms reads terms; those of which nothing is told are nil.
func parseTerms(text string) *library.Terms {
	var terms library.Terms
	if json.Unmarshal([]byte(text), &terms) != nil || terms == (library.Terms{}) {
		return nil
	}
	return &terms
}

// with is the event of a receipt.
func (e Event) with(receipt *library.Receipt) *Event {
	e.Receipt, e.Request, e.User = receipt, receipt.ID, receipt.User
	for _, line := range receipt.Books {
		e.Books = append(e.Books, line.Book)
	}
	if e.Event == "decided" {
		switch {
		case receipt.Outcome == library.Denied || receipt.Outcome == library.Refused:
			e.Event = string(receipt.Outcome)
		case receipt.Action == library.Return:
			e.Event = "returned"
		default:
			e.Event = "lent"
		}
	}
	return &e
}
