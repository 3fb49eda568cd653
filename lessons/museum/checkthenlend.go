package museum

import (
	"fmt"

	"example.com/library/library"
	"example.com/library/worker"

	"github.com/redis/go-redis/v9"
)

var checkThenLend = Exhibit{
	Name:  "check-then-lend",
	Title: "Check, then lend, from the client",
	What: "The instance asks whether the book is free, and if it is, lends it. All that it writes is one transaction, so it looks safe. " +
		"But what it saw may have changed between the look and the transaction.",
	Seen: []Sighting{
		{"Luzifer/gobuilder#21", "a review shows how two processes read that there is no lock, and both set it"},
		{"ulule/limiter#2", "another client can come between EXISTS and SET"},
	},
	Predict: "Two instances look after geb at the same time, each for its own user. Who gets it?",
	Right:   "looksInTheScript", Wrong: "looksFirst",
	Keep: "Who decides must see and write in one step.",
	Read: "scripts/lend.lua: HMGET loans is in the same script as HSET loans",
	play: func(s *Stage, wrong bool) {
		lend := looksInTheScript
		if wrong {
			lend = looksFirst
		}
		s.lends("user9", "geb", true)
		worker1, worker2 := s.starts("worker1"), s.starts("worker2")
		s.sends(s.wish("a", library.Request, "user1", "geb"))
		entryA := worker1.takes(worker1.inbox(s.keys.Requests()))[0]
		s.sends(s.wish("b", library.Request, "user2", "geb"))
		entryB := worker2.takes(worker2.inbox(s.keys.Requests()))[0]
		worker1.pauses(1, func() {
			lend(worker2, entryB)
			s.news()
		})
		lend(worker1, entryA)
		s.news()
	},
}

func looksInTheScript(i *Instance, entry worker.Entry) {
	_, err := i.inbox(i.keys.Requests()).Handle(i.ctx, []worker.Entry{entry})
	must(err)
}

func looksFirst(i *Instance, entry worker.Entry) {
	id, user, due := entry.Fields["id"], entry.Fields["user"], i.now.AddDate(0, 0, 28).UnixMilli()
	word, ending := "unavailable", `,"outcome":"denied","results":["unavailable"]}`
	if i.rdb.HGet(i.ctx, i.keys.Key("lending:loans"), "geb").Val() == "" {
		word, ending = "front", fmt.Sprintf(`,"outcome":"granted","results":["front"],"due_ms":%d}`, due)
	}
	receipt := fmt.Sprintf(`{"id":"%s","action":"request","user":"%s","books":["geb"]`, id, user) + ending
	_, err := i.rdb.TxPipelined(i.ctx, func(pipe redis.Pipeliner) error {
		if word == "front" {
			pipe.SRem(i.ctx, i.keys.Key("lending:front"), "geb")
			pipe.HSet(i.ctx, i.keys.Key("lending:loans"), "geb", user)
			pipe.HSet(i.ctx, i.keys.Key("lending:card:"+user), "geb", fmt.Sprintf("%d0028", due))
		}
		pipe.HSet(i.ctx, i.keys.Key("lending:receipts"), id, receipt)
		pipe.Do(i.ctx, "XADD", i.keys.Events(), "*", "event", "decided", "by", i.name, "receipts", "["+receipt+"]")
		pipe.XAck(i.ctx, i.keys.Requests(), library.Lending, entry.ID)
		return nil
	})
	must(err)
}
