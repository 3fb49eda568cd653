package scripts_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/redistest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// The tests call the scripts with keys of the same names as in their headers,
// as the instance worker1, whose lock is held.
const (
	worker    = "worker1"
	secret    = "token1"
	demandMax = 100_000
	group     = "group"
	bells     = "bell:"
	version   = "7-7"
	dueMS     = 4102444799999 // when loans end that are made on the library's day
	stamp     = "41024447999990028"
	dayEndsMS = 1 << 52
	logMax    = 100
	setMax    = 100 // about how many entries are kept set aside
	weekHours = 168 // hours that the scripts are told to keep a receipt at least
	weekMS    = weekHours * 3600 * 1000
	keptHours = 510 // hours that a page of receipts lives if nobody decides any more, rounded up
)

// lock is the lock by which worker1 holds its name.
var lock = expiring{secret + ` {"host":"desk"}`, 1}

// standing is a page of receipts that is not full yet. It differs from one that
// was begun by the call, so it shows whether the page was turned.
var standing = expiring{"worker9", 100}

// agreed are the terms by which the library lends, unless a call has others.
var agreed = hash{"version": version, "loans_max": "5", "front_max": "20", "receipt_ms": fmt.Sprint(weekMS), "log_max": fmt.Sprint(logMax)}

// but is agreed but for one term.
func (h hash) but(term string, value any) hash {
	other := maps.Clone(h)
	other[term] = fmt.Sprint(value)
	return other
}

// A state is all that a database holds. A value is a string, a float64 for the
// clock, or one of the types below; nil stands for no key.
type state map[string]any

type (
	// A hash is a HASH.
	hash map[string]string

	// A passing hash is a HASH with a time to live, rounded up to hours.
	passing struct {
		Hash  hash
		Hours int
	}

	// Weights are the HASH of the demand for books. Its values are logarithms, and so
	// is the clock: both are shown as what they are the logarithm of.
	weights map[string]weight

	// A weight is written with six decimals of its logarithm, and compared so.
	weight float64

	// A set is a SET.
	set map[string]bool

	// An expiring text is a STRING with a time to live, rounded up to hours.
	expiring struct {
		Text  string
		Hours int
	}

	// A stream is a STREAM, with its group if it has one.
	stream struct {
		Entries []entry
		Read    string              // the last entry the group was given; "" without a group
		Pending map[string][]string // for each consumer, the ids pending for it
	}

	// An entry is its id, or "new" if the call made it, then its fields and values.
	entry []string
)

// A call is one run of a script. If it has terms, the library has these from then on.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
	terms  hash
}

// A test is a call, and what must be true after it. In texts "NOW" stands for the
// time of the call, "DUE" for when a loan ends that is made on that day, "new" for the id
// of an entry appended then.
type test struct {
	name  string
	start state
	call  call
	want  any      // the reply
	rings []string // what is rung, each the channel and the text
	end   state
	// anyOrder is set if several books go to the shelves: in no order that matters.
	anyOrder bool
	// onlyRedis says why the embedded server cannot show it; empty if it can.
	onlyRedis string
}

// A bench is a server on which scripts are tried.
type bench struct {
	rdb      *redis.Client
	bells    *redis.PubSub
	embedded bool
}

// onBoth runs f on a real Redis and on the embedded server, so what holds, holds for both.
func onBoth(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) { f(t, newBench(t, rdb)) })
}

// onRedis runs f on a real Redis, for what the embedded server does not know.
func onRedis(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	f(t, newBench(t, redistest.Start(t).Client(t)))
}

func newBench(t *testing.T, rdb *redis.Client) *bench {
	t.Helper()
	// A large batch takes the embedded server seconds under the race detector.
	rdb = rdb.WithTimeout(time.Minute)
	b := &bench{rdb: rdb, bells: rdb.PSubscribe(t.Context(), bells+"*"), embedded: strings.HasSuffix(t.Name(), "/embedded")}
	if _, err := b.bells.ReceiveTimeout(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.bells.Close() })
	return b
}

// run runs tests, each on an empty database.
func (b *bench) run(t *testing.T, tests []test) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if b.embedded && test.onlyRedis != "" {
				t.Skip(test.onlyRedis)
			}
			b.start(t, test.start)
			b.check(t, test)
		})
	}
}

// check makes a test's call and compares the reply, what was rung, and the whole state.
func (b *bench) check(t *testing.T, test test) {
	t.Helper()
	from := b.now(t)
	reply, err := b.do(t, test.call)
	if err != nil {
		t.Fatal(err)
	}
	during := span{from, b.now(t)}
	if diff := cmp.Diff(asJSON(t, test.want), during.plain(asJSON(t, reply))); diff != "" {
		t.Errorf("reply (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(test.rings, b.rung(t, during), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("rings (-want +got):\n%s", diff)
	}
	got, want := b.state(t, during), test.end.full()
	if test.call.terms != nil {
		want["terms"] = test.call.terms
	}
	if test.anyOrder {
		got, want = got.sorted("stores", "events"), want.sorted("stores", "events")
	}
	wantState(t, want, got)
}

func (b *bench) do(t *testing.T, c call) (any, error) {
	t.Helper()
	if c.terms != nil {
		b.put(t, "terms", c.terms)
	}
	return c.script.Run(t.Context(), b.rdb, c.keys, c.args...).Result()
}

// wantState compares states.
func wantState(t *testing.T, want, got state) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-9, 0), alike); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// alike compares weights as closely as they are written.
var alike = cmp.Comparer(func(a, b weight) bool { return math.Abs(math.Log(float64(a/b))) < 1e-5 })

// sorted is the state with the entries of some streams sorted by what is in them.
func (s state) sorted(keys ...string) state {
	sorted := s.with(nil)
	for _, key := range keys {
		if stream, ok := s[key].(stream); ok {
			stream.Entries = slices.SortedFunc(slices.Values(stream.Entries), func(a, b entry) int { return slices.Compare(a, b) })
			sorted[key] = stream
		}
	}
	return sorted
}

// full is the state with worker1's lock, terms, and a page of receipts that is not full,
// unless it says something else of those, and without the keys that are not there.
func (s state) full() state {
	full := state{"instance": lock, "page": standing, "terms": agreed}
	maps.Copy(full, s)
	maps.DeleteFunc(full, func(_ string, value any) bool { return value == nil })
	return full
}

// with is the state with another's values in place of its own.
func (s state) with(other state) state {
	both := state{}
	maps.Copy(both, s)
	maps.Copy(both, other)
	return both
}

// start empties the database, brings it into a state, and forgets what was rung.
func (b *bench) start(t *testing.T, s state) {
	t.Helper()
	if err := b.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for key, value := range s.full() {
		b.put(t, key, value)
	}
	b.rung(t, span{})
}

// put makes a key hold a value.
func (b *bench) put(t *testing.T, key string, value any) {
	t.Helper()
	pipe := b.rdb.Pipeline()
	pipe.Del(t.Context(), key)
	switch value := value.(type) {
	case string:
		pipe.Set(t.Context(), key, value, 0)
	case float64:
		pipe.Set(t.Context(), key, math.Log(value), 0)
	case expiring:
		pipe.Set(t.Context(), key, value.Text, time.Duration(value.Hours)*time.Hour)
	case hash:
		pipe.HSet(t.Context(), key, map[string]string(value))
	case passing:
		pipe.HSet(t.Context(), key, map[string]string(value.Hash))
		pipe.Expire(t.Context(), key, time.Duration(value.Hours)*time.Hour)
	case weights:
		for book, weight := range value {
			pipe.HSet(t.Context(), key, book, fmt.Sprintf("%.6f", math.Log(float64(weight))))
		}
	case set:
		for member := range value {
			pipe.SAdd(t.Context(), key, member)
		}
	case stream:
		putStream(t, pipe, key, value)
	case nil:
	default:
		t.Fatalf("cannot put a %T under %s", value, key)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// putStream appends the entries, and those that are pending or were read last but
// are no longer there. It gives out all that was read, one by one, acknowledges
// what is not pending, and takes away again what is no longer there.
func putStream(t *testing.T, pipe redis.Pipeliner, key string, s stream) {
	fields, owner := map[string][]string{}, map[string]string{}
	var trimmed []string
	for _, entry := range s.Entries {
		fields[entry[0]] = entry[1:]
	}
	for consumer, ids := range s.Pending {
		for _, id := range ids {
			owner[id] = consumer
			if fields[id] == nil {
				fields[id] = []string{"of", "no matter"}
				trimmed = append(trimmed, id)
			}
		}
	}
	if s.Read != "" {
		pipe.XGroupCreateMkStream(t.Context(), key, group, "0")
		if fields[s.Read] == nil && s.Read != unread {
			fields[s.Read] = []string{"of", "no matter"}
			trimmed = append(trimmed, s.Read)
		}
	}
	for consumer := range s.Pending {
		pipe.XGroupCreateConsumer(t.Context(), key, group, consumer)
	}
	for _, id := range slices.SortedFunc(maps.Keys(fields), func(a, b string) int { return number(a) - number(b) }) {
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: id, Values: fields[id]})
		if number(id) > number(s.Read) {
			continue
		}
		reader := owner[id]
		if reader == "" {
			reader = worker
		}
		pipe.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group, Consumer: reader, Streams: []string{key, ">"}, Count: 1, Block: -1})
		if owner[id] == "" {
			pipe.XAck(t.Context(), key, group, id)
		}
	}
	if len(trimmed) > 0 {
		pipe.XDel(t.Context(), key, trimmed...)
	}
}

// number is a number that grows with an entry's id, as ids are in these tests.
func number(id string) int {
	major, minor, _ := strings.Cut(id, "-")
	n, _ := strconv.Atoi(major)
	of, _ := strconv.Atoi(minor)
	return 1000*n + of
}

// state reads the whole database.
func (b *bench) state(t *testing.T, during span) state {
	t.Helper()
	all := state{}
	for key, kind := range b.types(t) {
		switch kind {
		case "string":
			all[key] = b.text(t, key, during)
		case "hash":
			all[key] = b.hash(t, key, during)
		case "set":
			all[key] = setOf(must(b.rdb.SMembers(t.Context(), key).Result())(t)...)
		case "stream":
			all[key] = b.stream(t, key, during)
		default:
			t.Fatalf("%s is a %s", key, kind)
		}
	}
	return all
}

// types tells the type of every key.
func (b *bench) types(t *testing.T) map[string]string {
	t.Helper()
	types := map[string]string{}
	for _, key := range must(b.rdb.Keys(t.Context(), "*").Result())(t) {
		types[key] = must(b.rdb.Type(t.Context(), key).Result())(t)
	}
	return types
}

func (b *bench) text(t *testing.T, key string, during span) any {
	t.Helper()
	text := must(b.rdb.Get(t.Context(), key).Result())(t)
	if left := must(b.rdb.PTTL(t.Context(), key).Result())(t); left > 0 {
		return expiring{during.plain(text), int(math.Ceil(left.Hours()))}
	}
	if number, err := strconv.ParseFloat(text, 64); err == nil && key == "clock" {
		return math.Exp(number)
	}
	return during.plain(text)
}

var sixDecimals = regexp.MustCompile(`^-?\d+\.\d{6}$`)

func (b *bench) hash(t *testing.T, key string, during span) any {
	t.Helper()
	values, demand := hash{}, weights{}
	for field, value := range must(b.rdb.HGetAll(t.Context(), key).Result())(t) {
		values[field] = during.plain(value)
		if number, err := strconv.ParseFloat(value, 64); err == nil && sixDecimals.MatchString(value) {
			demand[field] = weight(math.Exp(number))
		}
	}
	if left := must(b.rdb.PTTL(t.Context(), key).Result())(t); left > 0 {
		return passing{values, int(math.Ceil(left.Hours()))}
	}
	if (key == "demand" || key == "faded") && len(demand) == len(values) {
		return demand
	}
	return values
}

func (b *bench) stream(t *testing.T, key string, during span) stream {
	t.Helper()
	var s stream
	for _, raw := range must(b.rdb.Do(t.Context(), "XRANGE", key, "-", "+").Slice())(t) {
		pair := raw.([]any)
		words := entry{during.plain(pair[0].(string))}
		for _, word := range pair[1].([]any) {
			words = append(words, during.plain(word.(string)))
		}
		s.Entries = append(s.Entries, words)
	}
	for _, info := range must(b.rdb.XInfoGroups(t.Context(), key).Result())(t) {
		s.Read, s.Pending = info.LastDeliveredID, map[string][]string{}
		if s.Read == "0" { // the embedded server says it as it was told
			s.Read = unread
		}
	}
	if s.Read == "" {
		return s
	}
	for _, consumer := range must(b.rdb.XInfoConsumers(t.Context(), key, group).Result())(t) {
		s.Pending[consumer.Name] = nil
	}
	for _, pending := range must(b.rdb.XPendingExt(t.Context(), pendingOf(key)).Result())(t) {
		s.Pending[pending.Consumer] = append(s.Pending[pending.Consumer], pending.ID)
	}
	return s
}

// pendingOf asks for all that is pending in an inbox.
func pendingOf(inbox string) *redis.XPendingExtArgs {
	return &redis.XPendingExtArgs{Stream: inbox, Group: group, Start: "-", End: "+", Count: 1_000}
}

// rung returns what was rung since it was asked last. The server hands messages
// out in order, so all have come when the last, its own, has.
func (b *bench) rung(t *testing.T, during span) []string {
	t.Helper()
	last := bells + "(that was all)"
	if err := b.rdb.Publish(t.Context(), last, "").Err(); err != nil {
		t.Fatal(err)
	}
	var rings []string
	for {
		got := must(b.bells.ReceiveTimeout(t.Context(), time.Minute))(t)
		message, ok := got.(*redis.Message)
		if !ok {
			t.Fatalf("received %v, want a message", got)
		}
		if message.Channel == last {
			return rings
		}
		rings = append(rings, message.Channel+" "+during.plain(message.Payload))
	}
}

// now is the server's clock.
func (b *bench) now(t *testing.T) int64 {
	t.Helper()
	return must(b.rdb.Time(t.Context()).Result())(t).UnixMilli()
}

// A span is the time that a call took, by the server's clock.
type span struct{ from, to int64 }

var dated = regexp.MustCompile(`\d{13}(-\d+)?`)

// plain replaces each time that lies in the span by its word, see test.
func (s span) plain(text string) string {
	return dated.ReplaceAllStringFunc(text, func(found string) string {
		digits, _, isID := strings.Cut(found, "-")
		at, _ := strconv.ParseInt(digits, 10, 64)
		switch {
		case isID && s.from <= at && at <= s.to:
			return "new"
		case !isID && s.from <= at && at <= s.to:
			return "NOW"
		case !isID && at == dueMS:
			return "DUE"
		}
		return found
	})
}

// must returns a value whose error ends the test.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// asJSON is a reply in a form that can be compared and read.
func asJSON(t *testing.T, value any) string {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// inbox is an inbox of which entries up to read-0 were given to worker1, and some
// are still pending for it; the others were trimmed as far as they can be.
func inbox(read int, pending ...int) stream {
	s := stream{Read: id(read), Pending: map[string][]string{worker: nil}}
	for _, n := range pending {
		s.Pending[worker] = append(s.Pending[worker], id(n))
	}
	if len(pending) > 0 {
		s.Entries = filled(slices.Min(pending), read)
	}
	return s
}

// given is an inbox of n entries, all pending for worker1.
func given(n int) stream {
	var all []int
	for i := range n {
		all = append(all, i+1)
	}
	return inbox(n, all...)
}

// handled is an inbox of n entries after all of them were acknowledged.
func handled(n int) stream { return inbox(n) }

// filled are the entries from first-0 to last-0. What is in them is never read.
func filled(first, last int) []entry {
	var entries []entry
	for n := first; n <= last; n++ {
		entries = append(entries, entry{id(n), "of", "no matter"})
	}
	return entries
}

// unread is the last entry that a group was given, before it was given any.
const unread = "0-0"

func id(n int) string { return fmt.Sprintf("%d-0", n) }

// entries is a stream without a group.
func entries(all ...entry) stream { return stream{Entries: all} }

// An order is a request or return, as the service hands it to a script.
type order struct {
	id, user, bell string
	books          []string
}

func by(user, id string, books ...string) order { return order{id: id, user: user, books: books} }

// inParts are orders by one user for many books, at most 100 each as a client may ask for.
func inParts(user string, books ...string) []order {
	var orders []order
	for part := range slices.Chunk(books, 100) {
		orders = append(orders, by(user, fmt.Sprintf("r%d", len(orders)+1), part...))
	}
	return orders
}

// rung is the order of somebody who waits for a ring.
func (o order) rung(bell string) order {
	o.bell = bell
	return o
}

// place adds the keys and arguments of orders to those of a script; the n-th
// comes from the entry n-0.
func place(action string, keys []string, args []any, orders []order) ([]string, []any) {
	counts, asking := make([]byte, len(orders)), []any{}
	for i, order := range orders {
		counts[i] = byte(len(order.books))
		if order.bell != "" {
			asking = append(asking, i+1, order.bell)
		}
	}
	args = append(append(args, len(orders), counts, len(asking)/2), asking...)
	for _, column := range []func(i int, o order) any{
		func(i int, _ order) any { return id(i + 1) },
		func(_ int, o order) any { return o.id },
		func(_ int, o order) any { return o.user },
		func(_ int, o order) any { return slip(action, o) },
	} {
		for i, order := range orders {
			args = append(args, column(i, order))
		}
	}
	for _, order := range orders {
		keys = append(keys, "card:"+order.user)
		for _, book := range order.books {
			args = append(args, book)
		}
	}
	return keys, args
}

// A decision is a test of orders from an inbox. For each order that was decided,
// the receipt stands on this page, beside what the end has there, and is in the
// log, before what the end has there; the inbox is handled.
type decision struct {
	name     string
	start    state
	orders   []order
	want     []string
	rings    []string
	end      state
	anyOrder bool
}

func (d decision) test(inbox string, c call) test {
	test := test{name: d.name, call: c, want: d.want, rings: d.rings, anyOrder: d.anyOrder}
	test.start = d.start.with(state{inbox: given(len(d.orders))})
	test.end = d.end.with(state{inbox: handled(len(d.orders))})
	kept := hash{}
	var decided, entered []string
	for i, reply := range d.want {
		if reply != "repeat" {
			text := receipt(actions[inbox], d.orders[i], reply)
			kept[d.orders[i].id] = text
			decided, entered = append(decided, text), append(entered, id(i+1))
		}
	}
	switch page := d.end["receipts"].(type) {
	case passing:
		maps.Copy(kept, page.Hash)
		test.end["receipts"] = passing{kept, page.Hours}
	case hash:
		maps.Copy(kept, page)
		test.end["receipts"] = kept
	}
	if len(decided) > 0 {
		test.end["receipts"] = passing{kept, keptHours}
	}
	logged := decidedEvents(decided, entered)
	if more, ok := d.end["events"].(stream); ok {
		logged = append(logged, more.Entries...)
	}
	if len(logged) > 0 {
		test.end["events"] = entries(logged...)
	}
	return test
}

// actions are what orders from an inbox ask for.
var actions = map[string]string{"requests": "request", "returns": "return"}

// decidedEvents are the events of orders that one call decided, by their receipts and by
// the entries that they came in.
func decidedEvents(receipts, entered []string) []entry {
	var events []entry
	for some := range slices.Chunk(receipts, 16) {
		events = append(events, entry{"new", "event", "decided", "by", worker, "receipts", "[" + strings.Join(some, ",") + "]", "entries", list(entered[:len(some)]...)})
		entered = entered[len(some):]
	}
	return events
}

// slip is an order's slip: its receipt begins so.
func slip(action string, o order) string {
	return fmt.Sprintf(`{"id":%s,"action":"%s","user":%s,"books":%s`, quoted(o.id), action, quoted(o.user), list(o.books...))
}

// receipt is the text of an order's receipt, by the script's reply.
func receipt(action string, o order, reply string) string {
	words := strings.Fields(reply)
	due := ""
	if slices.Contains(words, "front") || slices.Contains(words, "shelves") {
		due = `,"due_ms":DUE`
	}
	return fmt.Sprintf(`%s,"outcome":%s,"results":%s%s}`, slip(action, o), quoted(words[0]), list(words[1:]...), due)
}

// quoted is a text in JSON, with no more escapes than needed.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(text) + `"`
}

// list is an array of texts in JSON.
func list(texts ...string) string {
	var all []string
	for _, text := range texts {
		all = append(all, quoted(text))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func setOf(members ...string) set {
	s := set{}
	for _, member := range members {
		s[member] = true
	}
	return s
}

// oddNames have in them what JSON, Lua patterns, Redis or a shell could trip over.
var oddNames = []string{
	`say "cheese"`, `back\slash`, `\"`, `\\`, `one, two`, `{main}`, `[ "a" ]`, `it's`, `a:b`, `100%d %0 %1`,
	`О дивный новый мир`, `百年の孤独`, `ألف ليلة وليلة`, `🐙 & <b>`, `-`, `0`, `null`, `*`,
}

// A parcel is an order for a book, or its delivery.
type parcel struct{ request, book string }

// each gives each parcel, or book, an entry of its own.
func each[T any](all ...T) [][]T {
	var entries [][]T
	for _, one := range all {
		entries = append(entries, []T{one})
	}
	return entries
}

// sent is an entry of parcels as it stands among the fetches and deliveries.
func sent(parcels ...parcel) entry { return entry{"new", "orders", ordersOf(parcels...)} }

// putAway is an entry of books as it stands among the stores.
func putAway(books ...string) entry { return entry{"new", "books", list(books...)} }

func ordersOf(parcels ...parcel) string {
	var orders []string
	for _, parcel := range parcels {
		orders = append(orders, list(parcel.request, parcel.book))
	}
	return "[" + strings.Join(orders, ",") + "]"
}

func ordersEvent(event string, parcels ...parcel) entry {
	return entry{"new", "event", event, "by", worker, "orders", ordersOf(parcels...)}
}

func booksEvent(event string, books ...string) entry {
	return entry{"new", "event", event, "by", worker, "books", list(books...)}
}

// packed are texts as books are packed into entries: one an entry up to sixteen,
// then just as many an entry as make at most sixteen entries, but sixteen at most.
func packed[T any](all []T) [][]T {
	share := 16
	for n := 16; n >= 1; n-- {
		if len(all) <= 16*n {
			share = n
		}
	}
	return slices.Collect(slices.Chunk(all, share))
}
