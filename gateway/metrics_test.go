package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"example.com/library/metrics"
)

func TestProgramsReadMetricsAndHealthWithoutTheToken(t *testing.T) {
	s := open(t, func(c *Config) {
		c.Token, c.Metrics = token, metrics.New("1.2.3")
		c.Metrics.ReadState(c.Libraries[0].Redis, c.Libraries[0].Keys)
	})
	for path, want := range map[string]string{
		"/metrics": `library_read_success{figure="lending:books",library="main"} 1`,
		"/healthz": "alive",
		"/readyz":  "ready",
	} {
		if got := ask(s, elsewhere, "GET", path, nil); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), want) {
			t.Errorf("%s: %d %s, want 200 and %s", path, got.Code, got.Body, want)
		}
	}
}

func TestAGatewayIsReadyIfAllIsThatItRunsWith(t *testing.T) {
	s := open(t, func(c *Config) {
		c.Ready = []metrics.Check{func(context.Context) error { return errors.New("the name is not held") }}
	})
	if got := ask(s, here, "GET", "/readyz", nil); got.Code != http.StatusServiceUnavailable || got.Body.String() != "the name is not held\n" {
		t.Errorf("/readyz: %d %s, want 503", got.Code, got.Body)
	}
	if got := ask(s, here, "GET", "/metrics", nil); got.Code != http.StatusNotFound {
		t.Errorf("/metrics without any: %d, want 404", got.Code)
	}
}
