package redisconn

import (
	"context"
	"errors"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

const (
	// streamLight is how much memory a stream may take whatever is in it, and
	// entryLight what an entry of it may take on average, so that many entries can be
	// read at once.
	streamLight = 16 << 20
	entryLight  = 16 << 10
)

// PageMax tells how many entries of a stream to read at once: most, or one where the
// stream takes so much memory that large entries must be among them, for Redis makes
// a copy of all that it answers. length is how many entries the stream has. The error
// is Redis's; the embedded server and rules of access of former times know no answer.
//
// MEMORY USAGE is all that Redis tells of entries without their content. With SAMPLES
// 0 it looks at every node of the stream, of which each holds some dozens of entries:
// a million of them take it a few milliseconds.
func PageMax(ctx context.Context, rdb redis.Cmdable, key string, most int64) (count, length int64, err error) {
	var memory, entries *redis.IntCmd
	_, err = rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		memory, entries = pipe.MemoryUsage(ctx, key, 0), pipe.XLen(ctx, key)
		return nil
	})
	length = entries.Val()
	switch {
	case errors.Is(err, redis.Nil): // there is no such stream yet
		return most, 0, nil
	case err == nil && memory.Val() > streamLight+entryLight*length:
		return 1, length, nil
	}
	return most, length, err
}

// Pages are the entries of a stream from one id to another, in their order, at most
// most of them in a page. The first page has one, and the next ones more and more, as
// long as they can be read. An entry that is larger than Options.ReplyMax comes without
// its fields: its Values are nil.
func Pages(ctx context.Context, rdb redis.Cmdable, key, start, stop string, most int64) iter.Seq2[[]redis.XMessage, error] {
	return func(yield func([]redis.XMessage, error) bool) {
		for size := int64(1); ; {
			page, err := rdb.XRangeN(ctx, key, start, stop, size).Result()
			var large *LargeReplyError
			isLarge := errors.As(err, &large)
			switch {
			case isLarge && large.Entry() != "":
				page = []redis.XMessage{{ID: large.Entry()}}
			case isLarge && size > 1:
				size = 1
				continue
			case err != nil:
				yield(nil, err)
				return
			}
			if len(page) == 0 || !yield(page, nil) || !isLarge && int64(len(page)) < size {
				return
			}
			start = "(" + page[len(page)-1].ID
			if !isLarge {
				size = min(2*size, most)
			}
		}
	}
}

// Pending are the entries of a stream that are pending as args say, page by page. Start
// and End are set here; Count is the size of a page.
func Pending(ctx context.Context, rdb redis.Cmdable, args redis.XPendingExtArgs) iter.Seq2[[]redis.XPendingExt, error] {
	return func(yield func([]redis.XPendingExt, error) bool) {
		for args.Start, args.End = "-", "+"; ; {
			page, err := rdb.XPendingExt(ctx, &args).Result()
			if err != nil {
				yield(nil, err)
				return
			}
			size := len(page) // of which its reader may leave nothing
			if size > 0 {
				args.Start = following(page[size-1].ID)
			}
			if size == 0 || !yield(page, nil) || int64(size) < args.Count {
				return
			}
		}
	}
}

// following is the least id after another. The embedded server's XPENDING knows no
// other way to say where to go on.
func following(id string) string {
	milliseconds, number, _ := strings.Cut(id, "-")
	if next, _ := strconv.ParseUint(number, 10, 64); next < math.MaxUint64 {
		return milliseconds + "-" + strconv.FormatUint(next+1, 10)
	}
	next, _ := strconv.ParseUint(milliseconds, 10, 64)
	return strconv.FormatUint(next+1, 10) + "-0"
}
