package cli

import (
	"fmt"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/urfave/cli/v2"
)

// ManPageCommand is a hidden subcommand that prints the app's manual page, made from
// the help of the app and its commands: getbooks man-page | man -l -
func ManPageCommand(section int) *cli.Command {
	return &cli.Command{
		Name: "man-page", Hidden: true, HideHelp: true, Usage: "print the manual page",
		Action: func(c *cli.Context) error {
			if _, err := Names(c, 0, 0); err != nil {
				return err
			}
			_, err := c.App.Writer.Write(manPage(c.App, section))
			return err
		},
	}
}

func manPage(app *cli.App, number int) []byte {
	var text strings.Builder
	root := newPage(app)
	fmt.Fprintf(&text, "%% %s %d\n\n# NAME\n\n%s - %s\n\n# SYNOPSIS\n\n", app.Name, number, app.Name, markdown(root.usage))
	for _, line := range root.synopsis {
		fmt.Fprintf(&text, "%s\n\n", markdown(line))
	}
	text.WriteString("# DESCRIPTION\n\n")
	root.describe(&text)
	text.WriteString("# COMMANDS\n\n")
	var topics []*page
	var visit func([]*cli.Command)
	visit = func(commands []*cli.Command) {
		for _, command := range commands {
			p := newPage(command)
			switch {
			case p.isTopic:
				topics = append(topics, p)
			case !command.Hidden && command.Name != "help":
				fmt.Fprintf(&text, "## %s\n\n", markdown(p.synopsis[0]))
				fmt.Fprintf(&text, "%s.\n\n", markdown(sentence(p.usage)))
				p.describe(&text)
				visit(command.Subcommands)
			}
		}
	}
	visit(app.Commands)
	for _, topic := range topics {
		_, name, _ := strings.Cut(topic.name, " ")
		fmt.Fprintf(&text, "# %s\n\n%s\n\n", strings.ToUpper(name), markdown(topic.synopsis[0]))
		topic.describe(&text)
	}
	fmt.Fprintf(&text, "# EXIT STATUS\n\n%s.\n", markdown(sentence(exitCodes)))
	return md2man.Render([]byte(text.String()))
}

// describe writes a page's description and flags as Markdown.
func (p *page) describe(text *strings.Builder) {
	for _, block := range p.body {
		for _, example := range block.examples {
			text.WriteString(strings.TrimRight("    "+example.term+"  "+example.text, " ") + "\n")
		}
		text.WriteString(markdown(block.paragraph) + "\n\n")
	}
	for _, section := range p.flags {
		for _, row := range section.rows {
			fmt.Fprintf(text, "**%s**\n: %s\n\n", markdown(row.term), markdown(row.text))
		}
	}
}

// sentence begins with a capital.
func sentence(words string) string { return strings.ToUpper(words[:1]) + words[1:] }

// markdown escapes what means something in Markdown.
func markdown(text string) string {
	return markdownEscapes.Replace(text)
}

var markdownEscapes = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `[`, `\[`, `]`, `\]`, `<`, `\<`, `>`, `\>`, `#`, `\#`, `|`, `\|`, `~`, `\~`,
)
