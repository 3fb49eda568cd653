package redistest

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent asks the kernel to kill the child when the thread that forked
// it ends, so that a killed or timed-out test binary leaves no server behind.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// waitUntilStopped returns when the child is stopped. Sending SIGSTOP is only
// a request: on another processor the child may run on for a moment. WNOWAIT
// leaves the news in place and does not reap, which is for exec.Cmd to do.
func waitUntilStopped(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
