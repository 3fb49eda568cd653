package main

import (
	"context"
	"slices"
	"strings"

	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/shelving"
	"example.com/library/worker"

	urfave "github.com/urfave/cli/v2"
)

// A service is what an instance can run.
type service interface {
	Prepare(ctx context.Context) error
	Inboxes() []worker.Inbox
}

// newService makes each service as the flags say.
var newService = map[string]func(c *urfave.Context, r *runner) service{
	library.Lending: func(c *urfave.Context, r *runner) service {
		terms, _, _ := termsOf(c) // they were checked
		return lending.NewService(lending.Config{Config: r.configOf(library.Lending), Terms: terms, Decided: r.decided})
	},
	library.Shelving: func(c *urfave.Context, r *runner) service {
		return shelving.NewService(shelving.Config{Config: r.configOf(library.Shelving), FetchTime: c.Duration("fetch-time")})
	},
}

// build makes the services that the flags name.
func (r *runner) build(c *urfave.Context) []service {
	var services []service
	for _, name := range r.services {
		services = append(services, newService[name](c, r))
	}
	return services
}

// checkServices reports a value of --service that is no list of services, each named
// once.
func checkServices(c *urfave.Context) error {
	value := c.String("service")
	names := strings.Split(value, ",")
	for i, name := range names {
		if !slices.Contains(library.Services(), name) || slices.Contains(names[:i], name) {
			return cli.UsageError{Message: cli.Source(c, "service") + " is one or more of " + strings.Join(library.Services(), ", ") +
				", with commas, each once, not " + library.Printable(value)}
		}
	}
	return nil
}
