package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// received is what an action was given.
type received struct {
	Command string
	Names   []string
	Flags   map[string]string
}

// record returns an action that notes what it is given in got.
func record(got *received) cli.ActionFunc {
	return func(c *cli.Context) error {
		*got = received{Command: c.Command.HelpName, Names: c.Args().Slice(), Flags: map[string]string{}}
		for _, flag := range c.Command.Flags {
			name := flag.Names()[0]
			if !c.IsSet(name) {
				continue
			}
			got.Flags[name] = fmt.Sprint(c.Value(name))
			if _, ok := flag.(*cli.StringSliceFlag); ok {
				got.Flags[name] = strings.Join(c.StringSlice(name), " and ")
			}
		}
		return nil
	}
}

func connectionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "address", Aliases: []string{"a"}},
		&cli.StringFlag{Name: "password"},
		&cli.StringFlag{Name: "library"},
	}
}

// newGetbooks is an app whose root has only subcommands.
func newGetbooks(got *received) *cli.App {
	return &cli.App{
		Name:                 "getbooks",
		Version:              "1.2.3",
		EnableBashCompletion: true,
		Writer:               io.Discard,
		Commands: []*cli.Command{
			{
				Name:    "request",
				Aliases: []string{"ask"},
				Flags: append(connectionFlags(),
					&cli.BoolFlag{Name: "no-wait"},
					&cli.IntFlag{Name: "limit", EnvVars: []string{"CLI_TEST_LIMIT"}},
					&cli.DurationFlag{Name: "timeout", EnvVars: []string{"CLI_TEST_TIMEOUT"}},
					&cli.DurationFlag{Name: "timeout-of-old"},
					&cli.StringSliceFlag{Name: "tag", Aliases: []string{"t"}}),
				Action: record(got),
			},
			{Name: "card", Flags: connectionFlags(), Action: record(got)},
			CompletionCommand("getbooks"),
		},
	}
}

// newLendingd is an app whose root has an action, too.
func newLendingd(got *received) *cli.App {
	return &cli.App{
		Name:   "lendingd",
		Writer: io.Discard,
		Flags:  append(connectionFlags(), &cli.BoolFlag{Name: "force"}, &cli.BoolFlag{Name: "embedded"}),
		Action: record(got),
		Commands: []*cli.Command{
			{Name: "run", Flags: append(connectionFlags(), &cli.BoolFlag{Name: "force"}), Action: record(got)},
			{Name: "status", Flags: append(connectionFlags(), &cli.BoolFlag{Name: "json"}), Action: record(got)},
			{
				Name: "rejected",
				Subcommands: []*cli.Command{
					{Name: "list", Action: record(got)},
					{Name: "retry", Aliases: []string{"again"}, Flags: append(connectionFlags(), &cli.BoolFlag{Name: "all"}), Action: record(got)},
				},
			},
			CompletionCommand("lendingd"),
		},
	}
}

func newApp(program string, got *received) *cli.App {
	if program == "lendingd" {
		return newLendingd(got)
	}
	return newGetbooks(got)
}

func TestArrangeGivesCliWhatItParsesRight(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{
			name: "flags after the names move before them",
			args: []string{"getbooks", "request", "user1", "geb", "--no-wait"},
			want: []string{"getbooks", "request", "--no-wait", "--", "user1", "geb"},
		},
		{
			name: "flags among the names move before them, in their order",
			args: []string{"getbooks", "request", "user1", "--no-wait", "geb", "--library", "main", "alice"},
			want: []string{"getbooks", "request", "--no-wait", "--library=main", "--", "user1", "geb", "alice"},
		},
		{
			name: "a subcommand's flags may stand before its name",
			args: []string{"getbooks", "-a", "x", "request", "user1", "geb"},
			want: []string{"getbooks", "request", "--address=x", "--", "user1", "geb"},
		},
		{
			name: "a value that equals a subcommand's name stays a value",
			args: []string{"getbooks", "--library", "card", "request", "user1"},
			want: []string{"getbooks", "request", "--library=card", "--", "user1"},
		},
		{
			name: "an alias selects its subcommand",
			args: []string{"getbooks", "ask", "user1"},
			want: []string{"getbooks", "request", "--", "user1"},
		},
		{
			name: "names may equal subcommands, and help",
			args: []string{"getbooks", "request", "help", "h", "request", "card"},
			want: []string{"getbooks", "request", "--", "help", "h", "request", "card"},
		},
		{
			name: "after -- everything is a name",
			args: []string{"getbooks", "request", "user1", "--", "--no-wait", "-a", "--", "-"},
			want: []string{"getbooks", "request", "--", "user1", "--no-wait", "-a", "--", "-"},
		},
		{
			name: "a dash alone is a name",
			args: []string{"getbooks", "request", "user1", "-", "--no-wait"},
			want: []string{"getbooks", "request", "--no-wait", "--", "user1", "-"},
		},
		{
			name: "an empty word is a name",
			args: []string{"getbooks", "request", ""},
			want: []string{"getbooks", "request", "--", ""},
		},
		{
			name: "a negative number after -- is a name",
			args: []string{"getbooks", "request", "user1", "--", "-1984"},
			want: []string{"getbooks", "request", "--", "user1", "-1984"},
		},
		{
			name: "a negative number is a value",
			args: []string{"getbooks", "request", "user1", "--limit", "-1"},
			want: []string{"getbooks", "request", "--limit=-1", "--", "user1"},
		},
		{
			name: "a value may begin with a dash",
			args: []string{"getbooks", "request", "--password", "-secret", "user1"},
			want: []string{"getbooks", "request", "--password=-secret", "--", "user1"},
		},
		{
			name: "a value may be --",
			args: []string{"getbooks", "request", "--password", "--", "user1", "--no-wait"},
			want: []string{"getbooks", "request", "--password=--", "--no-wait", "--", "user1"},
		},
		{
			name: "a value after = may hold another =, or be a flag",
			args: []string{"getbooks", "request", "--password=--no-wait", "user1", "--library=a=b"},
			want: []string{"getbooks", "request", "--password=--no-wait", "--library=a=b", "--", "user1"},
		},
		{
			name: "a duration may be a number of seconds",
			args: []string{"getbooks", "request", "--timeout", "90", "--timeout-of-old=1.5"},
			want: []string{"getbooks", "request", "--timeout=90s", "--timeout-of-old=1.5s", "--"},
		},
		{
			name: "a bool flag takes its value only after =",
			args: []string{"getbooks", "request", "--no-wait=false", "true"},
			want: []string{"getbooks", "request", "--no-wait=false", "--", "true"},
		},
		{
			name: "a slice flag may be given again, under any of its names",
			args: []string{"getbooks", "request", "--tag", "x", "user1", "-t", "y"},
			want: []string{"getbooks", "request", "--tag=x", "--tag=y", "--", "user1"},
		},
		{
			name: "a root action's flags move before its name",
			args: []string{"lendingd", "worker1", "--force"},
			want: []string{"lendingd", "--force", "--", "worker1"},
		},
		{
			name: "a second name does not select a subcommand",
			args: []string{"lendingd", "worker1", "status"},
			want: []string{"lendingd", "--", "worker1", "status"},
		},
		{
			name: "a flag that root and subcommand declare goes to the subcommand",
			args: []string{"lendingd", "-a", "x", "status", "--json"},
			want: []string{"lendingd", "status", "--address=x", "--json", "--"},
		},
		{
			name: "the root's flags stay with it",
			args: []string{"lendingd", "worker1", "--embedded", "--force"},
			want: []string{"lendingd", "--embedded", "--force", "--", "worker1"},
		},
		{
			name: "subcommands nest",
			args: []string{"lendingd", "--all", "rejected", "-a", "x", "again", "7-1"},
			want: []string{"lendingd", "rejected", "retry", "--all", "--address=x", "--", "7-1"},
		},
		{
			name: "nothing but the program",
			args: []string{"getbooks"},
			want: []string{"getbooks", "--"},
		},
		{
			name: "not even the program",
			args: nil,
			want: []string{"getbooks"},
		},
		{
			name: "help for the program",
			args: []string{"getbooks", "-h"},
			want: []string{"getbooks", "--help"},
		},
		{
			name: "help for a subcommand leaves the names out",
			args: []string{"getbooks", "request", "user1", "--help", "geb"},
			want: []string{"getbooks", "request", "--help"},
		},
		{
			name: "help before a subcommand is help for that subcommand",
			args: []string{"getbooks", "--help", "request"},
			want: []string{"getbooks", "request", "--help"},
		},
		{
			name: "help not wanted",
			args: []string{"getbooks", "request", "--help=false", "user1"},
			want: []string{"getbooks", "request", "--help=false", "--", "user1"},
		},
		{
			name: "help for a root action",
			args: []string{"lendingd", "worker1", "-h"},
			want: []string{"lendingd", "--help"},
		},
		{
			name: "the help command alone",
			args: []string{"getbooks", "help"},
			want: []string{"getbooks", "--help"},
		},
		{
			name: "the help command and a topic",
			args: []string{"getbooks", "h", "request"},
			want: []string{"getbooks", "request", "--help"},
		},
		{
			name: "the help command and a nested topic",
			args: []string{"lendingd", "help", "rejected", "retry"},
			want: []string{"lendingd", "rejected", "retry", "--help"},
		},
		{
			name: "the help command of a subcommand",
			args: []string{"lendingd", "rejected", "help", "retry"},
			want: []string{"lendingd", "rejected", "retry", "--help"},
		},
		{
			name: "the version",
			args: []string{"getbooks", "-v"},
			want: []string{"getbooks", "--version", "--"},
		},
		{
			name: "the version, asked of a subcommand",
			args: []string{"getbooks", "request", "--version"},
			want: []string{"getbooks", "--version", "request", "--"},
		},
		{
			name: "completion of commands",
			args: []string{"getbooks", "--generate-bash-completion"},
			want: []string{"getbooks", "--generate-bash-completion"},
		},
		{
			name: "completion after flags and names",
			args: []string{"getbooks", "-a", "x", "request", "user1", "--no-wait", "--generate-bash-completion"},
			want: []string{"getbooks", "request", "--address=x", "--no-wait", "user1", "--generate-bash-completion"},
		},
		{
			name: "completion of half a flag",
			args: []string{"getbooks", "request", "--no-", "--generate-bash-completion"},
			want: []string{"getbooks", "request", "--generate-bash-completion"},
		},
		{
			name: "completion of a value",
			args: []string{"getbooks", "request", "--library", "--generate-bash-completion"},
			want: []string{"getbooks", "request", "--generate-bash-completion"},
		},
		{
			name: "completion of an unknown command",
			args: []string{"getbooks", "req", "--generate-bash-completion"},
			want: []string{"getbooks", "req", "--generate-bash-completion"},
		},
		{
			name: "completion after --",
			args: []string{"getbooks", "request", "user1", "--", "geb", "--generate-bash-completion"},
			want: []string{"getbooks", "request", "user1", "--generate-bash-completion"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			program := "getbooks"
			if len(test.args) > 0 {
				program = test.args[0]
			}
			typed := slices.Clone(test.args)
			got, err := Arrange(newApp(program, new(received)), test.args)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("arranged (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(typed, test.args); diff != "" {
				t.Errorf("Arrange changed its input (-before +after):\n%s", diff)
			}
		})
	}
}

func TestArrangeRefusesWhatItCannotUnderstand(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"getbooks", "request", "--frob"}, `unknown flag --frob for "getbooks request"; see getbooks request --help`},
		{[]string{"getbooks", "--frob", "request"}, `unknown flag --frob for "getbooks request"; see getbooks request --help`},
		{[]string{"getbooks", "--frob=1"}, `unknown flag --frob for "getbooks"; see getbooks --help`},
		{[]string{"getbooks", "card", "--no-wait"}, `unknown flag --no-wait for "getbooks card"; see getbooks card --help`},
		{[]string{"getbooks", "request", "-1984"}, `unknown flag -1984 for "getbooks request"; see getbooks request --help`},
		{[]string{"getbooks", "request", "-at"}, `unknown flag -at for "getbooks request"; see getbooks request --help`},
		{[]string{"getbooks", "request", "---tagged"}, `unknown flag ---tagged for "getbooks request"; see getbooks request --help`},
		{[]string{"getbooks", "request", "--=x"}, `unknown flag -- for "getbooks request"; see getbooks request --help`},
		{[]string{"getbooks", "request", "--\x1b[2J"}, `unknown flag --\x1b[2J for "getbooks request"; see getbooks request --help`},
		{[]string{"lendingd", "worker1", "--jsonl"}, `unknown flag --jsonl for "lendingd"; see lendingd --help`},
		{[]string{"lendingd", "worker1", "--version"}, `unknown flag --version for "lendingd"; see lendingd --help`},
		{[]string{"lendingd", "worker1", "--generate-bash-completion"}, `unknown flag --generate-bash-completion for "lendingd"; see lendingd --help`},
		{[]string{"lendingd", "status", "--embedded"}, `unknown flag --embedded for "lendingd status"; see lendingd status --help`},
		{[]string{"lendingd", "--embedded", "status"}, `unknown flag --embedded for "lendingd status"; see lendingd status --help`},
		{[]string{"getbooks", "request", "--nowait"}, `unknown flag --nowait for "getbooks request"; did you mean --no-wait? see getbooks request --help`},
		{[]string{"getbooks", "request", "--no_Wait"}, `unknown flag --no_Wait for "getbooks request"; did you mean --no-wait? see getbooks request --help`},
		{[]string{"getbooks", "request", "-adress=x"}, `unknown flag -adress for "getbooks request"; did you mean --address? see getbooks request --help`},
		{[]string{"getbooks", "card", "--hlep"}, `unknown flag --hlep for "getbooks card"; did you mean --help? see getbooks card --help`},
		{[]string{"getbooks", "request", "user1", "-a"}, `flag --address needs a value`},
		{[]string{"getbooks", "request", "--library", "--no-wait"}, `flag --library needs a value`},
		{[]string{"getbooks", "--library", "-t=x", "request"}, `flag --library needs a value`},
		{[]string{"getbooks", "request", "--library", ""}, `flag --library has an empty value; leave the flag out if it is not meant`},
		{[]string{"getbooks", "request", "-t="}, `flag --tag has an empty value; leave the flag out if it is not meant`},
		{[]string{"getbooks", "request", "--limit="}, `flag --limit has an empty value; leave the flag out if it is not meant`},
		{[]string{"getbooks", "request", "--limit=many"}, `--limit takes a number, not "many"`},
		{[]string{"getbooks", "request", "--timeout=soon"}, `--timeout takes a duration such as 30s, 5m or 2h, or a number of seconds, not "soon"`},
		{[]string{"getbooks", "request", "--no-wait=maybe"}, `--no-wait takes true or false, not "maybe"`},
		{[]string{"getbooks", "request", "--no-wait="}, `--no-wait takes true or false, not ""`},
		{[]string{"getbooks", "--library"}, `unknown flag --library for "getbooks"; see getbooks --help`},
		{[]string{"getbooks", "request", "--library", "a", "--library=b"}, `flag --library was given twice`},
		{[]string{"getbooks", "-a", "x", "request", "--address", "x"}, `flag --address was given twice`},
		{[]string{"getbooks", "request", "--no-wait", "--no-wait"}, `flag --no-wait was given twice`},
		{[]string{"getbooks", "frob\x07"}, `unknown command "frob\a" for "getbooks"; see getbooks --help`},
		{[]string{"getbooks", "frob", "request"}, `unknown command "frob" for "getbooks"; see getbooks --help`},
		{[]string{"getbooks", "requets"}, `unknown command "requets" for "getbooks"; did you mean getbooks request? see getbooks --help`},
		{[]string{"getbooks", "help", "frob"}, `unknown command "frob" for "getbooks"; see getbooks --help`},
		{[]string{"lendingd", "help", "worker1"}, `unknown command "worker1" for "lendingd"; see lendingd --help`},
		{[]string{"lendingd", "help", "stauts"}, `unknown command "stauts" for "lendingd"; did you mean lendingd status? see lendingd --help`},
		{[]string{"lendingd", "stauts"}, `unknown command "stauts" for "lendingd"; did you mean lendingd status? see lendingd --help; for an instance of that name: lendingd run stauts`},
		{[]string{"lendingd", "STATUS"}, `unknown command "STATUS" for "lendingd"; did you mean lendingd status? see lendingd --help; for an instance of that name: lendingd run STATUS`},
		{[]string{"lendingd", "stat"}, `unknown command "stat" for "lendingd"; did you mean lendingd status? see lendingd --help; for an instance of that name: lendingd run stat`},
		{[]string{"lendingd", "rnu", "worker1"}, `unknown command "rnu" for "lendingd"; did you mean lendingd run? see lendingd --help; for an instance of that name: lendingd run rnu`},
		{[]string{"lendingd", "retry"}, `unknown command "retry" for "lendingd"; did you mean lendingd rejected retry? see lendingd --help; for an instance of that name: lendingd run retry`},
		{[]string{"lendingd", "halp"}, `unknown command "halp" for "lendingd"; did you mean lendingd help? see lendingd --help; for an instance of that name: lendingd run halp`},
		{[]string{"lendingd", "embedded"}, `unknown command "embedded" for "lendingd"; did you mean lendingd --embedded? see lendingd --help; for an instance of that name: lendingd run embedded`},
		{[]string{"lendingd", "rejected", "7-1"}, `unknown command "7-1" for "lendingd rejected"; see lendingd rejected --help`},
		{[]string{"lendingd", "rejected", "rerty", "7-1"}, `unknown command "rerty" for "lendingd rejected"; did you mean lendingd rejected retry? see lendingd rejected --help`},
		{[]string{"lendingd", "--", "status"}, `"status" is a command of "lendingd" and cannot be a name; see lendingd --help`},
		{[]string{"lendingd", "--force", "--", "help"}, `"help" is a command of "lendingd" and cannot be a name; see lendingd --help`},
		{[]string{"lendingd", "rejected", "--", "retry"}, `"retry" is a command of "lendingd rejected" and cannot be a name; see lendingd rejected --help`},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			got, err := Arrange(newApp(test.args[0], new(received)), test.args)
			if usage := (UsageError{}); !errors.As(err, &usage) {
				t.Fatalf("got %q and error %v, want a UsageError", got, err)
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
}

func TestTheActionReceivesWhatWasMeant(t *testing.T) {
	tests := []struct {
		args []string
		want received
	}{
		{
			[]string{"getbooks", "request", "user1", "geb", "--no-wait"},
			received{"getbooks request", []string{"user1", "geb"}, map[string]string{"no-wait": "true"}},
		},
		{
			[]string{"getbooks", "request", "user1", "--", "--no-wait"},
			received{"getbooks request", []string{"user1", "--no-wait"}, map[string]string{}},
		},
		{
			[]string{"getbooks", "-a", "x", "request", "user1", "geb"},
			received{"getbooks request", []string{"user1", "geb"}, map[string]string{"address": "x"}},
		},
		{
			[]string{"getbooks", "request", "user1", "geb", "-a", "x"},
			received{"getbooks request", []string{"user1", "geb"}, map[string]string{"address": "x"}},
		},
		{
			[]string{"getbooks", "request", "user1", "--password", "-secret", "--limit=-1", "-"},
			received{"getbooks request", []string{"user1", "-"}, map[string]string{"password": "-secret", "limit": "-1"}},
		},
		{
			[]string{"getbooks", "request", "--tag", "x", "user1", "-t", "y"},
			received{"getbooks request", []string{"user1"}, map[string]string{"tag": "x and y"}},
		},
		{
			[]string{"getbooks", "request", "help", "h"},
			received{"getbooks request", []string{"help", "h"}, map[string]string{}},
		},
		{
			[]string{"getbooks", "card", "--", "request"},
			received{"getbooks card", []string{"request"}, map[string]string{}},
		},
		{
			[]string{"lendingd", "worker1", "--force"},
			received{"lendingd", []string{"worker1"}, map[string]string{"force": "true"}},
		},
		{
			[]string{"lendingd", "--", "worker1", "status"},
			received{"lendingd", []string{"worker1", "status"}, map[string]string{}},
		},
		{
			[]string{"lendingd", "--library", "status", "status", "--json"},
			received{"lendingd status", []string{}, map[string]string{"library": "status", "json": "true"}},
		},
		{
			[]string{"lendingd", "rejected", "retry", "retry", "--all"},
			received{"lendingd rejected retry", []string{"retry"}, map[string]string{"all": "true"}},
		},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			var got received
			app := newApp(test.args[0], &got)
			arranged, err := Arrange(app, test.args)
			if err != nil {
				t.Fatal(err)
			}
			if err := app.Run(arranged); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("received (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnInstanceMayBeCalledLikeACommand(t *testing.T) {
	for _, name := range []string{"status", "stauts", "run", "help", "embedded", "worker1"} {
		var got received
		app := newLendingd(&got)
		arranged, err := Arrange(app, []string{"lendingd", "run", name, "--force"})
		if err != nil {
			t.Fatal(err)
		}
		if err := app.Run(arranged); err != nil {
			t.Fatal(err)
		}
		want := received{"lendingd run", []string{name}, map[string]string{"force": "true"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("received (-want +got):\n%s", diff)
		}
	}
}

func TestABareNameThatIsFarFromACommandIsAName(t *testing.T) {
	for _, name := range []string{"worker1", "alice", "north-2", "a", "main", "north", "7"} {
		if _, err := Arrange(newLendingd(new(received)), []string{"lendingd", name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnEnvironmentVariableThatIsEmptyCountsAsUnset(t *testing.T) {
	for _, test := range []struct {
		variable, value string
		args            []string
		limit           int
		timeout         time.Duration
		source, err     string // of --limit
	}{
		{"CLI_TEST_LIMIT", "", nil, 0, 0, "--limit", ""},
		{"CLI_TEST_TIMEOUT", "", nil, 0, 0, "--limit", ""},
		{"CLI_TEST_LIMIT", "7", nil, 7, 0, "CLI_TEST_LIMIT", ""},
		{"CLI_TEST_LIMIT", "7", []string{"--limit", "8"}, 8, 0, "--limit", ""},
		{"CLI_TEST_TIMEOUT", "90", nil, 0, 90 * time.Second, "--limit", ""},
		{"CLI_TEST_TIMEOUT", "2m", []string{"--timeout", "1"}, 0, time.Second, "--limit", ""},
		{"CLI_TEST_LIMIT", "many", nil, 0, 0, "", `CLI_TEST_LIMIT takes a number, not "many"`},
		{"CLI_TEST_LIMIT", " ", nil, 0, 0, "", `CLI_TEST_LIMIT takes a number, not " "`},
		{"CLI_TEST_TIMEOUT", "soon", nil, 0, 0, "", `CLI_TEST_TIMEOUT takes a duration such as 30s, 5m or 2h, or a number of seconds, not "soon"`},
	} {
		t.Run(fmt.Sprint(test.variable, "=", test.value, test.args), func(t *testing.T) {
			t.Setenv(test.variable, test.value)
			var limit int
			var timeout time.Duration
			var source string
			app := newGetbooks(new(received))
			app.Commands[0].Action = func(c *cli.Context) error {
				limit, timeout, source = c.Int("limit"), c.Duration("timeout"), Source(c, "limit")
				return nil
			}
			arranged, err := Arrange(app, append([]string{"getbooks", "request"}, test.args...))
			if err == nil {
				err = app.Run(arranged)
			}
			if err != nil || test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got error %v, want %q", err, test.err)
				}
				return
			}
			if limit != test.limit || timeout != test.timeout || source != test.source {
				t.Errorf("got limit %d by %s, and timeout %s; want %d by %s, and %s", limit, source, timeout, test.limit, test.source, test.timeout)
			}
		})
	}
}

func TestHelpIsANameWhereThereAreNoSubcommands(t *testing.T) {
	var got received
	app := &cli.App{Name: "single", Writer: io.Discard, Action: record(&got)}
	arranged, err := Arrange(app, []string{"single", "help"})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(arranged); err != nil {
		t.Fatal(err)
	}
	want := received{"single", []string{"help"}, map[string]string{}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("received (-want +got):\n%s", diff)
	}
}

func TestHelpAndVersionAreShownOnEveryLevel(t *testing.T) {
	tests := []struct{ typed, want string }{
		{"getbooks --help", "\nCOMMANDS:\n   request, ask"},
		{"getbooks help", "\nCOMMANDS:\n   request, ask"},
		{"getbooks request user1 --help", "USAGE:\n   getbooks request [flags]\n"},
		{"getbooks help request", "USAGE:\n   getbooks request [flags]\n"},
		{"getbooks -h completion", "source <(getbooks completion bash)"},
		{"lendingd worker1 -h", "\nCOMMANDS:\n   run\n"},
		{"lendingd rejected --help", "retry, again"},
		{"lendingd rejected help retry", "lendingd rejected retry [flags]"},
		{"getbooks request user1 -v", "getbooks version 1.2.3\n"},
	}
	for _, test := range tests {
		t.Run(test.typed, func(t *testing.T) {
			args := strings.Fields(test.typed)
			var got received
			app := newApp(args[0], &got)
			var printed strings.Builder
			app.Writer = &printed
			arranged, err := Arrange(app, args)
			if err != nil {
				t.Fatal(err)
			}
			if err := app.Run(arranged); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(printed.String(), test.want) {
				t.Errorf("printed %q, want it to contain %q", printed.String(), test.want)
			}
			if got.Command != "" {
				t.Errorf("the action of %q ran, too", got.Command)
			}
		})
	}
}

// FuzzArrange checks that names after "--" survive unchanged and in order,
// whatever stands before them, unless that is refused or asks for help, and that
// the action receives exactly the names that Arrange found.
func FuzzArrange(f *testing.F) {
	f.Add("getbooks", "request user1 --no-wait", "geb")
	f.Add("getbooks", "-a x request --library", "--no-wait -a -- -")
	f.Add("getbooks", "help request --frob", "--help")
	f.Add("getbooks", "request -t x --tag=y --limit -1 -- -", "geb --generate-bash-completion")
	f.Add("lendingd", "--force", "status")
	f.Add("lendingd", "--json status -a --", "worker1 status help")
	f.Add("lendingd", "rejected again --all=false", "-1984 ---x --=")
	f.Fuzz(func(t *testing.T, program, before, after string) {
		args := append([]string{program}, strings.Split(before, " ")...)
		// A flag that awaits its value takes this one, and not the "--".
		args = append(args, "guard", "--")
		names := strings.Split(after, " ")
		args = append(args, names...)

		var got received
		app := newApp(program, &got)
		app.ExitErrHandler = func(*cli.Context, error) {}
		app.OnUsageError = func(*cli.Context, error, bool) error { return nil }
		arranged, err := Arrange(app, args)
		if err != nil {
			if usage := (UsageError{}); !errors.As(err, &usage) {
				t.Fatalf("error %v is no UsageError", err)
			}
			return
		}
		if arranged[len(arranged)-1] == completionFlag && app.EnableBashCompletion {
			if slices.Contains(arranged, "--") {
				t.Fatalf("cli would run %q instead of completing it", arranged)
			}
			return
		}
		end := slices.Index(arranged, "--")
		if end < 0 {
			if !slices.Contains(arranged, "--help") {
				t.Fatalf("%q was arranged as %q, without names, though nobody asked for help", args, arranged)
			}
			return
		}
		if got := arranged[end+1:]; len(got) < len(names) || !slices.Equal(got[len(got)-len(names):], names) {
			t.Fatalf("%q was arranged as %q, which does not end with %q", args, arranged, names)
		}
		// Where no action ran, cli refused a value such as --limit=x, or showed the version.
		_ = app.Run(arranged)
		if got.Command != "" && !slices.Equal(got.Names, arranged[end+1:]) {
			t.Fatalf("%q was arranged as %q, but the action received %q", args, arranged, got.Names)
		}
	})
}
