package redisconn

import (
	"context"
	"errors"
	"strings"
	"sync"

	"example.com/library/library"
	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
)

// An Outage tells the log when parts of a program cannot do their work and when
// they can again: one line a change of state, however often they try.
type Outage struct {
	log *log.Logger

	mu   sync.Mutex
	down map[string]bool // the parts that cannot work; true if Redis itself said so
	// begun is how often a part could not work after all of them could.
	begun int
	told  map[string]bool // the kinds of error told since all parts could work
}

// NewOutage makes an Outage that writes to that log.
func NewOutage(log *log.Logger) *Outage {
	return &Outage{log: log, down: map[string]bool{}, told: map[string]bool{}}
}

// Retry is the function Retry for a step of a part, with word to the log.
func (o *Outage) Retry(ctx context.Context, part string, again func(error) bool, step func() error) error {
	err := Retry(ctx, func(err error) bool {
		if !again(err) {
			return false
		}
		o.Begin(part, err)
		return true
	}, step)
	if err == nil || !again(err) {
		o.Over(part)
	}
	return err
}

// Begin notes that a part met an error and will try again.
func (o *Outage) Begin(part string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kind := "connection"
	if len(o.down) == 0 {
		o.begun++
	}
	var reply redis.Error
	o.down[part] = errors.As(err, &reply) && Passes(err)
	if message, said := Replied(err); said {
		kind, _, _ = strings.Cut(message, " ")
	}
	if !o.told[kind] {
		o.told[kind] = true
		o.log.Warn("Redis cannot serve just now; trying again until it does", "part", part, "error", library.Plain(err.Error()))
	}
}

// Over notes that a part does its work.
func (o *Outage) Over(part string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, down := o.down[part]; !down {
		return
	}
	delete(o.down, part)
	if len(o.down) == 0 {
		clear(o.told)
		o.log.Info("Redis serves again")
	}
}

// Count tells how many outages there were, and whether one lasts.
func (o *Outage) Count() (begun int, lasts bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun, len(o.down) > 0
}

// Busy reports whether a part waits because Redis answers that it cannot serve it just
// now: it is full, or loading, and others fare no better.
func (o *Outage) Busy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, busy := range o.down {
		if busy {
			return true
		}
	}
	return false
}
