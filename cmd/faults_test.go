package cmd_test

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/library/audit"
	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// A mortal worker is one that is killed or paused: its lock lives for a short time only, so
// that what it leaves is soon taken over.
const mortal = "--lock-ttl=1s"

var keys = library.Keys{Library: "main"}

// A branch is a library on a real server, with workers that a test can torment.
type branch struct {
	*testing.T
	server  *redistest.Server
	rdb     *redis.Client
	address string // where the programs look for Redis
}

func open(t *testing.T) *branch {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	return &branch{T: t, server: server, rdb: server.Client(t), address: server.URL()}
}

// worker starts a worker. Its lock lives long, unless it is mortal: on a busy machine a
// worker can be too late to keep a lock that is short.
func (b *branch) worker(name string, flags ...string) *programtest.Process {
	b.Helper()
	if !slices.Contains(flags, mortal) {
		flags = append(flags, "--lock-ttl=10m")
	}
	args := append([]string{"-a", b.address}, flags...)
	worker := programtest.Start(b, nil, "lendingd", append(args, name)...)
	if err := worker.Await("serving"); err != nil {
		b.Fatal(err)
	}
	return worker
}

// ask runs getbooks in the background.
func (b *branch) ask(args ...string) *programtest.Process {
	b.Helper()
	return programtest.Start(b, nil, "getbooks", append([]string{"-a", b.address}, args...)...)
}

// codes waits for programs to end, and counts their exit codes.
func (b *branch) codes(asked []*programtest.Process) map[int]int {
	b.Helper()
	codes := map[int]int{}
	for _, asker := range asked {
		code, err := asker.Wait()
		if err != nil {
			b.Fatal(err)
		}
		codes[code]++
	}
	return codes
}

func (b *branch) wantCodes(asked []*programtest.Process, want map[int]int) {
	b.Helper()
	if diff := cmp.Diff(want, b.codes(asked)); diff != "" {
		b.Errorf("exit codes (-want +got):\n%s", diff)
	}
}

// until waits until a condition holds.
func (b *branch) until(what string, holds func() bool) {
	b.Helper()
	deadline := time.Now().Add(programtest.Patience)
	for !holds() {
		if time.Now().After(deadline) {
			b.Fatalf("%s: not within %s", what, programtest.Patience)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (b *branch) pending(inbox, service string) int64 {
	summary, err := b.rdb.XPending(context.Background(), inbox, service).Result()
	if err != nil {
		return 0
	}
	return summary.Count
}

// audit waits until the library is at rest, and checks it: an audit finds nothing, so
// many orders were decided, and none was set aside.
func (b *branch) audit(orders int) {
	b.Helper()
	b.until("the library comes to rest", func() bool { return atRest(b.rdb, keys) })
	report := soundLibrary(b, b.rdb, keys)
	if report.Orders != orders {
		b.Errorf("%d orders were decided, want %d", report.Orders, orders)
	}
	for _, service := range []string{library.Lending, library.Shelving} {
		if n := b.rdb.XLen(context.Background(), keys.Rejected(service)).Val(); n != 0 {
			b.Errorf("the %s service rejected %d entries", service, n)
		}
	}
}

// atRest reports whether nothing is under way in a library.
func atRest(rdb redis.UniversalClient, keys library.Keys) bool {
	ctx := context.Background()
	if fetching, err := rdb.HLen(ctx, keys.Key("lending:fetching")).Result(); err != nil || fetching > 0 {
		return false
	}
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range keys.Inboxes(service) {
			if entries, err := rdb.XLen(ctx, inbox).Result(); err != nil || entries > 0 {
				return false
			}
			if pending, err := rdb.XPending(ctx, inbox, service).Result(); err != nil || pending.Count > 0 {
				return false
			}
		}
	}
	return true
}

// soundLibrary audits a library, which must be sound, and whose log must be whole.
func soundLibrary(t testing.TB, rdb redis.UniversalClient, keys library.Keys) *audit.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), programtest.Patience)
	defer cancel()
	report, err := audit.Check(ctx, audit.Config{Redis: rdb, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range report.Findings {
		t.Errorf("the audit finds: %s", finding)
	}
	if !report.Whole || len(report.Unchecked) != 0 {
		t.Errorf("the audit could not check everything: %q", report.Unchecked)
	}
	return report
}

func TestOfManyAtOnceOneGetsTheBook(t *testing.T) {
	b := open(t)
	for i := range 3 {
		b.worker(fmt.Sprintf("worker%d", i))
	}
	var asked []*programtest.Process
	for i := range 30 {
		asked = append(asked, b.ask("request", fmt.Sprintf("user%d", i), "geb"))
	}
	b.wantCodes(asked, map[int]int{0: 1, 3: 29})
	b.audit(30)
}

func TestOneUsersRequestsAtOnceKeepTheLimit(t *testing.T) {
	b := open(t)
	for i := range 3 {
		b.worker(fmt.Sprintf("worker%d", i))
	}
	var asked []*programtest.Process
	for i := range 20 {
		asked = append(asked, b.ask("request", "user1", fmt.Sprintf("book%d", i)))
	}
	b.wantCodes(asked, map[int]int{0: 5, 3: 15})
	b.audit(20)
}

func TestAKilledWorkersEntriesAreFinishedByAnother(t *testing.T) {
	b := open(t)
	worker := b.worker("worker1", mortal, "--fetch-time", "10m")
	asker := b.ask("request", "user1", "geb")
	b.until("worker1 walks to the shelves", func() bool { return b.pending(keys.Fetches(), library.Shelving) == 1 })
	worker.Kill()
	killed := time.Now()
	b.worker("worker2")
	b.wantCodes([]*programtest.Process{asker}, map[int]int{0: 1})
	t.Logf("finished %s after the kill, with %s", time.Since(killed).Round(time.Millisecond), mortal)
	b.audit(1)
	b.until("worker1 leaves the group", func() bool {
		return len(b.rdb.XInfoConsumers(context.Background(), keys.Fetches(), library.Shelving).Val()) == 1
	})
}

func TestAWorkerPausedForLongerThanItsLockDoesNoHarm(t *testing.T) {
	b := open(t)
	worker := b.worker("worker1", mortal, "--fetch-time", "2s")
	asker := b.ask("request", "user1", "geb")
	b.until("worker1 walks to the shelves", func() bool { return b.pending(keys.Fetches(), library.Shelving) == 1 })
	if err := worker.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	b.worker("worker2")
	b.wantCodes([]*programtest.Process{asker}, map[int]int{0: 1})
	b.wantCodes([]*programtest.Process{b.ask("return", "user1", "geb")}, map[int]int{0: 1})
	if err := worker.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := worker.Await("was gone and was taken again"); err != nil {
		t.Fatal(err)
	}
	b.wantCodes([]*programtest.Process{b.ask("request", "user2", "geb")}, map[int]int{0: 1})
	b.audit(3)
}

func TestWorkersThatAreKilledAndReplacedUnderLoadLoseNothing(t *testing.T) {
	b := open(t)
	const rounds, each = 6, 15
	workers := []*programtest.Process{b.worker("worker0", mortal), b.worker("worker1", mortal)}
	var asked []*programtest.Process
	for round := range rounds {
		for i := range each {
			asked = append(asked, b.ask("request", fmt.Sprintf("user%d-%d", round, i), fmt.Sprintf("book%d", i), fmt.Sprintf("own%d-%d", round, i)))
		}
		workers[round%2].Kill()
		workers[round%2] = b.worker(fmt.Sprintf("worker%d", round+2), mortal)
	}
	// The first to ask for a book gets both, all others their own only.
	b.wantCodes(asked, map[int]int{0: each, 4: (rounds - 1) * each})
	b.audit(rounds * each)
}

func TestARestartOfRedisUnderLoadIsSurvived(t *testing.T) {
	b := open(t)
	b.worker("worker1")
	b.worker("worker2")
	var asked []*programtest.Process
	for i := range 60 {
		asked = append(asked, b.ask("request", fmt.Sprintf("user%d", i), fmt.Sprintf("book%d", i)))
		if i == 30 {
			// A client that finds no server sends nothing, and says so.
			b.until("30 orders were sent", func() bool {
				return b.rdb.XInfoStream(context.Background(), keys.Requests()).Val().EntriesAdded >= 30
			})
			b.server.Kill(t)
			b.server.Restart(t)
			b.rdb.ScriptFlush(context.Background())
		}
	}
	b.wantCodes(asked, map[int]int{0: 60})
	b.audit(60)
}

func TestTheNextReplyToAnyCommandMayBeLost(t *testing.T) {
	b := open(t)
	proxy := redistest.NewProxy(t, b.server)
	b.address = proxy.Addr()
	b.worker("worker1")
	ctx, cancel := context.WithTimeout(context.Background(), 3*programtest.Patience)
	defer cancel()
	rdb, err := redisconn.Connect(redisconn.Options{Address: (&url.URL{Scheme: "redis", Host: proxy.Addr()}).String()})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	client, err := lending.NewClient(rdb, "main")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	orders := 0
	commands := []string{"xreadgroup", "evalsha", "xadd", "xinfo"}
	const each = 5
	for _, command := range commands {
		for i := range each {
			// The fault strikes whichever process sends the command next.
			proxy.DropReply(func(args []string) bool { return strings.EqualFold(args[0], command) })
			book := fmt.Sprintf("%s-%d", command, i)
			for _, order := range []func(context.Context, string, ...string) (*library.Receipt, error){client.Request, client.Return} {
				receipt, err := order(ctx, "user1", book)
				if err != nil {
					t.Fatalf("with the reply to %s lost: %v", command, err)
				}
				if receipt.Outcome != library.Granted && receipt.Outcome != library.Returned {
					t.Errorf("with the reply to %s lost: %s is %s", command, book, receipt.Summary())
				}
				if err := client.Arrivals(ctx, receipt, func(library.Line) {}); err != nil {
					t.Fatal(err)
				}
				orders++
			}
		}
	}
	b.until("every fault has struck", func() bool { return proxy.Faults() == each*len(commands) })
	b.audit(orders)
}

func TestAStoppedWorkerFinishesItsBatchAndLeaves(t *testing.T) {
	b := open(t)
	worker := b.worker("worker1")
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if output, err := exec.Command("getbooks", "-a", b.address, "request", fmt.Sprintf("user%d", i), fmt.Sprintf("book%d", i), "--no-wait").CombinedOutput(); err != nil {
				t.Errorf("getbooks: %v: %s", err, output)
			}
		})
	}
	group.Wait()
	if err := worker.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := worker.Wait(); err != nil || code != 0 {
		t.Fatalf("worker1 ended with code %d, %v", code, err)
	}
	ctx := context.Background()
	if n := b.rdb.Exists(ctx, keys.Instance("worker1")).Val(); n != 0 {
		t.Error("the lock of worker1 still stands")
	}
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range keys.Inboxes(service) {
			if consumers := b.rdb.XInfoConsumers(ctx, inbox, service).Val(); len(consumers) != 0 || b.pending(inbox, service) != 0 {
				t.Errorf("%s still has consumers %v", inbox, consumers)
			}
		}
	}
	b.worker("worker2")
	b.audit(20)
}
