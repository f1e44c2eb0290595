package oauth_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/authn"
	"latchkey/internal/oauth"
	"latchkey/internal/secret"
	"latchkey/internal/signin"
)

// The flow with the real sign-in, and tokens checked as an edge checks them.
func TestWholeFlowFromPasswordToVerifiedToken(t *testing.T) {
	var real *signin.Service
	w := newWorld(t)
	real = signin.New(signin.Config{Sites: w.sites, Tenants: w.db, Sessions: w.db, Now: w.clock.now})
	w.clock.mu.Lock()
	w.clock.at = time.Now() // GrantActive asks the database's clock
	w.clock.mu.Unlock()
	w.config.SignIn = real
	w.server, _ = w.edge()
	e := echo.New()
	w.server.Register(e)
	real.Register(e)
	w.handler = w.sites.Resolve(w.db, e, http.NotFoundHandler())
	const password = secret.Text("a long enough password")
	if err := real.SetPassword(t.Context(), w.acme.ID, w.acme.user.ID, password); err != nil {
		t.Fatal(err)
	}

	a := w.register(w.acme)
	_, q := a.authorize("").location(t)
	res := w.post(w.acme.base+"/login", url.Values{"email": {w.acme.user.Email}, "password": {password.Reveal()}, "return_to": {q.Get("return_to")}}, "")
	if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) != 1 {
		t.Fatalf("sign-in: %d %.500s", res.StatusCode, res.body)
	}
	cookie := res.Cookies()[0].Name + "=" + res.Cookies()[0].Value
	ticket, scopes := question(t, w.get(res.Header.Get("Location"), "", "Cookie", cookie))
	res = w.post(w.acme.base+"/consent", url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {thirtyDays}, "scope": scopes}, "", "Cookie", cookie)
	_, q = res.location(t)
	form := a.exchangeForm(q.Get("code"))
	g := w.granted(a.token(form))

	verifier := authn.NewVerifier(w.server, w.db, w.clock.now)
	verify := func(audience string) (authn.Principal, error) {
		return verifier.Verify(context.Background(), w.acme.ID, w.acme.base, audience, g.access)
	}
	p, err := verify(w.acme.orders)
	if err != nil || p.User != w.acme.user.ID || p.Client != a.id || !p.Has("orders:read") || p.Grant != g.claims["gid"] {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := verify(w.acme.crm); err == nil {
		t.Error("good for another server")
	}
	if _, err := verifier.Verify(context.Background(), w.globex.ID, w.globex.base, w.globex.orders, g.access); err == nil {
		t.Error("good at another tenant")
	}
	a.token(form) // replay
	if _, err := verify(w.acme.orders); err == nil {
		t.Error("a live token of a replayed code is accepted")
	}
	var _ oauth.SignIn = real
}
