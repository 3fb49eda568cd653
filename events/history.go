package events

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// historyPage is how many entries of the log are read in one go. An entry may hold 16
// receipts, and Redis serves nobody else while it puts a page together.
const historyPage = 500

// A Reach tells how far back the log was read.
type Reach struct {
	// Entries is how many of the log's entries were read.
	Entries int `json:"entries"`
	// Since is the time of the oldest of them; zero if there was none.
	Since time.Time `json:"since,omitzero"`
	// Beginning says that nothing older is in the log.
	Beginning bool `json:"beginning"`
}

// Backward calls seen with the log's events, the newest first, as far as their entry holds
// one of the texts mentioned; events of one entry are told in their own order. It ends when
// seen returns false, at the log's beginning, or after entriesMax entries. Its error is
// Redis's.
//
// Most entries are only searched for the texts, which takes a tenth of the time of
// reading them.
func Backward(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, entriesMax int, mentioned []string, seen func(*Event) bool) (Reach, error) {
	var reach Reach
	for end := "+"; reach.Entries < entriesMax; {
		page, err := rdb.XRevRangeN(ctx, keys.Events(), end, "-", int64(min(historyPage, entriesMax-reach.Entries))).Result()
		if err != nil {
			return reach, fmt.Errorf("read the log: %w", err)
		}
		if len(page) == 0 {
			reach.Beginning = true
			return reach, nil
		}
		for _, message := range page {
			reach.Entries++
			reach.Since = library.EntryTime(message.ID)
			if !mentions(message, mentioned) {
				continue
			}
			for _, event := range Parse(message) {
				if !seen(event) {
					return reach, nil
				}
			}
		}
		end = "(" + page[len(page)-1].ID
	}
	return reach, nil
}

// About calls seen with the events of the log around a moment.
func About(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, at time.Time, seen func(*Event)) error {
	from, to := Around(at)
	page, err := rdb.XRevRange(ctx, keys.Events(), to, from).Result()
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	for _, message := range slices.Backward(page) {
		for _, event := range Parse(message) {
			seen(event)
		}
	}
	return nil
}

// nearby is how far apart the ids may be of entries that one script appends to several
// streams: Redis 7.0 reads its clock for each.
const nearby = 5 * time.Millisecond

// Around are the first and the last id that an entry can have which a script appended in
// the step that appended another at a moment.
func Around(at time.Time) (from, to string) {
	return fmt.Sprint(max(0, at.Add(-nearby).UnixMilli())), fmt.Sprint(max(0, at.Add(nearby).UnixMilli()))
}

func mentions(message redis.XMessage, texts []string) bool {
	for _, value := range message.Values {
		value, _ := value.(string)
		for _, text := range texts {
			if strings.Contains(value, text) {
				return true
			}
		}
	}
	return false
}
