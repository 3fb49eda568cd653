package main

import (
	"os"
	"sync"
	"time"

	"github.com/charmbracelet/log"
	"github.com/mattn/go-isatty"
	urfave "github.com/urfave/cli/v2"
)

// newLogger makes the program's own log, on standard error. stop writes what is
// left of it.
//
// At a terminal it is coloured text, written at once. Such a line takes longer than
// all else a worker does for a request, so into a file or a pipe it writes logfmt,
// which takes a tenth, and in gulps.
func newLogger(c *urfave.Context) (logger *log.Logger, stop func()) {
	level, err := log.ParseLevel(c.String("log-level"))
	if err != nil {
		level = log.InfoLevel // checkInstanceFlags admits only levels that parse
	}
	options := log.Options{Level: level, ReportTimestamp: true, TimeFormat: "2006-01-02T15:04:05.000Z07:00"}
	terminal := isatty.IsTerminal(os.Stderr.Fd())
	switch format := c.String("log-format"); {
	case format == "json":
		options.Formatter = log.JSONFormatter
	case format == "logfmt", format == "auto" && !terminal:
		options.Formatter = log.LogfmtFormatter
	}
	if terminal {
		return log.NewWithOptions(os.Stderr, options), func() {}
	}
	gulps := &gulpWriter{file: os.Stderr}
	return log.NewWithOptions(gulps, options), gulps.flush
}

const (
	// gulpPause is how long a line may wait to be written.
	gulpPause = 10 * time.Millisecond
	// gulpBytesMax is how much may wait; more is written at once.
	gulpBytesMax = 64 << 10
)

// A gulpWriter writes to a file what came within a moment, all in one call.
type gulpWriter struct {
	file *os.File

	mu      sync.Mutex
	waiting []byte
}

func (w *gulpWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		time.AfterFunc(gulpPause, w.flush)
	}
	w.waiting = append(w.waiting, line...)
	if len(w.waiting) > gulpBytesMax {
		w.write()
	}
	return len(line), nil
}

func (w *gulpWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write()
}

// write empties what waits; mu is held. Nobody could be told of an error.
func (w *gulpWriter) write() {
	if len(w.waiting) > 0 {
		_, _ = w.file.Write(w.waiting)
		w.waiting = w.waiting[:0]
	}
}
