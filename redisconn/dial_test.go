package redisconn

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// A localhost is who a server in a test says it is.
type localhost struct {
	tls         tls.Certificate
	certificate string // PEM files
	key         string
	trusted     *x509.CertPool
}

func newLocalhost(t *testing.T) localhost {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	text, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := localhost{
		tls:         tls.Certificate{Certificate: [][]byte{text}, PrivateKey: key},
		certificate: filepath.Join(dir, "certificate.pem"), key: filepath.Join(dir, "key.pem"), trusted: x509.NewCertPool(),
	}
	l.trusted.AddCert(certificate)
	for path, block := range map[string]*pem.Block{
		l.certificate: {Type: "CERTIFICATE", Bytes: text}, l.key: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// listen serves each connection to a port of its own by a function, then closes it.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				serve(connection)
			}()
		}
	}()
	return "localhost" + strings.TrimPrefix(listener.Addr().String(), "127.0.0.1")
}

// The server refuses a client that shows no certificate and hangs up before the
// client has written anything: the write tells why.
func TestAWriteTellsWhyTheServerHungUp(t *testing.T) {
	server := newLocalhost(t)
	hungUp := make(chan struct{})
	address := listen(t, func(connection net.Conn) {
		_ = tls.Server(connection, &tls.Config{
			Certificates: []tls.Certificate{server.tls}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: server.trusted,
		}).Handshake()
		connection.Close()
		close(hungUp)
	})
	connection, err := (&dialer{tls: &tls.Config{RootCAs: server.trusted}}).dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	<-hungUp
	// The first write after the end is answered by a reset, and a later one fails.
	for deadline := time.Now().Add(patience.Long); err == nil && time.Now().Before(deadline); {
		_, err = connection.Write([]byte("PING\r\n"))
	}
	if KindOf(err) != Refused || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("the write fails with %v, of the kind %v, want the server's reason", err, KindOf(err))
	}
}

const denied = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. " +
	"In this mode connections are only accepted from the loopback interface.\r\n"

// Whatever answers at the address is told in plain words, with what to do about it.
func TestWhatIsWrongWithAServerIsHeard(t *testing.T) {
	server := newLocalhost(t)
	https := httptest.NewUnstartedServer(http.NotFoundHandler())
	https.Config.ErrorLog = log.New(io.Discard, "", 0)
	https.StartTLS()
	t.Cleanup(https.Close)
	plainHTTP := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plainHTTP.Close)
	says := func(words string) string {
		return listen(t, func(connection net.Conn) { _, _ = io.WriteString(connection, words) })
	}
	afterRead := func(words string) string {
		return listen(t, func(connection net.Conn) {
			_, _ = connection.Read(make([]byte, 1024))
			_, _ = io.WriteString(connection, words)
		})
	}
	inTLS := func(words string) string {
		return listen(t, func(connection net.Conn) {
			secure := tls.Server(connection, &tls.Config{Certificates: []tls.Certificate{server.tls}})
			_, _ = io.WriteString(secure, words)
			secure.Close()
		})
	}
	// Redis with TLS resets a connection on which it is spoken to without.
	resets := listen(t, func(connection net.Conn) {
		reader := bufio.NewReader(connection)
		if first, err := reader.Peek(1); err == nil && first[0] == handshakeRecord {
			_ = tls.Server(peeked{connection, reader}, &tls.Config{Certificates: []tls.Certificate{server.tls}}).Handshake()
		}
		_ = connection.(*net.TCPConn).SetLinger(0)
	})
	redisPort := redistest.StartCluster(t, 1, false).Masters[0].Address
	for name, test := range map[string]struct {
		address     string
		ssl         bool
		kind        Kind
		err, remedy string
	}{
		"protected mode":                   {says(denied), false, Refused, "DENIED Redis is running in protected mode", "requirepass"},
		"protected mode, after a command":  {afterRead(denied), false, Refused, "DENIED Redis is running in protected mode", "requirepass"},
		"protected mode, in TLS":           {inTLS(denied), true, Refused, "DENIED Redis is running in protected mode", "requirepass"},
		"Valkey's protected mode":          {says("-DENIED Running in protected mode because protected mode is enabled.\r\n"), false, Refused, "DENIED Running in protected mode", "requirepass"},
		"too many clients":                 {says("-ERR max number of clients reached\r\n"), false, Passing, "ERR max number of clients reached", ""},
		"too many clients of a node":       {says("-ERR max number of clients + cluster connections reached\r\n"), false, Passing, "max number of clients", ""},
		"a proxy's own words":              {says("-ERR the backend is away\r\n"), false, Passing, "ERR the backend is away", ""},
		"no word":                          {says(""), false, Passing, "the server hung up", ""},
		"no word, in TLS":                  {says(""), true, Passing, "dial tcp", ""},
		"TLS, spoken to without":           {resets, false, Refused, "the server speaks TLS", "--ssl"},
		"HTTPS, spoken to without":         {https.Listener.Addr().String(), false, Refused, "the server speaks TLS", "--ssl"},
		"no TLS, spoken to in TLS":         {redisPort, true, Refused, "the server does not speak TLS", "leave --ssl out"},
		"protected mode, spoken to in TLS": {says(denied), true, Refused, "the server does not speak TLS", "leave --ssl out"},
		"HTTP":                             {plainHTTP.Listener.Addr().String(), false, Refused, `it says "HTTP/1.1 400 Bad Request"`, "--address"},
		"HTTP, spoken to in TLS":           {plainHTTP.Listener.Addr().String(), true, Refused, `it says "HTTP/"`, "--address"},
		"SSH":                              {says("SSH-2.0-OpenSSH_9.2\r\n"), false, Refused, `it says "SSH-2.0-OpenSSH_9.2"`, "--address"},
		"a screen that it would clear":     {says("\x1b[2J\r\n"), false, Refused, `it says "\x1b[2J"`, "--address"},
		"nothing":                          {listen(t, func(connection net.Conn) { _, _ = io.Copy(io.Discard, connection) }), false, Passing, "i/o timeout", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, password := range []string{"", "sesame"} {
				rdb := connect(t, Options{Address: test.address, TLS: test.ssl, Password: password, Certificates: certificates(test.ssl, server)})
				ctx := deadline(t)
				err := rdb.Ping(ctx).Err()
				for strings.Contains(test.err, "TLS") && KindOf(err) == Passing && ctx.Err() == nil {
					err = rdb.Ping(ctx).Err() // the machine was too busy to find out in time
				}
				if KindOf(err) != test.kind || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, of kind %v, want %q of kind %v", err, KindOf(err), test.err, test.kind)
				}
				if test.remedy != "" && !strings.Contains(Remedy(err), test.remedy) {
					t.Errorf("Remedy(%v) = %q, want a word on %s", err, Remedy(err), test.remedy)
				}
			}
		})
	}
}

func certificates(ssl bool, server localhost) Certificates {
	if !ssl {
		return Certificates{}
	}
	return Certificates{CA: server.certificate}
}

// handshakeRecord is the first byte of TLS.
const handshakeRecord = 0x16

// A peeked connection is read by way of a reader that has looked ahead.
type peeked struct {
	net.Conn
	reader io.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.reader.Read(b) }

// A server that has vanished costs one silence, not one for each connection to it.
func TestAServerThatVanishedCostsOneSilence(t *testing.T) {
	t.Parallel()
	first, second := redistest.Start(t), redistest.Start(t)
	var mu sync.Mutex
	upstream, frozen := first.Path(), make(chan struct{})
	address := listen(t, func(client net.Conn) {
		mu.Lock()
		path, frozen := upstream, frozen
		mu.Unlock()
		server, err := net.Dial("unix", path)
		if err != nil {
			return
		}
		defer server.Close()
		pass := func(from, to net.Conn) {
			for text := make([]byte, 1<<16); ; {
				n, err := from.Read(text)
				select {
				case <-frozen:
					<-t.Context().Done()
				default:
				}
				if _, failed := to.Write(text[:n]); err != nil || failed != nil {
					return
				}
			}
		}
		go pass(server, client)
		pass(client, server)
	})
	rdb := connect(t, Options{Address: address})
	ctx := deadline(t)
	var asking sync.WaitGroup
	for range 8 { // as many connections
		asking.Go(func() {
			err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{"stream", "$"}, Block: 200 * time.Millisecond}).Err()
			if err != redis.Nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	heard := rdb.Subscribe(ctx, "bell")
	defer heard.Close()
	if _, err := heard.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	bells := heard.Channel()

	mu.Lock()
	close(frozen)
	upstream, frozen = second.Path(), make(chan struct{})
	mu.Unlock()
	began := time.Now()
	if err := rdb.Ping(ctx).Err(); KindOf(err) != Passing || !strings.Contains(err.Error(), "no answer within ") {
		t.Errorf("%v, of kind %v, want no answer, which passes", err, KindOf(err))
	}
	for i := range 8 {
		if err := rdb.Incr(ctx, "n").Err(); err != nil {
			t.Errorf("command %d after that: %v", i, err)
		}
	}
	if took := time.Since(began); took > 3*commandPatience {
		t.Errorf("it took %s, want one silence of %s", took, commandPatience)
	}
	for {
		if err := second.Client(t).Publish(ctx, "bell", "ring").Err(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-bells:
			t.Logf("the bell was heard after %s", time.Since(began))
			return
		case <-ctx.Done():
			t.Fatal("the bell is not heard any more")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// idle starts a server that hangs up on clients that are idle for a second, and
// returns once it has done so to all of rdb's.
func hangUpOnIdle(t *testing.T, ctx context.Context, server *redistest.Server) {
	t.Helper()
	direct := server.Client(t)
	for {
		clients, err := direct.ClientList(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(clients, "\n") == 1 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAServerThatHangsUpOnTheIdleDisturbsNobody(t *testing.T) {
	certified := newLocalhost(t)
	for _, ssl := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[ssl], func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			port := freePort(t)
			args := []string{"--timeout", "1", "--bind", "127.0.0.1", "--port", port}
			if ssl {
				args = []string{
					"--timeout", "1", "--bind", "127.0.0.1", "--tls-port", port, "--tls-auth-clients", "no",
					"--tls-cert-file", certified.certificate, "--tls-key-file", certified.key, "--tls-ca-cert-file", certified.certificate,
				}
			}
			server := redistest.Start(t, args...)
			rdb := connect(t, Options{Address: "localhost:" + port, TLS: ssl, Certificates: certificates(ssl, certified)})
			keys := library.Keys{Library: "main"}
			for i := range 3 {
				// One that must not be repeated, since it may have taken effect.
				if n, err := rdb.Incr(ctx, keys.Key("n")).Result(); err != nil || n != int64(i+1) {
					t.Fatalf("command %d: %d, %v", i, n, err)
				}
				hangUpOnIdle(t, ctx, server)
			}
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// A look-up is repeated once, whether it is one command or several.
func TestOnlyALookUpIsRepeatedWhenTheServerHangsUp(t *testing.T) {
	server := redistest.Start(t)
	for name, test := range map[string]struct {
		send    func(ctx context.Context, rdb redis.UniversalClient) error
		repeats bool
	}{
		"GET": {func(ctx context.Context, rdb redis.UniversalClient) error { return rdb.HGetAll(ctx, "key").Err() }, true},
		"XRANGE": {func(ctx context.Context, rdb redis.UniversalClient) error {
			return rdb.XRange(ctx, "stream", "-", "+").Err()
		}, true},
		"a pipeline of look-ups": {func(ctx context.Context, rdb redis.UniversalClient) error {
			_, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error { return errorOf(pipe.HLen(ctx, "a"), pipe.Exists(ctx, "b")) })
			return err
		}, true},
		"a transaction of look-ups": {func(ctx context.Context, rdb redis.UniversalClient) error {
			return Transaction(ctx, rdb, func(pipe redis.Pipeliner) { pipe.HLen(ctx, "a"); pipe.Time(ctx) })
		}, true},
		"XADD": {func(ctx context.Context, rdb redis.UniversalClient) error {
			return rdb.XAdd(ctx, &redis.XAddArgs{Stream: "stream", Values: []string{"a", "b"}}).Err()
		}, false},
		"a script": {func(ctx context.Context, rdb redis.UniversalClient) error {
			return rdb.Eval(ctx, "return 1", []string{"a"}).Err()
		}, false},
		"a pipeline with one write": {func(ctx context.Context, rdb redis.UniversalClient) error {
			_, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error { return errorOf(pipe.HLen(ctx, "a"), pipe.Incr(ctx, "n")) })
			return err
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			proxy := redistest.NewProxy(t, server)
			rdb := connect(t, Options{Address: proxy.Addr()})
			if err := rdb.Ping(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			lose := func() { proxy.DropReply(func(args []string) bool { return args[0] != "hello" && args[0] != "multi" }) }
			lose()
			err := test.send(ctx, rdb)
			if test.repeats && err != nil || !test.repeats && KindOf(err) != Passing || proxy.Faults() != 1 {
				t.Errorf("after the connection was lost: %v (lost: %d), want it repeated: %v", err, proxy.Faults(), test.repeats)
			}
			lose()
			lose()
			if err := test.send(ctx, rdb); KindOf(err) != Passing {
				t.Errorf("after the connection was lost twice: %v, want an error that passes", err)
			}
		})
	}
}

func errorOf(cmds ...redis.Cmder) error {
	for _, cmd := range cmds {
		if cmd.Err() != nil {
			return cmd.Err()
		}
	}
	return nil
}

// The server itself tells which commands change nothing.
func TestEachLookUpChangesNothing(t *testing.T) {
	ctx := deadline(t)
	rdb := redistest.Start(t).Client(t)
	known, err := rdb.Command(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lookUps {
		command := known[name]
		switch {
		case command == nil:
			t.Errorf("the server has no command %s", name)
		case name == "xinfo": // all of its subcommands are look-ups
		case name == "multi", name == "exec", name == "ping", name == "time": // which touch no key
			if command.FirstKeyPos != 0 {
				t.Errorf("%s names a key", name)
			}
		case !command.ReadOnly:
			t.Errorf("%s may change something", name)
		}
	}
}

func TestAHangUpIsToldInOneSentence(t *testing.T) {
	err := fmt.Errorf("look up the card: %w", &HangUpError{Said: strings.TrimSpace(denied[1:]), Err: io.EOF})
	want := "look up the card: DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user"
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if KindOf(err) != Refused {
		t.Errorf("KindOf(%v) = %v, want Refused", err, KindOf(err))
	}
}
