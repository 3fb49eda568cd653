package main

import (
	"cmp"
	"fmt"
	"io"

	"example.com/library/acl"
	"example.com/library/audit"
	"example.com/library/internal/cli"
	"example.com/library/library"

	urfave "github.com/urfave/cli/v2"
)

func auditCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "audit",
		Usage: "check a library while it runs: follow its log, and compare every key with it",
		Description: `Every book must be in one place, the loans and the cards agree, nobody hold more than
the limit, every receipt be the one the log has, every order be worked for, and nothing
stay pending for a dead instance. It writes nothing, and holds nobody up. What is wrong is
told by key, book, user and order, with the event that should explain it, and the exit
code is 1. It needs about a KiB of memory for each book off the shelves and for each
receipt.`,
		Flags: append([]urfave.Flag{
			cli.OutputFlag(), cli.JSONFlag(),
			&urfave.IntFlag{Name: "limit", Usage: "check as if users might hold a `NUMBER` of books, from 1 to 100", DefaultText: "the library's own limits"},
		}, cli.SeveralConnectionFlags()...),
		Action: func(c *urfave.Context) error {
			if c.IsSet("limit") {
				if err := cli.Within(c, "limit", c.Int("limit"), 1, 100); err != nil {
					return err
				}
			}
			return eachReport(c, "audited by", cli.ToLookUp, func(config audit.Config) (*audit.Report, error) {
				if c.IsSet("limit") {
					config.LoansMax = c.Int("limit")
				}
				return audit.Check(c.Context, config)
			})
		},
	}
}

func rebuildCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "rebuild",
		Usage: "make a library's state anew from its log",
		Description: `With --verify the state is made in memory, beside the live one, and the difference is
shown; the exit code is 1 if there is any. With --to the log is copied to a library of
that name on the same server, which must not have any keys, and its state is made there:
loans, cards, receipts, and what is on its way. What the log does not tell is not there:
orders that are not decided yet, entries that were set aside, how much books are in
demand. Both need a log of which nothing was trimmed away yet.

Examples:
   lendingd rebuild --verify    show where the keys differ from the log
   lendingd rebuild --to main2  make another library; then: lendingd --library main2 NAME`,
		Flags: append([]urfave.Flag{
			&urfave.BoolFlag{Name: "verify", DisableDefaultText: true, Usage: "compare the state with the live one, and write nothing"},
			&urfave.StringFlag{Name: "to", Usage: "the `NAME` of the library to make"},
			cli.OutputFlag(), cli.JSONFlag(),
		}, cli.SeveralConnectionFlags()...),
		Action: func(c *urfave.Context) error {
			to := c.String("to")
			if c.Bool("verify") == (to != "") {
				return cli.UsageError{Message: "say either --verify, or where to: --to NAME"}
			}
			if to == "" {
				return eachReport(c, "verified by", cli.ToLookUp, func(config audit.Config) (*audit.Report, error) { return audit.Verify(c.Context, config) })
			}
			if err := library.CheckTag("library", to); err != nil {
				return err
			}
			return eachReport(c, "rebuilt as "+to+" from", cli.ToSend, func(config audit.Config) (*audit.Report, error) {
				return audit.Rebuild(c.Context, config, library.Keys{Library: to})
			})
		},
	}
}

// eachReport shows a report on each library, and what was done with its log.
func eachReport(c *urfave.Context, done string, purpose cli.Purpose, report func(audit.Config) (*audit.Report, error)) error {
	if _, err := cli.Names(c, 0, 0); err != nil {
		return err
	}
	connections, err := cli.ConnectEach(c, acl.Staff)
	if err != nil {
		return err
	}
	var failed error
	clean := true
	for _, connection := range connections {
		defer connection.Redis.Close()
		var found *audit.Report
		err := atLibrary(c, c.Command.Name, connection, purpose, func() (err error) {
			found, err = report(audit.Config{Redis: connection.Redis, Keys: connection.Keys})
			return err
		})
		switch {
		case err != nil:
		case cli.JSON(c):
			err = cli.WriteJSON(c.App.Writer, found)
		default:
			err = writeReport(c.App.Writer, done, found)
		}
		clean = clean && (err != nil || found.Clean())
		if failed != nil && err != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		failed = cmp.Or(err, failed)
	}
	if failed == nil && !clean {
		// What is wrong was shown.
		return &cli.ExitError{Code: cli.ExitBroken}
	}
	return failed
}

func writeReport(w io.Writer, done string, report *audit.Report) error {
	log := "what is left of its log"
	if report.Whole {
		log = "its whole log"
	}
	fmt.Fprintf(w, "library %s, %s %s (%s): %s, %s, %s, %s in front storage, %s off the shelves, %s\n", report.Library, done, log,
		cli.Count(report.Events, "event", "events"), cli.Count(report.Orders, "order", "orders"), cli.Count(report.Loans, "loan", "loans"), cli.Count(report.Cards, "card", "cards"),
		cli.Count(report.Front, "book", "books"), cli.Count(report.Out, "book", "books"), cli.Count(report.Receipts, "receipt", "receipts"))
	for _, finding := range report.Findings {
		fmt.Fprintf(w, "✗ %s\n", finding)
	}
	if report.FindingsMore > 0 {
		fmt.Fprintf(w, "✗ and %d more\n", report.FindingsMore)
	}
	for _, notice := range report.Notices {
		fmt.Fprintf(w, "strange, but harmless: %s\n", library.Plain(notice))
	}
	for _, what := range report.Unchecked {
		fmt.Fprintf(w, "not checked: %s\n", library.Plain(what))
	}
	verdict := "✓ nothing is wrong"
	switch n := len(report.Findings) + report.FindingsMore; {
	case n == 1:
		verdict = "✗ one thing is wrong"
	case n > 1:
		verdict = fmt.Sprintf("✗ %d things are wrong", n)
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}
