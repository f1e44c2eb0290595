package e2e

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"latchkey/internal/demo"
)

// wantWithin makes calls until one is refused as told, and says how long that
// took since the change. From then on none may go through.
func wantWithin(t *testing.T, within time.Duration, call func() Answer, refused func(Answer) bool) {
	t.Helper()
	began := time.Now()
	for {
		after := time.Since(began) // when the call began: how long it takes is not the question
		last := call()
		if refused(last) {
			break
		}
		if after > within {
			t.Fatalf("a call that began after %s is still answered: %d %.300s", after, last.Status, last.Body)
		}
	}
	t.Logf("it took %s", time.Since(began).Round(time.Millisecond))
	for range 5 {
		if a := call(); !refused(a) {
			t.Errorf("a later call is answered: %d %.300s", a.Status, a.Body)
		}
	}
}

func failedAs(code string) func(Answer) bool {
	return func(a Answer) bool {
		f, err := a.Failure()
		return err == nil && f != nil && f.Code == code
	}
}

func unauthorized(a Answer) bool { return a.Status == http.StatusUnauthorized }

// A token lives for ten minutes. What it opens is decided at every call.
func TestAccessEndsWithinASecond(t *testing.T) {
	t.Parallel()
	p := Start(t)
	orders := p.Resource("acme", "orders")
	tenant := p.tenantID(t, "acme")
	refund := func(k Token) func() Answer {
		order := payable(t, p)
		return func() Answer {
			return p.MustCall(t, orders, k.Access, "issue_refund", map[string]any{"order_id": order, "amount": 0.01, "reason": "access"})
		}
	}
	search := func(k Token) func() Answer {
		return func() Answer {
			return p.MustCall(t, orders, k.Access, "search_orders", map[string]any{"query": "x"})
		}
	}
	wantOpen := func(t *testing.T, call func() Answer) {
		t.Helper()
		if a := call(); a.Status != http.StatusOK || strings.Contains(a.Body, `"isError":true`) {
			t.Fatalf("before the change: %d %s", a.Status, a.Body)
		}
	}
	t.Run("nothing changed by the demo's own file", func(t *testing.T) {
		k := p.Token(t, "fred@acme.test", "orders", read, write)
		if again := p.Apply(t, acmeFile(t)); again.code != 0 || strings.Contains(again.out, "created") || strings.Contains(again.out, "published") {
			t.Errorf("%+v", again)
		}
		wantOpen(t, refund(k))
	})
	t.Run("role narrowed in the database", func(t *testing.T) {
		k := p.Token(t, "fred@acme.test", "orders", read, write)
		wantOpen(t, refund(k))
		p.Exec(t, "latchkey", `DELETE FROM role_scopes WHERE tenant_id = $1 AND role = 'finance' AND scope = $2`, tenant, write)
		wantWithin(t, time.Second, refund(k), failedAs("role_not_allowed"))
		wantOpen(t, search(k))
		if f := wantFailure(t, refund(k)(), "role_not_allowed"); f.Category != "access" || f.Scope != write {
			t.Errorf("%+v", f)
		}
	})
	t.Run("role narrowed by platform apply", func(t *testing.T) {
		k := p.Token(t, "dana@acme.test", "orders", read, write)
		wantOpen(t, refund(k))
		narrow := regexp.MustCompile(`(admin:\n(?:[^\n]*\n){1,2}?\s*scopes: \{orders: \[orders:read), refunds:write`)
		text := narrow.ReplaceAllString(acmeFile(t), "$1")
		if text == acmeFile(t) {
			t.Fatal("the demo's file is not as this test knows it")
		}
		applied := p.Apply(t, text)
		if applied.code != 0 || !strings.Contains(applied.out, "updated") {
			t.Fatalf("apply: %+v", applied)
		}
		wantWithin(t, time.Second, refund(k), failedAs("role_not_allowed"))
		wantOpen(t, search(k))
	})
	t.Run("role taken from the person", func(t *testing.T) {
		k := p.Token(t, "vic@acme.test", "orders", read)
		wantOpen(t, search(k))
		p.Exec(t, "latchkey", `DELETE FROM user_roles r USING users u WHERE u.tenant_id = r.tenant_id AND u.id = r.user_id AND u.email = 'vic@acme.test'`)
		wantWithin(t, time.Second, search(k), failedAs("role_not_allowed"))
	})
	t.Run("person disabled", func(t *testing.T) {
		k := p.Token(t, "sam@acme.test", "orders", read)
		wantOpen(t, search(k))
		p.Exec(t, "latchkey", `UPDATE users SET disabled_at = now() WHERE email = 'sam@acme.test'`)
		wantWithin(t, time.Second, search(k), func(a Answer) bool { return unauthorized(a) || failedAs("role_not_allowed")(a) })
		a, err := p.app(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		if k, err := a.Renew(t.Context(), k.Refresh); err == nil {
			t.Errorf("the refresh token still gives %s", k.Scope)
		}
	})
	t.Run("grant revoked by the app", func(t *testing.T) {
		k := p.Token(t, "fred@acme.test", "orders", read)
		other := p.Token(t, "fred@acme.test", "orders", read)
		wantOpen(t, search(k))
		a, err := p.app(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Tenants["acme"]+"/revoke", strings.NewReader(url.Values{"token": {k.Refresh}, "client_id": {a.ID}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if res, body, err := send(p.HTTP, r); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("revoke: %v %v %s", err, res, body)
		}
		wantWithin(t, time.Second, search(k), unauthorized)
		wantOpen(t, search(other)) // another grant of the same person and app
	})
	t.Run("grant revoked on the connections page", func(t *testing.T) {
		pn := person(t, p, "fred@acme.test")
		k := p.Token(t, "fred@acme.test", "orders", read)
		wantOpen(t, search(k))
		_, page, err := pn.get(t.Context(), pn.base+"/connections")
		if err != nil {
			t.Fatal(err)
		}
		form := regexp.MustCompile(`name="grant" value="` + k.Grant() + `"><input type="hidden" name="token" value="([^"]+)"`).FindStringSubmatch(page)
		if form == nil {
			t.Fatalf("grant %s is not on the page: %s", k.Grant(), page)
		}
		if res, body, err := pn.post(t.Context(), pn.base+"/connections/revoke", url.Values{"grant": {k.Grant()}, "token": {form[1]}}); err != nil || res.StatusCode != http.StatusSeeOther {
			t.Fatalf("revoke: %v %v %s", err, res, body)
		}
		wantWithin(t, time.Second, search(k), unauthorized)
	})
	t.Run("tenant suspended", func(t *testing.T) {
		k := p.Token(t, "gina@globex.test", "orders", read)
		call := func() Answer {
			return p.MustCall(t, p.Resource("globex", "orders"), k.Access, "search_orders", map[string]any{"query": "x"})
		}
		wantOpen(t, call)
		p.Exec(t, "latchkey", `UPDATE tenants SET suspended_at = now() WHERE slug = 'globex'`)
		wantWithin(t, time.Second, call, func(a Answer) bool { return a.Status == http.StatusNotFound })
	})
}

// acmeFile is the demo tenant's file.
func acmeFile(t *testing.T) string {
	t.Helper()
	for _, f := range demo.Files() {
		if f.Name == "acme.yaml" {
			return string(f.Data)
		}
	}
	t.Fatal("the demo has no acme.yaml")
	return ""
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
