package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"

	"github.com/charmbracelet/lipgloss"
	"github.com/mattn/go-isatty"
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

// soon is how long a book may take to arrive without being shown as on its way.
const soon = 700 * time.Millisecond

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
func showReceipt(ctx context.Context, c *urfave.Context, client *lending.Client, receipt *library.Receipt, follow bool) error {
	asJSON := c.String("output") == "json"
	var followed error
	if !follow {
		// How far the books are is not in the receipt.
		if located, err := client.Receipt(ctx, receipt.ID); err == nil {
			receipt = located
		}
	} else {
		quick := ctx
		if !asJSON {
			var cancel context.CancelFunc
			quick, cancel = context.WithTimeout(ctx, soon)
			defer cancel()
		}
		followed = client.Arrivals(quick, receipt, func(library.Line) {})
	}
	if !asJSON {
		writeReceipt(c.App.Writer, receipt)
		if follow && errors.Is(followed, lending.ErrUnknown) {
			followed = followArrivals(ctx, c.App.Writer, client, receipt)
		}
	} else if err := cli.WriteJSON(c.App.Writer, receipt); err != nil {
		return err
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

// why tells why getbooks stopped waiting.
func why(c *urfave.Context) string {
	if c.Context.Err() != nil {
		return "interrupted"
	}
	return "not known in time"
}

func writeReceipt(w io.Writer, receipt *library.Receipt) {
	if receipt.Outcome == library.Rejected {
		fmt.Fprintf(w, "%s %s\n", bad.Render("✗ rejected:"), library.Plain(receipt.Reason))
		return
	}
	width := 0
	for _, line := range receipt.Books {
		width = max(width, runewidth.StringWidth(line.Book))
	}
	for _, line := range receipt.Books {
		fmt.Fprintln(w, describe(line, width))
	}
	summary := map[library.Outcome]string{
		library.Granted: "all lent", library.Partial: "partly", library.Denied: "denied: nothing lent",
		library.Returned: "all returned", library.Refused: "refused: nothing taken back",
	}[receipt.Outcome]
	fmt.Fprintln(w, faint.Render(fmt.Sprintf("%s · receipt %s", summary, library.Plain(receipt.ID))))
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

func day(t time.Time) string { return t.Local().Format("2 Jan 2006") }

// followArrivals shows books as they arrive. On a terminal a last line tells how
// long the others have been on their way.
func followArrivals(ctx context.Context, w io.Writer, client *lending.Client, receipt *library.Receipt) error {
	live := w == os.Stdout && isatty.IsTerminal(os.Stdout.Fd())
	arrived := make(chan library.Line)
	done := make(chan error, 1)
	left := 0
	for _, line := range receipt.Books {
		if line.OnItsWay {
			left++
		}
	}
	go func() {
		done <- client.Arrivals(ctx, receipt, func(line library.Line) { arrived <- line })
		close(arrived)
	}()
	const eraseLine = "\r\x1b[K"
	begin := time.Now()
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for frame := 0; ; frame++ {
		select {
		case line, more := <-arrived:
			if live {
				fmt.Fprint(w, eraseLine)
			}
			if !more {
				return <-done
			}
			if left > 0 {
				left--
			}
			fmt.Fprintf(w, "%s %s  is in your hands\n", good.Render("✓"), bold.Render(library.Plain(line.Book)))
		case <-ticks.C:
			if live && left > 0 {
				spinner := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
				fmt.Fprintf(w, "%s%s %d on the way from the shelves, %s", eraseLine, wait.Render(string(spinner[frame%len(spinner)])),
					left, time.Since(begin).Round(time.Second))
			}
		}
	}
}
