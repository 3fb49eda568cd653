package audit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"strings"
	"time"

	"example.com/library/library"

	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

// errOutrun is returned when the log is trimmed at its beginning faster than it is read.
var errOutrun = errors.New("the log was trimmed before it could be read; keep more of it (lendingd terms --log-keep), or try again when less is going on")

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
	lentMS int64  // when it was made; 0 if the log does not tell
	limit  int    // how many books the user might hold then
	// fetching is the request for which the lending service has it fetched; order is
	// the one that the shelving service works for, and stage is how far that is;
	// delivery is the one in the entry of the deliveries, while it is on its way to the
	// user. But for forged orders they are all the same.
	fetching, order, delivery string
	stage                     stage
	event                     string // the last one that told of it
}

// An answer is what the log says of an order's receipt.
type answer struct {
	hash     uint64 // of the receipt's text
	or       uint64 // of another that may stand in its place; 0 for none
	event    string
	user     string
	order    string // the action, the user and the books, as far as the receipt has them
	rejected bool
	keepMS   int64 // for how long it was promised to be kept; 0 if that is not known
	seen     int   // in which round it was last found among the stored ones
}

// A decision is an order and the event that tells of its answer.
type decision struct{ id, event string }

// A replay is the log, followed from its beginning.
type replay struct {
	rdb  redis.UniversalClient
	keys keys
	// whole says that nothing of the log's beginning is missing: a book that it does
	// not mention was never touched.
	whole bool
	terms terms // that the library had when what was read last happened
	// limit is how many books a user might hold, whatever the terms were; 0 for none.
	limit  int
	logMax int64 // about how many entries the log keeps

	last       string // the id of the last entry read
	first      string
	entries    int
	books      map[string]*book
	answers    map[string]*answer
	decisions  []decision         // in their order
	rejections map[[2]string]bool // the stream and the id of each entry that was set aside
	held       map[string]int     // loans a user, as far as the log tells
	retried    string             // the last event that tells of an entry put back
	seed       maphash.Seed
	report     func(Finding)
	notice     func(string)
	// touched gets the books that entries mention; nil for nobody wants to know.
	touched map[string]bool
	// keep is given every entry as it is read; nil for nobody wants to know.
	keep func([]redis.XMessage) error
}

// isWhole asks whether nothing of the log is gone.
func (r *replay) isWhole(ctx context.Context) (bool, error) {
	info, err := r.rdb.XInfoStream(ctx, r.keys.Events()).Result()
	switch {
	case err != nil && strings.Contains(err.Error(), "no such key"):
		return true, nil
	case err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the log: %w", err)
	}
	// The embedded server does not count what was ever added; that it has trimmed is
	// known by the log's being full.
	return info.EntriesAdded == info.Length || info.EntriesAdded == 0 && info.Length < r.logMax, nil
}

// mayMiss reports whether what happened at the time of an entry of another stream may
// be in the part of the log that is gone.
func (r *replay) mayMiss(id string) bool {
	return !r.whole && (r.first == "" || milliseconds(id) <= milliseconds(r.first))
}

// to reads the log up to an entry.
func (r *replay) to(ctx context.Context, until string) error {
	for size := int64(logPage); isBefore(r.last, until); size = min(2*size, logPage) {
		start := r.last
		if r.entries == 0 {
			start = "-"
		}
		page, err := r.rdb.XRangeN(ctx, r.keys.Events(), start, until, size).Result()
		var large *redisconn.LargeReplyError
		if errors.As(err, &large) && size > 2 {
			size = 1 // then two: one that was read, and the next
			continue
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		switch {
		case r.entries == 0 && len(page) > 0:
			r.first = page[0].ID
			// Asked after it was read: it may have been trimmed just before.
			if r.whole, err = r.isWhole(ctx); err != nil {
				return err
			}
		case r.entries == 0:
			return nil
		case len(page) > 0 && page[0].ID == r.last:
			page = page[1:] // it shows that nothing is missing between the pages
		default:
			oldest, err := r.rdb.XRangeN(ctx, r.keys.Events(), "-", "+", 1).Result()
			if err != nil {
				return fmt.Errorf("read the log: %w", err)
			}
			if len(oldest) == 0 || isBefore(r.last, oldest[0].ID) {
				return errOutrun
			}
			r.report(Finding{Kind: "log", Key: r.keys.Events(), Event: r.last, Problem: "somebody deleted this entry from the log just now"})
		}
		if len(page) == 0 {
			return nil
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
		r.report(Finding{Kind: "log", Key: r.keys.Events(), Event: message.ID, Problem: "this entry cannot be understood: " + err.Error()})
		return
	}
	for i := range e.receipts {
		r.answered(e, &e.receipts[i])
	}
	for _, order := range e.orders {
		user := ""
		if len(order) == 3 {
			user = order[2]
		}
		r.moved(e, order[1], order[0], user)
	}
	for _, name := range e.books {
		r.moved(e, name, "", "")
	}
	switch e.name {
	case "rejected":
		r.rejections[[2]string{e.stream, e.entry}] = true
	case "retried":
		r.retried = e.id
	case "terms":
		r.agreed(e)
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

// wrong reports what an event tells of a book, if that cannot follow on what the log
// told before.
func (r *replay) wrong(e *event, name, user, request string, b *book, problem string) {
	if b.event != "" {
		problem += "; event " + b.event + " told of it last"
	}
	r.report(Finding{Kind: "log", Key: r.keys.Events(), Book: name, User: user, Request: request, Event: e.id, Problem: problem})
}

// answered takes an order's answer into account.
func (r *replay) answered(e *event, receipt *receipt) {
	a := r.answers[receipt.ID]
	next := &answer{
		hash: maphash.String(r.seed, receipt.text), event: e.id, user: receipt.User, rejected: e.name == "rejected",
		order: fmt.Sprintf("%s %q %q", receipt.Action, receipt.User, receipt.Books), keepMS: r.keepMS(milliseconds(e.id)),
	}
	// Within the time for which it was promised to be kept, the first one stands and makes
	// what comes later a repeat. One that says rejected does so only for the order that it
	// names, and can be taken back by a person.
	stands := a != nil && milliseconds(e.id)-milliseconds(a.event) < a.keepMS &&
		!(a.rejected && (isBefore(a.event, r.retried) || !next.rejected && a.order != next.order))
	if next.rejected && stands {
		return
	}
	if next.rejected && a != nil {
		next.or = a.hash
	}
	r.answers[receipt.ID] = next
	if next.rejected {
		return
	}
	if stands {
		r.report(Finding{Kind: "receipt", Key: r.keys.Events(), User: receipt.User, Request: receipt.ID, Event: e.id,
			Problem: "it was decided a second time; event " + a.event + " tells of the first"})
	}
	r.decisions = append(r.decisions, decision{receipt.ID, e.id})
	if receipt.Action == "return" {
		r.gaveBack(e, receipt)
	} else {
		r.asked(e, receipt)
	}
}

// asked takes the answer to a request into account.
func (r *replay) asked(e *event, receipt *receipt) {
	loans, limit := 0, r.loansMax(milliseconds(e.id))
	for i, name := range receipt.Books {
		b := r.book(name)
		wrong := func(problem string) { r.wrong(e, name, receipt.User, receipt.ID, b, problem) }
		word, due, _ := strings.Cut(receipt.Results[i], ":")
		switch word {
		case "front", "shelves":
			loans++
			switch {
			case b.told && b.holder != "":
				wrong("it was lent while it was " + lentTo(b.holder))
				r.held[b.holder]--
			case word == "front" && b.at != inFront && b.at != anywhere:
				wrong("it was lent from front storage while it was " + b.at.String())
			case word == "shelves" && b.at != onShelves && b.at != toShelves && b.at != anywhere:
				wrong("it was ordered from the shelves while it was " + b.at.String())
			}
			r.held[receipt.User]++
			b.told, b.holder, b.dueMS, b.fetching = true, receipt.User, receipt.DueMS, ""
			b.days, b.lentMS, b.limit = r.days(milliseconds(e.id), receipt.DueMS), milliseconds(e.id), limit
			if word == "front" {
				b.at = inHand
				b.stays()
			} else {
				if b.at != toShelves && b.at != onShelves {
					b.at = anywhere
				}
				b.stage, b.order, b.fetching = ordered, receipt.ID, receipt.ID
			}
		case "unavailable":
			if b.told && (b.holder == "" || b.holder == receipt.User) {
				wrong("it was refused as not available while it was " + lentTo(b.holder))
			}
		case "over_limit":
			if b.told && b.holder != "" {
				wrong("it was refused for the limit while it was " + lentTo(b.holder))
			}
		case "already_yours":
			if b.told && b.holder != receipt.User {
				wrong("it was said to be the user's already while it was " + lentTo(b.holder))
			} else if ms, err := strconv.ParseInt(due, 10, 64); b.told && due != "" && (err != nil || ms != b.dueMS) {
				wrong("it was said to be due " + date(ms) + " while it was due " + date(b.dueMS))
			}
		}
		b.event = e.id
	}
	if held := r.held[receipt.User]; loans > 0 && held > limit {
		r.report(Finding{Kind: "limit", Key: r.keys.card(receipt.User), User: receipt.User, Request: receipt.ID, Event: e.id,
			Problem: fmt.Sprintf("the user was lent too much: %d books then, and the limit was %d", held, limit)})
	}
}

// days is for how many days a loan was made. It ends at the end of a day; one that was
// made by an older version, that many times 24 hours later.
func (r *replay) days(madeMS, dueMS int64) int64 {
	if days := (dueMS - madeMS + dayMS/2) / dayMS; math.Abs(float64(dueMS-madeMS-days*dayMS)) < 1000 {
		return days
	}
	zone, err := r.terms.Zone()
	if err != nil {
		zone = time.UTC
	}
	return int64(library.DateOf(time.UnixMilli(dueMS), zone).Sub(library.DateOf(time.UnixMilli(madeMS), zone)).Hours() / 24)
}

// stays takes into account that the shelving service has nothing to do with a book.
// Only of a forged order it still knows.
func (b *book) stays() {
	if b.stage != expected {
		b.stage = unordered
	}
}

// gaveBack takes the answer to a return into account.
func (r *replay) gaveBack(e *event, receipt *receipt) {
	for i, name := range receipt.Books {
		b := r.book(name)
		wrong := func(problem string) { r.wrong(e, name, receipt.User, receipt.ID, b, problem) }
		switch receipt.Results[i] {
		case "returned":
			switch {
			case b.told && b.holder != receipt.User:
				wrong("it was taken back while it was " + lentTo(b.holder))
			case b.at != inHand && b.at != anywhere:
				wrong("it was taken back while it was " + b.at.String())
			}
			if r.held[receipt.User] > 0 {
				r.held[receipt.User]--
			}
			b.at, b.told, b.holder, b.dueMS, b.days, b.lentMS, b.fetching = inFront, true, "", 0, 0, 0, ""
			b.stays()
		case "not_yours":
			if b.told && b.holder == receipt.User {
				wrong("it was refused as not the user's while it was " + lentTo(b.holder))
			}
		case "on_its_way":
			if b.told && (b.holder != receipt.User || b.fetching == "") {
				wrong("it was refused as on its way while it was " + lentTo(b.holder) + " and " + b.at.String())
			}
		}
		b.event = e.id
	}
}

// moved takes into account that a book went from one place to another. user is whom
// the event names.
func (r *replay) moved(e *event, name, request, user string) {
	b := r.book(name)
	wrong := func(problem string) {
		r.wrong(e, name, b.holder, request, b, "it was "+strings.ReplaceAll(e.name, "_", " ")+problem)
	}
	from := func(at place) {
		if b.at != at && b.at != anywhere {
			wrong(" while it was " + b.at.String())
		}
	}
	// Whoever may append to the fetches can order a book for anyone. It is sent back to
	// the shelves, and mostly no harm is done.
	serves := func() bool {
		if b.stage == unknown || b.stage == ordered && b.order == request {
			return true
		}
		r.notice(fmt.Sprintf("book %s was %s for order %s, which did not ask for it (event %s)", quoted(name), e.name, quoted(request), e.id))
		return false
	}
	switch e.name {
	case "shelved":
		from(inFront)
		b.at, b.told, b.holder = toShelves, true, ""
		b.stays()
	case "fetched":
		from(onShelves)
		if serves() {
			b.stage = unordered
		}
		b.at, b.delivery = toUser, request
	case "awaited":
		if b.at == onShelves {
			wrong(" while it was on the shelves")
		}
		serves()
		if b.at == anywhere {
			b.at = toShelves
		}
		b.stage, b.order = expected, request
	case "stored":
		from(toShelves)
		if b.stage == expected {
			wrong(" while order " + quoted(b.order) + " awaited it")
			b.stage = unordered
		}
		b.at = onShelves
	case "handed_on":
		from(toShelves)
		if b.stage != unknown && (b.stage != expected || b.order != request) {
			wrong(" to an order that did not await it")
		}
		b.at, b.stage, b.delivery = toUser, unordered, request
	case "delivered", "sent_back":
		from(toUser)
		switch {
		case b.at == toUser && b.delivery != request:
			wrong(" for this order while it was on its way for order " + quoted(b.delivery))
		case b.told && e.name == "delivered" && b.fetching != request:
			wrong(" while it was being fetched for " + orNobody(b.fetching))
		case b.told && e.name == "sent_back" && b.fetching == request:
			wrong(" while this order was waiting for it")
		case b.told && b.holder != user:
			wrong(" as " + lentTo(user) + " while it was " + lentTo(b.holder))
		}
		if b.at = toShelves; e.name == "delivered" {
			b.at, b.fetching = inHand, ""
			if b.stage == unknown {
				b.stage = unordered
			}
		}
	}
	b.event = e.id
}
