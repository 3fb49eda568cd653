package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

var throughputSection = section{name: "throughput", run: measureThroughput}

// The headings of this section's tables.
const (
	underRequests = "Throughput: requests for one or two books each, by distinct users"
	underReturns  = "Throughput: their returns"
	underMix      = "Throughput: a contended mix of requests and returns, most of them refused"
)

// The names of the rows.
const (
	nameReference       = "reference: a bare loop, the decision alone"
	nameInside          = "in Redis: the same without a loop"
	nameFront           = "lendingd, from front storage"
	nameShelves         = "lendingd, from the shelves"
	nameFrontAOF        = nameFront + ", AOF everysec"
	nameShelvesAOF      = nameShelves + ", AOF everysec"
	nameEmbeddedFront   = "lendingd --embedded, from front storage"
	nameEmbeddedShelves = "lendingd --embedded, from the shelves"
	nameInto            = "lendingd, into front storage"
	nameOnward          = "lendingd, 20 into front storage, the rest on to the shelves"
	nameLendingd        = "lendingd"
	nameWatermill       = "watermill-redisstream"
	nameAsynq           = "asynq"
)

// throughputRows are the rows in the order in which they are printed, each with
// whose speed it is compared with, and what the ratio should be at least (0 if
// nothing is asked for).
var throughputRows = []struct {
	under, name, against, says string
	target                     float64
}{
	{under: underRequests, name: nameReference},
	{under: underRequests, name: nameInside, against: nameReference},
	{under: underRequests, name: nameFront, against: nameReference, target: 1.0},
	{under: underRequests, name: nameShelves, against: nameReference, target: 0.45},
	{under: underRequests, name: nameFrontAOF, against: nameFront, says: "itself without", target: 0.65},
	{under: underRequests, name: nameShelvesAOF, against: nameShelves, says: "itself without", target: 0.65},
	{under: underRequests, name: nameEmbeddedFront, against: nameReference, target: 0.2},
	{under: underRequests, name: nameEmbeddedShelves, against: nameReference, target: 0.2},
	{under: underRequests, name: nameWatermill, against: nameReference},
	{under: underRequests, name: nameAsynq, against: nameReference},
	{under: underReturns, name: nameReference},
	{under: underReturns, name: nameInside, against: nameReference},
	{under: underReturns, name: nameInto, against: nameReference, target: 1.0},
	{under: underReturns, name: nameOnward, against: nameReference, target: 1.0},
	{under: underReturns, name: nameWatermill, against: nameReference},
	{under: underReturns, name: nameAsynq, against: nameReference},
	{under: underMix, name: nameReference},
	{under: underMix, name: nameInside, against: nameReference},
	{under: underMix, name: nameLendingd, against: nameReference},
	{under: underMix, name: nameWatermill, against: nameReference},
	{under: underMix, name: nameAsynq, against: nameReference},
}

// frontMax is room in front storage for every book there is here.
const frontMax = "1000000"

const (
	// peerShare is the part of the requests and of their returns that the peers get,
	// and embeddedShare that of an embedded server: they would need minutes for all.
	// The mix is the same for everybody, as its beginning is unlike the rest.
	peerShare     = 4
	embeddedShare = 10
	// mixShare is how many requests there are for each order of the mix.
	mixShare = 2
)

// A throughput is what the contestants of this section share.
type throughput struct {
	*bench
	requests, returns, mix work
	// measured is what each row measured, one a round; notes are words on a row.
	measured map[rowName][]measurement
	notes    map[rowName]string
}

type rowName struct{ under, name string }

// A heat is what one contestant does in a round.
type heat struct {
	name string
	run  func(ctx context.Context) error
}

func measureThroughput(ctx context.Context, b *bench) ([]Row, error) {
	t := &throughput{bench: b, mix: contendedOrders(b.n / mixShare), measured: map[rowName][]measurement{}, notes: map[rowName]string{}}
	requests := distinctOrders(b.n, "user")
	t.requests, t.returns = work{requests: requests}, work{returns: again(requests, "back")}
	watermill, err := t.calibrate(ctx, nameWatermill, []int{4, 8, 16, 64}, newWatermill)
	if err != nil {
		return nil, err
	}
	asynq, err := t.calibrate(ctx, nameAsynq, []int{8, 16, 64, 256}, newAsynq)
	if err != nil {
		return nil, err
	}

	shelves, front := lendingd{}, lendingd{flags: []string{"--front", frontMax}}
	reference := ours{kind: "reference", fields: orderFields}
	inside := ours{kind: "inside", fields: orderFields}
	fresh := func(context.Context) (*server, error) { return b.startRedis() }
	freshAOF := func(context.Context) (*server, error) {
		return b.startRedis("--appendonly", "yes", "--appendfsync", "everysec")
	}
	heats := []heat{
		{nameReference, t.allOf(reference, fresh, nameReference, nameReference, nameReference)},
		{nameFront, t.allOf(front, t.startFilled, nameFront, nameInto, "")},
		{nameInside, t.allOf(inside, fresh, nameInside, nameInside, nameInside)},
		{nameShelves, t.allOf(shelves, fresh, nameShelves, nameOnward, nameLendingd)},
		{nameFrontAOF, t.allOf(front, t.startFilledAOF, nameFrontAOF, "", "")},
		{nameShelvesAOF, t.allOf(shelves, freshAOF, nameShelvesAOF, "", "")},
		{nameEmbeddedFront, func(ctx context.Context) error { return t.embedded(ctx, nameEmbeddedFront, true) }},
		{nameEmbeddedShelves, func(ctx context.Context) error { return t.embedded(ctx, nameEmbeddedShelves, false) }},
		{nameWatermill, t.some(peerShare, watermill, fresh, nameWatermill, nameWatermill, nameWatermill)},
		{nameAsynq, t.some(peerShare, asynq, fresh, nameAsynq, nameAsynq, nameAsynq)},
	}
	for round := range b.rounds {
		for _, h := range rotate(heats, round) {
			b.logf("round %d of %d: %s", round+1, b.rounds, h.name)
			if err := h.run(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", h.name, err)
			}
		}
	}
	return t.rows(), nil
}

// allOf has a contestant drain the requests and then the returns on one server,
// and the mix on another; what has no name is left out.
func (t *throughput) allOf(c contestant, start func(context.Context) (*server, error), requests, returns, mix string) func(context.Context) error {
	return t.some(1, c, start, requests, returns, mix)
}

// some is as allOf, for a part of the requests and of the returns.
func (t *throughput) some(share int, c contestant, start func(context.Context) (*server, error), requests, returns, mix string) func(context.Context) error {
	asked, back := t.requests.part(share), t.returns.part(share)
	return func(ctx context.Context) error {
		err := t.on(ctx, start, func(s *server) error {
			err := t.one(ctx, c, s, rowName{underRequests, requests}, []work{asked}, asked.books())
			if err != nil || returns == "" {
				return err
			}
			return t.one(ctx, c, s, rowName{underReturns, returns}, []work{asked, back}, 0)
		})
		if err != nil || mix == "" {
			return err
		}
		return t.on(ctx, start, func(s *server) error {
			return t.one(ctx, c, s, rowName{underMix, mix}, []work{t.mix}, anyLoans)
		})
	}
}

// on does something on a server of its own.
func (t *throughput) on(ctx context.Context, start func(context.Context) (*server, error), do func(*server) error) error {
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer s.Stop()
	return do(s)
}

// one measures the last of the work that is done on a server, and checks all of it.
func (t *throughput) one(ctx context.Context, c contestant, s *server, row rowName, all []work, loans int) error {
	m, err := drain(ctx, t.bench, c, s, all[len(all)-1])
	if err != nil {
		return err
	}
	if err := c.check(ctx, s, all, loans); err != nil {
		return fmt.Errorf("it did not do its work right: %w", err)
	}
	t.measured[row] = append(t.measured[row], m)
	t.logf("    %-12s %8.0f a second; Redis %.1f µs, worker %.1f µs", map[string]string{
		underRequests: "requests", underReturns: "returns", underMix: "mix"}[row.under], m.rate(), m.redisMicroseconds(), m.workerMicroseconds())
	return nil
}

// startFilled starts a server with a library in which every book was lent once and
// came back into front storage: there is no other way into it. The contestants that
// know no front storage begin with an empty server.
func (t *throughput) startFilled(ctx context.Context) (*server, error) {
	s, err := t.startRedis()
	if err != nil {
		return nil, err
	}
	c := lendingd{flags: []string{"--front", frontMax}}
	requests := distinctOrders(t.n, "earlier")
	all := []work{{requests: requests}, {returns: again(requests, "earlier-back")}}
	for _, w := range all {
		if err == nil {
			_, err = drain(ctx, t.bench, c, s, w)
		}
	}
	if err == nil {
		err = c.check(ctx, s, all, 0)
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("fill front storage: %w", err)
	}
	return s, nil
}

// startFilledAOF turns the append-only file on when front storage is filled. It
// returns when all there is has been written to the file.
func (t *throughput) startFilledAOF(ctx context.Context) (*server, error) {
	s, err := t.startFilled(ctx)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		s.client.ConfigSet(ctx, "appendfsync", "everysec").Err(),
		s.client.ConfigSet(ctx, "appendonly", "yes").Err(),
		s.process.until(10*time.Millisecond, startWithin, func() (bool, error) {
			info, err := s.info(ctx, "persistence")
			return info["aof_enabled"] == "1" && info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0", err
		}))
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// calibrate finds how many orders a peer should have in hand at once to be fastest.
func (t *throughput) calibrate(ctx context.Context, name string, parallel []int, with func(int) contestant) (contestant, error) {
	sample := t.requests.part(20)
	best, bestRate := 0, 0.0
	for _, p := range parallel {
		err := t.on(ctx, func(context.Context) (*server, error) { return t.startRedis() }, func(s *server) error {
			m, err := drain(ctx, t.bench, with(p), s, sample)
			if err != nil {
				return fmt.Errorf("calibrate %s: %w", name, err)
			}
			t.logf("%s with %d at once: %.0f requests a second", name, p, m.rate())
			if m.rate() > bestRate {
				best, bestRate = p, m.rate()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, under := range []string{underRequests, underReturns, underMix} {
		t.notes[rowName{under, name}] = strconv.Itoa(best) + " at once"
	}
	return with(best), nil
}

// embedded measures lendingd with the server that it brings. That server lives and
// ends with the worker, so work cannot be there before it: it is put aside, and
// moved into the inbox in one step.
func (t *throughput) embedded(ctx context.Context, name string, fromFront bool) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	address := "127.0.0.1:" + port
	s := &server{Addr: address, client: connect("tcp", address)}
	defer s.Stop()
	flags := []string{"--embedded"}
	if fromFront {
		flags = append(flags, "--front", frontMax)
	}
	p, err := t.startLendingd(s, flags...)
	if err != nil {
		return err
	}
	defer p.kill()
	c := lendingd{}
	if err := p.until(10*time.Millisecond, startWithin, func() (bool, error) { return listens("tcp", address) && c.serves(ctx, s), nil }); err != nil {
		return err
	}
	asked := t.requests.part(embeddedShare).requests
	if fromFront {
		earlier := distinctOrders(len(asked), "earlier")
		m, err := t.drainEmbedded(ctx, s, p, requestsKey, earlier, embeddedFor)
		if err != nil {
			return err
		}
		back := again(earlier[:m.orders], "earlier-back")
		if _, err := t.drainEmbedded(ctx, s, p, returnsKey, back, drainWithin); err != nil {
			return err
		}
		asked = asked[:m.orders]
	}
	m, err := t.drainEmbedded(ctx, s, p, requestsKey, asked, embeddedFor)
	if err != nil {
		return err
	}
	done := work{requests: asked[:m.orders]}
	if err := c.check(ctx, s, []work{done}, done.books()); err != nil {
		return fmt.Errorf("it did not do its work right: %w", err)
	}
	row := rowName{underRequests, name}
	t.measured[row] = append(t.measured[row], m)
	t.logf("    %-12s %8.0f a second, %d of them; the process %.1f µs", "requests", m.rate(), m.orders, m.workerMicroseconds())
	return p.Stop()
}

const (
	// aside is where work for an embedded server waits.
	aside = "{main}:aside"
	// embeddedPiece is how many orders it gets in one go, and embeddedFor the time
	// after which it gets no more.
	embeddedPiece = 2000
	embeddedFor   = 10 * time.Second
)

// drainEmbedded gives an embedded server the orders piece by piece, until there are
// no more or the time is up. What it measures is how many that were.
func (t *throughput) drainEmbedded(ctx context.Context, s *server, p *process, inbox string, orders []order, within time.Duration) (measurement, error) {
	var m measurement
	for begin := time.Now(); m.orders < len(orders) && time.Since(begin) < within; {
		piece := orders[m.orders:min(m.orders+embeddedPiece, len(orders))]
		if err := s.client.XGroupCreateMkStream(ctx, aside, lendingGroup, "0").Err(); err != nil {
			return m, err
		}
		if err := send("tcp", s.Addr, appends(aside, piece, orderFields), len(piece)); err != nil {
			return m, err
		}
		given, worker := time.Now(), p.CPU()
		if err := s.client.Rename(ctx, aside, inbox).Err(); err != nil {
			return m, err
		}
		err := p.until(doneEvery, drainWithin, func() (bool, error) {
			_, done, err := lendingd{}.look(ctx, s)
			return done, err
		})
		if err != nil {
			return m, err
		}
		m.took, m.worker, m.orders = m.took+time.Since(given), m.worker+p.CPU()-worker, m.orders+len(piece)
	}
	return m, nil
}

// rows makes the table's rows of what was measured.
func (t *throughput) rows() []Row {
	var rows []Row
	for _, plan := range throughputRows {
		name := rowName{plan.under, plan.name}
		measured := t.measured[name]
		unit := map[string]string{underRequests: "requests/s", underReturns: "returns/s", underMix: "orders/s"}[plan.under]
		row := Row{Section: plan.under, Name: plan.name, Unit: unit}
		var redis, worker []float64
		for i, m := range measured {
			row.Samples = append(row.Samples, m.rate())
			redis, worker = append(redis, m.redisMicroseconds()), append(worker, m.workerMicroseconds())
			if plan.against != "" {
				row.Ratios = append(row.Ratios, m.rate()/t.measured[rowName{plan.under, plan.against}][i].rate())
			}
		}
		if plan.against != "" {
			row.Against = "reference"
			if plan.says != "" {
				row.Against = plan.says
			}
		}
		if plan.target > 0 {
			row.atLeast(plan.target)
		}
		if len(measured) == 0 {
			continue
		}
		row.Note = fmt.Sprintf("Redis %s µs, worker %s µs each", number(median(redis)), number(median(worker)))
		if median(redis) == 0 { // the server is in the worker
			row.Note = fmt.Sprintf("the one process %s µs each", number(median(worker)))
		}
		if note := t.notes[name]; note != "" {
			row.Note += "; " + note
		}
		if orders := measured[0].orders; plan.under != underMix && orders < t.n {
			row.Note += "; " + number(float64(orders)) + " of them"
		}
		rows = append(rows, row)
	}
	return rows
}
