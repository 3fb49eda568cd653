package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/charmbracelet/x/term"
	"github.com/mattn/go-runewidth"
	"github.com/urfave/cli/v2"
)

// A page is the help for a program, a command or a topic, apart from how it is shown:
// as text (this file) or as a part of a manual page (man.go).
type page struct {
	name, usage string
	synopsis    []string
	body        []block
	commands    []row
	flags       []section
	note        string // where to read on
	isTopic     bool
}

// A block is one paragraph of a description, or some examples.
type block struct {
	paragraph string
	examples  []row
}

// A row is a term and what is to be said of it.
type row struct{ term, text string }

// A section is a group of flags.
type section struct {
	title string
	rows  []row
}

// connectionCategory is the category of the flags that are explained once, in the topic
// that has their name.
const connectionCategory = "Connection"

// newPage makes the page for an app or a command, which is what cli hands a HelpPrinter.
func newPage(data any) *page {
	command, ok := data.(*cli.Command)
	if !ok {
		app := data.(*cli.App)
		command = &cli.Command{
			HelpName: cmp.Or(app.HelpName, app.Name), Usage: app.Usage, UsageText: app.UsageText, ArgsUsage: app.ArgsUsage,
			Description: app.Description, Subcommands: app.Commands, Flags: app.Flags,
		}
		if len(app.Commands) > 0 {
			command.Flags = nil // the commands have them
		}
	}
	p := &page{name: command.HelpName, usage: command.Usage, body: readBlocks(command.Description), isTopic: isTopic(command)}
	program, _, _ := strings.Cut(p.name, " ")
	p.synopsis = strings.Split(command.UsageText, "\n")
	if command.UsageText == "" {
		p.synopsis = []string{strings.TrimSpace(p.name + " [flags] " + command.ArgsUsage)}
	}
	for i := range p.synopsis {
		p.synopsis[i] = strings.TrimSpace(p.synopsis[i])
	}
	for _, below := range command.Subcommands {
		if !below.Hidden && below.Name != "help" {
			p.commands = append(p.commands, row{strings.Join(below.Names(), ", "), below.Usage})
		}
	}
	for _, flag := range command.Flags {
		if visible, ok := flag.(cli.VisibleFlag); !ok || !visible.IsVisible() || flag == cli.HelpFlag {
			continue
		}
		category := ""
		if categorized, ok := flag.(cli.CategorizableFlag); ok {
			category = categorized.GetCategory()
		}
		if category == connectionCategory && !p.isTopic {
			p.note = fmt.Sprintf("Where Redis is and who connects: %s help %s.", program, connectionTopic)
			continue
		}
		i := slices.IndexFunc(p.flags, func(s section) bool { return s.title == category })
		if i < 0 {
			i, p.flags = len(p.flags), append(p.flags, section{title: category})
		}
		p.flags[i].rows = append(p.flags[i].rows, describeFlag(flag.(cli.DocGenerationFlag)))
	}
	if p.name == program && len(p.commands) > 0 {
		p.note = fmt.Sprintf("The flags of a command: %s help COMMAND. Where Redis is and who connects: %s help %s.", program, program, connectionTopic)
	}
	return p
}

// describeFlag tells a flag's names and the name of its value; and its use, its default
// and its environment variable.
func describeFlag(flag cli.DocGenerationFlag) row {
	usage, value := flag.GetUsage(), ""
	if parts := strings.SplitN(usage, "`", 3); len(parts) == 3 {
		usage, value = strings.Join(parts, ""), " "+parts[1]
	}
	var names []string
	for _, name := range flag.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		names = append(names, dashes+name)
	}
	if text := flag.GetDefaultText(); text != "" && flag.TakesValue() {
		if _, ok := flag.(*cli.DurationFlag); ok {
			text = zeroUnits.ReplaceAllString(text, "$1") // 24h0m0s is 24h
		}
		usage += " (default: " + strings.Trim(text, `"`) + ")"
	}
	for _, variable := range flag.GetEnvVars() {
		usage += " [$" + variable + "]"
	}
	return row{strings.Join(names, ", ") + value, usage}
}

var zeroUnits = regexp.MustCompile(`([hm])(0m)?0s$`)

// exampleGap is between an example and what is said of it.
var exampleGap = regexp.MustCompile(`\s{2,}`)

// readBlocks takes a description apart. An empty line ends a paragraph, and a line that
// is indented is an example.
func readBlocks(description string) []block {
	var blocks []block
	inside := false
	for line := range strings.Lines(description) {
		text := strings.TrimSpace(line)
		indented := strings.HasPrefix(line, "   ")
		if text == "" {
			inside = false
			continue
		}
		if !inside || indented != (blocks[len(blocks)-1].examples != nil) {
			blocks, inside = append(blocks, block{}), true
		}
		last := &blocks[len(blocks)-1]
		if indented {
			parts := append(exampleGap.Split(text, 2), "")
			last.examples = append(last.examples, row{parts[0], parts[1]})
		} else {
			last.paragraph = strings.TrimSpace(last.paragraph + " " + text)
		}
	}
	return blocks
}

const indent = 3

// text shows a page in lines of at most so many columns, but for an example, which
// can be copied only as it is.
func (p *page) text(width int) string {
	var text strings.Builder
	write := func(column int, words string) {
		for _, line := range Wrap(words, width-column) {
			text.WriteString(strings.Repeat(" ", column) + line + "\n")
		}
	}
	title := func(words string) {
		if text.Len() > 0 {
			text.WriteByte('\n')
		}
		write(0, words)
	}
	rows := func(rows []row) {
		left := 0
		for _, row := range rows {
			left = max(left, runewidth.StringWidth(row.term))
		}
		right := indent + left + 2
		for _, row := range rows {
			pad := strings.Repeat(" ", indent)
			switch lines := Wrap(row.text, width-right); {
			case row.text == "":
				text.WriteString(pad + row.term + "\n")
			case width-right < 24: // too narrow for two columns
				text.WriteString(pad + row.term + "\n")
				write(2*indent, row.text)
			default:
				text.WriteString(pad + runewidth.FillRight(row.term, left) + "  " + strings.Join(lines, "\n"+strings.Repeat(" ", right)) + "\n")
			}
		}
	}

	title(p.name + " - " + p.usage)
	title("USAGE:")
	for _, line := range p.synopsis {
		write(indent, line)
	}
	for i, block := range p.body {
		// Examples follow the paragraph that announces them.
		if i == 0 || block.examples == nil {
			text.WriteByte('\n')
		}
		if block.examples != nil {
			rows(block.examples)
		} else {
			write(0, block.paragraph)
		}
	}
	if len(p.commands) > 0 {
		title("COMMANDS:")
		rows(p.commands)
	}
	for _, section := range p.flags {
		title(strings.ToUpper(cmp.Or(section.title, "flags")) + ":")
		rows(section.rows)
	}
	if !p.isTopic {
		title("EXIT CODES:")
		write(indent, exitCodes)
	}
	if p.note != "" {
		title(p.note)
	}
	return text.String()
}

// exitCodes says what those of both programs mean.
const exitCodes = "0 all done, 1 something is broken, 2 usage: nothing was sent, 3 denied or refused, 4 partly, 5 not known in time"

// Wrap divides words into lines of at most so many columns, but for a longer word.
func Wrap(words string, columns int) []string {
	var lines []string
	for word := range strings.FieldsSeq(words) {
		last := len(lines) - 1
		if last < 0 || runewidth.StringWidth(lines[last])+1+runewidth.StringWidth(word) > columns {
			lines = append(lines, word)
		} else {
			lines[last] += " " + word
		}
	}
	return lines
}

const (
	columnsUsual = 80  // where the output is no terminal
	columnsMax   = 100 // longer lines are hard to read
)

func init() {
	cli.HelpPrinter = func(w io.Writer, _ string, data any) {
		columns := columnsUsual
		if o, ok := w.(*output); ok && o.to == os.Stdout {
			if width, _, err := term.GetSize(os.Stdout.Fd()); err == nil && width > 0 {
				columns = min(width, columnsMax)
			}
		}
		_, _ = io.WriteString(w, newPage(data).text(columns)) // Run notices an error
	}
}

// connectionTopic is the help topic about the connection flags.
const connectionTopic = "connection"

// ConnectionTopic makes what "help connection" shows. It is a hidden command, so that it
// is found where the others are.
func ConnectionTopic(flags []cli.Flag) *cli.Command {
	return &cli.Command{
		Name: connectionTopic, Hidden: true, Flags: flags, Action: cli.ShowSubcommandHelp,
		Usage:     "how to say where Redis is, and who connects",
		UsageText: "Every command that connects takes these flags.",
		Description: `What is the same each time is best set by the environment variable that stands in
brackets. A flag counts more than its variable, and a variable that is set but empty
counts as not set. A password on the command line can be seen by others: give it by
LENDING_PASSWORD or --password-file. With --password-dir each program connects as its
own user, see lendingd acl --help.

Examples:
   export LENDING_ADDRESS=redis://cellar:6379
   getbooks card user1 -a localhost:6380
   lendingd --library main,north -a cellar:6379,attic:6379 worker1
   lendingd --cluster -a node1:7001 worker1`,
	}
}

func isTopic(command *cli.Command) bool { return command.Name == connectionTopic }
