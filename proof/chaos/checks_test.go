package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
)

// shownMax is how many of the same kind of complaint are shown.
const shownMax = 5

// A complaint is what one check found; it shows the first few and counts the rest.
type complaint struct {
	*run
	check string
	found int
}

func (c *complaint) add(format string, args ...any) {
	c.Helper()
	if c.found++; c.found <= shownMax {
		c.Errorf("%s: %s", c.check, fmt.Sprintf(format, args...))
	}
}

// checkAll makes every check, each for itself.
func (r *run) checkAll(l *log) {
	for _, check := range []struct {
		name string
		made func(*complaint, *log)
	}{
		{"each order is decided once", checkDecidedOnce},
		{"each answer is the log's", checkAnswers},
		{"each receipt stands", checkReceiptsStand},
		{"the log can be replayed", checkReplay},
		{"the log keeps real time", checkRealTime},
		{"loans and cards agree", checkLoansAndCards},
		{"nothing is left over", checkNothingLeft},
		{"nothing is rejected", checkNothingRejected},
		{"who lost a name writes nothing", checkReplaced},
		{"no worker ended by itself", checkWorkersAlive},
		{"clients see one library, book by book", checkBooks},
		{"clients see one library, card by card", checkCards},
		{"what was killed is soon made up for", checkRecovery},
		{"lendingd audit finds nothing", checkAudit},
	} {
		c := &complaint{run: r, check: check.name}
		check.made(c, l)
		if c.found > shownMax {
			r.Errorf("%s: and %d more", check.name, c.found-shownMax)
		}
	}
}

// comesToRest waits until nothing is under way any more.
func (r *run) comesToRest() bool {
	var left string
	if eventually(restWithin, 20*time.Millisecond, func() bool { left = r.underWay(); return left == "" }) {
		return true
	}
	r.readLog() // to keep it
	r.Errorf("the library does not come to rest: %s after the last fault there is still %s", restWithin, left)
	return false
}

// underWay tells what is not finished; "" for nothing.
func (r *run) underWay() string {
	ctx, cancel := within(programtest.Patience)
	defer cancel()
	var left []string
	tell := func(count int64, err error, what string) {
		if err != nil {
			left = append(left, what+" unknown: "+err.Error())
		} else if count > 0 {
			left = append(left, fmt.Sprintf("%d %s", count, what))
		}
	}
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range r.keys.Inboxes(service) {
			length, err := r.rdb.XLen(ctx, inbox).Result()
			tell(length, err, "in "+inbox)
			pending, err := r.rdb.XPending(ctx, inbox, service).Result()
			if err == nil {
				tell(pending.Count, nil, fmt.Sprintf("pending in %s for %v", inbox, pending.Consumers))
			} else {
				tell(0, err, "what is pending in "+inbox)
			}
		}
	}
	for _, key := range []string{"lending:fetching", "shelving:awaited"} {
		count, err := r.rdb.HLen(ctx, r.keys.Key(key)).Result()
		tell(count, err, "in "+key)
	}
	return strings.Join(left, ", ")
}

// checkDecidedOnce: the orders that were decided are those that clients sent, each of
// them once. One that Redis took in must be among them, and one that a client was
// told was not sent must not.
func checkDecidedOnce(c *complaint, l *log) {
	sent := map[string]*operation{}
	for _, o := range c.ledger {
		sent[o.order.ID] = o
	}
	for _, d := range l.decisions {
		if first := l.byOrder[d.ID]; first != d {
			c.add("%s was decided before, by %s in the log's entry %s", d, first.by, first.entry)
		}
		switch o := sent[d.ID]; {
		case o == nil:
			c.add("%s was decided, but no client has asked for that", d)
		case o.neverSent():
			c.add("%s was decided, but its client was told that it was not sent", d)
		}
	}
	for _, o := range c.ledger {
		if l.byOrder[o.order.ID] == nil && (o.accepted || o.answered != 0) {
			c.add("order %s was taken in (accepted %t, answered %t), but the log has no decision", o.order.ID, o.accepted, o.answered != 0)
		}
	}
}

// checkAnswers: what a client was told, each time it was told, is what the log has.
func checkAnswers(c *complaint, l *log) {
	for _, o := range c.ledger {
		d := l.byOrder[o.order.ID]
		if d == nil {
			continue // checkDecidedOnce complains, if there is reason to
		}
		for _, receipt := range o.answers {
			if got, want := receiptAnswer(receipt), d.answer(); got != want {
				c.add("%s was answered %q, but the log has %q", d, got, want)
			}
		}
	}
}

// checkReceiptsStand: who looks a receipt up now gets what the log has.
func checkReceiptsStand(c *complaint, l *log) {
	for id, d := range l.byOrder {
		ctx, cancel := within(programtest.Patience)
		receipt, err := c.clients[0].Receipt(ctx, id)
		cancel()
		if err != nil {
			c.add("%s has no receipt any more: %v", d, err)
		} else if got, want := receiptAnswer(receipt), d.answer(); got != want {
			c.add("%s has the receipt %q, but the log has %q", d, got, want)
		}
	}
}

// checkReplay: the log, in its order, is a story that can have happened.
func checkReplay(c *complaint, l *log) {
	if err := newShadow().replay(l); err != nil {
		c.add("%v", err)
	}
}

// checkRealTime: an order that was answered before another was asked lies before it
// in the log. Read from the end, no order may have been asked after the earliest
// answer to those that lie behind it.
func checkRealTime(c *complaint, l *log) {
	asked := map[string]*operation{}
	for _, o := range c.ledger {
		asked[o.order.ID] = o
	}
	earliest, first := time.Duration(math.MaxInt64), (*operation)(nil)
	for i := len(l.decisions) - 1; i >= 0; i-- {
		o := asked[l.decisions[i].ID]
		if o == nil {
			continue
		}
		if o.asked > earliest {
			c.add("order %s was asked at %s, after order %s had been answered at %s, but lies before it in the log", o.order.ID, o.asked, first.order.ID, earliest)
		}
		if o.answered != 0 && o.answered < earliest {
			earliest, first = o.answered, o
		}
	}
}

// checkLoansAndCards: each book has at most one user, it is on that user's card and no
// other, no card has more than the limit, and all of it is what the log leads to.
func checkLoansAndCards(c *complaint, l *log) {
	ctx, cancel := within(programtest.Patience)
	defer cancel()
	loans, err := c.rdb.HGetAll(ctx, c.keys.Key("lending:loans")).Result()
	if err != nil {
		c.Fatal(err)
	}
	holders := map[string]string{}
	cards := map[string]map[string]int64{}
	prefix := c.keys.Key("lending:card:")
	for _, key := range c.rdb.Keys(ctx, prefix+"*").Val() {
		user, card := strings.TrimPrefix(key, prefix), map[string]int64{}
		for book, stamp := range c.rdb.HGetAll(ctx, key).Val() {
			if other := holders[book]; other != "" {
				c.add("%s is lent twice, to %s and to %s", book, other, user)
			}
			holders[book] = user
			number, err := strconv.ParseInt(stamp, 10, 64)
			if err != nil {
				c.add("%s has %q for %s", key, stamp, book)
			}
			card[book] = number / 10000
		}
		if len(card) > loansMax {
			c.add("%s holds %d books, more than %d: %v", user, len(card), loansMax, card)
		}
		cards[user] = card
	}
	if diff := cmp.Diff(loans, holders); diff != "" {
		c.add("loans and cards differ (-loans +cards):\n%s", diff)
	}
	told := newShadow()
	if told.replay(l) != nil {
		return // checkReplay complains
	}
	for user, card := range told.cards {
		if len(card) == 0 {
			delete(told.cards, user)
		}
	}
	if diff := cmp.Diff(told.holders, loans); diff != "" {
		c.add("the loans are not what the log leads to (-log +loans):\n%s", diff)
	}
	if diff := cmp.Diff(told.cards, cards); diff != "" {
		c.add("the cards are not what the log leads to (-log +cards):\n%s", diff)
	}
}

func checkNothingLeft(c *complaint, _ *log) {
	if left := c.underWay(); left != "" {
		c.add("the library was at rest, and now there is %s", left)
	}
}

func checkNothingRejected(c *complaint, _ *log) {
	ctx, cancel := within(programtest.Patience)
	defer cancel()
	for _, service := range []string{library.Lending, library.Shelving} {
		entries, err := c.rdb.XRange(ctx, c.keys.Rejected(service), "-", "+").Result()
		if err != nil {
			c.add("%v", err)
		}
		for _, entry := range entries {
			c.add("the %s service set an entry aside: %v", service, entry.Values)
		}
	}
}

// checkReplaced: a process whose name another has taken decides nothing any more. What
// it has decided it has printed.
func checkReplaced(c *complaint, l *log) {
	for _, former := range c.toll.replaced {
		for _, d := range l.decisions {
			if d.by == former.name && former.decided[d.ID] && laterEntry(d.entry, former.after) {
				c.add("%s was decided by the former owner of that name, after another had taken it at the log's entry %s", d, former.after)
			}
		}
	}
}

// laterEntry compares two ids of a stream's entries.
func laterEntry(a, b string) bool {
	parts := func(id string) (ms, sequence int64) {
		before, after, _ := strings.Cut(id, "-")
		ms, _ = strconv.ParseInt(before, 10, 64)
		sequence, _ = strconv.ParseInt(after, 10, 64)
		return ms, sequence
	}
	aMS, aSequence := parts(a)
	bMS, bSequence := parts(b)
	return aMS > bMS || aMS == bMS && aSequence > bSequence
}

func checkWorkersAlive(c *complaint, _ *log) {
	for _, w := range c.workers {
		select {
		case <-w.process.Ended():
			c.add("%s has ended; it printed:\n%s", w.name, w.process.Output())
		default:
		}
	}
}

// checkRecovery: what others had to finish for a killed worker was finished within the
// life of its lock and 2 s, and a client was answered within 1 s of Redis being able to.
func checkRecovery(c *complaint, l *log) {
	if !*limits {
		return
	}
	for _, took := range c.toll.takeovers {
		if took > lockTTL+2*time.Second {
			c.add("a killed worker's entries were finished after %s, want %s at most", took, lockTTL+2*time.Second)
		}
	}
	for _, took := range c.firstAnswers(l) {
		if took > time.Second {
			c.add("Redis was back, and the first answer came %s later, want 1s at most", took)
		}
	}
}

// firstAnswers is how long after each restart that had no other fault beside it the
// first client was told something that was decided after it.
func (r *run) firstAnswers(l *log) (took []time.Duration) {
	for _, restart := range r.toll.restarts {
		if !restart.alone {
			continue
		}
		first := time.Duration(math.MaxInt64)
		for _, o := range r.ledger {
			d := l.byOrder[o.order.ID]
			if d != nil && o.answered > restart.started && o.answered < first && d.at().After(r.begin.Add(restart.started)) {
				first = o.answered
			}
		}
		took = append(took, max(0, first-restart.back))
	}
	return took
}

// checkAudit: the library's own audit agrees.
func checkAudit(c *complaint, _ *log) {
	ctx, cancel := within(restWithin)
	defer cancel()
	command := exec.CommandContext(ctx, "lendingd", "audit", "--json")
	command.Env = append(os.Environ(), "LENDING_ADDRESS="+c.server.URL())
	var told strings.Builder
	command.Stderr = &told
	output, err := command.Output()
	var found struct{ Findings []any }
	var exit *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		c.add("it takes more than %s", restWithin)
	case err != nil && !errors.As(err, &exit):
		c.add("%v", err)
	case err != nil:
		c.add("%v: %s%s", err, told.String(), output)
	case json.Unmarshal(output, &found) != nil || found.Findings == nil:
		c.add("it printed no findings, not even that there are none: %s%s", output, told.String())
	case len(found.Findings) > 0:
		c.add("%d findings: %s", len(found.Findings), output)
	}
}
