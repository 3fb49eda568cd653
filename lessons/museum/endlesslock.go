package museum

import (
	"time"

	"example.com/library/library"
)

var endlessLock = Exhibit{
	Name:  "endless-lock",
	Title: "A lock without an end",
	What: "An instance takes its name with SET … NX, and deletes the key when it stops. It is always deleted, " +
		"unless the process is killed.",
	Seen: []Sighting{
		{"bbangert/beaker#163", "a program that was restarted before it released its lock left a lock that never ends"},
		{"redis/redis-py#902", "a client that crashes before it sets the lock's end keeps everybody from the lock"},
	},
	Predict: "worker1 has order a in its hands and is killed. Five minutes later, who works on the order?",
	Right:   "takesTheName", Wrong: "takesTheNameForEver",
	Keep: "A lock is a promise to come back soon; it must end when nobody keeps it.",
	Read: "worker/instance.go: Take, and boundLock, which lets even such a lock end",
	play: func(s *Stage, wrong bool) {
		s.says("worker1 starts")
		worker1 := s.connects("worker1", 0)
		if wrong {
			takesTheNameForEver(worker1)
		} else {
			takesTheName(worker1)
		}
		s.sends(s.wish("a", library.Request, "user1", "geb"))
		worker1.takes(worker1.inbox(s.keys.Requests()))
		worker1.dies(0)
		s.passes(5 * time.Minute)
		must(s.starts("worker2").works())
	},
}

func takesTheName(i *Instance) {
	i.takesName() // worker.Take: SET … NX PX 10000
}

func takesTheNameForEver(i *Instance) {
	i.takesName()
	must(i.rdb.Persist(i.ctx, i.lock.Key()).Err()) // as SET … NX without PX leaves it
}
