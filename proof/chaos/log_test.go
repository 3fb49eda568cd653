package chaos_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/library"
)

// A log is the library's log, taken apart by this package alone: what reads the
// library's own output should not share its code.
type log struct {
	events    []event
	decisions []*decision          // in their order
	byOrder   map[string]*decision // the first of each order
}

// An event is a decision, or something that happened to books.
type event struct {
	kind     string
	decision *decision
	books    []string
	orders   [][]string // request, book, and what else is told
	terms    library.Terms
}

// A decision is a receipt as the log has it.
type decision struct {
	entry    string // the log's
	position int    // among all decisions
	by       string

	ID      string
	Action  library.Action
	User    string
	Books   []string
	Outcome string
	Results []string
	DueMS   int64 `json:"due_ms"`
}

func (d *decision) String() string {
	return fmt.Sprintf("order %s (%s by %s of %q, decided by %s in the log's entry %s)", d.ID, d.Action, d.User, d.Books, d.by, d.entry)
}

// at is when the decision was made, by Redis's clock.
func (d *decision) at() time.Time {
	text, _, _ := strings.Cut(d.entry, "-")
	ms, _ := strconv.ParseInt(text, 10, 64)
	return time.UnixMilli(ms)
}

// word is what became of one book, without when a loan ends.
func (d *decision) word(i int) string {
	word, _, _ := strings.Cut(d.Results[i], ":")
	return word
}

// answer is the whole of it in one text, as receiptAnswer writes it.
func (d *decision) answer() string {
	var lines []string
	for i, book := range d.Books {
		word, due, _ := strings.Cut(d.Results[i], ":")
		ms, _ := strconv.ParseInt(due, 10, 64)
		if word == library.FromFront || word == library.FromShelves {
			ms = d.DueMS
		}
		lines = append(lines, answerLine(book, word, ms/1000))
	}
	return answerText(d.Outcome, lines)
}

// receiptAnswer is a receipt that a client got, as decision.answer writes it.
func receiptAnswer(receipt *library.Receipt) string {
	var lines []string
	for _, line := range receipt.Books {
		var due int64
		if !line.Due.IsZero() {
			due = line.Due.Unix()
		}
		lines = append(lines, answerLine(line.Book, resultWord(line), due))
	}
	return answerText(string(receipt.Outcome), lines)
}

// resultWord is the word that the log has for a receipt's line.
func resultWord(line library.Line) string {
	if line.Result == library.Lent {
		return line.From
	}
	return string(line.Result)
}

func answerLine(book, word string, due int64) string {
	if due == 0 {
		return book + " " + word
	}
	return fmt.Sprintf("%s %s until %d", book, word, due)
}

func answerText(outcome string, lines []string) string {
	return outcome + ": " + strings.Join(lines, ", ")
}

// readLog reads all of the library's log.
func (r *run) readLog() *log {
	l := &log{byOrder: map[string]*decision{}}
	var kept strings.Builder
	for from := "-"; ; {
		ctx, cancel := within(programtest.Patience)
		messages, err := r.rdb.XRangeN(ctx, r.keys.Events(), from, "+", 1000).Result()
		cancel()
		if err != nil {
			r.Fatal(err)
		}
		if len(messages) == 0 {
			break
		}
		from = "(" + messages[len(messages)-1].ID
		for _, message := range messages {
			fmt.Fprintln(&kept, message.ID, message.Values)
			field := func(name string) string { text, _ := message.Values[name].(string); return text }
			kind := field("event")
			if kind == "decided" {
				var decisions []*decision
				if err := json.Unmarshal([]byte(field("receipts")), &decisions); err != nil || len(decisions) == 0 {
					r.Fatalf("the log's entry %s cannot be read: %v, %v", message.ID, err, message.Values)
				}
				for _, d := range decisions {
					if len(d.Results) != len(d.Books) {
						r.Fatalf("%s has %d results", d, len(d.Results))
					}
					d.entry, d.by, d.position = message.ID, field("by"), len(l.decisions)
					l.decisions = append(l.decisions, d)
					l.events = append(l.events, event{kind: kind, decision: d})
					if l.byOrder[d.ID] == nil {
						l.byOrder[d.ID] = d
					}
				}
				continue
			}
			e := event{kind: kind}
			if kind == "terms" {
				if err := json.Unmarshal([]byte(field("to")), &e.terms); err != nil {
					r.Fatalf("the log's entry %s cannot be read: %v, %v", message.ID, err, message.Values)
				}
			}
			for name, into := range map[string]any{"books": &e.books, "orders": &e.orders} {
				if text := field(name); text != "" {
					if err := json.Unmarshal([]byte(text), into); err != nil {
						r.Fatalf("the log's entry %s cannot be read: %v, %v", message.ID, err, message.Values)
					}
				}
			}
			l.events = append(l.events, e)
		}
	}
	r.keep("events.log", kept.String())
	r.keep("ledger.log", r.ledgerText())
	return l
}

// ledgerText is the ledger to read after a run that failed.
func (r *run) ledgerText() string {
	var text strings.Builder
	for _, o := range r.ledger {
		if o == nil {
			continue
		}
		fmt.Fprintf(&text, "%d client=%d id=%s %s %s %q asked=%s answered=%s tries=%d unsent=%d accepted=%t", o.number, o.client, o.order.ID,
			o.order.Action, o.order.User, o.order.Books, o.asked, o.answered, o.tries, o.unsent, o.accepted)
		for _, receipt := range o.answers {
			fmt.Fprintf(&text, " %q", receiptAnswer(receipt))
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// A shadow is the library as a book of rules has it: one decision after the other,
// with all facts at hand. It is written from docs/reference.md.
type shadow struct {
	holders  map[string]string           // book → user
	cards    map[string]map[string]int64 // user → book → when the loan ends, in ms
	front    map[string]bool
	fetching map[string]string // book → request
	limit    int
}

func newShadow() *shadow {
	return &shadow{holders: map[string]string{}, cards: map[string]map[string]int64{}, front: map[string]bool{}, fetching: map[string]string{}}
}

// decide does what an order asks, and returns the outcome and what became of each
// book. When a loan ends is told by the decision, for the shadow has no clock.
func (s *shadow) decide(d *decision) (outcome string, results []string) {
	if s.cards[d.User] == nil {
		s.cards[d.User] = map[string]int64{}
	}
	card, done := s.cards[d.User], 0
	if d.Action == library.Return {
		for _, book := range d.Books {
			switch {
			case s.holders[book] != d.User:
				results = append(results, "not_yours")
			case s.fetching[book] != "":
				results = append(results, "on_its_way")
			default:
				results = append(results, "returned")
				delete(s.holders, book)
				delete(card, book)
				s.front[book] = true
				done++
			}
		}
		return outcomeOf(done, len(d.Books), "returned", "refused"), results
	}
	free := 0
	for _, book := range d.Books {
		if s.holders[book] == "" {
			free++
		}
	}
	grant := free > 0 && len(card)+free <= s.limit
	for _, book := range d.Books {
		switch holder := s.holders[book]; {
		case holder == d.User:
			results = append(results, fmt.Sprintf("already_yours:%d", card[book]))
		case holder != "":
			results = append(results, "unavailable")
		case !grant:
			results = append(results, "over_limit")
		default:
			s.holders[book] = d.User
			card[book] = d.DueMS
			if s.front[book] {
				results = append(results, "front")
				delete(s.front, book)
			} else {
				results = append(results, "shelves")
				s.fetching[book] = d.ID
			}
			done++
		}
	}
	return outcomeOf(done, len(d.Books), "granted", "denied"), results
}

func outcomeOf(done, asked int, all, none string) string {
	switch done {
	case 0:
		return none
	case asked:
		return all
	}
	return "partial"
}

// replay does what the log tells. Its error is of the first thing in it that cannot
// have happened.
func (s *shadow) replay(l *log) error {
	for _, e := range l.events {
		switch e.kind {
		case "decided":
			outcome, results := s.decide(e.decision)
			if outcome != e.decision.Outcome || !slices.Equal(results, e.decision.Results) {
				return fmt.Errorf("%s was answered %s %q; by all that the log tells before, it should be %s %q",
					e.decision, e.decision.Outcome, e.decision.Results, outcome, results)
			}
		case "terms":
			s.limit = e.terms.LoansMax
		case "shelved":
			for _, book := range e.books {
				if !s.front[book] {
					return fmt.Errorf("%s left front storage for the shelves, but was not there", book)
				}
				delete(s.front, book)
			}
		case "delivered":
			for _, order := range e.orders {
				if s.fetching[order[1]] != order[0] {
					return fmt.Errorf("%s was delivered for order %s, but is awaited for %q", order[1], order[0], s.fetching[order[1]])
				}
				delete(s.fetching, order[1])
			}
		}
	}
	return nil
}
