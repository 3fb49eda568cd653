package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/library/events"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/redis/go-redis/v9"
)

// A scenario takes certain paths. Together they take every path, each in few
// commands, because each command is a place to die at.
type scenario struct {
	name    string
	arrange func(*model) // the house rules, and what is forged
	plot    func(*story)
}

var (
	lendingOnly  = house{services: []string{library.Lending}}
	shelvingOnly = house{services: []string{library.Shelving}}
)

var scenarios = []scenario{
	{"a loan, from the shelves and from front storage", nil, func(s *story) {
		desk := s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.arrivals(user1.request("first", "geb"))
		user1.giveBack("back", "geb")
		user1.request("second", "geb")
		desk.stop()
		s.start("worker2", both)
		user1.giveBack("back-again", "geb")
	}},
	{"every kind of answer", nil, func(s *story) {
		s.start("worker1", both)
		user1, user2 := s.client("user1"), s.client("user2")
		defer func() { user1.close(); user2.close() }()
		user1.arrivals(user1.request("granted", "geb", "dune"))
		user2.request("partial", "geb", "emma")
		user2.request("denied", "geb", "dune")
		user1.request("yours", "geb")
		user1.request("limit", "a", "b")
		user2.giveBack("refused", "geb")
		user1.giveBack("both", "geb", "emma")
	}},
	{"a book that is on its way cannot come back", nil, func(s *story) {
		s.start("worker1", lendingOnly)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		receipt := user1.request("first", "geb")
		user1.giveBack("too-early", "geb")
		s.start("worker2", shelvingOnly)
		user1.arrivals(receipt)
	}},
	{"the same order again, on either page of receipts", nil, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.request("first", "geb")
		user1.request("first", "geb")
		s.raw("DEL", keys.Key("lending:receipts:page")) // this page is full
		user1.request("second", "dune")
		user1.request("first", "geb")
		s.world.give("third")
		user1.insist(func(ctx context.Context) error {
			if err := user1.Send(ctx, order("third", library.Return, "user1", "emma")); err != nil {
				return err
			}
			_, err := user1.Wait(ctx, "third")
			return err
		})
	}},
	{"front storage is full", func(m *model) { m.first.FrontMax = 1 }, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.arrivals(user1.request("first", "geb", "dune"))
		user1.giveBack("back", "geb", "dune")
	}},
	{"a book is ordered before it is back on the shelves", func(m *model) {
		m.first.FrontMax, m.rejectionsMax = 0, 1
		m.forged["geb"], m.forged["dune"] = true, true
	}, func(s *story) {
		s.start("worker1", both)
		user1, user2 := s.client("user1"), s.client("user2")
		defer func() { user1.close(); user2.close() }()
		user1.arrivals(user1.request("first", "geb"))
		s.hold("xreadgroup shelving:stores")
		user1.giveBack("back", "geb")
		receipt := user2.request("second", "geb")
		s.until("geb is awaited", func() bool { return s.number("HLEN", keys.Key("shelving:awaited")) == 1 })
		s.raw("XADD", keys.Fetches(), "*", "orders", `[["forged","geb"],["forged","dune"]]`)
		s.until("the forged order is set aside", func() bool { return s.number("XLEN", keys.Rejected(library.Shelving)) == 1 })
		s.hold()
		user2.arrivals(receipt)
	}},
	{"a forged order for a book on the shelves", func(m *model) { m.forged["geb"] = true }, func(s *story) {
		s.start("worker1", both)
		s.raw("XADD", keys.Fetches(), "*", "orders", `[["forged","geb"]]`)
		s.until("geb is stored again", func() bool { return s.number("XLEN", keys.Events()) == 4 })
	}},
	{"books that do not fit", func(m *model) {
		m.rejectionsMax = 4
		m.forged["geb"], m.forged["dune"], m.forged["emma"] = true, true, true
	}, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.arrivals(user1.request("first", "geb"))
		s.raw("XADD", keys.Stores(), "*", "books", `["dune","emma"]`)
		s.raw("XADD", keys.Deliveries(), "*", "orders", `[["forged","geb"],["forged","dune"]]`)
		s.until("all are set aside", func() bool {
			return s.number("XLEN", keys.Rejected(library.Shelving)) == 3 && s.number("XLEN", keys.Rejected(library.Lending)) == 1
		})
	}},
	{"an order that cannot be understood, is put back, and given up", func(m *model) { m.rejectionsMax = 10 }, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		s.raw("XADD", keys.Requests(), "*", "id", "bad", "user", "user1", "books", "[geb", "bell", "word")
		user1.insist(func(ctx context.Context) error { _, err := user1.Wait(ctx, "bad"); return err })
		user1.insist(func(ctx context.Context) error {
			rejected := ""
			err := worker.EachRejected(ctx, user1.actor.rdb, keys, library.Lending, func(entry worker.RejectedEntry) error {
				rejected = entry.ID
				return nil
			})
			if err == nil && rejected != "" {
				_, err = user1.Retry(ctx, library.Lending, rejected)
			}
			if errors.Is(err, worker.ErrNotRejected) {
				return nil // an earlier try put it back
			}
			return err
		})
		s.until("it is set aside again", func() bool {
			return s.number("XLEN", keys.Rejected(library.Lending)) == 1 && s.number("XLEN", keys.Requests()) == 0
		})
		user1.insist(func(ctx context.Context) error {
			err := worker.EachRejected(ctx, user1.actor.rdb, keys, library.Lending, func(entry worker.RejectedEntry) error {
				return worker.Drop(ctx, user1.actor.rdb, keys, library.Lending, entry.ID)
			})
			if errors.Is(err, worker.ErrNotRejected) {
				return nil // an earlier try dropped it
			}
			return err
		})
		s.until("it is given up", func() bool { return s.number("XLEN", keys.Rejected(library.Lending)) == 0 })
	}},
	{"an order that was delivered too often", func(m *model) { m.rejectionsMax = 1 }, func(s *story) {
		s.raw("XGROUP", "CREATE", keys.Requests(), library.Lending, "0", "MKSTREAM")
		s.raw("XADD", keys.Requests(), "*", "id", "bad", "user", "user1", "books", `["geb"]`)
		s.ghost(keys.Requests(), library.Lending)
		for _, entry := range s.list("XPENDING", keys.Requests(), library.Lending, "-", "+", "10") {
			s.raw("XCLAIM", keys.Requests(), library.Lending, "ghost", "0", entry.([]any)[0], "RETRYCOUNT", "6")
		}
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.insist(func(ctx context.Context) error { _, err := user1.Wait(ctx, "bad"); return err })
	}},
	{"an entry that vanished is sent again", func(m *model) { m.rejectionsMax = 10 }, func(s *story) {
		s.hold("xreadgroup lending:requests")
		s.start("worker1", both)
		user1 := s.client("user1")
		var asking sync.WaitGroup
		asking.Go(func() { defer func() { user1.close() }(); user1.request("first", "geb") })
		s.until("the order is sent", func() bool { return s.number("XLEN", keys.Requests()) > 0 })
		s.ghost(keys.Requests(), library.Lending)
		for _, entry := range s.list("XRANGE", keys.Requests(), "-", "+") {
			s.raw("XDEL", keys.Requests(), entry.([]any)[0])
		}
		s.hold()
		begin := time.Now()
		asking.Wait()
		if took := time.Since(begin); took > orderWithin/2 && s.world.undisturbed {
			s.world.report(fmt.Errorf("the client did not send the order again by itself within %s", took))
		}
		s.until("the entry is set aside", func() bool { return s.number("XLEN", keys.Rejected(library.Lending)) > 0 })
	}},
	{"what is pending for the dead is taken over, page after page", func(m *model) { m.first.LoansMax = 4 }, func(s *story) {
		s.start("worker1", lendingOnly)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		receipt := user1.request("first", "a", "b", "c", "d")
		s.raw("XGROUP", "CREATECONSUMER", keys.Stores(), library.Shelving, "ghost")
		s.ghost(keys.Fetches(), library.Shelving)
		begin := time.Now()
		// Who walks to the shelves takes over one entry at a time, and takes turns with its
		// own reading, which waits for half a second.
		s.start("worker2", house{services: []string{library.Shelving}, fetchTime: 100 * time.Millisecond})
		user1.arrivals(receipt)
		if took := time.Since(begin); took > 3*time.Second && s.world.undisturbed {
			s.world.report(fmt.Errorf("four pages of one entry each were taken over in %s, and not in one go", took))
		}
	}},
	{"the lock lapses at every script", func(m *model) { m.first.FrontMax, m.rejectionsMax = 0, 1 }, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.arrivals(user1.request("first", "geb"))
		s.hold("evalsha return", "evalsha lend", "evalsha reject")
		s.raw("XADD", keys.Returns(), "*", "id", "bad", "user", "user1", "books", "[geb")
		var asking sync.WaitGroup
		asking.Go(func() { user1.giveBack("back", "geb") })
		asking.Go(func() {
			user2 := s.client("user2")
			defer func() { user2.close() }()
			user2.arrivals(user2.request("second", "dune"))
		})
		for _, next := range [][]string{{"evalsha store", "evalsha fetch"}, {"evalsha deliver"}, nil} {
			pause(s.ctx, 100*time.Millisecond)
			s.raw("DEL", keys.Instance("worker1"))
			s.hold(next...)
			pause(s.ctx, 2*time.Second)
		}
		asking.Wait()
	}},
	{"the name is taken by force", nil, func(s *story) {
		first := s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.request("first", "geb")
		s.start("worker1", house{services: both.services, force: true})
		pause(s.ctx, lockTTL/2)
		user1.giveBack("back", "emma")
		first.stop()
	}},
	{"somebody looks around", func(m *model) { m.rejectionsMax = 1 }, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		began := time.Now()
		user1.arrivals(user1.request("first", "geb"))
		look := func(step func(ctx context.Context, rdb redis.UniversalClient) error) {
			user1.insist(func(ctx context.Context) error { return step(ctx, user1.actor.rdb) })
		}
		look(func(ctx context.Context, _ redis.UniversalClient) error {
			_, err := user1.Receipt(ctx, "first")
			return err
		})
		look(func(ctx context.Context, _ redis.UniversalClient) error {
			_, err := user1.Card(ctx, "user1")
			return err
		})
		look(func(ctx context.Context, _ redis.UniversalClient) error {
			_, err := user1.Where(ctx, "geb")
			return err
		})
		look(func(ctx context.Context, _ redis.UniversalClient) error { _, err := user1.Count(ctx); return err })
		look(func(ctx context.Context, rdb redis.UniversalClient) error {
			_, err := shelving.Count(ctx, rdb, keys)
			return err
		})
		look(func(ctx context.Context, rdb redis.UniversalClient) error {
			_, err := shelving.OnShelves(ctx, rdb, keys, "geb")
			return err
		})
		look(func(ctx context.Context, rdb redis.UniversalClient) error {
			_, err := worker.Look(ctx, rdb, keys.Requests(), library.Lending)
			return err
		})
		for _, since := range []time.Time{began, {}} {
			look(func(ctx context.Context, rdb redis.UniversalClient) error {
				if since.IsZero() {
					s.world.running.Go(func() {
						pause(s.ctx, time.Second)
						s.raw("XADD", keys.Events(), "*", "event", "rejected", "stream", "none", "entry", "0-0")
					})
				}
				seen := errors.New("seen")
				err := events.Follow(ctx, rdb, keys, since, func(*events.Event) error { return seen })
				if errors.Is(err, seen) || ctx.Err() != nil && since.IsZero() {
					return nil
				}
				return err
			})
		}
	}},
	{"the server forgets its scripts", nil, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.arrivals(user1.request("first", "geb"))
		s.raw("SCRIPT", "FLUSH")
		user1.giveBack("back", "geb")
	}},
	{"the server forgets everything", nil, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		user1.arrivals(user1.request("first", "geb"))
		s.hold("xreadgroup lending:requests")
		var asking sync.WaitGroup
		asking.Go(func() { defer func() { user1.close() }(); user1.request("second", "dune") })
		s.until("the order is sent", func() bool { return s.number("XLEN", keys.Requests()) > 0 })
		s.raw("FLUSHALL")
		s.hold()
		asking.Wait()
	}},
	{"an instance is stopped on its way to the shelves", nil, func(s *story) {
		desk := s.start("worker1", house{services: both.services, fetchTime: time.Second})
		user1 := s.client("user1")
		defer func() { user1.close() }()
		receipt := user1.request("first", "geb")
		desk.stop()
		s.start("worker2", both)
		user1.arrivals(receipt)
	}},
	{"an answer is believed when a replica has it", nil, func(s *story) {
		s.start("worker1", both)
		user1 := s.client("user1")
		defer func() { user1.close() }()
		user1.replicas = 1
		user1.Replicas = 1
		user1.arrivals(user1.request("first", "geb"))
	}},
	{"the terms change while orders wait", nil, func(s *story) {
		s.start("worker1", both)
		user1, director, other := s.client("user1"), s.client("director"), s.client("other")
		defer func() { user1.close(); director.close(); other.close() }()
		user1.arrivals(user1.request("first", "geb"))
		change := func(name string, terms library.Terms, named ...string) {
			s.hold("evalsha "+name, "evalsha terms", "eval terms")
			var asking, agreeing sync.WaitGroup
			asking.Go(func() {
				if name == "lend" {
					user1.request("second", "dune", "emma")
				} else {
					user1.giveBack("back", "geb")
				}
			})
			// Both know the terms that stand, and only one of them replaces those.
			for i, who := range []*client{director, other} {
				agreeing.Go(func() { who.agree(terms, named[i:i+1]...) })
			}
			pause(s.ctx, time.Second)
			s.hold("evalsha " + name)
			agreeing.Wait()
			s.hold()
			asking.Wait()
		}
		terms := s.world.model.first
		terms.LoansMax, terms.LoanDays, terms.FrontMax, terms.TimeZone = 2, 7, 0, "Europe/Berlin"
		change("lend", terms, "limit", "loan-days")
		change("return", terms, "front", "time-zone")
		user1.request("third", "geb")
	}},
	{"two instances and two who want the same", nil, func(s *story) {
		s.start("worker1", both)
		s.start("worker2", both)
		var users sync.WaitGroup
		for _, name := range []string{"user1", "user2"} {
			users.Go(func() {
				user := s.client(name)
				defer func() { user.close() }()
				user.arrivals(user.request(name+"-first", "geb", "dune"))
				user.giveBack(name+"-back", "geb")
			})
		}
		users.Wait()
	}},
}

func order(id string, action library.Action, user string, books ...string) lending.Order {
	return lending.Order{ID: id, Action: action, User: user, Books: books}
}

// raw has somebody at the server itself send a command.
func (s *story) raw(args ...any) {
	err := s.person.rdb.Do(s.person.ctx, args...).Err()
	if err != nil && !errors.Is(err, redis.Nil) && redisconn.KindOf(err) != redisconn.Passing && !redis.HasErrorPrefix(err, "BUSYGROUP") && s.ctx.Err() == nil {
		s.world.report(fmt.Errorf("%v: %w", args, err))
	}
}

func (s *story) number(args ...any) int {
	n, _ := s.person.rdb.Do(s.person.ctx, args...).Int()
	return n
}

func (s *story) list(args ...any) []any {
	list, _ := s.person.rdb.Do(s.person.ctx, args...).Slice()
	return list
}

// ghost gives all that is unread in an inbox to an instance that is dead.
func (s *story) ghost(inbox, group string) {
	s.raw("XREADGROUP", "GROUP", group, "ghost", "COUNT", "100", "STREAMS", inbox, ">")
}

// hold keeps commands of these labels from happening, and lets all others.
func (s *story) hold(labels ...string) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.held = labels
	s.world.tell()
}

// until waits until a condition holds.
func (s *story) until(what string, holds func() bool) {
	limit := time.Now().Add(restWithin)
	for !holds() && s.ctx.Err() == nil {
		if time.Now().After(limit) {
			s.world.report(fmt.Errorf("%s: not within %s", what, restWithin))
			return
		}
		pause(s.ctx, 100*time.Millisecond)
	}
}
