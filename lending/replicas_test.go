package lending

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

// replicated starts a server with one replica, and a branch on it.
func replicated(t *testing.T) (rdb *redis.Client, replica *redistest.Node) {
	t.Helper()
	c := redistest.StartCluster(t, 1, true)
	rdb = c.Masters[0].Client(t)
	(&branch{}).open(t, rdb)
	return rdb, c.Replicas[0]
}

func TestAReceiptIsBelievedWhenItsReplicaHasIt(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb, replica := replicated(t)
	client := newClient(t, rdb)
	client.Replicas = 1
	copied := replica.Client(t)
	for i := range 50 {
		receipt, err := client.Request(ctx, "user"+strconv.Itoa(i), "book"+strconv.Itoa(i))
		if err != nil || receipt.Outcome != library.Granted {
			t.Fatalf("request: %v, %v", receipt, err)
		}
		// A replica of a Cluster answers only who says that an old answer will do.
		pipe := copied.Pipeline()
		pipe.ReadOnly(ctx)
		there := pipe.HExists(ctx, names.Key("lending:receipts"), receipt.ID)
		if _, err := pipe.Exec(ctx); err != nil || !there.Val() {
			t.Fatalf("a receipt was believed, and the replica has it: %v, %v", there.Val(), err)
		}
		if err := client.Arrivals(ctx, receipt, func(library.Line) {}); err != nil {
			t.Fatal(err)
		}
		pipe = copied.Pipeline()
		pipe.ReadOnly(ctx)
		fetching := pipe.HExists(ctx, names.Key("lending:fetching"), receipt.Books[0].Book)
		if _, err := pipe.Exec(ctx); err != nil || fetching.Val() {
			t.Fatalf("a book was believed to have arrived, and the replica has it on its way: %v, %v", fetching.Val(), err)
		}
	}
}

func TestAReceiptThatNoReplicaHasIsNotBelieved(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb, replica := replicated(t)
	careful, careless := newClient(t, rdb), newClient(t, rdb)
	careful.Replicas = 1

	replica.Pause(t)
	order := newOrder(t, library.Request, "user1", "geb")
	// To all others it is true already.
	if receipt, err := careless.Do(ctx, order); err != nil || receipt.Outcome != library.Granted {
		t.Errorf("without replicas: %v, %v", receipt, err)
	}
	if receipt, err := careful.Receipt(ctx, order.ID); !errors.Is(err, ErrUnknown) || !errors.Is(err, redisconn.ErrUnconfirmed) {
		t.Errorf("looked up: %v, %v, want an error that wraps ErrUnknown and ErrUnconfirmed", receipt, err)
	}
	impatient, giveUp := context.WithCancel(ctx)
	defer giveUp()
	careful.rdb.AddHook(hook(func(cmd redis.Cmder) {
		if cmd.Name() == "wait" {
			giveUp()
		}
	}))
	if receipt, err := careful.Do(impatient, order); !errors.Is(err, ErrUnknown) || !errors.Is(err, redisconn.ErrUnconfirmed) {
		t.Errorf("with its replica away: %v, %v, want an error that wraps ErrUnknown and ErrUnconfirmed", receipt, err)
	}

	waited := make(chan error, 1)
	go func() {
		receipt, err := careful.Do(ctx, order)
		if err == nil {
			err = careful.Arrivals(ctx, receipt, func(library.Line) {})
		}
		waited <- err
	}()
	select {
	case err := <-waited:
		t.Fatalf("believed without the replica: %v", err)
	case <-time.After(time.Second):
	}
	replica.Resume(t)
	if err := <-waited; err != nil {
		t.Errorf("with the replica back: %v", err)
	}
}

func TestOneReplicaIsNotEnoughWhereTwoAreAskedFor(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb, _ := replicated(t)
	client := newClient(t, rdb)
	client.Replicas = 1
	receipt, err := client.Request(ctx, "user1", "geb")
	if err != nil {
		t.Fatalf("with one of one: %v", err)
	}
	client.Replicas = 2
	if _, err := client.Receipt(ctx, receipt.ID); !errors.Is(err, redisconn.ErrUnconfirmed) || !strings.HasSuffix(err.Error(), ", not 2") {
		t.Errorf("with one of two: %v, want an error that wraps ErrUnconfirmed and tells how many", err)
	}
}

func TestAnArrivalThatNoReplicaHasIsNotBelieved(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	c := redistest.StartCluster(t, 1, true)
	rdb, replica := c.Masters[0].Client(t), c.Replicas[0]
	(&branch{name: "lending1", services: []string{library.Lending}}).open(t, rdb)
	client := newClient(t, rdb)
	client.Replicas = 1
	receipt, err := client.Request(ctx, "user1", "geb")
	if err != nil {
		t.Fatal(err)
	}
	replica.Pause(t)
	(&branch{name: "shelving1", services: []string{library.Shelving}}).open(t, rdb)
	for rdb.HLen(ctx, names.Key("lending:fetching")).Val() != 0 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	short, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer cancel()
	err = client.Arrivals(short, receipt, func(line library.Line) { t.Errorf("%s was said to have arrived", line.Book) })
	if !errors.Is(err, ErrUnknown) || !receipt.Books[0].OnItsWay {
		t.Errorf("with the replica away: %v, on its way: %v, want ErrUnknown, true", err, receipt.Books[0].OnItsWay)
	}
	replica.Resume(t)
	arrived := 0
	if err := client.Arrivals(ctx, receipt, func(library.Line) { arrived++ }); err != nil || arrived != 1 {
		t.Errorf("with the replica back: %v, %d arrivals", err, arrived)
	}
}

// WAIT speaks of the connection's own writes, and since 7.2 of nothing else. If the
// write before it did not reach the replicas, it would confirm anything.
func TestBeforeItWaitsAClientWritesWhatReplicates(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb, _ := replicated(t)
	client := newClient(t, rdb)
	receipt, err := client.Request(ctx, "user1", "geb")
	if err == nil {
		err = client.Arrivals(ctx, receipt, func(library.Line) {})
	}
	if err != nil {
		t.Fatal(err)
	}
	client.Replicas = 1
	writes := func() string {
		for line := range strings.Lines(rdb.Info(ctx, "commandstats").Val()) {
			if calls, found := strings.CutPrefix(line, "cmdstat_pexpireat:calls="); found {
				return strings.Split(calls, ",")[0]
			}
		}
		return "0"
	}
	this, older := names.Key("lending:receipts"), names.Key("lending:receipts:older")
	for _, page := range []string{this, older} {
		if page == older {
			if err := rdb.Rename(ctx, this, older).Err(); err != nil {
				t.Fatal(err)
			}
		}
		text, end := rdb.HGet(ctx, page, receipt.ID).Val(), rdb.PExpireTime(ctx, page).Val()
		before := writes()
		if _, err := client.Receipt(ctx, receipt.ID); err != nil {
			t.Fatal(err)
		}
		if after := writes(); before == after {
			t.Error("nothing was written")
		}
		if got := rdb.HGet(ctx, page, receipt.ID).Val(); got != text {
			t.Errorf("the receipt was %s, and is %s", text, got)
		}
		if got, want := rdb.PExpireTime(ctx, page).Val(), end+time.Millisecond; got != want {
			t.Errorf("%s ends at %s, want %s: a change that every server must replicate", page, got, want)
		}
	}
}

// All receipts of a page share one end, so the writes of those who wait meet there.
func TestManyWhoWaitForReplicasDoNotGetInEachOthersWay(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	rdb, _ := replicated(t)
	client := newClient(t, rdb)
	receipt, err := client.Request(ctx, "user1", "geb")
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 32 {
		reader := newClient(t, rdb)
		reader.Replicas = 1
		readers.Go(func() {
			for range 20 {
				if _, err := reader.Receipt(ctx, receipt.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
}
