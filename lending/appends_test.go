package lending

import (
	"context"
	"errors"
	"fmt"
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
