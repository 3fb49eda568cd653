package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// A row is a mutant and what each suite said of it.
type row struct {
	mutant   mutant
	verdicts []*verdict
}

// table shows the rows in Markdown.
func table(suites []suite, rows []row) string {
	var text strings.Builder
	text.WriteString("| what is broken |")
	for _, s := range suites {
		text.WriteString(" " + s.name + " |")
	}
	text.WriteString("\n|---|" + strings.Repeat("--:|", len(suites)) + "\n")
	for _, r := range rows {
		text.WriteString("| " + r.mutant.broken + " |")
		for _, v := range r.verdicts {
			if v == nil {
				text.WriteString(" – |")
			} else {
				fmt.Fprintf(&text, " %.1f s |", v.after.Round(100*time.Millisecond).Seconds())
			}
		}
		text.WriteString("\n")
	}
	return text.String()
}

const (
	tableBegins = "<!-- mutants -->\n"
	tableEnds   = "<!-- /mutants -->\n"
)

// replaceTable puts a table between the marks in a file.
func replaceTable(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %q and %q for the table", path, strings.TrimSpace(tableBegins), strings.TrimSpace(tableEnds))
	}
	return os.WriteFile(path, []byte(before+tableBegins+"\n"+table+"\n"+tableEnds+after), 0o644)
}
