package museum

import (
	"time"

	"example.com/library/library"
)

var noFence = Exhibit{
	Name:  "no-fence",
	Title: "A lock without a fence",
	What: "Only the instance that holds the lock works, so nothing checks the lock again when it writes. " +
		"But a process that was paused does not know that its lock has ended, nor what others did since.",
	Seen: []Sighting{
		{"bsm/redislock#93", "a holder that was paused beyond its lock's end must not write after another has taken over"},
		{"coditory/sherlock-distributed-lock#78", "without fencing tokens a process pause leads to two holders"},
	},
	Predict: "A laptop with worker1 is closed while it has order a in its hands. An hour later it is opened again. user1 has brought geb back long ago. Who has geb?",
	Change: Change{
		Script: "lend.lua",
		Right:  "local fault = fenced(instance, token) or outdated(terms, version)\n",
		Wrong:  "local fault = outdated(terms, version) -- only the holder of the lock gets here\n",
	},
	Keep: "The lock says who is alive; the script says who is right.",
	Read: "scripts/shared/step.lua: fenced",
	play: func(s *Stage, _ bool) {
		worker1 := s.starts("worker1")
		s.sends(s.wish("a", library.Request, "user1", "geb"))
		batch := worker1.takes(worker1.inbox(s.keys.Requests()))
		worker1.pauses(0, func() {
			s.passes(lockTTL)
			worker2 := s.starts("worker2")
			must(worker2.works())
			s.sends(s.wish("b", library.Return, "user1", "geb"))
			must(worker2.works())
			// Receipts are kept for ten minutes here. What is decided meanwhile turns their pages.
			for _, order := range []string{"c", "d"} {
				s.passes(receiptTTL)
				worker2 = s.starts("worker" + order)
				s.sends(s.wish(order, library.Request, "user-"+order, "book-"+order))
				must(worker2.works())
			}
			s.passes(40 * time.Minute)
		})
		must(worker1.handles(worker1.inbox(s.keys.Requests()), batch))
		must(s.starts("worker3").works())
	},
}
