package lending

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// appendsMax is how many entries are sent in one go.
const appendsMax = 256

// errNoReply says that an entry was perhaps sent, but nobody waited for the reply.
var errNoReply = errors.New("no reply came in time")

// appends sends the entries of many goroutines. While some are on their way, those
// that come meanwhile gather, and are sent together in the next go, so that client
// and server read and write once for all of them.
type appends struct {
	rdb redis.UniversalClient

	mu      sync.Mutex
	waiting []*appending
	sending bool
}

// An appending is an entry on its way into its stream.
type appending struct {
	args redis.XAddArgs
	done chan struct{} // closed when id and err are known
	id   string
	err  error
}

// add appends an entry and returns its id. Its error is Redis's, that of ctx if
// nothing was sent, or errNoReply.
func (a *appends) add(ctx context.Context, stream string, values []any) (string, error) {
	one := &appending{args: redis.XAddArgs{Stream: stream, Values: values}, done: make(chan struct{})}
	a.mu.Lock()
	a.waiting = append(a.waiting, one)
	first := !a.sending
	a.sending = true
	a.mu.Unlock()
	if first && a.send(ctx) {
		go func() {
			for ctx := context.WithoutCancel(ctx); a.send(ctx); {
			}
		}()
	}
	select {
	case <-one.done:
		return one.id, one.err
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := slices.Index(a.waiting, one); at >= 0 {
		a.waiting = slices.Delete(a.waiting, at, at+1)
		return "", ctx.Err()
	}
	select {
	case <-one.done:
		return one.id, one.err
	default:
		return "", errNoReply
	}
}

// send sends what waits, and reports whether more came meanwhile. An entry that is
// alone is sent by its own ctx; several are sent for all, whoever of them gives up.
func (a *appends) send(ctx context.Context) (more bool) {
	a.mu.Lock()
	batch := slices.Clone(a.waiting[:min(len(a.waiting), appendsMax)])
	a.waiting = slices.Delete(a.waiting, 0, len(batch))
	a.mu.Unlock()
	if len(batch) == 1 {
		one := batch[0]
		one.id, one.err = a.rdb.XAdd(ctx, &one.args).Result()
	} else {
		ctx = context.WithoutCancel(ctx)
		added := make([]*redis.StringCmd, len(batch))
		_, _ = a.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, one := range batch {
				added[i] = pipe.XAdd(ctx, &one.args)
			}
			return nil
		}) // each command has its own error
		for i, one := range batch {
			one.id, one.err = added[i].Result()
		}
	}
	for _, one := range batch {
		close(one.done)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sending = len(a.waiting) > 0
	return a.sending
}
