package guarantees_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

const (
	// patience is how long anything may take that should come in the end. A slow disk
	// needs much of it, and so does a busy machine.
	patience = 2 * time.Minute

	// lockTTL is how long a dead worker's name stays taken, and so what it had in hand.
	// Where the disk is so slow that a refresh takes seconds it is the default.
	lockTTL     = 2 * time.Second
	lockTTLSlow = 10 * time.Second

	// lag is how far a lagging replica is behind when its master dies.
	lag = 300 * time.Millisecond

	// away is how long a dead replica stays dead.
	away = 3 * time.Second
)

var keys = library.Keys{Library: "main"}

// A way is a way of running the library.
type way struct {
	name     string
	embedded bool
	redis    []string // redis-server's arguments
	// onDisk puts a disk below the server on which an fdatasync takes so much longer.
	onDisk bool
	delay  time.Duration
	// replicated gives the server a replica; replicas is how many must confirm an answer.
	replicated bool
	replicas   int
	// lead is how long the library is used before the death. Default: 2 s.
	lead time.Duration
}

// A stage is a library that runs in some way, with two workers.
type stage struct {
	testing.TB
	way     way
	options redisconn.Options
	env     []string // for the workers
	workers []*programtest.Process
	rdb     redis.UniversalClient

	// The server is one of these, or the first worker.
	server  *redistest.Server
	cluster *redistest.Cluster

	disk   *disk // nil if none is below the server
	ledger *ledger
}

// raise starts a library. Without a disk to put below the server its error is errNoDisk,
// but if the server will do on this machine's own.
func raise(t testing.TB, w way, ownWillDo bool) (*stage, error) {
	t.Helper()
	s := &stage{TB: t, way: w, workers: make([]*programtest.Process, 2)}
	switch {
	case w.embedded:
		s.options.Address = freeAddress(t)
	case w.replicated:
		// A Cluster of one master and its replica: clients and workers know how to find
		// the one that serves.
		s.cluster = redistest.StartCluster(t, 1, true, w.redis...)
		s.options = redisconn.Options{Addresses: s.cluster.Addresses(), Cluster: true}
		s.env = append(s.env, "LENDING_CLUSTER=true")
	default:
		var env []string
		if w.onDisk {
			d, err := newDisk(t)
			switch {
			case err == nil:
				s.disk, env = d, d.env()
			case !ownWillDo || !errors.Is(err, errNoDisk):
				return nil, err
			}
		}
		s.server = redistest.StartWith(t, env, w.redis...)
		s.options.Address = s.server.URL()
	}
	addresses := s.options.Addresses
	if s.options.Address != "" {
		addresses = []string{s.options.Address}
	}
	s.env = append(s.env, "LENDING_ADDRESS="+strings.Join(addresses, ","))
	s.rdb = s.connect()
	s.startWorker(0)
	s.startWorker(1)
	if w.delay > 0 {
		s.disk.slow(s, w.delay)
	}
	s.ledger = open(s)
	return s, nil
}

func (s *stage) connect() redis.UniversalClient {
	s.Helper()
	rdb, err := redisconn.Connect(s.options)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { rdb.Close() })
	return rdb
}

var names = []string{"worker1", "worker2"}

func (s *stage) startWorker(i int) {
	s.Helper()
	ttl := lockTTL
	if s.way.delay >= slowest {
		ttl = lockTTLSlow
	}
	args := []string{"--lock-ttl", ttl.String(), names[i]}
	if s.way.embedded && i == 0 {
		args = append([]string{"--embedded"}, args...)
	}
	s.workers[i] = programtest.Start(s, s.env, "lendingd", args...)
	if err := s.workers[i].Await("serving"); err != nil {
		s.Fatal(err)
	}
}

// until waits until a condition holds.
func (s *stage) until(what string, holds func() bool) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// A death is something that dies, and what is done about it.
type death struct {
	name string
	// strike kills, and returns when it did. At the worst moment is when most is
	// underway to the disk.
	strike func(s *stage, worst bool) time.Time
	// mend brings back what died, or puts something in its place. What is nil needs
	// nothing: the others go on.
	mend func(s *stage)
}

var (
	// A worker is killed while entries are pending for its name. So that it has some, it
	// is frozen first: Redis answers the read that is underway, and the worker does not.
	// If it was between two reads it is let go, and frozen again.
	workerDies = death{name: "a worker", strike: func(s *stage, _ bool) time.Time {
		worker := s.workers[1]
		s.until("a frozen worker has something in hand", func() bool {
			if err := worker.Signal(syscall.SIGSTOP); err != nil {
				s.Fatal(err)
			}
			for range 20 {
				if s.inHand(names[1]) {
					return true
				}
				time.Sleep(5 * time.Millisecond)
			}
			if err := worker.Signal(syscall.SIGCONT); err != nil {
				s.Fatal(err)
			}
			return false
		})
		worker.Kill()
		return time.Now()
	}}

	redisDies = death{name: "Redis", strike: func(s *stage, worst bool) time.Time {
		if s.disk != nil {
			// What is answered while an fdatasync runs has not even left the process.
			s.await(worst, s.way.delay*95/100)
		}
		return s.killServer()
	}, mend: restart}

	// The whole of an embedded library is one process.
	embeddedDies = death{name: "the process, and so the machine", strike: redisDies.strike, mend: restart}

	machineDies = death{name: "the machine", strike: func(s *stage, worst bool) time.Time {
		// Just before the disk has kept what it was last asked to.
		moment := s.way.delay * 95 / 100
		if moment == 0 {
			moment = 950 * time.Millisecond
		}
		s.await(worst, moment)
		struck := s.killServer()
		s.disk.forget(s, s.server, worst)
		return struck
	}, mend: restart}

	masterDies = death{name: "the master, or its machine", strike: redisDies.strike, mend: promote}

	masterDiesAhead = death{name: "the master, its replica 300 ms behind", strike: func(s *stage, _ bool) time.Time {
		master, replica := s.cluster.Masters[0], s.cluster.Replicas[0]
		// What was sent already lies in the paused replica's socket, so its link is cut too.
		replica.Pause(s)
		if err := master.Client(s).ClientKillByFilter(context.Background(), "TYPE", "replica").Err(); err != nil {
			s.Fatal(err)
		}
		time.Sleep(lag)
		struck := s.killServer()
		replica.Resume(s)
		return struck
	}, mend: promote}

	replicaDies = death{name: "the replica, for 3 s", strike: func(s *stage, _ bool) time.Time {
		s.cluster.Replicas[0].Kill(s)
		return time.Now()
	}, mend: func(s *stage) {
		back := time.Now().Add(away)
		s.ledger.impatient()
		time.Sleep(time.Until(back))
		s.ledger.away = time.Now()
		s.cluster.Replicas[0].Restart(s)
	}}

	redisStops = death{name: "Redis, told to stop (SIGTERM)", strike: func(s *stage, _ bool) time.Time {
		if s.way.embedded {
			if err := s.workers[0].Signal(syscall.SIGTERM); err != nil {
				s.Fatal(err)
			}
			if _, err := s.workers[0].Wait(); err != nil {
				s.Fatal(err)
			}
			return time.Now()
		}
		s.server.Stop(s)
		return time.Now()
	}, mend: restart}
)

// await lets the worst moment come, which is so long after the server began to ask the
// disk to keep what was written; or any other.
func (s *stage) await(worst bool, after time.Duration) {
	if !worst {
		time.Sleep(rand.N(time.Second + s.way.delay))
		return
	}
	time.Sleep(time.Until(s.disk.awaitSync(s).Add(after)))
}

// inHand reports whether orders are pending for a worker's name.
func (s *stage) inHand(name string) bool {
	s.Helper()
	for _, inbox := range []string{keys.Requests(), keys.Returns()} {
		pending, err := s.rdb.XPendingExt(context.Background(), &redis.XPendingExtArgs{
			Stream: inbox, Group: library.Lending, Start: "-", End: "+", Count: 1, Consumer: name,
		}).Result()
		if err != nil {
			s.Fatal(err)
		}
		if len(pending) > 0 {
			return true
		}
	}
	return false
}

// killServer kills whatever serves Redis.
func (s *stage) killServer() time.Time {
	switch {
	case s.way.embedded:
		s.workers[0].Kill()
	case s.way.replicated:
		s.cluster.Masters[0].Kill(s)
	default:
		s.server.Kill(s)
	}
	return time.Now()
}

func restart(s *stage) {
	if s.way.embedded {
		s.startWorker(0)
		return
	}
	s.server.Restart(s)
}

// promote puts the replica in the dead master's place, and has the old master come
// back as its replica: an answer that a replica must confirm needs one.
func promote(s *stage) {
	heir := s.cluster.Replicas[0].Client(s)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.until("the replica takes the master's place", func() bool {
		// With TAKEOVER it asks nobody: there is nobody left to ask.
		_ = heir.Do(ctx, "CLUSTER", "FAILOVER", "TAKEOVER").Err() // it is repeated until it has had its effect
		return strings.Contains(heir.Info(ctx, "replication").Val(), "role:master")
	})
	s.cluster.Masters[0].Restart(s)
}
