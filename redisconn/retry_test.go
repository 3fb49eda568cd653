package redisconn

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryWaitsLongerEachTimeAndBeginsAnewEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			var tries []time.Time
			err := Retry(t.Context(), Passes, func() error {
				if tries = append(tries, time.Now()); len(tries) < 30 {
					return io.EOF
				}
				return nil
			})
			if err != nil || len(tries) != 30 {
				t.Fatalf("Retry = %v after %d tries, want nil after 30", err, len(tries))
			}
			// Each wait is spread by half to either side.
			if first := tries[1].Sub(tries[0]); first < 10*time.Millisecond || first > 30*time.Millisecond {
				t.Errorf("the first wait was %s, want 10 to 30 ms", first)
			}
			for i := 20; i < 29; i++ {
				if wait := tries[i+1].Sub(tries[i]); wait < 500*time.Millisecond || wait > 1500*time.Millisecond {
					t.Errorf("wait %d was %s, want 0.5 to 1.5 s", i, wait)
				}
			}
		}
	})
}

func TestRetryEndsWithAnErrorThatIsNotTriedAgain(t *testing.T) {
	broken := errors.New("broken")
	tries := 0
	err := Retry(t.Context(), Passes, func() error {
		if tries++; tries < 3 {
			return io.EOF
		}
		return broken
	})
	if !errors.Is(err, broken) || tries != 3 {
		t.Errorf("Retry = %v after %d tries, want %q after 3", err, tries, broken)
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		began := time.Now()
		err := Retry(ctx, Passes, func() error { return io.EOF })
		if took := time.Since(began); !errors.Is(err, io.EOF) || took != 10*time.Second {
			t.Errorf("Retry = %v after %s, want the step's error as soon as the context ends", err, took)
		}
		tries := 0
		err = Retry(ctx, Passes, func() error { tries++; return io.EOF })
		if !errors.Is(err, io.EOF) || tries != 1 {
			t.Errorf("Retry = %v after %d tries, want one try", err, tries)
		}
	})
}
