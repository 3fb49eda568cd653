package museum

import (
	"example.com/library/library"
)

var repeatingClient = Exhibit{
	Name:  "repeating-client",
	Title: "A client that repeats by itself",
	What: "The Redis client sends a command again if no reply came; many do so by default. Nobody sees it. " +
		"That is right for a command that may be done twice. INCRBY is not one.",
	Seen: []Sighting{
		{"redis/go-redis#2339", "somebody asks what becomes of a command that the server has run and whose reply was lost; it is run again"},
		{"redis/redis-py#3559", "with an unstable connection a command could be sent as often as there are retries, and its caller learns of the last only"},
	},
	Predict: "The shelving service counts what is off its shelves. The reply to the command that counts is lost. What is the count?",
	Change: Change{
		Script: "fetch.lua",
		Right:  "if #left > 0 then call('INCRBY', away, #left) end\n",
		Wrong:  "-- The instance counts, when the script is done.\n",
	},
	Right: "fetches", Wrong: "fetchesAndCounts",
	Keep: "Only who knows that a repeat does no harm may repeat.",
	Read: "redisconn/connect.go: MaxRetries = -1; scripts/fetch.lua answers a repeat with gone",
	play: func(s *Stage, wrong bool) {
		retries := 0
		if wrong {
			retries = 3
		}
		worker1 := s.connects("worker1", retries)
		s.says("worker1 starts")
		worker1.takesName()
		s.sends(s.wish("a", library.Request, "user1", "geb"))
		must(worker1.works(s.keys.Requests()))
		if wrong {
			fetchesAndCounts(worker1)
		} else {
			fetches(worker1)
		}
		must(worker1.works())
	},
}

func fetches(i *Instance) {
	i.losesReply("evalsha")
	must(i.works(i.keys.Fetches()))
}

func fetchesAndCounts(i *Instance) {
	must(i.works(i.keys.Fetches()))
	i.losesReply("incrby")
	i.says("%s counts geb, and the reply is lost", i.name)
	must(i.rdb.IncrBy(i.ctx, i.keys.Key("shelving:away"), 1).Err())
}
