package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/metrics"
	"example.com/library/redisconn"
	"example.com/library/worker"

	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

// runInstance is what lendingd does with a NAME: it runs an instance until it is
// told to stop, loses its name, or meets an error that will not pass by itself. In
// each library it serves it is an instance of its own, which waits for no other.
func runInstance(c *urfave.Context) error {
	names, err := cli.Names(c, 1, 1)
	if err != nil {
		return err
	}
	name := names[0]
	if err := library.CheckTag("instance", name); err != nil {
		return err
	}
	if err := checkInstanceFlags(c); err != nil {
		return err
	}
	logger, dropped, stopLogging := newLogger(c)
	defer stopLogging()
	runners, err := newRunners(c, logger)
	if err != nil {
		return err
	}
	for _, r := range runners {
		defer r.close()
	}
	if c.Bool("embedded") {
		stop, err := serveEmbedded(c, cli.Connection{Redis: runners[0].Redis, Keys: runners[0].Keys})
		if err != nil {
			return err
		}
		defer stop()
	}
	var told *figures
	if c.String("metrics") != "" || c.String("http") != "" {
		if told, err = newFigures(c, runners, dropped); err != nil {
			return err
		}
		defer told.close()
	}
	page, err := openGateway(c, logger, told)
	if err != nil {
		return err
	}
	defer page.close()
	if c.String("metrics") != "" {
		stop, err := told.serve(c.String("metrics"), logger)
		if err != nil {
			return err
		}
		defer stop()
	}
	group, ctx := errgroup.WithContext(c.Context)
	group.Go(func() error { return page.serve(ctx) })
	for _, r := range runners {
		group.Go(func() error { return r.run(ctx, c, name) })
	}
	return group.Wait()
}

// newRunners makes a runner for each library. Its services share one client, unless
// each has a user of its own.
func newRunners(c *urfave.Context, logger *log.Logger) ([]*runner, error) {
	var runners []*runner
	services := strings.Split(c.String("service"), ",")
	for i, service := range services {
		if i > 0 && !cli.HasRoles(c) {
			for _, r := range runners {
				r.clients[service] = r.Redis
			}
			continue
		}
		connections, err := cli.ConnectEach(c, service)
		if err != nil {
			return nil, err
		}
		for k, connection := range connections {
			if i == 0 {
				runners = append(runners, newRunner(c, connection, services, logger, len(connections) > 1))
			}
			runners[k].clients[service] = connection.Redis
		}
	}
	return runners, nil
}

func newRunner(c *urfave.Context, connection cli.Connection, services []string, logger *log.Logger, several bool) *runner {
	r := &runner{
		Config: worker.Config{
			Redis: connection.Redis, Keys: connection.Keys, Log: logger, Alone: make(chan struct{}, 1),
		},
		services: services,
		clients:  map[string]redis.UniversalClient{},
		several:  several,
	}
	if several {
		r.Log = r.Log.With("library", r.Keys.Library)
	}
	r.Outage = redisconn.NewOutage(r.Log)
	return r
}

// A runner is an instance in one library, and the services it runs there. What it
// does as an instance, it does by the first service's client.
type runner struct {
	worker.Config
	services []string
	clients  map[string]redis.UniversalClient // of each service
	several  bool                             // the process serves other libraries too

	held       atomic.Pointer[worker.Instance] // nil until the name was taken
	metrics    *metrics.Metrics                // nil if nobody wants figures
	lockFailed func()
	decided    func(library.Action, string, []library.Line)
}

func (r *runner) close() {
	for _, rdb := range r.clients {
		_ = rdb.Close() // a second time where services share it, which does nothing
	}
}

// configOf is what a service works with.
func (r *runner) configOf(service string) worker.Config {
	config := r.Config
	config.Redis = r.clients[service]
	if r.metrics != nil {
		config.Observer = r.metrics.Observer(r.Keys, service)
	}
	return config
}

func (r *runner) run(ctx context.Context, c *urfave.Context, name string) error {
	var server redisconn.Server
	err := r.insist(ctx, func() (err error) {
		server, err = redisconn.Inspect(ctx, r.Redis, r.Keys)
		return err
	})
	if err != nil {
		return r.explain(ctx, "reach Redis", err)
	}
	warnOfServer(r.Log, server)
	if err := r.checkTerms(ctx, c); err != nil {
		return err
	}
	token, since := rand.Text(), time.Now()
	err = r.insist(ctx, func() (err error) {
		r.Instance, err = worker.Take(ctx, r.Redis, worker.LockConfig{
			Keys: r.Keys, Name: name, TTL: c.Duration("lock-ttl"), Services: r.services,
			Token: token, Since: since, Force: c.Bool("force"), Log: r.Log, Failed: r.lockFailed,
		})
		return err
	})
	if errors.Is(err, worker.ErrHeld) {
		return fmt.Errorf("%sinstance %q: %w; choose another name, or take this one over: lendingd --force %s", r.which(), name, err, name)
	}
	if err != nil {
		return r.explain(ctx, "take the name "+name, err)
	}
	r.held.Store(r.Instance)
	defer r.leave()

	var inboxes []worker.Inbox
	for _, service := range r.build(c) {
		if err := r.insist(ctx, func() error { return service.Prepare(ctx) }); err != nil {
			return r.explain(ctx, "prepare the streams", err)
		}
		inboxes = append(inboxes, service.Inboxes()...)
	}
	// If the library had no terms, another instance may just have set them.
	if err := r.checkTerms(ctx, c); err != nil {
		return err
	}
	told := []any{"instance", name, "services", loggedNames(r.services)}
	if !r.several {
		told = append(told, "library", r.Keys.Library)
	}
	r.Log.Info("serving", append(told, "redis", redisconn.Standing(ctx, r.Redis, r.Keys))...)

	defer context.AfterFunc(ctx, func() {
		r.Log.Info("stopping when the batch in hand is finished; a second signal stops at once", "instance", name)
	})()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.Instance.Run(groupCtx, r.Outage) })
	for _, inbox := range inboxes {
		group.Go(func() error { return worker.Run(groupCtx, r.configOf(inbox.Service), inbox) })
	}
	if err := group.Wait(); err != nil {
		return r.explain(ctx, "serve as "+name, err)
	}
	r.Log.Info("stopped", "instance", name)
	return nil
}

// checkTerms ends an instance that was given other terms than the library has.
func (r *runner) checkTerms(ctx context.Context, c *urfave.Context) error {
	var stands *lending.StandingTerms
	err := r.insist(ctx, func() (err error) {
		stands, err = lending.LookUpTerms(ctx, r.Redis, r.Keys)
		return err
	})
	if err != nil {
		return r.explain(ctx, "look up the terms", err)
	}
	return checkTerms(c, stands, r.Keys)
}

// insist takes a step until Redis has answered it, or ctx is done.
func (r *runner) insist(ctx context.Context, step func() error) error {
	return r.Outage.Retry(ctx, "start", redisconn.Passes, step)
}

// explain names what was tried. What a stop cut short is no error.
func (r *runner) explain(ctx context.Context, tried string, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, redis.ErrClosed) || redisconn.Passes(err)) {
		return nil
	}
	return fmt.Errorf("%s%s on %s: %w", r.which(), tried, redisconn.Where(r.Redis), err)
}

// which begins an error where it would not be known which library it is about.
func (r *runner) which() string {
	if !r.several {
		return ""
	}
	return "library " + r.Keys.Library + ": "
}

// leavePatience is how long a worker that stops waits for Redis when it leaves.
const leavePatience = time.Second

// leave gives the name up and leaves the groups, as far as Redis answers.
func (r *runner) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leavePatience)
	defer cancel()
	if err := r.Instance.Release(ctx); err != nil {
		r.Log.Warn("the name is not released; it will be free when its lock ends", "error", library.Plain(err.Error()))
		return
	}
	for _, service := range r.services {
		for _, inbox := range r.Keys.Inboxes(service) {
			// What is left in the group is removed by the next sweep of another instance.
			_ = worker.Retire(ctx, r.clients[service], r.Keys, inbox, service, r.Instance.Name())
		}
	}
}

// warnOfServer says what the server promises, and what it may lose.
func warnOfServer(logger *log.Logger, server redisconn.Server) {
	switch {
	case server.Embedded():
		logger.Warn("this library lives in memory only: nothing is kept when its server stops")
	case server.AppendOnly == "yes" && server.Fsync == "always":
		logger.Info("the server writes every change to disk before it answers: nothing answered is lost")
	case server.AppendOnly == "yes":
		logger.Info("the server writes changes to disk every second: if its machine dies, about the last second may be lost")
	case server.AppendOnly == "no" && server.Save == "":
		logger.Warn("the server keeps nothing on disk: if it stops, every loan is forgotten; set appendonly yes")
	case server.AppendOnly == "no":
		logger.Warn("the server takes snapshots only: if it dies, all since the last one is forgotten; set appendonly yes")
	default:
		logger.Warn("the server does not tell whether it keeps its data on disk; appendonly yes is right for a library")
	}
	if server.FullCoverage == "yes" {
		logger.Warn("while one master of the Cluster is away, all its libraries wait; set cluster-require-full-coverage no")
	}
	if server.Eviction != "" && server.Eviction != "noeviction" {
		logger.Warn("the server may evict keys when it is full, and so forget loans; set maxmemory-policy noeviction", "maxmemory-policy", server.Eviction)
	}
}
