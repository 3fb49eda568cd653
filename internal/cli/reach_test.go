package cli

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"
)

// Whoever looks something up is told within a second, whatever is wrong with the
// server, and that it was a look-up. The others have more patience.
func TestALookUpThatCannotReachRedisFailsSoon(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	full := redistest.Start(t, "--maxclients", "1")
	client, err := net.Dial("unix", full.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	for name, test := range map[string]struct {
		options redisconn.Options
		want    string
	}{
		"nobody listens":             {redisconn.Options{Address: "127.0.0.1:1"}, "no Redis answers at redis://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; this was a look-up"},
		"nobody answers":             {redisconn.Options{Address: silent.Addr().String()}, "no Redis answers at redis://" + silent.Addr().String() + ": no answer within "},
		"nobody answers in TLS":      {redisconn.Options{Address: silent.Addr().String(), TLS: true}, "no Redis answers at rediss://" + silent.Addr().String() + ": no answer within "},
		"no node of a Cluster does":  {redisconn.Options{Addresses: []string{"127.0.0.1:1", silent.Addr().String()}, Cluster: true}, "no Redis answers at redis://127.0.0.1:1,"},
		"the server takes no client": {redisconn.Options{Address: full.Path()}, "cannot serve just now: ERR max number of clients reached; this was a look-up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, err := redisconn.Connect(test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer rdb.Close()
			begin := time.Now()
			err = Reach(context.Background(), rdb, library.Keys{Library: "main"}, ToLookUp)
			if took := time.Since(begin); took > ToSend.patience {
				t.Errorf("it took %s, want about %s", took, ToLookUp.patience)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "this was a look-up") {
				t.Errorf("%v, want %q", err, test.want)
			}
			if strings.HasPrefix(test.want, "no Redis") != errors.Is(err, ErrNoServer) {
				t.Errorf("%v wraps ErrNoServer: %v", err, errors.Is(err, ErrNoServer))
			}
		})
	}
}

func TestReachWaitsForAServerThatComesBack(t *testing.T) {
	server := redistest.Start(t)
	rdb, err := redisconn.Connect(redisconn.Options{Address: server.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	server.Kill(t)
	reached := make(chan error, 1)
	go func() { reached <- Reach(context.Background(), rdb, library.Keys{Library: "main"}, ToSend) }()
	server.Restart(t)
	if err := <-reached; err != nil {
		t.Error(err)
	}
}
