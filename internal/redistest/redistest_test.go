package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/patience"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

const (
	// quiet is how long a test listens for what must not happen. A fault that
	// is broken shows itself in well under a millisecond.
	quiet = 50 * time.Millisecond
)

// deadline returns a context for the calls of one test.
var deadline = patience.Deadline

// A wire is a bare connection, for tests that care what is sent and answered
// when, which a client would hide.
type wire struct {
	net.Conn
	reader *bufio.Reader
}

func dial(t *testing.T, network, address string) *wire {
	t.Helper()
	connection, err := net.DialTimeout(network, address, patience.Long)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return &wire{Conn: connection, reader: bufio.NewReader(connection)}
}

func (w *wire) send(t *testing.T, text string) {
	t.Helper()
	w.SetWriteDeadline(time.Now().Add(patience.Long))
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// wantLines reads exactly the given lines.
func (w *wire) wantLines(t *testing.T, want ...string) {
	t.Helper()
	w.SetReadDeadline(time.Now().Add(patience.Long))
	var got []string
	for range want {
		line, err := w.reader.ReadString('\n')
		if err != nil {
			t.Fatalf("after the lines %q: %v", got, err)
		}
		got = append(got, strings.TrimSuffix(line, "\r\n"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("lines (-want +got):\n%s", diff)
	}
}

// skipPast reads up to a line.
func (w *wire) skipPast(t *testing.T, line string) {
	t.Helper()
	w.SetReadDeadline(time.Now().Add(patience.Long))
	for got := ""; got != line; {
		var err error
		if got, err = w.reader.ReadString('\n'); err != nil {
			t.Fatalf("looking for %q: %v", line, err)
		}
	}
}

// wantSilence reads nothing, on a connection that stays open.
func (w *wire) wantSilence(t *testing.T) {
	t.Helper()
	w.SetReadDeadline(time.Now().Add(quiet))
	if first, err := w.reader.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read (%q, %v), want silence", first, err)
	}
}

// wantEnd reads nothing, because the other side has hung up.
func (w *wire) wantEnd(t *testing.T) {
	t.Helper()
	w.SetReadDeadline(time.Now().Add(patience.Long))
	first, err := w.reader.ReadByte()
	if err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read (%q, %v), want the end of the connection", first, err)
	}
}

// command returns a command as clients send it.
func command(args ...string) string {
	text := fmt.Sprintf("*%d\r\n", len(args))
	for _, word := range args {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	return text
}

// A verdict is a testing.TB that keeps how the test ended to itself.
type verdict struct {
	testing.TB
	skipped, failed string
}

func (v *verdict) Helper() {}
func (v *verdict) Skipf(format string, args ...any) {
	v.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (v *verdict) Fatal(args ...any) {
	v.failed = fmt.Sprint(args...)
	runtime.Goexit()
}
func (v *verdict) Fatalf(format string, args ...any) { v.Fatal(fmt.Sprintf(format, args...)) }

// judge runs f as a test that may end itself, and returns how it ended.
func judge(t *testing.T, f func(t testing.TB)) *verdict {
	v := &verdict{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(v)
	}()
	<-ended
	return v
}

func TestAStartedServerAnswersOnItsUnixSocketOnly(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	if got, want := s.URL(), "unix://"+s.Path(); got != want {
		t.Errorf("URL() = %q, want %q", got, want)
	}
	if got, limit := len(s.Path()), 104; got >= limit {
		t.Errorf("the socket's path has %d bytes, want less than %d", got, limit)
	}
	options, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if options.Network != "unix" || options.Addr != s.Path() {
		t.Errorf("URL() leads to %s %s, want unix %s", options.Network, options.Addr, s.Path())
	}
	want := map[string]string{"port": "0", "save": "", "appendonly": "no", "dir": filepath.Dir(s.Path())}
	got := map[string]string{}
	rdb := s.Client(t)
	for name := range want {
		value, err := rdb.ConfigGet(ctx, name).Result()
		if err != nil {
			t.Fatal(err)
		}
		got[name] = value[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestALongTemporaryDirectoryDoesNotMakeTheSocketsPathTooLong(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	Start(t)
}

func TestArgumentsWinOverTheDefaults(t *testing.T) {
	ctx := deadline(t)
	rdb := Start(t, "--appendonly", "yes", "--maxmemory", "50mb").Client(t)
	for name, want := range map[string]string{"appendonly": "yes", "maxmemory": "52428800"} {
		got, err := rdb.ConfigGet(ctx, name).Result()
		if err != nil {
			t.Fatal(err)
		}
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
}

func TestAServerThatAsksForAPasswordCountsAsStarted(t *testing.T) {
	s := Start(t, "--requirepass", "secret")
	err := s.Client(t).Get(deadline(t), "book").Err()
	if err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("GET = %v, want NOAUTH", err)
	}
}

func TestAServerThatCannotStartFailsTheTestAndSaysWhy(t *testing.T) {
	lookUp(t)
	began := time.Now()
	v := judge(t, func(t testing.TB) { Start(t, "--no-such-option", "1") })
	if !strings.Contains(v.failed, "exit status 1") || !strings.Contains(v.failed, "Bad directive") && !strings.Contains(v.failed, "Unresolved Configuration") {
		t.Errorf("failed with %q, want how the server ended and its log", v.failed)
	}
	if took := time.Since(began); took > startWithin/2 {
		t.Errorf("it took %v, want it to be noticed at once", took)
	}
}

func TestWithoutARedisServerTheTestIsSkippedButFailsInCI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	const missing = "redis-server is not on PATH; install it with `apt-get install redis-server` or `brew install redis`"
	start := func(t testing.TB) { Start(t) }

	t.Setenv("CI", "")
	v := judge(t, start)
	want := t.Name() + " needs a real Redis server and is left out, because " + missing
	if v.skipped != want || v.failed != "" {
		t.Errorf("skipped %q and failed %q, want skipped %q", v.skipped, v.failed, want)
	}

	t.Setenv("CI", "true")
	v = judge(t, start)
	want = t.Name() + " needs a real Redis server, but " + missing
	if v.failed != want || v.skipped != "" {
		t.Errorf("skipped %q and failed %q, want failed %q", v.skipped, v.failed, want)
	}
}

func TestTheEndOfATestEndsItsServerEvenAPausedOne(t *testing.T) {
	lookUp(t)
	var s *Server
	t.Run("a test", func(t *testing.T) {
		s = Start(t)
		s.Pause(t)
	})
	if err := syscall.Kill(s.process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("looking for the process: %v, want %v", err, syscall.ESRCH)
	}
	if _, err := os.Stat(filepath.Dir(s.Path())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking for the directory: %v, want %v", err, os.ErrNotExist)
	}
}

// The test runs itself in a child process, which starts a server and waits to
// be killed.
func TestAKilledTestBinaryTakesItsServerWithIt(t *testing.T) {
	const variable = "REDISTEST_HOLD_A_SERVER"
	if os.Getenv(variable) != "" {
		fmt.Println(Start(t).Path())
		io.Copy(io.Discard, os.Stdin)
		return
	}
	lookUp(t)
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a parent-death signal")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(binary, "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), variable+"=yes")
	child.Stderr = os.Stderr
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSpace(line)
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(path)) })
	server := dial(t, "unix", path)
	server.send(t, "PING\r\n")
	server.wantLines(t, "+PONG")
	t.Cleanup(func() { server.Write([]byte("SHUTDOWN NOSAVE\r\n")) }) // for when it lives on

	child.Process.Kill()
	child.Wait()

	server.wantEnd(t)
}

func TestTheEndOfTheThreadThatStartedAServerDoesNotEndTheServer(t *testing.T) {
	lookUp(t)
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a parent-death signal")
	}
	var s *Server
	thread := make(chan int)
	// A goroutine that ends while locked to its thread takes the thread along,
	// except the process's first thread, which never ends. So one that sits
	// there makes another and waits, which keeps that thread taken.
	var onItsOwnThread func()
	onItsOwnThread = func() {
		runtime.LockOSThread()
		if gettid() == os.Getpid() {
			ended := make(chan struct{})
			go func() { defer close(ended); onItsOwnThread() }()
			<-ended
			return
		}
		s = Start(t)
		thread <- gettid()
	}
	go onItsOwnThread()
	entry := fmt.Sprintf("/proc/self/task/%d", <-thread)
	for ctx := deadline(t); ; runtime.Gosched() {
		if _, err := os.Stat(entry); errors.Is(err, os.ErrNotExist) {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the thread does not end")
		}
	}
	server := dial(t, "unix", s.Path())
	server.send(t, "PING\r\n")
	server.wantLines(t, "+PONG")
}

func TestAKilledServerIsGoneAndARestartedOneHasItsFilesAgain(t *testing.T) {
	ctx := deadline(t)
	s := Start(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := s.Client(t)
	if err := rdb.Set(ctx, "book", "geb", 0).Err(); err != nil {
		t.Fatal(err)
	}
	open := dial(t, "unix", s.Path())

	s.Kill(t)
	s.Kill(t) // which does nothing

	open.wantEnd(t)
	if err := syscall.Kill(s.process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("looking for the process: %v, want %v", err, syscall.ESRCH)
	}
	if err := rdb.Get(ctx, "book").Err(); err == nil {
		t.Error("a killed server answers")
	}

	s.Restart(t)

	got, err := rdb.Get(ctx, "book").Result()
	if err != nil || got != "geb" {
		t.Errorf("GET book = %q, %v, want geb", got, err)
	}
}

func TestARunningServerCannotBeRestarted(t *testing.T) {
	s := Start(t)
	if v := judge(t, s.Restart); v.failed == "" {
		t.Error("Restart started a second server")
	}
}

func TestAServerThatIsStillLoadingDoesNotCountAsRestarted(t *testing.T) {
	ctx := deadline(t)
	s := Start(t, "--appendonly", "yes", "--appendfsync", "no",
		// A file of 5,000 commands then takes about half a second to load,
		// and connections are looked after at every 1,024th.
		"--key-load-delay", "50")
	rdb := s.Client(t)
	if err := rdb.Eval(ctx, `for i = 1, 5000 do redis.call('RPUSH', 'books', i) end return 0`, nil).Err(); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)

	s.Restart(t)

	server := dial(t, "unix", s.Path())
	server.send(t, "PING\r\n"+"LLEN books\r\n")
	server.wantLines(t, "+PONG", ":5000")
}

func TestAPausedServerAnswersOnlyAfterResume(t *testing.T) {
	s := Start(t)
	open := dial(t, "unix", s.Path())
	open.send(t, "PING\r\n")
	open.wantLines(t, "+PONG")

	s.Pause(t)
	open.send(t, "PING\r\n")
	open.wantSilence(t)

	s.Resume(t)
	open.wantLines(t, "+PONG")
}

func TestAClientNeverRepeatsACommandAndIsClosedWithItsTest(t *testing.T) {
	s := Start(t)
	var rdb *redis.Client
	t.Run("a test", func(t *testing.T) {
		rdb = s.Client(t)
		if got := rdb.Options().MaxRetries; got != 0 { // which is what go-redis makes of -1
			t.Errorf("MaxRetries = %d, want 0", got)
		}
	})
	if err := rdb.Ping(deadline(t)).Err(); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("PING = %v, want %v", err, redis.ErrClosed)
	}
}

func TestKeysOfTheEmbeddedServerExpireByThemselves(t *testing.T) {
	ctx := deadline(t)
	rdb := Embedded(t)
	if err := rdb.Set(ctx, "lock", "worker1", time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	for {
		switch err := rdb.Get(ctx, "lock").Err(); {
		case errors.Is(err, redis.Nil):
			return
		case err != nil:
			t.Fatalf("the key does not expire: %v", err)
		}
	}
}

func TestEachRunsATestOnBothServers(t *testing.T) {
	lookUp(t)
	got := map[string]bool{}
	Each(t, func(t *testing.T, rdb *redis.Client) {
		// Only a real server knows its port, which is none.
		ports, _ := rdb.ConfigGet(deadline(t), "port").Result()
		got[t.Name()] = ports["port"] == "0"
		if err := rdb.Ping(deadline(t)).Err(); err != nil {
			t.Error(err)
		}
	})
	want := map[string]bool{t.Name() + "/redis": true, t.Name() + "/embedded": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subtests and whether each had a real server (-want +got):\n%s", diff)
	}
}
