package lending

import "time"

// clocks are what this process's two clocks show. One of them stands still while the
// machine sleeps, the other is set by people; none of them alone tells how much time
// has passed.
type clocks struct {
	steady time.Duration
	wall   time.Time
}

var started = time.Now()

func readClocks() clocks {
	now := time.Now()
	return clocks{now.Sub(started), now.Round(0)}
}

// since is how much time has passed, by the clock that says more.
func (c clocks) since(before clocks) time.Duration {
	return max(c.steady-before.steady, c.wall.Sub(before.wall))
}
