package lending

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/worker"

	"github.com/redis/go-redis/v9"
)

// A Card is what a user holds.
type Card struct {
	User  string `json:"user"`
	Loans []Loan `json:"loans"`
	// LoansMax is how many books the user may hold; 0 if no lending service ever ran.
	LoansMax int `json:"loans_max"`
	// Room is how many more books the user may borrow.
	Room int `json:"room"`
}

// A Loan is one book on a card.
type Loan struct {
	Book string `json:"book"`
	// Since is the beginning of the day on which the book was lent, and Due the end of the
	// day on which it is due, both in the library's time zone.
	Since time.Time `json:"since"`
	Due   time.Time `json:"due"`
	// OnItsWay says that the book is still being fetched from the shelves.
	OnItsWay bool `json:"on_its_way"`
}

// Card looks up what a user holds, by the time it is due. Its error wraps
// library.ErrName or library.ErrTerms, or is Redis's.
func (c *Client) Card(ctx context.Context, user string) (*Card, error) {
	user, err := library.CleanName("user", user)
	if err != nil {
		return nil, err
	}
	fields, err := c.rdb.HGetAll(ctx, c.keys.card(user)).Result()
	if err != nil {
		return nil, fmt.Errorf("look up the card: %w", err)
	}
	terms, err := LookUpTerms(ctx, c.rdb, c.keys.Keys)
	if err != nil {
		return nil, err
	}
	zone, err := terms.Zone()
	if err != nil {
		return nil, err
	}
	card := &Card{User: user, Loans: []Loan{}}
	var books []string
	for book, stamp := range fields {
		due, since := parseStamp(stamp, zone)
		card.Loans = append(card.Loans, Loan{Book: book, Since: since, Due: due})
	}
	slices.SortFunc(card.Loans, func(a, b Loan) int {
		return cmp.Or(a.Due.Compare(b.Due), strings.Compare(a.Book, b.Book))
	})
	for _, loan := range card.Loans {
		books = append(books, loan.Book)
	}
	if len(books) > 0 {
		orders, err := c.rdb.HMGet(ctx, c.keys.fetching(), books...).Result()
		if err != nil {
			return nil, fmt.Errorf("look up what is being fetched: %w", err)
		}
		for i := range card.Loans {
			card.Loans[i].OnItsWay = orders[i] != nil
		}
	}
	if terms.Stand() {
		card.LoansMax = terms.LoansMax
	}
	card.Room = max(0, card.LoansMax-len(card.Loans))
	return card, nil
}

// Zone looks up the library's time zone. Its error wraps library.ErrTerms, or is
// Redis's.
func (c *Client) Zone(ctx context.Context) (*time.Location, error) {
	terms, err := LookUpTerms(ctx, c.rdb, c.keys.Keys)
	if err != nil {
		return nil, err
	}
	return terms.Zone()
}

// A Place is where a book is, as the lending service knows it.
type Place string

// The places.
const (
	InFront   Place = "front"      // in front storage
	IsLent    Place = "lent"       // in a user's hands
	OnWay     Place = "on_its_way" // lent, and on its way from the shelves
	WithOther Place = ""           // not with the lending service: the shelving service knows
)

// Whereabouts tell where a book is.
type Whereabouts struct {
	Book  string `json:"book"`
	Place Place  `json:"place"`
	// User has the book, if it is lent. A user's loans are private: show it to staff only.
	User string `json:"user,omitempty"`
	// Due is when the loan ends, if the book is lent, in the library's time zone; else zero.
	Due time.Time `json:"due,omitzero"`
}

// Where looks up where a book is. Its error wraps library.ErrName or library.ErrTerms,
// or is Redis's.
func (c *Client) Where(ctx context.Context, book string) (*Whereabouts, error) {
	book, err := library.CleanName("book", book)
	if err != nil {
		return nil, err
	}
	var holder, order *redis.StringCmd
	var front *redis.BoolCmd
	err = redisconn.Together(ctx, c.rdb, func(pipe redis.Pipeliner) {
		holder = pipe.HGet(ctx, c.keys.loans(), book)
		order = pipe.HGet(ctx, c.keys.fetching(), book)
		front = pipe.SIsMember(ctx, c.keys.front(), book)
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("look up the book: %w", err)
	}
	where := &Whereabouts{Book: book, Place: WithOther}
	switch {
	case holder.Err() == nil:
		where.Place, where.User = IsLent, holder.Val()
		if order.Err() == nil {
			where.Place = OnWay
		}
		stamp, err := c.rdb.HGet(ctx, c.keys.card(where.User), book).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("look up the loan: %w", err)
		}
		if err == nil {
			zone, err := c.Zone(ctx)
			if err != nil {
				return nil, err
			}
			where.Due, _ = parseStamp(stamp, zone)
		}
	case front.Val():
		where.Place = InFront
	}
	return where, nil
}

// Counts are how many books are where, as the lending service knows it.
type Counts struct {
	Loans    int64 `json:"loans"`
	OnTheWay int64 `json:"on_their_way"` // of these, still being fetched
	Front    int64 `json:"front"`
	FrontMax int64 `json:"front_max"`
}

// Count counts the books. Its error is Redis's.
func (c *Client) Count(ctx context.Context) (Counts, error) {
	var loans, fetching, front *redis.IntCmd
	err := redisconn.Together(ctx, c.rdb, func(pipe redis.Pipeliner) {
		loans = pipe.HLen(ctx, c.keys.loans())
		fetching = pipe.HLen(ctx, c.keys.fetching())
		front = pipe.SCard(ctx, c.keys.front())
	})
	if err != nil {
		return Counts{}, fmt.Errorf("count the books: %w", err)
	}
	counts := Counts{Loans: loans.Val(), OnTheWay: fetching.Val(), Front: front.Val()}
	// Whoever looks up the terms is told what is wrong with them.
	if terms, err := LookUpTerms(ctx, c.rdb, c.keys.Keys); err == nil && terms.Stand() {
		counts.FrontMax = int64(terms.FrontMax)
	}
	return counts, nil
}

// Retry puts an entry that a service set aside back into its inbox, and returns
// its new id there. If it is a request or a return, its receipt that said
// "rejected" is taken back. Its error wraps worker.ErrNotRejected or
// worker.ErrNotKept, or is Redis's.
func (c *Client) Retry(ctx context.Context, service, id string) (string, error) {
	return worker.Retry(ctx, c.rdb, c.keys.Keys, service, id, c.keys.receipts(), c.keys.olderReceipts())
}
