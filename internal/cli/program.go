package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"

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

// cli would show a flag that may be repeated twice over, and so make every line of
// the help as wide.
var shownTwice = regexp.MustCompile(`^(.*?) \[ .*? \]`)

func init() {
	shown := cli.FlagStringer
	cli.FlagStringer = func(flag cli.Flag) string {
		if isRepeatable(flag) {
			return shownTwice.ReplaceAllString(shown(flag), "$1")
		}
		return shown(flag)
	}
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Run runs a program, prints its error, if there is one, where app.ErrWriter says or
// else on standard error, and returns its exit code.
func Run(ctx context.Context, app *cli.App, args []string) int {
	app.ExitErrHandler = func(*cli.Context, error) {} // Run prints errors itself
	refuseUsage(app)
	secrets := given(args)
	args, err := Arrange(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	code := ExitBroken
	var exit *ExitError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &exit):
		code = exit.Code
		if exit.Err == nil {
			return code
		}
	case isUnread(err):
		return code
	case isUsage(err):
		code = ExitUsage
	case redisconn.KindOf(err) == redisconn.Refused:
		err = fmt.Errorf("%w; %s", err, redisconn.Remedy(err))
	}
	fmt.Fprintf(cmp.Or[io.Writer](app.ErrWriter, os.Stderr), "%s: %s\n", app.Name, hide(err.Error(), secrets))
	return code
}

// isUnread reports whether an error says no more than that nobody reads the output any
// more, as after head has seen enough. One that says more is wrapped.
func isUnread(err error) bool {
	write, is := err.(*fs.PathError)
	return is && errors.Is(write.Err, syscall.EPIPE)
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
