package redisconn

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// dialPatience is how long a connection may take to be made, TLS included.
const dialPatience = 2 * time.Second

// dialTLS makes connections that hear why the server hung up.
func dialTLS(config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialPatience)
		defer cancel()
		connection, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return hearing{connection.(*tls.Conn)}, nil
	}
}

// A hearing connection tells what the server said before it hung up. In TLS 1.3 a
// client may write before the server has looked at its certificate. If the server
// then refuses it and hangs up, the write fails with a reset, which would pass, though
// the reason has arrived and waits to be read.
type hearing struct{ *tls.Conn }

func (h hearing) Write(text []byte) (int, error) {
	n, err := h.Conn.Write(text)
	if err == nil {
		return n, nil
	}
	const soon = 100 * time.Millisecond
	if h.SetReadDeadline(time.Now().Add(soon)) == nil {
		_, heard := h.Read(make([]byte, 1))
		if _, is := distrust(heard); is {
			err = heard
		}
	}
	return n, err
}
