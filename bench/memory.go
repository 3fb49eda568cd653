package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var memorySection = section{name: "memory", run: measureMemory}

const underMemory = "Memory: outstanding loans, all receipts expired"

// leastLog keeps the library's log small: it belongs to what happened, not to the
// loans.
const leastLog = "1000"

// measureMemory lends books by way of lendingd, and compares what they take with
// the least that could hold them. It is done once, for nothing in it varies.
func measureMemory(ctx context.Context, b *bench) ([]Row, error) {
	// 1,000,000 loans of 300,000 users where 200,000 requests are drained elsewhere.
	users := max(300, b.n*3/2)
	requests := lasting(users, "", func(i int) int {
		if i%3 == 0 {
			return 4
		}
		return 3
	})
	loans := work{requests: requests}.books()

	bare, err := b.bareMemory(ctx, requests)
	if err != nil {
		return nil, err
	}
	b.logf("bare: %.1f bytes a loan", float64(bare)/float64(loans))
	s, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	empty, err := usedMemory(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := b.lend(ctx, s, requests); err != nil {
		return nil, err
	}
	full, err := usedMemory(ctx, s)
	if err != nil {
		return nil, err
	}
	keys, err := s.client.DBSize(ctx).Result()
	if err != nil {
		return nil, err
	}
	parts, err := memoryByKey(ctx, s.client)
	if err != nil {
		return nil, err
	}

	one := func(total int64) []float64 { return []float64{float64(total) / float64(loans)} }
	library := Row{Section: underMemory, Name: "lendingd", Samples: one(full - empty), Unit: "bytes/loan",
		Ratios: []float64{float64(full-empty) / float64(bare)}, Against: "bare"}
	library.atMost(1.3)
	var words []string
	for _, part := range parts {
		if each := float64(part.bytes) / float64(loans); each >= 0.5 {
			words = append(words, fmt.Sprintf("%s %s", part.name, number(each)))
		}
	}
	library.Note = strings.Join(words, ", ")
	count := Row{Section: underMemory, Name: "lendingd, keys", Samples: []float64{float64(keys)}, Unit: "keys"}
	count.valueAtMost(float64(users + users/3))
	count.Note = "no key for a loan"
	return []Row{
		{Section: underMemory, Name: "bare: a HASH of book → user, a HASH a user of book → due", Samples: one(bare), Unit: "bytes/loan",
			Note: fmt.Sprintf("%s loans of %s users", number(float64(loans)), number(float64(users)))},
		library, count,
	}, nil
}

// lasting makes a request for each of so many users, for books that nobody else
// asks for; count tells how many.
func lasting(users int, salt string, count func(user int) int) []order {
	ids := rand.New(rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", "lasting"+salt)))))
	orders := make([]order, users)
	book := 0
	for i := range orders {
		orders[i] = order{ID: orderID(ids), User: fmt.Sprintf("%suser-%06d", salt, i)}
		for range count(i) {
			orders[i].Books = append(orders[i].Books, fmt.Sprintf("%sbook-%07d", salt, book))
			book++
		}
	}
	return orders
}

// lend has lendingd lend what is asked for, and lets the receipts expire.
func (b *bench) lend(ctx context.Context, s *server, requests []order) error {
	w := work{requests: requests}
	b.logf("lend %s books to %s users", number(float64(w.books())), number(float64(len(requests))))
	m, err := drain(ctx, b, lendingd{flags: []string{"--log-keep", leastLog}}, s, w)
	if err != nil {
		return err
	}
	if _, err := countLoans(ctx, s.client, w.books()); err != nil {
		return err
	}
	b.logf("lent in %s", m.took.Round(time.Second/10))
	return expireReceipts(ctx, s)
}

// expireReceipts ends the time of all receipts, and returns when none is left.
func expireReceipts(ctx context.Context, s *server) error {
	return s.process.until(10*time.Millisecond, drainWithin, func() (bool, error) {
		found := false
		err := eachKey(ctx, s.client, receiptsKey+"*", func(keys []string) error {
			found = true
			_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
				for _, key := range keys {
					pipe.PExpire(ctx, key, time.Millisecond)
				}
				return nil
			})
			return err
		})
		return !found, err
	})
}

// eachKey calls f with all keys that match, some at a time.
func eachKey(ctx context.Context, rdb *redis.Client, match string, f func(keys []string) error) error {
	for cursor := uint64(0); ; {
		keys, next, err := rdb.Scan(ctx, cursor, match, 2000).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := f(keys); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// usedMemory is what a server's data takes when it has come to rest: Redis shrinks
// its tables little by little.
func usedMemory(ctx context.Context, s *server) (used int64, err error) {
	const (
		every  = 50 * time.Millisecond
		steady = 40 // looks in a row that must say the same
		within = 4096
	)
	before, same := int64(0), 0
	err = s.process.until(every, startWithin, func() (bool, error) {
		if err := s.client.Do(ctx, "MEMORY", "PURGE").Err(); err != nil {
			return false, err
		}
		info, err := s.info(ctx, "memory")
		if err != nil {
			return false, err
		}
		used, err = strconv.ParseInt(info["used_memory"], 10, 64)
		if err != nil {
			return false, err
		}
		if same++; used < before-within || used > before+within {
			before, same = used, 0
		}
		return same >= steady, nil
	})
	return used, err
}

// bareMemory is what the loans take in the two simplest structures that hold them.
func (b *bench) bareMemory(ctx context.Context, requests []order) (int64, error) {
	s, err := b.startRedis()
	if err != nil {
		return 0, err
	}
	defer s.Stop()
	empty, err := usedMemory(ctx, s)
	if err != nil {
		return 0, err
	}
	due := strconv.FormatInt(time.Now().Add(28*24*time.Hour).UnixMilli(), 10)
	for some := range slices.Chunk(requests, 2000) {
		_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, o := range some {
				for _, book := range o.Books {
					pipe.HSet(ctx, "loans", book, o.User)
					pipe.HSet(ctx, o.User, book, due)
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	full, err := usedMemory(ctx, s)
	return full - empty, err
}

// A part is what the keys of one kind take, with their names.
type part struct {
	name  string
	bytes int64
}

var ofUser = regexp.MustCompile(`user-\d+$`)

// memoryByKey adds up what keys take, those that differ in the user alone in one,
// the largest first.
func memoryByKey(ctx context.Context, rdb *redis.Client) ([]part, error) {
	totals := map[string]int64{}
	err := eachKey(ctx, rdb, "*", func(keys []string) error {
		usages := make([]*redis.IntCmd, len(keys))
		_, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, key := range keys {
				usages[i] = pipe.MemoryUsage(ctx, key, 0)
			}
			return nil
		})
		for i, key := range keys {
			name := strings.TrimPrefix(ofUser.ReplaceAllString(key, "…"), "{main}:")
			totals[name] += usages[i].Val()
		}
		return err
	})
	var parts []part
	for name, bytes := range totals {
		parts = append(parts, part{name, bytes})
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(b.bytes, a.bytes) })
	return parts, err
}
