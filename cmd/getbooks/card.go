package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"

	"github.com/mattn/go-runewidth"
	urfave "github.com/urfave/cli/v2"
)

func cardCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "card",
		Usage:     "show what a user holds, since when and until when, and how much room is left",
		ArgsUsage: "USER",
		Flags:     append([]urfave.Flag{cli.OutputFlag(), timeoutFlag()}, cli.ConnectionFlags()...),
		Action: func(c *urfave.Context) error {
			names, err := cli.Names(c, 1, 1)
			if err != nil {
				return err
			}
			user, err := library.CleanName("user", names[0])
			if err != nil {
				return err
			}
			return atDesk(c, cli.ToLookUp, func(ctx context.Context, desk *desk) error {
				card, err := desk.Card(ctx, user)
				if err != nil {
					return err
				}
				if cli.JSON(c) {
					return cli.WriteJSON(c.App.Writer, card)
				}
				writeCard(c.App.Writer, card)
				return nil
			})
		},
	}
}

func writeCard(w io.Writer, card *lending.Card) {
	width := 0
	for _, loan := range card.Loans {
		width = max(width, runewidth.StringWidth(library.Plain(loan.Book)))
	}
	for _, loan := range card.Loans {
		name := library.Plain(loan.Book)
		mark, place := good.Render("✓"), "in hand"
		if loan.OnItsWay {
			mark, place = wait.Render("…"), "on its way"
		}
		fmt.Fprintf(w, "%s %s%s  %-10s  since %s, due %s\n", mark, bold.Render(name),
			strings.Repeat(" ", width-runewidth.StringWidth(name)), place, day(loan.Since), day(loan.Due))
	}
	if card.LoansMax == 0 {
		fmt.Fprintln(w, faint.Render(fmt.Sprintf("%s holds %d; no lending service has told its limit yet", library.Plain(card.User), len(card.Loans))))
		return
	}
	fmt.Fprintln(w, faint.Render(fmt.Sprintf("%s holds %d of %d; room for %d more", library.Plain(card.User), len(card.Loans), card.LoansMax, card.Room)))
}
