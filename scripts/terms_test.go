package scripts_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"example.com/library/scripts"

	"github.com/google/go-cmp/cmp"
)

// setTerms is the call by which lisa sets terms in place of those of a version.
func setTerms(version string, terms ...any) call {
	return call{
		scripts.Terms, []string{"terms", "noted", "events"},
		append([]any{"lisa", version, `{"loans_max":5}`, `{"loans_max":6}`, logMax}, terms...), nil,
	}
}

func TestTermsAreSetOnceInPlaceOfThoseTheyReplace(t *testing.T) {
	event := entry{"new", "event", "terms", "by", "lisa", "from", `{"loans_max":5}`, "to", `{"loans_max":6}`}
	old := hash{"version": version, "by": "worker1", "loans_max": "5", "loan_days": "28"}
	tests := []test{
		{
			name:  "where none stand",
			start: state{"terms": nil},
			call:  setTerms("", "loans_max", "6", "time_zone", "Europe/Berlin"),
			want:  "new",
			end: state{
				"terms":  hash{"version": "new", "by": "lisa", "loans_max": "6", "time_zone": "Europe/Berlin"},
				"noted":  hash{"since_ms": "NOW", "loans_max": "6", "time_zone": "Europe/Berlin"},
				"events": entries(event),
			},
		},
		{
			name:  "in place of others, which the call leaves as far as it does not name them",
			start: state{"terms": old, "noted": hash{"since_ms": "1", "loans_max": "5"}},
			call:  setTerms(version, "loans_max", "6"),
			want:  "new",
			end: state{
				"terms":  hash{"version": "new", "by": "lisa", "loans_max": "6", "loan_days": "28"},
				"noted":  hash{"since_ms": "NOW", "loans_max": "6"},
				"events": entries(event),
			},
		},
		{
			name:  "not if somebody else has set some meanwhile",
			start: state{"terms": old},
			call:  setTerms("0-1", "loans_max", "6"),
			want:  "stale",
			end:   state{"terms": old},
		},
		{
			name:  "not as the first, if they are not",
			start: state{"terms": old},
			call:  setTerms("", "loans_max", "6"),
			want:  "stale",
			end:   state{"terms": old},
		},
		{
			name:  "not after those that are gone",
			start: state{"terms": nil},
			call:  setTerms(version, "loans_max", "6"),
			want:  "stale",
			end:   state{"terms": nil},
		},
	}
	onBoth(t, func(t *testing.T, b *bench) { b.run(t, tests) })
}

// TestABatchIsDecidedByTheTermsInForceOrNotAtAll has an instance that reckoned by other
// terms, or by another day.
func TestABatchIsDecidedByTheTermsInForceOrNotAtAll(t *testing.T) {
	request, back := lend(5, by("ann", "r1", "geb").rung("b1")), takeBack(5, by("ann", "r1", "geb").rung("b1"))
	during := func(from, until time.Duration) func(now int64) call {
		return func(now int64) call {
			return request.with(0, now+from.Milliseconds()).with(dayEndsMS, now+until.Milliseconds())
		}
	}
	always := func(c call) func(int64) call { return func(int64) call { return c } }
	under := func(c call, terms hash) func(int64) call { c.terms = terms; return always(c) }
	for name, of := range map[string]struct {
		call  func(now int64) call
		stale bool
	}{
		"lend: these terms":                      {always(request), false},
		"lend: other terms":                      {under(request, agreed.but("version", "1-1")), true},
		"lend: no terms":                         {under(request, hash{"of": "no matter"}), true},
		"lend: its last second":                  {during(-24*time.Hour, 10*time.Minute), false},
		"lend: its first second":                 {during(-10*time.Minute, time.Hour), false},
		"lend: the day before":                   {during(-24*time.Hour, -time.Second), true},
		"lend: the day is over this very moment": {during(-24*time.Hour, 0), true},
		"lend: the day after":                    {during(time.Hour, 25*time.Hour), true},
		"return: these terms":                    {always(back), false},
		"return: other terms":                    {under(back, agreed.but("version", "1-1")), true},
		"return: no terms":                       {under(back, hash{"of": "no matter"}), true},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, b *bench) {
				b.start(t, state{"requests": given(1), "returns": given(1)})
				c := of.call(b.now(t))
				b.put(t, "terms", c.terms)
				before := b.state(t, span{})
				_, err := b.do(t, c)
				if stale := err != nil && strings.HasPrefix(err.Error(), "TERMS "); stale != of.stale || err != nil && !stale {
					t.Errorf("the script answered %v, want TERMS: %v", err, of.stale)
				}
				if !of.stale {
					return
				}
				if diff := cmp.Diff(before, b.state(t, span{})); diff != "" {
					t.Errorf("state (-before +after):\n%s", diff)
				}
				if rings := b.rung(t, span{}); len(rings) > 0 {
					t.Errorf("rung: %q", rings)
				}
			})
		})
	}
}

// TestTheLogIsAsLongAsTheTermsSay has a script trim the log by an argument or by the terms
// themselves, or leave it alone.
func TestTheLogIsAsLongAsTheTermsSay(t *testing.T) {
	const before = 300
	argument := map[string]bool{"lend": true, "return": true, "terms": true}
	onBoth(t, func(t *testing.T, b *bench) {
		for name, example := range examples {
			script := scriptOf(name)
			if script == "shed" || example.emits == 0 || b.embedded && example.onlyRedis != "" {
				continue // shed.lua is told a length of its own
			}
			for logMax, whole := range map[any]bool{100: false, 1000: true, "all": true, nil: true} {
				call := example.call
				if argument[script] {
					if _, isNumber := logMax.(int); !isNumber {
						continue
					}
					call = call.with(100, logMax)
				}
				b.start(t, example.start)
				if logMax != nil {
					b.put(t, "terms", agreed.but("log_max", logMax))
				} else {
					b.put(t, "terms", hash{"version": version})
				}
				b.put(t, "events", entries(filled(1, before)...))
				if _, err := b.do(t, call); err != nil {
					t.Errorf("%s with the term %v: %v", name, logMax, err)
					continue
				}
				length := must(b.rdb.XLen(t.Context(), "events").Result())(t)
				if got, want := length >= before, whole || !trimming[script]; got != want {
					t.Errorf("%s with the term %v leaves %d entries of the log, which had %d", name, logMax, length, before)
				}
			}
		}
	})
}

// TestAReceiptLivesForAsLongAsWasPromisedWhenItWasGiven lets one order be decided under
// one term and others, later, under a shorter one.
func TestAReceiptLivesForAsLongAsWasPromisedWhenItWasGiven(t *testing.T) {
	const day = 24 * time.Hour
	onBoth(t, func(t *testing.T, b *bench) {
		keep := func(c call, keep time.Duration) call {
			c.terms = agreed.but("receipt_ms", keep.Milliseconds())
			return c.with(weekMS, keep.Milliseconds())
		}
		decides := func(id string, promised time.Duration) string {
			reply := must(b.do(t, keep(lend(5, by("ann", id, "geb")), promised)))(t)
			return reply.([]any)[0].(string)
		}
		ends := func(key string) time.Duration { return must(b.rdb.PTTL(t.Context(), key).Result())(t) }
		wantAtLeast := func(key string, want time.Duration) {
			t.Helper()
			if got := ends(key); got < want-time.Minute {
				t.Errorf("%s ends in %s, want %s at least", key, got, want)
			}
		}
		b.start(t, state{"page": nil, "requests": given(1), "loans": hash{"geb": "dee"}})
		decides("mine", day)
		// A later one lives shorter, and takes nothing from the first.
		decides("another", 10*time.Minute)
		wantAtLeast("receipts", day)
		// So does one that is set aside.
		b.put(t, "inbox", given(2))
		must(b.do(t, keep(call{reject(refusal{}).script, reject(refusal{request: "x"}).keys, reject(refusal{request: "r", receipt: "a receipt"}).args, agreed}, 10*time.Minute)))(t)
		wantAtLeast("receipts", day)
		// The page ends, and the next one must last until no promise is left on this one.
		b.put(t, "page", nil)
		decides("third", 10*time.Minute)
		wantAtLeast("older", day)
		wantAtLeast("page", day)
		if got := decides("mine", 10*time.Minute); got != "repeat" {
			t.Errorf("the first order, sent again, is answered %q, want repeat", got)
		}
		if page, most := ends("page"), day+time.Hour; page > most {
			t.Errorf("the page is full in %s, want %s at most", page, most)
		}
		// A day later the promise is kept, and the page of short promises is short.
		b.put(t, "page", nil)
		decides("fourth", 10*time.Minute)
		wantAtLeast("older", 10*time.Minute)
		if page := ends("page"); page > 11*time.Minute {
			t.Errorf("the page is full in %s, want about ten minutes", page)
		}
		if got := decides("mine", 10*time.Minute); !strings.HasPrefix(got, "denied") {
			t.Errorf("the first order, sent again after its time, is answered %q, want it to be decided", got)
		}
	})
}

// TestAPageThatWillDieSoonLivesLongerWithEachDecision is for a page that was begun under
// a shorter term.
func TestAPageThatWillDieSoonLivesLongerWithEachDecision(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for inbox, c := range map[string]call{
			"requests": lend(5, by("ann", "r1", "geb")), "returns": takeBack(5, by("ann", "r1", "geb")),
			"inbox": {reject(refusal{}).script, reject(refusal{request: "r1"}).keys, reject(refusal{request: "r1", receipt: "a receipt"}).args, agreed},
		} {
			b.start(t, state{inbox: given(2), "receipts": passing{hash{"r8": "a receipt"}, 1}})
			must(b.do(t, c))(t)
			if got := math.Ceil(must(b.rdb.PTTL(t.Context(), "receipts").Result())(t).Hours()); got != keptHours {
				t.Errorf("%s: the page lives for %v hours, want %d", inbox, got, keptHours)
			}
			b.start(t, state{inbox: given(2), "receipts": passing{hash{"r8": "a receipt"}, 9 * keptHours}})
			must(b.do(t, c))(t)
			if got := math.Ceil(must(b.rdb.PTTL(t.Context(), "receipts").Result())(t).Hours()); fmt.Sprint(got) != fmt.Sprint(9*keptHours) {
				t.Errorf("%s: the page lives for %v hours, want the %d it had", inbox, got, 9*keptHours)
			}
		}
	})
}
