package museum

import "example.com/library/library"

var clientClock = Exhibit{
	Name:  "client-clock",
	Title: "The client's clock",
	What: "The instance knows what time it is, so it tells the script. Every machine has a clock of its own, though, " +
		"and one of them is wrong.",
	Seen: []Sighting{
		{"bbangert/retools#18", "two clients whose clocks differ hold the same lock: one believes that the other's has ended"},
		{"dv/redis-semaphore#13", "with Time.now on several machines, what is stale is decided by whose clock is ahead"},
	},
	Predict: "The clock of worker1 is 40 days slow. user1 borrows geb for 28 days. When is it due?",
	Change: Change{
		Script: "lend.lua",
		Right:  "local stamp = ARGV[8]\n",
		Wrong:  "local stamp = string.format('%.0f', ARGV[8] - 40 * 864000000000) -- as the instance's clock has it\n",
	},
	Keep: "One clock decides: that of whoever holds the data.",
	Read: "scripts/lend.lua: the day that an instance reckoned with is compared with TIME",
	play: func(s *Stage, _ bool) {
		s.sends(s.wish("a", library.Request, "user1", "geb"))
		must(s.starts("worker1").works())
		receipt, err := s.client.Receipt(s.ctx, "a")
		must(err)
		s.says("today is %s; geb is due %s", s.now.Format(day), receipt.Books[0].Due.Format(day))
	},
}
