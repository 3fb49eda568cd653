package guarantees_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"example.com/library/lending"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// A toll is what one death took.
type toll struct {
	answered int           // answers that clients were given before the death
	lost     int           // of these, not there in the end, or their loans are not
	reach    time.Duration // how long before the death the first of the lost was given

	sent     int // orders that the server had accepted before the death, and nobody waited for
	sentLost int // of these, never decided

	again int // orders that were accepted, lost, and sent again by the client that waited
	two   int // times that a book was with two users, as they were told

	first time.Duration // from the death to the first answer after it
	all   time.Duration // from the death to the last answer to an order that was sent before it

	meanwhile int // answers while what had died was away
	unknown   int // orders whose impatient users were told that the answer is not known

	syncs []time.Duration // that fdatasync took, where a disk tells
	waits []time.Duration // from orders to answers, before the death
	rate  float64         // answers a second, before the death
}

// tally compares what the ledger's clients were told with what the library knows.
// That no order is decided twice and no book lent twice is checked, whatever was lost.
func (l *ledger) tally(started, struck, back time.Time) toll {
	s := l.stage
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.until("the library comes to rest", func() bool {
		left, err := s.rdb.HLen(ctx, keys.Key("lending:fetching")).Result()
		for _, service := range []string{library.Lending, library.Shelving} {
			for _, inbox := range keys.Inboxes(service) {
				length, failed := s.rdb.XLen(ctx, inbox).Result()
				left, err = left+length, errors.Join(err, failed)
			}
		}
		return left == 0 && err == nil
	})
	reader, err := lending.NewClient(s.rdb, keys.Library) // it believes the master
	if err != nil {
		s.Fatal(err)
	}
	loans, err := s.rdb.HGetAll(ctx, keys.Key("lending:loans")).Result()
	if err != nil {
		s.Fatal(err)
	}
	decided := l.replay(ctx, loans)

	result := toll{unknown: l.unknown}
	holding := l.holding()
	var first, all time.Time
	for _, p := range l.orders {
		receipt, err := reader.Receipt(ctx, p.ID)
		if err != nil && !errors.Is(err, lending.ErrNoReceipt) {
			s.Fatal(err)
		}
		known := err == nil
		if known && decided[p.ID] != 1 {
			s.Errorf("order %s has a receipt and was decided %d times", p.ID, decided[p.ID])
		}
		// What the dead had said may be read a moment after it died.
		early := len(p.accepted) > 0 && (p.accepted[0].Before(struck) || !known && p.accepted[0].Before(back))
		switch {
		case !p.waited:
			if early {
				result.sent++
				if !known {
					result.sentLost++
				}
			} else if !known {
				s.Errorf("order %s was accepted after the death (at %v), and never decided", p.ID, p.accepted)
			}
			continue
		case p.receipt == nil:
			s.Errorf("order %s got no answer", p.ID)
			continue
		}
		if len(p.accepted) > 1 && early {
			result.again++
		}
		lost := !known || receipt.Summary() != p.receipt.Summary()
		for _, book := range holding[p.ID] {
			lost = lost || loans[book] != p.User
		}
		if before := p.answered.Before(struck); before || lost {
			result.answered++
			if lost {
				result.lost++
				result.reach = max(result.reach, struck.Sub(p.answered))
			}
			if before {
				result.waits = append(result.waits, p.answered.Sub(p.sent))
			}
		}
		if p.answered.After(struck.Add(meanwhileAfter)) && p.answered.Before(l.away) {
			result.meanwhile++
		}
		if p.answered.After(back) {
			if first.IsZero() || p.answered.Before(first) {
				first = p.answered
			}
			if p.sent.Before(struck) && p.answered.After(all) {
				all = p.answered
			}
		}
	}
	result.first, result.all = first.Sub(struck), max(all.Sub(struck), 0)
	result.rate = float64(len(result.waits)) / struck.Sub(started).Seconds()
	result.two = l.withTwo()
	if s.disk != nil {
		result.syncs = s.disk.syncTimes(s)
	}
	return result
}

// meanwhileAfter lets what was underway at the death arrive.
const meanwhileAfter = 100 * time.Millisecond

// holding are the books that users were lent and have not brought back, by order.
func (l *ledger) holding() map[string][]string {
	type loan struct{ user, book string }
	last := map[loan]string{}
	for _, p := range l.orders { // each user sends one after another
		for _, book := range p.Books {
			if p.Action == library.Return {
				delete(last, loan{p.User, book})
			}
		}
		if p.receipt == nil || p.Action == library.Return {
			continue
		}
		for _, line := range p.receipt.Books {
			if line.Result == library.Lent {
				last[loan{p.User, line.Book}] = p.ID
			}
		}
	}
	holding := map[string][]string{}
	for l, id := range last {
		holding[id] = append(holding[id], l.book)
	}
	return holding
}

// withTwo counts how often a book was with two users at once. A user surely has a book
// from the moment of the answer until sending it back.
func (l *ledger) withTwo() (count int) {
	type stay struct {
		user     string
		from, to time.Time
	}
	stays := map[string][]*stay{}
	byUser := map[[2]string]*stay{}
	for _, p := range l.orders {
		for _, book := range p.Books {
			if with := byUser[[2]string{p.User, book}]; p.Action == library.Return && with != nil && with.to.IsZero() {
				with.to = p.sent
			}
		}
		if p.receipt == nil || p.Action == library.Return {
			continue
		}
		for _, line := range p.receipt.Books {
			with := byUser[[2]string{p.User, line.Book}]
			if line.Result == library.Lent && (with == nil || !with.to.IsZero()) {
				with = &stay{user: p.User, from: p.answered}
				byUser[[2]string{p.User, line.Book}] = with
				stays[line.Book] = append(stays[line.Book], with)
			}
		}
	}
	for _, of := range stays {
		slices.SortFunc(of, func(a, b *stay) int { return a.from.Compare(b.from) })
		for i := 1; i < len(of); i++ {
			before := of[i-1]
			if before.user != of[i].user && (before.to.IsZero() || before.to.After(of[i].from)) {
				count++
			}
		}
	}
	return count
}

// replay goes through the library's own log and returns how often each order was
// decided. By it no book may have been lent while it was lent, and it must end with
// the loans there are.
func (l *ledger) replay(ctx context.Context, loans map[string]string) (decided map[string]int) {
	s := l.stage
	s.Helper()
	decided = map[string]int{}
	lent := map[string]string{}
	for start := "-"; ; {
		page, err := s.rdb.XRangeN(ctx, keys.Events(), start, "+", 1000).Result()
		if err != nil {
			s.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, entry := range page {
			start = "(" + entry.ID
			if entry.Values["event"] != "decided" {
				continue
			}
			l.apply(entry, decided, lent)
		}
	}
	for id, times := range decided {
		if times != 1 {
			s.Errorf("order %s was decided %d times", id, times)
		}
	}
	if len(lent) != len(loans) {
		s.Errorf("%d books are lent, by the log %d", len(loans), len(lent))
	}
	for book, user := range loans {
		if lent[book] != user {
			s.Errorf("%s has %s, by the log %q", user, book, lent[book])
		}
		if held, err := s.rdb.HExists(ctx, keys.Key("lending:card:"+user), book).Result(); err != nil || !held {
			s.Errorf("%s is lent to %s, and not on the card: %v", book, user, err)
		}
	}
	return decided
}

// apply does to the loans what one entry of the log tells.
func (l *ledger) apply(entry redis.XMessage, decided map[string]int, lent map[string]string) {
	s := l.stage
	var receipts []struct {
		ID, User string
		Books    []string
		Results  []string
	}
	text, _ := entry.Values["receipts"].(string)
	if err := json.Unmarshal([]byte(text), &receipts); err != nil || len(receipts) == 0 {
		s.Fatalf("the log cannot be read: %v: %q", err, entry.Values)
	}
	for _, receipt := range receipts {
		decided[receipt.ID]++
		for i, book := range receipt.Books {
			holder := lent[book]
			switch receipt.Results[i] {
			case library.FromFront, library.FromShelves:
				if holder != "" {
					s.Errorf("by the log %s was lent to %s while %s had it", book, receipt.User, holder)
				}
				lent[book] = receipt.User
			case string(library.TakenBack):
				if holder != receipt.User {
					s.Errorf("by the log %s came back from %s while %q had it", book, receipt.User, holder)
				}
				delete(lent, book)
			}
		}
	}
}

// middle is the median of some values, and the largest.
func middle[T cmp.Ordered](values []T) (median, most T) {
	if len(values) == 0 {
		return median, most
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2], sorted[len(sorted)-1]
}
