package main

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// gatherPause is how long a line may wait for others, to be written together: a
	// system call for each would take longer than the rest of its way.
	gatherPause = 10 * time.Millisecond
	// waitingBytesMax is how much may wait to be written. More is dropped.
	waitingBytesMax = 4 << 20
	// flushPatience is how long flush waits for a reader.
	flushPatience = 500 * time.Millisecond
)

// A lineWriter writes lines to a file without ever holding up those who have them:
// one goroutine writes, and may have to wait for a pipe whose reader has stopped, a
// terminal that was paused with Ctrl-S, or a disk. What does not fit into memory
// meanwhile, and what the file does not take, is dropped and counted, and the file is
// told how many lines it missed as soon as it takes lines again.
type lineWriter struct {
	file    io.Writer
	note    func(lost int) []byte // the line that says so
	wake    chan struct{}         // has room for one; filled when lines wait
	flushes chan chan<- struct{}

	mu      sync.Mutex
	waiting []byte
	dropped int // lines that came after those that wait, and found no room

	lostEver atomic.Int64 // all that the file was told of, or will be

	// What follows is the writing goroutine's own.
	spare []byte // where the next lines may wait
	lost  int    // lines that the file was not told of yet
	torn  bool   // the file ends in the middle of a line
}

func newLineWriter(file io.Writer, note func(lost int) []byte) *lineWriter {
	w := &lineWriter{file: file, note: note, wake: make(chan struct{}, 1), flushes: make(chan chan<- struct{})}
	go w.run()
	return w
}

// Write takes one line. It never waits for the file, and never fails.
func (w *lineWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dropped > 0 || len(w.waiting)+len(line) > waitingBytesMax {
		w.dropped++
		return len(line), nil
	}
	w.waiting = append(w.waiting, line...)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

// flush returns when all lines that wait are written, or after flushPatience.
func (w *lineWriter) flush() {
	patience := time.After(flushPatience)
	written := make(chan struct{})
	select {
	case w.flushes <- written:
	case <-patience:
		return
	}
	select {
	case <-written:
	case <-patience:
	}
}

// run writes what waits, for as long as the process lives.
func (w *lineWriter) run() {
	for {
		var flushed chan<- struct{}
		select {
		case <-w.wake:
			time.Sleep(gatherPause)
		case flushed = <-w.flushes:
		}
		w.mu.Lock()
		lines, dropped := w.waiting, w.dropped
		w.waiting, w.dropped = w.spare[:0], 0
		w.mu.Unlock()
		w.tell()
		lost := w.put(lines) + dropped
		w.lost += lost
		w.lostEver.Add(int64(lost))
		w.tell()
		if w.spare = lines; cap(lines) > waitingBytesMax/2 {
			w.spare = nil // so much is rare
		}
		if flushed != nil {
			close(flushed)
		}
	}
}

// tell tells the file how many lines it missed, if any.
func (w *lineWriter) tell() {
	if w.lost > 0 && w.put(w.note(w.lost)) == 0 {
		w.lost = 0
	}
}

// put writes lines to the file, and returns how many of them it did not take.
func (w *lineWriter) put(lines []byte) (lost int) {
	if len(lines) == 0 {
		return 0
	}
	if w.torn {
		if _, err := w.file.Write([]byte("\n")); err != nil {
			return bytes.Count(lines, []byte("\n"))
		}
		w.torn = false
	}
	n, err := w.file.Write(lines)
	w.torn = n > 0 && lines[n-1] != '\n'
	if err == nil {
		return 0
	}
	return bytes.Count(lines[n:], []byte("\n"))
}

// lastWords writes a line and waits, within reason, until it is written.
type lastWords struct{ *lineWriter }

func (w lastWords) Write(line []byte) (int, error) {
	n, err := w.lineWriter.Write(line)
	w.flush()
	return n, err
}
