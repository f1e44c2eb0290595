package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/oauth"
)

const documentID = "https://example.com/client.json"

// publisher serves client documents at https://example.com, which resolves to
// a public address that the dialer leads to a server of this test.
type publisher struct {
	*httptest.Server
	mu     sync.Mutex
	addrs  []netip.Addr
	dialed []string
	gets   atomic.Int64
	serve  http.HandlerFunc
}

var publicAddr = netip.MustParseAddr("93.184.215.14")

func newPublisher(t *testing.T, w *world) *publisher {
	p := &publisher{addrs: []netip.Addr{publicAddr}}
	p.serve = p.document(map[string]any{})
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p.gets.Add(1)
		p.mu.Lock()
		serve := p.serve
		p.mu.Unlock()
		serve(rw, r)
	}))
	t.Cleanup(p.Close)
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	w.server.UseNet(oauth.Net{
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return append([]netip.Addr(nil), p.addrs...), nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			p.mu.Lock()
			p.dialed = append(p.dialed, address)
			p.mu.Unlock()
			return (&net.Dialer{}).DialContext(ctx, network, p.Listener.Addr().String())
		},
		TLS: &tls.Config{RootCAs: pool}, Limit: 2 * time.Second,
	})
	return p
}

func (p *publisher) answerWith(serve http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve = serve
}

func (p *publisher) resolveTo(addrs ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addrs = nil
	for _, a := range addrs {
		p.addrs = append(p.addrs, netip.MustParseAddr(a))
	}
}

// document serves a valid document with changes.
func (p *publisher) document(change map[string]any) http.HandlerFunc {
	m := map[string]any{
		"client_id": documentID, "client_name": "Published App", "redirect_uris": []string{"http://localhost/callback", "http://127.0.0.1/callback", "https://example.com/callback"},
		"token_endpoint_auth_method": "none", "grant_types": []string{"authorization_code", "refresh_token"},
	}
	for k, v := range change {
		m[k] = v
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(m)
	}
}

func (w *world) published(redirect string) *app {
	return &app{w: w, at: w.acme, id: documentID, redirect: redirect, verifier: strings.Repeat("v", 43)}
}

func TestCIMDFlow(t *testing.T) {
	w := newWorld(t)
	p := newPublisher(t, w)
	// Claude Code: portless loopback addresses, used with any port.
	a := w.published("http://localhost:51234/callback")
	browser := w.signIn.begin(w.acme.user)
	page := a.authorize(browser)
	if !strings.Contains(page.body, "example.com") || !strings.Contains(page.body, "Published App") || !strings.Contains(page.body, "localhost:51234") {
		t.Errorf("the page does not show who published the app and where the answer goes: %.900s", page.body)
	}
	g := w.connect(a)
	g = w.granted(a.refresh(g.refresh))
	if g.claims["client_id"] != documentID {
		t.Errorf("%v", g.claims)
	}
	if p.gets.Load() != 1 {
		t.Errorf("%d fetches", p.gets.Load())
	}
	if res := w.get(w.acme.base+"/connections", browser); !strings.Contains(res.body, "example.com") {
		t.Errorf("connections do not show the publisher")
	}
	// The token endpoint fetches nothing: it works while the publisher is away,
	// and refuses who was never let in.
	p.Close()
	w.clock.add(25 * time.Hour)
	g = w.granted(a.refresh(g.refresh))
	wantPage(t, a.authorize(browser), 400, "description of itself")
	other := w.published("x")
	other.at = w.globex
	wantError(t, other.refresh(g.refresh), 401, "invalid_client")
}

func TestCIMDPushedRequest(t *testing.T) {
	w := newWorld(t)
	newPublisher(t, w)
	a := w.published("https://example.com/callback")
	res := w.post(w.acme.base+"/par", a.request(), "")
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	question(t, w.get(w.acme.base+"/authorize?"+url.Values{"client_id": {a.id}, "request_uri": {res.json(t)["request_uri"].(string)}}.Encode(), w.signIn.begin(w.acme.user)))
}

// A redirect to the publisher's own host is remembered, another client's never.
func TestCIMDConsentIsRemembered(t *testing.T) {
	w := newWorld(t)
	newPublisher(t, w)
	a := w.published("https://example.com/callback")
	browser := w.signIn.begin(w.acme.user)
	a.code(browser)
	if _, q := a.authorize(browser).location(t); q.Get("code") == "" {
		t.Error("asked again")
	}
	question(t, a.authorize(browser, set("redirect_uri", "http://localhost:1/callback")))
}

func TestCIMDRefusesSpecialRanges(t *testing.T) {
	w := newWorld(t)
	p := newPublisher(t, w)
	for i, addr := range []string{
		"127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
		"192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1",
		"3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
	} {
		p.resolveTo(addr)
		a := w.published("https://example.com/callback")
		a.id = fmt.Sprintf("https://example.com/client-%d.json", i)
		wantPage(t, a.authorize(w.signIn.begin(w.acme.user)), 400, "description of itself")
		// One private address among public ones is as bad.
		p.resolveTo(publicAddr.String(), addr)
		a.id += "?2"
		wantPage(t, a.authorize(""), 400, "description of itself")
		w.clock.add(10 * time.Second) // the bucket of fetches
	}
	if len(p.dialed) != 0 || p.gets.Load() != 0 {
		t.Errorf("connected to %q", p.dialed)
	}
	for _, id := range []string{
		"https://127.0.0.1/client.json", "https://[::1]/client.json", "https://[::ffff:7f00:1]/client.json", "https://93.184.215.14/client.json", "https://2130706433/client.json", "https://0x7f.1/client.json",
		"http://example.com/client.json", "https://example.com", "https://example.com/", "https://example.com/a/../client.json", "https://example.com/a/%2e%2e/client.json", "https://example.com/./client.json",
		"https://user@example.com/client.json", "https://user:pw@example.com/client.json", "https://example.com/client.json#x", "https://EXAMPLE.com/client.json", "https://example.com\\@evil/client.json", "https://exa mple.com/x",
		"https://example.com/" + strings.Repeat("x", 512), "https:///client.json", "ftp://example.com/client.json",
	} {
		a := w.published("https://example.com/callback")
		a.id = id
		res := a.authorize("")
		if id != "https://2130706433/client.json" && id != "https://0x7f.1/client.json" { // names to us, and nobody's in the DNS
			wantPage(t, res, 400, "")
		}
		if len(p.dialed) != 0 {
			t.Fatalf("%s: connected to %q", id, p.dialed)
		}
		w.clock.add(10 * time.Second)
		p.resolveTo("127.0.0.1")
	}
}

// A name that is public when it is checked and private afterwards: what was
// checked is what is dialed.
func TestCIMDRebinding(t *testing.T) {
	w := newWorld(t)
	p := newPublisher(t, w)
	var lookups atomic.Int64
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inner service was reached") }))
	t.Cleanup(inner.Close)
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	w.server.UseNet(oauth.Net{
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			if lookups.Add(1) == 1 {
				return []netip.Addr{publicAddr}, nil
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != publicAddr.String()+":443" {
				t.Errorf("dialed %s", address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, p.Listener.Addr().String())
		},
		TLS: &tls.Config{RootCAs: pool},
	})
	a := w.published("https://example.com/callback")
	question(t, a.authorize(w.signIn.begin(w.acme.user)))
	w.clock.add(time.Hour) // another fetch, another lookup
	wantPage(t, a.authorize(""), 400, "description of itself")
	if lookups.Load() != 2 {
		t.Errorf("%d lookups for two fetches", lookups.Load())
	}
}

func TestCIMDHostileDocuments(t *testing.T) {
	w := newWorld(t)
	p := newPublisher(t, w)
	var inner atomic.Int64
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inner.Add(1) }))
	t.Cleanup(secret.Close)
	text := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			fmt.Fprint(w, body)
		}
	}
	slow := make(chan struct{})
	t.Cleanup(func() { close(slow) })
	for name, serve := range map[string]http.HandlerFunc{
		"redirect inside":    func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, secret.URL, http.StatusFound) },
		"redirect to itself": func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, documentID, http.StatusFound) },
		"slow":               func(http.ResponseWriter, *http.Request) { <-slow },
		"slow body": func(rw http.ResponseWriter, r *http.Request) {
			p.document(nil)(rw, r)
			rw.(http.Flusher).Flush()
			<-slow
		},
		"10 MB":                text("application/json", `{"client_id":"`+documentID+`","x":"`+strings.Repeat("x", 10<<20)+`"}`),
		"not JSON":             text("application/json", "<html>"),
		"an array":             text("application/json", "[]"),
		"null":                 text("application/json", "null"),
		"HTML by content type": text("text/html", `{}`),
		"no content type":      text("", `{}`),
		"status 404":           func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(404); p.document(nil)(rw, r) },
		"another client_id":    p.document(map[string]any{"client_id": "https://example.com/other.json"}),
		"client_id with slash": p.document(map[string]any{"client_id": documentID + "/"}),
		"no client_id":         p.document(map[string]any{"client_id": nil}),
		"a shared secret":      p.document(map[string]any{"client_secret": "x"}),
		"secret method":        p.document(map[string]any{"token_endpoint_auth_method": "client_secret_post"}),
		"no redirects":         p.document(map[string]any{"redirect_uris": []string{}}),
		"bad redirect":         p.document(map[string]any{"redirect_uris": []string{"https://example.com/callback", "javascript:alert(1)"}}),
		"unregistered":         p.document(map[string]any{"redirect_uris": []string{"https://elsewhere.example/callback"}}),
	} {
		t.Run(name, func(t *testing.T) {
			p.answerWith(serve)
			w.clock.add(2 * time.Minute) // past what is cached
			res := w.published("https://example.com/callback").authorize("")
			if res.StatusCode != 400 || res.Header.Get("Location") != "" {
				t.Errorf("%d to %s", res.StatusCode, res.Header.Get("Location"))
			}
			if strings.Contains(res.body, "404") || strings.Contains(res.body, "timeout") || strings.Contains(res.body, secret.URL) {
				t.Error("the page tells what the platform can reach")
			}
		})
	}
	if inner.Load() != 0 {
		t.Error("the inner service was reached")
	}
}

func TestCIMDCacheIsBoundedBothWays(t *testing.T) {
	w := newWorld(t)
	p := newPublisher(t, w)
	valid := p.serve
	control := func(value string) {
		p.answerWith(func(rw http.ResponseWriter, r *http.Request) { rw.Header().Set("Cache-Control", value); valid(rw, r) })
	}
	a := w.published("https://example.com/callback")
	fetches := func(after time.Duration, want int64) {
		t.Helper()
		w.clock.add(after)
		before := p.gets.Load()
		a.authorize("")
		if got := p.gets.Load() - before; got != want {
			t.Errorf("%d fetches after %s, want %d", got, after, want)
		}
	}
	control("no-store")
	fetches(0, 1)
	fetches(59*time.Second, 0)
	control("max-age=0")
	fetches(time.Second, 1)
	fetches(59*time.Second, 0)
	control("public, max-age=3600")
	fetches(time.Second, 1)
	fetches(59*time.Minute, 0)
	control("max-age=99999999")
	fetches(time.Minute, 1)
	fetches(24*time.Hour-time.Second, 0)
	p.answerWith(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) })
	fetches(time.Second, 1)
	fetches(29*time.Second, 0) // an error, too, but briefly
	p.answerWith(valid)
	fetches(time.Second, 1)
	question(t, a.authorize(w.signIn.begin(w.acme.user)))
}

func TestCIMDFetchIsSharedAndLimited(t *testing.T) {
	w := newWorld(t, func(c *oauth.Config) {
		c.Fetches = oauth.Rates{NetworkBurst: 20, NetworkEvery: time.Second, TenantBurst: 100, TenantEvery: time.Second}
	})
	p := newPublisher(t, w)
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	valid := p.serve
	p.answerWith(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case arrived <- struct{}{}:
		default:
		}
		<-release
		valid(rw, r)
	})
	a := w.published("https://example.com/callback")
	done := make(chan []answer)
	go func() { done <- parallel(8, func() answer { return a.authorize("") }) }()
	<-arrived
	close(release)
	for _, res := range <-done {
		if res.StatusCode != http.StatusSeeOther {
			t.Errorf("%d", res.StatusCode)
		}
	}
	if p.gets.Load() > 2 { // a straggler may come when the first flight has landed and not yet been kept
		t.Errorf("%d fetches", p.gets.Load())
	}
	for i := range 30 {
		a.id = fmt.Sprintf("https://example.com/%d.json", i)
		if res := a.authorize(""); res.StatusCode == http.StatusTooManyRequests {
			if res.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return
		}
	}
	t.Error("a stranger can make the platform fetch without end")
}

func TestCIMDLoopbackOnlyInDevelopment(t *testing.T) {
	w := newWorld(t, func(c *oauth.Config) { c.AllowLoopbackCIMD = true })
	var id string
	doc := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(map[string]any{"client_id": id, "redirect_uris": []string{loopbackRedirect}})
	}))
	t.Cleanup(doc.Close)
	id = doc.URL + "/client.json"
	a := w.published(loopbackRedirect)
	a.id = id
	w.connect(a)

	w.config.AllowLoopbackCIMD = false
	w.restart()
	wantPage(t, a.authorize(""), 400, "description of itself")
}

// ChatGPT's document offers a key and none; none is taken.
func TestCIMDWithKeysIsTakenAsNone(t *testing.T) {
	w := newWorld(t)
	p := newPublisher(t, w)
	p.answerWith(p.document(map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://example.com/jwks", "contacts": []string{"x"}, "grant_types": []string{"authorization_code", "refresh_token", "client_credentials"}}))
	w.connect(w.published("https://example.com/callback"))
}
