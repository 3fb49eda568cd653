package top

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/library/events"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/shelving"
	"example.com/library/status"
	"example.com/library/worker"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

var began = time.Date(2026, 7, 1, 12, 0, 0, 0, time.Local)

// sample is how a library stood n seconds after it began: each second, 10 requests come and
// 8 are decided, and orders pile up before the shelves.
func sample(n int64) Sample {
	stream := func(name string, unread, pending, appended int64, oldest time.Duration) worker.State {
		return worker.State{
			Stream: "{main}:" + name, Unread: unread, Pending: pending, Appended: appended, Oldest: oldest,
			Consumers: []worker.Consumer{{Name: "worker1", Pending: pending}},
		}
	}
	at := began.Add(time.Duration(n) * time.Second)
	return Sample{
		At: at,
		Status: &status.Status{
			Library: "main", Redis: "redis://localhost:6379",
			Streams: []worker.State{
				stream("lending:requests", 2*n, 1, 10*n, 900*time.Millisecond), stream("lending:returns", 0, 0, 0, 0), stream("lending:deliveries", 0, 0, 0, 0),
				stream("shelving:fetches", 16*n, 0, 16*n, time.Duration(n)*time.Second), stream("shelving:stores", 0, 0, -1, 0),
			},
			Instances: []status.Instance{{
				Name: "worker1", Owner: worker.Owner{Host: "cellar", PID: 42, Since: began.Add(-time.Hour), Services: []string{library.Lending}}, LockMS: 9000,
			}},
			Lending: lending.Counts{Loans: 20, OnTheWay: 16, Front: 5, FrontMax: 20}, Shelving: shelving.Counts{Out: 25, Awaited: 1},
			Rejected: map[string]int64{library.Lending: 3},
		},
		Counts: map[string]int{"lent": 7, "denied": 1},
		Events: []*events.Event{
			{Time: at, Event: "denied", By: "worker1", User: "ann", Books: []string{"geb"}},
			{Time: at, Event: "lent", By: "worker1", User: "bob\x1b[31m", Books: []string{"無限の本", "dune"}},
		},
	}
}

// shown is a model that has seen some seconds, in a terminal of that size.
func shown(seconds int64, width, height int) *Model {
	m := &Model{interval: time.Second}
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for n := range seconds {
		m.Update(sample(n))
	}
	return m
}

// press presses keys: a word for one, or the letters of a text.
func press(t *testing.T, m *Model, keys ...string) (quit bool) {
	t.Helper()
	named := map[string]tea.Key{"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "backspace": {Code: tea.KeyBackspace}}
	for _, name := range keys {
		key, is := named[name]
		if !is {
			key = tea.Key{Code: []rune(name)[0], Text: name}
		}
		_, command := m.Update(tea.KeyPressMsg(key))
		quit = command != nil
	}
	return quit
}

// wantFit checks that the picture is as high as the terminal, and no line is wider.
func wantFit(t *testing.T, when string, m *Model) {
	t.Helper()
	lines := strings.Split(m.Text(), "\n")
	if len(lines) != m.height {
		t.Errorf("%s: %d lines, want %d", when, len(lines), m.height)
	}
	for _, line := range lines {
		if width := ansi.StringWidth(line); width > m.width {
			t.Errorf("%s: a line is %d wide, of %d: %q", when, width, m.width, line)
		}
	}
}

func TestAPictureOf80By24(t *testing.T) {
	m := shown(6, 80, 24)
	wantFit(t, "80 by 24", m)
	want := `library main on redis://localhost:6379                                  12:00:05
7.0/s lent  1.0/s denied  0/s returned  0/s refused  0/s fetched  0/s rejected

  STREAM              BACKLOG  PENDING   OLDEST    IN/s   OUT/s  NOW   OVER TIME
  lending:requests         10        1     0.9s      10     8.0  █░░░░ ▁▂▄▅▆█
  lending:returns           0        0        -       0       0  ░░░░░
  lending:deliveries        0        0        -       0       0  ░░░░░
  shelving:fetches         80        0     5.0s      16       0  █████  ▂▃▅▆█
  shelving:stores           0        0        -       -       -  ░░░░░

BOOKS  in hand 4  on the way 16  off the shelves 25  awaited 1
FRONT STORAGE  5 of 20  █████░░░░░░░░░░░░░░░
3 entries rejected by lending; see lendingd rejected

INSTANCE        HOST                 PID     SINCE     LOCK  IN HAND  SERVICES
worker1         cellar                42       60m     9.0s        1  lending

EVENTS
12:00:05 lent       bob\x1b[31m  無限の本, dune  by worker1
12:00:05 denied     ann  geb  by worker1
12:00:04 lent       bob\x1b[31m  無限の本, dune  by worker1
12:00:04 denied     ann  geb  by worker1
12:00:03 lent       bob\x1b[31m  無限の本, dune  by worker1
q quit  ↑↓ choose  enter look into  s sort: name  / filter  p pause`
	var got []string
	for line := range strings.SplitSeq(m.Text(), "\n") {
		got = append(got, strings.TrimRight(line, " "))
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), got); diff != "" {
		t.Errorf("the picture (-want +got):\n%s", diff)
	}
}

func TestEveryPictureFitsItsTerminal(t *testing.T) {
	for _, size := range [][2]int{{200, 60}, {80, 24}, {40, 10}, {20, 3}, {1, 1}} {
		for _, keys := range [][]string{nil, {"down", "enter"}, {"/", "x"}, {"p"}} {
			m := shown(300, size[0], size[1])
			press(t, m, keys...)
			wantFit(t, strings.Join(keys, " "), m)
		}
	}
	if m := shown(0, 80, 24); m.Text() != "looking …" {
		t.Errorf("before the first sample: %q", m.Text())
	}
	if text := shown(300, 200, 60).Text(); strings.Count(text, " lent ") < 15 || !strings.Contains(text, strings.Repeat("█", 20)) {
		t.Errorf("a large terminal is not used:\n%s", text)
	}
}

// names are the streams in the order in which they are shown.
func names(m *Model) (names []string) {
	for _, state := range m.streams() {
		names = append(names, state.Name())
	}
	return names
}

func TestKeysSortFilterPauseAndQuit(t *testing.T) {
	m := shown(6, 80, 24)
	press(t, m, "s")
	if got := names(m); got[0] != "shelving:fetches" || got[1] != "lending:requests" {
		t.Errorf("by backlog: %q", got)
	}
	press(t, m, "s")
	if got := names(m); got[0] != "lending:requests" {
		t.Errorf("by pending: %q", got)
	}
	press(t, m, "s", "s", "s")
	if got := names(m); got[0] != "lending:requests" || got[1] != "lending:returns" {
		t.Errorf("by name again: %q", got)
	}
	press(t, m, "/", "s", "t", "o", "q", "backspace", "enter")
	if diff := cmp.Diff([]string{"shelving:stores"}, names(m)); diff != "" {
		t.Errorf("filtered (-want +got):\n%s", diff)
	}
	press(t, m, "/", "a", "n", "n", "enter")
	if text := m.Text(); strings.Contains(text, " lent       ") || !strings.Contains(text, "denied     ann") || len(names(m)) != 5 {
		t.Errorf("with a filter for events:\n%s", text)
	}
	press(t, m, "esc")
	if text := m.Text(); !strings.Contains(text, " lent       ") {
		t.Errorf("without the filter:\n%s", text)
	}
	press(t, m, "p")
	m.Update(sample(9))
	if text := m.Text(); !strings.Contains(text, "12:00:05") || strings.Contains(text, "12:00:09") || !strings.Contains(text, "[paused]") {
		t.Errorf("paused:\n%s", text)
	}
	press(t, m, "p")
	m.Update(sample(10))
	if text := m.Text(); !strings.Contains(text, "12:00:10") || strings.Contains(text, "[paused]") {
		t.Errorf("going on:\n%s", text)
	}
	if press(t, m, "x") || !press(t, m, "q") {
		t.Error("q does not quit, or another key does")
	}
	if _, command := m.Update(tea.KeyPressMsg(tea.Key{Code: 'c', Mod: tea.ModCtrl})); command == nil {
		t.Error("ctrl+c does not quit")
	}
}

func TestACursorChoosesAStreamToLookInto(t *testing.T) {
	m := shown(6, 80, 24)
	press(t, m, "up", "up")
	if m.selected != "shelving:fetches" {
		t.Errorf("two up from below choose %q", m.selected)
	}
	if text := m.Text(); !strings.Contains(text, "▸ shelving:fetches") {
		t.Errorf("the cursor is not seen without colour:\n%s", text)
	}
	press(t, m, "enter")
	for _, want := range []string{"backlog 80  pending 0  oldest 5.0s  in 16/s  out 0/s", "80 ", "IN THE HANDS OF", "worker1"} {
		if text := m.Text(); !strings.Contains(text, want) {
			t.Errorf("looking into the stream shows no %q:\n%s", want, text)
		}
	}
	press(t, m, "down", "down", "esc")
	if text := m.Text(); m.selected != "shelving:stores" || !strings.Contains(text, "INSTANCE") {
		t.Errorf("back, with %q chosen:\n%s", m.selected, text)
	}
}

func TestWhatIsNotKnownIsSaid(t *testing.T) {
	m := shown(3, 80, 24)
	broken := sample(3)
	broken.Err = errors.New("no answer")
	broken.Status.Streams = broken.Status.Streams[1:]
	broken.Status.Instances = nil
	broken.Status.Unknown = map[string]error{status.Instances: broken.Err, status.Lending: broken.Err}
	m.Update(broken)
	press(t, m, "s", "s", "s", "s") // by a rate that is not known
	text := m.Text()
	for _, want := range []string{"not all is known: no answer", "BOOKS  not known now", "not all are known now"} {
		if !strings.Contains(text, want) {
			t.Errorf("the picture does not say %q:\n%s", want, text)
		}
	}
	wantFit(t, "with an error", m)
}
