package redisconn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// The server refuses a client that shows no certificate and hangs up before the
// client has written anything: the write tells why.
func TestAWriteTellsWhyTheServerHungUp(t *testing.T) {
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
	trusted := x509.NewCertPool()
	trusted.AddCert(certificate)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		_ = tls.Server(connection, &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{text}, PrivateKey: key}}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted,
		}).Handshake()
		connection.Close()
	}()
	connection, err := dialTLS(&tls.Config{RootCAs: trusted, ServerName: "localhost"})(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	<-hungUp
	// The first write after the end is answered by a reset, and a later one fails.
	for deadline := time.Now().Add(20 * time.Second); err == nil && time.Now().Before(deadline); {
		_, err = connection.Write([]byte("PING\r\n"))
	}
	if KindOf(err) != Refused || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("the write fails with %v, of the kind %v, want the server's reason", err, KindOf(err))
	}
}
