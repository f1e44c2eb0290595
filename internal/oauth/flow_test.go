package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestCodeFlow(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	browser := w.signIn.begin(w.acme.user)

	// Nobody is signed in yet: the request survives the detour.
	res := w.get(w.acme.base+"/authorize?"+a.request().Encode(), "")
	to, q := res.location(t)
	if to != w.acme.base+"/login" || !strings.HasPrefix(q.Get("return_to"), "/authorize?") {
		t.Fatalf("sent to %s with %v", to, q)
	}
	ticket, scopes := question(t, w.get(w.acme.base+q.Get("return_to"), browser))
	if strings.Join(scopes, " ") != "orders:read" {
		t.Fatalf("offered %q", scopes)
	}
	to, q = a.answer(browser, ticket, scopes...).location(t)
	if to != a.redirect || q.Get("state") != "st" || q.Get("iss") != w.acme.base || len(q) != 3 {
		t.Fatalf("answer to %s: %v", to, q)
	}
	first := w.granted(a.token(a.exchangeForm(q.Get("code"))))
	header := payload(t, first.access, 0)
	if header["typ"] != "at+jwt" || header["alg"] != "EdDSA" || header["kid"] == "" {
		t.Errorf("header %v", header)
	}
	for name, want := range map[string]any{
		"iss": w.acme.base, "sub": string(w.acme.user.ID), "aud": w.acme.orders, "client_id": a.id, "scope": "orders:read",
		"iat": float64(w.clock.now().Unix()), "exp": float64(w.clock.now().Unix() + 600),
	} {
		if first.claims[name] != want {
			t.Errorf("%s is %v, want %v", name, first.claims[name], want)
		}
	}
	if !strings.HasPrefix(first.claims["gid"].(string), "gr") || first.claims["jti"] == "" {
		t.Errorf("claims %v", first.claims)
	}

	w.clock.add(9 * 60 * 1e9)
	second := w.granted(a.refresh(first.refresh))
	if second.refresh == first.refresh || second.claims["gid"] != first.claims["gid"] || second.claims["jti"] == first.claims["jti"] {
		t.Errorf("after a refresh: %v", second.claims)
	}
	if second.claims["iat"] != float64(w.clock.now().Unix()) {
		t.Errorf("iat is stale: %v", second.claims["iat"])
	}

	revoked := w.post(w.acme.base+"/revoke", url.Values{"client_id": {a.id}, "token": {second.refresh}}, "")
	if revoked.StatusCode != http.StatusOK {
		t.Fatalf("revoke: %d %s", revoked.StatusCode, revoked.body)
	}
	wantError(t, a.refresh(second.refresh), 400, "invalid_grant")
}
