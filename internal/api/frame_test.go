package api

import (
	"net/http"
	"strings"
	"testing"

	"latchkey/internal/fault"
)

func TestFrame(t *testing.T) {
	w := newWorld(t, nil)
	t.Run("nobody", func(t *testing.T) { w.in(t).refused(fault.Unauthenticated, "nobody", "GET", "/me", nil) })
	t.Run("no such path", func(t *testing.T) { w.in(t).refused(fault.NotFound, "admin", "GET", "/nothing", nil) })
	t.Run("no such method", func(t *testing.T) { w.in(t).refused(fault.InvalidRequest, "admin", "DELETE", "/me", nil) })
	t.Run("an operator's path", func(t *testing.T) { w.in(t).refused(fault.NotFound, "admin", "GET", "/workers", nil) })
	t.Run("missing right", func(t *testing.T) {
		w.as("auditor", "audit:read")
		if p := w.in(t).refused(fault.RoleNotAllowed, "auditor", "GET", "/tenants/acme/roles", nil); deref(p.Permission) != "roles:read" {
			t.Errorf("%+v", p)
		}
	})
	t.Run("unknown parameter", func(t *testing.T) {
		p := w.in(t).refused(fault.InvalidRequest, "admin", "GET", "/tenants/acme/roles?limt=3", nil)
		if e := *p.Errors; e[0].Pointer != "?limt" || !strings.Contains(deref(e[0].Fix), "limit") {
			t.Errorf("%+v", e)
		}
	})
	t.Run("wrong body", func(t *testing.T) {
		p := w.in(t).refused(fault.InvalidRequest, "admin", "PUT", "/tenants/acme/members/x@y.z", map[string]any{"name": "", "roles": []string{"Not A Slug"}, "surprise": 1})
		var at []string
		for _, e := range *p.Errors {
			at = append(at, e.Pointer)
		}
		if strings.Join(at, " ") != "/name /roles/0 /surprise" {
			t.Errorf("%v: %+v", at, *p.Errors)
		}
	})
	for name, body := range map[string]string{"not JSON": `{"name": `, "text": `x`, "nothing": ``} {
		t.Run(name, func(t *testing.T) {
			w.in(t).refused(fault.InvalidRequest, "admin", "PUT", "/tenants/acme/members/x@y.z", body)
		})
	}
	t.Run("not said to be JSON", func(t *testing.T) {
		w.in(t).refused(fault.InvalidRequest, "admin", "PUT", "/tenants/acme/members/x@y.z", `{"name":"x","roles":[]}`, "Content-Type", "text/plain")
	})
	t.Run("id of another form", func(t *testing.T) {
		w.in(t).refused(fault.NotFound, "admin", "GET", "/tenants/acme/grants/nonsense", nil)
	})
}

// What a caller may not see answers byte for byte as what does not exist.
func TestForeignTenantAnswersAsUnknown(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/roles", "/members/pat@acme.test", "/servers/orders", "/audit/events", "/usage?range=7d", "/grants/gr222222222222222222"} {
		foreign, unknown := w.do("stranger", "GET", "/tenants/acme"+path, nil), w.do("stranger", "GET", "/tenants/nosuch"+path, nil)
		id := func(a reply) string { return strings.ReplaceAll(a.Body, a.Header.Get("X-Request-Id"), "") }
		if foreign.Status != http.StatusNotFound || foreign.Status != unknown.Status || id(foreign) != id(unknown) {
			t.Errorf("%s: %d %s, unknown %d %s", path, foreign.Status, foreign.Body, unknown.Status, unknown.Body)
		}
	}
}

func TestReferenceIsComplete(t *testing.T) {
	w := newWorld(t, nil)
	page := w.do("nobody", "GET", "/docs", nil)
	if page.Status != http.StatusOK || strings.Contains(page.Body, "<script") || strings.Contains(page.Body, "https://cdn") {
		t.Fatalf("%d %.200s", page.Status, page.Body)
	}
	for _, op := range w.api.document.operations {
		if !strings.Contains(page.Body, `id="`+op.id+`"`) {
			t.Errorf("the reference lacks %s", op.id)
		}
	}
	if doc := w.do("nobody", "GET", "/openapi.json", nil); doc.Status != http.StatusOK || !strings.Contains(doc.Body, `"operationId":"applyTenant"`) {
		t.Errorf("%d %.200s", doc.Status, doc.Body)
	}
}
