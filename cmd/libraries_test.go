package cmd_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

// get runs getbooks in a library to its end, and checks the exit code.
func get(t *testing.T, env []string, code int, args ...string) string {
	t.Helper()
	asker := programtest.Start(t, env, "getbooks", args...)
	got, err := asker.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if got != code {
		t.Errorf("getbooks %q ended with code %d, want %d:\n%s", args, got, code, asker.Output())
	}
	return asker.Output()
}

func TestALibraryWhoseServerIsAwayDisturbsNoOther(t *testing.T) {
	t.Parallel()
	servers := []*redistest.Server{redistest.Start(t), redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")}
	addresses := []string{servers[0].URL(), servers[1].URL()}
	// Which name chooses which server depends on the sockets' paths.
	var names [2]string
	for i := 0; names[0] == "" || names[1] == ""; i++ {
		name := fmt.Sprintf("branch-%d", i)
		rdb, err := redisconn.Connect(redisconn.Options{Addresses: addresses, Library: name})
		if err != nil {
			t.Fatal(err)
		}
		if redisconn.Where(rdb) == addresses[0] {
			names[0] = name
		} else {
			names[1] = name
		}
		rdb.Close()
	}
	env := []string{"LENDING_ADDRESS=" + strings.Join(addresses, ","), "LENDING_LIBRARY=" + strings.Join(names[:], ",")}
	in := func(i int) []string { return append(env[:1:1], "LENDING_LIBRARY="+names[i], "LENDING_TIMEOUT=1m") }

	// It is away from the beginning.
	servers[1].Kill(t)
	worker := programtest.Start(t, env, "lendingd", "--lock-ttl", "1s", "worker1")
	if err := worker.Await("serving library=" + names[0]); err != nil {
		t.Fatal(err)
	}
	get(t, in(0), 0, "request", "user1", "geb")
	if err := worker.Await("WARN Redis cannot serve just now; trying again until it does library=" + names[1]); err != nil {
		t.Fatal(err)
	}

	// Both can be asked about together, and the one that answers is shown.
	status := programtest.Start(t, env, "lendingd", "status")
	if code, err := status.Wait(); code != 1 || err != nil {
		t.Errorf("status ended with code %d, %v, want 1", code, err)
	}
	for _, want := range []string{"library " + names[0] + " on " + addresses[0] + "\n", `look at library "` + names[1] + `": no Redis answers at ` + addresses[1] + ": "} {
		if !strings.Contains(status.Output(), want) {
			t.Errorf("status does not tell %q:\n%s", want, status.Output())
		}
	}

	// It comes, and goes again for longer than a lock lives.
	servers[1].Restart(t)
	if err := worker.Await("serving library=" + names[1]); err != nil {
		t.Fatal(err)
	}
	get(t, in(1), 0, "request", "user1", "geb")
	both := func() time.Duration {
		asked := time.Now()
		get(t, in(0), 0, "return", "user1", "geb")
		get(t, in(0), 0, "request", "user1", "geb")
		return time.Since(asked)
	}
	usual := both()
	servers[1].Kill(t)
	for begin := time.Now(); time.Since(begin) < 1500*time.Millisecond; {
		if took := both(); took > 3*time.Second+5*usual {
			t.Errorf("with another library's server away, a return and a request took %s, and before %s", took, usual)
		}
	}
	servers[1].Restart(t)
	get(t, in(1), 0, "return", "user1", "geb")
	if outages := regexp.MustCompile("WARN Redis cannot serve just now.* library=" + names[0] + " ").FindString(worker.Output()); outages != "" {
		t.Errorf("an outage was told of the library whose server was never away: %s", outages)
	}
	if !strings.Contains(worker.Output(), "INFO Redis serves again library="+names[1]) {
		t.Error("the end of the outage was not told")
	}
}

// A small Redis Cluster, for every run of the tests; what happens when a master
// dies under load is in cluster_test.go.
func TestLibrariesStandOnTheMastersOfACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2, false)
	var names [2]string
	for i := 0; names[0] == "" || names[1] == ""; i++ {
		name := fmt.Sprintf("branch-%d", i)
		names[c.Owner(t, library.Keys{Library: name}.Events())] = name
	}
	// One address is enough, and any.
	env := []string{"LENDING_ADDRESS=" + c.Addresses()[0], "LENDING_CLUSTER=true", "LENDING_LIBRARY=" + strings.Join(names[:], ",")}
	worker := programtest.Start(t, env, "lendingd", "worker1")
	for i, name := range names {
		if err := worker.Await("serving library=" + name + ` instance=worker1 .* redis=redis://` + c.Masters[i].Address + "\n"); err != nil {
			t.Fatal(err)
		}
		in := []string{"LENDING_ADDRESS=" + c.Addresses()[1], "LENDING_CLUSTER=true", "LENDING_LIBRARY=" + name}
		get(t, in, 0, "request", "user1", "geb", "dune")
		get(t, in, 4, "request", "user2", "geb", "emma")
		get(t, in, 0, "return", "user1", "geb")
		if card := get(t, in, 0, "card", "user1"); !strings.Contains(card, "user1 holds 1 of 5") {
			t.Errorf("the card of user1:\n%s", card)
		}
		if n, err := c.Masters[i].Client(t).HLen(context.Background(), library.Keys{Library: name}.Key("lending:loans")).Result(); n != 2 || err != nil {
			t.Errorf("master %d has %d loans of %s, %v, want 2", i, n, name, err)
		}
	}
	status := programtest.Start(t, env, "lendingd", "status")
	if code, err := status.Wait(); code != 0 || err != nil {
		t.Errorf("status ended with code %d, %v", code, err)
	}
	for i, name := range names {
		if want := "library " + name + " on redis://" + c.Masters[i].Address + "\n"; !strings.Contains(status.Output(), want) {
			t.Errorf("status does not tell %q:\n%s", want, status.Output())
		}
	}

	// A library moves to another master, with all it has, and nobody notices.
	move(t, c, 0, names[0])
	in := []string{"LENDING_ADDRESS=" + c.Addresses()[0], "LENDING_CLUSTER=true", "LENDING_LIBRARY=" + names[0]}
	get(t, in, 0, "return", "user1", "dune")
	get(t, in, 0, "request", "user3", "dune")
	if n := c.Masters[1].Client(t).HLen(context.Background(), library.Keys{Library: names[0]}.Key("lending:loans")).Val(); n != 2 {
		t.Errorf("the library that moved has %d loans at its new place, want 2", n)
	}
	if strings.Contains(worker.Output(), "ERROR") {
		t.Errorf("the worker is in trouble:\n%s", worker.Output())
	}

	// Who does not say --cluster is told to.
	lost := get(t, []string{"LENDING_ADDRESS=" + c.Addresses()[0], "LENDING_LIBRARY=" + names[1]}, 1, "request", "user1", "geb")
	if !strings.Contains(lost, "the server belongs to a Redis Cluster: say --cluster") {
		t.Errorf("without --cluster getbooks says:\n%s", lost)
	}
}

// move moves a library's slot from a master of a Cluster of two to the other, as an
// operator does.
func move(t *testing.T, c *redistest.Cluster, from int, name string) {
	t.Helper()
	moveAs(t, c, []*redis.Client{c.Masters[0].Client(t), c.Masters[1].Client(t)}, from, name)
}

// moveAs is move by clients of the two masters that may do it.
func moveAs(t *testing.T, c *redistest.Cluster, operators []*redis.Client, from int, name string, login ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), programtest.Patience)
	defer cancel()
	source, target := operators[from], operators[1-from]
	do := func(rdb *redis.Client, args ...any) any {
		t.Helper()
		reply, err := rdb.Do(ctx, args...).Result()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return reply
	}
	slot := do(source, "CLUSTER", "KEYSLOT", library.Keys{Library: name}.Events())
	sourceID, targetID := do(source, "CLUSTER", "MYID"), do(target, "CLUSTER", "MYID")
	do(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID)
	do(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID)
	host, port, _ := strings.Cut(c.Masters[1-from].Address, ":")
	for {
		keys := do(source, "CLUSTER", "GETKEYSINSLOT", slot, 100).([]any)
		if len(keys) == 0 {
			break
		}
		do(source, append(append([]any{"MIGRATE", host, port, "", 0, 5000}, append(login, "KEYS")...), keys...)...)
	}
	do(target, "CLUSTER", "SETSLOT", slot, "NODE", targetID)
	do(source, "CLUSTER", "SETSLOT", slot, "NODE", targetID)
}
