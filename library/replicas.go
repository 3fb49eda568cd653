package library

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// replicaPatience is how long Replicated waits for the replicas.
const replicaPatience = time.Second

// Replicated has read look at the library, and returns nil only when so many
// replicas have confirmed all that it can have seen. Until then a failover may undo
// it. ends are keys with a time to live, of which one is there. The error is read's, or
// wraps ErrUnconfirmed, or is Redis's; whatever read found is not to be believed
// then, and it is right to look again.
//
// WAIT tells how many replicas have confirmed the last write of the connection it
// is sent on; of what others wrote it says nothing. (Up to 7.0 Redis remembers its
// offset after any command of a connection, since 7.2 after a write only.) So all
// goes over one connection, to one server: first the look, then a write, then WAIT.
// Replication keeps the order, so a replica that has the write has all that was
// written before it. The write lengthens a key's life by a millisecond: it must be
// a real change, or a server might leave it out, and on a full server it works too.
// GT lets it change nothing if the key has a longer life by now.
func Replicated(ctx context.Context, rdb redis.UniversalClient, keys Keys, ends []string, replicas int, read func(redis.Cmdable) error) error {
	master, err := Master(ctx, rdb, keys)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	conn := master.Conn()
	defer conn.Close()
	err = confirm(ctx, conn, ends, replicas, read)
	if master != rdb {
		err = clusterError(err)
	}
	return err
}

func confirm(ctx context.Context, conn *redis.Conn, ends []string, replicas int, read func(redis.Cmdable) error) error {
	if err := read(conn); err != nil {
		return err
	}
	if err := write(ctx, conn, ends); err != nil {
		return err
	}
	confirmed, err := conn.Wait(ctx, replicas, replicaPatience).Result()
	switch {
	case err != nil && KindOf(err) == Passing:
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	case err == nil && confirmed < int64(replicas):
		return fmt.Errorf("%w: by %d, not %d", ErrUnconfirmed, confirmed, replicas)
	}
	return err
}

// write lengthens the life of the first key that is there by a millisecond.
func write(ctx context.Context, conn *redis.Conn, ends []string) error {
	for _, key := range ends {
		end, err := conn.Do(ctx, "PEXPIRETIME", key).Int64()
		if err != nil {
			return err
		}
		if end < 0 {
			continue // it is not there, or has no end
		}
		written, err := conn.Do(ctx, "PEXPIREAT", key, end+1, "GT").Int()
		if err != nil || written == 1 {
			return err
		}
	}
	return fmt.Errorf("%w: what it found is gone", ErrUnconfirmed)
}
