//go:build !unix

package cli

import (
	"os"

	"github.com/charmbracelet/x/term"
)

// inForeground reports whether a file is a terminal; here no shell can put a program
// into the background of it.
func inForeground(file *os.File) bool { return term.IsTerminal(file.Fd()) }

// looksClosed reports whether a file may have been closed when the program started;
// here that cannot be told.
func looksClosed(*os.File) bool { return false }
