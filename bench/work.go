package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"sort"
	"strconv"
	"strings"
)

// An order is a request or a return, as all contestants get it.
type order struct {
	ID    string   `json:"id"`
	User  string   `json:"user"`
	Books []string `json:"books"`
}

// A work is what a contestant gets to do in one go: orders by their inbox.
type work struct {
	requests, returns []order
}

func (w work) size() int { return len(w.requests) + len(w.returns) }

// part is the first of so many equal parts of the work.
func (w work) part(share int) work {
	return work{requests: w.requests[:len(w.requests)/share], returns: w.returns[:len(w.returns)/share]}
}

// books is how many books the requests name, each as often as it is named.
func (w work) books() int {
	total := 0
	for _, o := range w.requests {
		total += len(o.Books)
	}
	return total
}

// distinctOrders makes n orders by distinct users, each for one or two books that
// nobody else asks for. The salt tells orders and users of one call from those of
// another; the books are the same.
func distinctOrders(n int, salt string) []order {
	random := rand.New(rand.NewPCG(1, 2))
	ids := rand.New(rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", salt)))))
	orders := make([]order, n)
	book := 0
	for i := range orders {
		orders[i] = order{ID: orderID(ids), User: fmt.Sprintf("%s-%06d", salt, i)}
		for range 1 + random.IntN(2) {
			orders[i].Books = append(orders[i].Books, bookName(book))
			book++
		}
	}
	return orders
}

// again makes the same orders with ids of their own: the returns of these requests.
func again(orders []order, salt string) []order {
	ids := rand.New(rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", salt)))))
	repeated := make([]order, len(orders))
	for i, o := range orders {
		repeated[i] = order{ID: orderID(ids), User: o.User, Books: o.Books}
	}
	return repeated
}

const (
	mixBooks = 10_000
	mixUsers = 20_000
	// mixKept is the share of returns that bring back what was lent. The others
	// are of books that the user does not have.
	mixKept = 0.2
)

// contendedOrders makes n orders, half of them requests for one or two of 10,000
// books, the k-th asked for 1/k times as often as the first, and half of them
// returns. Most are refused. Requests and returns are in step: a return that
// brings a book back is, when both inboxes are read at the same pace, read
// shortly after its loan or later.
func contendedOrders(n int) work {
	random := rand.New(rand.NewPCG(3, 4))
	ids := rand.New(rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", "contended")))))
	sums := make([]float64, mixBooks) // of the weights up to each book
	total := 0.0
	for i := range sums {
		total += 1 / float64(i+1)
		sums[i] = total
	}
	favourite := func() int { return sort.SearchFloat64s(sums, random.Float64()*total) }

	// The loans as they are when the orders are decided in turn, to know whose
	// return can succeed.
	var w work
	holder, held := map[int]int{}, map[int]int{}
	var lent []int
	for range n / 2 {
		user := random.IntN(mixUsers)
		asked := []int{favourite()}
		if second := favourite(); random.IntN(2) == 1 && second != asked[0] {
			asked = append(asked, second)
		}
		o := order{ID: orderID(ids), User: mixUser(user)}
		var free []int
		for _, book := range asked {
			o.Books = append(o.Books, bookName(book))
			if _, taken := holder[book]; !taken {
				free = append(free, book)
			}
		}
		w.requests = append(w.requests, o)
		if held[user]+len(free) <= 5 {
			for _, book := range free {
				holder[book] = user
				lent = append(lent, book)
			}
			held[user] += len(free)
		}

		user, book := random.IntN(mixUsers), favourite()
		if len(lent) > 0 && random.Float64() < mixKept {
			i := random.IntN(len(lent))
			book = lent[i]
			user = holder[book]
			lent[i] = lent[len(lent)-1]
			lent = lent[:len(lent)-1]
			delete(holder, book)
			held[user]--
		}
		w.returns = append(w.returns, order{ID: orderID(ids), User: mixUser(user), Books: []string{bookName(book)}})
	}
	return w
}

func bookName(i int) string { return fmt.Sprintf("book-%06d", i) }
func mixUser(i int) string  { return fmt.Sprintf("user-%05d", i) }

// orderID looks like the ids that clients make.
func orderID(random *rand.Rand) string {
	return fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64())
}

// appends encodes the orders as XADD commands, each with the fields that the
// function gives for it.
func appends(stream string, orders []order, fields func(order) []string) []byte {
	var commands []byte
	for _, o := range orders {
		commands = appendCommand(commands, append([]string{"XADD", stream, "*"}, fields(o)...)...)
	}
	return commands
}

// appendCommand appends a command in Redis's own protocol.
func appendCommand(commands []byte, words ...string) []byte {
	commands = append(commands, '*')
	commands = strconv.AppendInt(commands, int64(len(words)), 10)
	commands = append(commands, '\r', '\n')
	for _, word := range words {
		commands = append(commands, '$')
		commands = strconv.AppendInt(commands, int64(len(word)), 10)
		commands = append(commands, '\r', '\n')
		commands = append(commands, word...)
		commands = append(commands, '\r', '\n')
	}
	return commands
}

// send sends commands that are answered with a bulk string each, as XADD is, and
// waits for all answers. Nothing that waits for an answer between commands could
// fill a stream so fast.
func send(network, address string, commands []byte, count int) error {
	connection, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer connection.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := connection.Write(commands)
		sent <- err
	}()
	answers := bufio.NewReaderSize(connection, 1<<16)
	for range count {
		head, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(head, "$") {
			return fmt.Errorf("append an order: answered %q", head)
		}
		if _, err := answers.ReadString('\n'); err != nil {
			return err
		}
	}
	return <-sent
}

// orderFields are the fields of an order in the library's inboxes.
func orderFields(o order) []string {
	books, err := json.Marshal(o.Books)
	if err != nil {
		panic(err) // texts can be written as JSON
	}
	return []string{"id", o.ID, "user", o.User, "books", string(books)}
}
