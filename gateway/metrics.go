package gateway

import (
	"net/http"
	"slices"

	"example.com/library/metrics"
)

// metricsRoutes are for programs that watch the gateway. They name no user.
func (s *Server) metricsRoutes(mux *http.ServeMux) {
	mux.Handle("GET /healthz", metrics.Alive())
	ready := slices.Clone(s.config.Ready)
	for _, shown := range s.config.Libraries {
		ready = append(ready, metrics.RedisAnswers(shown.Redis, shown.Keys))
	}
	mux.Handle("GET /readyz", metrics.Ready(ready...))
	if s.config.Metrics != nil {
		mux.Handle("GET /metrics", s.config.Metrics.Handler())
	}
}
