package cmd_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/library"
)

// An authority vouches for certificates that it makes, for a test.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string // its certificate
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.certificate = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.file, _, a.key = a.sign(a.certificate)
	return a
}

// issue makes a certificate for a server's names, or for a client, that is valid
// until an end.
func (a *authority) issue(end time.Time, names ...string) (certificate, key string) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a server or a client"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	certificate, key, _ = a.sign(template)
	return certificate, key
}

func (a *authority) sign(template *x509.Certificate) (certificate, keyFile string, key *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key // the authority vouches for itself
	}
	text, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	write := func(name, kind string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: text}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return write("certificate.pem", "CERTIFICATE", text), write("key.pem", "PRIVATE KEY", secret), key
}

// startTLS starts a server that speaks TLS at a port of localhost, and to nobody
// without a certificate that the authority vouches for.
func startTLS(t testing.TB, clients *authority, certificate, key string) (port int64) {
	t.Helper()
	port = freePort(t)
	redistest.Start(t, "--bind", "127.0.0.1", "--tls-port", fmt.Sprint(port), "--tls-auth-clients", "yes",
		"--tls-ca-cert-file", clients.file, "--tls-cert-file", certificate, "--tls-key-file", key)
	return port
}

func TestBothProgramsSpeakTLS(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t, "ours")
	certificate, key := ours.issue(time.Now().Add(time.Hour), "localhost", "127.0.0.1")
	port := startTLS(t, ours, certificate, key)
	mine, myKey := ours.issue(time.Now().Add(time.Hour))

	env := []string{"LENDING_TIMEOUT=1m", "LENDING_SSL_CA=" + ours.file, "LENDING_SSL_CERT=" + mine, "LENDING_SSL_KEY=" + myKey}
	worker := programtest.Start(t, env, "lendingd", "-a", fmt.Sprintf("rediss://localhost:%d", port), "worker1")
	if err := worker.Await(fmt.Sprintf("serving .* redis=rediss://localhost:%d", port)); err != nil {
		t.Fatal(err)
	}
	get(t, env, 0, "request", "user1", "geb", "-a", fmt.Sprintf("rediss://127.0.0.1:%d", port))
	get(t, env, 0, "return", "user1", "geb", "-a", fmt.Sprintf("localhost:%d", port), "--ssl")
	flags := []string{"-a", fmt.Sprintf("localhost:%d", port), "--ssl", "--ssl-ca", ours.file, "--ssl-cert", mine, "--ssl-key", myKey}
	get(t, env[:1], 0, append([]string{"card", "user1"}, flags...)...)
	status := programtest.Start(t, nil, "lendingd", append([]string{"status"}, flags...)...)
	if code, err := status.Wait(); code != 0 || err != nil {
		t.Errorf("status ended with code %d, %v", code, err)
	}
}

// Whatever one end does not believe of the other ends the program, and at once: it
// would be no different at the next try.
func TestWhoIsNotBelievedIsToldSo(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	certificate, key := ours.issue(later, "localhost")
	good := startTLS(t, ours, certificate, key)
	certificate, key = ours.issue(before, "localhost")
	expired := startTLS(t, ours, certificate, key)
	mine, myKey := ours.issue(later)
	old, oldKey := ours.issue(before)
	foreign, foreignKey := theirs.issue(later)
	for name, test := range map[string]struct {
		host      string
		port      int64
		ca        string
		cert, key string
		want      string
	}{
		"an unknown CA":          {"localhost", good, theirs.file, mine, myKey, "certificate signed by unknown authority.*; name the CA that vouches for this server by --ssl-ca"},
		"no CA":                  {"localhost", good, "", mine, myKey, "certificate signed by unknown authority.*; name the CA that vouches for this server by --ssl-ca"},
		"an expired server":      {"localhost", expired, ours.file, mine, myKey, "certificate has expired.*; renew the server's certificate, or set this machine's clock"},
		"a wrong name":           {"127.0.0.1", good, ours.file, mine, myKey, "cannot validate certificate for 127.0.0.1.*; address the server by a name that is in its certificate"},
		"no client certificate":  {"localhost", good, ours.file, "", "", "remote error: tls: certificate required; the server asks who this is: give --ssl-cert and --ssl-key"},
		"an expired client":      {"localhost", good, ours.file, old, oldKey, "remote error: tls: expired certificate; the server does not accept this program's certificate"},
		"a client of another CA": {"localhost", good, ours.file, foreign, foreignKey, "remote error: tls: unknown certificate authority; the server does not accept this program's certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{fmt.Sprintf("LENDING_ADDRESS=rediss://%s:%d", test.host, test.port),
				"LENDING_SSL_CA=" + test.ca, "LENDING_SSL_CERT=" + test.cert, "LENDING_SSL_KEY=" + test.key, "LENDING_TIMEOUT=1m"}
			for _, line := range []string{"getbooks request user1 geb", "getbooks card user1", "getbooks watch", "lendingd worker1", "lendingd status", "lendingd rejected"} {
				words := strings.Fields(line)
				program := programtest.Start(t, env, words[0], words[1:]...)
				// Await has less patience than a program that tries for ever.
				if err := program.Await(`(?s)^` + words[0] + `: .*` + test.want); err != nil {
					t.Errorf("%s: %v", line, err)
					continue
				}
				if code, err := program.Wait(); code != 1 || err != nil {
					t.Errorf("%s ended with code %d, %v, want 1", line, code, err)
				}
				if strings.Contains(program.Output(), "trying again") {
					t.Errorf("%s tried again:\n%s", line, program.Output())
				}
			}
		})
	}
}

// Whatever else answers at the address ends the program too, with what to do about it.
func TestWhatIsNotTheRedisThatWasMeantIsToldSo(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t, "ours")
	certificate, key := ours.issue(time.Now().Add(time.Hour), "localhost")
	encrypted := startTLS(t, ours, certificate, key)
	plain := freePort(t)
	redistest.Start(t, "--bind", "127.0.0.1", "--port", fmt.Sprint(plain))
	lacking := redistest.Start(t, "--rename-command", "XACK", "", "--rename-command", "HGETALL", "", "--rename-command", "XLEN", "", "--rename-command", "XRANGE", "")
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	everything := []string{"getbooks request user1 geb", "getbooks card user1", "getbooks watch", "lendingd worker1", "lendingd status", "lendingd rejected"}
	for name, test := range map[string]struct {
		address string
		lines   []string
		want    string
	}{
		"TLS, spoken to without":   {fmt.Sprintf("redis://localhost:%d", encrypted), everything, "the server speaks TLS and hung up on a client that does not; say --ssl"},
		"no TLS, spoken to in TLS": {fmt.Sprintf("rediss://localhost:%d", plain), everything, "the server does not speak TLS; leave --ssl out"},
		"a web server":             {web.Listener.Addr().String(), everything, `what answers is no Redis, it says "HTTP/1.1 400 Bad Request"; say where Redis is by --address`},
		// A worker without orders has no use for XACK. When one comes, it must not be set aside.
		"commands that were renamed": {lacking.URL(), []string{"getbooks request user1 geb --no-wait", "lendingd worker1", "getbooks card user1", "lendingd status", "lendingd rejected"}, "rename-command"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"LENDING_ADDRESS=" + test.address, "LENDING_SSL_CA=", "LENDING_TIMEOUT=15s"}
			for _, line := range test.lines {
				words := strings.Fields(line)
				program := programtest.Start(t, env, words[0], words[1:]...)
				if strings.HasSuffix(line, "--no-wait") {
					if code, err := program.Wait(); code != 0 || err != nil {
						t.Errorf("%s ended with code %d, %v, want 0", line, code, err)
					}
					continue
				}
				if err := program.Await(`(?m)^` + words[0] + `: .*` + test.want); err != nil {
					t.Errorf("%s: %v", line, err)
					continue
				}
				if code, err := program.Wait(); code != 1 || err != nil {
					t.Errorf("%s ended with code %d, %v, want 1", line, code, err)
				}
			}
		})
	}
}

// Certificates without TLS would be forgotten silently, and so would a half of a pair.
func TestCertificatesMustBeOfUse(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t, "ours")
	mine, myKey := ours.issue(time.Now().Add(time.Hour))
	open := filepath.Join(t.TempDir(), "open.pem")
	text, err := os.ReadFile(myKey)
	if err == nil {
		err = os.WriteFile(open, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"-a localhost:1 --ssl-ca " + ours.file, 2, "certificates are of no use without TLS"},
		{"-a /no/such.sock --ssl-ca " + ours.file, 2, "certificates are of no use without TLS"},
		{"-a localhost:1 --ssl --ssl-cert " + mine, 2, "given together"},
		{"-a localhost:1 --ssl --ssl-key " + myKey, 2, "given together"},
		{"-a localhost:1 --ssl --ssl-cert " + mine + " --ssl-key " + open, 2, "others can read the key"},
		{"-a localhost:1 --ssl --ssl-ca /no/such.pem", 1, "read the CA: .*no such file"},
		{"-a localhost:1 --ssl --ssl-ca " + os.Args[0], 1, "holds no certificate in PEM format"},
		{"-a localhost:1 --ssl --ssl-cert " + mine + " --ssl-key /no/such.pem", 1, "read the key: .*no such file"},
		{"-a localhost:1 --ssl --ssl-cert " + ours.file + " --ssl-key " + myKey, 1, "read the client certificate: "},
	} {
		asker := programtest.Start(t, nil, "getbooks", append(strings.Fields(test.args), "card", "user1")...)
		if err := asker.Await(test.want); err != nil {
			t.Error(err)
		}
		if code, err := asker.Wait(); code != test.code || err != nil {
			t.Errorf("getbooks %s ended with code %d, %v, want %d", test.args, code, err, test.code)
		}
	}
}

// The nodes of a Cluster have certificates of their own, by the names they go by.
func TestAClusterSpeaksTLS(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t, "ours")
	certificate, key := ours.issue(time.Now().Add(time.Hour), "127.0.0.1", "localhost")
	c := redistest.StartCluster(t, 2, false, "--tls-cluster", "yes", "--tls-ca-cert-file", ours.file, "--tls-cert-file", certificate, "--tls-key-file", key)
	// The Cluster is asked for by one name of its first node, and tells of both nodes by
	// another. The second has a certificate for that one only.
	address := strings.Replace(c.Addresses()[0], "127.0.0.1", "localhost", 1)
	certificate, key = ours.issue(time.Now().Add(time.Hour), "127.0.0.1")
	if err := c.Masters[1].Client(t).Do(t.Context(), "CONFIG", "SET", "tls-cert-file", certificate, "tls-key-file", key).Err(); err != nil {
		t.Fatal(err)
	}
	mine, myKey := ours.issue(time.Now().Add(time.Hour))
	env := []string{"LENDING_TIMEOUT=1m", "LENDING_CLUSTER=true", "LENDING_ADDRESS=" + address,
		"LENDING_SSL=true", "LENDING_SSL_CA=" + ours.file, "LENDING_SSL_CERT=" + mine, "LENDING_SSL_KEY=" + myKey}
	for i := range 2 {
		name := ""
		for n := 0; name == ""; n++ {
			if tried := fmt.Sprintf("branch-%d", n); c.Owner(t, library.Keys{Library: tried}.Events()) == i {
				name = tried
			}
		}
		worker := programtest.Start(t, env, "lendingd", "--library", name, "worker1")
		if err := worker.Await("serving"); err != nil {
			t.Fatal(err)
		}
		get(t, env, 0, "request", "user1", "geb", "--library", name)
	}
}
