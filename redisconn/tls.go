package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"

	"example.com/library/library"
)

// Certificates are files in PEM format that a TLS connection is made with.
type Certificates struct {
	// CA has the certificates of those who may vouch for the server. Default: those the
	// system trusts.
	CA string
	// Certificate and Key are what this program shows to a server that asks who it
	// is. Default: nothing.
	Certificate, Key string
}

// apply reads the files into a configuration, which is nil where there is no TLS.
func (c Certificates) apply(config *tls.Config) error {
	switch {
	case c == Certificates{}:
		return nil
	case config == nil:
		return fmt.Errorf("%w: certificates are of no use without TLS: say --ssl, or rediss:// in the address", ErrAddress)
	case (c.Certificate == "") != (c.Key == ""):
		return fmt.Errorf("%w: a client certificate and its key are given together, by --ssl-cert and --ssl-key", ErrAddress)
	}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return fmt.Errorf("read the CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("read the CA: %s holds no certificate in PEM format", library.Printable(c.CA))
		}
	}
	if c.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return fmt.Errorf("read the client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// tlsAlerts are the words of a server that does not believe a client. TLS has others,
// and those pass.
var tlsAlerts = regexp.MustCompile(`certificate|handshake failure|access denied|error decrypting message`)

// tlsRemedy tells whether an error says that one end of a TLS connection does not
// believe the other, and what can be done about it. Trying again changes nothing.
func tlsRemedy(err error) (remedy string, is bool) {
	var unverified *tls.CertificateVerificationError
	var failed *net.OpError
	switch {
	case errors.As(err, &unverified):
		var expired x509.CertificateInvalidError
		var name x509.HostnameError
		switch {
		case errors.As(err, &name):
			return "address the server by a name that is in its certificate", true
		case errors.As(err, &expired) && expired.Reason == x509.Expired:
			return "renew the server's certificate, or set this machine's clock", true
		}
		return "name the CA that vouches for this server by --ssl-ca", true
	case errors.As(err, &failed) && failed.Op == "remote error" && strings.Contains(err.Error(), "certificate required"):
		return "the server asks who this is: give --ssl-cert and --ssl-key", true
	case errors.As(err, &failed) && failed.Op == "remote error" && tlsAlerts.MatchString(err.Error()):
		return "the server does not accept this program's certificate, or none: give one that its CA vouches for by --ssl-cert and --ssl-key", true
	}
	return "", false
}
