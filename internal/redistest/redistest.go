// Package redistest gives tests throwaway Redis servers and the faults that
// services meet in real life.
//
// Start runs a real redis-server of the test's own; Embedded runs a miniredis
// inside the test binary; Each runs one test on both, so that a difference
// between the two is found by us and not by a user. StartCluster runs a Redis
// Cluster of real servers. A Server can be killed, started again and paused. A
// Proxy stands between a client and a Server and loses commands, replies and
// connections.
//
// Everything a test starts ends with the test, and the real servers end with
// the test binary even if that is killed.
package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/expiry"
	"example.com/library/internal/patience"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// startWithin is how long a server may take until it answers.
const startWithin = patience.Long

// A Server is a redis-server process that listens on a Unix socket only, so
// that no two tests can meet on a port.
//
// Kill, Restart, Pause and Resume are for one goroutine at a time; the other
// methods may be called from any.
type Server struct {
	binary string
	dir    string
	args   []string
	env    []string // added to the environment

	process *os.Process
	exited  chan struct{} // closed when the process has ended and was waited for
}

// Start runs a redis-server and returns once it answers. It keeps nothing on
// disk unless args say so; args are redis-server's own and come last, so they
// win over the defaults. The server is killed and its files are removed when
// the test ends.
//
// A test that restarts a server and needs every acknowledged write back asks
// for "--appendonly", "yes", "--appendfsync", "always": with Redis's usual
// "everysec" a write may be answered before it has reached the file.
//
// Without a redis-server to run, the test is skipped; where CI=true it fails,
// because there nobody would notice what was left out.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartWith(t, nil, args...)
}

// StartWith is Start with env added to the server's environment.
func StartWith(t testing.TB, env []string, args ...string) *Server {
	t.Helper()
	s := &Server{binary: lookUp(t), env: env}

	// A Unix socket's path must fit in 108 bytes (104 on macOS), which
	// t.TempDir, being made from the test's name, often does not.
	parent := os.TempDir()
	if len(parent) > 60 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "redis-")
	if err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	s.dir = dir
	t.Cleanup(func() {
		s.end()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the files of redis-server: %v", err)
		}
	})

	s.args = append(s.args, "--port", "0", "--save", "", "--appendonly", "no", "--dir", dir)
	s.args = append(s.args, args...)
	s.args = append(s.args, "--unixsocket", s.Path())
	s.start(t)
	return s
}

// lookUp returns the path of the redis-server to run, or ends the test.
func lookUp(t testing.TB) string {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err == nil {
		return binary
	}
	const missing = "redis-server is not on PATH; install it with `apt-get install redis-server` or `brew install redis`"
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s needs a real Redis server, but %s", t.Name(), missing)
	}
	t.Skipf("%s needs a real Redis server and is left out, because %s", t.Name(), missing)
	return ""
}

// Dir returns the folder in which the server keeps its files.
func (s *Server) Dir() string { return s.dir }

// Path returns the path of the server's Unix socket. It stays the same when
// the server is started again.
func (s *Server) Path() string { return filepath.Join(s.dir, "redis.sock") }

// URL returns the server's address in the form that redis.ParseURL and the
// programs' --address take: unix:///tmp/redis-1234/redis.sock.
func (s *Server) URL() string { return "unix://" + s.Path() }

// Client returns a client of the server, which is closed when the test ends.
// It never repeats a command or a dial by itself, so a test sees every fault,
// and its calls end when their context does.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	return connect(t, "unix", s.Path())
}

// Kill ends the server as a crash or the kernel's out-of-memory killer would,
// with SIGKILL, and returns when the process is gone. Killing a server that
// is dead already does nothing.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end()
}

// Stop ends the server as an operator would, with SIGTERM, and returns when the
// process is gone.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stop redis-server: %v", err)
	}
	select {
	case <-s.exited:
	case <-time.After(startWithin):
		t.Fatalf("stop redis-server: it did not end in %v; its log:\n%s", startWithin, s.log())
	}
}

// Restart starts a killed or stopped server again, in the same directory and with the
// same arguments, and returns once it answers. A server that is still reading
// its files replies LOADING to everything; that does not count as an answer.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	select {
	case <-s.exited:
	default:
		t.Fatal("restart redis-server: it is still running; kill it first")
	}
	s.start(t)
}

// Pause stops the server in its tracks with SIGSTOP: connections stay open
// and nothing is answered. It returns when every thread of it stands still.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	if err := s.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatalf("pause redis-server: %v", err)
	}
	if err := waitUntilStopped(s.process.Pid); err != nil {
		t.Fatalf("pause redis-server: %v", err)
	}
}

// Resume lets a paused server go on, and it answers what has waited.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	if err := s.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatalf("resume redis-server: %v", err)
	}
}

// forks takes functions to run on one thread that lives as long as the
// process. Linux sends a child its parent-death signal when the thread that
// forked it ends, and the Go runtime ends threads as it likes, so a server
// forked from a test's own thread might die in the middle of a test.
var forks = sync.OnceValue(func() chan<- func() {
	forks := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fork := range forks {
			fork()
		}
	}()
	return forks
})

// start runs the process and waits until it answers.
func (s *Server) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "redis.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	defer log.Close()

	command := exec.Command(s.binary, s.args...)
	command.Env = append(os.Environ(), s.env...)
	command.Stdout = log
	command.Stderr = log
	command.SysProcAttr = dieWithParent()

	started := make(chan error)
	forks() <- func() { started <- command.Start() }
	if err := <-started; err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	s.process = command.Process
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		// How it ended is told by ProcessState, and every end we cause is
		// an "error" to Wait.
		_ = command.Wait()
		close(exited)
	}()

	deadline := time.Now().Add(startWithin)
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		err := ping(s.Path(), deadline)
		if err == nil {
			return
		}
		select {
		case <-exited:
			t.Fatalf("start redis-server %q: it ended with %v; its log:\n%s", s.args, command.ProcessState, s.log())
		case <-again.C:
		}
		if time.Now().After(deadline) {
			t.Fatalf("start redis-server %q: no answer in %v: %v; its log:\n%s", s.args, startWithin, err, s.log())
		}
	}
}

// end kills the process, if there is one, and waits for it. A stopped process
// can be killed too.
func (s *Server) end() {
	if s.process == nil {
		return
	}
	// The one possible error says that the process has ended already.
	_ = s.process.Kill()
	<-s.exited
}

// log returns what the server has printed, for a message about a failure.
func (s *Server) log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "redis.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ping returns nil if a server at path answers and is ready to serve. A server
// that asks for a password is ready; one that says LOADING is not.
func ping(path string, deadline time.Time) error {
	connection, err := net.DialTimeout("unix", path, time.Until(deadline))
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := connection.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH") {
		return nil
	}
	return fmt.Errorf("ping: answered %q", answer)
}

// Embedded returns a client of a new miniredis, the Redis server in Go that
// `lendingd --embedded` runs. Its keys expire as the clock moves on. Client
// and server end with the test.
func Embedded(t testing.TB) *redis.Client {
	t.Helper()
	server := miniredis.RunT(t)
	t.Cleanup(expiry.Run(server, 5*time.Millisecond))
	return connect(t, "tcp", server.Addr())
}

// Each runs f as two subtests, "redis" and "embedded", each with a client of
// a server of its own, so that what f shows holds for both.
func Each(t *testing.T, f func(t *testing.T, rdb *redis.Client)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) { f(t, Start(t).Client(t)) })
	t.Run("embedded", func(t *testing.T) { f(t, Embedded(t)) })
}

// connect returns a client that hides nothing and says nothing of its own:
// no retries, and no commands on connecting but the necessary.
func connect(t testing.TB, network, address string) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{
		Network:                  network,
		Addr:                     address,
		MaxRetries:               -1,
		DialerRetries:            1,
		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() {
		if err := rdb.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			t.Errorf("close the client: %v", err)
		}
	})
	return rdb
}
