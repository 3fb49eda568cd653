package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"example.com/library/library"
	"example.com/library/status"
)

const (
	// stateAge is how old the state may be that is shown: it is read a few times a second at
	// most, however many look.
	stateAge = 400 * time.Millisecond
	// statePatience is how long Redis may take to tell it.
	statePatience = 2 * time.Second
)

func (s *Server) stateRoutes(mux *http.ServeMux) {
	mux.Handle("GET /state", s.guard(anyone, s.showState))
	mux.Handle("GET /samples", s.answered(anyone, s.showSamples))
}

func (s *Server) showState(w http.ResponseWriter, r *http.Request, l *served) {
	s.writeJSON(w, http.StatusOK, l.state.now(r.Context()))
}

// A seen state is what was so in a library when somebody looked last.
type seen struct {
	// At is when it was read.
	At time.Time `json:"at"`
	// Status is what was read; if nothing could be read now what was read before; nil if
	// nothing ever was.
	Status *status.Status `json:"status"`
	// Error says why some of it could not be read now, or is empty.
	Error string `json:"error,omitempty"`
}

// A state reads the present state of a library once for all who look, and only when
// somebody does.
type state struct {
	look func(context.Context) (*status.Status, error)

	mu   sync.Mutex // held while one reads and the others wait
	last seen
	read time.Time // when it was tried last
}

func newState(l Library) *state {
	return &state{look: func(ctx context.Context) (*status.Status, error) { return status.Look(ctx, l.Redis, l.Keys) }}
}

// now is the state, at most stateAge old.
func (s *state) now(ctx context.Context) seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.read) < stateAge {
		return s.last
	}
	// Others wait for this too, so it is read whoever of them gives up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statePatience)
	defer cancel()
	found, err := s.look(ctx)
	s.read = time.Now()
	switch {
	case err == nil:
		s.last = seen{At: time.Now().UTC(), Status: found}
	case len(found.Streams) > 0: // a part of it could be read
		s.last = seen{At: time.Now().UTC(), Status: found, Error: library.Plain(err.Error())}
	default:
		s.last.Error = library.Plain(err.Error())
	}
	return s.last
}
