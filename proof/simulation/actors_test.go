package simulation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"golang.org/x/sync/errgroup"
)

const (
	// lockTTL is short, so that what the dead left is soon taken over.
	lockTTL = 1500 * time.Millisecond
	// restWithin is how long the library may take to come to rest once nothing goes
	// wrong any more. The longest waits are those for an answer that was lost.
	restWithin = 30 * time.Second
	// orderWithin is how long a client waits before its user tries again.
	orderWithin = 10 * time.Second
)

// A story is what happens in a world: who is started, and who asks for what.
type story struct {
	world  *world
	person *actor // somebody at the server itself, whom no fault strikes
	ctx    context.Context
	end    context.CancelFunc

	mu    sync.Mutex
	desks []*desk
}

// tell plays a story in a world of its own and returns what was wrong, and the
// world, at an end, to look back on. arrange may set the faults.
func tell(t *testing.T, seed uint64, plot func(*story), arrange func(*world)) (w *world) {
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed)
		if arrange != nil {
			arrange(w)
		}
		s := &story{world: w}
		s.ctx, s.end = context.WithCancel(context.Background())
		s.person = w.newActor("person")
		s.person.spared = true
		told := make(chan struct{})
		w.running.Go(func() {
			defer w.tell()
			defer close(told)
			plot(s)
		})
		w.serve(func() bool {
			select {
			case <-told:
				return true
			default:
				return false
			}
		})
		w.calm()
		w.rest()
		s.stopAll()
		s.end()
		w.finish()
	})
	return w
}

// calm ends all faults.
func (w *world) calm() {
	w.plotted = len(w.happened)
	w.decide = func(*request) fault { return fault{} }
	for _, r := range w.waiting {
		r.fault, r.due = fault{}, time.Now()
	}
	for _, a := range w.actors {
		a.away = time.Time{}
	}
	w.mu.Lock()
	w.held = nil
	w.mu.Unlock()
}

// rest waits until nothing moves any more.
func (w *world) rest() {
	limit := time.Now().Add(restWithin)
	w.serve(func() bool { return w.unrest() == nil || time.Now().After(limit) })
	if err := w.unrest(); err != nil {
		w.fail(fmt.Errorf("it is not at rest after %s without a fault: %w", restWithin, err))
	}
}

// stopAll stops the instances as a signal would, and looks at what they leave.
func (s *story) stopAll() {
	w := s.world
	stopped := make(chan struct{})
	w.running.Go(func() {
		defer w.tell()
		defer close(stopped)
		s.mu.Lock()
		desks := s.desks
		s.mu.Unlock()
		for _, d := range desks {
			d.stop()
		}
	})
	w.serve(func() bool {
		select {
		case <-stopped:
			return true
		default:
			return false
		}
	})
	if w.failure != nil {
		return
	}
	w.fail(w.unrest()) // which tells of any lock and any name in a group, for nobody serves now
}

// house are the rules of an instance.
type house struct {
	services  []string
	fetchTime time.Duration
	force     bool
}

var both = house{services: []string{library.Lending, library.Shelving}}

// A desk is where an instance runs, and is started again when it dies.
type desk struct {
	story *story
	house house
	done  chan struct{}

	mu      sync.Mutex
	actor   *actor
	stopped bool
}

// start starts an instance; if it dies, another takes its place.
func (s *story) start(name string, house house) *desk {
	d := &desk{story: s, house: house, done: make(chan struct{})}
	s.mu.Lock()
	s.desks = append(s.desks, d)
	s.mu.Unlock()
	s.world.running.Go(func() {
		defer close(d.done)
		d.run(name)
	})
	return d
}

func (d *desk) run(name string) {
	w := d.story.world
	force := d.house.force
	for life := 1; ; life++ {
		a := w.newActor(name)
		d.mu.Lock()
		if d.stopped {
			d.mu.Unlock()
			return
		}
		d.actor = a
		d.mu.Unlock()
		err := a.serve(d.house, force)
		switch {
		case d.story.ctx.Err() != nil:
			return
		case a.isDead():
			// Who comes next has the same name, or another, and may come before the lock
			// of the dead has ended.
			if w.chance(name, "name", life)%2 == 0 {
				name = fmt.Sprintf("%s-%d", strings.Split(name, "-")[0], life+1)
			}
			force = w.chance(name, "force", life)%4 == 0
			pause(d.story.ctx, time.Duration(w.chance(name, "pause", life)%2000)*time.Millisecond)
		case err == nil, a.ctx.Err() != nil:
			return
		case errors.Is(err, worker.ErrHeld), errors.Is(err, worker.ErrTaken):
			// Somebody starts it again until the name is free. A command of its own that came
			// late may have taken the name from it.
			pause(d.story.ctx, 500*time.Millisecond)
		default:
			w.report(fmt.Errorf("instance %s ended: %w", a.name, err))
			return
		}
	}
}

func (w *world) setServing(a *actor, serving bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.serving = serving
}

// stop stops the instance as a signal would, and waits for it.
func (d *desk) stop() {
	d.mu.Lock()
	d.stopped = true
	if d.actor != nil {
		d.actor.cancel()
	}
	d.mu.Unlock()
	<-d.done
}

// serve runs an instance as lendingd does.
func (a *actor) serve(house house, force bool) error {
	logger := log.NewWithOptions(io.Discard, log.Options{Level: math.MaxInt32})
	config := worker.Config{
		Redis: a.rdb, Keys: keys, Log: logger, Outage: redisconn.NewOutage(logger),
	}
	if err := a.insist(func() error { _, err := redisconn.Inspect(a.ctx, a.rdb, keys); return err }); err != nil {
		return err
	}
	token, since := rand.Text(), time.Now()
	err := a.insist(func() (err error) {
		config.Instance, err = worker.Take(a.ctx, a.rdb, worker.LockConfig{
			Keys: keys, Name: a.as, TTL: lockTTL, Services: house.services, Token: token, Since: since, Force: force, Log: logger,
		})
		return err
	})
	if err != nil {
		return err
	}
	a.world.setServing(a, true)
	defer a.world.setServing(a, false)
	defer a.leave(config, house)
	var inboxes []worker.Inbox
	for _, name := range house.services {
		var service interface {
			Prepare(context.Context) error
			Inboxes() []worker.Inbox
		} = shelving.NewService(shelving.Config{Config: config, FetchTime: house.fetchTime})
		if name == library.Lending {
			service = lending.NewService(lending.Config{Config: config, Terms: a.world.model.first})
		}
		if err := a.insist(func() error { return service.Prepare(a.ctx) }); err != nil {
			return err
		}
		inboxes = append(inboxes, service.Inboxes()...)
	}
	group, ctx := errgroup.WithContext(a.ctx)
	group.Go(func() error { return config.Instance.Run(ctx, config.Outage) })
	for _, inbox := range inboxes {
		group.Go(func() error { return worker.Run(ctx, config, inbox) })
	}
	return group.Wait()
}

// insist takes a step until the server has answered it, or the actor is told to stop.
func (a *actor) insist(step func() error) error {
	return redisconn.Retry(a.ctx, redisconn.Passes, step)
}

// leave gives the name up and leaves the groups, as far as the server answers.
func (a *actor) leave(config worker.Config, house house) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if config.Instance.Release(ctx) != nil {
		return
	}
	for _, service := range house.services {
		for _, inbox := range keys.Inboxes(service) {
			_ = worker.Retire(ctx, a.rdb, keys, inbox, service, a.as)
		}
	}
}

// pause lets time pass, or less of it if ctx is done before.
func pause(ctx context.Context, wait time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}

// report hands a failure to the world.
func (w *world) report(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, err)
	w.tell()
}

// A client is a user's program. When it dies, its user starts another.
type client struct {
	story *story
	name  string
	actor *actor
	*lending.Client
	replicas int // how many must have an answer
	tries    int
}

func (s *story) client(name string) *client {
	c := &client{story: s, name: name}
	c.begin()
	return c
}

func (c *client) begin() {
	c.actor = c.story.world.newActor(c.name)
	made, err := lending.NewClient(c.actor.rdb, keys.Library)
	if err != nil {
		panic(err) // the name is a good one
	}
	if c.Client != nil {
		c.Client.Close()
	}
	made.Replicas = c.replicas
	c.Client = made
}

// close ends the client.
func (c *client) close() { c.Client.Close() }

// insist takes a step of a client until it is done. A user tries again when an
// answer is not known, and starts the program again when it has died.
func (c *client) insist(step func(ctx context.Context) error) {
	for c.story.ctx.Err() == nil {
		if c.actor.isDead() {
			pause(c.story.ctx, 50*time.Millisecond)
			c.begin()
		}
		ctx, cancel := context.WithTimeout(c.actor.ctx, orderWithin)
		err := step(ctx)
		cancel()
		switch {
		case err == nil:
			return
		case c.actor.isDead(), errors.Is(err, lending.ErrUnknown), errors.Is(err, lending.ErrNotSent), redisconn.KindOf(err) == redisconn.Passing:
		default:
			c.story.world.report(fmt.Errorf("%s: %w", c.name, err))
			return
		}
		// Whatever an error left behind, the world's clock goes on.
		pause(c.story.ctx, 10*time.Millisecond)
		if c.tries++; c.tries > 100 {
			c.story.world.report(fmt.Errorf("%s tried %d times: %w", c.name, c.tries, err))
			return
		}
	}
}

// do sends an order and waits for the answer, with the same id in every try.
func (c *client) do(order lending.Order) (receipt *library.Receipt) {
	c.story.world.give(order.ID)
	c.insist(func(ctx context.Context) (err error) {
		receipt, err = c.Do(ctx, order)
		return err
	})
	if receipt != nil {
		c.story.world.seen(order, receipt)
	}
	return receipt
}

// give notes an id that a user gave to an order. No order may be sent under another.
func (w *world) give(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.given[id] = true
}

// seen notes what a client was told.
func (w *world) seen(order lending.Order, receipt *library.Receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := *receipt
	told.Books = slices.Clone(receipt.Books)
	w.answers = append(w.answers, seenAnswer{order, &told})
}

// request asks for books, and gives up only at the end of the world.
func (c *client) request(id string, books ...string) *library.Receipt {
	return c.do(lending.Order{ID: id, Action: library.Request, User: c.name, Books: books})
}

func (c *client) giveBack(id string, books ...string) *library.Receipt {
	return c.do(lending.Order{ID: id, Action: library.Return, User: c.name, Books: books})
}

// agree sets terms of the library.
func (c *client) agree(terms library.Terms, named ...string) {
	c.insist(func(ctx context.Context) error {
		_, _, err := lending.SetTerms(ctx, c.actor.rdb, keys, c.name, terms, named...)
		return err
	})
}

// arrivals waits until the books of a receipt are in the user's hands.
func (c *client) arrivals(receipt *library.Receipt) {
	if receipt != nil {
		c.insist(func(ctx context.Context) error { return c.Arrivals(ctx, receipt, func(library.Line) {}) })
	}
}
