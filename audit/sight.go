package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

const (
	// scanCount is about how many fields or keys one command of a scan looks at.
	scanCount = 1000
	// pipelined is how many small commands are sent at once.
	pipelined = 500
)

// A loan is a book on a user's card.
type loan struct {
	user  string
	dueMS int64
	days  int64
}

// sinceMS is when the loan was made.
func (l loan) sinceMS() int64 { return l.dueMS - l.days*dayMS }

// A sight is what was seen of a book, in all keys.
type sight struct {
	holder     string
	loans      []loan // on cards
	fetching   string // "request bell"
	front, out bool
	astray     string // a bay it is noted in, but does not belong to
	awaited    string
	fetches    []string // the requests of its orders that wait
	deliveries []string // the requests of its deliveries that wait
	stores     int      // how many entries of the stores name it
}

// An observer reads keys in small pages, so that nobody has to wait for it.
type observer struct {
	rdb    redis.UniversalClient
	master redis.UniversalClient // where keys are scanned
	keys   keys
	report func(Finding)
	broken map[string]bool // keys that cannot be read, as they are of another type
}

// missing is what is seen of a key that holds something else than it should. It is
// reported once, and its error is nil then.
func (o *observer) missing(key string, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return nil
	}
	if !strings.HasPrefix(err.Error(), "WRONGTYPE") {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if !o.broken[key] {
		o.broken[key] = true
		o.report(Finding{Kind: "type", Key: key, Problem: "it holds a value of another type than it should"})
	}
	return nil
}

// hash calls f with every field of a HASH, some of them perhaps twice.
func (o *observer) hash(ctx context.Context, key string, f func(field, value string)) error {
	for cursor := uint64(0); ; {
		page, next, err := o.rdb.HScan(ctx, key, cursor, "", scanCount).Result()
		if err != nil {
			return o.missing(key, err)
		}
		for i := 0; i+1 < len(page); i += 2 {
			f(page[i], page[i+1])
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// hashes calls f with every HASH whose key has that prefix: the rest of its key,
// and all its fields.
func (o *observer) hashes(ctx context.Context, prefix string, f func(rest string, fields map[string]string)) error {
	for cursor := uint64(0); ; {
		names, next, err := o.master.Scan(ctx, cursor, prefix+"*", scanCount).Result()
		if err != nil {
			return fmt.Errorf("look for %s*: %w", prefix, err)
		}
		for len(names) > 0 {
			some := names[:min(len(names), pipelined)]
			names = names[len(some):]
			pages := make([]*redis.MapStringStringCmd, len(some))
			_, _ = o.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
				for i, name := range some {
					pages[i] = pipe.HGetAll(ctx, name)
				}
				return nil
			}) // each command has its own error
			for i, name := range some {
				if err := o.missing(name, pages[i].Err()); err != nil {
					return err
				}
				f(name[len(prefix):], pages[i].Val())
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// everything looks at all keys.
func (o *observer) everything(ctx context.Context) (map[string]*sight, error) {
	sights := map[string]*sight{}
	of := func(book string) *sight {
		s := sights[book]
		if s == nil {
			s = &sight{}
			sights[book] = s
		}
		return s
	}
	if err := o.hash(ctx, o.keys.loans(), func(book, user string) { of(book).holder = user }); err != nil {
		return nil, err
	}
	err := o.hashes(ctx, o.keys.cards(), func(user string, fields map[string]string) {
		for book, stamp := range fields {
			s := of(book)
			s.loans = append(s.loans, newLoan(user, stamp))
		}
	})
	if err != nil {
		return nil, err
	}
	if err := o.hash(ctx, o.keys.fetching(), func(book, order string) { of(book).fetching = order }); err != nil {
		return nil, err
	}
	for cursor := uint64(0); ; {
		page, next, err := o.rdb.SScan(ctx, o.keys.front(), cursor, "", scanCount).Result()
		if err := o.missing(o.keys.front(), err); err != nil {
			return nil, err
		}
		for _, book := range page {
			of(book).front = true
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	err = o.hashes(ctx, o.keys.bays(), func(bay string, fields map[string]string) {
		for book := range fields {
			if key := o.keys.bays() + bay; key == o.keys.bay(book) {
				of(book).out = true
			} else {
				of(book).astray = key
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if err := o.hash(ctx, o.keys.awaited(), func(book, request string) { of(book).awaited = request }); err != nil {
		return nil, err
	}
	return sights, o.travelling(ctx, of)
}

// again looks at some books again. users are those on whose cards a book may be.
func (o *observer) again(ctx context.Context, books []string, users func(book string) []string) (map[string]*sight, error) {
	sights := make(map[string]*sight, len(books))
	for from := 0; from < len(books); from += pipelined {
		some := books[from:min(len(books), from+pipelined)]
		holders := make([]*redis.StringCmd, len(some))
		_, _ = o.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, book := range some {
				holders[i] = pipe.HGet(ctx, o.keys.loans(), book)
			}
			return nil
		})
		type found struct {
			fetching, awaited *redis.StringCmd
			front, out        *redis.BoolCmd
			cards             map[string]*redis.StringCmd
		}
		all := make([]found, len(some))
		_, _ = o.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, book := range some {
				cards := map[string]*redis.StringCmd{}
				for _, user := range append(users(book), holders[i].Val()) {
					if user != "" && cards[user] == nil {
						cards[user] = pipe.HGet(ctx, o.keys.card(user), book)
					}
				}
				all[i] = found{
					pipe.HGet(ctx, o.keys.fetching(), book), pipe.HGet(ctx, o.keys.awaited(), book),
					pipe.SIsMember(ctx, o.keys.front(), book), pipe.HExists(ctx, o.keys.bay(book), book), cards,
				}
			}
			return nil
		})
		for i, book := range some {
			f := all[i]
			for key, err := range map[string]error{
				o.keys.loans(): holders[i].Err(), o.keys.fetching(): f.fetching.Err(), o.keys.awaited(): f.awaited.Err(),
				o.keys.front(): f.front.Err(), o.keys.bay(book): f.out.Err(),
			} {
				if err := o.missing(key, err); err != nil {
					return nil, err
				}
			}
			s := &sight{holder: holders[i].Val(), fetching: f.fetching.Val(), awaited: f.awaited.Val(), front: f.front.Val(), out: f.out.Val()}
			for user, stamp := range f.cards {
				if err := o.missing(o.keys.card(user), stamp.Err()); err != nil {
					return nil, err
				}
				if stamp.Err() == nil {
					s.loans = append(s.loans, newLoan(user, stamp.Val()))
				}
			}
			sights[book] = s
		}
	}
	return sights, o.travelling(ctx, func(book string) *sight {
		if s := sights[book]; s != nil {
			return s
		}
		return &sight{} // nobody asked about it
	})
}

// newLoan reads a field of a card: when it is due, and in four more digits for how
// many days it was lent.
func newLoan(user, stamp string) loan {
	number, _ := strconv.ParseInt(stamp, 10, 64)
	return loan{user, number / 10_000, number % 10_000}
}

// travelling looks at the entries by which the services tell each other of books.
func (o *observer) travelling(ctx context.Context, of func(book string) *sight) error {
	for _, inbox := range []struct {
		key, group string
		see        func(*sight, string)
	}{
		{o.keys.Fetches(), library.Shelving, func(s *sight, request string) { s.fetches = append(s.fetches, request) }},
		{o.keys.Stores(), library.Shelving, func(s *sight, _ string) { s.stores++ }},
		{o.keys.Deliveries(), library.Lending, func(s *sight, request string) { s.deliveries = append(s.deliveries, request) }},
	} {
		waiting, err := o.waiting(ctx, inbox.key, inbox.group)
		if err != nil {
			return err
		}
		for _, message := range waiting.entries {
			if !waiting.open(message.ID) {
				continue
			}
			for _, order := range parcel(message) {
				inbox.see(of(order[1]), order[0])
			}
		}
	}
	return nil
}

// parcel is what an entry between the services names: pairs of a request, empty in
// one of the stores, and a book. What cannot be read names nothing, and is for the
// services to set aside.
func parcel(message redis.XMessage) [][2]string {
	text := func(field string) []byte {
		value, _ := message.Values[field].(string)
		return []byte(value)
	}
	var pairs [][2]string
	var orders [][]string
	if json.Unmarshal(text("orders"), &orders) == nil {
		for _, order := range orders {
			if len(order) == 2 {
				pairs = append(pairs, [2]string{order[0], order[1]})
			}
		}
	}
	var books []string
	if json.Unmarshal(text("books"), &books) == nil {
		for _, book := range books {
			pairs = append(pairs, [2]string{"", book})
		}
	}
	return pairs
}

// An inbox is a stream, as it was seen: its entries, the last one that was given to
// an instance, and those that are in an instance's hands.
type inbox struct {
	entries []redis.XMessage
	given   string
	pending map[string]bool
}

// open reports whether an entry is still to be done. One that was acknowledged may
// stand in its stream as long as an older one is pending.
func (i *inbox) open(id string) bool { return i.pending[id] || isBefore(i.given, id) }

// waiting looks at an inbox. What is pending is asked last, so that an entry that
// was done meanwhile is not taken for one that waits.
func (o *observer) waiting(ctx context.Context, key, group string) (*inbox, error) {
	seen := &inbox{given: "0-0", pending: map[string]bool{}}
	for start := "-"; ; {
		page, err := o.rdb.XRangeN(ctx, key, start, "+", logPage).Result()
		if err != nil {
			return seen, o.missing(key, err)
		}
		seen.entries = append(seen.entries, page...)
		if len(page) < logPage {
			break
		}
		start = "(" + page[len(page)-1].ID
	}
	if len(seen.entries) == 0 {
		return seen, nil
	}
	groups, err := o.rdb.XInfoGroups(ctx, key).Result()
	if err != nil {
		return seen, ignoreAbsent(key, err)
	}
	for _, info := range groups {
		if info.Name == group {
			seen.given = info.LastDeliveredID
		}
	}
	for start := "-"; ; {
		page, err := o.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: key, Group: group, Start: start, End: "+", Count: logPage}).Result()
		if err != nil {
			return seen, ignoreAbsent(key, err)
		}
		for _, entry := range page {
			seen.pending[entry.ID] = true
		}
		if len(page) < logPage {
			return seen, nil
		}
		start = "(" + page[len(page)-1].ID
	}
}

// ignoreAbsent drops the error of a stream or a group that is not there (any more).
func ignoreAbsent(key string, err error) error {
	if strings.Contains(err.Error(), "no such key") || strings.HasPrefix(err.Error(), "NOGROUP") {
		return nil
	}
	return fmt.Errorf("read %s: %w", key, err)
}

// isBefore compares the ids of two entries.
func isBefore(a, b string) bool {
	at, an := splitID(a)
	bt, bn := splitID(b)
	return at < bt || at == bt && an < bn
}

func splitID(id string) (milliseconds, number uint64) {
	before, after, _ := strings.Cut(id, "-")
	milliseconds, _ = strconv.ParseUint(before, 10, 64)
	number, _ = strconv.ParseUint(after, 10, 64)
	return milliseconds, number
}
