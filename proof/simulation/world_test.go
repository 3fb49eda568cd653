package simulation

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/alicebob/miniredis/v2"
	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"
)

var keys = library.Keys{Library: "main"}

// A world is a library in one process: a server, and actors that talk to it. It
// lets one command happen at a time, and only when everybody waits: which one is
// the seed's choice, and what goes wrong with it is decide's.
type world struct {
	seed     uint64
	redis    *miniredis.Miniredis
	observer *connection // looks at the server when nothing moves
	decide   func(*request) fault
	model    *model
	offset   time.Duration // by how much the server's clock is wrong

	mu      sync.Mutex
	asked   []*batch        // arrived since the world last looked
	answers []seenAnswer    // likewise
	reports []error         // likewise
	over    bool            // who begins now is dead at once
	given   map[string]bool // ids that users gave to orders
	held    []string        // labels of commands that must not happen yet
	news    chan struct{}   // has room for one; filled when the world should look again

	waiting []*request
	later   []lateAnswer
	step    int // counts the commands that happened
	lives   map[string]int
	actors  []*actor
	running sync.WaitGroup // what the actors do

	happened []record
	words    map[string]bool // what scripts answered and the log told, for the list of paths
	failure  error

	undisturbed bool // no fault will strike
	plotted     int  // how many commands had happened when the plot was told
}

// A batch is what an actor wrote in one go: a command, or a pipeline.
type batch struct {
	conn     *connection
	commands [][]string
	text     string
}

// A request is a command that waits to happen.
type request struct {
	conn    *connection
	args    []string
	label   string
	ordinal int       // counts the actor's commands
	due     time.Time // when it reaches the server
	blocks  bool      // it waits for an entry
	ends    time.Time // until when
	tried   string    // what the stream was when it was last looked at in vain
	fault   fault
}

type lateAnswer struct {
	conn   *connection
	answer []byte
	due    time.Time
}

// A record is a command that happened, or did not because of a fault.
type record struct {
	actor   string
	ordinal int
	label   string
	fault   fault
	args    []string
	answer  string
	at      time.Time
	changed bool // it may have changed something
}

func (r record) String() string {
	args := r.args[1:]
	if name := strings.ToLower(r.args[0]); name == "evalsha" || name == "eval" {
		args = r.args[3:] // without the script itself
	}
	text := strings.ReplaceAll(strings.Join(args, " "), keys.Key(""), "")
	return fmt.Sprintf("%s %-11s #%-4d %-33s %-22s %.160s → %.90q", r.at.Format("04:05.000"), r.actor, r.ordinal, r.label, r.fault, text, r.answer)
}

func newWorld(seed uint64) *world {
	w := &world{
		seed: seed, redis: miniredis.NewMiniRedis(), model: newModel(), news: make(chan struct{}, 1),
		lives: map[string]int{}, given: map[string]bool{}, words: map[string]bool{}, decide: func(*request) fault { return fault{} },
	}
	w.redis.Seed(int(seed))
	w.redis.ClockTTL(true)
	// The server begins to serve with the first connection.
	if first, err := w.redis.Dial(); err == nil {
		first.Close()
	}
	w.observer = newConnection(w, nil)
	return w
}

// ask takes commands that an actor wrote. The handshake of a connection is
// answered at once: it is the client library's own, and tells nothing of books.
func (w *world) ask(c *connection, commands [][]string) {
	if len(commands) == 0 {
		return
	}
	if name := strings.ToUpper(commands[0][0]); name == "HELLO" || name == "CLIENT" {
		for _, args := range commands {
			c.deliver(c.execute(args))
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var text strings.Builder
	for _, args := range commands {
		for _, arg := range args {
			text.WriteString(arg + " ")
		}
	}
	w.asked = append(w.asked, &batch{c, commands, text.String()})
	w.tell()
}

// tell has the world look again.
func (w *world) tell() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// serve lets commands happen until done, which is asked whenever nothing can, or
// until something is wrong.
func (w *world) serve(done func() bool) {
	for w.failure == nil {
		synctest.Wait()
		w.redis.SetTime(time.Now().Add(w.offset))
		w.admit()
		w.deliverLate()
		if r := w.choose(); r != nil {
			w.perform(r)
			if w.step > stepsMax {
				w.fail(fmt.Errorf("it does not come to an end: %d commands", w.step))
			}
			continue
		}
		if done() {
			return
		}
		timer := time.NewTimer(w.pause())
		select {
		case <-w.news:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// stepsMax is far more than any run needs.
const stepsMax = 20_000

func (w *world) fail(err error) {
	if w.failure == nil && err != nil {
		w.failure = err
	}
}

// admit gives what arrived its place among what waits, in an order that does not
// depend on how the Go runtime ran the actors.
func (w *world) admit() {
	w.mu.Lock()
	arrived, answers, reports := w.asked, w.answers, w.reports
	w.asked, w.answers, w.reports = nil, nil, nil
	w.mu.Unlock()
	for _, err := range reports {
		w.fail(err)
	}
	for _, seen := range answers {
		w.fail(w.model.compare(seen))
	}
	slices.SortStableFunc(arrived, func(a, b *batch) int {
		return cmp.Or(strings.Compare(a.conn.actor.name, b.conn.actor.name), strings.Compare(a.text, b.text))
	})
	now := time.Now()
	for _, batch := range arrived {
		actor := batch.conn.actor
		if actor.isDead() {
			continue
		}
		for _, args := range batch.commands {
			actor.ordinal++
			r := &request{conn: batch.conn, args: args, label: label(args), ordinal: actor.ordinal, due: now}
			r.unblock(now)
			if !actor.spared {
				r.fault = w.decide(r)
			}
			if r.fault.kind == delayedBefore {
				r.due = r.due.Add(r.fault.wait)
				r.ends = r.ends.Add(r.fault.wait)
			}
			w.waiting = append(w.waiting, r)
		}
	}
}

// unblock takes the waiting out of a read that waits for an entry: the world does it.
func (r *request) unblock(now time.Time) {
	for i, arg := range r.args {
		if strings.EqualFold(arg, "block") && strings.HasPrefix(strings.ToUpper(r.args[0]), "XREAD") {
			milliseconds, _ := strconv.Atoi(r.args[i+1])
			r.blocks, r.ends = true, now.Add(time.Duration(milliseconds)*time.Millisecond)
			r.args = slices.Delete(slices.Clone(r.args), i, i+2)
			return
		}
	}
}

// choose picks one of the commands that can happen now, or none.
func (w *world) choose() *request {
	w.mu.Lock()
	held := w.held
	w.mu.Unlock()
	now := time.Now()
	var chosen *request
	var lowest uint64
	first := map[*connection]bool{}
	for _, r := range w.waiting {
		if first[r.conn] {
			continue // what was written before on this connection comes first
		}
		first[r.conn] = true
		if now.Before(r.due) || now.Before(r.conn.actor.away) || slices.Contains(held, r.label) && !r.conn.actor.spared {
			continue
		}
		if r.blocks && now.Before(r.ends) && r.tried == w.newest(r.stream()) {
			continue
		}
		if order := w.chance(r.conn.actor.name, "order", r.ordinal); chosen == nil || order < lowest {
			chosen, lowest = r, order
		}
	}
	return chosen
}

// chance is a number that depends on the seed, an actor and what it is about, and
// on nothing else.
func (w *world) chance(actor, about string, number int) uint64 {
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%d %s %s %d", w.seed, actor, about, number)
	x := hash.Sum64() // whose upper bits are too much alike for texts that are
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// newest tells a stream apart from what it was before an entry was appended.
func (w *world) newest(stream string) string {
	entries, err := w.redis.Stream(stream)
	if err != nil || len(entries) == 0 {
		return fmt.Sprint(w.redis.Exists(stream))
	}
	return entries[len(entries)-1].ID
}

// stream is the stream that a command reads.
func (r *request) stream() string {
	for i, arg := range r.args {
		if strings.EqualFold(arg, "streams") {
			return r.args[i+1]
		}
	}
	return ""
}

// pause is how long nothing will happen, unless an actor does something.
func (w *world) pause() time.Duration {
	now := time.Now()
	next := now.Add(time.Minute)
	sooner := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	for _, r := range w.waiting {
		sooner(r.due)
		sooner(r.conn.actor.away)
		if r.blocks {
			sooner(r.ends)
		}
	}
	for _, late := range w.later {
		sooner(late.due)
	}
	return next.Sub(now)
}

func (w *world) deliverLate() {
	now := time.Now()
	w.later = slices.DeleteFunc(w.later, func(late lateAnswer) bool {
		if late.due.After(now) {
			return false
		}
		late.conn.deliver(late.answer)
		return true
	})
}

// perform lets a command happen, with what goes wrong with it.
func (w *world) perform(r *request) {
	actor, now := r.conn.actor, time.Now()
	record := record{actor: actor.name, ordinal: r.ordinal, label: r.label, fault: r.fault, args: r.args, at: now}
	switch r.fault.kind {
	case diesBefore, cutBefore, lostBefore:
		w.happen(record)
		w.forget(r.conn)
		w.strike(r)
		return
	case cutOff:
		actor.away, r.fault = now.Add(r.fault.wait), fault{}
		w.happen(record)
		return
	case lockLapses:
		w.redis.Del(actor.lock())
	case clockJumps:
		w.jump(r.fault.wait)
	case scriptsForgotten:
		w.observer.execute([]string{"SCRIPT", "FLUSH"})
	}
	answer := w.execute(r)
	if r.blocks && now.Before(r.ends) && isNothing(answer) {
		r.tried, r.fault = w.newest(r.stream()), r.fault.after()
		return
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(other *request) bool { return other == r })
	if r.label == "flushall" {
		w.model.forget()
	}
	record.answer, record.changed = string(answer), changes(r.args, answer)
	w.happen(record)
	if script, isScript := strings.CutPrefix(r.label, "evalsha "); isScript {
		for _, fault := range []string{"FENCED", "TERMS"} {
			if strings.HasPrefix(record.answer, "-"+fault) {
				w.words[script+" answers "+fault] = true
			}
		}
	}
	if record.changed {
		w.fail(w.observe(r, answer))
	}
	switch r.fault.kind {
	case diesAfter, cutAfter, lostAfter:
		w.forget(r.conn)
		w.strike(r)
	case delayedAfter:
		w.answer(r.conn, answer, now.Add(r.fault.wait))
	default:
		w.answer(r.conn, answer, now)
	}
}

// answer delivers an answer, not before it is due, and not before those to what was
// asked earlier on the same connection.
func (w *world) answer(c *connection, answer []byte, due time.Time) {
	for _, late := range w.later {
		if late.conn == c && late.due.After(due) {
			due = late.due
		}
	}
	if !due.After(time.Now()) {
		c.deliver(answer)
		return
	}
	w.later = append(w.later, lateAnswer{c, answer, due})
}

// execute has the server do a command. WAIT is answered here, for the embedded
// server has no replicas.
func (w *world) execute(r *request) []byte {
	if strings.EqualFold(r.args[0], "wait") {
		return fmt.Appendf(nil, ":%s\r\n", r.args[1])
	}
	return r.conn.execute(r.args)
}

// strike does to an actor what the fault of its command says.
func (w *world) strike(r *request) {
	switch r.fault.kind {
	case diesBefore, diesAfter:
		w.kill(r.conn.actor)
	case cutBefore, cutAfter:
		r.conn.fail(errCut)
	case lostBefore, lostAfter:
		// Nothing comes any more, and the actor finds out by waiting.
	}
}

// forget drops what was written on a connection that breaks.
func (w *world) forget(c *connection) {
	w.waiting = slices.DeleteFunc(w.waiting, func(r *request) bool { return r.conn == c })
}

func (w *world) happen(r record) {
	w.step++
	w.happened = append(w.happened, r)
}

// jump sets the server's clock forward, and with it every key's end nearer. Back it
// is never set: with a delivery in its future the embedded server's XPENDING leaves
// the entry out, which Redis does not.
func (w *world) jump(by time.Duration) {
	w.offset += by
	w.redis.SetTime(time.Now().Add(w.offset))
}

func isNothing(answer []byte) bool {
	text := string(answer)
	return text == "*-1\r\n" || text == "_\r\n" || text == "$-1\r\n"
}

// reading are the commands that change nothing.
var reading = []string{"memory", "get", "exists", "xinfo", "xpending", "xrange", "xrevrange", "xread", "hget", "hmget", "hexists", "hgetall", "hlen",
	"scard", "sismember", "xlen", "info", "ping", "wait", "config", "time", "multi", "subscribe", "unsubscribe"}

// changes reports whether a command may have changed something.
func changes(args []string, answer []byte) bool {
	return answer[0] != '-' && !isNothing(answer) && !slices.Contains(reading, strings.ToLower(args[0]))
}

// An actor is a process that talks to the server: an instance, or a client.
type actor struct {
	world  *world
	name   string // of this life: worker1, and when it is started again worker1/2
	as     string // an instance's name
	spared bool   // no fault strikes it
	rdb    redis.UniversalClient
	ctx    context.Context
	cancel context.CancelFunc

	serving bool      // it runs an instance; guarded by the world's mu
	ordinal int       // counts its commands; the world's alone
	away    time.Time // until when nothing it sends arrives; the world's alone

	mu          sync.Mutex
	dead        bool
	connections []*connection
}

func (w *world) newActor(name string) *actor {
	w.mu.Lock()
	w.lives[name]++
	life := w.lives[name]
	w.mu.Unlock()
	a := &actor{world: w, name: name, as: name}
	if life > 1 {
		a.name = fmt.Sprintf("%s/%d", name, life)
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	// The address is never dialled, but go-redis looks a name up to learn what network it is in.
	rdb, err := redisconn.Connect(redisconn.Options{Address: "127.0.0.1:6379", Library: keys.Library})
	if err != nil {
		panic(err) // that is an address
	}
	rdb.AddHook(a)
	a.rdb = rdb
	w.mu.Lock()
	defer w.mu.Unlock()
	w.actors = append(w.actors, a)
	if w.over {
		w.kill(a)
	}
	return a
}

// DialHook connects the actor with the simulated server.
func (a *actor) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.dead {
			return nil, &net.OpError{Op: "dial", Net: "simulation", Err: syscall.ECONNREFUSED}
		}
		c := newConnection(a.world, a)
		a.connections = append(a.connections, c)
		return c, nil
	}
}

// ProcessHook leaves commands as they are.
func (a *actor) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook leaves pipelines as they are.
func (a *actor) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (a *actor) lock() string { return keys.Instance(a.as) }

func (a *actor) isDead() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dead
}

// kill ends a process: nothing it wrote and has not happened will, and nothing it
// tries from now on reaches the server.
func (w *world) kill(a *actor) {
	a.mu.Lock()
	a.dead = true
	connections := a.connections
	a.mu.Unlock()
	for _, c := range connections {
		w.forget(c)
		c.fail(errCut)
	}
	a.cancel()
}

// finish kills everybody and waits until nothing runs any more.
func (w *world) finish() {
	w.mu.Lock()
	w.over = true
	actors := w.actors
	w.mu.Unlock()
	for _, a := range actors {
		w.kill(a)
	}
	w.running.Wait()
	for _, a := range w.actors {
		a.rdb.Close()
	}
	w.observer.fail(errCut)
	w.redis.Close()
	time.Sleep(time.Minute) // until the client library's own goroutines have seen it, too
}

// scriptNames tells scripts by their hashes, those of the locks too, which the
// library for locks keeps to itself.
var scriptNames = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	for name, script := range map[string]*redis.Script{
		"lend": scripts.Lend, "return": scripts.Return, "fetch": scripts.Fetch, "store": scripts.Store, "deliver": scripts.Deliver,
		"reject": scripts.Reject, "claim": scripts.Claim, "retire": scripts.Retire, "retry": scripts.Retry, "drop": scripts.Drop, "prolong": scripts.Prolong, "shed": scripts.Shed, "terms": scripts.Terms,
	} {
		names[script.Hash()] = name
	}
	overheard := &eavesdropper{}
	ctx := context.Background()
	lock, err := redislock.Obtain(ctx, overheard, "lock", time.Minute, nil)
	if err != nil {
		panic(err)
	}
	names[overheard.hash] = "obtain"
	_ = lock.Refresh(ctx, time.Minute, nil)
	names[overheard.hash] = "refresh"
	_ = lock.Release(ctx)
	names[overheard.hash] = "release"
	return names
})

// An eavesdropper answers to any script, and remembers which it was.
type eavesdropper struct {
	redis.Scripter
	hash string
}

func (e *eavesdropper) EvalSha(_ context.Context, hash string, _ []string, _ ...any) *redis.Cmd {
	e.hash = hash
	return redis.NewCmdResult("OK", nil)
}

// label tells what a command is, and on what kind of key: "xadd lending:requests",
// "evalsha lend", "get instance".
func label(args []string) string {
	name := strings.ToLower(args[0])
	key := ""
	switch name {
	case "evalsha":
		return name + " " + cmp.Or(scriptNames()[args[1]], "unknown")
	case "eval":
		return name + " " + cmp.Or(scriptNames()[redis.NewScript(args[1]).Hash()], "unknown")
	case "memory":
		key = args[2]
	case "xinfo", "xgroup":
		name, key = name+" "+strings.ToLower(args[1]), args[2]
	case "xreadgroup", "xread":
		key = (&request{args: args}).stream()
	default:
		if len(args) > 1 {
			key = args[1]
		}
	}
	suffix, ours := strings.CutPrefix(key, keys.Key(""))
	if !ours {
		return name
	}
	parts := strings.Split(suffix, ":")
	if parts[0] == "instance" {
		return name + " instance"
	}
	return name + " " + strings.Join(parts[:min(2, len(parts))], ":")
}
