package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/hostile"
	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/status"

	"github.com/redis/go-redis/v9"
)

// asPerson has a request come from a browser.
func asPerson(r *http.Request) { r.Header.Set("Accept", "text/html,*/*") }

// form makes a request one of a form.
func form(values url.Values, change func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = io.NopCloser(strings.NewReader(values.Encode()))
		if change != nil {
			change(r)
		}
	}
}

func TestTheFormSendsAnOrderOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := open(t, func(c *Config) { c.Libraries[0].Redis = rdb })
		got := ask(s, here, "POST", "/ask?library=main", form(url.Values{"action": {"request"}, "user": {"ann"}, "books": {"geb\r\nwar, and peace\r\n\r\n"}}, asPerson))
		page := got.Header().Get("Location")
		if got.Code != http.StatusSeeOther || !regexp.MustCompile(`^/orders/[0-9a-f]{32}\?library=main$`).MatchString(page) {
			t.Fatalf("the form leads to %d %q: %s", got.Code, page, got.Body)
		}
		entries, err := rdb.XRange(t.Context(), main.Requests(), "-", "+").Result()
		if err != nil || len(entries) != 1 || entries[0].Values["user"] != "ann" || entries[0].Values["books"] != `["geb","war, and peace"]` {
			t.Errorf("the inbox has %v, %v", entries, err)
		}
		if got := ask(s, here, "GET", page, asPerson); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), "not decided yet") {
			t.Errorf("the order's page: %d %s", got.Code, got.Body)
		}
		for _, values := range []url.Values{
			{}, {"action": {"burn"}, "user": {"ann"}, "books": {"geb"}}, {"action": {"request"}, "user": {"ann"}},
			{"action": {"request"}, "books": {"geb"}}, {"action": {"return"}, "user": {"a\u202eb"}, "books": {"geb"}},
		} {
			if got := ask(s, here, "POST", "/ask", form(values, nil)); got.Code != http.StatusBadRequest {
				t.Errorf("%v: %d, want 400", values, got.Code)
			}
		}
		if got := ask(s, elsewhere, "POST", "/ask", form(url.Values{"action": {"request"}, "user": {"ann"}, "books": {"geb"}}, nil)); got.Code != http.StatusUnauthorized {
			t.Errorf("the form from elsewhere: %d, want 401", got.Code)
		}
		if n, err := rdb.XLen(t.Context(), main.Requests()).Result(); n != 1 || err != nil {
			t.Errorf("the inbox has %d entries, %v, want 1", n, err)
		}
	})
}

// texts are hostile, and such as mean something to HTML.
var texts = append([]string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onload='x`, `{{.}}`, `javascript:alert(1)`, `a/b`, `../users`, `?x=1#y`}, hostile.Texts...)

func TestNoNameReachesAPageUnescaped(t *testing.T) {
	ctx := patience.Deadline(t)
	rdb := redistest.Embedded(t)
	s := open(t, func(c *Config) { c.Libraries[0].Redis = rdb })
	for _, text := range texts {
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: main.Rejected(library.Lending), Values: []string{"stream", text, "entry", text, "reason", text, "." + text, text}}).Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.HSet(ctx, main.Key("lending:loans"), text, text).Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.HSet(ctx, main.Key("lending:card:"+text), text, "17977608000000028").Err(); err != nil {
			t.Fatal(err)
		}
	}
	shown := 0
	for _, text := range texts {
		for _, path := range []string{"/users/", "/books/", "/orders/", "/find?q=", "/sign-in?x=", "/rejected?library=", "/?library="} {
			escaped := url.PathEscape(text)
			if strings.HasSuffix(path, "/") && strings.Trim(text, ".") == "" {
				path += "?name="
			}
			if strings.Contains(path, "?") {
				escaped = url.QueryEscape(text)
			}
			got := ask(s, here, "GET", path+escaped, asPerson)
			body := got.Body.String()
			if got.Code == http.StatusOK {
				shown++
			}
			if got.Code >= 500 {
				t.Errorf("%s%q: %d", path, text, got.Code)
			}
			if r := hostile.Unprintable(body); r != -1 {
				t.Errorf("%s%q shows %U", path, text, r)
			}
			if len(text) > 4 && strings.ContainsAny(text, `<"`) && strings.Contains(body, text) {
				t.Errorf("%s%q shows it as it is", path, text)
			}
			if location := got.Header().Get("Location"); location != "" && !regexp.MustCompile(`^/(users|books|orders)/[^/]*\?[^/]*library=main(&name=[.]+)?$`).MatchString(location) {
				t.Errorf("%s%q leads to %q", path, text, location)
			}
		}
	}
	if shown < len(texts) {
		t.Errorf("only %d pages were shown", shown)
	}
	rejected := ask(s, here, "GET", "/rejected", asPerson).Body.String()
	if !strings.Contains(rejected, html.EscapeString(`<script>alert(1)</script>`)) {
		t.Errorf("what was set aside is not shown:\n%s", rejected)
	}
}

// TestDatesAreTheLibrarys has zones in which a loan's last day is another than in UTC, and
// its first one, too.
func TestDatesAreTheLibrarys(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := patience.Deadline(t)
		s := open(t, func(c *Config) { c.Libraries[0].Redis = rdb })
		for _, name := range []string{"Pacific/Kiritimati", "America/New_York"} {
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			due := library.StartOf(time.Date(2026, 12, 21, 0, 0, 0, 0, time.UTC), zone).UnixMilli() - 1
			rdb.HSet(ctx, main.Terms(), "version", "1-1", "time_zone", name, "loans_max", 5, "loan_days", 28, "front_max", 1, "receipt_ms", 600000, "log_max", 1000)
			rdb.HSet(ctx, main.Key("lending:loans"), "geb", "ann")
			if err := rdb.HSet(ctx, main.Key("lending:card:ann"), "geb", fmt.Sprintf("%d0028", due)).Err(); err != nil {
				t.Fatal(err)
			}
			for page, want := range map[string]string{"/books/geb": "due 20 Dec 2026", "/users/ann": "<td>22 Nov 2026</td><td>20 Dec 2026</td>"} {
				if got := ask(s, here, "GET", page+"?library=main", asPerson); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), want) {
					t.Errorf("in %s, %s shows %d without %q: %s", name, page, got.Code, want, got.Body)
				}
			}
		}
	})
}

func TestNoPageIsBlankWithoutRedis(t *testing.T) {
	away := redis.NewClient(&redis.Options{Network: "unix", Addr: t.TempDir() + "/nobody.sock", MaxRetries: -1, DialerRetries: 1})
	defer away.Close()
	s := open(t, func(c *Config) { c.Libraries[0].Redis = away })
	for path, want := range map[string]int{"/": 200, "/state": 200, "/audit": 200, "/samples": 503, "/users/ann": 503, "/books/geb": 503, "/orders/x": 503, "/rejected": 503} {
		got := ask(s, here, "GET", path, asPerson)
		if got.Code != want {
			t.Errorf("%s: %d, want %d", path, got.Code, want)
		}
		if body := got.Body.String(); path != "/audit" && !strings.Contains(body, "Redis cannot tell") && !strings.Contains(body, "nobody.sock") {
			t.Errorf("%s does not say that Redis is away:\n%s", path, body)
		}
	}
	if got := ask(s, here, "POST", "/ask", form(url.Values{"action": {"request"}, "user": {"ann"}, "books": {"geb"}}, nil)); got.Code != http.StatusServiceUnavailable {
		t.Errorf("the form: %d, want 503", got.Code)
	}
}

func TestNamesAreForStaffAlone(t *testing.T) {
	rdb := redistest.Embedded(t)
	s := open(t, func(c *Config) { c.Libraries[0].Redis, c.Token = rdb, token })
	for path, want := range map[string]int{
		"/": 200, "/state": 200, "/audit": 200, "/samples": 200, "/sign-in": 200, "/assets/style.css": 200, "/assets/live.js": 200,
		"/events": 401, "/users/ann": 401, "/books/geb": 401, "/orders/x": 401, "/rejected": 401, "/find?q=ann": 401,
		"/?library=north": 404, "/nothing": 404,
	} {
		if got := ask(s, here, "GET", path, nil); got.Code != want {
			t.Errorf("%s without the token: %d, want %d", path, got.Code, want)
		}
	}
	if body := ask(s, here, "GET", "/", asPerson).Body.String(); strings.Contains(body, `id="ask"`) || !strings.Contains(body, "/sign-in") {
		t.Error("whoever is not staff is shown the form, or not how to sign in")
	}
}

func TestOneReadingOfTheStateServesAll(t *testing.T) {
	reads, failing := 0, false
	s := &state{look: func(context.Context) (*status.Status, error) {
		reads++
		if failing {
			return &status.Status{}, errors.New("away")
		}
		return &status.Status{Library: "main"}, nil
	}}
	done := make(chan seen)
	for range 50 {
		go func() { done <- s.now(t.Context()) }()
	}
	for range 50 {
		if got := <-done; got.Status == nil || got.Error != "" {
			t.Errorf("the state is %+v", got)
		}
	}
	if reads != 1 {
		t.Errorf("read %d times for 50, want once", reads)
	}
	failing, s.read = true, time.Time{}
	if got := s.now(t.Context()); got.Status == nil || got.Status.Library != "main" || got.Error != "away" {
		t.Errorf("without Redis the state is %+v, want what was so before, and the error", got)
	}
}

func TestOfSeveralGatewaysOneAddsAMomentsSample(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := patience.Deadline(t)
		one, other := open(t, func(c *Config) { c.Libraries[0].Redis = rdb }), open(t, func(c *Config) { c.Libraries[0].Redis = rdb })
		for n := range int64(300) {
			for i, gateway := range []*Server{one, other} {
				next := sample{At: 1_800_000_000_000 + 5000*n, Seconds: 5, Events: map[string]int64{"lent": int64(i)}, Inboxes: map[string]waiting{}}
				if err := gateway.libraries[0].addSample(ctx, next); err != nil {
					t.Fatal(err)
				}
			}
		}
		var shown []sample
		if err := json.Unmarshal(ask(one, here, "GET", "/samples", nil).Body.Bytes(), &shown); err != nil {
			t.Fatal(err)
		}
		if len(shown) != samplesMax || shown[samplesMax-1].At != 1_800_000_000_000+5000*299 {
			t.Errorf("%d samples are kept, want the last %d", len(shown), samplesMax)
		}
		for _, one := range shown {
			if one.Events["lent"] != 0 {
				t.Fatalf("the second gateway's sample is there: %+v", one)
			}
		}
	})
}

func TestTheAuditIsShownAndSaysWhatIsWrong(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx := patience.Deadline(t)
		s := open(t, func(c *Config) { c.Libraries[0].Redis = rdb })
		if err := rdb.HSet(ctx, main.Key("lending:loans"), "geb", "ann").Err(); err != nil { // on no card
			t.Fatal(err)
		}
		var found audited
		for found.At.IsZero() && ctx.Err() == nil {
			if err := json.Unmarshal(ask(s, here, "GET", "/audit", nil).Body.Bytes(), &found); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond) // an audit asks Redis a lot; so does this
		}
		if found.Wrong == 0 || len(found.Findings) == 0 || !strings.Contains(found.Findings[0], "geb") {
			t.Errorf("the audit found %+v", found)
		}
		var public audited
		if err := json.Unmarshal(ask(s, elsewhere, "GET", "/audit", nil).Body.Bytes(), &public); err != nil || public.Wrong != found.Wrong || public.Findings != nil {
			t.Errorf("others are told %+v, %v", public, err)
		}
	})
}
