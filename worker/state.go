package worker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"github.com/redis/go-redis/v9"
)

// A State tells how far a group has come with its stream.
type State struct {
	Stream string `json:"stream"`
	// Unread is how many entries no instance was given yet.
	Unread int64 `json:"unread"`
	// Pending is how many entries are in some instance's hands.
	Pending int64 `json:"pending"`
	// Oldest is the age of the oldest entry, unread or pending; 0 without any.
	Oldest time.Duration `json:"oldest_ns"`
	// Consumers are the names of the instances in the group.
	Consumers []string `json:"-"`
}

// Look tells the state of a stream that its group's scripts trim, so that all that
// stands in it is unread or pending. A stream that is missing is empty.
func Look(ctx context.Context, rdb redis.UniversalClient, stream, group string) (State, error) {
	state := State{Stream: stream}
	groups, err := rdb.XInfoGroups(ctx, stream).Result()
	if err != nil {
		if strings.Contains(err.Error(), "no such key") {
			return state, nil
		}
		return state, fmt.Errorf("look at %s: %w", stream, err)
	}
	given := "0-0"
	for _, info := range groups {
		if info.Name == group {
			state.Pending, given = info.Pending, info.LastDeliveredID
		}
	}
	consumers, err := rdb.XInfoConsumers(ctx, stream, group).Result()
	if err != nil && !strings.HasPrefix(err.Error(), "NOGROUP") {
		return state, fmt.Errorf("look at %s: %w", stream, err)
	}
	for _, consumer := range consumers {
		state.Consumers = append(state.Consumers, consumer.Name)
	}
	var length *redis.IntCmd
	var read, first *redis.XMessageSliceCmd
	var now *redis.TimeCmd
	err = redisconn.Together(ctx, rdb, func(pipe redis.Pipeliner) {
		length = pipe.XLen(ctx, stream)
		read = pipe.XRange(ctx, stream, "-", given)
		first = pipe.XRangeN(ctx, stream, "-", "+", 1)
		now = pipe.Time(ctx)
	})
	if err != nil {
		return state, fmt.Errorf("look at %s: %w", stream, err)
	}
	state.Unread = length.Val() - int64(len(read.Val()))
	if len(first.Val()) > 0 {
		milliseconds, _, _ := strings.Cut(first.Val()[0].ID, "-")
		if ms, err := strconv.ParseInt(milliseconds, 10, 64); err == nil {
			state.Oldest = max(0, now.Val().Sub(time.UnixMilli(ms)))
		}
	}
	return state, nil
}

// Alive reports whether any instance runs a service: reads its first inbox, and holds
// its name.
func Alive(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, service string) (bool, error) {
	inbox := keys.Inboxes(service)[0]
	consumers, err := rdb.XInfoConsumers(ctx, inbox, service).Result()
	if err != nil && (strings.Contains(err.Error(), "no such key") || strings.HasPrefix(err.Error(), "NOGROUP")) || err == nil && len(consumers) == 0 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look who reads %s: %w", inbox, err)
	}
	var locks []string
	for _, consumer := range consumers {
		locks = append(locks, keys.Instance(consumer.Name))
	}
	held, err := rdb.Exists(ctx, locks...).Result()
	if err != nil {
		return false, fmt.Errorf("look which instances live: %w", err)
	}
	return held > 0, nil
}
