package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/library/audit"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

func TestAnHonestLibraryInEveryStateIsClean(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names).furnish()
		want := &audit.Report{
			Library: "main", Whole: true, Orders: 16, Loans: 7, Cards: 4, Front: 1, Out: 7, Receipts: 18,
			Findings: []audit.Finding{}, Notices: []string{}, Unchecked: []string{},
		}
		report := d.check(audit.Config{})
		if diff := cmp.Diff(want, report, cmpopts.IgnoreFields(audit.Report{}, "Events", "First", "Last")); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	})
}

func TestNoneOfManyPendingOrdersIsTakenForAnOrderWithoutAnAnswer(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names)
		const orders = 450 // an audit reads 200 in one go
		for i := range orders {
			d.send(library.Request, fmt.Sprint("r", i), fmt.Sprint("user", i), "geb")
		}
		if taken := d.take("lending:requests", ">"); len(taken) != orders {
			t.Fatalf("the worker has %d entries in its hands, want %d", len(taken), orders)
		}
		d.wants(d.check(audit.Config{}).Findings)
	})
}

// wants compares findings but for their words.
func (d *desk) wants(findings []audit.Finding, want ...audit.Finding) {
	d.Helper()
	if diff := cmp.Diff(want, findings, cmpopts.IgnoreFields(audit.Finding{}, "Problem"), cmpopts.EquateEmpty()); diff != "" {
		d.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestALibraryThatNobodyUsedIsClean(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := &desk{T: t, ctx: deadline(t), rdb: rdb, keys: names}
		if report := d.check(audit.Config{}); !report.Clean() || !report.Whole || len(report.Unchecked) != 0 {
			t.Errorf("an empty server: %+v", report)
		}
		d = newDesk(t, rdb, names)
		if report := d.check(audit.Config{}); !report.Clean() || !report.Whole || len(report.Unchecked) != 0 {
			t.Errorf("before the first order: %+v", report)
		}
	})
}

func TestAValueOfAnotherTypeIsToldForEachKey(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		for _, name := range []string{
			"lending:requests", "lending:returns", "lending:deliveries", "lending:loans", "lending:card:user1", "lending:fetching",
			"lending:front", "lending:demand", "lending:demand:faded", "lending:clock", "lending:receipts", "lending:receipts:older",
			"lending:receipts:page", "lending:terms", "terms", "lending:rejected", "shelving:fetches", "shelving:stores", "shelving:out:33918",
			"shelving:away", "shelving:awaited", "shelving:rejected", "events", "instance:worker1",
		} {
			t.Run(name, func(t *testing.T) {
				rdb.FlushAll(t.Context())
				d := newDesk(t, rdb, names).furnish()
				d.must(rdb.Del(d.ctx, key(name)).Err())
				d.must(rdb.RPush(d.ctx, key(name), "broken").Err())
				types := 0
				for _, f := range d.check(audit.Config{}).Findings {
					if f.Kind != "type" {
						// What depends on the log cannot be told without it, and a book that is not on
						// its card is still lent.
						if name != "events" {
							t.Errorf("it finds %s too", f)
						}
						continue
					}
					types++
					d.wants([]audit.Finding{f}, audit.Finding{Kind: "type", Key: key(name)})
				}
				if types != 1 {
					t.Errorf("it finds %d keys of another type, want one", types)
				}
			})
		}
	})
}

// Without the log, everything is unexplained.
func TestALogThatIsGoneExplainsNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names).furnish()
		d.must(rdb.Del(d.ctx, names.Events()).Err())
		kinds := map[string]int{}
		for _, f := range d.check(audit.Config{}).Findings {
			kinds[f.Kind]++
		}
		// 7 loans, front, 7 books out; 7 books on cards; 4 entries set aside; 4 on their way, 2 orders, 1
		// awaited, 1 delivery, 2 in the stores; 18 receipts; the count.
		want := map[string]int{"book": 15, "card": 7, "entry": 4, "order": 10, "receipt": 18, "count": 1}
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("kinds of findings (-want +got):\n%s", diff)
		}
	})
}

func TestNobodyMayHoldMoreThanTheLimit(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names)
		d.send(library.Request, "r1", "user1", "a", "b", "c")
		d.serve("lending:requests")
		d.wants(d.check(audit.Config{LoansMax: 3}).Findings)
		// By the limit that it is told, the log and the card are wrong.
		d.wants(d.check(audit.Config{LoansMax: 2}).Findings,
			audit.Finding{Kind: "limit", Key: key("lending:card:user1"), User: "user1"},
			audit.Finding{Kind: "limit", Key: key("lending:card:user1"), User: "user1", Request: "r1", Event: d.event("decided", "r1")})

		// Who had more when the limit was lowered may keep them, and borrow no more.
		terms := d.config.Terms
		terms.LoansMax = 2
		d.agree(terms)
		d.send(library.Request, "r2", "user1", "d")
		d.send(library.Return, "t1", "user1", "a")
		d.send(library.Request, "r3", "user2", "d", "e")
		d.serve("shelving:fetches", "lending:deliveries", "lending:requests", "lending:returns")
		d.wants(d.check(audit.Config{}).Findings)

		// What was right when it was lent stays right, and what was lent before or after is
		// compared with the limit of its time.
		terms.LoansMax = 4
		d.agree(terms)
		d.send(library.Request, "r5", "user3", "h", "i", "j", "k")
		d.serve("lending:requests")
		terms.LoansMax = 2
		d.agree(terms)
		d.wants(d.check(audit.Config{}).Findings)

		// An instance that does not keep to it is found, such as one of an older version.
		d.must(rdb.HSet(d.ctx, key("terms"), "loans_max", 5).Err())
		d.send(library.Request, "r4", "user2", "f")
		d.serve("lending:requests")
		d.must(rdb.HSet(d.ctx, key("terms"), "loans_max", 2).Err())
		d.wants(d.check(audit.Config{}).Findings,
			audit.Finding{Kind: "limit", Key: key("lending:card:user2"), User: "user2"},
			audit.Finding{Kind: "limit", Key: key("lending:card:user2"), User: "user2", Request: "r4", Event: d.event("decided", "r4")})
	})
}

func TestAnOrderMayBeDecidedAnewWhenItsReceiptHasEnded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names)
		terms := d.config.Terms
		terms.ReceiptMS = 1
		d.agree(terms)
		decide := func(id string) {
			t.Helper()
			d.send(library.Request, id, "user1", "geb")
			d.serve("lending:requests")
			for rdb.Exists(d.ctx, key("lending:receipts:page")).Val() != 0 {
				time.Sleep(time.Millisecond) // until the page is full
			}
		}
		for _, id := range []string{"r1", "r2", "r3", "r1"} {
			decide(id)
		}
		d.wants(d.check(audit.Config{}).Findings)
		// Where receipts are kept for longer from now on, that begins now.
		d.agree(d.config.Terms)
		d.wants(d.check(audit.Config{}).Findings)
		// One that was promised to be kept for so long must be, whatever is promised later.
		d.send(library.Request, "r4", "user1", "geb")
		d.serve("lending:requests")
		d.agree(terms)
		d.wants(d.check(audit.Config{}).Findings)
		d.must(rdb.HDel(d.ctx, key("lending:receipts"), "r4").Err())
		d.wants(d.check(audit.Config{}).Findings,
			audit.Finding{Kind: "receipt", Key: key("lending:receipts"), User: "user1", Request: "r4", Event: d.event("decided", "r4")})
	})
}

// Rubbish does not void an order that has its id, on either page.
func TestAnOrderIsDecidedThoughRubbishWithItsIDWasRejected(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names)
		d.append("lending:returns", "id", "r1", "user", "user1", "books", "[geb")
		d.serve("lending:returns")
		d.send(library.Request, "r1", "user1", "geb")
		d.serve("lending:requests")
		d.append("lending:returns", "id", "r2", "user", "user1", "books", "[geb")
		d.send(library.Request, "r0", "user1", "emma")
		d.serve("lending:returns", "lending:requests")
		d.must(d.rdb.Del(d.ctx, key("lending:receipts:page")).Err()) // as if its time had ended
		d.send(library.Request, "r2", "user1", "dune")
		d.serve("lending:requests")
		report := d.check(audit.Config{})
		d.wants(report.Findings)
		if report.Orders != 3 || report.Receipts != 3 {
			t.Errorf("there are %d orders and %d receipts, want 3 of each", report.Orders, report.Receipts)
		}
	})
}

// A corruption in a library whose log was cut is found where keys contradict each
// other, and the report tells that the rest was not checked.
func TestACutLogIsToldAndWhatItLeavesIsChecked(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		for _, keep := range []int64{1, 4, 8, 12, 16, 20, 24} {
			rdb.FlushAll(t.Context())
			d := newDesk(t, rdb, names).furnish()
			// The embedded server does not tell that a log was cut, but that it is full.
			terms := d.config.Terms
			terms.LogMax = keep
			d.agree(terms)
			d.must(rdb.XTrimMaxLen(d.ctx, names.Events(), keep).Err())
			report := d.check(audit.Config{})
			if report.Whole || !report.Clean() || report.Loans != 7 || report.Out != 7 {
				t.Errorf("of %d events: %+v", keep, report)
			}
			if len(report.Unchecked) == 0 || !strings.Contains(report.Unchecked[0], "before event "+report.First) {
				t.Errorf("of %d events it does not tell what it could not check: %q", keep, report.Unchecked)
			}
			config := audit.Config{Redis: rdb, Keys: names}
			if _, err := audit.Verify(d.ctx, config); !errors.Is(err, audit.ErrNotWhole) {
				t.Errorf("of %d events: Verify = %v", keep, err)
			}
			if _, err := audit.Rebuild(d.ctx, config, library.Keys{Library: "copy"}); !errors.Is(err, audit.ErrNotWhole) {
				t.Errorf("of %d events: Rebuild = %v", keep, err)
			}
		}
		for _, c := range []struct {
			do   string // several commands with a | between them
			want found
		}{
			{"HDEL @lending:loans coming|HDEL @lending:card:user1 coming", found{kind: "order", key: "lending:fetching", book: "coming", request: "r9"}},
			{"XDEL @shelving:stores ENTRY(shelving:stores,awaited)", found{kind: "order", key: "shelving:awaited", book: "awaited", user: "user3", request: "r5"}},
			{"HSET @lending:loans held user2", found{kind: "card", key: "lending:card:user1", book: "held", user: "user1"}},
			{"HDEL @lending:card:user1 held", found{kind: "card", key: "lending:card:user1", book: "held", user: "user1"}},
			{"HSET @lending:card:user3 held 17977596342940028", found{kind: "card", key: "lending:card:user3", book: "held", user: "user3"}},
			{"SADD @lending:front held", found{kind: "book", key: "shelving:out:33918", book: "held", user: "user1"}},
			{"HDEL @lending:fetching coming", found{kind: "order", key: "lending:fetching", book: "coming", user: "user1", request: "r9"}},
			{"SREM @lending:front front", found{kind: "book", key: "shelving:out:56280", book: "front"}},
			{"HDEL @shelving:awaited awaited", found{kind: "order", key: "lending:fetching", book: "awaited", user: "user3", request: "r5"}},
			{"XDEL @shelving:stores ENTRY(shelving:stores,leaving)", found{kind: "book", key: "shelving:out:33499", book: "leaving"}},
			{"XDEL @lending:deliveries ENTRY(lending:deliveries,arriving)", found{kind: "order", key: "lending:fetching", book: "arriving", user: "user1", request: "r6"}},
			{"XADD @shelving:stores * books [\"held\"]", found{kind: "book", key: "shelving:out:33918", book: "held", user: "user1"}},
			{"XADD @shelving:fetches * orders [[\"r99\",\"geb\"]]", found{kind: "order", key: "lending:fetching", book: "geb", request: "r99"}},
			{"INCR @shelving:away", found{kind: "count", key: "shelving:away"}},
		} {
			rdb.FlushAll(t.Context())
			d := newDesk(t, rdb, names).furnish()
			terms := d.config.Terms
			terms.LogMax = 1
			d.agree(terms)
			d.must(rdb.XTrimMaxLen(d.ctx, names.Events(), 1).Err()) // it tells of no book
			d.corrupt(strings.Split(c.do, "|"))
			findings := d.check(audit.Config{}).Findings
			if !slices.ContainsFunc(findings, func(f audit.Finding) bool {
				return f.Kind == c.want.kind && f.Key == key(c.want.key) && f.Book == c.want.book && f.User == c.want.user && f.Request == c.want.request
			}) {
				t.Errorf("%s: it finds %v, want %+v", c.do, findings, c.want)
			}
		}
	})
}

// Who can write to Redis can write anything.
func TestWhatWouldDisturbATerminalIsShownEscaped(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names).furnish()
		evil := "\x1b[2J\u202e\u0085\u2028 *?[x]{main}\"'\xff"
		for _, command := range [][]any{
			{"HSET", key("lending:loans"), evil, evil},
			{"HSET", key("lending:card:" + evil), evil, evil},
			{"HSET", key("lending:fetching"), evil, evil},
			{"SADD", key("lending:front"), evil},
			{"HSET", key("shelving:out:" + evil), evil, evil},
			{"HSET", key("shelving:awaited"), evil, evil},
			{"HSET", key("lending:receipts"), evil, evil},
			{"HSET", key("lending:demand"), evil, evil},
			{"SET", key("instance:" + evil), evil},
			{"SET", key(evil), evil},
			{"HSET", key("terms"), "loans_max", evil},
			{"XADD", key("lending:rejected"), "*", "stream", evil, "entry", evil, ".id", evil, ".user", evil, ".orders", evil},
			{"XADD", names.Fetches(), "*", "orders", `[["\u001b[2J","\u202e"]]`},
			{"XADD", names.Stores(), "*", "books", evil},
			{"XADD", names.Events(), "*", "event", evil},
			{"XADD", names.Events(), "*", "event", "decided", "receipts", `[{"id":"\u001b","action":"\u202e"}]`},
			{"XADD", names.Events(), "*", "event", "fetched", "orders", `[["\u001b","\u202e"]]`},
			{"XADD", names.Events(), "*", "event", "rejected", "receipt", `{"id":"\u001b","user":"\u202e"}`},
		} {
			d.must(rdb.Do(d.ctx, command...).Err())
		}
		report := d.check(audit.Config{})
		if len(report.Findings) < 18 || len(report.Notices) < 2 {
			t.Errorf("it finds only %v, %q", report.Findings, report.Notices)
		}
		for _, f := range report.Findings {
			if text := f.String(); strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError }) {
				t.Errorf("it would disturb a terminal: %q", text)
			}
		}
	})
}

func TestWhatIsStrangeAndHarmlessIsNoFinding(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names).furnish()
		d.append("shelving:fetches", "orders", `[["r99","geb"]]`)
		d.must(rdb.Set(d.ctx, key("notes"), "ours", 0).Err())
		d.append("gateway:samples", "sample", "{}") // a gateway's, which belongs there
		report := d.check(audit.Config{})
		d.wants(report.Findings, audit.Finding{Kind: "order", Key: names.Fetches(), Book: "geb", Request: "r99"})
		// The forged order is executed, and its book sent back.
		for _, inbox := range []string{"shelving:fetches", "lending:deliveries", "shelving:stores"} {
			d.serve(inbox)
			report := d.check(audit.Config{})
			d.wants(report.Findings)
			if len(report.Notices) != 2 || !strings.Contains(report.Notices[0]+report.Notices[1], `book "geb" was fetched for order "r99", which did not ask for it`) ||
				!strings.Contains(report.Notices[0]+report.Notices[1], `no such key: "{main}:notes"`) {
				t.Errorf("after %s it notices %q", inbox, report.Notices)
			}
		}
	})
}

func TestWhatADeadWorkerLeftIsNotWrongAtOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names).furnish()
		d.must(rdb.Del(d.ctx, names.Instance("worker1")).Err())
		// Somebody takes it over while the audit waits.
		looked := make(chan struct{})
		rdb.AddHook(calls(func(cmd redis.Cmder) {
			if cmd.Name() == "xinfo" && cmd.Args()[1] == "consumers" && cmd.Args()[2] == names.Stores() {
				select {
				case looked <- struct{}{}:
				default:
				}
			}
		}))
		other := newOther(t, rdb)
		go func() {
			<-looked
			other.Set(context.Background(), names.Instance("worker1"), "again", time.Minute)
		}()
		begin := time.Now()
		d.wants(d.check(audit.Config{Patience: time.Minute}).Findings)
		if time.Since(begin) > 30*time.Second {
			t.Error("it waited on when there was nothing to wait for")
		}
	})
}

// What nobody could have meant is for the services to set aside. Until then it holds
// nothing up.
func TestAnEntryThatIsTooLargeToReadIsNoFinding(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	d := newDesk(t, rdb, names).furnish()
	for _, service := range []string{library.Lending, library.Shelving} {
		for _, inbox := range names.Inboxes(service) {
			d.must(rdb.XAdd(d.ctx, &redis.XAddArgs{Stream: inbox, Values: []string{"orders", strings.Repeat("x", 2<<20)}}).Err())
		}
	}
	bounded, err := redisconn.Connect(redisconn.Options{Address: redisconn.Where(rdb), ReplyMax: 1 << 20})
	d.must(err)
	defer bounded.Close()
	report, err := audit.Check(d.ctx, audit.Config{Redis: bounded, Keys: names})
	d.must(err)
	d.wants(report.Findings)
	report, err = audit.Verify(d.ctx, audit.Config{Redis: bounded, Keys: names})
	d.must(err)
	d.wants(report.Findings)
}

func newOther(t *testing.T, rdb *redis.Client) *redis.Client {
	other := redis.NewClient(rdb.Options())
	t.Cleanup(func() { other.Close() })
	return other
}

// calls is a hook that sees each command, those in pipelines too.
type calls func(redis.Cmder)

func (calls) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c calls) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		c(cmd)
		return err
	}
}
func (c calls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			c(cmd)
		}
		return err
	}
}

// A page of receipts ends while it is read: those that were seen already make it look
// as if the others were missing.
func TestReceiptsThatEndWhileTheyAreReadAreNotMissed(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	d := newDesk(t, rdb, names)
	terms := d.config.Terms
	terms.ReceiptMS = 1
	d.agree(terms)
	// They stand for longer than was promised.
	d.must(rdb.HSet(d.ctx, key("terms"), "receipt_ms", d.config.Terms.ReceiptMS).Err())
	for i := range 1200 { // more than a page of a scan
		d.send(library.Return, fmt.Sprint("t", i), "user1", "geb")
	}
	d.serve("lending:returns")
	d.must(rdb.Del(d.ctx, key("lending:receipts:page")).Err())
	d.send(library.Return, "last", "user1", "geb")
	d.serve("lending:returns")
	d.must(rdb.HSet(d.ctx, key("terms"), "receipt_ms", 1).Err())

	other := newOther(t, rdb)
	turned := false
	rdb.AddHook(calls(func(cmd redis.Cmder) {
		if turned || cmd.Name() != "hscan" || cmd.Args()[1] != key("lending:receipts:older") {
			return
		}
		if _, cursor := cmd.(*redis.ScanCmd).Val(); cursor == 0 {
			t.Error("the older page was read in one go, so it shows nothing")
		}
		turned = true
		d.must(other.Unlink(d.ctx, key("lending:receipts:older")).Err())
		d.must(other.Rename(d.ctx, key("lending:receipts"), key("lending:receipts:older")).Err())
	}))
	report := d.check(audit.Config{})
	d.wants(report.Findings)
	if !turned || report.Receipts != 1 {
		t.Errorf("%d receipts were read in the end, want the last; the page was turned: %v", report.Receipts, turned)
	}
}

// An audit that is outrun by the trimming of the log says so instead of guessing.
func TestALogThatIsTrimmedFasterThanItIsReadEndsTheAudit(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names)
		for range 500 {
			d.append("events", "event", "stored", "books", "[]")
		}
		other := newOther(t, rdb)
		trimmed := false
		rdb.AddHook(calls(func(cmd redis.Cmder) {
			if page, ok := cmd.(*redis.XMessageSliceCmd); ok && len(page.Val()) > 1 && !trimmed {
				trimmed = true
				d.must(other.XTrimMaxLen(d.ctx, names.Events(), 10).Err())
			}
		}))
		if report, err := audit.Check(d.ctx, audit.Config{Redis: rdb, Keys: names}); err == nil || !strings.Contains(err.Error(), "--log-keep") {
			t.Errorf("Check = %v, %v, want an error that tells what to do", report, err)
		}
	})
}

func TestAnEventThatIsDeletedWhileItIsReadIsTold(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names)
		for range 500 {
			d.append("events", "event", "stored", "books", "[]")
		}
		other := newOther(t, rdb)
		deleted := ""
		rdb.AddHook(calls(func(cmd redis.Cmder) {
			if page, ok := cmd.(*redis.XMessageSliceCmd); ok && len(page.Val()) > 1 && deleted == "" {
				deleted = page.Val()[len(page.Val())-1].ID
				d.must(other.XDel(d.ctx, names.Events(), deleted).Err())
			}
		}))
		findings := d.check(audit.Config{}).Findings
		if len(findings) == 0 {
			t.Fatal("nothing is found")
		}
		for _, f := range findings { // a real server tells of it once more
			d.wants([]audit.Finding{f}, audit.Finding{Kind: "log", Key: names.Events(), Event: deleted})
		}
	})
}
