package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/worker"

	"github.com/redis/go-redis/v9"
)

// parcel is what an entry between the services names: pairs of a request, empty in
// one of the stores, and a book. What cannot be read names nothing, and is for the
// services to set aside.
func parcel(message redis.XMessage) [][2]string {
	text := func(field string) []byte {
		value, _ := message.Values[field].(string)
		return []byte(value)
	}
	var pairs [][2]string
	var orders [][]string
	if json.Unmarshal(text("orders"), &orders) == nil {
		for _, order := range orders {
			if len(order) == 2 {
				pairs = append(pairs, [2]string{order[0], order[1]})
			}
		}
	}
	var books []string
	if json.Unmarshal(text("books"), &books) == nil {
		for _, book := range books {
			pairs = append(pairs, [2]string{"", book})
		}
	}
	return pairs
}

// An inbox is a stream, as it was seen: its entries, the last one that was given to
// an instance, and those that are in an instance's hands.
type inbox struct {
	entries []redis.XMessage
	given   string
	pending map[string]bool
}

// open reports whether an entry is still to be done. One that was acknowledged may
// stand in its stream as long as an older one is pending.
func (i *inbox) open(id string) bool { return i.pending[id] || isBefore(i.given, id) }

// waiting looks at an inbox. What is pending is asked last, so that an entry that
// was done meanwhile is not taken for one that waits.
func (o *observer) waiting(ctx context.Context, key, group string) (*inbox, error) {
	seen := &inbox{given: "0-0", pending: map[string]bool{}}
	err := o.stream(ctx, key, func(page []redis.XMessage) { seen.entries = append(seen.entries, page...) })
	if err != nil || len(seen.entries) == 0 {
		return seen, err
	}
	groups, err := o.rdb.XInfoGroups(ctx, key).Result()
	if err != nil {
		return seen, ignoreAbsent(key, err)
	}
	for _, info := range groups {
		if info.Name == group {
			seen.given = info.LastDeliveredID
		}
	}
	for page, err := range redisconn.Pending(ctx, o.rdb, redis.XPendingExtArgs{Stream: key, Group: group, Count: logPage}) {
		if err != nil {
			return seen, ignoreAbsent(key, err)
		}
		for _, entry := range page {
			seen.pending[entry.ID] = true
		}
	}
	return seen, nil
}

// ignoreAbsent drops the error of a stream or a group that is not there (any more).
func ignoreAbsent(key string, err error) error {
	if strings.Contains(err.Error(), "no such key") || strings.HasPrefix(err.Error(), "NOGROUP") {
		return nil
	}
	return fmt.Errorf("read %s: %w", key, err)
}

// orders checks that no request or return was acknowledged without an answer.
func (a *audit) orders(ctx context.Context) error {
	for _, key := range []string{a.keys.Requests(), a.keys.Returns()} {
		seen, err := a.eyes.waiting(ctx, key, library.Lending)
		if err != nil {
			return err
		}
		if _, err := a.advance(ctx); err != nil {
			return err
		}
		for _, message := range seen.entries {
			id, _ := message.Values["id"].(string)
			user, _ := message.Values["user"].(string)
			if seen.open(message.ID) || a.log.answers[id] != nil || a.log.mayMiss(message.ID) || a.eyes.broken[a.keys.Events()] {
				continue
			}
			if !a.log.whole {
				// It may be a repeat of an order that is older than what is left of the log.
				for _, page := range []string{a.keys.receipts(), a.keys.olderReceipts()} {
					stands, err := a.rdb.HExists(ctx, page, id).Result()
					if err := a.eyes.missing(page, err); err != nil {
						return err
					}
					if stands {
						id = ""
					}
				}
				if id == "" {
					continue
				}
			}
			a.report.found(Finding{Kind: "entry", Key: key, User: user, Request: id,
				Problem: "entry " + message.ID + " was acknowledged or skipped, but the log has no answer to it"})
		}
	}
	return nil
}

// rejected checks that the log tells of every entry that is set aside.
func (a *audit) rejected(ctx context.Context) error {
	if a.eyes.broken[a.keys.Events()] {
		return nil
	}
	for _, service := range library.Services() {
		var aside []redis.XMessage
		err := a.eyes.stream(ctx, a.keys.Rejected(service), func(page []redis.XMessage) { aside = append(aside, page...) })
		if err != nil {
			return err
		}
		if _, err := a.advance(ctx); err != nil {
			return err
		}
		for _, message := range aside {
			stream, _ := message.Values["stream"].(string)
			entry, _ := message.Values["entry"].(string)
			if a.log.rejections[[2]string{stream, entry}] || a.log.mayMiss(message.ID) {
				continue
			}
			id, _ := message.Values[".id"].(string)
			user, _ := message.Values[".user"].(string)
			a.report.found(Finding{Kind: "entry", Key: a.keys.Rejected(service), User: user, Request: id,
				Problem: fmt.Sprintf("entry %s is set aside, but the log does not tell that entry %s of %s was", message.ID, quoted(entry), quoted(stream))})
		}
	}
	return nil
}

// locked checks that every lock ends by itself.
func (a *audit) locked(ctx context.Context) error {
	if err := a.eyes.eachType(ctx, a.locks, func(string) string { return "string" }); err != nil {
		return err
	}
	for _, key := range a.locks {
		lives, err := a.rdb.PTTL(ctx, key).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", library.Plain(key), err)
		}
		if lives == -1 && !a.eyes.broken[key] {
			a.report.found(Finding{Kind: "lock", Key: key,
				Problem: "this lock has no time to live: when its instance dies, nobody could take the name, nor what is pending for it"})
		}
		// A time that is too long for a Duration is negative.
		if (lives > worker.LockTTLMax || lives < -2) && !a.eyes.broken[key] {
			a.report.found(Finding{Kind: "lock", Key: key, Problem: fmt.Sprintf(
				"this lock lives longer than any may (%s), as after Redis's clock was set back: if its instance is dead, nobody takes the name meanwhile, nor what is pending for it",
				worker.LockTTLMax)})
		}
	}
	return nil
}

// stuck checks that nothing between the services keeps coming back. What a client sent is
// set aside then.
func (a *audit) stuck(ctx context.Context) error {
	for _, service := range library.Services() {
		for _, key := range a.keys.Inboxes(service) {
			if a.eyes.broken[key] || a.keys.FromClients(key) {
				continue
			}
			stuck, err := worker.Stuck(ctx, a.rdb, key, service)
			if err != nil {
				return err
			}
			for _, entry := range stuck {
				a.report.found(Finding{Kind: "pending", Key: key, Problem: fmt.Sprintf(
					"entry %s was delivered %d times and never finished; it is tried again at a slow pace; the log of the instance %s tells why it fails",
					entry.ID, entry.RetryCount, quoted(entry.Consumer))})
			}
		}
	}
	return nil
}

// dead checks that nothing stays pending for an instance that will not handle it:
// one whose lock is gone, or names other services only.
func (a *audit) dead(ctx context.Context) error {
	type left struct{ key, name, why string }
	look := func() (map[left]int64, error) {
		found := map[left]int64{}
		for _, service := range library.Services() {
			for _, key := range a.keys.Inboxes(service) {
				if a.eyes.broken[key] {
					continue
				}
				consumers, err := a.rdb.XInfoConsumers(ctx, key, service).Result()
				if err != nil {
					if err := ignoreAbsent(key, err); err != nil {
						return nil, err
					}
					continue
				}
				for _, consumer := range consumers {
					if consumer.Pending <= 0 { // which the embedded server may count wrongly
						continue
					}
					lock := a.keys.Instance(consumer.Name)
					if a.eyes.broken[lock] {
						continue
					}
					owner, err := a.rdb.Get(ctx, lock).Result()
					switch {
					case errors.Is(err, redis.Nil):
						found[left{key, consumer.Name, "is dead"}] = consumer.Pending
					case err != nil:
						return nil, fmt.Errorf("look for the lock of %s: %w", quoted(consumer.Name), err)
					case !worker.Serves(owner, service):
						found[left{key, consumer.Name, "does not run the " + service + " service any more"}] = consumer.Pending
					}
				}
			}
		}
		return found, nil
	}
	still, err := look()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(a.config.Patience); len(still) > 0 && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(200*time.Millisecond, a.config.Patience)):
		}
		now, err := look()
		if err != nil {
			return err
		}
		for l := range still {
			if count, stays := now[l]; stays {
				still[l] = count
			} else {
				delete(still, l)
			}
		}
	}
	for l, count := range still {
		what := fmt.Sprintf("%d entries are", count)
		if count == 1 {
			what = "an entry is"
		}
		a.report.found(Finding{Kind: "pending", Key: l.key,
			Problem: what + " pending for the instance " + quoted(l.name) + ", which " + l.why + ", and nobody takes over; does an instance run that serves this inbox?"})
	}
	return nil
}
