package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/library/internal/redistest"
	"example.com/library/redisconn"
)

func TestReadyNamesEachCheckThatFails(t *testing.T) {
	fine := func(context.Context) error { return nil }
	fails := func(why string) Check { return func(context.Context) error { return errors.New(why) } }
	for _, test := range []struct {
		checks []Check
		code   int
		text   string
	}{
		{nil, http.StatusOK, "ready\n"},
		{[]Check{fine, fine}, http.StatusOK, "ready\n"},
		{[]Check{fails("the name is not held"), fine, fails("no answer")}, http.StatusServiceUnavailable, "the name is not held\nno answer\n"},
		{[]Check{func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, http.StatusServiceUnavailable, context.DeadlineExceeded.Error() + "\n"},
	} {
		answer := httptest.NewRecorder()
		Ready(test.checks...).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if answer.Code != test.code || answer.Body.String() != test.text {
			t.Errorf("it answers %d %q, want %d %q", answer.Code, answer.Body, test.code, test.text)
		}
	}
}

func TestRedisAnswersTellsWhetherItDoes(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "right")
	rdb, err := redisconn.Connect(redisconn.Options{Address: server.URL(), Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	check := RedisAnswers(rdb, keys)
	if err := check(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("with a wrong password it says %v", err)
	}
	server = redistest.Start(t)
	check = RedisAnswers(server.Client(t), keys)
	if err := check(t.Context()); err != nil {
		t.Errorf("a server that runs is told as %v", err)
	}
	server.Kill(t)
	if err := check(t.Context()); err == nil || !strings.Contains(err.Error(), "library main: Redis does not answer") {
		t.Errorf("a server that is away is told as %v", err)
	}
}
