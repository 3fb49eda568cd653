package redisconn

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// A LargeReplyError says that a reply was larger than Options.ReplyMax. The rest of
// it was not read, and its connection is closed.
type LargeReplyError struct {
	// Max is how many bytes were read, at most.
	Max int64
	// Head is how the reply began.
	Head []byte
}

func (e *LargeReplyError) Error() string {
	return fmt.Sprintf("the reply is larger than %d MiB", e.Max>>20)
}

// soleEntry is how the reply begins that has one entry of a stream: an array of
// entries with one element, which is an array of two, of which the first is the id.
// That of a read which names the stream has something before it.
var soleEntry = regexp.MustCompile(`^(?:[*%]1\r\n(?:\*2\r\n)?\$\d+\r\n[^\r\n]+\r\n)?\*1\r\n\*2\r\n\$\d+\r\n(\d+-\d+)\r\n`)

// Entry is the id of the entry of a stream that the reply holds, if it holds one and
// no other; else it is empty.
func (e *LargeReplyError) Entry() string {
	if found := soleEntry.FindSubmatch(e.Head); found != nil {
		return string(found[1])
	}
	return ""
}

// headMax is how much of a reply is kept: enough to tell the id of its first entry.
const headMax = 512

// A replyHook bounds what a client reads of one reply, or of those to one pipeline.
// Redis itself sends whatever it was asked for. So one entry of a stream, appended
// by anybody, could fill this program's memory, or take longer to read than a
// command may.
type replyHook struct{ max int64 }

func (h replyHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		bounded := &boundedConn{Conn: connection, max: h.max, left: h.max}
		if socket, is := connection.(syscall.Conn); is {
			// By this go-redis sees whether an idle connection still stands.
			return struct {
				*boundedConn
				syscall.Conn
			}{bounded, socket}, nil
		}
		return bounded, nil
	}
}

func (replyHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (replyHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A boundedConn fails to read when more has come since something was last written
// than may come. Commands are written and replies read in turn, so that is a reply.
type boundedConn struct {
	net.Conn
	max, left int64
	head      []byte
}

func (b *boundedConn) Write(text []byte) (int, error) {
	b.left, b.head = b.max, b.head[:0]
	return b.Conn.Write(text)
}

func (b *boundedConn) Read(text []byte) (int, error) {
	n, err := b.Conn.Read(text)
	b.head = append(b.head, text[:min(n, headMax-len(b.head))]...)
	if b.left -= int64(n); b.left < 0 {
		return 0, &LargeReplyError{b.max, slices.Clone(b.head)}
	}
	return n, err
}
