// Package programtest runs the project's programs as real processes, for tests.
package programtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/patience"
)

// Patience is how long a test waits for something that should come soon.
const Patience = patience.Long

// Main is a TestMain: it runs the tests with lendingd and getbooks on PATH, built
// with the race detector if the test has it, and with these settings for them in
// place of those of whoever runs the tests. A setting is a NAME=value.
func Main(m *testing.M, settings ...string) {
	code, err := buildAndRun(m, settings)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M, settings []string) (code int, err error) {
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "LENDING_") {
			os.Unsetenv(name)
		}
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		os.Setenv(name, value)
	}
	// A program built with the race detector would sleep for a second before it exits.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	// Who was started by nohup ignores SIGHUP, and so would the programs. A signal that is
	// caught here is at its default in them.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	programs, err := os.MkdirTemp("", "programs-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(programs)
	args := []string{"build", "-o", programs + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	output, err := exec.Command("go", append(args, "example.com/library/cmd/...")...).CombinedOutput()
	if err != nil {
		return 1, fmt.Errorf("build the programs: %w\n%s", err, output)
	}
	os.Setenv("PATH", programs+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return m.Run(), nil
}

// A Process is a program that runs in the background. What it prints on standard
// output and standard error is kept.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	output bytes.Buffer
	wrote  chan struct{} // closed and made anew whenever there is more output
}

// Start runs a program with env added to the environment. It is killed at the end
// of the test, if it still runs.
func Start(t testing.TB, env []string, program string, args ...string) *Process {
	t.Helper()
	p, err := Run(env, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s %q printed:\n%s", filepath.Base(program), args, p.Output())
		}
	})
	return p
}

// Run runs a program like Start, and leaves it to the caller to Kill it.
func Run(env []string, program string, args ...string) (*Process, error) {
	p := &Process{name: filepath.Base(program), cmd: exec.Command(program, args...), done: make(chan struct{}), wrote: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.done)
	}()
	return p, nil
}

// Write keeps what the process prints.
func (p *Process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.wrote)
	p.wrote = make(chan struct{})
	return p.output.Write(text)
}

// Output is all that the process printed so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Await waits until the output matches a pattern.
func (p *Process) Await(pattern string) error {
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	deadline := time.After(Patience)
	for {
		p.mu.Lock()
		wrote, matched := p.wrote, expression.Match(p.output.Bytes())
		p.mu.Unlock()
		if matched {
			return nil
		}
		select {
		case <-wrote:
		case <-p.done:
			if expression.MatchString(p.Output()) {
				return nil
			}
			return fmt.Errorf("%s ended with code %d before it printed %q; it printed:\n%s", p.name, p.cmd.ProcessState.ExitCode(), pattern, p.Output())
		case <-deadline:
			return fmt.Errorf("%s did not print %q within %s; it printed:\n%s", p.name, pattern, Patience, p.Output())
		}
	}
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(signal syscall.Signal) error { return p.cmd.Process.Signal(signal) }

// Wait waits until the process has ended and returns its exit code; -1 if a
// signal ended it.
func (p *Process) Wait() (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(Patience):
		return 0, fmt.Errorf("%s did not end within %s; it printed:\n%s", p.name, Patience, p.Output())
	}
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// Get asks a program that serves by HTTP for a page.
func Get(t testing.TB, url string) (code int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(patience.Deadline(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}
