package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed scripts/decision.lua
	decisionText string
	//go:embed scripts/batch.lua
	batchText string
	//go:embed scripts/inside.lua
	insideText string
	//go:embed scripts/single.lua
	singleText string

	batchScript  = redis.NewScript(decisionText + batchText)
	insideScript = redis.NewScript(decisionText + insideText)
	singleScript = redis.NewScript(decisionText + singleText)
)

// batchMax is how many entries the reference reads at once.
const batchMax = 128

// actions are what the scripts call the orders of an inbox.
var actions = map[string]string{requestsKey: "request", returnsKey: "return"}

// runReference is the yardstick: a bare loop that reads batches and makes one
// script call for each, which does the decision alone. It reads nothing ahead.
func runReference(ctx context.Context, rdb *redis.Client) error {
	for {
		streams, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: lendingGroup, Consumer: "reference", Streams: []string{requestsKey, returnsKey, ">", ">"},
			Count: batchMax, Block: time.Second,
		}).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		for _, stream := range streams {
			arguments := make([]any, 0, 2+6*len(stream.Messages))
			arguments = append(arguments, actions[stream.Stream], lendingGroup)
			for _, entry := range stream.Messages {
				text, _ := entry.Values["books"].(string)
				var books []string
				if err := json.Unmarshal([]byte(text), &books); err != nil {
					return err
				}
				arguments = append(arguments, entry.ID, entry.Values["id"], entry.Values["user"], len(books))
				for _, book := range books {
					arguments = append(arguments, book)
				}
			}
			err := batchScript.Run(ctx, rdb, []string{loansKey, countsKey, eventsKey, stream.Stream}, arguments...).Err()
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
		}
	}
}

// runInside calls a script that reads the inboxes by itself, again and again. It
// shows what one core of Redis can do at most: there is nothing to wait for.
func runInside(ctx context.Context, rdb *redis.Client) error {
	for {
		total := 0
		for _, inbox := range []string{requestsKey, returnsKey} {
			count, err := insideScript.Run(ctx, rdb, []string{loansKey, countsKey, eventsKey, inbox},
				actions[inbox], lendingGroup, batchMax).Int()
			if err != nil {
				return err
			}
			total += count
		}
		if total == 0 {
			time.Sleep(takeEvery) // a script cannot block until there is work
		}
	}
}
