package redisconn

import (
	"crypto/rand"
	"math/big"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A Backoff tells how long to wait between tries of something that fails for
// reasons that pass. The waits grow, and are spread at random so that many who wait
// do not come back at once.
type Backoff struct{ *backoff.ExponentialBackOff }

// NewBackoff makes a Backoff of 20 ms at first and 1 s in the end, more or less.
func NewBackoff() Backoff {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = 20 * time.Millisecond
	waits.MaxInterval = time.Second
	waits.RandomizationFactor = 0
	return Backoff{waits}
}

// NextBackOff is the next wait, spread by half to either side. It is drawn from
// crypto/rand, for that can be made to repeat itself (testing/cryptotest), so that a
// simulation can be played again.
func (b Backoff) NextBackOff() time.Duration {
	wait := b.ExponentialBackOff.NextBackOff()
	spread, err := rand.Int(rand.Reader, big.NewInt(int64(wait)))
	if err != nil {
		return wait // rand.Reader never fails
	}
	return wait/2 + time.Duration(spread.Int64())
}
