package gateway

import (
	"net/http"
	"strings"

	"example.com/library/library"
)

// A problem is an error as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

func newProblem(status int, detail string) problem {
	return problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// refuse answers with an error: a person with a page, a program with problem details. Who
// asks /api is a program, whatever it says that it accepts.
// detail is a sentence for the reader, and holds nothing unescaped of what was asked.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	told := newProblem(status, detail)
	if strings.Contains(r.Header.Get("Accept"), "text/html") && !strings.HasPrefix(r.URL.Path, "/api/") {
		s.render(w, r, status, "problem.html", told)
		return
	}
	s.write(w, status, "application/problem+json", told)
}

// writeJSON answers with a value.
func (s *Server) writeJSON(w http.ResponseWriter, status int, value any) {
	s.write(w, status, "application/json", value)
}

// write answers with a value as JSON, which can be shown in a terminal.
func (s *Server) write(w http.ResponseWriter, status int, contentType string, value any) {
	text, err := library.PlainJSON(value)
	if err != nil {
		s.config.Log.Error("an answer cannot be written as JSON", "error", err)
		status, text = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may be gone
}
