package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// A Row is one line of the table.
type Row struct {
	// Section is the heading it stands under, such as "Throughput: requests".
	Section string
	// Name is who or what was measured.
	Name string
	// Samples are what was measured, one a round, in Unit.
	Samples []float64
	Unit    string
	// Ratios compare each sample with that of Against in the same round; nil if
	// there is nothing to compare with.
	Ratios  []float64
	Against string
	// Target is what the project wants to reach, such as "≥ 1.0"; empty if it
	// names none. Met is whether the median reaches it; nil without a target.
	Target string
	Met    *bool
	// Note says what else is worth knowing.
	Note string
}

// atLeast sets a target that the median ratio must reach.
func (r *Row) atLeast(ratio float64) {
	met := median(r.Ratios) >= ratio
	r.Target, r.Met = "≥ "+fixed(ratio), &met
}

// A section measures one thing. It prints progress to standard error only.
type section struct {
	name string
	run  func(ctx context.Context, b *bench) ([]Row, error)
}

// A bench is one run: what all its sections share.
type bench struct {
	// dir is a folder for sockets, logs and databases, removed at the end.
	dir string
	// lendingd and getbooks are the paths of the programs that are measured.
	lendingd, getbooks string
	// rounds is how often each contestant runs.
	rounds int
	// n is how many requests a round drains.
	n int
	// logf tells of progress.
	logf func(format string, args ...any)

	started atomic.Int64 // servers and processes so far; numbers their files
}

// newBench makes the folder and builds the programs in the project's folder.
func newBench(ctx context.Context, project string, n, rounds int) (*bench, error) {
	parent := os.TempDir()
	if len(parent) > 60 {
		parent = "/tmp" // a Unix socket's path must fit in 108 bytes
	}
	dir, err := os.MkdirTemp(parent, "bench-")
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	b := &bench{
		dir: dir, n: n, rounds: rounds,
		lendingd: filepath.Join(dir, "lendingd"), getbooks: filepath.Join(dir, "getbooks"),
		logf: func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
		},
	}
	// The same flags as in the project's Makefile, for the programs as shipped.
	build := exec.CommandContext(ctx, "go", "build", "-C", project, "-trimpath", "-ldflags", "-s -w", "-o", dir, "./cmd/lendingd", "./cmd/getbooks")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		b.close()
		return nil, fmt.Errorf("build the programs in %s: %w\n%s", project, err, output)
	}
	return b, nil
}

// close removes the bench's folder. Processes that still run end with this one.
func (b *bench) close() {
	if err := os.RemoveAll(b.dir); err != nil {
		b.logf("%v", err)
	}
}

// median is the middle of the values, or the mean of the two in the middle; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// rotate returns the values beginning with another one each round, so that none
// always runs first, when the machine is cool, or after the same neighbour.
func rotate[T any](values []T, round int) []T {
	if len(values) == 0 {
		return values
	}
	k := round % len(values)
	return slices.Concat(values[k:], values[:k])
}
