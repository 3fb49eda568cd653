package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"

	"example.com/library/library"
)

const (
	// ParcelsBatch is how many parcels a service reads in one go. Each may hold
	// several books, and a batch should not hold Redis up.
	ParcelsBatch = 32
	// CallBooksMax is how many books one script call may carry: Lua passes at most
	// 7,999 values to a command.
	CallBooksMax = 2000
)

// A Parcel is an entry by which the services tell each other of books: orders,
// deliveries, or books to put away.
type Parcel struct {
	Entry  Entry
	Orders []Order
}

// An Order is a book, and the request it is for.
type Order struct {
	Request string `json:"id,omitempty"` // empty for a book to put away
	Book    string `json:"book"`
}

// ReadParcels understands the entries of a batch, and rejects those it cannot.
func ReadParcels(batch []Entry, read func(Entry) ([]Order, error)) ([]Parcel, []Rejection) {
	var parcels []Parcel
	var rejections []Rejection
	for _, entry := range batch {
		orders, err := read(entry)
		if err == nil {
			err = checkOrders(orders)
		}
		if err != nil {
			rejections = append(rejections, Reject(entry, err.Error()))
			continue
		}
		parcels = append(parcels, Parcel{entry, orders})
	}
	return parcels, rejections
}

// ReadOrders reads a field like orders [["walk-1","geb"],["walk-2","dune"]].
func ReadOrders(entry Entry) ([]Order, error) {
	var pairs [][]string
	if err := readList(entry, "orders", &pairs); err != nil {
		return nil, err
	}
	orders := make([]Order, len(pairs))
	for i, pair := range pairs {
		if len(pair) != 2 {
			return nil, errors.New("its orders are not pairs of a request and a book")
		}
		if err := library.CheckID("request", pair[0]); err != nil {
			return nil, err
		}
		orders[i] = Order{pair[0], pair[1]}
	}
	return orders, nil
}

// ReadBooks reads a field like books ["geb","dune"].
func ReadBooks(entry Entry) ([]Order, error) {
	var books []string
	if err := readList(entry, "books", &books); err != nil {
		return nil, err
	}
	orders := make([]Order, len(books))
	for i, book := range books {
		orders[i].Book = book
	}
	return orders, nil
}

func readList(entry Entry, field string, list any) error {
	text, err := entry.Field(field)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), list); err != nil {
		return fmt.Errorf("its %s are not a JSON array as they should be: %w", field, err)
	}
	return nil
}

func checkOrders(orders []Order) error {
	if len(orders) == 0 {
		return errors.New("it names no book")
	}
	if len(orders) > library.BooksMax {
		return fmt.Errorf("it names %d books; at most %d are allowed", len(orders), library.BooksMax)
	}
	for _, order := range orders {
		if err := library.CheckName("book", order.Book); err != nil {
			return err
		}
	}
	return nil
}

// Calls divides parcels into script calls of at most CallBooksMax books.
func Calls(parcels []Parcel) iter.Seq[[]Parcel] {
	return func(yield func([]Parcel) bool) {
		for len(parcels) > 0 {
			n, books := 0, 0
			for n < len(parcels) && books+len(parcels[n].Orders) <= CallBooksMax {
				books += len(parcels[n].Orders)
				n++
			}
			if !yield(parcels[:n]) {
				return
			}
			parcels = parcels[n:]
		}
	}
}

// Tell tells the log and the observer what a script answered for a parcel's books: one
// line for all that went the same way. words has one for each book, and users who has it,
// where known.
func (p Parcel) Tell(config Config, words, users []string) {
	log := config.Log
	for from := 0; from < len(words); {
		to := from + 1
		for to < len(words) && words[to] == words[from] {
			to++
		}
		switch word := words[from]; {
		case word == "gone":
			log.Debug(word, "entry", p.Entry.ID)
			from = to
			continue
		case to-from > 1:
			log.Info(word, "books", loggedOrders(p.Orders[from:to]))
		case p.Orders[from].Request == "":
			log.Info(word, "book", p.Orders[from].Book)
		case users == nil:
			log.Info(word, "book", p.Orders[from].Book, "id", p.Orders[from].Request)
		default:
			log.Info(word, "user", library.Plain(users[from]), "book", p.Orders[from].Book, "id", p.Orders[from].Request)
		}
		config.Observer.moved(words[from], to-from)
		from = to
	}
}

// loggedOrders are a sentence in a log of text, "geb for walk-1; dune for walk-2", and a
// list in one of JSON.
type loggedOrders []Order

func (l loggedOrders) String() string {
	var text strings.Builder
	for i, order := range l {
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(order.Book)
		if order.Request != "" {
			text.WriteString(" for " + order.Request)
		}
	}
	return text.String()
}

// LogValue is what a JSON log has.
func (l loggedOrders) LogValue() slog.Value { return slog.AnyValue([]Order(l)) }
