package redisconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/library/internal/redistest"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

const (
	// replyMax is what the tests' clients read of a reply; a large entry has more.
	replyMax = 64 << 10
	small    = 1 << 10
	large    = 100 << 10
)

// bounded is a client with a bound, and one without, of the same server.
func bounded(t *testing.T) (rdb, all redis.UniversalClient) {
	t.Helper()
	server := redistest.Start(t)
	return connect(t, Options{Address: server.URL(), ReplyMax: replyMax}), server.Client(t)
}

// fill appends entries of these sizes, with the ids 1-0, 2-0, …
func fill(t *testing.T, ctx context.Context, rdb redis.UniversalClient, sizes ...int) {
	t.Helper()
	for i, size := range sizes {
		err := rdb.XAdd(ctx, &redis.XAddArgs{
			Stream: "stream", ID: fmt.Sprintf("%d-0", i+1), Values: []string{"a", strings.Repeat("x", size)},
		}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestALargeReplyIsAnErrorThatNamesItsOnlyEntry(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb, all := bounded(t)
	fill(t, ctx, all, small, large, large)
	if err := all.XGroupCreate(ctx, "stream", "group", "0").Err(); err != nil {
		t.Fatal(err)
	}
	read := func(count int64) error {
		return rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "group", Consumer: "me", Streams: []string{"stream", ">"}, Count: count}).Err()
	}
	for _, test := range []struct {
		title string
		do    func() error
		entry string // empty if it names none
		large bool
	}{
		{"a small entry", func() error { return rdb.XRange(ctx, "stream", "1-0", "1-0").Err() }, "", false},
		{"a large entry", func() error { return rdb.XRange(ctx, "stream", "2-0", "2-0").Err() }, "2-0", true},
		{"the last of some entries", func() error { return rdb.XRangeN(ctx, "stream", "3-0", "+", 10).Err() }, "3-0", true},
		{"two entries", func() error { return rdb.XRange(ctx, "stream", "1-0", "2-0").Err() }, "", true},
		{"a small entry, read by a group", func() error { return read(1) }, "", false},
		{"a large entry, read by a group", func() error { return read(1) }, "2-0", true},
		{"the last entry, read by a group", func() error { return read(10) }, "3-0", true},
		{"a large entry, read without a group", func() error {
			return rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{"stream", "2-0"}}).Err()
		}, "3-0", true},
	} {
		err := test.do()
		var reply *LargeReplyError
		if errors.As(err, &reply) != test.large || !test.large && err != nil {
			t.Errorf("%s: %v, want a LargeReplyError: %v", test.title, err, test.large)
		} else if test.large && reply.Entry() != test.entry {
			t.Errorf("%s: the error names %q, want %q", test.title, reply.Entry(), test.entry)
		}
		// The connection is another then, and the rest of the reply comes by none.
		if pong, err := rdb.Ping(ctx).Result(); pong != "PONG" || err != nil {
			t.Errorf("after %s: PING is answered %q, %v", test.title, pong, err)
		}
	}
	if err := rdb.XAck(ctx, "stream", "group", "1-0").Err(); err != nil {
		t.Fatal(err)
	}
	if pending, err := rdb.XPending(ctx, "stream", "group").Result(); err != nil || pending.Count != 2 {
		t.Errorf("pending: %+v, %v, want the two that were given out and not read", pending, err)
	}
}

// What is in an entry must not pass for the id of another.
func TestALargeReplyNamesNoEntryThatItsContentMakesUp(t *testing.T) {
	forged := "*1\r\n*2\r\n$3\r\n7-7\r\n"
	for _, head := range []string{
		"*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$99999\r\n" + forged,
		"*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$18\r\n" + forged + "\r\n$99999\r\n",
		"*1\r\n*2\r\n$3\r\nkey\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$18\r\n" + forged, // as Redis 6 said it to a reader of a stream
	} {
		if got := (&LargeReplyError{Head: []byte(head)}).Entry(); got != "1-0" {
			t.Errorf("%q names %q, want 1-0", head, got)
		}
	}
	for _, head := range []string{
		"$99999\r\n" + forged, "*2\r\n*2\r\n$3\r\n1-0\r\n", "*2\r\n$18\r\n" + forged, "%1\r\n$3\r\nkey\r\n*2\r\n*2\r\n$3\r\n1-0\r\n", "",
	} {
		if got := (&LargeReplyError{Head: []byte(head)}).Entry(); got != "" {
			t.Errorf("%q names %q, want none", head, got)
		}
	}
}

func TestPagesHaveAllEntriesAndOfLargeOnesTheIDs(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	for title, sizes := range map[string][]int{
		"nothing":                 {},
		"small entries":           slices.Repeat([]int{small}, 25),
		"a page that is large":    slices.Repeat([]int{large / 8}, 25),
		"a large entry":           {large},
		"a large entry at first":  {large, small, small},
		"a large entry at last":   append(slices.Repeat([]int{small}, 10), large),
		"large ones among others": slices.Concat(slices.Repeat([]int{small}, 12), []int{large, large}, slices.Repeat([]int{small}, 12), []int{large}, slices.Repeat([]int{small}, 30)),
	} {
		rdb, all := bounded(t)
		fill(t, ctx, all, sizes...)
		want, got := map[string]int{}, map[string]int{}
		for i, size := range sizes {
			if size == large {
				size = -1 // its fields are missing
			}
			want[fmt.Sprintf("%d-0", i+1)] = size
		}
		var order []string
		for page, err := range Pages(ctx, rdb, "stream", "-", "+", 10) {
			if err != nil {
				t.Fatalf("%s: %v", title, err)
			}
			if len(page) > 10 {
				t.Errorf("%s: a page of %d entries, want at most 10", title, len(page))
			}
			for _, message := range page {
				order = append(order, message.ID)
				got[message.ID] = -1
				if value, has := message.Values["a"].(string); has {
					got[message.ID] = len(value)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(order) != len(sizes) {
			t.Errorf("%s: %d entries (-want +got):\n%s", title, len(order), diff)
		}
	}
}

func TestPagesEndWithWhoeverReadsThemAndAtAnError(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb, all := bounded(t)
	fill(t, ctx, all, slices.Repeat([]int{small}, 25)...)
	pages := 0
	for range Pages(ctx, rdb, "stream", "-", "+", 10) {
		pages++
		break
	}
	if err := all.Set(ctx, "text", "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	var failed []error
	for _, err := range Pages(ctx, rdb, "text", "-", "+", 10) {
		failed = append(failed, err)
	}
	if pages != 1 || len(failed) != 1 || failed[0] == nil || !strings.HasPrefix(failed[0].Error(), "WRONGTYPE") {
		t.Errorf("%d pages after a break, and of a text %v", pages, failed)
	}
}

func TestAStreamThatTakesMuchMemoryIsReadOneByOne(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb, all := bounded(t)
	want := func(title string, count, length int64) {
		t.Helper()
		if gotCount, gotLength, err := PageMax(ctx, rdb, "stream", 100); gotCount != count || gotLength != length || err != nil {
			t.Errorf("%s: PageMax = %d, %d, %v, want %d, %d", title, gotCount, gotLength, err, count, length)
		}
	}
	want("no stream", 100, 0)
	fill(t, ctx, all, slices.Repeat([]int{small}, 200)...)
	want("small entries", 100, 200)
	if err := all.XAdd(ctx, &redis.XAddArgs{Stream: "stream", Values: []string{"a", strings.Repeat("x", 20<<20)}}).Err(); err != nil {
		t.Fatal(err)
	}
	want("a large one behind them", 1, 201)
	if count, _, err := PageMax(ctx, redistest.Embedded(t), "stream", 100); count != 100 || KindOf(err) != Unexpected {
		t.Errorf("the embedded server: PageMax = %d, %v, want 100, and an error that does not pass", count, err)
	}
}
