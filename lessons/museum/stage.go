package museum

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"example.com/library/audit"
	"example.com/library/events"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/alicebob/miniredis/v2"
	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
)

const (
	lockTTL    = 10 * time.Second
	receiptTTL = 10 * time.Minute // the least that a library keeps them
	loansMax   = 5
	// deliveriesMax is how often an entry may be given to an instance, as in package worker.
	deliveriesMax = 5
	logMax        = 1000
)

// opening is when every story begins.
var opening = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)

// A Stage is a library of its own, in which a story takes place. What fails and is no
// part of the story ends the story: its methods panic with a failure.
type Stage struct {
	ctx    context.Context
	out    io.Writer
	keys   library.Keys
	server *miniredis.Miniredis
	now    time.Time
	rdb    *redis.Client // the stage's own connection, which nothing strikes
	client *lending.Client
	// front is how many books front storage has room for, in the instances to come.
	front int
	// counts is how often an entry counts as delivered that is taken over.
	counts func(before int64) int64

	changed   map[string]string // the text that is run in place of a script's, by the script's hash
	instances []*Instance
	wishes    []lending.Order // what users wished, each once
	unheard   []string        // what the desk says besides
	told      string          // the last event that was told
}

// failure is what a story panics with.
type failure struct{ error }

// must ends the story if something failed.
func must(err error) {
	if err != nil && !errors.Is(err, redis.Nil) {
		panic(failure{err})
	}
}

func open(ctx context.Context, out io.Writer) (*Stage, error) {
	server, err := miniredis.Run()
	if err != nil {
		return nil, err
	}
	s := &Stage{
		ctx: ctx, out: out, keys: library.Keys{Library: "museum"}, server: server, now: opening, front: 20, counts: countsOn,
		changed: map[string]string{}, told: "0-0",
	}
	server.SetTime(s.now)
	s.rdb = redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true})
	s.client, err = lending.NewClient(s.rdb, s.keys.Library)
	// The server knows all scripts, so that a script is one command.
	for _, script := range []*redis.Script{scripts.Lend, scripts.Return, scripts.Fetch, scripts.Store, scripts.Deliver, scripts.Claim, scripts.Retire, scripts.Reject} {
		err = cmp.Or(err, script.Load(ctx, s.rdb).Err())
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Stage) close() {
	for _, i := range s.instances {
		i.rdb.Close()
	}
	if s.client != nil {
		s.client.Close()
	}
	s.rdb.Close()
	s.server.Close()
}

// says tells what happens.
func (s *Stage) says(format string, words ...any) {
	fmt.Fprintf(s.out, "  "+format+"\n", words...)
}

// passes lets time pass. What ends meanwhile ends.
func (s *Stage) passes(d time.Duration) {
	s.now = s.now.Add(d)
	s.server.SetTime(s.now)
	s.server.FastForward(d)
	s.says("%s", strings.NewReplacer("h0m0s", " h", "m0s", " min", "s", " s").Replace(d.String())+" later")
}

// wish is something that a user wants done once, as an order.
func (s *Stage) wish(id string, action library.Action, user string, books ...string) lending.Order {
	order := lending.Order{ID: id, Action: action, User: user, Books: books}
	s.wishes = append(s.wishes, order)
	return order
}

// sends appends an order to its inbox, as the client of the library does.
func (s *Stage) sends(order lending.Order) {
	must(s.client.Send(s.ctx, order))
	s.says("%s sends %s %s: %s", order.User, order.Action, order.ID, strings.Join(order.Books, ", "))
}

// fields are an order as it stands in its inbox.
func fields(order lending.Order) []any {
	return []any{"id", order.ID, "user", order.User, "books", list(order.Books...)}
}

// list is some texts without quotes as a JSON array.
func list(texts ...string) string { return `["` + strings.Join(texts, `","`) + `"]` }

// lends has a book be lent and, if the user brings it back, stand in front storage.
func (s *Stage) lends(user, book string, back bool) {
	out := s.out
	s.out = io.Discard
	early := s.starts("morning")
	s.sends(s.wish("before-1", library.Request, user, book))
	must(early.works())
	if back {
		s.sends(s.wish("before-2", library.Return, user, book))
		must(early.works())
	}
	early.leaves()
	s.out = out
}

// news tells what the log has got since it was told last.
func (s *Stage) news() {
	page, err := s.rdb.XRange(s.ctx, s.keys.Events(), "("+s.told, "+").Result()
	must(err)
	for _, message := range page {
		s.told = message.ID
		for _, event := range events.Parse(message) {
			if event.Event == "terms" {
				continue // that belongs to every library's first day
			}
			about := strings.Join(event.Books, ", ")
			if event.Receipt != nil {
				about = event.Receipt.Summary()
			}
			if event.Reason != "" {
				about = strings.TrimSpace(about + " " + event.Reason)
			}
			s.says("    log: %s", strings.Join(slices.DeleteFunc([]string{event.Event, event.User, about, "by " + event.By}, func(word string) bool { return word == "" }), "  "))
		}
	}
}

// An Instance is a process that runs both services.
type Instance struct {
	*Stage
	name    string
	rdb     *redis.Client // its connections, which faults strike
	lock    *worker.Instance
	config  worker.Config
	inboxes []worker.Inbox
	faults  *faults
}

// errDead is what becomes of the commands of an instance that is dead.
var errDead = errors.New("the instance is dead")

// starts starts an instance.
func (s *Stage) starts(name string) *Instance {
	i := s.connects(name, 0)
	s.says("%s starts", name)
	i.takesName()
	return i
}

// connects gives an instance its connections. Its client repeats a command that got no
// reply so often by itself.
func (s *Stage) connects(name string, retries int) *Instance {
	i := &Instance{Stage: s, name: name, faults: &faults{changed: s.changed}}
	i.rdb = redis.NewClient(&redis.Options{
		Addr: s.server.Addr(), ContextTimeoutEnabled: true, DisableIdentity: true,
		MaxRetries: cmp.Or(retries, -1), MinRetryBackoff: -1, MaxRetryBackoff: -1, Dialer: i.faults.dial,
	})
	i.rdb.AddHook(i.faults)
	s.instances = append(s.instances, i)
	return i
}

// takesName takes the instance's name, and makes what is missing of streams and groups.
func (i *Instance) takesName() {
	quiet := log.New(io.Discard)
	lock, err := worker.Take(i.ctx, i.rdb, worker.LockConfig{Keys: i.keys, Name: i.name, TTL: lockTTL, Services: library.Services(), Log: quiet})
	must(err)
	i.lock = lock
	i.config = worker.Config{
		Redis: i.rdb, Keys: i.keys, Instance: i.lock, Outage: redisconn.NewOutage(quiet), Log: quiet,
	}
	terms := library.DefaultTerms()
	terms.LoansMax, terms.FrontMax, terms.ReceiptMS, terms.LogMax = loansMax, i.front, receiptTTL.Milliseconds(), logMax
	lends := lending.NewService(lending.Config{Config: i.config, Terms: terms})
	shelves := shelving.NewService(shelving.Config{Config: i.config})
	must(lends.Prepare(i.ctx))
	must(shelves.Prepare(i.ctx))
	i.inboxes = slices.Concat(lends.Inboxes(), shelves.Inboxes())
}

// leaves stops an instance as one does that was told to.
func (i *Instance) leaves() {
	must(i.lock.Release(i.ctx))
	for _, inbox := range i.inboxes {
		must(worker.Retire(i.ctx, i.rdb, i.keys, inbox.Stream, inbox.Service, i.name))
	}
	i.says("%s stops", i.name)
}

// works does all there is to do, inbox by inbox: it takes over what the dead left, and
// reads what is new. With streams it looks at these only, in their order.
func (i *Instance) works(streams ...string) error {
	inboxes := i.inboxes
	if len(streams) > 0 {
		inboxes = nil
		for _, stream := range streams {
			inboxes = append(inboxes, i.inbox(stream))
		}
	}
	for worked := true; worked; {
		worked = false
		for _, inbox := range inboxes {
			for _, next := range []func(worker.Inbox) []worker.Entry{i.takesOver, i.takes} {
				batch := next(inbox)
				worked = worked || len(batch) > 0
				if err := i.handles(inbox, batch); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (i *Instance) inbox(stream string) worker.Inbox {
	return i.inboxes[slices.IndexFunc(i.inboxes, func(inbox worker.Inbox) bool { return inbox.Stream == stream })]
}

// takes reads what is new in an inbox.
func (i *Instance) takes(inbox worker.Inbox) []worker.Entry {
	streams, err := i.rdb.XReadGroup(i.ctx, &redis.XReadGroupArgs{
		Group: inbox.Service, Consumer: i.name, Streams: []string{inbox.Stream, ">"}, Count: inbox.Batch, Block: -1,
	}).Result()
	must(err)
	if len(streams) == 0 {
		return nil
	}
	var batch []worker.Entry
	for _, message := range streams[0].Messages {
		batch = append(batch, i.entry(message, 1))
	}
	i.says("%s is given %s of %s", i.name, count(batch), name(inbox.Stream))
	return batch
}

// entry is what the instance was given, for the so manyth time.
func (i *Instance) entry(message redis.XMessage, deliveries int64) worker.Entry {
	entry := worker.Entry{ID: message.ID, Fields: map[string]string{}, Deliveries: deliveries, Token: i.lock.Token()}
	for name, value := range message.Values {
		entry.Fields[name], _ = value.(string)
	}
	return entry
}

// takesOver claims what is pending for instances whose lock is gone.
func (i *Instance) takesOver(inbox worker.Inbox) []worker.Entry {
	consumers, err := i.rdb.XInfoConsumers(i.ctx, inbox.Stream, inbox.Service).Result()
	must(err)
	var batch []worker.Entry
	for _, other := range consumers {
		lock, err := i.rdb.Get(i.ctx, i.keys.Instance(other.Name)).Result()
		must(err)
		if other.Pending == 0 || other.Name == i.name || worker.Serves(lock, inbox.Service) {
			continue
		}
		pending, err := i.rdb.XPendingExt(i.ctx, &redis.XPendingExtArgs{
			Stream: inbox.Stream, Group: inbox.Service, Consumer: other.Name, Start: "-", End: "+", Count: inbox.Batch,
		}).Result()
		must(err)
		args := []any{i.lock.Token(), i.name, other.Name, inbox.Service, logMax}
		deliveries := map[string]int64{}
		for _, entry := range pending {
			deliveries[entry.ID] = i.counts(entry.RetryCount)
			args = append(args, entry.ID, deliveries[entry.ID], 0)
		}
		reply, err := scripts.Claim.Run(i.ctx, i.rdb, []string{i.lock.Key(), i.keys.Instance(other.Name), inbox.Stream, i.keys.Terms(), i.keys.Rejected(inbox.Service), i.keys.Events()}, args...).Slice()
		must(err)
		for _, id := range reply[0].([]any) {
			messages, err := i.rdb.XRange(i.ctx, inbox.Stream, id.(string), id.(string)).Result()
			must(err)
			for _, message := range messages {
				batch = append(batch, i.entry(message, deliveries[message.ID]))
			}
		}
		i.says("%s takes over %s of %s from %s", i.name, count(batch), name(inbox.Stream), other.Name)
	}
	return batch
}

// handles applies a batch, again and again until there is a reply. What cannot be applied,
// or was given out too often, is set aside.
func (i *Instance) handles(inbox worker.Inbox, batch []worker.Entry) error {
	batch = slices.DeleteFunc(batch, func(entry worker.Entry) bool {
		tooOften := entry.Deliveries > deliveriesMax
		if tooOften {
			i.rejects(inbox, inbox.Reject(entry, fmt.Sprintf("it was delivered more than %d times and never finished", deliveriesMax)))
		}
		return tooOften
	})
	for len(batch) > 0 {
		rejections, err := inbox.Handle(i.ctx, batch)
		i.news()
		switch {
		case err == nil:
			for _, rejection := range rejections {
				i.rejects(inbox, rejection)
			}
			return nil
		case errors.Is(err, errDead):
			return err
		case redisconn.KindOf(err) == redisconn.Fenced:
			i.says("%s is FENCED, and drops what it has in hand", i.name)
			return nil
		case redisconn.KindOf(err) != redisconn.Passing:
			must(err)
		}
		i.says("%s got no reply, and calls the script again", i.name)
	}
	return nil
}

// rejects sets an entry aside.
func (i *Instance) rejects(inbox worker.Inbox, r worker.Rejection) {
	keys := append([]string{i.lock.Key(), inbox.Stream, i.keys.Terms(), i.keys.Rejected(inbox.Service), i.keys.Events()}, r.Pages...)
	args := []any{r.Entry.Token, i.name, inbox.Service, logMax, r.Entry.ID, r.Reason, r.Request, r.Receipt, r.Bell}
	must(scripts.Reject.Run(i.ctx, i.rdb, keys, args...).Err())
	i.news()
}

// count tells how many entries there are, and which orders are in them.
func count(batch []worker.Entry) string {
	var ids []string
	for _, entry := range batch {
		if id := entry.Fields["id"]; id != "" {
			ids = append(ids, id)
		}
	}
	switch {
	case len(ids) > 0:
		return "order " + strings.Join(ids, ", ")
	case len(batch) == 1:
		return "an entry"
	}
	return fmt.Sprintf("%d entries", len(batch))
}

// name is a key without the library's.
func name(key string) string {
	_, name, _ := strings.Cut(key, ":")
	return name
}

// A Verdict is what is wrong in the end.
type Verdict struct {
	Audit []audit.Finding `json:"audit"`
	Desk  []string        `json:"desk"`
}

// Clean reports whether nothing is wrong.
func (v *Verdict) Clean() bool { return len(v.Audit) == 0 && len(v.Desk) == 0 }

// judge has the audit and the desk say what is wrong.
func (s *Stage) judge() *Verdict {
	report, err := audit.Check(s.ctx, audit.Config{Redis: s.rdb, Keys: s.keys, LoansMax: loansMax, Patience: time.Millisecond})
	must(err)
	verdict := &Verdict{Audit: report.Findings, Desk: s.unheard}
	decided := map[string]int{}
	page, err := s.rdb.XRange(s.ctx, s.keys.Events(), "-", "+").Result()
	must(err)
	for _, message := range page {
		for _, event := range events.Parse(message) {
			switch receipt := event.Receipt; {
			case receipt == nil:
			case receipt.Outcome == library.Rejected: // it may name no books
				decided[receipt.ID]++
			default:
				decided[fmt.Sprint(receipt.Action, receipt.User, event.Books)]++
			}
			verdict.Desk = append(verdict.Desk, overdue(event)...)
		}
	}
	for _, wish := range s.wishes {
		what := fmt.Sprintf("%s wished once to %s %s (order %s), and ", wish.User, wish.Action, strings.Join(wish.Books, ", "), wish.ID)
		switch n := decided[wish.ID] + decided[fmt.Sprint(wish.Action, wish.User, wish.Books)]; {
		case n == 0:
			verdict.Desk = append(verdict.Desk, what+"was never answered")
		case n > 1:
			verdict.Desk = append(verdict.Desk, what+fmt.Sprintf("that was decided %d times", n))
		}
	}
	return verdict
}

// overdue tells of loans that end before they begin.
func overdue(event *events.Event) (complaints []string) {
	if event.Receipt == nil {
		return nil
	}
	for _, line := range event.Receipt.Books {
		if line.Result == library.Lent && line.Due.Before(event.Time) {
			complaints = append(complaints, fmt.Sprintf("%s was lent to %s on %s, and was due on %s already",
				line.Book, event.User, event.Time.Format(day), line.Due.Format(day)))
		}
	}
	return complaints
}

const day = "2 Jan 2006"
