package status

import (
	"context"

	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/shelving"

	"github.com/redis/go-redis/v9"
)

// The places that the shelving service knows; the lending service's are in lending.Place.
const (
	OnShelves lending.Place = "shelves"
	ToShelves lending.Place = "to_shelves"
)

// Book tells where a book is. The two services share no data, so each is asked in turn; a
// book that is with neither is between them. Its error wraps library.ErrName, or is
// Redis's.
func Book(ctx context.Context, client *lending.Client, rdb redis.UniversalClient, keys library.Keys, book string) (*lending.Whereabouts, error) {
	where, err := client.Where(ctx, book)
	if err != nil || where.Place != lending.WithOther {
		return where, err
	}
	shelved, err := shelving.OnShelves(ctx, rdb, keys, where.Book)
	if err != nil {
		return nil, err
	}
	where.Place = ToShelves
	if shelved {
		where.Place = OnShelves
	}
	return where, nil
}
