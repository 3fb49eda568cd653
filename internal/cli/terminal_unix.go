//go:build unix

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// inForeground reports whether a file is the terminal that this program is in the
// foreground of. Of a program that a shell runs in the background it is not.
func inForeground(file *os.File) bool {
	group, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// looksClosed reports whether a file may have been closed when the program started: Go
// puts /dev/null in its place then, opened for reading and writing. Some programs hand
// over just that to throw an output away, so it is no error.
func looksClosed(file *os.File) bool {
	var null, stat unix.Stat_t
	flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR &&
		unix.Stat(os.DevNull, &null) == nil && unix.Fstat(int(file.Fd()), &stat) == nil && stat.Rdev == null.Rdev && stat.Mode&unix.S_IFMT == unix.S_IFCHR
}
