package redistest

import "syscall"

func gettid() int { return syscall.Gettid() }
