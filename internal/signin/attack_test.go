package signin_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
	"latchkey/internal/pages/pagestest"
	"latchkey/internal/secret"
	"latchkey/internal/signin"
	"latchkey/internal/site"
)

func (b *browser) cookies() []*http.Cookie {
	u, _ := url.Parse(b.base + "/")
	return b.Jar.Cookies(u)
}

func (b *browser) plant(c *http.Cookie, under string) {
	u, _ := url.Parse(b.base + "/")
	c.Path = strings.TrimSuffix(u.Path, "/") + under
	b.Jar.SetCookies(u, []*http.Cookie{c})
}

func TestLoginRotatesSession(t *testing.T) {
	w := newWorld(t, "")
	attacker, victim := w.browser(w.acme), w.browser(w.acme)
	attacker.login("pat@acme.test", password, "")
	planted := attacker.cookies()[0]
	victim.plant(&http.Cookie{Name: planted.Name, Value: planted.Value}, "")
	victim.login("pat@acme.test", password, "")
	if got := victim.cookies()[0]; got.Value == planted.Value {
		t.Error("the planted cookie was signed in")
	}
	if got := attacker.who(); got != "nobody" {
		t.Errorf("whoever planted the cookie is signed in as %s", got)
	}
	if got := victim.who(); got != "pat@acme.test" {
		t.Errorf("the victim is signed in as %s", got)
	}
}

func TestSecondCookieOfTheNameIsNotFollowed(t *testing.T) {
	w := newWorld(t, "")
	attacker, victim := w.browser(w.acme), w.browser(w.acme)
	victim.login("pat@acme.test", password, "")
	attacker.login("pat@acme.test", password, "")
	c := attacker.cookies()[0]
	victim.plant(&http.Cookie{Name: c.Name, Value: c.Value}, "/connections") // is sent first
	if got := victim.get("/connections").body; got != "nobody" {
		t.Errorf("two cookies: %s", got)
	}
}

func TestLoginFromOtherSiteRefused(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	form := url.Values{"email": {"pat@acme.test"}, "password": {password.Reveal()}}
	for name, headers := range map[string][]string{
		"cross-site":             {"Sec-Fetch-Site", "cross-site"},
		"a sibling":              {"Sec-Fetch-Site", "same-site"},
		"an older browser":       {"Sec-Fetch-Site", "", "Origin", "https://evil.test"},
		"an opaque origin":       {"Sec-Fetch-Site", "", "Origin", "null"},
		"another port, Firefox":  {"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"},
		"cross-site with Origin": {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"},
	} {
		for _, path := range []string{"/login", "/logout"} {
			if a := b.post(path, form, headers...); a.StatusCode != 403 || len(a.Cookies()) > 0 || !strings.Contains(a.body, "another site") {
				t.Errorf("%s, %s: %d %v", name, path, a.StatusCode, a.Cookies())
			}
		}
	}
}

func TestLoginFromOtherSiteRefusedInABrowser(t *testing.T) {
	w := newWorld(t, "")
	evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(rw, `<main><form method=post action="%s/login"><input name=email value=pat@acme.test><input name=password value="%s"><button>Win</button></form></main>`, w.sites.Base("acme"), password.Reveal())
	}))
	t.Cleanup(evil.Close)
	b := pagestest.New(t)
	b.Open(evil.URL)
	b.Submit(chromedp.Click(chromedp.CSS("button")))
	if text := b.Text(); !strings.Contains(text, "This form came from another site") {
		t.Errorf("%s", text)
	}
}

func TestLoginPageCannotBeFramed(t *testing.T) {
	w := newWorld(t, "")
	h := w.browser(w.acme).get("/login").Header
	if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Frame-Options") != "DENY" {
		t.Errorf("%v", h)
	}
}

func TestOpenRedirectAfterLoginRefused(t *testing.T) {
	w := newWorld(t, "")
	for _, to := range []string{
		"https://evil.test/", "//evil.test/", "/\\evil.test/", "\\\\evil.test", "/\t/evil.test", "/\n/evil.test", "///evil.test", "javascript:alert(1)",
		"/../globex/connections", "/..%2fglobex", "/%2e%2e/globex/connections", "/a/.%2E/../globex", "/./x", "@evil.test", ".evil.test", "evil.test", "/a%5c..%5cb",
		"/connections#@evil.test", " /x", "/x y", "/\u202Ex", "/" + strings.Repeat("x", 9000), "/%zz",
	} {
		b := w.browser(w.acme)
		if a := b.login("pat@acme.test", password, to); a.StatusCode != 303 || a.Header.Get("Location") != b.base+"/connections" {
			t.Errorf("%q: %d to %s", to, a.StatusCode, a.Header.Get("Location"))
		}
		if u := w.service.LoginURL(w.acme, to); u != b.base+"/login" {
			t.Errorf("%q: %s", to, u)
		}
		if page := b.get("/login?return_to=" + url.QueryEscape(to)); strings.Contains(page.body, "evil") || !strings.Contains(page.body, `href="`+b.base+`/connections"`) {
			t.Errorf("%q: the page to go on from holds it", to)
		}
	}
	const good = "/authorize?client_id=https%3A%2F%2Fclaude.ai%2Fx&redirect_uri=http://localhost:1/cb&scope=a%20b&state=%2F..%2F"
	b := w.browser(w.acme)
	if a := b.login("pat@acme.test", password, good); a.Header.Get("Location") != b.base+good {
		t.Errorf("a good path leads to %s", a.Header.Get("Location"))
	}
	if u := w.service.LoginURL(w.acme, good); u != b.base+"/login?return_to="+url.QueryEscape(good) {
		t.Error(u)
	}
}

func TestUnknownUserTakesAsLong(t *testing.T) {
	w := newWorld(t, "")
	if _, err := w.db.PutUser(context.Background(), w.acme.ID, "new@acme.test", "New", nil); err != nil { // has no password
		t.Fatal(err)
	}
	hashes := signin.CountHashes(w.service)
	b := w.browser(w.acme)
	wrong := b.login("pat@acme.test", "not the password", "")
	want := hashes()
	if len(want) != 1 {
		t.Fatalf("a wrong password took %d hashes", len(want))
	}
	for _, email := range []string{"nobody@acme.test", "new@acme.test", "george@globex.test"} {
		a := b.login(email, "not the password", "")
		if got := hashes(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s took %v, a wrong password takes %v", email, got, want)
		}
		if a.StatusCode != wrong.StatusCode || strings.ReplaceAll(a.body, email, "pat@acme.test") != wrong.body {
			t.Errorf("%s is answered in another way: %d", email, a.StatusCode)
		}
	}
	b.login("pat@acme.test", secret.Text(strings.Repeat("x", 300)), "")
	if got := hashes(); !reflect.DeepEqual(got, want) {
		t.Errorf("a long password took %v", got)
	}
}

func TestThrottleDelaysAndRecovers(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	hashes := signin.CountHashes(w.service)
	for i := range 6 {
		if a := b.login("pat@acme.test", "not the password", ""); a.StatusCode != 403 {
			t.Fatalf("try %d: %d", i, a.StatusCode)
		}
	}
	hashes()
	for range 3 { // knocking does not make it longer
		a := b.login("pat@acme.test", password, "")
		if a.StatusCode != 429 || a.Header.Get("Retry-After") != "15" || !strings.Contains(a.body, "Wait 15 seconds") || len(a.Cookies()) > 0 {
			t.Fatalf("%d, Retry-After %s", a.StatusCode, a.Header.Get("Retry-After"))
		}
	}
	if n := len(hashes()); n != 0 {
		t.Errorf("refused tries took %d hashes", n)
	}
	if a := w.browser(w.globex).login("pat@globex.test", password, ""); a.StatusCode != 303 {
		t.Errorf("another tenant's person at the same network: %d", a.StatusCode)
	}
	w.pass(14 * time.Second)
	if a := b.login("pat@acme.test", password, ""); a.StatusCode != 429 || a.Header.Get("Retry-After") != "1" {
		t.Errorf("after 14 s: %d, Retry-After %s", a.StatusCode, a.Header.Get("Retry-After"))
	}
	w.pass(time.Second)
	if a := b.login("pat@acme.test", password, ""); a.StatusCode != 303 {
		t.Errorf("after 15 s: %d", a.StatusCode)
	}
}

func TestDisabledUserHasNoSession(t *testing.T) {
	w := newWorld(t, "")
	ctx := context.Background()
	b := w.browser(w.acme)
	b.login("pat@acme.test", password, "")
	if err := w.db.SetUserDisabled(ctx, w.acme.ID, w.pat.ID, true); err != nil {
		t.Fatal(err)
	}
	if got := b.who(); got != "nobody" {
		t.Errorf("a disabled person is signed in as %s", got)
	}
	if a := b.login("pat@acme.test", "not the password", ""); strings.Contains(a.body, "turned off") {
		t.Error("it is said without the password that the account is turned off")
	}
	if a := b.login("pat@acme.test", password, ""); a.StatusCode != 403 || !strings.Contains(a.body, "turned off") || len(a.Cookies()) > 0 {
		t.Errorf("a disabled person signs in: %d", a.StatusCode)
	}
	if err := w.db.SetUserDisabled(ctx, w.acme.ID, w.pat.ID, false); err != nil {
		t.Fatal(err)
	}
	if got := b.who(); got != "nobody" {
		t.Errorf("the old session came back as %s", got)
	}
}

func TestSessionOfOtherTenantRefused(t *testing.T) {
	w := newWorld(t, "")
	acme, globex := w.browser(w.acme), w.browser(w.globex)
	acme.login("pat@acme.test", password, "")
	value := acme.cookies()[0].Value
	for _, name := range []string{"latchkey-globex", "latchkey-acme"} {
		globex.plant(&http.Cookie{Name: name, Value: value}, "")
	}
	if got := globex.who(); got != "nobody" {
		t.Errorf("a session of acme is %s at globex", got)
	}
	if got := acme.who(); got != "pat@acme.test" {
		t.Errorf("and %s at acme", got)
	}
}

func TestSignOutRevokes(t *testing.T) {
	w := newWorld(t, "")
	b, thief := w.browser(w.acme), w.browser(w.acme)
	b.login("pat@acme.test", password, "")
	c := b.cookies()[0]
	thief.plant(&http.Cookie{Name: c.Name, Value: c.Value}, "")
	b.post("/logout", nil)
	if got := thief.who(); got != "nobody" {
		t.Errorf("a copy of the cookie is still %s", got)
	}
	if len(b.cookies()) != 0 {
		t.Error("the cookie was not taken away")
	}
}

func TestNewPasswordEndsSessions(t *testing.T) {
	w := newWorld(t, "")
	ctx := context.Background()
	b := w.browser(w.acme)
	b.login("pat@acme.test", password, "")
	if err := w.service.SetPassword(ctx, w.acme.ID, w.pat.ID, "another horse battery"); err != nil {
		t.Fatal(err)
	}
	if got := b.who(); got != "nobody" {
		t.Errorf("still %s", got)
	}
	if a := b.login("pat@acme.test", password, ""); a.StatusCode != 403 {
		t.Errorf("the old password: %d", a.StatusCode)
	}
}

func TestSessionLimits(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	b.login("pat@acme.test", password, "")
	w.pass(12 * time.Hour)
	if got := b.who(); got != "pat@acme.test" {
		t.Errorf("after 12 h: %s", got)
	}
	w.pass(12*time.Hour + time.Second)
	if got := b.who(); got != "nobody" {
		t.Errorf("after 12 h idle and a second: %s", got)
	}

	b.login("pat@acme.test", password, "")
	for range 14 { // busy all week
		w.pass(12 * time.Hour)
		if got := b.who(); got != "pat@acme.test" {
			t.Fatalf("busy: %s", got)
		}
	}
	w.pass(time.Second)
	if got := b.who(); got != "nobody" {
		t.Errorf("after 7 days and a second: %s", got)
	}
}

func TestCookieOverHTTPSIsBoundToTheHost(t *testing.T) {
	w := newWorld(t, "https://{tenant}.example.com")
	e := echo.New()
	w.service.Register(e)
	handler := w.sites.Resolve(w.db, e, http.NotFoundHandler())
	form := url.Values{"email": {"pat@acme.test"}, "password": {password.Reveal()}, "return_to": {"//evil.test"}}
	r := httptest.NewRequest("POST", "https://acme.example.com/login", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, r)
	res := rec.Result()
	if res.StatusCode != 303 || res.Header.Get("Location") != "https://acme.example.com/connections" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	c := res.Cookies()[0]
	if c.Name != "__Host-latchkey-acme" || !c.Secure || c.Path != "/" || c.Domain != "" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("%s", res.Header.Get("Set-Cookie"))
	}
	session := func(host string, t2 *http.Cookie) bool {
		r := httptest.NewRequest("GET", "https://"+host+"/", nil)
		tenant := w.acme
		if strings.HasPrefix(host, "globex") {
			tenant = w.globex
		}
		r = r.WithContext(site.With(r.Context(), tenant))
		r.AddCookie(t2)
		_, ok, err := w.service.Current(r)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !session("acme.example.com", c) {
		t.Error("the session is not found at its own host")
	}
	if session("globex.example.com", &http.Cookie{Name: "__Host-latchkey-globex", Value: c.Value}) {
		t.Error("the session is found at another tenant's host")
	}
}

func TestPasswordInTheQueryIsNotRead(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	q := url.Values{"email": {"pat@acme.test"}, "password": {password.Reveal()}}.Encode()
	if a := b.post("/login?"+q, nil); a.StatusCode != 400 || len(a.Cookies()) > 0 {
		t.Errorf("%d", a.StatusCode)
	}
	if a := b.post("/login", url.Values{"email": {strings.Repeat("x", 40<<10)}}); a.StatusCode != 413 {
		t.Errorf("a large form: %d", a.StatusCode)
	}
}

func TestOldHashIsRenewedAtSignIn(t *testing.T) {
	w := newWorld(t, "")
	ctx := context.Background()
	// "correct horse battery" with 8 MiB and one pass, as somebody else's argon2id wrote it.
	const old = "$argon2id$v=19$m=8192,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$"
	if err := w.db.SetPasswordHash(ctx, w.acme.ID, w.pat.ID, old+signin.Key(password, old)); err != nil {
		t.Fatal(err)
	}
	for i, renewed := range []string{"$argon2id$v=19$m=19456,t=2,p=1$", ""} {
		before, _ := w.db.PasswordHash(ctx, w.acme.ID, w.pat.ID)
		if a := w.browser(w.acme).login("pat@acme.test", password, ""); a.StatusCode != 303 {
			t.Fatalf("sign-in %d: %d", i, a.StatusCode)
		}
		after, _ := w.db.PasswordHash(ctx, w.acme.ID, w.pat.ID)
		if i == 0 && !strings.HasPrefix(after, renewed) || i == 1 && after != before {
			t.Errorf("sign-in %d: %s became %s", i, before, after)
		}
	}
}

func TestPasswordPolicySaysWhy(t *testing.T) {
	w := newWorld(t, "")
	for password, why := range map[secret.Text]string{
		"short":                                "at least 12",
		"ééééééééééé":                          "it has 11 characters",
		secret.Text(strings.Repeat("x", 12)):   "over and over",
		secret.Text(strings.Repeat("xy", 129)): "longer than 256 bytes",
		"bytes \xff are not text":              "not plain text",
		"PAT@acme.test":                        "email address",
	} {
		err := w.service.SetPassword(context.Background(), w.acme.ID, w.pat.ID, password)
		if !fault.HasCode(err, fault.InvalidArguments) || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), password.Reveal()) {
			t.Errorf("%q: %v", password.Reveal(), err)
		}
	}
	for _, good := range []secret.Text{"twelve chars", secret.Text(strings.Repeat("é", 127) + "ab"), "ユーザーのパスワードですよ"} {
		if err := w.service.SetPassword(context.Background(), w.acme.ID, w.pat.ID, good); err != nil {
			t.Errorf("%q: %v", good.Reveal(), err)
		}
	}
	if err := w.service.SetPassword(context.Background(), w.globex.ID, w.pat.ID, password); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("a person of another tenant: %v", err)
	}
}
