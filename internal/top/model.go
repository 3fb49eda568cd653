package top

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"example.com/library/events"
	"example.com/library/worker"

	tea "charm.land/bubbletea/v2"
)

// historyMax is how many samples are kept for the charts.
const historyMax = 240

// orders are the columns by which streams may be sorted, as the footer names them.
var orders = []string{"name", "backlog", "pending", "oldest", "in"}

// A Model is what is shown, and what the keys have changed of it.
type Model struct {
	interval time.Duration
	sample   func() Sample // nil in tests, which send samples themselves

	samples []Sample // the newest last
	events  []*events.Event
	width   int
	height  int // 0 for no limit

	order    int
	filter   string
	typing   bool // the filter is being typed
	paused   bool
	selected string // the stream under the cursor
	inside   bool   // that stream alone is shown
}

// NewModel makes a model that takes a sample of a library at each interval.
func NewModel(ctx context.Context, w *Watcher, interval time.Duration) *Model {
	return &Model{interval: interval, sample: func() Sample { return w.Sample(ctx) }, width: 80, height: 24}
}

// take has a sample taken.
func (m *Model) take() tea.Cmd {
	if m.sample == nil {
		return nil
	}
	return func() tea.Msg { return m.sample() }
}

// tick says that the next sample is due.
type tick struct{}

// Init begins with a sample.
func (m *Model) Init() tea.Cmd { return m.take() }

// Update is what a sample, a key or another size of the terminal changes.
func (m *Model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = message.Width, message.Height
	case Sample:
		m.Add(message)
		return m, tea.Tick(m.interval, func(time.Time) tea.Msg { return tick{} })
	case tick:
		return m, m.take()
	case tea.KeyPressMsg:
		if m.press(message) {
			return m, tea.Quit
		}
	}
	return m, nil
}

// Add notes a sample, unless the picture is paused.
func (m *Model) Add(sample Sample) {
	if m.paused {
		return
	}
	m.samples = append(m.samples, sample)
	m.samples = m.samples[max(0, len(m.samples)-historyMax):]
	m.events = append(m.events, sample.Events...)
	m.events = m.events[max(0, len(m.events)-eventsMax):]
}

// press does what a key says, and reports whether to quit.
func (m *Model) press(key tea.KeyPressMsg) (quit bool) {
	name := key.String()
	if name == "ctrl+c" {
		return true
	}
	if m.typing {
		switch name {
		case "enter":
			m.typing = false
		case "esc":
			m.typing, m.filter = false, ""
		case "backspace":
			runes := []rune(m.filter)
			m.filter = string(runes[:max(0, len(runes)-1)])
		default:
			m.filter += key.Text
		}
		return false
	}
	switch name {
	case "q":
		return true
	case "s":
		m.order = (m.order + 1) % len(orders)
	case "/":
		m.typing, m.filter = true, ""
	case "p", "space":
		m.paused = !m.paused
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "enter":
		if m.selected == "" {
			m.move(1)
		}
		m.inside = m.selected != ""
	case "esc":
		if !m.inside {
			m.filter, m.selected = "", ""
		}
		m.inside = false
	}
	return false
}

// move moves the cursor through the streams that are shown.
func (m *Model) move(by int) {
	streams := m.streams()
	at := slices.IndexFunc(streams, func(s worker.State) bool { return s.Name() == m.selected })
	if at < 0 && by < 0 {
		at = len(streams)
	}
	if at = at + by; at >= 0 && at < len(streams) {
		m.selected = streams[at].Name()
	}
}

// now is the newest sample; nil before the first.
func (m *Model) now() *Sample {
	if len(m.samples) == 0 {
		return nil
	}
	return &m.samples[len(m.samples)-1]
}

// filtered are the streams whose names have the filter in them.
func (m *Model) filtered() []worker.State {
	var streams []worker.State
	for _, state := range m.now().Status.Streams {
		if strings.Contains(state.Name(), m.filter) {
			streams = append(streams, state)
		}
	}
	return streams
}

// streams are those that pass the filter, or all if it is meant for events, in the chosen
// order.
func (m *Model) streams() []worker.State {
	if m.now() == nil {
		return nil
	}
	streams := m.filtered()
	if len(streams) == 0 {
		streams = slices.Clone(m.now().Status.Streams)
	}
	slices.SortStableFunc(streams, func(a, b worker.State) int {
		switch orders[m.order] {
		case "backlog":
			return cmp.Compare(b.Unread, a.Unread)
		case "pending":
			return cmp.Compare(b.Pending, a.Pending)
		case "oldest":
			return cmp.Compare(b.Oldest, a.Oldest)
		case "in":
			into := func(s worker.State) float64 { in, _ := m.rates(s.Name()); return in }
			return cmp.Compare(into(b), into(a))
		}
		return 0
	})
	return streams
}

// stateAt is the state of a stream in a sample.
func stateAt(sample Sample, name string) (worker.State, bool) {
	for _, state := range sample.Status.Streams {
		if state.Name() == name {
			return state, true
		}
	}
	return worker.State{}, false
}

// rates are how many entries a second came into a stream and were done, between the last
// two samples; -1 where that is not known.
func (m *Model) rates(name string) (in, out float64) {
	if len(m.samples) < 2 {
		return -1, -1
	}
	before, now := m.samples[len(m.samples)-2], m.samples[len(m.samples)-1]
	a, known := stateAt(before, name)
	b, still := stateAt(now, name)
	seconds := now.At.Sub(before.At).Seconds()
	if !known || !still || a.Appended < 0 || b.Appended < a.Appended || seconds <= 0 {
		return -1, -1
	}
	appended := float64(b.Appended - a.Appended)
	waiting := float64(b.Unread + b.Pending - a.Unread - a.Pending)
	return appended / seconds, max(0, appended-waiting) / seconds
}

// each is a figure of all samples, the oldest first; 0 where it is not known.
func (m *Model) each(figure func(Sample) float64) []float64 {
	values := make([]float64, len(m.samples))
	for i, sample := range m.samples {
		values[i] = figure(sample)
	}
	return values
}

// perSecond is how many events of some kinds there were a second, in the last sample.
func (m *Model) perSecond(kinds ...string) float64 {
	if len(m.samples) < 2 {
		return 0
	}
	count := 0
	for _, kind := range kinds {
		count += m.now().Counts[kind]
	}
	return float64(count) / m.now().At.Sub(m.samples[len(m.samples)-2].At).Seconds()
}

// shownEvents are the last events, the newest first; of these, those that have the filter
// in their line, if no stream has it in its name.
func (m *Model) shownEvents(max int) []*events.Event {
	var shown []*events.Event
	all := len(m.filtered()) > 0
	for _, event := range slices.Backward(m.events) {
		if len(shown) == max {
			break
		}
		if m.inside && event.Stream != "" && !strings.HasSuffix(event.Stream, ":"+m.selected) {
			continue
		}
		if all || strings.Contains(line(event), m.filter) {
			shown = append(shown, event)
		}
	}
	return shown
}
