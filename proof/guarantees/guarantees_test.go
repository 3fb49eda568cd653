// Package guarantees_test measures what is promised: what survives the death of a
// worker, of Redis, of its machine and of a replica, in each way of running the
// library. `make guarantees` measures all and writes the table in docs/guarantees.md.
package guarantees_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/internal/document"
	"example.com/library/internal/programtest"

	"github.com/redis/go-redis/v9/logging"
)

var (
	rounds = flag.Int("rounds", 0, "measure every way of running, so often; 0 leaves that out")
	write  = flag.String("write", "", "replace what stands between <!-- guarantees --> and <!-- /guarantees --> in this `FILE` with the table")
)

func TestMain(m *testing.M) {
	logging.Disable() // the servers die on purpose
	programtest.Main(m)
}

// A promise is what a death may take of the answers that clients were given.
type promise string

const (
	nothing    promise = "nothing"
	everything promise = "everything"
	// A row that must lose something shows that the measuring can tell.
	something promise = "something, at the worst moment"
	perhaps   promise = "perhaps something"
)

// A row is one way of running and one death.
type row struct {
	way   way
	death death
	takes promise
	tolls []toll
}

var (
	embedded = way{name: "embedded", embedded: true}
	plain    = way{name: "Redis, nothing on disk"}
	everysec = way{name: "AOF everysec", redis: appendonly("everysec"), onDisk: true}
	always   = way{name: "AOF always", redis: appendonly("always"), onDisk: true}
	replica  = way{name: "replica, believed at once", replicated: true}
	awaiting = way{name: "replica, `--wait-replicas 1`", replicated: true, replicas: 1}
)

func appendonly(fsync string) []string {
	return []string{"--appendonly", "yes", "--appendfsync", fsync}
}

// How much longer an fdatasync takes on slow disks.
const (
	slow    = 200 * time.Millisecond
	slowest = 2 * time.Second
)

// onSlowDisk is a way on a disk that is so slow.
func (w way) onSlowDisk(delay, lead time.Duration) way {
	w.name += fmt.Sprintf(", fdatasync %s", delay)
	w.delay, w.lead = delay, lead
	return w
}

// enough is how many answers are worth a death.
func (w way) enough() int {
	if w.delay >= slowest {
		return 10
	}
	return 100
}

func rows() []*row {
	everysecSlow, everysecSlowest := everysec.onSlowDisk(slow, 0), everysec.onSlowDisk(slowest, 5*time.Second)
	alwaysSlow, alwaysSlowest := always.onSlowDisk(slow, 0), always.onSlowDisk(slowest, 20*time.Second)
	return []*row{
		{way: embedded, death: workerDies, takes: nothing},
		{way: embedded, death: embeddedDies, takes: everything},
		{way: embedded, death: redisStops, takes: everything},

		{way: plain, death: workerDies, takes: nothing},
		{way: plain, death: redisDies, takes: everything},
		{way: plain, death: redisStops, takes: everything},

		{way: everysec, death: workerDies, takes: nothing},
		{way: everysec, death: redisDies, takes: perhaps},
		{way: everysec, death: machineDies, takes: something},
		{way: everysec, death: redisStops, takes: nothing},
		{way: everysecSlow, death: redisDies, takes: something},
		{way: everysecSlow, death: machineDies, takes: something},
		{way: everysecSlowest, death: redisDies, takes: something},
		{way: everysecSlowest, death: machineDies, takes: something},

		{way: always, death: workerDies, takes: nothing},
		{way: always, death: redisDies, takes: nothing},
		{way: always, death: machineDies, takes: nothing},
		{way: always, death: redisStops, takes: nothing},
		{way: alwaysSlow, death: machineDies, takes: nothing},
		{way: alwaysSlowest, death: machineDies, takes: nothing},

		{way: replica, death: workerDies, takes: nothing},
		{way: replica, death: masterDies, takes: perhaps},
		{way: replica, death: masterDiesAhead, takes: something},
		{way: replica, death: replicaDies, takes: nothing},

		{way: awaiting, death: workerDies, takes: nothing},
		{way: awaiting, death: masterDies, takes: nothing},
		{way: awaiting, death: masterDiesAhead, takes: nothing},
		{way: awaiting, death: replicaDies, takes: nothing},
	}
}

func (r *row) name() string { return r.way.name + ": " + r.death.name + " dies" }

// measure raises a library, has it used, lets something die, and counts. At the worst
// moment and with the worst cut a death takes most. Its error is errNoDisk.
func (r *row) measure(t testing.TB, worst bool, lead time.Duration) (toll, error) {
	t.Helper()
	s, err := raise(t, r.way, r.way.delay == 0 && r.death.name != machineDies.name)
	if err != nil {
		return toll{}, err
	}
	l := s.ledger
	ctx, stop := context.WithCancel(context.Background())
	used := make(chan struct{})
	defer func() {
		stop()
		<-used
	}()
	started := time.Now()
	go func() {
		defer close(used)
		l.use(ctx)
	}()
	s.until("the library is in use", func() bool { return time.Since(started) > lead && l.answers(started) >= r.way.enough() })

	struck := r.death.strike(s, worst)
	back := struck
	if r.death.mend != nil {
		r.death.mend(s)
		if back = time.Now(); r.way.replicas == 0 && r.death.name == replicaDies.name {
			back = struck // nothing of what serves was away
		}
	}
	if l.askAgain != nil {
		l.askAgain()
	}
	s.until("answers come again", func() bool { return l.answers(back) > 0 })
	s.until("all that was in hand is answered", func() bool { return l.awaited(back) == 0 })
	l.askForKept(struck)
	stop()
	<-used
	if t.Failed() {
		t.FailNow() // what is counted of a broken run means nothing
	}
	return l.tally(started, struck, back), nil
}

// check compares what a death took with what it may take.
func (r *row) check(t testing.TB, took toll, worst bool) {
	t.Helper()
	if took.answered == 0 {
		t.Error("nobody was given an answer before the death, so it shows nothing")
	}
	switch {
	case r.takes == nothing && (took.lost > 0 || took.two > 0):
		t.Errorf("%d of %d answers were lost, and %d books were with two users; want none", took.lost, took.answered, took.two)
	case r.takes == everything && took.lost < took.answered:
		t.Errorf("%d of %d answers were lost, want all", took.lost, took.answered)
	case r.takes == something && worst && took.lost == 0:
		t.Errorf("no answer was lost, so it shows nothing")
	case r.takes == something && worst && r.death.name == machineDies.name && took.reach <= r.way.delay:
		t.Errorf("the lost answers reach back %s: they had not left Redis yet, and the disk forgot nothing", took.reach)
	case took.lost == 0 && took.two > 0:
		t.Errorf("%d books were with two users though no answer was lost", took.two)
	}
	// What was accepted is kept as answers are; but nobody waited for a replica then.
	if r.takes == nothing && r.way.replicas == 0 && took.sentLost > 0 {
		t.Errorf("%d of %d orders were accepted and never decided", took.sentLost, took.sent)
	}
}

// The two ends of the measure, and what waiting for a replica is worth.
func TestWhatIsCountedCanBeAllOrNothing(t *testing.T) {
	for _, r := range []*row{
		{way: plain, death: redisDies, takes: everything},
		{way: everysec.onSlowDisk(slow, 0), death: machineDies, takes: something},
		{way: always, death: machineDies, takes: nothing},
		{way: replica, death: masterDiesAhead, takes: something},
		{way: awaiting, death: masterDiesAhead, takes: nothing},
	} {
		t.Run(r.name(), func(t *testing.T) {
			t.Parallel()
			took, err := r.measure(t, true, 0)
			if errors.Is(err, errNoDisk) {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d of %d answers were lost", took.lost, took.answered)
			r.check(t, took, true)
		})
	}
}

// repeat measures a row in as many rounds as the flag says. It returns true if the row
// is left out.
func (r *row) repeat(t *testing.T) (leftOut bool) {
	for i := range *rounds {
		t.Run(fmt.Sprint("round ", i+1), func(t *testing.T) {
			// The last round is struck at the worst moment, the others at any.
			worst := i == *rounds-1
			took, err := r.measure(t, worst, max(r.way.lead, 2*time.Second))
			if errors.Is(err, errNoDisk) {
				leftOut = true
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			r.check(t, took, worst)
			r.tolls = append(r.tolls, took)
			fmt.Fprintf(os.Stderr, "%s: %d of %d answers lost\n", r.name(), took.lost, took.answered)
		})
	}
	return leftOut
}

func TestEveryWayOfRunning(t *testing.T) {
	if *rounds == 0 {
		t.Skip("`make guarantees` measures every way of running")
	}
	all := rows()
	var leftOut atomic.Bool
	t.Run("lanes", func(t *testing.T) {
		// Who waits for a slow disk leaves the processors to others.
		for _, delay := range []time.Duration{0, slow, slowest} {
			t.Run(fmt.Sprint("fdatasync ", delay), func(t *testing.T) {
				t.Parallel()
				for _, r := range all {
					if r.way.delay == delay {
						t.Run(r.name(), func(t *testing.T) { leftOut.Store(r.repeat(t) || leftOut.Load()) })
					}
				}
			})
		}
	})
	if t.Failed() {
		return // what was measured while something was broken is no promise
	}
	text := describe(t, all)
	if leftOut.Load() {
		text += "\nLeft out is what needs a disk that forgets: " + errNoDisk.Error() + ".\n"
	}
	text += losses(all) + costs(all)
	fmt.Print(text)
	if *write != "" {
		if err := document.Replace(*write, "guarantees", text); err != nil {
			t.Fatal(err)
		}
	}
}
