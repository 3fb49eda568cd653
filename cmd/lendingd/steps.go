package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"example.com/library/internal/cli"

	"github.com/charmbracelet/x/term"
	urfave "github.com/urfave/cli/v2"
)

// steps lets somebody at a terminal go through something step by step: Enter goes on.
// Anywhere else nothing waits.
type steps struct {
	ctx   context.Context
	w     io.Writer
	enter <-chan struct{} // nil if nobody is there; closed when nothing more can be typed
}

func newSteps(c *urfave.Context) *steps {
	s := &steps{ctx: c.Context, w: c.App.Writer}
	if !term.IsTerminal(os.Stdin.Fd()) || !term.IsTerminal(os.Stdout.Fd()) {
		return s
	}
	enter := make(chan struct{})
	s.enter = enter
	go func() {
		defer close(enter)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			enter <- struct{}{}
		}
	}()
	return s
}

// says writes a paragraph.
func (s *steps) says(text string) {
	fmt.Fprintln(s.w, strings.Join(cli.Wrap(text, 80), "\n"))
}

// wait waits for Enter. Its error is the context's, if the program is told to stop.
func (s *steps) wait(why string) error {
	if s.enter == nil {
		return s.ctx.Err()
	}
	fmt.Fprintf(s.w, "[Enter] %s", why)
	select {
	case <-s.enter:
		return nil
	case <-s.ctx.Done():
		fmt.Fprintln(s.w)
		return s.ctx.Err()
	}
}
