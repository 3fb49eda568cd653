package audit_test

import (
	"strings"
	"testing"
	"time"

	"example.com/library/audit"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// TestEachLoanIsComparedWithTheLimitOfItsTime has the limit go down and up, and the log
// lose its beginning.
func TestEachLoanIsComparedWithTheLimitOfItsTime(t *testing.T) {
	rdb := redistest.Start(t).Client(t) // the embedded server does not tell that a log was cut
	d := newDesk(t, rdb, names)
	limit := func(n int) {
		t.Helper()
		terms := d.config.Terms
		terms.LoansMax = n
		d.agree(terms)
	}
	lend := func(id, user string, books ...string) string {
		t.Helper()
		d.send(library.Request, id, user, books...)
		d.serve("lending:requests", "shelving:fetches", "lending:deliveries")
		return d.event("decided", id)
	}
	lend("r1", "user1", "a", "b", "c")
	limit(2)
	lend("r2", "user2", "d", "e")
	limit(4)
	fourth := lend("r3", "user1", "f")
	limit(1)
	lend("r4", "user3", "g")
	d.wants(d.check(audit.Config{}).Findings)
	for _, cut := range []string{d.event("decided", "r2"), fourth, d.event("terms", "*")} {
		d.must(rdb.XTrimMinID(d.ctx, names.Events(), cut).Err())
		if report := d.check(audit.Config{}); report.First != cut {
			t.Errorf("the log begins with %s, want %s", report.First, cut)
		} else {
			d.wants(report.Findings)
		}
	}
	// Nobody may have lent user3 another one since, though the log knows only of that.
	d.must(rdb.HSet(d.ctx, key("terms"), "loans_max", 2).Err())
	d.must(rdb.XTrimMinID(d.ctx, names.Events(), lend("r5", "user3", "h")).Err())
	d.must(rdb.HSet(d.ctx, key("terms"), "loans_max", 1).Err())
	d.wants(d.check(audit.Config{}).Findings,
		audit.Finding{Kind: "limit", Key: key("lending:card:user3"), User: "user3"})
}

// older brings the library into the state in which an older version left it: the terms
// are noted, and the log tells of none.
func (d *desk) older(limit int, since time.Time) {
	d.Helper()
	d.must(d.rdb.Del(d.ctx, names.Terms(), names.NotedTerms()).Err())
	for _, message := range d.rdb.XRange(d.ctx, names.Events(), "-", "+").Val() {
		if message.Values["event"] == "terms" {
			d.must(d.rdb.XDel(d.ctx, names.Events(), message.ID).Err())
		}
	}
	d.must(d.rdb.HSet(d.ctx, names.NotedTerms(), "loans_max", limit, "loan_days", 28, "front_max", 20, "receipt_ms", 3_600_000, "log_max", 100_000,
		"since_ms", since.UnixMilli()).Err())
}

// notDeleted leaves out what is said of the events that older took out of the log.
func notDeleted(findings []audit.Finding) []audit.Finding {
	var others []audit.Finding
	for _, f := range findings {
		if !strings.Contains(f.Problem, "somebody deleted this entry") {
			others = append(others, f)
		}
	}
	return others
}

func TestALibraryOfAnOlderVersionIsComparedWithWhatItsInstancesNoted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names)
		d.send(library.Request, "r1", "user1", "a", "b", "c")
		d.serve("lending:requests")
		tooMany := []audit.Finding{
			{Kind: "limit", Key: key("lending:card:user1"), User: "user1"},
			{Kind: "limit", Key: key("lending:card:user1"), User: "user1", Request: "r1", Event: d.event("decided", "r1")},
		}
		for _, of := range []struct {
			limit int
			since time.Time
			want  []audit.Finding
		}{{3, time.UnixMilli(0), nil}, {2, time.Now().Add(time.Minute), nil}, {2, time.UnixMilli(0), tooMany}} {
			d.older(of.limit, of.since)
			d.wants(notDeleted(d.check(audit.Config{}).Findings), of.want...)
		}
		// The same when they have become the library's own, and were changed.
		for _, limit := range []int{2, 3} {
			d.older(limit, time.UnixMilli(0))
			terms := d.config.Terms
			terms.LoansMax = 5
			d.agree(terms)
			want := tooMany
			if limit == 3 {
				want = nil
			}
			d.wants(notDeleted(d.check(audit.Config{}).Findings), want...)
		}
		// One that starts again is told of.
		d.must(rdb.HSet(d.ctx, names.NotedTerms(), "loans_max", 9).Err())
		report := d.check(audit.Config{})
		d.wants(notDeleted(report.Findings))
		if len(report.Notices) != 1 || !strings.Contains(report.Notices[0], "older version") || !strings.Contains(report.Notices[0], `loans_max is "9"`) {
			t.Errorf("it tells of %q, want an older instance with another limit", report.Notices)
		}
		d.must(rdb.Del(d.ctx, names.NotedTerms(), names.Terms()).Err())
	})
}

func TestALibraryOfAnOlderVersionWithoutTermsIsTold(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		for _, c := range []struct {
			do   func(d *desk) error
			says string
		}{
			{func(d *desk) error { return rdb.Del(d.ctx, names.NotedTerms()).Err() }, "the library's terms are gone"},
			{func(d *desk) error { return rdb.HDel(d.ctx, names.NotedTerms(), "loans_max").Err() }, "its field loans_max is missing"},
			{func(d *desk) error { return rdb.HSet(d.ctx, names.NotedTerms(), "loans_max", "five").Err() }, `its field loans_max should be a number, and is "five"`},
		} {
			rdb.FlushAll(t.Context())
			d := newDesk(t, rdb, names)
			d.send(library.Request, "r1", "user1", "a")
			d.serve("lending:requests")
			d.older(5, time.UnixMilli(0))
			d.must(c.do(d))
			findings := notDeleted(d.check(audit.Config{}).Findings)
			if len(findings) != 1 || findings[0].Kind != "value" || !strings.Contains(findings[0].Problem, c.says) {
				t.Errorf("it finds %v, want that %s", findings, c.says)
			}
		}
	})
}

// A library that is rebuilt has the terms that the log told of last, though they are lost.
func TestARebuiltLibraryHasTheTermsOfTheLog(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newDesk(t, rdb, names)
		terms := d.config.Terms
		terms.LoansMax, terms.LoanDays, terms.TimeZone = 7, 3, "America/New_York"
		d.agree(terms)
		d.send(library.Request, "r1", "user1", "a", "b", "c", "d", "e", "f")
		d.serve("lending:requests")
		want := rdb.HGetAll(d.ctx, names.Terms()).Val()
		d.must(rdb.Del(d.ctx, names.Terms()).Err())
		if _, err := audit.Rebuild(d.ctx, audit.Config{Redis: rdb, Keys: names}, another); err != nil {
			t.Fatal(err)
		}
		got := rdb.HGetAll(d.ctx, another.Terms()).Val()
		for field, value := range want {
			if got[field] != value {
				t.Errorf("the field %s is %q, want %q", field, got[field], value)
			}
		}
		for book, stamp := range rdb.HGetAll(d.ctx, another.Key("lending:card:user1")).Val() {
			if want := rdb.HGet(d.ctx, key("lending:card:user1"), book).Val(); stamp != want {
				t.Errorf("%s has the stamp %s, want %s", book, stamp, want)
			}
		}
		c := newDesk(t, rdb, another)
		c.wants(c.check(audit.Config{}).Findings)
	})
}
