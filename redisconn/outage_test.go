package redisconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
)

// outage returns an Outage and a function that returns the lines it has logged
// since the last call.
func outage() (*Outage, func() []string) {
	var text bytes.Buffer
	return NewOutage(log.NewWithOptions(&text, log.Options{Formatter: log.LogfmtFormatter})), func() []string {
		var lines []string
		for line := range strings.Lines(text.String()) {
			lines = append(lines, strings.TrimSpace(line))
		}
		text.Reset()
		return lines
	}
}

func wantLines(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, the log (-want +got):\n%s", when, diff)
	}
}

func TestAnOutageIsOneLineHoweverManyTriesAndPartsItMeets(t *testing.T) {
	outage, lines := outage()
	begun := `level=warn msg="Redis cannot serve just now; trying again until it does" part=read error=EOF`
	over := `level=info msg="Redis serves again"`
	wantCount := func(begun int, lasts bool) {
		t.Helper()
		if gotBegun, gotLasts := outage.Count(); gotBegun != begun || gotLasts != lasts {
			t.Errorf("it counts %d outages, and one lasts: %v; want %d, %v", gotBegun, gotLasts, begun, lasts)
		}
	}
	for n := range 2 { // the second outage is told like the first
		for range 100 {
			outage.Begin("read", io.EOF)
			outage.Begin("sweep", errors.New("another error of the connection"))
		}
		wantLines(t, "after an outage of two parts began", lines(), begun)
		outage.Over("read")
		wantLines(t, "while one part is still down", lines())
		outage.Begin("read", io.EOF)
		wantLines(t, "when a part fails again meanwhile", lines())
		outage.Over("sweep")
		outage.Over("sweep")
		wantLines(t, "while the other part is still down", lines())
		wantCount(n+1, true)
		outage.Over("read")
		wantLines(t, "after the last part was mended", lines(), over)
		wantCount(n+1, false)
		outage.Over("read")
		wantLines(t, "while all goes on well", lines())
	}
}

func TestAnOutageTellsEachKindOfErrorOnce(t *testing.T) {
	outage, lines := outage()
	for range 3 {
		outage.Begin("read", io.EOF)
		outage.Begin("read", fmt.Errorf("lend: %w", reply("OOM command not allowed")))
		outage.Begin("read", reply("LOADING Redis is loading\nthe dataset"))
		outage.Begin("read", &HangUpError{Said: "ERR max number of clients reached", Err: io.EOF})
	}
	const words = `level=warn msg="Redis cannot serve just now; trying again until it does" part=read error=`
	wantLines(t, "after errors of four kinds", lines(),
		words+`EOF`, words+`"lend: OOM command not allowed"`, words+`"LOADING Redis is loading\\nthe dataset"`, words+`"ERR max number of clients reached"`)
	outage.Over("read")
	wantLines(t, "after the part was mended", lines(), `level=info msg="Redis serves again"`)
}

func TestNothingIsToldOfAPartThatWasNeverDown(t *testing.T) {
	outage, lines := outage()
	outage.Over("read")
	wantLines(t, "after a good step", lines())
}

func TestPartsMayMeetAnOutageAtTheSameTime(t *testing.T) {
	outage, lines := outage()
	var parts sync.WaitGroup
	for i := range 8 {
		parts.Go(func() {
			for range 100 {
				outage.Begin(fmt.Sprint("part ", i), io.EOF)
			}
		})
	}
	parts.Wait()
	if got := lines(); len(got) != 1 {
		t.Errorf("the log has %d lines, want 1: %q", len(got), got)
	}
	for i := range 8 {
		parts.Go(func() { outage.Over(fmt.Sprint("part ", i)) })
	}
	parts.Wait()
	wantLines(t, "after the last part was mended", lines(), `level=info msg="Redis serves again"`)
}
