package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"

	"github.com/charmbracelet/lipgloss"
	"github.com/mattn/go-runewidth"
	urfave "github.com/urfave/cli/v2"
)

// Colours of the sixteen that every terminal has; lipgloss leaves them out where
// the output is no terminal, or NO_COLOR is set.
var (
	good  = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	wait  = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
	faint = lipgloss.NewStyle().Faint(true)
	bold  = lipgloss.NewStyle().Bold(true)
)

// exitOf is the exit code for an outcome.
func exitOf(outcome library.Outcome) error {
	code, known := map[library.Outcome]int{
		library.Granted: cli.ExitDone, library.Returned: cli.ExitDone, library.Partial: cli.ExitPartly,
		library.Denied: cli.ExitDenied, library.Refused: cli.ExitDenied,
	}[outcome]
	if !known {
		code = cli.ExitBroken
	}
	if code == cli.ExitDone {
		return nil
	}
	return &cli.ExitError{Code: code}
}

// showReceipt shows a receipt, follows its books until they are in the user's
// hands if asked to, and returns the exit code as an error.
func (d *desk) showReceipt(ctx context.Context, c *urfave.Context, receipt *library.Receipt, follow bool) error {
	if !follow {
		// How far the books are is not in the receipt.
		if located, err := d.Receipt(ctx, receipt.ID); err == nil {
			receipt = located
		}
	}
	receipt = receipt.In(d.zone(ctx))
	var followed error
	switch {
	case !follow:
	case cli.JSON(c):
		followed = d.followArrivals(ctx, c, receipt)
	default:
		quick, cancel := context.WithTimeout(ctx, soon)
		defer cancel()
		followed = d.Arrivals(quick, receipt, func(library.Line) {})
	}
	if cli.JSON(c) {
		if err := cli.WriteJSON(c.App.Writer, receipt); err != nil {
			return err
		}
	} else {
		if err := writeReceipt(c.App.Writer, receipt); err != nil {
			return err
		}
		if follow && errors.Is(followed, lending.ErrUnknown) {
			followed = d.followArrivals(ctx, c, receipt)
		}
	}
	if errors.Is(followed, lending.ErrUnknown) {
		return &cli.ExitError{Code: cli.ExitUnknown, Err: fmt.Errorf(
			"%s: the books are lent, but not all of them have arrived; go on waiting: getbooks receipt %s --wait", why(c), receipt.ID)}
	}
	if followed != nil {
		return followed
	}
	return exitOf(receipt.Outcome)
}

// followArrivals waits until all books have arrived. Of each that arrives it tells.
func (d *desk) followArrivals(ctx context.Context, c *urfave.Context, receipt *library.Receipt) error {
	total := 0
	for _, line := range receipt.Books {
		if line.OnItsWay {
			total++
		}
	}
	status := func(arrived int) string {
		return cli.Count(max(0, total-arrived), "book", "books") + " on the way from the shelves"
	}
	return d.waitFor(ctx, c, library.Shelving, status, func(ctx context.Context, say func(string)) error {
		return d.Arrivals(ctx, receipt, func(line library.Line) {
			if !cli.JSON(c) {
				say(fmt.Sprintf("%s %s  is in your hands", good.Render("✓"), bold.Render(library.Plain(line.Book))))
			}
		})
	})
}

// why tells why getbooks stopped waiting.
func why(c *urfave.Context) string {
	if c.Context.Err() != nil {
		return "interrupted"
	}
	return "not known in time"
}

func writeReceipt(w io.Writer, receipt *library.Receipt) error {
	if receipt.Outcome == library.Rejected {
		_, err := fmt.Fprintf(w, "%s %s\n", bad.Render("✗ rejected:"), library.Plain(receipt.Reason))
		return err
	}
	width := 0
	for _, line := range receipt.Books {
		width = max(width, runewidth.StringWidth(library.Plain(line.Book)))
	}
	var text strings.Builder
	for _, line := range receipt.Books {
		text.WriteString(describe(line, width) + "\n")
	}
	summary := map[library.Outcome]string{
		library.Granted: "all lent", library.Partial: "partly", library.Denied: "denied: nothing lent",
		library.Returned: "all returned", library.Refused: "refused: nothing taken back",
	}[receipt.Outcome]
	text.WriteString(faint.Render(fmt.Sprintf("%s · receipt %s", summary, library.Plain(receipt.ID))) + "\n")
	_, err := io.WriteString(w, text.String())
	return err
}

// describe is a receipt's line for one book.
func describe(line library.Line, width int) string {
	mark, words := good.Render("✓"), ""
	until := "until " + day(line.Due)
	switch line.Result {
	case library.Lent:
		words = "lent " + until
		if line.OnItsWay {
			mark, words = wait.Render("…"), words+", on its way from the shelves"
		} else {
			words += ", from " + placeNames[line.From]
		}
	case library.AlreadyYours:
		mark, words = wait.Render("="), "yours already, "+until
	case library.Unavailable:
		mark, words = bad.Render("✗"), "not available: somebody has it"
	case library.OverLimit:
		mark, words = bad.Render("✗"), "not lent: the card has no room for all of these"
	case library.TakenBack:
		words = "returned"
	case library.NotYours:
		mark, words = bad.Render("✗"), "not taken back: it is not on this card"
	case library.OnItsWay:
		mark, words = bad.Render("✗"), "not taken back: it is still on its way from the shelves"
	default:
		mark, words = wait.Render("?"), library.Plain(string(line.Result))
	}
	name := library.Plain(line.Book)
	pad := strings.Repeat(" ", max(0, width-runewidth.StringWidth(name)))
	return fmt.Sprintf("%s %s%s  %s", mark, bold.Render(name), pad, words)
}

var placeNames = map[string]string{library.FromFront: "front storage", library.FromShelves: "the shelves"}

// zone is the library's time zone, for dates are the library's. If it cannot be told now,
// UTC has to do.
func (d *desk) zone(ctx context.Context) *time.Location {
	if zone, err := d.Zone(ctx); err == nil {
		return zone
	}
	return time.UTC
}

// day is a date as the library's calendar shows it: t is in its time zone.
func day(t time.Time) string { return t.Format("2 Jan 2006") }
