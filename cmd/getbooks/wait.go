package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"example.com/library/internal/cli"
	"example.com/library/worker"

	"github.com/mattn/go-runewidth"
	urfave "github.com/urfave/cli/v2"
)

// soon is how long an answer, or a book, may take to come without a word of waiting.
const soon = 700 * time.Millisecond

// waitFor waits for f, which waits for a service. What f says is shown as it comes. On a
// terminal a last line tells that there is more to come: status is its text after so
// many things were said. While no instance runs the service, standard error tells so,
// once.
func (d *desk) waitFor(ctx context.Context, c *urfave.Context, service string, status func(said int) string, f func(ctx context.Context, say func(string)) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	said, done, absent := make(chan string), make(chan error, 1), make(chan bool, 1)
	go func() {
		done <- f(ctx, func(text string) { said <- text })
		close(said)
	}()
	go d.watchOver(ctx, service, absent)
	const eraseLine = "\r\x1b[K"
	w, drawn, count := c.App.Writer, false, 0
	erase := func() {
		if drawn {
			fmt.Fprint(w, eraseLine)
			drawn = false
		}
	}
	begin := time.Now()
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for frame := 0; ; frame++ {
		select {
		case text, more := <-said:
			erase()
			if !more {
				return <-done
			}
			count++
			if _, err := fmt.Fprintln(w, text); err != nil {
				cancel() // nobody sees the rest; Run tells so
			}
		case <-absent:
			erase()
			fmt.Fprintf(os.Stderr, "no instance runs the %s service of library %s; waiting until one does (to start one: lendingd worker1)\n", service, d.keys.Library)
		case <-ticks.C:
			elapsed, width := time.Since(begin), cli.Live(c)
			if elapsed < soon || width == 0 || cli.JSON(c) {
				erase()
				continue
			}
			spinner := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
			text := fmt.Sprintf(" %s  %s", elapsed.Round(time.Second), status(count))
			fmt.Fprint(w, eraseLine, wait.Render(string(spinner[frame%len(spinner)])), runewidth.Truncate(text, max(0, width-2), "…"))
			drawn = true
		}
	}
}

// watchOver tells absent once when it sees that no instance runs a service.
func (d *desk) watchOver(ctx context.Context, service string, absent chan<- bool) {
	looks := time.NewTicker(time.Second)
	defer looks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
		}
		// Where it may not look, or Redis is away, nothing is known.
		if alive, err := worker.Alive(ctx, d.rdb, d.keys, service); err == nil && !alive {
			absent <- true
			return
		}
	}
}
