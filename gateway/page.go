package gateway

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
)

//go:embed page
var files embed.FS

var templates = template.Must(template.ParseFS(files, "page/*.html"))

func (s *Server) pageRoutes(mux *http.ServeMux) {
	mux.Handle("GET /{$}", s.guard(anyone, s.showPage))
	assets, err := fs.Sub(files, "page/assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", http.FileServerFS(assets)))
}

// A view is what every page is told.
type view struct {
	Libraries []string
	Staff     bool // whoever looks may see names
	Signs     bool // there is a token to sign in by
	Body      any  // what this page alone is told
}

func (s *Server) showPage(w http.ResponseWriter, r *http.Request, l *served) {
	s.render(w, r, http.StatusOK, "page.html", l.state.now(r.Context()))
}

// render answers with a page. It is made in full first, so that no half of one is sent.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, body any) {
	told := view{Staff: s.isStaff(r), Signs: s.config.Token != "", Body: body}
	for _, library := range s.libraries {
		told.Libraries = append(told.Libraries, library.Keys.Library)
	}
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, told); err != nil {
		s.config.Log.Error("a page cannot be made", "page", name, "error", err)
		http.Error(w, "this page cannot be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // the browser may be gone
}
