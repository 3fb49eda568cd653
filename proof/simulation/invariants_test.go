package simulation

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"example.com/library/library"
)

// observe checks every invariant after a command that may have changed something.
func (w *world) observe(r *request, answer []byte) error {
	m := w.model
	if _, script, isScript := strings.Cut(r.label, " "); isScript && strings.HasPrefix(r.label, "eval") {
		for _, word := range scriptWords(answer) {
			w.words[script+" answers "+word] = true
		}
	}
	for _, inbox := range keys.Inboxes(library.Lending)[:2] {
		if r.label == label([]string{"xadd", inbox}) {
			id := field(r.args, "id")
			m.sent[inbox+" "+firstText(answer)] = id
			if _, again := m.asked[id]; !again {
				m.asked[id] = w.step
			}
			w.mu.Lock()
			given := w.given[id]
			w.mu.Unlock()
			if !given && !r.conn.actor.spared {
				return fmt.Errorf("%s sent an order under the id %s, which its user did not give", r.conn.actor.name, id)
			}
		}
	}
	if r.label == "xdel lending:requests" { // no service does so outside a script
		delete(m.sent, keys.Requests()+" "+r.args[2])
	}
	entries, err := w.redis.Stream(keys.Events())
	if err != nil {
		return err
	}
	if err := m.replay(entries, w.step, func(word string) { w.words[word] = true }); err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	if err := w.acknowledged(r); err != nil {
		return err
	}
	return w.inItsName(r, answer)
}

// fenced are the scripts that only the holder of a name may run.
var fenced = []string{"lend", "return", "fetch", "store", "deliver", "reject", "claim"}

// inItsName checks that a script was run by an instance that holds its name. It
// needs the token of the lock, whoever else may have the same name now. And it takes
// nothing over from an instance whose lock stands.
func (w *world) inItsName(r *request, answer []byte) error {
	_, script, _ := strings.Cut(r.label, " ")
	if !strings.HasPrefix(r.label, "eval") || !slices.Contains(fenced, script) {
		return nil
	}
	count, _ := strconv.Atoi(r.args[2])
	lock, token := r.args[3], r.args[3+count]
	if value, _ := w.redis.Get(lock); !strings.HasPrefix(value, token) {
		return fmt.Errorf("%s ran %s with the token %s, but %s is %q", r.conn.actor.name, script, token, lock, value)
	}
	if script == "claim" && r.args[4] != lock && w.redis.Exists(r.args[4]) {
		if parts, _ := parse(answer).([]any); len(parts) != 2 || len(parts[0].([]any)) > 0 {
			return fmt.Errorf("%s took entries over from %s, which lives", r.conn.actor.name, r.args[4])
		}
	}
	return nil
}

// acknowledged checks that what a script has decided is not in anybody's hands any
// more, in the same step.
func (w *world) acknowledged(r *request) error {
	for _, inbox := range []string{keys.Requests(), keys.Returns()} {
		if !slices.Contains([]string{"eval lend", "evalsha lend", "eval return", "evalsha return"}, r.label) || !slices.Contains(r.args, inbox) {
			continue
		}
		entries, err := w.undecided(inbox, library.Lending)
		if err != nil {
			return err
		}
		count, _ := strconv.Atoi(r.args[2])
		orders := r.args[3+count+4:] // past the version of the terms, which looks like an entry's id
		for _, entry := range entries {
			if slices.Contains(orders, entry.id) {
				return fmt.Errorf("the entry %s of %s is decided and still pending", entry.id, inbox)
			}
		}
	}
	return nil
}

// check compares the whole state with the model, and looks for every book.
func (w *world) check() error {
	m := w.model
	hash := func(suffix string) map[string]string {
		values := map[string]string{}
		fields, _ := w.redis.HKeys(keys.Key(suffix)) // a missing key has none
		for _, name := range fields {
			values[name] = w.redis.HGet(keys.Key(suffix), name)
		}
		return values
	}

	// Replaying the log gives the state.
	loans, cards, out := hash("lending:loans"), map[string]string{}, map[string]bool{}
	held := map[string]int{}
	for _, key := range w.redis.Keys() {
		if user, isCard := strings.CutPrefix(key, keys.Key("lending:card:")); isCard {
			books, _ := w.redis.HKeys(key)
			for _, book := range books {
				if cards[book] != "" {
					return fmt.Errorf("%s is on the cards of %s and %s", book, cards[book], user)
				}
				cards[book] = user
				held[user]++
			}
			if held[user] > m.loansMax {
				return fmt.Errorf("%s holds %d books, which is over the limit", user, held[user])
			}
		}
		if strings.HasPrefix(key, keys.Key("shelving:out:")) {
			books, _ := w.redis.HKeys(key)
			for _, book := range books {
				out[book] = true
			}
		}
	}
	if !maps.Equal(loans, m.loans) {
		return fmt.Errorf("the loans are %v, but by the log %v", loans, m.loans)
	}
	if !maps.Equal(cards, loans) {
		return fmt.Errorf("the loans are %v, but by the cards %v", loans, cards)
	}
	fetching := hash("lending:fetching")
	for book, order := range fetching {
		fetching[book], _, _ = strings.Cut(order, " ")
	}
	if !maps.Equal(fetching, m.fetching) {
		return fmt.Errorf("what is being fetched is %v, but by the log %v", fetching, m.fetching)
	}
	awaited := hash("shelving:awaited")
	if !maps.Equal(awaited, m.awaited) {
		return fmt.Errorf("what is awaited is %v, but by the log %v", awaited, m.awaited)
	}
	if !maps.Equal(out, m.out) {
		return fmt.Errorf("what is off the shelves is %v, but by the log %v", out, m.out)
	}
	away, _ := w.redis.Get(keys.Key("shelving:away"))
	if count, _ := strconv.Atoi(away); count != len(out) {
		return fmt.Errorf("%q books are away, but %d are off the shelves", away, len(out))
	}
	front := map[string]bool{}
	stored, _ := w.redis.SMembers(keys.Key("lending:front"))
	for _, book := range stored {
		front[book] = true
	}
	if !maps.Equal(front, m.front) || len(front) > m.frontMax {
		return fmt.Errorf("front storage for %d has %v, but by the log %v", m.frontMax, front, m.front)
	}

	// The terms are those of which the log told last.
	stands := hash("terms")
	for _, term := range library.EachTerm {
		if len(stands) > 0 && stands[term.Field] != term.Text(m.terms) {
			return fmt.Errorf("the terms are %v, but by the log %+v", stands, m.terms)
		}
	}
	if (len(stands) == 0) != (m.terms == library.Terms{}) {
		return fmt.Errorf("the terms are %v, but by the log %+v", stands, m.terms)
	}

	// Each request id has one receipt, and it is the log's.
	receipts, older := hash("lending:receipts"), hash("lending:receipts:older")
	for id, text := range older {
		if receipts[id] != "" {
			return fmt.Errorf("order %s has two receipts", id)
		}
		receipts[id] = text
	}
	for id, text := range receipts {
		if text != string(m.answers[id]) {
			return fmt.Errorf("the receipt of %s is %s, but the log has %s", id, text, m.answers[id])
		}
	}
	if len(receipts) != len(m.answers) {
		return fmt.Errorf("there are %d receipts, but the log has %d answers", len(receipts), len(m.answers))
	}

	// No entry is lost, and every book is in one place.
	undecided := map[string][]entry{}
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range keys.Inboxes(service) {
			entries, err := w.undecided(inbox, service)
			if err != nil {
				return err
			}
			undecided[inbox] = entries
		}
	}
	for sent, id := range m.sent {
		inbox, at, _ := strings.Cut(sent, " ")
		switch {
		case m.answers[id] != nil, m.rejected[sent]:
			delete(m.sent, sent)
		case !slices.ContainsFunc(undecided[inbox], func(e entry) bool { return e.id == at }):
			return fmt.Errorf("%w: the entry %s of order %s is neither in its inbox, nor decided, nor set aside", errLost, sent, id)
		}
	}
	places, orders := map[string][]string{}, map[string][]string{}
	for book, user := range loans {
		if fetching[book] == "" {
			places[book] = append(places[book], "with "+user)
		}
	}
	for book := range front {
		places[book] = append(places[book], "in front")
	}
	for book, request := range awaited {
		orders[book] = append(orders[book], "awaited for "+request)
		if fetching[book] != request {
			return fmt.Errorf("%s is awaited for %s, but fetched for %q", book, request, fetching[book])
		}
	}
	for _, inbox := range []string{keys.Stores(), keys.Deliveries(), keys.Fetches()} {
		for _, entry := range undecided[inbox] {
			for _, order := range entry.orders() {
				if inbox != keys.Fetches() {
					places[order[1]] = append(places[order[1]], inbox)
				}
				if order[0] != "" && fetching[order[1]] == order[0] {
					orders[order[1]] = append(orders[order[1]], inbox)
				}
			}
		}
	}
	for book := range places {
		if !m.forged[book] && !out[book] {
			return fmt.Errorf("%s is on the shelves and %s", book, places[book])
		}
	}
	for book := range out {
		if !m.forged[book] && len(places[book]) != 1 {
			return fmt.Errorf("%w: %s is off the shelves, and should be in one place: %s", errLost, book, places[book])
		}
	}
	for book, request := range fetching {
		if !m.forged[book] && len(orders[book]) != 1 {
			return fmt.Errorf("%w: %s is fetched for %s, which one entry should end: %s", errLost, book, request, orders[book])
		}
	}
	return nil
}

// An entry stands in an inbox, unread or in an instance's hands.
type entry struct {
	id     string
	values []string
}

// orders are the request (empty for a book to put away) and the book of each order.
func (e entry) orders() [][2]string {
	var orders [][2]string
	var pairs [][]string
	var books []string
	for i := 0; i+1 < len(e.values); i += 2 {
		switch e.values[i] {
		case "orders":
			_ = json.Unmarshal([]byte(e.values[i+1]), &pairs) // a forged one may be anything
		case "books":
			_ = json.Unmarshal([]byte(e.values[i+1]), &books)
		}
	}
	for _, pair := range pairs {
		if len(pair) == 2 {
			orders = append(orders, [2]string{pair[0], pair[1]})
		}
	}
	for _, book := range books {
		orders = append(orders, [2]string{"", book})
	}
	return orders
}

// undecided are the entries of an inbox that are unread or pending. Others may
// stand there too, until what is older is decided.
func (w *world) undecided(inbox, group string) ([]entry, error) {
	entries, err := w.redis.Stream(inbox)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	given := ""
	for _, info := range w.look("XINFO", "GROUPS", inbox) {
		facts := info.([]any)
		for i := 0; i+1 < len(facts); i += 2 {
			if facts[i] == "last-delivered-id" {
				given = facts[i+1].(string)
			}
		}
	}
	pending := map[string]bool{}
	for _, one := range w.look("XPENDING", inbox, group, "-", "+", "100000") {
		pending[one.([]any)[0].(string)] = true
	}
	var undecided []entry
	for _, e := range entries {
		if given == "" || pending[e.ID] || later(e.ID, given) {
			undecided = append(undecided, entry{e.ID, e.Values})
		}
	}
	return undecided, nil
}

// later reports whether an entry's id is higher than another's.
func later(id, than string) bool {
	number := func(id string) (ms, sequence int) {
		a, b, _ := strings.Cut(id, "-")
		ms, _ = strconv.Atoi(a)
		sequence, _ = strconv.Atoi(b)
		return ms, sequence
	}
	ms, sequence := number(id)
	thanMS, thanSequence := number(than)
	return ms > thanMS || ms == thanMS && sequence > thanSequence
}

// look asks the server something, as nobody of the library's.
func (w *world) look(args ...string) []any {
	list, _ := parse(w.observer.execute(args)).([]any)
	return list
}

// parse reads an answer: a text, a number as a text, or a list of them; an error is
// a text too, and nothing is nil.
func parse(answer []byte) any {
	value, _ := parseFirst(string(answer))
	return value
}

func parseFirst(text string) (value any, rest string) {
	line, rest, _ := strings.Cut(text, "\r\n")
	if line == "" {
		return nil, rest
	}
	size, err := strconv.Atoi(line[1:])
	switch {
	case strings.ContainsRune("+-:,", rune(line[0])):
		return line[1:], rest
	case err != nil || size < 0:
		return nil, rest
	case line[0] == '$':
		return rest[:size], rest[size+2:]
	case line[0] == '%':
		size *= 2
	}
	list := make([]any, size)
	for i := range list {
		list[i], rest = parseFirst(rest)
	}
	return list, rest
}

// unrest tells what still moves, or is left over: nothing, once the library is at rest.
func (w *world) unrest() error {
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range keys.Inboxes(service) {
			// An entry that was decided may stand behind one that was set aside, until the
			// next call trims the inbox.
			entries, err := w.undecided(inbox, service)
			if err != nil {
				return err
			}
			if len(entries) > 0 {
				return fmt.Errorf("%s still has entries: %v", inbox, entries)
			}
			if pending := w.look("XPENDING", inbox, service, "-", "+", "10"); len(pending) > 0 {
				return fmt.Errorf("%s has entries pending: %v", inbox, pending)
			}
			for _, info := range w.look("XINFO", "CONSUMERS", inbox, service) {
				if name := info.([]any)[1].(string); !w.serves(name) {
					return fmt.Errorf("%s is gone and still in the group of %s", name, inbox)
				}
			}
		}
	}
	for _, key := range w.redis.Keys() {
		if name, isLock := strings.CutPrefix(key, keys.Instance("")); isLock && !w.serves(name) {
			return fmt.Errorf("%s is gone and its lock stands", name)
		}
	}
	switch m := w.model; {
	case len(m.fetching)+len(m.awaited) > 0:
		return fmt.Errorf("books are on their way (%v) or awaited (%v)", m.fetching, m.awaited)
	case len(m.rejected) > m.rejectionsMax:
		return fmt.Errorf("entries were set aside: %v", slices.Sorted(maps.Keys(m.rejected)))
	}
	return nil
}

// serves reports whether a living process has that instance's name.
func (w *world) serves(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.actors, func(a *actor) bool { return a.as == name && a.serving && !a.isDead() })
}

// field is the value of a field of an entry that a command appends.
func field(args []string, name string) string {
	for i := 3; i+1 < len(args); i += 2 {
		if args[i] == name {
			return args[i+1]
		}
	}
	return ""
}

// firstText is an answer that is one text.
func firstText(answer []byte) string {
	text, _ := parse(answer).(string)
	return text
}

// scriptWords are the words of a script's answer: of a text "partial front
// unavailable" the first, and of an array those of all its texts. Names and ids have
// figures in them, and are left out.
func scriptWords(answer []byte) []string {
	list, isList := parse(answer).([]any)
	if !isList {
		list = []any{parse(answer)}
	}
	var words []string
	for _, one := range list {
		text, _ := one.(string)
		if word, _, _ := strings.Cut(text, " "); word != "" && !strings.ContainsAny(word, "0123456789") {
			words = append(words, word)
		}
	}
	return words
}
