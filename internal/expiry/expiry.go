// Package expiry lets the keys of a miniredis expire as time goes by.
package expiry

import (
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Run lets keys expire until stop is called, at most so late. The server's own way,
// ClockTTL, goes through all keys at every command, and lets a key expire in the middle
// of a script.
func Run(server *miniredis.Miniredis, late time.Duration) (stop func()) {
	ticker, done := time.NewTicker(late), make(chan struct{})
	go func() {
		last := time.Now()
		for {
			select {
			case <-done:
				return
			case now := <-ticker.C:
				server.FastForward(now.Sub(last))
				last = now
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}
