package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The library's inboxes, and what else of it is looked at here.
const (
	requestsKey   = "{main}:lending:requests"
	returnsKey    = "{main}:lending:returns"
	deliveriesKey = "{main}:lending:deliveries"
	fetchesKey    = "{main}:shelving:fetches"
	storesKey     = "{main}:shelving:stores"
	loansKey      = "{main}:lending:loans"
	receiptsKey   = "{main}:lending:receipts"

	// The contestants that are written here use the library's inboxes and the
	// key of its loans, and these two besides.
	countsKey = "{main}:lending:counts"
	eventsKey = "{main}:events"

	lendingGroup  = "lending"
	shelvingGroup = "shelving"
)

// anyLoans stands for a number of loans that depends on whose order comes first.
const anyLoans = -1

// A contestant drains work with one process.
type contestant interface {
	// load puts the work where the worker will look for it.
	load(ctx context.Context, s *server, w work) error
	// start runs the worker.
	start(b *bench, s *server) (*process, error)
	// look tells how far the worker was given work, which is different as soon as
	// it takes the first of it, and whether everything is done.
	look(ctx context.Context, s *server) (given string, done bool, err error)
	// check reports what was not done right of all the work that was done on this
	// server, after which so many books are lent, or anyLoans where that depends on
	// whose order comes first.
	check(ctx context.Context, s *server, done []work, loans int) error
}

// lendingd is the library as it is shipped.
type lendingd struct{ flags []string }

func (l lendingd) load(ctx context.Context, s *server, w work) error {
	return loadInboxes(ctx, s, w, orderFields)
}

// serves tells whether the instance has made the groups that it reads.
func (l lendingd) serves(ctx context.Context, s *server) bool {
	for _, inbox := range []string{requestsKey, returnsKey, deliveriesKey, fetchesKey, storesKey} {
		if s.client.XInfoGroups(ctx, inbox).Err() != nil {
			return false
		}
	}
	return true
}

func (l lendingd) start(b *bench, s *server) (*process, error) {
	return b.startLendingd(s, l.flags...)
}

// look counts nothing as done before the shelves have done their part.
func (l lendingd) look(ctx context.Context, s *server) (string, bool, error) {
	return lookAtInboxes(ctx, s.client, map[string]string{
		requestsKey: lendingGroup, returnsKey: lendingGroup, deliveriesKey: lendingGroup,
		fetchesKey: shelvingGroup, storesKey: shelvingGroup,
	})
}

// check looks every receipt up, and whether the loans are what the receipts say.
func (l lendingd) check(ctx context.Context, s *server, done []work, loans int) error {
	lent := 0
	for _, w := range done {
		for _, orders := range [][]order{w.requests, w.returns} {
			change, err := readReceipts(ctx, s.client, orders)
			if err != nil {
				return err
			}
			lent += change
		}
	}
	found, err := countLoans(ctx, s.client, loans)
	if err != nil {
		return err
	}
	if found != lent {
		return fmt.Errorf("the receipts tell of %d loans, and there are %d", lent, found)
	}
	return nil
}

// readReceipts reads the receipts of the orders, of which none may be missing, and
// returns how many more books are lent by what they tell.
func readReceipts(ctx context.Context, rdb *redis.Client, orders []order) (lent int, err error) {
	const atOnce = 2000
	for len(orders) > 0 {
		some := orders[:min(atOnce, len(orders))]
		orders = orders[len(some):]
		texts, err := receiptsOf(ctx, rdb, some)
		if err != nil {
			return 0, err
		}
		for i, text := range texts {
			var receipt struct {
				Books, Results []string
			}
			if err := json.Unmarshal([]byte(text), &receipt); err != nil {
				return 0, fmt.Errorf("receipt %s: %w", some[i].ID, err)
			}
			if len(receipt.Results) != len(some[i].Books) {
				return 0, fmt.Errorf("receipt %s tells of %d books, not of %d", some[i].ID, len(receipt.Results), len(some[i].Books))
			}
			for _, result := range receipt.Results {
				switch result {
				case "front", "shelves":
					lent++
				case "returned":
					lent--
				}
			}
		}
	}
	return lent, nil
}

// receiptsOf reads the receipts of orders. None may be missing.
func receiptsOf(ctx context.Context, rdb *redis.Client, orders []order) ([]string, error) {
	ids := make([]string, len(orders))
	for i, o := range orders {
		ids[i] = o.ID
	}
	found, err := rdb.HMGet(ctx, receiptsKey, ids...).Result()
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(found))
	for i, text := range found {
		var ok bool
		if texts[i], ok = text.(string); !ok {
			return nil, fmt.Errorf("order %s of %s has no receipt", orders[i].ID, orders[i].User)
		}
	}
	return texts, nil
}

// countLoans counts the loans, and reports if they are not as many as they should
// be. A HASH has a book once, so no book is lent twice.
func countLoans(ctx context.Context, rdb *redis.Client, loans int) (int, error) {
	found, err := rdb.HLen(ctx, loansKey).Result()
	if err != nil {
		return 0, err
	}
	if loans != anyLoans && int(found) != loans {
		return 0, fmt.Errorf("%d books are lent, not %d", found, loans)
	}
	return int(found), nil
}

// ours is a contestant that is written here, as a worker in a process of its own,
// and reads the library's inboxes.
type ours struct {
	kind  string
	flags []string
	// fields are those of its entries.
	fields func(order) []string
}

func (o ours) load(ctx context.Context, s *server, w work) error {
	return loadInboxes(ctx, s, w, o.fields)
}

func (o ours) start(b *bench, s *server) (*process, error) {
	return b.startWorker(s, o.kind, o.flags...)
}

func (o ours) look(ctx context.Context, s *server) (string, bool, error) {
	return lookAtInboxes(ctx, s.client, map[string]string{requestsKey: lendingGroup, returnsKey: lendingGroup})
}

func (o ours) check(ctx context.Context, s *server, done []work, loans int) error {
	return checkDecisions(ctx, s.client, done, loans)
}

// checkDecisions looks whether decision.lua was called once for each order, and
// whether its counts are those of the loans.
func checkDecisions(ctx context.Context, rdb *redis.Client, done []work, loans int) error {
	orders := 0
	for _, w := range done {
		orders += w.size()
	}
	events, err := rdb.XLen(ctx, eventsKey).Result()
	if err != nil {
		return err
	}
	if int(events) != orders {
		return fmt.Errorf("%d events, for %d orders", events, orders)
	}
	found, err := countLoans(ctx, rdb, loans)
	if err != nil {
		return err
	}
	counts, err := rdb.HVals(ctx, countsKey).Result()
	if err != nil {
		return err
	}
	counted := 0
	for _, text := range counts {
		var count int
		if _, err := fmt.Sscan(text, &count); err != nil {
			return err
		}
		if count < 0 || count > 5 {
			return fmt.Errorf("a user holds %d books", count)
		}
		counted += count
	}
	if counted != found {
		return fmt.Errorf("users hold %d books, and %d are lent", counted, found)
	}
	return nil
}

// loadInboxes appends the work to the library's inboxes, whose groups it makes.
func loadInboxes(ctx context.Context, s *server, w work, fields func(order) []string) error {
	for _, inbox := range []struct {
		stream string
		orders []order
	}{{requestsKey, w.requests}, {returnsKey, w.returns}} {
		err := s.client.XGroupCreateMkStream(ctx, inbox.stream, lendingGroup, "0").Err()
		if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
			return err
		}
		if err := send("unix", s.Socket, appends(inbox.stream, inbox.orders, fields), len(inbox.orders)); err != nil {
			return fmt.Errorf("append to %s: %w", inbox.stream, err)
		}
	}
	return nil
}

// lookAtInboxes looks at inboxes, given with their groups, in one moment. All is
// done when the group was given the last entry of each and has none pending. (A
// group's own lag cannot be told any more once entries were deleted.)
func lookAtInboxes(ctx context.Context, rdb *redis.Client, inboxes map[string]string) (given string, done bool, err error) {
	type seen struct {
		stream *redis.XInfoStreamCmd
		groups *redis.XInfoGroupsCmd
	}
	looks := map[string]seen{}
	// The error is that of the first command; what matters is that of each.
	_, _ = rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		for key := range inboxes {
			looks[key] = seen{pipe.XInfoStream(ctx, key), pipe.XInfoGroups(ctx, key)}
		}
		return nil
	})
	done = true
	for key, group := range inboxes {
		if err := looks[key].stream.Err(); err != nil {
			if strings.Contains(err.Error(), "no such key") {
				continue
			}
			return "", false, err
		}
		delivered, pending := "0-0", int64(0)
		for _, info := range looks[key].groups.Val() {
			if info.Name == group {
				delivered, pending = info.LastDeliveredID, info.Pending
			}
		}
		last := looks[key].stream.Val().LastGeneratedID
		if pending > 0 || last != delivered && last != "0-0" && last != "" {
			done = false
		}
		if key == requestsKey || key == returnsKey {
			given += key + delivered
		}
	}
	return given, done, nil
}

// A measurement is what it took to drain some work.
type measurement struct {
	orders int
	took   time.Duration
	// redis is the time of the server's main thread, worker that of the worker.
	redis, worker time.Duration
}

// rate is how many orders a second.
func (m measurement) rate() float64 { return float64(m.orders) / m.took.Seconds() }

// costs tells what an order cost.
func (m measurement) redisMicroseconds() float64  { return m.each(m.redis) }
func (m measurement) workerMicroseconds() float64 { return m.each(m.worker) }

func (m measurement) each(total time.Duration) float64 {
	return float64(total.Nanoseconds()) / 1000 / float64(m.orders)
}

const (
	// drainWithin bounds a measurement that hangs.
	drainWithin = 5 * time.Minute
	// takeEvery and doneEvery are the pauses between two looks at a worker: short
	// until it takes its first order, then long enough to cost Redis next to nothing.
	takeEvery = time.Millisecond
	doneEvery = 5 * time.Millisecond
)

// drain has one worker do the work, all of which is there when it starts, and
// measures from the moment it takes the first order until all is done.
func drain(ctx context.Context, b *bench, c contestant, s *server, w work) (measurement, error) {
	m := measurement{orders: w.size()}
	if err := c.load(ctx, s, w); err != nil {
		return m, fmt.Errorf("load: %w", err)
	}
	before, _, err := c.look(ctx, s)
	if err != nil {
		return m, err
	}
	p, err := c.start(b, s)
	if err != nil {
		return m, err
	}
	defer p.kill()
	err = p.until(takeEvery, drainWithin, func() (bool, error) {
		given, _, err := c.look(ctx, s)
		return given != before, err
	})
	if err != nil {
		return m, fmt.Errorf("take the first order: %w", err)
	}
	begin, worker := time.Now(), p.CPU()
	redis, err := s.CPU(ctx)
	if err != nil {
		return m, err
	}
	err = p.until(doneEvery, drainWithin, func() (bool, error) {
		_, done, err := c.look(ctx, s)
		return done, err
	})
	if err != nil {
		return m, fmt.Errorf("drain: %w", err)
	}
	m.took, m.worker = time.Since(begin), p.CPU()-worker
	redisAfter, err := s.CPU(ctx)
	if err != nil {
		return m, err
	}
	m.redis = redisAfter - redis
	return m, p.Stop()
}
