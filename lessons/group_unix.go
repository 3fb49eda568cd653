//go:build unix

package lessons

import (
	"os/exec"
	"syscall"
)

// ownGroup gives a command, and what it starts, a process group of its own. So Ctrl-C does
// not reach them, and they can be ended together.
func ownGroup(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func endGroup(command *exec.Cmd) { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
