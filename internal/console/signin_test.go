package console_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

func TestSignInToTheConsole(t *testing.T) {
	for name, template := range map[string]string{"by path": "", "by host": "https://{tenant}.example.com"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, template, built())
			b := w.browser(w.acme)
			if status, _ := b.me(); status != http.StatusUnauthorized {
				t.Errorf("nobody: %d", status)
			}
			path, _ := url.Parse(b.base)
			back := path.Path + "/admin/servers/orders?tab=tools&x=%26"
			a := b.get("/admin/sign-in?return_to=" + url.QueryEscape(back))
			a = b.get(a.to()) // nobody is signed in to the tenant yet
			if !strings.HasPrefix(a.to(), b.base+"/login?return_to=") {
				t.Fatalf("%d %s", a.StatusCode, a.to())
			}
			login, _ := url.Parse(a.to())
			a = b.post("/login", url.Values{"email": {"pat@acme.test"}, "password": {password.Reveal()}, "return_to": {login.Query().Get("return_to")}})
			a = b.get(a.to())
			a = b.get(a.to())
			if a.StatusCode != http.StatusSeeOther || a.to() != w.sites.Origin("acme")+back {
				t.Fatalf("%d to %s: %s", a.StatusCode, a.to(), a.body)
			}
			status, me := b.me()
			if status != http.StatusOK || me.Kind != "member" || me.Id != string(w.pat.ID) || *me.Email != "pat@acme.test" || me.Tenant.Slug != "acme" {
				t.Errorf("%d %+v", status, me)
			}
			// Of what is kept, the browser has the cookie only, and not for scripts.
			for _, set := range a.Header.Values("Set-Cookie") {
				if !strings.Contains(set, "HttpOnly") || !strings.Contains(set, "SameSite=Lax") || w.sites.Secure() && !(strings.HasPrefix(set, "__Host-") && strings.Contains(set, "Secure") && strings.Contains(set, "Path=/;")) {
					t.Errorf("%s", set)
				}
			}
			c := b.cookie("latchkey-console-acme")
			if c == nil || b.cookie("latchkey-begin") != nil {
				t.Errorf("%v", b.Jar.Cookies(path))
			}
			for _, secret := range []string{c.Value, "eyJ"} {
				if strings.Contains(w.log.String(), secret) || strings.Contains(a.body, secret) {
					t.Errorf("%s is in the log or on a page", secret)
				}
			}
			if a := b.post("/admin/sign-out", nil); a.StatusCode != http.StatusSeeOther || a.to() != b.base+"/signed-out" {
				t.Errorf("sign out: %d to %s", a.StatusCode, a.to())
			}
			b.plant(c.Name, c.Value, "") // the value itself is worth nothing any more
			if status, _ := b.me(); status != http.StatusUnauthorized {
				t.Errorf("signed out: %d", status)
			}
			gs, err := w.db.ListGrants(t.Context(), w.acme.ID, oauth.GrantFilter{Client: oauth.ConsoleClient}, callers.Position{}, 10, w.now())
			if err != nil || len(gs) != 1 || gs[0].RevokedReason != "signed out of the console" {
				t.Errorf("%+v, %v", gs, err)
			}
			if a := b.get(b.get("/admin/sign-in").to()); !strings.HasPrefix(a.to(), b.base+"/login") {
				t.Errorf("the next person is signed in as the one before: %s", a.to())
			}
		})
	}
}

func TestLoginCSRFRefused(t *testing.T) {
	w := newWorld(t, "", built())
	attacker, victim := w.browser(w.acme), w.browser(w.acme)
	attacker.login("pat@acme.test")
	theirs := attacker.toCallback("")
	u, _ := url.Parse(theirs)
	// The victim's browser is made to open what answers the attacker's sign-in.
	for what, to := range map[string]string{
		"as it is": theirs, "without state": without(u, "state"), "with an empty one": with(u, "state", ""), "with another": with(u, "state", strings.Repeat("A", 43)),
		"with a short one": with(u, "state", "x"), "twice": theirs + "&state=" + u.Query().Get("state"),
	} {
		a := victim.get(to)
		if a.StatusCode != http.StatusBadRequest || victim.cookie("latchkey-console-acme") != nil || strings.Contains(a.body, u.Query().Get("code")) {
			t.Errorf("%s: %d %v", what, a.StatusCode, a.Cookies())
		}
	}
	// Also while the victim signs in themselves.
	victim.login("pat@acme.test")
	mine := victim.toCallback("")
	if a := victim.get(theirs); a.StatusCode != http.StatusBadRequest || victim.cookie("latchkey-console-acme") != nil {
		t.Errorf("%d", a.StatusCode)
	}
	if a := victim.get(mine); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the victim's own: %d", a.StatusCode)
	}
}

func with(u *url.URL, name, value string) string {
	c, q := *u, u.Query()
	q.Set(name, value)
	c.RawQuery = q.Encode()
	return c.String()
}

func without(u *url.URL, name string) string {
	c, q := *u, u.Query()
	q.Del(name)
	c.RawQuery = q.Encode()
	return c.String()
}

func TestCodeInjectionRefused(t *testing.T) {
	w := newWorld(t, "", built())
	attacker, victim := w.browser(w.acme), w.browser(w.acme)
	attacker.login("pat@acme.test")
	victim.login("pat@acme.test")
	stolen, _ := url.Parse(victim.toCallback("")) // a code of the victim's, which leaked
	mine, _ := url.Parse(attacker.toCallback(""))
	// PKCE: it is good with the verifier of the browser that asked for it only.
	if a := attacker.get(with(mine, "code", stolen.Query().Get("code"))); a.StatusCode != http.StatusBadRequest || attacker.cookie("latchkey-console-acme") != nil {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	// And it is not used up by the attempt.
	if a := victim.get(stolen.String()); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the victim's own: %d", a.StatusCode)
	}
	if a := victim.get(stolen.String()); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a second time: %d", a.StatusCode)
	}
}

func TestAnswerOfOtherIssuerRefused(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme)
	b.login("pat@acme.test")
	for _, iss := range []string{"", w.sites.Base("globex"), b.base + "/", "https://evil.example"} {
		u, _ := url.Parse(b.toCallback(""))
		to := with(u, "iss", iss)
		if iss == "" {
			to = without(u, "iss")
		}
		if a := b.get(to); a.StatusCode != http.StatusBadRequest || b.cookie("latchkey-console-acme") != nil {
			t.Errorf("%q: %d", iss, a.StatusCode)
		}
	}
}

func TestConsoleSessionFixationRefused(t *testing.T) {
	w := newWorld(t, "", built())
	attacker, victim := w.browser(w.acme), w.browser(w.acme)
	attacker.enter("pat@acme.test")
	planted := attacker.cookie("latchkey-console-acme")
	victim.plant(planted.Name, planted.Value, "")
	victim.enter("pat@acme.test")
	if got := victim.cookie("latchkey-console-acme"); got.Value == planted.Value {
		t.Error("the planted cookie was signed in")
	}
	if status, _ := attacker.me(); status != http.StatusUnauthorized {
		t.Errorf("whoever planted the cookie: %d", status)
	}
	// A made-up one is no session, and none is made of it.
	made := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	other := w.browser(w.acme)
	other.plant(planted.Name, made, "")
	if status, _ := other.me(); status != http.StatusUnauthorized {
		t.Errorf("a made-up cookie: %d", status)
	}
	// Two of the name: the one of the longer path is sent first.
	victim.plant(planted.Name, made, "/api")
	if status, _ := victim.me(); status != http.StatusUnauthorized {
		t.Errorf("two cookies: %d", status)
	}
}

func TestOpenRedirectAfterConsoleSignInRefused(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme)
	b.login("pat@acme.test")
	for _, to := range []string{
		"https://evil.test/", "//evil.test/", "/\\evil.test/", "/t/globex/admin/", "/t/acme/connections", "/t/acme/admin", "/t/acme/admin/../../globex/admin/", "/t/acme/admin/..%2f..%2fglobex",
		"/t/acme/admin/%2e%2e/x", "/t/acme/admin/\\evil", "/t/acme/admin//evil\n", "javascript:alert(1)", "/t/acme/admin/#@evil", "/t/acme/adminx", "/t/acme/admin/" + strings.Repeat("x", 3000), "@evil.test", "",
	} {
		if a := b.get(b.toCallback("?return_to=" + url.QueryEscape(to))); a.to() != b.base+"/admin/" {
			t.Errorf("%q: to %s", to, a.to())
		}
	}
	// Nor by the cookie, which somebody could have planted.
	a := b.get("/admin/sign-in")
	begun := a.Cookies()[0]
	nonce, _, _ := strings.Cut(begun.Value, ".")
	b.plant(begun.Name, nonce+"."+base64.RawURLEncoding.EncodeToString([]byte("//evil.test/")), "/admin")
	if a = b.get(b.get(a.to()).to()); a.StatusCode == http.StatusSeeOther && a.to() != b.base+"/admin/" {
		t.Errorf("by the cookie: to %s", a.to())
	}
}

func TestCrossSiteRequestWithTheCookieRefused(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme).enter("pat@acme.test")
	for name, headers := range map[string][]string{
		"cross-site": {"Sec-Fetch-Site", "cross-site"}, "a sibling": {"Sec-Fetch-Site", "same-site"},
		"an older browser": {"Origin", "https://evil.test"}, "an opaque origin": {"Origin", "null"}, "another port": {"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site"},
	} {
		for _, path := range []string{"/api/v1/tenants/acme/api-keys", "/api/v1/tenants/acme/grants/gr222222222222222222"} {
			a := b.send(http.MethodPost, path, strings.NewReader(`{"name":"x","permissions":["admin"]}`), append([]string{"Content-Type", "text/plain"}, headers...)...)
			if a.StatusCode != http.StatusForbidden && a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusBadRequest {
				t.Errorf("%s, %s: %d %s", name, path, a.StatusCode, a.body)
			}
		}
		if a := b.send(http.MethodPost, "/api/v1/tenants/acme/api-keys", strings.NewReader(`{"name":"x","permissions":["admin"]}`), append([]string{"Content-Type", "application/json"}, headers...)...); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "another site") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		if a := b.post("/admin/sign-out", nil, headers...); a.StatusCode != http.StatusForbidden {
			t.Errorf("%s: signed out, %d", name, a.StatusCode)
		}
	}
	if status, _ := b.me("Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("a read from another site: %d", status)
	}
	if status, _ := b.me("Sec-Fetch-Site", "same-origin"); status != http.StatusOK {
		t.Errorf("its own page: %d", status)
	}
}

func TestConsoleCookieOfOtherTenantRefused(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme).enter("pat@acme.test")
	value := b.cookie("latchkey-console-acme").Value
	other := w.browser(w.globex)
	for _, name := range []string{"latchkey-console-acme", "latchkey-console-globex", "latchkey-globex", "latchkey-ops"} {
		other.plant(name, value, "")
	}
	if status, me := other.me(); status != http.StatusUnauthorized {
		t.Errorf("at globex: %d %+v", status, me)
	}
	// Neither is the sign-in's cookie the console's, nor the other way round.
	other = w.browser(w.acme)
	other.plant("latchkey-acme", value, "")
	if a := other.get(other.get("/admin/sign-in").to()); !strings.HasPrefix(a.to(), other.base+"/login") {
		t.Errorf("as the sign-in's: %s", a.to())
	}
	// Nor is it good at the platform's root.
	root := w.call("GET", "/me", "", nil, "Authorization", "", "Cookie", "latchkey-console-acme="+value+"; latchkey-ops="+value)
	if root.StatusCode != http.StatusUnauthorized {
		t.Errorf("at the root: %d", root.StatusCode)
	}
	// Below its own base, another tenant's paths are not there.
	if a := b.get("/api/v1/tenants/globex/grants"); a.StatusCode != http.StatusNotFound {
		t.Errorf("%d", a.StatusCode)
	}
}

func TestConsoleOfDisabledPerson(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme).enter("pat@acme.test")
	check(t, w.db.SetUserDisabled(t.Context(), w.acme.ID, w.pat.ID, true))
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("disabled: %d", status)
	}
	check(t, w.db.SetUserDisabled(t.Context(), w.acme.ID, w.pat.ID, false))
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("the session came back: %d", status)
	}
}

func TestRevokedGrantEndsTheConsolesSession(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme).enter("pat@acme.test")
	gs, err := w.db.ListGrants(t.Context(), w.acme.ID, oauth.GrantFilter{Client: oauth.ConsoleClient, Status: oauth.GrantActive}, callers.Position{}, 10, w.now())
	if err != nil || len(gs) != 1 {
		t.Fatalf("%+v, %v", gs, err)
	}
	check(t, w.oauth.RevokeGrant(t.Context(), w.acme.ID, gs[0].ID, "test"))
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("%d", status)
	}
}

// What a person may do is what their roles open at that moment.
func TestNarrowedRoleNarrowsTheConsoleAtOnce(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme).enter("pat@acme.test")
	grant := func(held ...tenants.Permission) {
		t.Helper()
		check(t, w.db.PutRole(t.Context(), w.acme.ID, tenants.Role{Name: "member", Permissions: held}))
	}
	const keys = "/api/v1/tenants/acme/api-keys"
	make := func(permissions string) int {
		t.Helper()
		return b.send("POST", keys, strings.NewReader(`{"name":"x","permissions":["`+permissions+`"]}`), "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin").StatusCode
	}
	if a := b.get(keys); a.StatusCode != http.StatusForbidden {
		t.Errorf("without a right: %d", a.StatusCode)
	}
	grant(tenants.KeysWrite)
	if a := b.get(keys); a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if _, me := b.me(); len(me.Permissions) != 1 || me.Permissions[0] != "keys:write" || (*me.Roles)[0] != "member" {
		t.Errorf("%+v", me)
	}
	if got := make("keys:read"); got != http.StatusCreated {
		t.Errorf("%d", got)
	}
	if got := make("admin"); got != http.StatusForbidden {
		t.Errorf("more than they hold: %d", got)
	}
	grant(tenants.KeysRead)
	if got := make("keys:read"); got != http.StatusForbidden {
		t.Errorf("narrowed: %d", got)
	}
}

// A new password, or signing out everywhere, ends the console too.
func TestSignOutEverywhereEndsTheConsole(t *testing.T) {
	w := newWorld(t, "", built())
	one, two := w.browser(w.acme).enter("pat@acme.test"), w.browser(w.acme).enter("pat@acme.test")
	other := w.browser(w.globex).enter("pat@globex.test")
	check(t, w.signin.SetPassword(t.Context(), w.acme.ID, w.pat.ID, password))
	for _, b := range []*browser{one, two} {
		if status, _ := b.me(); status != http.StatusUnauthorized {
			t.Errorf("%d", status)
		}
	}
	if status, _ := other.me(); status != http.StatusOK {
		t.Errorf("the other tenant's: %d", status)
	}
	gs, err := w.db.ListGrants(t.Context(), w.acme.ID, oauth.GrantFilter{Status: oauth.GrantActive}, callers.Position{}, 10, w.now())
	if err != nil || len(gs) != 0 {
		t.Errorf("%+v, %v", gs, err)
	}
}

func TestKeysOfATenantAreBounded(t *testing.T) {
	w := newWorld(t, "", built())
	_, s := w.key(w.acme, tenants.Admin)
	limit := 2
	_, err := w.db.UpdateTenant(t.Context(), w.acme.ID, tenants.TenantChange{Quotas: tenants.QuotaChange{APIKeys: &limit}})
	check(t, err)
	body := map[string]any{"name": "x", "permissions": []string{"keys:read"}}
	if a := w.call("POST", "/tenants/acme/api-keys", s.Reveal(), body); a.StatusCode != http.StatusCreated {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	w.refused(w.call("POST", "/tenants/acme/api-keys", s.Reveal(), body), 409, fault.Conflict)
}

func TestConsoleSessionRunsOut(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme).enter("pat@acme.test")
	for range 4 { // used now and then, it goes on
		w.pass(11 * time.Hour)
		if status, _ := b.me(); status != http.StatusOK {
			t.Fatalf("%d", status)
		}
	}
	w.pass(12*time.Hour + time.Minute)
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("idle for more than 12 h: %d", status)
	}
	b = w.browser(w.acme).enter("pat@acme.test")
	for range 15 {
		w.pass(11 * time.Hour)
		b.me()
	}
	w.pass(4 * time.Hour)
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("after 7 days: %d", status)
	}
}

func TestConsoleOfSuspendedTenant(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme).enter("pat@acme.test")
	_, key := w.key(w.acme, tenants.Admin)
	suspend(w, w.acme)
	for _, path := range []string{"/admin/", "/api/v1/me", "/admin/sign-in"} {
		if a := b.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	for _, path := range []string{"/me", "/tenants/acme/grants"} {
		if a := w.call("GET", path, key.Reveal(), nil); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s with a key: %d %s", path, a.StatusCode, a.body)
		}
	}
	_, ops := w.opsKey()
	if a := w.call("GET", "/tenants/acme/grants", ops.Reveal(), nil); a.StatusCode != http.StatusOK {
		t.Errorf("an operator: %d %s", a.StatusCode, a.body)
	}
}

func TestMadeUpBearersRefused(t *testing.T) {
	w := newWorld(t, "", built())
	for _, bad := range []string{"x", "lk_live_", "lk_live_" + strings.Repeat("A", 43), "lk_ops_" + strings.Repeat("A", 43), "lko_" + strings.Repeat("A", 43), "a.b.c", "e30.e30.e30", strings.Repeat("a", 9000)} {
		if a := w.call("GET", "/me", bad, nil); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%.20s: %d", bad, a.StatusCode)
		}
	}
}

// suspend is what an operator does.
func suspend(w *world, t tenants.Tenant) {
	w.Helper()
	yes := true
	_, err := w.db.UpdateTenant(w.Context(), t.ID, tenants.TenantChange{Suspended: &yes})
	check(w.T, err)
}

// opsKey makes a key of operators.
func (w *world) opsKey() (callers.Key, secret.Text) {
	w.Helper()
	k, s := callers.NewOperatorKey(callers.Key{Name: "script", CreatedBy: operator, CreatedAt: w.now(), ExpiresAt: w.now().Add(24 * time.Hour)})
	check(w.T, w.db.CreateOperatorKey(w.Context(), k))
	return k, s
}
