package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

const (
	clientsMax = 36 // at once
	usersMax   = 24 // fewer than clients, so that some cards are used by two at once
	booksMax   = 72
	hotBooks   = 10 // of these, the ones that everybody wants
	linesMax   = 4  // proxies between clients and Redis
	earlyMax   = 8  // orders that are in the inboxes before anybody has made a group
)

// An operation is a line of a ledger: an order, and what its client saw of it.
type operation struct {
	number int
	client int
	order  lending.Order
	asked  time.Duration // just before it was sent for the first time

	mu       sync.Mutex
	answered time.Duration      // when the first answer came; 0 while it is open
	answers  []*library.Receipt // all that came; each must be the same
	tries    int                // how often the client was told to send it
	unsent   int                // of these, those of which it said that nothing was sent
	accepted bool               // Redis confirmed the append, so an answer is owed
	lookedUp bool               // the answer did not come in time, and was found later
}

func (o *operation) open() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answered == 0
}

// neverSent says that the client was told that the order has no effect.
func (o *operation) neverSent() bool { return o.tries > 0 && o.tries == o.unsent }

// A client sends one order after the other, and keeps those whose answer it does
// not know.
type client struct {
	*lending.Client
	number int
	user   *user
	random *rand.Rand
	open   []*operation
}

// A user is who holds a card, as far as the clients that use it know.
type user struct {
	name  string
	mu    sync.Mutex
	holds map[string]bool
}

// A catalogue is what the clients believe of the books, so that they mostly ask for
// those that can be had. It is often wrong, for others ask at the same moment.
type catalogue struct {
	mu   sync.Mutex
	lent map[string]bool
}

func (c *catalogue) note(book string, lent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent[book] = lent
}

// likelyFree names a book that nobody is known to have.
func (c *catalogue) likelyFree(random *rand.Rand) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range 20 {
		if book := bookName(random.IntN(booksMax)); !c.lent[book] {
			return book
		}
	}
	return bookName(random.IntN(booksMax))
}

func bookName(n int) string { return fmt.Sprintf("book%02d", n) }

// startClients lets the clients loose. Returned is what waits for their last orders.
func (r *run) startClients() (finish func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var lines []*redistest.Proxy
	for range linesMax {
		lines = append(lines, redistest.NewProxy(r, r.server))
	}
	r.toll.lines = lines
	var users []*user
	for i := range usersMax {
		users = append(users, &user{name: fmt.Sprintf("user%02d", i), holds: map[string]bool{}})
	}
	for i := range clientsMax {
		rdb, err := redisconn.Connect(redisconn.Options{Address: lines[i%linesMax].Addr()})
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() { rdb.Close() })
		asks, err := lending.NewClient(rdb, r.keys.Library)
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() { asks.Close() })
		r.clients = append(r.clients, &client{
			Client: asks, number: i, user: users[i%usersMax], random: rand.New(rand.NewPCG(*seed, uint64(i+1))),
		})
	}
	catalogue := &catalogue{lent: map[string]bool{}}
	r.sendEarly(catalogue)
	over := make(chan struct{})
	var waves, running sync.WaitGroup
	waves.Go(func() { r.gate.waves(over) })
	for _, c := range r.clients {
		running.Go(func() { r.use(ctx, c, catalogue) })
	}
	finish = sync.OnceFunc(func() {
		running.Wait()
		close(over)
		waves.Wait()
		cancel()
	})
	r.Cleanup(func() {
		r.gate.close()
		cancel()
		finish()
	})
	return finish
}

// sendEarly appends the first orders by hand, as docs/reference.md has them, for the Go
// client makes the groups before it appends. A group must begin before what is there
// already.
func (r *run) sendEarly(catalogue *catalogue) {
	for number := range min(earlyMax, *ops) {
		c := r.clients[number]
		order, err := lending.NewOrder(library.Request, c.user.name, catalogue.likelyFree(c.random))
		if err != nil {
			r.Fatal(err)
		}
		o := &operation{number: number, client: c.number, order: order, asked: r.since(), tries: 1, accepted: true}
		ctx, cancel := within(programtest.Patience)
		err = r.rdb.XAdd(ctx, &redis.XAddArgs{
			Stream: r.keys.Requests(), Values: []string{"id", order.ID, "user", order.User, "books", fmt.Sprintf("[%q]", order.Books[0])},
		}).Err()
		cancel()
		if err != nil {
			r.Fatal(err)
		}
		r.ledger[number] = o
		c.open = append(c.open, o)
	}
}

// use is the life of a client.
func (r *run) use(ctx context.Context, c *client, catalogue *catalogue) {
	for {
		number, ok := r.gate.pass()
		if !ok {
			return
		}
		r.lookAgain(ctx, c, catalogue)
		order, err := c.wish(catalogue)
		if err != nil {
			r.Errorf("make an order: %v", err)
			return
		}
		o := &operation{number: number, client: c.number, order: order, asked: r.since()}
		r.ledger[number] = o
		r.send(ctx, c, o)
		if o.open() {
			c.open = append(c.open, o)
		} else {
			c.learn(o, catalogue)
		}
	}
}

// wish decides what the user wants next.
func (c *client) wish(catalogue *catalogue) (lending.Order, error) {
	c.user.mu.Lock()
	var held []string
	for i := range booksMax { // in an order that the seed repeats, unlike a map's
		if book := bookName(i); c.user.holds[book] {
			held = append(held, book)
		}
	}
	c.user.mu.Unlock()
	chance := c.random.Float64()
	hot := func() string { return bookName(c.random.IntN(hotBooks)) }
	switch {
	case chance < 0.02: // more than any card has room for
		var books []string
		for range loansMax + 1 {
			books = append(books, catalogue.likelyFree(c.random))
		}
		return lending.NewOrder(library.Request, c.user.name, books...)
	case chance < 0.05: // somebody else's
		return lending.NewOrder(library.Return, c.user.name, hot())
	case len(held) > 0 && (len(held) >= loansMax && chance < 0.9 || chance < 0.55):
		c.random.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		books := held[:1+c.random.IntN(len(held))]
		if c.random.IntN(12) == 0 {
			books = append(books, hot())
		}
		return lending.NewOrder(library.Return, c.user.name, books...)
	}
	var books []string
	for range 1 + c.random.IntN(2) {
		if c.random.IntN(4) == 0 {
			books = append(books, hot())
		} else {
			books = append(books, catalogue.likelyFree(c.random))
		}
	}
	return lending.NewOrder(library.Request, c.user.name, books...)
}

// send sends an order in one of the ways in which orders are sent: most once, some
// twice at once by two clients, some again after the answer, and some by a client
// that goes away and comes back for the receipt.
func (r *run) send(ctx context.Context, c *client, o *operation) {
	ctx, cancel := context.WithTimeout(ctx, time.Second+time.Duration(c.random.Int64N(int64(4*time.Second))))
	defer cancel()
	way := c.random.IntN(100)
	other := r.clients[c.random.IntN(len(r.clients))]
	switch {
	case way < 8:
		var both sync.WaitGroup
		for _, one := range []*client{c, other} {
			both.Go(func() { r.note(o, ctx, one.Do) })
		}
		both.Wait()
	case way < 16:
		if r.note(o, ctx, c.Do) {
			r.note(o, ctx, other.Do)
		}
	case way < 56:
		err := c.Send(ctx, o.order)
		o.mu.Lock()
		o.tries++
		o.accepted = err == nil
		o.mu.Unlock()
		if err == nil {
			receipt, err := c.Wait(ctx, o.order.ID)
			r.see(o, receipt, err)
		} else {
			r.see(o, nil, err)
		}
	default:
		r.note(o, ctx, c.Do)
	}
}

// note sends an order once, and reports whether it was answered.
func (r *run) note(o *operation, ctx context.Context, do func(context.Context, lending.Order) (*library.Receipt, error)) bool {
	o.mu.Lock()
	o.tries++
	o.mu.Unlock()
	receipt, err := do(ctx, o.order)
	return r.see(o, receipt, err)
}

// see writes into the ledger what a client was told, and reports whether that is an
// answer.
func (r *run) see(o *operation, receipt *library.Receipt, err error) bool {
	now := r.since()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil:
		o.answers = append(o.answers, receipt)
		if o.answered == 0 {
			o.answered = now
			r.toll.answers.Add(1)
		}
		return true
	case errors.Is(err, lending.ErrNotSent):
		o.unsent++
	case !errors.Is(err, lending.ErrUnknown):
		r.Errorf("order %s (%s by %s of %q): %v", o.order.ID, o.order.Action, o.order.User, o.order.Books, err)
	}
	return false
}

// lookAgain looks for the receipts of orders whose answer did not come in time.
func (r *run) lookAgain(ctx context.Context, c *client, catalogue *catalogue) {
	var open []*operation
	for _, o := range c.open {
		if o.neverSent() {
			open = append(open, o) // looked up once, in the end
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		receipt, err := c.Receipt(ctx, o.order.ID)
		cancel()
		if err != nil {
			open = append(open, o) // no receipt yet, or no Redis
			continue
		}
		o.lookedUp = true
		r.see(o, receipt, nil)
		c.learn(o, catalogue)
	}
	c.open = open
}

// learn takes an answer to heart.
func (c *client) learn(o *operation, catalogue *catalogue) {
	c.user.mu.Lock()
	defer c.user.mu.Unlock()
	for _, line := range o.answers[0].Books {
		switch line.Result {
		case library.Lent, library.AlreadyYours, library.OnItsWay:
			c.user.holds[line.Book] = true
			catalogue.note(line.Book, true)
		case library.Unavailable:
			catalogue.note(line.Book, true)
		case library.TakenBack:
			catalogue.note(line.Book, false)
			delete(c.user.holds, line.Book)
		case library.NotYours:
			delete(c.user.holds, line.Book)
		}
	}
}

// lookUpOpenOrders has each client ask for the last time what became of the orders
// it has had no answer to. The library is at rest, so who has no receipt now will
// never have one.
func (r *run) lookUpOpenOrders() {
	for _, c := range r.clients {
		for _, o := range c.open {
			ctx, cancel := within(programtest.Patience)
			var receipt *library.Receipt
			var err error
			eventually(programtest.Patience, 10*time.Millisecond, func() bool {
				receipt, err = c.Receipt(ctx, o.order.ID)
				return err == nil || errors.Is(err, lending.ErrNoReceipt)
			})
			cancel()
			switch {
			case err == nil:
				o.lookedUp = true
				r.see(o, receipt, nil)
			case !errors.Is(err, lending.ErrNoReceipt):
				r.Errorf("look up the receipt of order %s: %v", o.order.ID, err)
			}
		}
	}
}
