package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"

	"golang.org/x/sync/errgroup"
)

var latencySection = section{name: "latency", run: measureLatency}

// The headings of this section's tables.
const (
	underOne  = "Latency: one client, request or return to receipt, on an idle system"
	underMany = "Latency: 64 clients at once, against one"
)

const (
	// latencyGroup is how many orders one contestant sends before it is the next
	// one's turn, so that noise hits all alike.
	latencyGroup = 50
	// manyAskers is how many clients wait at once.
	manyAskers = 64
)

// A latency is what the contestants of this section share: one server, on which
// all their workers wait.
type latency struct {
	*bench
	s *server
	// instance is lendingd, floor the worker of the floor over raw sockets.
	instance, floor *process
}

// An asker sends one order and waits for its answer.
type asker func(ctx context.Context) error

func measureLatency(ctx context.Context, b *bench) ([]Row, error) {
	s, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	// Nothing here takes so long; but a client would wait for ever for a worker that is gone.
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	l := &latency{bench: b, s: s}
	for _, kind := range []string{rawFloor, goRedisFloor} {
		if err := prepareFloor(ctx, s.client, kind); err != nil {
			return nil, err
		}
		worker, err := b.startWorker(s, kind)
		if err != nil {
			return nil, err
		}
		defer worker.kill()
		if kind == rawFloor {
			l.floor = worker
		}
	}
	l.instance, err = b.serve(ctx, s, "--front", frontMax)
	if err != nil {
		return nil, err
	}
	defer l.instance.kill()

	one, err := l.one(ctx)
	if err != nil {
		return nil, err
	}
	many, err := l.many(ctx)
	if err != nil {
		return nil, err
	}
	return append(one, many...), l.instance.Stop()
}

// serve starts a lendingd and returns when it serves.
func (b *bench) serve(ctx context.Context, s *server, flags ...string) (*process, error) {
	p, err := b.startLendingd(s, flags...)
	if err != nil {
		return nil, err
	}
	err = p.until(time.Millisecond, startWithin, func() (bool, error) {
		// An embedded server may not be there yet. The client would print that, so it
		// is tried by hand first.
		connection, err := net.Dial("tcp", s.Addr)
		if err != nil {
			return false, nil
		}
		connection.Close()
		return lendingd{}.serves(ctx, s), nil
	})
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// one measures how long one client waits, for each contestant.
func (l *latency) one(ctx context.Context) ([]Row, error) {
	raw, err := newRawAsker(l.s.Addr, "one")
	if err != nil {
		return nil, err
	}
	defer raw.close()
	// A connection as the library makes them, so that the two differ in nothing else.
	rdb, err := redisconn.Connect(redisconn.Options{Address: l.s.Addr})
	if err != nil {
		return nil, err
	}
	defer rdb.Close()
	bare, err := newGoRedisAsker(ctx, rdb)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	client, end, err := publicClient(l.s)
	if err != nil {
		return nil, err
	}
	defer end()
	public, err := newReader(ctx, client, "reader")
	if err != nil {
		return nil, err
	}

	contestants := []struct {
		name string
		ask  asker
	}{
		{"the floor: raw sockets, one bare script call", func(context.Context) error { return raw.order() }},
		{"the same with go-redis on both sides", bare.order},
		{"lending.Client and lendingd", public.order},
	}
	rows := make([]Row, 2*len(contestants))
	for i, c := range contestants {
		for j, what := range []string{"median", "p99"} {
			rows[2*i+j] = Row{Section: underOne, Name: c.name + ", " + what, Unit: "µs"}
		}
	}
	inScripts := make([][]float64, len(contestants)) // µs an order, for each turn
	orders := max(300, l.n/50)
	for round := -1; round < l.rounds; round++ {
		l.logf("one client: round %d of %d", round+1, l.rounds)
		waits := make([][]float64, len(contestants))
		for turn := 0; turn*latencyGroup < orders; turn++ {
			for _, i := range turns(len(contestants), turn) {
				before, err := l.s.scripts(ctx)
				if err != nil {
					return nil, err
				}
				for range latencyGroup {
					begin := time.Now()
					if err := contestants[i].ask(ctx); err != nil {
						return nil, fmt.Errorf("%s: %w", contestants[i].name, err)
					}
					waits[i] = append(waits[i], float64(time.Since(begin).Nanoseconds())/1000)
				}
				after, err := l.s.scripts(ctx)
				if err != nil {
					return nil, err
				}
				inScripts[i] = append(inScripts[i], float64((after-before).Microseconds())/latencyGroup)
			}
		}
		if round < 0 {
			continue // the first round only warms up
		}
		for i := range contestants {
			slices.Sort(waits[i])
			for j, part := range []float64{0.5, 0.99} {
				row, floor := &rows[2*i+j], &rows[j]
				row.Samples = append(row.Samples, quantile(waits[i], part))
				if i > 0 {
					row.Ratios = append(row.Ratios, row.Samples[round]/floor.Samples[round])
					row.Against = "floor"
				}
			}
		}
	}
	rows[4].atMost(1.3)
	rows[5].atMost(1.6)
	for i := range contestants {
		rows[2*i].Note = fmt.Sprintf("of which the script %s µs", number(median(inScripts[i])))
	}
	rows[1].Note = fmt.Sprintf("%s orders a round, in turns of %d", number(float64(orders)), latencyGroup)
	return rows, nil
}

// many measures how many orders a second 64 clients get through, against one.
func (l *latency) many(ctx context.Context) ([]Row, error) {
	shared, end, err := publicClient(l.s)
	if err != nil {
		return nil, err
	}
	defer end()
	together, err := newSharedAsker(l.s.Addr)
	if err != nil {
		return nil, err
	}
	defer together.close()
	var raw, rawTogether, separate, sharing []asker
	for i := range manyAskers {
		reader, err := newReader(ctx, shared, fmt.Sprintf("sharing-%d", i))
		if err != nil {
			return nil, err
		}
		sharing = append(sharing, reader.order)

		client, end, err := publicClient(l.s)
		if err != nil {
			return nil, err
		}
		defer end()
		if reader, err = newReader(ctx, client, fmt.Sprintf("separate-%d", i)); err != nil {
			return nil, err
		}
		separate = append(separate, reader.order)

		a, err := newRawAsker(l.s.Addr, fmt.Sprintf("many-%d", i))
		if err != nil {
			return nil, err
		}
		defer a.close()
		raw = append(raw, func(context.Context) error { return a.order() })
		rawTogether = append(rawTogether, together.join(fmt.Sprintf("together-%d", i)))
	}

	contestants := []struct {
		name    string
		askers  []asker
		worker  *process
		against int // the contestant it is compared with, or -1
	}{
		{"the floor, one", raw[:1], l.floor, -1},
		{"the floor, 64 with two sockets each", raw, l.floor, 0},
		{"the floor, 64 that share two sockets", rawTogether, l.floor, 0},
		{"lending.Client, one", sharing[:1], l.instance, -1},
		{"lending.Client, 64 goroutines that share it", sharing, l.instance, 3},
		{"lending.Client, 64 with connections of their own", separate, l.instance, 3},
	}
	used := make([][3][]float64, len(contestants)) // µs of processor an order: Redis, worker, clients
	rows := make([]Row, len(contestants))
	for i, c := range contestants {
		rows[i] = Row{Section: underMany, Name: c.name, Unit: "orders/s"}
		if c.against >= 0 {
			rows[i].Against = "one"
		}
	}
	for round := -1; round < l.rounds; round++ {
		l.logf("64 clients: round %d of %d", round+1, l.rounds)
		rates := make([]float64, len(contestants))
		for _, i := range turns(len(contestants), max(round, 0)) {
			orders := max(300, l.n/50)
			if len(contestants[i].askers) > 1 {
				orders *= 10
			}
			before, err := l.used(ctx, contestants[i].worker)
			if err != nil {
				return nil, err
			}
			rate, err := orderRate(ctx, contestants[i].askers, orders)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contestants[i].name, err)
			}
			after, err := l.used(ctx, contestants[i].worker)
			if err != nil {
				return nil, err
			}
			rates[i] = rate
			if round < 0 {
				continue
			}
			for part := range after {
				used[i][part] = append(used[i][part], float64((after[part]-before[part]).Nanoseconds())/1000/float64(orders))
			}
		}
		if round < 0 {
			continue // the first round only warms up
		}
		for i, c := range contestants {
			rows[i].Samples = append(rows[i].Samples, rates[i])
			if c.against >= 0 {
				rows[i].Ratios = append(rows[i].Ratios, rates[i]/rates[c.against])
			}
		}
	}
	for i, parts := range used {
		rows[i].Note = fmt.Sprintf("Redis %s µs, worker %s µs, clients %s µs each", number(median(parts[0])), number(median(parts[1])), number(median(parts[2])))
	}
	rows[4].atLeast(20)
	return rows, nil
}

// used is the processor time that Redis, a worker and the clients, which are this
// process, have used.
func (l *latency) used(ctx context.Context, worker *process) ([3]time.Duration, error) {
	redis, err := l.s.CPU(ctx)
	clients := process{PID: os.Getpid()}
	return [3]time.Duration{redis, worker.CPU(), clients.CPU()}, err
}

// orderRate has all askers send orders at once, so many in all, and tells how many
// were answered a second.
func orderRate(ctx context.Context, askers []asker, orders int) (float64, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	each := orders / len(askers)
	begin := time.Now()
	for _, ask := range askers {
		group.Go(func() error {
			for range each {
				if err := ask(groupCtx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return float64(each*len(askers)) / time.Since(begin).Seconds(), err
}

// publicClient makes a client with connections of its own, as a program would.
func publicClient(s *server) (client *lending.Client, end func(), err error) {
	rdb, err := redisconn.Connect(redisconn.Options{Address: s.Addr})
	if err != nil {
		return nil, nil, err
	}
	client, err = lending.NewClient(rdb, "main")
	if err != nil {
		rdb.Close()
		return nil, nil, err
	}
	return client, func() { client.Close(); rdb.Close() }, nil
}

// A borrower is how a reader asks: a lending.Client, or the gateway.
type borrower interface {
	Request(ctx context.Context, user string, books ...string) (*library.Receipt, error)
	Return(ctx context.Context, user string, books ...string) (*library.Receipt, error)
}

// A reader borrows one book from front storage and brings it back, over and over.
type reader struct {
	client borrower
	name   string
	holds  bool
}

// newReader has the reader's book brought into front storage.
func newReader(ctx context.Context, client *lending.Client, name string) (*reader, error) {
	receipt, err := client.Request(ctx, name, "book of "+name)
	if err != nil {
		return nil, err
	}
	if err := client.Arrivals(ctx, receipt, func(library.Line) {}); err != nil {
		return nil, err
	}
	r := &reader{client, name, true}
	return r, r.order(ctx)
}

// order requests the book, or returns it if the reader has it.
func (r *reader) order(ctx context.Context) error {
	if r.holds {
		receipt, err := r.client.Return(ctx, r.name, "book of "+r.name)
		if err != nil {
			return err
		}
		if receipt.Outcome != library.Returned {
			return fmt.Errorf("a return is %s: %s", receipt.Outcome, receipt.Summary())
		}
		r.holds = false
		return nil
	}
	receipt, err := r.client.Request(ctx, r.name, "book of "+r.name)
	if err != nil {
		return err
	}
	if receipt.Outcome != library.Granted || receipt.Books[0].From != library.FromFront {
		return fmt.Errorf("a request is %s: %s", receipt.Outcome, receipt.Summary())
	}
	r.holds = true
	return nil
}

// turns are the numbers below n, beginning with another one each round.
func turns(n, round int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return rotate(numbers, round)
}

// quantile is the value below which a part of the sorted values lies.
func quantile(sorted []float64, part float64) float64 {
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

// atMost sets a target that the median ratio must not exceed.
func (r *Row) atMost(ratio float64) {
	met := median(r.Ratios) <= ratio
	r.Target, r.Met = "≤ "+number(ratio), &met
}

// valueAtMost sets a target that the median of what was measured must not exceed.
func (r *Row) valueAtMost(value float64) {
	met := median(r.Samples) <= value
	r.Target, r.Met = fmt.Sprintf("≤ %s %s", number(value), r.Unit), &met
}
