package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	// deliveriesMax is how often an entry may be given to an instance. One that
	// comes back more often is likely what brings the instances down.
	deliveriesMax = 5
	// looksMax is how often it may fail to be read then. One that came back more often is
	// set aside by its id alone.
	looksMax = 2 * deliveriesMax
	// looksLargeMax is the same where the inbox takes so much memory that it has large entries:
	// a slow server stands still for seconds at each look.
	looksLargeMax = 2
	// faultsMax is how often an entry whose script fails is tried by one instance.
	faultsMax = 5
	// rejectedMax is about how many entries a service keeps set aside.
	rejectedMax = 10_000

	// readBlock is how long one read waits for an entry; it bounds how long a stop takes.
	readBlock = 500 * time.Millisecond
	// sweepPause is the time between two looks for entries without a living owner.
	sweepPause = time.Second
	// boundSweeps is after how many sweeps one bounds the others' locks, see boundLock.
	boundSweeps = 60
	// strayIdleMin is how long an entry may be pending for this instance without being
	// in hand before it counts as lost sight of.
	strayIdleMin = time.Second
	// stopGrace is how long after a stop a batch in hand may be finished, where Redis is
	// away or the way to the shelves is long.
	stopGrace = 3 * time.Second
	// readPatience is how long the answer to a read may take beyond readBlock.
	readPatience = 2 * time.Second
	// giveBackPatience is how long a stop tries to give back what was not finished.
	giveBackPatience = 500 * time.Millisecond
)

// An Inbox is a stream, and the service that reads it.
type Inbox struct {
	// Service is the service's name, and its group's.
	Service string
	// Stream is the inbox's key.
	Stream string
	// Batch is how many entries are read at most in one go.
	Batch int64
	// Batches is how many batches may be in hand at once. With 1 nothing is read
	// ahead; with more the next batch is read while the last is decided.
	Batches int
	// Pace tells how long an instance takes over an entry before it is applied; nil
	// for no time.
	Pace func(entry Entry) time.Duration
	// MemoryMax is how much of the server's memory may be used, in percent, before entries
	// that nobody has read are given up, see shed.lua. Waits says that until there is room
	// nothing is read. Default: 0, never; right for an inbox that only services append to.
	MemoryMax int64
	Waits     bool
	// UnreadMax is how many unread entries no client adds to, see MemoryMax.
	UnreadMax int64
	// Prepare makes what the service needs, where it is missing. It is called again
	// after the library's data vanished.
	Prepare func(ctx context.Context) error
	// Handle applies a batch, and returns the entries that must be set aside. After
	// an error it is called again with the same entries or a part of them, so
	// applying an entry twice must be harmless.
	Handle func(ctx context.Context, batch []Entry) ([]Rejection, error)
	// Reject describes an entry that is set aside for a reason Handle did not give.
	Reject func(entry Entry, reason string) Rejection
	// Patient says that no entry is given up that was understood, for nobody would send
	// it again, and a book is on its way by it. One that came back too often, or cannot
	// be applied, stays pending and is tried again at a slow pace, for ever. An entry of
	// any other inbox is set aside then. Default: false.
	Patient bool
}

// Config is what all inboxes of an instance share.
type Config struct {
	Redis    redis.UniversalClient
	Keys     library.Keys
	Instance *Instance
	Outage   *redisconn.Outage
	Log      *log.Logger
	// Alone has room for one, which tries an entry that was in hand before when an
	// instance ended. All inboxes of an instance share it. So only one such entry is in
	// hand at a time, and if it ends this instance too, it is the only one that counts
	// as delivered once more. Default: each inbox has its own.
	Alone chan struct{}
	// Observer is told what is done. Default: nobody is.
	Observer Observer
}

// Why an entry is set aside that the service was not shown.
const isTrimmed = "it was trimmed away before it was handled"

var tooOften = fmt.Sprintf("it was delivered more than %d times and never finished", deliveriesMax)

func tooLarge(err *redisconn.LargeReplyError) string {
	return fmt.Sprintf("it is too large to be read, and so for an order: at most %d MiB are", err.Max>>20)
}

// errDropped says that a batch was let go; its entries are still pending.
var errDropped = errors.New("dropped, still pending")

// A consumer reads one inbox on behalf of an instance.
type consumer struct {
	Config
	Inbox
	slots chan struct{}   // one for each batch in hand
	turn  chan struct{}   // held by whoever reads
	grace context.Context // ends stopGrace after Run was told to stop
	room  room
	page  page

	sweeping *stretch
	sweeps   int // how many there were

	mu      sync.Mutex
	inHand  map[string]*stretch // of each entry in hand, by its id
	reading time.Time           // when the read under way began; zero for none
}

// Run reads the inbox until ctx is done, finishes the batches in hand, and
// returns nil. It returns early with an error that wraps ErrTaken, or
// with one of Redis that will not pass by itself.
func Run(ctx context.Context, config Config, inbox Inbox) error {
	group, ctx := errgroup.WithContext(ctx)
	c := newConsumer(config, inbox)
	var over context.CancelFunc
	c.grace, over = context.WithCancel(context.WithoutCancel(ctx))
	defer over()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, over) })()
	for range inbox.Batches {
		group.Go(func() error { return c.work(ctx) })
	}
	group.Go(func() error { return c.sweepAgain(ctx) })
	return group.Wait()
}

func newConsumer(config Config, inbox Inbox) *consumer {
	if config.Alone == nil {
		config.Alone = make(chan struct{}, 1)
	}
	return &consumer{
		Config: config, Inbox: inbox,
		slots: make(chan struct{}, inbox.Batches), turn: make(chan struct{}, 1), grace: context.Background(),
		inHand: map[string]*stretch{},
	}
}

// work reads batches and handles them until ctx is done. Several take turns: who has
// read a batch handles it at once, and leaves the next to another. So an entry goes
// from Redis to its script without changing hands, which would take as long as a
// short script.
func (c *consumer) work(ctx context.Context) error {
	for ctx.Err() == nil {
		batch, err := c.next(ctx)
		if len(batch) > 0 {
			err = c.handle(ctx, batch)
			c.release(batch)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// next waits for its turn, and reads until entries come or ctx is done. The entries take
// a slot.
func (c *consumer) next(ctx context.Context) (batch []Entry, err error) {
	select {
	case <-ctx.Done():
		return nil, nil
	case c.turn <- struct{}{}:
	}
	defer func() { <-c.turn }()
	for len(batch) == 0 && err == nil && c.Instance.await(ctx) {
		select {
		case <-ctx.Done():
			return nil, nil
		case c.slots <- struct{}{}:
		}
		reading := c.Instance.begin(c.Stream + " read")
		err = c.succeed(ctx, "read", func() (err error) {
			batch, err = c.read(ctx)
			return err
		})
		reading.ends()
		if len(batch) == 0 {
			<-c.slots
		}
	}
	return batch, err
}

// sweepAgain sweeps again and again until ctx is done.
func (c *consumer) sweepAgain(ctx context.Context) error {
	c.sweeping = c.Instance.begin(c.Stream + " sweep")
	defer c.sweeping.ends()
	for c.Instance.await(ctx) {
		c.sweeping.moves(0)
		if err := c.succeed(ctx, "sweep", func() error { return c.sweep(ctx) }); err != nil {
			return err
		}
		c.sweeping.rests()
		select {
		case <-ctx.Done():
		case <-time.After(sweepPause):
		}
	}
	return nil
}

// succeed takes a step until it succeeds, whatever Redis says meanwhile, or ctx is done.
// It returns only an error that must end the instance.
func (c *consumer) succeed(ctx context.Context, part string, step func() error) error {
	err := c.Outage.Retry(ctx, c.Stream+" "+part, func(err error) bool { return !isFatal(err) }, func() error {
		err := step()
		switch redisconn.KindOf(err) {
		case redisconn.NoGroup:
			return c.restore(ctx)
		case redisconn.Fenced:
			if err = c.Instance.Keep(ctx); errors.Is(err, errAway) {
				return nil
			}
		}
		return err
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// isFatal reports whether an error must end the instance.
func isFatal(err error) bool {
	return errors.Is(err, ErrTaken) || redisconn.KindOf(err) == redisconn.Refused
}

// fatal is an error that must end the instance; any other is dropped.
func fatal(err error) error {
	if isFatal(err) {
		return err
	}
	return nil
}

// restore makes the inbox anew after it vanished under a running service.
func (c *consumer) restore(ctx context.Context) error {
	made, err := Ensure(ctx, c.Redis, c.Stream, c.Service)
	if err != nil {
		return err
	}
	if made {
		c.Log.Error("the library's data is gone: its stream or group had vanished and was made anew, empty; service goes on",
			"stream", c.Stream, "group", c.Service)
	}
	return c.Prepare(ctx)
}

// read takes one batch of new entries in hand, if any come.
func (c *consumer) read(ctx context.Context) ([]Entry, error) {
	c.measure(ctx)
	if !c.page.large { // else what is set aside makes room
		if may, err := c.makeRoom(ctx); err != nil || !may {
			return nil, err
		}
	}
	token := c.Instance.Token()
	c.noteReading(time.Now())
	defer c.noteReading(time.Time{})
	// A stop must not cut this call short: its entries are ours once Redis has
	// given them out.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBlock+readPatience)
	defer cancel()
	streams, err := c.Redis.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: c.Service, Consumer: c.Instance.Name(), Streams: []string{c.Stream, ">"}, Count: c.page.count, Block: readBlock,
	}).Result()
	if err != nil || len(streams) == 0 {
		var large *redisconn.LargeReplyError
		switch {
		case errors.Is(err, redis.Nil):
			err = nil
		case errors.As(err, &large):
			err = c.readLarge(large, token)
		}
		return nil, err
	}
	batch := make([]Entry, len(streams[0].Messages))
	for i, message := range streams[0].Messages {
		batch[i] = newEntry(message, token)
	}
	c.page.left -= int64(len(batch))
	c.take(batch)
	return batch, nil
}

// noteReading notes since when a read is under way. What it may be given is pending for
// this instance, though not in hand yet.
func (c *consumer) noteReading(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = since
}

// take notes that entries are in hand; a slot is taken for them already.
func (c *consumer) take(batch []Entry) {
	if len(batch) == 0 {
		return
	}
	inHand := c.Instance.begin(c.Stream + " in hand")
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, entry := range batch {
		c.inHand[entry.ID] = inHand
	}
}

// moves notes that a batch in hand, or a part of it, moves on, and does something now
// that by its nature takes so long.
func (c *consumer) moves(batch []Entry, takes time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if inHand := c.inHand[batch[0].ID]; inHand != nil {
		inHand.moves(takes)
	}
}

// release notes that entries are no longer in hand, and frees their slot.
func (c *consumer) release(batch []Entry) {
	c.forget(batch)
	<-c.slots
}

// forget notes that entries are no longer in hand.
func (c *consumer) forget(batch []Entry) {
	if len(batch) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inHand[batch[0].ID].ends()
	for _, entry := range batch {
		delete(c.inHand, entry.ID)
	}
}

// handle applies a batch or sets its entries aside. It returns only an error that
// must end the instance; what it could not finish is still pending.
func (c *consumer) handle(ctx context.Context, batch []Entry) error {
	arrived, err := true, error(nil)
	if c.Pace != nil {
		arrived, err = c.walk(ctx, batch)
	}
	if arrived {
		err = c.apply(ctx, batch)
	}
	if err != nil && ctx.Err() != nil {
		c.giveBack(batch)
	}
	return fatal(err)
}

// walk lets the time pass that the instance takes over a batch. It reports false where a
// stop did not leave enough of it; the entries are better left to another instance then.
// While the time passes they do not count as delivered this time: if the instance ends
// meanwhile, it was not they that ended it.
func (c *consumer) walk(ctx context.Context, batch []Entry) (arrived bool, err error) {
	var wait time.Duration
	for _, entry := range batch {
		wait += c.Pace(entry)
	}
	if wait == 0 {
		return true, nil
	}
	if _, err := c.count(batch, -1); err != nil {
		return false, err
	}
	if batch[0].suspect() {
		<-c.Alone
		defer func() { c.Alone <- struct{}{} }()
	}
	c.moves(batch, wait)
	end := time.Now().Add(wait)
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		if time.Until(end) > stopGrace {
			return false, nil
		}
		time.Sleep(time.Until(end))
	}
	_, err = c.count(batch, 0)
	return err == nil, err
}

// apply has the service apply a batch. Its error is errDropped, or must end the instance.
func (c *consumer) apply(ctx context.Context, batch []Entry) error {
	c.moves(batch, 0)
	waits := redisconn.NewBackoff()
	for fault := 1; ; fault++ {
		var rejections []Rejection
		err := c.insist(func(ctx context.Context) (err error) {
			rejections, err = c.Handle(ctx, batch)
			return err
		})
		switch {
		case err == nil:
			c.Observer.applied(c.Stream, len(batch)-len(rejections))
			for _, rejection := range rejections {
				if err := c.reject(rejection); err != nil {
					return err
				}
			}
			return nil
		case errors.Is(err, errDropped), isFatal(err):
			return err
		case len(batch) > 1:
			// One entry may spoil the batch; the others must not wait for it.
			half := len(batch) / 2
			return errors.Join(c.apply(ctx, batch[:half]), c.apply(ctx, batch[half:]))
		case fault == faultsMax && !c.Patient:
			return c.reject(c.Reject(batch[0], "it cannot be applied: "+err.Error()))
		}
		c.Log.Error("an entry cannot be applied; trying again", "stream", c.Stream, "entry", batch[0].ID, "error", library.Plain(err.Error()))
		if fault == faultsMax {
			return errDropped
		}
		select {
		case <-ctx.Done():
			return errDropped
		case <-time.After(waits.NextBackOff()):
		}
	}
}

// insist takes a step until Redis has answered it. A step may take effect without
// an answer, so it must be harmless to repeat. The error is errDropped where the
// entries are better left to a sweep.
func (c *consumer) insist(step func(context.Context) error) error {
	err := c.Outage.Retry(c.grace, c.Stream+" apply", redisconn.Passes, func() error { return step(c.grace) })
	switch kind := redisconn.KindOf(err); {
	case err == nil:
		return nil
	case c.grace.Err() != nil, kind == redisconn.NoGroup: // the reading restores the group
		return errDropped
	case kind == redisconn.Fenced:
		// Whatever becomes of the name, others may have taken over these entries
		// long ago. They are looked up anew.
		if err := c.Instance.Keep(c.grace); errors.Is(err, ErrTaken) {
			return err
		}
		return errDropped
	}
	return err
}

// reject sets an entry aside. Its error is errDropped, or must end the instance.
func (c *consumer) reject(rejection Rejection) error {
	keys := append([]string{c.Instance.Key(), c.Stream, c.Keys.Terms(), c.Keys.Rejected(c.Service), c.Keys.Events()}, rejection.Pages...)
	reason := shortened(rejection.Reason)
	args := append([]any{
		rejection.Entry.Token, c.Instance.Name(), c.Service, rejectedMax, rejection.Entry.ID, reason,
		rejection.Request, rejection.Receipt, rejection.Bell,
	}, rejection.Entry.kept()...)
	var answer string
	err := c.insist(func(ctx context.Context) (err error) {
		answer, err = scripts.Reject.Run(ctx, redisconn.Regardless(c.Redis), keys, args...).Text()
		return err
	})
	switch {
	case err == nil && answer == "rejected":
		c.Observer.rejected(c.Stream, 1)
		c.Log.Warn("rejected", "stream", c.Stream, "entry", rejection.Entry.ID, "reason", reason)
	case err == nil:
	case errors.Is(err, errDropped), isFatal(err):
		return err
	default:
		c.Log.Error("an entry cannot be set aside and stays pending", "stream", c.Stream, "entry", rejection.Entry.ID, "error", library.Plain(err.Error()))
	}
	return nil
}
