package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// commandPatience is more than any command here takes or blocks, by far.
const commandPatience = 3 * time.Second

// A patienceHook bounds how long a command may take. A server whose machine has
// vanished hangs up on nobody, and go-redis would wait for 5 s, or for 10 s more than
// a command blocks, while another has long taken its place.
//
// It also repeats a look-up once when the server hung up before the answer came, as it
// may do to a client that was idle. Nothing but a look-up is repeated: an append, or
// a script, may have taken effect.
type patienceHook struct{}

// lookUps are commands that change nothing. MULTI and EXEC are what is between them.
var lookUps = strings.Fields(`
	exists get getrange strlen type ttl pttl pexpiretime
	hget hmget hgetall hexists hlen hstrlen hscan
	scard sismember smismember smembers sscan scan
	xlen xrange xrevrange xread xpending xinfo
	ping time multi exec`)

func isLookUp(cmd redis.Cmder) bool { return slices.Contains(lookUps, cmd.Name()) }

func (patienceHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (patienceHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return try(ctx, isLookUp(cmd), func(ctx context.Context) error { return next(ctx, cmd) })
	}
}

func (patienceHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		lookUp := !slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return !isLookUp(cmd) })
		return try(ctx, lookUp, func(ctx context.Context) error {
			for _, cmd := range cmds {
				cmd.SetErr(nil) // of the first try
			}
			return next(ctx, cmds)
		})
	}
}

// try sends something within commandPatience, and a look-up twice if need be.
func try(ctx context.Context, lookUp bool, send func(context.Context) error) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	err := send(ctx)
	var hangUp *HangUpError
	if lookUp && errors.As(err, &hangUp) && hangUp.Said == "" {
		err = send(ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s: %w", time.Since(begin).Round(100*time.Millisecond), err)
	}
	return err
}
