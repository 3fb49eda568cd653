// Package cli is what the command lines of lendingd and getbooks have in common.
package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// UsageError is returned when a command line cannot be understood. Message is
// for the person who typed it, and holds nothing unescaped of what was typed.
// A program that is handed one exits with 2.
type UsageError struct{ Message string }

func (e UsageError) Error() string { return e.Message }

// completionFlag is what the completion scripts append to the words typed so
// far; cli then prints what may follow instead of running the command.
const completionFlag = "--generate-bash-completion"

// commandLine is what was typed, taken apart.
type commandLine struct {
	path  []*cli.Command // The app itself, then each subcommand selected.
	flags []givenFlag
	names []string
	help  bool // The help command was among the subcommands.
}

// givenFlag is one flag as it was typed.
type givenFlag struct {
	typed    string // With its dashes, without its value.
	name     string
	value    string
	hasValue bool
}

// Arrange rewrites args, which are os.Args, so that cli parses what people mean.
// By itself cli takes everything after the first name for another name, and
// knows a subcommand's flags only after that subcommand. Arrange lets flags
// stand anywhere before "--" and returns: the program, the subcommands, each of
// these followed by its own flags as --name=value, then "--" and the names.
//
//   - The first name at a level that has subcommands selects one of them. After
//     "--" nothing is selected, and a name there that cli would still take for a
//     subcommand is an error.
//   - A flag belongs to the last selected command. --help and --version do on every
//     level.
//   - Whatever follows a flag that takes a value is its value, even "--", unless it is a
//     flag that the command knows: then the value was forgotten, or was a variable of a
//     script that is not set. For the same reason a value cannot be empty.
//   - "-" alone is a name.
//   - With help asked for, the names are left out, because cli takes a name beside
//     --help for a help topic. "help request" becomes "request --help".
//   - With --generate-bash-completion last, whatever is wrong or incomplete is left
//     out, and so are "--" and the names after it: seeing "--", cli would run the
//     command for real.
//
// A command without subcommands has no help command either, so that "help" and
// "h" are names there like any other; for that Arrange sets HideHelpCommand.
//
// It also settles the environment variables of the command's flags, see
// settleEnvironment, and notes in the app's Metadata which of them set a flag.
//
// Every error is a UsageError. The app's commands must agree on whether a flag of
// one name takes a value, since it may stand before the command it belongs to.
// Arrange is meant for an app that has not run yet, because Run fills in an Action
// where there was none.
func Arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return []string{app.Name}, nil
	}
	words := args[1:]
	completing := app.EnableBashCompletion && len(words) > 0 && words[len(words)-1] == completionFlag
	if completing {
		words = words[:len(words)-1]
		if end := slices.Index(words, "--"); end >= 0 {
			words = words[:end]
		}
	}

	line := read(rootCommand(app, args[0]), words)
	if last := line.last(); len(last.Subcommands) == 0 {
		last.HideHelpCommand = true
		if len(line.path) == 1 {
			app.HideHelpCommand = true
		}
	}

	flags := make([][]string, len(line.path)) // By the depth of the command they belong to.
	given := make(map[string]bool)
	help := line.help
	if help {
		flags[len(flags)-1] = []string{"--help"}
	}
	for _, flag := range line.flags {
		depth, declared := find(line.path, flag.name)
		err := line.check(flag, declared, given)
		if err == nil && flag.hasValue {
			flag.value, err = settle(primary(declared), declared, flag.value)
		}
		if err != nil {
			if completing {
				continue
			}
			return nil, err
		}
		if declared == cli.HelpFlag && flag.value != "false" {
			help = true
		}
		word := primary(declared)
		given[word] = true
		if flag.hasValue {
			word += "=" + flag.value
		}
		flags[depth] = append(flags[depth], word)
	}
	if err := line.checkNames(); err != nil && !completing {
		return nil, err
	}
	sources, err := settleEnvironment(line.path, given)
	if err != nil && !completing {
		return nil, err
	}
	app.Metadata = map[string]any{sourcesKey: sources}

	arranged := []string{args[0]}
	for depth, command := range line.path {
		if depth > 0 {
			arranged = append(arranged, command.Name)
		}
		arranged = append(arranged, flags[depth]...)
	}
	switch {
	case completing:
		return append(append(arranged, line.names...), completionFlag), nil
	case help:
		return arranged, nil
	default:
		return append(append(arranged, "--"), line.names...), nil
	}
}

// rootCommand shows the app as a command, so that every level looks alike.
func rootCommand(app *cli.App, program string) *cli.Command {
	root := &cli.Command{
		Name:            app.Name,
		Flags:           slices.Clone(app.Flags),
		Subcommands:     app.Commands,
		Action:          app.Action,
		HideHelp:        app.HideHelp,
		HideHelpCommand: app.HideHelpCommand,
	}
	if root.Name == "" {
		root.Name = filepath.Base(program)
	}
	if app.Version != "" && !app.HideVersion {
		root.Flags = append(root.Flags, cli.VersionFlag)
	}
	return root
}

// read takes the words apart. A flag that nobody declares is read as one
// without a value; it is refused once the whole path is known.
func read(root *cli.Command, words []string) *commandLine {
	line := &commandLine{path: []*cli.Command{root}}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" {
			line.names = append(line.names, words...)
			break
		}
		if word == "-" || !strings.HasPrefix(word, "-") {
			line.readName(word)
			continue
		}
		flag := givenFlag{}
		flag.typed, flag.value, flag.hasValue = strings.Cut(word, "=")
		flag.name = strings.TrimPrefix(flag.typed[1:], "-")
		if !flag.hasValue && len(words) > 0 && takesValue(line.lookAhead(flag.name)) && !line.isFlag(words[0]) {
			flag.value, flag.hasValue = words[0], true
			words = words[1:]
		}
		line.flags = append(line.flags, flag)
	}
	return line
}

func (line *commandLine) readName(word string) {
	level := line.last()
	switch next := level.Command(word); {
	case len(line.names) > 0:
		line.names = append(line.names, word)
	case isHelpCommand(level, word):
		line.help = true
	case next != nil:
		line.path = append(line.path, next)
	default:
		line.names = []string{word}
	}
}

// last is the deepest command selected so far.
func (line *commandLine) last() *cli.Command {
	return line.path[len(line.path)-1]
}

// isFlag reports whether a word is a flag that somebody declares.
func (line *commandLine) isFlag(word string) bool {
	typed, _, _ := strings.Cut(word, "=")
	name := strings.TrimPrefix(strings.TrimPrefix(typed, "-"), "-")
	return strings.HasPrefix(typed, "-") && name != "" && line.lookAhead(name) != nil
}

// lookAhead returns the flag so called of the path read so far or, because the
// subcommand may still follow, of any command below it; nil where there is none.
func (line *commandLine) lookAhead(name string) cli.Flag {
	if _, flag := find(line.path, name); flag != nil {
		return flag
	}
	return findBelow(line.last(), name)
}

// check returns what is wrong with a flag, declared being its declaration and
// given the flags before it.
func (line *commandLine) check(flag givenFlag, declared cli.Flag, given map[string]bool) error {
	switch {
	case declared == nil:
		return usageErrorf("unknown flag %s for %q; %ssee %s --help", escaped(flag.typed), line.title(), didYouMean(closestFlag(line.path, flag.name)), line.title())
	case takesValue(declared) && !flag.hasValue:
		return usageErrorf("flag %s needs a value", primary(declared))
	case takesValue(declared) && flag.value == "":
		return usageErrorf("flag %s has an empty value; leave the flag out if it is not meant", primary(declared))
	case given[primary(declared)] && !isRepeatable(declared):
		return usageErrorf("flag %s was given twice", primary(declared))
	default:
		return nil
	}
}

// checkNames refuses a first name that cli would look up as a subcommand, which
// it does even after "--", and one that should have been a subcommand.
func (line *commandLine) checkNames() error {
	level := line.last()
	if len(line.names) == 0 || len(level.Subcommands) == 0 {
		return nil
	}
	name := line.names[0]
	if level.Command(name) != nil || isHelpCommand(level, name) {
		return usageErrorf("%q is a command of %q and cannot be a name; see %s --help", name, line.title(), line.title())
	}
	meant := closestCommand(level, name)
	switch {
	case meant == "" && declaredBy(level, name) != nil && len(name) > 1:
		meant = "--" + name
	case meant == "" && level.Action != nil && !line.help:
		return nil
	}
	if meant != "" {
		meant = line.title() + " " + meant
	}
	full := ""
	if run := level.Command("run"); run != nil && level.Action != nil && !line.help {
		full = fmt.Sprintf("; for an instance of that name: %s run %s", line.title(), escaped(name))
	}
	return usageErrorf("unknown command %q for %q; %ssee %s --help%s", name, line.title(), didYouMean(meant), line.title(), full)
}

// didYouMean is the part of a sentence that suggests what was probably meant.
func didYouMean(meant string) string {
	if meant == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s? ", meant)
}

// title is the path as it is typed: "getbooks request".
func (line *commandLine) title() string {
	var names []string
	for _, command := range line.path {
		names = append(names, command.Name)
	}
	return strings.Join(names, " ")
}

// isHelpCommand says whether the word is the help command that cli adds to a
// level that has subcommands.
func isHelpCommand(level *cli.Command, word string) bool {
	if len(level.Subcommands) == 0 || level.HideHelp || level.HideHelpCommand {
		return false
	}
	own := level.Command(word)
	return (word == "help" || word == "h") && (own == nil || own.Name == "help")
}

// find returns the flag so called of the last command on the path, or --help or
// --version of any, and its depth.
func find(path []*cli.Command, name string) (int, cli.Flag) {
	for depth, command := range slices.Backward(path) {
		flag := declaredBy(command, name)
		if depth == len(path)-1 && flag != nil || flag != nil && flag == cli.VersionFlag {
			return depth, flag
		}
	}
	return 0, nil
}

// flagsOf are all flags that a path's last command takes, but --version.
func flagsOf(path []*cli.Command) []cli.Flag {
	flags := slices.Clone(path[len(path)-1].Flags)
	if !path[len(path)-1].HideHelp {
		flags = append(flags, cli.HelpFlag)
	}
	return flags
}

func findBelow(command *cli.Command, name string) cli.Flag {
	for _, below := range command.Subcommands {
		if flag := declaredBy(below, name); flag != nil {
			return flag
		}
		if flag := findBelow(below, name); flag != nil {
			return flag
		}
	}
	return nil
}

func declaredBy(command *cli.Command, name string) cli.Flag {
	for _, flag := range command.Flags {
		if slices.Contains(flag.Names(), name) {
			return flag
		}
	}
	if !command.HideHelp && slices.Contains(cli.HelpFlag.Names(), name) {
		return cli.HelpFlag
	}
	return nil
}

func takesValue(flag cli.Flag) bool {
	documented, ok := flag.(cli.DocGenerationFlag)
	return ok && documented.TakesValue()
}

// isRepeatable says whether the flag collects the values of all its uses.
func isRepeatable(flag cli.Flag) bool {
	slice, ok := flag.(cli.DocGenerationSliceFlag)
	return ok && slice.IsSliceFlag()
}

// primary is the flag's declared name, not an alias, as people type it.
func primary(flag cli.Flag) string {
	name := flag.Names()[0]
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// escaped makes a word safe to print, as %q does, but without its quotes.
func escaped(word string) string {
	quoted := strconv.Quote(word)
	return quoted[1 : len(quoted)-1]
}

func usageErrorf(format string, values ...any) error {
	return UsageError{Message: fmt.Sprintf(format, values...)}
}
