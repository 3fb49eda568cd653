package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

// readyPatience is how long a check may take.
const readyPatience = 2 * time.Second

// Alive answers /healthz: the process runs, whatever becomes of Redis.
func Alive() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
}

// A Check tells why a process cannot do its work now; nil if it can.
type Check func(ctx context.Context) error

// Ready answers /readyz: 200 if all checks pass, else 503 with the reasons, one a line.
func Ready(checks ...Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyPatience)
		defer cancel()
		failed := make([]error, len(checks))
		done := make(chan struct{})
		for i, check := range checks {
			go func() {
				failed[i] = check(ctx)
				done <- struct{}{}
			}()
		}
		for range checks {
			<-done
		}
		if err := errors.Join(failed...); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	fmt.Fprintln(w, text)
}

// RedisAnswers checks that the server that has a library answers.
func RedisAnswers(rdb redis.UniversalClient, keys library.Keys) Check {
	return func(ctx context.Context) error {
		if err := redisconn.Ping(ctx, rdb, keys); err != nil {
			return fmt.Errorf("library %s: Redis does not answer: %s", keys.Library, library.Plain(err.Error()))
		}
		return nil
	}
}
