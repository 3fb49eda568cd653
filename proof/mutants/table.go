package main

import (
	"fmt"
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
