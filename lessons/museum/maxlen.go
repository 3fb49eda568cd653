package museum

import (
	"fmt"

	"example.com/library/lending"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

var maxlen = Exhibit{
	Name:  "maxlen",
	Title: "MAXLEN on an inbox",
	What: "A stream must not grow for ever, so whoever appends says MAXLEN. It bounds the stream, and it does so at the old end: " +
		"it drops what has waited longest, whether anybody has read it or not.",
	Seen: []Sighting{
		{"jaseci-labs/jac#7696", "a review finds that MAXLEN drops events that were not delivered yet while a group is slow or away"},
		{"redis/redis#10270", "with a small MAXLEN, messages are flushed away before they are read"},
	},
	Predict: "Five users ask while no instance runs. The appends say MAXLEN 3. Who is answered?",
	Right:   "appendsAll", Wrong: "appendsWithinBounds",
	Keep: "Trim an inbox by what is done, not by how much there is.",
	Read: "scripts/shared/step.lua: done trims to what is still needed",
	play: func(s *Stage, wrong bool) {
		send := appendsAll
		if wrong {
			send = appendsWithinBounds
		}
		for n := 1; n <= 5; n++ {
			send(s, s.wish(fmt.Sprintf("order-%d", n), library.Request, fmt.Sprintf("user%d", n), fmt.Sprintf("book-%d", n)))
		}
		waiting, err := s.rdb.XLen(s.ctx, s.keys.Requests()).Result()
		must(err)
		s.says("five users have sent an order each; %d entries wait", waiting)
		must(s.starts("worker1").works())
	},
}

func appendsAll(s *Stage, order lending.Order) {
	must(s.rdb.XAdd(s.ctx, &redis.XAddArgs{Stream: s.keys.Requests(), Values: fields(order)}).Err())
}

func appendsWithinBounds(s *Stage, order lending.Order) {
	must(s.rdb.XAdd(s.ctx, &redis.XAddArgs{Stream: s.keys.Requests(), MaxLen: 3, Values: fields(order)}).Err())
}
