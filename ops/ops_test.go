// Package ops_test checks what operators are given against a worker that runs: the board's
// queries, the alerts, and the compose file's settings.
package ops_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
)

func TestMain(m *testing.M) { programtest.Main(m, "LENDING_LOG_FORMAT=text") }

// A query is one that a panel or an alert asks of Prometheus.
type query struct{ where, text string }

// queries are all of the board's and the alerts'.
func queries(t *testing.T) (board, alerts []query) {
	t.Helper()
	text, err := os.ReadFile("grafana/library.json")
	if err != nil {
		t.Fatal(err)
	}
	var library struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(text, &library); err != nil {
		t.Fatalf("read the board: %v", err)
	}
	for _, panel := range library.Panels {
		for _, target := range panel.Targets {
			board = append(board, query{"panel " + panel.Title, target.Expr})
		}
	}
	for _, variable := range library.Templating.List {
		if variable.Definition != "" {
			board = append(board, query{"variable " + variable.Name, strings.TrimSuffix(strings.TrimPrefix(variable.Definition, "label_values("), ", library)")})
		}
	}
	rules, err := os.ReadFile("prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`(?m)^ +- alert: (\w+)\n +expr: (.+)$`).FindAllStringSubmatch(string(rules), -1) {
		alerts = append(alerts, query{"alert " + alert[1], alert[2]})
	}
	if len(board) < 30 || len(alerts) < 10 {
		t.Fatalf("the board has %d queries, and there are %d alerts", len(board), len(alerts))
	}
	return board, alerts
}

var (
	// selectors are figures' names, and the labels they must have.
	selectors = regexp.MustCompile(`\b((?:library|process)_\w+|up)\b(?:\{([^}]*)\})?`)
	matchers  = regexp.MustCompile(`(\w+)(=~|!=|=)"([^"]*)"`)
	grouping  = regexp.MustCompile(`by \(([^)]*)\)`)
	series    = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? \S+$`)
	pair      = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// figures are the series that a worker tells after some orders: the labels of each, by name.
// What Prometheus adds to each is there, too.
func figures(t *testing.T) map[string][]map[string]string {
	t.Helper()
	server := redistest.Start(t, "--maxmemory", "100mb")
	env := []string{"LENDING_ADDRESS=" + server.URL()}
	worker := programtest.Start(t, env, "lendingd", "--metrics", "127.0.0.1:0", "--front", "1", "worker1")
	if err := worker.Await("serving instance=worker1"); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"request", "u1", "geb", "dune"}, {"return", "u1", "geb", "dune"}, {"request", "u2", "geb", "dune"}} {
		order := programtest.Start(t, env, "getbooks", words...)
		if code, err := order.Wait(); code != 0 || err != nil {
			t.Fatalf("getbooks %q ended with code %d, %v", words, code, err)
		}
	}
	url := regexp.MustCompile(`url="?(http://\S+/metrics)`).FindStringSubmatch(worker.Output())[1]
	_, text := programtest.Get(t, url)
	added := `job="library",instance="worker1:9465"`
	told := map[string][]map[string]string{}
	for _, line := range series.FindAllStringSubmatch(text+"up 1\n", -1) {
		labels := map[string]string{}
		for _, label := range pair.FindAllStringSubmatch(line[2]+","+added, -1) {
			labels[label[1]] = label[2]
		}
		told[line[1]] = append(told[line[1]], labels)
	}
	return told
}

// matches reports whether a series has what a selector asks for.
func matches(t *testing.T, labels map[string]string, asked string) bool {
	t.Helper()
	for _, matcher := range matchers.FindAllStringSubmatch(asked, -1) {
		name, operator, value := matcher[1], matcher[2], strings.ReplaceAll(matcher[3], "$library", "main")
		switch is, there := labels[name]; {
		case !there:
			return false
		case operator == "=" && is != value, operator == "!=" && is == value:
			return false
		case operator == "=~" && !regexp.MustCompile("^(?:"+value+")$").MatchString(is):
			return false
		}
	}
	return true
}

func TestEveryQueryAsksForFiguresThatAWorkerTells(t *testing.T) {
	told := figures(t)
	board, alerts := queries(t)
	for _, query := range slices.Concat(board, alerts) {
		asked := selectors.FindAllStringSubmatch(query.text, -1)
		if len(asked) == 0 {
			t.Errorf("%s: %s asks for no figure", query.where, query.text)
		}
		for _, selector := range asked {
			var found []map[string]string
			for _, labels := range told[selector[1]] {
				if matches(t, labels, selector[2]) {
					found = append(found, labels)
				}
			}
			if len(found) == 0 {
				t.Errorf("%s asks for %s, and no series is like that; there are %v", query.where, selector[0], told[selector[1]])
				continue
			}
			for _, group := range grouping.FindAllStringSubmatch(query.text, -1) {
				for label := range strings.SplitSeq(group[1], ", ") {
					if _, there := found[0][label]; !there {
						t.Errorf("%s groups by %s, which %s has not", query.where, label, selector[1])
					}
				}
			}
		}
	}
}

// promtool runs it on files in a folder, where the machine has it.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("promtool is not on PATH; .ci/run says how to get it")
		}
		t.Skip("promtool is not on PATH: it comes with Prometheus")
	}
	command := exec.Command(program, args...)
	command.Dir = dir
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, output)
	}
}

func TestTheAlertsFireWhenTheyShould(t *testing.T) {
	promtool(t, "prometheus", "check", "config", "prometheus.yml")
	promtool(t, "prometheus", "test", "rules", "alerts_test.yml")
}

func TestPrometheusUnderstandsTheBoard(t *testing.T) {
	board, _ := queries(t)
	rules := "groups:\n- name: board\n  rules:\n"
	for i, query := range board {
		text := strings.NewReplacer("$__rate_interval", "1m", "$library", "main").Replace(query.text)
		rules += fmt.Sprintf("  - {record: query%d, expr: %q}\n", i, text)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "board.yml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "check", "rules", "board.yml")
}

func TestEachAlertSaysWhatToDoAndIsTested(t *testing.T) {
	rules, err := os.ReadFile("prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	_, alerts := queries(t)
	parts := strings.Split(string(rules), "- alert: ")[1:]
	if len(parts) != len(alerts) {
		t.Errorf("%d alerts, of which %d have a query that was found", len(parts), len(alerts))
	}
	for _, part := range parts {
		name, _, _ := strings.Cut(part, "\n")
		for _, line := range []string{`severity: (critical|warning|info)`, `summary: "\S.+"`, `runbook: "\S.{20,}"`} {
			if !regexp.MustCompile(line).MatchString(part) {
				t.Errorf("alert %s has no line like %s", name, line)
			}
		}
		if !regexp.MustCompile(`alertname: ` + name + "\n +exp_alerts:").Match(tests) {
			t.Errorf("no test has alert %s fire", name)
		}
		if !regexp.MustCompile(`alertname: ` + name + "}").Match(tests) {
			t.Errorf("no test has alert %s keep still", name)
		}
	}
}
