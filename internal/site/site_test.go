package site_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

const (
	byHost = "https://{tenant}.example.com"
	byPath = "http://127.0.0.1:8080/t/{tenant}"
)

func parse(t testing.TB, template string) *site.Sites {
	t.Helper()
	s, err := site.Parse(template)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ template, base string }{
		{byHost, "https://acme.example.com"},
		{byPath, "http://127.0.0.1:8080/t/acme"},
		{"https://{tenant}.Example.COM:8443", "https://acme.example.com:8443"},
		{"http://localhost:1/t/{tenant}", "http://localhost:1/t/acme"},
		{"http://[::1]:8080/t/{tenant}", "http://[::1]:8080/t/acme"},
		{"http://127.8.9.1/t/{tenant}", "http://127.8.9.1/t/acme"},
		{"https://mcp.example.com/a/b/{tenant}", "https://mcp.example.com/a/b/acme"},
	} {
		if got := parse(t, c.template).Base("acme"); got != c.base {
			t.Errorf("%s: base %s, want %s", c.template, got, c.base)
		}
	}
	for _, bad := range []string{
		"", "{tenant}", "https://example.com", "https://{tenant}.{tenant}.com", "ftp://{tenant}.example.com", "//{tenant}.example.com",
		"http://{tenant}.example.com", "http://example.com/t/{tenant}", "http://127.evil.example/t/{tenant}", "http://127.0.0.1.evil.example/t/{tenant}",
		"http://localhost.evil.example/t/{tenant}", "http://0.0.0.0/t/{tenant}",
		"https://{tenant}.example.com/", "https://{tenant}.example.com/x", "https://x{tenant}.example.com", "https://{tenant}x.example.com", "https://{tenant}",
		"https://a.{tenant}.example.com", "https://example.com/t/{tenant}/", "https://example.com/t/{tenant}/x", "https://example.com/t/x{tenant}", "https://example.com/{tenant}",
		"https://example.com/?t={tenant}", "https://example.com/#{tenant}", "https://u:p@example.com/t/{tenant}", "https://{tenant}@example.com", "https://{tenant}.example.com:443",
		"http://127.0.0.1:80/t/{tenant}", "https://{tenant}.example.com:", "https://example.com//{tenant}", "https://example.com/a/../{tenant}", "https://example.com/a%2fb/{tenant}",
		"https://example.com/.well-known/{tenant}", "https://{tenant}.example.com?", "https://{tenant}.example.com\n", "https://{tenant}.exa mple.com",
	} {
		if s, err := site.Parse(bad); err == nil {
			t.Errorf("%q was taken, with the base %s", bad, s.Base("acme"))
		} else if !strings.Contains(err.Error(), "use https://{tenant}.example.com") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestURLs(t *testing.T) {
	h, p := parse(t, byHost), parse(t, byPath)
	for got, want := range map[string]string{
		h.Resource("acme", "orders"):                                   "https://acme.example.com/mcp/orders",
		p.Resource("acme", "orders"):                                   "http://127.0.0.1:8080/t/acme/mcp/orders",
		h.WellKnown("oauth-protected-resource", "acme", "/mcp/orders"): "https://acme.example.com/.well-known/oauth-protected-resource/mcp/orders",
		p.WellKnown("oauth-protected-resource", "acme", "/mcp/orders"): "http://127.0.0.1:8080/.well-known/oauth-protected-resource/t/acme/mcp/orders",
		h.Origin("acme") + h.CookiePath("acme"):                        "https://acme.example.com/",
		p.Origin("acme") + p.CookiePath("acme"):                        "http://127.0.0.1:8080/t/acme",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if !h.Secure() || p.Secure() {
		t.Error("secure")
	}
}

func TestHostOfSomebodyElseRefused(t *testing.T) {
	for template, hosts := range map[string]struct{ good, bad []string }{
		byHost: {[]string{"acme.example.com", "ACME.Example.com"}, []string{
			"", "example.com", ".example.com", "a.example.com", "evil.com", "acme.example.com.evil.com", "acme.example.com:8080", "acme.example.com.", "x.acme.example.com",
			"acmeexample.com", "acme.example.com@evil.com", "evil.com/.example.com", "acme%2eexample.com", "127.0.0.1", "-a.example.com", "a_b.example.com", "acme .example.com",
		}},
		byPath: {[]string{"127.0.0.1:8080"}, []string{"", "127.0.0.1", "localhost:8080", "127.0.0.1:80", "evil.com", "127.0.0.1:8080.evil.com", "127.0.0.1:8080@evil.com", "[::1]:8080", "2130706433:8080"}},
	} {
		s := parse(t, template)
		for _, host := range hosts.good {
			if !s.HostAllowed(host) {
				t.Errorf("%s: %q was refused", template, host)
			}
		}
		for _, host := range hosts.bad {
			if s.HostAllowed(host) {
				t.Errorf("%s: %q was taken", template, host)
			}
		}
	}
}

func TestLocate(t *testing.T) {
	for _, c := range []struct{ template, host, path, slug, inner string }{
		{byHost, "acme.example.com", "/mcp/orders", "acme", "/mcp/orders"},
		{byHost, "Acme.Example.com", "/", "acme", "/"},
		{byHost, "acme.example.com", "/.well-known/x/mcp/orders", "acme", "/.well-known/x/mcp/orders"},
		{byHost, "acme.example.com", "/t/globex/", "acme", "/t/globex/"},
		{byHost, "example.com", "/t/acme", "", ""},
		{byPath, "", "/t/acme/mcp/orders", "acme", "/mcp/orders"},
		{byPath, "", "/t/acme", "acme", "/"},
		{byPath, "", "/t/acme/", "acme", "/"},
		{byPath, "", "/t/acme//evil.example", "acme", "//evil.example"},
		{byPath, "", "/t/acme/../globex/mcp", "acme", "/../globex/mcp"},
		{byPath, "", "/.well-known/oauth-protected-resource/t/acme/mcp/orders", "acme", "/.well-known/oauth-protected-resource/mcp/orders"},
		{byPath, "", "/.well-known/oauth-authorization-server/t/acme", "acme", "/.well-known/oauth-authorization-server"},
		{byPath, "", "/t/acme/.well-known/openid-configuration", "acme", "/.well-known/openid-configuration"},
		{byPath, "", "/", "", ""}, {byPath, "", "/t", "", ""}, {byPath, "", "/t/", "", ""}, {byPath, "", "/t//mcp", "", ""}, {byPath, "", "//t/acme", "", ""},
		{byPath, "", "/T/acme", "", ""}, {byPath, "", "/t/Acme/mcp", "", ""}, {byPath, "", "/t/a/mcp", "", ""}, {byPath, "", "/t/../t/acme", "", ""},
		{byPath, "", "/t%2facme/mcp", "", ""}, {byPath, "", "/t/acme%2fmcp/orders", "", ""}, {byPath, "", "/t/ac%6De/mcp", "", ""}, {byPath, "", "/t/acme%00/mcp", "", ""},
		{byPath, "", "/.well-known/x", "", ""}, {byPath, "", "/.well-known//t/acme", "acme", "/.well-known/"}, {byPath, "", "/.well-known/x/y/t/acme", "", ""}, {byPath, "", "/healthz", "", ""},
	} {
		host := c.host
		if host == "" {
			host = "127.0.0.1:8080"
		}
		slug, inner, ok := parse(t, c.template).Locate(host, c.path)
		if ok != (c.slug != "") || ok && (slug != c.slug || inner != c.inner) {
			t.Errorf("%s %s: got %q, %q, %v, want %q, %q", host, c.path, slug, inner, ok, c.slug, c.inner)
		}
	}
}

// directory has acme, a suspended tenant, and a store that may be away.
type directory struct{ err error }

func (d directory) TenantBySlug(_ context.Context, slug string) (tenants.Tenant, error) {
	switch {
	case d.err != nil:
		return tenants.Tenant{}, d.err
	case slug == "acme":
		return tenants.Tenant{ID: "tn222222222222222222", Slug: slug}, nil
	case slug == "suspended":
		return tenants.Tenant{ID: "tn333333333333333333", Slug: slug, Suspended: true}, nil
	}
	return tenants.Tenant{}, fault.New(fault.NotFound, "no")
}

// ask sends a raw request line through Resolve on a real server.
func ask(t *testing.T, template string, dir site.Directory, host, path string) (status int, body string, h http.Header) {
	t.Helper()
	tenant := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, site.From(r.Context()).Slug+" "+r.URL.Path+" "+r.URL.EscapedPath()+" "+r.URL.RawQuery)
	})
	other := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "other "+r.URL.Path) })
	target, err := url.ParseRequestURI(path)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Host, r.URL, r.RequestURI = host, target, path
	before := *target
	w := httptest.NewRecorder()
	parse(t, template).Resolve(dir, tenant, other).ServeHTTP(w, r)
	if *r.URL != before {
		t.Errorf("the caller's request was changed to %s", r.URL)
	}
	return w.Code, w.Body.String(), w.Header()
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		template, host, path string
		status               int
		body                 string
	}{
		{byPath, "127.0.0.1:8080", "/t/acme/mcp/orders?a=b", 200, "acme /mcp/orders /mcp/orders a=b"},
		{byPath, "127.0.0.1:8080", "/t/acme", 200, "acme / / "},
		{byPath, "127.0.0.1:8080", "/t/acme/mcp%2Forders", 200, "acme /mcp/orders /mcp%2Forders "}, // a router sees it as one segment
		{byPath, "127.0.0.1:8080", "/t/acme/%2e%2e/globex", 200, "acme /../globex /%2e%2e/globex "},
		{byPath, "127.0.0.1:8080", "/healthz", 200, "other /healthz"},
		{byPath, "127.0.0.1:8080", "/t/acme%2Fmcp", 200, "other /t/acme/mcp"},
		{byPath, "evil.example", "/t/acme/mcp/orders", 421, "This host is not served here."},
		{byPath, "evil.example", "/healthz", 200, "other /healthz"}, // a balancer asks by address
		{byPath, "evil.example", "/healthz/../t/acme", 421, "This host is not served here."},
		{byHost, "acme.example.com", "/mcp/orders", 200, "acme /mcp/orders /mcp/orders "},
		{byHost, "acme.example.com", "/readyz", 200, "acme /readyz /readyz "},
		{byHost, "10.0.0.7:8080", "/readyz", 200, "other /readyz"},
		{byHost, "example.com", "/", 421, "This host is not served here."},
	} {
		status, body, _ := ask(t, c.template, directory{}, c.host, c.path)
		if status != c.status || body != c.body && (status == 200 || !strings.HasPrefix(body, c.body)) {
			t.Errorf("%s %s: got %d %q, want %d %q", c.host, c.path, status, body, c.status, c.body)
		}
	}
}

func TestSuspendedAndUnknownTenantsAnswerAlike(t *testing.T) {
	s1, b1, h1 := ask(t, byPath, directory{}, "127.0.0.1:8080", "/t/suspended/mcp/orders")
	s2, b2, h2 := ask(t, byPath, directory{}, "127.0.0.1:8080", "/t/nobody/mcp/orders")
	if s1 != 404 || s1 != s2 || b1 != b2 || len(h1) != len(h2) {
		t.Errorf("%d %q %v\n%d %q %v", s1, b1, h1, s2, b2, h2)
	}
}

func TestStoreAwayIsNotUnknown(t *testing.T) {
	for _, c := range []struct {
		err  error
		wait string
	}{{fault.New(fault.StoreAway, "away").After(5 * time.Second), "5"}, {errors.New("secret of the store"), "1"}} {
		status, body, h := ask(t, byHost, directory{c.err}, "acme.example.com", "/mcp/orders")
		if status != 503 || h.Get("Retry-After") != c.wait || strings.Contains(body, "secret") {
			t.Errorf("%d %v %s", status, h, body)
		}
	}
}

// FuzzLocate holds that whatever is located belongs to a slug that Base could
// have been asked for, and that what WellKnown writes, Locate finds.
func FuzzLocate(f *testing.F) {
	f.Add("127.0.0.1:8080", "/t/acme/mcp/orders", "acme")
	f.Add("acme.example.com", "/.well-known/x/t/acme", "a-b")
	f.Add("x", "//t/%2e%2e", "")
	f.Fuzz(func(t *testing.T, host, path, slug string) {
		for _, template := range []string{byHost, byPath} {
			s := parse(t, template)
			if got, inner, ok := s.Locate(host, path); ok {
				if tenants.ValidSlug(got) != nil || template == byPath && !strings.HasPrefix(inner, "/") {
					t.Fatalf("%q %q: %q, %q", host, path, got, inner)
				}
				if template == byHost && (inner != path || !s.HostAllowed(host)) {
					t.Fatalf("%q %q: %q", host, path, inner)
				}
			}
			if tenants.ValidSlug(slug) != nil {
				continue
			}
			tail := "/" + strings.TrimLeft(path, "/")
			for _, c := range []struct{ url, inner string }{
				{s.WellKnown("doc", slug, tail), "/.well-known/doc" + tail},
				{s.Base(slug) + tail, tail},
			} {
				rest, _ := strings.CutPrefix(c.url, s.Origin(slug))
				at, inner, ok := s.Locate(strings.TrimPrefix(strings.TrimPrefix(s.Origin(slug), "https://"), "http://"), rest)
				if !ok || at != slug || inner != c.inner {
					t.Fatalf("%s is located as %q, %q, %v", c.url, at, inner, ok)
				}
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{byHost, byPath, "https://{tenant}.x:443/", "http://[::1%25a]/t/{tenant}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, template string) {
		s, err := site.Parse(template)
		if err != nil {
			return
		}
		base := s.Base("acme")
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q has the base %q", template, base)
		}
		if slug, inner, ok := s.Locate(u.Host, u.EscapedPath()); !ok || slug != "acme" || !s.HostAllowed(u.Host) || inner != "/" && inner != "" {
			t.Fatalf("%q: %q is located as %q, %q, %v", template, base, slug, inner, ok)
		}
	})
}

func TestPlatformsOwnURLs(t *testing.T) {
	for template, want := range map[string]string{byHost: "https://platform.example.com", byPath: "http://127.0.0.1:8080", "https://mcp.example.com/a/{tenant}": "https://mcp.example.com"} {
		s := parse(t, template)
		if got := s.Platform(); got != want {
			t.Errorf("%s: %s, want %s", template, got, want)
		}
		if got := s.API("acme"); got != s.Base("acme")+"/api/v1" {
			t.Errorf("%s: %s", template, got)
		}
		u, _ := url.Parse(want + "/ops/")
		if slug, _, ok := s.Locate(u.Host, u.Path); ok || !s.HostAllowed(u.Host) {
			t.Errorf("%s: the platform's own page is taken for %q's", template, slug)
		}
	}
	if slug, _, ok := parse(t, byHost).Locate("PLATFORM.example.com", "/login"); ok {
		t.Errorf("taken for %q's", slug)
	}
}
