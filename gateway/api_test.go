package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/hostile"
	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// A caller asks an API, and compares every answer with openapi.json.
type caller struct {
	testing.TB
	server   *Server
	document *openapi3.T
}

// newCaller makes a gateway of the library main on a server.
func newCaller(t testing.TB, rdb redis.UniversalClient) *caller {
	t.Helper()
	server, err := New(Config{Libraries: []Library{{Redis: rdb, Keys: library.Keys{Library: "main"}}}, Log: log.New(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return &caller{t, server, description(t)}
}

// description is openapi.json, which is itself as OpenAPI wants it.
func description(t testing.TB) *openapi3.T {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err == nil {
		err = document.Validate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// ask sends a request, with a body of JSON unless it is empty, and headers as pairs.
func (c *caller) ask(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	c.Helper()
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body)).WithContext(patience.Deadline(c))
	r.RemoteAddr = here
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	c.server.Handler().ServeHTTP(w, r)
	// The routes' patterns are the paths of the description.
	route := &routers.Route{Spec: c.document, Path: r.Pattern, PathItem: c.document.Paths.Value(r.Pattern), Method: method}
	if route.PathItem == nil || route.PathItem.GetOperation(method) == nil {
		c.Fatalf("%s %s: openapi.json does not have %q", method, path, r.Pattern)
	}
	route.Operation = route.PathItem.GetOperation(method)
	err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 w.Code, Header: w.Result().Header, Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		c.Errorf("%s %s: the answer %d is not as openapi.json says: %v\n%s", method, path, w.Code, err, w.Body)
	}
	return w
}

// want checks an answer's status, and that its body holds a text.
func (c *caller) want(w *httptest.ResponseRecorder, status int, text string) {
	c.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		c.Errorf("the answer is %d %s, want %d with %s", w.Code, w.Body, status, text)
	}
	want := "application/json"
	if status >= 400 {
		want = "application/problem+json"
	}
	if got := w.Header().Get("Content-Type"); got != want {
		c.Errorf("the answer %s has the type %q, want %q", w.Body, got, want)
	}
}

// serve runs services until the test ends.
func serve(t testing.TB, rdb *redis.Client, services ...string) {
	t.Helper()
	own, err := redisconn.Connect(redisconn.Options{Address: redisconn.Where(rdb)})
	if err != nil {
		t.Fatal(err)
	}
	logger := log.New(io.Discard)
	keys := library.Keys{Library: "main"}
	config := worker.Config{Redis: own, Keys: keys, Outage: redisconn.NewOutage(logger), Log: logger}
	ctx, cancel := context.WithCancel(context.Background())
	config.Instance, err = worker.Take(ctx, own, worker.LockConfig{Keys: keys, Name: "worker-" + services[0], TTL: 10 * time.Minute, Services: services, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return config.Instance.Run(ctx, config.Outage) })
	terms := library.DefaultTerms()
	terms.LoansMax = 3
	for _, name := range services {
		var service interface {
			Prepare(context.Context) error
			Inboxes() []worker.Inbox
		} = lending.NewService(lending.Config{Config: config, Terms: terms})
		if name == library.Shelving {
			service = shelving.NewService(shelving.Config{Config: config})
		}
		if err := service.Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		for _, inbox := range service.Inboxes() {
			group.Go(func() error { return worker.Run(ctx, config, inbox) })
		}
	}
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
		own.Close()
	})
}

func TestTheAPILendsAndTakesBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		serve(t, rdb, library.Lending)
		c := newCaller(t, rdb)

		first := c.ask("POST", "/api/orders", `{"action":"request","user":"ann","books":["geb","dune"]}`, "Idempotency-Key", `"r1"`)
		c.want(first, 200, `{"id":"r1","action":"request","user":"ann","outcome":"granted","books":[{"book":"geb","result":"lent","from":"shelves",`)
		c.want(first, 200, `"on_its_way":true`)
		if got := first.Header().Get("Location"); got != "/api/orders/r1" {
			t.Errorf("Location is %q", got)
		}
		again := c.ask("POST", "/api/orders?library=main", `{"action":"request","user":"ann","books":["geb","dune"]}`, "Idempotency-Key", "r1")
		if diff := cmp.Diff(first.Body.String(), again.Body.String()); diff != "" {
			t.Errorf("the same order sent again (-first +again):\n%s", diff)
		}
		if got := again.Header().Get("Location"); got != "/api/orders/r1?library=main" {
			t.Errorf("Location is %q", got)
		}
		c.want(c.ask("POST", "/api/orders", `{"action":"request","user":"bob","books":["geb"]}`, "Idempotency-Key", "r1"), 409, "belongs to another order")
		c.want(c.ask("POST", "/api/orders", `{"action":"request","user":"bob","books":["geb"]}`), 200, `"outcome":"denied","books":[{"book":"geb","result":"unavailable"}]`)
		c.want(c.ask("POST", "/api/orders", `{"action":"return","user":"ann","books":["geb"]}`), 200, `"outcome":"refused","books":[{"book":"geb","result":"on_its_way"}]`)
		c.want(c.ask("GET", "/api/books/geb", ""), 200, `{"book":"geb","place":"on_its_way","user":"ann","due":"`)
		// An instance takes the order of the first book, and dies.
		if err := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: library.Shelving, Consumer: "dead", Count: 1, Streams: []string{"{main}:shelving:fetches", ">"}}).Err(); err != nil {
			t.Fatal(err)
		}
		life := c.ask("GET", "/api/orders/r1/life", "")
		c.want(life, 200, `"state":"on_its_way"`)
		c.want(life, 200, `"pending":{"by":"dead","for_ms":`)

		serve(t, rdb, library.Shelving)
		for ctx := patience.Deadline(t); ; {
			if card := c.ask("GET", "/api/users/ann/card", ""); !strings.Contains(card.Body.String(), `"on_its_way":true`) {
				c.want(card, 200, `"loans_max":3,"room":1}`)
				break
			}
			select {
			case <-ctx.Done():
				t.Fatal("the books do not arrive")
			case <-time.After(20 * time.Millisecond):
			}
		}
		c.want(c.ask("GET", "/api/orders/r1", ""), 200, `"outcome":"granted"`)
		c.want(c.ask("GET", "/api/orders/r1/life", ""), 200, `"step":"delivered"`)
		c.want(c.ask("POST", "/api/orders", `{"action":"return","user":"ann","books":["geb"]}`), 200, `"outcome":"returned"`)
		c.want(c.ask("GET", "/api/books/geb", ""), 200, `{"book":"geb","place":"front"}`)
		c.want(c.ask("GET", "/api/books/never-lent", ""), 200, `{"book":"never-lent","place":"shelves"}`)
		c.want(c.ask("GET", "/api/status", ""), 200, `"lending":{"loans":1,"on_their_way":0,"front":1,"front_max":20}`)
	})
}

func TestAnOrderThatNobodyDecidesIsPending(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		c := newCaller(t, rdb)
		const unknown = `{"id":"r1","action":"request","user":"ann","outcome":"unknown","books":[]}`
		for _, wait := range []string{"0s", "1ms", "150ms"} {
			w := c.ask("POST", "/api/orders?wait="+wait, `{"action":"request","user":"ann","books":["geb"]}`, "Idempotency-Key", "r1")
			c.want(w, 202, unknown)
			if w.Header().Get("Location") != "/api/orders/r1" || w.Header().Get("Retry-After") == "" {
				t.Errorf("the headers are %v", w.Header())
			}
		}
		c.want(c.ask("GET", "/api/orders/r1", ""), 202, unknown)
		c.want(c.ask("GET", "/api/orders/r1?wait=20ms", ""), 202, unknown)
		c.want(c.ask("GET", "/api/orders/r1/life", ""), 200, `"state":"waiting"`)
		serve(t, rdb, library.Lending)
		c.want(c.ask("GET", "/api/orders/r1?wait=60s", ""), 200, `"outcome":"granted","books":[{"book":"geb","result":"lent","from":"shelves"`)
	})
}

func TestWhatBreaksARuleIsRefusedAndChangesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		c := newCaller(t, rdb)
		const good = `{"action":"request","user":"ann","books":["geb"]}`
		many, err := json.Marshal(make([]int, 101))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 101 {
			many = bytes.Replace(many, []byte("0"), fmt.Appendf(nil, `"b%c%c"`, 'a'+i%10, 'a'+i/10), 1)
		}
		for _, test := range []struct {
			method, path, body string
			headers            []string
			status             int
			text               string
		}{
			{"POST", "/api/orders", `{"action":"steal","user":"ann","books":["geb"]}`, nil, 400, `its action is \"steal\", not request or return`},
			{"POST", "/api/orders", `{"action":"request","user":"","books":["geb"]}`, nil, 400, "it is empty"},
			{"POST", "/api/orders", `{"action":"request","user":"ann","books":[]}`, nil, 400, "it names no book"},
			{"POST", "/api/orders", `{"action":"request","user":"ann","books":["a\u0007b"]}`, nil, 400, "a character that does not print"},
			{"POST", "/api/orders", `{"action":"request","user":"ann","books":["` + "\xff" + `"]}`, nil, 400, "U+FFFD"},
			{"POST", "/api/orders", `{"action":"request","user":"ann","books":` + string(many) + `}`, nil, 400, "it names 101 books; at most 100 are allowed"},
			{"POST", "/api/orders", `{"action":"request","user":"ann","books":["geb"],"colour":"red"}`, nil, 400, "colour"},
			{"POST", "/api/orders", `{"action":"request","user":"ann","books":"geb"}`, nil, 400, "the body is not such an object"},
			{"POST", "/api/orders", good + good, nil, 400, "the body goes on"},
			{"POST", "/api/orders", `{`, nil, 400, "the body is not such an object"},
			{"POST", "/api/orders", good, []string{"Idempotency-Key", "a b"}, 400, "use 1 to 64 letters"},
			{"POST", "/api/orders?wait=soon", good, nil, 400, "wait is a time from 0s to 1m0s"},
			{"POST", "/api/orders?wait=61s", good, nil, 400, "wait is a time from 0s to 1m0s"},
			{"POST", "/api/orders?wait=-1s", good, nil, 400, "wait is a time from 0s to 1m0s"},
			{"POST", "/api/orders", good, []string{"Content-Type", "text/plain"}, 415, "application/json"},
			{"POST", "/api/orders", "", nil, 415, "application/json"},
			{"POST", "/api/orders", `{"action":"` + strings.Repeat("x", bodyBytesMax) + `"}`, nil, 413, "the body has more than"},
			{"POST", "/api/orders?library=north", good, nil, 404, "does not show a library of that name"},
			{"GET", "/api/orders/a%20b", "", nil, 400, "use 1 to 64 letters"},
			{"GET", "/api/orders/never-sent", "", nil, 404, "there is no trace of this order"},
			{"GET", "/api/orders/never-sent?wait=x", "", nil, 400, "wait is a time"},
			{"GET", "/api/orders/never-sent/life", "", nil, 404, "there is no trace of this order"},
			{"GET", "/api/users/%00/card", "", nil, 400, "a character that does not print"},
			{"GET", "/api/books/%FF", "", nil, 400, "it is not valid UTF-8"},
			{"GET", "/api/rejected?limit=0", "", nil, 400, "limit is a number from 1 to 200"},
			{"GET", "/api/rejected?limit=many", "", nil, 400, "limit is a number from 1 to 200"},
		} {
			c.want(c.ask(test.method, test.path, test.body, test.headers...), test.status, test.text)
		}
		if n := rdb.DBSize(t.Context()).Val(); n != 0 {
			t.Errorf("there are %d keys, want none", n)
		}
	})
}

func TestWhatIsNotThereIsAProblem(t *testing.T) {
	s := open(t, nil)
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/api/", 404, ""}, {"GET", "/api/nothing", 404, ""}, {"POST", "/api/status/x", 404, ""}, {"GET", "/api/orders/", 404, ""},
		{"GET", "/api/orders", 405, "POST"}, {"DELETE", "/api/orders/r1", 405, "GET"}, {"PUT", "/api/openapi.json", 405, "GET"},
	} {
		w := ask(s, here, test.method, test.path, func(r *http.Request) { r.Header.Set("Accept", "text/html") })
		if w.Code != test.status || w.Header().Get("Allow") != test.allow || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d %v %s", test.method, test.path, w.Code, w.Header(), w.Body)
		}
	}
	if w := ask(s, here, "HEAD", "/api/openapi.json", nil); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
}

func TestTheAPIIsForStaff(t *testing.T) {
	s := open(t, func(c *Config) { c.Token = token })
	for path, want := range map[string]int{
		"/api/status": 200, "/api/openapi.json": 200,
		"/api/orders/r1": 401, "/api/orders/r1/life": 401, "/api/users/ann/card": 401, "/api/books/geb": 401, "/api/rejected": 401,
	} {
		w := ask(s, here, "GET", path, nil)
		if w.Code != want || want == 401 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("GET %s: %d, want %d", path, w.Code, want)
		}
	}
	if w := ask(s, here, "POST", "/api/orders", nil); w.Code != 401 {
		t.Errorf("POST /api/orders: %d, want 401", w.Code)
	}
	if w := ask(s, elsewhere, "GET", "/api/books/geb", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }); w.Code != 200 {
		t.Errorf("with the token: %d, want 200", w.Code)
	}
}

func TestARejectedOrderIsUnprocessable(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		serve(t, rdb, library.Lending)
		c := newCaller(t, rdb)
		ctx := patience.Deadline(t)
		if err := rdb.Set(ctx, "{main}:lending:card:ann", "broken", 0).Err(); err != nil {
			t.Fatal(err)
		}
		w := c.ask("POST", "/api/orders?wait=1m", `{"action":"request","user":"ann","books":["geb"]}`, "Idempotency-Key", "r1")
		c.want(w, 422, `"detail":"the order was set aside: it cannot be applied: `)
		c.want(w, 422, `"receipt":{"id":"r1","action":"request","user":"ann","outcome":"rejected"`)
		c.want(c.ask("GET", "/api/orders/r1", ""), 200, `"outcome":"rejected"`)
		c.want(c.ask("GET", "/api/orders/r1/life", ""), 200, `"step":"retried"`)
		if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: "{main}:lending:requests", Values: []string{"id", "r2", "evil", "\u202e<script>"}}).Err(); err != nil {
			t.Fatal(err)
		}
		c.want(c.ask("GET", "/api/orders/r2?wait=1m", ""), 200, `"outcome":"rejected"`)
		c.want(c.ask("GET", "/api/rejected", ""), 200, `"evil":"\u202e\u003cscript\u003e"`)
		c.want(c.ask("GET", "/api/rejected?limit=1", ""), 200, `"more":true`)
		c.want(c.ask("GET", "/api/rejected?limit=2", ""), 200, `"more":false`)
	})
}

func TestABusyLibraryIsSaidToBeBusy(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	pipe := rdb.Pipeline()
	for range lending.UnreadMax {
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: "{main}:lending:returns", Values: []string{"x", ""}})
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := newCaller(t, rdb)
	w := c.ask("POST", "/api/orders", `{"action":"return","user":"ann","books":["geb"]}`)
	c.want(w, 429, "100000 returns wait to be decided; nothing was sent")
	if w.Header().Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
}

func TestAServerThatIsAwayIsToldWithoutItsPassword(t *testing.T) {
	rdb, err := redisconn.Connect(redisconn.Options{Address: "redis://staff:sesame@127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	c := newCaller(t, rdb)
	for _, path := range []string{"/api/orders/r1", "/api/orders/r1/life", "/api/users/ann/card", "/api/books/geb", "/api/rejected", "/api/status"} {
		c.want(c.ask("GET", path, ""), 503, "connection refused")
	}
	w := c.ask("POST", "/api/orders?wait=6s", `{"action":"request","user":"ann","books":["geb"]}`)
	c.want(w, 503, "not sent")
	if strings.Contains(w.Body.String(), "sesame") || w.Header().Get("Retry-After") == "" {
		t.Errorf("the answer is %v %s", w.Header(), w.Body)
	}
}

func TestHostileNamesAreAnsweredHarmlessly(t *testing.T) {
	c := newCaller(t, redistest.Embedded(t))
	for _, text := range hostile.Texts {
		if text == "" {
			continue // that is another path
		}
		escaped := strings.ReplaceAll(url.PathEscape(text), ".", "%2E")
		body, err := json.Marshal(apiOrder{Action: library.Request, User: text, Books: []string{text}})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []*httptest.ResponseRecorder{
			c.ask("GET", "/api/books/"+escaped, ""), c.ask("GET", "/api/users/"+escaped+"/card", ""), c.ask("GET", "/api/orders/"+escaped, ""),
			c.ask("POST", "/api/orders?wait=0s", string(body)),
		} {
			if !json.Valid(w.Body.Bytes()) || strings.ContainsFunc(w.Body.String(), func(r rune) bool { return r != '\n' && !library.IsSeen(r) || r == '<' }) {
				t.Errorf("%q is answered with %d %q", text, w.Code, w.Body)
			}
			if w.Code >= 500 {
				t.Errorf("%q is answered with %d %s", text, w.Code, w.Body)
			}
		}
	}
}

// Every path of the description is served, and none that is served is left out.
func TestOpenAPITellsEveryPath(t *testing.T) {
	s := open(t, nil)
	for path, item := range description(t).Paths.Map() {
		for method := range item.Operations() {
			w := ask(s, here, method, strings.NewReplacer("{id}", "r1", "{name}", "ann").Replace(path), nil)
			if w.Code == 404 && !strings.Contains(w.Body.String(), "no trace") || w.Code == 405 {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
	if w := ask(s, here, "GET", "/api/openapi.json", nil); w.Body.String() != string(openAPI) {
		t.Error("openapi.json is not served as it is")
	}
}
