package museum

import (
	"example.com/library/library"
	"example.com/library/worker"
)

var removedConsumer = Exhibit{
	Name:  "removed-consumer",
	Title: "A consumer removed with pending entries",
	What: "An instance that is gone would stand in the group for ever, so it is removed: XGROUP DELCONSUMER. " +
		"With it goes the list of what was in its hands, and nobody is given that any more.",
	Seen: []Sighting{
		{"ThreeDotsLabs/watermill-redisstream#24", "a consumer was removed after one of its messages was claimed; the others were lost"},
		{"redis/redis#9745", "the pending entries of a removed consumer cannot be claimed by anybody"},
	},
	Predict: "worker1 is told to stop while it has order a in its hands. It tidies up and leaves. Who works on the order?",
	Right:   "retires", Wrong: "removes",
	Keep: "First take over what is pending, then remove the name.",
	Read: "scripts/retire.lua",
	play: func(s *Stage, wrong bool) {
		worker1 := s.starts("worker1")
		s.sends(s.wish("a", library.Request, "user1", "geb"))
		worker1.takes(worker1.inbox(s.keys.Requests()))
		must(worker1.lock.Release(s.ctx))
		if wrong {
			removes(worker1)
		} else {
			retires(worker1)
		}
		s.says("worker1 leaves")
		must(s.starts("worker2").works())
	},
}

func retires(i *Instance) {
	must(worker.Retire(i.ctx, i.rdb, i.keys, i.keys.Requests(), library.Lending, i.name))
}

func removes(i *Instance) {
	must(i.rdb.XGroupDelConsumer(i.ctx, i.keys.Requests(), library.Lending, i.name).Err())
}
