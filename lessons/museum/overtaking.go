package museum

import "example.com/library/library"

var overtaking = Exhibit{
	Name:  "overtaking",
	Title: "Order assumed between two streams",
	What: "The lending service first sends a book to the shelves, and later orders it from there. It does so in this order, so it seems that the two arrive in this order. " +
		"They do not: they are in two streams, and each has its own readers.",
	Seen: []Sighting{
		{"AxonIQ/AxonFramework#153", "an update that follows closely on a creation can be processed before it"},
		{"ballerina-platform/ballerina-lang#14037", "order is kept within a topic and not across topics, and a join of two comes out wrong"},
	},
	Predict: "user1 brings geb back; it goes to the shelves. user2 asks for it. The shelving service reads the order first. Does user2 get geb?",
	Change: Change{
		Script: "fetch.lua",
		Right:  "    noted[#noted + 1] = book\n    noted[#noted + 1] = requested[i]\n",
		Wrong:  "    -- The book is out, so nobody can want it from the shelves.\n",
	},
	Keep: "Order holds within a stream; between two, either may come first.",
	Read: "scripts/fetch.lua and store.lua: awaited, handed_on",
	play: func(s *Stage, _ bool) {
		s.front = 0
		s.lends("user1", "geb", false)
		desk := s.starts("worker1")
		s.sends(s.wish("a", library.Return, "user1", "geb"))
		must(desk.works(s.keys.Returns()))
		s.sends(s.wish("b", library.Request, "user2", "geb"))
		must(desk.works(s.keys.Requests()))
		must(desk.works(s.keys.Fetches(), s.keys.Stores()))
		must(desk.works())
	},
}
