package main

import (
	"context"
	"fmt"
	"strconv"
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
   getbooks watch                         from now on
   getbooks watch --since 1h              the last hour first
   getbooks watch --until now             all that has happened so far, and no more
   getbooks watch --since 0 --book geb    all the log still knows of one book

A TIME is how long ago, such as 10m or 24h or a number of seconds; or one such as
2026-12-24T18:00:00Z, 2026-12-24 18:00:00 or 2026-12-24.`,
		Flags: append([]urfave.Flag{
			cli.OutputFlag(),
			&urfave.StringFlag{Name: "since", EnvVars: []string{"LENDING_SINCE"}, Usage: "begin at a `TIME`, or at 0, the log's beginning", DefaultText: "now"},
			&urfave.StringFlag{Name: "until", EnvVars: []string{"LENDING_UNTIL"}, Usage: "end at a `TIME`, or at now: show what has happened so far", DefaultText: "never"},
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
	since, until, err := watchedTime(c)
	if err != nil {
		return err
	}
	user, book := c.String("user"), c.String("book")
	if user != "" {
		if user, err = library.CleanName("user", user); err != nil {
			return cli.Sourced(c, "user", err)
		}
	}
	if book != "" {
		if book, err = library.CleanName("book", book); err != nil {
			return cli.Sourced(c, "book", err)
		}
	}
	purpose := cli.ToWait
	if c.String("until") == "now" {
		purpose = cli.ToLookUp
	}
	return atDesk(c, purpose, func(ctx context.Context, desk *desk) error {
		zone := desk.zone(ctx)
		if c.String("until") == "now" {
			newest, err := desk.rdb.XRevRangeN(ctx, desk.keys.Events(), "+", "-", 1).Result()
			if err != nil {
				return fmt.Errorf("read the log: %w", err)
			}
			if len(newest) > 0 && !library.EntryTime(newest[0].ID).IsZero() {
				until = library.EntryTime(newest[0].ID) // the clock here may be another
			}
		}
		return events.FollowUntil(ctx, desk.rdb, desk.keys, since, until, func(event *events.Event) error {
			if event.To != nil {
				if other, err := event.To.Zone(); err == nil {
					zone = other
				}
			}
			if event.Receipt != nil {
				event.Receipt = event.Receipt.In(zone)
			}
			if !event.Concerns(user, book) {
				return nil
			}
			if cli.JSON(c) {
				return cli.WriteJSON(c.App.Writer, event)
			}
			_, err := fmt.Fprintln(c.App.Writer, describeEvent(event))
			return err
		})
	})
}

// watchedTime returns the moments at which to begin and to end; zero for now, and for
// never. What is to end by now begins at the log's beginning, unless it is told.
func watchedTime(c *urfave.Context) (since, until time.Time, err error) {
	now := time.Now()
	switch c.String("until") {
	case "":
	case "now":
		until = now
	default:
		if until, err = parseTime(c, "until", ", or now"); err != nil {
			return since, until, err
		}
	}
	switch text := c.String("since"); {
	case text == "0", text == "" && !until.IsZero() && !until.After(now):
		since = time.UnixMilli(0)
	case text == "":
	default:
		if since, err = parseTime(c, "since", ", or 0"); err != nil {
			return since, until, err
		}
	}
	if !until.IsZero() && until.Before(since) {
		err = cli.UsageError{Message: cli.Source(c, "until") + " is before " + cli.Source(c, "since") + "; nothing is between them"}
	}
	return since, until, err
}

// parseTime reads a flag's time; besides names what else the flag may be.
func parseTime(c *urfave.Context, flag, besides string) (time.Time, error) {
	text := c.String(flag)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		text = strconv.FormatFloat(seconds, 'f', -1, 64) + "s"
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, cli.UsageError{Message: fmt.Sprintf("%s is a time ago such as 10m, a time such as 2026-12-24T18:00:00Z%s, not %s",
		cli.Source(c, flag), besides, library.Printable(c.String(flag)))}
}

// clock is when an event was, with the day if that is not today.
func clock(at, now time.Time) string {
	at, now = at.Local(), now.Local()
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format("15:04:05.000")
	}
	return at.Format("2006-01-02 15:04:05.000")
}

func describeEvent(event *events.Event) string {
	style := good
	switch event.Event {
	case "denied", "refused", "rejected", "sent_back", "shed":
		style = bad
	case "fetched", "awaited", "stored", "handed_on", "shelved", "retried", "dropped", "terms":
		style = faint
	}
	words := []string{faint.Render(clock(event.Time, time.Now())), style.Render(fmt.Sprintf("%-9s", library.Plain(event.Event)))}
	if event.User != "" {
		words = append(words, bold.Render(library.Plain(event.User)))
	}
	switch {
	case event.Receipt != nil && event.Event != "rejected":
		words = append(words, library.Plain(event.Receipt.Summary()))
	case event.To != nil:
		words = append(words, library.Plain(strings.Join(event.To.Changes(event.From), ", ")))
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
