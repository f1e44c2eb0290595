package oauth_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/internal/authn"
	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// console is the built-in client, as the console's backend uses it.
func (w *world) console(p place) *app {
	return &app{w: w, at: p, id: oauth.ConsoleClient, redirect: p.base + "/admin/callback", verifier: strings.Repeat("c", 43)}
}

func (w *world) api(p place) string { return w.sites.API(p.Slug) }

// forAPI asks for the platform API.
func (a *app) forAPI(change ...func(url.Values)) []func(url.Values) {
	return append([]func(url.Values){set("resource", a.w.api(a.at)), del("scope")}, change...)
}

func (a *app) consoleCode(session string) string {
	a.w.t.Helper()
	_, q := a.authorize(session, a.forAPI()...).location(a.w.t)
	if q.Get("code") == "" {
		a.w.t.Fatalf("no code: %v", q)
	}
	return q.Get("code")
}

func (w *world) verifier() *authn.Verifier {
	return authn.NewVerifier(w.server, w.db, w.clock.now)
}

// key makes an API key of a place.
func (w *world) key(p place, permissions ...tenants.Permission) (callers.Key, secret.Text) {
	w.t.Helper()
	k, s := callers.NewKey(callers.Key{Name: "CI", Permissions: permissions, CreatedBy: "pat", CreatedAt: w.clock.now(), ExpiresAt: w.clock.now().Add(time.Hour)})
	if err := w.db.CreateAPIKey(w.t.(*testing.T).Context(), p.ID, k); err != nil {
		w.t.Fatal(err)
	}
	return k, s
}

func (w *world) credentials(p place, id string, s secret.Text, change ...func(url.Values)) answer {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {s.Reveal()}}
	for _, c := range change {
		c(form)
	}
	return w.post(p.base+"/token", form, "")
}

// now moves the world to this moment, for what the database compares with its
// own clock.
func (w *world) atPresent() *world {
	w.clock.add(time.Since(w.clock.now()))
	return w
}

func TestConsoleFlow(t *testing.T) {
	w := newWorld(t).atPresent()
	a := w.console(w.acme)
	browser := w.signIn.begin(w.acme.user)
	to, q := a.authorize(browser, a.forAPI()...).location(t)
	if to != w.acme.base+"/admin/callback" || q.Get("iss") != w.acme.base || q.Get("state") != "st" {
		t.Errorf("%s %v", to, q)
	}
	res := a.token(a.exchangeForm(q.Get("code")))
	g := w.granted(res)
	if g.refresh != "" || g.claims["aud"] != w.api(w.acme) || g.claims["client_id"] != oauth.ConsoleClient || g.scope != oauth.ScopeConsole || g.claims["sub"] != string(w.acme.user.ID) {
		t.Errorf("%+v", g)
	}
	grant, err := w.db.Grant(t.Context(), w.acme.ID, g.claims["gid"].(string))
	if err != nil || grant.Server != "" || grant.ServerSlug != "" || grant.ExpiresAt.Sub(w.clock.now()) > 7*24*time.Hour {
		t.Errorf("%+v, %v", grant, err)
	}
	// Nobody signed in: to the login, and back.
	if res := a.authorize("", a.forAPI()...); !strings.Contains(res.Header.Get("Location"), "/login?return_to=") {
		t.Errorf("%d %s", res.StatusCode, res.Header.Get("Location"))
	}
	// It is among the person's connections, and can be ended there.
	if page := w.get(w.acme.base+"/connections", browser); !strings.Contains(page.body, "The admin console") {
		t.Errorf("%s", page.body)
	}
	p, err := w.verifier().VerifyCaller(t.Context(), w.acme.ID, w.acme.base, w.api(w.acme), g.access)
	if err != nil || p.User != w.acme.user.ID || p.Key != "" {
		t.Errorf("%+v, %v", p, err)
	}
	// After its registration was dropped, it signs in again.
	if err := w.db.DeleteOAuthClient(t.Context(), w.acme.ID, oauth.ConsoleClient, w.clock.now()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.verifier().VerifyCaller(t.Context(), w.acme.ID, w.acme.base, w.api(w.acme), g.access); !fault.HasCode(err, fault.Unauthenticated) {
		t.Errorf("after its client was dropped: %v", err)
	}
	w.granted(a.token(a.exchangeForm(a.consoleCode(browser))))
}

func TestConsoleTokenAtMCPRefused(t *testing.T) {
	w := newWorld(t).atPresent()
	a := w.console(w.acme)
	g := w.granted(a.token(a.exchangeForm(a.consoleCode(w.signIn.begin(w.acme.user)))))
	k, s := w.key(w.acme, tenants.Admin)
	key := w.granted(w.credentials(w.acme, k.ID, s))
	for what, token := range map[string]string{"of the console": g.access, "of a key": key.access} {
		for _, resource := range []string{w.acme.orders, w.acme.crm, w.acme.base + "/mcp/", w.acme.base} {
			if p, err := w.verifier().Verify(t.Context(), w.acme.ID, w.acme.base, resource, token); !fault.HasCode(err, fault.Unauthenticated) {
				t.Errorf("a token %s at %s: %+v, %v", what, resource, p, err)
			}
		}
	}
	// Even where the audience were right, a key is no person.
	if p, err := w.verifier().Verify(t.Context(), w.acme.ID, w.acme.base, w.api(w.acme), key.access); !fault.HasCode(err, fault.Unauthenticated) {
		t.Errorf("a key's token as a person's: %+v, %v", p, err)
	}
}

func TestMCPTokenAtAPIRefused(t *testing.T) {
	w := newWorld(t).atPresent()
	g := w.connect(w.register(w.acme))
	if p, err := w.verifier().VerifyCaller(t.Context(), w.acme.ID, w.acme.base, w.api(w.acme), g.access); !fault.HasCode(err, fault.Unauthenticated) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestTokenForAPIOfOtherTenantRefused(t *testing.T) {
	w := newWorld(t).atPresent()
	k, s := w.key(w.acme, tenants.Admin)
	g := w.granted(w.credentials(w.acme, k.ID, s))
	for _, iss := range []string{w.acme.base, w.globex.base} {
		for _, aud := range []string{w.api(w.acme), w.api(w.globex)} {
			if p, err := w.verifier().VerifyCaller(t.Context(), w.globex.ID, iss, aud, g.access); !fault.HasCode(err, fault.Unauthenticated) {
				t.Errorf("%+v, %v", p, err)
			}
		}
	}
	wantError(t, w.credentials(w.globex, k.ID, s), 401, "invalid_client")
}

func TestClientCannotAskForAPIAudience(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme, "https://app.example/cb")
	browser := w.signIn.begin(w.acme.user)
	for _, resource := range []string{
		w.api(w.acme), w.api(w.acme) + "/", strings.ToUpper(w.api(w.acme)), w.acme.base + "/api", w.acme.base + "/mcp/../api/v1", w.acme.base + "/mcp/api", w.acme.base + "/api/v1/tenants",
	} {
		if _, q := a.authorize(browser, set("resource", resource)).location(t); q.Get("error") != "invalid_target" {
			t.Errorf("%s: %v", resource, q)
		}
		form := a.request(set("resource", resource))
		wantError(t, w.post(w.acme.base+"/par", form, ""), 400, "invalid_target")
	}
	// Nor at /token, with a grant for a server.
	form := a.exchangeForm(a.code(browser))
	form.Set("resource", w.api(w.acme))
	wantError(t, a.token(form), 400, "invalid_target")
	// Nor by the scope's name.
	if _, q := a.authorize(browser, set("scope", oauth.ScopeConsole)).location(t); q.Get("error") != "invalid_scope" {
		t.Errorf("%v", q)
	}
}

func TestConsoleCanAskForNothingElse(t *testing.T) {
	w := newWorld(t)
	a := w.console(w.acme)
	browser := w.signIn.begin(w.acme.user)
	for _, resource := range []string{w.acme.orders, w.acme.base, "", w.api(w.globex), w.api(w.acme) + "/", strings.ToUpper(w.api(w.acme))} {
		change := set("resource", resource)
		if resource == "" {
			change = del("resource")
		}
		if _, q := a.authorize(browser, change, del("scope")).location(t); q.Get("error") != "invalid_target" || q.Get("code") != "" {
			t.Errorf("%q: %v", resource, q)
		}
	}
	if _, q := a.authorize(browser, a.forAPI(set("scope", "orders:read"))...).location(t); q.Get("error") != "invalid_scope" {
		t.Errorf("%v", q)
	}
	if _, q := a.authorize(browser, a.forAPI(del("code_challenge"))...).location(t); q.Get("error") != "invalid_request" {
		t.Errorf("without PKCE: %v", q)
	}
}

func TestConsoleRedirectsNowhereElse(t *testing.T) {
	w := newWorld(t)
	a := w.console(w.acme)
	browser := w.signIn.begin(w.acme.user)
	base := w.acme.base
	for _, redirect := range []string{
		"https://evil.example/admin/callback", base + "/admin/callback/", base + "/admin/callback?x=y", base + "/admin", w.globex.base + "/admin/callback",
		strings.Replace(base, ":8080", ":9999", 1) + "/admin/callback", strings.Replace(base, ":8080", "", 1) + "/admin/callback", base + "/admin/%63allback", base + "/x/../admin/callback",
	} {
		res := a.authorize(browser, a.forAPI(set("redirect_uri", redirect))...)
		if res.StatusCode != 400 || res.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %s", redirect, res.StatusCode, res.Header.Get("Location"))
		}
	}
}

func TestNobodyRegistersAsTheConsole(t *testing.T) {
	w := newWorld(t)
	for _, m := range []map[string]any{
		{"client_id": oauth.ConsoleClient, "redirect_uris": []string{"https://evil.example/cb"}, "token_endpoint_auth_method": "none"},
		{"client_id": oauth.ConsoleClient, "redirect_uris": []string{w.acme.base + "/admin/callback"}, "client_name": "Latchkey console"},
	} {
		a := w.registerAs(w.acme, m)
		if a.id == oauth.ConsoleClient {
			t.Error("the name was taken")
		}
		if _, q := a.authorize(w.signIn.begin(w.acme.user), a.forAPI()...).location(t); q.Get("error") != "invalid_target" {
			t.Errorf("%v", q)
		}
	}
	c := oauth.Client{ID: oauth.ConsoleClient, Kind: oauth.Registered, AuthMethod: "none", RedirectURIs: []string{"https://evil.example/"}, GrantTypes: []string{"authorization_code"}, CreatedAt: w.clock.now()}
	if err := w.db.CreateOAuthClient(t.Context(), w.acme.ID, c); err == nil {
		t.Error("the store let a registered client have the name")
	}
	// The console cannot prove a secret, and no one else can be it.
	wantError(t, w.post(w.acme.base+"/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {oauth.ConsoleClient}, "client_secret": {"x"}, "code": {"y"}}, ""), 401, "invalid_client")
	wantError(t, w.post(w.acme.base+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {oauth.ConsoleClient}}, ""), 400, "unauthorized_client")
	wantError(t, w.post(w.acme.base+"/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {oauth.ConsoleClient}, "refresh_token": {"x"}}, ""), 400, "unauthorized_client")
}

func TestConsoleCodeInjectionRefused(t *testing.T) {
	w := newWorld(t).atPresent()
	a := w.console(w.acme)
	code := a.consoleCode(w.signIn.begin(w.acme.user))
	other := w.register(w.acme)
	wantError(t, other.token(other.exchangeForm(code)), 400, "invalid_grant")
	form := a.exchangeForm(code)
	form.Set("code_verifier", strings.Repeat("x", 43))
	wantError(t, a.token(form), 400, "invalid_grant")
	form = a.exchangeForm(code)
	form.Set("resource", w.acme.orders)
	wantError(t, a.token(form), 400, "invalid_target")
	g := w.granted(a.token(a.exchangeForm(code)))
	wantError(t, a.token(a.exchangeForm(code)), 400, "invalid_grant") // a replay ends it
	if _, err := w.verifier().VerifyCaller(t.Context(), w.acme.ID, w.acme.base, w.api(w.acme), g.access); !fault.HasCode(err, fault.Unauthenticated) {
		t.Errorf("after a replay: %v", err)
	}
}

func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	k, s := w.key(w.acme, tenants.ServersWrite, tenants.AuditRead)
	res := w.credentials(w.acme, k.ID, s)
	g := w.granted(res)
	c := g.claims
	if g.refresh != "" || c["aud"] != w.api(w.acme) || c["sub"] != k.ID || c["client_id"] != k.ID || c["scope"] != "servers:write audit:read" || c["gid"] != nil || c["iss"] != w.acme.base {
		t.Errorf("%v", c)
	}
	if payload(t, g.access, 0)["typ"] != "at+jwt" || res.json(t)["expires_in"] != float64(600) || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s", res.body)
	}
	res = w.post(w.acme.base+"/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"servers:read"}, "resource": {w.api(w.acme)}}, "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(k.ID+":"+s.Reveal())))
	if g := w.granted(res); g.scope != "servers:read" {
		t.Errorf("narrowed to %q", g.scope)
	}
	if got, err := w.db.APIKey(t.Context(), w.acme.ID, k.ID); err != nil || !got.LastUsedAt.Equal(w.clock.now().Truncate(time.Minute)) {
		t.Errorf("last used %v, %v", got.LastUsedAt, err)
	}
	// No longer than the key.
	w.clock.add(55 * time.Minute)
	if res := w.credentials(w.acme, k.ID, s).json(t); res["expires_in"] != float64(300) {
		t.Errorf("%v", res)
	}
	// It tells the key about its own tokens, and about no others.
	introspect := func(id string, s secret.Text, token string) any {
		return w.post(w.acme.base+"/introspect", url.Values{"client_id": {id}, "client_secret": {s.Reveal()}, "token": {token}}, "").json(t)["active"]
	}
	fresh := w.granted(w.credentials(w.acme, k.ID, s))
	other, os := w.key(w.acme, tenants.Admin)
	if introspect(k.ID, s, fresh.access) != true || introspect(other.ID, os, fresh.access) != false || introspect(k.ID, s, "x") != false {
		t.Error("introspection")
	}
	wantError(t, w.post(w.acme.base+"/revoke", url.Values{"client_id": {k.ID}, "client_secret": {s.Reveal()}, "token": {fresh.access}}, ""), 400, "unsupported_token_type")
}

func TestClientCredentialsCannotWiden(t *testing.T) {
	w := newWorld(t)
	k, s := w.key(w.acme, tenants.ServersRead, tenants.KeysWrite)
	for _, scope := range []string{"admin", "servers:write", "members:read", "console", "orders:read", "servers:read admin", "SERVERS:READ", "keys:*", "tools:try"} {
		wantError(t, w.credentials(w.acme, k.ID, s, set("scope", scope)), 400, "invalid_scope")
	}
	if g := w.granted(w.credentials(w.acme, k.ID, s, set("scope", "keys:read"))); g.scope != "keys:read" { // implied
		t.Errorf("%q", g.scope)
	}
	for _, resource := range []string{w.acme.orders, w.acme.base, w.api(w.globex), w.api(w.acme) + "/"} {
		wantError(t, w.credentials(w.acme, k.ID, s, set("resource", resource)), 400, "invalid_target")
	}
	wantError(t, w.credentials(w.acme, k.ID, s, func(f url.Values) { f["resource"] = []string{w.api(w.acme), w.acme.orders} }), 400, "invalid_target")
}

func TestKeyAuthenticatesForNothingElse(t *testing.T) {
	w := newWorld(t)
	k, s := w.key(w.acme, tenants.Admin)
	a := w.register(w.acme)
	code := a.code(w.signIn.begin(w.acme.user))
	for _, grant := range []string{"authorization_code", "refresh_token"} {
		wantError(t, w.credentials(w.acme, k.ID, s, set("grant_type", grant), set("code", code), set("code_verifier", a.verifier)), 400, "unauthorized_client")
	}
	if res := w.get(w.acme.base+"/authorize?"+a.request(set("client_id", k.ID)).Encode(), w.signIn.begin(w.acme.user)); res.StatusCode != 400 {
		t.Errorf("%d", res.StatusCode)
	}
	// And no registered client gets a token without a person.
	confidential := w.registerAs(w.acme, map[string]any{"redirect_uris": []string{"https://app.example/cb"}, "grant_types": []string{"client_credentials", "authorization_code"}})
	wantError(t, confidential.token(url.Values{"grant_type": {"client_credentials"}}), 400, "unauthorized_client")
}

func TestWrongKeyRefused(t *testing.T) {
	w := newWorld(t)
	k, s := w.key(w.acme, tenants.Admin)
	_, other := w.key(w.acme, tenants.Admin)
	unknown := tenants.RandomID("ak")
	answers := map[string]string{}
	for what, res := range map[string]answer{
		"another key's secret": w.credentials(w.acme, k.ID, other), "no secret": w.credentials(w.acme, k.ID, s, del("client_secret")),
		"unknown": w.credentials(w.acme, unknown, s), "half of it": w.credentials(w.acme, k.ID, s[:20]),
	} {
		wantError(t, res, 401, "invalid_client")
		answers[res.body] = what
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
	if res := w.get(w.acme.base+"/token?grant_type=client_credentials&client_id="+k.ID+"&client_secret="+s.Reveal(), ""); res.StatusCode == http.StatusOK {
		t.Error("a secret in the URL was taken")
	}
}

func TestRevokedOrExpiredKeyGetsNoToken(t *testing.T) {
	w := newWorld(t)
	k, s := w.key(w.acme, tenants.Admin)
	w.granted(w.credentials(w.acme, k.ID, s))
	if err := w.db.RevokeAPIKey(t.Context(), w.acme.ID, k.ID, w.clock.now()); err != nil {
		t.Fatal(err)
	}
	wantError(t, w.credentials(w.acme, k.ID, s), 401, "invalid_client")
	k, s = w.key(w.acme, tenants.Admin)
	w.clock.add(time.Hour)
	wantError(t, w.credentials(w.acme, k.ID, s), 401, "invalid_client")
}

func TestAPIResourceMetadata(t *testing.T) {
	w := newWorld(t)
	for _, u := range []string{"http://127.0.0.1:8080/.well-known/oauth-protected-resource/t/acme/api/v1", w.acme.base + "/.well-known/oauth-protected-resource/api/v1"} {
		m := w.get(u, "").json(t)
		if m["resource"] != w.api(w.acme) || m["authorization_servers"].([]any)[0] != w.acme.base || len(m["scopes_supported"].([]any)) != len(tenants.Permissions()) {
			t.Errorf("%s: %v", u, m)
		}
	}
}
