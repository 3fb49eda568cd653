package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"example.com/library/acl"
	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
	urfave "github.com/urfave/cli/v2"
)

func orderCommand(action library.Action) *urfave.Command {
	command := &urfave.Command{
		Name:      string(action),
		Usage:     "borrow books",
		ArgsUsage: "USER BOOK…",
		Description: `All free books are lent if the user's card has room for them, and else none. What is not in
front storage is fetched from the shelves; the command waits until it is there.

Examples:
   getbooks request user1 alice-in-wonderland geb
   getbooks request user1 geb --no-follow       do not wait for what must be fetched
   getbooks request user1 geb --no-wait         print the request's id and go
   getbooks request user1 "war, and peace" 紅楼夢  any name of 1 to 256 bytes`,
		Flags: []urfave.Flag{
			cli.OutputFlag(), timeoutFlag(), waitReplicasFlag(),
			&urfave.BoolFlag{Name: "no-wait", DisableDefaultText: true, EnvVars: []string{"LENDING_NO_WAIT"}, Usage: "print the id right after sending, for getbooks receipt"},
			&urfave.StringFlag{Name: "id", Usage: "send again under the `ID` of an earlier try; it takes effect once", DefaultText: "a new one"},
		},
		Action: func(c *urfave.Context) error { return placeOrder(c, action) },
	}
	if action == library.Request {
		command.Flags = append(command.Flags, &urfave.BoolFlag{
			Name: "no-follow", DisableDefaultText: true, EnvVars: []string{"LENDING_NO_FOLLOW"}, Usage: "stop at the decision, without waiting for what must be fetched",
		})
	} else {
		command.Usage = "bring books back"
		command.Description = `Each book is taken back if the user holds it and it is not still being fetched.

Examples:
   getbooks return user1 alice-in-wonderland geb
   getbooks return user1 - < box.txt            a box of books, one name a line

Each line of a box is an answer of its own: one that is no name is refused, and the
others are taken back. A box of more than 100 books is several orders, whose ids end with
their numbers. If the command was stopped, give it the same box again with the same --id.`
	}
	command.Flags = append(command.Flags, cli.ConnectionFlags()...)
	return command
}

// placeOrder sends a request or a return, which may be several orders, and shows what
// becomes of them.
func placeOrder(c *urfave.Context, action library.Action) error {
	names, err := cli.Names(c, 2, cli.Any)
	if err != nil {
		return err
	}
	if c.IsSet("id") {
		if err := library.CheckID("id", c.String("id")); err != nil {
			return err
		}
	}
	orders, refused, err := readOrders(c, action, names[0], names[1:])
	if err != nil {
		return err
	}
	if err := showRefusals(c, refused); err != nil {
		return err
	}
	codes := map[int]bool{}
	if len(refused) > 0 {
		codes[cli.ExitDenied] = true
	}
	if len(orders) == 0 {
		return &cli.ExitError{Code: cli.ExitDenied}
	}
	err = atDesk(c, cli.ToSend, func(ctx context.Context, desk *desk) error {
		for i, order := range orders {
			err := desk.place(ctx, c, order)
			var exit *cli.ExitError
			if errors.As(err, &exit) && exit.Err == nil && exit.Code != cli.ExitBroken {
				codes[exit.Code] = true // it is decided, and was shown
				continue
			}
			if err != nil {
				return notSent(err, orders, i+1)
			}
			codes[cli.ExitDone] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch {
	case len(codes) > 1:
		return &cli.ExitError{Code: cli.ExitPartly}
	case codes[cli.ExitDone]:
		return nil
	case codes[cli.ExitPartly]:
		return &cli.ExitError{Code: cli.ExitPartly}
	default:
		return &cli.ExitError{Code: cli.ExitDenied}
	}
}

// place sends one order and shows what becomes of it. Its error is a cli.ExitError
// without Err if the order was decided otherwise than it was meant.
func (d *desk) place(ctx context.Context, c *urfave.Context, order lending.Order) error {
	sent := fmt.Sprintf("%s %s was sent; its answer: getbooks receipt %s", order.Action, order.ID, order.ID)
	cli.IfUnwritten(c, sent)
	if c.Bool("no-wait") {
		if err := d.Send(ctx, order); err != nil {
			return notKnown(c, order, err)
		}
		if cli.SeemsClosed(c) {
			fmt.Fprintln(os.Stderr, "standard output seems to be closed;", sent)
		}
		if cli.JSON(c) {
			return cli.WriteJSON(c.App.Writer, map[string]string{"id": order.ID})
		}
		_, err := fmt.Fprintln(c.App.Writer, order.ID)
		return err
	}
	var receipt *library.Receipt
	err := d.waitFor(ctx, c, library.Lending, waitingForAnswer, func(ctx context.Context, _ func(string)) (err error) {
		receipt, err = d.Do(ctx, order)
		return err
	})
	if err != nil {
		return notKnown(c, order, err)
	}
	return d.showReceipt(ctx, c, receipt, !c.Bool("no-follow"))
}

func waitingForAnswer(int) string { return "waiting for an answer" }

// notSent adds to an error which orders were not sent because of it.
func notSent(err error, orders []lending.Order, next int) error {
	if next == len(orders) {
		return err
	}
	base := strings.TrimSuffix(orders[0].ID, "-1")
	rest := fmt.Sprintf("%s to %s were not sent; give the same box again with --id %s, and what is done already is not done twice",
		orders[next].ID, orders[len(orders)-1].ID, base)
	if next == len(orders)-1 {
		rest = strings.Replace(rest, fmt.Sprintf("%s to %s were", orders[next].ID, orders[next].ID), orders[next].ID+" was", 1)
	}
	var exit *cli.ExitError
	if errors.As(err, &exit) && exit.Err != nil {
		return &cli.ExitError{Code: exit.Code, Err: fmt.Errorf("%w; %s", exit.Err, rest)}
	}
	return fmt.Errorf("%w; %s", err, rest)
}

// showRefusals shows the lines of a box that are no names. Where ids alone are printed,
// they go to standard error.
func showRefusals(c *urfave.Context, refused []refusal) error {
	for _, refusal := range refused {
		var err error
		switch {
		case cli.JSON(c):
			err = cli.WriteJSON(c.App.Writer, refusal)
		case c.Bool("no-wait"):
			fmt.Fprintln(os.Stderr, refusal)
		default:
			_, err = fmt.Fprintln(c.App.Writer, refusal)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A desk is where getbooks asks: a client, and the connection it uses.
type desk struct {
	*lending.Client
	rdb  redis.UniversalClient
	keys library.Keys
}

// atDesk connects as the flags say, and calls f with a context that ends after
// --timeout.
func atDesk(c *urfave.Context, purpose cli.Purpose, f func(context.Context, *desk) error) error {
	ctx := c.Context
	if timeout := c.Duration("timeout"); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	} else if c.IsSet("timeout") {
		return cli.UsageError{Message: cli.Source(c, "timeout") + " must be longer than 0"}
	}
	role := acl.Getbooks
	if c.Bool("staff") {
		role = acl.Staff
	}
	rdb, keys, err := cli.Connect(c, role)
	if err != nil {
		return err
	}
	defer rdb.Close()
	if err := cli.Reach(ctx, rdb, keys, purpose); err != nil {
		return err
	}
	client, err := lending.NewClient(rdb, keys.Library)
	if err != nil {
		return err
	}
	defer client.Close()
	client.Replicas = c.Int("wait-replicas") // 0 for a command without the flag
	return f(ctx, &desk{client, rdb, keys})
}

// notKnown ends the program when an order's answer did not come.
func notKnown(c *urfave.Context, order lending.Order, err error) error {
	if !errors.Is(err, lending.ErrUnknown) {
		return err
	}
	if cli.JSON(c) {
		if err := cli.WriteJSON(c.App.Writer, library.Receipt{
			ID: order.ID, Action: order.Action, User: order.User, Outcome: "unknown", Books: []library.Line{},
		}); err != nil {
			return err
		}
	}
	if errors.Is(err, lending.ErrForgotten) {
		return &cli.ExitError{Code: cli.ExitUnknown, Err: fmt.Errorf(
			"%s %s was sent so long ago that its receipt may have ended, and nothing is left of it: it may have taken effect, so it is not sent again; look at getbooks card %s",
			order.Action, order.ID, library.Printable(order.User))}
	}
	if errors.Is(err, redisconn.ErrUnconfirmed) {
		return &cli.ExitError{Code: cli.ExitUnknown, Err: fmt.Errorf(
			"%s: %s %s has an answer, but too few replicas have confirmed it; %s", why(c), order.Action, order.ID, sureOf(c, order.ID))}
	}
	return &cli.ExitError{Code: cli.ExitUnknown, Err: fmt.Errorf(
		"%s: %s %s has no answer yet; it may still come: getbooks receipt %s --wait", why(c), order.Action, order.ID, order.ID)}
}

// sureOf tells how to wait until an answer is safe from a failover.
func sureOf(c *urfave.Context, id string) string {
	return fmt.Sprintf("it may still be lost: getbooks receipt %s --wait --wait-replicas %d", id, c.Int("wait-replicas"))
}
