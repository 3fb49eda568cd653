package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"example.com/library/acl"
	"example.com/library/internal/cli"
	"example.com/library/internal/top"

	tea "charm.land/bubbletea/v2"
	"github.com/mattn/go-isatty"
	urfave "github.com/urfave/cli/v2"
)

func topCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "top",
		Usage: "watch the library in a terminal: streams, instances, rates, the last events",
		Description: `Keys: q quits, the arrows choose a stream, enter looks into it, esc goes back, s sorts
the streams, / filters streams and events, p pauses. Charts begin when top does.

Examples:
   lendingd top                              the library "main", once a second
   lendingd top --interval 5s --library north
   lendingd top --batch -n 1 | less          once, as text; COLUMNS says how wide`,
		Flags: append([]urfave.Flag{
			&urfave.DurationFlag{Name: "interval", Usage: "the time between two looks: a `DURATION` from 100ms to 1h", Value: time.Second},
			&urfave.BoolFlag{Name: "batch", Aliases: []string{"b"}, DisableDefaultText: true, Usage: "print text, without a terminal"},
			&urfave.IntFlag{Name: "n", Usage: "with --batch: the `NUMBER` of pictures, from 1 on", DefaultText: "for ever"},
		}, cli.ConnectionFlags()...),
		Action: runTop,
	}
}

func runTop(c *urfave.Context) error {
	if _, err := cli.Names(c, 0, 0); err != nil {
		return err
	}
	if err := cli.Within(c, "interval", c.Duration("interval"), 100*time.Millisecond, time.Hour); err != nil {
		return err
	}
	batch := c.Bool("batch")
	switch {
	case c.IsSet("n") && !batch:
		return cli.UsageError{Message: "-n counts the pictures of --batch; give both"}
	case c.IsSet("n") && c.Int("n") < 1:
		return cli.UsageError{Message: fmt.Sprintf("-n is from 1 on, not %d", c.Int("n"))}
	case !batch && !(isatty.IsTerminal(os.Stdin.Fd()) && isatty.IsTerminal(os.Stdout.Fd())):
		return cli.UsageError{Message: "top needs a terminal; --batch prints text into a pipe or a file, as in: lendingd top --batch -n 1"}
	}
	rdb, keys, err := cli.Connect(c, acl.Staff)
	if err != nil {
		return err
	}
	defer rdb.Close()
	return atLibrary(c, "watch", cli.Connection{Redis: rdb, Keys: keys}, cli.ToLookUp, func() error {
		ctx, cancel := context.WithCancel(c.Context)
		defer cancel()
		watcher := top.Watch(ctx, rdb, keys)
		if batch {
			return printPictures(ctx, c, watcher)
		}
		_, err := tea.NewProgram(top.NewModel(ctx, watcher, c.Duration("interval")), tea.WithContext(ctx)).Run()
		if c.Context.Err() != nil {
			return nil // it was told to stop
		}
		return err
	})
}

// printPictures prints one picture after another. It looks once before the first: there are
// no rates without two looks.
func printPictures(ctx context.Context, c *urfave.Context, watcher *top.Watcher) error {
	width := 120
	if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && columns > 0 {
		width = columns
	}
	pictures := top.NewModel(ctx, watcher, 0)
	pictures.Update(tea.WindowSizeMsg{Width: width})
	ticker := time.NewTicker(c.Duration("interval"))
	defer ticker.Stop()
	pictures.Add(watcher.Sample(ctx))
	for n := 0; n < c.Int("n") || !c.IsSet("n"); n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		pictures.Add(watcher.Sample(ctx))
		if n > 0 {
			fmt.Fprintln(c.App.Writer)
		}
		if _, err := fmt.Fprintln(c.App.Writer, pictures.Text()); err != nil {
			return err
		}
	}
	return nil
}
