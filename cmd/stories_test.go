// Package cmd_test tells stories of both programs, as their users live them.
//
// A story is a script in testdata/stories, run by testscript: once against the
// server inside lendingd --embedded, once against a real redis-server. Beside
// testscript's own commands (https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript)
// it has those in commands, below.
package cmd_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/go-logfmt/logfmt"
	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"
)

// The stories read the workers' logs as people do at a terminal.
func TestMain(m *testing.M) { programtest.Main(m, "LENDING_LOG_FORMAT=text") }

func TestStories(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		tell(t, "embedded", stories(t), func(s *story, env *testscript.Env) redisconn.Options {
			return redisconn.Options{Address: "localhost:" + env.Getenv("PORT")}
		})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		tell(t, "redis", stories(t), func(s *story, env *testscript.Env) redisconn.Options {
			server := redistest.Start(s)
			env.Setenv("SOCKET", server.Path())
			return redisconn.Options{Address: server.URL()}
		})
	})
}

// stories are the files of all stories but those left out.
func stories(t *testing.T, leftOut ...string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "stories", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	return slices.DeleteFunc(files, func(file string) bool {
		return slices.Contains(leftOut, strings.TrimSuffix(filepath.Base(file), ".txtar"))
	})
}

// tell tells stories on a kind of server, whose words are conditions in them; serve
// prepares one for a story, and says how to reach it.
func tell(t *testing.T, server string, files []string, serve func(*story, *testscript.Env) redisconn.Options) {
	t.Helper()
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			testscript.RunT(alone{t}, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error {
					return begin(env, server == "embedded", serve)
				},
				Condition:          func(condition string) (bool, error) { return slices.Contains(strings.Fields(server), condition), nil },
				Cmds:               commands,
				RequireUniqueNames: true,
				Deadline:           time.Now().Add(2 * programtest.Patience), // for a program that should have ended by itself
			})
		})
	}
}

// alone runs a story as the test that it is given. A deadline of testscript's counts from
// before the stories wait for their turn, and is one for all of them.
type alone struct{ *testing.T }

func (t alone) Run(_ string, story func(testscript.T)) { story(t) }
func (alone) Parallel()                                {}
func (alone) Verbose() bool                            { return testing.Verbose() }

// A story is what its commands share.
type story struct {
	testing.TB
	env       []string // for the programs it starts
	embedded  bool     // the first lendingd it starts must serve Redis too
	rdb       redis.UniversalClient
	processes map[string]*programtest.Process
}

// begin prepares a story. LENDING_ADDRESS is the server under test, SOCKET the real
// server's path, PORT a port of the story's own; the other variables are characters
// that would be unreadable in a script.
func begin(env *testscript.Env, embedded bool, serve func(*story, *testscript.Env) redisconn.Options) error {
	s := &story{TB: env.T().(testing.TB), embedded: embedded, processes: map[string]*programtest.Process{}}
	env.Setenv("PORT", strconv.FormatInt(freePort(s), 10))
	options := serve(s, env)
	rdb, err := redisconn.Connect(options)
	if err != nil {
		return err
	}
	env.Defer(func() { rdb.Close() })
	s.rdb = rdb
	s.env = append(s.env, "LENDING_ADDRESS="+cmp.Or(options.Address, strings.Join(options.Addresses, ",")))
	if options.Cluster {
		s.env = append(s.env, "LENDING_CLUSTER=true")
	}
	env.Vars = append(append(env.Vars, s.env...), "LENDING_TIMEOUT="+programtest.Patience.String(),
		"ESC=\x1b", "INVALID=\xff", "C1=\u009b", "COMBINING_ACUTE=\u0301", "HANGUL_FILLER=\u3164", "NO_BREAK_SPACE=\u00a0", "LONG="+strings.Repeat("b", library.NameBytesMax))
	env.Values["story"] = s
	return nil
}

// portNext counts through ports below those that systems hand out by
// themselves, so that no client's own port is in the way.
var portNext atomic.Int64

func init() { portNext.Store(10000 + rand.Int64N(20000)) }

func freePort(t testing.TB) int64 {
	for range 100 {
		port := portNext.Add(1)
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no free port among a hundred")
	return 0
}

type command = func(ts *testscript.TestScript, neg bool, args []string)

var commands = map[string]command{
	// server: make sure that the server outlives every worker of the story. Without
	// it, an embedded server is a part of the first lendingd started.
	"server": story0(func(ts *testscript.TestScript, s *story) {
		if s.embedded {
			s.start("server", "lendingd", "--library", "elsewhere", "keeper")
			ts.Check(s.processes["server"].Await("serving"))
		}
	}),

	// start NAME PROGRAM ARGS…: run a program in the background.
	"start": storyN(2, func(ts *testscript.TestScript, s *story, args []string) {
		s.start(args[0], args[1], args[2:]...)
	}),

	// await NAME REGEXP: wait until a started program's output matches.
	"await": storyN(2, func(ts *testscript.TestScript, s *story, args []string) {
		ts.Check(s.process(ts, args[0]).Await(args[1]))
	}),

	// output NAME: what a started program printed so far, on stdout and stderr, for stdout's assertions.
	"output": storyN(1, func(ts *testscript.TestScript, s *story, args []string) {
		fmt.Fprint(ts.Stdout(), s.process(ts, args[0]).Output())
	}),

	// signal NAME SIGNAL…: send signals to a started program.
	"signal": storyN(2, func(ts *testscript.TestScript, s *story, args []string) {
		for _, name := range args[1:] {
			signal, known := map[string]syscall.Signal{
				"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP, "SIGKILL": syscall.SIGKILL, "SIGSTOP": syscall.SIGSTOP, "SIGCONT": syscall.SIGCONT,
			}[name]
			if !known {
				ts.Fatalf("unknown signal %s", name)
			}
			ts.Check(s.process(ts, args[0]).Signal(signal))
		}
	}),

	// ended NAME CODE: wait until a started program has ended, with that exit code; -1 after SIGKILL.
	"ended": storyN(2, func(ts *testscript.TestScript, s *story, args []string) {
		code, err := s.process(ts, args[0]).Wait()
		ts.Check(err)
		if got, want := strconv.Itoa(code), args[1]; got != want {
			ts.Fatalf("%s ended with code %s, want %s", args[0], got, want)
		}
	}),

	// code N PROGRAM ARGS…: run a program, which must end with that exit code.
	"code": storyN(2, func(ts *testscript.TestScript, s *story, args []string) {
		if got, want := strconv.Itoa(run(ts, args[1:])), args[0]; got != want {
			ts.Fatalf("exit code %s, want %s", got, want)
		}
	}),

	// givesup REGEXP PROGRAM ARGS…: run a program whose --timeout is short. It ends with exit
	// code 5, and what it prints matches. It is repeated until it does: on a busy machine its
	// time may be over before it has come as far as the story wants.
	"givesup": storyN(2, func(ts *testscript.TestScript, s *story, args []string) {
		repeat(ts, args[0], func() (string, bool) {
			code := run(ts, args[1:])
			return ts.ReadFile("stdout") + ts.ReadFile("stderr"), code == 5
		})
	}),

	// redis COMMAND ARGS…: send a command to the server; its reply is on stdout, a value a line.
	"redis": storyN(1, func(ts *testscript.TestScript, s *story, args []string) {
		reply, err := s.ask(args)
		ts.Check(err)
		fmt.Fprint(ts.Stdout(), reply)
	}),

	// eventually REGEXP PROGRAM ARGS…: repeat a program, or redis, until it succeeds and its stdout matches.
	"eventually": storyN(2, eventually),

	// shows FILE: the last stdout is the file's content, in which … stands for any
	// text within a line, and a line that is … for any lines.
	"shows": storyN(1, func(ts *testscript.TestScript, s *story, args []string) {
		got, want := ts.ReadFile("stdout"), ts.ReadFile(args[0])
		if !regexp.MustCompile(`\A` + pattern(want) + `\z`).MatchString(got) {
			ts.Fatalf("stdout is:\n%s\nwant:\n%s", got, want)
		}
	}),

	// harmless: the last stdout and stderr hold nothing that could disturb a terminal.
	"harmless": story0(func(ts *testscript.TestScript, s *story) {
		for _, name := range []string{"stdout", "stderr"} {
			if text := ts.ReadFile(name); !utf8.ValidString(text) || strings.ContainsFunc(text, disturbs) {
				ts.Fatalf("%s holds what does not print: %q", name, text)
			}
		}
	}),

	// parses json|logfmt: every line of the last stdout is a log line in that format.
	"parses": storyN(1, func(ts *testscript.TestScript, s *story, args []string) {
		for line := range strings.Lines(ts.ReadFile("stdout")) {
			fields, err := parseLog(args[0], line)
			if err != nil {
				ts.Fatalf("%q is no %s: %v", line, args[0], err)
			}
			for _, name := range []string{"time", "level", "msg"} {
				if fields[name] == nil || fields[name] == "" {
					ts.Fatalf("%q has no %s", line, name)
				}
			}
		}
	}),
}

// storyN makes a command that takes at least so many arguments and cannot be negated.
func storyN(argsMin int, run func(*testscript.TestScript, *story, []string)) command {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < argsMin {
			ts.Fatalf("used wrongly: at least %d arguments, and no !", argsMin)
		}
		run(ts, ts.Value("story").(*story), args)
	}
}

func story0(run func(*testscript.TestScript, *story)) command {
	return storyN(0, func(ts *testscript.TestScript, s *story, _ []string) { run(ts, s) })
}

func (s *story) start(name, program string, args ...string) {
	env := s.env
	if s.embedded && s.processes["server"] == nil && program == "lendingd" {
		env = append(slices.Clip(env), "LENDING_EMBEDDED=true")
	}
	process := programtest.Start(s, env, program, args...)
	s.processes[name] = process
	if program == "lendingd" && s.processes["server"] == nil {
		s.processes["server"] = process
	}
}

func (s *story) process(ts *testscript.TestScript, name string) *programtest.Process {
	process := s.processes[name]
	if process == nil {
		ts.Fatalf("no program was started under the name %s", name)
	}
	return process
}

// run runs a program for stdout's and stderr's assertions and returns its exit code.
func run(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

// ask sends a command to the server under test, of a Cluster to the one that has the
// library main, and shows the reply.
func (s *story) ask(args []string) (string, error) {
	words := make([]any, len(args))
	for i, arg := range args {
		words[i] = arg
	}
	ctx, cancel := context.WithTimeout(context.Background(), programtest.Patience)
	defer cancel()
	master, err := redisconn.Master(ctx, s.rdb, keys)
	if err != nil {
		return "", err
	}
	reply, err := master.Do(ctx, words...).Result()
	if errors.Is(err, redis.Nil) {
		return "(nil)\n", nil
	}
	if err != nil {
		return "", fmt.Errorf("redis %q: %w", args, err)
	}
	return shown(reply), nil
}

func shown(reply any) string {
	switch reply := reply.(type) {
	case []any:
		text := ""
		for _, value := range reply {
			text += shown(value)
		}
		return text
	case map[any]any:
		var lines []string
		for name, value := range reply {
			lines = append(lines, fmt.Sprintf("%v: %s", name, shown(value)))
		}
		slices.Sort(lines)
		return strings.Join(lines, "")
	default:
		return fmt.Sprintln(reply)
	}
}

func eventually(ts *testscript.TestScript, s *story, args []string) {
	output := repeat(ts, args[0], func() (string, bool) {
		if args[1] == "redis" {
			reply, err := s.ask(args[2:])
			return reply, err == nil
		}
		code := run(ts, args[1:])
		return ts.ReadFile("stdout"), code == 0
	})
	fmt.Fprint(ts.Stdout(), output)
}

// repeat repeats something until it ends as it should and its output matches, and returns
// the output.
func repeat(ts *testscript.TestScript, pattern string, try func() (output string, ended bool)) string {
	want, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	for deadline := time.Now().Add(programtest.Patience); ; time.Sleep(50 * time.Millisecond) {
		output, ended := try()
		if ended && want.MatchString(output) {
			return output
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q did not come within %s; last:\n%s", pattern, programtest.Patience, output)
		}
	}
}

func disturbs(r rune) bool {
	return r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// pattern is a regular expression for a text with … in it.
func pattern(text string) string {
	expression := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "…" {
			expression += `(?:[^\n]*\n)*?`
			continue
		}
		expression += strings.ReplaceAll(regexp.QuoteMeta(line), "…", `[^\n]*?`) + `\n`
	}
	return expression
}

func parseLog(format, line string) (map[string]any, error) {
	fields := map[string]any{}
	if format == "json" {
		return fields, json.Unmarshal([]byte(line), &fields)
	}
	decoder := logfmt.NewDecoder(bytes.NewBufferString(line))
	for decoder.ScanRecord() {
		for decoder.ScanKeyval() {
			fields[string(decoder.Key())] = string(decoder.Value())
		}
	}
	return fields, decoder.Err()
}

// What README.md shows between <!-- session --> and <!-- /session --> is true.
func TestReadmeSession(t *testing.T) { walk(t, "README.md") }

// So is what docs/api.md shows.
func TestAPISession(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("docs/api.md needs curl, which is not on PATH")
	}
	walk(t, "docs/api.md")
}

// walk runs the session of a document. Its ports may be in use here, so it runs at others.
// What serves in a terminal of its own is make run, which does what the Makefile does once
// the programs are built, or a command that ends with &.
func walk(t *testing.T, file string) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	steps := readSession(string(text))
	if len(steps) == 0 {
		t.Fatalf("%s has no session", file)
	}
	env := []string{fmt.Sprintf("LENDING_ADDRESS=localhost:%d", freePort(t))}
	page := fmt.Sprintf("localhost:%d", freePort(t))
	code := 0 // of the command before, for a session that shows it by echo $?
	for _, step := range steps {
		process := (*programtest.Process)(nil)
		line, serves := strings.CutSuffix(strings.ReplaceAll(step.line, "localhost:8080", page), " &")
		if step.line == "make run" {
			line, serves = makeRun(t), true
		}
		if serves {
			process = programtest.Start(t, env, "sh", "-c", "exec "+line)
			err = process.Await(`\A` + pattern(step.output))
		} else {
			process = programtest.Start(t, env, "sh", "-c", fmt.Sprintf("(exit %d); %s", code, line))
			code, err = process.Wait()
		}
		if err != nil {
			t.Fatalf("$ %s: %v", step.line, err)
		}
		if got := process.Output(); !serves && !regexp.MustCompile(`\A`+pattern(step.output)+`\z`).MatchString(got) {
			t.Errorf("$ %s\nprinted:\n%s\n%s says:\n%s", step.line, got, file, step.output)
		}
	}
}

// makeRun returns the command by which make run starts the library, with its page at a
// port that is free.
func makeRun(t *testing.T) string {
	makefile, err := os.ReadFile(filepath.Join("..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^run: build .*\n\tbin/(lendingd .*)$`).FindSubmatch(makefile)
	if command == nil {
		t.Fatal("the Makefile has no rule run that starts bin/lendingd")
	}
	return strings.Replace(string(command[1]), "$(or $(HTTP),localhost:8080)", "localhost:0", 1)
}

// A step is a command of a session, and what it prints.
type step struct{ line, output string }

var (
	sessions = regexp.MustCompile(`(?s)<!-- session -->(.*?)<!-- /session -->`)
	consoles = regexp.MustCompile("(?s)\n```console\n(.*?)```")
)

func readSession(text string) []step {
	var steps []step
	for _, session := range sessions.FindAllStringSubmatch(text, -1) {
		for _, console := range consoles.FindAllStringSubmatch(session[1], -1) {
			for line := range strings.Lines(console[1]) {
				if command, ok := strings.CutPrefix(line, "$ "); ok {
					steps = append(steps, step{line: strings.TrimSpace(command)})
				} else if len(steps) > 0 {
					steps[len(steps)-1].output += line
				}
			}
		}
	}
	return steps
}
