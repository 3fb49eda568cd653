package worker

import (
	"context"
	"fmt"
	"strings"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

// Ensure makes a stream and its group where they are missing, and reports whether
// the group was. The group begins at 0, so that it sees what was appended before it.
func Ensure(ctx context.Context, rdb redis.UniversalClient, stream, group string) (made bool, err error) {
	err = rdb.XGroupCreateMkStream(ctx, stream, group, "0").Err()
	if redisconn.IsFull(err) {
		err = redisconn.Insist(ctx, rdb, stream, "XGROUP", "CREATE", stream, group, "0", "MKSTREAM")
	}
	if err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return false, nil
	}
	return err == nil, err
}

// EnsureAll makes all inboxes of a library with their groups where they are
// missing: those a service reads, and those it appends to before their reader was
// ever started.
func EnsureAll(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) error {
	for _, service := range library.Services() {
		for _, inbox := range keys.Inboxes(service) {
			if _, err := Ensure(ctx, rdb, inbox, service); err != nil {
				return fmt.Errorf("make stream %s: %w", inbox, err)
			}
		}
	}
	return nil
}

// Retire removes an instance that released its lock from a group, unless entries
// are pending for it; those are then taken over by another instance.
func Retire(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, stream, group, name string) error {
	return scripts.Retire.Run(ctx, rdb, []string{keys.Instance(name), stream}, name, group).Err()
}
