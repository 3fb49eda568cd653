package worker

import (
	"context"
	"sync/atomic"
	"time"
)

// patienceMin is how long work may take at least, before the instance lets its name go.
// It is far more than any call of Redis may take.
const patienceMin = 10 * time.Second

// A stretch is a piece of what an instance does: a read, a sweep, or a batch in hand. The
// lock is refreshed only while each moves on. If it were refreshed beside the work, it
// would tell of an instance that does nothing that it lives, and nobody would take over
// what is pending for it.
type stretch struct {
	instance *Instance
	part     string       // what the log calls it
	due      atomic.Int64 // by when it moves on, on the instance's clock; 0 while it need not
}

// begin notes that a stretch of work begins.
func (i *Instance) begin(part string) *stretch {
	s := &stretch{instance: i, part: part}
	s.moves(0)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.work[s] = true
	return s
}

// moves notes that a stretch moves on, and does something now that by its nature takes
// so long.
func (s *stretch) moves(takes time.Duration) {
	s.due.Store(s.instance.clock.Load() + int64(s.instance.patience+takes))
}

// rests notes that a stretch waits, for a pause or for another stretch, until resume is
// called. It has as long to move on then as it had before.
func (s *stretch) rests() (resume func()) {
	left := s.due.Swap(0) - s.instance.clock.Load()
	return func() { s.due.Store(s.instance.clock.Load() + left) }
}

// ends notes that a stretch is over.
func (s *stretch) ends() {
	s.instance.mu.Lock()
	defer s.instance.mu.Unlock()
	delete(s.instance.work, s)
}

// stuck is the part of a stretch that should have moved on, or empty.
func (i *Instance) stuck() string {
	now := i.clock.Load()
	i.mu.Lock()
	defer i.mu.Unlock()
	for s := range i.work {
		if due := s.due.Load(); due != 0 && due < now {
			return s.part
		}
	}
	return ""
}

// await waits while the name is let go. It reports whether it is held, rather than ctx
// done.
func (i *Instance) await(ctx context.Context) bool {
	for i.away.Load() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(awayPause):
		}
	}
	return ctx.Err() == nil
}

// awayPause is the time between two looks whether the name is held again.
const awayPause = 100 * time.Millisecond
