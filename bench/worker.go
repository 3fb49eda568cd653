package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopWithin is how long a process may take to end after SIGTERM.
const stopWithin = 15 * time.Second

// A process is a program that the bench started.
type process struct {
	PID int
	// Log is the path of the file that has its standard error, and its standard output.
	Log string

	name    string
	command *exec.Cmd
	exited  chan struct{} // closed when it has ended and was waited for
	err     error         // how it ended; read after exited
	logf    func(format string, args ...any)
}

// startLendingd runs `lendingd -a redis://ADDR [flags] NAME` on the server, its
// log in a file. It returns at once: the instance may not serve yet.
func (b *bench) startLendingd(s *server, flags ...string) (*process, error) {
	id := b.started.Add(1)
	arguments := append([]string{"-a", "redis://" + s.Addr}, flags...)
	return b.start(fmt.Sprintf("lendingd-%d", id), exec.Command(b.lendingd, append(arguments, "worker1")...))
}

// startWorker runs one of the contestants that are written here on the server.
func (b *bench) startWorker(s *server, kind string, flags ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arguments := append([]string{"worker", kind, "-addr", s.Addr}, flags...)
	return b.start(fmt.Sprintf("%s-%d", kind, b.started.Add(1)), exec.Command(self, arguments...))
}

// forks takes functions to run on one thread that lives as long as the bench.
// Linux kills a child with its parent when the thread that forked it ends, and
// the Go runtime ends threads as it likes.
var forks = sync.OnceValue(func() chan<- func() {
	forks := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fork := range forks {
			fork()
		}
	}()
	return forks
})

// start runs a command, its output in a file of that name, and sees to it that it
// ends with the bench.
func (b *bench) start(name string, command *exec.Cmd) (*process, error) {
	p := &process{Log: filepath.Join(b.dir, name+".log"), name: name, command: command, exited: make(chan struct{}), logf: b.logf}
	log, err := os.Create(p.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// A reader's own settings must not change what is measured.
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "LENDING_") {
			command.Env = append(command.Env, variable)
		}
	}
	started := make(chan error)
	forks() <- func() { started <- command.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	p.PID = command.Process.Pid
	go func() {
		p.err = command.Wait()
		close(p.exited)
	}()
	return p, nil
}

// CPU is the processor time, user and system, that all threads of the process
// have used, those that ended included. It is 0 if the process has ended.
func (p *process) CPU() time.Duration {
	// The kernel has a clock for each process; this is how its number is made. It
	// counts nanoseconds, where /proc/PID/stat counts ticks of 10 ms.
	const scheduled = 2
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^p.PID<<3|scheduled), &used); err != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

// Stop asks the process to end, with SIGTERM, and waits until it has. The error
// says that it did not end well.
func (p *process) Stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(stopWithin):
		p.kill()
		return fmt.Errorf("%s did not stop within %s%s", p.name, stopWithin, p.tail())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w%s", p.name, p.err, p.tail())
	}
	return nil
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	// The one possible error says that it has ended already.
	_ = p.command.Process.Kill()
	<-p.exited
}

// until looks every so often until what it looks for is there, the process has
// ended, or the time is up; the latter two are errors.
func (p *process) until(every, within time.Duration, look func() (bool, error)) error {
	deadline := time.After(within)
	again := time.NewTicker(every)
	defer again.Stop()
	for {
		if found, err := look(); found || err != nil {
			return err
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended (%v)%s", p.name, p.command.ProcessState, p.tail())
		case <-deadline:
			return fmt.Errorf("%s: not within %s%s", p.name, within, p.tail())
		case <-again.C:
		}
	}
}

// tail is the end of the process's log, for a message about a failure.
func (p *process) tail() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return "; its log ends:\n" + string(bytes.Join(lines[max(0, len(lines)-10):], []byte("\n")))
}

// runWorker runs what others are compared with and is written here, as a process of its own, until
// it is told to stop.
func runWorker(kind string, arguments []string) error {
	flags := flag.NewFlagSet("bench worker "+kind, flag.ContinueOnError)
	address := flags.String("addr", "", "the server's `ADDRESS`, host:port")
	parallel := flags.Int("parallel", 1, "how many orders are in hand at once, or subscribers")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	go func() {
		<-told
		os.Exit(0) // there is nothing that would need an orderly end
	}()
	ctx := context.Background()
	switch kind {
	case "reference":
		return runReference(ctx, connect("tcp", *address))
	case "inside":
		return runInside(ctx, connect("tcp", *address))
	case rawFloor:
		return runRawFloor(*address)
	case goRedisFloor:
		return runGoRedisFloor(ctx, connect("tcp", *address))
	case "asynq":
		return runAsynq(*address, *parallel)
	case "watermill":
		return runWatermill(ctx, *address, *parallel)
	}
	return fmt.Errorf("no such contestant")
}
