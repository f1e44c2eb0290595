package signin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/labstack/echo/v4"

	"latchkey/internal/pages/pagestest"
	"latchkey/internal/secret"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// invite stores an invitation of a tenant and returns its link's token.
func (w *world) invite(t tenants.Tenant, email string, roles ...string) secret.Text {
	w.t.Helper()
	token, hash := tenants.NewInvitationToken()
	err := w.db.CreateInvitation(context.Background(), t.ID, tenants.Invitation{
		ID: tenants.RandomID("iv"), Email: email, Roles: roles, May: []tenants.Permission{tenants.Admin}, CreatedBy: "boss@" + t.Slug + ".test",
		CreatedAt: w.time(), ExpiresAt: w.time().Add(time.Hour), Token: hash,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

const fresh = secret.Text("another long password")

func acceptance(token secret.Text, name string, password secret.Text) url.Values {
	return url.Values{"token": {token.Reveal()}, "name": {name}, "password": {password.Reveal()}, "again": {password.Reveal()}}
}

func (b *browser) open(token secret.Text) answer {
	b.w.t.Helper()
	return b.get("/invitation?token=" + token.Reveal())
}

func TestInvitationBringsAPersonIn(t *testing.T) {
	w := newWorld(t, "")
	ctx := context.Background()
	if err := w.db.PutRole(ctx, w.acme.ID, tenants.Role{Name: "auditor", Permissions: []tenants.Permission{tenants.AuditRead}}); err != nil {
		t.Fatal(err)
	}
	for email, c := range map[string]struct {
		roles []string
		to    string
	}{
		"plain@acme.test":   {[]string{"member", "deleted-meanwhile"}, "/connections"},
		"auditor@acme.test": {[]string{"auditor"}, "/admin/"},
	} {
		token, b := w.invite(w.acme, email, c.roles...), w.browser(w.acme)
		page := b.open(token)
		for _, want := range []string{"Join <bdi>ACME</bdi>", email, "boss@acme.test", "2 November 2026, 10:00 UTC", token.Reveal()} {
			if !strings.Contains(page.body, want) {
				t.Errorf("the page does not say %q:\n%s", want, page.body)
			}
		}
		if page.StatusCode != 200 || page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%d %v", page.StatusCode, page.Header)
		}
		a := b.post("/invitation", acceptance(token, " Nina ", fresh))
		if a.StatusCode != 303 || a.Header.Get("Location") != b.base+c.to || b.who() != email {
			t.Fatalf("%d to %s as %s\n%s", a.StatusCode, a.Header.Get("Location"), b.who(), a.body)
		}
		u, err := w.db.UserByEmail(ctx, w.acme.ID, email)
		if err != nil || u.Name != "Nina" || len(u.Roles) != 1 || u.Roles[0] != c.roles[0] {
			t.Errorf("%+v, %v", u, err)
		}
		if a := w.browser(w.acme).login(email, fresh, ""); a.StatusCode != 303 {
			t.Errorf("signing in with the new password: %d", a.StatusCode)
		}
	}
}

func TestInvitationIsAWayToANewPassword(t *testing.T) {
	w := newWorld(t, "")
	elsewhere, b := w.browser(w.acme), w.browser(w.acme)
	elsewhere.login("pat@acme.test", password, "")
	token := w.invite(w.acme, "pat@acme.test")
	if page := b.open(token); !strings.Contains(page.body, "Choose a new password") {
		t.Error(page.body)
	}
	if a := b.post("/invitation", acceptance(token, "Pat", fresh)); a.StatusCode != 303 {
		t.Fatalf("%d\n%s", a.StatusCode, a.body)
	}
	if got := elsewhere.who(); got != "nobody" {
		t.Errorf("the session of the old password is still there: %s", got)
	}
	if a := w.browser(w.acme).login("pat@acme.test", password, ""); a.StatusCode != 403 {
		t.Errorf("the old password: %d", a.StatusCode)
	}
	if u, err := w.db.UserByEmail(context.Background(), w.acme.ID, "pat@acme.test"); err != nil || u.ID != w.pat.ID || len(u.Roles) != 1 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestInvitationSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	token := w.invite(w.acme, "new@acme.test")
	for _, c := range []struct {
		what string
		form url.Values
		says string
	}{
		{"no name", acceptance(token, " ", fresh), "Enter your name"},
		{"long name", acceptance(token, strings.Repeat("é", 201), fresh), "at most 200"},
		{"short password", acceptance(token, "N", "short"), "at least 12"},
		{"the address", acceptance(token, "N", "new@acme.test"), "it is the email address"},
		{"two passwords", url.Values{"token": {token.Reveal()}, "name": {"N"}, "password": {fresh.Reveal()}, "again": {fresh.Reveal() + "x"}}, "differ"},
	} {
		a := b.post("/invitation", c.form)
		if a.StatusCode != 400 || !strings.Contains(a.body, c.says) || strings.Contains(a.body, fresh.Reveal()) || len(a.Cookies()) > 0 {
			t.Errorf("%s: %d\n%s", c.what, a.StatusCode, a.body)
		}
	}
	if a := b.post("/invitation", acceptance(token, "N", fresh)); a.StatusCode != 303 {
		t.Errorf("after all of them: %d", a.StatusCode)
	}
}

func TestUsedExpiredAndWithdrawnInvitations(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	used := w.invite(w.acme, "used@acme.test")
	if a := b.post("/invitation", acceptance(used, "N", fresh)); a.StatusCode != 303 {
		t.Fatal(a.StatusCode)
	}
	replaced := w.invite(w.acme, "new@acme.test")
	w.invite(w.acme, "new@acme.test")
	expired := w.invite(w.acme, "late@acme.test")
	check := func(what string, token secret.Text, status int, says string) {
		t.Helper()
		for name, a := range map[string]answer{"GET": b.open(token), "POST": b.post("/invitation", acceptance(token, "Eve", "the password of Eve"))} {
			if a.StatusCode != status || !strings.Contains(a.body, says) || a.Header.Get("Cache-Control") != "no-store" || strings.Contains(a.body, "<form") {
				t.Errorf("%s, %s: %d\n%s", what, name, a.StatusCode, a.body)
			}
		}
	}
	check("used", used, 410, "used already")
	check("replaced", replaced, 410, "was withdrawn")
	check("unknown", secret.Text(strings.Repeat("A", 43)), 404, "not known here")
	check("no token", "nonsense", 404, "not known here")
	w.pass(time.Hour)
	check("expired", expired, 410, "has expired")
	if a := w.browser(w.acme).login("used@acme.test", "the password of Eve", ""); a.StatusCode != 403 {
		t.Errorf("a replayed link set a password: %d", a.StatusCode)
	}
}

func TestInvitationOfOtherTenantRefused(t *testing.T) {
	w := newWorld(t, "")
	token := w.invite(w.acme, "new@acme.test")
	b := w.browser(w.globex)
	if a := b.open(token); a.StatusCode != 404 || strings.Contains(a.body, "acme") {
		t.Errorf("%d\n%s", a.StatusCode, a.body)
	}
	if a := b.post("/invitation", acceptance(token, "Eve", fresh)); a.StatusCode != 404 || len(a.Cookies()) > 0 {
		t.Errorf("%d %v", a.StatusCode, a.Cookies())
	}
	if a := w.browser(w.acme).open(token); a.StatusCode != 200 {
		t.Errorf("the try in the other tenant spent it: %d", a.StatusCode)
	}
}

func TestInvitationForAnotherAddressRefused(t *testing.T) {
	w := newWorld(t, "")
	token := w.invite(w.acme, "new@acme.test")
	b := w.browser(w.acme)
	form := acceptance(token, "Eve", fresh)
	form.Set("email", "pat@acme.test")
	form.Set("roles", "admin")
	if a := b.post("/invitation", form); a.StatusCode != 303 || b.who() != "new@acme.test" {
		t.Errorf("%d as %s", a.StatusCode, b.who())
	}
	if a := w.browser(w.acme).login("pat@acme.test", password, ""); a.StatusCode != 303 {
		t.Errorf("the password of somebody else changed: %d", a.StatusCode)
	}
}

func TestTwoWhoAcceptAtOnce(t *testing.T) {
	w := newWorld(t, "")
	token := w.invite(w.acme, "new@acme.test")
	var mu sync.Mutex
	var won []secret.Text
	var wg sync.WaitGroup
	for _, p := range []secret.Text{"the first long password", "the second long password", "the third long password", "the fourth long password"} {
		wg.Go(func() {
			a := w.browser(w.acme).post("/invitation", acceptance(token, "N", p))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case a.StatusCode == 303:
				won = append(won, p)
			case a.StatusCode != 410 || len(a.Cookies()) > 0:
				t.Errorf("%d %v", a.StatusCode, a.Cookies())
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d accepted", len(won))
	}
	if a := w.browser(w.acme).login("new@acme.test", won[0], ""); a.StatusCode != 303 {
		t.Errorf("%d", a.StatusCode)
	}
}

func TestInvitationIntoAnAccountThatGotMoreRefused(t *testing.T) {
	w := newWorld(t, "")
	ctx := context.Background()
	token, hash := tenants.NewInvitationToken()
	err := w.db.CreateInvitation(ctx, w.acme.ID, tenants.Invitation{
		ID: tenants.RandomID("iv"), Email: "pat@acme.test", May: []tenants.Permission{tenants.MembersWrite}, CreatedBy: "hr@acme.test",
		CreatedAt: w.time(), ExpiresAt: w.time().Add(time.Hour), Token: hash,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.PutRole(ctx, w.acme.ID, tenants.Role{Name: "member", Permissions: []tenants.Permission{tenants.Admin}}); err != nil {
		t.Fatal(err)
	}
	a := w.browser(w.acme).post("/invitation", acceptance(token, "Eve", fresh))
	if a.StatusCode != 403 || !strings.Contains(a.body, "got more rights") || len(a.Cookies()) > 0 {
		t.Errorf("%d %v\n%s", a.StatusCode, a.Cookies(), a.body)
	}
	if a := w.browser(w.acme).login("pat@acme.test", password, ""); a.StatusCode != 303 {
		t.Errorf("the password changed: %d", a.StatusCode)
	}
}

func TestInvitationFromOtherSiteRefused(t *testing.T) {
	w := newWorld(t, "")
	token := w.invite(w.acme, "new@acme.test")
	a := w.browser(w.acme).post("/invitation", acceptance(token, "N", fresh), "Sec-Fetch-Site", "cross-site")
	if a.StatusCode != 403 || len(a.Cookies()) > 0 {
		t.Errorf("%d %v", a.StatusCode, a.Cookies())
	}
	if a := w.browser(w.acme).post("/invitation?token="+token.Reveal(), url.Values{"name": {"N"}, "password": {fresh.Reveal()}, "again": {fresh.Reveal()}}); a.StatusCode != 404 {
		t.Errorf("a token in the query of a form: %d", a.StatusCode)
	}
}

func TestGuessingInvitationsIsThrottled(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	hashes := signin.CountHashes(w.service)
	status := 0
	for range 40 {
		token, _ := tenants.NewInvitationToken()
		status = b.post("/invitation", acceptance(token, "N", fresh)).StatusCode
	}
	if status != 429 {
		t.Errorf("the fortieth guess: %d", status)
	}
	if n := len(hashes()); n != 0 {
		t.Errorf("guesses took %d hashes", n)
	}
}

func TestInvitationTokenIsNotLogged(t *testing.T) {
	w := newWorld(t, "")
	b := w.browser(w.acme)
	token := w.invite(w.acme, "new@acme.test")
	b.open(token)
	b.post("/invitation", acceptance(token, "", fresh))
	b.post("/invitation", acceptance(token, "N", fresh))
	b.post("/invitation", acceptance(token, "N", fresh))
	// With the store away, errors are logged too.
	e := echo.New()
	w.service.Register(e)
	w.db.Close()
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "/invitation?token="+token.Reveal(), nil),
		httptest.NewRequest("POST", "/invitation", strings.NewReader(acceptance(token, "N", fresh).Encode())),
	} {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		if e.ServeHTTP(rec, r.WithContext(site.With(r.Context(), w.acme))); rec.Code < 500 {
			t.Errorf("%s: %d", r.Method, rec.Code)
		}
	}
	log := w.log.String()
	if !strings.Contains(log, "invitation accepted") || !strings.Contains(log, "ERROR") {
		t.Errorf("nothing is logged: %s", log)
	}
	hash, _ := tenants.ParseInvitationToken(token)
	if strings.Contains(log, token.Reveal()) || strings.Contains(log, string(hash[:])) || strings.Contains(log, fresh.Reveal()) || strings.Contains(log, "new@acme.test") {
		t.Errorf("the log holds what it must not: %s", log)
	}
}

func TestInvitationInABrowser(t *testing.T) {
	w := newWorld(t, "")
	b := pagestest.New(t)
	base := w.sites.Base("acme")
	token := w.invite(w.acme, "new@acme.test", "member")
	b.Check("invitation", base+"/invitation?token="+token.Reveal())
	b.Do(chromedp.SendKeys(chromedp.CSS("#name"), "Nina"), chromedp.SendKeys(chromedp.CSS("#password"), fresh.Reveal()), chromedp.SendKeys(chromedp.CSS("#again"), "something else here"))
	b.Submit(chromedp.Click(chromedp.CSS("button")))
	if text := b.Text(); !strings.Contains(text, "The two passwords differ") {
		t.Errorf("%s", text)
	}
	b.CheckHere("invitation-differs")
	b.Do(chromedp.SendKeys(chromedp.CSS("#password"), fresh.Reveal()), chromedp.SendKeys(chromedp.CSS("#again"), fresh.Reveal()))
	b.Do(chromedp.Click(chromedp.CSS("button")))
	b.WaitAt(base + "/connections")
	if u, err := w.db.UserByEmail(t.Context(), w.acme.ID, "new@acme.test"); err != nil || u.Name != "Nina" {
		t.Errorf("%+v, %v", u, err)
	}
	b.Check("invitation-used", base+"/invitation?token="+token.Reveal())
	reset := w.invite(w.acme, "pat@acme.test")
	b.Check("invitation-reset", base+"/invitation?token="+reset.Reveal())
	if v := b.Violations(); len(v) > 0 {
		t.Errorf("content security policy: %s", strings.Join(v, "\n"))
	}
}
