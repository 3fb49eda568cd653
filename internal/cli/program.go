package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v2"
)

// version is set by the linker, see the Makefile.
var version string

// Version is what --version prints.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" && info.Main.Version != "(devel)" {
		return cmp.Or(info.Main.Version, "devel")
	}
	return cmp.Or(version, "devel")
}

// The exit codes of both programs.
const (
	ExitDone    = 0 // all done
	ExitBroken  = 1 // something is broken
	ExitUsage   = 2 // the command line cannot be understood; nothing was sent
	ExitDenied  = 3 // denied or refused
	ExitPartly  = 4 // done for some of the books
	ExitUnknown = 5 // not known in time
)

// An ExitError ends a program with a code. Err is printed unless it is nil, which
// means that the answer was printed already.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// Main runs a program and ends the process. A signal to stop ends the commands'
// context, see untilToldToStop.
func Main(app *cli.App) {
	// The Redis client would tell of every failed attempt; the programs tell of what matters.
	redis.SetLogger(silence{})
	os.Exit(Run(untilToldToStop(), app, os.Args))
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Run runs a program, prints its error, if there is one, where app.ErrWriter says or
// else on standard error, and returns its exit code. What the program prints on standard
// output goes to app.Writer; if that cannot be written, it is the error.
func Run(ctx context.Context, app *cli.App, args []string) int {
	out := &output{to: app.Writer}
	if out.to == nil {
		out.to = os.Stdout
	}
	app.Writer = out
	app.ExitErrHandler = func(*cli.Context, error) {} // Run prints errors itself
	refuseUsage(app)
	secrets := given(args)
	args, err := Arrange(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	code, err := exitOf(ctx, err)
	if out.err != nil {
		if errors.Is(err, out.err) {
			err = nil // it says no more than failure does
		}
		code, err = ExitBroken, joined(err, out.failure())
	}
	if err != nil {
		fmt.Fprintf(cmp.Or[io.Writer](app.ErrWriter, os.Stderr), "%s: %s\n", app.Name, hide(err.Error(), secrets))
	}
	return code
}

// joined is two errors in one sentence; either may be nil.
func joined(a, b error) error {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return fmt.Errorf("%w; %w", a, b)
}

// exitOf returns the exit code for what a command returned, and what is to be told of
// it; nil for nothing.
func exitOf(ctx context.Context, err error) (int, error) {
	var exit *ExitError
	switch {
	case err == nil:
		return ExitDone, nil
	case errors.As(err, &exit):
		return exit.Code, exit.Err
	case isUsage(err):
		return ExitUsage, err
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return ExitBroken, errors.New("interrupted")
	case redisconn.KindOf(err) == redisconn.Refused:
		return ExitBroken, fmt.Errorf("%w; %s", err, redisconn.Remedy(err))
	default:
		return ExitBroken, err
	}
}

func isUsage(err error) bool {
	var usage UsageError
	return errors.As(err, &usage) || errors.Is(err, library.ErrName) || errors.Is(err, redisconn.ErrAddress)
}

// refuseUsage makes what cli finds wrong with flags a UsageError.
func refuseUsage(app *cli.App) {
	refuse := func(c *cli.Context, err error, _ bool) error {
		// The flag package writes one dash where people type two.
		return usageErrorf("%s; see %s --help", strings.Replace(err.Error(), "for flag -", "for flag --", 1), cmp.Or(c.Command.HelpName, c.App.Name))
	}
	app.OnUsageError = refuse
	var visit func([]*cli.Command)
	visit = func(commands []*cli.Command) {
		for _, command := range commands {
			command.OnUsageError = refuse
			visit(command.Subcommands)
		}
	}
	visit(app.Commands)
}

// Any is the number of names that Names does not bound.
const Any = -1

// Names checks how many names stand on a command line, and returns them.
func Names(c *cli.Context, min, max int) ([]string, error) {
	names := c.Args().Slice()
	usage := strings.TrimSpace(c.App.Name + " " + c.Command.ArgsUsage)
	if c.Command.HelpName != "" {
		usage = strings.TrimSpace(c.Command.HelpName + " " + c.Command.ArgsUsage)
	}
	switch {
	case len(names) < min:
		return nil, usageErrorf("something is missing: %s", usage)
	case max != Any && len(names) > max:
		return nil, usageErrorf("%s is one too many: %s", library.Printable(names[max]), usage)
	}
	return names, nil
}
