package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// A trace is a history of requests for one book each, and of the returns of what
// was lent. Which requests can be granted does not depend on where a book stands:
// a book is lent or it is not. So the trace knows it beforehand, and front storage
// decides only whether a granted book was at hand or had to be fetched.
type trace struct {
	books    int       // books are numbered 0 … books-1
	weights  []float64 // how often the book of a rank is asked for, in parts of 1
	ranks    [2][]int32
	requests []asked
	chunks   []chunk
	half     int // the number of the request at which the favourites change
}

// An asked is one request.
type asked struct {
	book    int32
	granted bool
}

// A chunk is what is decided together: some requests, then the returns that are
// due by then. Its requests are trace.requests[from:to].
type chunk struct {
	from, to int
	returns  []int32 // books
}

// A traceShape says what a trace is like.
type traceShape struct {
	books    int
	requests int
	chunk    int     // requests in a chunk
	skew     float64 // Zipf's exponent: the book of rank r is asked for as often as 1/r^skew
	loan     float64 // after how many further requests a book comes back, on average
	seed     uint64
}

// newTrace makes a trace. The same shape makes the same trace.
func newTrace(shape traceShape) *trace {
	random := rand.New(rand.NewPCG(shape.seed, 0))
	t := &trace{books: shape.books, half: shape.requests / 2}
	t.weights = zipf(shape.books, shape.skew)
	for i := range t.ranks {
		t.ranks[i] = make([]int32, shape.books)
		for rank, book := range random.Perm(shape.books) {
			t.ranks[i][book] = int32(rank)
		}
	}
	bookOf := [2][]int32{invert(t.ranks[0]), invert(t.ranks[1])}
	sums := make([]float64, shape.books)
	sum := 0.0
	for rank, weight := range t.weights {
		sum += weight
		sums[rank] = sum
	}

	lent := make([]bool, shape.books)
	due := map[int][]int32{} // chunk → the books that come back in it
	for from := 0; from < shape.requests; from += shape.chunk {
		c := chunk{from: from, to: min(from+shape.chunk, shape.requests)}
		for i := c.from; i < c.to; i++ {
			rank, _ := slices.BinarySearch(sums, random.Float64()*sum)
			book := bookOf[t.era(i)][min(rank, shape.books-1)]
			t.requests = append(t.requests, asked{book, !lent[book]})
			if lent[book] {
				continue
			}
			lent[book] = true
			back := (i + 1 + int(random.ExpFloat64()*shape.loan)) / shape.chunk
			due[back] = append(due[back], book)
		}
		c.returns = due[from/shape.chunk]
		delete(due, from/shape.chunk)
		for _, book := range c.returns {
			lent[book] = false
		}
		t.chunks = append(t.chunks, c)
	}
	return t
}

// era tells which of the two sets of favourites a request belongs to.
func (t *trace) era(request int) int {
	if request < t.half {
		return 0
	}
	return 1
}

// zipf returns the weight of each rank.
func zipf(n int, skew float64) []float64 {
	weights := make([]float64, n)
	sum := 0.0
	for rank := range weights {
		weights[rank] = math.Pow(float64(rank+1), -skew)
		sum += weights[rank]
	}
	for rank := range weights {
		weights[rank] /= sum
	}
	return weights
}

// invert turns a permutation round.
func invert(permutation []int32) []int32 {
	inverse := make([]int32, len(permutation))
	for i, value := range permutation {
		inverse[value] = int32(i)
	}
	return inverse
}

// A place is where the book of a request was found.
type place byte

const (
	nowhere place = iota // it was lent already
	onShelf
	inFront
)

// share tells which part of the granted requests from one to another, not
// including that, was served from front storage.
func share(places []place, from, to int) float64 {
	served, granted := 0, 0
	for _, found := range places[from:to] {
		if found != nowhere {
			granted++
		}
		if found == inFront {
			served++
		}
	}
	if granted == 0 {
		return 0
	}
	return float64(served) / float64(granted)
}

// recovery tells how many requests after the favourites changed the share over a
// window has come back to a part of what it was before, or -1 if it never does.
// The window lies wholly after the change, so it is the least answer.
func recovery(places []place, half, window int, goal float64) int {
	served, granted := 0, 0
	count := func(found place, by int) {
		if found != nowhere {
			granted += by
		}
		if found == inFront {
			served += by
		}
	}
	for i := half; i < len(places); i++ {
		count(places[i], 1)
		if i-window >= half {
			count(places[i-window], -1)
		}
		if i-half+1 >= window && float64(served) >= goal*float64(granted) {
			return i - half + 1
		}
	}
	return -1
}
