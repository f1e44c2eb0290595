package httptool

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
)

// tlsOptions are of the connection's own host; others have what everybody has.
type tlsOptions struct {
	// CA vouches for the upstream in place of the public authorities. It is no
	// secret, unlike the certificate that the upstream is shown.
	CA     string `json:"ca,omitempty"`
	Client bool   `json:"client,omitempty"`
}

// Paths of the client certificate's secrets.
const (
	fieldCertificate = "tls.certificate"
	fieldPrivateKey  = "tls.private_key"
)

const (
	maxPEM        = 64 << 10 // bytes of certificates with their chain, or of a key
	maxCAs        = 20
	maxTransports = 4 // of versions of a server's secrets
)

// tls reads how the connection is encrypted.
func (c connectionChecker) tls(o registry.Object, to *connection) {
	v := o.Value("tls")
	if v == nil {
		return
	}
	t := c.Object(v, o.At("tls"), "ca", "certificate", "private_key")
	to.TLS = &tlsOptions{}
	if strings.HasPrefix(to.BaseURL, "http://") {
		o.Bad("tls", "means nothing for http://", "write https:// into base_url, or remove it")
	}
	switch ca := t.Value("ca"); {
	case ca == nil:
	case registry.Referred(ca):
		t.Bad("ca", "is given as a secret, which it is not", "write the certificate itself, in PEM")
	default:
		to.TLS.CA = ca.Value
		if _, err := authorities(ca.Value); err != nil {
			t.Bad("ca", err.Error(), "write certificates in PEM, from -----BEGIN CERTIFICATE----- on")
		}
	}
	if t.Has("certificate") || t.Has("private_key") {
		to.TLS.Client = true
		c.referred(t, "tls", "certificate")
		c.referred(t, "tls", "private_key")
		c.pair(t)
	}
	if to.TLS.CA == "" && !to.TLS.Client {
		o.Bad("tls", "says nothing", "write ca, or certificate and private_key")
	}
}

// pair holds a certificate and its key against each other, where both were sent.
func (c connectionChecker) pair(t registry.Object) {
	cert, key := c.secrets[fieldCertificate].Reveal(), c.secrets[fieldPrivateKey].Reveal()
	if cert == "" || key == "" || cert == registry.Set || key == registry.Set {
		return
	}
	one, err := clientCertificate(cert, key)
	switch {
	case err != nil:
		t.Bad("certificate", err.Error(), "give a certificate with its chain and its private key, both in PEM, the key without a password")
	case time.Now().After(one.Leaf.NotAfter):
		t.Bad("certificate", "has expired on "+one.Leaf.NotAfter.UTC().Format(time.DateOnly), "give one that is valid")
	}
}

// authorities reads certificates in PEM.
func authorities(text string) (*x509.CertPool, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("is larger than %d kB", maxPEM>>10)
	}
	pool, n := x509.NewCertPool(), 0
	for rest := []byte(text); ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("holds something else than certificates")
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("has a certificate (number %d) that cannot be read", n+1)
		}
		if !one.IsCA {
			return nil, fmt.Errorf("has a certificate (number %d) that may not vouch for others", n+1)
		}
		pool.AddCert(one)
	}
	if n == 0 || n > maxCAs {
		return nil, fmt.Errorf("holds %d certificates in PEM; 1 to %d are taken", n, maxCAs)
	}
	return pool, nil
}

// clientCertificate reads a certificate and its key; its errors say nothing of
// them.
func clientCertificate(cert, key string) (tls.Certificate, error) {
	if len(cert) > maxPEM || len(key) > maxPEM {
		return tls.Certificate{}, fmt.Errorf("or its key is larger than %d kB", maxPEM>>10)
	}
	one, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil || one.Leaf == nil {
		return tls.Certificate{}, errors.New("cannot be read, or is not of its private key")
	}
	return one, nil
}

// transports are those to the connection's own host, by the version of the secrets
// whose certificate they show: a connection that was made with one is never used
// with another. They end with the lease.
type transports struct {
	mu  sync.Mutex
	all map[string]*ownTransport
}

type ownTransport struct {
	schemes
	leaf *x509.Certificate // nil: no certificate is shown
	end  *time.Timer
}

// own gives the transport of a call to the connection's own host.
func (cl *client) own(cred runtime.Credential) (schemes, error) {
	if cl.connection.TLS == nil || !cl.connection.TLS.Client {
		return cl.transport, nil
	}
	cl.certified.mu.Lock()
	defer cl.certified.mu.Unlock()
	t := cl.certified.all[cred.ID]
	if t == nil {
		var err error
		if t, err = cl.certify(cred); err != nil {
			return schemes{}, err
		}
	}
	if t.end != nil {
		t.end.Reset(time.Until(cred.Until))
	}
	if now := time.Now(); now.After(t.leaf.NotAfter) || now.Before(t.leaf.NotBefore) {
		return schemes{}, fault.New(fault.CertificateRefused, "The certificate with which this server logs in is valid from %s to %s, and not now. Nothing was done. Do not retry; ask an administrator to give the server's connection another.",
			t.leaf.NotBefore.UTC().Format(time.DateOnly), t.leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return t.schemes, nil
}

// certify makes the transport of a version of the secrets.
func (cl *client) certify(cred runtime.Credential) (*ownTransport, error) {
	one, err := clientCertificate(cred.Fields[fieldCertificate].Reveal(), cred.Fields[fieldPrivateKey].Reveal())
	if err != nil {
		if cred.Discard != nil {
			cred.Discard()
		}
		return nil, fault.New(fault.CredentialsAway, "The certificate of this server cannot be used. Nothing was done. Tell your administrator to set its connection again.").Because(fmt.Errorf("the certificate %w", err))
	}
	t := &ownTransport{schemes: cl.transport, leaf: one.Leaf}
	t.https = cl.policy.Transport()
	t.https.TLSClientConfig = cl.transport.https.TLSClientConfig.Clone()
	// It is shown whatever authorities the upstream names, so that the upstream says
	// what is wrong with it.
	t.https.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &one, nil }
	for len(cl.certified.all) >= maxTransports {
		for id := range cl.certified.all { // of versions that are over, most likely
			cl.certified.drop(id)
			break
		}
	}
	if cl.certified.all == nil {
		cl.certified.all = map[string]*ownTransport{}
	}
	t.end = time.AfterFunc(time.Until(cred.Until), func() {
		cl.certified.mu.Lock()
		defer cl.certified.mu.Unlock()
		if cl.certified.all[cred.ID] == t {
			cl.certified.drop(cred.ID)
		}
	})
	cl.certified.all[cred.ID] = t
	return t, nil
}

// drop ends one; calls that are under way finish. The lock is held.
func (ts *transports) drop(id string) {
	t := ts.all[id]
	delete(ts.all, id)
	t.end.Stop()
	t.https.CloseIdleConnections()
}

func (ts *transports) close() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for id := range ts.all {
		ts.drop(id)
	}
}

// toTokens gives the transport to a token endpoint: the connection's own where it
// is on the same host.
func (cl *client) toTokens(address string, own schemes) schemes {
	u, err := url.Parse(address)
	if err == nil && u.Scheme == "https" && strings.EqualFold(u.Hostname(), cl.base.Hostname()) {
		return own
	}
	return cl.elsewhere
}

// refusals are the alerts with which a server refuses a client's certificate, or
// that there is none (RFC 8446 section 6.2). crypto/tls has no names for them.
var refusals = []string{"tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate", "tls: expired certificate", "tls: unknown certificate",
	"tls: unknown certificate authority", "tls: certificate required", "tls: access denied"}

// certificateRefused reports whether the upstream ended the handshake because of the
// certificate that it was shown: it has read nothing of the request then, although
// with TLS 1.3 that is sent already.
func certificateRefused(err error) bool {
	var alert *net.OpError
	if !errors.As(err, &alert) || alert.Op != "remote error" {
		return false
	}
	for _, text := range refusals {
		if alert.Err.Error() == text {
			return true
		}
	}
	return false
}

func refusedCertificate(shown bool, who string, err error) error {
	if !shown {
		return fault.New(fault.CertificateRefused, "%s asks for a certificate, and this server's connection has none. Nothing was done. Do not retry; ask an administrator to give it one.", who).Because(err)
	}
	return fault.New(fault.CertificateRefused, "%s does not take the certificate with which this server logs in. Nothing was done. Do not retry; ask an administrator to give the server's connection another.", who).Because(err)
}

// secretsOfTLS are the secrets that all calls need.
func (c *connection) secretsOfTLS() []string {
	if c.TLS == nil || !c.TLS.Client {
		return nil
	}
	return []string{fieldCertificate, fieldPrivateKey}
}

// hidden are texts of a secret that nothing which comes back may hold: of PEM also
// its lines.
func hidden(v secret.Text) []string {
	all := []string{v.Reveal()}
	if strings.HasPrefix(strings.TrimSpace(v.Reveal()), "-----BEGIN ") {
		for line := range strings.Lines(v.Reveal()) {
			if line = strings.TrimSpace(line); len(line) >= 32 && !strings.HasPrefix(line, "-----") {
				all = append(all, line)
			}
		}
	}
	return all
}
