package accounts_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/accounts"
	"latchkey/internal/egress"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var laidOut sync.Once

// world is a tenant with a server at an upstream, on a real store and Vault.
type world struct {
	*testing.T
	up     *upstream
	db     *postgres.DB
	vault  *vault.Servers
	tenant tenants.Tenant
	user   tenants.User
	server registry.Server
	need   registry.Account
	sites  *site.Sites
	raised raised

	mu  sync.Mutex
	now time.Time
}

type raised struct {
	mu  sync.Mutex
	all []events.Event
}

func (r *raised) Raise(_ context.Context, e events.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, e)
}

func (r *raised) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, up: newUpstream(t), db: postgrestest.New(t), now: time.Now()}
	v := testenv.Vault(t)
	root, err := vault.NewClient(vault.Config{Address: v.Addr(), Token: secret.Text(v.RootToken())})
	w.ok(err)
	laidOut.Do(func() {
		k, err := vault.NewKey()
		w.ok(err)
		w.ok(vault.Setup(t.Context(), root, vault.SetupConfig{Keys: []ed25519.PublicKey{k.Public()}}))
	})
	role, err := vault.PlatformAppRole(t.Context(), root)
	w.ok(err)
	own, err := vault.NewClient(vault.Config{Address: v.Addr(), AppRole: role})
	w.ok(err)
	w.vault = vault.NewServers(own)
	w.tenant, w.user = postgrestest.Tenant(t, w.db, "acme")
	w.server, err = w.db.PutServer(t.Context(), w.tenant.ID, registry.Server{Slug: "wiki", Kind: "remote", Title: "Wiki"})
	w.ok(err)
	w.need = registry.Account{Resource: w.up.URL + "/mcp", PerUser: true}
	w.sites, err = site.Parse("http://127.0.0.1:8080/t/{tenant}")
	w.ok(err)
	return w
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// edge is one edge's service.
func (w *world) edge(change ...func(*accounts.Config)) *accounts.Service {
	c := accounts.Config{
		Store: w.db, Vault: w.vault, Sites: w.sites, Egress: &egress.Policy{Allow: egress.Loopback()}, Events: &w.raised, Now: w.clock,
		Of: func(*registry.Server) (registry.Account, bool) { return w.need, true },
	}
	for _, f := range change {
		f(&c)
	}
	return accounts.New(c)
}

// connect goes all the way, and returns what was asked for.
func (w *world) connect(s *accounts.Service, user tenants.UserID) url.Values {
	w.Helper()
	at, err := s.Begin(w.Context(), w.tenant, &w.server, user, w.user.ID, "/back")
	w.ok(err)
	code, asked := w.up.allow(at)
	f, err := s.Finish(w.Context(), w.tenant, w.user.ID, accounts.Answer{State: asked.Get("state"), Code: code, Issuer: w.up.URL})
	w.ok(err)
	if f.ReturnTo != "/back" || f.User != user {
		w.Errorf("finished %+v", f)
	}
	return asked
}

// kept reads what a worker would get, with all authority.
func (w *world) kept(path string) map[string]string {
	w.Helper()
	v := testenv.Vault(w)
	r, err := http.NewRequestWithContext(w.Context(), http.MethodGet, v.Addr()+"/v1/secret/data/"+path, nil)
	w.ok(err)
	r.Header.Set("X-Vault-Token", v.RootToken())
	res, err := http.DefaultClient.Do(r)
	w.ok(err)
	defer res.Body.Close()
	var read struct {
		Data struct{ Data map[string]string }
	}
	if res.StatusCode == http.StatusNotFound {
		return nil
	}
	w.ok(json.NewDecoder(res.Body).Decode(&read))
	return read.Data.Data
}

func (w *world) token() string {
	w.Helper()
	return w.kept("tenants/" + string(w.tenant.ID) + "/" + string(w.server.ID) + "/users/" + string(w.tenant.ID) + ":" + string(w.user.ID))["access_token"]
}

func (w *world) ready(s *accounts.Service) error {
	return s.Ready(w.Context(), w.tenant, &w.server, w.user.ID)
}

func TestPersonConnectsAndCallsAreReady(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	err := w.ready(s)
	if f := fault.Of(err); f.Code != fault.ConnectNeeded || f.URL != "http://127.0.0.1:8080/t/acme/accounts/wiki" || !strings.Contains(f.Message, f.URL) {
		t.Fatalf("before: %v (%s)", err, fault.Of(err).URL)
	}
	asked := w.connect(s, w.user.ID)
	for name, want := range map[string]string{
		"response_type": "code", "code_challenge_method": "S256", "resource": w.up.URL + "/mcp", "scope": "read", "audience": "x",
		"redirect_uri": "http://127.0.0.1:8080/t/acme/accounts/callback",
	} {
		if asked.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, asked.Get(name), want)
		}
	}
	w.ok(w.ready(s))
	if got := w.token(); !w.up.knows(got) {
		t.Errorf("workers would get %q", got)
	}
	have, err := w.db.UpstreamAccount(t.Context(), w.tenant.ID, w.server.ID, w.user.ID)
	w.ok(err)
	if have.State != accounts.Connected || !have.Renewable || have.Issuer != w.up.URL || len(have.Scopes) != 1 {
		t.Errorf("%+v", have)
	}
}

func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	w.connect(s, w.user.ID)
	first := w.token()
	w.pass(58 * time.Minute)
	w.ok(w.ready(s))
	if w.token() != first {
		t.Error("renewed two minutes before its end")
	}
	w.pass(time.Minute)
	w.ok(w.ready(s))
	if got := w.token(); got == first || !w.up.knows(got) {
		t.Errorf("not renewed: %q", got)
	}
}

// Two edges and many calls at once: the upstream ends everything when a refresh
// token comes twice.
func TestManyCallsRenewOnce(t *testing.T) {
	w := newWorld(t)
	edges := []*accounts.Service{w.edge(), w.edge(), w.edge()}
	w.connect(edges[0], w.user.ID)
	w.pass(59 * time.Minute)
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			if err := w.ready(edges[i%len(edges)]); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if w.up.renewed != 1 || w.up.reused != 0 {
		t.Errorf("renewed %d times, %d tokens came twice", w.up.renewed, w.up.reused)
	}
}

func TestWhatIsNotRenewedAsksThePersonAgain(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	w.connect(s, w.user.ID)
	w.up.dead = true
	w.pass(59 * time.Minute)
	err := w.ready(s)
	if f := fault.Of(err); f.Code != fault.ConnectNeeded || !strings.Contains(f.Message, "again") || f.URL == "" {
		t.Errorf("got %v", err)
	}
	if got := w.token(); got != "" {
		t.Error("a token is left at Vault")
	}
	if w.raised.count() != 1 || w.raised.all[0].Kind != events.AccountExpired {
		t.Errorf("raised %+v", w.raised.all)
	}
	if err := w.ready(w.edge()); !fault.HasCode(err, fault.ConnectNeeded) || w.raised.count() != 1 {
		t.Errorf("the next call: %v, %d events", err, w.raised.count())
	}
	w.up.dead = false
	w.connect(s, w.user.ID)
	w.ok(w.ready(s))
}

func TestUpstreamAwayLeavesTheAccount(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	w.connect(s, w.user.ID)
	w.up.answer = func(rw http.ResponseWriter, _ url.Values) bool {
		http.Error(rw, "<html>oops", http.StatusBadGateway)
		return true
	}
	w.pass(59 * time.Minute)
	if err := w.ready(s); err != nil {
		t.Errorf("the token lasts for another minute: %v", err)
	}
	w.pass(2 * time.Minute)
	if err := w.ready(s); !fault.HasCode(err, fault.UpstreamAway) || fault.Of(err).RetryAfter == 0 {
		t.Errorf("after its end: %v", err)
	}
	w.up.mu.Lock()
	w.up.answer = nil
	w.up.mu.Unlock()
	w.pass(30 * time.Second) // the claim of the edge that failed
	w.ok(w.ready(s))
}

func TestRefusedTokenIsRenewed(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	w.connect(s, w.user.ID)
	first := w.token()
	s.Refused(t.Context(), w.tenant.ID, &w.server, w.user.ID)
	w.ok(w.ready(s))
	if w.token() != first {
		t.Error("one of just now was renewed: a loop at the upstream")
	}
	w.pass(10 * time.Minute)
	s.Refused(t.Context(), w.tenant.ID, &w.server, w.user.ID)
	w.ok(w.ready(s))
	if w.token() == first {
		t.Error("a token that the upstream refused is still given out")
	}
}

func TestTenantsAccountIsAnAdministratorsToConnect(t *testing.T) {
	w := newWorld(t)
	w.need.PerUser = false
	var told []tenants.UserID
	s := w.edge(func(c *accounts.Config) {
		c.OnConnected = func(_ tenants.ID, _ registry.ServerID, user tenants.UserID) { told = append(told, user) }
	})
	if err := w.ready(s); !fault.HasCode(err, fault.CredentialsAway) || !strings.Contains(fault.Of(err).Message, "administrator") {
		t.Errorf("before: %v", err)
	}
	if _, err := s.Begin(t.Context(), w.tenant, &w.server, w.user.ID, w.user.ID, ""); !fault.HasCode(err, fault.Conflict) {
		t.Errorf("a person's own: %v", err)
	}
	w.connect(s, "")
	w.ok(w.ready(s))
	if len(told) != 1 || told[0] != "" {
		t.Errorf("told of %q", told)
	}
	for _, mode := range []string{"ro", "rw"} {
		if got := w.kept("tenants/" + string(w.tenant.ID) + "/" + string(w.server.ID) + "/" + mode + "/token")["access_token"]; !w.up.knows(got) {
			t.Errorf("%s: %q", mode, got)
		}
	}
}

func TestDisconnectingLeavesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	w.connect(s, w.user.ID)
	refresh := w.kept("accounts/" + string(w.tenant.ID) + "/" + string(w.server.ID) + "/" + string(w.user.ID))["refresh_token"]
	w.ok(s.Disconnect(t.Context(), w.tenant.ID, w.server.ID, w.user.ID))
	if !w.up.was(refresh) {
		t.Error("the upstream was not told")
	}
	if w.token() != "" || len(w.kept("accounts/"+string(w.tenant.ID)+"/"+string(w.server.ID)+"/"+string(w.user.ID))) != 0 {
		t.Error("something is left at Vault")
	}
	if err := w.ready(s); !fault.HasCode(err, fault.ConnectNeeded) {
		t.Errorf("after: %v", err)
	}
	w.ok(s.Disconnect(t.Context(), w.tenant.ID, w.server.ID, w.user.ID))
}

// TestAnswerOfAnAuthorizationIsHeldToItsBeginning plays what can come back with a
// browser besides the answer.
func TestAnswerOfAnAuthorizationIsHeldToItsBeginning(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	eve := tenants.NewUserID()
	for name, attack := range map[string]func(state, code string) (tenants.UserID, accounts.Answer){
		"another person finishes it": func(st, c string) (tenants.UserID, accounts.Answer) {
			return eve, accounts.Answer{State: st, Code: c, Issuer: w.up.URL}
		},
		"an unknown state": func(_, c string) (tenants.UserID, accounts.Answer) {
			return w.user.ID, accounts.Answer{State: "x", Code: c, Issuer: w.up.URL}
		},
		"no state": func(_, c string) (tenants.UserID, accounts.Answer) {
			return w.user.ID, accounts.Answer{Code: c, Issuer: w.up.URL}
		},
		"of another authorization server": func(st, c string) (tenants.UserID, accounts.Answer) {
			return w.user.ID, accounts.Answer{State: st, Code: c, Issuer: "https://evil.example"}
		},
		"without the issuer that it must say": func(st, c string) (tenants.UserID, accounts.Answer) {
			return w.user.ID, accounts.Answer{State: st, Code: c}
		},
		"denied": func(st, _ string) (tenants.UserID, accounts.Answer) {
			return w.user.ID, accounts.Answer{State: st, Error: "access_denied", Issuer: w.up.URL}
		},
		"no code": func(st, _ string) (tenants.UserID, accounts.Answer) {
			return w.user.ID, accounts.Answer{State: st, Issuer: w.up.URL}
		},
		"a code of another authorization": func(st, _ string) (tenants.UserID, accounts.Answer) {
			return w.user.ID, accounts.Answer{State: st, Code: "code-x", Issuer: w.up.URL}
		},
	} {
		at, err := s.Begin(t.Context(), w.tenant, &w.server, w.user.ID, w.user.ID, "")
		w.ok(err)
		code, asked := w.up.allow(at)
		by, answer := attack(asked.Get("state"), code)
		if _, err := s.Finish(t.Context(), w.tenant, by, answer); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if answer.State == asked.Get("state") { // used, whatever came of it
			if _, err := s.Finish(t.Context(), w.tenant, w.user.ID, accounts.Answer{State: asked.Get("state"), Code: code, Issuer: w.up.URL}); err == nil {
				t.Errorf("%s: the state is good once more", name)
			}
		}
	}
	at, err := s.Begin(t.Context(), w.tenant, &w.server, w.user.ID, w.user.ID, "")
	w.ok(err)
	code, asked := w.up.allow(at)
	w.pass(16 * time.Minute)
	if _, err := s.Finish(t.Context(), w.tenant, w.user.ID, accounts.Answer{State: asked.Get("state"), Code: code, Issuer: w.up.URL}); err == nil {
		t.Error("accepted after 16 minutes")
	}
	if err := w.ready(s); !fault.HasCode(err, fault.ConnectNeeded) {
		t.Errorf("something was connected: %v", err)
	}
}

func TestWaysOfBeingKnown(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	id := func() string {
		at, err := s.Begin(t.Context(), w.tenant, &w.server, w.user.ID, w.user.ID, "")
		w.ok(err)
		u, err := url.Parse(at)
		w.ok(err)
		return u.Query().Get("client_id")
	}
	first := id()
	w.pass(25 * time.Hour) // everything is looked up again
	if again := id(); !strings.HasPrefix(first, "client-") || again != first || len(w.up.clients) != 1 {
		t.Errorf("registered as %s, then %s", first, again)
	}
	w.need.Client = "by-hand"
	w.up.clients["by-hand"] = "s3cret"
	w.ok(w.vault.PutAccount(t.Context(), w.tenant.ID, w.server.ID, vault.AccountClient, map[string]secret.Text{"client_secret": "s3cret"}))
	if got := id(); got != "by-hand" {
		t.Errorf("the given client is not used: %s", got)
	}
	w.connect(s, w.user.ID)
	w.need.Client = ""
	w.up.change = func(m map[string]any) { m["client_id_metadata_document_supported"] = true }
	secure, err := site.Parse("https://{tenant}.example.com")
	w.ok(err)
	s = w.edge(func(c *accounts.Config) { c.Sites = secure })
	if got := id(); got != "https://acme.example.com/accounts/client.json" {
		t.Errorf("known as %s", got)
	}
}

func TestAuthorizationServersThatCannotBeUsedRefused(t *testing.T) {
	for name, change := range map[string]func(m map[string]any){
		"without PKCE":             func(m map[string]any) { delete(m, "code_challenge_methods_supported") },
		"another issuer":           func(m map[string]any) { m["issuer"] = "https://evil.example" },
		"a token endpoint by HTTP": func(m map[string]any) { m["token_endpoint"] = "http://evil.example/token" },
		"a script as its page":     func(m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" },
	} {
		w := newWorld(t)
		w.up.change = change
		if at, err := w.edge().Begin(t.Context(), w.tenant, &w.server, w.user.ID, w.user.ID, ""); !fault.HasCode(err, fault.UpstreamAway) {
			t.Errorf("%s: %s %v", name, at, err)
		}
	}
}

func TestPrivateAuthorizationServerIsNotAsked(t *testing.T) {
	w := newWorld(t)
	s := w.edge(func(c *accounts.Config) {
		c.Egress = &egress.Policy{Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}}
	})
	if _, err := s.Begin(t.Context(), w.tenant, &w.server, w.user.ID, w.user.ID, ""); !fault.HasCode(err, fault.UpstreamAway) {
		t.Errorf("got %v", err)
	}
	if len(w.up.clients) != 0 {
		t.Error("it was asked")
	}
}

func TestAnswersOfATokenEndpointAreNotBelieved(t *testing.T) {
	w := newWorld(t)
	s := w.edge()
	for name, answer := range map[string]func(rw http.ResponseWriter, _ url.Values) bool{
		"a page": func(rw http.ResponseWriter, _ url.Values) bool { rw.Write([]byte("<html>")); return true },
		"no token": func(rw http.ResponseWriter, _ url.Values) bool {
			reply(rw, 200, map[string]any{"token_type": "bearer"})
			return true
		},
		"of another type": func(rw http.ResponseWriter, _ url.Values) bool {
			reply(rw, 200, map[string]any{"access_token": "x", "token_type": "mac"})
			return true
		},
		"a header of its own": func(rw http.ResponseWriter, _ url.Values) bool {
			reply(rw, 200, map[string]any{"access_token": "x\r\nX-Evil: 1", "token_type": "bearer"})
			return true
		},
		"endless": func(rw http.ResponseWriter, _ url.Values) bool {
			rw.Header().Set("Content-Type", "application/json")
			rw.Write([]byte(`{"access_token":"` + strings.Repeat("x", 1<<20) + `"}`))
			return true
		},
		"elsewhere": func(rw http.ResponseWriter, _ url.Values) bool {
			rw.Header().Set("Location", w.up.URL+"/token2")
			rw.WriteHeader(http.StatusTemporaryRedirect)
			return true
		},
	} {
		w.up.mu.Lock()
		w.up.answer = answer
		w.up.mu.Unlock()
		at, err := s.Begin(t.Context(), w.tenant, &w.server, w.user.ID, w.user.ID, "")
		w.ok(err)
		code, asked := w.up.allow(at)
		if _, err := s.Finish(t.Context(), w.tenant, w.user.ID, accounts.Answer{State: asked.Get("state"), Code: code, Issuer: w.up.URL}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if w.token() != "" {
		t.Error("something was kept")
	}
}
