package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/library/acl"
	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/thlib/go-timezone-local/tzlocal"
	urfave "github.com/urfave/cli/v2"
)

// termFlags are the flags for the library's terms, as an instance takes them.
func termFlags() []urfave.Flag {
	terms := library.DefaultTerms()
	const category = "The library's terms"
	return []urfave.Flag{
		&urfave.IntFlag{Name: "limit", EnvVars: []string{"LENDING_LIMIT"}, Category: category, Usage: "how many books a user may hold: a `NUMBER` from 1 to 100", Value: terms.LoansMax},
		&urfave.IntFlag{Name: "loan-days", EnvVars: []string{"LENDING_LOAN_DAYS"}, Category: category, Usage: "how many days a loan lasts, to the end of the last one: a `NUMBER` from 1 to 3650", Value: terms.LoanDays},
		&urfave.IntFlag{Name: "front", EnvVars: []string{"LENDING_FRONT"}, Category: category, Usage: "how many books front storage has room for: a `NUMBER` from 0 to 1000000", Value: terms.FrontMax},
		&urfave.DurationFlag{Name: "receipt-keep", EnvVars: []string{"LENDING_RECEIPT_KEEP"}, Category: category, Usage: "how long receipts are kept: a `DURATION` from 10m to 720h; within it a repeated request has no effect", Value: terms.ReceiptKeep()},
		&urfave.Int64Flag{Name: "log-keep", EnvVars: []string{"LENDING_LOG_KEEP"}, Category: category, Usage: "about how many entries the library's log keeps, each of up to 16 decisions: a `NUMBER` from 1000 on", Value: terms.LogMax},
		&urfave.StringFlag{Name: "time-zone", EnvVars: []string{"LENDING_TIME_ZONE"}, Category: category, Usage: "the `ZONE` in which the library's days begin and end, by its IANA name, such as Europe/Berlin", DefaultText: "this machine's"},
	}
}

// newTermFlags are the flags for the terms, as a person changes them. They have no
// environment variables: one that was meant for the instances must not change a library
// in passing.
func newTermFlags() []urfave.Flag {
	const unchanged = "as it is"
	flags := termFlags()
	for _, flag := range flags {
		switch flag := flag.(type) {
		case *urfave.IntFlag:
			flag.EnvVars, flag.Category, flag.DefaultText = nil, "", unchanged
		case *urfave.Int64Flag:
			flag.EnvVars, flag.Category, flag.DefaultText = nil, "", unchanged
		case *urfave.DurationFlag:
			flag.EnvVars, flag.Category, flag.DefaultText = nil, "", unchanged
		case *urfave.StringFlag:
			flag.EnvVars, flag.Category, flag.DefaultText = nil, "", unchanged
		}
	}
	return flags
}

// termsOf are the terms that the flags say, and the names of the flags that were
// given. Its error is a cli.UsageError.
func termsOf(c *urfave.Context) (terms library.Terms, given []string, err error) {
	terms = library.Terms{
		LoansMax: c.Int("limit"), LoanDays: c.Int("loan-days"), FrontMax: c.Int("front"),
		ReceiptMS: c.Duration("receipt-keep").Milliseconds(), LogMax: c.Int64("log-keep"),
		TimeZone: cmp.Or(c.String("time-zone"), localZone()),
	}
	for _, term := range library.EachTerm {
		if c.IsSet(term.Flag) {
			given = append(given, term.Flag)
		}
		if err := term.Check(terms); err != nil {
			return terms, nil, cli.UsageError{Message: cli.Source(c, term.Flag) + " " + err.Error()}
		}
	}
	return terms, given, nil
}

// localZone is the name of this machine's time zone; UTC where it has none.
func localZone() string {
	name, err := tzlocal.RuntimeTZ()
	if err == nil && name != "" {
		if _, err := (library.Terms{TimeZone: name}).Zone(); err == nil {
			return name
		}
	}
	return "UTC"
}

// checkTerms compares the terms that an instance was given with those of the library.
// If they differ it returns a cli.UsageError.
func checkTerms(c *urfave.Context, stands *lending.StandingTerms, keys library.Keys) error {
	terms, given, err := termsOf(c)
	if err != nil {
		return err
	}
	var has, told, wanted []string
	for _, term := range library.EachTerm {
		if stands.Has(term) && slices.Contains(given, term.Flag) && term.Text(stands.Terms) != term.Text(terms) {
			has = append(has, "--"+term.Flag+" "+term.Shown(stands.Terms))
			wanted = append(wanted, "--"+term.Flag+" "+term.Shown(terms))
			if source := cli.Source(c, term.Flag); source == "--"+term.Flag {
				told = append(told, source+" "+term.Shown(terms))
			} else {
				told = append(told, source+"="+term.Shown(terms))
			}
		}
	}
	if len(told) == 0 {
		return nil
	}
	other := ""
	if keys.Library != "main" {
		other = " --library " + keys.Library
	}
	return cli.UsageError{Message: fmt.Sprintf(
		"library %q has %s, and this instance was given %s; leave that out here, or change it for the whole library: lendingd terms%s %s",
		keys.Library, library.Plain(strings.Join(has, " ")), strings.Join(told, " "), other, strings.Join(wanted, " "))}
}

func termsCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "terms",
		Usage: "show the terms that a library lends by, or change them",
		Description: `They are the library's, so every instance decides by the same ones. The first instance
sets them, as its flags say. One that is given others does not start. With a flag this
changes them while all runs: whatever is decided from then on is decided by the new
ones. What was lent before stays as it was promised: nobody must bring a book back for a
lower limit, no due date moves, and no receipt ends sooner. The log tells of each change.

Examples:
   lendingd terms                            show them
   lendingd terms --limit 6                  let users hold six books
   lendingd terms --time-zone Europe/Berlin  days begin and end as in Berlin`,
		Flags:  append(append(newTermFlags(), cli.OutputFlag()), cli.SeveralConnectionFlags()...),
		Action: showOrChangeTerms,
	}
}

func showOrChangeTerms(c *urfave.Context) error {
	if _, err := cli.Names(c, 0, 0); err != nil {
		return err
	}
	terms, given, err := termsOf(c)
	if err != nil {
		return err
	}
	role := acl.Staff
	if len(given) > 0 {
		role = acl.Director
	}
	connections, err := cli.ConnectEach(c, role)
	if err != nil {
		return err
	}
	var failed error
	for i, connection := range connections {
		defer connection.Redis.Close()
		var before *lending.StandingTerms
		stands, err := lending.LookUpTerms(c.Context, connection.Redis, connection.Keys)
		if len(given) > 0 {
			before, stands, err = lending.SetTerms(c.Context, connection.Redis, connection.Keys, person(), terms, given...)
		}
		switch {
		case err != nil:
			err = fmt.Errorf("%s of library %q on %s: %w", c.Command.Name, connection.Keys.Library, redisconn.Where(connection.Redis), err)
		case cli.JSON(c):
			err = cli.WriteJSON(c.App.Writer, shownTerms{connection.Keys.Library, stands})
		default:
			if i > 0 {
				fmt.Fprintln(c.App.Writer)
			}
			err = writeTerms(c.App.Writer, connection.Keys.Library, before, stands)
		}
		if failed != nil && err != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		failed = cmp.Or(err, failed)
	}
	return failed
}

// shownTerms is what lendingd terms prints of a library.
type shownTerms struct {
	Library string `json:"library"`
	*lending.StandingTerms
}

// writeTerms shows terms; before are those that were changed just now, or nil.
func writeTerms(w io.Writer, name string, before, stands *lending.StandingTerms) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	switch {
	case stands.Version != "":
		fmt.Fprintf(table, "library %s, terms of %s, set by %s\n\n", name, stands.Since.Local().Format(time.DateTime), library.Plain(stands.By))
	case stands.Stand():
		fmt.Fprintf(table, "library %s, terms that an instance of an older version noted\n\n", name)
	default:
		fmt.Fprintf(table, "library %s has no terms yet; the first instance sets them, by default to these\n\n", name)
	}
	for _, term := range library.EachTerm {
		line := term.Flag + "\t" + library.Plain(term.Shown(stands.Terms))
		if before != nil && before.Has(term) && term.Text(before.Terms) != term.Text(stands.Terms) {
			line += "\tbefore: " + library.Plain(term.Shown(before.Terms))
		}
		fmt.Fprintln(table, line)
	}
	if len(stands.NotedOtherwise) > 0 {
		fmt.Fprintf(table, "\n%s\n", notedOtherwise(stands))
	}
	return table.Flush()
}

// notedOtherwise tells of an instance that knows nothing of the library's terms.
func notedOtherwise(stands *lending.StandingTerms) string {
	return fmt.Sprintf("an instance of an older version has started since, and decides by terms of its own (%s); stop it", strings.Join(stands.NotedOtherwise, ", "))
}

// person is who changes the terms, as the log tells it.
func person() string {
	name := "somebody"
	if who, err := user.Current(); err == nil && who.Username != "" {
		name = who.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return library.Plain(name)
}
