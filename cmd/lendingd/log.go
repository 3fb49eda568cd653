package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/log"
	"github.com/mattn/go-isatty"
	urfave "github.com/urfave/cli/v2"
)

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// newLogger makes the program's own log, on standard error. dropped tells how many of its
// lines were. stop writes what is left of it, as far as somebody reads it. What the program itself has to say in the
// end goes the same way, so that no reader holds it up.
//
// At a terminal it is coloured text. Such a line takes longer than all else a worker
// does for a request, so into a file or a pipe it writes logfmt, which takes a tenth.
func newLogger(c *urfave.Context) (logger *log.Logger, dropped func() int64, stop func()) {
	level, err := log.ParseLevel(c.String("log-level"))
	if err != nil {
		level = log.InfoLevel // checkInstanceFlags admits only levels that parse
	}
	options := log.Options{Level: level, ReportTimestamp: true, TimeFormat: timeFormat}
	switch format := c.String("log-format"); {
	case format == "json":
		options.Formatter = log.JSONFormatter
	case format == "logfmt", format == "auto" && !isatty.IsTerminal(os.Stderr.Fd()):
		options.Formatter = log.LogfmtFormatter
	}
	colours := lipgloss.NewRenderer(os.Stderr).ColorProfile() // none where it is no terminal
	var line bytes.Buffer
	notes := log.NewWithOptions(&line, options)
	notes.SetColorProfile(colours)
	lines := newLineWriter(os.Stderr, func(lost int) []byte {
		line.Reset()
		notes.Error("this log could not be written for a while; lines of it were dropped, and service went on", "lines", lost)
		return line.Bytes()
	})
	logger = log.NewWithOptions(lines, options)
	logger.SetColorProfile(colours)
	c.App.ErrWriter = lastWords{lines}
	return logger, lines.lostEver.Load, lines.flush
}

// loggedNames are a text in a log of text, and a list in one of JSON.
type loggedNames []string

func (l loggedNames) String() string { return strings.Join(l, ",") }

// LogValue is what a JSON log has.
func (l loggedNames) LogValue() slog.Value { return slog.AnyValue([]string(l)) }
