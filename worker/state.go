package worker

import (
	"cmp"
	"context"
	"errors"
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
	// Stuck is how many of these came back so often that they are tried again at a slow
	// pace only, or are about to be set aside.
	Stuck int64 `json:"stuck,omitempty"`
	// Consumers are the instances in the group.
	Consumers []Consumer `json:"consumers"`
	// Appended is how many entries there ever were, unread, pending, done or given up; -1
	// where the server does not tell, as the embedded one.
	Appended int64 `json:"-"`
}

// A Consumer is an instance as a group knows it.
type Consumer struct {
	Name string `json:"name"`
	// Pending is how many entries are in its hands.
	Pending int64 `json:"pending"`
}

// Name is the stream's name within its library, such as lending:requests.
func (s State) Name() string {
	_, name, _ := strings.Cut(s.Stream, ":")
	return name
}

// readMax is how many entries that were read are counted one by one.
const readMax = 1000

// Look tells the state of a stream that its group's scripts trim, so that all that
// stands in it is unread or pending. A stream that is missing is empty.
func Look(ctx context.Context, rdb redis.UniversalClient, stream, group string) (State, error) {
	state := State{Stream: stream, Consumers: []Consumer{}, Appended: -1}
	groups, err := rdb.XInfoGroups(ctx, stream).Result()
	if err != nil {
		if strings.Contains(err.Error(), "no such key") {
			return state, nil
		}
		return state, fmt.Errorf("look at %s: %w", stream, err)
	}
	given, lag := "0-0", int64(-1)
	for _, info := range groups {
		if info.Name == group {
			state.Pending, given, lag = info.Pending, info.LastDeliveredID, info.Lag
		}
	}
	consumers, err := rdb.XInfoConsumers(ctx, stream, group).Result()
	if err != nil && !strings.HasPrefix(err.Error(), "NOGROUP") {
		return state, fmt.Errorf("look at %s: %w", stream, err)
	}
	for _, consumer := range consumers {
		state.Consumers = append(state.Consumers, Consumer{Name: consumer.Name, Pending: consumer.Pending})
	}
	stuck, err := Stuck(ctx, rdb, stream, group)
	if err != nil {
		return state, err
	}
	state.Stuck = int64(len(stuck))
	var length *redis.IntCmd
	var read, first *redis.XMessageSliceCmd
	var now *redis.TimeCmd
	var info *redis.XInfoStreamCmd
	err = redisconn.Together(ctx, rdb, func(pipe redis.Pipeliner) {
		length = pipe.XLen(ctx, stream)
		read = pipe.XRangeN(ctx, stream, "-", given, readMax)
		info = pipe.XInfoStream(ctx, stream)
		first = pipe.XRangeN(ctx, stream, "-", "+", 1)
		now = pipe.Time(ctx)
	})
	var large *redisconn.LargeReplyError
	if errors.As(err, &large) {
		return state.page(ctx, rdb, given)
	}
	if err != nil {
		return state, fmt.Errorf("look at %s: %w", stream, err)
	}
	tells := info.Val().MaxDeletedEntryID != "" // an embedded server knows only the length
	if tells {
		state.Appended = info.Val().EntriesAdded
	}
	switch count := int64(len(read.Val())); {
	case count < readMax:
		state.Unread = length.Val() - count
	case tells && lag >= 0:
		// To count so many would keep Redis from its work. After deletions the lag may be
		// an estimate, or unknown.
		state.Unread = lag
	default:
		all, err := rdb.XRange(ctx, stream, "-", given).Result()
		if err != nil {
			return state, fmt.Errorf("look at %s: %w", stream, err)
		}
		state.Unread = max(0, length.Val()-int64(len(all)))
	}
	if len(first.Val()) > 0 {
		state.Oldest = age(first.Val()[0].ID, now.Val())
	}
	return state, nil
}

// page tells the rest of a state where some entries are too large to read. What happens
// between its pages makes the figures inexact.
func (s State) page(ctx context.Context, rdb redis.UniversalClient, given string) (State, error) {
	var read int64
	first := ""
	for _, until := range []string{given, "+"} { // without an entry that was read, the first unread one is the oldest
		for page, err := range redisconn.Pages(ctx, rdb, s.Stream, "-", until, 100) {
			if err != nil {
				return s, fmt.Errorf("look at %s: %w", s.Stream, err)
			}
			if first = cmp.Or(first, page[0].ID); until == "+" {
				break
			}
			read += int64(len(page))
		}
	}
	var length *redis.IntCmd
	var now *redis.TimeCmd
	err := redisconn.Together(ctx, rdb, func(pipe redis.Pipeliner) {
		length = pipe.XLen(ctx, s.Stream)
		now = pipe.Time(ctx)
	})
	if err != nil {
		return s, fmt.Errorf("look at %s: %w", s.Stream, err)
	}
	s.Unread = max(0, length.Val()-read)
	if first != "" {
		s.Oldest = age(first, now.Val())
	}
	return s, nil
}

// age is how long ago an entry was appended.
func age(id string, now time.Time) time.Duration {
	milliseconds, _, _ := strings.Cut(id, "-")
	ms, err := strconv.ParseInt(milliseconds, 10, 64)
	if err != nil {
		return 0
	}
	return max(0, now.Sub(time.UnixMilli(ms)))
}

// Stuck are the entries of a group that came back so often that they are tried again
// at a slow pace only, or are about to be set aside.
func Stuck(ctx context.Context, rdb redis.UniversalClient, stream, group string) ([]redis.XPendingExt, error) {
	var stuck []redis.XPendingExt
	for page, err := range redisconn.Pending(ctx, rdb, redis.XPendingExtArgs{Stream: stream, Group: group, Count: 1000}) {
		switch {
		case err != nil && strings.HasPrefix(err.Error(), "NOGROUP"):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("look at %s: %w", stream, err)
		}
		for _, pending := range page {
			if pending.RetryCount >= deliveriesMax {
				stuck = append(stuck, pending)
			}
		}
	}
	return stuck, nil
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
