package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Each client as it really registers and asks; see the table in docs.
func TestClientsAsTheyReallyAre(t *testing.T) {
	type metadata = map[string]any
	for name, client := range map[string]struct {
		register  metadata
		redirects []string // each must work
		change    []func(url.Values)
	}{
		"Claude web by registration": {
			metadata{"client_name": "claudeai", "redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"}, "grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "client_secret_post", "scope": "orders:read"},
			[]string{"https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"}, nil,
		},
		"Cursor": {
			metadata{"client_name": "Cursor", "redirect_uris": []string{"cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"}, "token_endpoint_auth_method": "none"},
			[]string{"cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback", "http://localhost:54321/callback"}, nil,
		},
		"VS Code": {
			metadata{"client_name": "Visual Studio Code", "client_uri": "https://code.visualstudio.com", "redirect_uris": []string{"https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"}, "grant_types": []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none", "application_type": "native"},
			[]string{"http://127.0.0.1:33418/", "http://127.0.0.1:60123/", "http://127.0.0.1/", "https://vscode.dev/redirect", "http://127.0.0.1:33418"}, nil,
		},
		"mcp-remote": {
			metadata{"client_name": "MCP CLI Proxy", "redirect_uris": []string{"http://localhost:3334/oauth/callback"}, "token_endpoint_auth_method": "none", "grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d", "software_version": "0.1.38"},
			[]string{"http://localhost:3334/oauth/callback", "http://localhost:41000/oauth/callback"}, nil,
		},
		"no scope sent, nothing said at registration": {
			metadata{"redirect_uris": []string{"http://127.0.0.1:1455/cb"}},
			[]string{"http://127.0.0.1:1455/cb"}, []func(url.Values){del("scope"), del("state")},
		},
		"scopes out of habit": {
			metadata{"redirect_uris": []string{"http://[::1]/cb"}, "token_endpoint_auth_method": "none", "contacts": []string{"x@y"}, "tos_uri": nil},
			[]string{"http://[::1]:7/cb"}, []func(url.Values){set("scope", "openid profile email offline_access")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.registerAs(w.acme, client.register)
			for _, redirect := range client.redirects {
				a.redirect = redirect
				g := w.connect(a, client.change...)
				if g.refresh == "" || g.scope == "" {
					t.Errorf("%s: %+v", redirect, g)
				}
				w.granted(a.refresh(g.refresh))
			}
		})
	}
}

func TestNoScopeAsksForTheServersDefault(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	page := a.authorize(w.signIn.begin(w.acme.user), del("scope"))
	_, scopes := question(t, page)
	if strings.Join(scopes, " ") != "orders:read refunds:write" { // of three, two are open to the role
		t.Errorf("offered %q", scopes)
	}
	for _, m := range regexpOf(`<input[^>]*name="scope"[^>]*>`).FindAllString(page.body, -1) {
		if strings.Contains(m, "checked") != strings.Contains(m, "orders:read") {
			t.Errorf("reads are ticked, the rest is not: %s", m)
		}
	}
	// Only scopes that exist nowhere: an error that says which do.
	_, q := a.authorize(w.signIn.begin(w.acme.user), set("scope", "mcp:tools")).location(t)
	if q.Get("error") != "invalid_scope" || !strings.Contains(q.Get("error_description"), "orders:read") {
		t.Errorf("%v", q)
	}
	if g := w.connect(a, set("scope", "orders:read unknown:scope openid")); g.scope != "orders:read" {
		t.Errorf("granted %q", g.scope)
	}
}

func TestUnknownClientIsToldHowToRecover(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme)
	a.id = "cl222222222222222222"
	res := a.authorize(w.signIn.begin(w.acme.user))
	wantPage(t, res, http.StatusBadRequest, "Remove the server")
	for _, client := range []string{"Claude Code", "Cursor", "VS Code"} {
		if !strings.Contains(res.body, client) {
			t.Errorf("nothing for %s", client)
		}
	}
	wantError(t, a.token(a.exchangeForm("x")), 401, "invalid_client")
	wantError(t, a.refresh("lkr_x"), 401, "invalid_client")
}

// A browser that goes to an app's own scheme gets a page that says so.
func TestBrowserIsSentToAppsByAPage(t *testing.T) {
	w := newWorld(t)
	a := w.register(w.acme, "cursor://anysphere.cursor-mcp/oauth/callback")
	browser := w.signIn.begin(w.acme.user)
	ticket, scopes := question(t, a.authorize(browser))
	form := url.Values{"ticket": {ticket}, "answer": {"allow"}, "for": {thirtyDays}, "scope": scopes}
	res := w.post(w.acme.base+"/consent", form, browser, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
	if res.StatusCode != 200 || !strings.Contains(res.Header.Get("Refresh"), "cursor://anysphere.cursor-mcp/oauth/callback?code=lkc_") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}
