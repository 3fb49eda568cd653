package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"example.com/library/acl"
	"example.com/library/internal/cli"
	"example.com/library/library"
	"example.com/library/metrics"

	"github.com/charmbracelet/log"
	urfave "github.com/urfave/cli/v2"
)

// figures are what a process tells of itself and of the libraries it serves or shows.
type figures struct {
	metrics *metrics.Metrics
	ready   []metrics.Check // besides whether Redis answers where the page reads
	readers []cli.Connection
}

// newFigures has the figures of all runners counted; it must be called before they run. How
// the libraries stand is read by connections of its own: as the user staff, or gateway where
// there is a page, if each program has a user.
func newFigures(c *urfave.Context, runners []*runner, dropped func() int64) (*figures, error) {
	role := acl.Staff
	if c.String("http") != "" {
		role = acl.Gateway
	}
	readers, err := cli.ConnectEach(c, role)
	if err != nil {
		return nil, fmt.Errorf("read the figures: %w", err)
	}
	f := &figures{metrics: metrics.New(cli.Version()), readers: readers}
	f.metrics.DroppedLines(dropped)
	for _, reader := range readers {
		f.metrics.ReadState(reader.Redis, reader.Keys)
	}
	for _, r := range runners {
		r.count(f.metrics)
		f.ready = append(f.ready, metrics.RedisAnswers(r.Redis, r.Keys), r.isHeld)
	}
	return f, nil
}

func (f *figures) close() {
	for _, reader := range f.readers {
		_ = reader.Redis.Close()
	}
}

// serve serves the figures, and whether the process is well, at an address until stop is
// called.
func (f *figures) serve(address string, logger *log.Logger) (stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w; choose another address: --metrics 127.0.0.1:9465", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", f.metrics.Handler())
	mux.Handle("GET /healthz", metrics.Alive())
	mux.Handle("GET /readyz", metrics.Ready(f.ready...))
	server := &http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: logger.StandardLog(log.StandardLogOptions{ForceLevel: log.WarnLevel}),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("metrics are served no more; the services go on", "error", library.Plain(err.Error()))
		}
	}()
	logger.Info("serving metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	return func() {
		_ = server.Close() // who was just reading reads again later
		<-ended
	}, nil
}

// count has the figures of what a runner does counted.
func (r *runner) count(m *metrics.Metrics) {
	r.metrics = m
	r.lockFailed = m.LockFailed(r.Keys)
	r.decided = m.Decided(r.Keys)
	m.Outages(r.Keys, r.Outage)
	timed := map[any]bool{} // services may share a client
	for _, rdb := range r.clients {
		if !timed[rdb] {
			m.Time(rdb, r.Keys)
		}
		timed[rdb] = true
	}
}

// isHeld checks that the runner's name is held.
func (r *runner) isHeld(context.Context) error {
	switch instance := r.held.Load(); {
	case instance == nil:
		return fmt.Errorf("library %s: the name is not taken yet", r.Keys.Library)
	case !instance.Held():
		return fmt.Errorf("library %s: the name %s is not held now", r.Keys.Library, instance.Name())
	}
	return nil
}

// checkListen reports a flag that is no address to listen at, if it is given at all.
func checkListen(c *urfave.Context, flag string) error {
	address := c.String(flag)
	if address == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return cli.UsageError{Message: fmt.Sprintf("%s is a host and a port, such as 127.0.0.1:9465, not %s", cli.Source(c, flag), library.Printable(address))}
	}
	return nil
}
