package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/api"
	"latchkey/internal/audit"
	"latchkey/internal/authn"
	"latchkey/internal/callers"
	"latchkey/internal/console"
	"latchkey/internal/oauth"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/secret"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	password    = secret.Text("correct horse battery")
	opsPassword = secret.Text("another horse battery")
	operator    = "ops@example.test"
)

// world is everything that says who calls, on a real store and a real Vault,
// behind one listener.
type world struct {
	*testing.T
	db          *postgres.DB
	sites       *site.Sites
	server      *httptest.Server
	oauth       *oauth.Server
	signin      *signin.Service
	console     *console.Console
	verifier    *authn.Verifier
	acme        tenants.Tenant
	globex      tenants.Tenant
	pat, george tenants.User
	log         *lockedBuffer

	mu   sync.Mutex
	past time.Duration // how far the platform's clock is ahead
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.past)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.past += d
}

// built stands for what Vite builds: the console's own is tested with it.
func built() fstest.MapFS {
	page := `<!doctype html><html lang="en"><head><base href="__BASE_HREF__"><meta name="style-nonce" content="__STYLE_NONCE__"><meta name="latchkey" content="__LATCHKEY__"><title>Console</title>
<script type="module" src="./assets/app-abc.js"></script></head><body><main id="root"></main></body></html>`
	script := `const boot = JSON.parse(document.querySelector('meta[name=latchkey]').content);
const me = await fetch(boot.api + "/me");
if (me.status === 401) location.assign(boot.console + "/sign-in?return_to=" + encodeURIComponent(location.pathname + location.search));
else document.querySelector("main").id = "hello-" + (await me.json()).name;
`
	f := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	return fstest.MapFS{
		"index.html": f(page), "favicon.svg": f("<svg xmlns='http://www.w3.org/2000/svg'/>"),
		"assets/app-abc.js": f(script), "assets/lib-123.js": f("plain"), "assets/lib-123.js.br": f("as brotli"), "assets/lib-123.js.gz": f("as gzip"),
		"assets/plain-def.css": f("main{color:black}"), ".gitkeep": f(""),
	}
}

var vaults struct {
	sync.Once
	client *vault.Client
	err    error
}

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

// hashed are the passwords of a tenant's people and of the operator, worked out
// once: that takes as long as it is meant to.
func hashed(t *testing.T) (people, ops string) {
	t.Helper()
	hashes.Do(func() {
		if hashes.people, hashes.err = signin.HashPassword(context.Background(), password, ""); hashes.err == nil {
			hashes.ops, hashes.err = signin.HashPassword(context.Background(), opsPassword, "")
		}
	})
	check(t, hashes.err)
	return hashes.people, hashes.ops
}

var hashes struct {
	sync.Once
	people, ops string
	err         error
}

// Roles belong to the whole server, and cannot be altered by two at once.
var oneDatabase sync.Mutex

func newDatabase(t *testing.T) *postgres.DB {
	t.Helper()
	oneDatabase.Lock()
	defer oneDatabase.Unlock()
	return postgrestest.New(t)
}

// newWorld serves by path on loopback, or by a template of https hosts that are
// all this listener.
func newWorld(t *testing.T, template string, bundle fs.FS) *world {
	t.Helper()
	t.Parallel() // each world has a database of its own
	w := &world{T: t, db: newDatabase(t), log: &lockedBuffer{}}
	w.acme, w.pat = postgrestest.Tenant(t, w.db, "acme")
	w.globex, w.george = postgrestest.Tenant(t, w.db, "globex")
	w.server = httptest.NewUnstartedServer(nil)
	if template == "" {
		template = "http://" + w.server.Listener.Addr().String() + "/t/{tenant}"
	}
	var err error
	w.sites, err = site.Parse(template)
	check(t, err)
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	sealer := vault.NewSealer(vaultOf(t))
	w.signin = signin.New(signin.Config{Sites: w.sites, Tenants: w.db, Sessions: w.db, Now: w.now, Log: log})
	w.oauth, err = oauth.New(oauth.Config{Sites: w.sites, Tenants: w.db, Registry: w.db, Store: w.db, APIKeys: w.db, Sealer: sealer, SignIn: w.signin, Now: w.now, Log: log})
	check(t, err)
	w.verifier = authn.NewVerifier(w.oauth, w.db, w.now)
	w.console, err = console.New(console.Config{
		Sites: w.sites, Files: bundle, Sessions: w.db, Operators: w.db, Grants: w.oauth, Tokens: w.verifier, SignIn: w.signin, Passwords: w.signin.Gate(),
		Transport: console.InProcess(func() http.Handler { return w.server.Config.Handler }), Now: w.now, Log: log,
	})
	check(t, err)
	recorder := audit.NewWriter(w.db, nil)
	t.Cleanup(recorder.Close)
	auth := &api.Authenticator{Sites: w.sites, Tenants: w.db, People: w.db, Tokens: w.verifier, Keys: w.db, Operators: w.db, Console: w.console, Log: log, Now: w.now}
	a, err := api.New(api.Config{
		Sites: w.sites, Tenants: w.db, Authenticate: auth.Authenticate, Changes: w.db, Sealer: sealer, Audit: recorder, Log: log, Now: w.now,
		Rate: api.Rate{PerSecond: 100_000, Burst: 100_000}, Apps: api.Apps{Clients: w.db, Keys: w.db, Operators: w.db}, People: api.People{Store: w.db, EndSessions: w.signin.SignOutEverywhere},
	})
	check(t, err)
	inner, outer := echo.New(), echo.New()
	w.signin.Register(inner)
	w.oauth.Register(inner)
	w.console.Register(inner)
	inner.Any(api.Base+"/*", a.Handler)
	inner.GET("/connections", func(c echo.Context) error { return c.String(http.StatusOK, "connections") })
	w.console.RegisterOperators(outer)
	outer.Any(api.Base+"/*", a.Handler)
	w.server.Config.Handler = w.sites.Resolve(w.db, inner, outer)
	if w.sites.Secure() {
		w.server.StartTLS()
	} else {
		w.server.Start()
	}
	t.Cleanup(w.server.Close)
	people, ops := hashed(t)
	for tenant, user := range map[tenants.ID]tenants.UserID{w.acme.ID: w.pat.ID, w.globex.ID: w.george.ID} {
		check(t, w.db.SetPasswordHash(t.Context(), tenant, user, people))
	}
	_, err = w.db.PutOperator(t.Context(), callers.Operator{Email: operator, Name: "Olga", CreatedAt: w.now()})
	check(t, err)
	check(t, w.db.SetOperatorPassword(t.Context(), operator, ops))
	return w
}

// dialTo connects to one address, whatever name is asked for.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}

// browser keeps cookies and follows no redirect.
type browser struct {
	*http.Client
	w    *world
	base string
}

func (w *world) browser(t tenants.Tenant) *browser {
	jar, err := cookiejar.New(nil)
	check(w.T, err)
	transport := w.server.Client().Transport.(*http.Transport).Clone()
	if w.sites.Secure() { // all names are this listener
		transport.TLSClientConfig.InsecureSkipVerify = true
		transport.DialContext = dialTo(w.server.Listener.Addr().String())
	}
	transport.DisableCompression = true
	w.Cleanup(transport.CloseIdleConnections)
	return &browser{
		Client: &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		w:      w, base: w.sites.Base(t.Slug),
	}
}

type reply struct {
	*http.Response
	body string
}

func (a reply) to() string { return a.Header.Get("Location") }

// send makes a request; headers are names and values in turn.
func (b *browser) send(method, to string, body io.Reader, headers ...string) reply {
	b.w.Helper()
	if strings.HasPrefix(to, "/") {
		to = b.base + to
	}
	r, err := http.NewRequestWithContext(b.w.Context(), method, to, body)
	check(b.w.T, err)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.Do(r)
	check(b.w.T, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	check(b.w.T, err)
	return reply{res, string(text)}
}

func (b *browser) get(to string, headers ...string) reply {
	b.w.Helper()
	return b.send(http.MethodGet, to, nil, headers...)
}

func (b *browser) post(to string, form url.Values, headers ...string) reply {
	b.w.Helper()
	return b.send(http.MethodPost, to, strings.NewReader(form.Encode()), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

// login signs in to the tenant's pages.
func (b *browser) login(email string) {
	b.w.Helper()
	if a := b.post("/login", url.Values{"email": {email}, "password": {password.Reveal()}}); a.StatusCode != http.StatusSeeOther {
		b.w.Fatalf("login: %d %s", a.StatusCode, a.body)
	}
}

// toCallback goes as far as the authorization server's answer, which is not
// followed.
func (b *browser) toCallback(query string) string {
	b.w.Helper()
	a := b.get("/admin/sign-in" + query)
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.to(), b.base+"/authorize?") {
		b.w.Fatalf("sign-in: %d to %s", a.StatusCode, a.to())
	}
	a = b.get(a.to())
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.to(), b.base+"/admin/callback?code=") {
		b.w.Fatalf("authorize: %d to %s: %s", a.StatusCode, a.to(), a.body)
	}
	return a.to()
}

// enter signs in to the console.
func (b *browser) enter(email string) *browser {
	b.w.Helper()
	b.login(email)
	if a := b.get(b.toCallback("")); a.StatusCode != http.StatusSeeOther || a.to() != b.base+"/admin/" {
		b.w.Fatalf("callback: %d to %s: %s", a.StatusCode, a.to(), a.body)
	}
	return b
}

// me asks the API who this is.
func (b *browser) me(headers ...string) (int, api.Me) {
	b.w.Helper()
	a := b.get("/api/v1/me", headers...)
	var me api.Me
	if a.StatusCode == http.StatusOK {
		check(b.w.T, json.Unmarshal([]byte(a.body), &me))
	}
	return a.StatusCode, me
}

func (b *browser) cookie(name string) *http.Cookie {
	u, err := url.Parse(b.base + "/admin/callback")
	check(b.w.T, err)
	for _, c := range b.Jar.Cookies(u) {
		if strings.HasSuffix(c.Name, name) {
			return c
		}
	}
	return nil
}

// plant puts a cookie into the browser, as somebody could who shares its host.
func (b *browser) plant(name, value, path string) {
	u, err := url.Parse(b.base + "/")
	check(b.w.T, err)
	b.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: strings.TrimSuffix(u.Path, "/") + path}})
}

// key makes an API key.
func (w *world) key(t tenants.Tenant, permissions ...tenants.Permission) (callers.Key, secret.Text) {
	w.Helper()
	k, s := callers.NewKey(callers.Key{Name: "CI", Permissions: permissions, CreatedBy: "pat", CreatedAt: w.now(), ExpiresAt: w.now().Add(24 * time.Hour)})
	check(w.T, w.db.CreateAPIKey(w.Context(), t.ID, k))
	return k, s
}

// call asks the API with a bearer token, at the root unless the path is whole.
func (w *world) call(method, path string, token string, body any, headers ...string) reply {
	w.Helper()
	b := w.browser(w.acme)
	if strings.HasPrefix(path, "/") {
		path = w.sites.Platform() + api.Base + path
	}
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		check(w.T, err)
		send = bytes.NewReader(text)
		headers = append([]string{"Content-Type", "application/json"}, headers...)
	}
	return b.send(method, path, send, append([]string{"Authorization", "Bearer " + token}, headers...)...)
}
