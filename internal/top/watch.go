// Package top shows in a terminal how a library works, second by second: it is what
// lendingd top does.
package top

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/library/events"
	"example.com/library/library"
	"example.com/library/status"

	"github.com/redis/go-redis/v9"
)

const (
	// eventsMax is how many of the last events are kept.
	eventsMax = 500
	// eventsBefore is how many events of the time before are shown at first.
	eventsBefore = 20
	// lookPatience is how long a look may take.
	lookPatience = 3 * time.Second
)

// A Sample is how a library stood at a moment, and what happened since the one before.
type Sample struct {
	At     time.Time
	Status *status.Status
	// Err says why a part of it is not known, or is nil.
	Err error
	// Counts are how many events of each kind there were, and Events the last of them, the
	// oldest first.
	Counts map[string]int
	Events []*events.Event
}

// A Watcher takes samples of a library.
type Watcher struct {
	rdb  redis.UniversalClient
	keys library.Keys

	mu     sync.Mutex
	counts map[string]int
	last   []*events.Event
	failed error // why the log is not followed any more
}

// Watch follows a library's log until ctx is done.
func Watch(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) *Watcher {
	w := &Watcher{rdb: rdb, keys: keys, counts: map[string]int{}}
	before, err := rdb.XRevRangeN(ctx, keys.Events(), "+", "-", eventsBefore).Result()
	w.failed = err
	for _, message := range slices.Backward(before) {
		w.last = append(w.last, events.Parse(message)...)
	}
	go func() {
		err := events.Follow(ctx, rdb, keys, time.Time{}, func(event *events.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.failed = nil
			w.counts[event.Event]++
			if w.last = append(w.last, event); len(w.last) > 2*eventsMax {
				w.last = slices.Clone(w.last[eventsMax:])
			}
			return nil
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.failed = err
		}
	}()
	return w
}

// Sample looks at the library, and takes what happened since the last call.
func (w *Watcher) Sample(ctx context.Context) Sample {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	now, err := status.Look(ctx, w.rdb, w.keys)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		err = w.failed
	}
	sample := Sample{At: time.Now(), Status: now, Err: err, Counts: w.counts, Events: w.last[max(0, len(w.last)-eventsMax):]}
	w.counts, w.last = map[string]int{}, nil
	return sample
}
