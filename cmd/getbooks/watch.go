package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/library/events"
	"example.com/library/internal/cli"
	"example.com/library/library"

	urfave "github.com/urfave/cli/v2"
)

func watchCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "watch",
		Usage: "show what happens in the library, as it happens",
		Description: `One line an event, until you stop it.

Examples:
   getbooks watch                        from now on
   getbooks watch --since 1h             the last hour first
   getbooks watch --since 0 --book geb   all the log still knows of one book`,
		Flags: append([]urfave.Flag{
			cli.OutputFlag(),
			&urfave.StringFlag{Name: "since", EnvVars: []string{"LENDING_SINCE"}, Usage: "begin at a `TIME` ago, such as 10m or 24h; at one such as 2026-12-24T18:00:00Z; or at 0, the log's beginning", DefaultText: "now"},
			&urfave.StringFlag{Name: "user", EnvVars: []string{"LENDING_USER"}, Usage: "only what is about this `USER`"},
			&urfave.StringFlag{Name: "book", EnvVars: []string{"LENDING_BOOK"}, Usage: "only what is about this `BOOK`"},
		}, cli.ConnectionFlags()...),
		Action: watch,
	}
}

func watch(c *urfave.Context) error {
	if _, err := cli.Names(c, 0, 0); err != nil {
		return err
	}
	since, err := parseSince(c.String("since"))
	if err != nil {
		return err
	}
	user, book := c.String("user"), c.String("book")
	if user != "" {
		if user, err = library.CleanName("user", user); err != nil {
			return err
		}
	}
	if book != "" {
		if book, err = library.CleanName("book", book); err != nil {
			return err
		}
	}
	return atDesk(c, cli.ToWait, func(ctx context.Context, desk *desk) error {
		return events.Follow(ctx, desk.rdb, desk.keys, since, func(event *events.Event) error {
			if !event.Concerns(user, book) {
				return nil
			}
			if c.String("output") == "json" {
				return cli.WriteJSON(c.App.Writer, event)
			}
			_, err := fmt.Fprintln(c.App.Writer, describeEvent(event))
			return err
		})
	})
}

func parseSince(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if text == "0" {
		return time.UnixMilli(0), nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if since, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return since, nil
		}
	}
	return time.Time{}, cli.UsageError{Message: fmt.Sprintf("--since is a time ago such as 10m, a time such as 2026-12-24T18:00:00Z, or 0, not %s", library.Printable(text))}
}

func describeEvent(event *events.Event) string {
	style := good
	switch event.Event {
	case "denied", "refused", "rejected", "sent_back", "shed":
		style = bad
	case "fetched", "awaited", "stored", "handed_on", "shelved", "retried":
		style = faint
	}
	words := []string{faint.Render(event.Time.Local().Format("15:04:05.000")), style.Render(fmt.Sprintf("%-9s", library.Plain(event.Event)))}
	if event.User != "" {
		words = append(words, bold.Render(library.Plain(event.User)))
	}
	switch {
	case event.Receipt != nil && event.Event != "rejected":
		words = append(words, library.Plain(event.Receipt.Summary()))
	case len(event.Books) > 0:
		words = append(words, library.Plain(strings.Join(event.Books, ", ")))
	}
	if event.Stream != "" {
		words = append(words, library.Plain(event.Stream+" "+event.Entry+" "+event.Reason))
	}
	if event.By != "" {
		words = append(words, faint.Render("by "+library.Plain(event.By)))
	}
	return strings.Join(words, "  ")
}
