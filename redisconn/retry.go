package redisconn

import (
	"context"
	"time"
)

// Retry takes a step until it succeeds, fails with an error that again reports false
// for, or ctx is done. It returns the step's last error. Between two tries it waits, at
// first 20 ms and longer each time, up to 1 s.
//
// A step may have taken effect though its answer was lost, so it must be harmless to
// take it twice.
func Retry(ctx context.Context, again func(error) bool, step func() error) error {
	for waits := NewBackoff(); ; {
		err := step()
		if err == nil || ctx.Err() != nil || !again(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(waits.NextBackOff()):
		}
	}
}

// Passes reports whether an error is of the kind Passing, after which Retry tries again.
func Passes(err error) bool { return KindOf(err) == Passing }
