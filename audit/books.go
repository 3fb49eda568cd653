package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// looksMax is how often a book is looked at to which things keep happening.
const looksMax = 30

// books checks where every book is, and who has it.
func (a *audit) books(ctx context.Context) error {
	known := a.keys.types()
	var err error
	a.sights, err = a.eyes.everything(ctx, func(name string) {
		switch {
		case strings.HasPrefix(name, a.keys.locks()):
			a.locks = append(a.locks, name)
		case known[name] == "":
			a.report.noticed("the library has no such key: " + quoted(name))
		}
	})
	if err != nil {
		return err
	}
	suspects, err := a.advance(ctx)
	if err != nil {
		return err
	}
	for _, names := range []func(func(string) bool){maps.Keys(a.sights), maps.Keys(a.log.books)} {
		for name := range names {
			if !suspects[name] && len(a.judge(name, nil)) > 0 {
				suspects[name] = true
			}
		}
	}
	for look := 0; len(suspects) > 0 && look < looksMax; look++ {
		if err := a.look(ctx, suspects); err != nil {
			return err
		}
	}
	if len(suspects) > 0 {
		a.report.Unchecked = append(a.report.Unchecked, fmt.Sprintf(
			"books to which something happened each time they were looked at: %d, one of them %s", len(suspects), quoted(slices.Min(slices.Collect(maps.Keys(suspects))))))
	}
	for name, s := range a.sights {
		a.report.Loans += once(s.holder != "")
		a.report.Front += once(s.front)
		b := a.log.books[name]
		a.report.Out += once(b != nil && b.at != anywhere && b.at != onShelves || (b == nil || b.at == anywhere) && s.out)
	}
	return nil
}

// look looks at the suspects again, while it follows the log. Those to which nothing
// happened meanwhile are no more suspects: they are cleared, or guilty.
func (a *audit) look(ctx context.Context, suspects map[string]bool) error {
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
	var guilty []string
	for _, book := range books {
		if s := a.sights[book]; s != nil {
			sights[book].astray = s.astray
		}
		a.sights[book] = sights[book]
		if touched[book] {
			continue
		}
		delete(suspects, book)
		if len(a.judge(book, nil)) > 0 {
			guilty = append(guilty, book)
		}
	}
	if len(guilty) == 0 {
		return nil
	}
	aside, err := a.setAside(ctx)
	if err != nil {
		return err
	}
	for _, book := range guilty {
		for _, finding := range a.judge(book, aside) {
			a.report.found(finding)
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
	for _, service := range library.Services() {
		err := a.eyes.stream(ctx, a.keys.Rejected(service), func(page []redis.XMessage) {
			for _, message := range page {
				stream, _ := message.Values["stream"].(string)
				own := redis.XMessage{Values: map[string]any{"orders": message.Values[".orders"], "books": message.Values[".books"]}}
				for _, order := range parcel(own) {
					aside[[2]string{stream, order[1]}] = message.ID
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return aside, nil
}

// A judgement compares what was seen of a book with what the log says.
type judgement struct {
	keys     keys
	name     string
	s        *sight
	b        *book
	aside    map[[2]string]string // of an inbox and a book, the rejected entry
	broken   map[string]bool      // keys of which nothing is known
	findings []Finding
}

// judge compares what was seen of a book with what the log says, and where the log
// does not say anything, what was seen with itself. aside helps to explain.
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
	j := &judgement{keys: a.keys, name: name, s: s, b: b, aside: aside, broken: a.eyes.broken}
	for _, o := range s.odd {
		j.wrong("value", o.key, o.user, "", "it holds %s where it should hold %s", quoted(o.value), o.should)
	}
	j.holder()
	j.order()
	j.place()
	if len(j.findings) == 0 && len(j.broken) == 0 {
		j.itself()
	}
	return j.findings
}

func (j *judgement) wrong(kind, key, user, request, problem string, args ...any) {
	if !j.broken[key] {
		j.findings = append(j.findings, Finding{Kind: kind, Key: key, Book: j.name, User: user, Request: request, Event: j.b.event, Problem: fmt.Sprintf(problem, args...)})
	}
}

// lost tells what became of an entry that is not in its inbox.
func (j *judgement) lost(inbox string) string {
	if id := j.aside[[2]string{inbox, j.name}]; id != "" {
		return "; it was set aside, and `lendingd rejected retry " + id + "` puts it back"
	}
	return ""
}

// holder checks who has the book: the loans and the cards.
func (j *judgement) holder() {
	k, s, b := j.keys, j.s, j.b
	holder, told := b.holder, "the log says it is "
	if !b.told {
		holder, told = s.holder, "the loans say it is "
		if j.broken[k.loans()] {
			return
		}
	} else if s.holder != b.holder {
		j.wrong("book", k.loans(), cmp.Or(s.holder, b.holder), "", "it is %s here; %s%s", lentTo(s.holder), told, lentTo(b.holder))
	}
	onCard := false
	for _, loan := range s.loans {
		switch {
		case loan.user != holder:
			j.wrong("card", k.card(loan.user), loan.user, "", "it is on this card; %s%s", told, lentTo(holder))
		case b.told && loan.dueMS != b.dueMS && loan.dueMS != 0:
			j.wrong("card", k.card(loan.user), loan.user, "", "it is due %s on this card; the log says %s", date(loan.dueMS), date(b.dueMS))
		}
		onCard = onCard || loan.user == holder
	}
	if holder != "" && !onCard {
		j.wrong("card", k.card(holder), holder, "", "it is not on this card; %s%s", told, lentTo(holder))
	}
}

// order checks what is under way for the one who has the book.
func (j *judgement) order() {
	k, s, b := j.keys, j.s, j.b
	holder := ifElse(b.told, b.holder, s.holder)
	if b.told && s.fetching != b.fetching {
		j.wrong("order", k.fetching(), holder, cmp.Or(b.fetching, s.fetching), "it is fetched for %s here; the log says for %s", orNobody(s.fetching), orNobody(b.fetching))
	}
	if b.stage == unknown {
		return
	}
	if want := some(b.stage == ordered, b.order); !slices.Equal(s.fetches, want) {
		j.wrong("order", k.Fetches(), holder, first(want, s.fetches), "it waits here to be fetched for %s; the log says for %s%s", listed(s.fetches), listed(want), j.lost(k.Fetches()))
	}
	want := ifElse(b.stage == expected, b.order, "")
	if s.awaited != want {
		j.wrong("order", k.awaited(), holder, cmp.Or(want, s.awaited), "it is awaited by %s here; the log says by %s", orNobody(s.awaited), orNobody(want))
	}
	// Only a forged delivery is sent back while an order awaits the book.
	if want != "" && b.at != toShelves && b.at != anywhere && (b.at != toUser || b.delivery == b.fetching) {
		j.wrong("order", k.awaited(), holder, want, "it is awaited for ever: it is not on its way to the shelves, but %s", b.at)
	}
}

// place checks where the one copy is.
func (j *judgement) place() {
	k, s, b := j.keys, j.s, j.b
	if s.astray != "" {
		j.wrong("book", s.astray, "", "", "it is noted in a bay that it does not belong to; its own is %s", k.bay(j.name))
	}
	if b.at == anywhere {
		return
	}
	if s.front != (b.at == inFront) {
		j.wrong("book", k.front(), "", "", "front storage %s it; the log says it is %s", ifElse(s.front, "has", "does not have"), b.at)
	}
	if s.out != (b.at != onShelves) {
		j.wrong("book", k.bay(j.name), "", "", "it is %s the shelves here; the log says it is %s", ifElse(s.out, "off", "on"), b.at)
	}
	if want := some(b.at == toUser, b.delivery); !slices.Equal(s.deliveries, want) {
		j.wrong("order", k.Deliveries(), ifElse(b.told, b.holder, s.holder), first(want, s.deliveries),
			"it is delivered here for %s; the log says for %s, and that it is %s%s", listed(s.deliveries), listed(want), b.at, j.lost(k.Deliveries()))
	}
	if want := once(b.at == toShelves); s.stores != want {
		j.wrong("order", k.Stores(), "", "", "%s here puts it on the shelves; the log says it is %s%s", counted(s.stores), b.at, j.lost(k.Stores()))
	}
}

// itself compares what was seen with itself.
func (j *judgement) itself() {
	k, s := j.keys, j.s
	held := s.holder != "" && s.fetching == ""
	if once(!s.out)+once(s.front)+once(held)+s.stores+len(s.deliveries) != 1 {
		var places []string
		for where, times := range map[string]int{
			"on the shelves": once(!s.out), "in front storage": once(s.front), "in the hands of " + quoted(s.holder): once(held),
			"in an entry of the stores": s.stores, "in an entry of the deliveries": len(s.deliveries),
		} {
			places = append(places, slices.Repeat([]string{where}, times)...)
		}
		slices.Sort(places)
		switch len(places) {
		case 0:
			j.wrong("book", k.bay(j.name), s.holder, "", "it is nowhere: off the shelves, in nobody's hands, not in front storage, and on no way%s%s", j.lost(k.Stores()), j.lost(k.Deliveries()))
		default:
			j.wrong("book", k.bay(j.name), s.holder, "", "it is in several places at once: %s", strings.Join(places, ", "))
		}
	}
	if s.fetching != "" && s.holder == "" {
		j.wrong("order", k.fetching(), "", s.fetching, "it is being fetched, but lent to nobody")
	}
	works, awaits := slices.Concat(s.fetches, some(s.awaited != "", s.awaited)), 0
	for _, request := range works {
		if request != s.fetching {
			j.wrong("order", k.fetching(), s.holder, request, "the shelving service works for this order, but the book is fetched for %s", orNobody(s.fetching))
		}
	}
	for _, request := range append(works, s.deliveries...) {
		awaits += once(request == s.fetching)
	}
	if s.fetching != "" && awaits != 1 {
		j.wrong("order", k.fetching(), s.holder, s.fetching, "it is being fetched, and one order, delivery or note of awaiting should be about that, but %s%s%s",
			ifElse(awaits == 0, "there is none", fmt.Sprintf("there are %d", awaits)), j.lost(k.Fetches()), j.lost(k.Deliveries()))
	}
	if s.awaited != "" && s.stores == 0 {
		j.wrong("order", k.awaited(), s.holder, s.awaited, "it is awaited for ever: no entry puts it on the shelves%s", j.lost(k.Stores()))
	}
}

func lentTo(user string) string {
	if user == "" {
		return "lent to nobody"
	}
	return "lent to " + quoted(user)
}

func orNobody(request string) string {
	if request == "" {
		return "nobody"
	}
	return "order " + quoted(request)
}

// listed names orders.
func listed(requests []string) string {
	if len(requests) == 0 {
		return "nobody"
	}
	names := make([]string, len(requests))
	for i, request := range requests {
		names[i] = orNobody(request)
	}
	return strings.Join(names, " and ")
}

// some is a list of a text, if there is any.
func some(holds bool, text string) []string {
	if !holds {
		return nil
	}
	return []string{text}
}

// first is the order that a finding is about, of those that should be and those that are.
func first(want, got []string) string {
	return slices.Concat(want, got, []string{""})[0]
}

// counted is the subject of a sentence about entries.
func counted(entries int) string {
	switch entries {
	case 0:
		return "no entry"
	case 1:
		return "an entry"
	default:
		return fmt.Sprintf("each of %d entries", entries)
	}
}

func date(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateTime + ".000") }
