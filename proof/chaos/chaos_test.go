// Package chaos_test torments a whole library and then asks whether it kept its
// promises. It runs the real programs on a real Redis: four workers and dozens of
// clients that compete for few books, while workers are killed and paused, Redis is
// killed, and connections are cut, stalled and robbed of replies. Every client keeps
// a ledger of what it asked and what it was told, and when.
//
// When all is quiet the ledgers, the log and the library's state are laid side by
// side, see checks_test.go, and the ledgers alone are given to a checker that knows
// nothing of the log, see blackbox_test.go. A run that was too easy fails too, for
// it proved nothing.
//
//	go test ./proof/chaos -v                         1,000 operations
//	go test ./proof/chaos -v -ops 5000 -seed 7       more of them, and another run
//	make chaos OPS=5000                              the same, with the limits on recovery times
//
// The seed chooses the faults, their order, and what the clients want. It does not
// choose how the processes are scheduled, so two runs with one seed are alike but
// not the same.
package chaos_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

var (
	ops    = flag.Int("ops", 1000, "how many orders the clients send")
	seed   = flag.Uint64("seed", 0, "chooses the faults and what the clients want; 0 draws one")
	limits = flag.Bool("limits", false, "fail where a recovery takes longer than the library promises")
)

const (
	// lockTTL is the shortest that lendingd allows, so that what a dead worker had in
	// hand is soon taken over.
	lockTTL = time.Second
	// The limit goes from loansLeast to loansMax and back: so small that users often ask for
	// more.
	loansLeast = 2
	loansMax   = 4
	// frontMax leaves most books on the shelves, which are slow.
	frontMax = 8
	// restWithin is how long the library may take to come to rest after the last
	// fault. It takes a few seconds; only what is stuck for ever takes this long.
	restWithin = time.Minute
)

func TestMain(m *testing.M) { programtest.Main(m) }

// A run is one library, those who use it, and what befalls it.
type run struct {
	*testing.T
	begin  time.Time // all times in the ledgers count from here
	dir    string    // what is kept of a run that failed
	random *rand.Rand

	server *redistest.Server
	rdb    *redis.Client // past the proxies
	keys   library.Keys

	gate    *gate
	workers []*slot
	clients []*client
	ledger  []*operation // by number
	toll    toll

	lasting sync.WaitGroup // faults that have not ended yet
}

func TestNoBookIsLentTwiceAndNothingIsForgotten(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(rand.Uint32())
	}
	r := open(t)
	t.Logf("seed %d, %d orders", *seed, *ops)
	stop := r.startClients()
	r.torment(newPlan(*ops, r.random))
	stop()
	if !r.comesToRest() {
		return
	}
	r.lookUpOpenOrders()
	log := r.readLog()
	r.checkAll(log)
	r.report(log)
}

func open(t *testing.T) *run {
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{
		T: t, begin: time.Now(), dir: dir, random: rand.New(rand.NewPCG(*seed, 0)),
		keys: library.Keys{Library: "main"}, gate: newGate(*ops), ledger: make([]*operation, *ops),
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
			return
		}
		t.Logf("kept in %s: the logs of all workers, the ledger and the library's log; again with: go test ./proof/chaos -count=1 -v -timeout 3h -ops %d -seed %d -limits=%t",
			dir, *ops, *seed, *limits)
	})
	// Only with "always" Redis has written a change before it answers, whatever the
	// disk does. With "everysec" it puts a write off while the disk is still busy with
	// the one before, and a kill just then loses what was answered.
	r.server = redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	r.rdb = r.server.Client(t)
	r.openPlaces()
	return r
}

// since is how long ago the run began, by a clock that is never set back.
func (r *run) since() time.Duration { return time.Since(r.begin) }

// keep writes a file among what is kept of a run that failed.
func (r *run) keep(name string, text string) {
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.Error(err)
	}
}

// within returns a context for what ought to be quick.
func within(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}

// eventually looks until a condition holds, for that long at most.
func eventually(limit, pause time.Duration, holds func() bool) bool {
	deadline := time.After(limit)
	looks := time.NewTicker(pause)
	defer looks.Stop()
	for !holds() {
		select {
		case <-deadline:
			return holds()
		case <-looks.C:
		}
	}
	return true
}
