package shelving

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"
	"example.com/library/worker"

	"github.com/redis/go-redis/v9"
)

// Config says how a service keeps the shelves.
type Config struct {
	worker.Config
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
	return worker.EnsureAll(ctx, s.config.Redis, s.config.Keys)
}

// Inboxes are the streams the service reads, and what it does with them.
func (s *Service) Inboxes() []worker.Inbox {
	inbox := func(key string, handle func(context.Context, []worker.Entry) ([]worker.Rejection, error)) worker.Inbox {
		return worker.Inbox{
			Service: library.Shelving, Stream: key, Batch: worker.ParcelsBatch, Batches: 4,
			Prepare: s.Prepare, Handle: handle, Reject: worker.Reject, Patient: true,
		}
	}
	fetches, stores := inbox(s.keys.Fetches(), s.Fetch), inbox(s.keys.Stores(), s.Store)
	if s.config.FetchTime > 0 {
		// An instance must not hold orders that another could walk for meanwhile.
		fetches.Batch, fetches.Batches = 1, 1
		fetches.Pace = func(entry worker.Entry) time.Duration {
			var walk time.Duration // an entry that is no order is not walked for
			parcels, _ := worker.ReadParcels([]worker.Entry{entry}, worker.ReadOrders)
			for _, parcel := range parcels {
				walk += s.config.FetchTime * time.Duration(len(parcel.Orders))
			}
			return walk
		}
	}
	return []worker.Inbox{fetches, stores}
}

// Fetch takes a batch of ordered books off the shelves, see fetch.lua. It
// returns the entries that cannot be understood or applied.
func (s *Service) Fetch(ctx context.Context, batch []worker.Entry) ([]worker.Rejection, error) {
	return s.apply(ctx, batch, worker.ReadOrders, scripts.Fetch, s.keys.Fetches(), "the book is awaited by another request already",
		func(parcel worker.Parcel) []any {
			pairs, args := make([][2]string, len(parcel.Orders)), []any{nil}
			for i, order := range parcel.Orders {
				pairs[i] = [2]string{order.Request, order.Book}
				args = append(args, order.Request, order.Book)
			}
			args[0] = toJSON(pairs)
			return args
		})
}

// Store puts a batch of books on the shelves, see store.lua. It returns the
// entries that cannot be understood or applied.
func (s *Service) Store(ctx context.Context, batch []worker.Entry) ([]worker.Rejection, error) {
	return s.apply(ctx, batch, worker.ReadBooks, scripts.Store, s.keys.Stores(), "the book is on the shelves already",
		func(parcel worker.Parcel) []any {
			books, args := make([]string, len(parcel.Orders)), []any{nil}
			for i, order := range parcel.Orders {
				books[i] = order.Book
				args = append(args, order.Book)
			}
			args[0] = toJSON(books)
			return args
		})
}

// apply reads a batch's parcels and has a script apply them. arguments are the
// script's own for a parcel, after its entry id and number of books; conflict is
// why a book is set aside.
func (s *Service) apply(ctx context.Context, batch []worker.Entry, read func(worker.Entry) ([]worker.Order, error), script *redis.Script,
	inbox, conflict string, arguments func(worker.Parcel) []any) ([]worker.Rejection, error) {
	parcels, rejections := worker.ReadParcels(batch, read)
	for call := range worker.Calls(parcels) {
		keys := []string{s.config.Instance.Key(), inbox, s.keys.away(), s.keys.awaited(), s.keys.Deliveries(), s.keys.Events()}
		args := []any{batch[0].Token, s.config.Instance.Name(), library.Shelving}
		for _, parcel := range call {
			args = append(append(args, parcel.Entry.ID, len(parcel.Orders)), arguments(parcel)...)
			for _, order := range parcel.Orders {
				keys = append(keys, s.keys.out(order.Book))
			}
		}
		words, err := script.Run(ctx, redisconn.Regardless(s.config.Redis), keys, args...).StringSlice()
		if err != nil {
			return nil, fmt.Errorf("apply %s: %w", inbox, err)
		}
		for _, parcel := range call {
			count := len(parcel.Orders)
			if words[0] == "conflict" {
				rejections = append(rejections, worker.Reject(parcel.Entry, conflict))
			} else {
				parcel.Tell(s.config.Config, words[:count], nil)
			}
			words = words[count:]
		}
	}
	return rejections, nil
}

// toJSON is a list as the scripts write it.
func toJSON(list any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(list); err != nil {
		panic(err) // texts always encode
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// Counts are how many books are where, as the shelving service knows it.
type Counts struct {
	Out     int64 `json:"out"`     // not on the shelves
	Awaited int64 `json:"awaited"` // of these, ordered again
}

// Count counts the books.
func Count(ctx context.Context, rdb redis.UniversalClient, names library.Keys) (Counts, error) {
	k := keys{names}
	out, err := rdb.Get(ctx, k.away()).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return Counts{}, err
	}
	awaited, err := rdb.HLen(ctx, k.awaited()).Result()
	return Counts{Out: out, Awaited: awaited}, err
}

// OnShelves reports whether a book stands on the shelves.
func OnShelves(ctx context.Context, rdb redis.UniversalClient, names library.Keys, book string) (bool, error) {
	out, err := rdb.HExists(ctx, keys{names}.out(book), book).Result()
	return !out, err
}
