package simulation

import (
	"fmt"
	"time"
)

// A kind is what can go wrong with a command.
type kind string

const (
	fine             kind = ""
	diesBefore       kind = "dies before"       // the process is gone before the command is sent
	diesAfter        kind = "dies after"        // the process is gone, the command happened
	cutBefore        kind = "cut before"        // the connection breaks before the server has read the command
	cutAfter         kind = "cut after"         // the command happened, the connection breaks before the answer
	lostBefore       kind = "lost before"       // the command is lost, and nobody says so
	lostAfter        kind = "lost after"        // the command happened, the answer is lost
	delayedBefore    kind = "delayed before"    // the command takes long to arrive; who sent it may have given up by then
	delayedAfter     kind = "delayed after"     // the command happened, the answer takes long
	cutOff           kind = "cut off"           // nothing the process sends arrives for a while
	lockLapses       kind = "lock lapses"       // the instance's lock ends just before the command happens
	clockJumps       kind = "clock jumps"       // the server's clock is set forward just before
	scriptsForgotten kind = "scripts forgotten" // the server forgets all scripts just before
)

// A fault is what goes wrong with one command.
type fault struct {
	kind kind
	wait time.Duration // for how long, or by how much
}

func (f fault) String() string {
	if f.wait != 0 {
		return fmt.Sprintf("%s %s", f.kind, f.wait)
	}
	return string(f.kind)
}

// after is what is left of a fault of a read that found nothing and waits on: what
// struck the server has struck.
func (f fault) after() fault {
	switch f.kind {
	case lockLapses, clockJumps, scriptsForgotten:
		return fault{}
	}
	return f
}

// faultsOf chooses the faults of a run by its seed. Every actor has a stream of
// chances of its own, so what strikes one does not depend on how fast another is.
func faultsOf(w *world, perMille uint64) func(*request) fault {
	longest := 2 * lockTTL
	return func(r *request) fault {
		name := r.conn.actor.name
		if w.chance(name, "strikes", r.ordinal)%1000 >= perMille {
			return fault{}
		}
		wait := time.Duration(w.chance(name, "wait", r.ordinal)%uint64(longest/time.Millisecond)) * time.Millisecond
		switch which := w.chance(name, "fault", r.ordinal) % 16; which {
		case 0, 1:
			return fault{kind: diesBefore}
		case 2, 3:
			return fault{kind: diesAfter}
		case 4, 5:
			return fault{kind: cutBefore}
		case 6, 7:
			return fault{kind: cutAfter}
		case 8:
			return fault{kind: lostBefore}
		case 9:
			return fault{kind: lostAfter}
		case 10:
			return fault{delayedBefore, wait}
		case 11:
			return fault{delayedAfter, wait}
		case 12:
			return fault{cutOff, wait}
		case 13:
			return fault{kind: lockLapses}
		case 14:
			return fault{clockJumps, wait}
		default:
			return fault{kind: scriptsForgotten}
		}
	}
}
