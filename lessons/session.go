package lessons

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stepPatience is how long a command of a lesson may take.
const stepPatience = 2 * time.Minute

// A Session is a shell, in a folder of its own, that runs a lesson's commands one after the
// other. What they leave running ends with it.
type Session struct {
	dir    string
	server *exec.Cmd // its redis-server; nil for none
	shell  *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	mark   string // ends a command's output
}

// Begin begins a session. programs is the folder of lendingd and getbooks. If port is 0,
// the session has a redis-server of its own; else a server is there.
func Begin(ctx context.Context, programs string, port int) (*Session, error) {
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		return nil, errors.New("a lesson looks into Redis with redis-cli, which is not on PATH; install it with: apt-get install redis-tools")
	}
	dir, err := os.MkdirTemp("", "lesson-")
	if err != nil {
		return nil, err
	}
	s := &Session{dir: dir, mark: rand.Text()}
	address, where := fmt.Sprintf("localhost:%d", port), fmt.Sprintf("-p %d", port)
	if port == 0 {
		socket := filepath.Join(dir, "redis.sock")
		address, where = "unix://"+socket, "-s "+socket
		if err := s.serve(ctx, socket); err != nil {
			s.End()
			return nil, err
		}
	}
	// The pages say redis-cli, as if the server were at the usual port. Where they start a
	// server themselves, they say -p.
	err = os.Mkdir(filepath.Join(dir, "bin"), 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bin", "redis-cli"), fmt.Appendf(nil, redisCLI, cli, cli, where), 0o700)
	}
	if err == nil {
		err = s.start(programs, address)
	}
	if err != nil {
		s.End()
		return nil, err
	}
	return s, nil
}

// redisCLI shows answers as at a terminal.
const redisCLI = `#!/bin/sh
case " $* " in
*" -p "*) exec '%s' --no-raw "$@" ;;
esac
exec '%s' --no-raw %s "$@"
`

// serve starts a redis-server.
func (s *Session) serve(ctx context.Context, socket string) error {
	s.server = exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "yes", "--dir", s.dir)
	ownGroup(s.server)
	if err := s.server.Start(); err != nil {
		s.server = nil
		return fmt.Errorf("start a redis-server for the lesson: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	for again := time.NewTicker(10 * time.Millisecond); ; {
		if exec.CommandContext(ctx, "redis-cli", "-s", socket, "PING").Run() == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("start a redis-server for the lesson: it does not answer at %s", socket)
		}
	}
}

// start starts the shell.
func (s *Session) start(programs, address string) error {
	s.shell = exec.Command("sh")
	s.shell.Dir = s.dir
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "LENDING_") || strings.HasPrefix(setting, "LENDING_TIMEOUT=") {
			s.shell.Env = append(s.shell.Env, setting)
		}
	}
	path := strings.Join([]string{filepath.Join(s.dir, "bin"), programs, os.Getenv("PATH")}, string(filepath.ListSeparator))
	s.shell.Env = append(s.shell.Env, "LENDING_ADDRESS="+address, "PATH="+path)
	ownGroup(s.shell)
	var err error
	if s.stdin, err = s.shell.StdinPipe(); err != nil {
		return err
	}
	stdout, err := s.shell.StdoutPipe()
	if err != nil {
		return err
	}
	s.stdout = bufio.NewReader(stdout)
	s.shell.Stderr = s.shell.Stdout
	if err := s.shell.Start(); err != nil {
		s.shell = nil
		return fmt.Errorf("start a shell for the lesson: %w", err)
	}
	return nil
}

// Run runs a command and returns what it prints.
func (s *Session) Run(ctx context.Context, command string) (string, error) {
	if _, err := fmt.Fprintf(s.stdin, "{ %s\n} </dev/null; printf '\\n%%s\\n' %s\n", command, s.mark); err != nil {
		return "", err
	}
	type answer struct {
		output string
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		var output strings.Builder
		for {
			line, err := s.stdout.ReadString('\n')
			if line == s.mark+"\n" || err != nil {
				answered <- answer{strings.TrimSuffix(output.String(), "\n"), err}
				return
			}
			output.WriteString(line)
		}
	}()
	select {
	case a := <-answered:
		return a.output, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(stepPatience):
		return "", fmt.Errorf("it did not end within %s", stepPatience)
	}
}

// End ends the shell, the server and all that they started, and removes the folder.
func (s *Session) End() {
	for _, process := range []*exec.Cmd{s.shell, s.server} {
		if process != nil {
			endGroup(process)
			_ = process.Wait() // it was killed
		}
	}
	_ = os.RemoveAll(s.dir)
}
