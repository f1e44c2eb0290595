package oauth_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/oauth"
	"latchkey/internal/postgres"
)

func (w *world) grantRow(p place, g granted) oauth.Grant {
	w.t.Helper()
	row, err := w.db.Grant(context.Background(), p.ID, g.claims["gid"].(string))
	if err != nil {
		w.t.Fatal(err)
	}
	return row
}

// active asks /introspect as the token's own client.
func (a *app) active(token string) bool {
	a.w.t.Helper()
	form := url.Values{"client_id": {a.id}, "token": {token}}
	if a.secret != "" {
		form.Set("client_secret", a.secret)
	}
	res := a.w.post(a.at.base+"/introspect", form, "")
	if res.StatusCode != http.StatusOK {
		a.w.t.Fatalf("introspect: %d %s", res.StatusCode, res.body)
	}
	return res.json(a.w.t)["active"].(bool)
}

func TestCodeReplayRevokesFamily(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	code := a.code(w.signIn.begin(w.acme.user))
	g := w.granted(a.token(a.exchangeForm(code)))
	if !a.active(g.access) || !a.active(g.refresh) {
		t.Fatal("not active before")
	}
	wantError(t, a.token(a.exchangeForm(code)), 400, "invalid_grant")
	if a.active(g.access) || a.active(g.refresh) {
		t.Error("tokens of the family live on")
	}
	wantError(t, a.refresh(g.refresh), 400, "invalid_grant")
	if row := w.grantRow(w.acme, g); row.RevokedAt.IsZero() || row.RevokedReason != "authorization code used twice" {
		t.Errorf("grant %+v", row)
	}
}

func TestSixParallelExchangesOneWins(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	code := a.code(w.signIn.begin(w.acme.user))
	won := parallel(6, func() answer { return a.token(a.exchangeForm(code)) })
	ok := 0
	for _, res := range won {
		switch {
		case res.StatusCode == http.StatusOK:
			ok++
		default:
			wantError(t, res, 400, "invalid_grant")
		}
	}
	if ok != 1 {
		t.Errorf("%d exchanges succeeded", ok)
	}
}

func parallel(n int, do func() answer) []answer {
	out := make([]answer, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			out[i] = do()
		})
	}
	close(start)
	wg.Wait()
	return out
}

func TestWrongVerifierThenNoneBothFail(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	code := a.code(w.signIn.begin(w.acme.user))
	for _, verifier := range []string{strings.Repeat("x", 43), "short", challengeOf(a.verifier), strings.Repeat("v", 129), strings.Repeat("v", 42) + "!", ""} {
		form := a.exchangeForm(code)
		form.Set("code_verifier", verifier)
		wantError(t, a.token(form), 400, "invalid_grant")
	}
	form := a.exchangeForm(code)
	form.Del("code_verifier")
	wantError(t, a.token(form), 400, "invalid_grant")
	w.granted(a.token(a.exchangeForm(code))) // the rightful client is not hurt
}

func TestCodeOfOtherClientRefused(t *testing.T) {
	w := newWorld(t)
	a, b := w.register(w.acme), w.register(w.acme)
	code := a.code(w.signIn.begin(w.acme.user))
	wantError(t, b.token(b.exchangeForm(code)), 400, "invalid_grant")
	g := w.granted(a.token(a.exchangeForm(code)))
	// Not even a used one lets another client end the victim's grant.
	wantError(t, b.token(b.exchangeForm(code)), 400, "invalid_grant")
	if !a.active(g.access) {
		t.Error("another client's replay hurt the victim")
	}
}

func TestCodeOfOtherTenantRefused(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	code := a.code(w.signIn.begin(w.acme.user))
	b := w.register(w.globex)
	wantError(t, b.token(b.exchangeForm(code)), 400, "invalid_grant")
	// The same client at another tenant does not exist.
	foreign := *a
	foreign.at = w.globex
	wantError(t, foreign.token(foreign.exchangeForm(code)), 401, "invalid_client")
	g := w.granted(a.token(a.exchangeForm(code)))
	wantError(t, foreign.refresh(g.refresh), 401, "invalid_client")
	wantError(t, b.refresh(g.refresh), 400, "invalid_grant")
	if b.active(g.access) || b.active(g.refresh) {
		t.Error("a token of one tenant is active at another")
	}
	w.post(w.globex.base+"/revoke", url.Values{"client_id": {b.id}, "token": {g.refresh}}, "")
	if !a.active(g.refresh) {
		t.Error("revoked from another tenant")
	}
}

func TestExpiredCodeRefused(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	code := a.code(w.signIn.begin(w.acme.user))
	w.clock.add(time.Minute)
	wantError(t, a.token(a.exchangeForm(code)), 400, "invalid_grant")
	wantError(t, a.token(a.exchangeForm("lkc_unknown")), 400, "invalid_grant")
	wantError(t, a.token(a.exchangeForm("")), 400, "invalid_grant")
}

func TestTokenRequestMayOmitRedirectURI(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	browser := w.signIn.begin(w.acme.user)
	form := a.exchangeForm(a.code(browser))
	form.Del("redirect_uri")
	w.granted(a.token(form))
	for _, redirect := range []string{"http://127.0.0.1:9/callback", loopbackRedirect + "/", ""} {
		form = a.exchangeForm(a.code(browser))
		form.Set("redirect_uri", redirect)
		wantError(t, a.token(form), 400, "invalid_grant")
	}
}

func TestUnconsentedResourceIsInvalidTarget(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	code := a.code(w.signIn.begin(w.acme.user))
	for _, resource := range []string{w.acme.crm, w.globex.orders, "https://evil.example", w.acme.orders + "?", ""} {
		form := a.exchangeForm(code)
		form.Set("resource", resource)
		wantError(t, a.token(form), 400, "invalid_target")
	}
	form := a.exchangeForm(code)
	form.Set("resource", w.acme.orders+"/")
	g := w.granted(a.token(form))
	wantError(t, a.refresh(g.refresh, set("resource", w.acme.crm)), 400, "invalid_target")
	again := w.granted(a.refresh(g.refresh, set("resource", w.acme.orders)))
	if again.claims["aud"] != w.acme.orders {
		t.Errorf("audience %v", again.claims["aud"])
	}
}

func TestSecretInQueryRefused(t *testing.T) {
	w := newWorld(t)
	a := w.registerAs(w.acme, map[string]any{"redirect_uris": []string{loopbackRedirect}})
	code := a.code(w.signIn.begin(w.acme.user))
	form := a.exchangeForm(code)
	res := w.post(w.acme.base+"/token?client_id="+a.id+"&client_secret="+a.secret, form, "")
	wantError(t, res, 400, "invalid_request")
	for _, path := range []string{"/revoke", "/introspect", "/par"} {
		wantError(t, w.post(w.acme.base+path+"?client_secret="+a.secret, url.Values{"client_id": {a.id}}, ""), 400, "invalid_request")
	}
	r := httptest.NewRequest(http.MethodGet, w.acme.base+"/token?"+form.Encode(), nil)
	if res := w.send(r); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET /token: %d", res.StatusCode)
	}
	r = httptest.NewRequest(http.MethodPost, w.acme.base+"/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "text/plain")
	wantError(t, w.send(r), 400, "invalid_request")
	r = httptest.NewRequest(http.MethodPost, w.acme.base+"/token", strings.NewReader("grant_type="+strings.Repeat("x", 70<<10)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	wantError(t, w.send(r), 413, "invalid_request")
}

func TestClientAuthentication(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn.begin(w.acme.user)
	public := w.register(w.acme)
	secret := w.registerAs(w.acme, map[string]any{"redirect_uris": []string{loopbackRedirect}})
	if secret.secret == "" {
		t.Fatal("no secret")
	}
	basic := func(id, pw string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(pw)))
	}
	form := func(a *app, more ...string) url.Values {
		f := a.exchangeForm(a.code(browser))
		for i := 0; i+1 < len(more); i += 2 {
			f.Set(more[i], more[i+1])
		}
		return f
	}
	post := func(f url.Values, header ...string) answer {
		return w.post(w.acme.base+"/token", f, "", header...)
	}
	w.granted(post(form(secret, "client_id", secret.id, "client_secret", secret.secret)))
	w.granted(post(form(secret), "Authorization", basic(secret.id, secret.secret)))
	w.granted(post(form(secret, "client_id", secret.id), "Authorization", basic(secret.id, secret.secret)))
	w.granted(post(form(public, "client_id", public.id)))
	w.granted(post(form(public), "Authorization", basic(public.id, "")))

	for name, res := range map[string]answer{
		"no secret":            post(form(secret, "client_id", secret.id)),
		"wrong secret":         post(form(secret, "client_id", secret.id, "client_secret", "wrong")),
		"wrong basic":          post(form(secret), "Authorization", basic(secret.id, "wrong")),
		"bearer":               post(form(secret), "Authorization", "Bearer "+secret.secret),
		"unknown client":       post(form(secret, "client_id", "cl2222222222222222")),
		"no client":            post(form(secret)),
		"secret of a public":   post(form(public, "client_id", public.id, "client_secret", "x")),
		"secret of another":    post(form(public, "client_id", public.id, "client_secret", secret.secret)),
		"assertion":            post(form(public, "client_id", public.id, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", "e30.e30.")),
		"document never asked": post(form(public, "client_id", "https://evil.example/client.json")),
	} {
		if res.StatusCode != 401 {
			t.Errorf("%s: %d %s", name, res.StatusCode, res.body)
		} else {
			wantError(t, res, 401, "invalid_client")
		}
		if name == "wrong basic" && !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("no challenge to Basic: %v", res.Header)
		}
	}
	wantError(t, post(form(secret, "client_id", secret.id, "client_secret", secret.secret), "Authorization", basic(secret.id, secret.secret)), 400, "invalid_request")
	wantError(t, post(form(secret, "client_id", public.id), "Authorization", basic(secret.id, secret.secret)), 400, "invalid_request")
}

func TestUnknownGrantType(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	for _, grant := range []string{"password", "urn:ietf:params:oauth:grant-type:token-exchange", "implicit", "authorization_code refresh_token"} {
		wantError(t, a.token(url.Values{"grant_type": {grant}}), 400, "unsupported_grant_type")
	}
	wantError(t, a.token(url.Values{"x": {"y"}}), 400, "invalid_request")
	wantError(t, w.post(w.acme.base+"/token", nil, ""), 400, "invalid_request")
}

func TestRefreshReuseRevokesFamily(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	other := w.connect(a) // another grant of the same person and client
	g := w.connect(a)
	next := w.granted(a.refresh(g.refresh))
	w.clock.add(time.Minute)
	wantError(t, a.refresh(g.refresh), 400, "invalid_grant")
	if a.active(next.access) || a.active(next.refresh) {
		t.Error("the family lives on")
	}
	wantError(t, a.refresh(next.refresh), 400, "invalid_grant")
	if row := w.grantRow(w.acme, g); row.RevokedReason != "refresh token used twice" {
		t.Errorf("grant %+v", row)
	}
	w.granted(a.refresh(other.refresh)) // the grant only, never the person
}

func TestRefreshIsIdempotentForAMinute(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	first := w.granted(a.refresh(g.refresh))
	w.clock.add(59 * time.Second)
	w.restart() // and on any edge
	again := w.granted(a.refresh(g.refresh))
	if again.refresh != first.refresh {
		t.Error("the same token yielded another successor")
	}
	third := w.granted(a.refresh(first.refresh))
	if third.refresh == first.refresh {
		t.Error("the chain did not move")
	}
}

func TestFourParallelRefreshesOneSuccessor(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	_, second := w.edge() // two edges
	edges := make(chan http.Handler, 4)
	for _, h := range []http.Handler{w.handler, second, w.handler, second} {
		edges <- h
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.refresh}, "client_id": {a.id}}
	results := parallel(4, func() answer {
		r := httptest.NewRequest(http.MethodPost, w.acme.base+"/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return sendTo(<-edges, r)
	})
	var successors []string
	for _, res := range results {
		successors = append(successors, w.granted(res).refresh)
	}
	slices.Sort(successors)
	if len(slices.Compact(successors)) != 1 {
		t.Errorf("successors %q", successors)
	}
	w.granted(a.refresh(successors[0]))
}

func TestRefreshTokenOfOtherClientDoesNotHurtTheVictim(t *testing.T) {
	w := newWorld(t)
	a, thief := w.register(w.acme), w.register(w.acme)
	g := w.connect(a)
	next := w.granted(a.refresh(g.refresh))
	w.clock.add(2 * time.Minute)
	wantError(t, thief.refresh(g.refresh), 400, "invalid_grant") // used, past its grace
	wantError(t, thief.refresh(next.refresh), 400, "invalid_grant")
	if thief.active(next.refresh) || thief.active(next.access) {
		t.Error("another client may look at the token")
	}
	if res := w.post(w.acme.base+"/revoke", url.Values{"client_id": {thief.id}, "token": {next.refresh}}, ""); res.StatusCode != http.StatusOK {
		t.Errorf("revoke: %d", res.StatusCode)
	}
	w.granted(a.refresh(next.refresh))
}

func TestRefreshNarrowsOnRequestAndRefusesWidening(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a, set("scope", "orders:read refunds:write offline_access"))
	if g.scope != "orders:read refunds:write" {
		t.Fatalf("granted %q", g.scope)
	}
	narrow := w.granted(a.refresh(g.refresh, set("scope", "orders:read")))
	if narrow.scope != "orders:read" || narrow.claims["scope"] != "orders:read" {
		t.Errorf("narrowed to %q", narrow.scope)
	}
	wantError(t, a.refresh(narrow.refresh, set("scope", "orders:read tool:delete_order")), 400, "invalid_scope")
	// The grant is what it was.
	if full := w.granted(a.refresh(narrow.refresh)); full.scope != "orders:read refunds:write" {
		t.Errorf("granted %q", full.scope)
	}
}

func TestRefreshChecksRolesAgain(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a, set("scope", "orders:read refunds:write"))
	w.open(w.acme, "orders:read")
	g = w.granted(a.refresh(g.refresh))
	if g.scope != "orders:read" {
		t.Errorf("a scope that the role lost: %q", g.scope)
	}
	w.open(w.acme, "orders:read", "refunds:write", "tool:delete_order")
	g = w.granted(a.refresh(g.refresh))
	if g.scope != "orders:read refunds:write" {
		t.Errorf("after the role has it again: %q", g.scope)
	}
	if err := w.db.SetUserDisabled(t.Context(), w.acme.ID, w.acme.user.ID, true); err != nil {
		t.Fatal(err)
	}
	wantError(t, a.refresh(g.refresh), 400, "invalid_grant")
	if row := w.grantRow(w.acme, g); row.RevokedAt.IsZero() {
		t.Error("a disabled person's grant is in force")
	}
}

func TestRefreshTokenExpiresUnused(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	browser := w.signIn.begin(w.acme.user)
	ticket, scopes := question(t, a.authorize(browser))
	_, q := w.post(w.acme.base+"/consent", url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {"0"}, "scope": scopes}, browser).location(t)
	g := w.granted(a.token(a.exchangeForm(q.Get("code"))))
	w.clock.add(30 * 24 * time.Hour)
	wantError(t, a.refresh(g.refresh), 400, "invalid_grant")
}

func TestStepUpRefusesOneRefreshWithoutRevoking(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	gid := g.claims["gid"].(string)
	w.server.NoteChallenge(t.Context(), w.acme.ID, gid)
	w.clock.add(14 * time.Second)
	w.restart() // the refresh may meet another edge
	wantError(t, a.refresh(g.refresh), 400, "invalid_grant")
	g = w.granted(a.refresh(g.refresh)) // once
	w.server.NoteChallenge(t.Context(), w.acme.ID, gid)
	w.clock.add(15 * time.Second)
	g = w.granted(a.refresh(g.refresh)) // within 15 s only
	if row := w.grantRow(w.acme, g); !row.RevokedAt.IsZero() {
		t.Error("revoked")
	}
	w.server.NoteChallenge(t.Context(), w.acme.ID, "gr222222222222222222") // unknown: nothing happens

	// The client authorizes again, with the union of the challenge.
	up := w.connect(a, set("scope", "orders:read refunds:write"))
	if up.scope != "orders:read refunds:write" {
		t.Errorf("granted %q", up.scope)
	}
}

func TestRevocationOfEitherTokenEndsTheGrant(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	for _, which := range []func(granted) string{func(g granted) string { return g.access }, func(g granted) string { return g.refresh }} {
		g := w.connect(a)
		res := w.post(w.acme.base+"/revoke", url.Values{"client_id": {a.id}, "token": {which(g)}, "token_type_hint": {"refresh_token"}}, "")
		if res.StatusCode != http.StatusOK || res.body != "" {
			t.Errorf("%d %s", res.StatusCode, res.body)
		}
		if a.active(g.access) || a.active(g.refresh) {
			t.Error("still active")
		}
	}
	for _, token := range []string{"unknown", "lkr_unknown", "eyJhbGciOiJub25lIn0.e30."} {
		if res := w.post(w.acme.base+"/revoke", url.Values{"client_id": {a.id}, "token": {token}}, ""); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", token, res.StatusCode, res.body)
		}
	}
	wantError(t, w.post(w.acme.base+"/revoke", url.Values{"client_id": {a.id}}, ""), 400, "invalid_request")
	wantError(t, w.post(w.acme.base+"/revoke", url.Values{"client_id": {"nobody"}, "token": {"x"}}, ""), 401, "invalid_client")
}

// Every edge hears of a revocation when it commits.
func TestRevocationIsHeardWithinASecond(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	heard := make(chan postgres.Change, 100)
	go w.db.Listen(ctx, func(c postgres.Change) { heard <- c })
	<-heard // connected
	a := w.register(w.acme)
	g := w.connect(a)
	if err := w.server.RevokeGrant(ctx, w.acme.ID, g.claims["gid"].(string), "test"); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(time.Second)
	for {
		select {
		case c := <-heard:
			if c == (postgres.Change{Topic: "grant", Tenant: string(w.acme.ID), ID: g.claims["gid"].(string)}) {
				return
			}
		case <-timeout:
			t.Fatal("not heard within a second")
		}
	}
}

func TestIntrospectionOfForeignTokenSaysInactive(t *testing.T) {
	w := newWorld(t)
	a := w.registerAs(w.acme, map[string]any{"redirect_uris": []string{loopbackRedirect}})
	b := w.registerAs(w.acme, map[string]any{"redirect_uris": []string{loopbackRedirect}})
	g := w.connect(a)
	if b.active(g.access) || b.active(g.refresh) {
		t.Error("another confidential client sees the token")
	}
	res := w.post(w.acme.base+"/introspect", url.Values{"client_id": {a.id}, "client_secret": {a.secret}, "token": {g.access}}, "")
	m := res.json(t)
	if m["active"] != true || m["aud"] != w.acme.orders || m["client_id"] != a.id || m["scope"] != "orders:read" || m["token_type"] != "Bearer" {
		t.Errorf("%s", res.body)
	}
	wantError(t, w.post(w.acme.base+"/introspect", url.Values{"client_id": {a.id}, "token": {g.access}}, ""), 401, "invalid_client")
	w.clock.add(10 * time.Minute)
	if a.active(g.access) || !a.active(g.refresh) {
		t.Error("after ten minutes")
	}
}

func TestAccessTokenForgeriesAreInactive(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	parts := strings.Split(g.access, ".")
	raw := base64.RawURLEncoding.EncodeToString
	kid := payload(t, g.access, 0)["kid"].(string)
	for name, token := range map[string]string{
		"alg none":      raw([]byte(`{"alg":"none","typ":"at+jwt","kid":"`+kid+`"}`)) + "." + parts[1] + ".",
		"alg HS256":     raw([]byte(`{"alg":"HS256","typ":"at+jwt","kid":"`+kid+`"}`)) + "." + parts[1] + "." + parts[2],
		"other typ":     raw([]byte(`{"alg":"EdDSA","typ":"JWT","kid":"`+kid+`"}`)) + "." + parts[1] + "." + parts[2],
		"foreign kid":   raw([]byte(`{"alg":"EdDSA","typ":"at+jwt","kid":"ky222222222222222222"}`)) + "." + parts[1] + "." + parts[2],
		"own jwk":       raw([]byte(`{"alg":"EdDSA","typ":"at+jwt","jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}`)) + "." + parts[1] + "." + parts[2],
		"other claims":  parts[0] + "." + raw([]byte(`{"iss":"`+w.acme.base+`","exp":99999999999,"gid":"`+g.claims["gid"].(string)+`","client_id":"`+a.id+`"}`)) + "." + parts[2],
		"cut":           parts[0] + "." + parts[1],
		"no signature":  parts[0] + "." + parts[1] + ".",
		"two dots more": g.access + "..",
	} {
		if a.active(token) {
			t.Errorf("%s: active", name)
		}
	}
	if !a.active(g.access) {
		t.Error("the real one is not")
	}
}

func TestNoStoreEverywhere(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	browser := w.signIn.begin(w.acme.user)
	for name, res := range map[string]answer{
		"token":       a.refresh(g.refresh),
		"token error": a.refresh("x"),
		"register":    w.json(http.MethodPost, w.acme.base+"/register", map[string]any{"redirect_uris": []string{loopbackRedirect}}),
		"revoke":      w.post(w.acme.base+"/revoke", url.Values{"client_id": {a.id}, "token": {"x"}}, ""),
		"introspect":  w.post(w.acme.base+"/introspect", url.Values{"client_id": {a.id}, "token": {g.access}}, ""),
		"par":         w.post(w.acme.base+"/par", a.request(), ""),
		"consent":     a.authorize(browser),
		"authorize":   a.authorize("", del("code_challenge")),
		"connections": w.get(w.acme.base+"/connections", browser),
	} {
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
	}
}

func TestConnectionsShowAndRevokeOnlyOnesOwn(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	g := w.connect(a)
	gid := g.claims["gid"].(string)
	mine := w.signIn.begin(w.acme.user)
	second, err := w.db.PutUser(t.Context(), w.acme.ID, "sam@acme.test", "Sam", []string{"member"})
	if err != nil {
		t.Fatal(err)
	}
	theirs := w.signIn.begin(second)
	page := func(browser string) (answer, string) {
		res := w.get(w.acme.base+"/connections", browser)
		m := regexpOf(`name="token" value="([^"]+)"`).FindStringSubmatch(res.body)
		if m == nil {
			return res, "x"
		}
		return res, m[1]
	}
	if res, _ := page(theirs); strings.Contains(res.body, gid) {
		t.Error("another person sees the grant")
	}
	res, token := page(mine)
	if !strings.Contains(res.body, gid) || !strings.Contains(res.body, "Test App") {
		t.Fatalf("%s", res.body)
	}
	revoke := func(browser, token string, header ...string) answer {
		return w.post(w.acme.base+"/connections/revoke", url.Values{"grant": {gid}, "token": {token}}, browser, header...)
	}
	wantPage(t, revoke(mine, token, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden, "another site")
	wantPage(t, revoke(mine, "x"), http.StatusForbidden, "another sign-in")
	wantPage(t, revoke("", token), http.StatusForbidden, "another sign-in")
	// With a token of their own, for somebody else's grant.
	b := w.register(w.acme)
	b.at.user = second
	w.connect(b)
	_, own := page(theirs)
	revoke(theirs, own)
	if !a.active(g.access) {
		t.Fatal("another person revoked the grant")
	}
	revoke(mine, token)
	if a.active(g.access) {
		t.Error("not revoked")
	}
	if res, _ := page(mine); strings.Contains(res.body, gid) {
		t.Error("a revoked grant is listed")
	}
	if to, _ := w.get(w.acme.base+"/connections", "").location(t); to != w.acme.base+"/login" {
		t.Errorf("without a session: %s", to)
	}
}
