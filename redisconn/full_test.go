package redisconn

import (
	"testing"

	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

func TestMemoryIsToldAsTheServerCountsIt(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	keys := library.Keys{Library: "main"}
	server := redistest.Start(t, "--maxmemory", "50mb")
	memory, err := ReadMemory(ctx, server.Client(t), keys)
	if err != nil || memory.Max != 50<<20 || memory.Used <= 0 || memory.Percent() > 50 {
		t.Errorf("ReadMemory = %+v, %v, want some of 50 MiB", memory, err)
	}
	for name, rdb := range map[string]*redis.Client{"without a limit": redistest.Start(t).Client(t), "embedded": redistest.Embedded(t)} {
		if memory, err := ReadMemory(ctx, rdb, keys); err != nil || memory.Max != 0 || memory.Percent() != 0 {
			t.Errorf("%s: ReadMemory = %+v, %v, want no limit", name, memory, err)
		}
	}
}

func TestAFullServerTakesWhatIsInsistedOn(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t, "--maxmemory", "1").Client(t)
	if err := rdb.Set(ctx, "key", "value", 0).Err(); !IsFull(err) {
		t.Fatalf("SET on a full server = %v, want OOM", err)
	}
	if err := Insist(ctx, rdb, "key", "SET", "key", "value"); err != nil {
		t.Errorf("Insist = %v", err)
	}
	if got := rdb.Get(ctx, "key").Val(); got != "value" {
		t.Errorf("the key holds %q, want value", got)
	}
	if err := Insist(ctx, rdb, "key", "LPUSH", "key", "value"); !redis.HasErrorPrefix(err, "WRONGTYPE") {
		t.Errorf("Insist on what cannot be = %v, want WRONGTYPE", err)
	}
}

// A full server may take no transaction, not even one that only reads: 7.0 does not, and
// 7.4 does.
func TestAFullServerIsAskedWithoutATransaction(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t, "--maxmemory", "1").Client(t)
	var length *redis.IntCmd
	ask := func(pipe redis.Pipeliner) { length = pipe.XLen(ctx, "stream") }
	if err := Transaction(ctx, rdb, ask); err != nil && !IsFull(err) {
		t.Fatalf("Transaction on a full server = %v, want none or OOM", err)
	}
	if err := Together(ctx, rdb, ask); err != nil || length.Err() != nil {
		t.Errorf("Together = %v, %v", err, length.Err())
	}
}
