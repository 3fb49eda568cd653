package audit_test

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/audit"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
)

// bustle runs workers and users in a library until the test ends, and counts what
// the users were answered. They send an order for each turn they are given. Books are
// few, and front storage is small, so that all that can happen to a book happens often.
func bustle(t *testing.T, server *redistest.Server, logMax int64, receiptTTL time.Duration, turns <-chan bool) *atomic.Int64 {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	const workers, users = 2, 4
	var connections []*redis.Client // made first, so that they are closed last
	for range workers + users {
		connections = append(connections, server.Client(t))
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	logger := log.New(io.Discard)
	for i, rdb := range connections[:workers] {
		i, err := worker.Take(ctx, rdb, worker.LockConfig{Keys: names, Name: fmt.Sprint("worker", i), TTL: 10 * time.Minute, Log: logger})
		if err != nil {
			t.Fatal(err)
		}
		config := worker.Config{
			Redis: rdb, Keys: names, Instance: i, Outage: redisconn.NewOutage(logger), Log: logger,
		}
		lends := lending.NewService(lending.Config{Config: config, Terms: library.Terms{LoansMax: 5, LoanDays: 28, FrontMax: 5, ReceiptMS: receiptTTL.Milliseconds(), LogMax: logMax, TimeZone: "UTC"}})
		if err := lends.Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		for _, inbox := range append(lends.Inboxes(), shelving.NewService(shelving.Config{Config: config}).Inboxes()...) {
			group.Go(func() {
				if err := worker.Run(ctx, config, inbox); err != nil {
					t.Errorf("serve %s: %v", inbox.Stream, err)
				}
			})
		}
	}
	answered := &atomic.Int64{}
	for i, rdb := range connections[workers:] {
		client, err := lending.NewClient(rdb, names.Library)
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			defer client.Close()
			for n := i; ctx.Err() == nil; n++ {
				user, book, another := fmt.Sprint("user", n%users), fmt.Sprint("book", n%12), fmt.Sprint("book", (n*7)%40)
				for _, order := range []func(context.Context, string, ...string) (*library.Receipt, error){client.Request, client.Return} {
					select {
					case <-ctx.Done():
						return
					case <-turns:
					}
					if _, err := order(ctx, user, book, another); err != nil && ctx.Err() == nil {
						t.Errorf("%s: %v", user, err)
						return
					}
					answered.Add(1)
				}
			}
		})
	}
	return answered
}

func TestALibraryThatMovesIsNeverSuspected(t *testing.T) {
	for title, of := range map[string]struct {
		logMax     int64
		receiptTTL time.Duration
		whole      bool
	}{
		"with the whole log":              {1_000_000, time.Hour, true},
		"with a log that is cut":          {1000, time.Hour, false},
		"while receipts end page by page": {1_000_000, 2 * time.Second, true},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			turns := make(chan bool, 300)
			answered := bustle(t, server, of.logMax, of.receiptTTL, turns)
			rdb := server.Client(t)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			// Enough has been seen when pages were turned, or the log was cut, and many
			// audits went by.
			enough := func(audits int, report *audit.Report) bool {
				turned := rdb.Exists(ctx, key("lending:receipts:older")).Val() == 1
				return audits >= 15 && report.Whole == of.whole && (turned || of.receiptTTL == time.Hour)
			}
			var report *audit.Report
			for audits := 0; report == nil || !enough(audits, report); audits++ {
				for len(turns) < cap(turns) {
					turns <- true
				}
				before := answered.Load()
				for answered.Load() == before && ctx.Err() == nil {
					time.Sleep(time.Millisecond) // until the library moves
				}
				var err error
				report, err = audit.Check(ctx, audit.Config{Redis: rdb, Keys: names})
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range report.Findings {
					t.Errorf("audit %d, after %d answers: %s", audits, before, f)
				}
				if t.Failed() {
					return
				}
			}

			// What is wrong is found all the same.
			for _, command := range [][]any{
				{"HSET", key("lending:loans"), "phantom", "user1"},
				{"SADD", key("lending:front"), "spectre"},
				{"XADD", names.Stores(), "*", "rubbish", "is for the service to set aside"},
				{"HSET", key("lending:receipts"), "forged", `{"id":"forged"}`},
			} {
				if err := rdb.Do(ctx, command...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			report, err := audit.Check(ctx, audit.Config{Redis: rdb, Keys: names})
			if err != nil {
				t.Fatal(err)
			}
			told := map[string]bool{}
			for _, f := range report.Findings {
				// When the spectre leaves front storage, it is one that was never off the shelves.
				told[cmp.Or(f.Book, f.Request, f.Kind)] = true
			}
			delete(told, "count")
			want := map[string]bool{"phantom": true, "spectre": true, "forged": true}
			if !of.whole {
				delete(want, "forged") // it could be older than the log
			}
			if !maps.Equal(told, want) {
				t.Errorf("of three corruptions it tells %v", report.Findings)
			}
			t.Logf("the last of the audits followed %d events; %d answers", report.Events, answered.Load())
		})
	}
}

func TestAnAuditHoldsNobodyUp(t *testing.T) {
	ctx := deadline(t)
	rdb := redistest.Start(t).Client(t)
	const loans = 30_000
	fillWithLoans(t, ctx, rdb, loans)
	if err := rdb.ConfigResetStat(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	longest := 0
	rdb.AddHook(calls(func(cmd redis.Cmder) {
		elements := 0
		switch cmd := cmd.(type) {
		case *redis.ScanCmd:
			page, _ := cmd.Val()
			elements = len(page)
		case *redis.XMessageSliceCmd:
			elements = len(cmd.Val())
		case *redis.SliceCmd:
			elements = len(cmd.Val())
		case *redis.MapStringStringCmd:
			elements = len(cmd.Val())
			if name := cmd.Args()[1]; name != names.Terms() && name != names.NotedTerms() {
				t.Errorf("the whole of %v was read at once", cmd.Args())
			}
		}
		if args := cmd.Args(); (cmd.Name() == "xrange" || cmd.Name() == "xrevrange") && (len(args) != 6 || args[4] != "count") {
			t.Errorf("%v is not bounded", args)
		}
		longest = max(longest, elements)
	}))
	report, err := audit.Check(ctx, audit.Config{Redis: rdb, Keys: names})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Clean() || report.Loans != loans || report.Cards != loans/5 || report.Out != loans || report.Receipts != loans/5 {
		t.Errorf("report: %+v", report)
	}
	// A page of a scan is about 500 fields, each with its value.
	if longest == 0 || longest > 2000 {
		t.Errorf("the longest reply had %d elements, want a page", longest)
	}
	stats, err := rdb.Info(ctx, "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	paged := map[string]bool{
		"type": true, "xrevrange": true, "xrange": true, "xinfo|stream": true, "xinfo|groups": true, "xinfo|consumers": true, "xpending": true,
		"hgetall": true, "hscan": true, "sscan": true, "scan": true, "hget": true, "hmget": true, "hexists": true, "sismember": true, "hlen": true,
		"get": true, "exists": true, "pttl": true, "time": true, "multi": true, "exec": true, "hello": true, "config|resetstat": true, "info": true,
	}
	sent := 0
	for line := range strings.Lines(stats) {
		name, _, isCommand := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":")
		if !isCommand || !strings.HasPrefix(line, "cmdstat_") {
			continue
		}
		sent++
		if !paged[name] {
			t.Errorf("%s was sent: %s", name, line)
		}
	}
	if sent < 5 {
		t.Errorf("the server counted %d commands:\n%s", sent, stats)
	}
}

// fillWithLoans writes a library in which so many books are in their users' hands, and
// whose log is forgotten.
func fillWithLoans(t testing.TB, ctx context.Context, rdb *redis.Client, loans int) {
	t.Helper()
	pipe := rdb.Pipeline()
	send := func() {
		t.Helper()
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	due := time.Now().Add(28 * 24 * time.Hour).UnixMilli()
	for i := range loans {
		user, book := fmt.Sprint("user", i/5), fmt.Sprint("book", i)
		hash := fnv.New32a()
		hash.Write([]byte(book))
		pipe.HSet(ctx, key("lending:loans"), book, user)
		pipe.HSet(ctx, key("lending:card:"+user), book, fmt.Sprintf("%d0028", due))
		pipe.HSet(ctx, key(fmt.Sprint("shelving:out:", hash.Sum32()%65536)), book, "")
		if i%5 == 0 {
			pipe.HSet(ctx, key("lending:receipts"), fmt.Sprint("r", i), fmt.Sprintf(`{"id":"r%d"}`, i))
		}
		if pipe.Len() > 1000 {
			send()
		}
	}
	pipe.Set(ctx, key("shelving:away"), loans, 0)
	pipe.PExpire(ctx, key("lending:receipts"), time.Hour)
	pipe.HSet(ctx, key("lending:terms"), "loans_max", 5, "loan_days", 28, "front_max", 20, "receipt_ms", 3_600_000, "log_max", 1000, "since_ms", 0)
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: names.Events(), Values: []any{"event", "stored", "books", `["x"]`}})
	pipe.XTrimMaxLen(ctx, names.Events(), 0)
	send()
}
