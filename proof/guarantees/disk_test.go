package guarantees_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/redistest"
)

// A disk stands below a redis-server. It forgets what the server had not asked it to
// keep when the machine dies, and it can be slow. See testdata/disk.c, which it loads
// into the server.
type disk struct {
	program string // what is loaded
	notes   string // the file that tells of every fdatasync and fsync
	delay   string // the file that tells how slow it is
}

// errNoDisk is returned where a disk cannot be built.
var errNoDisk = errors.New("no C compiler (cc) to build testdata/disk.c, which stands in for a disk that forgets; `apt-get install gcc libc6-dev` brings one")

// newDisk builds a disk that is as fast as this machine's. Its error may be errNoDisk.
func newDisk(t testing.TB) (*disk, error) {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return nil, errNoDisk
	}
	dir := t.TempDir()
	d := &disk{program: filepath.Join(dir, "disk.so"), notes: filepath.Join(dir, "notes"), delay: filepath.Join(dir, "delay")}
	output, err := exec.Command(compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", d.program, filepath.Join("testdata", "disk.c"), "-ldl").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("build testdata/disk.c: %w\n%s", err, output)
	}
	return d, nil
}

func (d *disk) env() []string {
	return []string{"LD_PRELOAD=" + d.program, "DISK_NOTES=" + d.notes, "DISK_DELAY=" + d.delay}
}

// slow makes an fdatasync take so much longer from now on.
func (d *disk) slow(t testing.TB, delay time.Duration) {
	t.Helper()
	// A file that appears whole is never read half written.
	whole := d.delay + ".new"
	err := os.WriteFile(whole, fmt.Append(nil, delay.Milliseconds()), 0o600)
	if err == nil {
		err = os.Rename(whole, d.delay)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A note is one line of a disk's notes.
type note struct {
	word   string // begin or end
	inode  uint64
	length int64
	at     time.Time
}

// read returns the notes that were made since the first so many bytes of them.
func (d *disk) read(t testing.TB, skip int) (notes []note, size int) {
	t.Helper()
	text, err := os.ReadFile(d.notes)
	if err != nil {
		t.Fatalf("redis-server does not use the disk that was put below it: %v", err)
	}
	for line := range bytes.Lines(text[skip:]) {
		var n note
		var at int64
		if _, err := fmt.Sscanf(string(line), "%s %d %d %d\n", &n.word, &n.inode, &n.length, &at); err != nil {
			t.Fatalf("a note of the disk: %q: %v", line, err)
		}
		n.at = time.Unix(0, at)
		notes = append(notes, n)
	}
	return notes, len(text)
}

// awaitSync waits until the server asks the disk to keep what was written, and
// returns when that was.
func (d *disk) awaitSync(t testing.TB) time.Time {
	t.Helper()
	_, size := d.read(t, 0)
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		notes, _ := d.read(t, size)
		for _, n := range notes {
			if n.word == "begin" {
				return n.at
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("redis-server asked the disk to keep nothing for %s", patience)
	return time.Time{}
}

// forget does to a dead server's append-only file what the death of the machine would
// have done: of what was written after the last fdatasync that has returned began,
// nothing is left, or a part of any length.
func (d *disk) forget(t testing.TB, server *redistest.Server, all bool) {
	t.Helper()
	kept := map[uint64]int64{}
	notes, _ := d.read(t, 0)
	for _, n := range notes {
		if n.word == "end" {
			kept[n.inode] = max(kept[n.inode], n.length)
		}
	}
	files, err := filepath.Glob(filepath.Join(server.Dir(), "appendonlydir", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no append-only file in %s: %v", server.Dir(), err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		least, length := kept[info.Sys().(*syscall.Stat_t).Ino], info.Size()
		if least > length {
			t.Fatalf("%s has %d bytes, but the disk kept %d", file, length, least)
		}
		left := least
		if !all {
			left += rand.Int64N(length - least + 1)
		}
		if err := os.Truncate(file, left); err != nil {
			t.Fatal(err)
		}
	}
}

// syncTimes are how long the fdatasyncs took that have returned.
func (d *disk) syncTimes(t testing.TB) (took []time.Duration) {
	t.Helper()
	began := map[uint64]time.Time{}
	notes, _ := d.read(t, 0)
	for _, n := range notes {
		if n.word == "begin" {
			began[n.inode] = n.at
		} else {
			took = append(took, n.at.Sub(began[n.inode]))
		}
	}
	return took
}
