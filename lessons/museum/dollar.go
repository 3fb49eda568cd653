package museum

import (
	"example.com/library/library"
	"example.com/library/worker"
)

var dollar = Exhibit{
	Name:  "dollar",
	Title: "A group that begins at $",
	What: "The service makes its group when it starts, and examples on the web say XGROUP CREATE … $. " +
		"But $ is the end of the stream at that moment: the group never gets what stands there already.",
	Seen: []Sighting{
		{"eggai-tech/EggAI#269", "groups were made at $, so a consumer that was added to a busy channel never saw what waited there"},
		{"trailofbits/buttercup#71", "groups are made at 0, so as not to lose what is sent before there is a group"},
	},
	Predict: "user1 sends an order before any instance was ever started. Then the first one starts. Does it read the order?",
	Right:   "beginsAtZero", Wrong: "beginsAtTheEnd",
	Keep: "A group at 0 gets everything; whoever may come first makes it.",
	Read: "worker/stream.go: Ensure",
	play: func(s *Stage, wrong bool) {
		s.sends(s.wish("a", library.Request, "user1", "geb"))
		if wrong {
			beginsAtTheEnd(s)
		} else {
			beginsAtZero(s)
		}
		worker1 := s.starts("worker1")
		must(worker1.works())
		s.sends(s.wish("b", library.Request, "user2", "dune"))
		must(worker1.works())
	},
}

func beginsAtZero(s *Stage) {
	_, err := worker.Ensure(s.ctx, s.rdb, s.keys.Requests(), library.Lending) // XGROUP CREATE … 0 MKSTREAM
	must(err)
}

func beginsAtTheEnd(s *Stage) {
	must(s.rdb.XGroupCreateMkStream(s.ctx, s.keys.Requests(), library.Lending, "$").Err())
}
