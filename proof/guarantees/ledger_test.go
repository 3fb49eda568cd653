package guarantees_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"example.com/library/lending"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

const (
	users = 16 // who borrow and return, one order at a time
	books = 60 // for which they compete

	impatientUsers = 10
	impatience     = time.Second
)

// A placed order is what its client knows of it.
type placed struct {
	lending.Order
	sent     time.Time
	waited   bool             // somebody waits for the answer
	accepted []time.Time      // when the server said that it has the order
	answered time.Time        // when the answer came; zero until then
	receipt  *library.Receipt // the answer
}

// A ledger is what all clients of a library were told.
type ledger struct {
	stage  *stage
	client *lending.Client

	mu     sync.Mutex
	orders []*placed
	byID   map[string]*placed

	unknown  int       // orders whose impatient users gave up waiting
	askAgain func()    // has them ask again; nil if nobody was impatient
	away     time.Time // until then what died was away; zero if nobody was impatient
}

func open(s *stage) *ledger {
	s.Helper()
	l := &ledger{stage: s, byID: map[string]*placed{}}
	rdb := s.connect()
	rdb.AddHook(l)
	client, err := lending.NewClient(rdb, keys.Library)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { client.Close() })
	client.Replicas = s.way.replicas
	l.client = client
	return l
}

func (l *ledger) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *ledger) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		err := next(ctx, command)
		l.see(command)
		return err
	}
}

func (l *ledger) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		err := next(ctx, commands)
		for _, command := range commands {
			l.see(command)
		}
		return err
	}
}

// see notes when the server has an order: when the client's XADD was answered.
func (l *ledger) see(command redis.Cmder) {
	if command.Name() != "xadd" || command.Err() != nil {
		return
	}
	words := command.Args()
	id, _ := words[slices.Index(words, any("id"))+1].(string)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID[id].accepted = append(l.byID[id].accepted, time.Now())
}

func (l *ledger) note(action library.Action, waited bool, user string, books ...string) *placed {
	order, err := lending.NewOrder(action, user, books...)
	if err != nil {
		l.stage.Error(err)
	}
	p := &placed{Order: order, sent: time.Now(), waited: waited}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orders = append(l.orders, p)
	l.byID[order.ID] = p
	return p
}

// wait sends an order, or sends it again, and waits for the answer.
func (l *ledger) wait(p *placed, howLong time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), howLong)
	defer cancel()
	receipt, err := l.client.Do(ctx, p.Order)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.answered, p.receipt = time.Now(), receipt
	return nil
}

// ask sends an order and waits for the answer, which must come.
func (l *ledger) ask(action library.Action, user string, books ...string) *placed {
	p := l.note(action, true, user, books...)
	if err := l.wait(p, patience); err != nil {
		l.stage.Errorf("%s by %s: %v", action, user, err)
	}
	return p
}

// use has the library used until ctx is done: by users who borrow books and bring them
// back, by keepers who each borrow a book of their own and keep it, and by somebody who
// sends orders and does not wait for answers. It returns when all have theirs.
func (l *ledger) use(ctx context.Context) {
	var everybody sync.WaitGroup
	for i := range users {
		everybody.Go(func() { l.borrow(ctx, fmt.Sprintf("user%d", i)) })
	}
	everybody.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			l.ask(library.Request, keeper(i), kept(i))
			rest(ctx, 20*time.Millisecond)
		}
	})
	everybody.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			p := l.note(library.Request, false, fmt.Sprintf("sender%d", i), fmt.Sprintf("sent%d", i))
			patient, cancel := context.WithTimeout(context.Background(), patience)
			if err := l.client.Send(patient, p.Order); err != nil {
				l.stage.Errorf("send: %v", err)
			}
			cancel()
			rest(ctx, 10*time.Millisecond)
		}
	})
	everybody.Wait()
}

// impatient has some users ask for a book each and give up soon. Those who are told that
// the answer is not known are to ask again later, with the same id.
func (l *ledger) impatient() {
	var unsure []*placed
	var everybody sync.WaitGroup
	for i := range impatientUsers {
		p := l.note(library.Request, true, fmt.Sprintf("impatient%d", i), fmt.Sprintf("urgent%d", i))
		everybody.Go(func() {
			err := l.wait(p, impatience)
			l.mu.Lock()
			defer l.mu.Unlock()
			switch {
			case errors.Is(err, lending.ErrUnknown):
				unsure = append(unsure, p)
			case err != nil:
				l.stage.Errorf("request by %s: %v", p.User, err)
			}
		})
	}
	everybody.Wait()
	l.unknown = len(unsure)
	l.askAgain = func() {
		for _, p := range unsure {
			everybody.Go(func() {
				if err := l.wait(p, patience); err != nil {
					l.stage.Errorf("request by %s, asked for again: %v", p.User, err)
				}
			})
		}
		everybody.Wait()
	}
}

func keeper(i int) string { return fmt.Sprintf("keeper%d", i) }
func kept(i int) string   { return fmt.Sprintf("kept%d", i) }

func (l *ledger) borrow(ctx context.Context, user string) {
	for ctx.Err() == nil {
		p := l.ask(library.Request, user, fmt.Sprintf("book%d", rand.IntN(books)), fmt.Sprintf("book%d", rand.IntN(books)))
		var lent []string
		if p.receipt != nil && p.receipt.Outcome != library.Denied {
			patient, cancel := context.WithTimeout(context.Background(), patience)
			err := l.client.Arrivals(patient, p.receipt, func(library.Line) {})
			cancel()
			if err != nil && !errors.Is(err, lending.ErrNoReceipt) { // then the death undid the loan
				l.stage.Errorf("arrivals for %s: %v", user, err)
			}
			for _, line := range p.receipt.Books {
				if line.Result == library.Lent {
					lent = append(lent, line.Book)
				}
			}
		}
		rest(ctx, time.Duration(rand.Int64N(int64(40*time.Millisecond))))
		if ctx.Err() == nil && len(lent) > 0 {
			l.ask(library.Return, user, lent...)
			rest(ctx, 10*time.Millisecond)
		}
	}
}

// rest lets time pass, or less of it if ctx is done before.
func rest(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// answers counts the answers given since a moment.
func (l *ledger) answers(since time.Time) (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.orders {
		if p.receipt != nil && p.answered.After(since) {
			count++
		}
	}
	return count
}

// awaited counts the orders sent before a moment for whose answers somebody waits.
func (l *ledger) awaited(before time.Time) (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.orders {
		if p.waited && p.receipt == nil && p.sent.Before(before) {
			count++
		}
	}
	return count
}

// askForKept has others ask for every book that a keeper was given by some moment. They
// are told that somebody has it, unless the library has forgotten.
func (l *ledger) askForKept(before time.Time) {
	l.mu.Lock()
	var wanted []string
	for _, p := range l.orders {
		if p.receipt != nil && p.answered.Before(before) && p.Books[0] == kept(len(wanted)) {
			wanted = append(wanted, p.Books[0])
		}
	}
	l.mu.Unlock()
	var everybody sync.WaitGroup
	for i, book := range wanted {
		everybody.Go(func() { l.ask(library.Request, fmt.Sprintf("latecomer%d", i), book) })
	}
	everybody.Wait()
}
