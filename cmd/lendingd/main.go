// Command lendingd runs an instance of the library's services.
package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a machine may know no time zones

	"example.com/library/internal/cli"
	"example.com/library/library"
	"example.com/library/worker"

	urfave "github.com/urfave/cli/v2"
)

func main() {
	// A worker keeps little and makes much garbage; collecting it was a tenth of its
	// time. So more of it may pile up first. GOGC, if set, wins.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	cli.Main(app())
}

func app() *urfave.App {
	return &urfave.App{
		Name:      "lendingd",
		Usage:     "run an instance of the library: lend books, take them back, keep the shelves",
		ArgsUsage: "NAME",
		UsageText: "lendingd [run] NAME [flags]\nlendingd COMMAND [flags]",
		Description: `NAME is the instance's own: no two running instances share one. Start as many as
you like, on any machines; they share the work, and take over what a dead one left.

Examples:
   lendingd worker1                          serve the library "main" on the local Redis
   lendingd --embedded worker1               the same without Redis; nothing is kept
   lendingd -a redis://cellar:6379 worker2   on another machine's Redis
   lendingd status                           who runs, what waits, where the books are
   lendingd terms --limit 6                  let users hold six books from now on
   lendingd audit                            whether all that is so is as the log says`,
		Version:              cli.Version(),
		EnableBashCompletion: true,
		// A password may hold a comma, so cli must not take addresses apart.
		DisableSliceFlagSeparator: true,
		Flags:                     slices.Concat(instanceFlags(), gatewayFlags(), cli.SeveralConnectionFlags()),
		Action:                    runBare,
		Commands: []*urfave.Command{
			runCommand(), statusCommand(), topCommand(), termsCommand(), rejectedCommand(), auditCommand(), rebuildCommand(), aclCommand(), gatewayCommand(), museumCommand(), lessonCommand(),
			cli.CompletionCommand("lendingd"), cli.ConnectionTopic(cli.SeveralConnectionFlags()), cli.ManPageCommand(8),
		},
	}
}

func runCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "run",
		Usage:     "run an instance; the word run may be left out",
		ArgsUsage: "NAME",
		Description: `Examples:
   lendingd run worker1                      serve the library "main" on the local Redis
   lendingd run status                       an instance called like a command
   lendingd --service lending worker3        the lending service alone
   lendingd --fetch-time 2s worker4          shelves as slow as real ones
   lendingd --library main,north worker5     serve two libraries
   lendingd --cluster -a node1:7001 worker6  on a Redis Cluster
   lendingd --force worker1                  take the name from a process that holds it
   lendingd --http localhost:8080 worker7    and show it all on a page

A DURATION is a number of seconds, or one with a unit, such as 500ms, 5m or 2h.`,
		Flags:  slices.Concat(instanceFlags(), gatewayFlags(), cli.SeveralConnectionFlags()),
		Action: runInstance,
	}
}

// soundLikeCommands are what people try who do not know the commands yet. Other words
// that are close to a command's name are refused before.
var soundLikeCommands = []string{
	"start", "stop", "restart", "serve", "list", "show", "info", "ps", "kill", "logs",
	"request", "return", "card", "book", "receipt", "cancel", "watch", // those of getbooks
}

// runBare is what lendingd does without a command: with a NAME it runs an instance.
func runBare(c *urfave.Context) error {
	if name := c.Args().First(); slices.Contains(soundLikeCommands, name) {
		return cli.UsageError{Message: fmt.Sprintf("lendingd has no command %q; for an instance of that name: lendingd run %s; see lendingd --help", name, name)}
	}
	return runInstance(c)
}

func instanceFlags() []urfave.Flag {
	return slices.Concat(termFlags(), []urfave.Flag{
		&urfave.StringFlag{Name: "service", EnvVars: []string{"LENDING_SERVICE"}, Usage: "the `SERVICES` to run, with commas: " + strings.Join(library.Services(), ", "), Value: strings.Join(library.Services(), ",")},
		&urfave.BoolFlag{Name: "embedded", DisableDefaultText: true, EnvVars: []string{"LENDING_EMBEDDED"}, Usage: "serve from an in-memory Redis of its own at the address; nothing is kept"},
		&urfave.BoolFlag{Name: "force", DisableDefaultText: true, Aliases: []string{"f"}, EnvVars: []string{"LENDING_FORCE"}, Usage: "take the name from a process that holds it; that one stops"},
		&urfave.DurationFlag{Name: "lock-ttl", EnvVars: []string{"LENDING_LOCK_TTL"}, Usage: "how long the name outlives a crashed process: a `DURATION` from 1s to 10m", Value: 10 * time.Second},
		&urfave.StringFlag{Name: "metrics", EnvVars: []string{"LENDING_METRICS"}, Usage: "serve /metrics, /healthz and /readyz at `ADDRESS`, a host:port; who reaches it needs no password, and is told no names", DefaultText: "nowhere"},

		&urfave.DurationFlag{Name: "fetch-time", EnvVars: []string{"LENDING_FETCH_TIME"}, Category: "Shelving", Usage: "how long this instance takes to fetch a book from the shelves: a `DURATION` from 0s to 10m", Value: 0},
	}, logFlags())
}

func logFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "log-format", EnvVars: []string{"LENDING_LOG_FORMAT"}, Category: "Logs", Usage: "`FORMAT` of this program's own log: text, json, logfmt, or auto: text at a terminal, else logfmt", Value: "auto"},
		&urfave.StringFlag{Name: "log-level", EnvVars: []string{"LENDING_LOG_LEVEL"}, Category: "Logs", Usage: "`LEVEL` of this program's own log: debug, info, warn or error", Value: "info"},
	}
}

// checkLogFlags reports the first flag of the program's own log that is out of bounds, as
// a cli.UsageError.
func checkLogFlags(c *urfave.Context) error {
	return cmp.Or(
		cli.OneOf(c, "log-format", "auto", "text", "json", "logfmt"),
		cli.OneOf(c, "log-level", "debug", "info", "warn", "error"),
	)
}

// checkInstanceFlags reports the first flag that is out of bounds, as a cli.UsageError.
func checkInstanceFlags(c *urfave.Context) error {
	_, _, terms := termsOf(c)
	for _, err := range []error{
		checkServices(c),
		checkListen(c, "metrics"),
		cli.Within(c, "lock-ttl", c.Duration("lock-ttl"), time.Second, worker.LockTTLMax),
		terms,
		cli.Within(c, "fetch-time", c.Duration("fetch-time"), 0, 10*time.Minute),
		checkLogFlags(c),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}
