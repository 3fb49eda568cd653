package audit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/redis/go-redis/v9"
)

// errOutrun is returned when the log is trimmed at its beginning faster than it is read.
var errOutrun = errors.New("the log was trimmed before it could be read; give the instances a larger --log-keep, or try again when less is going on")

const dayMS = 86_400_000

// A place is where the one copy of a book is.
type place uint8

const (
	anywhere  place = iota // the log does not tell
	onShelves              // in the shelving service's keeping
	toShelves              // in an entry of the stores
	toUser                 // in an entry of the deliveries
	inHand                 // with the user it is lent to
	inFront                // in front storage
)

func (p place) String() string {
	return [...]string{"at an unknown place", "on the shelves", "on its way to the shelves", "on its way to the user", "in the user's hands", "in front storage"}[p]
}

// A stage is how far the shelving service has come with an order.
type stage uint8

const (
	unknown   stage = iota // the log does not tell
	unordered              // there is no order
	ordered                // it is an entry of the fetches
	expected               // it is noted as awaited
)

// A book is what the log says of a book, so far.
type book struct {
	at     place
	told   bool   // whether the log tells who has it, and that is holder
	holder string // "" for nobody
	dueMS  int64  // when the loan ends
	days   int64  // for how many days it was made
	// fetching is the request for which the lending service has it fetched; order is
	// the one that the shelving service works for, and stage is how far that is.
	fetching, order string
	stage           stage
	event           string // the last one that told of it
}

// An answer is what the log says of an order's receipt.
type answer struct {
	hash      uint64 // of the receipt's text
	event     string
	rejected  bool
	ambiguous bool // it was rejected twice, and either receipt may stand
	seen      bool // among the stored ones
}

// A replay is the log, followed from its beginning.
type replay struct {
	rdb  redis.UniversalClient
	keys keys
	// whole says that nothing of the log's beginning is missing: a book that it does
	// not mention was never touched.
	whole bool
	terms terms

	last    string // the id of the last entry read
	first   string
	entries int
	books   map[string]*book
	answers map[string]*answer
	orders  []string       // the requests, as they were decided
	held    map[string]int // loans a user, as far as the log tells
	retried bool
	seed    maphash.Seed
	report  func(Finding)
	notice  func(string)
	// touched gets the books that entries mention; nil for nobody wants to know.
	touched map[string]bool
	// keep is given every entry as it is read; nil for nobody wants to know.
	keep func([]redis.XMessage) error
}

// to reads the log up to an entry.
func (r *replay) to(ctx context.Context, until string) error {
	for r.last != until {
		page, err := r.rdb.XRangeN(ctx, r.keys.Events(), "("+r.last, until, logPage).Result()
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if len(page) == 0 {
			break
		}
		if r.entries > 0 {
			oldest, err := r.rdb.XRangeN(ctx, r.keys.Events(), "-", "+", 1).Result()
			if err != nil {
				return fmt.Errorf("read the log: %w", err)
			}
			if len(oldest) == 0 || isBefore(r.last, oldest[0].ID) && isBefore(oldest[0].ID, page[len(page)-1].ID) && oldest[0].ID != page[0].ID {
				return errOutrun
			}
		} else {
			r.first = page[0].ID
		}
		for _, message := range page {
			r.read(message)
		}
		r.last = page[len(page)-1].ID
		if r.keep != nil {
			if err := r.keep(page); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *replay) read(message redis.XMessage) {
	r.entries++
	e, err := newEvent(message)
	if err != nil {
		r.report(Finding{Kind: "log", Key: r.keys.Events(), Event: message.ID, Problem: err.Error()})
		return
	}
	for i := range e.receipts {
		r.answered(e, &e.receipts[i])
	}
	for _, order := range e.orders {
		r.moved(e, order[1], order[0])
	}
	for _, name := range e.books {
		r.moved(e, name, "")
	}
	if e.name == "retried" {
		r.retried = true
	}
	if r.touched != nil {
		e.mentions(func(book string) { r.touched[book] = true })
	}
}

// book is what is known of a book; of one that the log has not mentioned before,
// that it is on the shelves, or nothing if the log's beginning is missing.
func (r *replay) book(name string) *book {
	b := r.books[name]
	if b == nil {
		b = &book{}
		if r.whole {
			*b = book{at: onShelves, stage: unordered, told: true}
		}
		r.books[name] = b
	}
	return b
}

// answered takes an order's answer into account.
func (r *replay) answered(e *event, receipt *receipt) {
	a := r.answers[receipt.ID]
	hash := maphash.String(r.seed, receipt.text)
	switch {
	case e.name == "rejected" && a != nil && !a.rejected:
		return // the receipt that stood before still stands
	case e.name == "rejected":
		r.answers[receipt.ID] = &answer{hash: hash, event: e.id, rejected: true, ambiguous: a != nil && a.hash != hash}
		return
	case a == nil:
		r.orders = append(r.orders, receipt.ID)
	case a.rejected && !r.retried || !a.rejected && milliseconds(e.id)-milliseconds(a.event) < r.terms.receiptMS:
		r.report(Finding{Kind: "receipt", Key: r.keys.Events(), User: receipt.User, Request: receipt.ID, Event: e.id,
			Problem: "it was decided twice; the first time by event " + a.event})
	}
	r.answers[receipt.ID] = &answer{hash: hash, event: e.id}
	if receipt.Action == "return" {
		r.gaveBack(e, receipt)
	} else {
		r.asked(e, receipt)
	}
}

// asked takes the answer to a request into account.
func (r *replay) asked(e *event, receipt *receipt) {
	loans := 0
	for i, name := range receipt.Books {
		b := r.book(name)
		wrong := func(problem string) {
			r.report(Finding{Kind: "log", Key: r.keys.Events(), Book: name, User: receipt.User, Request: receipt.ID, Event: e.id,
				Problem: problem + r.before(b)})
		}
		switch result := receipt.Results[i]; result {
		case "front", "shelves":
			loans++
			switch {
			case b.told && b.holder != "":
				wrong("it was lent while it was lent to " + b.holder)
				r.held[b.holder]--
			case result == "front" && b.at != inFront && b.at != anywhere:
				wrong("it was lent from front storage while it was " + b.at.String())
			case result == "shelves" && b.at != onShelves && b.at != toShelves && b.at != anywhere:
				wrong("it was ordered from the shelves while it was " + b.at.String())
			}
			r.held[receipt.User]++
			b.told, b.holder, b.dueMS, b.fetching = true, receipt.User, receipt.DueMS, ""
			b.days = (receipt.DueMS - milliseconds(e.id) + dayMS/2) / dayMS
			if result == "front" {
				b.at, b.stage = inHand, unordered
			} else {
				if b.at != toShelves && b.at != onShelves {
					b.at = anywhere
				}
				b.stage, b.order, b.fetching = ordered, receipt.ID, receipt.ID
			}
		case "unavailable":
			if b.told && (b.holder == "" || b.holder == receipt.User) {
				wrong("it was refused as unavailable while it was " + r.whose(b))
			}
		case "over_limit":
			if b.told && b.holder != "" {
				wrong("it was refused for the limit while it was " + r.whose(b))
			}
		default: // already_yours, perhaps with a time
			if b.told && b.holder != receipt.User {
				wrong("it was said to be the user's already while it was " + r.whose(b))
			}
		}
		b.event = e.id
	}
	if held := r.held[receipt.User]; loans > 0 && held > r.terms.loansMax && milliseconds(e.id) >= r.terms.sinceMS {
		r.report(Finding{Kind: "limit", Key: r.keys.card(receipt.User), User: receipt.User, Request: receipt.ID, Event: e.id,
			Problem: fmt.Sprintf("the user was lent more than the limit: %d books, where %d are allowed", held, r.terms.loansMax)})
	}
}

// gaveBack takes the answer to a return into account.
func (r *replay) gaveBack(e *event, receipt *receipt) {
	for i, name := range receipt.Books {
		b := r.book(name)
		wrong := func(problem string) {
			r.report(Finding{Kind: "log", Key: r.keys.Events(), Book: name, User: receipt.User, Request: receipt.ID, Event: e.id,
				Problem: problem + r.before(b)})
		}
		switch receipt.Results[i] {
		case "returned":
			switch {
			case b.told && b.holder != receipt.User:
				wrong("it was taken back while it was " + r.whose(b))
			case b.at != inHand && b.at != anywhere:
				wrong("it was taken back while it was " + b.at.String())
			}
			if r.held[receipt.User] > 0 {
				r.held[receipt.User]--
			}
			*b = book{at: inFront, stage: unordered, told: true}
		case "not_yours":
			if b.told && b.holder == receipt.User {
				wrong("it was refused as not the user's while it was " + r.whose(b))
			}
		case "on_its_way":
			if b.told && (b.holder != receipt.User || b.fetching == "") {
				wrong("it was refused as on its way while it was " + r.whose(b) + " and " + b.at.String())
			}
		}
		b.event = e.id
	}
}

// moved takes into account that a book went from one place to another.
func (r *replay) moved(e *event, name, request string) {
	b := r.book(name)
	wrong := func(problem string) {
		r.report(Finding{Kind: "log", Key: r.keys.Events(), Book: name, User: b.holder, Request: request, Event: e.id,
			Problem: e.name + ": " + problem + r.before(b)})
	}
	from := func(at place) {
		if b.at != at && b.at != anywhere {
			wrong("it was " + b.at.String())
		}
	}
	serves := func(was stage) bool {
		switch {
		case b.stage == unknown:
		case b.stage != was || b.order != request:
			return false
		}
		return true
	}
	switch e.name {
	case "shelved":
		from(inFront)
		b.at, b.stage, b.told, b.holder = toShelves, unordered, true, ""
	case "fetched":
		from(onShelves)
		if !serves(ordered) {
			// Whoever may append to the fetches can order a book for anyone. It is
			// sent back to the shelves, and no harm is done.
			r.notice(fmt.Sprintf("book %q was fetched for order %s, which did not ask for it (event %s)", name, request, e.id))
		} else {
			b.stage, b.order = unordered, request
		}
		b.at = toUser
	case "awaited":
		if b.at == onShelves {
			wrong("it was on the shelves")
		}
		if !serves(ordered) {
			r.notice(fmt.Sprintf("book %q was awaited for order %s, which did not ask for it (event %s)", name, request, e.id))
		}
		if b.at == anywhere {
			b.at = toShelves
		}
		b.stage, b.order = expected, request
	case "stored":
		from(toShelves)
		if b.stage == expected {
			wrong("order " + b.order + " awaited it")
		}
		b.at = onShelves
	case "handed_on":
		from(toShelves)
		if !serves(expected) {
			wrong("that order did not await it")
		}
		b.at, b.stage, b.order = toUser, unordered, request
	case "delivered":
		from(toUser)
		if b.told && b.fetching != request && b.fetching != "" {
			wrong("it was being fetched for order " + b.fetching)
		} else if r.whole && b.fetching == "" {
			wrong("it was not being fetched")
		}
		b.at, b.fetching = inHand, ""
		if b.stage == unknown {
			b.stage = unordered
		}
	case "sent_back":
		from(toUser)
		b.at = toShelves
	}
	b.event = e.id
}

// whose tells who has a book.
func (r *replay) whose(b *book) string {
	if b.holder == "" {
		return "lent to nobody"
	}
	return "lent to " + b.holder
}

// before names the event that told of a book before.
func (r *replay) before(b *book) string {
	if b.event == "" {
		return ""
	}
	return " (event " + b.event + ")"
}
