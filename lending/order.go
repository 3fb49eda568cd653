package lending

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"example.com/library/library"
	"example.com/library/worker"
)

// An Order is one request or return.
type Order struct {
	// ID is the request id, up to 64 letters, digits, hyphens and underscores. An
	// order sent again with the same id takes effect once.
	ID     string
	Action library.Action
	// User and Books are names, in a request library.CheckNewName's, in a return
	// library.CheckName's; each book stands once.
	User  string
	Books []string
}

// NewOrder makes an order with a new random id. Names are brought into the form
// the library knows, and a book named twice counts once. Its error wraps ErrOrder.
func NewOrder(action library.Action, user string, books ...string) (Order, error) {
	var id [16]byte
	rand.Read(id[:])
	order := Order{ID: hex.EncodeToString(id[:]), Action: action}
	var err error
	if order.User, err = library.CleanName("user", user); err != nil {
		return Order{}, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	for _, book := range books {
		if book, err = library.CleanName("book", book); err != nil {
			return Order{}, fmt.Errorf("%w: %w", ErrOrder, err)
		}
		order.Books = append(order.Books, book)
	}
	order.Books = unique(order.Books)
	return order, order.check()
}

// check reports the first rule that the order breaks. Its error wraps ErrOrder.
func (o Order) check() error {
	if o.Action != library.Request && o.Action != library.Return {
		return fmt.Errorf("%w: its action is %s, not request or return", ErrOrder, library.Printable(string(o.Action)))
	}
	if err := library.CheckID("id", o.ID); err != nil {
		return fmt.Errorf("%w: %w", ErrOrder, err)
	}
	check := library.CheckName
	if o.Action == library.Request {
		check = library.CheckNewName
	}
	if err := check("user", o.User); err != nil {
		return fmt.Errorf("%w: %w", ErrOrder, err)
	}
	if len(o.Books) == 0 {
		return fmt.Errorf("%w: it names no book", ErrOrder)
	}
	if len(o.Books) > library.BooksMax {
		return fmt.Errorf("%w: it names %d books; at most %d are allowed", ErrOrder, len(o.Books), library.BooksMax)
	}
	for i, book := range o.Books {
		if err := check("book", book); err != nil {
			return fmt.Errorf("%w: %w", ErrOrder, err)
		}
		if slices.Contains(o.Books[:i], book) {
			return fmt.Errorf("%w: it names the book %s twice", ErrOrder, library.Printable(book))
		}
	}
	return nil
}

// unique leaves the first of equal names.
func unique(names []string) []string {
	if len(names) < 2 {
		return names
	}
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(names, func(name string) bool {
		if seen[name] {
			return true
		}
		seen[name] = true
		return false
	})
}

// values are the fields under which an order stands in its inbox.
func (o Order) values(bell string) []any {
	books, err := json.Marshal(o.Books)
	if err != nil {
		panic(err) // strings always marshal
	}
	values := []any{"id", o.ID, "user", o.User, "books", string(books)}
	if bell != "" {
		values = append(values, "bell", bell)
	}
	return values
}

// slip is what the order's receipt begins with: a JSON object, still open. Names
// have no control characters, so little needs an escape.
func (o Order) slip() string {
	var text strings.Builder
	text.WriteString(`{"id":"` + o.ID + `","action":"` + string(o.Action) + `","user":"`)
	escapes.WriteString(&text, o.User)
	for i, book := range o.Books {
		text.WriteString([]string{`","books":["`, `","`}[min(i, 1)])
		escapes.WriteString(&text, book)
	}
	text.WriteString(`"]`)
	return text.String()
}

var escapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// A placed order is one that was read from an inbox.
type placed struct {
	Order
	entry worker.Entry
	bell  string // the asker's word in the channel to ring; empty for none
}

// readOrder understands an inbox's entry. Where it cannot, the order still holds
// the id, if that much could be told.
func readOrder(action library.Action, entry worker.Entry) (placed, error) {
	order := placed{Order: Order{Action: action}, entry: entry}
	id, err := entry.Field("id")
	if err != nil {
		return order, err
	}
	if err := library.CheckID("id", id); err != nil {
		return order, err
	}
	order.ID = id
	if bell := entry.Fields["bell"]; bell != "" {
		if err := library.CheckID("bell", bell); err != nil {
			return order, err
		}
		order.bell = bell
	}
	if order.User, err = entry.Field("user"); err != nil {
		return order, err
	}
	books, err := entry.Field("books")
	if err != nil {
		return order, err
	}
	if !utf8.ValidString(books) {
		return order, errors.New("its books are not valid UTF-8")
	}
	if err := json.Unmarshal([]byte(books), &order.Books); err != nil {
		return order, fmt.Errorf("its books are not a JSON array of texts: %w", err)
	}
	order.Books = unique(order.Books)
	return order, order.check()
}

// answeredBy reports whether a receipt is the answer to the order.
func (o Order) answeredBy(receipt *library.Receipt) bool {
	return receipt.Action == o.Action && receipt.User == o.User &&
		slices.EqualFunc(receipt.Books, o.Books, func(line library.Line, book string) bool { return line.Book == book })
}

// rejected is the receipt of an order that is set aside. If the order can be understood the
// receipt begins with its slip: it stands for this order and for no other with its id.
func (o placed) rejected(reason string) string {
	if o.check() == nil {
		return o.slip() + `,"outcome":"` + string(library.Rejected) + `","reason":` + marshal(reason) + `,"results":[]}`
	}
	user := o.User
	if library.CheckName("user", user) != nil {
		user = ""
	}
	return marshal(library.StoredReceipt{ID: o.ID, Action: o.Action, User: user, Books: []string{}, Outcome: library.Rejected, Reason: reason, Results: []string{}})
}

func marshal(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // texts always marshal
	}
	return string(text)
}
