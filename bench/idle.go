package main

import (
	"context"
	"fmt"
	"time"
)

var idleSection = section{name: "idle", run: measureIdle}

const underIdle = "Idle: what waiting for nothing costs"

// idleFor is how long idleness is watched. That is no wait for anything: it is the
// time over which the processors' time is counted.
const idleFor = 10 * time.Second

// measureIdle watches an instance with its defaults that has nothing to do, with
// its server; a server without an instance; and an instance with an embedded
// server. All stand side by side, for idle processes do not disturb each other.
func measureIdle(ctx context.Context, b *bench) ([]Row, error) {
	alone, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	defer alone.Stop()
	s, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	instance, err := b.serve(ctx, s)
	if err != nil {
		return nil, err
	}
	defer instance.kill()
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	own := &server{Addr: "127.0.0.1:" + port, client: connect("tcp", "127.0.0.1:"+port)}
	defer own.Stop()
	embedded, err := b.serve(ctx, own, "--embedded")
	if err != nil {
		return nil, err
	}
	defer embedded.kill()

	watched := []struct {
		name string
		p    *process
		most float64 // of a core, in percent; 0 for no target
	}{
		{"lendingd", instance, 0.5},
		{"its Redis", s.process, 1},
		{"a Redis that nobody uses", alone.process, 0},
		{"lendingd --embedded, its server included", embedded, 0},
	}
	rows := make([]Row, len(watched))
	for i, w := range watched {
		rows[i] = Row{Section: underIdle, Name: w.name, Unit: "% of a core"}
	}
	window := idleFor
	if b.n < 50_000 {
		window /= 5 // a trial run
	}
	// What starting has left to do is done before the first window, which is thrown away.
	for round := -1; round < b.rounds; round++ {
		b.logf("round %d of %d: %s of nothing", round+1, b.rounds, window)
		used := make([]time.Duration, len(watched))
		begin := time.Now()
		for i, w := range watched {
			used[i] = -w.p.CPU()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(window):
		}
		took := time.Since(begin)
		for i, w := range watched {
			used[i] += w.p.CPU()
			if used[i] < 0 {
				return nil, fmt.Errorf("%s ended%s", w.name, w.p.tail())
			}
			if round >= 0 {
				rows[i].Samples = append(rows[i].Samples, 100*used[i].Seconds()/took.Seconds())
			}
		}
	}
	for i, w := range watched {
		if w.most > 0 {
			rows[i].valueAtMost(w.most)
		}
	}
	rows[0].Note = fmt.Sprintf("over %s a round", window)
	return rows, instance.Stop()
}
