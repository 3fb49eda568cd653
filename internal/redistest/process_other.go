//go:build !linux

package redistest

import "syscall"

// dieWithParent does nothing where the kernel knows no parent-death signal: a
// killed test binary leaves its servers running there.
func dieWithParent() *syscall.SysProcAttr { return nil }

// waitUntilStopped does not wait: SIGSTOP takes effect almost at once.
func waitUntilStopped(int) error { return nil }
