package chaos_test

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/library/library"
	"github.com/anishathalye/porcupine"
)

// What clients saw is checked without a look at the log, by
// https://pkg.go.dev/github.com/anishathalye/porcupine: is there any order of the
// orders, each at a moment between its being asked and its being answered, in which
// one library after the other rule would have given just these answers?
//
// The question is asked for each book alone and for each card alone, so that a
// history is short: 100,000 orders make some 2,000 for a book. A book's model knows
// who holds it. The limit couples books, so it belongs to the card's model, which
// knows all that one user holds. That all books and cards agree on one order is what
// the log is witness of, see checkReplay and checkRealTime.
//
// An order stays open until its answer is known, for clients look it up as soon as
// they can. One that never had an answer may or may not have taken effect, at any
// time after it was asked.

// decideWithin is how long one history may take. Each takes some milliseconds.
const decideWithin = 2 * time.Minute

// An inquiry is what a history's order asks: about all its books in a card's history,
// about one in a book's.
type inquiry struct {
	action library.Action
	user   string
	books  []string
}

// A verdict is what became of an inquiry's books; nil if nobody knows.
type verdict []library.Result

// checkBooks: what clients were told of a book could be told of one that exists once.
func checkBooks(c *complaint, _ *log) {
	histories := map[string][]porcupine.Operation{}
	for _, o := range c.ledger {
		for i, book := range o.order.Books {
			var result verdict
			if len(o.answers) > 0 {
				result = verdict{o.answers[0].Books[i].Result}
			}
			histories[book] = append(histories[book], o.observed(inquiry{o.order.Action, o.order.User, []string{book}}, result))
		}
	}
	c.linearizes("book", bookModel(), histories)
}

// checkCards: what clients were told on one card could be told by one who keeps it.
func checkCards(c *complaint, _ *log) {
	histories := map[string][]porcupine.Operation{}
	for _, o := range c.ledger {
		var results verdict
		if len(o.answers) > 0 {
			for _, line := range o.answers[0].Books {
				results = append(results, line.Result)
			}
		}
		user := o.order.User
		histories[user] = append(histories[user], o.observed(inquiry{o.order.Action, user, o.order.Books}, results))
	}
	c.linearizes("card", cardModel(), histories)
}

// observed is an operation as porcupine takes it.
func (o *operation) observed(asked inquiry, told verdict) porcupine.Operation {
	answered := int64(math.MaxInt64)
	if o.answered != 0 {
		answered = int64(o.answered)
	}
	return porcupine.Operation{ClientId: o.client, Input: asked, Call: int64(o.asked), Output: told, Return: answered, Metadata: o.order.ID}
}

func (c *complaint) linearizes(kind string, model porcupine.Model, histories map[string][]porcupine.Operation) {
	for _, name := range slices.Sorted(maps.Keys(histories)) {
		switch porcupine.CheckOperationsTimeout(model, histories[name], decideWithin) {
		case porcupine.Ok:
		case porcupine.Unknown:
			c.add("%s %s: its history of %d orders could not be judged within %s", kind, name, len(histories[name]), decideWithin)
		case porcupine.Illegal:
			_, seen := porcupine.CheckOperationsVerbose(model, histories[name], decideWithin)
			c.add("%s %s: no order of its %d orders explains what clients were told; see the picture %s", kind, name, len(histories[name]), c.picture(model, seen))
		}
	}
}

// picture keeps the picture of a violation, and returns where.
func (c *complaint) picture(model porcupine.Model, seen porcupine.LinearizationInfo) string {
	file, err := os.CreateTemp(c.dir, "violation-*.html")
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if err := porcupine.Visualize(model, seen, file); err != nil {
		return err.Error()
	}
	return file.Name()
}

// bookModel is one book: the state is who holds it, "" for nobody.
func bookModel() porcupine.Model {
	return model("", func(holder any, asked inquiry, told verdict) (states []any) {
		if told == nil {
			states = []any{holder}
			if asked.action == library.Request && holder == "" {
				states = append(states, asked.user)
			}
			if asked.action == library.Return && holder == asked.user {
				states = append(states, "")
			}
			return states
		}
		possible, then := false, holder
		switch told[0] {
		case library.Lent:
			possible, then = holder == "", asked.user
		case library.OverLimit:
			possible = holder == ""
		case library.Unavailable:
			possible = holder != "" && holder != asked.user
		case library.AlreadyYours, library.OnItsWay:
			possible = holder == asked.user
		case library.NotYours:
			possible = holder != asked.user
		case library.TakenBack:
			possible, then = holder == asked.user, ""
		}
		if possible {
			states = append(states, then)
		}
		return states
	})
}

// cardModel is one card: the state is the books on it, each with a comma behind.
func cardModel() porcupine.Model {
	return model("", func(state any, asked inquiry, told verdict) (states []any) {
		card := cardBooks(state.(string))
		if told == nil {
			// Any of its books may have come to the card, or left it.
			for some := range 1 << len(asked.books) {
				then := slices.Clone(card)
				for i, book := range asked.books {
					if some&(1<<i) != 0 {
						then = slices.DeleteFunc(then, func(other string) bool { return other == book })
						if asked.action == library.Request {
							then = append(then, book)
						}
					}
				}
				if len(then) <= loansMax {
					states = append(states, cardState(then))
				}
			}
			return states
		}
		then, lent, over := slices.Clone(card), 0, 0
		for i, book := range asked.books {
			here, should := slices.Contains(card, book), false
			switch told[i] {
			case library.Lent:
				then, lent = append(then, book), lent+1
			case library.OverLimit:
				over++
			case library.Unavailable, library.NotYours:
			case library.TakenBack:
				then = slices.DeleteFunc(then, func(other string) bool { return other == book })
				should = true
			case library.AlreadyYours, library.OnItsWay:
				should = true
			}
			if here != should {
				return nil
			}
		}
		if len(then) > loansMax || over > 0 && (lent > 0 || len(card)+over <= loansLeast) {
			return nil
		}
		return []any{cardState(then)}
	})
}

func cardBooks(state string) []string {
	return strings.FieldsFunc(state, func(r rune) bool { return r == ',' })
}

func cardState(books []string) string {
	slices.Sort(books)
	return strings.Join(books, ",")
}

// model makes porcupine's model of a step that may lead to several states, or to none
// if the answer is impossible.
func model(start any, step func(state any, asked inquiry, told verdict) []any) porcupine.Model {
	several := porcupine.NondeterministicModel{
		Init: func() []any { return []any{start} },
		Step: func(state, input, output any) []any { return step(state, input.(inquiry), output.(verdict)) },
		DescribeOperation: func(input, output any) string {
			asked := input.(inquiry)
			told := "unknown"
			if results := output.(verdict); results != nil {
				told = fmt.Sprint(results)
			}
			return fmt.Sprintf("%s: %s %s → %s", asked.user, asked.action, strings.Join(asked.books, " "), told)
		},
		DescribeState: func(state any) string { return fmt.Sprintf("%q", state) },
	}
	return several.ToModel()
}
