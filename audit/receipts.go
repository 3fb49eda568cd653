package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"example.com/library/redisconn"
	"github.com/redis/go-redis/v9"
)

// roundsMax is how often receipts are read where some are missing.
const roundsMax = 3

// receipts checks that every receipt is the one that the log has, and that none is
// missing that should still stand.
func (a *audit) receipts(ctx context.Context) error {
	if a.eyes.broken[a.keys.receipts()] || a.eyes.broken[a.keys.olderReceipts()] {
		return nil // it was found
	}
	// While they were read, a page may have ended, which takes receipts away that were
	// seen already. It happens once in a long time, so it does not happen again and again.
	var findings []Finding
	for round, missing := 1, true; missing && round <= roundsMax; round++ {
		var err error
		if findings, missing, err = a.readReceipts(ctx, round); err != nil {
			return err
		}
	}
	if a.receiptsUntold > 0 {
		a.report.Unchecked = append(a.report.Unchecked, fmt.Sprintf("receipts that are older than what is left of the log: %d", a.receiptsUntold))
	}
	for _, finding := range findings {
		a.report.found(finding)
	}
	return nil
}

// readReceipts reads all receipts, and says whether it missed one.
func (a *audit) readReceipts(ctx context.Context, round int) (findings []Finding, missing bool, err error) {
	suspects := map[string]bool{}
	var untold []string // by the log, as far as it was read
	a.report.Receipts, a.receiptsUntold = 0, 0
	for _, page := range []string{a.keys.receipts(), a.keys.olderReceipts()} {
		err := a.eyes.hash(ctx, page, func(id, text string) {
			a.report.Receipts++
			answer := a.log.answers[id]
			switch {
			case answer == nil:
				untold = append(untold, id)
			case !a.matches(answer, text):
				suspects[id] = true
			}
			if answer != nil {
				answer.seen = round
			}
		})
		if err != nil {
			return nil, false, err
		}
	}
	if _, err := a.advance(ctx); err != nil {
		return nil, false, err
	}
	for _, id := range untold {
		if a.log.whole || a.log.answers[id] != nil {
			suspects[id] = true
		} else {
			a.receiptsUntold++
		}
	}
	// Receipts end page by page, so those that stand are the latest. Of those after the
	// first that stands, and of those that are young, none may be missing.
	now, err := a.rdb.Time(ctx).Result()
	if err != nil {
		return nil, false, fmt.Errorf("ask for the time: %w", err)
	}
	stands := false
	for _, d := range a.log.decisions {
		answer := a.log.answers[d.id]
		if answer.event != d.event {
			continue // it was decided anew long after
		}
		stands = stands || answer.seen == round
		young := now.UnixMilli()-milliseconds(d.event) < answer.keepMS
		if answer.seen != round && (stands || young) {
			suspects[d.id] = true
		}
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(suspects)), pipelined) {
		var page, older *redis.SliceCmd
		// In one step, for a page may be turned.
		err := redisconn.Transaction(ctx, a.rdb, func(pipe redis.Pipeliner) {
			page = pipe.HMGet(ctx, a.keys.receipts(), some...)
			older = pipe.HMGet(ctx, a.keys.olderReceipts(), some...)
		})
		if err != nil {
			return nil, false, a.eyes.missing(a.keys.receipts(), err)
		}
		if _, err := a.advance(ctx); err != nil {
			return nil, false, err
		}
		for i, id := range some {
			on, isOn := page.Val()[i].(string)
			old, isOld := older.Val()[i].(string)
			finding := Finding{Kind: "receipt", Key: a.keys.receipts(), Request: id}
			text := on
			if !isOn && isOld {
				text, finding.Key = old, a.keys.olderReceipts()
			}
			var told receipt
			_ = json.Unmarshal([]byte(text), &told) // it may be anything
			finding.User = told.User
			answer := a.log.answers[id]
			if answer != nil {
				finding.Event, finding.User = answer.event, cmp.Or(answer.user, told.User)
			}
			switch {
			case isOn && isOld && on != old:
				finding.Problem = "it has two receipts, one on each page: " + quoted(on) + " and " + quoted(old)
			case answer == nil && !isOn && !isOld:
				continue // it ended meanwhile
			case answer == nil:
				finding.Problem = "it has a receipt of which the log does not tell: " + quoted(text)
			case !isOn && !isOld && answer.rejected:
				continue // somebody put the entry back meanwhile
			case !isOn && !isOld:
				missing = true
				finding.Problem = "its receipt is missing, though the log has its decision and it should still stand"
			case !a.matches(answer, text):
				finding.Problem = "its receipt is not the one that the log has: " + quoted(text)
			default:
				continue
			}
			findings = append(findings, finding)
		}
	}
	return findings, missing, nil
}

// matches reports whether a stored receipt is the one that the log tells of.
func (a *audit) matches(answer *answer, text string) bool {
	if answer == nil {
		return false
	}
	hash := maphash.String(a.log.seed, text)
	return answer.hash == hash || answer.or == hash
}
