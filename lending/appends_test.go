package lending

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"example.com/library/library"
	"github.com/redis/go-redis/v9"
)

// waitUntil waits until something holds of what a client's entries wait for.
func waitUntil(t testing.TB, ctx context.Context, client *Client, holds func(waiting int) bool) {
	t.Helper()
	for ctx.Err() == nil {
		client.appends.mu.Lock()
		n := len(client.appends.waiting)
		client.appends.mu.Unlock()
		if holds(n) {
			return
		}
	}
	t.Fatal("the entries do not gather")
}

func TestOrdersThatComeWhileOneIsOnItsWayAreSentTogether(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		begun, goOn := make(chan struct{}), make(chan struct{})
		client.rdb.AddHook(hook(func(cmd redis.Cmder) {
			if cmd.Name() == "xadd" {
				close(begun)
				<-goOn
			}
		}))
		var together []int
		client.rdb.AddHook(pipelineHook(func(cmds []redis.Cmder) { together = append(together, len(cmds)) }))
		const others = 300
		errs := make(chan error)
		send := func(ctx context.Context, i int) {
			errs <- client.Send(ctx, newOrder(t, library.Request, "ann", fmt.Sprint("book ", i)))
		}
		go send(ctx, 0)
		<-begun
		for i := range others {
			go send(ctx, 1+i)
		}
		waitUntil(t, ctx, client, func(waiting int) bool { return waiting == others })

		// Who gives up while its order still waits takes it back, and is told so.
		impatient, giveUp := context.WithCancel(ctx)
		left := make(chan error)
		go func() { left <- client.Send(impatient, newOrder(t, library.Request, "ann", "never")) }()
		waitUntil(t, ctx, client, func(waiting int) bool { return waiting == others+1 })
		giveUp()
		if err := <-left; !errors.Is(err, ErrNotSent) {
			t.Errorf("who gave up in the queue is told %v, want that nothing was sent", err)
		}

		close(goOn)
		for range 1 + others {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if len(together) != 2 || together[0] != appendsMax || together[1] != others-appendsMax {
			t.Errorf("they were sent in gos of %v, want %d and %d", together, appendsMax, others-appendsMax)
		}
		if got, want := rdb.XLen(ctx, names.Requests()).Val(), int64(1+others); got != want {
			t.Errorf("%d orders were sent, want %d", got, want)
		}
	})
}

func TestWhoGivesUpOnAnOrderThatIsOnItsWayDoesNotStopTheOthers(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		first, goOn, sent := make(chan struct{}), make(chan struct{}), make(chan struct{})
		client.rdb.AddHook(hook(func(cmd redis.Cmder) {
			if cmd.Name() == "xadd" {
				close(first)
				<-goOn
			}
		}))
		client.rdb.AddHook(pipelineHook(func([]redis.Cmder) {
			close(sent)
			<-ctx.Done()
		}))
		impatient, giveUp := context.WithCancel(ctx)
		errs := make(chan error, 3)
		go func() { errs <- client.Send(ctx, newOrder(t, library.Request, "ann", "geb")) }()
		<-first
		for _, book := range []string{"dune", "emma"} {
			go func() { errs <- client.Send(impatient, newOrder(t, library.Request, "ann", book)) }()
		}
		waitUntil(t, ctx, client, func(waiting int) bool { return waiting == 2 })
		close(goOn)
		if err := <-errs; err != nil {
			t.Error(err)
		}
		<-sent
		giveUp()
		for range 2 {
			if err := <-errs; !errors.Is(err, ErrUnknown) {
				t.Errorf("who gave up is told %v, want that it is not known", err)
			}
		}
		if got, want := rdb.XLen(ctx, names.Requests()).Val(), int64(3); got != want {
			t.Errorf("%d orders were sent, want %d", got, want)
		}
	})
}

// Whoever sends first has the next one's entry sent too, which is not its own affair.
func TestWhoGivesUpOnceItsOwnEntryIsSentDoesNotStopTheNext(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		impatient, giveUp := context.WithCancel(ctx)
		first, goOn := make(chan struct{}), make(chan struct{})
		sent := 0
		client.rdb.AddHook(hook(func(cmd redis.Cmder) {
			if cmd.Name() != "xadd" {
				return
			}
			if sent++; sent == 1 {
				close(first)
				<-goOn
			} else {
				giveUp()
			}
		}))
		errs := make(chan error)
		go func() { errs <- client.Send(impatient, newOrder(t, library.Request, "ann", "geb")) }()
		<-first
		go func() { errs <- client.Send(ctx, newOrder(t, library.Request, "ann", "dune")) }()
		waitUntil(t, ctx, client, func(waiting int) bool { return waiting == 1 })
		close(goOn)
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if got, want := sent, 2; got != want {
			t.Errorf("%d tries were needed, want %d", got, want)
		}
	})
}

// Others can join the first one's entry just before it is sent: then it is sent in its
// sender's own call, with theirs.
func TestWhoGivesUpInItsOwnCallDoesNotStopThoseWhoJoined(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		impatient, giveUp := context.WithCancel(ctx)
		client.rdb.AddHook(pipelineGate(giveUp))
		var together []*appending
		for _, book := range []string{"dune", "emma"} {
			args := redis.XAddArgs{Stream: names.Requests(), Values: newOrder(t, library.Request, "ann", book).values("")}
			together = append(together, &appending{args: args, done: make(chan struct{})})
		}
		client.appends.waiting, client.appends.sending = slices.Clone(together), true
		if client.appends.send(impatient) {
			t.Error("more waits, though all was sent")
		}
		for _, one := range together {
			if one.err != nil || one.id == "" {
				t.Errorf("an entry that was sent with one whose sender gave up: %q, %v", one.id, one.err)
			}
		}
		if got, want := rdb.XLen(ctx, names.Requests()).Val(), int64(len(together)); got != want {
			t.Errorf("%d orders were sent, want %d", got, want)
		}
	})
}

// A pipelineGate is called before each pipeline.
type pipelineGate func()

func (pipelineGate) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (pipelineGate) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h pipelineGate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h()
		return next(ctx, cmds)
	}
}
