package audit

import (
	"cmp"
	"context"
	"hash/maphash"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

// patienceDefault is longer than an instance takes to see what a dead one left.
const patienceDefault = 5 * time.Second

// Config says what to audit.
type Config struct {
	// Redis is the server that has the library; Keys name the library.
	Redis redis.UniversalClient
	Keys  library.Keys
	// LoansMax is how many books a user might hold at any time. Default: what the library's
	// terms said at each time.
	LoansMax int
	// Patience is how long entries may stay pending for a dead instance before that is
	// wrong. Default: 5 s; somebody should have taken them over by then.
	Patience time.Duration
}

// Check audits a library and reports what it found. It writes nothing. An error
// means that it could not finish.
func Check(ctx context.Context, config Config) (*Report, error) {
	a, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	return a.run(ctx, a.agreement, a.books, a.receipts, a.limit, a.away, a.values, a.orders, a.rejected, a.locked, a.dead, a.stuck)
}

// An audit is a Check under way.
type audit struct {
	config Config
	rdb    redis.UniversalClient
	keys   keys
	log    *replay
	eyes   *observer
	sights map[string]*sight
	locks  []string // the keys of the instances' locks
	report *Report

	receiptsUntold int // how many receipts are older than the log
}

// prepare makes an audit ready to follow the log.
func prepare(ctx context.Context, config Config) (*audit, error) {
	config.Patience = cmp.Or(config.Patience, patienceDefault)
	k := keys{config.Keys}
	report := &Report{Library: config.Keys.Library, Findings: []Finding{}, Notices: []string{}, Unchecked: []string{}}
	master, err := redisconn.Master(ctx, config.Redis, config.Keys)
	if err != nil {
		return nil, err
	}
	a := &audit{
		config: config, rdb: config.Redis, keys: k, report: report,
		eyes: &observer{rdb: config.Redis, master: master, keys: k, report: report.found, broken: map[string]bool{}},
		log: &replay{
			rdb: config.Redis, keys: k, last: "0-0", books: map[string]*book{}, answers: map[string]*answer{},
			rejections: map[[2]string]bool{}, held: map[string]int{}, retried: "0-0", seed: maphash.MakeSeed(),
			report: report.found, notice: report.noticed,
		},
	}
	if err := a.eyes.types(ctx); err != nil {
		return nil, err
	}
	stands, err := a.eyes.standingTerms(ctx)
	if err != nil {
		return nil, err
	}
	a.log.limit, a.log.logMax = config.LoansMax, stands.LogMax
	if a.log.terms, err = a.eyes.termsBefore(ctx, stands); err != nil {
		return nil, err
	}
	a.log.whole, err = a.log.isWhole(ctx)
	return a, err
}

// run follows the log to its present end, takes the steps, and sums up.
func (a *audit) run(ctx context.Context, steps ...func(context.Context) error) (*Report, error) {
	if err := a.follow(ctx); err != nil {
		return nil, err
	}
	if err := a.deleted(ctx); err != nil {
		return nil, err
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a.finish(), nil
}

// follow follows the log to its present end.
func (a *audit) follow(ctx context.Context) error {
	if a.eyes.broken[a.keys.Events()] {
		return nil
	}
	until, err := newest(ctx, a.rdb, a.keys)
	if err != nil {
		return a.eyes.missing(a.keys.Events(), err)
	}
	return a.log.to(ctx, until)
}

// advance follows the log to its present end and tells what books it mentions on
// the way.
func (a *audit) advance(ctx context.Context) (map[string]bool, error) {
	a.log.touched = map[string]bool{}
	return a.log.touched, a.follow(ctx)
}

// deleted reports where somebody deleted an entry of the log, as far as the server
// tells.
func (a *audit) deleted(ctx context.Context) error {
	if a.log.entries == 0 || a.eyes.broken[a.keys.Events()] {
		return nil
	}
	info, err := a.rdb.XInfoStream(ctx, a.keys.Events()).Result()
	if err != nil {
		return ignoreAbsent(a.keys.Events(), err)
	}
	if id := info.MaxDeletedEntryID; id != "" && id != "0-0" {
		a.report.found(Finding{Kind: "log", Key: a.keys.Events(), Event: id, Problem: "somebody deleted this entry from the log, and perhaps others before it"})
	}
	return nil
}

// finish sums the report up.
func (a *audit) finish() *Report {
	r := a.report
	r.Events, r.First, r.Last, r.Whole = a.log.entries, a.log.first, a.log.last, a.log.whole
	for _, d := range a.log.decisions {
		r.Orders += once(a.log.answers[d.id].event == d.event)
	}
	if !r.Whole {
		r.Unchecked = append([]string{"what happened before " + ifElse(r.First == "", "now", "event "+r.First) +
			", for that part of the log is gone: facts that are older were compared with each other only"}, r.Unchecked...)
	}
	r.sort()
	return r
}

// once is how often something is there.
func once(holds bool) int { return ifElse(holds, 1, 0) }

func ifElse[T any](holds bool, then, otherwise T) T {
	if holds {
		return then
	}
	return otherwise
}
