package simulation

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// A connection is an actor's end of a connection to the simulated server. What is
// written to it is understood as commands, which wait until the world lets one
// happen; what the server answers can be read from it, when the world lets it.
// Only channels and timers are waited on, so that testing/synctest can tell when
// everybody waits.
type connection struct {
	world *world
	actor *actor
	peer  *server.Peer // the server's side
	begun []byte       // the beginning of a command that was not written to its end

	mu       sync.Mutex
	holding  bool   // what the server writes now is the answer to a command
	held     []byte // that answer
	answers  []byte // what can be read
	failure  error  // why nothing can be read or written any more
	deadline time.Time
	changed  chan struct{} // has room for one; filled when the reader should look again

	subscribed bool
}

func newConnection(w *world, a *actor) *connection {
	c := &connection{world: w, actor: a, changed: make(chan struct{}, 1)}
	c.peer = server.NewPeer(bufio.NewWriter(serverSide{c}))
	return c
}

// serverSide is what the server writes to: the answer to a command, or a message of
// a channel at any moment.
type serverSide struct{ *connection }

func (c serverSide) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holding {
		c.held = append(c.held, text...)
	} else {
		c.answers = append(c.answers, text...)
		c.wake()
	}
	return len(text), nil
}

// execute has the server do a command, and returns its answer.
func (c *connection) execute(args []string) []byte {
	c.mu.Lock()
	c.holding, c.held = true, nil
	c.mu.Unlock()
	c.world.redis.Server().Dispatch(c.peer, args)
	c.peer.Flush()
	c.mu.Lock()
	c.holding = false
	answer := c.held
	if strings.EqualFold(args[0], "SUBSCRIBE") {
		c.subscribed = true
	}
	gone := c.subscribed && c.failure != nil
	c.mu.Unlock()
	if gone {
		c.unsubscribe()
	}
	return answer
}

// unsubscribe does what a server does for who is gone.
func (c *connection) unsubscribe() {
	c.mu.Lock()
	c.subscribed = false
	c.mu.Unlock()
	c.world.redis.Server().Dispatch(c.peer, []string{"UNSUBSCRIBE"})
}

// deliver lets an answer be read.
func (c *connection) deliver(answer []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, answer...)
	c.wake()
}

// fail ends the connection on both sides.
func (c *connection) fail(err error) {
	c.mu.Lock()
	first := c.failure == nil
	if first {
		c.failure, c.answers = err, nil
	}
	subscribed := first && c.subscribed
	c.wake()
	c.mu.Unlock()
	if subscribed {
		c.unsubscribe()
	}
}

// wake has the reader look again; c.mu is held.
func (c *connection) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *connection) Read(into []byte) (int, error) {
	for {
		c.mu.Lock()
		n, failure, deadline := copy(into, c.answers), c.failure, c.deadline
		c.answers = c.answers[n:]
		c.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if failure != nil {
			return 0, failure
		}
		if deadline.IsZero() {
			<-c.changed
			continue
		}
		left := time.Until(deadline)
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		timer := time.NewTimer(left)
		select {
		case <-c.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (c *connection) Write(text []byte) (int, error) {
	c.mu.Lock()
	failure := c.failure
	c.mu.Unlock()
	if failure != nil {
		return 0, failure
	}
	c.begun = append(c.begun, text...)
	var commands [][]string
	for {
		args, length := firstCommand(c.begun)
		if length == 0 {
			break
		}
		commands = append(commands, args)
		c.begun = c.begun[length:]
	}
	c.world.ask(c, commands)
	return len(text), nil
}

// firstCommand reads the first command of a text, which is an array of texts (RESP),
// and tells its length; 0 while it is not complete.
func firstCommand(text []byte) (args []string, length int) {
	rest := text
	number := func(mark byte) (n int, ok bool) {
		line, after, found := bytes.Cut(rest, []byte("\r\n"))
		if !found || len(line) < 2 || line[0] != mark {
			return 0, false
		}
		n, err := strconv.Atoi(string(line[1:]))
		rest = after
		return n, err == nil
	}
	count, ok := number('*')
	for range count {
		size, ok := number('$')
		if !ok || len(rest) < size+2 {
			return nil, 0
		}
		args = append(args, string(rest[:size]))
		rest = rest[size+2:]
	}
	if !ok {
		return nil, 0
	}
	return args, len(text) - len(rest)
}

func (c *connection) Close() error {
	c.fail(net.ErrClosed)
	return nil
}

func (c *connection) SetDeadline(t time.Time) error      { return c.SetReadDeadline(t) }
func (c *connection) SetWriteDeadline(_ time.Time) error { return nil } // a write never waits

func (c *connection) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.wake()
	return nil
}

func (c *connection) LocalAddr() net.Addr  { return address{} }
func (c *connection) RemoteAddr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "simulation" }
func (address) String() string  { return "simulation" }

var _ net.Conn = (*connection)(nil)

// errCut is what the other end of a cut connection sees.
var errCut = io.EOF
