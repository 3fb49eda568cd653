package shelving

import (
	"context"
	"fmt"
	"time"

	"example.com/library/library"
	"example.com/library/scripts"
	"example.com/library/stream"

	"github.com/redis/go-redis/v9"
)

// Config says how a service keeps the shelves.
type Config struct {
	stream.Config
	// FetchTime is how long an instance takes to fetch one book, 0 to 10 min. While
	// it walks it does not fetch another. Default: 0.
	FetchTime time.Duration
}

// A Service is the shelving service, as one instance runs it.
type Service struct {
	config Config
	keys   keys
}

// NewService makes a service. Nothing happens before its inboxes are read.
func NewService(config Config) *Service {
	return &Service{config: config, keys: keys{config.Keys}}
}

// Prepare makes the streams the service reads or appends to, where they are missing.
func (s *Service) Prepare(ctx context.Context) error {
	return stream.EnsureAll(ctx, s.config.Redis, s.config.Keys)
}

// Inboxes are the streams the service reads, and what it does with them.
func (s *Service) Inboxes() []stream.Inbox {
	inbox := func(key string, handle func(context.Context, []stream.Entry) ([]stream.Rejection, error)) stream.Inbox {
		return stream.Inbox{
			Service: library.Shelving, Stream: key, Batch: 128, Batches: 4,
			Prepare: s.Prepare, Handle: handle, Reject: stream.Reject,
		}
	}
	fetches, stores := inbox(s.keys.Fetches(), s.Fetch), inbox(s.keys.Stores(), s.Store)
	if s.config.FetchTime > 0 {
		// An instance must not hold orders that another could walk for meanwhile.
		fetches.Batch, fetches.Batches, fetches.Pace = 1, 1, s.config.FetchTime
	}
	return []stream.Inbox{fetches, stores}
}

// Fetch takes a batch of ordered books off the shelves, see fetch.lua. It
// returns the entries that cannot be understood or applied.
func (s *Service) Fetch(ctx context.Context, batch []stream.Entry) ([]stream.Rejection, error) {
	orders, rejections := stream.ReadParcels(batch, true)
	var args []any
	for _, order := range orders {
		args = append(args, order.Entry.ID, order.Request, order.Book)
	}
	words, err := s.run(ctx, scripts.Fetch, s.keys.Fetches(), batch[0].Token, args)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	for i, word := range words {
		if word == "conflict" {
			rejections = append(rejections, stream.Reject(orders[i].Entry, "the book is awaited by another request already"))
			continue
		}
		s.log(word, orders[i])
	}
	return rejections, nil
}

// Store puts a batch of books on the shelves, see store.lua. It returns the
// entries that cannot be understood or applied.
func (s *Service) Store(ctx context.Context, batch []stream.Entry) ([]stream.Rejection, error) {
	books, rejections := stream.ReadParcels(batch, false)
	var args []any
	for _, book := range books {
		args = append(args, book.Entry.ID, book.Book)
	}
	words, err := s.run(ctx, scripts.Store, s.keys.Stores(), batch[0].Token, args)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	for i, word := range words {
		if word == "conflict" {
			rejections = append(rejections, stream.Reject(books[i].Entry, "the book is on the shelves already"))
			continue
		}
		s.log(word, books[i])
	}
	return rejections, nil
}

func (s *Service) run(ctx context.Context, script *redis.Script, inbox, token string, entries []any) ([]string, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	return script.Run(ctx, s.config.Redis,
		[]string{s.config.Instance.Key(), inbox, s.keys.out(), s.keys.awaited(), s.keys.Deliveries(), s.keys.Events()},
		append([]any{token, s.config.Instance.Name(), library.Shelving, s.config.LogMax}, entries...)...).StringSlice()
}

func (s *Service) log(word string, parcel stream.Parcel) {
	if word == "gone" || word == "repeat" {
		s.config.Log.Debug(word, "book", parcel.Book, "entry", parcel.Entry.ID)
		return
	}
	if parcel.Request == "" {
		s.config.Log.Info(word, "book", parcel.Book)
		return
	}
	s.config.Log.Info(word, "book", parcel.Book, "id", parcel.Request)
}

// Counts are how many books are where, as the shelving service knows it.
type Counts struct {
	Out     int64 `json:"out"`     // not on the shelves
	Awaited int64 `json:"awaited"` // of these, ordered again
}

// Count counts the books.
func Count(ctx context.Context, rdb redis.UniversalClient, names library.Keys) (Counts, error) {
	k := keys{names}
	out, awaited := rdb.HLen(ctx, k.out()), rdb.HLen(ctx, k.awaited())
	if err := out.Err(); err != nil {
		return Counts{}, err
	}
	return Counts{Out: out.Val(), Awaited: awaited.Val()}, awaited.Err()
}

// OnShelves reports whether a book stands on the shelves.
func OnShelves(ctx context.Context, rdb redis.UniversalClient, names library.Keys, book string) (bool, error) {
	out, err := rdb.HExists(ctx, keys{names}.out(), book).Result()
	return !out, err
}
