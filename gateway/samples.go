package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

const (
	// sampleEvery is how often the library is sampled.
	sampleEvery = 5 * time.Second
	// samplesMax is how many samples are kept: those of 20 minutes.
	samplesMax = 240
	// handsMax is how many orders on their way are known, to tell how long they took.
	handsMax = 10_000
)

// A sample is what was so at a moment, and what happened in the seconds before.
type sample struct {
	At      int64              `json:"at"` // in milliseconds
	Seconds float64            `json:"seconds"`
	Events  map[string]int64   `json:"events"`
	Front   int64              `json:"front"`   // books lent from front storage
	Shelves int64              `json:"shelves"` // books lent from the shelves
	Hands   int                `json:"hands"`   // books that came from the shelves into hands
	HandMS  int64              `json:"hand_ms"` // the median of the times that took since the decision
	HandMax int64              `json:"hand_max_ms"`
	Inboxes map[string]waiting `json:"inboxes"`
}

// waiting is what waits in an inbox.
type waiting struct {
	Unread   int64 `json:"unread"`
	Pending  int64 `json:"pending"`
	OldestMS int64 `json:"oldest_ms"`
}

// A course is what the feed notes of orders on their way, for the samples.
type course struct {
	front, shelves int64
	decided        map[string]time.Time // of orders that have books on their way
	took           []time.Duration      // since the last sample
}

// note notes what an event tells of an order's way into hands.
func (c *course) note(e *told) {
	c.front, c.shelves = c.front+int64(e.front), c.shelves+int64(e.shelves)
	if e.shelves > 0 && len(c.decided) < handsMax {
		c.decided[e.request] = e.time
	}
	if decided, known := c.decided[e.request]; known && e.event == "delivered" {
		if len(c.took) < handsMax {
			c.took = append(c.took, e.time.Sub(decided))
		}
	}
}

// take is what was noted since it was taken last. Orders that take longer than the charts
// show are forgotten.
func (c *course) take(now time.Time) course {
	taken := *c
	c.front, c.shelves, c.took = 0, 0, nil
	for request, decided := range c.decided {
		if now.Sub(decided) > 15*time.Minute || len(c.decided) >= handsMax {
			delete(c.decided, request)
		}
	}
	return taken
}

// sampling samples a library until ctx is done.
func (s *Server) sampling(ctx context.Context, l *served) {
	l.feed.begin()
	outage := redisconn.NewOutage(s.config.Log)
	before, _ := l.feed.tally()
	begin := time.Now()
	for {
		moment := time.Now().Truncate(sampleEvery).Add(sampleEvery)
		// Some later than the moment, so that not all gateways come at once.
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(moment) + rand.N(time.Second)):
		}
		so, _ := l.feed.tally()
		course := l.feed.course()
		next := sample{
			At: moment.UnixMilli(), Seconds: time.Since(begin).Seconds(), Events: so.since(before).Events,
			Front: course.front, Shelves: course.shelves, Inboxes: map[string]waiting{},
		}
		before, begin = so, time.Now()
		if slices.Sort(course.took); len(course.took) > 0 {
			next.Hands = len(course.took)
			next.HandMS, next.HandMax = course.took[next.Hands/2].Milliseconds(), course.took[next.Hands-1].Milliseconds()
		}
		if err := l.addSample(ctx, next); err != nil && ctx.Err() == nil {
			outage.Begin("samples", err)
		} else {
			outage.Over("samples")
		}
	}
}

// addSample adds a moment's sample, unless another gateway has.
func (l *served) addSample(ctx context.Context, next sample) error {
	found := l.state.now(ctx)
	if found.Error != "" {
		return errors.New(found.Error)
	}
	for _, stream := range found.Status.Streams {
		_, inbox, _ := strings.Cut(stream.Stream, ":")
		next.Inboxes[inbox] = waiting{stream.Unread, stream.Pending, stream.Oldest.Milliseconds()}
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	err = l.Redis.XAdd(ctx, &redis.XAddArgs{
		Stream: l.Keys.Samples(), MaxLen: samplesMax, ID: fmt.Sprintf("%d-1", next.At), Values: []string{"sample", string(text)},
	}).Err()
	if err != nil && strings.Contains(err.Error(), "equal or smaller") {
		return nil // another gateway was first
	}
	return err
}

// showSamples tells what the charts show.
func (s *Server) showSamples(w http.ResponseWriter, r *http.Request, l *served) error {
	return s.lookUp(w, r, func(ctx context.Context) (any, error) {
		entries, err := l.Redis.XRange(ctx, l.Keys.Samples(), "-", "+").Result()
		samples := []sample{}
		for _, entry := range entries {
			var one sample
			text, _ := entry.Values["sample"].(string)
			if json.Unmarshal([]byte(text), &one) == nil && one.Seconds > 0 {
				samples = append(samples, one)
			}
		}
		return samples, err
	})
}
