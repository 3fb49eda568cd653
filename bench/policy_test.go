package main

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// small is a trace that is quickly made.
func small(seed uint64) *trace {
	return newTrace(traceShape{books: 1000, requests: 40_000, chunk: 16, skew: 0.9, loan: 20, seed: seed})
}

func TestTheSameShapeMakesTheSameTrace(t *testing.T) {
	one, other := small(1), small(1)
	if !slices.Equal(one.requests, other.requests) {
		t.Error("two traces of one shape differ")
	}
	if slices.Equal(one.requests, small(2).requests) {
		t.Error("two traces with different seeds are the same")
	}
}

func TestATraceLendsABookToOneAtATime(t *testing.T) {
	trace := small(1)
	lent := map[int32]bool{}
	next := 0
	for _, c := range trace.chunks {
		if c.from != next {
			t.Fatalf("a chunk begins with request %d, after %d", c.from, next)
		}
		next = c.to
		for _, request := range trace.requests[c.from:c.to] {
			if request.granted == lent[request.book] {
				t.Fatalf("a request for a book that is lent (%v) is granted (%v)", lent[request.book], request.granted)
			}
			lent[request.book] = true
		}
		for _, book := range c.returns {
			if !lent[book] {
				t.Fatal("a book comes back that is not lent")
			}
			delete(lent, book)
		}
	}
	if next != len(trace.requests) {
		t.Errorf("the chunks have %d of %d requests", next, len(trace.requests))
	}
}

func TestATraceAsksForBooksByTheirRank(t *testing.T) {
	trace := small(1)
	for era, part := range [][]asked{trace.requests[:trace.half], trace.requests[trace.half:]} {
		first, tenth := 0, 0
		for _, request := range part {
			switch trace.ranks[era][request.book] {
			case 0:
				first++
			case 9:
				tenth++
			}
		}
		if got, want := float64(first)/float64(tenth), math.Pow(10, 0.9); math.Abs(got/want-1) > 0.2 {
			t.Errorf("half %d: the favourite is asked for %.1f times as often as the tenth, want about %.1f", era, got, want)
		}
	}
}

// best is the most requests that can be served from a storage of so many places,
// found by trying everything.
func best(t *trace, places int) int {
	type state struct {
		chunk int
		books [8]bool
	}
	known := map[state]int{}
	var from func(s state) int
	from = func(s state) int {
		if s.chunk == len(t.chunks) {
			return 0
		}
		if served, is := known[s]; is {
			return served
		}
		at, served := s, 0
		c := t.chunks[s.chunk]
		for _, request := range t.requests[c.from:c.to] {
			if request.granted && at.books[request.book] {
				at.books[request.book] = false
				served++
			}
		}
		for _, book := range c.returns {
			at.books[book] = true
		}
		at.chunk++
		most := 0
		for kept := range 1 << len(at.books) {
			next, count, possible := at, 0, true
			for book := range at.books {
				next.books[book] = kept>>book&1 == 1
				possible = possible && (at.books[book] || !next.books[book])
				if next.books[book] {
					count++
				}
			}
			if possible && count <= places {
				most = max(most, from(next))
			}
		}
		known[s] = served + most
		return served + most
	}
	return from(state{})
}

func servedFromFront(found []place) int {
	count := 0
	for _, p := range found {
		if p == inFront {
			count++
		}
	}
	return count
}

func TestNothingDoesBetterThanBelady(t *testing.T) {
	for seed := range uint64(30) {
		trace := newTrace(traceShape{books: 8, requests: 60, chunk: 1 + int(seed%3), skew: 0.5, loan: 2, seed: seed})
		for _, places := range []int{1, 2, 3} {
			got, want := servedFromFront(replay(trace, places, furthest(trace))), best(trace, places)
			if got != want {
				t.Errorf("seed %d, %d places: Belady serves %d, and %d could be", seed, places, got, want)
			}
		}
	}
}

func TestThePoliciesStandInTheOrderThatTheoryTells(t *testing.T) {
	trace := small(1)
	const places = 10
	shareOf := func(p policy) float64 {
		return share(replay(trace, places, p), trace.half/2, trace.half)
	}
	order := []policy{furthest(trace), favourites(trace), demand(trace, demandRule{half: 50 * places}), leastRecent(), firstCome()}
	for i := range order[1:] {
		better, worse := shareOf(order[i]), shareOf(order[i+1])
		if better <= worse {
			t.Errorf("%s serves %.3f, and %s %.3f", order[i].name, better, order[i+1].name, worse)
		}
	}
}

// told is a trace that is written by hand.
func told(books int, chunks ...[2][]int32) *trace {
	t := &trace{books: books}
	lent := map[int32]bool{}
	for _, told := range chunks {
		c := chunk{from: len(t.requests), returns: told[1]}
		for _, book := range told[0] {
			t.requests = append(t.requests, asked{book, !lent[book]})
			lent[book] = true
		}
		for _, book := range told[1] {
			delete(lent, book)
		}
		c.to = len(t.requests)
		t.chunks = append(t.chunks, c)
	}
	t.half = len(t.requests)
	return t
}

func TestWhoLeavesAFullStorage(t *testing.T) {
	// Book 0 is asked for most, and comes back first; 1 comes back last; then all
	// are asked for, the first of them 2.
	trace := told(3,
		[2][]int32{{0, 0, 0, 1, 2}, {0, 2}},
		[2][]int32{nil, {1}},
		[2][]int32{{2, 1, 0}, nil},
	)
	for _, c := range []struct {
		name   string
		policy policy
		want   []place // of the last three requests
	}{
		{"first come", firstCome(), []place{onShelf, onShelf, inFront}},
		{"LRU", leastRecent(), []place{onShelf, inFront, onShelf}},
		{"Belady", furthest(trace), []place{inFront, onShelf, onShelf}},
		{"demand", demand(trace, demandRule{half: 100}), []place{onShelf, onShelf, inFront}},
		// Each was granted once, so the latest weighs most.
		{"demand of granted requests", demand(trace, demandRule{half: 100, grantedOnly: true}), []place{inFront, onShelf, onShelf}},
		{"demand, forgotten", demand(trace, demandRule{half: 100, remembered: 1, forget: true}), []place{onShelf, onShelf, inFront}},
	} {
		got := replay(trace, 1, c.policy)[5:]
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: found %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDemandAges(t *testing.T) {
	// Book 0 is asked for three times, then 1 twice, a half-life later: two that
	// weigh twice as much are more than three.
	requests := []int32{0, 0, 0}
	for range 100 {
		requests = append(requests, 2)
	}
	requests = append(requests, 1, 1)
	trace := told(3, [2][]int32{requests, {0, 1}}, [2][]int32{{0, 1}, nil})
	for _, c := range []struct {
		half float64
		want []place
	}{
		{100, []place{onShelf, inFront}},
		{1000, []place{inFront, onShelf}},
	} {
		found := replay(trace, 1, demand(trace, demandRule{half: c.half}))
		if got := found[len(found)-2:]; !slices.Equal(got, c.want) {
			t.Errorf("half-life %v: found %v, want %v", c.half, got, c.want)
		}
	}
}

func TestEveryBookIsInOnePlaceUnderEveryRule(t *testing.T) {
	trace := small(1)
	for _, rule := range []demandRule{{half: 500, sample: 5}, {half: 500, every: 4}, {half: 500, remembered: 100}, {half: 500, forget: true}, {half: 500, grantedOnly: true}} {
		for i, found := range replay(trace, 10, demand(trace, rule)) {
			if (found == nowhere) == trace.requests[i].granted {
				t.Fatalf("%+v: request %d is granted (%v) and found at %v", rule, i, trace.requests[i].granted, found)
			}
		}
	}
}

func TestTheLowestAreDropped(t *testing.T) {
	const books = 200
	random := rand.New(rand.NewPCG(1, 1))
	known, want := newLowest(books), map[int32]float64{}
	for range 20_000 {
		book := int32(random.IntN(books))
		switch random.IntN(10) {
		case 0:
			known.drop(book)
			delete(want, book)
		case 1:
			left := random.IntN(books)
			known.dropLowest(left)
			books := slices.SortedFunc(maps.Keys(want), func(a, b int32) int { return cmp.Compare(want[a], want[b]) })
			for _, book := range books[:max(0, len(books)-left)] {
				delete(want, book)
			}
		default:
			score := random.Float64()
			known.set(book, score)
			want[book] = score
		}
		if known.len() != len(want) {
			t.Fatalf("it holds %d, want %d", known.len(), len(want))
		}
		got, is := known.get(book)
		if score, wanted := want[book]; is != wanted || got != score {
			t.Fatalf("book %d has %v (%v), want %v (%v)", book, got, is, score, wanted)
		}
	}
}

func TestAShareIsOfWhatWasGranted(t *testing.T) {
	found := []place{inFront, nowhere, onShelf, inFront, onShelf}
	if got, want := share(found, 0, 4), 2.0/3; got != want {
		t.Errorf("share = %v, want %v", got, want)
	}
	if got := share(found, 1, 2); got != 0 {
		t.Errorf("share of nothing = %v, want 0", got)
	}
}

func TestARecoveryIsCountedFromTheChange(t *testing.T) {
	found := slices.Concat(slices.Repeat([]place{inFront}, 10), slices.Repeat([]place{onShelf}, 10), slices.Repeat([]place{inFront}, 10))
	// The last 4 after the change are half in front when 2 of them are.
	if got, want := recovery(found, 10, 4, 0.5), 12; got != want {
		t.Errorf("recovery = %d, want %d", got, want)
	}
	if got, want := recovery(found, 20, 4, 0.5), 4; got != want {
		t.Errorf("recovery at once = %d, want the window's %d", got, want)
	}
	if got, want := recovery(found[:20], 10, 4, 0.5), -1; got != want {
		t.Errorf("recovery that never comes = %d, want %d", got, want)
	}
}

// TestDemandRules prints what half-life, sampling and forgetting cost, to choose
// the library's rule by: go test -v -run DemandRules
func TestDemandRules(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("it only prints; run it with -v")
	}
	const places = 100
	for _, kind := range frontTraces {
		shape := kind.shape
		shape.requests, shape.seed = 400_000, 1
		trace := newTrace(shape)
		before := func(p policy) (float64, []place) {
			found := replay(trace, places, p)
			return share(found, trace.half/2, trace.half), found
		}
		belady, _ := before(furthest(trace))
		t.Logf("%s: shares as parts of Belady's, which is %.3f; requests until recovered", kind.name, belady)
		show := func(name string, p policy) {
			got, found := before(p)
			t.Logf("  %-60s %.3f  %d", name, got/belady, recovery(found, trace.half, recoveryPlaces*places, recoveryGoal*got))
		}
		show("true favourites", favourites(trace))
		for _, half := range []float64{20, 50, 100, 200} {
			rule := demandRule{half: half * places, remembered: 10 * places}
			t.Logf("  half-life of %v asks a place", half)
			show("  demand", demand(trace, rule))
			for _, variant := range []struct {
				name   string
				change func(*demandRule)
			}{
				{"  every 4th ask counts for 4", func(r *demandRule) { r.every = 4 }},
				{"  only granted asks count", func(r *demandRule) { r.grantedOnly = true }},
				{"  forgotten on the way to the shelves", func(r *demandRule) { r.forget = true }},
				{"  the lowest of 5 at random leave", func(r *demandRule) { r.sample = 5 }},
			} {
				changed := rule
				variant.change(&changed)
				show(variant.name, demand(trace, changed))
			}
		}
		show("LRU", leastRecent())
		show("first come stays", firstCome())
	}
}
