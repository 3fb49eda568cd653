// Package document writes what was measured into the project's documents.
package document

import (
	"fmt"
	"os"
	"strings"
)

// Replace puts a text into a Markdown file in place of what stands there between
// the lines <!-- part --> and <!-- /part -->, both of which it must have.
func Replace(path, part, text string) error {
	begin, end := "<!-- "+part+" -->", "<!-- /"+part+" -->"
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(old), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return fmt.Errorf("%s has no %s and %s to put the text between", path, begin, end)
	}
	return os.WriteFile(path, []byte(before+begin+"\n\n"+text+"\n"+end+after), 0o644)
}
