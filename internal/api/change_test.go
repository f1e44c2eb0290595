package api

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
)

// Two who read the same role and change it: the second is told, and nothing of
// the first's is lost.
func TestStaleETagRefused(t *testing.T) {
	w, _ := newPeople(t)
	w.offer("orders", "orders:read", "refunds:write")
	body := func(about string) any { return map[string]any{"description": about, "scopes": []any{}} }
	w.refused(fault.Stale, "admin", "PUT", "/tenants/acme/roles/clerk", body("new"), "If-Match", `"x"`)
	made := w.must(http.StatusOK, "admin", "PUT", "/tenants/acme/roles/clerk", body("made"))
	read := w.must(http.StatusOK, "admin", "GET", "/tenants/acme/roles/clerk", nil)
	tag := read.Header.Get("ETag")
	if tag == "" || made.Header.Get("ETag") != tag {
		t.Errorf("the write's ETag is %s, that of the read %s", made.Header.Get("ETag"), tag)
	}
	first := w.must(http.StatusOK, "admin", "PUT", "/tenants/acme/roles/clerk", body("first"), "If-Match", tag)
	w.refused(fault.Stale, "admin", "PUT", "/tenants/acme/roles/clerk", body("second"), "If-Match", tag)
	w.refused(fault.Stale, "admin", "DELETE", "/tenants/acme/roles/clerk", nil, "If-Match", tag)
	if now := into[Role](t, w.must(http.StatusOK, "admin", "GET", "/tenants/acme/roles/clerk", nil)); now.Description != "first" {
		t.Errorf("it is %q now", now.Description)
	}
	w.must(http.StatusOK, "admin", "PUT", "/tenants/acme/roles/clerk", body("third"), "If-Match", `"y", `+first.Header.Get("ETag"))
	w.must(http.StatusOK, "admin", "PUT", "/tenants/acme/roles/clerk", body("fourth"), "If-Match", "*")
}

// Many with the same tag at once: one wins.
func TestOneOfManyWritersWins(t *testing.T) {
	w, _ := newPeople(t)
	path := "/tenants/acme/roles/clerk"
	tag := w.must(http.StatusOK, "admin", "PUT", path, map[string]any{"scopes": []any{}}).Header.Get("ETag")
	var all sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for i := range 12 {
		all.Go(func() {
			a := w.do("admin", "PUT", path, map[string]any{"description": fmt.Sprint(i), "scopes": []any{}}, "If-Match", tag)
			mu.Lock()
			defer mu.Unlock()
			codes[a.Status]++
		})
	}
	all.Wait()
	if codes[http.StatusOK] != 1 || codes[http.StatusPreconditionFailed] != 11 {
		t.Errorf("%v", codes)
	}
}

// What changes by itself is no part of the tag: a person who is busy in a
// browser can be edited.
func TestETagLeavesOutWhatChangesByItself(t *testing.T) {
	op := &operation{volatile: []string{"last_seen_at", "grants"}}
	tag := func(body string) string {
		h := &held{header: http.Header{"Content-Type": {"application/json"}}, status: http.StatusOK}
		h.body.WriteString(body)
		h.tag(op)
		return h.header.Get("ETag")
	}
	if tag(`{"name":"x","grants":1}`) != tag(`{"grants":2,"name":"x","last_seen_at":"2026-01-01T00:00:00Z"}`) {
		t.Error("it is part of the tag")
	}
	if tag(`{"name":"x","grants":1}`) == tag(`{"name":"y","grants":1}`) {
		t.Error("the tag is always the same")
	}
	doc, err := loadDocument()
	check(t, err)
	get := doc.byRoute["GET "+Base+"/tenants/:tenant/members/:member"]
	slices.Sort(get.volatile)
	if !slices.Equal(get.volatile, []string{"grants", "last_seen_at"}) {
		t.Errorf("the document says %v", get.volatile)
	}
}

// A repeat gets the first answer, also while the first still runs; what was
// refused may be corrected under the same key.
func TestRepeatedPostActsOnce(t *testing.T) {
	w, box := newPeople(t)
	invite := map[string]any{"email": "new@acme.test"}
	w.refused(fault.InvalidRequest, "admin", "POST", "/tenants/acme/invitations", map[string]any{"email": "nobody"}, "Idempotency-Key", "k")
	var all sync.WaitGroup
	answers := make([]reply, 6)
	for i := range answers {
		all.Go(func() {
			for { // until the first is done
				answers[i] = w.do("admin", "POST", "/tenants/acme/invitations", invite, "Idempotency-Key", "k")
				if answers[i].Status != http.StatusTooManyRequests {
					return
				}
			}
		})
	}
	all.Wait()
	for _, a := range answers {
		if a.Status != http.StatusCreated || a.Body != answers[0].Body {
			t.Fatalf("%d %s\n%s", a.Status, a.Body, answers[0].Body)
		}
	}
	if letters, err := box.Letters(); err != nil || len(letters) != 1 {
		t.Errorf("%d letters, %v", len(letters), err)
	}
	if p := w.refused(fault.KeyReused, "admin", "POST", "/tenants/acme/invitations", map[string]any{"email": "other@acme.test"}, "Idempotency-Key", "k"); p.Status != http.StatusUnprocessableEntity {
		t.Errorf("%+v", p)
	}
	// Another caller's key of that name is another key.
	if a := w.must(http.StatusCreated, "operator", "POST", "/tenants/acme/invitations", map[string]any{"email": "third@acme.test"}, "Idempotency-Key", "k"); a.Header.Get("Idempotent-Replayed") != "" {
		t.Error("an operator got somebody else's answer")
	}
	// The link that is shown once is not in the store as it is.
	was, taken, err := w.db.ClaimName(t.Context(), w.acme.ID, idempotency.Name{Caller: "member:" + string(w.pat.ID), Key: "k"}, idempotency.Hash{}, time.Now())
	if check(t, err); taken || !was.Done || bytes.Contains(was.Sealed, []byte("token=")) {
		t.Errorf("kept: %v, %v, %q", taken, was.Done, was.Sealed)
	}
}

// Every change is on record before and after, and a refusal; secrets are not.
func TestChangesStandOnRecord(t *testing.T) {
	w, _ := newPeople(t)
	w.as("clerk", "members:read")
	since := time.Now().Add(-time.Minute)
	w.must(http.StatusOK, "admin", "PUT", "/tenants/acme/members/x@acme.test", map[string]any{"name": "X", "roles": []string{}})
	w.refused(fault.RoleNotAllowed, "clerk", "PUT", "/tenants/acme/members/y@acme.test", map[string]any{"name": "Y", "roles": []string{}})
	w.refused(fault.InvalidRequest, "admin", "PUT", "/tenants/acme/members/x@acme.test", map[string]any{"name": 1})
	w.must(http.StatusOK, "admin", "GET", "/tenants/acme/members", nil)
	events, err := w.db.AuditEvents(t.Context(), w.acme.ID, since, 100)
	check(t, err)
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprint(e.Tool, " ", e.Phase, " ", e.State, " ", e.Code))
		if e.Method != "api" || e.User != w.pat.ID || e.Client != "latchkey-console" || !strings.HasPrefix(e.CallID, "rq") {
			t.Errorf("%+v", e)
		}
	}
	want := []string{
		"putMember intent pending ", "putMember outcome done ",
		"putMember refusal refused role_not_allowed", "putMember refusal refused invalid_request",
	}
	if !slices.Equal(got, want) {
		t.Errorf("on record:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if e := events[0]; e.Phase != audit.Intent || !strings.Contains(e.Arguments, "X") {
		t.Errorf("%+v", e)
	}
}

func TestTooManyRequests(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.Rate = Rate{PerSecond: 0.001, Burst: 3} })
	for range 3 {
		w.do("admin", "GET", "/nothing/that/counts", nil)
		w.do("admin", "GET", "/workers", nil)
	}
	a := w.do("admin", "GET", "/workers", nil)
	if a.Status != http.StatusTooManyRequests || a.problem().Code != fault.LimitReached.Name || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := w.do("stranger", "GET", "/workers", nil); a.Status != http.StatusNotFound {
		t.Errorf("another caller: %d", a.Status)
	}
}
