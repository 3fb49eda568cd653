package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// unreadable is larger than the tests' workers read of a reply.
const unreadable = replyMax + replyMax/2

// addSized appends an entry with a field of that size, and returns its id.
func addSized(t *testing.T, ctx context.Context, rdb redis.UniversalClient, size int) string {
	t.Helper()
	id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: inboxKey, Values: []string{"id", "r1", "books", strings.Repeat("x", size)}}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// counts tells how often each pending entry was delivered.
func counts(t *testing.T, ctx context.Context, rdb redis.UniversalClient) map[string]int64 {
	t.Helper()
	pending, err := rdb.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: inboxKey, Group: library.Lending, Start: "-", End: "+", Count: 100}).Result()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, entry := range pending {
		counts[entry.ID] = entry.RetryCount
	}
	return counts
}

// setCount makes an entry count as delivered so often, the last time so long ago.
func setCount(t *testing.T, ctx context.Context, rdb redis.UniversalClient, owner, id string, count int64, idle time.Duration) {
	t.Helper()
	if err := rdb.Do(ctx, "XCLAIM", inboxKey, library.Lending, owner, 0, id, "IDLE", idle.Milliseconds(), "RETRYCOUNT", count, "JUSTID").Err(); err != nil {
		t.Fatal(err)
	}
}

// largeAside is how an entry is set aside that is too large.
func largeAside(id string) RejectedEntry {
	return RejectedEntry{
		Service: library.Lending, Stream: inboxKey, Entry: id, Fields: map[string]string{},
		Reason: "it is too large to be read, and so for an order: at most 2 MiB are",
	}
}

// wantAside waits until these entries are set aside, in any order.
func wantAside(t *testing.T, ctx context.Context, rdb redis.UniversalClient, want ...RejectedEntry) {
	t.Helper()
	byEntry := func(a, b RejectedEntry) int { return strings.Compare(a.Entry, b.Entry) }
	slices.SortFunc(want, byEntry)
	soon(t, ctx, "what is set aside", want, func() []RejectedEntry {
		got := rejected(t, ctx, rdb)
		slices.SortFunc(got, byEntry)
		return got
	})
}

func TestALargeEntryIsSetAsideAtTheFirstLook(t *testing.T) {
	for title, sizes := range map[string][]int{
		"by itself":                   {unreadable},
		"after others":                {1, 1, unreadable},
		"among others":                {1, unreadable, 1, 1},
		"several":                     {unreadable, 1, unreadable, unreadable, 1},
		"among others that are large": {replyMax / 2, unreadable, replyMax / 2, replyMax / 2},
		"so many that memory shows":   slices.Repeat([]int{unreadable, 1}, 8),
		"as many as fill the replies": slices.Repeat([]int{replyMax / 2}, 8),
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			rdb := redistest.Start(t).Client(t)
			add(t, ctx, rdb, 0)
			var small []string
			var aside []RejectedEntry
			for _, size := range sizes {
				if id := addSized(t, ctx, rdb, size); size == unreadable {
					aside = append(aside, largeAside(id))
				} else {
					small = append(small, id)
				}
			}
			w := newWorker(t, rdb, "worker1")
			looks := map[string]*atomic.Int64{}
			for _, entry := range aside {
				looks[entry.Entry] = &atomic.Int64{}
			}
			var first, most atomic.Int64
			w.Redis.AddHook(hook(func(cmd redis.Cmder) {
				if args := cmd.Args(); cmd.Name() == "xrange" && looks[fmt.Sprint(args[2])] != nil {
					looks[fmt.Sprint(args[2])].Add(1)
				} else if cmd.Name() == "xreadgroup" && args[4] == "count" {
					first.CompareAndSwap(0, args[5].(int64))
					most.Store(max(most.Load(), args[5].(int64)))
				}
			}))
			w.run(t)
			got := idsOf(w.take(t, ctx, len(small)))
			slices.Sort(got)
			if diff := cmp.Diff(small, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("handled (-want +got):\n%s", diff)
			}
			wantAside(t, ctx, rdb, aside...)
			soon(t, ctx, "the inbox's length", 0, func() int64 { return rdb.XLen(ctx, inboxKey).Val() })
			for id, n := range looks {
				if n.Load() > 1 {
					t.Errorf("%s was looked at %d times by itself, want once at most", id, n.Load())
				}
			}
			want := w.inbox.Batch
			if len(sizes) == 16 { // they take more memory than is read at once
				want = 1
			}
			if first.Load() != want || most.Load() != w.inbox.Batch {
				t.Errorf("%d entries were read at once at first and %d later, want %d and %d", first.Load(), most.Load(), want, w.inbox.Batch)
			}
		})
	}
}

// What a dead instance left may be large, too. Neither the take-over nor the script
// that sets it aside looks at what it holds.
func TestALargeEntryThatIsTakenOverIsSetAsideByItsID(t *testing.T) {
	for title, test := range map[string]struct{ deliveries, looks int64 }{
		"at the first look":               {1, 1},
		"after many deliveries":           {deliveriesMax, 1},
		"after more than it is looked at": {looksMax, 0},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			rdb := redistest.Start(t).Client(t)
			var own atomic.Int64
			rdb.AddHook(hook(func(cmd redis.Cmder) {
				if cmd.Name() == "xrange" {
					own.Add(1)
				}
			}))
			add(t, ctx, rdb, 0)
			id := addSized(t, ctx, rdb, unreadable)
			innocent := add(t, ctx, rdb, 1)
			give(t, ctx, rdb, "dead")
			setCount(t, ctx, rdb, "dead", id, test.deliveries, 0)
			w := newWorker(t, rdb, "living")
			w.run(t)
			if diff := cmp.Diff(innocent, idsOf(w.take(t, ctx, 1))); diff != "" {
				t.Errorf("handled (-want +got):\n%s", diff)
			}
			aside := largeAside(id)
			if test.looks == 0 {
				aside.Reason = "it was delivered more than 5 times and never finished"
			}
			wantAside(t, ctx, rdb, aside)
			// Redis counts what scripts run, too.
			var calls int64
			if _, err := fmt.Sscanf(rdb.InfoMap(ctx, "commandstats").Val()["Commandstats"]["cmdstat_xrange"], "calls=%d", &calls); err != nil {
				t.Fatal(err)
			}
			const innocents = 1
			if got := calls - own.Load() - innocents; got != test.looks {
				t.Errorf("the entry was read %d times, want %d", got, test.looks)
			}
		})
	}
}

// An entry whose reading fails again and again, while the server answers all else.
func TestAnEntryThatCannotBeReadIsSetAsideWhenItCameBackTooOften(t *testing.T) {
	for title, test := range map[string]struct {
		patient    bool
		beside     int // the size of another entry, in the hands of another
		deliveries int64
		reason     string
	}{
		"between clients and a service": {false, 1, deliveriesMax, "it was delivered more than 5 times and never finished"},
		"between services":              {true, 1, looksMax, "it cannot be read: unexpected EOF"},
		"where large ones are":          {false, 20 << 20, 1, "it cannot be read: unexpected EOF"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			server := redistest.Start(t)
			rdb := server.Client(t)
			ids := add(t, ctx, rdb, 2)
			give(t, ctx, rdb, "dead")
			setCount(t, ctx, rdb, "dead", ids[0], test.deliveries, time.Hour)
			w := newWorker(t, rdb, "living")
			w.inbox.Patient = test.patient
			addSized(t, ctx, rdb, test.beside)
			give(t, ctx, rdb, newWorker(t, rdb, "slow").Instance.Name()) // which keeps it
			w.Redis.AddHook(failing(func(cmd redis.Cmder) error {
				if cmd.Name() == "xrange" && cmd.Args()[2] == ids[0] {
					return io.ErrUnexpectedEOF
				}
				return nil
			}))
			w.run(t)
			if diff := cmp.Diff(ids[1:], idsOf(w.take(t, ctx, 1))); diff != "" {
				t.Errorf("handled (-want +got):\n%s", diff)
			}
			wantAside(t, ctx, rdb, RejectedEntry{
				Service: library.Lending, Stream: inboxKey, Entry: ids[0], Reason: test.reason, Fields: map[string]string{},
			})
		})
	}
}

// A failing hook makes commands fail instead of sending them.
type failing func(redis.Cmder) error

func (failing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := f(cmd); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func TestAnEntryThatCannotBeReadWhileNothingCanStaysPending(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t).Client(t)
	ids := add(t, ctx, rdb, 1)
	give(t, ctx, rdb, "dead")
	setCount(t, ctx, rdb, "dead", ids[0], looksMax, time.Hour)
	w := newWorker(t, rdb, "living")
	w.inbox.Patient = true
	pinged := make(chan struct{}, 100)
	w.Redis.AddHook(failing(func(cmd redis.Cmder) error {
		switch cmd.Name() {
		case "ping":
			pinged <- struct{}{}
			return io.ErrUnexpectedEOF
		case "xrange":
			return io.ErrUnexpectedEOF
		}
		return nil
	}))
	w.run(t)
	select {
	case <-pinged:
	case <-ctx.Done():
		t.Fatal("the worker does not ask whether the server answers")
	}
	w.sweep(t, ctx, 1)
	if entries := rejected(t, ctx, rdb); len(entries) > 0 || len(counts(t, ctx, rdb)) != 1 {
		t.Errorf("set aside: %+v; pending: %v", entries, counts(t, ctx, rdb))
	}
}

func TestAnInstanceThatIsToldToStopGivesBackWhatItHasInHand(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 1)
		for life := range deliveriesMax + 3 {
			w := newWorker(t, rdb, fmt.Sprint("worker", life))
			w.inbox.Batch, w.inbox.Batches, w.inbox.Pace = 1, 1, func(Entry) time.Duration { return time.Hour }
			w.run(t)
			// It walks: the entry is in hand, and does not count as delivered meanwhile.
			soon(t, ctx, "what is pending for it", int64(1), func() int64 { return pending(t, ctx, rdb)[w.Instance.Name()] })
			soon(t, ctx, "how often it was delivered", map[string]int64{ids[0]: 0}, func() map[string]int64 { return counts(t, ctx, rdb) })
			w.stop()
			if err := w.end(t, ctx); err != nil {
				t.Fatalf("Run = %v", err)
			}
			if err := w.Instance.Release(ctx); err != nil {
				t.Fatal(err)
			}
			w.wantNone(t)
		}
		w := newWorker(t, rdb, "last")
		w.run(t)
		if diff := cmp.Diff([]int64{1}, deliveriesOf(w.take(t, ctx, 1))); diff != "" {
			t.Errorf("delivered (-want +got):\n%s", diff)
		}
		wantNothingLeft(t, ctx, rdb)
	})
}

func deliveriesOf(entries []Entry) []int64 {
	var counts []int64
	for _, entry := range entries {
		counts = append(counts, entry.Deliveries)
	}
	return counts
}

// The walk is not what ends an instance. So it does not matter how it ended meanwhile.
func TestAnInstanceThatDiesOnItsWayLeavesNothingThatCounts(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 1)
		give(t, ctx, rdb, "dead")
		for life := range deliveriesMax + 3 {
			w := newWorker(t, rdb, fmt.Sprint("worker", life))
			w.inbox.Batch, w.inbox.Batches, w.inbox.Pace = 1, 1, func(Entry) time.Duration { return time.Hour }
			w.run(t)
			soon(t, ctx, "what is pending for it", int64(1), func() int64 { return pending(t, ctx, rdb)[w.Instance.Name()] })
			soon(t, ctx, "how often it was delivered", map[string]int64{ids[0]: 1}, func() map[string]int64 { return counts(t, ctx, rdb) })
			// To all others it is dead when it has no connection and no lock.
			if err := errors.Join(w.Redis.Close(), rdb.Del(ctx, w.Instance.Key()).Err()); err != nil {
				t.Fatal(err)
			}
		}
		w := newWorker(t, rdb, "last")
		w.run(t)
		if diff := cmp.Diff([]int64{2}, deliveriesOf(w.take(t, ctx, 1))); diff != "" {
			t.Errorf("delivered (-want +got):\n%s", diff)
		}
	})
}

func TestAStopDuringAnOutageGivesBackWhatCouldNotBeApplied(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 3)
		w := newWorker(t, rdb, "worker1")
		begun := make(chan struct{}, 1000)
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			begun <- struct{}{}
			return nil, reply("OOM command not allowed when used memory > 'maxmemory'.")
		}
		w.run(t)
		<-begun
		w.stop()
		if err := w.end(t, ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		want := map[string]int64{ids[0]: 0, ids[1]: 0, ids[2]: 0}
		if diff := cmp.Diff(want, counts(t, ctx, rdb)); diff != "" {
			t.Errorf("how often they were delivered (-want +got):\n%s", diff)
		}
	})
}

func TestAnEntryBetweenServicesIsNeverGivenUp(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		ids := add(t, ctx, rdb, 2)
		give(t, ctx, rdb, "dead")
		for _, id := range ids { // one that kept ending instances, and one that kept failing
			setCount(t, ctx, rdb, "dead", id, deliveriesMax, 59*time.Second)
		}
		w := newWorker(t, rdb, "living")
		w.inbox.Patient = true
		broken := atomic.Bool{}
		broken.Store(true)
		tries := make(chan string, 100)
		w.inbox.Handle = func(ctx context.Context, batch []Entry) ([]Rejection, error) {
			if batch[0].ID == ids[1] && broken.Load() {
				tries <- batch[0].ID
				return nil, errors.New("ERR broken")
			}
			w.handled <- batch
			return nil, w.acknowledge(ctx, batch)
		}
		w.run(t)
		// They are taken over at once, but not tried before their time.
		soon(t, ctx, "what is pending", int64(2), func() int64 { return pending(t, ctx, rdb)["living"] })
		w.wantNone(t)
		if diff := cmp.Diff(map[string]int64{ids[0]: deliveriesMax, ids[1]: deliveriesMax}, counts(t, ctx, rdb)); diff != "" {
			t.Errorf("how often they were delivered (-want +got):\n%s", diff)
		}
		// Their minute is over in a second.
		if diff := cmp.Diff(ids[:1], idsOf(w.take(t, ctx, 1))); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		for range faultsMax {
			if id := <-tries; id != ids[1] {
				t.Errorf("tried %s, want %s", id, ids[1])
			}
		}
		w.logs.wait(t, ctx, "an entry was delivered too often; it is tried again at a slow pace")
		soon(t, ctx, "how often it was delivered", map[string]int64{ids[1]: deliveriesMax + 1}, func() map[string]int64 { return counts(t, ctx, rdb) })
		w.sweep(t, ctx, 2) // now it is left alone for two minutes
		if len(tries) > 0 {
			t.Errorf("it was tried again %d times, want it left alone", len(tries))
		}
		broken.Store(false)
		setCount(t, ctx, rdb, "living", ids[1], deliveriesMax+1, 2*time.Minute)
		if diff := cmp.Diff(ids[1:], idsOf(w.take(t, ctx, 1))); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
		wantNothingLeft(t, ctx, rdb)
	})
}

func TestTheSlowPaceGrowsToAnHour(t *testing.T) {
	got := map[int64]time.Duration{}
	for _, deliveries := range []int64{0, deliveriesMax - 1, deliveriesMax, deliveriesMax + 1, deliveriesMax + 2, deliveriesMax + 5, deliveriesMax + 6, 1 << 62} {
		got[deliveries] = slowPace(deliveries)
	}
	want := map[int64]time.Duration{
		0: 0, deliveriesMax - 1: 0, deliveriesMax: time.Minute, deliveriesMax + 1: 2 * time.Minute, deliveriesMax + 2: 4 * time.Minute,
		deliveriesMax + 5: 32 * time.Minute, deliveriesMax + 6: time.Hour, 1 << 62: time.Hour,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slowPace (-want +got):\n%s", diff)
	}
}

// victim is what a test's own process is, when it is started again as a worker that
// some entries end.
const victim = "WORKER_TEST_VICTIM"

// TestAVictim is no test: it is a worker of two inboxes, in a process of its own.
func TestAVictim(t *testing.T) {
	address, name, _ := strings.Cut(os.Getenv(victim), " ")
	if address == "" {
		t.Skip("it is started by TestAnEntryThatEndsItsWorkersIsSetAsideAlone")
	}
	rdb, err := redisconn.Connect(redisconn.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	logger := log.New(os.Stderr)
	i, err := Take(deadline(t), rdb, LockConfig{Keys: keys, Name: name, TTL: 10 * time.Second, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Redis: rdb, Keys: keys, Instance: i, Outage: redisconn.NewOutage(logger), Log: logger,
		Alone: make(chan struct{}, 1),
	}
	ended := make(chan error, 2)
	for _, stream := range []string{keys.Requests(), keys.Returns()} {
		go func() {
			ended <- Run(context.Background(), config, Inbox{
				Service: library.Lending, Stream: stream, Batch: 4, Batches: 2, Reject: Reject,
				Prepare: func(context.Context) error { return nil },
				Handle: func(ctx context.Context, batch []Entry) ([]Rejection, error) {
					for _, entry := range batch {
						if entry.Fields["number"] == "killer" {
							panic("an entry ends this process")
						}
						pipe := rdb.TxPipeline()
						pipe.HSet(ctx, "deliveries", stream+entry.ID, entry.Deliveries)
						pipe.XAck(ctx, stream, library.Lending, entry.ID)
						pipe.XDel(ctx, stream, entry.ID)
						if _, err := pipe.Exec(ctx); err != nil {
							return nil, err
						}
					}
					return nil, nil
				},
			})
		}()
	}
	t.Fatal(<-ended)
}

func TestAnEntryThatEndsItsWorkersIsSetAsideAlone(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	rdb := server.Client(t)
	innocents := 0
	var killer string
	for _, stream := range []string{keys.Returns(), keys.Requests()} {
		if _, err := Ensure(ctx, rdb, stream, library.Lending); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			number := fmt.Sprint(i)
			if i == 10 && stream == keys.Requests() {
				number = "killer"
			} else {
				innocents++
			}
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []string{"number", number}}).Result()
			if err != nil {
				t.Fatal(err)
			}
			if number == "killer" {
				killer = id
			}
		}
		// One instance had all of it in hand and died.
		if err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: library.Lending, Consumer: "first", Streams: []string{stream, ">"}, Count: 100, Block: -1,
		}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	lives := 0
	for ; rdb.XLen(ctx, keys.Rejected(library.Lending)).Val() == 0; lives++ {
		name := fmt.Sprint("victim", lives)
		life := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestAVictim$")
		life.Env = append(os.Environ(), victim+"="+server.URL()+" "+name)
		var told strings.Builder
		life.Stdout, life.Stderr = &told, &told
		if err := life.Start(); err != nil {
			t.Fatal(err)
		}
		died := make(chan error, 1)
		go func() { died <- life.Wait() }()
		for alive := true; alive && rdb.XLen(ctx, keys.Rejected(library.Lending)).Val() == 0; {
			select {
			case <-died:
				alive = false
				if !strings.Contains(told.String(), "an entry ends this process") {
					t.Fatalf("%s ended by itself:\n%s", name, &told)
				}
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("nothing is set aside after %d lives", lives)
			}
		}
		if rdb.XLen(ctx, keys.Rejected(library.Lending)).Val() == 0 {
			rdb.Del(ctx, keys.Instance(name)) // its lock has ended
			continue
		}
		soon(t, ctx, "how many entries were handled", int64(innocents), func() int64 { return rdb.HLen(ctx, "deliveries").Val() })
		_ = life.Process.Kill()
		<-died
	}
	aside := RejectedEntry{
		Service: library.Lending, Stream: keys.Requests(), Entry: killer, Fields: map[string]string{"number": "killer"},
		Reason: "it was delivered more than 5 times and never finished",
	}
	if diff := cmp.Diff([]RejectedEntry{aside}, rejected(t, ctx, rdb)); diff != "" {
		t.Errorf("set aside (-want +got):\n%s", diff)
	}
	if want := deliveriesMax; lives != want {
		t.Errorf("it took %d lives to set it aside, want %d: four deaths, and the one that set it aside", lives, want)
	}
	for entry, deliveries := range rdb.HGetAll(ctx, "deliveries").Val() {
		// On a busy machine a look at it may have failed once, which counts.
		if deliveries != "2" && deliveries != "3" {
			t.Errorf("%s was delivered %s times, want twice: it was never tried beside the killer", entry, deliveries)
		}
	}
}
