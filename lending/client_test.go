package lending

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/library/events"
	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/worker"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// wantReceipt checks a receipt but for its id and its dates, and that each book the
// user holds is due at the end of the 28th day after this one.
func wantReceipt(t testing.TB, got *library.Receipt, err error, want library.Receipt) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got.ID == "" {
		t.Error("the receipt has no id")
	}
	for _, line := range got.Books {
		days := time.Until(line.Due).Hours() / 24
		if holds := line.Result == library.Lent || line.Result == library.AlreadyYours; line.Due.IsZero() == holds || holds && (days < 27.9 || days > 29) {
			t.Errorf("%s, which is %s, is due in %.1f days", line.Book, line.Result, days)
		}
	}
	if diff := cmp.Diff(&want, got, cmpopts.IgnoreFields(library.Receipt{}, "ID"), cmpopts.IgnoreFields(library.Line{}, "Due")); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
}

// An answer is what became of an order that was sent in the background.
type answer struct {
	receipt *library.Receipt
	err     error
}

// ask sends an order in the background.
func ask(ctx context.Context, client *Client, order Order) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		receipt, err := client.Do(ctx, order)
		answers <- answer{receipt, err}
	}()
	return answers
}

// newOrder is NewOrder for names that are right.
func newOrder(t testing.TB, action library.Action, user string, books ...string) Order {
	t.Helper()
	order, err := NewOrder(action, user, books...)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

func TestBooksAreLentFetchedTakenBackAndLentFromFrontStorage(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{frontMax: 1}).open(t, rdb)
		client := newClient(t, rdb)

		receipt, err := client.Request(ctx, "ann", "geb", "Go\u0308del", "geb")
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{
			{Book: "geb", Result: library.Lent, From: library.FromShelves}, {Book: "Gödel", Result: library.Lent, From: library.FromShelves},
		}})
		var arrived []string
		if err := client.Arrivals(ctx, receipt, func(line library.Line) { arrived = append(arrived, line.Book) }); err != nil {
			t.Fatal(err)
		}
		slices.Sort(arrived)
		if diff := cmp.Diff([]string{"Gödel", "geb"}, arrived); diff != "" {
			t.Errorf("arrived (-want +got):\n%s", diff)
		}
		wantState(t, ctx, rdb, state{
			Loans: map[string]string{"geb": "ann", "Gödel": "ann"}, Cards: map[string][]string{"ann": {"Gödel", "geb"}},
			Out: []string{"Gödel", "geb"},
		})

		receipt, err = client.Return(ctx, "ann", "geb", "Gödel", "alice")
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Return, User: "ann", Outcome: library.Partial, Books: []library.Line{
			{Book: "geb", Result: library.TakenBack}, {Book: "Gödel", Result: library.TakenBack}, {Book: "alice", Result: library.NotYours},
		}})
		s := settled(t, ctx, rdb)
		if len(s.Front) != 1 || len(s.Loans) != 0 {
			t.Fatalf("after the return: %+v, want one book in front storage and none lent", s)
		}

		receipt, err = client.Request(ctx, "bob", s.Front[0])
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "bob", Outcome: library.Granted, Books: []library.Line{
			{Book: s.Front[0], Result: library.Lent, From: library.FromFront},
		}})
		if err := client.Arrivals(ctx, receipt, func(line library.Line) { t.Errorf("%s arrived from front storage", line.Book) }); err != nil {
			t.Fatal(err)
		}
		receipt, err = client.Return(ctx, "bob", s.Front[0])
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Return, User: "bob", Outcome: library.Returned, Books: []library.Line{{Book: s.Front[0], Result: library.TakenBack}}})
		wantState(t, ctx, rdb, s)
	})
}

// Many books that are ordered at once share entries on their way.
func TestAHundredBooksTravelTogetherAndEachArrives(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{loansMax: library.BooksMax, frontMax: 30}).open(t, rdb)
		client := newClient(t, rdb)
		var names100 []string
		for i := range library.BooksMax {
			names100 = append(names100, fmt.Sprintf(`%d. "\%c"`, i, 'a'+i%26))
		}
		slices.Sort(names100)
		receipt, err := client.Request(ctx, `"ann"`, names100...)
		if err != nil || receipt.Outcome != library.Granted {
			t.Fatalf("Request = %+v, %v", receipt, err)
		}
		var arrived []string
		if err := client.Arrivals(ctx, receipt, func(line library.Line) { arrived = append(arrived, line.Book) }); err != nil {
			t.Fatal(err)
		}
		slices.Sort(arrived)
		if diff := cmp.Diff(names100, arrived); diff != "" {
			t.Errorf("arrived (-want +got):\n%s", diff)
		}
		wantState(t, ctx, rdb, state{
			Loans: maps.Collect(func(yield func(string, string) bool) {
				for _, book := range names100 {
					yield(book, `"ann"`)
				}
			}),
			Cards: map[string][]string{`"ann"`: names100}, Out: names100,
		})
		if _, err := client.Return(ctx, `"ann"`, names100...); err != nil {
			t.Fatal(err)
		}
		s := settled(t, ctx, rdb)
		if len(s.Front) != 30 || len(s.Out) != 30 || len(s.Loans) != 0 {
			t.Errorf("after the return: %+v, want 30 books in front storage and the others on the shelves", s)
		}
		books, entries := map[string]int{}, map[string]int{}
		for _, message := range rdb.XRange(ctx, names.Events(), "-", "+").Val() {
			for i, event := range events.Parse(message) {
				books[event.Event] += len(event.Books)
				if i == 0 {
					entries[event.Event]++
				}
			}
		}
		want := map[string]int{"terms": 0, "lent": 100, "fetched": 100, "delivered": 100, "returned": 100, "shelved": 70, "stored": 70}
		if diff := cmp.Diff(want, books); diff != "" {
			t.Errorf("books that the log tells of (-want +got):\n%s", diff)
		}
		for _, event := range []string{"fetched", "delivered", "shelved", "stored"} {
			if n := entries[event]; n > 16 {
				t.Errorf("the log has %d entries for what was %s, want 16 at most", n, event)
			}
		}
	})
}

func TestARequestIsAnsweredBookByBook(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{loansMax: 2}).open(t, rdb)
		client := newClient(t, rdb)
		for _, test := range []struct {
			action  library.Action
			user    string
			books   []string
			outcome library.Outcome
			lines   []library.Line
		}{
			{library.Request, "ann", []string{"geb"}, library.Granted, []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}},
			{library.Request, "bob", []string{"geb"}, library.Denied, []library.Line{{Book: "geb", Result: library.Unavailable}}},
			{library.Request, "bob", []string{"geb", "alice"}, library.Partial, []library.Line{{Book: "geb", Result: library.Unavailable}, {Book: "alice", Result: library.Lent, From: library.FromShelves}}},
			{library.Request, "ann", []string{"geb"}, library.Denied, []library.Line{{Book: "geb", Result: library.AlreadyYours}}},
			{library.Request, "ann", []string{"dune", "cities"}, library.Denied, []library.Line{{Book: "dune", Result: library.OverLimit}, {Book: "cities", Result: library.OverLimit}}},
			{library.Request, "ann", []string{"geb", "dune"}, library.Partial, []library.Line{{Book: "geb", Result: library.AlreadyYours}, {Book: "dune", Result: library.Lent, From: library.FromShelves}}},
			{library.Return, "ann", []string{"alice"}, library.Refused, []library.Line{{Book: "alice", Result: library.NotYours}}},
			{library.Return, "eve", []string{"nothing"}, library.Refused, []library.Line{{Book: "nothing", Result: library.NotYours}}},
		} {
			receipt, err := client.Do(ctx, newOrder(t, test.action, test.user, test.books...))
			wantReceipt(t, receipt, err, library.Receipt{Action: test.action, User: test.user, Outcome: test.outcome, Books: test.lines})
		}
		wantState(t, ctx, rdb, state{
			Loans: map[string]string{"geb": "ann", "dune": "ann", "alice": "bob"}, Cards: map[string][]string{"ann": {"dune", "geb"}, "bob": {"alice"}},
			Out: []string{"alice", "dune", "geb"},
		})
	})
}

func TestABookThatIsStillBeingFetchedIsOnItsWay(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{services: []string{library.Lending}}).open(t, rdb)
		client := newClient(t, rdb)
		receipt, err := client.Request(ctx, "ann", "geb")
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
		id, due := receipt.ID, receipt.Books[0].Due

		receipt, err = client.Receipt(ctx, id)
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves, OnItsWay: true}}})
		back, err := client.Return(ctx, "ann", "geb")
		wantReceipt(t, back, err, library.Receipt{Action: library.Return, User: "ann", Outcome: library.Refused, Books: []library.Line{{Book: "geb", Result: library.OnItsWay}}})
		where, err := client.Where(ctx, "geb")
		if diff := cmp.Diff(&Whereabouts{Book: "geb", Place: OnWay, User: "ann", Due: due}, where); err != nil || diff != "" {
			t.Errorf("Where = %v (-want +got):\n%s", err, diff)
		}
		card, err := client.Card(ctx, "ann")
		if err != nil || len(card.Loans) != 1 || !card.Loans[0].OnItsWay {
			t.Errorf("Card = %+v, %v, want a book on its way", card, err)
		}
		counts, err := client.Count(ctx)
		if diff := cmp.Diff(Counts{Loans: 1, OnTheWay: 1}, counts); err != nil || diff != "" {
			t.Errorf("Count = %v (-want +got):\n%s", err, diff)
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if err := client.Arrivals(short, receipt, func(line library.Line) { t.Errorf("%s arrived", line.Book) }); !errors.Is(err, ErrUnknown) {
			t.Errorf("Arrivals = %v, want an error that wraps ErrUnknown", err)
		}

		arrivals := make(chan library.Line, 10)
		waited := make(chan error, 1)
		go func() { waited <- client.Arrivals(ctx, receipt, func(line library.Line) { arrivals <- line }) }()
		(&branch{name: "worker2", services: []string{library.Shelving}}).open(t, rdb)
		if err := <-waited; err != nil || len(arrivals) != 1 {
			t.Fatalf("Arrivals = %v, and %d books arrived, want 1", err, len(arrivals))
		}
		if line := <-arrivals; line.Book != "geb" || line.OnItsWay || receipt.Books[0].OnItsWay {
			t.Errorf("%+v arrived, and the receipt says %+v", line, receipt.Books[0])
		}
		receipt, err = client.Receipt(ctx, id)
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
		where, err = client.Where(ctx, "geb")
		if diff := cmp.Diff(&Whereabouts{Book: "geb", Place: IsLent, User: "ann", Due: due}, where); err != nil || diff != "" {
			t.Errorf("Where = %v (-want +got):\n%s", err, diff)
		}
	})
}

func TestABookOnItsWayToAnotherUserIsNotOnItsWayForAnOlderReceipt(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{name: "lender", services: []string{library.Lending}}).open(t, rdb)
		shelver := (&branch{name: "shelver", services: []string{library.Shelving}}).open(t, rdb)
		client := newClient(t, rdb)
		do := func(id string, action library.Action, user string) *library.Receipt {
			t.Helper()
			order := newOrder(t, action, user, "geb")
			order.ID = id
			receipt, err := client.Do(ctx, order)
			if err != nil {
				t.Fatal(err)
			}
			return receipt
		}
		if err := client.Arrivals(ctx, do("order-1", library.Request, "ann"), func(library.Line) {}); err != nil {
			t.Fatal(err)
		}
		do("order-2", library.Return, "ann")
		settled(t, ctx, rdb)
		shelver.close(t)
		do("order-10", library.Request, "bob")

		for id, want := range map[string]bool{"order-1": false, "order-10": true} {
			receipt, err := client.Receipt(ctx, id)
			if err != nil || receipt.Books[0].OnItsWay != want {
				t.Errorf("Receipt(%s) = %+v, %v, want a book that is on its way: %v", id, receipt, err, want)
			}
		}
	})
}

func TestAnOrderThatOvertakesTheReturnOfTheSameBookIsHandedOn(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{name: "lender", services: []string{library.Lending}}).open(t, rdb)
		shelver := (&branch{name: "shelver", services: []string{library.Shelving}}).open(t, rdb)
		client := newClient(t, rdb)
		if _, err := client.Request(ctx, "ann", "geb"); err != nil {
			t.Fatal(err)
		}
		settled(t, ctx, rdb)
		shelver.close(t)
		if _, err := client.Return(ctx, "ann", "geb"); err != nil {
			t.Fatal(err)
		}
		// An instance that lives, but does nothing, has the book to put away.
		if err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: library.Shelving, Consumer: "slow", Streams: []string{names.Stores(), ">"}, Block: -1,
		}).Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.Set(ctx, names.Instance("slow"), "a token", 0).Err(); err != nil {
			t.Fatal(err)
		}
		receipt, err := client.Request(ctx, "bob", "geb")
		if err != nil {
			t.Fatal(err)
		}
		last := rdb.XRevRangeN(ctx, names.Events(), "+", "-", 1).Val()
		(&branch{name: "shelver2", services: []string{library.Shelving}}).open(t, rdb)
		next := events.Parse(waitForEntry(t, ctx, rdb, names.Events(), last[0].ID))
		if len(next) != 1 || next[0].Event != "awaited" || next[0].Request != receipt.ID {
			t.Errorf("the next events are %+v, want the book to be awaited", next)
		}
		if err := rdb.Del(ctx, names.Instance("slow")).Err(); err != nil {
			t.Fatal(err)
		}
		arrived := 0
		if err := client.Arrivals(ctx, receipt, func(library.Line) { arrived++ }); err != nil || arrived != 1 {
			t.Errorf("Arrivals = %v, and %d books arrived, want 1", err, arrived)
		}
		wantState(t, ctx, rdb, state{Loans: map[string]string{"geb": "bob"}, Cards: map[string][]string{"bob": {"geb"}}, Out: []string{"geb"}})
	})
}

func TestTheSameOrderSentAgainGetsTheSameReceipt(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{}).open(t, rdb)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "ann", "geb", "alice")
		first, err := client.Do(ctx, order)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Return(ctx, "ann", "alice"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			again, err := newClient(t, rdb).Do(ctx, order)
			if diff := cmp.Diff(first, again); err != nil || diff != "" {
				t.Errorf("Do again = %v (-first +again):\n%s", err, diff)
			}
		}
		if err := client.Send(ctx, order); err != nil {
			t.Errorf("Send = %v", err)
		}
		settled(t, ctx, rdb)
		lent := 0
		messages, err := rdb.XRange(ctx, names.Events(), "-", "+").Result()
		for _, message := range messages {
			for _, event := range events.Parse(message) {
				if event.Event == "lent" {
					lent++
				}
			}
		}
		if lent != 1 || err != nil {
			t.Errorf("the log tells of %d loans, %v, want 1", lent, err)
		}
	})
}

// turnPage ends the page of receipts, and has a decision begin the next one.
func turnPage(t *testing.T, ctx context.Context, rdb *redis.Client, client *Client) {
	t.Helper()
	if n, err := rdb.Del(ctx, keys{names}.page()).Result(); n != 1 || err != nil {
		t.Fatalf("%d pages were ended, %v, want 1", n, err)
	}
	if _, err := client.Return(ctx, "eve", "nothing"); err != nil {
		t.Fatal(err)
	}
}

func TestAReceiptIsFoundOnEitherPage(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{}).open(t, rdb)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "ann", "geb", "alice")
		first, err := client.Do(ctx, order)
		if err != nil {
			t.Fatal(err)
		}
		settled(t, ctx, rdb)
		for page, key := range []string{"{main}:lending:receipts", "{main}:lending:receipts:older"} {
			if page > 0 {
				turnPage(t, ctx, rdb, client)
			}
			if there, err := rdb.HExists(ctx, key, order.ID).Result(); !there || err != nil {
				t.Fatalf("the receipt is not in %s: %v", key, err)
			}
			looked := newClient(t, rdb)
			for call, f := range map[string]func() (*library.Receipt, error){
				"Receipt":  func() (*library.Receipt, error) { return looked.Receipt(ctx, order.ID) },
				"Wait":     func() (*library.Receipt, error) { return looked.Wait(ctx, order.ID) },
				"Do again": func() (*library.Receipt, error) { return looked.Do(ctx, order) },
				"Arrivals": func() (*library.Receipt, error) {
					receipt := *first
					receipt.Books = slices.Clone(first.Books)
					return &receipt, looked.Arrivals(ctx, &receipt, func(library.Line) {})
				},
			} {
				got, err := f()
				if diff := cmp.Diff(first, got); err != nil || diff != "" {
					t.Errorf("%s, in %s = %v (-want +got):\n%s", call, key, err, diff)
				}
			}
		}
		if n := wantPages(t, ctx, rdb); n != 2 {
			t.Errorf("there are %d receipts, want 2", n)
		}
		wantState(t, ctx, rdb, state{Loans: map[string]string{"geb": "ann", "alice": "ann"}, Cards: map[string][]string{"ann": {"alice", "geb"}}, Out: []string{"alice", "geb"}})

		// The page after the next is the end of it.
		turnPage(t, ctx, rdb, client)
		if receipt, err := client.Receipt(ctx, order.ID); !errors.Is(err, ErrNoReceipt) {
			t.Errorf("Receipt = %+v, %v, want an error that wraps ErrNoReceipt", receipt, err)
		}
		if n := wantPages(t, ctx, rdb); n != 2 {
			t.Errorf("there are %d receipts, want 2", n)
		}
	})
}

// wantPages checks that the receipts are kept for an hour at least and do not stay for
// ever, and counts them.
func wantPages(t *testing.T, ctx context.Context, rdb *redis.Client) int64 {
	t.Helper()
	k := keys{names}
	for key, least := range map[string]time.Duration{k.page(): time.Hour, k.receipts(): 3 * time.Hour} {
		if left := rdb.PTTL(ctx, key).Val(); left > least/100*102 || left < least-2*patience.Long {
			t.Errorf("%s lives for %v, want about %v", key, left, least)
		}
	}
	return rdb.HLen(ctx, k.receipts()).Val() + rdb.HLen(ctx, k.olderReceipts()).Val()
}

func TestAnOrderIsLostOnlyWhereNeitherItsEntryNorAReceiptIsLeft(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "ann", "geb")
		sent := client.newSending(order, "")
		if err := client.send(ctx, sent); err != nil {
			t.Fatal(err)
		}
		want := func(when string, want bool) {
			t.Helper()
			if lost, err := client.lost(ctx, sent); lost != want || err != nil {
				t.Errorf("%s: lost = %v, %v, want %v", when, lost, err, want)
			}
		}
		want("while its entry is there", false)
		if err := rdb.XDel(ctx, names.Requests(), sent.entry).Err(); err != nil {
			t.Fatal(err)
		}
		want("when nothing is left", true)
		for _, page := range []string{"{main}:lending:receipts", "{main}:lending:receipts:older"} {
			if err := rdb.HSet(ctx, page, order.ID, "{}").Err(); err != nil {
				t.Fatal(err)
			}
			want("while its receipt is in "+page, false)
			if err := rdb.Del(ctx, page).Err(); err != nil {
				t.Fatal(err)
			}
		}
		want("when its receipt is gone", true)
	})
}

func TestAPageThatCannotBeReadIsReportedAsWhatItIs(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		for _, page := range []string{"{main}:lending:receipts", "{main}:lending:receipts:older"} {
			if err := rdb.Set(ctx, page, "no hash", 0).Err(); err != nil {
				t.Fatal(err)
			}
			if receipt, err := client.Receipt(ctx, "r1"); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") || errors.Is(err, ErrNoReceipt) {
				t.Errorf("with a broken %s: Receipt = %+v, %v, want a WRONGTYPE error", page, receipt, err)
			}
			if err := rdb.Del(ctx, page).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAnIDThatBelongsToAnotherOrderIsRefused(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{}).open(t, rdb)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "ann", "geb", "alice")
		if _, err := client.Do(ctx, order); err != nil {
			t.Fatal(err)
		}
		for title, change := range map[string]func(*Order){
			"another user":   func(o *Order) { o.User = "bob" },
			"other books":    func(o *Order) { o.Books = []string{"geb"} },
			"another action": func(o *Order) { o.Action = library.Return },
		} {
			other := order
			change(&other)
			receipt, err := client.Do(ctx, other)
			if !errors.Is(err, ErrOtherOrder) || !strings.Contains(err.Error(), "ann") {
				t.Errorf("%s: Do = %+v, %v, want an error that wraps ErrOtherOrder and tells of the other", title, receipt, err)
			}
		}
		wantState(t, ctx, rdb, state{
			Loans: map[string]string{"geb": "ann", "alice": "ann"}, Cards: map[string][]string{"ann": {"alice", "geb"}}, Out: []string{"alice", "geb"},
		})
	})
}

func TestAnOrderThatBreaksARuleIsNotSent(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		bad := Order{ID: "r 1", Action: library.Request, User: "ann", Books: []string{"geb"}}
		for call, f := range map[string]func() error{
			"Request": func() error { _, err := client.Request(ctx, "ann"); return err },
			"Return":  func() error { _, err := client.Return(ctx, "", "geb"); return err },
			"Do":      func() error { _, err := client.Do(ctx, bad); return err },
			"Send":    func() error { return client.Send(ctx, bad) },
		} {
			if err := f(); !errors.Is(err, ErrOrder) {
				t.Errorf("%s = %v, want an error that wraps ErrOrder", call, err)
			}
		}
		if keys := rdb.Keys(ctx, "*").Val(); len(keys) != 0 {
			t.Errorf("the library has the keys %q, want none", keys)
		}
	})
}

func TestAnOrderSentAheadIsAnsweredWhenAServiceRuns(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		orders := []Order{newOrder(t, library.Request, "ann", "geb"), newOrder(t, library.Return, "ann", "alice")}
		for _, order := range orders {
			if err := client.Send(ctx, order); err != nil {
				t.Fatal(err)
			}
			if receipt, err := client.Receipt(ctx, order.ID); !errors.Is(err, ErrNoReceipt) {
				t.Errorf("Receipt = %+v, %v, want an error that wraps ErrNoReceipt", receipt, err)
			}
		}
		answers := make(chan answer, 1)
		go func() {
			receipt, err := client.Wait(ctx, orders[0].ID)
			answers <- answer{receipt, err}
		}()
		(&branch{}).open(t, rdb)
		got := <-answers
		wantReceipt(t, got.receipt, got.err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
		receipt, err := client.Wait(ctx, orders[1].ID)
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Return, User: "ann", Outcome: library.Refused, Books: []library.Line{{Book: "alice", Result: library.NotYours}}})
		settled(t, ctx, rdb)
		wantOneAnswerEach(t, ctx, rdb, orders[0].ID, orders[1].ID)
	})
}

// A client makes no group, for it need not be allowed to. The service makes it, before
// the orders that are there.
func TestAnOrderIsAnsweredThoughThereWasNoGroupWhenItCame(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "bob", "geb")
		if err := client.Send(ctx, order); err != nil {
			t.Fatal(err)
		}
		if groups := rdb.XInfoGroups(ctx, names.Requests()).Val(); len(groups) != 0 {
			t.Errorf("the inbox has the groups %+v, want none", groups)
		}
		(&branch{}).open(t, rdb)
		receipt, err := client.Wait(ctx, order.ID)
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "bob", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
		settled(t, ctx, rdb)
		wantOneAnswerEach(t, ctx, rdb, order.ID)
	})
}

func TestWhatIsLookedUpMustBeNamedWell(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		for call, f := range map[string]func() error{
			"Receipt": func() error { _, err := client.Receipt(ctx, "r.1"); return err },
			"Card":    func() error { _, err := client.Card(ctx, "ann\n"); return err },
			"Where":   func() error { _, err := client.Where(ctx, ""); return err },
		} {
			if err := f(); !errors.Is(err, library.ErrName) {
				t.Errorf("%s = %v, want an error that wraps library.ErrName", call, err)
			}
		}
		if _, err := NewClient(rdb, "Main Library"); !errors.Is(err, library.ErrName) {
			t.Errorf("NewClient = %v, want an error that wraps library.ErrName", err)
		}
	})
}

func TestAnEmptyLibraryIsLookedUpWithoutAnError(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		card, err := client.Card(ctx, "Zoe\u0308")
		if diff := cmp.Diff(&Card{User: "Zoë", Loans: []Loan{}}, card); err != nil || diff != "" {
			t.Errorf("Card = %v (-want +got):\n%s", err, diff)
		}
		where, err := client.Where(ctx, "Go\u0308del")
		if diff := cmp.Diff(&Whereabouts{Book: "Gödel", Place: WithOther}, where); err != nil || diff != "" {
			t.Errorf("Where = %v (-want +got):\n%s", err, diff)
		}
		if counts, err := client.Count(ctx); counts != (Counts{}) || err != nil {
			t.Errorf("Count = %+v, %v", counts, err)
		}
		if receipt, err := client.Receipt(ctx, "r1"); !errors.Is(err, ErrNoReceipt) {
			t.Errorf("Receipt = %+v, %v, want an error that wraps ErrNoReceipt", receipt, err)
		}
	})
}

func TestACardTellsWhatAUserHoldsAndHowMuchMore(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{loansMax: 3, frontMax: 7}).open(t, rdb)
		client := newClient(t, rdb)
		now, err := rdb.Time(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := client.Request(ctx, "ann", "geb", "alice")
		if err != nil {
			t.Fatal(err)
		}
		settled(t, ctx, rdb)
		card, err := client.Card(ctx, "ann")
		if err != nil {
			t.Fatal(err)
		}
		for _, loan := range card.Loans {
			if day := 24 * time.Hour; loan.Since.Truncate(day) != loan.Since || now.Sub(loan.Since) > day || loan.Due != loan.Since.Add(29*day-time.Second) {
				t.Errorf("%s is lent since %v and due %v, want since the day's beginning, at %v, and to the end of the 28th day after", loan.Book, loan.Since, loan.Due, now)
			}
		}
		due := receipt.Books[0].Due
		since := due.Add(time.Second).Add(-29 * 24 * time.Hour)
		want := &Card{User: "ann", LoansMax: 3, Room: 1, Loans: []Loan{{Book: "alice", Since: since, Due: due}, {Book: "geb", Since: since, Due: due}}}
		if diff := cmp.Diff(want, card); diff != "" {
			t.Errorf("card (-want +got):\n%s", diff)
		}
		if _, err := client.Return(ctx, "ann", "alice"); err != nil {
			t.Fatal(err)
		}
		settled(t, ctx, rdb)
		where, err := client.Where(ctx, "alice")
		if diff := cmp.Diff(&Whereabouts{Book: "alice", Place: InFront}, where); err != nil || diff != "" {
			t.Errorf("Where = %v (-want +got):\n%s", err, diff)
		}
		if counts, err := client.Count(ctx); err != nil || counts != (Counts{Loans: 1, Front: 1, FrontMax: 7}) {
			t.Errorf("Count = %+v, %v", counts, err)
		}
	})
}

// A card keeps a loan in one number: when it is due in milliseconds, and four digits of days.
func TestACardKeepsAStampForEachLoan(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{}).open(t, rdb)
		client := newClient(t, rdb)
		receipt, err := client.Request(ctx, "ann", "geb")
		if err != nil {
			t.Fatal(err)
		}
		stamp := rdb.HGet(ctx, "{main}:lending:card:ann", "geb").Val()
		ms, days := stamp[:max(0, len(stamp)-4)], stamp[max(0, len(stamp)-4):]
		if days != "0028" || len(ms) != 13 {
			t.Errorf("the stamp is %s, want milliseconds and 0028", stamp)
		}
		text := rdb.HGet(ctx, "{main}:lending:receipts", receipt.ID).Val()
		if !strings.Contains(text, `"due_ms":`+ms+"}") {
			t.Errorf("the stamp is %s, but the receipt %s", stamp, text)
		}
		again, err := client.Request(ctx, "ann", "geb")
		wantReceipt(t, again, err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Denied, Books: []library.Line{{Book: "geb", Result: library.AlreadyYours}}})
		if !again.Books[0].Due.Equal(receipt.Books[0].Due) {
			t.Errorf("the book is due %v, but was lent until %v", again.Books[0].Due, receipt.Books[0].Due)
		}
	})
}

func TestAnOrderThatNobodyAnswersIsNotKnown(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "ann", "geb")
		patience, giveUp := context.WithCancel(ctx)
		answers := ask(patience, client, order)
		waitForEntry(t, ctx, rdb, names.Requests(), "0")
		giveUp()
		got := <-answers
		if !errors.Is(got.err, ErrUnknown) || !errors.Is(got.err, context.Canceled) || !strings.Contains(got.err.Error(), order.ID) {
			t.Errorf("Do = %+v, %v, want an error that wraps ErrUnknown and names the id", got.receipt, got.err)
		}
		if receipt, err := client.Wait(patience, order.ID); !errors.Is(err, ErrUnknown) {
			t.Errorf("Wait = %+v, %v, want an error that wraps ErrUnknown", receipt, err)
		}
		// It may still take effect, and does.
		(&branch{}).open(t, rdb)
		receipt, err := client.Wait(ctx, order.ID)
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
		settled(t, ctx, rdb)
		wantOneAnswerEach(t, ctx, rdb, order.ID)
	})
}

func TestAnOrderThatReachesNoServerIsNotSent(t *testing.T) {
	t.Parallel()
	rdb, err := redisconn.Connect(redisconn.Options{Address: t.TempDir() + "/nobody.sock"})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	client, err := NewClient(rdb, names.Library)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for call, f := range map[string]func(ctx context.Context) error{
		"Do": func(ctx context.Context) error {
			_, err := client.Do(ctx, newOrder(t, library.Request, "ann", "geb"))
			return err
		},
		"Send": func(ctx context.Context) error { return client.Send(ctx, newOrder(t, library.Request, "ann", "geb")) },
	} {
		short, cancel := context.WithTimeout(deadline(t), 300*time.Millisecond)
		defer cancel()
		if err := f(short); !errors.Is(err, ErrNotSent) || errors.Is(err, ErrUnknown) {
			t.Errorf("%s = %v, want an error that wraps ErrNotSent", call, err)
		}
	}
}

func TestAnOrderWhoseTimeIsOverBeforeItIsSentIsNotSent(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		over, cancel := context.WithTimeout(context.Background(), -time.Second)
		defer cancel()
		client := newClient(t, rdb)
		if err := client.Send(over, newOrder(t, library.Request, "ann", "geb")); !errors.Is(err, ErrNotSent) || errors.Is(err, ErrUnknown) {
			t.Errorf("Send = %v, want an error that wraps ErrNotSent", err)
		}
		if n := rdb.Exists(deadline(t), names.Requests()).Val(); n != 0 {
			t.Error("the order was sent")
		}
	})
}

func TestAnOrderThatTheServerMayHaveTakenIsNotKnown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	rdb, err := redisconn.Connect(redisconn.Options{Address: proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	client, err := NewClient(rdb, names.Library)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 1000 {
		proxy.DropReply(func(args []string) bool { return args[0] == "xadd" })
	}
	patience, giveUp := context.WithCancel(deadline(t))
	sent := make(chan error, 1)
	go func() { sent <- client.Send(patience, newOrder(t, library.Request, "ann", "geb")) }()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for proxy.Faults() == 0 {
		<-again.C
	}
	giveUp()
	if err := <-sent; !errors.Is(err, ErrUnknown) {
		t.Errorf("Send = %v, want an error that wraps ErrUnknown", err)
	}
}

func TestARefusalOfTheServerIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	server := redistest.Start(t)
	rdb := server.Client(t)
	if err := rdb.Do(ctx, "ACL", "SETUSER", "ali", "on", ">sesame", "~*", "&*", "+@all", "-xadd", "-hget").Err(); err != nil {
		t.Fatal(err)
	}
	ali, err := redisconn.Connect(redisconn.Options{Address: "unix://ali:sesame@" + server.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer ali.Close()
	client, err := NewClient(ali, names.Library)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Request(ctx, "ann", "geb"); redisconn.KindOf(err) != redisconn.Refused || errors.Is(err, ErrNotSent) {
		t.Errorf("Request = %v, want an error of kind Refused", err)
	}
	if _, err := client.Wait(ctx, "r1"); redisconn.KindOf(err) != redisconn.Refused || errors.Is(err, ErrUnknown) {
		t.Errorf("Wait = %v, want an error of kind Refused", err)
	}
}

func TestABellMissedWhileTheSubscriptionWasCutIsMadeUpByLooking(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb)
	order := newOrder(t, library.Request, "ann", "geb")
	answers := ask(ctx, client, order)
	waitForEntry(t, ctx, rdb, names.Requests(), "0") // so the client has subscribed
	if err := rdb.Do(ctx, "ACL", "SETUSER", "default", "-subscribe").Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Int(); n != 1 || err != nil {
		t.Fatalf("killed %d subscriptions, %v, want 1", n, err)
	}
	(&branch{}).open(t, rdb)
	got := <-answers
	wantReceipt(t, got.receipt, got.err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
	if channels := rdb.PubSubChannels(ctx, "*").Val(); len(channels) != 0 {
		t.Errorf("somebody heard the bell on %q", channels)
	}
	if err := client.Arrivals(ctx, got.receipt, func(library.Line) {}); err != nil {
		t.Errorf("Arrivals = %v", err)
	}
	if err := rdb.Do(ctx, "ACL", "SETUSER", "default", "+subscribe").Err(); err != nil {
		t.Fatal(err)
	}
}

func TestASubscriptionThatWasCutIsMadeAgain(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb)
	order := newOrder(t, library.Request, "ann", "geb")
	answers := ask(ctx, client, order)
	waitForEntry(t, ctx, rdb, names.Requests(), "0")
	if n, err := rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Int(); n != 1 || err != nil {
		t.Fatalf("killed %d subscriptions, %v, want 1", n, err)
	}
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for len(rdb.PubSubChannels(ctx, "{main}:lending:bell:*").Val()) == 0 {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatal("the client does not subscribe again")
		}
	}
	(&branch{}).open(t, rdb)
	if got := <-answers; got.err != nil || got.receipt.Outcome != library.Granted {
		t.Errorf("Do = %+v, %v", got.receipt, got.err)
	}
}

func TestAClientWithoutASubscriptionLearnsItsAnswersByLooking(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{}).open(t, rdb)
		client := newClient(t, rdb)
		client.bells = client.rdb.Subscribe(ctx) // to nothing
		receipt, err := client.Request(ctx, "ann", "geb")
		if err != nil {
			t.Fatal(err)
		}
		arrived := 0
		if err := client.Arrivals(ctx, receipt, func(library.Line) { arrived++ }); err != nil || arrived > 1 {
			t.Errorf("Arrivals = %v, and %d books arrived", err, arrived)
		}
	})
}

func TestTheBellTellsTheAnswerBeforeTheFirstLook(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{}).open(t, rdb)
		client := newClient(t, rdb)
		looks := 0
		client.rdb.AddHook(lookHook(func() { looks++ }))
		const orders = 20
		for i := range orders {
			if _, err := client.Request(ctx, "ann", fmt.Sprint("book ", i)); err != nil {
				t.Fatal(err)
			}
		}
		if looks > orders/2 { // a slow machine may look now and then
			t.Errorf("the client looked %d times for %d answers, want to be told of them", looks, orders)
		}
	})
}

// A hook is called before each command outside a pipeline.
type hook func(redis.Cmder)

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h(cmd)
		return next(ctx, cmd)
	}
}

func TestAWrongRingIsNoAnswer(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "ann", "geb")
		answers := ask(ctx, client, order)
		entry := waitForEntry(t, ctx, rdb, names.Requests(), "0")
		channel := "{main}:lending:bell:" + entry.Values["bell"].(string)
		for _, ring := range []string{
			"", "x", "null", "[]", `{"id":"another","outcome":"denied"}`, `{"id":"` + order.ID + `"}`,
			`{"id":"` + order.ID + `","delivered":"geb"}`, `{"id":"` + order.ID + `","books":7}`,
			order.ID, order.ID + `"`, `{"id":"` + order.ID, `{"id":"` + order.ID + `","outcome":"denied"`,
		} {
			if n, err := rdb.Publish(ctx, channel, ring).Result(); n != 1 || err != nil {
				t.Fatalf("%d clients heard the ring, %v, want 1", n, err)
			}
		}
		(&branch{}).open(t, rdb)
		got := <-answers
		wantReceipt(t, got.receipt, got.err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
	})
}

func TestAnOrderThatTheServerLostIsSentAgain(t *testing.T) {
	for title, lose := range map[string]func(ctx context.Context, rdb *redis.Client, id string) error{
		"its entry": func(ctx context.Context, rdb *redis.Client, id string) error {
			return rdb.XDel(ctx, names.Requests(), id).Err()
		},
		"its stream": func(ctx context.Context, rdb *redis.Client, id string) error {
			return rdb.Del(ctx, names.Requests()).Err()
		},
		"everything": func(ctx context.Context, rdb *redis.Client, id string) error { return rdb.FlushAll(ctx).Err() },
	} {
		t.Run(title, func(t *testing.T) {
			each(t, func(t *testing.T, rdb *redis.Client) {
				ctx := deadline(t)
				client := newClient(t, rdb)
				order := newOrder(t, library.Request, "ann", "geb")
				answers := ask(ctx, client, order)
				first := waitForEntry(t, ctx, rdb, names.Requests(), "0")
				if err := lose(ctx, rdb, first.ID); err != nil {
					t.Fatal(err)
				}
				second := waitForEntry(t, ctx, rdb, names.Requests(), first.ID)
				if diff := cmp.Diff(first.Values, second.Values); diff != "" {
					t.Errorf("sent again (-first +second):\n%s", diff)
				}
				(&branch{}).open(t, rdb)
				got := <-answers
				wantReceipt(t, got.receipt, got.err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
				settled(t, ctx, rdb)
				wantOneAnswerEach(t, ctx, rdb, order.ID)
			})
		})
	}
}

func TestAnOrderInAWorkersHandsIsNotSentAgain(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		looks := make(chan struct{}, 100)
		client.rdb.AddHook(lookHook(func() { looks <- struct{}{} }))
		order := newOrder(t, library.Request, "ann", "geb")
		answers := ask(ctx, client, order)
		waitForEntry(t, ctx, rdb, names.Requests(), "0")
		if err := rdb.XGroupCreate(ctx, names.Requests(), library.Lending, "0").Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: library.Lending, Consumer: "dead", Streams: []string{names.Requests(), ">"}, Block: -1,
		}).Err(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			<-looks
		}
		if n := rdb.XLen(ctx, names.Requests()).Val(); n != 1 {
			t.Errorf("the inbox has %d entries, want 1", n)
		}
		(&branch{}).open(t, rdb)
		if got := <-answers; got.err != nil || got.receipt.Outcome != library.Granted {
			t.Errorf("Do = %+v, %v", got.receipt, got.err)
		}
		settled(t, ctx, rdb)
		wantOneAnswerEach(t, ctx, rdb, order.ID)
	})
}

func TestAServiceGoesOnWithNewOrdersAfterAllDataVanished(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		b := (&branch{loansMax: 3}).open(t, rdb)
		client := newClient(t, rdb)
		if _, err := client.Request(ctx, "ann", "geb"); err != nil {
			t.Fatal(err)
		}
		settled(t, ctx, rdb)
		if err := rdb.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		order := newOrder(t, library.Request, "bob", "geb")
		receipt, err := client.Do(ctx, order)
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "bob", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
		wantState(t, ctx, rdb, state{Loans: map[string]string{"geb": "bob"}, Cards: map[string][]string{"bob": {"geb"}}, Out: []string{"geb"}})
		wantOneAnswerEach(t, ctx, rdb, order.ID)
		if !strings.Contains(b.logs.String(), "the library's data is gone") {
			t.Error("the log does not tell that the data is gone")
		}
		card, err := client.Card(ctx, "bob")
		if err != nil || card.LoansMax != 3 {
			t.Errorf("Card = %+v, %v, want the terms to be published again", card, err)
		}
	})
}

func TestArrivalsEndWhenAllDataVanished(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{services: []string{library.Lending}}).open(t, rdb)
		client := newClient(t, rdb)
		receipt, err := client.Request(ctx, "ann", "geb")
		if err != nil {
			t.Fatal(err)
		}
		looks := make(chan struct{}, 100)
		client.rdb.AddHook(pipelineHook(func([]redis.Cmder) { looks <- struct{}{} }))
		ended := make(chan error, 1)
		go func() {
			ended <- client.Arrivals(ctx, receipt, func(line library.Line) { t.Errorf("%s arrived", line.Book) })
		}()
		<-looks
		if err := rdb.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrNoReceipt) {
			t.Errorf("Arrivals = %v, want an error that wraps ErrNoReceipt", err)
		}
	})
}

// lookHook is called after each look for a receipt.
func lookHook(looked func()) redis.Hook {
	return pipelineHook(func(cmds []redis.Cmder) {
		if slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Name() == "hget" }) {
			looked()
		}
	})
}

// A pipelineHook is called after each pipeline.
type pipelineHook func(cmds []redis.Cmder)

func (pipelineHook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (pipelineHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h pipelineHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h(cmds)
		return err
	}
}

// What belongs to one user is broken; the service cannot tell what she holds.
func TestAUserWhoseCardIsBrokenStopsNobodyElse(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		if err := rdb.Set(ctx, keys{names}.card("ann"), "no hash", 0).Err(); err != nil {
			t.Fatal(err)
		}
		client := newClient(t, rdb)
		answers := map[string]<-chan answer{}
		for _, user := range []string{"bob", "ann", "eve"} { // in one batch, as no service runs yet
			order := newOrder(t, library.Request, user, "the book of "+user)
			if err := client.Send(ctx, order); err != nil {
				t.Fatal(err)
			}
			answers[user] = ask(ctx, client, order)
		}
		(&branch{}).open(t, rdb)
		for user, outcome := range map[string]library.Outcome{"bob": library.Granted, "ann": library.Rejected, "eve": library.Granted} {
			got := <-answers[user]
			if got.err != nil {
				t.Fatal(got.err)
			}
			if got.receipt.Outcome != outcome || (got.receipt.Reason != "") != (outcome == library.Rejected) {
				t.Errorf("the request of %s is %s, %q, want %s", user, got.receipt.Outcome, got.receipt.Reason, outcome)
			}
		}
		if got := rdb.Get(ctx, keys{names}.card("ann")).Val(); got != "no hash" {
			t.Errorf("the broken card became %q", got)
		}
	})
}

func TestOfManyClientsWhoAskForOneBookOneGetsIt(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{name: "worker1"}).open(t, rdb)
		(&branch{name: "worker2"}).open(t, rdb)
		shared := connect(t, rdb)
		const clients = 64
		answers := make(chan answer, clients)
		var ids []string
		for i := range clients {
			client, err := NewClient(shared, names.Library)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			order := newOrder(t, library.Request, fmt.Sprint("user ", i), "geb")
			ids = append(ids, order.ID)
			go func() {
				receipt, err := client.Do(ctx, order)
				answers <- answer{receipt, err}
			}()
		}
		holder := ""
		for range clients {
			got := <-answers
			switch {
			case got.err != nil:
				t.Fatal(got.err)
			case got.receipt.Outcome == library.Granted && holder == "":
				holder = got.receipt.User
			case got.receipt.Outcome != library.Denied || got.receipt.Books[0].Result != library.Unavailable:
				t.Errorf("%s, too, was told: %s, %s", got.receipt.User, got.receipt.Outcome, got.receipt.Summary())
			}
		}
		wantState(t, ctx, rdb, state{Loans: map[string]string{"geb": holder}, Cards: map[string][]string{holder: {"geb"}}, Out: []string{"geb"}})
		wantOneAnswerEach(t, ctx, rdb, ids...)
	})
}

func TestAUserNeverHoldsMoreBooksThanTheLimit(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{name: "worker1"}).open(t, rdb)
		(&branch{name: "worker2"}).open(t, rdb)
		client := newClient(t, rdb)
		for _, booksEach := range []int{1, 2} {
			user := fmt.Sprint("user ", booksEach)
			answers := make(chan answer, 20)
			for i := range cap(answers) {
				var books []string
				for j := range booksEach {
					books = append(books, fmt.Sprintf("book %d of request %d by %s", j, i, user))
				}
				order := newOrder(t, library.Request, user, books...)
				go func() {
					receipt, err := client.Do(ctx, order)
					answers <- answer{receipt, err}
				}()
			}
			held := 0
			for range cap(answers) {
				got := <-answers
				if got.err != nil {
					t.Fatal(got.err)
				}
				for _, line := range got.receipt.Books {
					switch line.Result {
					case library.Lent:
						held++
					case library.OverLimit:
					default:
						t.Errorf("%s is %s", line.Book, line.Result)
					}
				}
			}
			if want := 5 / booksEach * booksEach; held != want {
				t.Errorf("%s was lent %d books by 20 requests for %d each, want %d", user, held, booksEach, want)
			}
			if n := len(settled(t, ctx, rdb).Cards[user]); n != held {
				t.Errorf("the card of %s has %d books, want %d", user, n, held)
			}
		}
	})
}

func TestTheLogTellsEachEventOnceInOrder(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{}).open(t, rdb)
		client := newClient(t, rdb)
		if _, err := client.Request(ctx, "ann", "before"); err != nil {
			t.Fatal(err)
		}
		settled(t, ctx, rdb)

		watching, stop := context.WithCancel(ctx)
		defer stop()
		begun := make(chan struct{}, 100)
		watcher := newClient(t, rdb)
		watcher.rdb.AddHook(hook(func(cmd redis.Cmder) {
			if cmd.Name() == "xread" {
				begun <- struct{}{}
			}
		}))
		seen, ended := make(chan *events.Event, 100), make(chan error, 1)
		go func() {
			ended <- events.Follow(watching, watcher.rdb, names, time.Time{}, func(event *events.Event) error {
				seen <- event
				return nil
			})
		}()
		<-begun
		receipt, err := client.Request(ctx, "ann", "geb")
		if err != nil {
			t.Fatal(err)
		}
		wantEvent := func(want events.Event) {
			t.Helper()
			select {
			case got := <-seen:
				if got.ID == "" || time.Since(got.Time).Abs() > patience.Long {
					t.Errorf("the event has id %q and time %v", got.ID, got.Time)
				}
				if entered := library.EntryTime(got.Entry); entered.IsZero() == (got.Receipt != nil) || entered.After(got.Time) {
					t.Errorf("the event %s of %v came of the entry %q", got.Event, got.Time, got.Entry)
				}
				if diff := cmp.Diff(&want, got, cmpopts.IgnoreFields(events.Event{}, "ID", "Time", "Entry")); diff != "" {
					t.Errorf("event (-want +got):\n%s", diff)
				}
			case <-ctx.Done():
				t.Fatalf("no event comes, want %+v", want)
			}
		}
		wantEvent(events.Event{Event: "lent", By: "worker1", Receipt: receipt, Request: receipt.ID, User: "ann", Books: []string{"geb"}})
		wantEvent(events.Event{Event: "fetched", By: "worker1", Request: receipt.ID, Books: []string{"geb"}})
		wantEvent(events.Event{Event: "delivered", By: "worker1", Request: receipt.ID, User: "ann", Books: []string{"geb"}})
		back, err := client.Return(ctx, "ann", "geb")
		if err != nil {
			t.Fatal(err)
		}
		wantEvent(events.Event{Event: "returned", By: "worker1", Receipt: back, Request: back.ID, User: "ann", Books: []string{"geb"}})
		wantEvent(events.Event{Event: "shelved", By: "worker1", Books: []string{"geb"}})
		wantEvent(events.Event{Event: "stored", By: "worker1", Books: []string{"geb"}})
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Follow = %v, want nil after a stop", err)
		}

		var all []string
		enough := errors.New("enough")
		err = events.Follow(ctx, watcher.rdb, names, time.Now().Add(-patience.Long), func(event *events.Event) error {
			if all = append(all, event.Event); len(all) == 10 {
				return enough
			}
			return nil
		})
		want := []string{"terms", "lent", "fetched", "delivered", "lent", "fetched", "delivered", "returned", "shelved", "stored"}
		if diff := cmp.Diff(want, all); !errors.Is(err, enough) || diff != "" {
			t.Errorf("Follow since before = %v (-want +got):\n%s", err, diff)
		}
	})
}

// Orders that wait are decided in one go, and the log tells of them in one entry.
func TestTheLogTellsEachDecisionOfAnEntry(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		begin := time.Now().Add(-patience.Long)
		orders := []Order{
			newOrder(t, library.Request, "ann", "geb", `a "b" \`), newOrder(t, library.Request, "bob", "geb"), newOrder(t, library.Request, `"eve"`, "geb", "dune"),
		}
		entries := make([]string, len(orders))
		for i, order := range orders {
			sent := client.newSending(order, "")
			if err := client.send(ctx, sent); err != nil {
				t.Fatal(err)
			}
			entries[i] = sent.entry
		}
		(&branch{services: []string{library.Lending}}).open(t, rdb)
		var seen []*events.Event
		enough := errors.New("enough")
		if err := events.Follow(ctx, client.rdb, names, begin, func(event *events.Event) error {
			if event.Event == "terms" {
				return nil
			}
			if seen = append(seen, event); len(seen) == len(orders) {
				return enough
			}
			return nil
		}); !errors.Is(err, enough) {
			t.Fatalf("Follow = %v", err)
		}
		for i, want := range []string{"lent", "denied", "lent"} {
			receipt, err := client.decided(ctx, orders[i].ID)
			if err != nil {
				t.Fatal(err)
			}
			event := events.Event{
				ID: seen[0].ID, Time: seen[0].Time, Event: want, By: "worker1",
				Receipt: receipt, Request: orders[i].ID, User: orders[i].User, Books: orders[i].Books, Entry: entries[i],
			}
			if diff := cmp.Diff(&event, seen[i]); diff != "" {
				t.Errorf("event %d (-want +got):\n%s", i, diff)
			}
		}
		if n := rdb.XLen(ctx, names.Events()).Val(); n != 2 {
			t.Errorf("the log has %d entries, want those of the terms and of the decisions", n)
		}
	})
}

func TestARequestThatWasRejectedHasAReceiptAndCanBeRetried(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		client := newClient(t, rdb)
		order := newOrder(t, library.Request, "ann", "geb")
		answers := ask(ctx, client, order)
		entry := waitForEntry(t, ctx, rdb, names.Requests(), "0")
		if err := rdb.XGroupCreate(ctx, names.Requests(), library.Lending, "0").Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: library.Lending, Consumer: "dead", Streams: []string{names.Requests(), ">"}, Block: -1,
		}).Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.Do(ctx, "XCLAIM", names.Requests(), library.Lending, "dead", 0, entry.ID, "RETRYCOUNT", 5).Err(); err != nil {
			t.Fatal(err)
		}
		(&branch{}).open(t, rdb)
		got := <-answers
		reason := "it was delivered more than 5 times and never finished"
		wantReceipt(t, got.receipt, got.err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Rejected, Reason: reason, Books: []library.Line{}})
		if s := stateOf(t, ctx, rdb); s.Rejected != 1 || len(s.Loans) != 0 {
			t.Errorf("after the rejection: %+v", s)
		}

		var aside []string
		if err := worker.EachRejected(ctx, rdb, names, library.Lending, func(entry worker.RejectedEntry) error {
			aside = append(aside, entry.ID)
			return nil
		}); err != nil || len(aside) != 1 {
			t.Fatalf("set aside: %q, %v", aside, err)
		}
		if _, err := client.Retry(ctx, library.Shelving, aside[0]); !errors.Is(err, worker.ErrNotRejected) {
			t.Errorf("Retry at the other service = %v, want an error that wraps worker.ErrNotRejected", err)
		}
		if _, err := client.Retry(ctx, library.Lending, aside[0]); err != nil {
			t.Fatal(err)
		}
		receipt, err := client.Wait(ctx, order.ID)
		wantReceipt(t, receipt, err, library.Receipt{Action: library.Request, User: "ann", Outcome: library.Granted, Books: []library.Line{{Book: "geb", Result: library.Lent, From: library.FromShelves}}})
		wantState(t, ctx, rdb, state{Loans: map[string]string{"geb": "ann"}, Cards: map[string][]string{"ann": {"geb"}}, Out: []string{"geb"}})
	})
}

func TestAnEntryThatIsNoOrderIsRejectedAndItsSenderTold(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		(&branch{}).open(t, rdb)
		client := newClient(t, rdb)
		for i, test := range []struct {
			inbox  string
			fields []string
			want   library.Receipt
		}{
			{names.Requests(), []string{"user", "ann", "books", `["geb"`}, library.Receipt{
				Action: library.Request, User: "ann", Outcome: library.Rejected, Reason: "its books are not a JSON array of texts: unexpected end of JSON input",
			}},
			{names.Returns(), []string{"user", "ann\x1b", "books", `["geb"]`}, library.Receipt{
				Action: library.Return, Outcome: library.Rejected, Reason: `not a usable order: user "ann\x1b": not a usable name: it contains U+001B, a character that does not print`,
			}},
			{names.Requests(), []string{"user", "ann", "books", "[]"}, library.Receipt{
				Action: library.Request, User: "ann", Outcome: library.Rejected, Reason: "not a usable order: it names no book",
			}},
		} {
			id := fmt.Sprint("r", i)
			fields := append([]string{"id", id}, test.fields...)
			if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: test.inbox, Values: fields}).Err(); err != nil {
				t.Fatal(err)
			}
			receipt, err := client.Wait(ctx, id)
			test.want.Books = []library.Line{}
			wantReceipt(t, receipt, err, test.want)
		}
		wantState(t, ctx, rdb, state{Rejected: 3})
	})
}

func TestAClientMayBeClosedWhetherItWaitedOrNot(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		idle, err := NewClient(rdb, names.Library)
		if err != nil {
			t.Fatal(err)
		}
		if err := idle.Close(); err != nil {
			t.Errorf("Close of a client that never waited = %v", err)
		}
		(&branch{}).open(t, rdb)
		used, err := NewClient(rdb, names.Library)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := used.Request(ctx, "ann", "geb"); err != nil {
			t.Fatal(err)
		}
		if len(used.waiting) != 0 {
			t.Errorf("the client still waits for %v", used.waiting)
		}
		if err := used.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := rdb.Ping(ctx).Err(); err != nil {
			t.Errorf("the Redis client after Close: %v, want it open", err)
		}
	})
}

func TestAClientSendsNothingMoreWhereTooManyWait(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb)
	k := keys{library.Keys{Library: "main"}}
	// Nobody reads: the last place is taken, and then there is none.
	flood := redis.NewScript("for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'id', 'flood') end")
	if err := flood.Run(ctx, rdb, []string{k.Requests()}, UnreadMax-1).Err(); !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	order := newOrder(t, library.Request, "ann", "geb")
	if err := client.Send(ctx, order); err != nil {
		t.Fatal(err)
	}
	late := newClient(t, rdb)
	if _, err := late.Do(ctx, order); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "100000 requests wait") {
		t.Errorf("Do = %v, want ErrBusy", err)
	}
	if n := rdb.XLen(ctx, k.Requests()).Val(); n != UnreadMax {
		t.Errorf("%d entries wait, want %d", n, UnreadMax)
	}
	// What is brought back has an inbox of its own.
	if err := late.Send(ctx, newOrder(t, library.Return, "ann", "geb")); err != nil {
		t.Error(err)
	}
}
