package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// shopDocument has 60 operations of which one cannot become a tool.
func shopDocument() string {
	var b strings.Builder
	b.WriteString(`{"openapi":"3.0.3","info":{"title":"Shop","version":"2"},"servers":[{"url":"https://{region}.shop.example/v2","variables":{"region":{"default":"eu"}}}],
		"components":{"securitySchemes":{"k":{"type":"apiKey","in":"header","name":"X-Shop"}}},"paths":{
		"/upload":{"post":{"operationId":"upload","requestBody":{"required":true,"content":{"multipart/form-data":{"schema":{"type":"object"}}}},"responses":{}}}`)
	for i := range 59 {
		fmt.Fprintf(&b, `,"/things%d/{id}":{"get":{"operationId":"getThing%d","summary":"Get a thing","tags":["things"],"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer"}}],"responses":{}}}`, i, i)
	}
	b.WriteString(`}}`)
	return b.String()
}

func TestInspectOpenAPI(t *testing.T) {
	w := serversWorld(t)
	w.as("reader", tenants.ServersRead)
	w.as("nobody", tenants.UsageRead)
	const path = "/tenants/acme/openapi/inspect"
	doc := shopDocument()
	inspect := func(body map[string]any) OpenAPIInspection {
		t.Helper()
		body["document"] = doc
		return into[OpenAPIInspection](t, w.must(200, "reader", "POST", path, body))
	}
	seen := map[string]bool{}
	var next *string
	for pages := 0; pages < 10; pages++ {
		body := map[string]any{"limit": 25}
		if next != nil {
			body["cursor"] = *next
		}
		out := inspect(body)
		if out.Total != 60 || out.Matched != 60 || out.Servers[0].Url != "https://eu.shop.example/v2" || out.Security[0].Parameter == nil {
			t.Fatalf("%+v", out)
		}
		for _, o := range out.Operations {
			if seen[o.Operation] {
				t.Errorf("%s is on two pages", o.Operation)
			}
			seen[o.Operation] = true
			if (len(o.Problems) > 0) != (o.Operation == "POST /upload") {
				t.Errorf("%+v", o)
			}
		}
		if next = out.NextCursor; next == nil {
			break
		}
	}
	if len(seen) != 60 {
		t.Errorf("the pages have %d operations", len(seen))
	}
	if out := inspect(map[string]any{"search": "THING7 get"}); out.Matched != 1 || out.Operations[0].Tool != "getThing7" || out.Operations[0].Risk != "read" {
		t.Errorf("%+v", out)
	}
	out := inspect(map[string]any{"tag": "things", "operations": []string{"getThing7", "upload"}})
	if out.Matched != 59 || len(out.Proposal.Notes) != 1 || !strings.Contains(out.Proposal.Notes[0], "multipart") {
		t.Errorf("%+v", out.Proposal)
	}
	// What is proposed is taken as it is, but for the secret.
	var conn map[string]any
	check(t, json.Unmarshal(out.Proposal.Connection, &conn))
	conn["auth"].(map[string]any)["key"] = map[string]any{"secret": "k"}
	w.as("writer", tenants.ServersRead, tenants.ServersWrite)
	r := w.must(200, "writer", "PUT", "/tenants/acme/servers/shop", map[string]any{"kind": "http", "title": "Shop", "spec": json.RawMessage(out.Proposal.Spec), "connection": conn, "publish": true})
	if strings.Contains(r.Body, "getThing8") || !strings.Contains(w.must(200, "reader", "GET", "/tenants/acme/servers/shop/revisions/1", nil).Body, "getThing7") {
		t.Error(r.Body)
	}
	w.refused(fault.RoleNotAllowed, "nobody", "POST", path, map[string]any{"document": doc})
	for name, bad := range map[string]string{"swagger": `{"swagger":"2.0","paths":{}}`, "no document": `[]`, "text": "hello", "no paths": `{"openapi":"3.0.0"}`} {
		p := w.refused(fault.InvalidSpec, "reader", "POST", path, map[string]any{"document": bad})
		if p.Errors == nil || len(*p.Errors) == 0 || (*p.Errors)[0].Pointer != "/document" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// A document of more than ten megabytes is taken, by a server's spec too.
func TestLargeDocumentIsTaken(t *testing.T) {
	w := serversWorld(t)
	w.as("writer", tenants.ServersRead, tenants.ServersWrite, tenants.RolesWrite)
	doc := strings.Replace(shopDocument(), `"title":"Shop"`, `"description":"`+strings.Repeat("many words ", 1_000_000)+`","title":"Shop"`, 1)
	w.must(200, "writer", "POST", "/tenants/acme/openapi/inspect", map[string]any{"document": doc, "limit": 1})
	spec := map[string]any{"openapi": map[string]any{"document": doc, "operations": []string{"getThing1"}}}
	r := w.must(200, "writer", "PUT", "/tenants/acme/servers/large", map[string]any{"kind": "http", "connection": map[string]any{"base_url": "https://shop.example"}, "spec": spec, "publish": true})
	if len(r.Body) > 100_000 {
		t.Errorf("the answer has %d bytes", len(r.Body))
	}
	if kept := w.must(200, "writer", "GET", "/tenants/acme/servers/large/revisions/1", nil).Body; len(kept) > 10_000 || !strings.Contains(kept, "getThing1") {
		t.Errorf("%d bytes are kept of the document: %.300s", len(kept), kept)
	}
	w.refused(fault.InvalidRequest, "writer", "PUT", "/tenants/acme/roles/large", map[string]any{"description": strings.Repeat("x", 7<<20)})
}

// Large documents wait for each other, by tenant and all together; what is small
// does not, and each place comes back.
func TestLargeDocumentsAreReadAFewAtATime(t *testing.T) {
	w := serversWorld(t)
	w.as("writer", tenants.ServersRead, tenants.ServersWrite)
	large := map[string]any{"document": strings.Replace(shopDocument(), `"title":"Shop"`, `"description":"`+strings.Repeat("many words ", 700_000)+`","title":"Shop"`, 1), "limit": 1}
	const path = "/tenants/acme/openapi/inspect"
	var held []func()
	for range maxLargeEach {
		release, ok := w.api.large.begin(w.acme.ID)
		if !ok {
			t.Fatal("a place is taken before anybody came")
		}
		held = append(held, release)
	}
	if p := w.refused(fault.Busy, "writer", "POST", path, large); p.RetryAfterS == nil || *p.RetryAfterS <= 0 {
		t.Errorf("%+v", p)
	}
	w.must(200, "writer", "POST", path, map[string]any{"document": shopDocument(), "limit": 1})
	for _, release := range held {
		release()
	}
	for range maxLargeEach + 1 {
		w.must(200, "writer", "POST", path, large)
	}
	for range maxLarge {
		if _, ok := w.api.large.begin(tenants.NewID()); !ok {
			t.Fatal("a place did not come back")
		}
	}
	w.refused(fault.Busy, "writer", "POST", path, large)
}
