package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
   getbooks return user1 - < box.txt            a box of books, one name a line`
	}
	command.Flags = append(command.Flags, cli.ConnectionFlags()...)
	return command
}

// placeOrder sends a request or a return and shows what becomes of it.
func placeOrder(c *urfave.Context, action library.Action) error {
	names, err := cli.Names(c, 2, cli.Any)
	if err != nil {
		return err
	}
	books, err := readBooks(names[1:], os.Stdin)
	if err != nil {
		return err
	}
	order, err := lending.NewOrder(action, names[0], books...)
	if err != nil {
		return cli.UsageError{Message: err.Error()}
	}
	if id := c.String("id"); id != "" {
		if err := library.CheckID("id", id); err != nil {
			return err
		}
		order.ID = id
	}
	return atDesk(c, cli.ToSend, func(ctx context.Context, desk *desk) error {
		if c.Bool("no-wait") {
			if err := desk.Send(ctx, order); err != nil {
				return notKnown(c, order, err)
			}
			if c.String("output") == "json" {
				return cli.WriteJSON(c.App.Writer, map[string]string{"id": order.ID})
			}
			fmt.Fprintln(c.App.Writer, order.ID)
			return nil
		}
		receipt, err := desk.Do(ctx, order)
		if err != nil {
			return notKnown(c, order, err)
		}
		return showReceipt(ctx, c, desk.Client, receipt, !c.Bool("no-follow"))
	})
}

// readBooks takes "-" among the books for the lines of standard input.
func readBooks(names []string, input io.Reader) ([]string, error) {
	var books []string
	read := false
	for _, name := range names {
		if name != "-" {
			books = append(books, name)
			continue
		}
		if read {
			return nil, cli.UsageError{Message: "- (standard input) can be read only once"}
		}
		read = true
		lines := bufio.NewScanner(input)
		for lines.Scan() {
			if book := strings.TrimSuffix(lines.Text(), "\r"); book != "" {
				books = append(books, book)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, cli.UsageError{Message: fmt.Sprintf("read books from standard input: %s", err)}
		}
	}
	return books, nil
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
		return cli.UsageError{Message: "--timeout must be longer than 0"}
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
	if c.String("output") == "json" {
		if err := cli.WriteJSON(c.App.Writer, library.Receipt{
			ID: order.ID, Action: order.Action, User: order.User, Outcome: "unknown", Books: []library.Line{},
		}); err != nil {
			return err
		}
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
