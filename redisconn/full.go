package redisconn

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"example.com/library/library"
	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

// A Memory tells how much of its memory a server has used, in bytes. Both are 0 if there is
// no limit (the setting maxmemory).
type Memory struct {
	Used int64 `json:"used"`
	Max  int64 `json:"max"`
}

// Percent is how full the memory is; 0 if it has no limit.
func (m Memory) Percent() int64 {
	if m.Max == 0 {
		return 0
	}
	return 100 * m.Used / m.Max
}

// ReadMemory asks the server that has the library how full its memory is. An embedded
// server has no limit.
func ReadMemory(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (Memory, error) {
	master, err := Master(ctx, rdb, keys)
	if err != nil {
		return Memory{}, err
	}
	info, err := master.Info(ctx, "memory").Result()
	if err != nil {
		var reply redis.Error
		if errors.As(err, &reply) && KindOf(err) == Unexpected {
			err = nil // the server does not know this section
		}
		return Memory{}, err
	}
	facts := map[string]int64{}
	for line := range strings.SplitSeq(info, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		facts[name], _ = strconv.ParseInt(value, 10, 64)
	}
	if facts["maxmemory"] == 0 {
		return Memory{}, nil
	}
	// Redis does not count these buffers when it asks itself whether it is full.
	return Memory{Used: facts["used_memory"] - facts["mem_not_counted_for_evict"], Max: facts["maxmemory"]}, nil
}

// IsFull reports whether Redis refused a command because its memory is full. Nothing was
// done then: a script, too, is refused before its first write.
func IsFull(err error) bool { return redis.HasErrorPrefix(err, "OOM ") }

// Regardless is a client whose scripts run on a server whose memory is full, too. It is for
// scripts that finish what is there, so that what they add is bounded by it.
func Regardless(rdb redis.UniversalClient) redis.Scripter { return regardless{rdb} }

type regardless struct{ redis.UniversalClient }

// EvalSha has redis.Script send the text if the server is full.
func (r regardless) EvalSha(ctx context.Context, hash string, keys []string, args ...any) *redis.Cmd {
	cmd := r.UniversalClient.EvalSha(ctx, hash, keys, args...)
	if IsFull(cmd.Err()) {
		cmd.SetErr(noScript{})
	}
	return cmd
}

// Eval runs a script under another first line if the server is full.
func (r regardless) Eval(ctx context.Context, text string, keys []string, args ...any) *redis.Cmd {
	cmd := r.UniversalClient.Eval(ctx, text, keys, args...)
	if !IsFull(cmd.Err()) {
		return cmd
	}
	return redis.NewScript(scripts.Regardless+text).Run(ctx, r.UniversalClient, keys, args...)
}

// noScript is the error at which redis.Script sends the script's text.
type noScript struct{}

func (noScript) Error() string { return "NOSCRIPT the server's memory is full" }
func (noScript) RedisError()   {}

// anyCommand runs the command that its arguments are.
var anyCommand = redis.NewScript("return redis.call(unpack(ARGV))")

// Insist runs one command, whose key is named first, on a server whose memory is full. It is
// for the few small things without which an instance cannot start.
func Insist(ctx context.Context, rdb redis.UniversalClient, key string, words ...any) error {
	return anyCommand.Run(ctx, Regardless(rdb), []string{key}, words...).Err()
}
