package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/worker"
)

// A fault is something bad.
type fault struct {
	happens func(*run)
	room    int  // what share of the orders passes before the next fault
	alone   bool // it is measured, so it happens when no other fault lasts
	after   int  // how many orders pass before it
}

// faultsPer1000 is what befalls a library in 1,000 orders, and how often. What is
// watched more closely has room, so that there are orders to see it by.
var faultsPer1000 = []struct {
	times int
	fault fault
}{
	{2, fault{happens: (*run).killWorkerAndMeasure, room: 18, alone: true}},
	{1, fault{happens: (*run).killRedisAndMeasure, room: 18, alone: true}},
	{3, fault{happens: (*run).replaceLivingWorker, room: 8}},
	{2, fault{happens: (*run).replacePausedWorker, room: 8}},
	{6, fault{happens: (*run).killWorker, room: 1}},
	{4, fault{happens: (*run).pauseWorker, room: 1}},
	{1, fault{happens: (*run).killRedis, room: 1}},
	{4, fault{happens: (*run).cut, room: 1}},
	{2, fault{happens: (*run).stallWorker, room: 1}},
	{3, fault{happens: (*run).stallClients, room: 1}},
	{24, fault{happens: (*run).dropReply, room: 1}},
	{8, fault{happens: (*run).loseCommand, room: 1}},
	{5, fault{happens: (*run).changeTerms, room: 1}},
}

// decidedLine is what a worker prints of an order that it has decided.
var decidedLine = regexp.MustCompile(`(?m)^.* msg=(?:request|return) outcome=.* id=(\S+)$`)

// changeTerms has a person change what the library lends by, while all runs.
func (r *run) changeTerms() {
	number := func(least, most int) string { return fmt.Sprint(least + r.random.IntN(most-least+1)) }
	r.setTerms("--limit", number(loansLeast, loansMax), "--front", number(0, frontMax), "--loan-days", number(1, 60),
		"--time-zone", []string{"UTC", "Europe/Berlin", "Pacific/Kiritimati"}[r.random.IntN(3)])
}

func (r *run) setTerms(flags ...string) {
	args := append([]string{"terms", "-a", r.server.URL()}, flags...)
	if !eventually(programtest.Patience, 10*time.Millisecond, func() bool {
		process, err := programtest.Run(nil, "lendingd", args...)
		if err != nil {
			r.Fatal(err)
		}
		code, err := process.Wait()
		return err == nil && code == 0 // else Redis was away
	}) {
		r.Fatalf("the terms cannot be changed: %q", args)
	}
	r.toll.agreements++
}

// newPlan spreads the faults over a run, in an order of the seed's.
func newPlan(orders int, random *rand.Rand) []fault {
	// The workers come late, so that what was sent before there were any is served too.
	plan := []fault{{happens: (*run).startWorkers, after: min(waveOrders/2, orders)}}
	for from := 0; from < orders; from += 1000 {
		to := min(from+1000, orders)
		var faults []fault
		room := 0
		for _, kind := range faultsPer1000 {
			for range (kind.times*(to-from) + 999) / 1000 {
				faults = append(faults, kind.fault)
				room += kind.fault.room
			}
		}
		random.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		start, before := max(from, plan[0].after), 0
		for _, fault := range faults {
			fault.after = start + (to-start)*before/room
			plan = append(plan, fault)
			before += fault.room
		}
	}
	return plan
}

// torment lets every fault of the plan happen, and returns when all orders have
// passed and no fault lasts any longer.
func (r *run) torment(plan []fault) {
	progress := 0
	for i, fault := range plan {
		r.gate.raise(fault.after)
		r.gate.await(fault.after)
		if fault.alone {
			r.quiet()
		}
		if i+1 < len(plan) {
			r.gate.raise(plan[i+1].after)
		} else {
			r.gate.raise(*ops)
		}
		fault.happens(r)
		if fault.after >= progress+5000 {
			progress = fault.after
			r.Logf("%s: %d of %d orders", r.since().Round(time.Second), progress, *ops)
		}
	}
	r.gate.await(*ops)
	r.lasting.Wait()
}

func (r *run) startWorkers() {
	r.setTerms("--limit", "3", "--front", fmt.Sprint(frontMax), "--log-keep", "100000000")
	for _, w := range r.workers {
		r.start(w, w.name, false)
	}
	r.quiet()
}

// quiet waits until no fault lasts and every worker serves.
func (r *run) quiet() {
	r.lasting.Wait()
	for _, w := range r.workers {
		if err := w.process.Await("msg=serving"); err != nil {
			r.Fatal(err)
		}
	}
}

// last lets a fault last for a while.
func (r *run) last(w *slot, during time.Duration, end func()) {
	if w != nil {
		w.away.Store(true)
	}
	r.lasting.Go(func() {
		<-time.After(during)
		end()
		if w != nil {
			w.away.Store(false)
		}
	})
}

// beyondLock is longer than a lock lives.
func (r *run) beyondLock() time.Duration {
	return lockTTL + 100*time.Millisecond + time.Duration(r.random.Int64N(int64(600*time.Millisecond)))
}

// killWorker kills a worker and starts another at once: under a new name, so that
// others must take over what was pending, or under its own, so that it does so itself.
func (r *run) killWorker() {
	w := r.present(anyWorker)
	w.process.Kill()
	r.toll.workerKills++
	name := w.name
	if r.random.IntN(2) == 0 {
		name = r.newName(w)
	}
	r.start(w, name, true)
}

// killWorkerAndMeasure kills a worker that has something in hand, and measures until
// others have finished all of that. The worker is stopped first, for else it would
// have finished before it is known to have begun.
func (r *run) killWorkerAndMeasure() {
	var w *slot
	var held []errand
	for range 3 { // it may be that nothing comes to this one
		w = r.present(anyWorker)
		r.signal(w.process, syscall.SIGSTOP)
		r.gate.surge()
		if eventually(lockTTL/2, time.Millisecond, func() bool {
			var err error
			held, err = r.errands(w.name)
			return err == nil && len(held) > 0
		}) {
			break
		}
		r.signal(w.process, syscall.SIGCONT)
	}
	w.process.Kill()
	r.toll.workerKills++
	killed := r.since()
	if len(held) > 0 {
		held, _ = r.errands(w.name) // with what came until it was dead
		if !eventually(restWithin, 5*time.Millisecond, func() bool {
			left, err := r.unfinished(held)
			return err == nil && left == 0
		}) {
			r.Fatalf("%s was killed, and %s later its entries are still pending: %v", w.name, restWithin, held)
		}
		r.toll.takeovers = append(r.toll.takeovers, r.since()-killed)
	}
	r.start(w, r.newName(w), false)
}

// pauseWorker stops a worker for longer than its lock lives. It wakes up in the
// belief that nothing has happened.
func (r *run) pauseWorker() {
	w := r.present(anyWorker)
	process := w.process
	r.signal(process, syscall.SIGSTOP)
	r.toll.pauses++
	r.last(w, r.beyondLock(), func() { r.signal(process, syscall.SIGCONT) })
}

// replaceLivingWorker gives the name of a worker that is well to another process. From
// then on the first may write nothing.
func (r *run) replaceLivingWorker() {
	w := r.servingLender()
	r.replace(w, func() {})
}

// replacePausedWorker does the same to one that is paused, and wakes it up when it
// has lost its name.
func (r *run) replacePausedWorker() {
	w := r.servingLender()
	former := w.process
	r.signal(former, syscall.SIGSTOP)
	r.toll.pauses++
	r.gate.surge()
	<-time.After(lockTTL / 4) // it is given entries that it cannot finish
	r.replace(w, func() { r.signal(former, syscall.SIGCONT) })
}

// servingLender picks a worker that lends, and that has its name already.
func (r *run) servingLender() *slot {
	w := r.present((*slot).lends)
	if err := w.process.Await("msg=serving"); err != nil {
		r.Fatal(err)
	}
	return w
}

// replace starts a process under the name of another, notes from where on in the log
// the name is the new one's, and waits for the end of the former.
func (r *run) replace(w *slot, taken func()) {
	ctx, cancel := within(programtest.Patience)
	defer cancel()
	former := w.process
	r.start(w, w.name, true)
	// A new token alone would not do: the former owner takes a new one as well, where
	// its lock lapsed because Redis was away.
	if !eventually(programtest.Patience, time.Millisecond, func() bool {
		lock, err := r.rdb.Get(ctx, r.keys.Instance(w.name)).Result()
		if err != nil {
			return false
		}
		owner, err := worker.ReadOwner(lock)
		return err == nil && owner.PID == w.process.PID()
	}) {
		r.Fatalf("%s did not take its name by force", w.name)
	}
	newest, err := r.rdb.XRevRangeN(ctx, r.keys.Events(), "+", "-", 1).Result()
	if err != nil {
		r.Fatal(err)
	}
	after := "0-0"
	for _, entry := range newest {
		after = entry.ID
	}
	taken()
	r.gate.surge() // orders that the former owner might still decide
	if code, err := former.Wait(); err != nil || code != 1 {
		r.Errorf("%s lost its name to another process and ended with code %d, want 1: %v", w.name, code, err)
	}
	decided := map[string]bool{}
	for _, found := range decidedLine.FindAllStringSubmatch(former.Output(), -1) {
		decided[found[1]] = true
	}
	r.toll.replaced = append(r.toll.replaced, replacement{name: w.name, decided: decided, after: after})
}

func (r *run) killRedis() {
	killed := r.since()
	r.server.Kill(r)
	r.toll.redisKills++
	<-time.After(time.Duration(r.random.Int64N(int64(300 * time.Millisecond))))
	started := r.since()
	r.server.Restart(r)
	r.toll.restarts = append(r.toll.restarts, restart{killed: killed, started: started, back: r.since()})
}

// killRedisAndMeasure kills Redis when all else is well, and lets nothing else happen
// until clients are answered again.
func (r *run) killRedisAndMeasure() {
	r.killRedis()
	measured := &r.toll.restarts[len(r.toll.restarts)-1]
	measured.alone = true
	before := r.toll.answers.Load()
	if !eventually(restWithin, time.Millisecond, func() bool { return r.toll.answers.Load() > before }) {
		r.Errorf("Redis is back, and %s later nobody has been answered", restWithin)
	}
}

// anyLine is one of the ways to Redis: a client's or a worker's.
func (r *run) anyLine() *redistest.Proxy {
	if r.random.IntN(2) == 0 {
		return r.toll.lines[r.random.IntN(len(r.toll.lines))]
	}
	return r.workers[r.random.IntN(len(r.workers))].Proxy
}

func (r *run) cut() {
	r.anyLine().CutAll()
	r.toll.cuts++
}

// stallWorker cuts a worker off for longer than its lock lives. What it sent
// meanwhile arrives late.
func (r *run) stallWorker() {
	w := r.present(anyWorker)
	w.Stall()
	r.toll.stalls++
	r.last(w, r.beyondLock(), w.Resume)
}

func (r *run) stallClients() {
	line := r.toll.lines[r.random.IntN(len(r.toll.lines))]
	line.Stall()
	r.toll.stalls++
	r.last(nil, 200*time.Millisecond+time.Duration(r.random.Int64N(int64(800*time.Millisecond))), line.Resume)
}

// dropReply lets the next command of a kind take effect, and its sender not know.
func (r *run) dropReply() {
	line, match := r.victim(&r.toll.dropped)
	line.DropReply(match)
}

// loseCommand lets the next command of a kind have no effect, and its sender not know.
func (r *run) loseCommand() {
	line, match := r.victim(&r.toll.lost)
	line.LoseCommand(match)
}

// victim chooses whose next command meets a fault: the append of a client's order, or
// a worker's reading or deciding.
func (r *run) victim(count *atomic.Int64) (*redistest.Proxy, func([]string) bool) {
	line, command := r.toll.lines[r.random.IntN(len(r.toll.lines))], "xadd"
	if r.random.IntN(3) == 0 {
		line = r.workers[r.random.IntN(len(r.workers))].Proxy
		command = []string{"evalsha", "evalsha", "xreadgroup"}[r.random.IntN(3)]
	}
	return line, func(args []string) bool {
		if !strings.EqualFold(args[0], command) {
			return false
		}
		count.Add(1)
		return true
	}
}
