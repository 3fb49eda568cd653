package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var frontSection = section{name: "front", run: measureFront}

const (
	// frontPart is which part of all books front storage has room for.
	frontPart = 0.01
	// recoveryPlaces is over how many requests for each place in front storage a
	// share is taken to tell whether it has recovered, and recoveryGoal the part of
	// what it was before that counts as recovered.
	recoveryPlaces = 20
	recoveryGoal   = 0.9
)

// frontTraces are the histories that front storage is put through. Favourites are
// asked for so often that they are lent most of the time, and cannot be in front
// storage then; so the longer loans last, the more it is the middle of the field
// that front storage serves, and the more it would help to know the future.
// The target is for the trace in which a rule can reach it without knowing the
// future, as the row of the true favourites shows.
var frontTraces = []struct {
	name   string
	shape  traceShape
	target float64 // of Belady's share; 0 for none
}{
	{"short loans", traceShape{books: 10_000, chunk: 16, skew: 0.9, loan: 20}, 0.8},
	{"long loans", traceShape{books: 10_000, chunk: 128, skew: 0.9, loan: 200}, 0},
}

// measureFront puts the same histories through lendingd and through other rules
// for front storage.
func measureFront(ctx context.Context, b *bench) ([]Row, error) {
	var rows []Row
	for _, kind := range frontTraces {
		found, err := b.front(ctx, kind.name, kind.shape, kind.target)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.name, err)
		}
		rows = append(rows, found...)
	}
	return rows, nil
}

func (b *bench) front(ctx context.Context, name string, shape traceShape, target float64) ([]Row, error) {
	shape.requests = b.n / 2
	places := int(frontPart * float64(shape.books))
	contestants := []string{"Belady, which knows the future", "true favourites, which knows how often each book is asked for", "lendingd", "LRU", "the original's: first come stays"}
	best, product, recent := 0, 2, 3
	rows := make([]Row, len(contestants))
	recoveries := make([][]float64, len(contestants))
	var granted []float64
	for round := range b.rounds {
		shape.seed = uint64(round + 1)
		t := newTrace(shape)
		b.logf("%s, round %d of %d: %s requests", name, round+1, b.rounds, number(float64(len(t.requests))))
		real, err := b.replayReal(ctx, t, places)
		if err != nil {
			return nil, err
		}
		all := [][]place{
			replay(t, places, furthest(t)), replay(t, places, favourites(t)), real,
			replay(t, places, leastRecent()), replay(t, places, firstCome()),
		}
		for i, found := range all {
			before := share(found, t.half/2, t.half)
			rows[i].Samples = append(rows[i].Samples, 100*before)
			if after := recovery(found, t.half, recoveryPlaces*places, recoveryGoal*before); after >= 0 {
				recoveries[i] = append(recoveries[i], float64(after))
			}
			if round == 0 {
				rows[i].Note = graph(found, t.half)
			}
		}
		for i := range rows {
			if i != best {
				rows[i].Ratios = append(rows[i].Ratios, rows[i].Samples[round]/rows[best].Samples[round])
			}
		}
		granted = append(granted, 100*grantedPart(real))
	}

	for i := range rows {
		row := &rows[i]
		row.Section = fmt.Sprintf("Front storage, %s: Zipf(%s) over %s books, room for %d; a book comes back after %s requests on average, and %d are decided at once",
			name, number(shape.skew), number(float64(shape.books)), places, number(shape.loan), shape.chunk)
		row.Name, row.Unit = contestants[i], "% from front"
		if i != best {
			row.Against = "Belady"
		}
		switch {
		case i == len(rows)-1: // so little is hardly told from chance
		case len(recoveries[i]) == b.rounds:
			row.Note += " recovered after " + number(median(recoveries[i]))
		default:
			row.Note += " not recovered in every round"
		}
	}
	rows[best].Note = fmt.Sprintf("%s; %s%% of %s requests granted", rows[best].Note, number(median(granted)), number(float64(shape.requests)))
	if target > 0 {
		rows[product].atLeast(target)
	}
	over := Row{Section: rows[0].Section, Name: "lendingd against LRU", Against: "LRU"}
	for round := range b.rounds {
		over.Ratios = append(over.Ratios, rows[product].Samples[round]/rows[recent].Samples[round])
	}
	over.atLeast(1)
	return append(rows, over), nil
}

// graph draws how the share changes over a trace, one bar for a twentieth of each
// half, with a stroke where the favourites change. A full bar is the largest share.
func graph(found []place, half int) string {
	const bars = 20
	var shares []float64
	for i := range 2 * bars {
		shares = append(shares, share(found, half*i/bars, half*(i+1)/bars))
	}
	most := max(slices.Max(shares), 1e-9)
	var text strings.Builder
	for i, s := range shares {
		if i == bars {
			text.WriteByte('/')
		}
		text.WriteRune([]rune("▁▂▃▄▅▆▇█")[min(7, int(8*s/most))])
	}
	return text.String()
}

func grantedPart(found []place) float64 {
	granted := 0
	for _, p := range found {
		if p != nowhere {
			granted++
		}
	}
	return float64(granted) / float64(len(found))
}

// replayReal puts a trace through a lendingd on a server of its own, and tells
// where the book of each request was found.
func (b *bench) replayReal(ctx context.Context, t *trace, places int) ([]place, error) {
	s, err := b.startRedis()
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	instance, err := b.serve(ctx, s, "--front", strconv.Itoa(places), "--log-keep", leastLog)
	if err != nil {
		return nil, err
	}
	defer instance.kill()

	ids := rand.New(rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", "trace")))))
	found := make([]place, 0, len(t.requests))
	holder := map[int32]string{}
	for _, c := range t.chunks {
		var requests, returns []order
		for i := c.from; i < c.to; i++ {
			// Nobody asks twice while a book is lent, so that no other rule interferes.
			o := order{ID: orderID(ids), User: fmt.Sprintf("user-%06d", i), Books: []string{bookName(int(t.requests[i].book))}}
			requests = append(requests, o)
			if t.requests[i].granted {
				holder[t.requests[i].book] = o.User
			}
		}
		for _, book := range c.returns {
			returns = append(returns, order{ID: orderID(ids), User: holder[book], Books: []string{bookName(int(book))}})
		}
		if err := b.decideTogether(ctx, s, instance, requestsKey, requests); err != nil {
			return nil, err
		}
		from, err := foundAt(ctx, s.client, requests)
		if err != nil {
			return nil, err
		}
		for i, p := range from {
			if granted := t.requests[c.from+i].granted; granted != (p != nowhere) {
				return nil, fmt.Errorf("request %d is granted: %v, and should be: %v", c.from+i, p != nowhere, granted)
			}
		}
		found = append(found, from...)
		if err := b.decideTogether(ctx, s, instance, returnsKey, returns); err != nil {
			return nil, err
		}
	}
	return found, instance.Stop()
}

// decideTogether appends orders in one step, so that they are read together, and
// returns when they and all that comes of them are done.
func (b *bench) decideTogether(ctx context.Context, s *server, instance *process, inbox string, orders []order) error {
	for some := range slices.Chunk(orders, batchMax) {
		_, err := s.client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, o := range some {
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: orderFields(o)})
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = instance.until(time.Millisecond/4, drainWithin, func() (bool, error) {
			_, done, err := lendingd{}.look(ctx, s)
			return done, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// foundAt reads in the receipts where the one book of each request was found.
func foundAt(ctx context.Context, rdb *redis.Client, requests []order) ([]place, error) {
	texts, err := receiptsOf(ctx, rdb, requests)
	if err != nil {
		return nil, err
	}
	found := make([]place, len(requests))
	for i, text := range texts {
		var receipt struct {
			Results []string
		}
		if err := json.Unmarshal([]byte(text), &receipt); err != nil || len(receipt.Results) != 1 {
			return nil, fmt.Errorf("the receipt of %s is %q: %v", requests[i].ID, text, err)
		}
		switch receipt.Results[0] {
		case "front":
			found[i] = inFront
		case "shelves":
			found[i] = onShelf
		}
	}
	return found, nil
}
