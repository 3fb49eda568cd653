package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// logPage is how many entries of a stream are read in one go. An entry of the log
// may hold 16 receipts, so a page may be large.
const logPage = 200

// A receipt is an answer as the scripts write it.
type receipt struct {
	ID      string   `json:"id"`
	Action  string   `json:"action"`
	User    string   `json:"user"`
	Books   []string `json:"books"`
	Outcome string   `json:"outcome"`
	Results []string `json:"results"`
	DueMS   int64    `json:"due_ms"`
	text    string   // as it is stored
}

// check reports what is wrong with a receipt by itself.
func (r *receipt) check() error {
	words := map[string][]string{
		"request": {"front", "shelves", "unavailable", "over_limit"},
		"return":  {"returned", "not_yours", "on_its_way"},
	}[r.Action]
	took := 0 // how many books it took effect for
	for _, result := range r.Results {
		if r.Action == "request" && (result == "already_yours" || strings.HasPrefix(result, "already_yours:")) {
			continue
		}
		if !slices.Contains(words, result) {
			return fmt.Errorf("a %s cannot have the result %s", quoted(r.Action), quoted(result))
		}
		if result == "front" || result == "shelves" || result == "returned" {
			took++
		}
	}
	all, none := "granted", "denied"
	if r.Action == "return" {
		all, none = "returned", "refused"
	}
	outcome := "partial"
	switch took {
	case 0:
		outcome = none
	case len(r.Results):
		outcome = all
	}
	switch {
	case words == nil:
		return fmt.Errorf("it is neither a request nor a return, but %s", quoted(r.Action))
	case r.ID == "" || r.User == "":
		return errors.New("it does not tell whose it is")
	case len(r.Books) == 0 || len(r.Books) != len(r.Results):
		return fmt.Errorf("it has %d books and %d results", len(r.Books), len(r.Results))
	case r.Outcome != outcome:
		return fmt.Errorf("its outcome is %s, but by its results it should be %s", quoted(r.Outcome), outcome)
	case r.Action == "request" && took > 0 && r.DueMS <= 0:
		return errors.New("it does not tell when its loans end")
	}
	return nil
}

// An event is an entry of the log.
type event struct {
	id       string
	name     string
	by       string
	receipts []receipt
	orders   [][]string // request, book, and where it is known the user
	books    []string
	stream   string // of an entry that was set aside
	entry    string
	from, to *toldTerms // the terms before and after they were set
}

// newEvent understands an entry of the log.
func newEvent(message redis.XMessage) (*event, error) {
	field := func(name string) string {
		text, _ := message.Values[name].(string)
		return text
	}
	e := &event{id: message.ID, name: field("event"), by: field("by"), stream: field("stream"), entry: field("entry")}
	var texts []json.RawMessage
	switch e.name {
	case "decided":
		if err := json.Unmarshal([]byte(field("receipts")), &texts); err != nil {
			return nil, fmt.Errorf("its receipts cannot be read: %w", err)
		}
	case "rejected":
		if text := field("receipt"); text != "" {
			texts = []json.RawMessage{json.RawMessage(text)}
		}
	case "fetched", "awaited", "handed_on", "delivered", "sent_back":
		if err := json.Unmarshal([]byte(field("orders")), &e.orders); err != nil {
			return nil, fmt.Errorf("its orders cannot be read: %w", err)
		}
		for _, order := range e.orders {
			if len(order) != 2 && len(order) != 3 || order[0] == "" || order[1] == "" {
				return nil, errors.New("an order in it is not a request and a book")
			}
		}
	case "shelved", "stored":
		if err := json.Unmarshal([]byte(field("books")), &e.books); err != nil {
			return nil, fmt.Errorf("its books cannot be read: %w", err)
		}
	case "retried", "dropped", "shed":
	case "terms":
		var err error
		if e.from, err = readTerms(field("from")); err == nil {
			e.to, err = readTerms(field("to"))
		}
		if err == nil && e.to == nil {
			err = errors.New("there are none")
		}
		if err != nil {
			return nil, fmt.Errorf("its terms cannot be read: %w", err)
		}
	default:
		return nil, fmt.Errorf("it tells of %s, which is nothing that a library does", quoted(e.name))
	}
	for _, text := range texts {
		r := receipt{text: string(text)}
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("a receipt in it cannot be read: %w", err)
		}
		if e.name == "decided" {
			if err := r.check(); err != nil {
				return nil, fmt.Errorf("the receipt of order %s in it cannot be: %w", quoted(r.ID), err)
			}
		}
		e.receipts = append(e.receipts, r)
	}
	return e, nil
}

// mentions calls f with every book that the event is about.
func (e *event) mentions(f func(book string)) {
	for _, r := range e.receipts {
		for _, book := range r.Books {
			f(book)
		}
	}
	for _, order := range e.orders {
		f(order[1])
	}
	for _, book := range e.books {
		f(book)
	}
}

// milliseconds is the time in an entry's id.
func milliseconds(id string) int64 {
	ms, _ := splitID(id)
	return int64(ms)
}

// isBefore compares the ids of two entries.
func isBefore(a, b string) bool {
	at, an := splitID(a)
	bt, bn := splitID(b)
	return at < bt || at == bt && an < bn
}

func splitID(id string) (milliseconds, number uint64) {
	before, after, _ := strings.Cut(id, "-")
	milliseconds, _ = strconv.ParseUint(before, 10, 64)
	number, _ = strconv.ParseUint(after, 10, 64)
	return milliseconds, number
}

// newest is the id of the log's last entry; "0-0" if it has none.
func newest(ctx context.Context, rdb redis.UniversalClient, k keys) (string, error) {
	messages, err := rdb.XRevRangeN(ctx, k.Events(), "+", "-", 1).Result()
	if err != nil || len(messages) == 0 {
		return "0-0", err
	}
	return messages[0].ID, nil
}
