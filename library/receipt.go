package library

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Action is what a user wants with books.
type Action string

// The actions.
const (
	Request Action = "request" // borrow books
	Return  Action = "return"  // bring books back
)

// An Outcome is the whole of an answer.
type Outcome string

// The outcomes.
const (
	Granted  Outcome = "granted"  // a request: every book was lent
	Partial  Outcome = "partial"  // some of the books were lent, or taken back
	Denied   Outcome = "denied"   // a request: no book was lent
	Returned Outcome = "returned" // a return: every book was taken back
	Refused  Outcome = "refused"  // a return: no book was taken back
	Rejected Outcome = "rejected" // it could not be understood or applied
)

// A Result is what became of one book of an order.
type Result string

// The results.
const (
	Lent         Result = "lent"
	AlreadyYours Result = "already_yours" // the user holds it; no new loan
	Unavailable  Result = "unavailable"   // another user holds it
	OverLimit    Result = "over_limit"    // it is free, but the user's card has no room for all that are
	TakenBack    Result = "returned"
	NotYours     Result = "not_yours"  // the user does not hold it
	OnItsWay     Result = "on_its_way" // it is still being fetched, so it cannot come back yet
)

// The places a book is lent from.
const (
	FromFront   = "front"   // front storage: it is in the user's hands at once
	FromShelves = "shelves" // the shelving service: it must be fetched first
)

// A Receipt is the answer to one order.
type Receipt struct {
	ID      string  `json:"id"`
	Action  Action  `json:"action"`
	User    string  `json:"user"`
	Outcome Outcome `json:"outcome"`
	// Reason says why an order was rejected; else it is empty.
	Reason string `json:"reason,omitempty"`
	Books  []Line `json:"books"`
}

// A Line is a receipt's word on one book.
type Line struct {
	Book   string `json:"book"`
	Result Result `json:"result"`
	// From is FromFront or FromShelves for a book that was lent; else empty.
	From string `json:"from,omitempty"`
	// Due is when the loan ends, for a book the user holds; else zero.
	Due time.Time `json:"due,omitzero"`
	// OnItsWay says that the book was not in the user's hands yet when that was last looked up.
	OnItsWay bool `json:"on_its_way,omitempty"`
}

// A StoredReceipt is a receipt as the scripts write it: first the order, then what
// became of it.
type StoredReceipt struct {
	ID      string   `json:"id"`
	Action  Action   `json:"action"`
	User    string   `json:"user"`
	Books   []string `json:"books"`
	Outcome Outcome  `json:"outcome"`
	Reason  string   `json:"reason,omitempty"`
	// Results has a word for each book, see ReadLines.
	Results []string `json:"results"`
	// DueMS is when the loans end that were made; 0 for none.
	DueMS int64 `json:"due_ms,omitempty"`
}

// ParseReceipt reads a receipt as the scripts write it.
func ParseReceipt(text string) (*Receipt, error) {
	var stored StoredReceipt
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, fmt.Errorf("read receipt: %w", err)
	}
	return stored.Receipt(), nil
}

// Receipt is the receipt that was stored.
func (s *StoredReceipt) Receipt() *Receipt {
	return &Receipt{
		ID: s.ID, Action: s.Action, User: s.User, Outcome: s.Outcome, Reason: s.Reason,
		Books: ReadLines(s.Books, s.Results, s.DueMS),
	}
}

// ReadLines understands a word for each book. It is a result; or for a book that
// was lent, the place it is lent from; or "already_yours:" and when that loan ends.
func ReadLines(books, words []string, dueMS int64) []Line {
	lines := make([]Line, min(len(books), len(words)))
	for i := range lines {
		lines[i] = Line{Book: books[i], Result: Result(words[i])}
		word, due, _ := strings.Cut(words[i], ":")
		switch word {
		case FromFront, FromShelves:
			lines[i].Result, lines[i].From, lines[i].Due = Lent, word, DueTime(dueMS)
		case string(AlreadyYours):
			ms, _ := strconv.ParseInt(due, 10, 64)
			lines[i].Result, lines[i].Due = AlreadyYours, DueTime(ms)
		}
	}
	return lines
}

// DueTime is when a loan ends, in whole seconds; zero for no time.
func DueTime(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return Moment(ms).Truncate(time.Second)
}

// Moment is a time in UTC, by the milliseconds since 1970. It is zero for one that has
// no year of four digits, which nobody meant and JSON could not tell.
func Moment(ms int64) time.Time {
	at := time.UnixMilli(ms).UTC()
	if at.Year() < 1 || at.Year() > 9999 {
		return time.Time{}
	}
	return at
}

// EntryTime is the time in the id of a stream's entry, by Redis's clock; zero where it
// has none.
func EntryTime(id string) time.Time {
	text, _, _ := strings.Cut(id, "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return Moment(ms)
}

// In has the receipt's times in another time zone.
func (r *Receipt) In(zone *time.Location) *Receipt {
	in := *r
	in.Books = slices.Clone(r.Books)
	for i, line := range in.Books {
		if !line.Due.IsZero() {
			in.Books[i].Due = line.Due.In(zone)
		}
	}
	return &in
}

// Summary tells what became of each book in one line: "geb lent from front; …".
func (r *Receipt) Summary() string { return Summary(r.Books) }

// Summary tells what became of each book in one line: "geb lent from front; …".
func Summary(lines []Line) string {
	var text strings.Builder
	for i, line := range lines {
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(line.Book)
		text.WriteByte(' ')
		text.WriteString(strings.ReplaceAll(string(line.Result), "_", " "))
		switch line.From {
		case FromFront:
			text.WriteString(" from front")
		case FromShelves:
			text.WriteString(" from the shelves")
		}
	}
	return text.String()
}
