package oauth

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// What matches differs from what is registered in a loopback port at most, and
// leads a browser to the same host and path.
func FuzzMatchRedirect(f *testing.F) {
	for _, s := range [][2]string{
		{"http://127.0.0.1/cb", "http://127.0.0.1:1234/cb"}, {"http://localhost/cb", "http://localhost@evil/cb"}, {"http://[::1]/cb", "http://[::1]:1/cb?x"},
		{"https://a.example/cb", "https://a.example/cb/"}, {"cursor://x/y", "cursor://x/y"}, {"http://localhost:8787/callback", "http://localhost:1\t/callback"},
		{"http://127.0.0.1", "http://127.0.0.1/"}, {"http://127.0.0.1?x", "http://127.0.0.1/?x"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, registered, asked string) {
		if validRedirectURI(registered) != "" || !matchRedirect(registered, asked) {
			return
		}
		if validRedirectURI(asked) != "" {
			t.Fatalf("%q matches %q and cannot be registered itself: %s", asked, registered, validRedirectURI(asked))
		}
		r, err1 := url.Parse(registered)
		a, err2 := url.Parse(asked)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		path := func(u *url.URL) string {
			if u.EscapedPath() == "" && u.Opaque == "" {
				return "/"
			}
			return u.EscapedPath()
		}
		if a.Scheme != r.Scheme || a.Hostname() != r.Hostname() || a.User != nil || a.RawQuery != r.RawQuery || a.Opaque != r.Opaque || registered != asked && path(a) != path(r) {
			t.Fatalf("%q matches %q", asked, registered)
		}
		if registered != asked && (a.Scheme != "http" || !loopbackHost(a.Hostname())) {
			t.Fatalf("%q matches %q off loopback", asked, registered)
		}
		// The answer stays on the same place, and can be read back.
		to, err := url.Parse(withAnswer(asked, url.Values{"code": {"c"}, "state": {"s&x=y#z"}, "iss": {"https://as"}}))
		if err != nil || to.Host != a.Host || to.Path != a.Path || to.Query().Get("state") != "s&x=y#z" || len(to.Query()["code"]) != 1 || to.Fragment != "" {
			t.Fatalf("the answer to %q goes to %v, %v", asked, to, err)
		}
	})
}

func FuzzDocument(f *testing.F) {
	const id = "https://example.com/client.json"
	f.Add(id, []byte(`{"client_id":"https://example.com/client.json","redirect_uris":["https://example.com/cb"],"client_name":"x"}`))
	f.Add("https://example.com/a/../b", []byte(`{}`))
	f.Add("https://[::1]/x", []byte(`[`))
	d := newDocuments(false, time.Now)
	f.Fuzz(func(t *testing.T, id string, body []byte) {
		if d.validURL(id) == nil {
			u, err := url.Parse(id)
			if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Path == "" || strings.Contains(u.Path, "/../") || isLiteral(u.Hostname()) || loopbackHost(u.Hostname()) && u.Hostname() != "localhost" {
				t.Fatalf("%q is accepted: %v", id, err)
			}
		}
		checkClient(t, id, body)
	})
}

func checkClient(t *testing.T, id string, body []byte) {
	c, err := parseDocument(id, body)
	if err != nil {
		return
	}
	if c.ID != id || c.Secret != nil || c.AuthMethod != "none" || len(c.RedirectURIs) == 0 || len(c.RedirectURIs) > maxRedirects {
		t.Fatalf("%+v", c)
	}
	checkMetadata(t, c)
}

func checkMetadata(t *testing.T, c Client) {
	for _, r := range c.RedirectURIs {
		if validRedirectURI(r) != "" {
			t.Fatalf("redirect %q", r)
		}
	}
	for _, g := range c.GrantTypes {
		if g != grantAuthorizationCode && g != grantRefreshToken {
			t.Fatalf("grant %q", g)
		}
	}
	if strings.ContainsAny(c.Name+c.URI, "\x00\n\r") || len([]rune(c.Name)) > maxClientName || !slices.Contains(c.GrantTypes, grantAuthorizationCode) {
		t.Fatalf("%+v", c)
	}
}

func FuzzRegistration(f *testing.F) {
	f.Add([]byte(`{"redirect_uris":["cursor://x/y","http://localhost:8787/cb"],"client_name":"Cursor","grant_types":["client_credentials"]}`))
	f.Add([]byte(`{"redirect_uris":["javascript:x"],"client_uri":"javascript:x"}`))
	f.Add([]byte("{\"redirect_uris\":[\"https://x/\"],\"client_name\":\"\\u0000\\ud800\xff\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var m clientMetadata
		var c Client
		if parseMetadata(body, &m) != nil || m.describe(&c) != nil {
			return
		}
		checkMetadata(t, c)
	})
}

// Whatever maps to a server is that server's resource identifier, or the URL of
// its HTTP+SSE transport, written differently in case of scheme and host and a
// slash at the end at most.
func FuzzResource(f *testing.F) {
	for _, s := range []string{"http://127.0.0.1:8080/t/acme/mcp/orders", "HTTP://127.0.0.1:8080/t/acme/mcp/orders/", "http://127.0.0.1:8080/t/acme/mcp/../mcp/orders", "http://127.0.0.1:8080/t/acme/mcp/orders?x", "http://127.0.0.1:8080/t/acme", "http://127.0.0.1:8080/t/acme/mcp/or%64ers", "http://127.0.0.1:8080/t/acme/sse/orders", "http://127.0.0.1:8080/t/acme/sse/mcp/orders"} {
		f.Add(s)
	}
	sites, err := site.Parse("http://127.0.0.1:8080/t/{tenant}")
	if err != nil {
		f.Fatal(err)
	}
	s, acme := &Server{Config: Config{Sites: sites}}, tenants.Tenant{Slug: "acme"}
	f.Fuzz(func(t *testing.T, raw string) {
		slug, whole, ok := s.serverOfResource(acme, raw)
		if !ok {
			return
		}
		want := sites.Resource("acme", slug)
		if whole {
			want = sites.Base("acme")
		}
		got := strings.TrimSuffix(raw, "/")
		if sse := sites.SSE("acme", slug); !whole && strings.EqualFold(got, sse) {
			want = sse
		}
		if whole {
			got = strings.TrimSuffix(got, "/mcp")
		}
		if !strings.EqualFold(got, want) || !strings.HasSuffix(got, strings.TrimPrefix(want, "http://127.0.0.1:8080")) {
			t.Fatalf("%q became %q", raw, want)
		}
	})
}
