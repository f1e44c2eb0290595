package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is the API on a real store and a real Vault, with two tenants. Who
// calls is said by name: how callers prove it is tested where it is decided.
type world struct {
	*testing.T
	api          *API
	db           *postgres.DB
	vault        *vault.Client
	acme, globex tenants.Tenant
	pat          tenants.User // of acme

	mu      *sync.Mutex
	callers map[string]Principal
}

// in is the same world for a subtest.
func (w *world) in(t *testing.T) *world {
	c := *w
	c.T = t
	return &c
}

// newWorld makes one. fit, if not nil, completes the areas of the configuration.
func newWorld(t *testing.T, fit func(*world, *Config)) *world {
	t.Helper()
	w := &world{T: t, db: postgrestest.New(t), vault: vaultOf(t), mu: &sync.Mutex{}, callers: map[string]Principal{}}
	w.acme, w.pat = postgrestest.Tenant(t, w.db, "acme")
	w.globex, _ = postgrestest.Tenant(t, w.db, "globex")
	sites, err := site.Parse("http://127.0.0.1:8080/t/{tenant}")
	check(t, err)
	log := audit.NewWriter(w.db, nil)
	t.Cleanup(log.Close)
	c := Config{
		Sites: sites, Tenants: w.db, Authenticate: w.authenticate, Changes: w.db, Sealer: vault.NewSealer(w.vault), Audit: log,
		Rate: Rate{PerSecond: 100_000, Burst: 100_000},
	}
	if fit != nil {
		fit(w, &c)
	}
	w.api, err = New(c)
	check(t, err)
	w.as("admin", tenants.Admin)
	w.callers["operator"] = Principal{Kind: MeKindOperator, ID: "ops@example.test", Name: "Ops", Email: "ops@example.test", Via: "ops"}
	w.callers["stranger"] = Principal{Kind: MeKindApiKey, ID: "akzzzzzzzzzzzzzzzzzz", Name: "stranger", Tenant: w.globex, Permissions: []tenants.Permission{tenants.Admin}}
	return w
}

// as adds a member of acme by name, who holds just these permissions.
func (w *world) as(name string, held ...tenants.Permission) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.callers[name] = Principal{
		Kind: MeKindMember, ID: string(w.pat.ID), Name: name, Email: w.pat.Email, Tenant: w.acme, User: w.pat.ID, Permissions: held, Via: "latchkey-console",
	}
}

func (w *world) authenticate(r *http.Request) (Principal, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p, ok := w.callers[name]
	if !ok {
		return Principal{}, fault.New(fault.Unauthenticated, "Sign in.")
	}
	return p, nil
}

// An answer of the API.
type reply struct {
	Status int
	Header http.Header
	Body   string
}

// problem reads the answer as one.
func (a reply) problem() Problem {
	var p Problem
	json.Unmarshal([]byte(a.Body), &p)
	return p
}

// into reads a JSON answer.
func into[T any](t *testing.T, a reply) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatalf("%d is not JSON: %v: %s", a.Status, err, a.Body)
	}
	return v
}

// do calls as somebody. A body that is no string is sent as JSON. headers are
// names and values in turn.
func (w *world) do(who, method, path string, body any, headers ...string) reply {
	w.Helper()
	var send io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		send = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		check(w.T, err)
		send = bytes.NewReader(text)
	}
	r := httptest.NewRequestWithContext(context.Background(), method, Base+path, send)
	r.Header.Set("Authorization", "Bearer "+who)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	return reply{rec.Code, rec.Header(), rec.Body.String()}
}

// must is do that has to answer with a status.
func (w *world) must(status int, who, method, path string, body any, headers ...string) reply {
	w.Helper()
	a := w.do(who, method, path, body, headers...)
	if a.Status != status {
		w.Fatalf("%s %s as %s: %d, want %d: %s", method, path, who, a.Status, status, a.Body)
	}
	return a
}

// refused is do that has to be refused with a code.
func (w *world) refused(code fault.Code, who, method, path string, body any, headers ...string) Problem {
	w.Helper()
	a := w.do(who, method, path, body, headers...)
	p := a.problem()
	if p.Code != code.Name || p.Status != a.Status || a.Header.Get("Content-Type") != "application/problem+json" || p.RequestId == "" || p.Detail == "" {
		w.Fatalf("%s %s as %s: %d %s, want %s: %s", method, path, who, a.Status, p.Code, code, a.Body)
	}
	return p
}

var vaults struct {
	sync.Once
	client *vault.Client
	err    error
}

// vaultOf is the test process's Vault, laid out.
func vaultOf(t *testing.T) *vault.Client {
	t.Helper()
	vaults.Do(func() {
		v := testenv.Vault(t)
		vaults.client, vaults.err = vault.NewClient(vault.Config{Address: v.Addr(), Token: secret.Text(v.RootToken())})
		if vaults.err == nil {
			vaults.err = vault.Setup(context.Background(), vaults.client, vault.SetupConfig{})
		}
	})
	check(t, vaults.err)
	return vaults.client
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
