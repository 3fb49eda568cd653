package lending

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// sixBooks are the default terms but for the limit.
func sixBooks() library.Terms {
	terms := library.DefaultTerms()
	terms.LoansMax = 6
	return terms
}

// lookUp looks the terms up.
func lookUp(t *testing.T, ctx context.Context, rdb redis.UniversalClient) *StandingTerms {
	t.Helper()
	stands, err := LookUpTerms(ctx, rdb, names)
	if err != nil {
		t.Fatal(err)
	}
	return stands
}

// told are the events that tell of terms, each who set them, and from what to what.
func told(t *testing.T, ctx context.Context, rdb redis.UniversalClient) []string {
	t.Helper()
	messages, err := rdb.XRange(ctx, names.Events(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, message := range messages {
		if message.Values["event"] == "terms" {
			all = append(all, fmt.Sprint(message.Values["by"], " ", message.Values["from"], " ", message.Values["to"]))
		}
	}
	return all
}

func TestTermsAreSetOnceAndThenChangedByName(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		if stands := lookUp(t, ctx, rdb); stands.Stand() || stands.Terms != library.DefaultTerms() || stands.Version != "" {
			t.Errorf("without any the terms are %+v", stands)
		}
		before, after, err := SetTerms(ctx, rdb, names, "worker1", sixBooks())
		if err != nil || before.Stand() || after.Terms != sixBooks() {
			t.Fatalf("SetTerms = %+v, %+v, %v", before, after, err)
		}
		first := lookUp(t, ctx, rdb)
		if diff := cmp.Diff(&StandingTerms{Terms: sixBooks(), Version: after.Version, By: "worker1", Since: after.Since}, first, cmpopts.IgnoreUnexported(StandingTerms{})); diff != "" {
			t.Errorf("terms (-want +got):\n%s", diff)
		}
		// Another instance's flags change nothing.
		if _, after, err := SetTerms(ctx, rdb, names, "worker2", library.DefaultTerms()); err != nil || after.Version != first.Version || after.LoansMax != 6 {
			t.Errorf("SetTerms of what stands already = %+v, %v", after, err)
		}
		// Nor does a person who asks for what is.
		if _, after, err := SetTerms(ctx, rdb, names, "lisa", sixBooks(), "limit"); err != nil || after.Version != first.Version {
			t.Errorf("SetTerms to what stands already = %+v, %v", after, err)
		}
		want := library.DefaultTerms()
		want.FrontMax, want.TimeZone, want.LoanDays = 7, "Europe/Berlin", 1
		before, after, err = SetTerms(ctx, rdb, names, "lisa", want, "front", "time-zone")
		if err != nil || before.LoansMax != 6 || before.FrontMax != 20 || after.LoansMax != 6 || after.FrontMax != 7 || after.LoanDays != 28 {
			t.Errorf("SetTerms = %+v, %+v, %v", before, after, err)
		}
		berlin := sixBooks()
		berlin.FrontMax, berlin.TimeZone = 7, "Europe/Berlin"
		if stands := lookUp(t, ctx, rdb); stands.Terms != berlin || stands.By != "lisa" || stands.Version == first.Version || len(stands.NotedOtherwise) > 0 {
			t.Errorf("the terms are %+v, want %+v", stands, berlin)
		}
		const from = `{"loans_max":6,"loan_days":28,"front_max":20,"receipt_ms":86400000,"log_max":200000,"time_zone":"UTC"`
		if diff := cmp.Diff([]string{
			"worker1 {} " + from + "}",
			"lisa " + from + `,"version":"` + first.Version + `"} {"loans_max":6,"loan_days":28,"front_max":7,"receipt_ms":86400000,"log_max":200000,"time_zone":"Europe/Berlin"}`,
		}, told(t, ctx, rdb)); diff != "" {
			t.Errorf("the log tells of (-want +got):\n%s", diff)
		}
		// Programs of an older version find what they look for.
		noted := rdb.HGetAll(ctx, names.NotedTerms()).Val()
		since := noted["since_ms"]
		delete(noted, "since_ms")
		if diff := cmp.Diff(map[string]string{
			"loans_max": "6", "loan_days": "28", "front_max": "7", "receipt_ms": "86400000", "log_max": "200000", "time_zone": "Europe/Berlin",
		}, noted); diff != "" || !strings.HasPrefix(after.Version, since+"-") {
			t.Errorf("noted since %s (-want +got):\n%s", since, diff)
		}
	})
}

// TestTwoWhoChangeDifferentTermsBothDo has many of them at once.
func TestTwoWhoChangeDifferentTermsBothDo(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		want := library.Terms{LoansMax: 7, LoanDays: 8, FrontMax: 9, ReceiptMS: 600_000, LogMax: 1100, TimeZone: "Europe/Berlin"}
		var all sync.WaitGroup
		for _, term := range library.EachTerm {
			all.Go(func() {
				if _, _, err := SetTerms(ctx, rdb, names, "person-"+term.Flag, want, term.Flag); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if stands := lookUp(t, ctx, rdb); stands.Terms != want {
			t.Errorf("the terms are %+v, want %+v", stands.Terms, want)
		}
		// The first set all where none stood.
		if n := len(told(t, ctx, rdb)); n < 1 || n > len(library.EachTerm) {
			t.Errorf("the log tells of %d changes", n)
		}
	})
}

// note does what an instance of an older version did when it started.
func note(t *testing.T, ctx context.Context, rdb *redis.Client, limit int) {
	t.Helper()
	if err := rdb.HSet(ctx, names.NotedTerms(), "loans_max", limit, "loan_days", 21, "front_max", 3, "receipt_ms", 7_200_000, "log_max", 5000, "since_ms", 12).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestTermsThatAnOlderVersionNotedBecomeTheLibrarys(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		note(t, ctx, rdb, 10)
		if stands := lookUp(t, ctx, rdb); !stands.Stand() || stands.LoansMax != 10 || stands.Version != "" || !stands.Has(library.EachTerm[0]) {
			t.Errorf("the terms are %+v", stands)
		}
		var logs bytes.Buffer
		newService(t, ctx, rdb, &logs)
		want := library.Terms{LoansMax: 10, LoanDays: 21, FrontMax: 3, ReceiptMS: 7_200_000, LogMax: 5000, TimeZone: "UTC"}
		if stands := lookUp(t, ctx, rdb); stands.Terms != want || stands.Version == "" {
			t.Errorf("the terms are %+v, want %+v", stands, want)
		}
		const five = `{"loans_max":10,"loan_days":21,"front_max":3,"receipt_ms":7200000,"log_max":5000,`
		if diff := cmp.Diff([]string{"worker1 " + five + `"since_ms":12} ` + five + `"time_zone":"UTC"}`}, told(t, ctx, rdb)); diff != "" {
			t.Errorf("the log tells of (-want +got):\n%s", diff)
		}
		// One that starts later changes nothing, and is noticed.
		note(t, ctx, rdb, 4)
		if stands := lookUp(t, ctx, rdb); stands.Terms != want || !slices.Equal(stands.NotedOtherwise, []string{"limit"}) {
			t.Errorf("the terms are %+v, want %+v, and an older instance with another limit", stands, want)
		}
	})
}

func TestATermThatCannotBeUnderstoodEndsTheInstanceAndNotTheOrders(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		for field, evil := range map[string]string{"loans_max": "five", "receipt_ms": "-1", "log_max": "", "time_zone": "Middle/Earth"} {
			good := rdb.HGet(ctx, names.Terms(), field).Val()
			if err := rdb.HSet(ctx, names.Terms(), field, evil, "version", "0-1").Err(); err != nil {
				t.Fatal(err)
			}
			order := newOrder(t, library.Request, "ann", "geb")
			rejections, err := s.Lend(ctx, s.receive(t, ctx, names.Requests(), order.values("")))
			if !errors.Is(err, library.ErrTerms) || redisconn.KindOf(err) != redisconn.Refused || len(rejections) > 0 || !strings.Contains(redisconn.Remedy(err), "lendingd terms") {
				t.Errorf("with %s %q: %v, %v", field, evil, rejections, err)
			}
			if _, _, err := SetTerms(ctx, rdb, names, "lisa", library.DefaultTerms(), "front"); (field != "time_zone") == (err == nil) {
				t.Errorf("with %s %q another term is set: %v", field, evil, err)
			}
			term := library.EachTerm[slices.IndexFunc(library.EachTerm, func(term library.Term) bool { return term.Field == field })]
			if _, _, err := SetTerms(ctx, rdb, names, "lisa", s.config.Terms, term.Flag); err != nil {
				t.Errorf("%s %q cannot be set to %s: %v", field, evil, good, err)
			}
			if _, err := s.readTerms(ctx); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestEachBatchIsDecidedByTheTermsInForce changes them between two batches of one
// service, which is told nothing of it.
func TestEachBatchIsDecidedByTheTermsInForce(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		var logs bytes.Buffer
		s := newService(t, ctx, rdb, &logs)
		client := newClient(t, rdb)
		set := func(terms library.Terms, named ...string) {
			t.Helper()
			if _, _, err := SetTerms(ctx, rdb, names, "lisa", terms, named...); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		lend := func(user string, books ...string) *library.Receipt {
			t.Helper()
			n++
			order := Order{ID: fmt.Sprint("request-", n), Action: library.Request, User: user, Books: books}
			if rejections, err := s.Lend(ctx, s.receive(t, ctx, names.Requests(), order.values(""))); err != nil || len(rejections) > 0 {
				t.Fatal(rejections, err)
			}
			receipt, err := client.Receipt(ctx, order.ID)
			if err != nil {
				t.Fatal(err)
			}
			return receipt
		}
		terms := s.config.Terms
		terms.LoansMax, terms.LoanDays, terms.TimeZone = 2, 3, "Pacific/Kiritimati"
		set(terms, "limit")
		if got := lend("ann", "a", "b", "c"); got.Outcome != library.Denied {
			t.Errorf("three books under a limit of two: %+v", got)
		}
		terms.LoansMax = 3
		set(terms, "limit")
		if got := lend("ann", "a", "b", "c"); got.Outcome != library.Granted {
			t.Errorf("three books under a limit of three: %+v", got)
		}
		if card, err := client.Card(ctx, "ann"); err != nil || card.LoansMax != 3 || card.Room != 0 {
			t.Errorf("Card = %+v, %v", card, err)
		}
		// A loan that was made stays as it was promised.
		terms.LoansMax = 1
		set(terms, "limit", "loan-days", "time-zone")
		card, err := client.Card(ctx, "ann")
		if err != nil || card.LoansMax != 1 || card.Room != 0 || len(card.Loans) != 3 {
			t.Fatalf("Card = %+v, %v", card, err)
		}
		got := lend("bob", "d")
		due := got.Books[0].Due.In(zoneOf(t, "Pacific/Kiritimati"))
		if today := time.Now().In(due.Location()).AddDate(0, 0, 3).Format(time.DateOnly); due.Format(time.DateTime) != today+" 23:59:59" {
			t.Errorf("the loan is due at %s, want the end of %s", due, today)
		}
		// What is returned is weighed by the room of now.
		deliver := s.receive(t, ctx, names.Deliveries(), []any{"orders", `[["request-4","d"]]`})
		if _, err := s.Deliver(ctx, deliver); err != nil {
			t.Fatal(err)
		}
		terms.FrontMax = 0
		set(terms, "front")
		back := Order{ID: "return", Action: library.Return, User: "bob", Books: []string{"d"}}
		if _, err := s.Return(ctx, s.receive(t, ctx, names.Returns(), back.values(""))); err != nil {
			t.Fatal(err)
		}
		if stored := rdb.XLen(ctx, names.Stores()).Val(); stored != 1 {
			t.Errorf("%d books go to the shelves, want the one that front storage has no room for", stored)
		}
	})
}

// TestADayThatIsOverIsAskedForAnew has an instance that remembers a day of last week. So
// it is with one whose clock is wrong: it never looks at it.
func TestADayThatIsOverIsAskedForAnew(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		for _, away := range []time.Duration{-7 * 24 * time.Hour, 24 * time.Hour, 365 * 24 * time.Hour} {
			known := s.now.Load()
			s.now.Store(&knownTerms{known.StandingTerms, newDay(time.Now().Add(away), time.UTC, 1)})
			order := newOrder(t, library.Request, "ann", "book of "+away.String())
			if _, err := s.Lend(ctx, s.receive(t, ctx, names.Requests(), order.values(""))); err != nil {
				t.Fatal(err)
			}
			var stored library.StoredReceipt
			if err := json.Unmarshal([]byte(rdb.HGet(ctx, s.keys.receipts(), order.ID).Val()), &stored); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(time.UnixMilli(stored.DueMS)); left < 24*time.Hour-patience.Long || left > 48*time.Hour {
				t.Errorf("with a day that is %s away a loan of one day ends in %s", away, left)
			}
		}
	})
}

func TestTermsThatWereLostAreSetAsTheyWere(t *testing.T) {
	each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := deadline(t)
		s := newService(t, ctx, rdb, &bytes.Buffer{})
		want := sixBooks()
		if _, _, err := SetTerms(ctx, rdb, names, "lisa", want, "limit"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.readTerms(ctx); err != nil {
			t.Fatal(err)
		}
		if err := rdb.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		if stands := lookUp(t, ctx, rdb); stands.LoansMax != 6 || stands.By != "worker1" {
			t.Errorf("the terms are %+v, want a limit of 6, set by worker1", stands)
		}
	})
}
