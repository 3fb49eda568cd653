package scripts_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A header is what a script says of itself before its code.
type header struct {
	file  string
	title string   // the first line
	keys  []slot   // the numbered KEYS
	args  []slot   // the numbered ARGV
	tails []string // the open ends: KEYS[10...], ARGV[11...]
	rest  string   // the type of the keys past the numbered ones; "" if there are none
	words []string // the first words of the paragraph on what comes back
	body  []string // the lines of code
}

// A slot is one of KEYS or ARGV.
type slot struct{ number, name, kind string }

var (
	keyLine  = regexp.MustCompile(`^-- KEYS\[(\d+)\] +(\w+) +([A-Z]+)( |$)`)
	argLine  = regexp.MustCompile(`^-- ARGV\[(\d+)\] +(\w+) `)
	tailLine = regexp.MustCompile(`^-- ((?:KEYS|ARGV)\[\d+)\.\.\.\] `)
	restKind = regexp.MustCompile(`^-- KEYS\[.*\(([A-Z]+) .*\)$`)
	slotLine = regexp.MustCompile(`^-- (KEYS|ARGV)\[`)
	wordLine = regexp.MustCompile(`^-- ([A-Z][a-z]+) +\S`)
)

// headers reads all scripts.
func headers(t *testing.T) []header {
	t.Helper()
	var all []header
	for _, file := range scriptFiles(t) {
		all = append(all, readHeader(t, file, strings.Split(source(t, file), "\n")))
	}
	return all
}

func scriptFiles(t *testing.T) []string { return must(filepath.Glob("*.lua"))(t) }
func sharedFiles(t *testing.T) []string { return must(filepath.Glob("shared/*.lua"))(t) }

func source(t *testing.T, file string) string {
	t.Helper()
	return string(must(os.ReadFile(file))(t))
}

func readHeader(t *testing.T, file string, lines []string) header {
	t.Helper()
	h := header{file: file, title: lines[0]}
	for i, line := range lines {
		if !strings.HasPrefix(line, "--") {
			h.body = lines[i:]
			break
		}
		if key := keyLine.FindStringSubmatch(line); key != nil {
			h.keys = append(h.keys, slot{key[1], key[2], key[3]})
		} else if arg := argLine.FindStringSubmatch(line); arg != nil {
			h.args = append(h.args, slot{arg[1], arg[2], ""})
		} else if tail := tailLine.FindStringSubmatch(line); tail != nil {
			h.tails = append(h.tails, tail[1])
			if kind := restKind.FindStringSubmatch(line); kind != nil {
				h.rest = kind[1]
			}
		} else if slotLine.MatchString(line) {
			t.Errorf("%s: cannot read %q", file, line)
		} else if word := wordLine.FindStringSubmatch(line); word != nil && len(h.args) > 0 {
			h.words = append(h.words, word[1])
		}
	}
	return h
}

func TestEveryHeaderSaysWhatItsScriptTakesAndGives(t *testing.T) {
	kinds := []string{"STRING", "HASH", "SET", "STREAM"}
	for _, h := range headers(t) {
		t.Run(h.file, func(t *testing.T) {
			if want := "-- " + h.file + " "; !strings.HasPrefix(h.title, want) {
				t.Errorf("it begins with %q, want %q", h.title, want)
			}
			for i, key := range h.keys {
				if key.number != fmt.Sprint(i+1) || !slices.Contains(kinds, key.kind) {
					t.Errorf("KEYS[%s] %s is a %q and stands in place %d", key.number, key.name, key.kind, i+1)
				}
			}
			for i, arg := range h.args {
				if arg.number != fmt.Sprint(i+1) {
					t.Errorf("ARGV[%s] %s stands in place %d", arg.number, arg.name, i+1)
				}
			}
			if diff := cmp.Diff([]string{"Returns", "Emits", "Faults"}, h.words); diff != "" {
				t.Errorf("paragraphs after the arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryScriptBeginsWithItsHeadersNamesInOrder(t *testing.T) {
	for _, h := range headers(t) {
		t.Run(h.file, func(t *testing.T) {
			var want, got []string
			for _, key := range h.keys {
				want = append(want, fmt.Sprintf("local %s = KEYS[%s]", key.name, key.number))
			}
			for _, arg := range h.args {
				want = append(want, fmt.Sprintf("local %s = ARGV[%s]", arg.name, arg.number))
			}
			numbers := regexp.MustCompile(`tonumber\((ARGV\[\d+\])\)`)
			rest := h.body
			for len(rest) > 0 && rest[0] != "" {
				got = append(got, numbers.ReplaceAllString(rest[0], "$1"))
				rest = rest[1:]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("first lines of code (-want +got):\n%s", diff)
			}
			for _, line := range rest {
				if found := regexp.MustCompile(`(KEYS|ARGV)\[\d`).FindString(line); found != "" {
					t.Errorf("%q is in the code past its first lines: %s", found, line)
				}
			}
		})
	}
}

func TestAnOpenListBeginsWhereTheNumberedSlotsEnd(t *testing.T) {
	for _, h := range headers(t) {
		code := strings.Join(h.body, "\n")
		for _, tail := range h.tails {
			count := len(h.args)
			if strings.HasPrefix(tail, "KEYS") {
				count = len(h.keys)
			}
			if want := fmt.Sprint(tail[:5], count+1); tail != want {
				t.Errorf("%s: the header has %s...], want %s...]", h.file, tail, want)
			}
			if !regexp.MustCompile(fmt.Sprintf(`[ ,(]%d\b`, count+1)).MatchString(code) {
				t.Errorf("%s: the header has %s...], but the number is not in the code", h.file, tail)
			}
		}
	}
}

func TestEveryScriptHasAVariableOfItsNameAndEveryVariableAScript(t *testing.T) {
	parsed, err := parser.ParseFile(token.NewFileSet(), "scripts.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) == 0 {
			return true
		}
		if call, ok := spec.Values[0].(*ast.CallExpr); ok && isLoad(call) {
			got = append(got, spec.Names[0].Name+" "+call.Args[0].(*ast.BasicLit).Value)
		}
		return true
	})
	for _, h := range headers(t) {
		name := strings.TrimSuffix(h.file, ".lua")
		want = append(want, fmt.Sprintf("%s%s %q", strings.ToUpper(name[:1]), name[1:], name))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables (-files +scripts.go):\n%s", diff)
	}
}

func isLoad(call *ast.CallExpr) bool {
	called, ok := call.Fun.(*ast.Ident)
	return ok && called.Name == "load"
}
