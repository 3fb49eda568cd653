package simulation

import (
	"context"
	"os"
	"runtime/debug"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) {
	// Dials to a server that is away are told by go-redis, and here most are on purpose.
	redis.SetLogger(silence{})
	// A run leaves much behind and nothing of it is needed: every script of the embedded
	// server makes a Lua interpreter of its own.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(192 << 20)
	os.Exit(m.Run())
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
