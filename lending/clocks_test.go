package lending

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// appendHook is told of each entry that was appended, and may change what the client is
// told of it.
type appendHook func(*redis.StringCmd) error

func (appendHook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h appendHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if appended, is := cmd.(*redis.StringCmd); is && err == nil && cmd.Name() == "xadd" {
			if err = h(appended); err != nil {
				appended.SetErr(err)
			}
		}
		return err
	}
}
func (appendHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// errCut is what a client sees whose connection ends before the reply comes.
var errCut = &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}

// TestAnOrderThatWasSentLongAgoIsNotSentAgain has a client sleep, which one of the clocks
// notices, while its order is decided, the receipt ends, and nothing is left of either.
func TestAnOrderThatWasSentLongAgoIsNotSentAgain(t *testing.T) {
	const long = library.ReceiptKeepMin
	for name, test := range map[string]struct {
		steady, wall, redis time.Duration // how far each clock goes on
		again               bool
	}{
		"the machine slept, so one clock stood still":        {0, long, 0, false},
		"somebody has set the clock back meanwhile":          {long, -24 * time.Hour, 0, false},
		"both of its clocks are wrong":                       {0, 0, long, false},
		"it was no long sleep, and the server has lost it":   {long - time.Minute, long - time.Minute, long - time.Minute, true},
		"its clock was set back, and the server has lost it": {0, -24 * time.Hour, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, rdb *redis.Client) {
				ctx := deadline(t)
				client := newClient(t, rdb)
				var slept atomic.Bool
				client.clocks = func() clocks {
					now := readClocks()
					if slept.Load() {
						now = clocks{now.steady + test.steady, now.wall.Add(test.wall)}
					}
					return now
				}
				entries := make(chan string, 10)
				client.rdb.AddHook(appendHook(func(cmd *redis.StringCmd) error {
					entries <- cmd.Val()
					cmd.SetVal(fmt.Sprintf("%d-0", library.EntryTime(cmd.Val()).Add(-test.redis).UnixMilli()))
					return nil
				}))
				order := newOrder(t, library.Request, "ann", "geb")
				answers := ask(ctx, client, order)
				first := <-entries
				slept.Store(true)
				if err := rdb.XDel(ctx, names.Requests(), first).Err(); err != nil {
					t.Fatal(err)
				}
				if test.again {
					select {
					case <-entries:
					case got := <-answers:
						t.Errorf("Do = %+v, %v, want the order to be sent again", got.receipt, got.err)
					case <-ctx.Done():
						t.Error("the order is not sent again")
					}
					return
				}
				got := <-answers
				if !errors.Is(got.err, ErrUnknown) || !errors.Is(got.err, ErrForgotten) {
					t.Errorf("Do = %+v, %v, want an error that wraps ErrUnknown and ErrForgotten", got.receipt, got.err)
				}
				if n := rdb.XLen(ctx, names.Requests()).Val(); n != 0 {
					t.Errorf("the order was sent again: %d entries", n)
				}
			})
		})
	}
}

// TestAnAppendWithoutAReplyIsNotRepeatedLongAfter has a machine fall asleep in the middle
// of a command that took effect.
func TestAnAppendWithoutAReplyIsNotRepeatedLongAfter(t *testing.T) {
	for _, sleeps := range []time.Duration{0, library.ReceiptKeepMin} {
		t.Run(sleeps.String(), func(t *testing.T) {
			each(t, func(t *testing.T, rdb *redis.Client) {
				ctx := deadline(t)
				client := newClient(t, rdb)
				appended := 0
				client.rdb.AddHook(appendHook(func(cmd *redis.StringCmd) error {
					if appended++; appended > 1 {
						return nil
					}
					client.clocks = func() clocks {
						now := readClocks()
						return clocks{now.steady, now.wall.Add(sleeps)}
					}
					return errCut
				}))
				err := client.Send(ctx, newOrder(t, library.Return, "ann", "geb"))
				entries := rdb.XLen(ctx, names.Returns()).Val()
				if sleeps == 0 && (err != nil || entries != 2) {
					t.Errorf("Send = %v, and there are %d entries, want the append to be repeated", err, entries)
				}
				if sleeps > 0 && (!errors.Is(err, ErrUnknown) || !errors.Is(err, ErrForgotten) || entries != 1) {
					t.Errorf("Send = %v, and there are %d entries, want ErrForgotten and one", err, entries)
				}
			})
		})
	}
}
