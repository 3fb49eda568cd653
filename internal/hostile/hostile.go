// Package hostile helps tests that hand programs what nobody should send them.
package hostile

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/library/internal/cli"

	urfave "github.com/urfave/cli/v2"
)

// Texts are what has tripped programs before: control characters, such that turn
// text around or do not show, broken UTF-8, and what means something to JSON, to Lua,
// to a shell or to Redis.
var Texts = []string{
	"", "geb", "\x1b[2J\x1b]0;mine\a", "a\u202eb\u2066c", "\u009b31m", "\u061c\u200f", "two\nlines\r\tand a tab", "\x00", "\x7f",
	"\xff\xc3\x28", "\u2028\u2029", "\U000e0041\ue000\ufffd", "\ufeff", strings.Repeat("\u202e", 300), strings.Repeat("x", 300),
	`["geb"]`, `[["r1","geb"]]`, `[["r1","\u202e"]]`, `["\u001b[2J"]`, `{"outcome":"rejected"}`, `"]}`, `\`, `null`, `[[[[`, `%s%d %1`,
	`{other}:lending:loans`, `*`, `..`, `--`, `-1`, `9223372036854775807`, `1e999`, `unix://:open@/x`,
}

// Unprintable is the first character of a text that may not reach a terminal or a log:
// one that controls it, turns text around, or is no character. Lines end with line
// feeds, and a program's own tables and help may have tabs. It is -1 if there is none.
func Unprintable(text string) rune {
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 || r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return r
		}
	}
	return -1
}

// Run runs a program in this process, until it ends, has printed the word last, or the
// time is up. It returns what it printed on both outputs, and its exit code.
func Run(t *testing.T, most time.Duration, program *urfave.App, last string, args ...string) (output, errors string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stderr := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = stderr }()
	written := &untilWord{word: last, found: cancel}
	program.Writer, program.ErrWriter = written, file
	code = cli.Run(ctx, program, append([]string{program.Name}, args...))
	told, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return written.String(), string(told), code
}

// An untilWord keeps what is written and tells when a word was.
type untilWord struct {
	bytes.Buffer
	word  string
	found func()
}

func (w *untilWord) Write(text []byte) (int, error) {
	if w.word != "" && bytes.Contains(text, []byte(w.word)) {
		w.found()
	}
	return w.Buffer.Write(text)
}

// WantShown wants a program to have ended with an exit code that there is, and to have
// printed nothing but what prints.
func WantShown(t *testing.T, args []string, output string, code int) {
	t.Helper()
	if code < cli.ExitDone || code > cli.ExitUnknown {
		t.Errorf("%q ended with code %d", args, code)
	}
	if r := Unprintable(output); r >= 0 {
		t.Errorf("%q printed %q, which holds %U", args, output, r)
	}
}
