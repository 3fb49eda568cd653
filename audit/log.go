package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// logPage is how many entries of the log are read in one go.
const logPage = 1000

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

// An event is an entry of the log.
type event struct {
	id       string
	name     string
	receipts []receipt
	orders   [][]string // request, book, and in a delivery the user
	books    []string
}

// newEvent understands an entry of the log.
func newEvent(message redis.XMessage) (*event, error) {
	field := func(name string) string {
		text, _ := message.Values[name].(string)
		return text
	}
	e := &event{id: message.ID, name: field("event")}
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
			if len(order) != 2 && len(order) != 3 {
				return nil, fmt.Errorf("an order in it has %d parts", len(order))
			}
		}
	case "shelved", "stored":
		if err := json.Unmarshal([]byte(field("books")), &e.books); err != nil {
			return nil, fmt.Errorf("its books cannot be read: %w", err)
		}
	case "retried":
	default:
		return nil, fmt.Errorf("it tells of %q, which the library does not do", e.name)
	}
	for _, text := range texts {
		r := receipt{text: string(text)}
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("a receipt in it cannot be read: %w", err)
		}
		if r.Outcome != "rejected" && len(r.Books) != len(r.Results) {
			return nil, fmt.Errorf("the receipt of %s has %d books and %d results", r.ID, len(r.Books), len(r.Results))
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
	text, _, _ := strings.Cut(id, "-")
	ms, _ := strconv.ParseInt(text, 10, 64)
	return ms
}

// newest is the id of the log's last entry; "0-0" if it has none.
func newest(ctx context.Context, rdb redis.UniversalClient, k keys) (string, error) {
	messages, err := rdb.XRevRangeN(ctx, k.Events(), "+", "-", 1).Result()
	if err != nil || len(messages) == 0 {
		return "0-0", err
	}
	return messages[0].ID, nil
}
