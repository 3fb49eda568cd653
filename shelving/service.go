package shelving

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
			Service: library.Shelving, Stream: key, Batch: stream.ParcelsBatch, Batches: 4,
			Prepare: s.Prepare, Handle: handle, Reject: stream.Reject,
		}
	}
	fetches, stores := inbox(s.keys.Fetches(), s.Fetch), inbox(s.keys.Stores(), s.Store)
	if s.config.FetchTime > 0 {
		// An instance must not hold orders that another could walk for meanwhile.
		fetches.Batch, fetches.Batches = 1, 1
		fetches.Pace = func(entry stream.Entry) time.Duration {
			var walk time.Duration // an entry that is no order is not walked for
			parcels, _ := stream.ReadParcels([]stream.Entry{entry}, stream.ReadOrders)
			for _, parcel := range parcels {
				walk += s.config.FetchTime * time.Duration(len(parcel.Orders))
			}
			return walk
		}
	}
	return []stream.Inbox{fetches, stores}
}

// Fetch takes a batch of ordered books off the shelves, see fetch.lua. It
// returns the entries that cannot be understood or applied.
func (s *Service) Fetch(ctx context.Context, batch []stream.Entry) ([]stream.Rejection, error) {
	return s.apply(ctx, batch, stream.ReadOrders, scripts.Fetch, s.keys.Fetches(), "the book is awaited by another request already",
		func(parcel stream.Parcel) []any {
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
func (s *Service) Store(ctx context.Context, batch []stream.Entry) ([]stream.Rejection, error) {
	return s.apply(ctx, batch, stream.ReadBooks, scripts.Store, s.keys.Stores(), "the book is on the shelves already",
		func(parcel stream.Parcel) []any {
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
func (s *Service) apply(ctx context.Context, batch []stream.Entry, read func(stream.Entry) ([]stream.Order, error), script *redis.Script,
	inbox, conflict string, arguments func(stream.Parcel) []any) ([]stream.Rejection, error) {
	parcels, rejections := stream.ReadParcels(batch, read)
	for call := range stream.Calls(parcels) {
		keys := []string{s.config.Instance.Key(), inbox, s.keys.away(), s.keys.awaited(), s.keys.Deliveries(), s.keys.Events()}
		args := []any{batch[0].Token, s.config.Instance.Name(), library.Shelving, s.config.LogMax}
		for _, parcel := range call {
			args = append(append(args, parcel.Entry.ID, len(parcel.Orders)), arguments(parcel)...)
			for _, order := range parcel.Orders {
				keys = append(keys, s.keys.out(order.Book))
			}
		}
		words, err := script.Run(ctx, s.config.Redis, keys, args...).StringSlice()
		if err != nil {
			return nil, fmt.Errorf("apply %s: %w", inbox, err)
		}
		for _, parcel := range call {
			count := len(parcel.Orders)
			if words[0] == "conflict" {
				rejections = append(rejections, stream.Reject(parcel.Entry, conflict))
			} else {
				parcel.Log(s.config.Log, words[:count], nil)
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
