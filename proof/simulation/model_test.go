package simulation

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/library/lending"
	"example.com/library/library"

	"github.com/alicebob/miniredis/v2"
)

// A model is the library as the log tells it: who holds what, and where every book
// is. It decides each order by itself and compares, so it knows the rules a second
// time, in the simplest words.
type model struct {
	first library.Terms // by which it is to lend at first
	terms library.Terms // by which it lends, as the log tells
	// A limit and a room that were lowered take nothing from anybody.
	loansMax, frontMax int // the most there ever were

	loans    map[string]string          // book → user
	fetching map[string]string          // book → request
	front    map[string]bool            // books in front storage
	out      map[string]bool            // books not on the shelves
	awaited  map[string]string          // book → request
	answers  map[string]json.RawMessage // request → receipt, as the log has it
	decided  map[string]int             // request → the step at which it was decided
	rejected map[string]bool            // entries that were set aside, by stream and id
	events   int                        // how many entries of the log were read

	asked map[string]int    // request → the step at which it was first asked
	sent  map[string]string // request or return, by stream and id → its request id, while undecided

	// What a person forged breaks rules that hold else.
	forged        map[string]bool // books that forged entries name
	rejectionsMax int
}

func newModel() *model {
	return &model{
		first: library.Terms{LoansMax: 3, LoanDays: 28, FrontMax: 2, ReceiptMS: library.ReceiptKeepMin.Milliseconds(), LogMax: 1_000_000, TimeZone: "UTC"},
		loans: map[string]string{}, fetching: map[string]string{}, front: map[string]bool{}, out: map[string]bool{}, awaited: map[string]string{},
		answers: map[string]json.RawMessage{}, decided: map[string]int{}, rejected: map[string]bool{},
		asked: map[string]int{}, sent: map[string]string{}, forged: map[string]bool{},
	}
}

// forget begins anew: the server has lost everything.
func (m *model) forget() {
	fresh := newModel()
	fresh.first, fresh.forged, fresh.rejectionsMax = m.first, m.forged, m.rejectionsMax
	*m = *fresh
}

// A receipt is an answer as the log and the pages have it.
type receipt struct {
	ID, Action, User, Outcome string
	Books, Results            []string
	DueMS                     int64 `json:"due_ms"`
}

// replay takes the log's new entries.
func (m *model) replay(entries []miniredis.StreamEntry, step int, told func(word string)) error {
	for ; m.events < len(entries); m.events++ {
		fields := map[string]string{}
		for i := 0; i+1 < len(entries[m.events].Values); i += 2 {
			fields[entries[m.events].Values[i]] = entries[m.events].Values[i+1]
		}
		told("event " + fields["event"])
		if err := m.apply(fields, library.EntryTime(entries[m.events].ID), step, told); err != nil {
			return fmt.Errorf("the log's entry %s, %q: %w", entries[m.events].ID, fields, err)
		}
	}
	return nil
}

func (m *model) apply(fields map[string]string, at time.Time, step int, told func(word string)) error {
	var receipts []json.RawMessage
	var orders [][]string
	var books []string
	for name, into := range map[string]any{"receipts": &receipts, "orders": &orders, "books": &books} {
		if text := fields[name]; text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return err
			}
		}
	}
	for _, text := range receipts {
		if err := m.decide(text, at, step, told); err != nil {
			return err
		}
	}
	for _, order := range orders {
		if err := m.move(fields["event"], order[0], order[1]); err != nil {
			return err
		}
	}
	for _, book := range books {
		if err := m.move(fields["event"], "", book); err != nil {
			return err
		}
	}
	switch fields["event"] {
	case "rejected":
		m.rejected[fields["stream"]+" "+fields["entry"]] = true
		var answer receipt
		if text := fields["receipt"]; text != "" {
			if err := json.Unmarshal([]byte(text), &answer); err != nil {
				return err
			}
			if m.answers[answer.ID] == nil { // a receipt that stands is not replaced
				m.answers[answer.ID], m.decided[answer.ID] = json.RawMessage(text), step
			}
		}
	case "terms":
		var from, to library.Terms
		if err := errors.Join(json.Unmarshal([]byte(fields["from"]), &from), json.Unmarshal([]byte(fields["to"]), &to)); err != nil {
			return err
		}
		if from != m.terms {
			return fmt.Errorf("the terms were set in place of %+v, but they were %+v", from, m.terms)
		}
		m.terms, m.loansMax, m.frontMax = to, max(m.loansMax, to.LoansMax), max(m.frontMax, to.FrontMax)
	case "retried":
		for id, text := range m.answers {
			if strings.Contains(string(text), `"outcome":"rejected"`) {
				delete(m.answers, id) // no story has two of them at a time
			}
		}
	}
	return nil
}

// decide checks a decision, and takes its effect.
func (m *model) decide(text json.RawMessage, at time.Time, step int, told func(word string)) error {
	var got receipt
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	if m.answers[got.ID] != nil {
		return fmt.Errorf("order %s is decided a second time", got.ID)
	}
	m.answers[got.ID], m.decided[got.ID] = text, step
	free, held := 0, 0
	for _, holder := range m.loans {
		if holder == got.User {
			held++
		}
	}
	for _, book := range got.Books {
		if m.loans[book] == "" {
			free++
		}
	}
	var want []string
	for _, book := range got.Books {
		holder := m.loans[book]
		word := ""
		switch {
		case got.Action == "return" && holder != got.User:
			word = "not_yours"
		case got.Action == "return" && m.fetching[book] != "":
			word = "on_its_way"
		case got.Action == "return":
			word = "returned"
			delete(m.loans, book)
			m.front[book] = true
		case holder == got.User:
			word = "already_yours"
		case holder != "":
			word = "unavailable"
		case held+free > m.terms.LoansMax:
			word = "over_limit"
		case m.front[book]:
			word = "front"
			delete(m.front, book)
			m.loans[book] = got.User
		default:
			word = "shelves"
			m.loans[book], m.fetching[book] = got.User, got.ID
		}
		want = append(want, word)
		told("result " + word)
	}
	told("outcome " + got.Outcome)
	if zone, err := m.terms.Zone(); err != nil {
		return err
	} else if due := time.UnixMilli(got.DueMS).In(zone); got.DueMS > 0 &&
		due.Format("2006-01-02 15:04:05.000") != at.In(zone).AddDate(0, 0, m.terms.LoanDays).Format(time.DateOnly)+" 23:59:59.999" {
		return fmt.Errorf("order %s was decided at %s and is due at %s, which is not the end of day %d after", got.ID, at.In(zone), due, m.terms.LoanDays)
	}
	results := make([]string, len(got.Results))
	for i, word := range got.Results {
		results[i], _, _ = strings.Cut(word, ":")
	}
	if !slices.Equal(results, want) {
		return fmt.Errorf("order %s was answered %q, but by the log before it the answer is %q", got.ID, got.Results, want)
	}
	return nil
}

// move takes what became of one book.
func (m *model) move(event, request, book string) error {
	possible := true
	switch event {
	case "shelved":
		possible = m.front[book]
		delete(m.front, book)
	case "fetched":
		possible = !m.out[book]
		m.out[book] = true
	case "awaited":
		possible = m.out[book] && m.awaited[book] == ""
		m.awaited[book] = request
	case "stored":
		possible = m.out[book] && m.awaited[book] == ""
		delete(m.out, book)
	case "handed_on":
		possible = m.out[book] && m.awaited[book] == request
		delete(m.awaited, book)
	case "delivered":
		possible = m.fetching[book] == request
		delete(m.fetching, book)
	case "sent_back":
		possible = m.fetching[book] != request
	}
	if !possible {
		return fmt.Errorf("%s cannot be %s", book, event)
	}
	return nil
}

// A seenAnswer is what a client was told.
type seenAnswer struct {
	order   lending.Order
	receipt *library.Receipt
}

// compare checks that what a client was told is what the log has, and that it was
// decided after it was asked.
func (m *model) compare(seen seenAnswer) error {
	id := seen.order.ID
	var want receipt
	if m.answers[id] == nil {
		return fmt.Errorf("order %s was answered %+v, but the log has no decision of it", id, seen.receipt)
	}
	if err := json.Unmarshal(m.answers[id], &want); err != nil {
		return err
	}
	got := receipt{ID: seen.receipt.ID, Action: string(seen.receipt.Action), User: seen.receipt.User, Outcome: string(seen.receipt.Outcome)}
	for _, line := range seen.receipt.Books {
		got.Books = append(got.Books, line.Book)
		word := string(line.Result)
		if line.From != "" {
			word = line.From
		}
		got.Results = append(got.Results, word)
	}
	for i, word := range want.Results {
		want.Results[i], _, _ = strings.Cut(word, ":")
	}
	if got.ID != want.ID || got.Action != want.Action || got.User != want.User || got.Outcome != want.Outcome ||
		got.Outcome != "rejected" && (!slices.Equal(got.Books, want.Books) || !slices.Equal(got.Results, want.Results)) {
		return fmt.Errorf("order %s was answered %+v, but the log has %s", id, got, m.answers[id])
	}
	if asked, known := m.asked[id]; known && m.decided[id] < asked {
		return fmt.Errorf("order %s was decided at step %d, before it was asked at %d", id, m.decided[id], asked)
	}
	return nil
}

// errLost begins every error about something that is nowhere any more.
var errLost = errors.New("lost")
