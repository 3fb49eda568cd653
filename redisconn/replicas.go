package redisconn

import (
	"context"
	"fmt"
	"time"

	"example.com/library/library"
	"github.com/redis/go-redis/v9"
)

// replicaPatience is how long Replicated waits for the replicas.
const replicaPatience = time.Second

// Replicated has f look at the library, and returns nil only when so many replicas
// have confirmed all that it can have seen. Until then a failover may undo it. The
// error is f's, or wraps ErrUnconfirmed, or is Redis's; what f found is not to be
// believed then, and it is right to look again.
//
// f must end with a write that is sure to be replicated. WAIT tells how many
// replicas have confirmed the last write of the connection it is sent on, and says
// nothing of what others wrote. (Up to 7.0 Redis remembers its offset after any
// command of a connection, since 7.2 only after one that was replicated.) So all
// goes over one connection, to one server: the look, the write, and WAIT.
// Replication keeps the order, so a replica that has the write has all that was
// written before it.
func Replicated(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, replicas int, f func(context.Context, *redis.Conn) error) error {
	master, err := Master(ctx, rdb, keys)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	conn := master.Conn()
	defer conn.Close()
	if err = f(ctx, conn); err == nil {
		err = wait(ctx, conn, replicas)
	}
	if master != rdb {
		err = clusterError(err)
	}
	return err
}

func wait(ctx context.Context, conn *redis.Conn, replicas int) error {
	confirmed, err := conn.Wait(ctx, replicas, replicaPatience).Result()
	switch {
	case err != nil && KindOf(err) == Passing:
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	case err == nil && confirmed < int64(replicas):
		return fmt.Errorf("%w: by %d, not %d", ErrUnconfirmed, confirmed, replicas)
	}
	return err
}
