package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// The floor is what a request to a service in another process costs at the very
// least: XADD, a blocked XREADGROUP, one bare script call and a blocked answer. It
// stands here twice: over raw sockets, and with go-redis on both sides.

//go:embed scripts/floor.lua
var floorText string

var floorScript = redis.NewScript(floorText)

const (
	floorLoans  = "{floor}:loans"
	floorEvents = "{floor}:events"
	floorGroup  = "floor"
)

// floorInbox is the stream that a kind of floor worker reads.
func floorInbox(kind string) string { return "{floor}:" + kind }

// The kinds of floor worker.
const (
	rawFloor     = "floor"
	goRedisFloor = "floor-go-redis"
)

// runRawFloor is the worker of the floor over raw sockets.
func runRawFloor(address string) error {
	c, err := dialRaw(address)
	if err != nil {
		return err
	}
	hash, err := c.call("SCRIPT", "LOAD", floorText)
	if err != nil {
		return err
	}
	inbox := floorInbox(rawFloor)
	for {
		answer, err := c.call("XREADGROUP", "GROUP", floorGroup, "worker", "COUNT", "128", "BLOCK", "0", "STREAMS", inbox, ">")
		if err != nil {
			return err
		}
		words := []string{"EVALSHA", hash.(string), "3", floorLoans, floorEvents, inbox, floorGroup}
		for _, entry := range answer.([]any)[0].([]any)[1].([]any) {
			id, fields := entry.([]any)[0], entry.([]any)[1].([]any)
			words = append(words, id.(string), fields[1].(string), fields[3].(string), fields[5].(string))
		}
		if _, err := c.call(words...); err != nil {
			return err
		}
	}
}

// runGoRedisFloor is the same with go-redis.
func runGoRedisFloor(ctx context.Context, rdb *redis.Client) error {
	inbox := floorInbox(goRedisFloor)
	for {
		streams, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: floorGroup, Consumer: "worker", Streams: []string{inbox, ">"}, Count: 128, Block: 0,
		}).Result()
		if err != nil {
			return err
		}
		words := []any{floorGroup}
		for _, entry := range streams[0].Messages {
			words = append(words, entry.ID, entry.Values["user"], entry.Values["book"], entry.Values["channel"])
		}
		err = floorScript.Run(ctx, rdb, []string{floorLoans, floorEvents, inbox}, words...).Err()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
}

// prepareFloor makes the inbox of a kind of floor worker.
func prepareFloor(ctx context.Context, rdb *redis.Client, kind string) error {
	err := rdb.XGroupCreateMkStream(ctx, floorInbox(kind), floorGroup, "0").Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return err
	}
	return nil
}

// A rawAsker asks the floor over two raw sockets: one for what it sends, one on
// which it waits for the answer.
type rawAsker struct {
	name       string
	ask, heard *rawConn
}

func newRawAsker(address, name string) (*rawAsker, error) {
	ask, err := dialRaw(address)
	if err != nil {
		return nil, err
	}
	heard, err := dialRaw(address)
	if err != nil {
		ask.close()
		return nil, err
	}
	a := &rawAsker{name, ask, heard}
	for _, c := range []*rawConn{ask, heard} {
		// If the worker ends, nobody answers any more.
		if err := c.socket.SetDeadline(time.Now().Add(drainWithin)); err != nil {
			a.close()
			return nil, err
		}
	}
	if _, err := heard.call("SUBSCRIBE", "{floor}:"+name); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *rawAsker) close() {
	a.ask.close()
	a.heard.close()
}

// order sends one order and waits for the answer. The asker's name is the user's,
// the book's and the channel's.
func (a *rawAsker) order() error {
	if err := a.ask.send("XADD", floorInbox(rawFloor), "*", "user", a.name, "book", a.name, "channel", "{floor}:"+a.name); err != nil {
		return err
	}
	if _, err := a.heard.receive(); err != nil {
		return err
	}
	_, err := a.ask.receive()
	return err
}

// A sharedAsker has many ask the floor over the same two raw sockets: what they
// send while the socket is busy goes out in one write.
type sharedAsker struct {
	ask, heard *rawConn
	commands   chan []string

	mu      sync.Mutex
	waiting map[string]chan struct{} // name → told of an answer
	failed  chan struct{}            // closed when a socket failed
	err     error
}

func newSharedAsker(address string) (*sharedAsker, error) {
	a, err := newRawAsker(address, "shared")
	if err != nil {
		return nil, err
	}
	s := &sharedAsker{ask: a.ask, heard: a.heard, commands: make(chan []string, 1024), waiting: map[string]chan struct{}{}, failed: make(chan struct{})}
	var once sync.Once
	run := func(step func() error) {
		for {
			if err := step(); err != nil {
				once.Do(func() { s.err = err; close(s.failed) })
				return
			}
		}
	}
	go run(s.write)
	go run(func() error { _, err := s.ask.receive(); return err })
	go run(s.hear)
	return s, nil
}

func (s *sharedAsker) close() {
	s.ask.close()
	s.heard.close()
}

// write sends all that is to be sent by now.
func (s *sharedAsker) write() error {
	var commands []byte
	select {
	case words := <-s.commands:
		commands = appendCommand(commands, words...)
	case <-s.failed:
		return s.err
	}
	for {
		select {
		case words := <-s.commands:
			commands = appendCommand(commands, words...)
			continue
		default:
		}
		_, err := s.ask.socket.Write(commands)
		return err
	}
}

// hear tells the one whose answer it is.
func (s *sharedAsker) hear() error {
	answer, err := s.heard.receive()
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(answer.([]any)[2].(string), " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[name] <- struct{}{}
	return nil
}

// join is one of those who ask, by a name of its own.
func (s *sharedAsker) join(name string) asker {
	answered := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[name] = answered
	return func(ctx context.Context) error {
		select {
		case s.commands <- []string{"XADD", floorInbox(rawFloor), "*", "user", name, "book", name, "channel", "{floor}:shared"}:
		case <-s.failed:
			return s.err
		}
		select {
		case <-answered:
			return nil
		case <-s.failed:
			return s.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A goRedisAsker does what a rawAsker does, with go-redis.
type goRedisAsker struct {
	rdb   redis.UniversalClient
	heard *redis.PubSub
	rings <-chan *redis.Message
}

func newGoRedisAsker(ctx context.Context, rdb redis.UniversalClient) (*goRedisAsker, error) {
	heard := rdb.Subscribe(ctx, "{floor}:go-redis")
	if _, err := heard.Receive(ctx); err != nil {
		heard.Close()
		return nil, err
	}
	return &goRedisAsker{rdb, heard, heard.Channel()}, nil
}

func (a *goRedisAsker) close() { _ = a.heard.Close() }

func (a *goRedisAsker) order(ctx context.Context) error {
	err := a.rdb.XAdd(ctx, &redis.XAddArgs{Stream: floorInbox(goRedisFloor), Values: []any{
		"user", "go-redis", "book", "go-redis", "channel", "{floor}:go-redis",
	}}).Err()
	if err != nil {
		return err
	}
	select {
	case _, open := <-a.rings:
		if !open {
			return fmt.Errorf("the subscription ended")
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
