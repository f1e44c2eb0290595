package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/secret"
)

// ops is a browser at the platform's own pages.
func (w *world) ops() *browser {
	b := w.browser(w.acme)
	b.base = w.sites.Platform()
	return b
}

func (b *browser) opsLogin(email string, p secret.Text, returnTo string) reply {
	b.w.Helper()
	return b.post("/ops/login", url.Values{"email": {email}, "password": {p.Reveal()}, "return_to": {returnTo}})
}

func TestOperatorSignsIn(t *testing.T) {
	for name, template := range map[string]string{"by path": "", "by host": "https://{tenant}.example.com"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, template, built())
			b := w.ops()
			if status, _ := b.me(); status != http.StatusUnauthorized {
				t.Errorf("%d", status)
			}
			a := b.get("/ops/sign-in?return_to=%2Fops%2Ftenants%3Fq%3Dx")
			if a.to() != b.base+"/ops/login?return_to=%2Fops%2Ftenants%3Fq%3Dx" {
				t.Errorf("%s", a.to())
			}
			if a := b.get(a.to()); !strings.Contains(a.body, `value="/ops/tenants?q=x"`) || !strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || a.Header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("%s", a.body)
			}
			a = b.opsLogin(" OPS@example.test", opsPassword, "/ops/tenants?q=x")
			if a.StatusCode != http.StatusSeeOther || a.to() != b.base+"/ops/tenants?q=x" {
				t.Fatalf("%d to %s: %s", a.StatusCode, a.to(), a.body)
			}
			c := a.Cookies()[0]
			if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure != w.sites.Secure() || strings.HasPrefix(c.Name, "__Host-") != w.sites.Secure() {
				t.Errorf("%v", c)
			}
			status, me := b.me()
			if status != http.StatusOK || me.Kind != "operator" || me.Id != operator || me.Tenant != nil || len(me.Permissions) == 0 {
				t.Errorf("%d %+v", status, me)
			}
			if a := b.get("/api/v1/tenants/acme/grants"); a.StatusCode != http.StatusOK {
				t.Errorf("%d", a.StatusCode)
			}
			if a := b.get("/ops/login"); !strings.Contains(a.body, "You are signed in as") {
				t.Errorf("%s", a.body)
			}
			if a := b.post("/ops/sign-out", nil); a.StatusCode != http.StatusSeeOther {
				t.Errorf("%d", a.StatusCode)
			}
			b.plant(c.Name, c.Value, "")
			if status, _ := b.me(); status != http.StatusUnauthorized {
				t.Errorf("%d", status)
			}
			if log := w.log.String(); strings.Contains(log, opsPassword.Reveal()) || strings.Contains(log, c.Value) || strings.Contains(log, operator) {
				t.Error("the log names what it must not")
			}
		})
	}
}

// The operators' cookie is for the root: below a tenant's base nobody is one.
func TestOpsCookieBelowATenantRefused(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.ops()
	b.opsLogin(operator, opsPassword, "")
	if a := b.get(w.sites.API("acme") + "/me"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	value := b.cookie("latchkey-ops").Value
	person := w.browser(w.acme)
	person.plant("latchkey-console-acme", value, "")
	if status, _ := person.me(); status != http.StatusUnauthorized {
		t.Errorf("as a person's: %d", status)
	}
	for name, headers := range map[string][]string{"cross-site": {"Sec-Fetch-Site", "cross-site"}, "same-site": {"Sec-Fetch-Site", "same-site"}, "origin": {"Origin", "https://evil.test"}} {
		a := b.send("POST", "/api/v1/operator-keys", strings.NewReader(`{"name":"x"}`), append([]string{"Content-Type", "application/json"}, headers...)...)
		if a.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		for _, path := range []string{"/ops/login", "/ops/sign-out"} {
			if a := b.post(path, url.Values{"email": {operator}, "password": {opsPassword.Reveal()}}, headers...); a.StatusCode != http.StatusForbidden || len(a.Cookies()) > 0 {
				t.Errorf("%s, %s: %d", name, path, a.StatusCode)
			}
		}
	}
}

func TestOpsLoginRefusals(t *testing.T) {
	w := newWorld(t, "", built())
	_, err := w.db.PutOperator(t.Context(), callers.Operator{Email: "fresh@example.test", Name: "Fresh", CreatedAt: w.now()})
	check(t, err)
	answers := map[string]bool{}
	for _, c := range []struct {
		email    string
		password secret.Text
	}{{operator, "not the password"}, {"nobody@example.test", opsPassword}, {"fresh@example.test", opsPassword}, {"fresh@example.test", "x"}, {operator, secret.Text(strings.Repeat("x", 1000))}, {"pat@acme.test", password}} {
		a := w.ops().opsLogin(c.email, c.password, "")
		if a.StatusCode != http.StatusForbidden || len(a.Cookies()) > 0 {
			t.Errorf("%s: %d", c.email, a.StatusCode)
		}
		answers[strings.ReplaceAll(a.body, c.email, "")] = true
	}
	if len(answers) != 1 {
		t.Errorf("%d different answers", len(answers))
	}
	for range 8 {
		w.ops().opsLogin(operator, "not the password", "")
	}
	if a := w.ops().opsLogin(operator, opsPassword, ""); a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
		t.Errorf("throttled: %d", a.StatusCode)
	}
	w.pass(time.Minute)
	if a := w.ops().opsLogin(operator, opsPassword, ""); a.StatusCode != http.StatusSeeOther {
		t.Errorf("later: %d", a.StatusCode)
	}
}

func TestDisabledOperatorIsOut(t *testing.T) {
	w := newWorld(t, "", built())
	_, err := w.db.PutOperator(t.Context(), callers.Operator{Email: "second@example.test", Name: "Second"})
	check(t, err)
	b := w.ops()
	b.opsLogin(operator, opsPassword, "")
	_, err = w.db.PutOperator(t.Context(), callers.Operator{Email: operator, Name: "Olga", Disabled: true})
	check(t, err)
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("%d", status)
	}
	if a := w.ops().opsLogin(operator, opsPassword, ""); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "turned off") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	_, err = w.db.PutOperator(t.Context(), callers.Operator{Email: operator, Name: "Olga"})
	check(t, err)
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("the session came back: %d", status)
	}
	// A new password ends sessions too.
	b.opsLogin(operator, opsPassword, "")
	check(t, w.db.SetOperatorPassword(t.Context(), operator, "x"))
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("%d", status)
	}
}

func TestOperatorSessionRunsOutAndRotates(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.ops()
	b.opsLogin(operator, opsPassword, "")
	before := b.cookie("latchkey-ops")
	b.opsLogin(operator, opsPassword, "")
	other := w.ops()
	other.plant(before.Name, before.Value, "")
	if status, _ := other.me(); status != http.StatusUnauthorized || b.cookie("latchkey-ops").Value == before.Value {
		t.Errorf("the session before goes on: %d", status)
	}
	for range 7 {
		w.pass(100 * time.Minute)
		if status, _ := b.me(); status != http.StatusOK {
			t.Fatalf("%d", status)
		}
	}
	w.pass(30 * time.Minute)
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("after 12 h: %d", status)
	}
	b.opsLogin(operator, opsPassword, "")
	w.pass(2*time.Hour + time.Minute)
	if status, _ := b.me(); status != http.StatusUnauthorized {
		t.Errorf("idle: %d", status)
	}
}

func TestOpenRedirectAfterOpsLoginRefused(t *testing.T) {
	w := newWorld(t, "", built())
	for _, to := range []string{"https://evil.test", "//evil.test", "/\\evil.test", "/ops/../t/acme/admin/", "/t/acme/admin/", "/ops", "/opsx", "/ops/%2e%2e/x", "javascript:alert(1)"} {
		b := w.ops()
		if a := b.opsLogin(operator, opsPassword, to); a.to() != b.base+"/ops/" {
			t.Errorf("%q: to %s", to, a.to())
		}
		if a := b.get("/ops/sign-in?return_to=" + url.QueryEscape(to)); a.to() != b.base+"/ops/login" {
			t.Errorf("%q: to %s", to, a.to())
		}
	}
}
