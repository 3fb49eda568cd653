package lending

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"
	"example.com/library/worker"

	"github.com/redis/go-redis/v9"
)

// Config says how a service lends.
type Config struct {
	worker.Config
	// Terms are what the library's terms become where it has none yet. Default:
	// library.DefaultTerms.
	Terms library.Terms
	// Decided is called with every answer to an order, for figures: the outcome, or "repeat"
	// without lines. Several goroutines call it at once. Default: nothing is called.
	Decided func(action library.Action, outcome string, lines []library.Line)
}

// A loan counts half for a book's demand after this many loans for each place in
// front storage, but never sooner than demandHalfMin: enough to tell the favourites
// apart, few enough to follow when they change. docs/performance.md has the measurement.
const (
	demandHalfPerPlace = 50
	demandHalfMin      = 1000
	// demandPerPlace is for how many books demand is noted, for each place in front
	// storage but at least demandMin, before older notes fade.
	demandPerPlace = 10
	demandMin      = 1000
)

// How much of the server's memory may be used, in percent. From RequestsMemoryMax on requests
// wait; orders that nobody has read are given up from that of their inbox on.
const (
	RequestsMemoryMax = 90
	returnsMemoryMax  = 95
)

// A Service is the lending service, as one instance runs it.
type Service struct {
	config Config
	keys   keys
	now    atomic.Pointer[knownTerms] // nil until they were read
}

// NewService makes a service. Nothing happens before its inboxes are read.
func NewService(config Config) *Service {
	if config.Terms == (library.Terms{}) {
		config.Terms = library.DefaultTerms()
	}
	return &Service{config: config, keys: keys{config.Keys}}
}

// Prepare makes the streams the service reads or appends to, and the library's terms,
// where they are missing. Its error may wrap library.ErrTerms.
func (s *Service) Prepare(ctx context.Context) error {
	if err := worker.EnsureAll(ctx, s.config.Redis, s.config.Keys); err != nil {
		return err
	}
	_, err := s.readTerms(ctx)
	return err
}

// Inboxes are the streams the service reads, and what it does with them.
func (s *Service) Inboxes() []worker.Inbox {
	inbox := func(key string, handle func(context.Context, []worker.Entry) ([]worker.Rejection, error), reject func(worker.Entry, string) worker.Rejection) worker.Inbox {
		return worker.Inbox{
			Service: library.Lending, Stream: key, Batch: 128, Batches: 4,
			Prepare: s.Prepare, Handle: handle, Reject: reject,
		}
	}
	deliveries := inbox(s.keys.Deliveries(), s.Deliver, worker.Reject)
	deliveries.Batch, deliveries.Patient = worker.ParcelsBatch, true
	requests := inbox(s.keys.Requests(), s.Lend, s.rejectOrder(library.Request))
	returns := inbox(s.keys.Returns(), s.Return, s.rejectOrder(library.Return))
	// What is left free is for returns, which end loans.
	requests.MemoryMax, requests.Waits, requests.UnreadMax = RequestsMemoryMax, true, UnreadMax
	returns.MemoryMax, returns.UnreadMax = returnsMemoryMax, UnreadMax
	return []worker.Inbox{requests, returns, deliveries}
}

// Lend decides a batch of requests, see lend.lua. It returns the entries that
// cannot be understood.
func (s *Service) Lend(ctx context.Context, batch []worker.Entry) ([]worker.Rejection, error) {
	return s.decide(ctx, library.Request, batch, scripts.Lend, []string{
		s.config.Instance.Key(), s.keys.Requests(), s.keys.Terms(), s.keys.loans(), s.keys.fetching(), s.keys.front(),
		s.keys.receipts(), s.keys.olderReceipts(), s.keys.page(), s.keys.Fetches(), s.keys.Events(),
	}, func(t *knownTerms) []any {
		return []any{t.LoansMax, t.day.fromMS, t.day.untilMS, t.day.stamp(), t.ReceiptMS, t.LogMax}
	})
}

// Return decides a batch of returns, see return.lua. It returns the entries that
// cannot be understood.
func (s *Service) Return(ctx context.Context, batch []worker.Entry) ([]worker.Rejection, error) {
	return s.decide(ctx, library.Return, batch, scripts.Return, []string{
		s.config.Instance.Key(), s.keys.Returns(), s.keys.Terms(), s.keys.loans(), s.keys.fetching(), s.keys.front(), s.keys.demand(), s.keys.faded(), s.keys.clock(),
		s.keys.receipts(), s.keys.olderReceipts(), s.keys.page(), s.keys.Stores(), s.keys.Events(),
	}, func(t *knownTerms) []any {
		demandHalf, demandMax := max(demandHalfMin, demandHalfPerPlace*t.FrontMax), max(demandMin, demandPerPlace*t.FrontMax)
		return []any{t.FrontMax, demandHalf, demandMax, t.ReceiptMS, t.LogMax}
	})
}

// decide reads a batch's orders and has a script decide them, in as few calls as the
// script can carry. Orders that an earlier call decided are repeats in the next. reckon
// has what follows from the library's terms.
func (s *Service) decide(ctx context.Context, action library.Action, batch []worker.Entry, script *redis.Script, fixed []string, reckon func(*knownTerms) []any) ([]worker.Rejection, error) {
	var (
		rejections []worker.Rejection
		orders     []placed
		books      int
	)
	flush := func() error {
		if len(orders) == 0 {
			return nil
		}
		keys := append(make([]string, 0, len(fixed)+len(orders)), fixed...)
		args := append(make([]any, 0, 3+6*len(orders)+books), s.keys.bells(), len(orders))
		counts, asking := make([]byte, len(orders)), []any{}
		for i, order := range orders {
			counts[i] = byte(len(order.Books)) // at most library.BooksMax
			if order.bell != "" {
				asking = append(asking, i+1, order.bell)
			}
		}
		args = append(append(args, counts, len(asking)/2), asking...)
		for _, column := range []func(placed) any{
			func(o placed) any { return o.entry.ID },
			func(o placed) any { return o.ID },
			func(o placed) any { return o.User },
			func(o placed) any { return o.slip() },
		} {
			for _, order := range orders {
				args = append(args, column(order))
			}
		}
		for _, order := range orders {
			keys = append(keys, s.keys.card(order.User))
			for _, book := range order.Books {
				args = append(args, book)
			}
		}
		var replies []string
		err := s.byTerms(ctx, func(t *knownTerms) (err error) {
			head := append([]any{batch[0].Token, s.config.Instance.Name(), library.Lending, t.Version}, reckon(t)...)
			replies, err = script.Run(ctx, redisconn.Regardless(s.config.Redis), keys, append(head, args...)...).StringSlice()
			return err
		})
		if err != nil {
			return fmt.Errorf("decide a %s: %w", action, err)
		}
		for i, reply := range replies {
			s.tell(orders[i], reply)
		}
		orders, books = orders[:0], 0
		return nil
	}
	for _, entry := range batch {
		order, err := readOrder(action, entry)
		if err != nil {
			rejections = append(rejections, s.rejection(order, err.Error()))
			continue
		}
		if books+len(order.Books) > worker.CallBooksMax {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		orders = append(orders, order)
		books += len(order.Books)
	}
	return rejections, flush()
}

// tell tells the log and those who count what a script answered to an order: "repeat", or
// the outcome and a word for each book.
func (s *Service) tell(order placed, reply string) {
	outcome, words, _ := strings.Cut(reply, " ")
	var lines []library.Line
	if outcome != "repeat" {
		lines = library.ReadLines(order.Books, strings.Split(words, " "), 0)
	}
	if s.config.Decided != nil {
		s.config.Decided(order.Action, outcome, lines)
	}
	if outcome == "repeat" {
		s.config.Log.Debug("repeat", "action", order.Action, "user", order.User, "id", order.ID)
		return
	}
	s.config.Log.Info(string(order.Action), "outcome", outcome, "user", order.User,
		"books", loggedLines(lines), "id", order.ID)
}

// loggedLines are a sentence in a log of text, and a list in one of JSON.
type loggedLines []library.Line

func (l loggedLines) String() string { return library.Summary(l) }

// LogValue is what a JSON log has.
func (l loggedLines) LogValue() slog.Value { return slog.AnyValue([]library.Line(l)) }

func (s *Service) rejectOrder(action library.Action) func(worker.Entry, string) worker.Rejection {
	return func(entry worker.Entry, reason string) worker.Rejection {
		order, _ := readOrder(action, entry)
		return s.rejection(order, reason)
	}
}

// rejection sets an order aside, with a receipt that says so if its id is known.
func (s *Service) rejection(order placed, reason string) worker.Rejection {
	rejection := worker.Reject(order.entry, reason)
	if order.ID == "" {
		return rejection
	}
	rejection.Request, rejection.Receipt = order.ID, order.rejected(rejection.Reason)
	rejection.Pages = []string{s.keys.receipts(), s.keys.olderReceipts(), s.keys.page()}
	if order.bell != "" {
		rejection.Bell = s.keys.bells() + order.bell
	}
	return rejection
}

// Deliver notes that a batch of books came from the shelves, see deliver.lua. It
// returns the entries that cannot be understood, or do not fit the loans.
func (s *Service) Deliver(ctx context.Context, batch []worker.Entry) ([]worker.Rejection, error) {
	parcels, rejections := worker.ReadParcels(batch, worker.ReadOrders)
	keys := []string{
		s.config.Instance.Key(), s.keys.Deliveries(), s.keys.loans(), s.keys.fetching(), s.keys.front(), s.keys.Stores(), s.keys.Events(),
	}
	for call := range worker.Calls(parcels) {
		args := []any{batch[0].Token, s.config.Instance.Name(), library.Lending, s.keys.bells()}
		for _, parcel := range call {
			args = append(args, parcel.Entry.ID, len(parcel.Orders))
			for _, order := range parcel.Orders {
				args = append(args, order.Request, order.Book)
			}
		}
		replies, err := scripts.Deliver.Run(ctx, redisconn.Regardless(s.config.Redis), keys, args...).StringSlice()
		if err != nil {
			return nil, fmt.Errorf("deliver: %w", err)
		}
		for _, parcel := range call {
			words, users := make([]string, len(parcel.Orders)), make([]string, len(parcel.Orders))
			for i := range parcel.Orders {
				words[i], users[i] = replies[0], replies[1]
				replies = replies[2:]
			}
			if words[0] == "conflict" {
				rejections = append(rejections, worker.Reject(parcel.Entry, "nobody waits for this book: it is in a user's hands or in front storage"))
			} else {
				parcel.Tell(s.config.Config, words, users)
			}
		}
	}
	return rejections, nil
}
