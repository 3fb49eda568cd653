package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"example.com/library/audit"
	"example.com/library/library"
)

const (
	// auditEvery is how old an audit may be that is shown, where the log is so short that
	// it is made again unasked.
	auditEvery = time.Minute
	// auditLogMax is how many entries such a log has at most.
	auditLogMax = 20_000
	// auditPatience is how long an audit may take.
	auditPatience = 5 * time.Minute
	// findingsMax is how many findings are shown.
	findingsMax = 20
)

func (s *Server) auditRoutes(mux *http.ServeMux) {
	mux.Handle("GET /audit", s.guard(anyone, s.showAudit))
	mux.Handle("POST /audit", s.guard(staff, func(w http.ResponseWriter, r *http.Request, l *served) {
		l.audit.begin(l, true)
		s.showAudit(w, r, l)
	}))
}

// An audited library is what an audit found.
type audited struct {
	At time.Time `json:"at,omitzero"`
	// Running says that one is under way.
	Running bool `json:"running"`
	// Long says that the log is too long to be audited unasked.
	Long bool `json:"long"`
	// Facts is how many were compared with the log, and Wrong how many are not as it says.
	Facts int `json:"facts"`
	Wrong int `json:"wrong"`
	// Findings are the first of these, for staff.
	Findings []string `json:"findings,omitempty"`
	Error    string   `json:"error,omitempty"`
}

// An auditor audits a library for all who look, one audit at a time.
type auditor struct {
	mu   sync.Mutex
	last audited
}

func (s *Server) showAudit(w http.ResponseWriter, r *http.Request, l *served) {
	length, err := l.Redis.XLen(r.Context(), l.Keys.Events()).Result()
	if err == nil && length <= auditLogMax {
		l.audit.begin(l, false)
	}
	l.audit.mu.Lock()
	shown := l.audit.last
	l.audit.mu.Unlock()
	shown.Long = length > auditLogMax
	if !s.isStaff(r) {
		shown.Findings = nil // they name users
	}
	s.writeJSON(w, http.StatusOK, shown)
}

// begin begins an audit, unless one is under way, or the last is young and now does not
// ask for one.
func (a *auditor) begin(l *served, now bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last.Running || !now && time.Since(a.last.At) < auditEvery {
		return
	}
	a.last.Running = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
		defer cancel()
		report, err := audit.Check(ctx, audit.Config{Redis: l.Redis, Keys: l.Keys})
		found := audited{At: time.Now().UTC()}
		if err != nil {
			found.Error = library.Plain(err.Error())
		} else {
			found.Facts = report.Events + report.Orders + report.Loans + report.Cards + report.Front + report.Out + report.Receipts
			found.Wrong = len(report.Findings) + report.FindingsMore
			for _, finding := range report.Findings[:min(len(report.Findings), findingsMax)] {
				found.Findings = append(found.Findings, finding.String())
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.last = found
	}()
}
