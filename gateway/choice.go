package gateway

import (
	"errors"
	"net/http"
	"time"

	"example.com/library/events"
	"example.com/library/library"
)

var errSince = errors.New("since is a time ago such as 10m, a time such as 2026-12-24T18:00:00Z, 0, or an id of the log")

// readChoice reads which events a client wants, and after which position; now says that it
// wants what happens from now on. Last-Event-ID is how a browser says where it was.
func readChoice(r *http.Request) (wanted choice, at position, now bool, err error) {
	asked := r.URL.Query()
	wanted = choice{user: asked.Get("user"), book: asked.Get("book"), event: asked.Get("event"), order: asked.Get("order")}
	if wanted.user != "" {
		if wanted.user, err = library.CleanName("user", wanted.user); err != nil {
			return wanted, at, false, err
		}
	}
	if wanted.book != "" {
		if wanted.book, err = library.CleanName("book", wanted.book); err != nil {
			return wanted, at, false, err
		}
	}
	since := r.Header.Get("Last-Event-ID")
	if since == "" {
		since = asked.Get("since")
	}
	if since == "" {
		return wanted, at, true, nil
	}
	if since == "0" {
		return wanted, at, false, nil
	}
	if at, ok := parsePosition(since); ok {
		return wanted, at, false, nil
	}
	moment, err := time.Parse(time.RFC3339, since)
	if ago, wrong := time.ParseDuration(since); wrong == nil && ago >= 0 {
		moment, err = time.Now().Add(-ago), nil
	}
	if err != nil {
		return wanted, at, false, errSince
	}
	at, _ = parsePosition(events.Before(moment))
	return wanted, at, false, nil
}
