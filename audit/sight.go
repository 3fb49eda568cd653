package audit

import (
	"strconv"
	"strings"
)

// loanDaysMax is for how long a loan is made at most.
const loanDaysMax = 3650

// A loan is a book on a user's card.
type loan struct {
	user  string
	dueMS int64
	days  int64
}

// An oddity is a value that cannot be understood.
type oddity struct{ key, user, value, should string }

// A sight is what was seen of a book, in all keys.
type sight struct {
	holder     string
	loans      []loan // on cards
	fetching   string // the request
	front, out bool
	astray     string   // a bay it is noted in, but does not belong to
	awaited    string   // the request
	fetches    []string // the requests of its orders that wait
	deliveries []string // the requests of its deliveries that wait
	stores     int      // how many times the entries of the stores name it
	odd        []oddity
}

// lent takes a field of the loans into account.
func (s *sight) lent(key, user string) {
	s.holder = user
	if user == "" {
		s.odd = append(s.odd, oddity{key, "", user, "the name of a user"})
	}
}

// onCard takes a field of a card into account: when the loan is due, and in four more
// digits for how many days it was made.
func (s *sight) onCard(key, user, stamp string) {
	number, err := strconv.ParseInt(stamp, 10, 64)
	seen := loan{user, number / 10_000, number % 10_000}
	if err != nil || seen.dueMS <= 0 || seen.days < 1 || seen.days > loanDaysMax {
		s.odd = append(s.odd, oddity{key, user, stamp, "a time and four digits for the days of the loan"})
		seen.dueMS = 0
	}
	for i, before := range s.loans {
		if before.user == user { // a scan may show a field twice
			s.loans[i] = seen
			return
		}
	}
	s.loans = append(s.loans, seen)
}

// isFetched takes a field of fetching into account: "request bell".
func (s *sight) isFetched(key, order string) {
	request, _, whole := strings.Cut(order, " ")
	s.fetching = request
	if !whole || request == "" {
		s.odd = append(s.odd, oddity{key, "", order, "an order, a space, and a bell or nothing"})
	}
}

// isAwaited takes a field of awaited into account.
func (s *sight) isAwaited(key, request string) {
	s.awaited = request
	if request == "" {
		s.odd = append(s.odd, oddity{key, "", request, "an order"})
	}
}
