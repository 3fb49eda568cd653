package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/library/explain"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/status"
	"example.com/library/worker"
)

const (
	// waitDefault and waitMax are how long an answer to an order is waited for.
	waitDefault = 10 * time.Second
	waitMax     = time.Minute
	// sendPatience is how long an order may take to reach Redis, at least.
	sendPatience = 5 * time.Second
	// lookPatience is how long a look-up may take.
	lookPatience = 5 * time.Second
	// rejectedMax is how many rejected entries one answer may hold; each has up to 64 KiB.
	rejectedDefault, rejectedMax = 100, 200
	// busyPause and awayPause are when to try again, in seconds.
	busyPause, awayPause = "5", "1"
)

// apiRoutes is what getbooks and lendingd can do, for programs that speak HTTP. openapi.json
// describes it. Answers have the words that the programs print with -o json.
func (s *Server) apiRoutes(mux *http.ServeMux) {
	route := func(path string, methods map[string]http.Handler) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			method := r.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			if handler := methods[method]; handler != nil {
				handler.ServeHTTP(w, r)
				return
			}
			var allowed []string
			for method := range methods {
				allowed = append(allowed, method)
			}
			slices.Sort(allowed)
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			s.refuse(w, r, http.StatusMethodNotAllowed, "here you can only "+strings.Join(allowed, " or "))
		})
	}
	get := func(path string, needs access, answer answer) {
		route(path, map[string]http.Handler{http.MethodGet: s.answered(needs, answer)})
	}
	route("/api/orders", map[string]http.Handler{http.MethodPost: s.answered(staff, s.placeOrder)})
	get("/api/orders/{id}", staff, s.tellOrder)
	get("/api/orders/{id}/life", staff, s.tellLife)
	get("/api/users/{name}/card", staff, s.tellCard)
	get("/api/books/{name}", staff, s.tellBook)
	get("/api/rejected", staff, s.tellRejected)
	get("/api/status", anyone, s.tellStatus)
	route("/api/openapi.json", map[string]http.Handler{http.MethodGet: http.HandlerFunc(showOpenAPI)})
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusNotFound, "there is nothing here; /api/openapi.json tells what there is")
	})
}

// An answer answers a request, or returns why it cannot.
type answer func(w http.ResponseWriter, r *http.Request, l *served) error

// answered makes a route of an answer.
func (s *Server) answered(needs access, answer answer) http.Handler {
	return s.guard(needs, func(w http.ResponseWriter, r *http.Request, l *served) {
		if err := answer(w, r, l); err != nil && r.Context().Err() == nil {
			s.fail(w, r, err)
		}
	})
}

// A failure is why a request cannot be answered, and the status that says so.
type failure struct {
	status int
	text   string
}

func (e *failure) Error() string { return e.text }

// fail answers with the problem that an error is. Only what a client can do something about
// is told; the rest is in the gateway's log.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *failure
	var large *http.MaxBytesError
	status, detail := http.StatusInternalServerError, "something is broken; the gateway's log tells what"
	switch kind := redisconn.KindOf(err); {
	case errors.As(err, &known):
		status, detail = known.status, known.text
	case errors.As(err, &large):
		status, detail = http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", large.Limit)
	case errors.Is(err, lending.ErrOrder), errors.Is(err, library.ErrName):
		status, detail = http.StatusBadRequest, err.Error()
	case errors.Is(err, lending.ErrBusy):
		w.Header().Set("Retry-After", busyPause)
		status, detail = http.StatusTooManyRequests, err.Error()
	case errors.Is(err, lending.ErrOtherOrder):
		status, detail = http.StatusConflict, err.Error()
	case errors.Is(err, explain.ErrNoTrace):
		status, detail = http.StatusNotFound, err.Error()
	case errors.Is(err, lending.ErrNotSent), kind == redisconn.Passing:
		w.Header().Set("Retry-After", awayPause)
		status, detail = http.StatusServiceUnavailable, "Redis cannot serve just now: "+err.Error()
	case kind == redisconn.Refused:
		status, detail = http.StatusServiceUnavailable, "Redis does not let the gateway do this: "+redisconn.Remedy(err)
		fallthrough
	default:
		s.config.Log.Error("a request failed", "path", library.Printable(r.URL.Path), "error", library.Plain(err.Error()))
	}
	s.refuse(w, r, status, library.Plain(detail))
}

// An apiOrder is the body of POST /api/orders.
type apiOrder struct {
	Action library.Action `json:"action"`
	User   string         `json:"user"`
	Books  []string       `json:"books"`
}

// placeOrder sends a request or a return, and waits for its receipt as long as it is told to.
func (s *Server) placeOrder(w http.ResponseWriter, r *http.Request, l *served) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		w.Header().Set("Accept-Post", "application/json")
		return &failure{http.StatusUnsupportedMediaType, "the body must be JSON, and its Content-Type application/json"}
	}
	var asked apiOrder
	if err := readJSON(r.Body, &asked); err != nil {
		return err
	}
	order, err := lending.NewOrder(asked.Action, asked.User, asked.Books...)
	if err != nil {
		return err
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		// It is a text in quotes (RFC 8941); most clients leave them out.
		if unquoted, err := strconv.Unquote(key); err == nil && key[0] == '"' {
			key = unquoted
		}
		if err := library.CheckID("Idempotency-Key", key); err != nil {
			return err
		}
		order.ID = key
	}
	wait, err := waitOf(r, waitDefault)
	if err != nil {
		return err
	}
	location := "/api/orders/" + order.ID
	if name := r.URL.Query().Get("library"); name != "" {
		location += "?" + url.Values{"library": {name}}.Encode()
	}
	receipt, err := place(r.Context(), l.client, order, wait)
	switch {
	case errors.Is(err, lending.ErrUnknown) && r.Context().Err() == nil:
		w.Header().Set("Location", location)
		s.pending(w, order.ID, order.Action, order.User)
		return nil
	case err != nil:
		return err
	}
	w.Header().Set("Location", location)
	if receipt.Outcome == library.Rejected {
		s.write(w, http.StatusUnprocessableEntity, "application/problem+json", struct {
			problem
			Receipt *library.Receipt `json:"receipt"`
		}{newProblem(http.StatusUnprocessableEntity, library.Plain("the order was set aside: "+receipt.Reason)), receipt})
		return nil
	}
	s.writeJSON(w, http.StatusOK, receipt)
	return nil
}

// place sends an order and waits for its receipt. Its error wraps lending.ErrUnknown if it
// was sent and has none yet.
func place(ctx context.Context, client *lending.Client, order lending.Order, wait time.Duration) (*library.Receipt, error) {
	err := lending.ErrNotSent
	if wait > 0 {
		waiting, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		var receipt *library.Receipt
		if receipt, err = client.Do(waiting, order); err == nil {
			return located(ctx, client, receipt), nil
		}
	}
	if errors.Is(err, lending.ErrNotSent) && wait < sendPatience {
		// Who does not wait for the answer still wants it sent.
		sending, cancel := context.WithTimeout(ctx, sendPatience)
		defer cancel()
		if err = client.Send(sending, order); err == nil {
			err = lending.ErrUnknown
		}
	}
	return nil, err
}

// located is a receipt of which it is known how far its books are; that of an order with
// none from the shelves needs no look.
func located(ctx context.Context, client *lending.Client, receipt *library.Receipt) *library.Receipt {
	if !slices.ContainsFunc(receipt.Books, func(line library.Line) bool { return line.From == library.FromShelves }) {
		return receipt
	}
	if now, err := client.Receipt(ctx, receipt.ID); err == nil {
		return now
	}
	return receipt
}

// pending answers that an order is not decided yet, as getbooks does.
func (s *Server) pending(w http.ResponseWriter, id string, action library.Action, user string) {
	w.Header().Set("Retry-After", awayPause)
	s.writeJSON(w, http.StatusAccepted, library.Receipt{ID: id, Action: action, User: user, Outcome: "unknown", Books: []library.Line{}})
}

// tellOrder answers with an order's receipt.
func (s *Server) tellOrder(w http.ResponseWriter, r *http.Request, l *served) error {
	id := r.PathValue("id")
	wait, err := waitOf(r, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait+lookPatience)
	defer cancel()
	receipt, err := l.client.Receipt(ctx, id)
	if errors.Is(err, lending.ErrNoReceipt) && wait > 0 {
		waiting, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if receipt, err = l.client.Wait(waiting, id); err == nil {
			receipt = located(ctx, l.client, receipt)
		}
	}
	if errors.Is(err, lending.ErrNoReceipt) || errors.Is(err, lending.ErrUnknown) {
		life, err := l.life(ctx, id)
		if err != nil {
			return err
		}
		if life.Receipt == nil {
			s.pending(w, id, life.Action, life.User)
			return nil
		}
		receipt = life.Receipt
	} else if err != nil {
		return err
	}
	s.writeJSON(w, http.StatusOK, receipt)
	return nil
}

// life tells an order's life, see explain.Order.
func (l *served) life(ctx context.Context, id string) (*explain.Life, error) {
	return explain.Order(ctx, l.client, l.Redis, l.Keys, id)
}

func (s *Server) tellLife(w http.ResponseWriter, r *http.Request, l *served) error {
	return s.lookUp(w, r, func(ctx context.Context) (any, error) { return l.life(ctx, r.PathValue("id")) })
}

func (s *Server) tellCard(w http.ResponseWriter, r *http.Request, l *served) error {
	return s.lookUp(w, r, func(ctx context.Context) (any, error) { return l.client.Card(ctx, r.PathValue("name")) })
}

func (s *Server) tellBook(w http.ResponseWriter, r *http.Request, l *served) error {
	return s.lookUp(w, r, func(ctx context.Context) (any, error) {
		return status.Book(ctx, l.client, l.Redis, l.Keys, r.PathValue("name"))
	})
}

// lookUp answers with what a look-up finds in time.
func (s *Server) lookUp(w http.ResponseWriter, r *http.Request, look func(context.Context) (any, error)) error {
	ctx, cancel := context.WithTimeout(r.Context(), lookPatience)
	defer cancel()
	found, err := look(ctx)
	if err == nil {
		s.writeJSON(w, http.StatusOK, found)
	}
	return err
}

func (s *Server) tellStatus(w http.ResponseWriter, r *http.Request, l *served) error {
	now := l.state.now(r.Context())
	if now.Error != "" {
		w.Header().Set("Retry-After", awayPause)
		return &failure{http.StatusServiceUnavailable, "Redis cannot serve just now: " + now.Error}
	}
	s.writeJSON(w, http.StatusOK, now.Status)
	return nil
}

// A rejectedList is the answer of GET /api/rejected.
type rejectedList struct {
	Rejected []worker.RejectedEntry `json:"rejected"`
	// More says that there are more than were asked for.
	More bool `json:"more"`
}

var errEnough = errors.New("enough")

// tellRejected answers with the oldest entries that were set aside.
func (s *Server) tellRejected(w http.ResponseWriter, r *http.Request, l *served) error {
	limit := rejectedDefault
	if text := r.URL.Query().Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > rejectedMax {
			return &failure{http.StatusBadRequest, fmt.Sprintf("limit is a number from 1 to %d", rejectedMax)}
		}
	}
	return s.lookUp(w, r, func(ctx context.Context) (any, error) { return l.rejected(ctx, limit) })
}

// rejected are the oldest entries that were set aside, service by service.
func (l *served) rejected(ctx context.Context, limit int) (rejectedList, error) {
	list := rejectedList{Rejected: []worker.RejectedEntry{}}
	for _, service := range library.Services() {
		err := worker.EachRejected(ctx, l.Redis, l.Keys, service, func(entry worker.RejectedEntry) error {
			if list.More = len(list.Rejected) == limit; list.More {
				return errEnough
			}
			list.Rejected = append(list.Rejected, entry)
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return list, err
		}
	}
	return list, nil
}

// waitOf is how long a request says that it waits, as in ?wait=2s.
func waitOf(r *http.Request, otherwise time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return otherwise, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 || wait > waitMax {
		return 0, &failure{http.StatusBadRequest, fmt.Sprintf("wait is a time from 0s to %s, such as 2s or 500ms", waitMax)}
	}
	return wait, nil
}

// readJSON reads a body that is one JSON object of the known fields.
func readJSON(body io.Reader, into any) error {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return err
	case err != nil:
		return &failure{http.StatusBadRequest, "the body is not such an object as it should be: " + err.Error()}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return &failure{http.StatusBadRequest, "the body goes on after its object"}
	}
	return nil
}
