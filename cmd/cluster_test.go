//go:build cluster

package cmd_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/rogpeppe/go-internal/testscript"
)

func init() { logging.Disable() } // the servers die on purpose

// The stories are told on a Cluster one after another, since they all are about the
// library main. Left out are, besides those that skip themselves ([!redis]: they set
// the one server up in their own way; [!embedded]: no server takes part):
//
//	no-server       looks for servers by addresses that no Cluster's node can have
//	wait-replicas   is about a server that has no replica
func TestClusterStories(t *testing.T) {
	// No story is about a failover, and a busy machine must not cause one.
	c := redistest.StartCluster(t, 3, true, "--cluster-node-timeout", "15000")
	var one sync.Mutex
	tell(t, "cluster", stories(t, "no-server", "wait-replicas"), func(s *story, _ *testscript.Env) redisconn.Options {
		one.Lock()
		s.Cleanup(one.Unlock) // after all programs of the story have ended
		for _, master := range c.Masters {
			if err := master.Client(s).FlushAll(context.Background()).Err(); err != nil {
				s.Fatal(err)
			}
		}
		return redisconn.Options{Addresses: c.Addresses(), Cluster: true}
	})
}

const (
	perMaster  = 2 // libraries on each master
	perLibrary = 4 // users at once in each library
)

// A drill is what one killing of a master showed.
type drill struct {
	title    string
	lag      time.Duration // how far the replica is behind when its master dies
	frozen   bool          // the master is not dead, but does not answer until it comes back
	replicas int           // how many must have a receipt before it is believed

	hit, others tally
}

// A tally is what the users of some libraries saw.
type tally struct {
	receipts int           // that were believed
	lost     int           // of these, not there in the end
	pause    time.Duration // the longest time without a receipt in one of the libraries
	typical  time.Duration // the median time from a request to its receipt, before the killing
}

// A ledger is what the users of one library were told.
type ledger struct {
	keys   library.Keys
	client *lending.Client

	mu       sync.Mutex
	believed map[string]string // request id → the outcome
	when     []time.Time
	took     []time.Duration
}

func (l *ledger) believe(receipt *library.Receipt, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.believed[receipt.ID] = receipt.Summary()
	l.when = append(l.when, time.Now())
	l.took = append(l.took, took)
}

// use has a user borrow books and bring them back until ctx is done. Nothing may
// fail: what is not known at once becomes known after the failover.
func (l *ledger) use(t *testing.T, ctx context.Context, user string) {
	for ctx.Err() == nil {
		patience, cancel := context.WithTimeout(context.Background(), programtest.Patience)
		books := []string{fmt.Sprintf("book%d", rand.IntN(50)), fmt.Sprintf("book%d", 50+rand.IntN(50))}
		begin := time.Now()
		receipt, err := l.client.Request(patience, user, books...)
		if err == nil {
			l.believe(receipt, time.Since(begin))
			err = l.client.Arrivals(patience, receipt, func(library.Line) {})
			if errors.Is(err, lending.ErrNoReceipt) {
				err = nil // the failover undid the request
			}
		}
		if err == nil {
			receipt, err = l.client.Return(patience, user, books...)
		}
		if err == nil {
			l.believe(receipt, 0)
		}
		cancel()
		if err != nil {
			t.Errorf("in library %s: %v", l.keys.Library, err)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// pause is the longest time without a receipt since a moment.
func (l *ledger) pause(since time.Time) time.Duration {
	longest, last := time.Duration(0), since
	for _, when := range l.when {
		if when.After(since) {
			longest, last = max(longest, when.Sub(last)), when
		}
	}
	return longest
}

// audit counts the believed receipts that the library has lost, and checks that it is
// in order.
func (l *ledger) audit(t *testing.T, rdb redis.UniversalClient) (lost int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), programtest.Patience)
	defer cancel()
	for ; !atRest(rdb, l.keys); time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("library %s does not come to rest", l.keys.Library)
		}
	}
	for id, summary := range l.believed {
		receipt, err := l.client.Receipt(ctx, id)
		switch {
		case errors.Is(err, lending.ErrNoReceipt):
			lost++
		case err != nil:
			t.Fatal(err)
		case receipt.Summary() != summary:
			// The order was lost, sent again and decided in another way, or its user never
			// sent it again and another got the book.
			lost++
		}
	}
	if report := soundLibrary(t, rdb, l.keys); report.Orders == 0 {
		t.Errorf("by its log library %s decided nothing", l.keys.Library)
	}
	return lost
}

func TestClusterFailover(t *testing.T) {
	drills := []*drill{
		{title: "killed, believed at once"},
		{title: "killed, its replica 300 ms behind, believed at once", lag: 300 * time.Millisecond},
		{title: "killed, its replica 300 ms behind, --wait-replicas 1", lag: 300 * time.Millisecond, replicas: 1},
		{title: "frozen, believed at once", frozen: true},
		{title: "frozen, --wait-replicas 1", frozen: true, replicas: 1},
	}
	for _, d := range drills {
		t.Run(d.title, d.run)
	}
	fmt.Printf("\nOne of three masters is killed, or frozen, under load, and comes back as a replica some seconds after its replica took\n"+
		"its place: %d libraries on each, %d users at once in each library, 2 instances that serve all libraries; the nodes take\n"+
		"a master for dead after %s of silence.\n\n", perMaster, perLibrary, redistest.NodeTimeout)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tits libraries: receipts\tlost\taway for\tall others: receipts\tlost\tlongest pause\ttypical wait\t")
	for _, d := range drills {
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%d\t%d\t%s\t%s\t\n", d.title, d.hit.receipts, d.hit.lost, d.hit.pause.Round(10*time.Millisecond),
			d.others.receipts, d.others.lost, d.others.pause.Round(time.Millisecond), d.others.typical.Round(100*time.Microsecond))
	}
	table.Flush()
	fmt.Println()
	if drills[1].hit.lost == 0 {
		t.Error("a failover to a replica that is behind lost nothing that was believed at once, so the drill shows nothing")
	}
}

// What it costs to wait for a replica, when nobody else is there.
func TestClusterReplicaWait(t *testing.T) {
	c := redistest.StartCluster(t, 3, true)
	env := []string{"LENDING_ADDRESS=" + c.Addresses()[0], "LENDING_CLUSTER=true"}
	if err := programtest.Start(t, env, "lendingd", "worker1").Await("serving"); err != nil {
		t.Fatal(err)
	}
	rdb, err := redisconn.Connect(redisconn.Options{Addresses: c.Addresses(), Cluster: true})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(context.Background(), programtest.Patience)
	defer cancel()
	typical := map[int]time.Duration{}
	for _, replicas := range []int{0, 1} {
		client, err := lending.NewClient(rdb, "main")
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.Replicas = replicas
		var took []time.Duration
		for i := range 300 {
			begin := time.Now()
			if _, err := client.Return(ctx, "user1", fmt.Sprintf("book%d", i)); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		typical[replicas] = took[len(took)/2].Round(10 * time.Microsecond)
	}
	fmt.Printf("\nOne user alone waits %s for a receipt, and %s with --wait-replicas 1 (medians of 300).\n", typical[0], typical[1])
}

func (d *drill) run(t *testing.T) {
	c := redistest.StartCluster(t, 3, true)
	// The library that loses its master first, then the others, by owner.
	var names []string
	count := make([]int, len(c.Masters))
	for i := 0; len(names) < perMaster*len(c.Masters); i++ {
		name := fmt.Sprintf("branch-%d", i)
		if owner := c.Owner(t, library.Keys{Library: name}.Events()); count[owner] < perMaster {
			count[owner]++
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Compare(c.Owner(t, library.Keys{Library: a}.Events()), c.Owner(t, library.Keys{Library: b}.Events()))
	})
	env := []string{"LENDING_ADDRESS=" + strings.Join(c.Addresses(), ","), "LENDING_CLUSTER=true", "LENDING_LIBRARY=" + strings.Join(names, ",")}
	var workers []*programtest.Process
	for i := range 2 {
		worker := programtest.Start(t, env, "lendingd", fmt.Sprintf("worker%d", i+1))
		workers = append(workers, worker)
		for _, name := range names {
			if err := worker.Await("serving library=" + name); err != nil {
				t.Fatal(err)
			}
		}
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var ledgers []*ledger
	var users sync.WaitGroup
	rdbs := map[string]redis.UniversalClient{}
	for _, name := range names {
		rdb, err := redisconn.Connect(redisconn.Options{Addresses: c.Addresses(), Cluster: true, Library: name})
		if err != nil {
			t.Fatal(err)
		}
		defer rdb.Close()
		client, err := lending.NewClient(rdb, name)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.Replicas = d.replicas
		l := &ledger{keys: library.Keys{Library: name}, client: client, believed: map[string]string{}}
		ledgers, rdbs[name] = append(ledgers, l), rdb
		for i := range perLibrary {
			users.Go(func() { l.use(t, ctx, fmt.Sprintf("user%d", i)) })
		}
	}

	time.Sleep(2 * time.Second)
	dying, heir := c.Masters[0], c.Replicas[0]
	if d.lag > 0 {
		// What was sent already lies in the paused replica's socket, so its link is cut too.
		heir.Pause(t)
		if err := dying.Client(t).ClientKillByFilter(ctx, "TYPE", "replica").Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(d.lag)
	}
	killed := time.Now()
	if d.frozen {
		dying.Pause(t)
	} else {
		dying.Kill(t)
	}
	if d.lag > 0 {
		heir.Resume(t)
	}
	// A node that comes back too early is its slots' master again, and has lost all.
	for !strings.Contains(heir.Client(t).Info(ctx, "replication").Val(), "role:master") {
		if time.Since(killed) > programtest.Patience {
			t.Fatal("no replica took the dead master's place")
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(2 * time.Second)
	if d.frozen {
		time.Sleep(3 * time.Second)
		dying.Resume(t)
	} else {
		dying.Restart(t)
	}
	back := time.Now()
	time.Sleep(3 * time.Second)
	stop()
	users.Wait()

	for i, l := range ledgers {
		l.client.Replicas = 0 // from now on there is time
		lost := l.audit(t, rdbs[l.keys.Library])
		of := &d.others
		if i < perMaster {
			of = &d.hit
		}
		of.receipts += len(l.believed)
		of.lost += lost
		of.pause = max(of.pause, l.pause(killed.Add(-d.lag)))
		var took []time.Duration
		for j, when := range l.when {
			if when.Before(killed.Add(-d.lag)) && l.took[j] > 0 {
				took = append(took, l.took[j])
			}
		}
		slices.Sort(took)
		of.typical = max(of.typical, took[len(took)/2])
		if l.when[len(l.when)-1].Before(back.Add(time.Second)) {
			t.Errorf("library %s did not go on after the failover", l.keys.Library)
		}
	}
	if d.replicas > 0 && d.hit.lost != 0 {
		t.Errorf("%d receipts were lost that a replica had confirmed", d.hit.lost)
	}
	if d.others.lost != 0 {
		t.Errorf("%d receipts were lost of libraries whose master lives", d.others.lost)
	}
	if d.others.pause > time.Second {
		t.Errorf("a library whose master lives stood still for %s", d.others.pause)
	}
	for _, worker := range workers {
		for line := range strings.Lines(worker.Output()) {
			for _, name := range names[perMaster:] {
				if strings.Contains(line, "library="+name+" ") && (strings.Contains(line, " WARN ") || strings.Contains(line, " ERRO ")) && strings.Contains(line, "trying again") {
					t.Errorf("an instance had trouble with a library whose master lives: %s", line)
				}
			}
		}
	}
}
