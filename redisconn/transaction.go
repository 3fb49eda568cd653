package redisconn

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Transaction runs the commands that queue puts into a pipeline between MULTI and EXEC,
// so that nothing comes between them. Its error is that of the first command that
// failed. Redis answers EXEC itself with EXECABORT when it would not take one of the
// commands, because it is loading, say; why, only that command's own answer tells.
func Transaction(ctx context.Context, rdb redis.Cmdable, queue func(redis.Pipeliner)) error {
	commands, err := rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		queue(pipe)
		return nil
	})
	if err != nil && strings.HasPrefix(err.Error(), "EXECABORT") {
		for _, command := range commands {
			if why := command.Err(); why != nil && why.Error() != err.Error() {
				return why
			}
		}
	}
	return err
}

// Together is Transaction for commands that only read, and whose order alone is enough where
// it must be: a full server takes no transaction, and is then asked without one.
func Together(ctx context.Context, rdb redis.Cmdable, queue func(redis.Pipeliner)) error {
	err := Transaction(ctx, rdb, queue)
	if !IsFull(err) {
		return err
	}
	_, err = rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		queue(pipe)
		return nil
	})
	return err
}
