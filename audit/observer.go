package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

const (
	// scanCount is about how many fields or keys one command of a scan looks at.
	scanCount = 500
	// pipelined is how many small commands are sent at once.
	pipelined = 500
)

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
		return fmt.Errorf("read %s: %w", library.Plain(key), err)
	}
	if !o.broken[key] {
		o.broken[key] = true
		o.report(Finding{Kind: "type", Key: key, Problem: "it holds a value of another type than it should"})
	}
	return nil
}

// types looks at the types of the keys that there are once in a library. What
// cannot be read is left out of all other checks.
func (o *observer) types(ctx context.Context) error {
	want := o.keys.types()
	names := slices.Sorted(maps.Keys(want))
	return o.eachType(ctx, names, func(name string) string { return want[name] })
}

func (o *observer) eachType(ctx context.Context, names []string, want func(string) string) error {
	for some := range slices.Chunk(names, pipelined) {
		types := make([]*redis.StatusCmd, len(some))
		_, _ = o.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, name := range some {
				types[i] = pipe.Type(ctx, name)
			}
			return nil
		}) // each command has its own error
		for i, name := range some {
			got, err := types[i].Result()
			if err != nil {
				return fmt.Errorf("read %s: %w", library.Plain(name), err)
			}
			if want := want(name); got != "none" && got != want && !o.broken[name] {
				o.broken[name] = true
				o.report(Finding{Kind: "type", Key: name, Problem: fmt.Sprintf("it holds a %s, and should hold a %s", strings.ToUpper(got), strings.ToUpper(want))})
			}
		}
	}
	return nil
}

// scan calls f with the names of the library's keys, some of them perhaps twice.
func (o *observer) scan(ctx context.Context, f func(names []string) error) error {
	pattern := o.keys.Key("*")
	for cursor := uint64(0); ; {
		names, next, err := o.master.Scan(ctx, cursor, pattern, scanCount).Result()
		if err != nil {
			return fmt.Errorf("look for %s: %w", pattern, err)
		}
		if err := f(names); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// hash calls f with every field of a HASH, some of them perhaps twice.
func (o *observer) hash(ctx context.Context, key string, f func(field, value string)) error {
	return o.hashFrom(ctx, key, 0, f)
}

func (o *observer) hashFrom(ctx context.Context, key string, cursor uint64, f func(field, value string)) error {
	for !o.broken[key] {
		page, next, err := o.rdb.HScan(ctx, key, cursor, "", scanCount).Result()
		if err != nil {
			return o.missing(key, err)
		}
		eachPair(page, f)
		if cursor = next; cursor == 0 {
			break
		}
	}
	return nil
}

// hashes calls f with every field of several HASHes, most of them small.
func (o *observer) hashes(ctx context.Context, names []string, f func(name, field, value string)) error {
	for some := range slices.Chunk(names, pipelined) {
		pages := make([]*redis.ScanCmd, len(some))
		_, _ = o.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, name := range some {
				pages[i] = pipe.HScan(ctx, name, 0, "", scanCount)
			}
			return nil
		}) // each command has its own error
		for i, name := range some {
			page, cursor, err := pages[i].Result()
			if err := o.missing(name, err); err != nil {
				return err
			}
			see := func(field, value string) { f(name, field, value) }
			eachPair(page, see)
			if cursor == 0 {
				continue
			}
			if err := o.hashFrom(ctx, name, cursor, see); err != nil {
				return err
			}
		}
	}
	return nil
}

func eachPair(page []string, f func(field, value string)) {
	for i := 0; i+1 < len(page); i += 2 {
		f(page[i], page[i+1])
	}
}

// stream calls f with the entries of a stream, page by page. One that is too large to
// read has no fields.
func (o *observer) stream(ctx context.Context, key string, f func([]redis.XMessage)) error {
	if o.broken[key] {
		return nil
	}
	for page, err := range redisconn.Pages(ctx, o.rdb, key, "-", "+", logPage) {
		if err != nil {
			return o.missing(key, err)
		}
		f(page)
	}
	return nil
}

// everything looks at all keys. others is given the keys that are neither cards nor
// bays.
func (o *observer) everything(ctx context.Context, others func(name string)) (map[string]*sight, error) {
	sights := map[string]*sight{}
	of := func(book string) *sight {
		s := sights[book]
		if s == nil {
			s = &sight{}
			sights[book] = s
		}
		return s
	}
	k := o.keys
	if err := o.hash(ctx, k.loans(), func(book, user string) { of(book).lent(k.loans(), user) }); err != nil {
		return nil, err
	}
	err := o.scan(ctx, func(names []string) error {
		var cards, bays []string
		for _, name := range names {
			switch {
			case strings.HasPrefix(name, k.cards()):
				cards = append(cards, name)
			case strings.HasPrefix(name, k.bays()):
				bays = append(bays, name)
			default:
				others(name)
			}
		}
		err := o.hashes(ctx, cards, func(card, book, stamp string) { of(book).onCard(card, card[len(k.cards()):], stamp) })
		if err != nil {
			return err
		}
		return o.hashes(ctx, bays, func(bay, book, _ string) {
			if bay == k.bay(book) {
				of(book).out = true
			} else {
				of(book).astray = bay
			}
		})
	})
	if err != nil {
		return nil, err
	}
	if err := o.hash(ctx, k.fetching(), func(book, order string) { of(book).isFetched(k.fetching(), order) }); err != nil {
		return nil, err
	}
	for cursor := uint64(0); !o.broken[k.front()]; {
		page, next, err := o.rdb.SScan(ctx, k.front(), cursor, "", scanCount).Result()
		if err := o.missing(k.front(), err); err != nil {
			return nil, err
		}
		for _, book := range page {
			of(book).front = true
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	if err := o.hash(ctx, k.awaited(), func(book, request string) { of(book).isAwaited(k.awaited(), request) }); err != nil {
		return nil, err
	}
	return sights, o.travelling(ctx, of)
}

// again looks at some books again. users are those on whose cards a book may be.
func (o *observer) again(ctx context.Context, books []string, users func(book string) []string) (map[string]*sight, error) {
	k := o.keys
	sights := make(map[string]*sight, len(books))
	for some := range slices.Chunk(books, pipelined) {
		holders := make([]*redis.StringCmd, len(some))
		_, _ = o.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, book := range some {
				holders[i] = pipe.HGet(ctx, k.loans(), book)
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
						cards[user] = pipe.HGet(ctx, k.card(user), book)
					}
				}
				all[i] = found{
					pipe.HGet(ctx, k.fetching(), book), pipe.HGet(ctx, k.awaited(), book),
					pipe.SIsMember(ctx, k.front(), book), pipe.HExists(ctx, k.bay(book), book), cards,
				}
			}
			return nil
		})
		for i, book := range some {
			f, s := all[i], &sight{}
			for key, cmd := range map[string]redis.Cmder{
				k.loans(): holders[i], k.fetching(): f.fetching, k.awaited(): f.awaited, k.front(): f.front, k.bay(book): f.out,
			} {
				if err := o.missing(key, cmd.Err()); err != nil {
					return nil, err
				}
			}
			s.front, s.out = f.front.Val(), f.out.Val()
			if holders[i].Err() == nil {
				s.lent(k.loans(), holders[i].Val())
			}
			if f.fetching.Err() == nil {
				s.isFetched(k.fetching(), f.fetching.Val())
			}
			if f.awaited.Err() == nil {
				s.isAwaited(k.awaited(), f.awaited.Val())
			}
			for _, user := range slices.Sorted(maps.Keys(f.cards)) {
				stamp, err := f.cards[user].Result()
				if err := o.missing(k.card(user), err); err != nil {
					return nil, err
				}
				if err == nil {
					s.onCard(k.card(user), user, stamp)
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
