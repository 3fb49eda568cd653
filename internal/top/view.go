package top

import (
	"fmt"
	"strings"
	"time"

	"example.com/library/events"
	"example.com/library/library"
	"example.com/library/status"
	"example.com/library/worker"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// The styles help where there is colour; nothing is told by them alone.
var (
	strong = lipgloss.NewStyle().Bold(true)
	faint  = lipgloss.NewStyle().Faint(true)
	cursor = lipgloss.NewStyle().Reverse(true)
	wrong  = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Red)
	chart  = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
)

// View is the whole screen.
func (m *Model) View() tea.View {
	view := tea.NewView(m.Render())
	view.AltScreen = true
	return view
}

// Text is what is shown, without any colour.
func (m *Model) Text() string { return ansi.Strip(m.Render()) }

// Render is what is shown: lines that fit the width, as many as the height allows.
func (m *Model) Render() string {
	var lines []string
	add := func(format string, values ...any) { lines = append(lines, fmt.Sprintf(format, values...)) }
	now := m.now()
	if now == nil {
		return "looking …"
	}
	at := now.At.Format(time.TimeOnly)
	if m.paused {
		at = "[paused] " + at
	}
	title := fmt.Sprintf("library %s on %s", now.Status.Library, now.Status.Redis)
	add("%s%s%s", strong.Render(ansi.Truncate(title, max(0, m.width-len(at)-1), "…")), strings.Repeat(" ", max(1, m.width-ansi.StringWidth(title)-len(at))), at)
	add("%s/s lent  %s/s denied  %s/s returned  %s/s refused  %s/s fetched  %s/s rejected",
		rate(m.perSecond("lent")), rate(m.perSecond("denied")), rate(m.perSecond("returned")), rate(m.perSecond("refused")),
		rate(m.perSecond("fetched")), rate(m.perSecond("rejected")))
	if now.Err != nil {
		add("%s", wrong.Render("not all is known: "+library.Plain(now.Err.Error())))
	}
	add("")
	if m.inside {
		lines = append(lines, m.inStream()...)
	} else {
		lines = append(lines, m.table()...)
		add("")
		lines = append(lines, m.places()...)
		add("")
		lines = append(lines, m.instances()...)
	}
	add("")
	add("%s", faint.Render("EVENTS"))
	room := eventsBefore
	if m.height > 0 {
		room = max(0, m.height-len(lines)-1)
	}
	for _, event := range m.shownEvents(room) {
		add("%s", line(event))
	}
	if m.height > 0 {
		for len(lines) < m.height-1 {
			add("")
		}
		lines = append(lines[:min(len(lines), max(0, m.height-1))], faint.Render(m.footer()))
	}
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, m.width, "…")
	}
	return strings.Join(lines, "\n")
}

func (m *Model) footer() string {
	if m.typing {
		return "filter: " + m.filter + "▏  enter keep  esc clear"
	}
	keys := "q quit  ↑↓ choose  enter look into  s sort: " + orders[m.order] + "  / filter"
	if m.filter != "" {
		keys += ": " + m.filter
	}
	if m.inside {
		keys = "q quit  ↑↓ choose  esc back"
	}
	return keys + "  p " + map[bool]string{true: "go on", false: "pause"}[m.paused]
}

// table has a line for each stream, with a bar for what waits now and a chart of the time
// before.
func (m *Model) table() []string {
	const fixed = 20 + 9 + 9 + 9 + 8 + 8
	bar := min(20, max(0, (m.width-fixed)/3))
	past := max(0, m.width-fixed-bar-3)
	lines := []string{faint.Render(fmt.Sprintf("%-20s%9s%9s%9s%8s%8s  %-*s %s", "  STREAM", "BACKLOG", "PENDING", "OLDEST", "IN/s", "OUT/s", bar, "NOW", "OVER TIME"))}
	var most int64
	for _, state := range m.now().Status.Streams {
		most = max(most, state.Unread+state.Pending)
	}
	for _, state := range m.streams() {
		in, out := m.rates(state.Name())
		text := fmt.Sprintf("%-18s%9d%9d%9s%8s%8s", state.Name(), state.Unread, state.Pending, age(state.Oldest), rate(in), rate(out))
		mark := "  "
		if state.Name() == m.selected {
			mark, text = "▸ ", cursor.Render(text)
		}
		lines = append(lines, mark+text+"  "+chart.Render(gauge(float64(state.Unread+state.Pending), float64(most), bar)+" "+spark(m.waiting(state.Name()), past)))
	}
	return lines
}

// waiting is how much waited in a stream, in all samples.
func (m *Model) waiting(name string) []float64 {
	return m.each(func(s Sample) float64 {
		state, _ := stateAt(s, name)
		return float64(state.Unread + state.Pending)
	})
}

// inStream is all that is known of one stream.
func (m *Model) inStream() []string {
	state, known := stateAt(*m.now(), m.selected)
	if !known {
		return []string{m.selected + " is not known now"}
	}
	in, out := m.rates(m.selected)
	lines := []string{
		strong.Render(m.selected),
		fmt.Sprintf("backlog %d  pending %d  oldest %s  in %s/s  out %s/s", state.Unread, state.Pending, age(state.Oldest), rate(in), rate(out)),
		"", faint.Render("WHAT WAITED OVER TIME"),
	}
	lines = append(lines, m.tall(m.waiting(m.selected))...)
	lines = append(lines, faint.Render("AGE OF THE OLDEST OVER TIME"))
	lines = append(lines, m.tall(m.each(func(s Sample) float64 { state, _ := stateAt(s, m.selected); return state.Oldest.Seconds() }))...)
	lines = append(lines, faint.Render(fmt.Sprintf("%-24s%9s", "IN THE HANDS OF", "PENDING")))
	for _, consumer := range state.Consumers {
		lines = append(lines, fmt.Sprintf("%-24s%9d", library.Plain(consumer.Name), consumer.Pending))
	}
	return lines
}

// tall is a chart of several lines, as many as there is room for.
func (m *Model) tall(values []float64) []string {
	rows := 3
	if m.height > 40 {
		rows = 8
	}
	most := highest(values)
	label := fmt.Sprintf("%.6g", most)
	width := max(1, m.width-len(label)-1)
	values = values[max(0, len(values)-width):]
	lines := make([]string, rows)
	for row := range rows {
		var text strings.Builder
		for _, value := range values {
			text.WriteRune(block(value*float64(rows)-most*float64(rows-1-row), most))
		}
		lines[row] = strings.Repeat(" ", len(label)) + " " + chart.Render(text.String())
	}
	lines[0] = label + lines[0][len(label):]
	return lines
}

func (m *Model) places() []string {
	now := m.now().Status
	if now.Unknown[status.Lending] != nil || now.Unknown[status.Shelving] != nil {
		return []string{faint.Render("BOOKS") + "  not known now"}
	}
	lines := []string{
		fmt.Sprintf("%s  in hand %d  on the way %d  off the shelves %d  awaited %d", faint.Render("BOOKS"),
			now.Lending.Loans-now.Lending.OnTheWay, now.Lending.OnTheWay, now.Shelving.Out, now.Shelving.Awaited),
		fmt.Sprintf("%s  %d of %d  %s", faint.Render("FRONT STORAGE"), now.Lending.Front, now.Lending.FrontMax,
			chart.Render(gauge(float64(now.Lending.Front), float64(now.Lending.FrontMax), 20))),
	}
	for _, service := range library.Services() {
		if n := now.Rejected[service]; n > 0 {
			lines = append(lines, wrong.Render(fmt.Sprintf("%d entries rejected by %s; see lendingd rejected", n, service)))
		}
	}
	if percent := now.Memory.Percent(); percent > 0 {
		lines = append(lines, fmt.Sprintf("%s  %d %% of %d bytes used", faint.Render("MEMORY"), percent, now.Memory.Max))
	}
	return lines
}

// instancesMax is how many instances are shown where there is little room.
const instancesMax = 4

func (m *Model) instances() []string {
	lines := []string{faint.Render(fmt.Sprintf("%-16s%-16s%8s%10s%9s%9s  %s", "INSTANCE", "HOST", "PID", "SINCE", "LOCK", "IN HAND", "SERVICES"))}
	now := m.now()
	for i, instance := range now.Status.Instances {
		if m.height > 0 && m.height < 40 && i == instancesMax {
			lines = append(lines, fmt.Sprintf("… and %d more", len(now.Status.Instances)-i))
			break
		}
		lock := "for ever"
		if instance.LockMS >= 0 {
			lock = age(time.Duration(instance.LockMS) * time.Millisecond)
		}
		lines = append(lines, fmt.Sprintf("%s%s%8d%10s%9s%9d  %s", pad(instance.Name, 16), pad(instance.Host, 16), instance.PID,
			age(now.At.Sub(instance.Since)), lock, inHand(now.Status.Streams, instance.Name), library.Plain(strings.Join(instance.Services, ", "))))
	}
	switch {
	case now.Status.Unknown[status.Instances] != nil:
		lines = append(lines, "not all are known now")
	case len(now.Status.Instances) == 0:
		lines = append(lines, wrong.Render("none runs; start one: lendingd worker1"))
	}
	return lines
}

// inHand is how many entries are pending for an instance.
func inHand(streams []worker.State, name string) (pending int64) {
	for _, state := range streams {
		for _, consumer := range state.Consumers {
			if consumer.Name == name {
				pending += consumer.Pending
			}
		}
	}
	return pending
}

// line tells of an event.
func line(event *events.Event) string {
	text := event.Time.Local().Format(time.TimeOnly) + " " + pad(library.Plain(event.Event), 11)
	for _, part := range []string{event.User, strings.Join(event.Books, ", "), event.Stream, event.Reason} {
		if part != "" {
			text += library.Plain(part) + "  "
		}
	}
	if event.By != "" {
		text += "by " + library.Plain(event.By)
	}
	return text
}

// pad fills a text up to a width, or cuts it.
func pad(text string, width int) string {
	text = ansi.Truncate(text, width-1, "…")
	return text + strings.Repeat(" ", width-ansi.StringWidth(text))
}

// rate is a number a second in few digits; below 0 it is not known.
func rate(number float64) string {
	switch {
	case number < 0:
		return "-"
	case number >= 10 || number == 0:
		return fmt.Sprintf("%.0f", number)
	}
	return fmt.Sprintf("%.1f", number)
}

// age is a time in few digits.
func age(span time.Duration) string {
	switch {
	case span <= 0:
		return "-"
	case span < 10*time.Second:
		return fmt.Sprintf("%.1fs", span.Seconds())
	case span < 2*time.Minute:
		return fmt.Sprintf("%.0fs", span.Seconds())
	case span < 2*time.Hour:
		return fmt.Sprintf("%.0fm", span.Minutes())
	case span < 48*time.Hour:
		return fmt.Sprintf("%.0fh", span.Hours())
	}
	return fmt.Sprintf("%.0fd", span.Hours()/24)
}

// blocks are filled by eighths.
var blocks = []rune(" ▁▂▃▄▅▆▇█")

// block is filled by a value's part of the most.
func block(value, most float64) rune {
	if most <= 0 || value <= 0 {
		return blocks[0]
	}
	return blocks[min(len(blocks)-1, 1+int(value/most*float64(len(blocks)-2)))]
}

func highest(values []float64) (most float64) {
	for _, value := range values {
		most = max(most, value)
	}
	return most
}

// spark is a chart of one line: the newest values, as many as the width has.
func spark(values []float64, width int) string {
	values = values[max(0, len(values)-width):]
	most := highest(values)
	text := make([]rune, len(values))
	for i, value := range values {
		text[i] = block(value, most)
	}
	return string(text)
}

// gauge is a bar that is filled by a value's part of the most.
func gauge(value, most float64, width int) string {
	filled := 0
	if most > 0 && value > 0 {
		filled = min(width, max(1, int(value/most*float64(width)+.5)))
	}
	return strings.Repeat("█", filled) + strings.Repeat("░", width-filled)
}
