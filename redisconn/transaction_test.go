package redisconn

import (
	"strings"
	"testing"

	"example.com/library/internal/redistest"

	"github.com/redis/go-redis/v9"
)

func TestATransactionTellsWhyItWasRefused(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	ctx := deadline(t)
	look := func() error {
		return Transaction(ctx, rdb, func(pipe redis.Pipeliner) {
			pipe.HExists(ctx, "key", "field")
			pipe.HLen(ctx, "key")
		})
	}
	// A replica that cannot reach its master, and may not answer without it, refuses every
	// look, as a server does that is still loading its files.
	for _, command := range [][]any{{"CONFIG", "SET", "replica-serve-stale-data", "no"}, {"REPLICAOF", "127.0.0.1", "1"}} {
		if err := rdb.Do(ctx, command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := look(); KindOf(err) != Passing || !strings.HasPrefix(err.Error(), "MASTERDOWN") {
		t.Errorf("refused: %v, of kind %v, want MASTERDOWN, which passes", err, KindOf(err))
	}
	if err := rdb.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	if err := look(); err != nil {
		t.Errorf("served: %v", err)
	}
}
