package museum

import (
	"fmt"

	"example.com/library/library"
	"example.com/library/worker"
)

var counter = Exhibit{
	Name:  "counter",
	Title: "A counter beside the list it counts",
	What: "How many books a user holds is asked often, so it is counted: one up with each loan. The card has the books, the counter has their number. " +
		"As soon as one of the two is written without the other, the number is a rumour.",
	Seen: []Sighting{
		{"langwatch/langwatch#4228", "a worker that died did not count down; the counter stood at its limit, and nothing was dispatched any more"},
		{"Infisical/infisical#6287", "a counter drifted above its limit and blocked all further work until somebody reset it by hand"},
	},
	Predict: "A user may hold five books. An instance dies after a loan, before it counts it. How many books can the user get?",
	Change: Change{
		Script: "lend.lua",
		Right:  `    local has = held[card] or call('HLEN', card)` + "\n",
		Wrong:  `    local has = held[card] or tonumber(call('GET', (string.gsub(card, 'card', 'count'))) or 0)` + "\n",
	},
	Wrong: "lendsAndCounts",
	Keep:  "Ask the list how long it is.",
	Read:  "scripts/lend.lua: HLEN of the card",
	play: func(s *Stage, wrong bool) {
		for n := 1; n <= 6; n++ {
			i := s.starts(fmt.Sprintf("worker%d", n))
			s.sends(s.wish(fmt.Sprintf("order-%d", n), library.Request, "user1", fmt.Sprintf("book-%d", n)))
			batch := i.takes(i.inbox(s.keys.Requests()))
			if n == 1 {
				i.dies(1)
			}
			if wrong {
				lendsAndCounts(i, batch)
			} else {
				lendsByScript(i, batch[0])
			}
			s.news()
		}
		s.passes(lockTTL)
		must(s.starts("worker7").works())
	},
}

func lendsAndCounts(i *Instance, batch []worker.Entry) {
	_, _ = i.inbox(i.keys.Requests()).Handle(i.ctx, batch)
	i.rdb.Incr(i.ctx, i.keys.Key("lending:count:user1"))
}
