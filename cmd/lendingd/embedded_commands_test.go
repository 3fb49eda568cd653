package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// A connection in MONITOR whose terminal stands still must not stop the server.
func TestAMonitorThatDoesNotReadStopsNobody(t *testing.T) {
	server := miniredis.NewMiniRedis()
	if err := serve(server, "127.0.0.1:0", false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	deadline := time.Now().Add(2 * time.Minute)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	monitor, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	if err := monitor.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(monitor, "*1\r\n$7\r\nMONITOR\r\n")
	lines := bufio.NewScanner(monitor)
	if !lines.Scan() || lines.Text() != "+OK" {
		t.Fatalf("MONITOR is answered %q, %v", lines.Text(), lines.Err())
	}

	// More than what may wait, and far more than what two sockets hold.
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, ReadTimeout: -1, WriteTimeout: -1})
	defer rdb.Close()
	text := strings.Repeat("x", 2000)
	const commands = linesMax + 10_000
	for from := 0; from < commands; from += 1000 {
		_, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i := range 1000 {
				pipe.Set(ctx, "key", fmt.Sprint(from+i, " ", text), 0)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("while a monitor does not read: %v", err)
		}
	}

	// Once it reads, it is shown what waited, and then how many were left out.
	shown, lost := 0, 0
	for lost == 0 {
		if !lines.Scan() {
			t.Fatalf("the monitor was shown %d commands, then: %v", shown, lines.Err())
		}
		if strings.Contains(lines.Text(), `"set"`) {
			shown++
		}
		if _, err := fmt.Sscanf(lines.Text(), "+(%d commands are left out", &lost); err != nil {
			// One more is needed for the server to find room, and tell.
			if err := rdb.Ping(ctx).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if shown < linesMax || shown+lost < commands {
		t.Errorf("of %d commands %d were shown, and %d are said to be left out", commands, shown, lost)
	}
}
