package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// startWithin is how long a server may take until it answers, reading a
// database from disk included.
const startWithin = time.Minute

// A server is a redis-server of the bench's own, or a stand-in at an address.
type server struct {
	// Addr is host:port on loopback; Socket is the path of a Unix socket.
	Addr, Socket string
	// Dir is where it keeps its files.
	Dir string
	PID int

	client  *redis.Client
	process *process
}

// startRedis starts a redis-server on a Unix socket and a free loopback port, and
// returns when it answers. It keeps nothing on disk unless args, which are
// redis-server's own, say so. It ends with the bench at the latest.
func (b *bench) startRedis(args ...string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("redis-%d", b.started.Add(1))
	s := &server{Addr: net.JoinHostPort("127.0.0.1", port), Dir: filepath.Join(b.dir, name+".d")}
	s.Socket = filepath.Join(s.Dir, "redis.sock")
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		return nil, err
	}
	s.process, err = b.start(name, exec.Command("redis-server", append([]string{
		"--bind", "127.0.0.1", "--port", port, "--unixsocket", s.Socket, "--dir", s.Dir, "--save", "", "--appendonly", "no",
	}, args...)...))
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	s.PID = s.process.PID
	s.client = connect("unix", s.Socket)
	if err := s.process.until(time.Millisecond, startWithin, func() (bool, error) {
		ctx, cancel := context.WithTimeout(context.Background(), startWithin)
		defer cancel()
		// A server that still reads its files is no failure.
		return listens("unix", s.Socket) && s.client.Ping(ctx).Err() == nil, nil
	}); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	return s, nil
}

// listens tells whether anything listens at the address. The client would print
// that nothing does.
func listens(network, address string) bool {
	connection, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	// Nothing was sent that closing could lose.
	_ = connection.Close()
	return true
}

// freePort is a loopback port that nothing listens at.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// connect makes a client that repeats nothing by itself.
func connect(network, address string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Network: network, Addr: address, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Client is the bench's own connection to the server; it is closed by Stop.
func (s *server) Client() *redis.Client { return s.client }

// Stop kills the server and removes its files.
func (s *server) Stop() {
	// What cannot be closed or removed harms nothing: the bench removes its folder.
	_ = s.client.Close()
	if s.process != nil {
		s.process.kill()
		_ = os.RemoveAll(s.Dir)
	}
}

// CPU is the processor time that the server's main thread has used: it runs the
// commands and scripts, so it is what limits a library.
func (s *server) CPU(ctx context.Context) (time.Duration, error) {
	info, err := s.info(ctx, "cpu")
	if err != nil {
		return 0, err
	}
	total := 0.0
	for _, field := range []string{"used_cpu_user", "used_cpu_sys"} {
		text, ok := info[field+"_main_thread"]
		if !ok {
			text = info[field]
		}
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, fmt.Errorf("INFO cpu: %s: %w", field, err)
		}
		total += seconds
	}
	return time.Duration(total * float64(time.Second)), nil
}

// scripts is the time that calls of scripts have taken.
func (s *server) scripts(ctx context.Context) (time.Duration, error) {
	info, err := s.info(ctx, "commandstats")
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(info["cmdstat_evalsha"], "usec=")
	text, _, _ := strings.Cut(rest, ",")
	microseconds, err := strconv.ParseInt(text, 10, 64)
	if !found || err != nil {
		return 0, fmt.Errorf("INFO commandstats says of EVALSHA: %q", info["cmdstat_evalsha"])
	}
	return time.Duration(microseconds) * time.Microsecond, nil
}

// info is a section of INFO, by field.
func (s *server) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.client.Info(ctx, section).Result()
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}
