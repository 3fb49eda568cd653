package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"example.com/library/internal/cli"
	"example.com/library/internal/expiry"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	urfave "github.com/urfave/cli/v2"
)

// serveEmbedded starts an in-memory Redis where the clients look for one, on
// loopback only, and says what to try next. Its error is a cli.UsageError, or
// says why the address cannot be listened at.
func serveEmbedded(c *urfave.Context, connection cli.Connection) (stop func(), err error) {
	client, ok := connection.Redis.(*redis.Client)
	addresses := 0
	for _, text := range c.StringSlice("address") {
		addresses += len(redisconn.SplitAddresses(text))
	}
	if !ok || addresses > 1 {
		return nil, cli.UsageError{Message: "an embedded server is one server: give one address and no --cluster, or leave --embedded out"}
	}
	if cli.HasRoles(c) {
		return nil, cli.UsageError{Message: "an embedded server knows no users but one: leave --password-dir out"}
	}
	config := client.Options()
	if config.Network != "tcp" || config.TLSConfig != nil {
		return nil, cli.UsageError{Message: "an embedded server listens on a TCP port without TLS: give a host:port, or leave --embedded out"}
	}
	host, port, err := net.SplitHostPort(config.Addr)
	if err != nil {
		return nil, err
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, cli.UsageError{Message: fmt.Sprintf("an embedded server listens on loopback only, not at %s; use localhost", library.Printable(host))}
	}
	server := miniredis.NewMiniRedis()
	if config.Password != "" {
		server.RequireAuth(config.Password)
	}
	address := net.JoinHostPort(host, port)
	if err := serve(server, address, config.Password != ""); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("something already listens at %s: if it is Redis, leave --embedded out; else choose another port, as in -a localhost:6380", address)
		}
		return nil, fmt.Errorf("serve an embedded Redis at %s: %w", address, err)
	}
	stopClock := expiry.Run(server, embeddedTick)
	flags := ""
	if host != "127.0.0.1" || port != "6379" {
		flags += " -a " + config.Addr
	}
	if name := connection.Keys.Library; name != "main" {
		flags += " --library " + name
	}
	// Standard error is for the log alone, which programs may read.
	_, err = fmt.Fprintf(c.App.Writer, "An embedded Redis serves at %s; it keeps nothing when this program stops.\nTry, in another terminal:\n\n    %s request%s user1 alice-in-wonderland geb invisible-cities\n\n",
		address, sibling("getbooks"), flags)
	stop = func() { stopClock(); server.Close() }
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// embeddedTick is how late a key of an embedded server may expire.
const embeddedTick = 500 * time.Millisecond

// sibling is how to call a program that stands beside this one, or else on the PATH.
func sibling(program string) string {
	beside := filepath.Join(filepath.Dir(os.Args[0]), program)
	if _, err := os.Stat(beside); err == nil && filepath.Base(os.Args[0]) != os.Args[0] {
		return beside
	}
	return program
}
