package cmd_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/lending"
)

// orders make far more lines of a log than a pipe holds.
const orders = 400

func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close(); writer.Close() })
	return reader, writer
}

// workerInto starts a worker whose output goes into a file.
func (b *branch) workerInto(output *os.File, name string) *exec.Cmd {
	b.Helper()
	worker := exec.Command("lendingd", "-a", b.address, "--log-format", "logfmt", name)
	worker.Stdout, worker.Stderr = output, output
	if err := worker.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = worker.Process.Kill() // it may have ended already
		_ = worker.Wait()
	})
	return worker
}

// decide has so many orders decided, each of which is a line of a worker's log.
func (b *branch) decide(orders int) {
	b.Helper()
	client, err := lending.NewClient(b.rdb, "main")
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), programtest.Patience)
	defer cancel()
	for i := range orders {
		if _, err := client.Request(ctx, fmt.Sprintf("user%d", i), fmt.Sprintf("book%d", i)); err != nil {
			b.Fatalf("order %d of %d is not decided: %v", i+1, orders, err)
		}
	}
}

// wantStop checks that a worker stops, with exit code 0.
func (b *branch) wantStop(worker *exec.Cmd) {
	b.Helper()
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- worker.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			b.Errorf("the worker ended with %v, want exit code 0", err)
		}
	case <-time.After(programtest.Patience):
		b.Error("the worker does not stop")
	}
	if n := b.rdb.Exists(context.Background(), keys.Instance("worker1")).Val(); n != 0 {
		b.Error("the worker's lock still stands")
	}
}

func TestAWorkerServesOnThoughNobodyReadsItsLog(t *testing.T) {
	b := open(t)
	reader, writer := pipe(t)
	worker := b.workerInto(writer, "worker1")
	b.decide(orders)
	writer.Close()
	read := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(reader)
		read <- string(text)
	}()
	b.wantStop(worker)
	text := <-read
	if n := strings.Count(text, "msg=request"); n != orders || !strings.Contains(text, "msg=stopped") {
		t.Errorf("the reader that went on was told of %d orders, want %d, and of the stop:\n%s", n, orders, text)
	}
}

func TestAWorkerStopsThoughNobodyReadsItsLog(t *testing.T) {
	b := open(t)
	_, writer := pipe(t)
	worker := b.workerInto(writer, "worker1")
	b.decide(orders)
	b.wantStop(worker)
}

func TestAWorkerServesOnWhenItsLogsReaderDies(t *testing.T) {
	b := open(t)
	reader, writer := pipe(t)
	worker := b.workerInto(writer, "worker1")
	b.decide(1)
	reader.Close()
	b.decide(orders)
	b.wantStop(worker)
}

func TestACommandEndsQuietlyWhenNobodyReadsItsAnswer(t *testing.T) {
	b := open(t)
	b.worker("worker1")
	b.decide(1)
	reader, writer := pipe(t)
	reader.Close()
	watch := exec.Command("getbooks", "-a", b.address, "watch", "--since", "0")
	var complaint strings.Builder
	watch.Stdout, watch.Stderr = writer, &complaint
	err := watch.Run()
	if watch.ProcessState.ExitCode() != 1 || complaint.String() != "" {
		t.Errorf("it ended with %v and said %q, want exit code 1 and nothing", err, complaint.String())
	}
}
