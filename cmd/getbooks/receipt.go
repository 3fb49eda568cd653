package main

import (
	"context"
	"errors"
	"fmt"

	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"

	urfave "github.com/urfave/cli/v2"
)

func receiptCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "receipt",
		Usage:     "show the answer to a request or return that was sent before",
		ArgsUsage: "ID",
		Description: `The exit code is the one the request or return would have had.

Example:
   getbooks receipt $(getbooks request user1 geb --no-wait) --wait`,
		Flags: append([]urfave.Flag{
			cli.OutputFlag(), timeoutFlag(), waitReplicasFlag(),
			&urfave.BoolFlag{Name: "wait", DisableDefaultText: true, Aliases: []string{"w"}, EnvVars: []string{"LENDING_WAIT"}, Usage: "wait for the answer, and for the books to arrive"},
		}, cli.ConnectionFlags()...),
		Action: lookUpReceipt,
	}
}

// orderID is the order that a command names.
func orderID(c *urfave.Context) (string, error) {
	names, err := cli.Names(c, 1, 1)
	if err != nil {
		return "", err
	}
	return names[0], library.CheckID("id", names[0])
}

func lookUpReceipt(c *urfave.Context) error {
	id, err := orderID(c)
	if err != nil {
		return err
	}
	purpose := cli.ToLookUp
	if c.Bool("wait") {
		purpose = cli.ToWait
	}
	return atDesk(c, purpose, func(ctx context.Context, desk *desk) error {
		receipt, err := desk.Receipt(ctx, id)
		if (errors.Is(err, lending.ErrNoReceipt) || errors.Is(err, lending.ErrUnknown)) && c.Bool("wait") {
			err = desk.waitFor(ctx, c, library.Lending, waitingForAnswer, func(ctx context.Context, _ func(string)) (err error) {
				receipt, err = desk.Wait(ctx, id)
				return err
			})
		}
		if errors.Is(err, redisconn.ErrUnconfirmed) {
			return &cli.ExitError{Code: cli.ExitUnknown, Err: fmt.Errorf(
				"%s: there is a receipt, but too few replicas have confirmed it; %s", id, sureOf(c, id))}
		}
		if errors.Is(err, lending.ErrNoReceipt) || errors.Is(err, lending.ErrUnknown) {
			return &cli.ExitError{Code: cli.ExitUnknown, Err: fmt.Errorf(
				"%s: there is no receipt with this id: it was not decided yet, or its receipt is gone by now, or it was never sent; --wait waits for it", id)}
		}
		if err != nil {
			return err
		}
		return desk.showReceipt(ctx, c, receipt, c.Bool("wait"))
	})
}
