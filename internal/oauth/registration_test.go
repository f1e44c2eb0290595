package oauth_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"latchkey/internal/oauth"
)

func TestRegistrationAsksForClientCredentialsAndAdminScopesStripped(t *testing.T) {
	w := newWorld(t)
	res := w.json(http.MethodPost, w.acme.base+"/register", map[string]any{
		"redirect_uris": []string{loopbackRedirect}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"client_credentials", "password", "implicit", "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"scope":       "orders:read platform:admin * offline_access tool:delete_order",
	})
	m := res.json(t)
	if res.StatusCode != http.StatusCreated || !slices.Equal(m["grant_types"].([]any), []any{"authorization_code", "refresh_token"}) || m["scope"] != "orders:read offline_access tool:delete_order" {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	res = w.json(http.MethodPost, w.acme.base+"/register", map[string]any{"redirect_uris": []string{loopbackRedirect}, "grant_types": []string{"client_credentials"}})
	if got := res.json(t)["grant_types"]; !slices.Equal(got.([]any), []any{"authorization_code", "refresh_token"}) {
		t.Errorf("grant types %v", got)
	}
	// Without the refresh token grant there is none.
	a := w.registerAs(w.acme, map[string]any{"redirect_uris": []string{loopbackRedirect}, "token_endpoint_auth_method": "none", "grant_types": []string{"authorization_code"}})
	if g := w.connect(a); g.refresh != "" {
		t.Error("a refresh token that nobody asked for")
	}
	wantError(t, a.refresh("lkr_x"), 400, "unauthorized_client")
}

func TestRegistrationRefusesDangerousRedirects(t *testing.T) {
	w := newWorld(t)
	for _, redirect := range []string{
		"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://x/y", "about:blank", "intent://x#Intent;end", "view-source:https://x",
		"http://app.example/callback", "http://10.0.0.1/callback", "http://127.0.0.2/callback", "http://localhost.evil.example/", "http://0.0.0.0/",
		"https://user@app.example/callback", "https://user:pw@app.example/callback", "https://app.example/callback#x", "https://app.example/callback#",
		"https://", "https:///callback", "https:callback", "//app.example/callback", "/callback", "callback", "", "cursor:", "cursor://",
		"https://app.example/call back", "https://app.example/\ncallback", "https://app.example\\@evil.example/", "https://app.exämple/", "https://*.example/",
		"https://app.example/?code=x", "https://app.example/?iss=https://evil.example", "https://app.example/?state=x", "https://app.example/?error=x",
		"https://app.example/" + strings.Repeat("x", 2000), " https://app.example/",
	} {
		res := w.json(http.MethodPost, w.acme.base+"/register", map[string]any{"redirect_uris": []string{"https://good.example/cb", redirect}})
		wantError(t, res, 400, "invalid_redirect_uri")
	}
	many := slices.Repeat([]string{"https://good.example/cb"}, 11)
	wantError(t, w.json(http.MethodPost, w.acme.base+"/register", map[string]any{"redirect_uris": many}), 400, "invalid_redirect_uri")
	w.clock.add(time.Minute) // the bucket fills again
	wantError(t, w.json(http.MethodPost, w.acme.base+"/register", map[string]any{}), 400, "invalid_redirect_uri")
	for _, body := range []string{``, `[]`, `null`, `"x"`, `{`, `{}{}`, `{"redirect_uris":"https://x/"}`, `{"redirect_uris":[1]}`} {
		res := w.json(http.MethodPost, w.acme.base+"/register", []byte(body))
		if res.StatusCode != 400 {
			t.Errorf("%s: %d", body, res.StatusCode)
		}
	}
	for _, method := range []string{"private_key_jwt", "tls_client_auth", "client_secret_jwt", "x"} { // not mounted, not advertised
		res := w.json(http.MethodPost, w.acme.base+"/register", map[string]any{"redirect_uris": []string{loopbackRedirect}, "token_endpoint_auth_method": method})
		wantError(t, res, 400, "invalid_client_metadata")
	}
}

func TestRegistrationFloodAndOversize(t *testing.T) {
	w := newWorld(t)
	register := func(from string) answer {
		r := httptest.NewRequest(http.MethodPost, w.acme.base+"/register", strings.NewReader(`{"redirect_uris":["http://127.0.0.1/cb"]}`))
		r.RemoteAddr = from + ":1"
		return w.send(r)
	}
	flooded := func(from string, limit int) answer {
		for range limit {
			if res := register(from); res.StatusCode != http.StatusCreated {
				return res
			}
		}
		t.Fatalf("%d registrations from %s", limit, from)
		return answer{}
	}
	res := flooded("192.0.2.1", 41)
	wantError(t, res, 429, "temporarily_unavailable")
	if wait, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 10 {
		t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
	}
	if res := register("192.0.2.2"); res.StatusCode != http.StatusCreated {
		t.Errorf("another network: %d", res.StatusCode)
	}
	// One party holds all addresses of a /64.
	flooded("[2001:db8::1]", 41)
	if res := register("[2001:db8::2]"); res.StatusCode != 429 {
		t.Errorf("another address of the same /64: %d", res.StatusCode)
	}
	w.clock.add(2 * time.Second)
	if res := register("192.0.2.1"); res.StatusCode != http.StatusCreated {
		t.Errorf("after the wait: %d", res.StatusCode)
	}
	// Many networks, one tenant. The other tenant is not hurt.
	refused := false
	for i := range 200 {
		refused = refused || register("198.51.100."+strconv.Itoa(i)).StatusCode == 429
	}
	if !refused {
		t.Error("the tenant has no bound of its own")
	}
	w.register(w.globex)

	big := append([]byte(`{"redirect_uris":["http://127.0.0.1/cb"],"client_name":"`), bytes.Repeat([]byte("x"), 16<<10)...)
	big = append(big, `"}`...)
	wantError(t, w.json(http.MethodPost, w.globex.base+"/register", big), 413, "invalid_request")
}

func TestRegistrationTokenOfOtherClientRefused(t *testing.T) {
	w := newWorld(t)
	a, b := w.register(w.acme), w.registerAs(w.acme, map[string]any{"redirect_uris": []string{loopbackRedirect}})
	manage := func(method string, p place, id, token string, body any) answer {
		return w.json(method, p.base+"/register/"+id, body, "Authorization", "Bearer "+token)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		body := map[string]any{"client_id": a.id, "redirect_uris": []string{"https://evil.example/"}}
		for _, res := range []answer{
			manage(method, w.acme, a.id, b.manage, body), manage(method, w.acme, a.id, "", body), manage(method, w.acme, a.id, a.manage+"x", body),
			manage(method, w.globex, a.id, a.manage, body), manage(method, w.acme, "cl22", a.manage, body),
			w.json(method, w.acme.base+"/register/"+a.id, body), w.json(method, w.acme.base+"/register/"+a.id, body, "Authorization", "Basic "+a.manage),
		} {
			wantError(t, res, 401, "invalid_token")
			if !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer") && !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic") {
				t.Errorf("no challenge: %v", res.Header)
			}
		}
	}
	res := manage(http.MethodGet, w.acme, b.id, b.manage, nil)
	m := res.json(t)
	if res.StatusCode != 200 || m["client_id"] != b.id || m["registration_access_token"] != b.manage || m["registration_client_uri"] != w.acme.base+"/register/"+b.id || strings.Contains(res.body, b.secret) {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	wantError(t, manage(http.MethodPut, w.acme, b.id, b.manage, map[string]any{"client_id": a.id, "redirect_uris": []string{loopbackRedirect}}), 400, "invalid_client_metadata")
	wantError(t, manage(http.MethodPut, w.acme, b.id, b.manage, map[string]any{"client_id": b.id, "redirect_uris": []string{"javascript:x"}}), 400, "invalid_redirect_uri")
	res = manage(http.MethodPut, w.acme, b.id, b.manage, map[string]any{"client_id": b.id, "redirect_uris": []string{"https://new.example/cb"}, "client_name": "New"})
	if m := res.json(t); res.StatusCode != 200 || m["client_name"] != "New" || m["redirect_uris"].([]any)[0] != "https://new.example/cb" {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	// A deleted client's tokens end with it.
	g := w.connect(a)
	if res := manage(http.MethodDelete, w.acme, a.id, a.manage, nil); res.StatusCode != http.StatusNoContent {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	wantError(t, a.refresh(g.refresh), 401, "invalid_client")
	if row := w.grantRow(w.acme, g); row.RevokedReason != "client deleted" {
		t.Errorf("%+v", row)
	}
	wantError(t, manage(http.MethodGet, w.acme, a.id, a.manage, nil), 401, "invalid_token")
	wantPage(t, a.authorize(w.signIn.begin(w.acme.user)), 400, "added again")
}

func TestCollectClientsKeepsUsedOnes(t *testing.T) {
	w := newWorld(t)
	never, used := w.register(w.acme), w.register(w.acme)
	g := w.connect(used)
	w.clock.add(23 * time.Hour)
	young := w.register(w.globex)
	if n, err := w.server.CollectClients(t.Context()); err != nil || n.Clients != 0 {
		t.Fatalf("%+v, %v", n, err)
	}
	w.clock.add(2 * time.Hour)
	n, err := w.server.CollectClients(t.Context())
	if err != nil || n.Clients != 1 || n.Grants != 0 || n.RefreshTokens != 0 {
		t.Fatalf("%+v, %v", n, err)
	}
	browser := w.signIn.begin(w.acme.user)
	wantPage(t, never.authorize(browser), 400, "added again")
	wantError(t, never.token(never.exchangeForm("x")), 401, "invalid_client")
	g = w.granted(used.refresh(g.refresh))
	question(t, young.authorize(w.signIn.begin(w.globex.user)))

	// Much later only the client is left of what ended.
	w.clock.add(60 * 24 * time.Hour)
	if n, err = w.server.CollectClients(t.Context()); err != nil || n.Grants != 1 || n.Requests != 1 || n.Consents != 1 || n.RefreshTokens == 0 {
		t.Fatalf("%+v, %v", n, err)
	}
	wantError(t, used.refresh(g.refresh), 400, "invalid_grant")
	question(t, used.authorize(browser))
	var zero oauth.Collected
	if n, err = w.server.CollectClients(t.Context()); err != nil || n != zero {
		t.Errorf("%+v, %v", n, err)
	}
}
