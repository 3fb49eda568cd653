package gateway

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A position is a place in the log: after an entry, or after the first few events of one
// that tells of several. As text it is the entry's id, and in the second case a dot and
// how many of its events are before the position.
type position struct {
	ms, number uint64
	events     int // wholeEntry for all of them
}

const wholeEntry = math.MaxInt

func parsePosition(text string) (p position, ok bool) {
	id, events, partly := strings.Cut(text, ".")
	ms, number, hasNumber := strings.Cut(id, "-")
	var err1, err2, err3 error
	p.ms, err1 = strconv.ParseUint(ms, 10, 64)
	p.number, err2 = strconv.ParseUint(number, 10, 64)
	if p.events = wholeEntry; partly {
		p.events, err3 = strconv.Atoi(events)
	}
	return p, hasNumber && err1 == nil && err2 == nil && err3 == nil && p.events >= 0
}

// entry is the id of the position's entry.
func (p position) entry() string { return fmt.Sprintf("%d-%d", p.ms, p.number) }

func (p position) String() string {
	if p.events == wholeEntry {
		return p.entry()
	}
	return fmt.Sprintf("%s.%d", p.entry(), p.events)
}

func (p position) compare(other position) int {
	return cmp.Or(cmp.Compare(p.ms, other.ms), cmp.Compare(p.number, other.number), cmp.Compare(p.events, other.events))
}

// next is the first entry that has something after the position, as XRANGE takes it.
func (p position) next() string {
	if p.events == wholeEntry {
		return "(" + p.entry()
	}
	return p.entry()
}
