package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"example.com/library/lending"
	"example.com/library/library"
)

// ask sends the order of the page's form, and leads to the page of the order.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, l *served) {
	action := library.Action(r.PostFormValue("action"))
	if action != library.Request && action != library.Return {
		s.refuse(w, r, http.StatusBadRequest, "action is request or return")
		return
	}
	var books []string
	for line := range strings.Lines(r.PostFormValue("books")) {
		if book := strings.TrimSpace(line); book != "" {
			books = append(books, book)
		}
	}
	order, err := lending.NewOrder(action, strings.TrimSpace(r.PostFormValue("user")), books...)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, library.Plain(err.Error()))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sendPatience)
	defer cancel()
	err = l.client.Send(ctx, order)
	switch {
	case errors.Is(err, lending.ErrBusy):
		w.Header().Set("Retry-After", "1")
		s.refuse(w, r, http.StatusTooManyRequests, library.Plain(err.Error()))
		return
	case err != nil && !errors.Is(err, lending.ErrUnknown): // that one may have been sent, and its page will tell
		s.refuse(w, r, http.StatusServiceUnavailable, library.Plain(err.Error()))
		return
	}
	page := pagePath("orders", order.ID, l.Keys.Library)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		s.writeJSON(w, http.StatusAccepted, map[string]string{"id": order.ID, "page": page})
		return
	}
	http.Redirect(w, r, page, http.StatusSeeOther)
}
