package main

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// A policy says which books front storage keeps. A book that comes back enters;
// where there are more books than places then, those with the lowest score leave.
type policy struct {
	name string
	// asked is told of every request, granted or not, before it is decided. Default: nothing.
	asked func(request int, book int32)
	// score is a book's worth when it comes back; it stands until the book leaves.
	// Default: the first come stay, and what finds no room does not enter.
	score func(book int32) float64
	// shelved is told of a book that left for the shelves. Default: nothing.
	shelved func(book int32)
	// sample is how many books are looked at, at random, for each that must leave.
	// Default: all.
	sample int
	random *rand.Rand
}

// replay has a policy keep a storage of so many places through a trace, and tells
// where the book of each request was found.
func replay(t *trace, places int, p policy) []place {
	s := storage{at: make([]int32, t.books)}
	found := make([]place, len(t.requests))
	for _, c := range t.chunks {
		for i := c.from; i < c.to; i++ {
			request := t.requests[i]
			if p.asked != nil {
				p.asked(i, request.book)
			}
			switch {
			case !request.granted:
			case s.has(request.book):
				s.remove(request.book)
				found[i] = inFront
			default:
				found[i] = onShelf
			}
		}
		for _, book := range c.returns {
			switch {
			case p.score != nil:
				s.add(book, p.score(book))
			case len(s.books) < places:
				s.add(book, 0)
			}
		}
		for _, book := range s.victims(len(s.books)-places, p) {
			s.remove(book)
			if p.shelved != nil {
				p.shelved(book)
			}
		}
	}
	return found
}

// A storage holds books and their scores.
type storage struct {
	books []scored
	at    []int32 // book → its index in books, and 1; 0 for a book that is not there
}

type scored struct {
	book  int32
	score float64
}

func (s *storage) has(book int32) bool { return s.at[book] > 0 }

func (s *storage) add(book int32, score float64) {
	s.books = append(s.books, scored{book, score})
	s.at[book] = int32(len(s.books))
}

func (s *storage) remove(book int32) {
	i := s.at[book] - 1
	last := s.books[len(s.books)-1]
	s.books[i], s.at[last.book] = last, i+1
	s.books = s.books[:len(s.books)-1]
	s.at[book] = 0
}

// victims are the count books that leave.
func (s *storage) victims(count int, p policy) []int32 {
	if count <= 0 {
		return nil
	}
	candidates := slices.Clone(s.books)
	if seen := count * p.sample; seen > 0 && seen < len(candidates) {
		for i := range seen {
			j := i + p.random.IntN(len(candidates)-i)
			candidates[i], candidates[j] = candidates[j], candidates[i]
		}
		candidates = candidates[:seen]
	}
	slices.SortFunc(candidates, func(a, b scored) int { return cmp.Compare(a.score, b.score) })
	leave := make([]int32, count)
	for i := range leave {
		leave[i] = candidates[i].book
	}
	return leave
}

// firstCome is the original's rule: a book that comes back stays in front if
// there is room, and no book leaves but to a user.
func firstCome() policy { return policy{name: "first come stays"} }

// leastRecent lets those leave that came back longest ago.
func leastRecent() policy {
	clock := 0.0
	return policy{name: "LRU", score: func(int32) float64 { clock++; return clock }}
}

// favourites knows how often each book is asked for, and keeps the favourites: the
// best that can be done without knowing the future.
func favourites(t *trace) policy {
	era := 0
	return policy{
		name:  "true favourites",
		asked: func(request int, _ int32) { era = t.era(request) },
		score: func(book int32) float64 { return -float64(t.ranks[era][book]) },
	}
}

// furthest is Belady's rule: those leave that will be asked for last. Nothing does
// better. A book in storage is free, so the next request for it is always granted.
func furthest(t *trace) policy {
	next := make([]int32, len(t.requests)) // request → the next one for the same book that is granted
	later := make([]int32, t.books)
	for book := range later {
		later[book] = math.MaxInt32
	}
	for i, request := range slices.Backward(t.requests) {
		next[i] = later[request.book]
		if request.granted {
			later[request.book] = int32(i)
		}
	}
	due := make([]int32, t.books)
	return policy{
		name:  "Belady",
		asked: func(request int, book int32) { due[book] = next[request] },
		score: func(book int32) float64 { return -float64(due[book]) },
	}
}

// A demandRule says how demand is counted. A book's demand is the logarithm of its
// asks, each of which weighs twice as much as one made half asks before it.
type demandRule struct {
	half float64
	// every is which asks are counted: every so-manieth, for as many. Default: 1, all.
	every int
	// grantedOnly counts only the asks that were granted.
	grantedOnly bool
	// remembered is for how many books demand is remembered. Default: all.
	remembered int
	// forget drops a book's demand when it leaves for the shelves.
	forget bool
	// sample is the policy's.
	sample int
}

// demand keeps the books in most demand.
func demand(t *trace, rule demandRule) policy {
	every := max(rule.every, 1)
	step := math.Ln2 / rule.half
	clock, asks := 0.0, 0
	known := newLowest(t.books)
	return policy{
		name: "demand",
		asked: func(request int, book int32) {
			clock += step
			if rule.grantedOnly && !t.requests[request].granted {
				return
			}
			if asks++; asks%every != 0 {
				return
			}
			ask := clock + math.Log(float64(every))
			if old, is := known.get(book); is {
				ask = max(old, ask) + math.Log1p(math.Exp(-math.Abs(old-ask)))
			}
			known.set(book, ask)
			for rule.remembered > 0 && known.len() > rule.remembered+128 {
				known.dropLowest(rule.remembered)
			}
		},
		score: func(book int32) float64 { score, _ := known.get(book); return score },
		shelved: func(book int32) {
			if rule.forget {
				known.drop(book)
			}
		},
		sample: rule.sample,
		random: rand.New(rand.NewPCG(1, 1)),
	}
}

// A lowest is a map from books to numbers from which the lowest can be dropped: a
// binary heap that knows where each book stands in it.
type lowest struct {
	heap []scored
	at   []int32 // book → its index in heap, and 1
}

func newLowest(books int) *lowest { return &lowest{at: make([]int32, books)} }

func (l *lowest) len() int { return len(l.heap) }

func (l *lowest) get(book int32) (float64, bool) {
	if l.at[book] == 0 {
		return 0, false
	}
	return l.heap[l.at[book]-1].score, true
}

func (l *lowest) set(book int32, score float64) {
	if l.at[book] == 0 {
		l.heap = append(l.heap, scored{})
		l.place(len(l.heap)-1, scored{book, score})
	}
	l.move(int(l.at[book]-1), scored{book, score})
}

func (l *lowest) drop(book int32) {
	i := int(l.at[book] - 1)
	if i < 0 {
		return
	}
	last := l.heap[len(l.heap)-1]
	l.heap = l.heap[:len(l.heap)-1]
	l.at[book] = 0
	if last.book != book {
		l.move(i, last)
	}
}

// dropLowest drops all but so many.
func (l *lowest) dropLowest(left int) {
	for len(l.heap) > left {
		l.drop(l.heap[0].book)
	}
}

func (l *lowest) place(i int, item scored) {
	l.heap[i] = item
	l.at[item.book] = int32(i + 1)
}

// move puts an item where it belongs, from place i on.
func (l *lowest) move(i int, item scored) {
	for i > 0 && item.score < l.heap[(i-1)/2].score {
		l.place(i, l.heap[(i-1)/2])
		i = (i - 1) / 2
	}
	for {
		child := 2*i + 1
		if child+1 < len(l.heap) && l.heap[child+1].score < l.heap[child].score {
			child++
		}
		if child >= len(l.heap) || l.heap[child].score >= item.score {
			break
		}
		l.place(i, l.heap[child])
		i = child
	}
	l.place(i, item)
}
