package redistest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Proxy stands between clients and a Server and breaks what networks break.
// It passes whole commands and whole replies, so that a fault hits exactly
// the command a test means, in a pipeline too.
//
// To know which reply belongs to which command it counts them, one reply a
// command and one for each channel of a subscription. That does not hold after
// MONITOR, CLIENT REPLY, UNSUBSCRIBE without a channel, or when subscribed in
// RESP2: such connections work, but in a pipeline a fault may miss by a reply.
//
// All methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	upstream string
	running  sync.WaitGroup

	mu      sync.Mutex // guards all that follows, and the fields of every link
	changed *sync.Cond // tells of any change of stalled, writing and link.closed
	links   map[*link]struct{}
	armed   []fault
	fired   int
	stalled bool
	writing int // writes under way
	closed  bool
}

// A link is a client's connection and the one made to the server for it.
type link struct {
	client net.Conn
	server *net.UnixConn

	// owed counts the replies the server owes for the commands forwarded. Once
	// a fault was picked it counts only those to deliver before the fault.
	owed   int
	fault  *fault
	closed bool
}

// A fault is one command's bad luck.
type fault struct {
	match func(args []string) bool
	lose  bool // the command is lost, otherwise its reply is
}

// NewProxy returns a proxy to server that listens on a TCP port of its own.
// It dials the server anew for each client, so it may be made while the server
// is down and stays of use when the server restarts; clients that come while
// the server is down are hung up on. It ends with the test.
func NewProxy(t testing.TB, server *Server) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start the proxy: %v", err)
	}
	p := &Proxy{listener: listener, upstream: server.Path(), links: map[*link]struct{}{}}
	p.changed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.listener.Close()
		p.CutAll()
		p.running.Wait()
	})
	return p
}

// Addr returns where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// DropReply arms one fault: the next command that match accepts is forwarded,
// and when the server has replied, which proves that it executed the command,
// the reply is discarded and the client's connection closed. The client cannot
// know what became of its command. Replies to earlier commands of a pipeline
// are delivered first; later commands of it are lost.
//
// match gets the command as the client sent it, name first (go-redis sends
// names in lower case), and sees each command once, in order. When several
// faults are armed, the one armed first is asked first, and a command takes
// one only. match is called with the proxy locked: it must neither block nor
// call the proxy.
func (p *Proxy) DropReply(match func(args []string) bool) {
	p.arm(fault{match: match})
}

// LoseCommand arms one fault: the next command that match accepts is not
// forwarded, and the client's connection is closed. To the client it looks the
// same as DropReply. What DropReply says of match and of pipelines holds here.
func (p *Proxy) LoseCommand(match func(args []string) bool) {
	p.arm(fault{match: match, lose: true})
}

func (p *Proxy) arm(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = append(p.armed, f)
}

// Faults returns how many armed faults have fired. A fault is counted before
// its client can notice it. One whose command met another end, because the
// server died or the connection was cut first, is spent and never counted.
func (p *Proxy) Faults() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fired
}

// CutAll closes all connections, and clients can connect again at once.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		p.close(l)
	}
}

// Stall makes the network hang: connections stay open, new ones are taken, and
// nothing passes in either direction, not even the news that one end has hung
// up. When it returns no write is under way.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
	// A write can wait for ever on an end that does not read, such as a paused
	// server. A deadline in the past interrupts it; forward writes the rest
	// after Resume.
	p.setWriteDeadlines(time.Unix(1, 0))
	for p.stalled && p.writing > 0 {
		p.changed.Wait()
	}
}

// Resume ends a stall. What clients sent meanwhile arrives now, even from
// those that gave up in the meantime.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = false
	p.setWriteDeadlines(time.Time{})
	p.changed.Broadcast()
}

// setWriteDeadlines is called with the proxy locked. A connection that has
// failed meanwhile refuses the deadline, and needs none.
func (p *Proxy) setWriteDeadlines(deadline time.Time) {
	for l := range p.links {
		_ = l.client.SetWriteDeadline(deadline)
		_ = l.server.SetWriteDeadline(deadline)
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: p.upstream, Net: "unix"})
	if err != nil {
		client.Close()
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links[l] = struct{}{}
	if p.closed {
		p.close(l)
	}
	p.mu.Unlock()
	p.running.Go(func() { p.replies(l) })
	p.requests(l)
}

// requests forwards the client's commands until one of them meets a fault or
// one end hangs up.
func (p *Proxy) requests(l *link) {
	reader := bufio.NewReader(l.client)
	for {
		raw, args, err := readCommand(reader)
		if err != nil {
			p.takeLeave(l)
			return
		}
		pass, last := p.admit(l, args)
		if pass && p.forward(l, l.server, raw) != nil {
			p.hangUp(l)
			return
		}
		if last {
			// What is left of the link belongs to replies.
			return
		}
	}
}

// admit decides what becomes of a command: whether it passes, and whether it
// is the link's last.
func (p *Proxy) admit(l *link, args []string) (pass, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.flowing(l) {
		return false, true
	}
	i := slices.IndexFunc(p.armed, func(f fault) bool { return f.match(args) })
	if i < 0 {
		l.owed += repliesTo(args)
		return true, false
	}
	chosen := p.armed[i]
	l.fault = &chosen
	p.armed = slices.Delete(p.armed, i, i+1)
	if l.fault.lose && l.owed == 0 {
		p.fire(l)
	}
	return !l.fault.lose, true
}

// replies forwards the server's replies until a fault withholds one or one end
// hangs up.
func (p *Proxy) replies(l *link) {
	reader := bufio.NewReader(l.server)
	for {
		var raw bytes.Buffer
		if err := readReply(reader, &raw); err != nil {
			p.hangUp(l)
			return
		}
		answer := isAnswer(raw.Bytes())
		if answer && p.withheld(l) {
			return
		}
		// A client that is gone stops nothing: the server must still get all it
		// has sent, and a fault must still fire.
		_ = p.forward(l, l.client, raw.Bytes())
		if answer && p.delivered(l) {
			return
		}
	}
}

// withheld reports whether an arriving reply is the one to discard, and if so
// fires the fault.
func (p *Proxy) withheld(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.flowing(l) {
		return true
	}
	if l.fault == nil || l.owed > 0 {
		return false
	}
	p.fire(l)
	return true
}

// delivered notes that an answer has reached the client. It reports whether
// that was the last before a lost command, and if so fires the fault.
func (p *Proxy) delivered(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.flowing(l) {
		return true
	}
	l.owed = max(0, l.owed-1) // RESP2's messages look like answers nobody owes
	if l.fault == nil || !l.fault.lose || l.owed > 0 {
		return false
	}
	p.fire(l)
	return true
}

// forward writes raw to one end of the link, whenever nothing is stalled.
func (p *Proxy) forward(l *link, end net.Conn, raw []byte) error {
	for len(raw) > 0 {
		p.mu.Lock()
		if !p.flowing(l) {
			p.mu.Unlock()
			return net.ErrClosed
		}
		p.writing++
		p.mu.Unlock()

		n, err := end.Write(raw)

		p.mu.Lock()
		p.writing--
		p.changed.Broadcast()
		p.mu.Unlock()
		raw = raw[n:]
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return nil
}

// takeLeave tells the server that the client has hung up or talks nonsense. It
// closes one direction only: Redis drops commands it has yet to read once it
// cannot write a reply. The server will close the other, and so end the link.
func (p *Proxy) takeLeave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flowing(l) && l.server.CloseWrite() != nil {
		p.close(l)
	}
}

// hangUp closes both ends after the server has hung up or cannot be reached,
// which, like all else, the client learns only when nothing is stalled.
func (p *Proxy) hangUp(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flowing(l) {
		p.close(l)
	}
}

// flowing waits, with the proxy locked, while it is stalled. It returns false
// when the link was closed.
func (p *Proxy) flowing(l *link) bool {
	for p.stalled && !l.closed {
		p.changed.Wait()
	}
	return !l.closed
}

// fire is called with the proxy locked.
func (p *Proxy) fire(l *link) {
	p.fired++
	p.close(l)
}

// close is called with the proxy locked. The connections' errors do not
// matter: nothing is left to be said on them.
func (p *Proxy) close(l *link) {
	l.closed = true
	delete(p.links, l)
	l.client.Close()
	l.server.Close()
	p.changed.Broadcast()
}

// readCommand reads one command and returns its bytes and its words. A command
// is an array of bulk strings (*2 $3 GET $1 k, each part ending in CRLF) or a
// plain line of words. Reading by length, and never from what one read brought,
// makes pipelines and split packets come out right.
func readCommand(reader *bufio.Reader) (raw []byte, args []string, err error) {
	var buffer bytes.Buffer
	line, err := readLine(reader, &buffer)
	if err != nil {
		return nil, nil, err
	}
	if !strings.HasPrefix(line, "*") {
		return buffer.Bytes(), strings.Fields(line), nil
	}
	count, err := strconv.Atoi(line[1:])
	if err != nil {
		return nil, nil, fmt.Errorf("read a command: %w", err)
	}
	for range count {
		line, err := readLine(reader, &buffer)
		if err != nil {
			return nil, nil, err
		}
		digits, found := strings.CutPrefix(line, "$")
		length, err := strconv.Atoi(digits)
		if !found || err != nil || length < 0 {
			return nil, nil, fmt.Errorf("read a command: %q is no bulk string's length", line)
		}
		start := buffer.Len()
		if _, err := io.CopyN(&buffer, reader, int64(length)+2); err != nil {
			return nil, nil, err
		}
		args = append(args, string(buffer.Bytes()[start:start+length]))
	}
	return buffer.Bytes(), args, nil
}

// readReply copies one reply, whole, into raw. It knows the types of RESP2 and
// of RESP3; the first byte tells which.
func readReply(reader *bufio.Reader, raw *bytes.Buffer) error {
	line, err := readLine(reader, raw)
	if err != nil {
		return err
	}
	if line == "" {
		return errors.New("read a reply: an empty line")
	}
	if !strings.ContainsAny(line[:1], "$=!*~>%|") {
		return nil // +OK, -ERR, :1 and all the others that are one line
	}
	count, err := strconv.Atoi(line[1:])
	if err != nil {
		return fmt.Errorf("read a reply: %w", err)
	}
	switch line[0] {
	case '$', '=', '!': // so many bytes and CRLF, or -1 for nil
		if count >= 0 {
			_, err = io.CopyN(raw, reader, int64(count)+2)
		}
		return err
	case '%': // so many keys, and as many values
		count *= 2
	case '|': // attributes are a map that the reply itself follows
		count = 2*count + 1
	}
	for range count {
		if err := readReply(reader, raw); err != nil {
			return err
		}
	}
	return nil
}

// readLine appends a line to raw and returns it without its end.
func readLine(reader *bufio.Reader, raw *bytes.Buffer) (string, error) {
	line, err := reader.ReadString('\n')
	raw.WriteString(line)
	return strings.TrimRight(line, "\r\n"), err
}

// repliesTo returns how many replies a command gets: none for an empty line or
// array, one for each channel of a subscription, one for all else.
func repliesTo(args []string) int {
	if len(args) == 0 {
		return 0
	}
	if strings.HasSuffix(strings.ToLower(args[0]), "subscribe") {
		return max(1, len(args)-1)
	}
	return 1
}

// isAnswer tells replies to commands from what RESP3 pushes unasked (a message
// on a channel, a changed key). Only the answer to a subscription is pushed
// too: >3 $9 subscribe.
func isAnswer(raw []byte) bool {
	if raw[0] != '>' {
		return true
	}
	parts := bytes.SplitN(raw, []byte("\r\n"), 4)
	return len(parts) > 2 && bytes.HasSuffix(parts[2], []byte("subscribe"))
}
