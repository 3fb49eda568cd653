package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/library/explain"
	"example.com/library/internal/cli"
	"example.com/library/library"

	urfave "github.com/urfave/cli/v2"
)

func explainCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "explain",
		Usage:     "tell the life of a request or return: what happened, who did it, how long it took, and what is still to come",
		ArgsUsage: "ID",
		Description: `The past is read from the log, the rest from where the order or its books wait. A log
forgets what is old (lendingd terms); where the beginning is gone, this says so.
Example:
   getbooks explain $(getbooks request user1 geb --no-wait)`,
		Flags:  append([]urfave.Flag{cli.OutputFlag(), timeoutFlag()}, cli.ConnectionFlags()...),
		Action: explainOrder,
	}
}

func explainOrder(c *urfave.Context) error {
	id, err := orderID(c)
	if err != nil {
		return err
	}
	return atDesk(c, cli.ToLookUp, func(ctx context.Context, desk *desk) error {
		life, err := explain.Order(ctx, desk.Client, desk.rdb, desk.keys, id)
		if errors.Is(err, explain.ErrNoTrace) {
			return &cli.ExitError{Code: cli.ExitUnknown, Err: err}
		}
		if err != nil {
			return err
		}
		if cli.JSON(c) {
			return cli.WriteJSON(c.App.Writer, life)
		}
		return writeLife(c.App.Writer, life)
	})
}

func writeLife(w io.Writer, life *explain.Life) error {
	by := ""
	if life.User != "" {
		by = " by " + library.Plain(life.User)
	}
	outcome := strings.ReplaceAll(string(life.State), "_", " ")
	if life.State == explain.OnItsWay || life.State == explain.Done {
		outcome = library.Plain(string(life.Receipt.Outcome))
	}
	fmt.Fprintf(w, "%s %s%s: %s\n", library.Plain(string(life.Action)), life.ID, by, outcome)
	if life.Cut {
		fmt.Fprintln(w, wait.Render("the log does not reach back to the decision: earlier steps are not known"))
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, step := range life.Steps {
		took := ""
		if step.Step != explain.Accepted {
			took = "after " + (time.Duration(step.TookMS) * time.Millisecond).String()
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join([]string{
			step.Time.Local().Format("2006-01-02 15:04:05.000"), library.Plain(step.Step), took, describeStep(step),
		}, "\t"), "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, next := range life.Next {
		fmt.Fprintln(w, describeNext(next))
	}
	if len(life.Next) == 0 {
		fmt.Fprintln(w, faint.Render("nothing is to come"))
	}
	return nil
}

// describeStep tells whom and what a step is about.
func describeStep(step explain.Step) string {
	var words []string
	switch {
	case len(step.Results) > 0:
		words = append(words, library.Plain(library.Summary(step.Results)))
	case len(step.Books) > 0:
		words = append(words, library.Plain(strings.Join(step.Books, ", ")))
	}
	if step.Order != "" {
		words = append(words, "by return "+library.Plain(step.Order))
	}
	if step.Entry != "" {
		_, inbox, _ := strings.Cut(step.Stream, ":")
		words = append(words, library.Plain(inbox+" "+step.Entry))
	}
	if step.Reason != "" {
		words = append(words, library.Plain(step.Reason))
	}
	if step.By != "" {
		words = append(words, "("+library.Plain(step.By)+")")
	}
	return strings.Join(words, "  ")
}

// describeNext tells what is still to come.
func describeNext(next explain.Next) string {
	words := "to be " + strings.ReplaceAll(next.Step, "_", " ")
	if len(next.Books) > 0 {
		words += ": " + strings.Join(next.Books, ", ")
	}
	_, inbox, _ := strings.Cut(next.Stream, ":")
	switch {
	case next.Stream == "":
		words += "; it was not found where it should wait"
	case next.Step == "retried":
		words += fmt.Sprintf("; set aside as %s %s: %s; lendingd rejected retry %s", inbox, next.Entry, next.Reason, next.Entry)
	case next.Pending == nil:
		words += fmt.Sprintf("; entry %s of %s, with %d before it, is unread", next.Entry, inbox, next.Ahead)
	default:
		words += fmt.Sprintf("; entry %s of %s is in the hands of %s since %s", next.Entry, inbox, next.Pending.By, time.Duration(next.Pending.ForMS)*time.Millisecond)
		if next.Pending.Deliveries > 1 {
			words += fmt.Sprintf(", given out %d times", next.Pending.Deliveries)
		}
	}
	return wait.Render("…") + " " + library.Plain(words)
}
