package scripts_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/library/scripts"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"
)

var (
	functionLine = regexp.MustCompile(`(?m)^local function (\w+)`)
	listedLine   = regexp.MustCompile(`(?m)^-- (\w+)  +\S`)
	slotNumber   = regexp.MustCompile(`(KEYS|ARGV)\[\d`)
)

// functions are those that a file declares, in their order.
func functions(t *testing.T, file string) []string {
	t.Helper()
	var names []string
	for _, found := range functionLine.FindAllStringSubmatch(source(t, file), -1) {
		names = append(names, found[1])
	}
	return names
}

// A shared file is safe to put before any script: it declares functions, and runs nothing.
func TestASharedFileOnlyDeclares(t *testing.T) {
	for _, file := range sharedFiles(t) {
		text := source(t, file)
		if !strings.HasSuffix(text, "\n") {
			t.Errorf("%s does not end with a newline, so the next file would go on in its last line", file)
		}
		for _, stmt := range parsed(t, file, text) {
			local, ok := stmt.(*ast.LocalAssignStmt)
			if !ok || len(local.Exprs) != 1 {
				t.Errorf("%s:%d is more than the declaration of a function", file, stmt.Line())
				continue
			}
			_, isFunction := local.Exprs[0].(*ast.FunctionExpr)
			if !isFunction && strings.Split(text, "\n")[stmt.Line()-1] != "local call = redis.call" {
				t.Errorf("%s:%d declares something that is no function", file, stmt.Line())
			}
		}
		if found := slotNumber.FindString(text); found != "" {
			t.Errorf("%s has %s: only a script's header numbers its slots", file, found)
		}
	}
}

func TestASharedFilesHeaderListsItsFunctionsInOrder(t *testing.T) {
	for _, file := range sharedFiles(t) {
		header, _, _ := strings.Cut(source(t, file), "\nlocal ")
		var got []string
		for _, found := range listedLine.FindAllStringSubmatch(header, -1) {
			got = append(got, found[1])
		}
		if diff := cmp.Diff(functions(t, file), got); diff != "" {
			t.Errorf("%s (-functions +header):\n%s", file, diff)
		}
		if want := "-- " + strings.TrimPrefix(file, "shared/") + " "; !strings.HasPrefix(header, want) {
			t.Errorf("%s does not begin with %q", file, want)
		}
	}
}

// TestNothingIsUnusedHiddenOrUndeclared reads each script's whole text as Lua does.
func TestNothingIsUnusedHiddenOrUndeclared(t *testing.T) {
	used := map[string]bool{} // functions of shared files, by any script
	for _, script := range scriptFiles(t) {
		text := scripts.Text(script)
		n := &names{t: t, script: script}
		n.block(parsed(t, script, text))
		reached := reachedFrom(t, script)
		for _, file := range scripts.Files(script) {
			uses := false
			for _, name := range functions(t, file) {
				if reached[name] {
					used[name], uses = true, true
				}
			}
			if file != script && !uses {
				t.Errorf("%s says that it uses %s, and calls none of its functions", script, file)
			}
		}
	}
	owner := map[string]string{}
	for _, file := range sharedFiles(t) {
		for _, name := range functions(t, file) {
			if owner[name] != "" {
				t.Errorf("%s is declared in %s and in %s", name, owner[name], file)
			}
			owner[name] = file
			if !used[name] {
				t.Errorf("no script calls %s of %s", name, file)
			}
		}
	}
}

// reachedFrom are the shared functions that a script calls, by itself or through others.
func reachedFrom(t *testing.T, script string) map[string]bool {
	t.Helper()
	reached := map[string]bool{}
	files := scripts.Files(script)
	calls := func(code, name string) bool { return regexp.MustCompile(`\b` + name + `\(`).MatchString(code) }
	var own func(code string)
	own = func(code string) {
		code = regexp.MustCompile(`--.*`).ReplaceAllString(code, "")
		for _, file := range files[:len(files)-1] {
			text := source(t, file)
			for _, name := range functions(t, file) {
				if !reached[name] && calls(code, name) {
					reached[name] = true
					_, body, _ := strings.Cut(text, "local function "+name)
					body, _, _ = strings.Cut(body, "\nend\n")
					_, body, _ = strings.Cut(body, "\n")
					own(body)
				}
			}
		}
	}
	own(source(t, script))
	return reached
}

func parsed(t *testing.T, file, text string) []ast.Stmt {
	t.Helper()
	return must(parse.Parse(strings.NewReader(text), file))(t)
}

// Names walks over a script, and knows which names can be seen where it is.
type names struct {
	t      *testing.T
	script string
	seen   []*name
}

type name struct {
	text string
	line int
	used bool
}

// globals are the names that Redis has for a script.
var globals = strings.Fields("redis KEYS ARGV string table math ipairs unpack tonumber error")

func (n *names) declare(text string, line int) {
	if text == "_" {
		return
	}
	if i := slices.IndexFunc(n.seen, func(s *name) bool { return s.text == text }); i >= 0 || slices.Contains(globals, text) {
		place := scripts.Locate(scripts.Text(n.script), line, nil)
		n.t.Errorf("%s, %s:%d: %s hides another of that name", n.script, place.File, place.Line, text)
	}
	n.seen = append(n.seen, &name{text: text, line: line})
}

func (n *names) use(text string, line int) {
	if i := slices.IndexFunc(n.seen, func(s *name) bool { return s.text == text }); i >= 0 {
		n.seen[i].used = true
	} else if !slices.Contains(globals, text) {
		place := scripts.Locate(scripts.Text(n.script), line, nil)
		n.t.Errorf("%s, %s:%d: %s is not declared", n.script, place.File, place.Line, text)
	}
}

// block walks over statements, in which the given names, and those they declare, are seen.
func (n *names) block(stmts []ast.Stmt, own ...string) {
	before := len(n.seen)
	for _, text := range own {
		n.declare(text, stmts[0].Line())
	}
	for _, stmt := range stmts {
		n.walk(stmt)
	}
	for _, s := range n.seen[before:] {
		place := scripts.Locate(scripts.Text(n.script), s.line, nil)
		// A shared function need not be of use to every script.
		if shared := before == 0 && place.File != n.script; !s.used && !shared {
			n.t.Errorf("%s, %s:%d: %s is never used", n.script, place.File, place.Line, s.text)
		}
	}
	n.seen = n.seen[:before]
}

func (n *names) walk(node any) {
	switch node := node.(type) {
	case *ast.IdentExpr:
		n.use(node.Value, node.Line())
	case *ast.LocalAssignStmt:
		for _, expr := range node.Exprs {
			n.walk(expr)
		}
		for _, text := range node.Names {
			n.declare(text, node.Line())
		}
	case *ast.AssignStmt: // a name that is only ever given new values is of no use
		for _, expr := range node.Rhs {
			n.walk(expr)
		}
		for _, expr := range node.Lhs {
			if ident, ok := expr.(*ast.IdentExpr); !ok || !slices.ContainsFunc(n.seen, func(s *name) bool { return s.text == ident.Value }) {
				n.walk(expr)
			}
		}
	case *ast.FunctionExpr:
		n.block(node.Stmts, node.ParList.Names...)
	case *ast.DoBlockStmt:
		n.block(node.Stmts)
	case *ast.WhileStmt:
		n.walk(node.Condition)
		n.block(node.Stmts)
	case *ast.IfStmt:
		n.walk(node.Condition)
		n.block(node.Then)
		n.block(node.Else)
	case *ast.NumberForStmt:
		for _, expr := range []ast.Expr{node.Init, node.Limit, node.Step} {
			if expr != nil {
				n.walk(expr)
			}
		}
		n.block(node.Stmts, node.Name)
	case *ast.GenericForStmt:
		for _, expr := range node.Exprs {
			n.walk(expr)
		}
		n.block(node.Stmts, node.Names...)
	default:
		n.parts(reflect.Indirect(reflect.ValueOf(node)))
	}
}

// parts walks over all that a node is made of which has no names of its own.
func (n *names) parts(value reflect.Value) {
	for i := range value.NumField() {
		field := value.Field(i)
		if !field.CanInterface() {
			continue
		}
		switch part := field.Interface().(type) {
		case ast.Expr:
			n.walk(part)
		case ast.Stmt:
			n.walk(part)
		case []ast.Expr:
			for _, expr := range part {
				n.walk(expr)
			}
		case []*ast.Field:
			for _, pair := range part {
				n.parts(reflect.ValueOf(*pair))
			}
		case []ast.Stmt:
			n.t.Errorf("line %d of %s has a kind of block that this test does not know: %T", 0, n.script, value.Interface())
		}
	}
}

// The first thing that a fenced script does is to look at its lock.
func TestNothingIsDoneBeforeTheFence(t *testing.T) {
	for _, h := range headers(t) {
		_, body, _ := strings.Cut(strings.Join(h.body, "\n"), "\n\n")
		first := regexp.MustCompile(`(?m)^[^-\s].*$`).FindString(body)
		fenced := strings.HasPrefix(first, "local fault = fenced(instance, token)")
		if want := !unfenced[strings.TrimSuffix(h.file, ".lua")]; fenced != want {
			t.Errorf("%s begins with %q; does it begin with the fence: %v, want %v", h.file, first, fenced, want)
		}
	}
}

// A script's own part stays short enough to be seen as a whole, and has three paragraphs.
func TestAScriptFitsAScreen(t *testing.T) {
	const linesMax = 90
	for _, h := range headers(t) {
		_, body, _ := strings.Cut(strings.Join(h.body, "\n"), "\n\n")
		if n := strings.Count(body, "\n"); n > linesMax {
			t.Errorf("%s has %d lines past its first names, want %d at most", h.file, n, linesMax)
		}
		var words []string
		for _, paragraph := range strings.Split(body, "\n\n") {
			word, _, _ := strings.Cut(strings.TrimPrefix(paragraph, "-- "), ".")
			words = append(words, word)
		}
		if got := strings.Join(words, ", "); got != "Read, Decide, Write" && got != "Read, Write" {
			t.Errorf("%s has the paragraphs %q, want Read, Decide, Write, or Read, Write", h.file, got)
		}
	}
}
