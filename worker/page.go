package worker

import (
	"context"
	"math"

	"example.com/library/redisconn"
)

// A page is what the next reads take, so that Redis can answer them without standing
// still. Only who has the turn to read uses it.
type page struct {
	count int64 // how many entries a read takes
	left  int64 // how many may be read before another look
	large bool  // the inbox has entries that are far larger than orders are
}

// measure sees how large the inbox's entries are. It looks again when an eighth of what
// was waiting has been read, so it costs next to nothing.
func (c *consumer) measure(ctx context.Context) {
	if c.page.left > 0 {
		return
	}
	count, length, err := redisconn.PageMax(ctx, c.Redis, c.Stream, c.Batch)
	c.page.count, c.page.large = count, count < c.Batch
	switch {
	case err == nil:
		c.page.left = max(c.Batch, length/8)
	case redisconn.KindOf(err) != redisconn.Passing:
		c.page.left = math.MaxInt64 // this server will not tell the next time either
	}
}

// readLarge sets the entry aside that was given out and is larger than may be read. If
// there were others with it, the sweep looks at each by itself.
func (c *consumer) readLarge(large *redisconn.LargeReplyError, token string) error {
	c.page.left = 0
	id := large.Entry()
	if id == "" {
		return nil
	}
	return fatal(c.reject(Reject(Entry{ID: id, Token: token}, tooLarge(large))))
}
