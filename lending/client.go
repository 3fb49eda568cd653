package lending

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

// A Client asks the lending service for books, and looks up what it answered. It
// may be used by many goroutines at once.
//
// It sends an order by appending it to the service's inbox, and learns the answer
// from a receipt. A ring on the client's own Pub/Sub channel tells it at once; but
// a bell may fail to ring, so it also looks the receipt up from time to time. If
// neither the entry nor a receipt is there any more (the server lost its last
// writes, say), it sends the order again: the same id takes effect once, for as long
// as receipts are kept. Later than that it sends nothing again, see ErrForgotten.
type Client struct {
	// Replicas is how many replicas of the library's master must have a receipt before
	// it is believed; set it before the first use. An order whose receipt was believed
	// outlives a failover to any of them. One whose receipt a failover undid is sent
	// again, as one that was lost in any other way. Default: 0, the master's word is
	// enough.
	Replicas int

	rdb  redis.UniversalClient
	keys keys
	bell string // this client's word in its channel's name

	appends appends
	clocks  func() clocks

	mu      sync.Mutex
	bells   *redis.PubSub            // nil until the first wait
	waiting map[string][]chan string // request id → those to tell of a ring
	looked  map[string]lookedAt      // inbox → how long it was
}

// UnreadMax is how many orders may wait in an inbox before a client sends none more.
const UnreadMax = 100_000

// busyPause is the time between two looks at how many orders wait.
const busyPause = 100 * time.Millisecond

// A lookedAt is how long an inbox was at some time.
type lookedAt struct {
	at     time.Time
	length int64
}

// NewClient makes a client of the library with that name. The Redis client should
// come from redisconn.Connect: one that repeats commands by itself would append
// orders twice, harmlessly but in vain. Close the Client when done; the Redis
// client stays open. Its error wraps library.ErrName.
func NewClient(rdb redis.UniversalClient, name string) (*Client, error) {
	if err := library.CheckTag("library", name); err != nil {
		return nil, err
	}
	return &Client{
		rdb: rdb, keys: keys{library.Keys{Library: name}}, bell: rand.Text(),
		appends: appends{rdb: rdb}, clocks: readClocks, waiting: map[string][]chan string{}, looked: map[string]lookedAt{},
	}, nil
}

// Close ends the client's subscription.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bells == nil {
		return nil
	}
	return c.bells.Close()
}

// Request asks for books and waits until the service has decided. What was lent
// from the shelves may still be on its way then, see Arrivals. Its error wraps
// ErrOrder, ErrNotSent or ErrUnknown, or is Redis's; a denial is no error.
func (c *Client) Request(ctx context.Context, user string, books ...string) (*library.Receipt, error) {
	order, err := NewOrder(library.Request, user, books...)
	if err != nil {
		return nil, err
	}
	return c.Do(ctx, order)
}

// Return brings books back and waits until the service has taken them. Its error
// wraps ErrOrder, ErrNotSent or ErrUnknown, or is Redis's; a refusal is no error.
func (c *Client) Return(ctx context.Context, user string, books ...string) (*library.Receipt, error) {
	order, err := NewOrder(library.Return, user, books...)
	if err != nil {
		return nil, err
	}
	return c.Do(ctx, order)
}

// Do sends an order and waits for its receipt. An order that was sent before, with
// the same id, gets the receipt it got then. Its error wraps ErrOrder, ErrNotSent,
// ErrUnknown or ErrOtherOrder, or is Redis's.
func (c *Client) Do(ctx context.Context, order Order) (*library.Receipt, error) {
	rings, stop := c.listen(ctx, order.ID)
	defer stop()
	sent := c.newSending(order, c.bell)
	if err := c.send(ctx, sent); err != nil {
		return nil, err
	}
	look := func(ctx context.Context, id string) (*library.Receipt, error) {
		receipt, err := c.decided(ctx, id)
		if err != nil || receipt.Outcome != library.Rejected {
			return receipt, err
		}
		// Rubbish with the same id may have been rejected. An entry that was rejected is
		// deleted, so as long as the order's own is there the order will be decided.
		entries, err := c.rdb.XRange(ctx, c.inbox(order.Action), sent.entry, sent.entry).Result()
		if err == nil && len(entries) > 0 {
			err = fmt.Errorf("%w: %s", ErrNoReceipt, id)
		}
		if err != nil {
			return nil, err
		}
		return c.decided(ctx, id) // it may have been decided between the two looks
	}
	receipt, err := c.await(ctx, order.ID, rings, look, func() error {
		// Nothing is left of the order, and it has no receipt: the server lost it.
		lost, err := c.lost(ctx, sent)
		if err == nil && lost {
			err = c.send(ctx, sent)
		}
		return err
	})
	if err == nil && receipt.Outcome != library.Rejected && !order.answeredBy(receipt) {
		return nil, fmt.Errorf("%w: a %s by %s of %s", ErrOtherOrder, receipt.Action, receipt.User, receipt.Summary())
	}
	return receipt, err
}

// Send appends an order and returns without waiting for the answer. Its error
// wraps ErrOrder, ErrNotSent or ErrUnknown, or is Redis's.
func (c *Client) Send(ctx context.Context, order Order) error {
	return c.send(ctx, c.newSending(order, ""))
}

func (c *Client) inbox(action library.Action) string {
	if action == library.Return {
		return c.keys.Returns()
	}
	return c.keys.Requests()
}

// A sending is an order on its way into its inbox, once or several times.
type sending struct {
	Order
	bell  string
	began clocks // before it was first sent
	mayBe bool   // in the inbox: an append was confirmed, or had no reply
	entry string // the id of the last entry that was confirmed
	// oldest is the time in the first such id, by Redis's clock; zero without any.
	oldest time.Time
	late   time.Duration // how much later than that Redis's clock was when it was last asked
}

func (c *Client) newSending(order Order, bell string) *sending {
	return &sending{Order: order, bell: bell, began: c.clocks()}
}

// isLate reports whether the order's receipt may have come and gone since it was first
// sent, by the clock that says so first.
func (c *Client) isLate(sent *sending) bool {
	return max(sent.late, c.clocks().since(sent.began)) >= library.ReceiptKeepMin
}

// send appends an order until Redis has confirmed it.
func (c *Client) send(ctx context.Context, sent *sending) error {
	if err := sent.check(); err != nil {
		return err
	}
	err := ctx.Err()
	if err == nil {
		// The service makes its group at 0, whenever it comes, so that it will be given
		// what was appended before. So a client need not be allowed to make groups.
		err = redisconn.Retry(ctx, redisconn.Passes, func() (err error) {
			if !sent.mayBe {
				err = c.checkBusy(ctx, sent.Action)
			} else if c.isLate(sent) {
				err = ErrForgotten
			}
			if err != nil {
				return err
			}
			entry, err := c.appends.add(ctx, c.inbox(sent.Action), sent.values(sent.bell))
			var reply redis.Error
			sent.mayBe = sent.mayBe || err == nil || !errors.As(err, &reply) && !isUnsent(err)
			if err == nil {
				sent.entry = entry
			}
			return err
		})
	}
	switch {
	case err == nil:
		if sent.oldest.IsZero() {
			sent.oldest = library.EntryTime(sent.entry)
		}
		return nil
	case ctx.Err() == nil && !errors.Is(err, ErrForgotten):
		return fmt.Errorf("send the %s: %w", sent.Action, err)
	case sent.mayBe:
		return fmt.Errorf("%w: %s %s: %w", ErrUnknown, sent.Action, sent.ID, err)
	}
	return fmt.Errorf("%w: %s %s: %w", ErrNotSent, sent.Action, sent.ID, err)
}

// checkBusy returns an error that wraps ErrBusy if too many orders wait. It looks now and
// then only: what its own and other clients append meanwhile comes on top of UnreadMax.
func (c *Client) checkBusy(ctx context.Context, action library.Action) error {
	inbox := c.inbox(action)
	c.mu.Lock()
	looked := c.looked[inbox]
	c.mu.Unlock()
	if time.Since(looked.at) >= busyPause {
		length, err := c.rdb.XLen(ctx, inbox).Result()
		if err != nil {
			if redisconn.KindOf(err) == redisconn.Refused {
				return nil // a user with rules of before; the server bounds what it sends
			}
			return err
		}
		looked = lookedAt{time.Now(), length}
		c.mu.Lock()
		c.looked[inbox] = looked
		c.mu.Unlock()
	}
	if looked.length >= UnreadMax {
		return fmt.Errorf("%w: %d %ss wait to be decided; nothing was sent, try again later", ErrBusy, looked.length, action)
	}
	return nil
}

// Wait waits for the receipt of an order that was sent before. Its error wraps
// ErrUnknown or library.ErrName, or is Redis's.
func (c *Client) Wait(ctx context.Context, id string) (*library.Receipt, error) {
	if err := library.CheckID("id", id); err != nil {
		return nil, err
	}
	rings, stop := c.listen(ctx, id)
	defer stop()
	return c.await(ctx, id, rings, c.decided, func() error { return nil })
}

// await waits for a receipt: for a ring, and by looking at growing intervals. Each
// time it looks in vain it calls missed.
func (c *Client) await(ctx context.Context, id string, rings <-chan string, look func(context.Context, string) (*library.Receipt, error), missed func() error) (*library.Receipt, error) {
	looks := newLooks()
	var unconfirmed error
	for {
		select {
		case <-ctx.Done():
			if unconfirmed != nil {
				return nil, unconfirmed
			}
			return nil, fmt.Errorf("%w: %s: %w", ErrUnknown, id, ctx.Err())
		case text := <-rings:
			receipt, err := library.ParseReceipt(text)
			if err != nil || receipt.Outcome == "" {
				continue
			}
			if c.Replicas == 0 && receipt.Outcome != library.Rejected {
				return receipt, nil
			}
			// Only the master is known to have it, or it may be for rubbish with the same
			// id, so it is looked up.
		case <-time.After(looks.NextBackOff()):
		}
		receipt, err := look(ctx, id)
		if err == nil {
			return receipt, nil
		}
		if errors.Is(err, redisconn.ErrUnconfirmed) {
			unconfirmed = err
			continue
		}
		if errors.Is(err, ErrNoReceipt) {
			unconfirmed = nil
			err = missed()
		}
		if errors.Is(err, ErrForgotten) {
			return nil, err
		}
		if err != nil && redisconn.KindOf(err) != redisconn.Passing && ctx.Err() == nil && !errors.Is(err, ErrUnknown) {
			return nil, err
		}
	}
}

// lost reports whether neither an order's entry nor its receipt is there.
func (c *Client) lost(ctx context.Context, sent *sending) (bool, error) {
	var entries *redis.XMessageSliceCmd
	var answered func() bool
	var now *redis.TimeCmd
	err := redisconn.Together(ctx, c.rdb, func(pipe redis.Pipeliner) {
		entries = pipe.XRange(ctx, c.inbox(sent.Action), sent.entry, sent.entry)
		answered = c.answered(ctx, pipe, sent.ID)
		now = pipe.Time(ctx)
	})
	if err != nil {
		return false, err
	}
	sent.late = now.Val().Sub(sent.oldest)
	return len(entries.Val()) == 0 && !answered(), nil
}

// answered asks in a pipeline whether a receipt stands on either page.
func (c *Client) answered(ctx context.Context, pipe redis.Pipeliner, id string) func() bool {
	this, older := pipe.HExists(ctx, c.keys.receipts(), id), pipe.HExists(ctx, c.keys.olderReceipts(), id)
	return func() bool { return this.Val() || older.Val() }
}

// decided looks a receipt up as it was given. Its error wraps ErrNoReceipt, or
// ErrUnknown where too few replicas have it, or is Redis's.
func (c *Client) decided(ctx context.Context, id string) (receipt *library.Receipt, err error) {
	err = c.believe(ctx, id, func(ctx context.Context, rdb redis.Cmdable) (err error) {
		receipt, err = c.read(ctx, rdb, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return receipt, nil
}

func (c *Client) read(ctx context.Context, rdb redis.Cmdable, id string) (*library.Receipt, error) {
	// This page first: a receipt moves from it to the older one, never back.
	var text, older *redis.StringCmd
	_, _ = rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		text = pipe.HGet(ctx, c.keys.receipts(), id)
		older = pipe.HGet(ctx, c.keys.olderReceipts(), id)
		return nil
	})
	if errors.Is(text.Err(), redis.Nil) {
		text = older
	}
	switch err := text.Err(); {
	case errors.Is(err, redis.Nil):
		return nil, fmt.Errorf("%w: %s", ErrNoReceipt, id)
	case err != nil:
		return nil, fmt.Errorf("look up receipt %s: %w", id, err)
	}
	return library.ParseReceipt(text.Val())
}

// believe looks at the library and, if replicas are asked for, returns only when
// enough of them have what there was to see.
func (c *Client) believe(ctx context.Context, id string, look func(context.Context, redis.Cmdable) error) error {
	if c.Replicas == 0 {
		return look(ctx, c.rdb)
	}
	err := redisconn.Replicated(ctx, c.rdb, c.keys.Keys, c.Replicas, func(ctx context.Context, conn *redis.Conn) error {
		if err := look(ctx, conn); err != nil {
			return err
		}
		word, err := scripts.Prolong.Run(ctx, conn, []string{c.keys.receipts(), c.keys.olderReceipts()}, 1).Text()
		if err == nil && word != "prolonged" {
			err = fmt.Errorf("%w: what was found is gone", redisconn.ErrUnconfirmed)
		}
		return err
	})
	if errors.Is(err, redisconn.ErrUnconfirmed) {
		return fmt.Errorf("%w: %s: %w", ErrUnknown, id, err)
	}
	return err
}

// Receipt looks a receipt up, and which of its books are still on their way. Its
// error wraps ErrNoReceipt, or ErrUnknown where too few replicas have it, or is
// Redis's.
func (c *Client) Receipt(ctx context.Context, id string) (receipt *library.Receipt, err error) {
	if err := library.CheckID("id", id); err != nil {
		return nil, err
	}
	err = c.believe(ctx, id, func(ctx context.Context, rdb redis.Cmdable) (err error) {
		if receipt, err = c.read(ctx, rdb, id); err == nil {
			_, err = c.locate(ctx, rdb, receipt)
		}
		return err
	})
	return receipt, err
}

// locate marks the books of a receipt that are still on their way, and counts them.
func (c *Client) locate(ctx context.Context, rdb redis.Cmdable, receipt *library.Receipt) (onTheirWay int, err error) {
	var fetched []string
	for _, line := range receipt.Books {
		if line.From == library.FromShelves {
			fetched = append(fetched, line.Book)
		}
	}
	if len(fetched) == 0 {
		return 0, nil
	}
	var fetching *redis.SliceCmd
	var answered func() bool
	err = redisconn.Together(ctx, rdb, func(pipe redis.Pipeliner) {
		fetching = pipe.HMGet(ctx, c.keys.fetching(), fetched...)
		answered = c.answered(ctx, pipe, receipt.ID)
	})
	if err != nil {
		return 0, fmt.Errorf("look up what is being fetched: %w", err)
	}
	if !answered() {
		// What is not being fetched has arrived, unless the library forgot all of it.
		return 0, fmt.Errorf("%w any more: %s", ErrNoReceipt, receipt.ID)
	}
	orders := fetching.Val()
	for i := range receipt.Books {
		line := &receipt.Books[i]
		if line.From != library.FromShelves {
			continue
		}
		order, _ := orders[0].(string)
		orders = orders[1:]
		request, _, _ := strings.Cut(order, " ")
		line.OnItsWay = request == receipt.ID
		if line.OnItsWay {
			onTheirWay++
		}
	}
	return onTheirWay, nil
}

// Arrivals waits until every book of a receipt is in the user's hands, and calls
// arrived with each that came meanwhile; it also marks them in the receipt. Its
// error wraps ErrUnknown, ErrNoReceipt where the library lost its data meanwhile,
// or is Redis's.
func (c *Client) Arrivals(ctx context.Context, receipt *library.Receipt, arrived func(library.Line)) error {
	rings, stop := c.listen(ctx, receipt.ID)
	defer stop()
	for i := range receipt.Books {
		receipt.Books[i].OnItsWay = receipt.Books[i].From == library.FromShelves
	}
	for looks := newLooks(); ; {
		before := onTheirWay(receipt)
		left, err := c.locate(ctx, c.rdb, receipt)
		if err == nil && c.Replicas > 0 && !maps.Equal(before, onTheirWay(receipt)) {
			err = c.believe(ctx, receipt.ID, func(ctx context.Context, rdb redis.Cmdable) (err error) {
				left, err = c.locate(ctx, rdb, receipt)
				return err
			})
		}
		if err != nil && redisconn.KindOf(err) != redisconn.Passing && ctx.Err() == nil {
			return err
		}
		for i, line := range receipt.Books {
			if err != nil {
				receipt.Books[i].OnItsWay = before[i]
			} else if before[i] && !line.OnItsWay {
				arrived(line)
			}
		}
		if err == nil && left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w", ErrUnknown, receipt.ID, ctx.Err())
		case <-rings:
		case <-time.After(looks.NextBackOff()):
		}
	}
}

func onTheirWay(receipt *library.Receipt) map[int]bool {
	lines := map[int]bool{}
	for i, line := range receipt.Books {
		lines[i] = line.OnItsWay
	}
	return lines
}

// listen asks to be told what is rung for a request. It subscribes at the first
// call and waits for the confirmation, so that nothing sent later is missed.
// Where that fails, looking receipts up has to do. stop ends it.
func (c *Client) listen(ctx context.Context, id string) (rings <-chan string, stop func()) {
	ring := make(chan string, 8)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[id] = append(c.waiting[id], ring)
	if c.bells == nil {
		c.bells = c.rdb.Subscribe(ctx, c.keys.bells()+c.bell)
		confirm, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _ = c.bells.Receive(confirm)
		go c.ring(c.bells.Channel(redis.WithChannelSize(1024)))
	}
	return ring, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		left := c.waiting[id][:0]
		for _, other := range c.waiting[id] {
			if other != ring {
				left = append(left, other)
			}
		}
		if c.waiting[id] = left; len(left) == 0 {
			delete(c.waiting, id)
		}
	}
}

// ring hands what the channel says to those who wait for it.
func (c *Client) ring(messages <-chan *redis.Message) {
	for message := range messages {
		// What the scripts ring begins with the id, in which nothing is escaped.
		id, _, _ := strings.Cut(strings.TrimPrefix(message.Payload, `{"id":"`), `"`)
		c.mu.Lock()
		for _, waiting := range c.waiting[id] {
			select {
			case waiting <- message.Payload:
			default: // it has plenty to look at already
			}
		}
		c.mu.Unlock()
	}
}

// newLooks are the intervals at which a waiting client looks a receipt up.
func newLooks() redisconn.Backoff {
	looks := redisconn.NewBackoff()
	looks.InitialInterval = 200 * time.Millisecond
	looks.MaxInterval = 2 * time.Second
	return looks
}

// isUnsent reports whether no connection was made, so that nothing was sent, or the
// server hung up on it for a reason of its own and did nothing. go-redis answers with
// the context's own error only while it waits for a connection; a read that runs out
// of time is a network error.
func isUnsent(err error) bool {
	var failed *net.OpError
	var hangUp *redisconn.HangUpError
	return errors.As(err, &failed) && failed.Op == "dial" || errors.As(err, &hangUp) && hangUp.Said != "" ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
