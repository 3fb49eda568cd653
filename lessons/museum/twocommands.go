package museum

import (
	"fmt"

	"example.com/library/library"
	"example.com/library/worker"
)

var twoCommands = Exhibit{
	Name:  "two-commands",
	Title: "Two commands instead of one script",
	What: "A loan is a change in several keys, and each change is one command. They follow each other within a millisecond. " +
		"In that millisecond the process can die.",
	Seen: []Sighting{
		{"getsentry/sentry#1509", "SETNX and then EXPIRE leave a stale lock behind where only the first took place"},
		{"redis/redis-py#818", "a client that crashes between setnx and pexpire leaves a lock that nobody can take any more"},
	},
	Predict: "geb stands in front storage. The instance takes it from there, and dies before it notes the loan. Where is geb?",
	Right:   "lendsByScript", Wrong: "lendsByCommands",
	Keep: "What must be true together is written together.",
	Read: "scripts/lend.lua: read, decide, write",
	play: func(s *Stage, wrong bool) {
		s.lends("user9", "geb", true)
		worker1 := s.starts("worker1")
		s.sends(s.wish("a", library.Request, "user1", "geb"))
		batch := worker1.takes(worker1.inbox(s.keys.Requests()))
		worker1.dies(1)
		if wrong {
			lendsByCommands(worker1, batch[0])
		} else {
			lendsByScript(worker1, batch[0])
		}
		s.news()
		s.passes(lockTTL)
		must(s.starts("worker2").works())
	},
}

func lendsByScript(i *Instance, entry worker.Entry) {
	_, _ = i.inbox(i.keys.Requests()).Handle(i.ctx, []worker.Entry{entry})
}

func lendsByCommands(i *Instance, entry worker.Entry) {
	due := i.now.AddDate(0, 0, 28).UnixMilli()
	receipt := fmt.Sprintf(`{"id":"a","action":"request","user":"user1","books":["geb"],"outcome":"granted","results":["front"],"due_ms":%d}`, due)
	i.rdb.SRem(i.ctx, i.keys.Key("lending:front"), "geb")
	i.rdb.HSet(i.ctx, i.keys.Key("lending:loans"), "geb", "user1")
	i.rdb.HSet(i.ctx, i.keys.Key("lending:card:user1"), "geb", fmt.Sprintf("%d0028", due))
	i.rdb.HSet(i.ctx, i.keys.Key("lending:receipts"), "a", receipt)
	i.rdb.Do(i.ctx, "XADD", i.keys.Events(), "*", "event", "decided", "by", i.name, "receipts", "["+receipt+"]")
	i.rdb.XAck(i.ctx, i.keys.Requests(), library.Lending, entry.ID)
}
