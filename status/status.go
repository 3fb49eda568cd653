// Package status reads how a library stands: who runs, what waits, and where the books
// are. What shows that to people and to programs reads it here.
package status

import (
	"context"
	"errors"
	"slices"

	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/redis/go-redis/v9"
)

// A Status tells how a library stands, as far as that could be read. What could not be
// read is zero or left out, and Unknown says why.
type Status struct {
	Library string `json:"library"`
	Redis   string `json:"redis"`
	// Instances are those in a group of an inbox whose lock stands, by name.
	Instances []Instance `json:"instances"`
	// Streams are the inboxes, in the order of library.Services.
	Streams []worker.State `json:"streams"`
	// Terms are what the library lends by; left out if it has none yet.
	Terms    *lending.StandingTerms `json:"terms,omitempty"`
	Lending  lending.Counts         `json:"lending"`
	Shelving shelving.Counts        `json:"shelving"`
	// Memory is how full the server is; left out if it has no limit, or tells none.
	Memory redisconn.Memory `json:"memory,omitzero"`
	// Rejected is how many entries each service set aside.
	Rejected map[string]int64 `json:"rejected"`
	// Unknown has the figures that could not be read, and why: Instances, Terms, Lending, Shelving,
	// Memory, the name of an inbox, or that of a service with Rejected behind it.
	Unknown map[string]error `json:"-"`
}

// The names of figures in Unknown.
const (
	Instances = "instances"
	Terms     = "terms"
	Lending   = "lending:books"
	Shelving  = "shelving:books"
	Memory    = "memory"
	Rejected  = ":rejected"
)

// An Instance is a process that holds its name.
type Instance struct {
	Name string `json:"name"`
	worker.Owner
	// LockMS is how long its lock lives, unless it is refreshed; -1 for ever.
	LockMS int64 `json:"lock_ms"`
}

// Look reads how a library stands. Each figure is read by itself, so that one that cannot
// be read does not take the others with it. The error is the first of Unknown, in the
// order of reading.
func Look(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (*Status, error) {
	s := &Status{
		Library: keys.Library, Redis: redisconn.Standing(ctx, rdb, keys),
		Instances: []Instance{}, Streams: []worker.State{}, Rejected: map[string]int64{}, Unknown: map[string]error{},
	}
	var first error
	note := func(figure string, err error) {
		if err != nil {
			s.Unknown[figure] = err
			if first == nil {
				first = err
			}
		}
	}
	var names []string
	for _, service := range library.Services() {
		for _, inbox := range keys.Inboxes(service) {
			state, err := worker.Look(ctx, rdb, inbox, service)
			if note(state.Name(), err); err == nil {
				s.Streams = append(s.Streams, state)
				for _, consumer := range state.Consumers {
					names = append(names, consumer.Name)
				}
			}
		}
	}
	var err error
	s.Instances, err = readInstances(ctx, rdb, keys, names)
	if err == nil {
		err = first // one may be in the group of an inbox that could not be read
	}
	note(Instances, err)
	for _, service := range library.Services() {
		rejected, err := rdb.XLen(ctx, keys.Rejected(service)).Result()
		if note(service+Rejected, err); err == nil {
			s.Rejected[service] = rejected
		}
	}
	s.Memory, err = redisconn.ReadMemory(ctx, rdb, keys)
	if redisconn.KindOf(err) != redisconn.Refused { // a user with rules of before may not ask
		note(Memory, err)
	}
	terms, err := lending.LookUpTerms(ctx, rdb, keys)
	if note(Terms, err); err == nil && terms.Stand() {
		s.Terms = terms
	}
	s.Lending, err = countLending(ctx, rdb, keys)
	note(Lending, err)
	s.Shelving, err = shelving.Count(ctx, rdb, keys)
	note(Shelving, err)
	return s, first
}

// readInstances reads the locks of those who are in some group.
func readInstances(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, names []string) ([]Instance, error) {
	slices.Sort(names)
	names = slices.Compact(names)
	instances := []Instance{}
	if len(names) == 0 {
		return instances, nil
	}
	values, lives := make([]*redis.StringCmd, len(names)), make([]*redis.Cmd, len(names))
	err := redisconn.Together(ctx, rdb, func(pipe redis.Pipeliner) {
		for i, name := range names {
			values[i] = pipe.Get(ctx, keys.Instance(name))
			lives[i] = pipe.Do(ctx, "PTTL", keys.Instance(name)) // in milliseconds, or below 0
		}
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return instances, err
	}
	for i, name := range names {
		value, err := values[i].Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return instances, err
		}
		ms, err := lives[i].Int64()
		if err != nil {
			return instances, err
		}
		owner, err := worker.ReadOwner(value)
		if err != nil {
			owner.Host = "unknown" // somebody set the lock by hand
		}
		owner.Host = library.Plain(owner.Host)
		instances = append(instances, Instance{Name: library.Plain(name), Owner: owner, LockMS: ms})
	}
	return instances, nil
}

func countLending(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (lending.Counts, error) {
	client, err := lending.NewClient(rdb, keys.Library)
	if err != nil {
		return lending.Counts{}, err
	}
	defer client.Close()
	return client.Count(ctx)
}
