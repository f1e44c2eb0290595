package signin_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/secret"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

const password = secret.Text("correct horse battery")

// world is a platform with two tenants, one person each, on a real store.
type world struct {
	t           *testing.T
	db          *postgres.DB
	service     *signin.Service
	sites       *site.Sites
	server      *httptest.Server
	acme        tenants.Tenant
	globex      tenants.Tenant
	pat, george tenants.User
	log         *lockedBuffer

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T, template string) *world {
	t.Helper()
	w := &world{t: t, db: postgrestest.New(t), now: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), log: &lockedBuffer{}}
	w.acme, w.pat = postgrestest.Tenant(t, w.db, "acme")
	w.globex, w.george = postgrestest.Tenant(t, w.db, "globex")
	w.server = httptest.NewUnstartedServer(nil)
	if template == "" {
		template = "http://" + w.server.Listener.Addr().String() + "/t/{tenant}"
	}
	var err error
	if w.sites, err = site.Parse(template); err != nil {
		t.Fatal(err)
	}
	w.service = signin.New(signin.Config{
		Sites: w.sites, Tenants: w.db, Sessions: w.db, Invitations: w.db, Now: w.time,
		Log: slog.New(slog.NewJSONHandler(w.log, nil)),
	})
	e := echo.New()
	w.service.Register(e)
	e.GET("/connections", func(c echo.Context) error {
		s, ok, err := w.service.Current(c.Request())
		if err != nil || !ok {
			return c.String(http.StatusUnauthorized, "nobody")
		}
		return c.String(http.StatusOK, s.User.Email+" "+s.ID)
	})
	e.GET("/elsewhere", func(c echo.Context) error { return c.Redirect(http.StatusFound, c.QueryParam("to")) })
	w.server.Config.Handler = w.sites.Resolve(w.db, e, http.NotFoundHandler())
	w.server.Start()
	t.Cleanup(w.server.Close)
	for tenant, user := range map[tenants.ID]tenants.UserID{w.acme.ID: w.pat.ID, w.globex.ID: w.george.ID} {
		if err := w.service.SetPassword(context.Background(), tenant, user, password); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// browser keeps cookies and does not follow redirects.
type browser struct {
	w    *world
	base string
	http.Client
}

func (w *world) browser(tenant tenants.Tenant) *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{w: w, base: w.sites.Base(tenant.Slug), Client: http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type answer struct {
	*http.Response
	body string
}

func (b *browser) do(req *http.Request, err error) answer {
	b.w.t.Helper()
	if err != nil {
		b.w.t.Fatal(err)
	}
	res, err := b.Do(req)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return answer{res, string(body)}
}

func (b *browser) get(path string) answer {
	b.w.t.Helper()
	return b.do(http.NewRequest("GET", b.base+path, nil))
}

// post sends a form as this site's own page does, unless site says otherwise.
func (b *browser) post(path string, form url.Values, headers ...string) answer {
	b.w.t.Helper()
	req, err := http.NewRequest("POST", b.base+path, strings.NewReader(form.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	return b.do(req, err)
}

func (b *browser) login(email string, password secret.Text, returnTo string) answer {
	b.w.t.Helper()
	return b.post("/login", url.Values{"email": {email}, "password": {password.Reveal()}, "return_to": {returnTo}})
}

func (b *browser) who() string {
	b.w.t.Helper()
	who, _, _ := strings.Cut(b.get("/connections").body, " ")
	return who
}

func TestSignInAndOut(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	page := b.get("/login?return_to=%2Fauthorize%3Fclient_id%3Dx")
	if page.StatusCode != 200 || !strings.Contains(page.body, `value="/authorize?client_id=x"`) {
		t.Fatalf("%d\n%s", page.StatusCode, page.body)
	}
	if a := b.login("pat@acme.test", "wrong password here", ""); a.StatusCode != 403 || len(a.Cookies()) != 0 || !strings.Contains(a.body, "do not go together") {
		t.Fatalf("wrong password: %d %v\n%s", a.StatusCode, a.Cookies(), a.body)
	}
	a := b.login(" PAT@acme.test ", password, "/authorize?client_id=x")
	if a.StatusCode != 303 || a.Header.Get("Location") != b.base+"/authorize?client_id=x" {
		t.Fatalf("right password: %d %s", a.StatusCode, a.Header.Get("Location"))
	}
	c := a.Cookies()[0]
	if c.Name != "latchkey-acme" || c.Path != "/t/acme" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure {
		t.Errorf("cookie: %+v", c)
	}
	if got := b.who(); got != "pat@acme.test" {
		t.Errorf("signed in as %q", got)
	}
	if page := b.get("/login"); !strings.Contains(page.body, "You are signed in as") {
		t.Error("the login page does not say who sits here")
	}
	if a := b.post("/logout", nil); a.StatusCode != 303 || a.Cookies()[0].MaxAge != -1 {
		t.Fatalf("sign out: %d %v", a.StatusCode, a.Cookies())
	}
	if got := b.who(); got != "nobody" {
		t.Errorf("after sign out: %q", got)
	}
	if strings.Contains(w.log.String(), password.Reveal()) || strings.Contains(w.log.String(), c.Value) {
		t.Error("the log holds a secret")
	}
}
