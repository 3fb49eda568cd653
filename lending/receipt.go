package lending

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
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

// storedLine is a line as the scripts write it.
type storedLine struct {
	Book   string `json:"book"`
	Result Result `json:"result"`
	From   string `json:"from"`
	DueMS  int64  `json:"due_ms"`
}

// parseReceipt reads a receipt as the scripts write it.
func parseReceipt(text string) (*Receipt, error) {
	var stored struct {
		Receipt
		Books []storedLine `json:"books"`
	}
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, fmt.Errorf("read receipt: %w", err)
	}
	receipt := stored.Receipt
	receipt.Books = make([]Line, len(stored.Books))
	for i, line := range stored.Books {
		receipt.Books[i] = Line{Book: line.Book, Result: line.Result, From: line.From}
		if line.DueMS != 0 {
			receipt.Books[i].Due = time.UnixMilli(line.DueMS).UTC().Truncate(time.Second)
		}
	}
	return &receipt, nil
}

// answers reports whether the receipt is the answer to that order.
func (r *Receipt) answers(order Order) bool {
	return r.Action == order.Action && r.User == order.User &&
		slices.EqualFunc(r.Books, order.Books, func(line Line, book string) bool { return line.Book == book })
}

// Summary tells what became of each book in one line: "geb lent from front; …".
func (r *Receipt) Summary() string {
	words := make([]string, len(r.Books))
	for i, line := range r.Books {
		words[i] = line.Book + " " + strings.ReplaceAll(string(line.Result), "_", " ")
		if line.From != "" {
			words[i] += " from " + strings.Replace(line.From, FromShelves, "the shelves", 1)
		}
	}
	return strings.Join(words, "; ")
}
