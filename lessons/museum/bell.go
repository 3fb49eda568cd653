package museum

import (
	"time"

	"example.com/library/lending"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

var bell = Exhibit{
	Name:  "bell",
	Title: "A bell taken for the truth",
	What: "The service rings when an order is decided, and the client waits for the ring. It is quicker than to look again and again. " +
		"A ring that nobody heard is not repeated.",
	Seen: []Sighting{
		{"blehnen/DotNetWorkQueue#331", "a consumer waited for a notification without a timeout; the one that was lost stalled it for ever"},
		{"resonatehq/resonate-sdk-ts#319", "a notification that was missed leaves those who wait for a result waiting"},
	},
	Predict: "The client's connection breaks while the service decides, and is there again at once. What does the client know?",
	Right:   "looksUpTheReceipt", Wrong: "waitsForTheBell",
	Keep: "The bell may fail to ring; the receipt is the truth.",
	Read: "lending/client.go: await looks, whatever rings",
	play: func(s *Stage, wrong bool) {
		worker1 := s.starts("worker1")
		order := s.wish("a", library.Request, "user1", "geb")
		s.sends(order)
		s.says("the client of user1 loses its connection")
		must(worker1.works())
		listening := s.rdb.Subscribe(s.ctx, s.keys.Key("lending:bell:user1"))
		defer listening.Close()
		_, err := listening.Receive(s.ctx)
		must(err)
		s.says("the client is connected again, and listens")
		ask := looksUpTheReceipt
		if wrong {
			ask = waitsForTheBell
		}
		if !ask(s, listening, order) {
			s.unheard = append(s.unheard, "user1 was told nothing of order a, though it was decided")
		}
	},
}

func looksUpTheReceipt(s *Stage, _ *redis.PubSub, order lending.Order) bool {
	receipt, err := s.client.Receipt(s.ctx, order.ID)
	must(err)
	s.says("the client finds the receipt: %s", receipt.Summary())
	return true
}

func waitsForTheBell(s *Stage, listening *redis.PubSub, order lending.Order) bool {
	select {
	case ring := <-listening.Channel():
		s.says("the bell rings: %s", ring.Payload)
		return true
	case <-time.After(50 * time.Millisecond): // it may as well be an hour
		s.says("nothing rings")
		return false
	}
}
