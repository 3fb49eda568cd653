package guarantees_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/library/internal/redistest"
	"example.com/library/redisconn"

	"golang.org/x/sys/unix"
)

// describe tells when and on what the tables were measured.
func describe(t *testing.T, rows []*row) string {
	t.Helper()
	server, err := redisconn.Inspect(context.Background(), redistest.Start(t).Client(t), keys)
	if err != nil {
		t.Fatal(err)
	}
	var system unix.Utsname
	if err := unix.Uname(&system); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("Measured on %s: %s, %d processors, Linux %s, %s, redis-server %s.\n", time.Now().UTC().Format("2006-01-02"),
		processor(), runtime.NumCPU(), unix.ByteSliceToString(system.Release[:]), runtime.Version(), server.Version)
	text += fmt.Sprintf("Rounds: %d, the last of them struck at the worst moment.", *rounds)
	var syncs []time.Duration
	for _, r := range rows {
		for _, took := range r.tolls {
			if r.way.delay == 0 {
				syncs = append(syncs, took.syncs...)
			}
		}
	}
	if len(syncs) > 0 {
		median, most := middle(syncs)
		text += fmt.Sprintf(" An fdatasync takes %s here, at most %s; on a slow disk so much longer as it says.", brief(median), brief(most))
	}
	return text + "\n"
}

// processor is the model of the first processor.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// losses is the table of what each death took.
func losses(rows []*row) string {
	cells := [][]string{{"way of running", "what dies", "answers lost", "given in the last", "accepted, unwatched, lost", "sent again", "with two users", "first answer after", "all in hand after"}}
	last := ""
	for _, r := range rows {
		if len(r.tolls) == 0 {
			continue
		}
		name := r.way.name
		if name == last {
			name = ""
		}
		last = r.way.name
		sum := func(part func(toll) int) int {
			total := 0
			for _, took := range r.tolls {
				total += part(took)
			}
			return total
		}
		spread := func(part func(toll) time.Duration) string {
			median, most := r.spread(part)
			return brief(median) + ", " + brief(most)
		}
		lost := sum(func(took toll) int { return took.lost })
		reach := "–"
		switch {
		case r.takes == everything:
			reach = "all"
		case lost > 0:
			reach = spread(func(took toll) time.Duration { return took.reach })
		}
		cells = append(cells, []string{
			name, r.death.name,
			number(lost) + " of " + number(sum(func(took toll) int { return took.answered })), reach,
			number(sum(func(took toll) int { return took.sentLost })) + " of " + number(sum(func(took toll) int { return took.sent })),
			number(sum(func(took toll) int { return took.again })),
			number(sum(func(took toll) int { return took.two })),
			spread(func(took toll) time.Duration { return took.first }), spread(func(took toll) time.Duration { return took.all }),
		})
	}
	text := "\n" + markdown(cells, 2)
	for _, r := range rows {
		if r.death.name != replicaDies.name || len(r.tolls) == 0 {
			continue
		}
		meanwhile, unknown := 0, 0
		for _, took := range r.tolls {
			meanwhile, unknown = meanwhile+took.meanwhile, unknown+took.unknown
		}
		text += fmt.Sprintf("\nWhile the replica was away (%s): %s answers; of %d users who gave up after %s, %d were told that the answer is not known.\n",
			r.way.name, number(meanwhile), impatientUsers*len(r.tolls), brief(impatience), unknown)
	}
	return text
}

func (r *row) spread(part func(toll) time.Duration) (median, most time.Duration) {
	var parts []time.Duration
	for _, took := range r.tolls {
		parts = append(parts, part(took))
	}
	return middle(parts)
}

// costs is the table of what each way of running costs while nothing dies.
func costs(rows []*row) string {
	cells := [][]string{{"way of running", "answers a second", "typical wait", "of 100, 99 wait at most", "longest wait"}}
	for len(rows) > 0 {
		name := rows[0].way.name
		var rates []float64
		var waits []time.Duration
		for len(rows) > 0 && rows[0].way.name == name {
			for _, took := range rows[0].tolls {
				rates, waits = append(rates, took.rate), append(waits, took.waits...)
			}
			rows = rows[1:]
		}
		if len(waits) == 0 {
			continue
		}
		slices.Sort(waits)
		rate, _ := middle(rates)
		typical, most := middle(waits)
		cells = append(cells, []string{name, number(int(rate + 0.5)), brief(typical), brief(waits[len(waits)*99/100]), brief(most)})
	}
	return "\n" + markdown(cells, 1)
}

// markdown writes lines of cells, the first being the headings, so that they can be
// read as plain text too. The first so many columns are text, the others numbers.
func markdown(lines [][]string, texts int) string {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for n, line := range lines {
		for i, cell := range line {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < texts {
				cell += space
			} else {
				cell = space + cell
			}
			text.WriteString("| " + cell + " ")
		}
		text.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			text.WriteString("|" + strings.Repeat("-", width+1) + map[bool]string{true: "-", false: ":"}[i < texts])
		}
		text.WriteString("|\n")
	}
	return text.String()
}

// number writes a count with commas between the thousands.
func number(count int) string {
	text := strconv.Itoa(count)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// brief writes a time with two digits that count.
func brief(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	case d == 0:
		return "0"
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
