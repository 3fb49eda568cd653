package redisconn

import (
	"bufio"
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
	"strings"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
)

// A localhost is who a server in a test says it is.
type localhost struct {
	tls             tls.Certificate
	certificate     string // PEM files
	key             string
	trusted         *x509.CertPool
	certificateText []byte
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
