package museum

import (
	"example.com/library/library"
	"example.com/library/worker"
)

var earlyAck = Exhibit{
	Name:  "early-ack",
	Title: "Acknowledged before the work",
	What: "An instance acknowledges an entry as soon as it has read it, so that no other instance does the same work. " +
		"If it dies then, nobody knows any more that there was something to do.",
	Seen: []Sighting{
		{"Mergifyio/mergify#636", "tasks are acknowledged late, so that a crash loses none"},
		{"taskiq-python/taskiq#222", "a message was acknowledged when it was read; now it is when the task is done"},
	},
	Predict: "One instance dies before it sends its next command, another after it has sent one. Which of the two orders is answered?",
	Right:   "decides", Wrong: "acknowledgesAndDecides",
	Keep: "Acknowledge with the work, in the same step, or after it; never before.",
	Read: "scripts/shared/step.lua: done",
	play: func(s *Stage, wrong bool) {
		handle := decides
		if wrong {
			handle = acknowledgesAndDecides
		}
		for commands, order := range []string{"a", "b"} {
			i := s.starts([]string{"worker1", "worker2"}[commands])
			s.sends(s.wish(order, library.Request, "user1", "book-"+order))
			batch := i.takes(i.inbox(s.keys.Requests()))
			i.dies(commands)
			handle(i, batch)
			s.news()
		}
		s.passes(lockTTL)
		must(s.starts("worker3").works())
	},
}

func decides(i *Instance, batch []worker.Entry) {
	_, _ = i.inbox(i.keys.Requests()).Handle(i.ctx, batch) // lend.lua acknowledges
}

func acknowledgesAndDecides(i *Instance, batch []worker.Entry) {
	i.rdb.XAck(i.ctx, i.keys.Requests(), library.Lending, batch[0].ID)
	_, _ = i.inbox(i.keys.Requests()).Handle(i.ctx, batch)
}
