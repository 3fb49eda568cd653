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
func (s *Server) ask(w http.ResponseWriter, r *http.Request, l *served) error {
	var books []string
	for line := range strings.Lines(r.PostFormValue("books")) {
		if book := strings.TrimSpace(line); book != "" {
			books = append(books, book)
		}
	}
	order, err := lending.NewOrder(library.Action(r.PostFormValue("action")), strings.TrimSpace(r.PostFormValue("user")), books...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), sendPatience)
	defer cancel()
	// One that may have been sent has a page, which will tell.
	if err := l.client.Send(ctx, order); err != nil && !errors.Is(err, lending.ErrUnknown) {
		return err
	}
	page := pagePath("orders", order.ID, l.Keys.Library)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		s.writeJSON(w, http.StatusAccepted, map[string]string{"id": order.ID, "page": page})
	} else {
		http.Redirect(w, r, page, http.StatusSeeOther)
	}
	return nil
}
