// Command mutants breaks one guarantee of the library at a time, in a copy of the
// project, and shows which of the test suites notices, and how soon. A suite that
// never goes red proves nothing when it is green.
//
//	go run ./proof/mutants -only fence,limit -suites scripts,simulation
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/library/internal/document"

	"golang.org/x/sync/errgroup"
)

// A suite is a set of tests that is run as one.
type suite struct {
	name     string
	packages []string
	skip     string // tests that look at the source and not at what it does; a pattern
}

// suites are from the quickest to the slowest.
var suites = []suite{
	{"scripts", []string{"./scripts"}, "^Test(Every(Call|Header|Script|Line)|NothingIs(Unused|DoneBefore)|ASharedFile|AScriptFits|ALineOf|EachPermission|AnOpenList)"},
	{"packages", []string{"./worker", "./lending", "./shelving", "./redisconn", "./library", "./audit"}, ""},
	{"simulation", []string{"./proof/simulation"}, "^TestEveryCommandThat"},
	{"programs", []string{"./cmd/..."}, ""},
	{"chaos", []string{"./proof/chaos"}, ""},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, w io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	only := flags.String("only", "", "the mutants to make, by their short names, with commas; default: all")
	with := flags.String("suites", "", "the suites to run, with commas; default: all")
	first := flags.Bool("first", false, "go on to the next mutant when a suite has caught one")
	write := flags.String("write", "", "a Markdown file whose table is replaced by this run's")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(mutants, *only, func(m mutant) string { return m.name })
	if err != nil {
		return err
	}
	running, err := choose(suites, *with, func(s suite) string { return s.name })
	if err != nil {
		return err
	}
	root, err := output(ctx, ".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	lab, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(lab)

	// What is red without any mutant shows nothing.
	whole := filepath.Join(lab, "whole")
	if err := copyProject(ctx, root, whole, nil); err != nil {
		return err
	}
	for _, s := range running {
		caught, err := s.catches(ctx, whole)
		if err != nil {
			return err
		}
		if caught != nil {
			return fmt.Errorf("the suite %s is red without a mutant: %s", s.name, caught.test)
		}
		fmt.Fprintf(os.Stderr, "%s is green without a mutant\n", s.name)
	}

	var rows []row
	var escaped []string
	for _, m := range chosen {
		dir := filepath.Join(lab, m.name)
		if err := copyProject(ctx, root, dir, m.edits); err != nil {
			return fmt.Errorf("mutant %s: %w", m.name, err)
		}
		r := row{mutant: m, verdicts: make([]*verdict, len(running))}
		for i, s := range running {
			caught, err := s.catches(ctx, dir)
			if err != nil {
				return fmt.Errorf("mutant %s: suite %s: %w", m.name, s.name, err)
			}
			r.verdicts[i] = caught
			fmt.Fprintf(os.Stderr, "%s: %s: %s\n", m.name, s.name, caught)
			if caught != nil && *first {
				break
			}
		}
		if !slices.ContainsFunc(r.verdicts, func(v *verdict) bool { return v != nil }) {
			escaped = append(escaped, m.name)
		}
		rows = append(rows, r)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	text := table(running, rows)
	fmt.Fprint(w, text)
	if *write != "" {
		if err := document.Replace(*write, "mutants", text); err != nil {
			return err
		}
	}
	if len(escaped) > 0 {
		return fmt.Errorf("nothing noticed %s", strings.Join(escaped, ", "))
	}
	return nil
}

// choose picks those of all that are named.
func choose[T any](all []T, names string, name func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var chosen []T
	for wanted := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == wanted })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q", wanted)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// A verdict tells how a suite noticed a mutant.
type verdict struct {
	test  string
	after time.Duration // since the suite began
}

func (v *verdict) String() string {
	if v == nil {
		return "noticed nothing"
	}
	return fmt.Sprintf("noticed after %s, by %s", v.after.Round(100*time.Millisecond), v.test)
}

// catches runs a suite and tells what goes red first; nil if all is green. What
// does not even build is an error: that would be no mutant.
func (s suite) catches(ctx context.Context, dir string) (*verdict, error) {
	build := append([]string{"test", "-count=1", "-run", "^$"}, s.packages...)
	if _, err := output(ctx, dir, "go", build...); err != nil {
		return nil, err
	}
	// A test that hangs must end, too.
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-count=1", "-failfast", "-timeout", "4m", "-skip", s.skip}, s.packages...)...)
	command.Dir = dir
	// What the tests start is in the same group, and ends with it. What they leave in
	// their temporary folder is deleted.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.Cancel = end
	left, err := shortFolder()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(left)
	command.Env = append(os.Environ(), "TMPDIR="+left)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := command.Start(); err != nil {
		return nil, err
	}
	var caught *verdict
	for lines := bufio.NewReader(stdout); ; {
		line, err := lines.ReadBytes('\n')
		var event struct{ Action, Package, Test string }
		if json.Unmarshal(line, &event) == nil && event.Action == "fail" && caught == nil {
			test := event.Test
			if test == "" {
				test = event.Package
			}
			caught = &verdict{test, time.Since(begun)}
			_ = end()
		}
		if err != nil {
			break
		}
	}
	err = command.Wait()
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !errors.As(err, &ended), err != nil && caught == nil:
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	return caught, nil
}

// shortFolder makes a temporary folder whose name is as short as can be, for Unix
// sockets in it may have a path of 108 bytes only.
func shortFolder() (string, error) {
	for n := 0; ; n++ {
		name := filepath.Join(os.TempDir(), fmt.Sprint("m", n))
		if err := os.Mkdir(name, 0o700); !errors.Is(err, os.ErrExist) {
			return name, err
		}
	}
}

// copyProject copies what is in the project's repository, or would be, and makes
// the edits in the copy.
func copyProject(ctx context.Context, root, dir string, edits []edit) error {
	names, err := output(ctx, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(16)
	for name := range strings.SplitSeq(strings.TrimRight(names, "\x00"), "\x00") {
		group.Go(func() error {
			info, err := os.Stat(filepath.Join(root, name))
			if errors.Is(err, os.ErrNotExist) {
				return nil // it was deleted, but that is not committed yet
			}
			if err != nil {
				return err
			}
			text, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				return err
			}
			to := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			return os.WriteFile(to, text, info.Mode().Perm())
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, e := range edits {
		if err := e.apply(dir); err != nil {
			return err
		}
	}
	return nil
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = dir
	var stderr bytes.Buffer
	command.Stderr = &stderr
	text, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, text, stderr.String())
	}
	return strings.TrimRight(string(text), "\n"), nil
}
