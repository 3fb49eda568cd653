package museum

import (
	"example.com/library/lending"
	"example.com/library/library"
)

var newID = Exhibit{
	Name:  "new-id",
	Title: "A retry under a new id",
	What: "The client got no reply, so it sends the order again. Each time it makes a new id, as for any order. " +
		"The first try was only held up on the way.",
	Seen: []Sighting{
		{"square/square-mcp-server#31", "a payment that is tried again gets a new idempotency key, and the card is charged twice"},
		{"akash-network/console#3449", "customers were charged two or three times for one purchase: each retry was a new payment"},
	},
	Predict: "The second try is served, and user1 brings geb back. Then the first try arrives. Who has geb?",
	Right:   "triesAgain", Wrong: "triesAnew",
	Keep: "The id names the wish, not the attempt.",
	Read: "lending/client.go: send keeps the order's id over every retry",
	play: func(s *Stage, wrong bool) {
		again := triesAgain
		if wrong {
			again = triesAnew
		}
		worker1 := s.starts("worker1")
		first := s.wish("a", library.Request, "user1", "geb")
		s.says("user1 sends request a: geb; it is held up on the way")
		s.sends(again(first))
		must(worker1.works())
		s.sends(s.wish("b", library.Return, "user1", "geb"))
		must(worker1.works())
		s.says("the first try arrives")
		must(s.client.Send(s.ctx, first))
		must(worker1.works())
	},
}

func triesAgain(order lending.Order) lending.Order { return order }

func triesAnew(order lending.Order) lending.Order {
	order.ID = "another-id"
	return order
}
