package simulation

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/cryptotest"
	"time"

	"example.com/library/lending"
	"example.com/library/library"
)

var (
	seedFlag  = flag.Int64("seed", -1, "play this one seed; with -v tell every command")
	seedsFlag = flag.Int("seeds", seedsDefault, "how many seeds TestSeeds plays")
	fromFlag  = flag.Uint64("from", 1, "the first of them")
)

// TestSeeds plays a story for each seed. The seed chooses who works and who asks for
// what, in which order commands happen, and what goes wrong.
func TestSeeds(t *testing.T) {
	if *seedFlag >= 0 {
		replay(t, uint64(*seedFlag))
		return
	}
	if this, of, ok := share(); ok {
		playSeeds(t, this, of)
		return
	}
	begin := time.Now()
	var seeds, commands, struck int
	for _, line := range giveOut(t, "-seeds", fmt.Sprint(*seedsFlag), "-from", fmt.Sprint(*fromFlag)) {
		var n [3]int
		if _, err := fmt.Sscan(line, &n[0], &n[1], &n[2]); err != nil {
			t.Fatalf("a share told %q: %v", line, err)
		}
		seeds, commands, struck = seeds+n[0], commands+n[1], struck+n[2]
	}
	took := time.Since(begin)
	t.Logf("%d seeds in %s, %.0f a minute; %d commands, %d faults", seeds, took.Round(time.Millisecond), float64(seeds)/took.Minutes(), commands, struck)
	if !t.Failed() && seeds != *seedsFlag {
		t.Errorf("%d seeds were played, want %d", seeds, *seedsFlag)
	}
	if seeds >= 100 && struck < seeds {
		t.Errorf("only %d faults struck %d seeds, which proves nothing", struck, seeds)
	}
}

// playSeeds plays this process's share of the seeds, up to the first that fails.
func playSeeds(t *testing.T, this, of int) {
	seeds, commands, struck := 0, 0, 0
	for i := this; i < *seedsFlag && !t.Failed(); i += of {
		seed := *fromFlag + uint64(i)
		w := playSeed(t, seed)
		seeds, commands = seeds+1, commands+w.step
		for _, record := range w.happened {
			if record.fault.kind != fine {
				struck++
			}
		}
		if w.failure != nil {
			t.Errorf("seed %d, after %d others: %v\nThe last that happened:\n%s\nReplay it with\n\n    %s\n", seed, i, w.failure, w.end(40), replayOf(seed))
		}
	}
	fmt.Println("share:", seeds, commands, struck)
}

func replayOf(seed uint64) string {
	return fmt.Sprintf("go test ./proof/simulation -run TestSeeds -seed %d -v", seed)
}

// replay plays one seed and tells what happened.
func replay(t *testing.T, seed uint64) {
	runtime.GOMAXPROCS(1) // as it was played
	playSeed(t, seed).tellAll(t)
}

// tellAll tells all that happened, and what was wrong.
func (w *world) tellAll(t *testing.T) {
	t.Log("\n" + w.end(len(w.happened)))
	if w.failure != nil {
		t.Error(w.failure)
	}
}

// TestASeedMeansTheSameRunEveryTime plays seeds twice. The Go runtime may still run
// goroutines in another order where it interrupts one that has run for long, so a
// few may differ.
func TestASeedMeansTheSameRunEveryTime(t *testing.T) {
	if _, _, ok := share(); !ok {
		giveOut(t)
		return
	}
	const seeds = 5
	same := 0
	for seed := range uint64(seeds) {
		first, second := playSeed(t, seed), playSeed(t, seed)
		if slices.EqualFunc(first.happened, second.happened, func(a, b record) bool {
			return a.at.Equal(b.at) && a.actor == b.actor && a.ordinal == b.ordinal && a.label == b.label && a.fault == b.fault
		}) {
			same++
		}
	}
	if same < 2 {
		t.Errorf("of %d seeds only %d meant the same run twice", seeds, same)
	}
}

// end tells the last commands that happened.
func (w *world) end(count int) (text string) {
	for _, record := range w.happened[max(0, len(w.happened)-count):] {
		text += record.String() + "\n"
	}
	return text
}

func playSeed(t *testing.T, seed uint64) *world {
	defer watch(replayOf(seed))()
	cryptotest.SetGlobalRandom(t, seed)
	return tell(t, seed, randomStory, func(w *world) {
		w.model.first.LoansMax = 2 + int(w.chance("", "limit", 0)%2)
		w.model.first.FrontMax = int(w.chance("", "front", 0) % 4)
		perMille := []uint64{2, 8, 20, 40}[w.chance("", "faults", 0)%4]
		w.decide = faultsOf(w, perMille)
	})
}

// randomStory has few users compete for few books, at several desks.
func randomStory(s *story) {
	w := s.world
	number := func(about string, i, of int) int { return int(w.chance("", about, i) % uint64(of)) }
	fetchTime := time.Duration(number("fetch time", 0, 3)) * 150 * time.Millisecond
	houses := [][]string{{library.Lending, library.Shelving}, {library.Lending}, {library.Shelving}}
	s.start("worker1", house{services: houses[0], fetchTime: fetchTime})
	for i := range number("instances", 0, 3) {
		s.start(fmt.Sprintf("worker%d", i+2), house{services: houses[number("services", i, 3)], fetchTime: fetchTime})
	}
	var users sync.WaitGroup
	for u := range 2 + number("users", 0, 3) {
		users.Go(func() { s.randomUser(fmt.Sprintf("user%d", u+1)) })
	}
	if number("director", 0, 2) == 0 {
		users.Go(s.randomDirector)
	}
	users.Wait()
}

// randomDirector changes the library's terms, some of them at a time.
func (s *story) randomDirector() {
	number := func(about string, i, of int) int { return int(s.world.chance("director", about, i) % uint64(of)) }
	c := s.client("director")
	defer func() { c.close() }()
	for i := range 1 + number("changes", 0, 3) {
		pause(s.ctx, time.Duration(number("think", i, 1000))*time.Millisecond)
		terms := s.world.model.first
		terms.LoansMax, terms.FrontMax, terms.LoanDays = 1+number("limit", i, 4), number("front", i, 4), 1+number("days", i, 60)
		terms.TimeZone = []string{"UTC", "Europe/Berlin", "Pacific/Kiritimati"}[number("zone", i, 3)]
		all := []string{"limit", "front", "loan-days", "time-zone"}
		c.agree(terms, all[:1+number("which", i, len(all))]...)
	}
}

func (s *story) randomUser(name string) {
	w := s.world
	number := func(about string, i, of int) int { return int(w.chance(name, about, i) % uint64(of)) }
	c := s.client(name)
	defer func() { c.close() }()
	var earlier []lending.Order
	var twins sync.WaitGroup
	defer twins.Wait()
	for i := range 3 + number("orders", 0, 4) {
		pause(s.ctx, time.Duration(number("think", i, 300))*time.Millisecond)
		order := lending.Order{ID: fmt.Sprintf("%s-%d", name, i), Action: library.Request, User: name}
		if number("action", i, 5) < 2 {
			order.Action = library.Return
		}
		for book := range 4 {
			if number(fmt.Sprint("book", book), i, 2) == 0 {
				order.Books = append(order.Books, fmt.Sprintf("book%d", book+1))
			}
		}
		if len(order.Books) == 0 {
			order.Books = []string{"book1"}
		}
		if number("again", i, 6) == 0 && len(earlier) > 0 {
			order = earlier[number("which", i, len(earlier))]
		}
		earlier = append(earlier, order)
		if number("twin", i, 8) == 0 {
			// The same order at the same moment, as from an impatient user's second window.
			twins.Go(func() {
				twin := s.client(name)
				defer func() { twin.close() }()
				twin.do(order)
			})
		}
		receipt := c.do(order)
		if number("wait", i, 2) == 0 {
			c.arrivals(receipt)
		}
	}
}
