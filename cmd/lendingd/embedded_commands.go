package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/library/library"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// linesMax is how many lines wait for a connection in MONITOR that does not read.
// The server does not wait for it: it leaves lines out, and says how many.
const linesMax = 10_000

// subcommands are what the embedded server has of the commands that have any. Those of
// INFO are its sections; of COMMAND it has none.
var subcommands = map[string][]string{
	"CLIENT":  {"SETNAME", "GETNAME"},
	"CLUSTER": {"SLOTS", "KEYSLOT", "NODES", "SHARDS"},
	"COMMAND": {},
	"INFO":    {"CLIENTS", "STATS"},
	"MEMORY":  {"USAGE"},
	"OBJECT":  {"IDLETIME"},
	"PUBSUB":  {"CHANNELS", "NUMSUB", "NUMPAT"},
	"SCRIPT":  {"LOAD", "EXISTS", "FLUSH"},
	"XGROUP":  {"CREATE", "DESTROY", "CREATECONSUMER", "DELCONSUMER"},
	"XINFO":   {"STREAM", "GROUPS", "CONSUMERS"},
}

// A commandHook sees each command that an embedded server is given, before the server
// does. It adds MONITOR, and says in plain words what the server lacks. The server's own
// answer to COMMAND DOCS is the one to COMMAND, at which redis-cli 7.0 aborts.
type commandHook struct {
	server *server.Server
	secret bool // the server asks for a password

	mu       sync.Mutex
	numbers  map[*server.Peer]int // of the connections, as MONITOR shows them
	last     int
	monitors map[*server.Peer]*monitor
}

// A monitor is a connection in MONITOR.
type monitor struct {
	lines chan string
	lost  int // lines that were left out since the last one
}

// serve starts the embedded server at an address, with a hook. What comes before the
// hook is there is told to come again.
func serve(redis *miniredis.Miniredis, address string, secret bool) error {
	redis.SetError("LOADING the embedded server is starting")
	if err := redis.StartAddr(address); err != nil {
		return err
	}
	h := &commandHook{server: redis.Server(), secret: secret, numbers: map[*server.Peer]int{}, monitors: map[*server.Peer]*monitor{}}
	h.server.SetPreHook(h.before)
	return nil
}

// before reports whether it has answered a command, by a client or by a script.
func (h *commandHook) before(peer *server.Peer, command string, args ...string) bool {
	h.show(peer, command, args)
	if command == "MONITOR" {
		h.monitor(peer)
		return true
	}
	if !h.server.IsRegisteredCommand(command) {
		// Redis's own words come first, because programs look for them.
		peer.WriteError(fmt.Sprintf("ERR unknown command '%s': this embedded server has only some of Redis's commands; a real redis-server has them all", library.Plain(command)))
		return true
	}
	some, ok := subcommands[command]
	if !ok || len(args) == 0 {
		return false
	}
	asked := command + " " + strings.ToUpper(args[0])
	switch {
	case !slices.Contains(some, strings.ToUpper(args[0])):
	case asked == "XINFO STREAM" && len(args) > 2:
		asked = "XINFO STREAM FULL"
	case asked == "MEMORY USAGE" && len(args) > 2:
		asked = "MEMORY USAGE with options"
	default:
		return false
	}
	peer.WriteError(fmt.Sprintf("ERR this embedded server has no %s; a real redis-server has it", library.Plain(asked)))
	return true
}

// show sends a command to the connections in MONITOR, in Redis's format, but with a
// number for each connection, of which no more is known. The connections' commands
// stand in the order in which they came, which need not be that in which they ran.
func (h *commandHook) show(peer *server.Peer, command string, args []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.numbers[peer] == 0 && peer.Ctx == nil { // a script's has a context from its beginning
		h.last++
		h.numbers[peer] = h.last
		peer.OnDisconnect(func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.numbers, peer)
		})
	}
	if len(h.monitors) == 0 || command == "AUTH" || command == "HELLO" { // they hold passwords
		return
	}
	from := "lua"
	if number := h.numbers[peer]; number > 0 {
		from = "connection " + strconv.Itoa(number)
	}
	now := time.Now()
	line := fmt.Sprintf("%d.%06d [%s] %q", now.Unix(), now.Nanosecond()/1000, from, strings.ToLower(command))
	for _, arg := range args {
		line += " " + strconv.Quote(arg)
	}
	for _, m := range h.monitors {
		m.add(line)
	}
}

func (m *monitor) add(line string) {
	if m.lost > 0 {
		line = fmt.Sprintf("(%d commands are left out, because they were not read in time) %s", m.lost, line)
	}
	select {
	case m.lines <- line:
		m.lost = 0
	default:
		m.lost++
	}
}

// monitor shows a connection all commands from now on.
func (h *commandHook) monitor(peer *server.Peer) {
	if h.secret {
		peer.WriteError("ERR this embedded server has no MONITOR where it asks for a password; a real redis-server has it")
		return
	}
	peer.WriteOK()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.numbers[peer] == 0 || h.monitors[peer] != nil {
		return
	}
	m := &monitor{lines: make(chan string, linesMax)}
	h.monitors[peer] = m
	peer.OnDisconnect(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.monitors, peer)
		close(m.lines)
	})
	go func() {
		for line := range m.lines {
			peer.Block(func(w *server.Writer) {
				w.WriteInline(line)
				w.Flush()
			})
		}
	}()
}
