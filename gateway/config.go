package gateway

import (
	"errors"
	"fmt"

	"example.com/library/library"
	"example.com/library/metrics"

	"github.com/charmbracelet/log"
	"github.com/redis/go-redis/v9"
)

// tokenBytesMin is how long a token must be, so that nobody guesses it.
const tokenBytesMin = 16

var (
	// ErrToken is returned by New when the token is too short to be one.
	ErrToken = errors.New("the token is too short")

	// ErrOpen is returned by Serve when the listener is not on loopback and there is no
	// token: anybody could see who reads what, and lend books.
	ErrOpen = errors.New("beyond loopback the gateway needs a token")
)

// A Library is one that the gateway shows.
type Library struct {
	// Redis is the server that has the library, see redisconn.Connect.
	Redis redis.UniversalClient
	// Keys name the library.
	Keys library.Keys
}

// Config says what a gateway shows, and to whom.
type Config struct {
	// Libraries are those that it shows, at least one. A request that names none, as in
	// ?library=north, means the first.
	Libraries []Library
	// Log receives what the gateway itself has to tell.
	Log *log.Logger
	// Token is what staff show, at least 16 bytes. Default: none; then only who connects
	// from loopback is staff, and the gateway listens nowhere else.
	Token string
	// Hosts are names, besides those of loopback and the address that a request came to,
	// under which browsers may ask for the gateway. Default: none.
	Hosts []string
	// Metrics are served at /metrics. Default: none.
	Metrics *metrics.Metrics
	// Ready are what /readyz checks besides whether Redis answers. Default: nothing.
	Ready []metrics.Check
	// Certificate and Key are the files of TLS, in PEM. Default: none, plain HTTP.
	Certificate, Key string
}

func (c *Config) check() error {
	if len(c.Libraries) == 0 {
		return errors.New("a gateway shows at least one library")
	}
	if c.Token != "" && len(c.Token) < tokenBytesMin {
		return fmt.Errorf("%w: it has %d bytes; at least %d are needed", ErrToken, len(c.Token), tokenBytesMin)
	}
	return nil
}
