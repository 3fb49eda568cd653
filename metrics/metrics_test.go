package metrics

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/redis/go-redis/v9"
)

var keys = library.Keys{Library: "main"}

// read reads the figures as Prometheus does: each series, and its value as it is written.
func read(t *testing.T, m *Metrics) (figures map[string]string, text string) {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("/metrics answers %d: %s", answer.Code, answer.Body)
	}
	figures, text = map[string]string{}, answer.Body.String()
	for line := range strings.Lines(text) {
		if series, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && strings.HasPrefix(line, namespace) {
			figures[short(series+"}")] = value
		}
	}
	return figures, text
}

// short is a series without the label that all have.
func short(series string) string {
	return strings.NewReplacer(`,library="main"`, "", `library="main",`, "", `{library="main"}`, "{}").Replace(series)
}

// want checks some of the figures; "" is for one that is not there.
func want(t *testing.T, when string, figures, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for name := range want {
		got[name] = figures[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// whole are the metrics of a process that does everything, once.
func whole(t *testing.T, rdb *redis.Client) *Metrics {
	t.Helper()
	ctx := patience.Deadline(t)
	m := New("1.2.3")
	m.ReadState(rdb, keys)
	m.Time(rdb, keys)
	m.DroppedLines(func() int64 { return 7 })
	outage := redisconn.NewOutage(log.New(io.Discard))
	m.Outages(keys, outage)
	outage.Begin("read", context.DeadlineExceeded)
	m.LockFailed(keys)()
	decided := m.Decided(keys)
	decided(library.Request, string(library.Partial), []library.Line{
		{Result: library.Lent, From: library.FromFront}, {Result: library.Lent, From: library.FromShelves}, {Result: library.Unavailable},
	})
	decided(library.Return, repeat, nil)
	observer := m.Observer(keys, library.Lending)
	observer.Applied(keys.Requests(), 3)
	observer.Claimed(keys.Requests(), 2)
	observer.Rejected(keys.Returns(), 1)
	observer.Moved("delivered", 4)
	m.Observer(keys, library.Shelving)
	if err := worker.EnsureAll(ctx, rdb, keys); err != nil {
		t.Fatal(err)
	}
	instance, err := worker.Take(ctx, rdb, worker.LockConfig{Keys: keys, Name: "worker1", TTL: time.Minute, Services: []string{library.Lending}})
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Retire(ctx, rdb, keys, keys.Requests(), library.Lending, "nobody"); err != nil { // a script
		t.Fatal(err)
	}
	for _, step := range []error{
		rdb.XGroupCreateConsumer(ctx, keys.Requests(), library.Lending, instance.Name()).Err(),
		rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Fetches(), Values: []string{"orders", "[]"}}).Err(),
		rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Rejected(library.Shelving), Values: []string{"reason", "odd"}}).Err(),
		rdb.HSet(ctx, keys.Key("lending:loans"), "geb", "u1", "dune", "u1", "emma", "u2").Err(),
		rdb.HSet(ctx, keys.Key("lending:fetching"), "geb", "r1 b1").Err(),
		rdb.Set(ctx, keys.Key("shelving:away"), 5, 0).Err(),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	return m
}

func TestTheFiguresTellWhatWasDoneAndHowTheLibraryStands(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		figures, text := read(t, whole(t, rdb))
		want(t, "what was done", figures, map[string]string{
			`library_build_info{version="1.2.3"}`:                                      "1",
			`library_decisions_total{action="request",outcome="partial"}`:              "1",
			`library_decisions_total{action="request",outcome="denied"}`:               "0",
			`library_decisions_total{action="return",outcome="repeat"}`:                "1",
			`library_decided_books_total{action="request",result="lent_from_front"}`:   "1",
			`library_decided_books_total{action="request",result="lent_from_shelves"}`: "1",
			`library_decided_books_total{action="request",result="unavailable"}`:       "1",
			`library_decided_books_total{action="return",result="returned"}`:           "0",
			`library_moved_books_total{step="delivered"}`:                              "4",
			`library_moved_books_total{step="fetched"}`:                                "0",
			`library_inbox_decided_entries_total{inbox="lending:requests"}`:            "3",
			`library_inbox_claimed_entries_total{inbox="lending:requests"}`:            "2",
			`library_inbox_rejected_entries_total{inbox="lending:returns"}`:            "1",
			`library_inbox_rejected_entries_total{inbox="shelving:stores"}`:            "0",
			`library_inbox_batch_entries_bucket{inbox="lending:requests",le="2"}`:      "0",
			`library_inbox_batch_entries_bucket{inbox="lending:requests",le="4"}`:      "1",
			`library_script_duration_seconds_count{script="retire"}`:                   "1",
			`library_outages_total{}`:                                                  "1",
			`library_outage{}`:                                                         "1",
			`library_lock_refresh_failures_total{}`:                                    "1",
		})
		if !strings.Contains(text, "\nlibrary_log_lines_dropped_total 7\n") {
			t.Error("the lines that were dropped are not told")
		}
		want(t, "how the library stands", figures, map[string]string{
			`library_inbox_backlog_entries{inbox="shelving:fetches"}`: "1",
			`library_inbox_backlog_entries{inbox="shelving:stores"}`:  "0",
			`library_inbox_pending_entries{inbox="shelving:fetches"}`: "0",
			`library_rejected_entries{service="shelving"}`:            "1",
			`library_instances{service="lending"}`:                    "1",
			`library_instances{service="shelving"}`:                   "0",
			`library_books{place="in_hand"}`:                          "2",
			`library_books{place="on_the_way"}`:                       "1",
			`library_books{place="front_storage"}`:                    "0",
			`library_shelves_out_books{}`:                             "5",
			`library_read_success{figure="lending:requests"}`:         "1",
		})
		if age, err := strconv.ParseFloat(figures[`library_inbox_oldest_entry_age_seconds{inbox="shelving:fetches"}`], 64); err != nil || age < 0 || age > patience.Long.Seconds() {
			t.Errorf("the oldest entry is %v s old, %v", age, err)
		}
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("against Prometheus' conventions: %+v, %v", problems, err)
		}
	})
}

func TestTheServersMemoryAndWhatWasAppendedAreToldWhereItTellsThem(t *testing.T) {
	rdb := redistest.Start(t, "--maxmemory", "100mb").Client(t)
	figures, _ := read(t, whole(t, rdb))
	want(t, "on a server that has a limit", figures, map[string]string{
		`library_redis_memory_max_bytes{}`:                               "1.048576e+08",
		`library_inbox_appended_entries_total{inbox="shelving:fetches"}`: "1",
	})
}

func TestOneFigureThatCannotBeReadLeavesTheOthers(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		m := whole(t, rdb)
		before, _ := read(t, m)
		if err := rdb.Rename(context.Background(), keys.Key("lending:loans"), keys.Key("lending:front")).Err(); err != nil {
			t.Fatal(err)
		}
		after, _ := read(t, m)
		want(t, "with a wrong key", after, map[string]string{
			`library_read_success{figure="lending:books"}`:  "0",
			`library_read_success{figure="shelving:books"}`: "1",
		})
		var gone []string
		for _, name := range slices.Sorted(maps.Keys(before)) {
			if _, there := after[name]; !there {
				gone = append(gone, name)
			}
		}
		left := []string{
			`library_books{place="front_storage"}`, `library_books{place="in_hand"}`, `library_books{place="on_the_way"}`,
			`library_front_storage_capacity_books{}`,
		}
		if diff := cmp.Diff(left, gone); diff != "" {
			t.Errorf("what is left out (-want +got):\n%s", diff)
		}
	})
}

func TestWithoutRedisTheProcessStillTellsWhatItDid(t *testing.T) {
	for when, vanish := range map[string]func(*redistest.Server, testing.TB){
		"away":   (*redistest.Server).Kill,
		"paused": (*redistest.Server).Pause,
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			rdb, err := redisconn.Connect(redisconn.Options{Address: server.URL()})
			if err != nil {
				t.Fatal(err)
			}
			defer rdb.Close()
			m := whole(t, rdb.(*redis.Client))
			vanish(server, t)
			began := time.Now()
			figures, _ := read(t, m)
			if took := time.Since(began); took > readPatience+patience.Long/2 {
				t.Errorf("it took %v", took)
			}
			want(t, "without Redis", figures, map[string]string{
				`library_inbox_decided_entries_total{inbox="lending:requests"}`: "3",
				`library_read_success{figure="lending:requests"}`:               "0",
				`library_read_success{figure="memory"}`:                         "0",
				`library_inbox_backlog_entries{inbox="lending:requests"}`:       "",
				`library_instances{service="lending"}`:                          "",
			})
			if when == "paused" {
				server.Resume(t)
			}
		})
	}
}

func TestALookTakesRedisNotMuchMoreThanToReadWhatWaits(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	ctx := patience.Deadline(t)
	m := whole(t, rdb)
	// Ten instances have their hands full, and a backlog waits behind an entry that was
	// pending for long.
	for i := range 10 {
		name := "worker" + strconv.Itoa(i)
		_, err := worker.Take(ctx, rdb, worker.LockConfig{Keys: keys, Name: name + "a", TTL: time.Minute, Services: library.Services()})
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range library.Services() {
			for _, inbox := range keys.Inboxes(service) {
				_, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
					for range 512 {
						pipe.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: []string{"id", "90780f442acb44d8ca8287572533a35e", "user", "user1", "books", `["geb","dune"]`}})
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				err = rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: service, Consumer: name + "a", Streams: []string{inbox, ">"}, Count: 512, Block: -1}).Err()
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	spent := func(what func()) time.Duration {
		if err := rdb.ConfigResetStat(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		what()
		return timeOfRedis(t, rdb)
	}
	reading := spent(func() {
		for _, service := range library.Services() {
			for _, inbox := range keys.Inboxes(service) {
				if err := rdb.XRange(ctx, inbox, "-", "+").Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	const looks = 20
	looking := spent(func() {
		for range looks {
			figures, _ := read(t, m)
			want(t, "with full hands", figures, map[string]string{
				`library_inbox_pending_entries{inbox="lending:requests"}`: "5120",
				`library_inbox_backlog_entries{inbox="lending:requests"}`: "0",
			})
		}
	}) / looks
	t.Logf("a look takes %v of Redis's time, and to read what waits %v", looking, reading)
	if looking == 0 || looking > 4*reading {
		t.Errorf("a look takes %v of Redis's time, want at most four times the %v that it takes to read what waits", looking, reading)
	}
}

// timeOfRedis is how much of Redis's time its commands took since the figures were reset.
func timeOfRedis(t *testing.T, rdb *redis.Client) time.Duration {
	t.Helper()
	info, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	var spent time.Duration
	for line := range strings.Lines(info) {
		if _, rest, ok := strings.Cut(line, "usec="); ok && !strings.HasPrefix(line, "cmdstat_config") && !strings.HasPrefix(line, "cmdstat_exec") { // EXEC counts what it runs
			usec, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(usec)
			if err != nil {
				t.Fatal(err)
			}
			spent += time.Duration(n) * time.Microsecond
		}
	}
	return spent
}

// A step that is not named beforehand would begin at 1, and Prometheus would not see it.
func TestEveryStepThatAScriptAnswersIsKnown(t *testing.T) {
	for service, files := range map[string][]string{library.Lending: {"deliver.lua"}, library.Shelving: {"fetch.lua", "store.lua"}} {
		for _, file := range files {
			header, _, _ := strings.Cut(scripts.Text(file), "-- Emits")
			_, returns, ok := strings.Cut(header, "-- Returns")
			if !ok {
				t.Fatalf("%s does not say what it returns", file)
			}
			for line := range strings.Lines(returns) {
				_, rest, quoted := strings.Cut(line, `"`)
				word, _, _ := strings.Cut(rest, `"`)
				if quoted && word != "" && word != "gone" && word != "conflict" && !slices.Contains(steps[service], word) {
					t.Errorf("%s answers %q, which is not among the steps of %s", file, word, service)
				}
			}
		}
	}
}

func TestAScriptsCallIsTimedAndNothingElseIs(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := patience.Deadline(t)
		m := whole(t, rdb)
		client, err := lending.NewClient(rdb, keys.Library)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Card(ctx, "u1"); err != nil {
			t.Fatal(err)
		}
		if err := rdb.Eval(ctx, "return 1", nil).Err(); err != nil {
			t.Fatal(err)
		}
		figures, _ := read(t, m)
		for name := range figures {
			if strings.HasPrefix(name, "library_script_duration_seconds_count") && !strings.Contains(name, `script="retire"`) {
				t.Errorf("%s is told, too", name)
			}
		}
	})
}
