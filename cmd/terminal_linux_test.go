package cmd_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"

	"github.com/mattn/go-runewidth"
	"golang.org/x/sys/unix"
)

// A terminal is a program, or a shell with several, at a terminal of its own.
type terminal struct {
	*exec.Cmd
	keyboard *os.File
	ended    chan struct{} // closed when the program has

	mu    sync.Mutex
	shown bytes.Buffer
}

// atTerminal starts a command of the shell at a terminal of so many columns.
func atTerminal(t *testing.T, columns uint16, env []string, line string) *terminal {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fd := int(keyboard.Fd())
	check(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(err)
	screen, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	check(err)
	defer screen.Close()
	check(unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
	term := &terminal{Cmd: exec.Command("sh", "-c", line), keyboard: keyboard, ended: make(chan struct{})}
	term.Env = append(append(os.Environ(), "TERM=xterm"), env...)
	term.Stdin, term.Stdout, term.Stderr = screen, screen, screen
	term.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(term.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		text := make([]byte, 4096)
		for {
			n, err := keyboard.Read(text)
			if err != nil {
				return // the last program has left the terminal
			}
			term.mu.Lock()
			term.shown.Write(text[:n])
			term.mu.Unlock()
		}
	}()
	go func() {
		_ = term.Wait() // its exit code is in ProcessState
		<-read
		close(term.ended)
	}()
	t.Cleanup(func() {
		_ = term.Process.Kill() // it may have ended already
		<-term.ended
		keyboard.Close()
		if t.Failed() {
			screen := term.screen()
			t.Logf("%s showed %.2000q", line, screen[max(0, len(screen)-2000):])
		}
	})
	return term
}

// screen is all that was shown so far.
func (term *terminal) screen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return strings.ReplaceAll(term.shown.String(), "\r\n", "\n")
}

// await waits until the screen matches a pattern.
func (term *terminal) await(t *testing.T, pattern string) {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(programtest.Patience); !expression.MatchString(term.screen()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was not shown within %s", pattern, programtest.Patience)
		}
	}
}

// wait waits for the end, and returns the exit code.
func (term *terminal) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-term.ended:
		return term.ProcessState.ExitCode()
	case <-time.After(programtest.Patience):
		t.Fatalf("it did not end within %s", programtest.Patience)
		return 0
	}
}

func TestTheFirstCtrlCEndsReadingFromTheTerminal(t *testing.T) {
	t.Parallel()
	term := atTerminal(t, 80, []string{"LENDING_ADDRESS=localhost:1"}, "exec getbooks return user1 -")
	term.await(t, "reading books from the terminal, one a line; Ctrl-D ends the list, Ctrl-C gives up")
	fmt.Fprint(term.keyboard, "geb\n\x03")
	if code := term.wait(t); code != 1 || !strings.Contains(term.screen(), "getbooks: interrupted; nothing was sent") {
		t.Errorf("it ended with code %d", code)
	}
}

func TestASpinnerIsForTheForegroundOfATerminalOnly(t *testing.T) {
	t.Parallel()
	rdb := redistest.Embedded(t)
	env := []string{"LENDING_ADDRESS=" + rdb.Options().Addr}
	worker := programtest.Start(t, env, "lendingd", "--service", "lending", "worker1")
	if err := worker.Await("serving"); err != nil {
		t.Fatal(err)
	}
	const spinner = "[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]"
	frames := regexp.MustCompile("\r\x1b\\[K\x1b\\[33m(" + spinner + ")\x1b\\[0m([^\r\n]*)")
	foreground := atTerminal(t, 30, env, "exec getbooks request user1 geb dune")
	foreground.await(t, spinner+".* 1s  2 books on the")
	for _, frame := range frames.FindAllStringSubmatch(foreground.screen(), -1) {
		if width := runewidth.StringWidth(frame[1] + frame[2]); width >= 30 {
			t.Errorf("%q takes %d columns of 30", frame[0], width)
		}
	}
	foreground.await(t, "\n?no instance runs the shelving service of library main; waiting until one does")

	// A shell that controls jobs puts a program into the background of the terminal.
	background := atTerminal(t, 80, env, "set -m; getbooks request user2 emma & wait")
	dumb := atTerminal(t, 80, append(env, "TERM=dumb"), "exec getbooks request user3 hamlet")
	for _, term := range []*terminal{background, dumb} {
		term.await(t, "no instance runs the shelving service")
	}
	programtest.Start(t, env, "lendingd", "--service", "shelving", "worker2")
	for _, term := range []*terminal{foreground, background, dumb} {
		term.await(t, "is in your hands")
		term.wait(t)
	}
	for _, term := range []*terminal{background, dumb} {
		if screen := term.screen(); regexp.MustCompile(spinner).MatchString(screen) || strings.Contains(screen, "\r") {
			t.Errorf("there was a spinner in %q", screen)
		}
	}
}

func TestALessonShowsACommandBeforeItRuns(t *testing.T) {
	t.Parallel()
	needRedis(t)
	const commandsOfLesson1 = 16
	through := atTerminal(t, 80, nil, "exec lendingd lesson 1")
	through.await(t, `export LENDING_LIBRARY=lesson-1\n\[Enter\] runs it$`)
	if screen := through.screen(); strings.Contains(screen, "all lent") || strings.Contains(screen, "Predict.") {
		t.Errorf("before Enter it shows what comes after:\n%s", screen)
	}
	for range 2 * commandsOfLesson1 {
		fmt.Fprintln(through.keyboard)
	}
	if code := through.wait(t); code != 0 || !strings.Contains(through.screen(), "Keep. A service writes its own keys") {
		t.Errorf("it ended with code %d", code)
	}
	for _, line := range []string{"lendingd lesson 1", "lendingd museum dollar"} {
		stopped := atTerminal(t, 80, nil, "exec "+line)
		stopped.await(t, `\[Enter\] `)
		fmt.Fprint(stopped.keyboard, "\x03")
		if code := stopped.wait(t); code != 1 || !strings.Contains(stopped.screen(), "lendingd: interrupted") {
			t.Errorf("%s ended with code %d after Ctrl-C", line, code)
		}
	}
}

func TestHelpIsAsWideAsTheTerminal(t *testing.T) {
	t.Parallel()
	for _, columns := range []uint16{40, 80} {
		for _, line := range []string{"getbooks --help", "getbooks request --help", "getbooks help connection", "lendingd --help", "lendingd run --help", "lendingd acl --help"} {
			term := atTerminal(t, columns, nil, "exec "+line)
			if code := term.wait(t); code != 0 {
				t.Errorf("%s ended with code %d", line, code)
			}
			for shown := range strings.Lines(term.screen()) {
				shown = strings.TrimRight(shown, "\n")
				// An example that is longer must stay as it is, to be copied.
				example := strings.HasPrefix(shown, "   ") && !strings.HasPrefix(shown, "    ")
				if runewidth.StringWidth(shown) > int(columns) && !example {
					t.Errorf("at %d columns %s shows the line %q", columns, line, shown)
				}
			}
		}
	}
}
