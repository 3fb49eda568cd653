package gateway

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/status"
)

//go:embed page
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"page":  pagePath,
	"plain": library.Plain,
	"inbox": func(stream string) string { _, inbox, _ := strings.Cut(stream, ":"); return inbox },
	"age": func(d time.Duration) string {
		if d == 0 {
			return "–"
		}
		return d.Round(100 * time.Millisecond).String()
	},
	"where": func(place lending.Place) string { return places[place] },
	// A date as the library's calendar shows it: t is in its time zone.
	"day": func(t time.Time) string { return t.Format("2 Jan 2006") },
}).ParseFS(files, "page/*.html"))

// places are where a book can be, in words.
var places = map[lending.Place]string{
	lending.InFront: "in front storage", lending.IsLent: "lent", lending.OnWay: "lent, and on its way from the shelves",
	status.OnShelves: "on the shelves", status.ToShelves: "on its way to the shelves",
}

func (s *Server) pageRoutes(mux *http.ServeMux) {
	mux.Handle("GET /{$}", s.guard(anyone, s.showPage))
	mux.Handle("POST /ask", s.answered(staff, s.ask))
	mux.Handle("GET /find", s.guard(staff, s.find))
	for kind, show := range map[string]answer{"users": s.showUser, "books": s.showBook, "orders": s.showOrder} {
		mux.Handle("GET /"+kind+"/{name}", s.answered(staff, show))
		mux.Handle("GET /"+kind+"/{$}", s.answered(staff, show))
	}
	mux.Handle("GET /rejected", s.answered(staff, s.showRejected))
	assets, err := fs.Sub(files, "page/assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", http.FileServerFS(assets)))
}

// A view is what every page is told.
type view struct {
	Library   string
	Libraries []string
	Staff     bool // whoever looks may see names
	Signs     bool // there is a token to sign in by
	Body      any  // what this page alone is told
}

// pagePath is the address of the page of a user, a book or an order. Browsers and servers
// take dots for a step up the path, however they are escaped.
func pagePath(kind, name, library string) string {
	if name == "." || name == ".." {
		return "/" + kind + "/?" + url.Values{"name": {name}, "library": {library}}.Encode()
	}
	return "/" + kind + "/" + url.PathEscape(name) + "?library=" + url.QueryEscape(library)
}

// nameOf is the name in such an address.
func nameOf(r *http.Request) string {
	if name := r.PathValue("name"); name != "" {
		return name
	}
	return r.URL.Query().Get("name")
}

// showPage shows what is so now, and what happens.
func (s *Server) showPage(w http.ResponseWriter, r *http.Request, l *served) {
	s.render(w, r, http.StatusOK, "page.html", l.state.now(r.Context()))
}

// find leads to the page of what somebody looks for. An order is known by its receipt, and
// a user by a card; everything else is the name of a book.
func (s *Server) find(w http.ResponseWriter, r *http.Request, l *served) {
	text := strings.TrimSpace(r.URL.Query().Get("q"))
	ctx, cancel := context.WithTimeout(r.Context(), lookPatience)
	defer cancel()
	kind := "books"
	if _, err := l.client.Receipt(ctx, text); err == nil {
		kind = "orders"
	} else if card, err := l.client.Card(ctx, text); err == nil && len(card.Loans) > 0 {
		kind = "users"
	}
	http.Redirect(w, r, pagePath(kind, text, l.Keys.Library), http.StatusSeeOther)
}

func (s *Server) showUser(w http.ResponseWriter, r *http.Request, l *served) error {
	return s.showFound(w, r, "user.html", func(ctx context.Context) (any, error) { return l.client.Card(ctx, nameOf(r)) })
}

func (s *Server) showBook(w http.ResponseWriter, r *http.Request, l *served) error {
	return s.showFound(w, r, "book.html", func(ctx context.Context) (any, error) {
		return status.Book(ctx, l.client, l.Redis, l.Keys, nameOf(r))
	})
}

// An orderView is an order's id, and its receipt if it has one.
type orderView struct {
	ID      string
	Receipt *library.Receipt
}

func (s *Server) showOrder(w http.ResponseWriter, r *http.Request, l *served) error {
	return s.showFound(w, r, "order.html", func(ctx context.Context) (any, error) {
		order := orderView{ID: nameOf(r)}
		var err error
		order.Receipt, err = l.client.Receipt(ctx, order.ID)
		if errors.Is(err, lending.ErrNoReceipt) || errors.Is(err, lending.ErrUnknown) {
			err = nil // it is not decided yet, or was long ago: what the log has is shown
		}
		return order, err
	})
}

func (s *Server) showRejected(w http.ResponseWriter, r *http.Request, l *served) error {
	return s.showFound(w, r, "rejected.html", func(ctx context.Context) (any, error) { return l.rejected(ctx, rejectedMax) })
}

// showFound shows a page of what a look-up finds in time.
func (s *Server) showFound(w http.ResponseWriter, r *http.Request, name string, look func(context.Context) (any, error)) error {
	ctx, cancel := context.WithTimeout(r.Context(), lookPatience)
	defer cancel()
	found, err := look(ctx)
	if err == nil {
		s.render(w, r, http.StatusOK, name, found)
	}
	return err
}

// render answers with a page. It is made in full first, so that no half of one is sent.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, body any) {
	shown := view{Staff: s.isStaff(r), Signs: s.config.Token != "", Body: body}
	for _, library := range s.libraries {
		shown.Libraries = append(shown.Libraries, library.Keys.Library)
	}
	if l := s.meant(r); l != nil {
		shown.Library = l.Keys.Library
	}
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, shown); err != nil {
		s.config.Log.Error("a page cannot be made", "page", name, "error", err)
		http.Error(w, "this page cannot be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // the browser may be gone
}
