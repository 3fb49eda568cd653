package museum

import (
	"context"
	"fmt"
	"io"
	"strings"

	"example.com/library/internal/cli"
)

// Report tells in lines of text what was found, for a terminal or a page.
func (v *Verdict) Report() string {
	var text strings.Builder
	for _, finding := range v.Audit {
		fmt.Fprintf(&text, "✗ the audit: %s\n", finding)
	}
	for _, complaint := range v.Desk {
		fmt.Fprintf(&text, "✗ the desk: %s\n", complaint)
	}
	if v.Clean() {
		text.WriteString("✓ nothing is wrong\n")
	}
	return text.String()
}

// WritePage plays every exhibit and writes docs/museum.md.
func WritePage(ctx context.Context, w io.Writer) error {
	page := &strings.Builder{}
	page.WriteString(pageHead)
	for n, e := range Exhibits {
		fmt.Fprintf(page, "%d. [%s](#%s)\n", n+1, e.Title, anchor(e.Title))
	}
	for _, e := range Exhibits {
		fmt.Fprintf(page, "\n## %s\n\n`lendingd museum %s` · [source](../lessons/museum/%s)\n\n%s\n\nSeen in the wild:\n\n", e.Title, e.Name, e.file(), wrapped(e.What))
		for _, seen := range e.Seen {
			repository, number, _ := strings.Cut(seen.Issue, "#")
			page.WriteString(wrapped(fmt.Sprintf("- [%s](https://github.com/%s/issues/%s): %s.", seen.Issue, repository, number, seen.Told)) + "\n")
		}
		codes, err := e.Difference()
		if err != nil {
			return err
		}
		for _, code := range codes {
			for _, part := range [][2]string{{"Wrong", code.Wrong}, {"Right", code.Right}} {
				if part[1] != "" {
					fmt.Fprintf(page, "\n%s:\n\n```%s\n%s\n```\n", part[0], code.Language, part[1])
				}
			}
		}
		fmt.Fprintf(page, "\n%s\n", wrapped("**Predict.** "+e.Predict))
		for _, wrong := range []bool{true, false} {
			var story strings.Builder
			verdict, err := e.Play(ctx, &story, wrong)
			if err != nil {
				return err
			}
			fmt.Fprintf(page, "\n%s\n\n```text\n%s%s```\n", map[bool]string{true: "With the wrong one:", false: "With the right one, in the same story:"}[wrong], story.String(), verdict.Report())
		}
		fmt.Fprintf(page, "\n%s\n", wrapped(fmt.Sprintf("**Keep.** %s *Read:* %s.", e.Keep, e.Read)))
	}
	_, err := io.WriteString(w, page.String())
	return err
}

const pageHead = `<!-- Made by "make museum" from lessons/museum; a test compares. -->

# The museum of mistakes

After this page you know sixteen famous mistakes with streams, locks and retries: how each looks, why it looks right, where it
happened to others, and what is left of a library in which it is made. Each is a few lines beside the lines that are right. Read
the question, predict the answer, and go on. ` + "`lendingd museum`" + ` lists them, and ` + "`lendingd museum NAME`" + ` plays one in your terminal;
it needs no Redis.

Each story is played on a server of its own whose clock stands still, so it ends the same way every time. In the end *the audit* compares
every key with the log, and *the desk* asks whether each wish of a user was decided exactly once.

`

// anchor is how a page links to a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-':
			return '-'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(title))
}

// wrapped divides a paragraph into lines of the documents' width.
func wrapped(text string) string { return strings.Join(cli.Wrap(text, 128), "\n") }
