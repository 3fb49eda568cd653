package main

import (
	"context"
	"fmt"
	"time"

	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/status"

	urfave "github.com/urfave/cli/v2"
)

func bookCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "book",
		Usage:     "show where a book is",
		ArgsUsage: "BOOK",
		Description: `Who has a book is shown only with --staff. That is a courtesy, not a lock: whoever may
connect to Redis can ask for anybody's card.`,
		Flags: append([]urfave.Flag{
			cli.OutputFlag(), timeoutFlag(),
			&urfave.BoolFlag{Name: "staff", DisableDefaultText: true, EnvVars: []string{"LENDING_STAFF"}, Usage: "show who has it"},
		}, cli.ConnectionFlags()...),
		Action: lookUpBook,
	}
}

func lookUpBook(c *urfave.Context) error {
	names, err := cli.Names(c, 1, 1)
	if err != nil {
		return err
	}
	book, err := library.CleanName("book", names[0])
	if err != nil {
		return err
	}
	return atDesk(c, cli.ToLookUp, func(ctx context.Context, desk *desk) error {
		where, err := status.Book(ctx, desk.Client, desk.rdb, desk.keys, book)
		if err != nil {
			return err
		}
		if !c.Bool("staff") {
			where.User = ""
		}
		if cli.JSON(c) {
			return cli.WriteJSON(c.App.Writer, where)
		}
		fmt.Fprintf(c.App.Writer, "%s %s\n", bold.Render(library.Plain(where.Book)), describePlace(where))
		return nil
	})
}

func describePlace(where *lending.Whereabouts) string {
	to, until := "", ""
	if where.User != "" {
		to = " to " + library.Plain(where.User)
	}
	if where.Due != (time.Time{}) {
		until = ", due " + day(where.Due)
	}
	switch where.Place {
	case lending.InFront:
		return "is in front storage"
	case lending.IsLent:
		return "is lent" + to + until
	case lending.OnWay:
		return "is lent" + to + until + ", and on its way from the shelves"
	case status.OnShelves:
		return "is on the shelves"
	default:
		return "is on its way to the shelves"
	}
}
