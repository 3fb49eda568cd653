// Package patience says how long tests wait for what must come.
package patience

import (
	"context"
	"testing"
	"time"
)

// Long is how long a test waits for something that must come. Nothing takes as long,
// not even on a machine that has twenty times as much to do as it can: this matters
// only where something is broken, and a test that waits for a signal loses no time.
const Long = 3 * time.Minute

// Deadline returns a context for the calls of one test. It ends with the test, or
// after Long.
func Deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Long)
	t.Cleanup(cancel)
	return ctx
}
