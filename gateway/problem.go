package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
)

// A problem is an error as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// refuse answers with an error: a person with a page, a program with problem details.
// detail is a sentence for the reader, and holds nothing unescaped of what was asked.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	told := problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.render(w, r, status, "problem.html", told)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(told) // the client may be gone
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client may be gone
}
