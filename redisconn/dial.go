package redisconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// dialPatience is how long a connection may take to be made, TLS included.
	dialPatience = 2 * time.Second
	// handshakeUsual is how long a TLS handshake usually takes at most.
	handshakeUsual = 400 * time.Millisecond
	// probePatience is how long it may take to find out whether a server speaks TLS.
	probePatience = time.Second
	// lastWords is how long the last words of a server that hung up may take to arrive.
	lastWords = 100 * time.Millisecond
	// silence is how long a server may leave something unanswered before its other
	// connections are doubted too.
	silence = time.Second
	// saidMax is how many bytes of errors are kept.
	saidMax = 4096

	// idleLook is how long a connection is idle before its end is looked for in TLS. No
	// server hangs up on a client that was idle for less.
	idleLook = time.Second
	// endLook is how long that takes where there is no end.
	endLook = 5 * time.Millisecond
)

// A dialer makes the connections of one client.
type dialer struct {
	tls   *tls.Config // nil for connections without TLS
	host  string      // in place of one that a Cluster's node left out where it sent us
	peers sync.Map    // address → *peer
}

// A peer is what all connections to one address know of the server there.
type peer struct {
	silent atomic.Int64 // since when it leaves something unanswered

	mu        sync.Mutex
	askedTLS  time.Time // when it was last asked whether it speaks TLS
	speaksTLS bool      // its answer
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	if host, port, err := net.SplitHostPort(address); err == nil && isUnknown(host) {
		address = net.JoinHostPort(d.host, port)
	}
	transport, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	known, _ := d.peers.LoadOrStore(address, &peer{})
	c := &alertConn{Conn: transport, peer: known.(*peer)}
	c.heard.Store(now())
	if d.tls == nil {
		return c, nil
	}
	if c.Conn, err = handshake(ctx, transport, network, address, d.tls); err != nil {
		transport.Close()
		if KindOf(err) == Passing {
			err = &net.OpError{Op: "dial", Net: network, Addr: transport.RemoteAddr(), Err: err}
		}
		return nil, err
	}
	return c, nil
}

// handshake begins TLS. A server that does not know TLS may wait for the end of a
// command instead of answering, so one that is silent is asked without TLS, too.
func handshake(ctx context.Context, transport net.Conn, network, address string, config *tls.Config) (net.Conn, error) {
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(handshakeUsual, func() {
		if answersPlainly(ctx, network, address) {
			cancel(errNoTLS)
		}
	}).Stop()
	secure := tls.Client(transport, config)
	err := secure.HandshakeContext(ctx)
	var other tls.RecordHeaderError
	switch {
	case err == nil:
		return secure, nil
	case errors.Is(context.Cause(ctx), errNoTLS):
		return nil, errNoTLS
	case errors.As(err, &other) && isReply(other.RecordHeader[0]):
		return nil, errNoTLS
	case errors.As(err, &other):
		return nil, notRedis(other.RecordHeader[:])
	}
	return nil, err
}

// answersPlainly reports whether a server answers a command that is not encrypted.
func answersPlainly(ctx context.Context, network, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	connection, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return false
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { connection.Close() })()
	answer := make([]byte, 1)
	_, err = connection.Write([]byte("PING\r\n"))
	if err == nil {
		_, err = connection.Read(answer)
	}
	return err == nil && isReply(answer[0])
}

// answersTLS reports whether a server takes part in a TLS handshake, whatever it or
// this program thinks of the other's certificate.
func answersTLS(network, address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), probePatience)
	defer cancel()
	host, _, _ := net.SplitHostPort(address)
	connection, err := (&tls.Dialer{Config: &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}}).DialContext(ctx, network, address)
	if err == nil {
		connection.Close()
		return true
	}
	var alert *net.OpError
	var unverified *tls.CertificateVerificationError
	return errors.As(err, &unverified) || errors.As(err, &alert) && alert.Op == "remote error"
}

// An alertConn is a connection that tells what the server said before it hung up. A
// server that does not want a client answers it unasked, or at once, and hangs up.
// The client may have written in the meantime; that write fails with a reset, which
// would pass, though the reason has arrived and waits to be read.
//
// It also knows when it is better not used again: see SyscallConn.
type alertConn struct {
	net.Conn
	peer *peer

	asked, heard atomic.Int64 // when something was last written, and read

	opened atomic.Bool // the server has said something that is no error
	mu     sync.Mutex
	said   []byte // the errors that it said before that
}

// A HangUpError is returned when the server ended the connection.
type HangUpError struct {
	// Said is the error that the server gave as its reason, and empty without one. It
	// is all that this connection ever brought, so nothing was done for it.
	Said string
	// Err is what the system said.
	Err error
}

func (e *HangUpError) Error() string {
	if e.Said == "" {
		return "the server hung up: " + e.Err.Error()
	}
	sentence, _, _ := strings.Cut(e.Said, ". ") // Redis tells of protected mode in thirteen
	return sentence
}

// Unwrap returns Err. It is a slice of one because go-redis takes a single wrapped
// error out of its wrapping.
func (e *HangUpError) Unwrap() []error { return []error{e.Err} }

func (c *alertConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(now())
		if err := c.listen(b[:n]); err != nil {
			return 0, err
		}
	}
	return n, c.explain(err)
}

func (c *alertConn) Write(b []byte) (int, error) {
	// Only a subscription writes before the last answer has come, to see whether the
	// server is there.
	if c.unanswered() > commandPatience {
		c.peer.silent.Store(c.asked.Load())
		return 0, fmt.Errorf("no answer within %s: %w", commandPatience, os.ErrDeadlineExceeded)
	}
	c.asked.Store(now())
	n, err := c.Conn.Write(b)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, c.explain(err)
	}
	heard := c.SetReadDeadline(time.Now().Add(lastWords))
	for rest := make([]byte, saidMax); heard == nil; {
		_, heard = c.Read(rest)
	}
	if errors.Is(heard, os.ErrDeadlineExceeded) {
		return n, c.explain(err)
	}
	return n, heard
}

// listen looks at what the server says, until it is something that a Redis says to a
// client it serves.
func (c *alertConn) listen(text []byte) error {
	if c.opened.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, text...)
	if !isReply(c.said[0]) {
		return notRedis(c.said) // and so does explain, of an end that comes after that
	}
	opened := len(c.said) > saidMax
	for line := range bytes.Lines(c.said) {
		opened = opened || line[0] != '-'
	}
	if opened {
		c.said = nil
		c.opened.Store(true)
	}
	return nil
}

// explain makes of an error what the server said before.
func (c *alertConn) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		if c.unanswered() > silence {
			c.peer.silent.Store(c.asked.Load())
		}
		return err
	case errors.Is(err, net.ErrClosed) || KindOf(err) != Passing:
		return err
	}
	c.mu.Lock()
	said := bytes.TrimSpace(c.said)
	c.mu.Unlock()
	hangUp := &HangUpError{Err: err}
	switch {
	case len(said) == 0 && c.needsTLS():
		return errNeedsTLS
	case len(said) == 0:
		return hangUp
	case said[0] != '-':
		return notRedis(said)
	}
	// The last error that it said is its reason, unless it is that it does not know a
	// command, HELLO for one: then it waited for others.
	last := string(said[bytes.LastIndexByte(said, '\n')+2:])
	if !unknownCommand.MatchString(last) {
		hangUp.Said = last
	}
	return hangUp
}

// needsTLS reports whether a server that hung up without a word speaks TLS. It does
// not ask more often than once a second, however many connections end.
func (c *alertConn) needsTLS() bool {
	if _, is := c.Conn.(*net.TCPConn); !is || c.opened.Load() {
		return false
	}
	c.peer.mu.Lock()
	defer c.peer.mu.Unlock()
	if time.Since(c.peer.askedTLS) > time.Second {
		c.peer.speaksTLS = answersTLS("tcp", c.RemoteAddr().String())
		c.peer.askedTLS = time.Now()
	}
	return c.peer.speaksTLS
}

// unanswered tells for how long the server has left something unanswered.
func (c *alertConn) unanswered() time.Duration {
	if asked := c.asked.Load(); asked > c.heard.Load() {
		return time.Duration(now() - asked)
	}
	return 0
}

// SyscallConn is what go-redis looks at before it uses a connection again: one of
// which the end can be seen is not used. So a server that hangs up on idle clients
// disturbs nobody. go-redis cannot look into TLS, so this does it here. A connection
// is not used again either when another to the same server got no answer and this
// one has heard nothing since: the server may have vanished, with another in its
// place, and each of its connections would have to be found out one by one.
func (c *alertConn) SyscallConn() (syscall.RawConn, error) {
	if c.heard.Load() < c.peer.silent.Load() {
		return nil, net.ErrClosed
	}
	if transport, is := c.Conn.(syscall.Conn); is {
		return transport.SyscallConn()
	}
	if idle := time.Duration(now() - c.heard.Load()); idle < idleLook {
		return quiet{}, nil
	}
	// What comes unasked is no answer to a command; TLS's own messages do not show.
	if err := c.SetReadDeadline(time.Now().Add(endLook)); err != nil {
		return nil, err
	}
	_, err := c.Conn.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, net.ErrClosed
	}
	return quiet{}, c.SetReadDeadline(time.Time{})
}

// quiet is a connection on which nothing has come.
type quiet struct{}

func (quiet) Control(func(uintptr)) error    { return nil }
func (quiet) Read(func(uintptr) bool) error  { return nil }
func (quiet) Write(func(uintptr) bool) error { return nil }

var began = time.Now()

// now is a moment that no change of the clock moves.
func now() int64 { return int64(time.Since(began)) }
