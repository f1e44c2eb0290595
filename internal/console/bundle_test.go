package console_test

import (
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFilesOfTheConsole(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme)
	const script = "/admin/assets/lib-123.js"
	for _, c := range []struct{ accept, coding string }{
		{"br, gzip", "br"}, {"gzip, br", "br"}, {"gzip", "gzip"}, {"gzip;q=1.0, br;q=0.5", "gzip"}, {"br;q=0, gzip;q=0.1", "gzip"}, {"br;q=0,gzip;q=0", ""}, {"", ""}, {"identity", ""},
		{"identity;q=1, br;q=0.5", ""}, {"*", "br"}, {"*;q=0", ""}, {"*;q=0.5, br;q=0", "gzip"}, {"deflate", ""}, {"BR", "br"}, {"x-gzip", "gzip"}, {"br;q=2", ""}, {"br;q=x", ""}, {"br;q=0.001", "br"},
	} {
		a := b.get(script, "Accept-Encoding", c.accept)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Encoding") != c.coding || a.Header.Get("Vary") != "Accept-Encoding" || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/javascript") {
			t.Errorf("%q: %d %v", c.accept, a.StatusCode, a.Header)
		}
		if c.coding == "br" && a.body != "as brotli" || c.coding == "gzip" && a.body != "as gzip" {
			t.Errorf("%q: %s", c.accept, a.body)
		}
	}
	if h := b.get(script).Header; h.Get("Cache-Control") != "public, max-age=31536000, immutable" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", h)
	}
	if a := b.get("/admin/assets/plain-def.css", "Accept-Encoding", "br"); a.Header.Get("Content-Encoding") != "" || a.body != "main{color:black}" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	if h := b.get("/admin/favicon.svg").Header; strings.Contains(h.Get("Cache-Control"), "immutable") || h.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("%v", h)
	}
	head := b.send(http.MethodHead, script, nil, "Accept-Encoding", "gzip")
	if head.StatusCode != http.StatusOK || head.body != "" || head.Header.Get("Content-Length") != "7" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	for _, missing := range []string{"/admin/assets/app-old.js", "/admin/assets/nothing", "/admin/x.js", "/admin/servers/x.css", "/admin/assets/lib-123.js.br", "/admin/robots.txt", "/admin/../../etc/passwd.txt", "/admin/.gitkeep.json", "/ops/assets/app-old.js"} {
		if strings.HasPrefix(missing, "/ops") {
			missing = w.sites.Platform() + missing
		}
		if a := b.get(missing); a.StatusCode != http.StatusNotFound || strings.Contains(a.body, "<html") {
			t.Errorf("%s: %d %s", missing, a.StatusCode, a.body)
		}
	}
	if a := b.send(http.MethodPost, script, nil); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", a.StatusCode)
	}
}

var metaContent = regexp.MustCompile(`<meta name="latchkey" content="([^"]*)">`)

func TestPageOfTheConsole(t *testing.T) {
	w := newWorld(t, "", built())
	b := w.browser(w.acme)
	nonces := map[string]bool{}
	for _, path := range []string{"/admin/", "/admin/servers", "/admin/servers/orders", "/admin/tools/orders/issue.refund", "/admin/index.html", "/admin/a/b/c?x=.js"} {
		a := b.get(path)
		h := a.Header
		nonce := regexp.MustCompile(`name="style-nonce" content="([^"]+)"`).FindStringSubmatch(a.body)
		if a.StatusCode != http.StatusOK || nonce == nil || !strings.Contains(a.body, `<base href="/t/acme/admin/">`) || strings.Contains(a.body, "__") {
			t.Fatalf("%s: %d %s", path, a.StatusCode, a.body)
		}
		want := "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-" + nonce[1] + "'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
		if h.Get("Content-Security-Policy") != want || h.Get("Cache-Control") != "no-store" || h.Get("X-Frame-Options") != "DENY" || nonces[nonce[1]] {
			t.Errorf("%s: %v", path, h)
		}
		nonces[nonce[1]] = true
	}
	var boot map[string]string
	check(t, json.Unmarshal([]byte(html.UnescapeString(metaContent.FindStringSubmatch(b.get("/admin/").body)[1])), &boot))
	for k, v := range map[string]string{"mode": "tenant", "tenant": "acme", "tenantName": "ACME", "base": "/t/acme", "console": "/t/acme/admin", "api": "/t/acme/api/v1"} {
		if boot[k] != v {
			t.Errorf("%s: %q", k, boot[k])
		}
	}
	check(t, json.Unmarshal([]byte(html.UnescapeString(metaContent.FindStringSubmatch(b.get(w.sites.Platform() + "/ops/").body)[1])), &boot))
	for k, v := range map[string]string{"mode": "ops", "tenant": "", "base": "", "console": "/ops", "api": "/api/v1"} {
		if boot[k] != v {
			t.Errorf("ops, %s: %q", k, boot[k])
		}
	}
	for from, to := range map[string]string{"/admin": "/t/acme/admin/", w.sites.Platform() + "/ops": "/ops/"} {
		if a := b.get(from); a.StatusCode != http.StatusPermanentRedirect || a.to() != to {
			t.Errorf("%s: %d to %s", from, a.StatusCode, a.to())
		}
	}
	if a := b.send(http.MethodHead, "/admin/", nil); a.StatusCode != http.StatusOK || a.body != "" {
		t.Errorf("HEAD: %d", a.StatusCode)
	}
}

func TestNameOfATenantIsNoMarkup(t *testing.T) {
	w := newWorld(t, "", built())
	_, err := w.db.PutTenant(t.Context(), "acme", `"><script>alert(1)</script>'&`)
	check(t, err)
	a := w.browser(w.acme).get("/admin/")
	m := metaContent.FindStringSubmatch(a.body)
	if m == nil || strings.Contains(a.body, "<script>alert") {
		t.Fatalf("%s", a.body)
	}
	var boot map[string]string
	if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &boot); err != nil || boot["tenantName"] != `"><script>alert(1)</script>'&` {
		t.Errorf("%v, %v", boot, err)
	}
}

func TestConsoleThatWasNotBuilt(t *testing.T) {
	w := newWorld(t, "", fstest.MapFS{".gitkeep": {}})
	b := w.browser(w.acme)
	for _, at := range []string{b.base + "/admin/", w.sites.Platform() + "/ops/"} {
		a := b.get(at)
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "npm run build") {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	b.enter("pat@acme.test") // what is behind it works
	if status, _ := b.me(); status != http.StatusOK || w.console.Built() {
		t.Errorf("%d", status)
	}
}

func TestHostOfThePlatformIsNoTenants(t *testing.T) {
	w := newWorld(t, "https://{tenant}.example.com", built())
	b := w.browser(w.acme)
	if w.sites.Platform() != "https://platform.example.com" {
		t.Fatal(w.sites.Platform())
	}
	if a := b.get(w.sites.Platform() + "/ops/"); a.StatusCode != http.StatusOK {
		t.Errorf("%d", a.StatusCode)
	}
	for _, at := range []string{w.sites.Platform() + "/admin/", w.sites.Platform() + "/login", b.base + "/ops/", b.base + "/ops/login"} {
		if a := b.get(at); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", at, a.StatusCode)
		}
	}
	for _, slug := range []string{"platform", "ops", "api", "www", "admin", "status", "docs"} {
		if _, err := w.db.PutTenant(t.Context(), slug, "x"); err == nil {
			t.Errorf("%s is a tenant", slug)
		}
	}
	// Keys work at both.
	_, s := w.key(w.acme, "clients:read")
	for _, at := range []string{"/tenants/acme/clients", w.sites.API("acme") + "/tenants/acme/clients"} {
		if a := w.call("GET", at, s.Reveal(), nil); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", at, a.StatusCode, a.body)
		}
	}
	k, s := w.key(w.acme, "clients:read")
	if status, token := w.trade("/token", k.ID, s); status != http.StatusOK || w.call("GET", "/tenants/acme/clients", token, nil).StatusCode != http.StatusOK {
		t.Errorf("%d", status)
	}
}
