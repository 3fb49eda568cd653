package redistest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// named matches commands by name.
func named(name string) func(args []string) bool {
	return func(args []string) bool { return len(args) > 0 && strings.EqualFold(args[0], name) }
}

// wantKeys compares keys, read past the proxy, with what they should hold; a
// key that should be missing is "".
func wantKeys(t *testing.T, s *Server, want map[string]string) {
	t.Helper()
	ctx, rdb := deadline(t), s.Client(t)
	got := map[string]string{}
	for key := range want {
		value, err := rdb.Get(ctx, key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
		got[key] = value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func wantFaults(t *testing.T, p *Proxy, want int) {
	t.Helper()
	if got := p.Faults(); got != want {
		t.Errorf("Faults() = %d, want %d", got, want)
	}
}

func TestAClientWorksThroughTheProxyAsWithoutIt(t *testing.T) {
	ctx := deadline(t)
	p := NewProxy(t, Start(t))
	rdb := connect(t, "tcp", p.Addr())

	// Many megabytes both ways.
	large := strings.Repeat("a very long book\r\n", 1<<19)
	if err := rdb.Set(ctx, "large", large, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := rdb.Get(ctx, "large").Result(); err != nil || got != large {
		t.Errorf("GET large = %d bytes, %v, want the %d bytes that were set", len(got), err, len(large))
	}

	// A transaction in a pipeline, with nested and nil replies.
	cmds, err := rdb.TxPipelined(ctx, func(pipeline redis.Pipeliner) error {
		pipeline.HSet(ctx, "card", "geb", "1", "alice", "2")
		pipeline.HGetAll(ctx, "card")
		pipeline.HMGet(ctx, "card", "geb", "nobody")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cmds[1].(*redis.MapStringStringCmd).Val(), (map[string]string{"geb": "1", "alice": "2"}); !cmp.Equal(got, want) {
		t.Errorf("HGETALL = %v, want %v", got, want)
	}
	if got, want := cmds[2].(*redis.SliceCmd).Val(), []any{"1", nil}; !cmp.Equal(got, want) {
		t.Errorf("HMGET = %v, want %v", got, want)
	}

	// A subscription, whose messages come unasked.
	subscription := rdb.Subscribe(ctx, "bell", "door")
	defer subscription.Close()
	for range 2 {
		if _, err := subscription.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := rdb.Publish(ctx, "bell", "ring").Err(); err != nil {
		t.Fatal(err)
	}
	message, err := subscription.ReceiveMessage(ctx)
	if err != nil || message.Payload != "ring" {
		t.Errorf("message %v, %v, want ring", message, err)
	}
	wantFaults(t, p, 0)
}

func TestCommandsAreUnderstoodHoweverTheyArePacked(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	var mu sync.Mutex
	var got [][]string
	p.LoseCommand(func(args []string) bool {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, args)
		return false
	})
	text := command("SET", "book", "a\r\n*1\r\n$4\r\nPING\r\n") + command("GET", "") + "*0\r\n" + "\r\n" + "PING  you\r\n"
	answers := []string{"+OK", "$-1", "$3", "you"}

	whole := dial(t, "tcp", p.Addr())
	whole.send(t, text)
	whole.wantLines(t, answers...)

	split := dial(t, "tcp", p.Addr())
	for i := range text {
		split.send(t, text[i:i+1])
	}
	split.wantLines(t, answers...)

	once := [][]string{{"SET", "book", "a\r\n*1\r\n$4\r\nPING\r\n"}, {"GET", ""}, nil, {}, {"PING", "you"}}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(append(once, once...), got); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

func TestARequestThatIsNotRESPEndsItsConnectionOnly(t *testing.T) {
	p := NewProxy(t, Start(t))
	other := dial(t, "tcp", p.Addr())
	for _, text := range []string{"*x\r\n", "*1\r\n:1\r\n", "*1\r\n$-1\r\n"} {
		broken := dial(t, "tcp", p.Addr())
		broken.send(t, text)
		broken.wantEnd(t)
	}
	other.send(t, "PING\r\n")
	other.wantLines(t, "+PONG")
}

func TestEveryKindOfReplyIsReadWhole(t *testing.T) {
	for _, reply := range []string{
		"+OK\r\n", "-ERR no\r\n", ":1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(123\r\n",
		"$3\r\na\r\n\r\n", "$0\r\n\r\n", "$-1\r\n", "!5\r\nERR x\r\n", "=7\r\ntxt:a\r\n\r\n",
		"*0\r\n", "*-1\r\n", "*2\r\n*1\r\n:1\r\n$-1\r\n", "~1\r\n+a\r\n", ">2\r\n+a\r\n+b\r\n",
		"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", "|1\r\n+a\r\n:1\r\n$1\r\nx\r\n",
	} {
		var raw bytes.Buffer
		reader := bufio.NewReader(strings.NewReader(reply + "rest"))
		if err := readReply(reader, &raw); err != nil {
			t.Errorf("%q: %v", reply, err)
		}
		rest, _ := io.ReadAll(reader)
		if diff := cmp.Diff([]string{reply, "rest"}, []string{raw.String(), string(rest)}); diff != "" {
			t.Errorf("%q (-want +got):\n%s", reply, diff)
		}
	}
}

func TestADroppedReplyBelongsToACommandThatWasExecuted(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	p := NewProxy(t, s)
	rdb := connect(t, "tcp", p.Addr())
	p.DropReply(named("incr"))

	if err := rdb.Set(ctx, "other", "1", 0).Err(); err != nil {
		t.Errorf("SET, which does not match: %v", err)
	}
	if got, err := rdb.Incr(ctx, "count").Result(); err == nil {
		t.Errorf("INCR = %d, want an error", got)
	}
	wantFaults(t, p, 1)
	wantKeys(t, s, map[string]string{"count": "1", "other": "1"})

	// The fault is spent: the next command passes, on a new connection.
	if got, err := rdb.Incr(ctx, "count").Result(); err != nil || got != 2 {
		t.Errorf("the second INCR = %d, %v, want 2", got, err)
	}
	wantFaults(t, p, 1)
}

func TestAReplyIsNotDroppedBeforeTheServerHasGivenIt(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	client := dial(t, "tcp", p.Addr())
	client.send(t, "PING\r\n")
	client.wantLines(t, "+PONG")
	p.DropReply(named("INCR"))

	s.Pause(t)
	client.send(t, command("INCR", "count"))
	client.wantSilence(t)
	wantFaults(t, p, 0)

	s.Resume(t)
	client.wantEnd(t)
	wantFaults(t, p, 1)
	wantKeys(t, s, map[string]string{"count": "1"})
}

func TestADroppedReplyInAPipelineSparesEarlierRepliesAndLosesLaterCommands(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	p.DropReply(named("INCR"))
	client := dial(t, "tcp", p.Addr())

	client.send(t, command("SET", "before", "1")+command("GET", "before")+command("INCR", "count")+command("SET", "after", "1"))

	client.wantLines(t, "+OK", "$1", "1")
	client.wantEnd(t)
	wantFaults(t, p, 1)
	wantKeys(t, s, map[string]string{"before": "1", "count": "1", "after": ""})
}

func TestALostCommandInAPipelineSparesEarlierRepliesAndLosesLaterCommands(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	p.LoseCommand(named("INCR"))
	client := dial(t, "tcp", p.Addr())

	// Redis does not answer what is empty.
	client.send(t, "*0\r\n"+"\r\n"+command("SET", "before", "1")+command("GET", "before")+command("INCR", "count")+command("SET", "after", "1"))

	client.wantLines(t, "+OK", "$1", "1")
	client.wantEnd(t)
	wantFaults(t, p, 1)
	wantKeys(t, s, map[string]string{"before": "1", "count": "", "after": ""})
}

func TestALostCommandIsNotExecuted(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	p := NewProxy(t, s)
	rdb := connect(t, "tcp", p.Addr())
	p.LoseCommand(named("incr"))

	if got, err := rdb.Incr(ctx, "count").Result(); err == nil {
		t.Errorf("INCR = %d, want an error", got)
	}
	wantFaults(t, p, 1)
	wantKeys(t, s, map[string]string{"count": ""})

	if got, err := rdb.Incr(ctx, "count").Result(); err != nil || got != 1 {
		t.Errorf("the second INCR = %d, %v, want 1", got, err)
	}
	wantFaults(t, p, 1)
}

func TestAFaultMeetsATransactionAsAWhole(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	p := NewProxy(t, s)
	rdb := connect(t, "tcp", p.Addr())
	increments := func(pipeline redis.Pipeliner) error {
		pipeline.Incr(ctx, "count")
		pipeline.Incr(ctx, "count")
		return nil
	}

	p.LoseCommand(named("exec"))
	if _, err := rdb.TxPipelined(ctx, increments); err == nil {
		t.Error("the transaction whose EXEC was lost succeeded")
	}
	wantKeys(t, s, map[string]string{"count": ""})

	p.DropReply(named("exec"))
	if _, err := rdb.TxPipelined(ctx, increments); err == nil {
		t.Error("the transaction whose reply was dropped succeeded")
	}
	wantKeys(t, s, map[string]string{"count": "2"})
	wantFaults(t, p, 2)
}

func TestPushedMessagesAreNotTakenForTheReplyToDrop(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	p := NewProxy(t, s)
	client := dial(t, "tcp", p.Addr())
	client.send(t, command("HELLO", "3")+command("ECHO", "past it"))
	client.skipPast(t, "past it\r\n")
	p.DropReply(named("BLPOP"))

	client.send(t, command("SUBSCRIBE", "bell", "door")+command("BLPOP", "queue", "0"))
	client.wantLines(t, ">3", "$9", "subscribe", "$4", "bell", ":1")
	client.wantLines(t, ">3", "$9", "subscribe", "$4", "door", ":2")
	waitForBlocked(t, s, "1")
	rdb := s.Client(t)
	if err := rdb.Publish(ctx, "bell", "ring").Err(); err != nil {
		t.Fatal(err)
	}
	client.wantLines(t, ">3", "$7", "message", "$4", "bell", "$4", "ring")
	client.wantSilence(t)
	wantFaults(t, p, 0)

	if err := rdb.RPush(ctx, "queue", "geb").Err(); err != nil {
		t.Fatal(err)
	}
	client.wantEnd(t)
	wantFaults(t, p, 1)
}

func TestMessagesInRESP2DoNotKeepAFaultFromFiring(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	p := NewProxy(t, s)
	client := dial(t, "tcp", p.Addr())
	client.send(t, command("SUBSCRIBE", "bell"))
	client.wantLines(t, "*3", "$9", "subscribe", "$4", "bell", ":1")
	if err := s.Client(t).Publish(ctx, "bell", "ring").Err(); err != nil {
		t.Fatal(err)
	}
	client.wantLines(t, "*3", "$7", "message", "$4", "bell", "$4", "ring")
	p.LoseCommand(named("PING"))

	client.send(t, command("PING"))

	client.wantEnd(t)
	wantFaults(t, p, 1)
}

func TestTheReplyToASubscriptionCanBeDropped(t *testing.T) {
	ctx := deadline(t)
	p := NewProxy(t, Start(t))
	p.DropReply(named("subscribe"))
	subscription := connect(t, "tcp", p.Addr()).Subscribe(ctx, "bell", "door")
	defer subscription.Close()
	if got, err := subscription.Receive(ctx); err == nil {
		t.Errorf("received %v, want an error", got)
	}
	wantFaults(t, p, 1)
}

func TestFaultsFireInTheOrderTheyWereArmedOneACommand(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	p.DropReply(named("INCR"))
	p.LoseCommand(named("INCR"))
	for range 2 {
		client := dial(t, "tcp", p.Addr())
		client.send(t, command("INCR", "count"))
		client.wantEnd(t)
	}
	wantFaults(t, p, 2)
	wantKeys(t, s, map[string]string{"count": "1"})
}

func TestOneFaultHitsOneOfManyClients(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	p := NewProxy(t, s)
	rdb := connect(t, "tcp", p.Addr())
	p.DropReply(named("incr"))
	errs := make(chan error)
	const clients = 16
	for range clients {
		go func() { errs <- rdb.Incr(ctx, "count").Err() }()
	}
	failed := 0
	for range clients {
		if <-errs != nil {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d clients failed, want 1", failed)
	}
	wantFaults(t, p, 1)
	wantKeys(t, s, map[string]string{"count": "16"})
}

func TestCutAllEndsAllConnectionsAndNewOnesWork(t *testing.T) {
	p := NewProxy(t, Start(t))
	clients := []*wire{dial(t, "tcp", p.Addr()), dial(t, "tcp", p.Addr())}
	for _, client := range clients {
		client.send(t, "PING\r\n")
		client.wantLines(t, "+PONG")
	}

	p.CutAll()

	for _, client := range clients {
		client.wantEnd(t)
	}
	again := dial(t, "tcp", p.Addr())
	again.send(t, "PING\r\n")
	again.wantLines(t, "+PONG")
	wantFaults(t, p, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	if got, want := len(p.links), 1; got != want {
		t.Errorf("the proxy knows %d connections, want %d", got, want)
	}
}

func TestNothingReachesTheServerDuringAStallAndAllOfItAfterwards(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	p := NewProxy(t, s)
	open := dial(t, "tcp", p.Addr())
	open.send(t, "PING\r\n")
	open.wantLines(t, "+PONG")

	p.Stall()
	open.send(t, command("RPUSH", "stalled", "an open connection"))
	fresh := dial(t, "tcp", p.Addr())
	fresh.send(t, command("RPUSH", "stalled", "a new connection"))
	gone := dial(t, "tcp", p.Addr())
	// The replies to the first commands fail when the last is still on its way.
	gone.send(t, strings.Repeat("PING\r\n", 1000)+command("RPUSH", "stalled", "a client that gave up"))
	gone.Close()
	open.wantSilence(t)
	fresh.wantSilence(t)
	rdb := s.Client(t)
	if got, err := rdb.Exists(ctx, "stalled").Result(); err != nil || got != 0 {
		t.Fatalf("EXISTS stalled = %d, %v during the stall, want 0", got, err)
	}

	p.Resume()
	got := map[string]bool{}
	for range 3 {
		value, err := rdb.BLPop(ctx, 0, "stalled").Result()
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		got[value[1]] = true
	}
	want := map[string]bool{"an open connection": true, "a new connection": true, "a client that gave up": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what arrived (-want +got):\n%s", diff)
	}
}

func TestNoReplyReachesTheClientDuringAStall(t *testing.T) {
	ctx := deadline(t)
	s := Start(t)
	p := NewProxy(t, s)
	client := dial(t, "tcp", p.Addr())
	client.send(t, "PING\r\n"+command("BLPOP", "queue", "0"))
	client.wantLines(t, "+PONG")
	waitForBlocked(t, s, "1")
	rdb := s.Client(t)

	p.Stall()
	if err := rdb.RPush(ctx, "queue", "geb").Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := rdb.LLen(ctx, "queue").Result(); err != nil || got != 0 {
		t.Fatalf("LLEN queue = %d, %v, want 0, because the server has answered BLPOP", got, err)
	}
	client.wantSilence(t)

	p.Resume()
	client.wantLines(t, "*2", "$5", "queue", "$3", "geb")
}

// waitForBlocked returns when so many clients wait in a blocking command, in
// the server's eyes.
func waitForBlocked(t *testing.T, s *Server, want string) {
	t.Helper()
	rdb := s.Client(t)
	for ctx := deadline(t); ; {
		info, err := rdb.InfoMap(ctx, "clients").Result()
		if err != nil {
			t.Fatalf("wait until %s clients are blocked: %v", want, err)
		}
		if info["Clients"]["blocked_clients"] == want {
			return
		}
	}
}

func TestAFaultAndTheEndOfAServerAreNotNoticedDuringAStall(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	hit, open := dial(t, "tcp", p.Addr()), dial(t, "tcp", p.Addr())
	for _, client := range []*wire{hit, open} {
		client.send(t, "PING\r\n")
		client.wantLines(t, "+PONG")
	}
	p.LoseCommand(named("INCR"))

	p.Stall()
	hit.send(t, command("INCR", "count"))
	hit.wantSilence(t)
	wantFaults(t, p, 0)
	p.Resume()
	hit.wantEnd(t)
	wantFaults(t, p, 1)

	p.Stall()
	s.Kill(t)
	open.wantSilence(t)
	p.Resume()
	open.wantEnd(t)
}

func TestAStallInterruptsAWriteToAServerThatDoesNotRead(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	client := dial(t, "tcp", p.Addr())
	client.send(t, "PING\r\n")
	client.wantLines(t, "+PONG")
	large := strings.Repeat("x", 8<<20)
	s.Pause(t)
	client.send(t, command("SET", "large", large))
	for ctx := deadline(t); ; runtime.Gosched() {
		p.mu.Lock()
		writing := p.writing
		p.mu.Unlock()
		if writing > 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the command is not forwarded")
		}
	}

	p.Stall()
	p.mu.Lock()
	if p.writing != 0 {
		t.Errorf("after Stall %d writes are under way, want none", p.writing)
	}
	p.mu.Unlock()
	s.Resume(t)
	client.wantSilence(t)
	wantKeys(t, s, map[string]string{"large": ""})

	p.Resume()
	client.wantLines(t, "+OK")
	wantKeys(t, s, map[string]string{"large": large})
}

func TestAClientOfADeadServerIsHungUpOnUntilTheServerIsBack(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	open := dial(t, "tcp", p.Addr())
	open.send(t, "PING\r\n")
	open.wantLines(t, "+PONG")

	s.Kill(t)
	open.wantEnd(t)
	dial(t, "tcp", p.Addr()).wantEnd(t)

	s.Restart(t)
	again := dial(t, "tcp", p.Addr())
	again.send(t, "PING\r\n")
	again.wantLines(t, "+PONG")
}

func TestTheServerLearnsThatAClientHasHungUpButNotDuringAStall(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	idle, client := dial(t, "tcp", p.Addr()), dial(t, "tcp", p.Addr())
	client.send(t, command("BLPOP", "queue", "0"))
	waitForBlocked(t, s, "1")

	p.Stall()
	client.Close()
	idle.wantSilence(t) // which leaves time for what must not happen
	waitForBlocked(t, s, "1")

	p.Resume()
	waitForBlocked(t, s, "0")
}

func TestAllThatAClientSentBeforeItHungUpIsExecuted(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s)
	idle, client := dial(t, "tcp", p.Addr()), dial(t, "tcp", p.Addr())
	s.Pause(t)
	// Redis reads 16 KiB at a time, so it replies before it reads the end.
	client.send(t, strings.Repeat(command("ECHO", strings.Repeat("x", 2000)), 12)+command("RPUSH", "queue", "geb"))
	client.Close()
	idle.wantSilence(t) // which leaves time to pass all of it on

	s.Resume(t)

	got, err := s.Client(t).BLPop(deadline(t), 0, "queue").Result()
	if diff := cmp.Diff([]string{"queue", "geb"}, got); err != nil || diff != "" {
		t.Errorf("BLPOP: %v (-want +got):\n%s", err, diff)
	}
}

func TestTheEndOfATestEndsAStalledProxyWithAllItsConnections(t *testing.T) {
	s := Start(t)
	var p *Proxy
	var idle, waiting *wire
	t.Run("a test", func(inner *testing.T) {
		// Only the proxy belongs to the inner test: the connections stay.
		p = NewProxy(inner, s)
		idle, waiting = dial(t, "tcp", p.Addr()), dial(t, "tcp", p.Addr())
		idle.send(t, "PING\r\n")
		idle.wantLines(t, "+PONG")
		p.Stall()
		waiting.send(t, "PING\r\n")
	})

	idle.wantEnd(t)
	waiting.wantEnd(t)
	if connection, err := net.Dial("tcp", p.Addr()); err == nil {
		connection.Close()
		t.Error("the proxy still listens")
	}
	// The goroutines have done their last step, but may not be gone yet.
	for ctx := deadline(t); ; runtime.Gosched() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("redistest.(*Proxy)")) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("goroutines of the proxy are left:\n%s", stacks)
		}
	}
}
