package museum

import (
	"example.com/library/lending"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

var pubsub = Exhibit{
	Name:  "pubsub",
	Title: "A message on Pub/Sub instead of a stream",
	What: "The desk publishes each order on a channel, and the service subscribes to it. It is quick, and in every trial the order arrives. " +
		"But Redis hands a message to those who listen at that moment, and keeps it for nobody.",
	Seen: []Sighting{
		{"FoundatioFx/Foundatio.Redis#10", "what was published while the subscriber was down is never processed"},
		{"django/channels_redis#256", "a subscriber that lost its connection connects again and does not know what it missed"},
	},
	Predict: "Two orders are sent. The service is restarted between them, and is away for the second. What does the second user hear?",
	Right:   "appends", Wrong: "publishes",
	Keep: "A stream keeps what nobody has read yet; a channel does not.",
	Read: "lending/appends.go: an order is an XADD",
	play: func(s *Stage, wrong bool) {
		send := appends
		if wrong {
			send = publishes
		}
		worker1 := s.starts("worker1")
		listening := s.rdb.Subscribe(s.ctx, "orders")
		_, err := listening.Receive(s.ctx)
		must(err)
		first, second := s.wish("a", library.Request, "user1", "geb"), s.wish("b", library.Request, "user2", "dune")
		send(s, first)
		if wrong { // what is heard goes the usual way from here
			_, err := listening.ReceiveMessage(s.ctx)
			must(err)
			must(s.client.Send(s.ctx, first))
		}
		must(worker1.works())
		listening.Close()
		worker1.leaves()
		send(s, second)
		must(s.starts("worker1").works())
	},
}

func appends(s *Stage, order lending.Order) {
	must(s.rdb.XAdd(s.ctx, &redis.XAddArgs{Stream: s.keys.Requests(), Values: fields(order)}).Err())
	s.says("%s appends order %s", order.User, order.ID)
}

func publishes(s *Stage, order lending.Order) {
	heard, err := s.rdb.Publish(s.ctx, "orders", list(order.ID, order.User, order.Books[0])).Result()
	must(err)
	s.says("%s publishes order %s, and %d hear it", order.User, order.ID, heard)
}
