package oauth_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestMetadataInAllFormsMatchesWhatIsMounted(t *testing.T) {
	w := newWorld(t)
	const host = "http://127.0.0.1:8080"
	for _, u := range []string{
		host + "/.well-known/oauth-authorization-server/t/acme",
		host + "/.well-known/openid-configuration/t/acme",
		w.acme.base + "/.well-known/openid-configuration",
		w.acme.base + "/.well-known/oauth-authorization-server",
	} {
		res := w.get(u, "", "Origin", "https://inspector.example")
		m := res.json(t)
		if res.StatusCode != 200 || m["issuer"] != w.acme.base || res.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Fatalf("%s: %d %s", u, res.StatusCode, res.body)
		}
		for name, want := range map[string][]string{
			"grant_types_supported":                 {"authorization_code", "refresh_token", "client_credentials"},
			"code_challenge_methods_supported":      {"S256"},
			"token_endpoint_auth_methods_supported": {"none", "client_secret_basic", "client_secret_post"},
			"response_types_supported":              {"code"},
			"response_modes_supported":              {"query"},
			"scopes_supported":                      {"offline_access"},
		} {
			var got []string
			for _, v := range m[name].([]any) {
				got = append(got, v.(string))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s is %q", u, name, got)
			}
		}
		if m["authorization_response_iss_parameter_supported"] != true || m["client_id_metadata_document_supported"] != true {
			t.Errorf("%s: %s", u, res.body)
		}
		// Each endpoint that is named answers, with something else than 404.
		for name, v := range m {
			at, ok := v.(string)
			if !ok || name == "issuer" {
				continue
			}
			if !strings.HasPrefix(at, w.acme.base+"/") {
				t.Errorf("%s is at %s", name, at)
			}
			get, post := w.get(at, ""), w.post(at, nil, "")
			if get.StatusCode == http.StatusNotFound || post.StatusCode == http.StatusNotFound {
				t.Errorf("%s: nothing at %s", name, at)
			}
		}
		if strings.Contains(u, "openid") != (m["subject_types_supported"] != nil) {
			t.Errorf("%s: OpenID Connect members", u)
		}
	}
	if res := w.get(host+"/.well-known/oauth-authorization-server/t/unknown", ""); res.StatusCode != 404 {
		t.Errorf("unknown tenant: %d", res.StatusCode)
	}
}

func TestProtectedResourceMetadata(t *testing.T) {
	w := newWorld(t)
	const host = "http://127.0.0.1:8080"
	for _, u := range []string{host + "/.well-known/oauth-protected-resource/t/acme/mcp/orders", host + "/.well-known/oauth-protected-resource/t/acme/mcp/orders/", w.acme.base + "/.well-known/oauth-protected-resource/mcp/orders"} {
		res := w.get(u, "")
		m := res.json(t)
		if m["resource"] != w.acme.orders || m["authorization_servers"].([]any)[0] != w.acme.base || res.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %s", u, res.StatusCode, res.body)
		}
		if got := m["scopes_supported"].([]any); !slices.Equal(got, []any{"orders:read", "refunds:write", "tool:delete_order"}) {
			t.Errorf("scopes %v", got)
		}
	}
	// A client compares what stands there with the URL that it was given.
	for _, u := range []string{host + "/.well-known/oauth-protected-resource/t/acme/sse/orders", host + "/.well-known/oauth-protected-resource/t/acme/sse/orders/"} {
		if m := w.get(u, "").json(t); m["resource"] != w.acme.base+"/sse/orders" || m["authorization_servers"].([]any)[0] != w.acme.base {
			t.Errorf("%s: %v", u, m)
		}
	}
	res := w.get(host+"/.well-known/oauth-protected-resource/t/acme", "")
	if m := res.json(t); m["resource"] != w.acme.base || m["authorization_servers"].([]any)[0] != w.acme.base || m["scopes_supported"] != nil {
		t.Errorf("%s", res.body)
	}
	for _, slug := range []string{"unknown", "UPPER", "..%2f", "a"} {
		if res := w.get(host+"/.well-known/oauth-protected-resource/t/acme/mcp/"+slug, ""); res.StatusCode != 404 {
			t.Errorf("%s: %d", slug, res.StatusCode)
		}
	}
}

func TestCORSWhereScriptsCallAndNowhereElse(t *testing.T) {
	w := newWorld(t)
	preflight := func(path, method string) answer {
		r := httptest.NewRequest(http.MethodOptions, w.acme.base+path, nil)
		r.Header.Set("Origin", "https://inspector.example")
		r.Header.Set("Access-Control-Request-Method", method)
		r.Header.Set("Access-Control-Request-Headers", "content-type, authorization, mcp-protocol-version")
		return w.send(r)
	}
	for path, method := range map[string]string{
		"/.well-known/oauth-authorization-server": "GET", "/.well-known/openid-configuration": "GET", "/.well-known/oauth-protected-resource/mcp/orders": "GET",
		"/jwks": "GET", "/register": "POST", "/register/clx": "DELETE", "/token": "POST", "/revoke": "POST",
	} {
		res := preflight(path, method)
		h := res.Header
		if res.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), method) || !strings.Contains(strings.ToLower(h.Get("Access-Control-Allow-Headers")), "mcp-protocol-version") {
			t.Errorf("%s: %d %v", path, res.StatusCode, h)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s with cookies", path)
		}
	}
	for _, path := range []string{"/authorize", "/consent", "/connections", "/connections/revoke", "/introspect"} {
		if res := preflight(path, "POST"); res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may be called from other sites", path)
		}
	}
	res := w.post(w.acme.base+"/token", nil, "", "Origin", "https://inspector.example")
	if res.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(res.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
		t.Errorf("an error cannot be read: %v", res.Header)
	}
}
