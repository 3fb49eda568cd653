package museum

import (
	"context"
	"fmt"
	"slices"

	"example.com/library/library"
	"example.com/library/worker"
)

var poison = Exhibit{
	Name:  "poison",
	Title: "Poison that goes round",
	What: "Nothing may be lost, so what a dead instance left is always handed to the next. " +
		"If it was the entry that killed the instance, it kills the next one, too.",
	Seen: []Sighting{
		{"MemTensor/MemOS#2403", "a batch that always fails was claimed again every cycle, for days"},
		{"taskiq-python/taskiq-aio-pika#35", "a message that crashes its worker goes round for ever, since deliveries are not counted"},
	},
	Predict: "Order a kills every instance that reads it. Order b stands behind it. Ten instances are started, one after the other. Is b answered?",
	Right:   "countsOn", Wrong: "countsAnew",
	Keep: "Count how often it was tried, and set it aside with the reason.",
	Read: "worker/consumer.go: deliveriesMax",
	play: func(s *Stage, wrong bool) {
		if wrong {
			s.counts = countsAnew
		}
		s.sends(s.wish("a", library.Request, "user1", "poison"))
		for n := 1; n <= 10; n++ {
			i := s.starts(fmt.Sprintf("worker%d", n))
			i.diesOf("a")
			if i.works() == nil {
				return
			}
			if n == 1 {
				s.sends(s.wish("b", library.Request, "user2", "geb"))
			}
			s.passes(lockTTL)
		}
	},
}

// countsOn is how often an entry was delivered, when an instance takes it over.
func countsOn(before int64) int64 { return before + 1 }

func countsAnew(int64) int64 { return 1 }

// diesOf has the instance die as soon as it handles an order.
func (i *Instance) diesOf(id string) {
	inbox := &i.inboxes[0]
	handle := inbox.Handle
	inbox.Handle = func(ctx context.Context, batch []worker.Entry) ([]worker.Rejection, error) {
		if slices.ContainsFunc(batch, func(entry worker.Entry) bool { return entry.Fields["id"] == id }) {
			i.dies(0)
			return nil, errDead
		}
		return handle(ctx, batch)
	}
}
