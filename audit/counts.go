package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"example.com/library/redisconn"
	"github.com/redis/go-redis/v9"
)

// limit checks that nobody holds more than a user may.
func (a *audit) limit(ctx context.Context) error {
	cards := map[string][]string{} // user → books
	for name, s := range a.sights {
		for _, loan := range s.loans {
			cards[loan.user] = append(cards[loan.user], name)
		}
	}
	a.report.Cards = len(cards)
	for user, books := range cards {
		limit := a.limitOf(user, books)
		if len(books) <= limit {
			continue
		}
		// The loans were seen one after another, the card's length is of one moment.
		version := a.log.terms.version
		held, err := a.rdb.HLen(ctx, a.keys.card(user)).Result()
		if err := a.eyes.missing(a.keys.card(user), err); err != nil {
			return err
		}
		if err := a.follow(ctx); err != nil {
			return err
		}
		if held > int64(limit) && a.log.terms.version == version {
			a.report.found(Finding{Kind: "limit", Key: a.keys.card(user), User: user,
				Problem: fmt.Sprintf("the user holds %d books, and the limit was %d when the last one was lent", held, limit)})
		}
	}
	return nil
}

// limitOf is how many books a user might hold when the last of these was lent: a limit
// that is lowered binds those who borrow, not those who have borrowed.
func (a *audit) limitOf(user string, books []string) int {
	limit, lastMS := math.MaxInt, int64(0)
	for _, name := range books {
		if b := a.log.books[name]; b != nil && b.holder == user && b.lentMS > lastMS {
			limit, lastMS = b.limit, b.lentMS
		}
	}
	if lastMS > 0 {
		return limit
	}
	// Of loans that are older than the log it is only known on which day they were made.
	for _, name := range books {
		for _, l := range a.sights[name].loans {
			limit = min(limit, a.log.loansMax(l.dueMS-(l.days+2)*dayMS))
		}
	}
	return limit
}

// away checks the count of the books off the shelves.
func (a *audit) away(ctx context.Context) error {
	if a.eyes.broken[a.keys.away()] || a.eyes.broken[a.keys.Events()] {
		return nil // it was found, or cannot be told
	}
	// The count, and the event up to which it counts.
	var counted *redis.StringCmd
	var last *redis.XMessageSliceCmd
	err := redisconn.Transaction(ctx, a.rdb, func(pipe redis.Pipeliner) {
		counted = pipe.Get(ctx, a.keys.away())
		last = pipe.XRevRangeN(ctx, a.keys.Events(), "+", "-", 1)
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return a.eyes.missing(a.keys.away(), err)
	}
	if len(last.Val()) > 0 {
		if err := a.log.to(ctx, last.Val()[0].ID); err != nil {
			return err
		}
	}
	out := 0
	for _, b := range a.log.books {
		out += once(b.at != onShelves && b.at != anywhere)
	}
	if !a.log.whole {
		// Where the log does not tell where a book is, nothing has moved it.
		for name, s := range a.sights {
			if b := a.log.books[name]; b == nil || b.at == anywhere {
				out += once(s.out)
			}
		}
	}
	text := cmp.Or(counted.Val(), "0")
	count, err := strconv.Atoi(text)
	switch {
	case err != nil:
		a.report.found(Finding{Kind: "value", Key: a.keys.away(), Problem: "it should be a number, and is " + quoted(text)})
	case count != out:
		a.report.found(Finding{Kind: "count", Key: a.keys.away(), Event: a.log.last, Problem: fmt.Sprintf("it counts %d off the shelves, and by the log it should be %d", count, out)})
	}
	return nil
}

// values checks that the demand for books and its clock are numbers, and that the
// pages of receipts end.
func (a *audit) values(ctx context.Context) error {
	wrong := func(key, book, text string) {
		if n, err := strconv.ParseFloat(text, 64); err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			a.report.found(Finding{Kind: "value", Key: key, Book: book, Problem: "it should be a number, and is " + quoted(text)})
		}
	}
	for _, key := range []string{a.keys.demand(), a.keys.faded()} {
		if err := a.eyes.hash(ctx, key, func(book, text string) { wrong(key, book, text) }); err != nil {
			return err
		}
	}
	if !a.eyes.broken[a.keys.clock()] {
		text, err := a.rdb.Get(ctx, a.keys.clock()).Result()
		if err := a.eyes.missing(a.keys.clock(), err); err != nil {
			return err
		}
		if err == nil {
			wrong(a.keys.clock(), "", text)
		}
	}
	for key, problem := range map[string]string{
		a.keys.page():          "it has no time to live, so this page of receipts would never be full",
		a.keys.receipts():      "it has no time to live, so these receipts would stay where nobody decides any more",
		a.keys.olderReceipts(): "it has no time to live, so these receipts would stay where nobody decides any more",
	} {
		lives, err := a.rdb.PTTL(ctx, key).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if lives == -1 && !a.eyes.broken[key] {
			a.report.found(Finding{Kind: "value", Key: key, Problem: problem})
		}
	}
	return nil
}
