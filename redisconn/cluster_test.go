package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// Tests kill servers, of which the client would tell at every try to reach them.
func TestMain(m *testing.M) {
	logging.Disable()
	os.Exit(m.Run())
}

// elsewhere returns names of libraries of which each has another owner.
func elsewhere(t *testing.T, c *redistest.Cluster) []string {
	t.Helper()
	names := make([]string, len(c.Masters))
	for i, found := 0, 0; found < len(names); i++ {
		name := fmt.Sprintf("branch-%d", i)
		if owner := c.Owner(t, library.Keys{Library: name}.Events()); names[owner] == "" {
			names[owner] = name
			found++
		}
	}
	return names
}

func TestAClientOfAClusterFindsEachLibraryByOneAddress(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	c := redistest.StartCluster(t, 3, false, "--appendonly", "yes")
	for owner, name := range elsewhere(t, c) {
		keys := library.Keys{Library: name}
		rdb := connect(t, Options{Addresses: c.Addresses()[:1], Cluster: true, Library: name})
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Events(), Values: []string{"a", "b"}}).Err(); err != nil {
			t.Fatalf("append in library %s: %v", name, err)
		}
		if n, err := c.Masters[owner].Client(t).Exists(ctx, keys.Events()).Result(); n != 1 || err != nil {
			t.Errorf("library %s is not on master %d: %d, %v", name, owner, n, err)
		}
		master, err := Master(ctx, rdb, keys)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := Where(master), "redis://"+c.Masters[owner].Address; got != want {
			t.Errorf("the master of %s is %s, want %s", name, got, want)
		}
		if got, want := Where(rdb), "redis://"+c.Masters[0].Address; got != want {
			t.Errorf("Where tells %s, want %s", got, want)
		}
		if err := Ping(ctx, rdb, keys); err != nil {
			t.Errorf("ping: %v", err)
		}
		server, err := Inspect(ctx, rdb, keys)
		if err != nil || server.Name != theServer(t, server) || server.AppendOnly != "yes" || server.FullCoverage != "no" {
			t.Errorf("Inspect = %+v, %v", server, err)
		}
	}

	// All commands of a library go to one place, in a MULTI too; of two they do not.
	north, south := library.Keys{Library: "north"}, library.Keys{Library: "south"}
	rdb := connect(t, Options{Addresses: c.Addresses(), Cluster: true})
	for _, name := range []string{"north", "south", "east", "west"} {
		_, err := rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, inbox := range (library.Keys{Library: name}).Inboxes(library.Lending) {
				pipe.XLen(ctx, inbox)
			}
			pipe.Time(ctx)
			return nil
		})
		if err != nil {
			t.Errorf("one MULTI over the library %s: %v", name, err)
		}
	}
	if err := rdb.Del(ctx, north.Events(), south.Events()).Err(); err == nil || !strings.HasPrefix(err.Error(), "CROSSSLOT") {
		t.Errorf("one command over two libraries: %v, want CROSSSLOT", err)
	}

	// What belongs to a Cluster and what does not is told to who mistakes one for the other.
	plain := connect(t, Options{Address: c.Masters[0].Address})
	err := plain.XLen(ctx, library.Keys{Library: elsewhere(t, c)[1]}.Events()).Err()
	if KindOf(err) != Refused || !strings.Contains(Remedy(err), "--cluster") {
		t.Errorf("a client that knows of no Cluster: %v, want it Refused with the remedy --cluster", err)
	}
}

// migrate moves the slot of a key from one master to another, and calls f when the
// keys that exist are moved and the slot is not.
func migrate(t *testing.T, ctx context.Context, c *redistest.Cluster, from, to int, key string, f func()) {
	t.Helper()
	source, target := c.Masters[from].Client(t), c.Masters[to].Client(t)
	must := func(values ...any) {
		t.Helper()
		for _, value := range values {
			if cmd, ok := value.(redis.Cmder); ok && cmd.Err() != nil {
				t.Fatal(cmd.Err())
			}
		}
	}
	slot := source.ClusterKeySlot(ctx, key).Val()
	sourceID, targetID := source.Do(ctx, "CLUSTER", "MYID").Val(), target.Do(ctx, "CLUSTER", "MYID").Val()
	must(target.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID), source.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID))
	host, port, _ := strings.Cut(c.Masters[to].Address, ":")
	for _, moved := range source.ClusterGetKeysInSlot(ctx, int(slot), 1000).Val() {
		must(source.Do(ctx, "MIGRATE", host, port, moved, 0, 5000))
	}
	f()
	must(target.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID), source.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID))
}

// The nodes tell each other's addresses, or leave the host out or put a question mark
// in its place.
func TestAClientFollowsALibraryThatMoves(t *testing.T) {
	for _, endpoint := range []string{"ip", "unknown-endpoint", "hostname"} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			followALibraryThatMoves(t, redistest.StartCluster(t, 2, false, "--cluster-preferred-endpoint-type", endpoint))
		})
	}
}

func followALibraryThatMoves(t *testing.T, c *redistest.Cluster) {
	ctx := deadline(t)
	keys := library.Keys{Library: "main"}
	rdb := connect(t, Options{Address: c.Masters[0].Address, Cluster: true})
	count := func(want int64) {
		t.Helper()
		// One command, a pipeline, a MULTI and a script: each is told where to go in its own way.
		if n, err := rdb.Incr(ctx, keys.Key("one")).Result(); n != want || err != nil {
			t.Errorf("one command: %d, %v, want %d", n, err, want)
		}
		pipe := rdb.Pipeline()
		first, second := pipe.Incr(ctx, keys.Key("two")), pipe.Incr(ctx, keys.Key("three"))
		if _, err := pipe.Exec(ctx); first.Val() != want || second.Val() != want || err != nil {
			t.Errorf("a pipeline: %d, %d, %v, want %d", first.Val(), second.Val(), err, want)
		}
		multi := rdb.TxPipeline()
		third := multi.Incr(ctx, keys.Key("four"))
		if _, err := multi.Exec(ctx); third.Val() != want || err != nil {
			t.Errorf("a MULTI: %d, %v, want %d", third.Val(), err, want)
		}
		script := redis.NewScript(`return redis.call('INCR', KEYS[1])`)
		if n, err := script.Run(ctx, rdb, []string{keys.Key("five")}).Int64(); n != want || err != nil {
			t.Errorf("a script: %d, %v, want %d", n, err, want)
		}
	}
	count(1)
	from := c.Owner(t, keys.Events())
	if got, want := Standing(ctx, rdb, keys), "redis://"+c.Masters[from].Address; got != want {
		t.Errorf("the library stands on %s, want %s", got, want)
	}
	migrate(t, ctx, c, from, 1-from, keys.Events(), func() { count(2) })
	count(3)
}

// announced starts a Cluster of one node that its clients reach through a proxy only.
func announced(t *testing.T, ctx context.Context) (*redistest.Node, *redistest.Proxy) {
	t.Helper()
	node := redistest.StartCluster(t, 1, false).Masters[0]
	proxy := redistest.NewProxy(t, node.Server)
	_, port, _ := strings.Cut(proxy.Addr(), ":")
	if err := node.Client(t).ConfigSet(ctx, "cluster-announce-port", port).Err(); err != nil {
		t.Fatal(err)
	}
	return node, proxy
}

func TestAClientOfAClusterNeverRepeatsACommandByItself(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	node, proxy := announced(t, ctx)
	direct := node.Client(t)
	script := redis.NewScript(`return redis.call('INCR', KEYS[1])`)
	if err := script.Load(ctx, direct).Err(); err != nil {
		t.Fatal(err)
	}
	for name, incr := range map[string]func(rdb redis.UniversalClient) error{
		"command": func(rdb redis.UniversalClient) error { return rdb.Incr(ctx, "command").Err() },
		"script":  func(rdb redis.UniversalClient) error { return script.Run(ctx, rdb, []string{"script"}).Err() },
		"pipeline": func(rdb redis.UniversalClient) error {
			pipe := rdb.Pipeline()
			pipe.Get(ctx, "pipeline")
			counted := pipe.Incr(ctx, "pipeline")
			_, _ = pipe.Exec(ctx)
			return counted.Err()
		},
		"multi": func(rdb redis.UniversalClient) error {
			_, err := rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error { return pipe.Incr(ctx, "multi").Err() })
			return err
		},
	} {
		rdb := connect(t, Options{Address: proxy.Addr(), Cluster: true})
		if err := rdb.Exists(ctx, "key").Err(); err != nil {
			t.Fatal(err)
		}
		before := proxy.Faults()
		last := map[string]string{"command": "incr", "script": "evalsha", "pipeline": "incr", "multi": "exec"}[name]
		proxy.DropReply(func(args []string) bool { return args[0] == last })
		err := incr(rdb)
		if KindOf(err) != Passing {
			t.Errorf("%s whose reply was lost: %v, want an error of kind Passing", name, err)
		}
		if proxy.Faults() != before+1 {
			t.Fatalf("%s: the reply was not lost", name)
		}
		if n, err := direct.Get(ctx, name).Int(); n != 1 || err != nil {
			t.Errorf("%s was executed %d times, %v, want once", name, n, err)
		}
		if err := incr(rdb); err != nil {
			t.Errorf("%s after that: %v", name, err)
		}
	}
}

// A machine that has vanished hangs up on nobody.
func TestANodeThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	_, proxy := announced(t, ctx)
	rdb := connect(t, Options{Address: proxy.Addr(), Cluster: true})
	keys := library.Keys{Library: "main"}
	read := &redis.XReadGroupArgs{Group: library.Lending, Consumer: "worker1", Streams: []string{keys.Requests(), ">"}, Block: 100 * time.Millisecond}
	if err := rdb.XGroupCreateMkStream(ctx, keys.Requests(), library.Lending, "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.XReadGroup(ctx, read).Err(); !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	proxy.Stall()
	defer proxy.Resume()
	for name, ask := range map[string]func() error{
		"a command": func() error { return rdb.Incr(ctx, keys.Key("n")).Err() },
		"a pipeline": func() error {
			_, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error { return pipe.Incr(ctx, keys.Key("n")).Err() })
			return err
		},
		"a blocking read": func() error { return rdb.XReadGroup(ctx, read).Err() },
	} {
		begin := time.Now()
		err := ask()
		if took := time.Since(begin); KindOf(err) != Passing || took > 3*commandPatience {
			t.Errorf("%s of a node that does not answer: %v after %s, want an error of kind Passing after %s", name, err, took, commandPatience)
		}
	}
}

func TestAClientFindsTheNewMasterAfterAFailover(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	c := redistest.StartCluster(t, 3, true)
	keys := library.Keys{Library: "main"}
	owner := c.Owner(t, keys.Events())
	rdb := connect(t, Options{Addresses: c.Addresses(), Cluster: true})
	script := redis.NewScript(`return redis.call('INCR', KEYS[1])`)
	if err := script.Run(ctx, rdb, []string{keys.Key("n")}).Err(); err != nil {
		t.Fatal(err)
	}
	bells := rdb.Subscribe(ctx, keys.Key("bell"))
	defer bells.Close()
	if _, err := bells.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	rung := bells.Channel()
	replica := c.Replicas[owner].Client(t)
	for replica.DBSize(ctx).Val() == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	c.Masters[owner].Kill(t)
	began := time.Now()
	tries := 0
	for {
		err := script.Run(ctx, rdb, []string{keys.Key("n")}).Err()
		if err == nil {
			break
		}
		if KindOf(err) != Passing || ctx.Err() != nil {
			t.Fatalf("while the master is away: %v (%v), want an error of kind Passing", err, KindOf(err))
		}
		tries++
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("the library was back after %s and %d tries", time.Since(began).Round(time.Millisecond), tries)
	if got, want := rdb.Get(ctx, keys.Key("n")).Val(), "2"; got != want {
		t.Errorf("the counter is %s, want %s", got, want)
	}
	if master, err := Master(ctx, rdb, keys); err != nil || master.Options().Addr != c.Replicas[owner].Address {
		t.Errorf("the master is %v, %v, want %s", master, err, c.Replicas[owner].Address)
	}
	// A subscription comes back by itself.
	for n := 0; ; n++ {
		if err := rdb.Publish(ctx, keys.Key("bell"), strconv.Itoa(n)).Err(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-rung:
			t.Logf("the bell was heard again %s after the master's death", time.Since(began).Round(time.Millisecond))
			return
		case <-ctx.Done():
			t.Fatal("the bell is not heard any more")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestWhatCannotBeACluster(t *testing.T) {
	for _, addresses := range [][]string{
		{"/run/redis.sock"},
		{"cellar:7001", "unix:///run/redis.sock"},
		{"redis://cellar:7001/3"},
		{"redis://:sesame@cellar:7001", "redis://:other@cellar:7002"},
		{"redis://ali:sesame@cellar:7001", "redis://bob:sesame@cellar:7002"},
		{"rediss://cellar:7001", "cellar:7002"},
		{"cellar:7001", "cellar:0"},
	} {
		if rdb, err := Connect(Options{Addresses: addresses, Cluster: true}); !errors.Is(err, ErrAddress) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("Connect to a Cluster at %q = %v, %v, want an error that wraps ErrAddress", addresses, rdb, err)
		}
	}
	db := 3
	if _, err := Connect(Options{Addresses: []string{"cellar:7001"}, Cluster: true, DB: &db}); !errors.Is(err, ErrAddress) {
		t.Errorf("Connect to a Cluster's database 3: %v, want an error that wraps ErrAddress", err)
	}
	rdb, err := Connect(Options{Addresses: []string{"rediss://cellar:7001", "rediss://cellar:7002"}, Cluster: true, Password: "sesame"})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	if got, want := Where(rdb), "rediss://cellar:7001,rediss://cellar:7002"; got != want {
		t.Errorf("Where = %s, want %s", got, want)
	}
}

func TestAServerThatIsNoClustersNodeSaysSo(t *testing.T) {
	ctx := deadline(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	rdb := connect(t, Options{Address: proxy.Addr(), Cluster: true})
	err := Ping(ctx, rdb, library.Keys{Library: "main"})
	if KindOf(err) != Refused || !strings.Contains(Remedy(err), "leave --cluster out") {
		t.Errorf("a plain server taken for a node: %v, want it Refused with the remedy", err)
	}
}
