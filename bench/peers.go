package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// decide makes the one script call of a peer's handler.
func decide(ctx context.Context, rdb redis.UniversalClient, action string, payload []byte) error {
	var o order
	if err := json.Unmarshal(payload, &o); err != nil {
		return err
	}
	arguments := []any{action, o.ID, o.User}
	for _, book := range o.Books {
		arguments = append(arguments, book)
	}
	err := singleScript.Run(ctx, rdb, []string{loansKey, countsKey, eventsKey}, arguments...).Err()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return err
}

// watermillFields are the fields of an order as watermill's own publisher writes
// it: its id, no metadata, and the payload.
func watermillFields(o order) []string {
	payload, err := json.Marshal(o)
	if err != nil {
		panic(err) // texts can be written as JSON
	}
	return []string{redisstream.UUIDHeaderKey, o.ID, "metadata", "", "payload", string(payload)}
}

// newWatermill is watermill with so many subscribers for each inbox.
func newWatermill(subscribers int) contestant {
	return ours{kind: "watermill", flags: []string{"-parallel", strconv.Itoa(subscribers)}, fields: watermillFields}
}

// runWatermill handles the orders with so many subscribers for each inbox, as each
// has one order in hand.
func runWatermill(ctx context.Context, address string, subscribers int) error {
	rdb := redis.NewClient(&redis.Options{Addr: address, PoolSize: 5 * subscribers, MinIdleConns: 4 * subscribers})
	group, ctx := errgroup.WithContext(ctx)
	for i := range subscribers {
		for inbox, action := range actions {
			subscriber, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{
				Client: rdb, ConsumerGroup: lendingGroup, Consumer: "watermill-" + strconv.Itoa(i),
			}, watermill.NopLogger{})
			if err != nil {
				return err
			}
			messages, err := subscriber.Subscribe(ctx, inbox)
			if err != nil {
				return err
			}
			group.Go(func() error { return handle(messages, rdb, action) })
		}
	}
	return group.Wait()
}

func handle(messages <-chan *message.Message, rdb *redis.Client, action string) error {
	for m := range messages {
		if err := decide(m.Context(), rdb, action, m.Payload); err != nil {
			return err
		}
		m.Ack()
	}
	return nil
}

// newAsynq is asynq with so many handlers at once.
func newAsynq(handlers int) contestant { return asynqTasks{parallel: handlers} }

// asynqTasks is asynq. Its orders are not in the library's inboxes but in a queue
// of its own.
type asynqTasks struct{ parallel int }

const (
	asynqPending = "asynq:{default}:pending" // a LIST of tasks nobody has taken
	asynqActive  = "asynq:{default}:active"  // a LIST of tasks in hand
	asynqRetry   = "asynq:{default}:retry"   // a ZSET of tasks that failed
	asynqClients = 64                        // which enqueue side by side
)

// load enqueues the orders, requests and returns in turn. Asynq has no way to
// enqueue many at once, so many clients do it.
func (a asynqTasks) load(ctx context.Context, s *server, w work) error {
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: s.Addr, PoolSize: asynqClients})
	defer client.Close()
	tasks := make(chan *asynq.Task)
	group, ctx := errgroup.WithContext(ctx)
	for range asynqClients {
		group.Go(func() error {
			for task := range tasks {
				if _, err := client.EnqueueContext(ctx, task); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(tasks)
		for i := range max(len(w.requests), len(w.returns)) {
			for action, orders := range map[string][]order{"request": w.requests, "return": w.returns} {
				if i >= len(orders) {
					continue
				}
				payload, err := json.Marshal(orders[i])
				if err != nil {
					return err
				}
				select {
				case tasks <- asynq.NewTask(action, payload):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	return group.Wait()
}

func (a asynqTasks) start(b *bench, s *server) (*process, error) {
	return b.startWorker(s, "asynq", "-parallel", strconv.Itoa(a.parallel))
}

func (a asynqTasks) look(ctx context.Context, s *server) (string, bool, error) {
	var pending, active *redis.IntCmd
	_, err := s.client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pending, active = pipe.LLen(ctx, asynqPending), pipe.LLen(ctx, asynqActive)
		return nil
	})
	if err != nil {
		return "", false, err
	}
	return strconv.FormatInt(pending.Val(), 10), pending.Val()+active.Val() == 0, nil
}

func (a asynqTasks) check(ctx context.Context, s *server, done []work, loans int) error {
	failed, err := s.client.ZCard(ctx, asynqRetry).Result()
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d tasks failed", failed)
	}
	return checkDecisions(ctx, s.client, done, loans)
}

// runAsynq handles the orders with so many handlers at once.
func runAsynq(address string, parallel int) error {
	option := asynq.RedisClientOpt{Addr: address, PoolSize: parallel + 16}
	rdb, ok := option.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return errors.New("asynq made no client")
	}
	server := asynq.NewServer(option, asynq.Config{Concurrency: parallel, LogLevel: asynq.ErrorLevel})
	handlers := asynq.NewServeMux()
	for _, action := range actions {
		handlers.HandleFunc(action, func(ctx context.Context, task *asynq.Task) error {
			return decide(ctx, rdb, action, task.Payload())
		})
	}
	return server.Run(handlers)
}
