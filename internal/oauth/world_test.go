package oauth_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/oauth"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// world is a platform with two tenants, in which protocol flows run.
type world struct {
	t       testing.TB
	db      *postgres.DB
	sites   *site.Sites
	server  *oauth.Server
	config  oauth.Config
	handler http.Handler
	clock   *clock
	sealer  *sealer
	signIn  *signInFake
	acme    place
	globex  place
}

// place is a tenant with a person, and servers orders and crm.
type place struct {
	tenants.Tenant
	user   tenants.User
	base   string
	orders string // resource
	crm    string
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// sealer is AES-GCM with the context as additional data, as Vault's transit
// engine with a derived key is. It can be away.
type sealer struct {
	gcm   cipher.AEAD
	away  atomic.Bool
	opens atomic.Int64
}

func newSealer(t testing.TB) *sealer {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return &sealer{gcm: gcm}
}

var errSealerAway = errors.New("vault is away")

func (s *sealer) Seal(_ context.Context, aad string, plain []byte) ([]byte, error) {
	if s.away.Load() {
		return nil, errSealerAway
	}
	nonce := make([]byte, s.gcm.NonceSize())
	rand.Read(nonce)
	return s.gcm.Seal(nonce, nonce, plain, []byte(aad)), nil
}

func (s *sealer) Open(_ context.Context, aad string, sealed []byte) ([]byte, error) {
	s.opens.Add(1)
	if s.away.Load() {
		return nil, errSealerAway
	}
	n := s.gcm.NonceSize()
	return s.gcm.Open(nil, sealed[:n], sealed[n:], []byte(aad))
}

// signInFake believes the cookie `who`: an id of a session that was made here.
type signInFake struct {
	mu       sync.Mutex
	sessions map[string]signin.Session
	sites    *site.Sites
}

func (f *signInFake) Current(r *http.Request) (signin.Session, bool, error) {
	c, err := r.Cookie("who")
	if err != nil {
		return signin.Session{}, false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.sessions[c.Value]
	return s, ok && s.User.Tenant == site.From(r.Context()).ID, nil
}

func (f *signInFake) LoginURL(t tenants.Tenant, returnTo string) string {
	return f.sites.Base(t.Slug) + "/login?return_to=" + url.QueryEscape(returnTo)
}

func (f *signInFake) begin(u tenants.User) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := tenants.RandomID("bs")
	f.sessions[id] = signin.Session{ID: id, User: u}
	return id
}

func newWorld(t testing.TB, change ...func(*oauth.Config)) *world {
	t.Helper()
	if tt, ok := t.(*testing.T); ok {
		tt.Parallel() // each world has a database of its own
	}
	return newSerialWorld(t, change...)
}

// newSerialWorld is for tests that look at the whole database server.
func newSerialWorld(t testing.TB, change ...func(*oauth.Config)) *world {
	t.Helper()
	sites, err := site.Parse("http://127.0.0.1:8080/t/{tenant}")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, db: newDatabase(t), sites: sites, sealer: newSealer(t),
		clock:  &clock{at: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)},
		signIn: &signInFake{sessions: map[string]signin.Session{}, sites: sites},
	}
	w.config = oauth.Config{
		Sites: sites, Tenants: w.db, Registry: w.db, Store: w.db, APIKeys: w.db, Sealer: w.sealer, SignIn: w.signIn, Now: w.clock.now,
	}
	for _, c := range change {
		c(&w.config)
	}
	w.restart()
	w.acme = w.place("acme")
	w.globex = w.place("globex")
	return w
}

// Roles belong to the whole server, and cannot be altered by two at once.
var oneDatabase sync.Mutex

func newDatabase(t testing.TB) *postgres.DB {
	t.Helper()
	oneDatabase.Lock()
	defer oneDatabase.Unlock()
	return postgrestest.New(t)
}

// restart makes a new server over the same store: another edge.
func (w *world) restart() {
	w.t.Helper()
	w.server, w.handler = w.edge()
}

func (w *world) edge() (*oauth.Server, http.Handler) {
	w.t.Helper()
	s, err := oauth.New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	e := echo.New()
	s.Register(e)
	return s, w.sites.Resolve(w.db, e, http.NotFoundHandler())
}

var ordersDefinition = registry.Definition{
	Tools: []registry.Tool{
		tool("search_orders", "orders:read", registry.Reads),
		tool("summarize_order", "orders:read", registry.Reads),
		tool("issue_refund", "refunds:write", registry.Writes),
		tool("delete_order", "tool:delete_order", registry.Destructive),
	},
	Resources: []registry.Resource{{Name: "order", URITemplate: "orders://order/{id}", Scope: "orders:read", Timeout: time.Second, Hash: strings.Repeat("a", 64)}},
}

var crmDefinition = registry.Definition{Tools: []registry.Tool{tool("fetch_customer", "customers:read", registry.Reads)}}

func tool(name, scope string, risk registry.Risk) registry.Tool {
	return registry.Tool{
		Name: name, Title: "Title of " + name, Description: "What " + name + " does.", Scope: scope, Risk: risk,
		InputSchema: json.RawMessage(`{"type":"object"}`), Timeout: time.Second, Hash: strings.Repeat("b", 64),
	}
}

func (w *world) place(slug string) place {
	w.t.Helper()
	ctx := context.Background()
	t, user := postgrestest.Tenant(w.t, w.db, slug)
	p := place{Tenant: t, user: user, base: w.sites.Base(slug), orders: w.sites.Resource(slug, "orders"), crm: w.sites.Resource(slug, "crm")}
	w.host(t.ID, "orders", ordersDefinition)
	w.host(t.ID, "crm", crmDefinition)
	w.open(p, "orders:read", "refunds:write", "customers:read")
	_ = ctx
	return p
}

func (w *world) host(t tenants.ID, slug string, d registry.Definition) registry.Server {
	w.t.Helper()
	ctx := context.Background()
	s, err := w.db.PutServer(ctx, t, registry.Server{ID: tenants.NewServerID(), Slug: slug, Kind: "echo", Title: "The " + slug, Pool: "default", Connection: json.RawMessage(`{}`)})
	if err != nil {
		w.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(slug + rand.Text()))
	_, _, err = w.db.Publish(ctx, t, registry.Revision{
		ID: registry.RevisionID(tenants.RandomID("rv")), Server: s.ID, Hash: hexOf(sum[:]), Kind: "echo",
		Spec: json.RawMessage(`{}`), Definition: d, CreatedBy: "test",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

// open sets what the role of the place's person opens, on both servers.
func (w *world) open(p place, scopes ...string) {
	w.t.Helper()
	ctx := context.Background()
	role := tenants.Role{Name: "member"}
	for _, slug := range []string{"orders", "crm"} {
		h, err := w.db.Hosted(ctx, p.ID, slug)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, s := range scopes {
			role.Scopes = append(role.Scopes, tenants.Scope{Server: h.Server.ID, Name: s})
		}
	}
	if err := w.db.PutRole(ctx, p.ID, role); err != nil {
		w.t.Fatal(err)
	}
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%s is not JSON: %v", a.body, err)
	}
	return m
}

// location is the query of a redirect to the client.
func (a answer) location(t testing.TB) (to string, q url.Values) {
	t.Helper()
	if a.StatusCode != http.StatusSeeOther {
		t.Fatalf("status %d, want a redirect; body: %.600s", a.StatusCode, a.body)
	}
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q = u.Query()
	u.RawQuery = ""
	return u.String(), q
}

func (w *world) send(r *http.Request) answer { return sendTo(w.handler, r) }

func sendTo(h http.Handler, r *http.Request) answer {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	res := rec.Result()
	b, _ := io.ReadAll(res.Body)
	return answer{res, string(b)}
}

func (w *world) get(u, session string, header ...string) answer {
	r := httptest.NewRequest(http.MethodGet, u, nil)
	return w.send(dress(r, session, header))
}

func dress(r *http.Request, session string, header []string) *http.Request {
	r.RemoteAddr = "192.0.2.7:5555"
	if session != "" {
		r.AddCookie(&http.Cookie{Name: "who", Value: session})
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (w *world) post(u string, form url.Values, session string, header ...string) answer {
	r := httptest.NewRequest(http.MethodPost, u, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.send(dress(r, session, header))
}

func (w *world) json(method, u string, body any, header ...string) answer {
	w.t.Helper()
	b, ok := body.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(body); err != nil {
			w.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, u, bytes.NewReader(b))
	r.Header.Set("Content-Type", "application/json")
	return w.send(dress(r, "", header))
}

// app is a registered client with its PKCE pair.
type app struct {
	w        *world
	at       place
	id       string
	secret   string
	manage   string
	redirect string
	verifier string
}

const loopbackRedirect = "http://127.0.0.1/callback"

// register makes a public client.
func (w *world) register(p place, redirects ...string) *app {
	w.t.Helper()
	if len(redirects) == 0 {
		redirects = []string{loopbackRedirect}
	}
	return w.registerAs(p, map[string]any{"redirect_uris": redirects, "token_endpoint_auth_method": "none", "client_name": "Test App"})
}

func (w *world) registerAs(p place, metadata map[string]any) *app {
	w.t.Helper()
	res := w.json(http.MethodPost, p.base+"/register", metadata)
	if res.StatusCode != http.StatusCreated {
		w.t.Fatalf("register: %d %s", res.StatusCode, res.body)
	}
	m := res.json(w.t)
	a := &app{w: w, at: p, id: m["client_id"].(string), manage: m["registration_access_token"].(string), verifier: strings.Repeat("v", 43)}
	a.secret, _ = m["client_secret"].(string)
	a.redirect = m["redirect_uris"].([]any)[0].(string)
	return a
}

func challengeOf(verifier string) string {
	h := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// request is a valid authorization request; change edits it.
func (a *app) request(change ...func(url.Values)) url.Values {
	q := url.Values{
		"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {a.redirect}, "state": {"st"},
		"code_challenge": {challengeOf(a.verifier)}, "code_challenge_method": {"S256"},
		"resource": {a.at.orders}, "scope": {"orders:read"},
	}
	for _, c := range change {
		c(q)
	}
	return q
}

func set(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
func del(name string) func(url.Values)        { return func(q url.Values) { q.Del(name) } }

func (a *app) authorize(session string, change ...func(url.Values)) answer {
	return a.w.get(a.at.base+"/authorize?"+a.request(change...).Encode(), session)
}

var (
	ticketPattern = regexp.MustCompile(`name="ticket" value="([^"]+)"`)
	scopePattern  = regexp.MustCompile(`name="scope" value="([^"]+)"`)
)

// question reads a consent page.
func question(t testing.TB, page answer) (ticket string, scopes []string) {
	t.Helper()
	m := ticketPattern.FindStringSubmatch(page.body)
	if page.StatusCode != http.StatusOK && page.StatusCode != http.StatusUnprocessableEntity || m == nil {
		t.Fatalf("no consent page: %d %s %.900s", page.StatusCode, page.Header.Get("Location"), page.body)
	}
	for _, s := range scopePattern.FindAllStringSubmatch(page.body, -1) {
		scopes = append(scopes, html.UnescapeString(s[1]))
	}
	return html.UnescapeString(m[1]), scopes
}

const thirtyDays = "2592000"

func (a *app) answer(session, ticket string, scopes ...string) answer {
	return a.w.post(a.at.base+"/consent", url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {thirtyDays}, "scope": scopes}, session)
}

// code runs a request through consent, ticking everything that is shown.
func (a *app) code(session string, change ...func(url.Values)) string {
	a.w.t.Helper()
	ticket, scopes := question(a.w.t, a.authorize(session, change...))
	_, q := a.answer(session, ticket, scopes...).location(a.w.t)
	if q.Get("code") == "" {
		a.w.t.Fatalf("no code: %v", q)
	}
	return q.Get("code")
}

func (a *app) token(form url.Values, header ...string) answer {
	if !form.Has("client_id") && a.secret == "" {
		form.Set("client_id", a.id)
	}
	if a.secret != "" && !form.Has("client_id") {
		form.Set("client_id", a.id)
		form.Set("client_secret", a.secret)
	}
	return a.w.post(a.at.base+"/token", form, "", header...)
}

func (a *app) exchangeForm(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {a.verifier}, "redirect_uri": {a.redirect}}
}

func (a *app) refresh(token string, change ...func(url.Values)) answer {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	for _, c := range change {
		c(form)
	}
	return a.token(form)
}

// grant is what a flow ends with.
type granted struct {
	access, refresh, scope string
	claims                 map[string]any
}

func (w *world) granted(res answer) granted {
	w.t.Helper()
	if res.StatusCode != http.StatusOK {
		w.t.Fatalf("token: %d %s", res.StatusCode, res.body)
	}
	m := res.json(w.t)
	g := granted{access: m["access_token"].(string)}
	g.refresh, _ = m["refresh_token"].(string)
	g.scope, _ = m["scope"].(string)
	g.claims = payload(w.t, g.access, 1)
	return g
}

func payload(t testing.TB, jwt string, part int) map[string]any {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("%s is not a JWT", jwt)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// connect runs the whole flow.
func (w *world) connect(a *app, change ...func(url.Values)) granted {
	w.t.Helper()
	return w.granted(a.token(a.exchangeForm(a.code(w.signIn.begin(a.at.user), change...))))
}

// wantError checks an error answer of the API.
func wantError(t testing.TB, res answer, status int, code string) {
	t.Helper()
	if res.StatusCode != status || res.json(t)["error"] != code {
		t.Errorf("got %d %s, want %d %s", res.StatusCode, res.body, status, code)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
}

func regexpOf(s string) *regexp.Regexp { return regexp.MustCompile(s) }
