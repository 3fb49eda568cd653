package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/patience"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
)

// A slowFile takes bytes as the test lets it.
type slowFile struct {
	writing chan struct{} // told of each write
	goOn    chan struct{} // closed when writes may end

	mu   sync.Mutex
	room int // how many bytes it takes before it is full
	text strings.Builder
}

func newSlowFile() *slowFile {
	return &slowFile{writing: make(chan struct{}, 100), goOn: make(chan struct{}), room: math.MaxInt}
}

func (f *slowFile) Write(text []byte) (int, error) {
	f.writing <- struct{}{}
	<-f.goOn
	f.mu.Lock()
	defer f.mu.Unlock()
	n, _ := f.text.Write(text[:min(len(text), f.room)])
	f.room -= n
	if n < len(text) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// resize says for how many bytes there is room.
func (f *slowFile) resize(room int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room = room
}

func (f *slowFile) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.String()
}

func lost(lines int) []byte { return fmt.Appendf(nil, "%d lines are missing\n", lines) }

// flushed waits until all lines are written.
func flushed(t *testing.T, w *lineWriter) {
	t.Helper()
	deadline, written := time.After(patience.Long), make(chan struct{})
	select {
	case w.flushes <- written:
	case <-deadline:
		t.Fatal("the lines are not written")
	}
	select {
	case <-written:
	case <-deadline:
		t.Fatal("the lines are not written")
	}
}

func TestAStuckReaderHoldsNobodyUpAndLearnsWhatItMissed(t *testing.T) {
	t.Parallel()
	file := newSlowFile()
	w := newLineWriter(file, lost)
	fmt.Fprint(w, "first\n")
	<-file.writing
	const lines, bytes = 3 * waitingBytesMax / 1000, 1000
	for i := range lines {
		fmt.Fprintf(w, "%*d\n", bytes-1, i) // would hang here
	}
	if n := len(w.waiting); n > waitingBytesMax {
		t.Errorf("%d bytes wait, want at most %d", n, waitingBytesMax)
	}
	began := time.Now()
	w.flush()
	if took := time.Since(began); took > patience.Long/2 {
		t.Errorf("a flush took %s, want it to give up on the reader", took)
	}
	close(file.goOn)
	flushed(t, w)
	if got, want := w.lostEver.Load(), int64(lines-waitingBytesMax/bytes); got != want {
		t.Errorf("it counts %d lines that were lost, want %d", got, want)
	}
	fmt.Fprint(w, "last\n")
	flushed(t, w)

	want := "first\n"
	kept := waitingBytesMax / bytes
	for i := range kept {
		want += fmt.Sprintf("%*d\n", bytes-1, i)
	}
	want += fmt.Sprintf("%d lines are missing\nlast\n", lines-kept)
	if got := file.String(); got != want {
		t.Errorf("the reader got %d bytes that end with %q, want %d that end with %q", len(got), got[max(0, len(got)-60):], len(want), want[len(want)-60:])
	}
}

func TestAFullDiskIsToldWhatIsMissingOnceItHasRoom(t *testing.T) {
	t.Parallel()
	file := newSlowFile()
	close(file.goOn)
	w := newLineWriter(file, lost)
	file.resize(len("one\ntw"))
	for _, line := range []string{"one\n", "two\n", "three\n", "four\n"} {
		fmt.Fprint(w, line)
		flushed(t, w)
	}
	if diff := cmp.Diff("one\ntw", file.String()); diff != "" {
		t.Errorf("while the disk is full (-want +got):\n%s", diff)
	}
	file.resize(math.MaxInt)
	fmt.Fprint(w, "five\n")
	flushed(t, w)
	fmt.Fprint(w, "six\n")
	flushed(t, w)
	if diff := cmp.Diff("one\ntw\n3 lines are missing\nfive\nsix\n", file.String()); diff != "" {
		t.Errorf("when it has room again (-want +got):\n%s", diff)
	}
}

func TestLinesThatComeTogetherAreWrittenTogether(t *testing.T) {
	t.Parallel()
	file := newSlowFile()
	w := newLineWriter(file, lost)
	fmt.Fprint(w, "first\n")
	<-file.writing
	for range 1000 {
		fmt.Fprint(w, "another\n")
	}
	close(file.goOn)
	flushed(t, w)
	if writes := 1 + len(file.writing); writes != 2 {
		t.Errorf("%d writes, want 2", writes)
	}
}

// BenchmarkLine is what a line of the log takes of a worker's time.
func BenchmarkLine(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	logger := log.NewWithOptions(newLineWriter(null, lost), log.Options{ReportTimestamp: true, TimeFormat: timeFormat, Formatter: log.LogfmtFormatter})
	b.ReportAllocs()
	for b.Loop() {
		logger.Info("request", "outcome", "granted", "user", "user1", "books", "geb lent from front storage", "id", "JBSWY3DPEHPK3PXPJBSWY3DPEH")
	}
}
