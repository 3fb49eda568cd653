package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/charmbracelet/log"
)

const token = "a-token-of-enough-bytes"

// open makes a gateway of the library main on an embedded server.
func open(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	config := Config{Libraries: []Library{{Redis: redistest.Embedded(t), Keys: library.Keys{Library: "main"}}}, Log: log.New(io.Discard)}
	if change != nil {
		change(&config)
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// ask sends a request from an address; change may be nil.
func ask(s *Server, from, method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost"+path, nil)
	r.RemoteAddr = from
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

const (
	here      = "127.0.0.1:4000"
	elsewhere = "192.0.2.1:4000"
)

func TestForeignHostNamesAreRefused(t *testing.T) {
	s := open(t, func(c *Config) { c.Hosts = []string{"books.example.com"} })
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "[::1]": 200, "Books.Example.com": 200, "books.example.com:443": 200,
		"evil.example.com": 421, "evil.example.com:8080": 421, "192.0.2.7": 421, "localhost.evil.example.com": 421, "": 421, "[": 421,
	} {
		got := ask(s, here, "GET", "/state", func(r *http.Request) { r.Host = host })
		if got.Code != want {
			t.Errorf("Host %q: %d, want %d", host, got.Code, want)
		}
	}
}

func TestAPageOfAnotherOriginChangesNothing(t *testing.T) {
	s := open(t, nil)
	for _, foreign := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		func(r *http.Request) { r.Header.Set("Origin", "https://evil.example.com") },
		func(r *http.Request) { r.Header.Set("Origin", "null") },
	} {
		if got := ask(s, here, "POST", "/sign-out", foreign); got.Code != http.StatusForbidden {
			t.Errorf("a foreign POST: %d, want 403", got.Code)
		}
	}
	if got := ask(s, here, "POST", "/sign-out", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }); got.Code != http.StatusSeeOther {
		t.Errorf("the gateway's own POST: %d, want 303", got.Code)
	}
}

func TestStaffShowTheTokenOrAreOnThisMachine(t *testing.T) {
	with := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	closed := open(t, func(c *Config) { c.Token = token })
	local := open(t, nil)
	signedIn := ask(closed, elsewhere, "POST", "/sign-in?token="+token, nil) // only a form's body counts
	if signedIn.Code != http.StatusUnauthorized {
		t.Errorf("a token in the address: %d, want 401", signedIn.Code)
	}
	signedIn = ask(closed, elsewhere, "POST", "/sign-in", func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = io.NopCloser(strings.NewReader(url.Values{"token": {token}}.Encode()))
	})
	cookies := signedIn.Result().Cookies()
	if signedIn.Code != http.StatusSeeOther || len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("sign in: %d with cookies %v", signedIn.Code, cookies)
	}
	if strings.Contains(cookies[0].Value, token) {
		t.Error("the cookie holds the token")
	}
	for _, test := range []struct {
		title  string
		s      *Server
		from   string
		change func(*http.Request)
		want   bool
	}{
		{"nothing", closed, here, nil, false},
		{"the token", closed, elsewhere, with("Authorization", "Bearer "+token), true},
		{"another token", closed, here, with("Authorization", "Bearer "+token+"x"), false},
		{"an empty token", closed, here, with("Authorization", "Bearer "), false},
		{"the cookie", closed, elsewhere, with("Cookie", cookies[0].Name+"="+cookies[0].Value), true},
		{"another cookie", closed, here, with("Cookie", cookies[0].Name+"=x"), false},
		{"this machine, where there is no token", local, here, nil, true},
		{"another machine, where there is no token", local, elsewhere, nil, false},
		{"by a proxy on this machine", local, here, with("X-Forwarded-For", "192.0.2.1"), false},
		{"an empty token where there is none", local, elsewhere, with("Authorization", "Bearer "), false},
	} {
		r := httptest.NewRequest("GET", "http://localhost/", nil)
		r.RemoteAddr = test.from
		if test.change != nil {
			test.change(r)
		}
		if got := test.s.isStaff(r); got != test.want {
			t.Errorf("%s: staff is %v, want %v", test.title, got, test.want)
		}
	}
}
