package cmd_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/redisconn"
)

// metricsURL is where a worker serves its metrics, by its log.
func metricsURL(t *testing.T, worker *programtest.Process) string {
	t.Helper()
	if err := worker.Await(`url=\S+/metrics`); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`url="?(http://\S+)/metrics`).FindStringSubmatch(worker.Output())[1]
}

// wantFigures checks that lines are among what a worker tells.
func wantFigures(t *testing.T, url string, lines ...string) {
	t.Helper()
	_, text := programtest.Get(t, url+"/metrics")
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("/metrics does not tell %s, but:\n%s", line, strings.Join(regexp.MustCompile(`(?m)^`+name+`\b.*$`).FindAllString(text, -1), "\n"))
		}
	}
}

func TestAWorkerTellsItsMetricsAndItsHealth(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	env := []string{"LENDING_ADDRESS=" + server.URL()}
	worker := programtest.Start(t, env, "lendingd", "--metrics", "127.0.0.1:0", "--library", "main,north", "worker1")
	url := metricsURL(t, worker)
	for _, served := range []string{"main", "north"} {
		if err := worker.Await("serving library=" + served + " instance=worker1"); err != nil {
			t.Fatal(err)
		}
	}
	if code, text := programtest.Get(t, url+"/readyz"); code != http.StatusOK {
		t.Errorf("/readyz of a worker that serves: %d %s", code, text)
	}
	order := programtest.Start(t, env, "getbooks", "request", "user1", "geb", "dune")
	if code, err := order.Wait(); code != 0 || err != nil {
		t.Fatalf("getbooks ended with code %d, %v", code, err)
	}
	wantFigures(t, url,
		`library_decisions_total{action="request",library="main",outcome="granted"} 1`,
		`library_decisions_total{action="request",library="north",outcome="granted"} 0`,
		`library_decided_books_total{action="request",library="main",result="lent_from_shelves"} 2`,
		`library_moved_books_total{library="main",step="delivered"} 2`,
		`library_inbox_decided_entries_total{inbox="lending:requests",library="main"} 1`,
		`library_inbox_appended_entries_total{inbox="lending:requests",library="main"} 1`,
		`library_script_duration_seconds_count{library="main",script="lend"} 1`,
		`library_books{library="main",place="in_hand"} 2`,
		`library_instances{library="north",service="shelving"} 1`,
		`library_lock_refresh_failures_total{library="main"} 0`,
		`library_log_lines_dropped_total 0`,
	)
	server.Kill(t)
	if code, text := programtest.Get(t, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "library north: Redis does not answer") {
		t.Errorf("/readyz without Redis: %d %s", code, text)
	}
	if code, text := programtest.Get(t, url+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz without Redis: %d %s", code, text)
	}
	wantFigures(t, url, `library_read_success{figure="instances",library="main"} 0`, `library_decisions_total{action="request",library="main",outcome="granted"} 1`)
}

func TestAWorkerIsNotReadyBeforeItHasItsName(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Pause(t)
	worker := programtest.Start(t, []string{"LENDING_ADDRESS=" + server.URL()}, "lendingd", "--metrics", "127.0.0.1:0", "worker1")
	url := metricsURL(t, worker)
	if code, text := programtest.Get(t, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "the name is not taken yet") {
		t.Errorf("/readyz before the name is taken: %d %s", code, text)
	}
	server.Resume(t)
}

func TestMetricsAreReadAsStaffWhereEachProgramHasAUser(t *testing.T) {
	t.Parallel()
	server, passwords := guard(t)
	env := []string{"LENDING_ADDRESS=" + server.URL(), "LENDING_PASSWORD_DIR=" + passwords}
	worker := programtest.Start(t, env, "lendingd", "--metrics", "127.0.0.1:0", "--service", "shelving", "worker1")
	url := metricsURL(t, worker)
	if err := worker.Await("serving instance=worker1"); err != nil {
		t.Fatal(err)
	}
	wantFigures(t, url,
		`library_read_success{figure="lending:requests",library="main"} 1`, `library_read_success{figure="lending:books",library="main"} 1`,
		`library_read_success{figure="shelving:books",library="main"} 1`, `library_read_success{figure="memory",library="main"} 1`,
		`library_instances{library="main",service="shelving"} 1`, `library_instances{library="main",service="lending"} 0`,
	)
	wantNobodyRefused(t, server)
}

func TestMetricsThatCannotBeServedEndTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	env := []string{"LENDING_ADDRESS=" + server.URL()}
	first := programtest.Start(t, env, "lendingd", "--metrics", "127.0.0.1:0", "worker1")
	taken := strings.TrimPrefix(metricsURL(t, first), "http://")
	for address, want := range map[string]struct {
		code int
		text string
	}{
		taken:  {1, "choose another address"},
		"9465": {2, "--metrics is a host and a port, such as 127.0.0.1:9465, not \"9465\""},
		"a:b:": {2, "--metrics is a host and a port"},
	} {
		worker := programtest.Start(t, env, "lendingd", "--metrics", address, "worker2")
		code, err := worker.Wait()
		if err != nil || code != want.code || !strings.Contains(worker.Output(), want.text) {
			t.Errorf("--metrics %s: code %d, %v, %s; want code %d and %q", address, code, err, worker.Output(), want.code, want.text)
		}
	}
	rdb, err := redisconn.Connect(redisconn.Options{Address: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	if held := rdb.Exists(t.Context(), "{main}:instance:worker2").Val(); held != 0 {
		t.Errorf("a worker that did not start holds its name: %d", held)
	}
}
