// Package lessons has ten lessons, each a page and what it has its reader do. The page is
// the script: its console blocks are run, by a reader at a terminal (lendingd lesson) as by
// the tests, and what they print must be what the page says.
package lessons

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed */README.md
var pages embed.FS

// A Lesson is one page.
type Lesson struct {
	Number int
	Title  string
	Parts  []Part
	// NeedsServer says that it must be a redis-server that serves it, and not a server in memory.
	NeedsServer bool
}

// A Part is a paragraph, a list or a block to read; or, if Command is not empty, a command
// to run.
type Part struct {
	Text    string
	Block   bool // Text keeps its lines
	Ask     bool // the reader should stop here and think
	Command string
	// Output is what the command prints. … stands for any text within a line, and a line
	// that is … for any lines.
	Output string
}

// All are the lessons, in their order.
func All() ([]Lesson, error) {
	paths, err := fs.Glob(pages, "*/README.md")
	if err != nil {
		return nil, err
	}
	var all []Lesson
	for _, path := range paths {
		number, _, _ := strings.Cut(path, "-")
		n, err := strconv.Atoi(number)
		if err != nil {
			continue // it is no lesson
		}
		text, err := pages.ReadFile(path)
		if err != nil {
			return nil, err
		}
		lesson := Read(string(text))
		if lesson.Number = n; n != len(all)+1 {
			return nil, fmt.Errorf("%s comes after lesson %d", path, len(all))
		}
		all = append(all, lesson)
	}
	return all, nil
}

// needsServer stands in a page whose lesson needs a redis-server.
const needsServer = "<!-- needs redis-server -->"

// Read takes a page apart.
func Read(page string) Lesson {
	lesson := Lesson{NeedsServer: strings.Contains(page, needsServer)}
	for n, block := range strings.Split(page, "\n```") {
		language, text, _ := strings.Cut(block, "\n")
		switch {
		case n%2 == 0 && n == 0:
			title, rest, _ := strings.Cut(block, "\n")
			lesson.Title = strings.TrimLeft(title, "# ")
			lesson.prose(rest)
		case n%2 == 0:
			lesson.prose(text)
		case language == "console":
			lesson.console(text)
		default:
			lesson.Parts = append(lesson.Parts, Part{Text: text, Block: true})
		}
	}
	return lesson
}

var (
	link     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	emphasis = regexp.MustCompile(`\*(\pL[^*\n]*)\*`)
)

// prose reads paragraphs, as they are read in a terminal.
func (l *Lesson) prose(text string) {
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		paragraph = strings.TrimSpace(link.ReplaceAllString(strings.ReplaceAll(paragraph, needsServer, ""), "$1"))
		part := Part{Text: emphasis.ReplaceAllString(strings.NewReplacer("**", "", "`", "").Replace(paragraph), "$1"), Ask: strings.HasPrefix(paragraph, "**Predict.**")}
		part.Block = strings.HasPrefix(paragraph, "|") || strings.HasPrefix(paragraph, "- ") || strings.HasPrefix(paragraph, "#")
		if strings.HasPrefix(paragraph, "#") {
			part.Text = strings.ToUpper(strings.TrimLeft(part.Text, "# "))
		}
		if part.Text != "" {
			l.Parts = append(l.Parts, part)
		}
	}
}

// console reads commands and what they print.
func (l *Lesson) console(text string) {
	for line := range strings.Lines(text + "\n") {
		if command, is := strings.CutPrefix(line, "$ "); is {
			l.Parts = append(l.Parts, Part{Command: strings.TrimSpace(command)})
		} else if last := &l.Parts[len(l.Parts)-1]; last.Command != "" && (line != "\n" || last.Output != "") {
			last.Output += line
		}
	}
	last := &l.Parts[len(l.Parts)-1]
	last.Output = strings.TrimSuffix(last.Output, "\n\n") // the fence's own
	if last.Output != "" && !strings.HasSuffix(last.Output, "\n") {
		last.Output += "\n"
	}
}

// Prints reports whether an output is what the page says.
func (p Part) Prints(output string) bool {
	var expression strings.Builder
	for line := range strings.Lines(p.Output) {
		line = strings.TrimSuffix(line, "\n")
		if line == "…" {
			expression.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		expression.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", `[^\n]*?`) + `\n`)
	}
	return regexp.MustCompile(`\A` + expression.String() + `\z`).MatchString(output)
}
