// Command getbooks asks the library for books, brings them back, and looks things up.
package main

import (
	"time"
	_ "time/tzdata" // a machine may know no time zones

	"example.com/library/internal/cli"

	urfave "github.com/urfave/cli/v2"
)

func main() { cli.Main(app()) }

func app() *urfave.App {
	return &urfave.App{
		Name:      "getbooks",
		Usage:     "borrow books from the library and bring them back",
		UsageText: "getbooks COMMAND [flags] NAMES…",
		Description: `Examples:
   getbooks request user1 alice-in-wonderland geb    borrow two books
   getbooks return user1 geb                         bring one back
   getbooks card user1                               what user1 holds
   getbooks book geb                                 where a book is
   getbooks watch                                    what happens, as it happens
   ls | getbooks return user1 -                      names from standard input, one a line
   getbooks request user1 -- --no-wait               a book called --no-wait`,
		Version:              cli.Version(),
		EnableBashCompletion: true,
		// A password may hold a comma, so cli must not take addresses apart.
		DisableSliceFlagSeparator: true,
		Commands: []*urfave.Command{
			orderCommand("request"), orderCommand("return"), cardCommand(), bookCommand(), receiptCommand(), explainCommand(), watchCommand(),
			cli.CompletionCommand("getbooks"), cli.ConnectionTopic(cli.ConnectionFlags()), cli.ManPageCommand(1),
		},
	}
}

func timeoutFlag() urfave.Flag {
	return &urfave.DurationFlag{Name: "timeout", Aliases: []string{"t"}, EnvVars: []string{"LENDING_TIMEOUT"}, Usage: "wait at most `DURATION`, such as 30s or 2h", Value: time.Minute}
}

// replicasMax is far more than anybody has.
const replicasMax = 100

func waitReplicasFlag() urfave.Flag {
	return &urfave.IntFlag{
		Name: "wait-replicas", EnvVars: []string{"LENDING_WAIT_REPLICAS"}, Value: 0,
		Usage: "believe an answer only when this `NUMBER` of the server's replicas have it too, from 0 to 100",
		Action: func(c *urfave.Context, replicas int) error {
			return cli.Within(c, "wait-replicas", replicas, 0, replicasMax)
		},
	}
}
