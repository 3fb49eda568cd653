package scripts_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"time"

	"example.com/library/internal/redistest"
	"example.com/library/redisconn"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

var (
	histories    = flag.Uint64("histories", 25, "how many histories are played on both servers")
	firstHistory = flag.Uint64("history", 0, "the seed of the first of them")
)

// TestBothServersGiveTheSameAnswersAndStatesThroughoutAHistory plays random histories
// on a real Redis and on the embedded server at once: orders come, two instances read
// and decide them, hold them back, repeat themselves, lose their names and take over
// from each other, and entries are forged, rejected and retried. After each step both
// servers have answered, rung and kept the same.
//
// The embedded server does not show pending entries that were trimmed away, so none is.
func TestBothServersGiveTheSameAnswersAndStatesThroughoutAHistory(t *testing.T) {
	var servers [2]*bench
	servers[0] = newBench(t, redistest.Start(t).Client(t))
	servers[1] = newBench(t, redistest.Embedded(t))
	servers[1].embedded = true
	seen := map[string]bool{}
	for seed := *firstHistory; seed < *firstHistory+*histories; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newHistory(t, seed, servers)
			for n := range 80 {
				told, step := h.next()
				var got [2]outcome
				for side := range h.sides {
					got[side] = h.sides[side].play(t, side, step)
				}
				if diff := gocmp.Diff(got[0], got[1], cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-9, 0), alike); diff != "" {
					t.Fatalf("history %d, step %d, %s (-redis +embedded):\n%s", seed, n+1, told, diff)
				}
				for _, word := range words.FindAllString(got[0].Reply, -1) {
					seen[word] = true
				}
				if got[0].Kind == redisconn.Fenced {
					seen["fenced"] = true
				}
			}
		})
	}
	if t.Failed() || *histories < 25 {
		return
	}
	for _, word := range []string{
		"repeat", "granted", "partial", "denied", "front", "shelves", "unavailable", "over_limit", "already_yours",
		"returned", "refused", "not_yours", "on_its_way", "gone", "fetched", "awaited", "stored", "handed_on",
		"delivered", "sent_back", "conflict", "apart", "rejected", "alive", "pending", "retired", "prolonged", "fenced",
	} {
		if !seen[word] {
			t.Errorf("the histories prove too little: no script answered %q", word)
		}
	}
}

var words = regexp.MustCompile(`[a-z_]+`)

// A side is one of the two servers, and what it calls the entries.
type side struct {
	*bench
	from  int64
	names map[string]map[string]string // stream -> entry id -> its number there
}

// An outcome is all that can be seen of a step, in words that are the same for both
// servers.
type outcome struct {
	Reply string
	Kind  redisconn.Kind
	Rings []string
	State state
}

// A step does something on a side, and returns what was answered.
type step func(t *testing.T, s *side, which int) (any, error)

func (s *side) play(t *testing.T, which int, step step) outcome {
	t.Helper()
	reply, err := step(t, s, which)
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	kind := redisconn.KindOf(err)
	if err != nil && kind == redisconn.Unexpected {
		t.Fatalf("side %d: %v", which, err)
	}
	all := s.state(t, span{})
	for _, key := range slices.Sorted(maps.Keys(all)) {
		stream, _ := all[key].(stream)
		if s.names[key] == nil {
			s.names[key] = map[string]string{}
		}
		for _, entry := range stream.Entries {
			if s.names[key][entry[0]] == "" {
				s.names[key][entry[0]] = fmt.Sprint(key, "/", len(s.names[key])+1)
			}
		}
	}
	during := span{s.from, s.now(t)}
	o := outcome{Reply: s.plain(during, asJSON(t, reply)), Kind: kind, State: state{}}
	for _, rung := range s.rung(t, span{}) {
		o.Rings = append(o.Rings, s.plain(during, rung))
	}
	for key, value := range all {
		o.State[key] = s.told(during, key, value)
	}
	return o
}

var numbers = regexp.MustCompile(`\d{13,17}(-\d+)?`)

// plain has words in place of times and ids.
func (s *side) plain(during span, text string) string {
	return numbers.ReplaceAllStringFunc(text, func(found string) string {
		if found == stamp {
			return "DUE for days"
		}
		return during.plain(found)
	})
}

// told is a key's value with all its texts plain, and names for the ids of entries.
func (s *side) told(during span, key string, value any) any {
	switch value := value.(type) {
	case string:
		return s.plain(during, value)
	case hash:
		plain := hash{}
		for field, text := range value {
			plain[field] = s.plain(during, text)
		}
		return plain
	case passing:
		return passing{s.told(during, key, value.Hash).(hash), value.Hours}
	case stream:
		name := func(of, id string) string { return cmp.Or(s.names[of][id], s.plain(during, id)) }
		plain := stream{Read: name(key, value.Read), Pending: map[string][]string{}}
		for _, words := range value.Entries {
			told := entry{name(key, words[0])}
			of := ""
			for i, word := range words[1:] {
				switch words[i] {
				case "stream":
					of = word
				case "entry":
					word = name(of, word)
				case "rejected":
					word = name("rejected", word)
				}
				told = append(told, s.plain(during, word))
			}
			plain.Entries = append(plain.Entries, told)
		}
		for consumer, ids := range value.Pending {
			// From 7.2 on Redis lists a consumer that asked and was given nothing.
			for _, id := range ids {
				plain.Pending[consumer] = append(plain.Pending[consumer], name(key, id))
			}
		}
		return plain
	}
	return value
}

// A history makes steps at random.
type history struct {
	t        *testing.T
	random   *rand.Rand
	sides    [2]*side
	frontMax int
	inHand   []batch
	ordered  int
}

// A batch is what an instance read from an inbox, on each side.
type batch struct {
	inbox   string
	worker  int
	entries [2][]redis.XMessage
}

var inboxes = []string{"requests", "returns", "fetches", "stores", "deliveries"}

// The two instances, their tokens, and the keys of their locks.
var (
	workers = []string{worker, "worker2"}
	tokens  = []string{secret, "token2"}
	locks   = []string{"instance", "owner"}
)

func newHistory(t *testing.T, seed uint64, servers [2]*bench) *history {
	h := &history{t: t, random: rand.New(rand.NewPCG(seed, 1))}
	// Of several books that leave front storage at once, chance decides the order.
	h.frontMax = h.one(0, 2, 100)
	for i, server := range servers {
		start := state{}
		for _, inbox := range inboxes {
			start[inbox] = stream{Read: unread}
		}
		server.start(t, start.with(state{"owner": expiring{tokens[1] + ` {"host":"desk"}`, 1}, "page": nil}))
		h.sides[i] = &side{bench: server, from: server.now(t), names: map[string]map[string]string{}}
	}
	return h
}

func (h *history) one(of ...int) int { return of[h.random.IntN(len(of))] }

func (h *history) word(of ...string) string { return of[h.random.IntN(len(of))] }

func (h *history) books(max int) []string {
	all := []string{"a", "b", `c "d" \e`, "ø, f", "g", "h"}
	h.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+h.random.IntN(max)]
}

// next makes a step and says in words what it is.
func (h *history) next() (string, step) {
	switch n := h.random.IntN(100); {
	case n < 22:
		return h.order()
	case n < 27:
		return h.forge()
	case n < 45:
		return h.read()
	case n < 85 && len(h.inHand) == 0:
		return h.read()
	case n < 85:
		return h.handle()
	case n < 88:
		return h.lock()
	case n < 93:
		return h.claim()
	case n < 95:
		return h.retire()
	case n < 98:
		return h.retry()
	case n < 99:
		return "prolong", func(t *testing.T, s *side, _ int) (any, error) { return s.do(t, prolong()) }
	default:
		// The page of receipts comes to its end.
		return "page", func(t *testing.T, s *side, _ int) (any, error) { return s.rdb.Del(t.Context(), "page").Result() }
	}
}

func (h *history) append(inbox string, fields ...string) step {
	return func(t *testing.T, s *side, _ int) (any, error) {
		_, err := s.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: inbox, Values: fields}).Result()
		return nil, err
	}
}

// order appends a request or a return, now and then one that was sent before.
func (h *history) order() (string, step) {
	inbox, most := h.word("requests", "returns"), 3
	if inbox == "returns" && h.frontMax == 2 {
		most = 1
	}
	h.ordered++
	user, books := h.word("ann", "bob", "ĉy"), h.books(most)
	if loans := must(h.sides[0].rdb.HGetAll(h.t.Context(), "loans").Result())(h.t); inbox == "returns" && len(loans) > 0 && h.one(0, 1, 1) == 1 {
		book := h.word(slices.Sorted(maps.Keys(loans))...)
		user, books = loans[book], []string{book}
	}
	fields := []string{"id", fmt.Sprint("r", h.one(h.ordered, h.ordered, h.ordered, 1+h.random.IntN(h.ordered))),
		"user", user, "books", string(must(json.Marshal(books))(h.t))}
	if h.one(0, 1) == 1 {
		fields = append(fields, "bell", h.word("b1", "b2"))
	}
	return fmt.Sprint("order ", inbox, fields), h.append(inbox, fields...)
}

// forge appends an entry that nobody should have sent.
func (h *history) forge() (string, step) {
	inbox := h.word(inboxes...)
	fields := []string{"of", "no matter"}
	switch books := h.books(3); {
	case h.one(0, 0, 1) == 1:
	case inbox == "stores":
		fields = []string{"books", list(books...)}
	case inbox == "fetches", inbox == "deliveries":
		var parcels []parcel
		for _, book := range books {
			parcels = append(parcels, parcel{fmt.Sprint("r", 1+h.random.IntN(h.ordered+1)), book})
		}
		fields = []string{"orders", ordersOf(parcels...)}
	}
	return fmt.Sprint("forge ", inbox, fields), h.append(inbox, fields...)
}

// read gives an instance entries of an inbox.
func (h *history) read() (string, step) {
	filled := slices.DeleteFunc(slices.Clone(inboxes), func(inbox string) bool {
		groups := must(h.sides[0].rdb.XInfoGroups(h.t.Context(), inbox).Result())(h.t)
		return groups[0].LastDeliveredID == must(h.sides[0].rdb.XInfoStream(h.t.Context(), inbox).Result())(h.t).LastGeneratedID
	})
	if len(filled) == 0 {
		filled = inboxes
	}
	b := batch{inbox: h.word(filled...), worker: h.one(0, 0, 1)}
	count := h.one(1, 2, 5)
	if b.inbox == "returns" && h.frontMax == 2 {
		count = 1
	}
	return fmt.Sprint("read ", b.inbox, " as ", workers[b.worker]), func(t *testing.T, s *side, which int) (any, error) {
		read, err := s.rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{
			Group: group, Consumer: workers[b.worker], Streams: []string{b.inbox, ">"}, Count: int64(count), Block: -1,
		}).Result()
		if err != nil {
			return nil, err
		}
		b.entries[which] = read[0].Messages
		if which == 1 {
			h.inHand = append(h.inHand, b)
		}
		return read[0].Messages, nil
	}
}

// handle has an instance handle entries that it read, now and then once more, or
// under a token that is not its own, or by setting them all aside.
func (h *history) handle() (string, step) {
	i := h.random.IntN(len(h.inHand))
	b, again, fenced, poison := h.inHand[i], h.one(0, 0, 1) == 1, h.one(0, 0, 0, 0, 1) == 1, h.one(0, 0, 0, 0, 0, 1) == 1
	if !again {
		h.inHand = slices.Delete(h.inHand, i, i+1)
	}
	return fmt.Sprint("handle ", b.inbox, " as ", workers[b.worker]), func(t *testing.T, s *side, which int) (any, error) {
		var replies []any
		for _, call := range h.calls(t, b, which, poison) {
			call = call.as(b.worker)
			if fenced {
				call = call.with(tokens[b.worker], "another's")
			}
			reply, err := s.do(t, call)
			if err != nil {
				return nil, err
			}
			replies = append(replies, reply)
		}
		return replies, nil
	}
}

// calls are those by which a batch is handled: one for all that can be read, and one
// for each entry that cannot, or for all if they are poison.
func (h *history) calls(t *testing.T, b batch, which int, poison bool) []call {
	t.Helper()
	var (
		all     []call
		ids     []string
		orders  []order
		parcels [][]parcel
		books   [][]string
	)
	for _, entry := range b.entries[which] {
		text := func(field string) string {
			value, _ := entry.Values[field].(string)
			return value
		}
		read := func(field string, into any) {
			if err := json.Unmarshal([]byte(text(field)), into); err != nil {
				t.Fatalf("%s of %v: %v", field, entry.Values, err)
			}
		}
		switch o := (order{id: text("id"), user: text("user"), bell: text("bell")}); {
		case text("books") == "" && text("orders") == "" || poison:
			r := refusal{request: o.id, fields: []any{".id", o.id}}
			if o.id != "" {
				r.receipt = `{"id":"` + o.id + `","outcome":"rejected"}`
			}
			if o.bell != "" {
				r.bell = bells + o.bell
			}
			all = append(all, reject(r).named("inbox", b.inbox).with("2-0", entry.ID))
			continue
		case o.id != "":
			read("books", &o.books)
			orders = append(orders, o)
		case b.inbox == "stores":
			var of []string
			read("books", &of)
			books = append(books, of)
		default:
			var pairs [][2]string
			read("orders", &pairs)
			var some []parcel
			for _, pair := range pairs {
				some = append(some, parcel{pair[0], pair[1]})
			}
			parcels = append(parcels, some)
		}
		ids = append(ids, entry.ID)
	}
	if len(ids) == 0 {
		return all
	}
	var c call
	switch b.inbox {
	case "requests":
		c = lend(3, orders...)
	case "returns":
		c = takeBackAging(100, h.frontMax, orders...)
		if h.frontMax != 2 {
			c = c.with(demandMax, 4) // so that notes of demand fade
		}
	case "fetches":
		c = fetch(parcels...)
	case "stores":
		c = store(books...)
	case "deliveries":
		c = deliver(parcels...)
	}
	for i, entryID := range ids {
		c = c.with(id(i+1), entryID)
	}
	return append(all, c)
}

// as is the call made by one of the workers.
func (c call) as(which int) call {
	return c.named(locks[0], locks[which]).with(secret, tokens[which]).with(worker, workers[which])
}

// named is the call with another key in place of one of its own.
func (c call) named(old, new string) call {
	c.keys = slices.Clone(c.keys)
	for i, key := range c.keys {
		if key == old {
			c.keys[i] = new
		}
	}
	return c
}

// lock takes the name from an instance, or gives it back.
func (h *history) lock() (string, step) {
	which, gone := h.one(0, 1), h.one(0, 1) == 1
	return fmt.Sprint("lock of ", workers[which], ", gone: ", gone), func(t *testing.T, s *side, _ int) (any, error) {
		if gone {
			return s.rdb.Del(t.Context(), locks[which]).Result()
		}
		return s.rdb.Set(t.Context(), locks[which], tokens[which]+` {"host":"desk"}`, time.Hour).Result()
	}
}

// claim has an instance take over what is pending for the other, or for itself.
func (h *history) claim() (string, step) {
	by, from, inbox := h.one(0, 1), h.one(0, 1), h.word(inboxes...)
	b := batch{inbox: inbox, worker: by}
	return fmt.Sprint("claim ", inbox, " by ", workers[by], " from ", workers[from]), func(t *testing.T, s *side, which int) (any, error) {
		pending := s.stream(t, inbox, span{}).Pending[workers[from]]
		if len(pending) == 0 {
			return nil, nil
		}
		args := []any{tokens[by], workers[by], workers[from], group, setMax}
		for _, id := range pending {
			args = append(args, id, 2, 0)
		}
		reply, err := s.do(t, call{claim().script, []string{locks[by], locks[from], inbox, "terms", "rejected", "events"}, args, nil})
		if err != nil {
			return nil, err
		}
		for _, id := range reply.([]any)[0].([]any) {
			entry, err := s.rdb.XRange(t.Context(), inbox, id.(string), id.(string)).Result()
			if err != nil {
				return nil, err
			}
			b.entries[which] = append(b.entries[which], entry...)
		}
		if which == 1 && len(b.entries[1]) > 0 {
			h.inHand = append(h.inHand, b)
		}
		return reply, nil
	}
}

// retire removes an instance from a group, if it may.
func (h *history) retire() (string, step) {
	which, inbox := h.one(0, 1), h.word(inboxes...)
	return fmt.Sprint("retire ", workers[which], " from ", inbox), func(t *testing.T, s *side, _ int) (any, error) {
		c := retire().named("inbox", inbox).named(locks[0], locks[which]).with(worker, workers[which])
		return s.do(t, c)
	}
}

// retry puts an entry back that was set aside, or now and then gives it up.
func (h *history) retry() (string, step) {
	nth := h.random.IntN(100)
	giveUp := nth%3 == 0
	return fmt.Sprint("retry, or drop: ", giveUp), func(t *testing.T, s *side, _ int) (any, error) {
		rejected, err := s.rdb.XRange(t.Context(), "rejected", "-", "+").Result()
		if err != nil || len(rejected) == 0 {
			return nil, err
		}
		entry := rejected[nth%len(rejected)]
		if giveUp {
			return s.do(t, drop().with("2-0", entry.ID))
		}
		id, _ := entry.Values[".id"].(string)
		return s.do(t, retry(id).named("inbox", entry.Values["stream"].(string)).with("2-0", entry.ID))
	}
}
