package httptool

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
)

// authority issues certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

// issue makes a certificate and its key, in PEM.
func (a *authority) issue(t testing.TB, name string, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}))
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// guarded is an upstream that lets nobody in without a certificate of its authority.
type guarded struct {
	*upstream
	*authority
	mu     sync.Mutex
	shown  []string // names of the certificates that came with requests
	greets int      // connections on which a certificate was shown
}

func newGuarded(t testing.TB, version uint16, answer http.HandlerFunc) *guarded {
	t.Helper()
	g := &guarded{authority: newAuthority(t, "the company's own")}
	cert, key := g.issue(t, "upstream", time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	g.upstream = &upstream{answer: func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.shown = append(g.shown, r.TLS.PeerCertificates[0].Subject.CommonName)
		g.mu.Unlock()
		answer(w, r)
	}}
	g.Server = httptest.NewUnstartedServer(g.upstream)
	g.Server.Config.ErrorLog = quiet()
	g.Server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: g.pool(), MinVersion: version, MaxVersion: version,
		VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.greets++
			return nil
		}}
	g.StartTLS()
	t.Cleanup(g.Server.Close)
	return g
}

func (g *guarded) last(t testing.TB) string {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.shown) == 0 {
		t.Fatal("nobody came in")
	}
	return g.shown[len(g.shown)-1]
}

// tlsOf writes a connection's tls, with secrets under the given names.
func tlsOf(ca, cert, key string) string {
	text := "tls:\n"
	if ca != "" {
		text += "  ca: |\n    " + strings.ReplaceAll(strings.TrimSpace(ca), "\n", "\n    ") + "\n"
	}
	if cert != "" {
		text += "  certificate: {env: " + cert + "}\n  private_key: {env: " + key + "}\n"
	}
	return text
}

// keep gives secrets of a test a name.
func keep(t testing.TB, name, cert, key string) {
	testSecrets[name], testSecrets[name+"_KEY"] = cert, key
	t.Cleanup(func() { delete(testSecrets, name); delete(testSecrets, name+"_KEY") })
}

func TestClientCertificateBesideEveryWayToLogIn(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var g *guarded
		g = newGuarded(t, version, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				answersJSON(`{"access_token":"issued","expires_in":3600}`)(w, r)
				return
			}
			answersJSON(fmt.Sprintf(`{"auth":%q}`, strings.SplitN(r.Header.Get("Authorization")+r.Header.Get("X-API-Key"), " ", 2)[0]))(w, r)
		})
		cert, key := g.issue(t, "worker", time.Now().Add(time.Hour))
		keep(t, "MTLS", cert, key)
		for auth, want := range map[string]string{
			"type: none": "", "type: api_key, name: X-API-Key, key: {env: KEY}": canaryOf("KEY"), "type: basic, username: a, password: {env: PASSWORD}": "Basic", "type: bearer, token: {env: TOKEN}": "Bearer",
			"type: oauth_client_credentials, token_url: BASE/token, client_id: us, client_secret: {env: CLIENT}": "Bearer", "type: jwt, algorithm: EdDSA, private_key: {env: ED25519}": "Bearer",
			"type: jwt, algorithm: RS256, private_key: {env: RSA}, token_url: BASE/token": "Bearer",
		} {
			s := serve(t, g.upstream, "base_url: BASE\nauth: {"+auth+"}\n"+tlsOf(g.pem, "MTLS", "MTLS_KEY"), readSpec+strings.TrimPrefix(writeSpec, "tools:\n"))
			// An upstream that tells a secret is told nothing back; see scrub.
			if res, err := s.tool("get", `{}`); err != nil || res.Tool.IsError || g.last(t) != "worker" || want != "" && want != canaryOf("KEY") && !strings.Contains(s.structured("get", `{}`), want) {
				t.Errorf("%s: %v, %v", auth, res, err)
			}
			if _, err := s.tool("put", `{}`); err != nil {
				t.Errorf("%s, writing: %v", auth, err)
			}
		}
	}
}

func canaryOf(name string) string { return testSecrets[name] }

func TestWrongClientCertificateRefused(t *testing.T) {
	other := newAuthority(t, "another company's")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		g := newGuarded(t, version, answersJSON(`{}`))
		cert, key := g.issue(t, "worker", time.Now().Add(time.Hour))
		keep(t, "MTLS", cert, key)
		wrongCert, wrongKey := other.issue(t, "mallory", time.Now().Add(time.Hour))
		oldCert, oldKey := g.issue(t, "worker", time.Now().Add(-time.Hour))
		spec := readSpec + strings.TrimPrefix(writeSpec, "tools:\n")
		for name, c := range map[string]struct {
			cert, key, want string
			code            fault.Code
		}{
			"of another authority": {wrongCert, wrongKey, "does not take the certificate", fault.CertificateRefused},
			"expired":              {oldCert, oldKey, "valid from", fault.CertificateRefused},
			"with another's key":   {cert, wrongKey, "cannot be used", fault.CredentialsAway},
			"no PEM":               {"x", "y", "cannot be used", fault.CredentialsAway},
			"not there":            {"", "", "cannot be used", fault.CredentialsAway},
		} {
			t.Run(name, func(t *testing.T) {
				s := serve(t, g.upstream, "base_url: BASE\nretries: 3\n"+tlsOf(g.pem, "MTLS", "MTLS_KEY"), spec)
				s.fields = map[string]secret.Text{}
				if c.cert != "" {
					s.fields = map[string]secret.Text{fieldCertificate: secret.Text(c.cert), fieldPrivateKey: secret.Text(c.key)}
				}
				for _, tool := range []string{"get", "put"} {
					_, err := s.tool(tool, `{}`)
					if !fault.HasCode(err, c.code) || !strings.Contains(fault.Of(err).Message, c.want) || !strings.Contains(fault.Of(err).Message, "Nothing was done") {
						t.Errorf("%s: %v", tool, err)
						continue
					}
					for _, line := range append(hidden(secret.Text(c.key)), hidden(secret.Text(c.cert))...) {
						if len(line) > 1 && strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), line) {
							t.Errorf("%s: the error tells of the certificate or its key", tool)
						}
					}
				}
			})
		}
		if n := len(g.requests()); n != 0 {
			t.Errorf("%d requests got through", n)
		}
		if version == tls.VersionTLS12 { // which says no more than that the handshake failed
			continue
		}
		t.Run("none", func(t *testing.T) {
			s := serve(t, g.upstream, "base_url: BASE\n"+tlsOf(g.pem, "", ""), spec)
			for _, tool := range []string{"get", "put"} {
				if _, err := s.tool(tool, `{}`); !fault.HasCode(err, fault.CertificateRefused) || !strings.Contains(fault.Of(err).Message, "has none") {
					t.Errorf("%s: %v", tool, err)
				}
			}
		})
	}
}

func TestUpstreamOfAnotherAuthorityRefused(t *testing.T) {
	g := newGuarded(t, tls.VersionTLS13, answersJSON(`{}`))
	cert, key := g.issue(t, "worker", time.Now().Add(time.Hour))
	keep(t, "MTLS", cert, key)
	for name, text := range map[string]string{
		"no authority of its own": tlsOf("", "MTLS", "MTLS_KEY"), "another": tlsOf(newAuthority(t, "another").pem, "MTLS", "MTLS_KEY"),
	} {
		s := serve(t, g.upstream, "base_url: BASE\nretries: 0\n"+text, readSpec)
		if _, err := s.tool("get", `{}`); !fault.HasCode(err, fault.UpstreamAway) || !strings.Contains(fault.Of(err).Message, "cannot be trusted") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if g.greets != 0 {
		t.Error("it was shown the certificate all the same")
	}
}

// The certificate is its own host's: another, such as that of a token endpoint, is
// not shown it, and is not vouched for by tls.ca.
func TestCertificateIsShownToItsOwnHostOnly(t *testing.T) {
	g := newGuarded(t, tls.VersionTLS13, answersJSON(`{"access_token":"issued"}`))
	tokens := newGuarded(t, tls.VersionTLS13, answersJSON(`{"access_token":"issued"}`))
	cert, key := g.issue(t, "worker", time.Now().Add(time.Hour))
	keep(t, "MTLS", cert, key)
	elsewhere := strings.Replace(tokens.URL, "127.0.0.1", "localhost", 1)
	for name, text := range map[string]string{
		"a token endpoint": "auth: {type: oauth_client_credentials, token_url: '" + elsewhere + "/token', client_id: us, client_secret: {env: CLIENT}}\n",
		"a redirect":       "redirects: 3\nredirect_origins: ['" + tokens.URL + "']\n",
	} {
		g.answer = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, tokens.URL+"/x", http.StatusFound) }
		s := serve(t, g.upstream, "base_url: BASE\nretries: 0\n"+text+tlsOf(g.pem+tokens.pem, "MTLS", "MTLS_KEY"), readSpec)
		if _, err := s.tool("get", `{}`); !fault.HasCode(err, fault.UpstreamAway) || !strings.Contains(fault.Of(err).Message, "cannot be trusted") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if tokens.greets != 0 || len(tokens.requests()) != 0 {
		t.Error("another host was shown the certificate")
	}
}

func TestRotatedCertificateIsShownByTheNextCall(t *testing.T) {
	g := newGuarded(t, tls.VersionTLS13, answersJSON(`{}`))
	cert, key := g.issue(t, "first", time.Now().Add(time.Hour))
	keep(t, "MTLS", cert, key)
	s := serve(t, g.upstream, "base_url: BASE\n"+tlsOf(g.pem, "MTLS", "MTLS_KEY"), readSpec)
	s.structured("get", `{}`)
	s.structured("get", `{}`)
	if g.last(t) != "first" || g.greets != 1 {
		t.Errorf("%s, after %d connections", g.last(t), g.greets)
	}
	next, nextKey := g.issue(t, "second", time.Now().Add(time.Hour))
	s.fields, s.lease = map[string]secret.Text{fieldCertificate: secret.Text(next), fieldPrivateKey: secret.Text(nextKey)}, "secret@2"
	s.structured("get", `{}`)
	if g.last(t) != "second" {
		t.Errorf("the connection of the first is used on: %s", g.last(t))
	}
	for i := range 3 * maxTransports {
		s.lease = fmt.Sprintf("secret@%d", i+3)
		s.structured("get", `{}`)
	}
	if n := len(s.in.(*instance).client.certified.all); n > maxTransports {
		t.Errorf("%d are kept", n)
	}
	s.in.Close()
	if n := len(s.in.(*instance).client.certified.all); n != 0 {
		t.Errorf("%d are kept by a server that is closed", n)
	}
}

func TestBadTLSSaysWhere(t *testing.T) {
	a := newAuthority(t, "a")
	cert, key := a.issue(t, "c", time.Now().Add(time.Hour))
	keep(t, "GOOD", cert, key)
	old, oldKey := a.issue(t, "old", time.Now().Add(-time.Hour))
	keep(t, "OLD", old, oldKey)
	keep(t, "BIG", strings.Repeat("x", maxPEM+1), key)
	for name, c := range map[string]struct{ connection, want string }{
		"nothing":             {"tls: {}", "connection.tls: says nothing"},
		"no PEM":              {"tls: {ca: x}", "connection.tls.ca: holds 0 certificates in PEM"},
		"a key":               {tlsOf(key, "", ""), "holds something else than certificates"},
		"no certificate":      {tlsOf("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "", ""), "number 1) that cannot be read"},
		"one that may not":    {tlsOf(cert, "", ""), "may not vouch for others"},
		"many":                {tlsOf(strings.Repeat(a.pem, maxCAs+1), "", ""), "1 to 20 are taken"},
		"large":               {tlsOf(strings.Repeat("x", maxPEM+1), "", ""), "is larger than 64 kB"},
		"as a secret":         {"tls: {ca: {env: GOOD}}", "is given as a secret, which it is not"},
		"a key in the file":   {"tls: {certificate: {env: GOOD}, private_key: abc}", "connection.tls.private_key: is written in the file"},
		"no key":              {"tls: {certificate: {env: GOOD}}", "connection.tls.private_key: is missing"},
		"another's key":       {"tls: {certificate: {env: GOOD}, private_key: {env: OLD_KEY}}", "is not of its private key"},
		"expired":             {"tls: {certificate: {env: OLD}, private_key: {env: OLD_KEY}}", "connection.tls.certificate: has expired on "},
		"large certificate":   {"tls: {certificate: {env: BIG}, private_key: {env: GOOD_KEY}}", "is larger than 64 kB"},
		"without encryption":  {"tls: {certificate: {env: GOOD}, private_key: {env: GOOD_KEY}}", "means nothing for http://"},
		"a key that is known": {"tls: {cert: {env: GOOD}}", "the keys are ca, certificate, private_key"},
	} {
		base := "base_url: https://a.example\n"
		if name == "without encryption" {
			base = "base_url: http://127.0.0.1:1\n"
		}
		_, problems := registry.CheckConnection(onlyHTTP{}, "http", yamlNode(t, base+c.connection), func(_, name string) (string, error) { return testSecrets[name], nil })
		text := (&registry.Problems{List: problems}).Error()
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: got  %s\nwant %s", name, text, c.want)
		}
		for _, line := range hidden(secret.Text(key)) {
			if strings.Contains(text, line) {
				t.Errorf("%s: it tells the key", name)
			}
		}
	}
	// Neither is in what is stored.
	normalized, secrets := connected(t, "base_url: https://a.example\n"+tlsOf(a.pem, "GOOD", "GOOD_KEY"))
	var c connection
	if err := json.Unmarshal(normalized, &c); err != nil || c.TLS == nil || c.TLS.CA == "" || !c.TLS.Client || strings.Contains(string(normalized), "PRIVATE") || strings.Contains(string(normalized), strings.Split(cert, "\n")[1]) {
		t.Errorf("%s, %v", normalized, err)
	}
	if len(secrets) != 2 || secrets[fieldPrivateKey].Reveal() != key {
		t.Errorf("%d secrets", len(secrets))
	}
}
