package lending

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"example.com/library/library"
	"example.com/library/scripts"
	"example.com/library/stream"
)

// Config says how a service lends.
type Config struct {
	stream.Config
	// LoansMax is how many books a user may hold, 1 to 100. Default: 5.
	LoansMax int
	// LoanTime is how long a loan lasts, 1 day to 3650 days. Default: 28 days.
	LoanTime time.Duration
	// FrontMax is how many books front storage has room for, 0 to 1,000,000. Default: 20.
	FrontMax int
}

// A book's demand counts half after this many asks for each place in front
// storage, but never sooner than demandHalfMin: enough asks to tell the favourites
// apart, few enough to follow when they change.
const (
	demandHalfPerPlace = 20
	demandHalfMin      = 1000
	// demandPerPlace is for how many books demand is remembered, for each place in
	// front storage, but at least demandMin.
	demandPerPlace = 10
	demandMin      = 1000
)

// callBooksMax is how many books one script call may carry: Lua passes at most
// 7,999 values to a command.
const callBooksMax = 2000

// A Service is the lending service, as one instance runs it.
type Service struct {
	config Config
	keys   keys
}

// NewService makes a service. Nothing happens before its inboxes are read.
func NewService(config Config) *Service {
	return &Service{config: config, keys: keys{config.Keys}}
}

// Prepare makes the streams the service reads or appends to, where they are
// missing, and publishes the terms it lends by.
func (s *Service) Prepare(ctx context.Context) error {
	if err := stream.EnsureAll(ctx, s.config.Redis, s.config.Keys); err != nil {
		return err
	}
	return s.config.Redis.HSet(ctx, s.keys.terms(),
		"loans_max", s.config.LoansMax, "loan_ms", s.config.LoanTime.Milliseconds(), "front_max", s.config.FrontMax).Err()
}

// Inboxes are the streams the service reads, and what it does with them.
func (s *Service) Inboxes() []stream.Inbox {
	inbox := func(key string, handle func(context.Context, []stream.Entry) ([]stream.Rejection, error), reject func(stream.Entry, string) stream.Rejection) stream.Inbox {
		return stream.Inbox{
			Service: library.Lending, Stream: key, Batch: 128, Batches: 4,
			Prepare: s.Prepare, Handle: handle, Reject: reject,
		}
	}
	return []stream.Inbox{
		inbox(s.keys.Requests(), s.Lend, s.rejectOrder(Request)),
		inbox(s.keys.Returns(), s.Return, s.rejectOrder(Return)),
		inbox(s.keys.Deliveries(), s.Deliver, stream.Reject),
	}
}

// Lend decides a batch of requests, see lend.lua. It returns the entries that
// cannot be understood.
func (s *Service) Lend(ctx context.Context, batch []stream.Entry) ([]stream.Rejection, error) {
	fixed := []string{
		s.config.Instance.Key(), s.keys.Requests(), s.keys.loans(), s.keys.fetching(), s.keys.front(),
		s.keys.demand(), s.keys.clock(), s.keys.Fetches(), s.keys.Events(),
	}
	return s.decide(ctx, Request, batch, func(keys []string, args []any) ([]string, error) {
		return scripts.Lend.Run(ctx, s.config.Redis, append(fixed, keys...), append([]any{
			batch[0].Token, s.config.Instance.Name(), library.Lending,
			s.config.LoansMax, s.config.LoanTime.Milliseconds(), s.config.ReceiptTTL.Milliseconds(), s.config.LogMax,
			max(demandMin, demandPerPlace*s.config.FrontMax), max(demandHalfMin, demandHalfPerPlace*s.config.FrontMax),
			s.keys.bells(),
		}, args...)...).StringSlice()
	})
}

// Return decides a batch of returns, see return.lua. It returns the entries that
// cannot be understood.
func (s *Service) Return(ctx context.Context, batch []stream.Entry) ([]stream.Rejection, error) {
	fixed := []string{
		s.config.Instance.Key(), s.keys.Returns(), s.keys.loans(), s.keys.fetching(), s.keys.front(),
		s.keys.demand(), s.keys.Stores(), s.keys.Events(),
	}
	return s.decide(ctx, Return, batch, func(keys []string, args []any) ([]string, error) {
		return scripts.Return.Run(ctx, s.config.Redis, append(fixed, keys...), append([]any{
			batch[0].Token, s.config.Instance.Name(), library.Lending,
			s.config.FrontMax, s.config.ReceiptTTL.Milliseconds(), s.config.LogMax, s.keys.bells(),
		}, args...)...).StringSlice()
	})
}

// decide reads a batch's orders and has a script decide them, in as few calls as
// the script can carry. Orders that an earlier call decided are repeats in the next.
func (s *Service) decide(ctx context.Context, action Action, batch []stream.Entry, call func(keys []string, args []any) ([]string, error)) ([]stream.Rejection, error) {
	var (
		rejections []stream.Rejection
		orders     []placed
		keys       []string
		args       []any
		books      int
	)
	flush := func() error {
		if len(orders) == 0 {
			return nil
		}
		replies, err := call(keys, args)
		if err != nil {
			return fmt.Errorf("decide a %s: %w", action, err)
		}
		for i, reply := range replies {
			s.logDecision(orders[i], reply)
		}
		orders, keys, args, books = nil, nil, nil, 0
		return nil
	}
	for _, entry := range batch {
		order, err := readOrder(action, entry)
		if err != nil {
			rejections = append(rejections, s.rejection(order, err.Error()))
			continue
		}
		if books+len(order.Books) > callBooksMax {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		orders = append(orders, order)
		keys = append(keys, s.keys.receipt(order.ID), s.keys.card(order.User))
		args = append(args, entry.ID, order.ID, order.User, order.bell, len(order.Books))
		for _, book := range order.Books {
			args = append(args, book)
		}
		books += len(order.Books)
	}
	return rejections, flush()
}

func (s *Service) logDecision(order placed, reply string) {
	if reply == "repeat" {
		s.config.Log.Debug("repeat", "action", order.Action, "user", order.User, "id", order.ID)
		return
	}
	receipt, err := parseReceipt(reply)
	if err != nil {
		s.config.Log.Error("a script's receipt cannot be read", "id", order.ID, "error", library.Plain(err.Error()))
		return
	}
	s.config.Log.Info(string(receipt.Action), "outcome", receipt.Outcome, "user", receipt.User, "books", receipt.Summary(), "id", receipt.ID)
}

func (s *Service) rejectOrder(action Action) func(stream.Entry, string) stream.Rejection {
	return func(entry stream.Entry, reason string) stream.Rejection {
		order, _ := readOrder(action, entry)
		return s.rejection(order, reason)
	}
}

// rejection sets an order aside, with a receipt that says so if its id is known.
func (s *Service) rejection(order placed, reason string) stream.Rejection {
	rejection := stream.Reject(order.entry, reason)
	if order.ID == "" {
		return rejection
	}
	user := order.User
	if library.CheckName("user", user) != nil {
		user = ""
	}
	text, err := json.Marshal(Receipt{ID: order.ID, Action: order.Action, User: user, Outcome: Rejected, Reason: rejection.Reason, Books: []Line{}})
	if err != nil {
		panic(err) // a struct of texts always marshals
	}
	rejection.ReceiptKey, rejection.Receipt = s.keys.receipt(order.ID), string(text)
	if order.bell != "" {
		rejection.Bell = s.keys.bells() + order.bell
	}
	return rejection
}

// Deliver notes that a batch of books came from the shelves, see deliver.lua. It
// returns the entries that cannot be understood, or do not fit the loans.
func (s *Service) Deliver(ctx context.Context, batch []stream.Entry) ([]stream.Rejection, error) {
	parcels, rejections := stream.ReadParcels(batch, true)
	if len(parcels) == 0 {
		return rejections, nil
	}
	keys := []string{
		s.config.Instance.Key(), s.keys.Deliveries(), s.keys.loans(), s.keys.fetching(), s.keys.front(), s.keys.Stores(), s.keys.Events(),
	}
	args := []any{batch[0].Token, s.config.Instance.Name(), library.Lending, s.config.LogMax, s.keys.bells()}
	for _, parcel := range parcels {
		args = append(args, parcel.Entry.ID, parcel.Request, parcel.Book)
	}
	replies, err := scripts.Deliver.Run(ctx, s.config.Redis, keys, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	for i, reply := range replies {
		parcel := parcels[i]
		var word, user string
		if pair, ok := reply.([]any); ok && len(pair) == 2 {
			word, _ = pair[0].(string)
			user, _ = pair[1].(string)
		}
		switch word {
		case "delivered", "sent_back":
			s.config.Log.Info(word, "user", user, "book", parcel.Book, "id", parcel.Request)
		case "conflict":
			rejections = append(rejections, stream.Reject(parcel.Entry, "nobody waits for this book: it is in a user's hands or in front storage"))
		case "gone":
			s.config.Log.Debug("handled before", "stream", s.keys.Deliveries(), "entry", parcel.Entry.ID)
		}
	}
	return rejections, nil
}
