package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"example.com/library/lending"

	"golang.org/x/net/netutil"
)

// The limits of every connection. A handler that answers for longer than writeTimeout
// lifts it for itself, see http.ResponseController.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 90 * time.Second // a request that waits for a receipt is being read until it is answered
	writeTimeout   = 90 * time.Second
	idleTimeout    = 2 * time.Minute
	headerBytesMax = 16 << 10
	bodyBytesMax   = 256 << 10 // 100 books of 256 bytes, each written as escapes
	connectionsMax = 1024
	stopPatience   = 3 * time.Second
)

// A Server is a gateway.
type Server struct {
	config    Config
	libraries []*served
	handler   http.Handler
}

// A served library is one that the gateway shows, and what the gateway keeps of it.
type served struct {
	Library
	client *lending.Client
	state  *state
	feed   *feed
	audit  auditor
}

// New makes a gateway. It asks Redis nothing yet. Its error wraps ErrToken or
// library.ErrName.
func New(config Config) (*Server, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	s := &Server{config: config}
	for _, shown := range config.Libraries {
		client, err := lending.NewClient(shown.Redis, shown.Keys.Library)
		if err != nil {
			return nil, err
		}
		s.libraries = append(s.libraries, &served{Library: shown, client: client, state: newState(shown), feed: newFeed(shown, config.Log)})
	}
	s.handler = s.protect(s.routes())
	return s, nil
}

// routes has a line for each file that adds routes.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	s.pageRoutes(mux)
	s.stateRoutes(mux)
	s.feedRoutes(mux)
	s.auditRoutes(mux)
	s.signInRoutes(mux)
	s.metricsRoutes(mux)
	s.apiRoutes(mux)
	return mux
}

// Handler answers all requests. Serve gives it limits; who uses it elsewhere must do so.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers requests until ctx is done, and then returns nil. Its error wraps ErrOpen,
// or says why the gateway cannot serve there. The listener is closed in any case.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	if s.config.Token == "" && !isLoopback(listener.Addr().String()) {
		listener.Close()
		return ErrOpen
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          s.config.Log.StandardLog(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	scheme := "http"
	if s.config.Certificate != "" {
		scheme = "https"
	}
	s.config.Log.Info("the page is ready; open it in a browser", "url", scheme+"://"+listener.Addr().String()+"/")
	for _, l := range s.libraries {
		go s.sampling(ctx, l)
	}
	served := make(chan error, 1)
	go func() {
		limited := netutil.LimitListener(listener, connectionsMax)
		if s.config.Certificate != "" {
			served <- server.ServeTLS(limited, s.config.Certificate, s.config.Key)
		} else {
			served <- server.Serve(limited)
		}
	}()
	select {
	case err := <-served:
		server.Close()
		return err
	case <-ctx.Done():
	}
	patience, stop := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer stop()
	if err := server.Shutdown(patience); err != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends what the gateway keeps open of Redis, but not the clients it was given.
func (s *Server) Close() error {
	var failed error
	for _, library := range s.libraries {
		library.feed.close()
		failed = errors.Join(failed, library.client.Close())
	}
	return failed
}

// meant is the library that a request means; nil if the gateway does not show it.
func (s *Server) meant(r *http.Request) *served {
	name := r.URL.Query().Get("library")
	for _, library := range s.libraries {
		if name == "" || name == library.Keys.Library {
			return library
		}
	}
	return nil
}
