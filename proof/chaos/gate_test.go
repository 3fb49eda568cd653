package chaos_test

import (
	"sync"
	"time"
)

const (
	// A wave of orders is let through at once, so that they compete, and the next
	// comes after a pause, so that a run lasts long enough for its faults: locks must
	// lapse and entries be taken over while there is something to do.
	waveOrders = 32
	wavePause  = 350 * time.Millisecond
)

// A gate numbers the orders after the early ones, and lets them through in waves. It ties the faults to
// the orders: none passes before every fault that is planned before it has begun.
type gate struct {
	mu      sync.Mutex
	changed *sync.Cond
	total   int // how many orders there will be
	passed  int // how many have passed
	wave    int // how many the waves so far let through
	barrier int // how many the faults so far let through
}

func newGate(total int) *gate {
	g := &gate{total: total, passed: min(earlyMax, total)}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// pass waits until an order may go, and numbers it, from 0; false if there are to
// be no more.
func (g *gate) pass() (number int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.passed < g.total && g.passed >= min(g.wave, g.barrier) {
		g.changed.Wait()
	}
	if g.passed >= g.total {
		return 0, false
	}
	g.passed++
	g.changed.Broadcast()
	return g.passed - 1, true
}

// await waits until so many orders have passed.
func (g *gate) await(orders int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.passed < min(orders, g.total) {
		g.changed.Wait()
	}
}

// raise lets orders through up to the next fault.
func (g *gate) raise(barrier int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.barrier = barrier
	g.changed.Broadcast()
}

// close ends it: no more orders.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total = g.passed
	g.changed.Broadcast()
}

// surge lets one wave through at once.
func (g *gate) surge() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wave = g.passed + waveOrders
	g.changed.Broadcast()
}

// waves lets one wave through after the other until done is closed.
func (g *gate) waves(done <-chan struct{}) {
	pauses := time.NewTicker(wavePause)
	defer pauses.Stop()
	for {
		g.surge()
		select {
		case <-done:
			return
		case <-pauses.C:
		}
	}
}
