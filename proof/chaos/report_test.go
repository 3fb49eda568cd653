package chaos_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
)

// A toll is what befell the library. Only what is atomic is counted by several.
type toll struct {
	lines   []*redistest.Proxy // the clients' ways to Redis
	started int                // worker processes

	workerKills, pauses, redisKills, cuts, stalls int
	agreements                                    int // how often the terms were set
	dropped, lost                                 atomic.Int64
	answers                                       atomic.Int64 // orders that were answered

	takeovers []time.Duration // from a worker's death until others had finished what it had in hand
	restarts  []restart
	replaced  []replacement
}

// A restart is a death of Redis, and its coming back.
type restart struct {
	killed, started, back time.Duration
	alone                 bool // nothing else happened meanwhile
}

// A replacement is a process that lost its name to another.
type replacement struct {
	name    string
	decided map[string]bool // what the former process printed that it decided
	after   string          // the newest entry of the log when the name had been taken
}

// figures are what a run is judged by, beside its being right.
type figures struct {
	orders, tookEffect, decided int
	refusals                    map[string]int
	lookedUp, open, unsent      int   // orders that were not answered in time
	appended                    int64 // entries that reached the two inboxes of orders
	tries                       int   // how often clients were told to send
}

func (r *run) count(l *log) figures {
	f := figures{orders: len(r.ledger), decided: len(l.byOrder), refusals: map[string]int{}}
	for _, d := range l.byOrder {
		if d.Outcome != "denied" && d.Outcome != "refused" {
			f.tookEffect++
		}
		for i := range d.Results {
			switch word := d.word(i); word {
			case "front", "shelves", "returned":
			default:
				f.refusals[word]++
			}
		}
	}
	for _, o := range r.ledger {
		f.tries += o.tries - o.unsent
		switch {
		case o.lookedUp:
			f.lookedUp++
		case o.neverSent():
			f.unsent++
		case o.answered == 0:
			f.open++
		}
	}
	ctx, cancel := within(programtest.Patience)
	defer cancel()
	for _, inbox := range []string{r.keys.Requests(), r.keys.Returns()} {
		info, err := r.rdb.XInfoStream(ctx, inbox).Result()
		if err != nil {
			r.Fatal(err)
		}
		f.appended += info.EntriesAdded
	}
	return f
}

// repeats is how many entries reached an inbox for an order that had one there before.
func (f figures) repeats() int64 { return f.appended - int64(f.decided) }

// report prints what the run was like, and fails it if it was too easy.
func (r *run) report(l *log) {
	f := r.count(l)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { fmt.Fprintf(table, "%s\t%v\n", name, value) }
	row("orders", f.orders)
	row("took effect", fmt.Sprintf("%d (%d %%)", f.tookEffect, 100*f.tookEffect/max(1, f.orders)))
	for _, word := range []string{"unavailable", "already_yours", "over_limit", "not_yours", "on_its_way"} {
		row("books "+strings.ReplaceAll(word, "_", " "), f.refusals[word])
	}
	row("orders answered in time", f.orders-f.lookedUp-f.unsent-f.open)
	row("orders whose receipt was looked up later", f.lookedUp)
	row("orders never sent, and known to be", f.unsent)
	row("orders without an answer in the end", f.open)
	row("repeats that reached Redis", f.repeats())
	row("  of these by the client library itself", fmt.Sprintf("%d at least", max(0, f.appended-int64(f.tries))))
	row("worker processes", r.toll.started)
	row("workers killed", r.toll.workerKills)
	row("workers paused beyond their lock", r.toll.pauses)
	row("workers whose name was taken", len(r.toll.replaced))
	row("Redis killed", r.toll.redisKills)
	row("connections cut", r.toll.cuts)
	row("connections stalled", r.toll.stalls)
	row("terms set", r.toll.agreements)
	row("replies dropped", r.toll.dropped.Load())
	row("commands lost", r.toll.lost.Load())
	row("worker killed → its entries finished", spread(r.toll.takeovers))
	row("Redis started → it can answer", spread(loadTimes(r.toll.restarts)))
	row("Redis can answer → first answer", spread(r.firstAnswers(l)))
	row("all of it took", r.since().Round(time.Second))
	table.Flush()
	r.Logf("seed %d\n%s", *seed, text.String())
	if easy := r.tooEasy(f); len(easy) > 0 {
		r.Errorf("this run proved nothing: %s", strings.Join(easy, "; "))
	}
}

// tooEasy tells in what the run was not hard enough.
func (r *run) tooEasy(f figures) (easy []string) {
	atLeast := func(got, want int, what string) {
		if got < want {
			easy = append(easy, fmt.Sprintf("%d %s, want at least %d", got, what, want))
		}
	}
	thousands := func(times int) int { return (times*f.orders + 999) / 1000 }
	atLeast(f.tookEffect, (f.orders+1)/2, "orders took effect")
	atLeast(r.toll.workerKills+r.toll.pauses, thousands(10), "workers killed or paused")
	atLeast(r.toll.redisKills, thousands(1), "times Redis was killed")
	atLeast(int(f.repeats()), thousands(10), "repeats reached Redis")
	atLeast(int(r.toll.dropped.Load()), thousands(1), "replies dropped")
	atLeast(len(r.toll.takeovers), 1, "killed workers whose entries others finished")
	alone := 0
	for _, restart := range r.toll.restarts {
		if restart.alone {
			alone++
		}
	}
	atLeast(alone, 1, "restarts of Redis measured")
	return easy
}

func loadTimes(restarts []restart) (took []time.Duration) {
	for _, restart := range restarts {
		took = append(took, restart.back-restart.started)
	}
	return took
}

// spread tells the middle and the longest of some durations.
func spread(took []time.Duration) string {
	if len(took) == 0 {
		return "not measured"
	}
	took = slices.Sorted(slices.Values(took))
	return fmt.Sprintf("median %s, at most %s (%d times)", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), len(took))
}
