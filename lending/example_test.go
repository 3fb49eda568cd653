package lending_test

import (
	"context"
	"fmt"
	"io"
	"time"

	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/alicebob/miniredis/v2"
	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// A client borrows two books and brings one back. The whole library runs inside
// this program: an embedded Redis, and one instance of both services. With a real
// Redis and a lendingd beside it, only the address would be another.
func ExampleClient() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server := miniredis.NewMiniRedis()
	check(server.Start())
	defer server.Close()
	rdb, err := redisconn.Connect(redisconn.Options{Address: server.Addr()})
	check(err)
	defer rdb.Close()
	stop := serve(ctx, rdb, "worker1")
	defer stop()

	client, err := lending.NewClient(rdb, "main")
	check(err)
	defer client.Close()

	// Request returns when the service has decided. That it denies a request, or
	// grants a part of it, is an answer and no error.
	receipt, err := client.Request(ctx, "user1", "alice-in-wonderland", "geb")
	check(err)
	fmt.Println(receipt.Outcome)
	for _, line := range receipt.Books {
		fmt.Printf("%s: %s from the %s, for %d whole days\n", line.Book, line.Result, line.From, int(time.Until(line.Due).Hours()/24))
	}

	// A book from the shelves must be fetched first; until then it cannot come back.
	check(client.Arrivals(ctx, receipt, func(library.Line) {}))

	receipt, err = client.Return(ctx, "user1", "geb", "invisible-cities")
	check(err)
	fmt.Println(receipt.Outcome)
	for _, line := range receipt.Books {
		fmt.Printf("%s: %s\n", line.Book, line.Result)
	}

	card, err := client.Card(ctx, "user1")
	check(err)
	fmt.Printf("%s holds %d and may borrow %d more\n", card.User, len(card.Loans), card.Room)

	// Output:
	// granted
	// alice-in-wonderland: lent from the shelves, for 28 whole days
	// geb: lent from the shelves, for 28 whole days
	// partial
	// geb: returned
	// invisible-cities: not_yours
	// user1 holds 1 and may borrow 4 more
}

// serve runs an instance of both services until stop is called, as lendingd does.
func serve(ctx context.Context, rdb redis.UniversalClient, name string) (stop func()) {
	logger := log.New(io.Discard)
	keys := library.Keys{Library: "main"}
	holder, err := worker.Take(ctx, rdb, worker.LockConfig{Keys: keys, Name: name, TTL: 10 * time.Minute, Log: logger})
	check(err)
	config := worker.Config{
		Redis: rdb, Keys: keys, Instance: holder, Outage: redisconn.NewOutage(logger), Log: logger,
	}
	lends := lending.NewService(lending.Config{Config: config})
	shelves := shelving.NewService(shelving.Config{Config: config})
	check(lends.Prepare(ctx))
	check(shelves.Prepare(ctx))

	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return holder.Run(ctx, config.Outage) })
	for _, inbox := range append(lends.Inboxes(), shelves.Inboxes()...) {
		group.Go(func() error { return worker.Run(ctx, config, inbox) })
	}
	return func() {
		cancel()
		check(group.Wait())
		check(holder.Release(context.Background()))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
