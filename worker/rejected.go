package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrNotRejected is returned when no entry with that id is set aside.
	ErrNotRejected = errors.New("no such entry is set aside")

	// ErrNotKept is returned when an entry cannot be put back, because it was too
	// large to keep, or trimmed away before it was set aside.
	ErrNotKept = errors.New("the entry's fields were not kept")
)

// A RejectedEntry is an entry that a service set aside.
type RejectedEntry struct {
	// ID is its id among the rejected.
	ID      string `json:"id"`
	Service string `json:"service"`
	// Stream and Entry are the inbox it came from, and its id there.
	Stream string `json:"stream"`
	Entry  string `json:"entry"`
	Reason string `json:"reason"`
	// Fields are what its appender wrote, unchecked; empty where that was not kept.
	Fields map[string]string `json:"fields"`
}

// EachRejected calls f with every entry that a service set aside, the oldest
// first, until f returns an error, which it returns.
func EachRejected(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, service string, f func(RejectedEntry) error) error {
	for page, err := range redisconn.Pages(ctx, rdb, keys.Rejected(service), "-", "+", 100) {
		if err != nil {
			return fmt.Errorf("list what the %s service rejected: %w", service, err)
		}
		for _, message := range page {
			if err := f(newRejectedEntry(message, service)); err != nil {
				return err
			}
		}
	}
	return nil
}

func newRejectedEntry(message redis.XMessage, service string) RejectedEntry {
	entry := RejectedEntry{ID: message.ID, Service: service, Fields: map[string]string{}}
	for name, value := range message.Values {
		text, _ := value.(string)
		switch field, own := strings.CutPrefix(name, "."); {
		case own:
			entry.Fields[field] = text
		case name == "stream":
			entry.Stream = text
		case name == "entry":
			entry.Entry = text
		case name == "reason":
			entry.Reason = text
		}
	}
	return entry
}

// FindRejected is an entry that a service set aside. Its error wraps ErrNotRejected, or
// is Redis's.
func FindRejected(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, service, id string) (RejectedEntry, error) {
	messages, err := rdb.XRange(ctx, keys.Rejected(service), id, id).Result()
	if err != nil {
		return RejectedEntry{}, fmt.Errorf("look for entry %s: %w", id, err)
	}
	if len(messages) == 0 {
		return RejectedEntry{}, fmt.Errorf("%w: %s", ErrNotRejected, id)
	}
	return newRejectedEntry(messages[0], service), nil
}

// Drop gives up on an entry that a service set aside; a receipt that says so stands. Its
// error wraps ErrNotRejected, or is Redis's.
func Drop(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, service, id string) error {
	answer, err := scripts.Drop.Run(ctx, redisconn.Regardless(rdb), []string{keys.Rejected(service), keys.Events()}, id).Text()
	if err == nil && answer == "unknown" {
		err = fmt.Errorf("%w: %s", ErrNotRejected, id)
	}
	return err
}

// Retry puts an entry that a service set aside back into its inbox, and returns
// its new id there. pages are the keys of the pages of receipts; no entry of the
// shelving service's has a receipt, and it may not look there. Its error wraps
// ErrNotRejected or ErrNotKept, or is Redis's.
func Retry(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, service, id string, pages ...string) (string, error) {
	entry, err := FindRejected(ctx, rdb, keys, service, id)
	if err != nil {
		return "", err
	}
	if !slices.Contains(keys.Inboxes(service), entry.Stream) {
		return "", fmt.Errorf("%w: %s says it came from %s, which the %s service does not read",
			ErrNotKept, id, library.Printable(entry.Stream), service)
	}
	request := entry.Fields["id"]
	if service != library.Lending {
		request, pages = "", nil
	}
	answer, err := scripts.Retry.Run(ctx, rdb,
		append([]string{keys.Rejected(service), entry.Stream, keys.Events()}, pages...), id, request).Text()
	switch {
	case err != nil:
		return "", err
	case answer == "unknown":
		return "", fmt.Errorf("%w: %s", ErrNotRejected, id)
	case answer == "not_kept":
		return "", fmt.Errorf("%w: %s", ErrNotKept, id)
	}
	return answer, nil
}
