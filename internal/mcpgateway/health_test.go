package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// ward says how servers are, as the store's cache does.
type ward struct {
	mu     sync.Mutex
	record health.Record
	err    error
	doubts []registry.ServerID
}

func (d *ward) ServerHealth(context.Context, tenants.ID) (health.Set, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return health.Set{server1: d.record}, d.err
}

func (d *ward) is(r health.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record = r
}

func (w *world) withWard() *ward {
	d := &ward{}
	w.gateway.cfg.Health = d
	w.gateway.cfg.Doubt = func(_ tenants.ID, s registry.ServerID) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.doubts = append(d.doubts, s)
	}
	return d
}

var sick = health.Record{Server: server1, State: health.Unhealthy, Code: "upstream_unavailable", Message: "db.internal:5432 SECRETREASON", Failures: 4}

func unhealthyFor(wait time.Duration) health.Record {
	r := sick
	r.Since, r.Next = time.Now().Add(-time.Minute), time.Now().Add(wait)
	return r
}

func TestCallsOfAnUnhealthyServerAreRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	d := w.withWard()
	d.is(unhealthyFor(40 * time.Second))
	token := w.token(ann, "read", "write")
	for _, tool := range []string{"look", "refund"} {
		w.events, w.dispatched = nil, nil
		_, body := w.call(token, tool, `{"id":1}`)
		if !strings.Contains(body, `"server_unhealthy"`) || !strings.Contains(body, `"downstream"`) || strings.Contains(body, "SECRETREASON") || strings.Contains(body, "db.internal") {
			t.Errorf("%s: %s", tool, body)
		}
		var answer struct {
			Result struct {
				StructuredContent struct {
					Error struct {
						RetryAfterS int `json:"retry_after_s"`
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		if s := answer.Result.StructuredContent.Error.RetryAfterS; s < 10 || s > 40 {
			t.Errorf("%s: retry after %d s", tool, s)
		}
		if len(w.dispatched) != 0 {
			t.Errorf("%s: a worker was asked", tool)
		}
		if len(w.events) != 1 || w.events[0].Phase != audit.Refusal || w.events[0].Code != "server_unhealthy" {
			t.Errorf("%s: on record %+v", tool, w.events)
		}
	}
	// Who may not call learns nothing of it, and its tools are there all the same.
	if _, body := w.call(w.token(ann, "read"), "refund", `{"id":1}`); strings.Contains(body, "unhealthy") {
		t.Errorf("somebody without the scope is told: %s", body)
	}
	tools, err := w.connect(token, eras["modern"]).ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) == 0 {
		t.Errorf("%v, %v", tools, err)
	}
	for _, state := range []health.State{health.Healthy, health.Degraded, health.Idle, health.Unknown} {
		d.is(health.Record{State: state})
		if _, body := w.call(token, "look", `{"id":1}`); strings.Contains(body, "error") {
			t.Errorf("%s: %s", state, body)
		}
	}
}

// That it is not known how a server is refuses nothing: this saves time, and
// guards nothing.
func TestCallsGoThroughWhileHealthCannotBeRead(t *testing.T) {
	w := newWorld(t)
	d := w.withWard()
	d.record, d.err = sick, errors.New("away")
	if _, body := w.call(w.token(ann, "read"), "look", `{"id":1}`); strings.Contains(body, "unhealthy") {
		t.Error(body)
	}
}

func TestFailedCallsRaiseDoubt(t *testing.T) {
	w := newWorld(t)
	d := w.withWard()
	token := w.token(ann, "read")
	for code, want := range map[fault.Code]int{fault.UpstreamAway: 1, fault.ServerCrashed: 1, fault.InvalidArguments: 0, fault.NoWorker: 0, fault.DeadlineExceeded: 0} {
		d.doubts = nil
		w.answer(func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
			return DispatchOutcome{}, fault.New(code, "no")
		})
		w.call(token, "look", `{"id":1}`)
		if len(d.doubts) != want {
			t.Errorf("%s: %d", code, len(d.doubts))
		}
	}
}

func TestHealthIsToldToWhoHoldsATokenOfTheServer(t *testing.T) {
	w := newWorld(t)
	d := w.withWard()
	ask := func(method, slug, token string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(site.With(t.Context(), w.tenant), method, "/mcp/"+slug+"/health", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rec := httptest.NewRecorder()
		w.gateway.ServeHealth(rec, r, slug)
		return rec
	}
	token := w.token(ann, "read")
	d.is(health.Record{State: health.Healthy, Since: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Message: "SECRETREASON"})
	if rec := ask("GET", "orders", token); rec.Code != http.StatusOK || strings.TrimSpace(rec.Body.String()) != `{"status":"healthy","since":"2026-01-02T03:04:05Z"}` || rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	d.is(unhealthyFor(20 * time.Second))
	if rec := ask("GET", "orders", token); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), `"unhealthy"`) || strings.Contains(rec.Body.String(), "SECRETREASON") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	// Others are told what the server's own URL tells, word for word, and not how
	// it is.
	for slug, status := range map[string]int{"orders": http.StatusUnauthorized, "nothing": http.StatusNotFound} {
		here := ask("GET", slug, "")
		own := httptest.NewRecorder()
		w.gateway.ServeMCP(own, httptest.NewRequestWithContext(site.With(t.Context(), w.tenant), "GET", "/mcp/"+slug, nil), slug)
		if here.Code != status || here.Code != own.Code || here.Body.String() != own.Body.String() || here.Header().Get("WWW-Authenticate") != own.Header().Get("WWW-Authenticate") {
			t.Errorf("%s: %d %s, at its own URL %d %s", slug, here.Code, here.Body, own.Code, own.Body)
		}
	}
	if rec := ask("GET", "orders", "bad"); rec.Code != http.StatusUnauthorized || strings.Contains(rec.Body.String(), "unhealthy") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := ask("POST", "orders", token); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("%d", rec.Code)
	}
	if rec := ask("GET", "orders", token, "Origin", "https://evil.example"); rec.Code != http.StatusForbidden {
		t.Errorf("%d", rec.Code)
	}
}

// The platform's own calls are of no tool, carry a grant of nobody's, and none
// where each person has a credential of their own.
func TestPlatformsOwnCallsAreInNobodysName(t *testing.T) {
	w := newWorld(t)
	h := w.hosted
	for _, c := range []struct {
		connection string
		perUser    bool
		user       tenants.UserID
		grant      bool
	}{{"", false, "", false}, {`{"url":"x"}`, false, "", true}, {`{"url":"x"}`, true, "", false}, {`{"url":"x"}`, true, bob, true}} {
		w.dispatched = nil
		o := OpeningOf(h.Server, h.Revision)
		o.Connection, o.PerUser = json.RawMessage(c.connection), c.perUser
		_, err := w.gateway.Reach(t.Context(), Reach{Opening: o, Pool: "default", Op: runtime.Probe, User: c.user, Timeout: time.Minute})
		if err != nil || len(w.dispatched) != 1 {
			t.Fatalf("%v, %d", err, len(w.dispatched))
		}
		d := w.dispatched[0]
		if (d.Grant != "") != c.grant || d.Op != runtime.Probe || d.Name != "server" || d.OpenHash != o.Hash() || d.Caller.User == ann {
			t.Errorf("%+v: %+v", c, d)
		}
	}
	if _, err := w.gateway.Reach(t.Context(), Reach{Opening: OpeningOf(h.Server, h.Revision), Op: runtime.CallTool, Timeout: time.Second}); err == nil {
		t.Error("a tool was called in nobody's name")
	}
	if len(w.events) != 0 {
		t.Errorf("%d records of calls that nobody made", len(w.events))
	}
}
