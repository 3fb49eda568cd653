package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

const (
	// looksMax is how often a book is looked at to which things keep happening.
	looksMax = 30
	// toldMax is how many findings are told one by one.
	toldMax = 1000
	// patienceDefault is longer than an instance takes to see what a dead one left.
	patienceDefault = 5 * time.Second
)

// Config says what to audit.
type Config struct {
	// Redis is the server that has the library; Keys name the library.
	Redis redis.UniversalClient
	Keys  library.Keys
	// LoansMax is how many books a user may hold. Default: what the instance that
	// started last noted.
	LoansMax int
	// Patience is how long entries may stay pending for a dead instance before that is
	// wrong. Default: 5 s; somebody should have taken them over by then.
	Patience time.Duration
}

// Check audits a library and reports what it found. It writes nothing. An error
// means that it could not finish.
func Check(ctx context.Context, config Config) (*Report, error) {
	a, err := begin(ctx, config)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{a.books, a.receipts, a.limit, a.away, a.inboxes, a.dead} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a.finish(), nil
}

// An audit is a Check under way.
type audit struct {
	config Config
	rdb    redis.UniversalClient
	keys   keys
	log    *replay
	eyes   *observer
	sights map[string]*sight
	report *Report
}

// begin follows the log to its present end.
func begin(ctx context.Context, config Config) (*audit, error) {
	a, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	return a, a.follow(ctx)
}

// prepare makes an audit ready to follow the log.
func prepare(ctx context.Context, config Config) (*audit, error) {
	config.Patience = cmp.Or(config.Patience, patienceDefault)
	k := keys{config.Keys}
	a := &audit{config: config, rdb: config.Redis, keys: k, report: &Report{
		Library: config.Keys.Library, Findings: []Finding{}, Notices: []string{}, Unchecked: []string{},
	}}
	master, err := library.Master(ctx, config.Redis, config.Keys)
	if err != nil {
		return nil, err
	}
	a.eyes = &observer{rdb: config.Redis, master: master, keys: k, report: a.found, broken: map[string]bool{}}
	a.log = &replay{
		rdb: config.Redis, keys: k, last: "0-0", books: map[string]*book{}, answers: map[string]*answer{},
		held: map[string]int{}, seed: maphash.MakeSeed(), report: a.found,
		notice: func(text string) { a.report.Notices = append(a.report.Notices, text) },
	}
	if a.log.terms, err = a.eyes.terms(ctx); err != nil {
		return nil, err
	}
	if config.LoansMax > 0 {
		a.log.terms.loansMax, a.log.terms.sinceMS = config.LoansMax, 0
	}
	return a, a.condition(ctx)
}

// follow follows the log to its present end.
func (a *audit) follow(ctx context.Context) error {
	until, err := newest(ctx, a.rdb, a.keys)
	if err != nil {
		return a.eyes.missing(a.keys.Events(), err)
	}
	return a.log.to(ctx, until)
}

// finish sums the report up.
func (a *audit) finish() *Report {
	a.report.Events, a.report.First, a.report.Last, a.report.Orders = a.log.entries, a.log.first, a.log.last, len(a.log.orders)
	slices.SortStableFunc(a.report.Findings, func(x, y Finding) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Book, y.Book), strings.Compare(x.User, y.User))
	})
	return a.report
}

// condition tells whether the log is whole.
func (a *audit) condition(ctx context.Context) error {
	info, err := a.rdb.XInfoStream(ctx, a.keys.Events()).Result()
	if err != nil {
		if strings.Contains(err.Error(), "no such key") {
			a.log.whole, a.report.Whole = true, true
			return nil
		}
		return a.eyes.missing(a.keys.Events(), err)
	}
	// The embedded server does not count what was ever added; what it has trimmed is
	// known by the log's being full.
	a.log.whole = info.EntriesAdded == info.Length || info.EntriesAdded == 0 && info.Length < a.log.terms.logMax
	a.report.Whole = a.log.whole
	if !a.log.whole {
		a.report.Unchecked = append(a.report.Unchecked, "what happened before event "+info.FirstEntry.ID+
			", for the log's beginning was trimmed away: facts that are older were checked against each other only")
	}
	if deleted := info.MaxDeletedEntryID; deleted != "" && deleted != "0-0" {
		a.found(Finding{Kind: "log", Key: a.keys.Events(), Event: deleted, Problem: "somebody deleted this entry out of the log, perhaps not only this one"})
	}
	return nil
}

func (a *audit) found(f Finding) {
	if len(a.report.Findings) >= toldMax {
		a.report.FindingsMore++
		return
	}
	a.report.Findings = append(a.report.Findings, f)
}

// advance follows the log to its present end and tells what books it mentions on
// the way.
func (a *audit) advance(ctx context.Context) (map[string]bool, error) {
	a.log.touched = map[string]bool{}
	return a.log.touched, a.follow(ctx)
}

// books checks where every book is, and who has it.
func (a *audit) books(ctx context.Context) error {
	var err error
	if a.sights, err = a.eyes.everything(ctx); err != nil {
		return err
	}
	touched, err := a.advance(ctx)
	if err != nil {
		return err
	}
	suspects := touched
	for _, names := range []func(func(string) bool){maps.Keys(a.sights), maps.Keys(a.log.books)} {
		for name := range names {
			if !suspects[name] && len(a.judge(name, nil)) > 0 {
				suspects[name] = true
			}
		}
	}
	// A finding is one that is seen in two looks, in both of which nothing happened to
	// the book: an entry that is divided (apart) is not in the log.
	doubted := map[string]bool{}
	for look := 0; len(suspects) > 0 && look < looksMax; look++ {
		if _, err := a.advance(ctx); err != nil {
			return err
		}
		books := slices.Collect(maps.Keys(suspects))
		sights, err := a.eyes.again(ctx, books, a.possibleUsers)
		if err != nil {
			return err
		}
		touched, err := a.advance(ctx)
		if err != nil {
			return err
		}
		var aside map[[2]string]string
		for _, book := range books {
			if s := a.sights[book]; s != nil {
				sights[book].astray = s.astray
			}
			a.sights[book] = sights[book]
			if touched[book] {
				delete(doubted, book)
				continue
			}
			findings := a.judge(book, nil)
			if len(findings) > 0 && !doubted[book] {
				doubted[book] = true
				continue
			}
			if len(findings) > 0 {
				if aside == nil {
					if aside, err = a.setAside(ctx); err != nil {
						return err
					}
				}
				for _, finding := range a.judge(book, aside) {
					a.found(finding)
				}
			}
			delete(suspects, book)
		}
	}
	if len(suspects) > 0 {
		a.report.Unchecked = append(a.report.Unchecked, fmt.Sprintf(
			"%d books, among them %q: something happened to them each time they were looked at", len(suspects), slices.Min(slices.Collect(maps.Keys(suspects)))))
	}
	for name, s := range a.sights {
		if s.holder != "" {
			a.report.Loans++
		}
		if s.front {
			a.report.Front++
		}
		if b := a.log.books[name]; b != nil && b.at != anywhere && b.at != onShelves || (b == nil || b.at == anywhere) && s.out {
			a.report.Out++
		}
	}
	return nil
}

// possibleUsers are those on whose cards a book may be.
func (a *audit) possibleUsers(name string) []string {
	var users []string
	if s := a.sights[name]; s != nil {
		users = append(users, s.holder)
		for _, loan := range s.loans {
			users = append(users, loan.user)
		}
	}
	if b := a.log.books[name]; b != nil {
		users = append(users, b.holder)
	}
	return users
}

// setAside are the orders in the entries that the services set aside: of each
// inbox and book the id of the rejected entry.
func (a *audit) setAside(ctx context.Context) (map[[2]string]string, error) {
	aside := map[[2]string]string{}
	for _, service := range []string{library.Lending, library.Shelving} {
		for start := "-"; ; {
			page, err := a.rdb.XRangeN(ctx, a.keys.Rejected(service), start, "+", logPage).Result()
			if err := a.eyes.missing(a.keys.Rejected(service), err); err != nil {
				return nil, err
			}
			for _, message := range page {
				stream, _ := message.Values["stream"].(string)
				own := redis.XMessage{Values: map[string]any{"orders": message.Values[".orders"], "books": message.Values[".books"]}}
				for _, order := range parcel(own) {
					aside[[2]string{stream, order[1]}] = message.ID
				}
			}
			if len(page) < logPage {
				break
			}
			start = "(" + page[len(page)-1].ID
		}
	}
	return aside, nil
}

// judge compares what was seen of a book with what the log says, and where it does
// not say anything, what was seen with itself. aside helps to explain.
func (a *audit) judge(name string, aside map[[2]string]string) []Finding {
	s, b := a.sights[name], a.log.books[name]
	if s == nil {
		s = &sight{}
	}
	if b == nil {
		b = &book{}
		if a.log.whole {
			b = &book{at: onShelves, stage: unordered, told: true}
		}
	}
	var findings []Finding
	wrong := func(kind, key, user, request, problem string, args ...any) {
		findings = append(findings, Finding{Kind: kind, Key: key, Book: name, User: user, Request: request, Event: b.event, Problem: fmt.Sprintf(problem, args...)})
	}
	// lost tells what became of an entry that is not in its inbox.
	lost := func(inbox string) string {
		if id := aside[[2]string{inbox, name}]; id != "" {
			return "; it was set aside, and `lendingd rejected retry " + id + "` puts it back"
		}
		return ""
	}
	k := a.keys
	fetching, _, _ := strings.Cut(s.fetching, " ")

	holder, told := b.holder, "the log says it is "
	if !b.told {
		holder, told = s.holder, "the loans say it is "
	} else if s.holder != b.holder {
		wrong("book", k.loans(), cmp.Or(s.holder, b.holder), "", "it is %s here; %s%s", lentTo(s.holder), told, lentTo(b.holder))
	}
	onCard := false
	for _, loan := range s.loans {
		switch {
		case loan.user != holder:
			wrong("card", k.card(loan.user), loan.user, "", "it is on this card; %s%s", told, lentTo(holder))
		case b.told && loan.dueMS != b.dueMS:
			wrong("card", k.card(loan.user), loan.user, "", "it is due %s on this card; the log says %s", date(loan.dueMS), date(b.dueMS))
		}
		onCard = onCard || loan.user == holder
	}
	if holder != "" && !onCard {
		wrong("card", k.card(holder), holder, "", "it is not on this card; %s%s", told, lentTo(holder))
	}
	switch {
	case b.told && fetching != b.fetching:
		wrong("order", k.fetching(), holder, cmp.Or(b.fetching, fetching), "it is fetched for %s here; the log says for %s", orNobody(fetching), orNobody(b.fetching))
	case s.fetching != "" && holder == "":
		wrong("order", k.fetching(), "", fetching, "it is being fetched, but lent to nobody")
	}
	if s.astray != "" {
		wrong("book", s.astray, "", "", "it is noted in a bay that it does not belong to; its own is %s", k.bay(name))
	}
	if b.at != anywhere {
		if s.front != (b.at == inFront) {
			wrong("book", k.front(), "", "", "front storage %s; the log says it is %s", ifElse(s.front, "has it", "has it not"), b.at)
		}
		if s.out != (b.at != onShelves) {
			wrong("book", k.bay(name), "", "", "it is %s the shelves here; the log says it is %s", ifElse(s.out, "off", "on"), b.at)
		}
		if want := one(b.at == toUser); len(s.deliveries) != want {
			wrong("order", k.Deliveries(), holder, b.order, "%d deliveries wait that name it; the log says it is %s%s", len(s.deliveries), b.at, lost(k.Deliveries()))
		}
		if want := one(b.at == toShelves); s.stores != want {
			wrong("order", k.Stores(), "", "", "%d entries wait that put it on the shelves; the log says it is %s%s", s.stores, b.at, lost(k.Stores()))
		}
		if b.stage == expected && b.at != toShelves {
			wrong("order", k.awaited(), "", b.order, "it is awaited for ever: it is not on its way to the shelves but %s", b.at)
		}
	}
	if b.stage != unknown {
		if want := one(b.stage == ordered); len(s.fetches) != want {
			wrong("order", k.Fetches(), holder, b.order, "%d orders wait for it; the log says %s%s", len(s.fetches), orNobody(ifElse(b.stage == ordered, b.order, "")), lost(k.Fetches()))
		}
		if want := ifElse(b.stage == expected, b.order, ""); s.awaited != want {
			wrong("order", k.awaited(), holder, cmp.Or(want, s.awaited), "%s awaits it here; the log says %s", orNobody(s.awaited), orNobody(want))
		}
	}
	if len(findings) > 0 {
		return findings
	}

	var places []string
	for where, times := range map[string]int{
		"on the shelves": one(!s.out), "in front storage": one(s.front), "in the hands of " + holder: one(holder != "" && s.fetching == ""),
		"in an entry of the stores": s.stores, "in an entry of the deliveries": len(s.deliveries),
	} {
		for range times {
			places = append(places, where)
		}
	}
	if len(places) != 1 {
		slices.Sort(places)
		wrong("book", k.bay(name), holder, "", "it is in %d places at once: %s", len(places), cmp.Or(strings.Join(places, ", "), "none"))
	}
	if working := len(s.fetches) + len(s.deliveries) + one(s.awaited != ""); s.fetching != "" && working != 1 {
		wrong("order", k.fetching(), holder, fetching, "it is being fetched, but %d orders, deliveries and notes of awaiting are about it; one should be%s%s", working, lost(k.Fetches()), lost(k.Deliveries()))
	}
	if s.awaited != "" && s.stores == 0 {
		wrong("order", k.awaited(), holder, s.awaited, "it is awaited for ever: no entry waits that puts it on the shelves%s", lost(k.Stores()))
	}
	return findings
}

func lentTo(user string) string {
	if user == "" {
		return "lent to nobody"
	}
	return fmt.Sprintf("lent to %q", user)
}

func orNobody(request string) string {
	if request == "" {
		return "nobody"
	}
	return "order " + request
}

func date(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateTime + ".000") }

func one(holds bool) int { return ifElse(holds, 1, 0) }

func ifElse[T any](holds bool, then, otherwise T) T {
	if holds {
		return then
	}
	return otherwise
}

// receipts checks that every receipt is the one that the log has, and that none is
// missing that should still stand.
func (a *audit) receipts(ctx context.Context) error {
	suspects := map[string]bool{}
	stored := 0
	for _, page := range []string{a.keys.receipts(), a.keys.olderReceipts()} {
		err := a.eyes.hash(ctx, page, func(id, text string) {
			stored++
			answer := a.log.answers[id]
			if answer != nil {
				answer.seen = true
			}
			if !a.matches(answer, text) {
				suspects[id] = true
			}
		})
		if err != nil {
			return err
		}
	}
	a.report.Receipts = stored
	if _, err := a.advance(ctx); err != nil {
		return err
	}
	// Receipts end page by page, so those that stand are the latest. Of those between
	// two that stand, and of those that are young, none may be missing.
	now, err := a.rdb.Time(ctx).Result()
	if err != nil {
		return err
	}
	kept := false
	for _, id := range a.log.orders {
		answer := a.log.answers[id]
		kept = kept || answer.seen
		if !answer.seen && !answer.rejected && (kept || now.UnixMilli()-milliseconds(answer.event) < a.log.terms.receiptMS) {
			suspects[id] = true
		}
	}
	untold := 0
	ids := slices.Sorted(maps.Keys(suspects))
	for from := 0; from < len(ids); from += pipelined {
		some := ids[from:min(len(ids), from+pipelined)]
		var page, older *redis.SliceCmd
		// In one step, for a page may be turned.
		_, err := a.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			page = pipe.HMGet(ctx, a.keys.receipts(), some...)
			older = pipe.HMGet(ctx, a.keys.olderReceipts(), some...)
			return nil
		})
		if err != nil && len(a.eyes.broken) == 0 {
			return fmt.Errorf("read %s: %w", a.keys.receipts(), err)
		}
		if err != nil {
			return nil // a page that cannot be read was found already
		}
		if _, err := a.advance(ctx); err != nil {
			return err
		}
		for i, id := range some {
			answer := a.log.answers[id]
			finding := Finding{Kind: "receipt", Key: a.keys.receipts(), Request: id}
			if answer != nil {
				finding.Event = answer.event
			}
			text, on := page.Val()[i].(string)
			old, onOlder := older.Val()[i].(string)
			switch {
			case !on && onOlder:
				text, finding.Key = old, a.keys.olderReceipts()
			case on && onOlder && text != old:
				finding.Problem = "it has two receipts, one on each page"
			}
			var told receipt
			_ = json.Unmarshal([]byte(text), &told) // it may be anything
			finding.User = told.User
			switch {
			case finding.Problem != "":
			case answer == nil && !on && !onOlder:
				continue // it ended meanwhile
			case answer == nil && !a.log.whole:
				untold++
				continue
			case answer == nil:
				finding.Problem = "it has a receipt of which the log does not tell: " + text
			case !on && !onOlder:
				finding.Problem = "its receipt is missing; the log has its decision, and receipts that are as old stand"
			case !a.matches(answer, text):
				finding.Problem = "its receipt is not the one that the log has: " + text
			default:
				continue
			}
			a.found(finding)
		}
	}
	if untold > 0 {
		a.report.Unchecked = append(a.report.Unchecked, fmt.Sprintf("%d receipts that are older than the log", untold))
	}
	return nil
}

// matches reports whether a stored receipt is the one that the log tells of.
func (a *audit) matches(answer *answer, text string) bool {
	return answer != nil && (answer.ambiguous || answer.hash == maphash.String(a.log.seed, text))
}

// limit checks that nobody holds more than a user may.
func (a *audit) limit(ctx context.Context) error {
	cards := map[string][]loan{}
	for _, s := range a.sights {
		for _, loan := range s.loans {
			cards[loan.user] = append(cards[loan.user], loan)
		}
	}
	a.report.Cards = len(cards)
	for user, loans := range cards {
		if len(loans) <= a.log.terms.loansMax {
			continue
		}
		// A limit that was lowered binds those who borrow, not those who have borrowed.
		if !slices.ContainsFunc(loans, func(l loan) bool { return l.sinceMS() >= a.log.terms.sinceMS }) {
			continue
		}
		// The loans were seen one after another, the card's length is of one moment.
		held, err := a.rdb.HLen(ctx, a.keys.card(user)).Result()
		if err := a.eyes.missing(a.keys.card(user), err); err != nil {
			return err
		}
		if held > int64(a.log.terms.loansMax) {
			a.found(Finding{Kind: "limit", Key: a.keys.card(user), User: user,
				Problem: fmt.Sprintf("the user holds %d books, where %d are allowed", held, a.log.terms.loansMax)})
		}
	}
	return nil
}

// away checks the count of books off the shelves.
func (a *audit) away(ctx context.Context) error {
	var counted *redis.StringCmd
	var last *redis.XMessageSliceCmd
	_, err := a.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		counted = pipe.Get(ctx, a.keys.away())
		last = pipe.XRevRangeN(ctx, a.keys.Events(), "+", "-", 1)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return a.eyes.missing(a.keys.away(), err)
	}
	until := "0-0"
	if len(last.Val()) > 0 {
		until = last.Val()[0].ID
	}
	if err := a.log.to(ctx, until); err != nil {
		return err
	}
	out := 0
	for _, b := range a.log.books {
		out += one(b.at != onShelves && b.at != anywhere)
	}
	unknown := false
	for name, s := range a.sights {
		if b := a.log.books[name]; !a.log.whole && (b == nil || b.at == anywhere) {
			out += one(s.out)
			unknown = unknown || b != nil
		}
	}
	count, err := strconv.Atoi(cmp.Or(counted.Val(), "0"))
	switch {
	case err != nil:
		a.found(Finding{Kind: "count", Key: a.keys.away(), Problem: fmt.Sprintf("it is no number: %q", counted.Val())})
	case unknown && count != out:
		// Of a book that is between two places only one side of which the log tells,
		// it is not known whether it was out at that very moment.
		a.report.Unchecked = append(a.report.Unchecked, "the count of the books off the shelves, while some are on their way")
	case count != out:
		a.found(Finding{Kind: "count", Key: a.keys.away(), Event: a.log.last, Problem: fmt.Sprintf("it counts %d books off the shelves, but %d are", count, out)})
	}
	return nil
}

// inboxes checks that no request or return was acknowledged without an answer.
func (a *audit) inboxes(ctx context.Context) error {
	for _, key := range []string{a.keys.Requests(), a.keys.Returns()} {
		var lost []redis.XMessage
		seen, err := a.eyes.waiting(ctx, key, library.Lending)
		if err != nil {
			return err
		}
		for _, message := range seen.entries {
			if !seen.open(message.ID) {
				lost = append(lost, message)
			}
		}
		if len(lost) == 0 {
			continue
		}
		if _, err := a.advance(ctx); err != nil {
			return err
		}
		for _, message := range lost {
			id, _ := message.Values["id"].(string)
			if answer := a.log.answers[id]; answer != nil || !a.log.whole && isBefore(message.ID, a.log.first) {
				continue
			}
			user, _ := message.Values["user"].(string)
			a.found(Finding{Kind: "entry", Key: key, User: user, Request: id,
				Problem: "entry " + message.ID + " was acknowledged, but the log has no answer to it"})
		}
	}
	return nil
}

// dead checks that nothing stays pending for an instance whose lock is gone.
func (a *audit) dead(ctx context.Context) error {
	type left struct{ key, service, name string }
	look := func() (map[left]int64, error) {
		found := map[left]int64{}
		for _, service := range []string{library.Lending, library.Shelving} {
			for _, key := range a.keys.Inboxes(service) {
				consumers, err := a.rdb.XInfoConsumers(ctx, key, service).Result()
				if err != nil {
					if err := ignoreAbsent(key, err); err != nil {
						return nil, a.eyes.missing(key, err)
					}
					continue
				}
				for _, consumer := range consumers {
					if consumer.Pending == 0 {
						continue
					}
					lives, err := a.rdb.PTTL(ctx, a.keys.Instance(consumer.Name)).Result()
					if err != nil {
						return nil, err
					}
					switch lives {
					case -2: // there is no such key
						found[left{key, service, consumer.Name}] = consumer.Pending
					case -1: // it never ends
						found[left{a.keys.Instance(consumer.Name), "", consumer.Name}] = consumer.Pending
					}
				}
			}
		}
		return found, nil
	}
	first, err := look()
	if err != nil {
		return err
	}
	still := first
	for deadline := time.Now().Add(a.config.Patience); len(still) > 0 && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		now, err := look()
		if err != nil {
			return err
		}
		for l := range still {
			if _, stays := now[l]; !stays {
				delete(still, l)
			} else {
				still[l] = now[l]
			}
		}
	}
	for l, count := range still {
		if l.service == "" {
			a.found(Finding{Kind: "lock", Key: l.key, Problem: fmt.Sprintf("the lock never ends, so what is pending for %q could never be taken over", l.name)})
			continue
		}
		a.found(Finding{Kind: "pending", Key: l.key, Problem: fmt.Sprintf(
			"%d entries are pending for instance %q, which is dead, and nobody takes them over; does an instance run the %s service?", count, l.name, l.service)})
	}
	return nil
}
