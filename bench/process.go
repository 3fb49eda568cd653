package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

var processSection = section{name: "process", run: measureProcess}

const underProcess = "A whole process, from its start to its end"

// measureProcess measures getbooks as people use it: a process that connects,
// sends a request, waits for the receipt, prints it and ends.
func measureProcess(ctx context.Context, b *bench) ([]Row, error) {
	s, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	instance, err := b.serve(ctx, s, "--front", frontMax)
	if err != nil {
		return nil, err
	}
	defer instance.kill()
	client, end, err := publicClient(s)
	if err != nil {
		return nil, err
	}
	defer end()
	borrower, err := newReader(ctx, client, "borrower")
	if err != nil {
		return nil, err
	}

	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return nil, err
	}
	contestants := []struct {
		name    string
		command []string
		says    string // what is in its output
		after   asker  // what must be done before it can run again
	}{
		{"redis-cli ping", []string{"redis-cli", "-p", port, "ping"}, "PONG", nil},
		{"getbooks request, a book from front storage", []string{b.getbooks, "request", "-a", "redis://" + s.Addr, borrower.name, "book of " + borrower.name}, "from front storage", func(ctx context.Context) error {
			borrower.holds = true
			return borrower.order(ctx)
		}},
		{"getbooks --version, which connects to nothing", []string{b.getbooks, "--version"}, "getbooks", nil},
	}
	rows := make([]Row, len(contestants))
	for i, c := range contestants {
		rows[i] = Row{Section: underProcess, Name: c.name, Unit: "ms"}
		if i > 0 {
			rows[i].Against = "redis-cli ping"
		}
	}
	times := min(100, max(20, b.n/2000))
	for round := -1; round < b.rounds; round++ {
		b.logf("round %d of %d", round+1, b.rounds)
		took := make([][]float64, len(contestants))
		for turn := range times {
			for _, i := range turns(len(contestants), turn) {
				c := contestants[i]
				duration, err := runOnce(ctx, c.command, c.says)
				if err != nil {
					return nil, err
				}
				took[i] = append(took[i], duration)
				if c.after != nil {
					if err := c.after(ctx); err != nil {
						return nil, err
					}
				}
			}
		}
		if round < 0 {
			continue // the first round only warms up
		}
		for i := range contestants {
			rows[i].Samples = append(rows[i].Samples, median(took[i]))
			if i > 0 {
				rows[i].Ratios = append(rows[i].Ratios, rows[i].Samples[round]/rows[0].Samples[round])
			}
		}
	}
	rows[1].atMost(4)
	rows[0].Note = fmt.Sprintf("medians of %d a round, one after another", times)
	return rows, instance.Stop()
}

// runOnce runs a command and tells how many milliseconds it took. Its output must
// have a certain text in it.
func runOnce(ctx context.Context, words []string, says string) (float64, error) {
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "LENDING_") {
			command.Env = append(command.Env, variable)
		}
	}
	begin := time.Now()
	output, err := command.CombinedOutput()
	took := time.Since(begin)
	if err != nil || !strings.Contains(string(output), says) {
		return 0, fmt.Errorf("%s: %v: it says %q", strings.Join(words, " "), err, output)
	}
	return float64(took.Nanoseconds()) / 1e6, nil
}
