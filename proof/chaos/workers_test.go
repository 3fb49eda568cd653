package chaos_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// A slot is a place for a worker: processes come and go in it. It has a way to
// Redis of its own, so that it can be cut off alone.
type slot struct {
	*redistest.Proxy
	services  string
	fetchTime time.Duration

	process *programtest.Process
	name    string
	away    atomic.Bool // paused or cut off, for now
}

// lends reports whether the worker decides who gets which book.
func (w *slot) lends() bool { return w.services != library.Shelving }

// openPlaces makes the places for workers. Without any two of them there is still
// somebody for each service.
func (r *run) openPlaces() {
	const both = library.Lending + "," + library.Shelving
	r.workers = []*slot{
		{services: both},
		{services: both, fetchTime: 20 * time.Millisecond},
		{services: library.Lending},
		{services: library.Shelving, fetchTime: 10 * time.Millisecond},
	}
	for i, w := range r.workers {
		w.Proxy = redistest.NewProxy(r, r.server)
		w.name = fmt.Sprintf("worker%d", i+1)
	}
}

// start starts a process in a place, under a name. With force it takes the name from
// whoever holds it.
func (r *run) start(w *slot, name string, force bool) {
	r.toll.started++
	w.name = name
	args := []string{
		"-a", w.Addr(), "--lock-ttl", lockTTL.String(), "--service", w.services, "--fetch-time", w.fetchTime.String(),
	}
	if force {
		args = append(args, "--force")
	}
	process, err := programtest.Run(nil, "lendingd", append(args, name)...)
	if err != nil {
		r.Fatal(err)
	}
	w.process = process
	number := r.toll.started
	r.Cleanup(func() {
		process.Kill()
		r.keep(fmt.Sprintf("%s-%d.log", filepath.Base(name), number), process.Output())
	})
}

// newName is a name that no process had before.
func (r *run) newName(w *slot) string {
	return fmt.Sprintf("worker%d-%d", 1+r.place(w), r.toll.started+1)
}

func (r *run) place(w *slot) int {
	for i, other := range r.workers {
		if other == w {
			return i
		}
	}
	panic("a worker without a place")
}

// present picks a worker that no fault has in its grip, and leaves two more: where
// there are none to spare, it waits for the faults to end.
func (r *run) present(fit func(*slot) bool) *slot {
	for {
		var present, fits []*slot
		for _, w := range r.workers {
			if w.away.Load() {
				continue
			}
			present = append(present, w)
			if fit(w) {
				fits = append(fits, w)
			}
		}
		if len(present) > 2 && len(fits) > 0 {
			return fits[r.random.IntN(len(fits))]
		}
		r.lasting.Wait()
	}
}

func anyWorker(*slot) bool { return true }

func (r *run) signal(process *programtest.Process, signal syscall.Signal) {
	if err := process.Signal(signal); err != nil {
		r.Errorf("send %s: %v", signal, err)
	}
}

// An errand is an entry that is pending for somebody.
type errand struct {
	inbox, service, entry string
}

// errands are all entries that are pending for a name, or for anybody if it is
// empty.
func (r *run) errands(name string) (errands []errand, err error) {
	ctx, cancel := within(programtest.Patience)
	defer cancel()
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range r.keys.Inboxes(service) {
			pending, err := r.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
				Stream: inbox, Group: service, Start: "-", End: "+", Count: 100_000, Consumer: name,
			}).Result()
			if err != nil {
				return nil, err
			}
			for _, entry := range pending {
				errands = append(errands, errand{inbox, service, entry.ID})
			}
		}
	}
	return errands, nil
}

// unfinished counts the errands that are still pending, for whomever.
func (r *run) unfinished(errands []errand) (left int, err error) {
	pending, err := r.errands("")
	if err != nil {
		return 0, err
	}
	still := map[errand]bool{}
	for _, one := range pending {
		still[one] = true
	}
	for _, one := range errands {
		if still[one] {
			left++
		}
	}
	return left, nil
}
