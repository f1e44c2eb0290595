package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// answers has the facts of the official API's answers (v0.1) and of server.json
// (2025-12-11) that this package writes: names of members, what is required,
// patterns and lengths.
const answers = `{
 "$defs": {
  "server": {"type": "object", "required": ["name", "description", "version"], "additionalProperties": false, "properties": {
    "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
    "name": {"type": "string", "minLength": 3, "maxLength": 200, "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$"},
    "title": {"type": "string", "minLength": 1, "maxLength": 100},
    "description": {"type": "string", "minLength": 1, "maxLength": 100},
    "version": {"type": "string", "maxLength": 255, "not": {"const": "latest"}},
    "remotes": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["type", "url"], "additionalProperties": false, "properties": {
      "type": {"enum": ["streamable-http", "sse"]}, "url": {"type": "string", "pattern": "^https?://[^\\s]+$"}}}}}},
  "entry": {"type": "object", "required": ["server", "_meta"], "additionalProperties": false, "properties": {
    "server": {"$ref": "#/$defs/server"},
    "_meta": {"type": "object", "required": ["io.modelcontextprotocol.registry/official"], "properties": {"io.modelcontextprotocol.registry/official": {
      "type": "object", "required": ["status", "publishedAt", "isLatest"], "additionalProperties": false, "properties": {
        "status": {"enum": ["active", "deprecated", "deleted"]}, "isLatest": {"type": "boolean"},
        "statusChangedAt": {"type": "string", "format": "date-time"}, "publishedAt": {"type": "string", "format": "date-time"}, "updatedAt": {"type": "string", "format": "date-time"}}}}}}},
  "list": {"type": "object", "required": ["servers", "metadata"], "additionalProperties": false, "properties": {
    "servers": {"type": "array", "items": {"$ref": "#/$defs/entry"}},
    "metadata": {"type": "object", "required": ["count"], "additionalProperties": false, "properties": {"nextCursor": {"type": "string"}, "count": {"type": "integer"}}}}}
 }
}`

func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(answers))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("facts.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("facts.json#/$defs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type world struct {
	*testing.T
	api    *API
	tenant tenants.Tenant
	all    []registry.Hosted
	see    Visible
	err    error
}

func (w *world) HostedAll(context.Context, tenants.ID) ([]registry.Hosted, error) {
	return append([]registry.Hosted{}, w.all...), nil
}

func newWorld(t *testing.T, base string, slugs ...string) *world {
	t.Helper()
	sites, err := site.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, tenant: tenants.Tenant{ID: "tnaaaaaaaaaaaaaaaaaa", Slug: "acme", Name: "Acme"}, see: func(registry.Hosted) bool { return true }}
	for i, slug := range slugs {
		at := time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC)
		w.all = append(w.all, registry.Hosted{
			Server:   registry.Server{ID: registry.ServerID(fmt.Sprint("sv", i)), Slug: slug, Title: strings.Repeat("Ü", 150), Description: strings.Repeat("ü", 200) + "\nmore", UpdatedAt: at},
			Revision: registry.Revision{Number: i + 1, CreatedAt: at},
		})
	}
	w.api = &API{Sites: sites, Servers: w, See: func(*http.Request) (Visible, error) { return w.see, w.err }}
	return w
}

func (w *world) get(path string) *httptest.ResponseRecorder {
	w.Helper()
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, httptest.NewRequestWithContext(site.With(w.Context(), w.tenant), "GET", Path+path, nil))
	return rec
}

// answer is one that holds what the official API says of its form.
func (w *world) answer(path, form string) string {
	w.Helper()
	rec := w.get(path)
	if rec.Code != http.StatusOK {
		w.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(rec.Body.Bytes()))
	if err != nil {
		w.Fatal(err)
	}
	if err := schemaOf(w.T, form).Validate(v); err != nil {
		w.Errorf("%s: %v", path, err)
	}
	return rec.Body.String()
}

func (w *world) list(query string) (names []string, next string) {
	w.Helper()
	var l List
	if err := json.Unmarshal([]byte(w.answer("/servers"+query, "list")), &l); err != nil {
		w.Fatal(err)
	}
	for _, e := range l.Servers {
		_, slug, _ := strings.Cut(e.Server.Name, "/")
		names = append(names, slug)
	}
	if l.Metadata.Count != len(names) {
		w.Errorf("counts %d of %d", l.Metadata.Count, len(names))
	}
	return names, l.Metadata.NextCursor
}

func TestAnswersAreOfTheOfficialForm(t *testing.T) {
	for _, base := range []string{"https://{tenant}.example.com", "https://platform.example.com/t/{tenant}", "http://127.0.0.1:8080/t/{tenant}"} {
		w := newWorld(t, base, "orders", "a-b")
		names, _ := w.list("")
		if fmt.Sprint(names) != "[a-b orders]" {
			t.Errorf("%v", names)
		}
		name := strings.ReplaceAll(w.api.Name(w.tenant, "orders"), "/", "%2F")
		w.answer("/servers/"+name+"/versions", "list")
		one := w.answer("/servers/"+name+"/versions/latest", "entry")
		if same := w.answer("/servers/"+name+"/versions/1.0.1", "entry"); same != one {
			t.Errorf("%s is not %s", same, one)
		}
		// Clients that do not escape the slash are understood.
		if same := w.answer("/servers/"+w.api.Name(w.tenant, "orders")+"/versions/latest", "entry"); same != one {
			t.Errorf("%s is not %s", same, one)
		}
		if !strings.Contains(one, w.api.Sites.Resource("acme", "orders")) {
			t.Errorf("%s does not say where it is", one)
		}
	}
}

func TestNamesAreTheTenantsHostReversed(t *testing.T) {
	for base, want := range map[string]string{
		"https://{tenant}.example.com": "com.example.acme/orders", "https://platform.example.com/t/{tenant}": "com.example.platform.acme/orders", "http://127.0.0.1:8080/t/{tenant}": "127-0-0-1.acme/orders",
	} {
		w := newWorld(t, base)
		if got := w.api.Name(w.tenant, "orders"); got != want {
			t.Errorf("%s: %s, want %s", base, got, want)
		}
	}
}

func TestListIsPagedAndFiltered(t *testing.T) {
	var slugs []string
	for i := range 45 {
		slugs = append(slugs, fmt.Sprintf("s%02d", i))
	}
	w := newWorld(t, "https://{tenant}.example.com", slugs...)
	var got []string
	for next := "?limit=20"; ; {
		page, cursor := w.list(next)
		got = append(got, page...)
		if cursor == "" {
			break
		}
		next = "?limit=20&cursor=" + cursor
	}
	if fmt.Sprint(got) != fmt.Sprint(slugs) {
		t.Errorf("%v", got)
	}
	if page, next := w.list(""); len(page) != 30 || next == "" {
		t.Errorf("%d without a limit", len(page))
	}
	for query, want := range map[string]int{"?search=S0&limit=100": 10, "?version=1.0.7": 1, "?version=latest&limit=100": 45, "?version=9": 0, "?updated_since=2026-02-13T00:00:00Z": 1, "?updated_since=2027-01-01T00:00:00%2B02:00": 0} {
		if page, _ := w.list(query); len(page) != want {
			t.Errorf("%s: %d, want %d", query, len(page), want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=101", "?limit=x", "?cursor=%21", "?cursor=Li4vLi4v", "?updated_since=yesterday"} {
		if rec := w.get("/servers" + query); rec.Code != http.StatusBadRequest || rec.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

// What a caller may not see answers as what is not there.
func TestServersThatMayNotBeSeenAreNotThere(t *testing.T) {
	w := newWorld(t, "https://{tenant}.example.com", "orders", "payroll")
	w.see = func(h registry.Hosted) bool { return h.Server.Slug == "orders" }
	if names, _ := w.list(""); fmt.Sprint(names) != "[orders]" {
		t.Errorf("%v", names)
	}
	hidden, nothing := w.get("/servers/com.example.acme%2Fpayroll/versions/latest"), w.get("/servers/com.example.acme%2Fnothing/versions/latest")
	if hidden.Code != http.StatusNotFound || hidden.Body.String() != nothing.Body.String() {
		t.Errorf("%d %s, of what is not there %s", hidden.Code, hidden.Body, nothing.Body)
	}
	for _, path := range []string{"/servers/com.example.acme%2Forders", "/servers/com.example.acme%2Forders/versions/1.0.9", "/servers/%2F/versions", "/other", "", "/servers/com.example.acme%2Forders/versions/latest/x"} {
		if rec := w.get(path); rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

func TestNobodyIsToldWhereATokenIsHad(t *testing.T) {
	w := newWorld(t, "https://{tenant}.example.com", "orders")
	w.err = fault.New(fault.Unauthenticated, "Sign in.")
	rec := w.get("/servers")
	if rec.Code != http.StatusUnauthorized || !strings.Contains(rec.Header().Get("WWW-Authenticate"), `resource_metadata="https://acme.example.com/.well-known/oauth-protected-resource/api/v1"`) || strings.Contains(rec.Body.String(), "orders") {
		t.Errorf("%d %s %s", rec.Code, rec.Header(), rec.Body)
	}
	for err, status := range map[error]int{fault.New(fault.RoleNotAllowed, "no"): 403, fault.New(fault.StoreAway, "no"): 503, errors.New("SECRET"): 500, fault.New(fault.Busy, "no"): 429} {
		w.err = err
		if rec := w.get("/servers"); rec.Code != status || strings.Contains(rec.Body.String(), "SECRET") {
			t.Errorf("%v: %d %s", err, rec.Code, rec.Body)
		}
	}
}

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	w := newWorld(t, "https://{tenant}.example.com", "orders")
	e := w.api.entry(w.tenant, w.all[0])
	for _, s := range []string{e.Server.Title, e.Server.Description} {
		if !utf8.ValidString(s) || utf8.RuneCountInString(s) > 100 || strings.Contains(s, "\n") {
			t.Errorf("%q", s)
		}
	}
}
