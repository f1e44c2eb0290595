package httptool

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
)

const readSpec = "tools:\n- name: get\n  description: Reads.\n  request: {path: /thing}\n"
const writeSpec = "tools:\n- name: put\n  description: Writes.\n  request: {method: POST, path: /thing}\n  parameters: [{name: a, type: string}]\n"
const keyAuth = "base_url: BASE\nauth: {type: api_key, name: X-API-Key, key: {env: KEY}}\n"

func TestCredentialNeverFollowsARedirectElsewhere(t *testing.T) {
	other := newUpstream(t, answersJSON(`{"from":"other"}`))
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/thing":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
		default:
			answersJSON(`{"from":"own"}`)(w, r)
		}
	})
	spec := "tools:\n- name: get\n  description: Reads.\n  request: {path: /thing, query: {to: \"{to}\"}, headers: {X-Acting-User: \"{me}\"}}\n  parameters: [{name: to, type: string}, {name: me, from: caller.email}]\n"
	for _, way := range []string{keyAuth, "base_url: BASE\nheaders: {X-Plain: p, X-Other: {env: OTHER}}\nauth: {type: api_key, in: query, name: api_key, key: {env: KEY}}\n"} {
		for _, c := range []struct {
			name, more, to, want string
			follows              bool
		}{
			{"none by default", "", u.URL + "/own", "redirect", false},
			{"its own origin", "redirects: 1", u.URL + "/own", "own", true},
			{"its own, relative", "redirects: 1", "/own", "own", true},
			{"another origin", "redirects: 3", other.URL + "/x", "redirect", false},
			{"one that is listed", "redirects: 3\nredirect_origins: [" + other.URL + "]", other.URL + "/x", "other", true},
			{"more than it may", "redirects: 2", u.URL + "/thing?to=%2Fthing%3Fto%3D%252Fthing", "redirect", false},
			{"another scheme", "redirects: 3", "file:///etc/passwd", "redirect", false},
			{"with a password", "redirects: 3", strings.Replace(u.URL, "http://", "http://a:b@", 1) + "/own", "redirect", false},
		} {
			t.Run(c.name, func(t *testing.T) {
				s := serve(t, u, way+c.more, spec)
				before := len(other.requests())
				res, err := s.tool("get", fmt.Sprintf(`{"to":%q}`, c.to))
				if err != nil {
					t.Fatal(err)
				}
				raw, _ := json.Marshal(res.Tool)
				if res.Tool.IsError == c.follows || !strings.Contains(string(raw), c.want) {
					t.Errorf("got %s", raw)
				}
				for _, got := range other.requests()[before:] {
					text := fmt.Sprint(got)
					if strings.Contains(text, canary) || got.header.Get("X-Acting-User") != "" || got.header.Get("X-Plain") != "" {
						t.Errorf("the other origin was sent %s", text)
					}
				}
			})
		}
	}
	// What writes is never sent on.
	hop := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	})
	s := serve(t, hop, keyAuth+"redirects: 3", writeSpec)
	if res, err := s.tool("put", `{"a":"b"}`); err != nil || !res.Tool.IsError || len(hop.requests()) != 1 {
		t.Errorf("%+v, %v, %d requests", res, err, len(hop.requests()))
	}
}

func TestUpstreamOnAPrivateNetworkRefused(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, keyAuth, readSpec)
	port := u.URL[strings.LastIndex(u.URL, ":"):]
	for name, h := range map[string]runtime.Host{
		"by default":    {},
		"another range": {Egress: &egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
		"a name of this": {Egress: &egress.Policy{Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}}},
		"one of several": {Egress: &egress.Policy{Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("93.184.215.14"), netip.MustParseAddr("169.254.169.254")}, nil
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			s.open(h)
			_, err := s.tool("get", `{}`)
			if !fault.HasCode(err, fault.EgressRefused) {
				t.Fatalf("got %v", err)
			}
			if m := fault.Of(err).Message; strings.Contains(m, "127.0.0.1") || strings.Contains(m, port) {
				t.Errorf("the message tells an address: %s", m)
			}
		})
	}
	if n := len(u.requests()); n != 0 {
		t.Errorf("%d requests got through", n)
	}
}

func TestRedirectToAPrivateAddressRefused(t *testing.T) {
	inner := newUpstream(t, answersJSON(`{"secret":1}`))
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://inside.example:80/", http.StatusFound)
	})
	s := serve(t, u, "base_url: BASE\nplain_http: true\nredirects: 3\nredirect_origins: ['http://inside.example']\n", readSpec)
	s.open(runtime.Host{Egress: &egress.Policy{Allow: egress.Loopback(), Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "inside.example" {
			return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
		}
		a, err := netip.ParseAddr(host)
		return []netip.Addr{a}, err
	}}})
	if _, err := s.tool("get", `{}`); !fault.HasCode(err, fault.EgressRefused) || len(inner.requests()) != 0 {
		t.Errorf("got %v", err)
	}
}

// A name that was private when it was declared may lead elsewhere tomorrow.
func TestPlainHTTPStaysOnPrivateNetworks(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, strings.Replace(keyAuth, "BASE", "http://service.example", 1)+"plain_http: true\nretries: 0\n", readSpec)
	public := &egress.Policy{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("93.184.215.14")}, nil
	}}
	public.Dial = pretendAt(t, u, "93.184.215.14:80")
	s.open(runtime.Host{Egress: public})
	if _, err := s.tool("get", `{}`); !fault.HasCode(err, fault.EgressRefused) || len(u.requests()) != 0 {
		t.Errorf("a key went over a public network in plain: %v", err)
	}
}

func TestErrorsTellTheCallerWhatToDo(t *testing.T) {
	for _, c := range []struct {
		status  int
		header  string
		body    string
		failure string // of a result
		read    fault.Code
		write   fault.Code
	}{
		{status: 400, body: `{"error":{"message":"limit is too large"}}`, failure: "limit is too large"},
		{status: 422, body: `{"title":"Invalid","detail":"a must be b","errors":[{"message":"x"}]}`, failure: "a must be b. Invalid. x"},
		{status: 422, body: "<html>stack trace at /srv/app.rb</html>", failure: "The API refused these arguments (status 422)."},
		{status: 403, body: `{"message":"no"}`, failure: "ask your administrator"},
		{status: 404, body: `{}`, failure: "knows no such thing"},
		{status: 409, body: `{"message":"taken"}`, failure: "taken"},
		{status: 418, body: ``, failure: "status 418"},
		{status: 401, read: fault.CredentialsAway, write: fault.CredentialsAway},
		{status: 429, header: "17", read: fault.Busy, write: fault.Busy},
		{status: 500, body: `{"message":"secret path /srv"}`, read: fault.UpstreamAway, write: fault.OutcomeUnknown},
		{status: 502, read: fault.UpstreamAway, write: fault.OutcomeUnknown},
		{status: 503, header: "40", read: fault.UpstreamAway, write: fault.UpstreamAway},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				w.Header().Set("Content-Type", "application/json")
				if strings.HasPrefix(c.body, "<") {
					w.Header().Set("Content-Type", "text/html")
				}
				w.WriteHeader(c.status)
				w.Write([]byte(c.body))
			})
			for tool, code := range map[string]fault.Code{"get": c.read, "put": c.write} {
				s := serve(t, u, keyAuth+"retries: 0", map[string]string{"get": readSpec, "put": writeSpec}[tool])
				res, err := s.tool(tool, `{}`)
				if c.failure != "" {
					if err != nil || !res.Tool.IsError {
						t.Fatalf("%s: %+v, %v", tool, res, err)
					}
					raw, _ := json.Marshal(res.Tool.Content[0])
					if !strings.Contains(string(raw), c.failure) || strings.Contains(string(raw), "/srv") {
						t.Errorf("%s: %s", tool, raw)
					}
					continue
				}
				if !fault.HasCode(err, code) || strings.Contains(fault.Of(err).Message, "/srv") {
					t.Errorf("%s: %v, want %s", tool, err, code)
				}
				if c.header != "" && fmt.Sprint(int(fault.Of(err).RetryAfter.Seconds())) != c.header {
					t.Errorf("%s: retry after %s", tool, fault.Of(err).RetryAfter)
				}
				if (c.status == 401) != (s.dropped == 1) {
					t.Errorf("%s: the credential was dropped %d times", tool, s.dropped)
				}
			}
		})
	}
}

func TestNothingIsSentTwiceThatIsNotSafeTo(t *testing.T) {
	broken := func(times int) (*upstream, *atomic.Int64) {
		var n atomic.Int64
		return newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) <= int64(times) {
				panic(http.ErrAbortHandler) // the request was read, and no answer comes
			}
			answersJSON(`{"ok":true}`)(w, r)
		}), &n
	}
	u, n := broken(2)
	if got := serve(t, u, keyAuth, readSpec).structured("get", `{}`); got != `{"ok":true}` || n.Load() != 3 {
		t.Errorf("reading: %s after %d requests", got, n.Load())
	}
	for name, body := range map[string]string{"with a body": `{"a":"b"}`, "without": `{}`} {
		u, n = broken(1)
		s := serve(t, u, keyAuth, writeSpec)
		s.key = "the-name-of-the-call"
		if _, err := s.tool("put", body); !fault.HasCode(err, fault.OutcomeUnknown) || n.Load() != 1 {
			t.Errorf("writing %s: %v after %d requests", name, err, n.Load())
		}
	}
	u, n = broken(1)
	s := serve(t, u, keyAuth, strings.Replace(writeSpec, "description", "idempotent: true\n  description", 1))
	s.key = "the-name-of-the-call"
	if got := s.structured("put", `{"a":"b"}`); got != `{"ok":true}` || n.Load() != 2 {
		t.Errorf("writing what may be repeated: %s after %d requests", got, n.Load())
	}
	all := u.requests()
	if k := all[0].header.Get("Idempotency-Key"); k != s.key || all[1].header.Get("Idempotency-Key") != k {
		t.Errorf("keys %q", k)
	}
}

// A connection that the upstream closed while it was idle is what net/http sends a
// request again for by itself, if that bears the header of a key.
func TestTransportSendsNoKeyedRequestAgain(t *testing.T) {
	var n atomic.Int64
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answersJSON(`{}`)(w, r)
			return
		}
		n.Add(1)
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			c.Close() // on a connection that was used before
		}
	})
	s := serve(t, u, keyAuth, readSpec+strings.TrimPrefix(writeSpec, "tools:\n"))
	s.key = "the-name-of-the-call"
	s.structured("get", `{}`)
	if _, err := s.tool("put", `{}`); !fault.HasCode(err, fault.OutcomeUnknown) || n.Load() != 1 {
		t.Errorf("%v after %d requests", err, n.Load())
	}
}

func TestKeyOfACallHasAnotherHeader(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	for want, more := range map[string]string{"X-Request-Key": "idempotency_header: X-Request-Key", "": "idempotency_header: none"} {
		s := serve(t, u, keyAuth+more, writeSpec)
		s.key = "k1"
		s.structured("put", `{}`)
		h := u.last(t).header
		if want != "" && h.Get(want) != "k1" || h.Get("Idempotency-Key") != "" {
			t.Errorf("%q: %v", want, h)
		}
	}
}

func TestDeadlineOfAToolHolds(t *testing.T) {
	u := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := serve(t, u, keyAuth, strings.Replace(readSpec, "request", "timeout: 50ms\n  request", 1)+strings.TrimPrefix(strings.Replace(writeSpec, "request", "timeout: 50ms\n  request", 1), "tools:\n"))
	if _, err := s.tool("get", `{}`); !fault.HasCode(err, fault.DeadlineExceeded) {
		t.Errorf("reading: %v", err)
	}
	if _, err := s.tool("put", `{}`); !fault.HasCode(err, fault.OutcomeUnknown) {
		t.Errorf("writing: %v", err)
	}
}

func TestUpstreamThatIsAwayIsLeftAlone(t *testing.T) {
	var up atomic.Bool
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		answersJSON(`{}`)(w, r)
	})
	s := serve(t, u, keyAuth+"retries: 0", readSpec)
	for range breakerFailures {
		s.tool("get", `{}`)
	}
	sent := len(u.requests())
	_, err := s.tool("get", `{}`)
	if f := fault.Of(err); f.Code != fault.UpstreamAway || f.RetryAfter <= 0 || f.RetryAfter > breakerPause || len(u.requests()) != sent {
		t.Errorf("%v, %d more requests", err, len(u.requests())-sent)
	}
	// Another instance of the tenant's shares it; another tenant's does not.
	same := serve(t, u, keyAuth+"retries: 0", readSpec)
	up.Store(true)
	if _, err := same.tool("get", `{}`); err != nil {
		t.Errorf("another tenant's server is left alone too: %v", err)
	}
	same.opening.Tenant = s.opening.Tenant
	same.open(loopbackHost())
	if _, err := same.tool("get", `{}`); !fault.HasCode(err, fault.UpstreamAway) {
		t.Errorf("another server of the tenant: %v", err)
	}
}

func TestBreakerTriesAgainAfterItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		for range breakerFailures {
			done, err := b.allow()
			if err != nil {
				t.Fatal(err)
			}
			done(false, t.Context())
		}
		if _, err := b.allow(); !fault.HasCode(err, fault.UpstreamAway) || fault.Of(err).RetryAfter != breakerPause {
			t.Errorf("%v", err)
		}
		time.Sleep(breakerPause + time.Millisecond) // of a bubble
		done, err := b.allow()
		if err != nil {
			t.Fatal(err)
		}
		done(true, t.Context())
		if _, err := b.allow(); err != nil {
			t.Error(err)
		}
	})
}

// tokenServer issues tokens in order and knows the newest only.
type tokenServer struct {
	*upstream
	issued atomic.Int64
	valid  atomic.Int64
	life   int
	check  func(r *http.Request) error
}

func newTokenServer(t *testing.T, check func(*http.Request) error) *tokenServer {
	ts := &tokenServer{life: 3600, check: check}
	ts.upstream = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/token" {
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			if err := ts.check(r); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"error":"invalid_client","error_description":%q}`, err)
				return
			}
			n := ts.issued.Add(1)
			ts.valid.Store(n)
			fmt.Fprintf(w, `{"access_token":"%s-issued-%d","token_type":"Bearer","expires_in":%d}`, canary, n, ts.life)
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer %s-issued-%d", canary, ts.valid.Load()) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Write([]byte(`{}`))
	})
	return ts
}

func TestTokenIsMadeOnceAndAgainWhenRefused(t *testing.T) {
	ts := newTokenServer(t, func(r *http.Request) error {
		id, pass, _ := r.BasicAuth()
		if id != "us%3A1" || pass != url.QueryEscape(testSecrets["CLIENT"]) || r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "a b" || r.Form.Get("audience") != "api" {
			return fmt.Errorf("%v %v %v", id, pass, r.Form)
		}
		return nil
	})
	s := serve(t, ts.upstream, "base_url: BASE\nretries: 0\nauth: {type: oauth_client_credentials, token_url: BASE/token, client_id: 'us:1', client_secret: {env: CLIENT}, scope: a b, parameters: {audience: api}}", readSpec)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := s.tool("get", `{}`); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := ts.issued.Load(); n != 1 {
		t.Errorf("%d tokens for 20 calls", n)
	}
	ts.valid.Store(100) // somebody revoked it
	s.structured("get", `{}`)
	if n := ts.issued.Load(); n != 2 || s.dropped != 0 {
		t.Errorf("%d tokens, the secret was dropped %d times", n, s.dropped)
	}
	// One more refusal is the credential's: there is no second try.
	ts.check = func(*http.Request) error { return fmt.Errorf("gone: %s", testSecrets["CLIENT"]) }
	ts.valid.Store(100)
	if _, err := s.tool("get", `{}`); !fault.HasCode(err, fault.CredentialsAway) || strings.Contains(err.Error(), canary) {
		t.Errorf("%v", err)
	}
	// Another version of the secrets has a token of its own.
	ts.check = func(*http.Request) error { return nil }
	s.lease = "secret@2"
	s.structured("get", `{}`)
}

func TestTokenIsReplacedBeforeItsEnd(t *testing.T) {
	var made int
	ts := tokens{}
	get := func(t *testing.T, life time.Duration) string {
		v, _, err := ts.get(t.Context(), tokenKey{"a", "auth"}, func(context.Context) (token, error) {
			made++
			return token{fmt.Sprint(made), time.Now().Add(life - min(earlyBy, life/5))}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	synctest.Test(t, func(t *testing.T) {
		ts, made = tokens{}, 0
		for _, c := range []struct {
			wait time.Duration
			want string
		}{{0, "1"}, {8 * time.Minute, "1"}, {61 * time.Second, "2"}} {
			time.Sleep(c.wait) // of a bubble
			if got := get(t, 10*time.Minute); got != c.want {
				t.Errorf("after %s more: token %s, want %s", c.wait, got, c.want)
			}
		}
	})
}

func TestSignedAssertions(t *testing.T) {
	for algorithm, key := range map[string]string{"RS256": "RSA", "ES256": "EC", "EdDSA": "ED25519"} {
		t.Run(algorithm, func(t *testing.T) {
			verify := func(text, audience, subject string) error {
				sig, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
				if err != nil {
					return err
				}
				payload, err := sig.Verify(testKeys[key])
				if err != nil {
					return err
				}
				var c struct {
					Issuer   string `json:"iss"`
					Subject  string `json:"sub"`
					Audience string `json:"aud"`
					ID       string `json:"jti"`
					Level    int
					Exp, Iat int64
				}
				if err := json.Unmarshal(payload, &c); err != nil || c.Issuer != "us" || c.Subject != subject || c.Audience != audience || c.ID == "" || c.Exp-c.Iat != 120 || sig.Signatures[0].Header.KeyID != "k7" {
					return fmt.Errorf("%s, %v", payload, err)
				}
				return nil
			}
			// As the bearer itself.
			u := newUpstream(t, answersJSON(`{}`))
			s := serve(t, u, "base_url: BASE\nauth: {type: jwt, algorithm: "+algorithm+", private_key: {env: "+key+"}, key_id: k7, issuer: us, subject: robot, audience: them, lifetime: 2m, claims: {level: 3}}", readSpec)
			s.structured("get", `{}`)
			first := strings.TrimPrefix(u.last(t).header.Get("Authorization"), "Bearer ")
			if err := verify(first, "them", "robot"); err != nil {
				t.Error(err)
			}
			// As a grant, and to authenticate the client.
			for name, c := range map[string]struct{ auth, grant, field, audience, subject string }{
				"grant":  {"type: jwt, issuer: us, subject: robot, audience: them, lifetime: 2m", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", "them", "robot"},
				"client": {"type: oauth_client_credentials, client_id: us", "client_credentials", "client_assertion", "BASE/token", "us"},
			} {
				ts := newTokenServer(t, nil)
				ts.check = func(r *http.Request) error {
					if r.Form.Get("grant_type") != c.grant {
						return fmt.Errorf("%v", r.Form)
					}
					if name == "client" {
						return nil // its life is the default's
					}
					return verify(r.Form.Get(c.field), strings.Replace(c.audience, "BASE", ts.URL, 1), c.subject)
				}
				s := serve(t, ts.upstream, "base_url: BASE\nauth: {"+c.auth+", token_url: BASE/token, algorithm: "+algorithm+", private_key: {env: "+key+"}, key_id: k7}", readSpec)
				s.structured("get", `{}`)
			}
		})
	}
}

func TestCallsThatWriteLogInWithTheirOwn(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, "base_url: BASE\nauth: {type: bearer, token: {env: TOKEN}}\nwrite: {auth: {type: api_key, name: X-API-Key, key: {env: KEY}}}", readSpec+strings.TrimPrefix(writeSpec, "tools:\n"))
	s.structured("get", `{}`)
	if h := u.last(t).header; h.Get("Authorization") != "Bearer "+testSecrets["TOKEN"] || h.Get("X-API-Key") != "" {
		t.Errorf("reading: %v", h)
	}
	s.structured("put", `{}`)
	if h := u.last(t).header; h.Get("Authorization") != "" || h.Get("X-API-Key") != testSecrets["KEY"] {
		t.Errorf("writing: %v", h)
	}
}

func TestIncompleteCredentialIsNotUsed(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, keyAuth, readSpec)
	for name, f := range map[string]map[string]secret.Text{"none": {}, "a line break": {"auth.key": "a\r\nX-Evil: 1"}} {
		s.fields = f
		if _, err := s.tool("get", `{}`); !fault.HasCode(err, fault.CredentialsAway) || strings.Contains(err.Error(), "X-Evil") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(u.requests()) != 0 {
		t.Error("something was sent")
	}
}

func TestCertificateThatNobodyVouchesForRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(answersJSON(`{}`))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	u := &upstream{Server: s}
	v := serve(t, u, keyAuth+"retries: 0", readSpec)
	if _, err := v.tool("get", `{}`); !fault.HasCode(err, fault.UpstreamAway) || !strings.Contains(fault.Of(err).Message, "certificate") {
		t.Errorf("%v", err)
	}
}

func TestAnswerThatIsTooLarge(t *testing.T) {
	u := newUpstream(t, answersJSON(`{"x":"`+strings.Repeat("x", 5000)+`"}`))
	bound := func(spec string) string { return strings.Replace(spec, "request", "max_bytes: 2000\n  request", 1) }
	s := serve(t, u, keyAuth, bound(readSpec)+strings.TrimPrefix(bound(writeSpec), "tools:\n"))
	if _, err := s.tool("get", `{}`); !fault.HasCode(err, fault.ResultTooLarge) {
		t.Errorf("reading: %v", err)
	}
	if got := s.structured("put", `{}`); !strings.Contains(got, "It was done") {
		t.Errorf("writing: %s", got)
	}
}
