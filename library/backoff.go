package library

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// NewBackoff tells how long to wait between tries of something that fails for
// reasons that pass: 20 ms at first, 1 s in the end, spread at random so that
// many who wait do not come back at once.
func NewBackoff() *backoff.ExponentialBackOff {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = 20 * time.Millisecond
	waits.MaxInterval = time.Second
	return waits
}
