package api

import (
	"net/http"
	"testing"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

func TestLimitsOverTheAPI(t *testing.T) {
	where := "valkey"
	w := newWorld(t, func(w *world, c *Config) {
		c.Limits = Limits{Store: w.db, Where: func() string { return where }}
		c.Servers = Servers{Registry: w.db}
	})
	w.as("reader", tenants.LimitsRead)
	s, err := w.db.PutServer(t.Context(), w.acme.ID, registry.Server{Slug: "orders", Kind: "echo", Title: "Orders", Pool: "default"})
	check(t, err)
	def := registry.Definition{Tools: []registry.Tool{{Name: "search", InputSchema: []byte(`{"type":"object"}`)}, {Name: "plain", InputSchema: []byte(`{"type":"object"}`)}}}
	def.Tools[0].Limits.User = tenants.Limit{Rate: tenants.Rate{Calls: 60, Per: 60e9}, Message: "Narrow the query."}
	rev, err := registry.NewRevision(s, []byte(`{}`), def, "test")
	check(t, err)
	_, _, err = w.db.Publish(t.Context(), w.acme.ID, rev)
	check(t, err)

	const at = "/tenants/acme/limits"
	first := w.do("reader", "GET", at, nil)
	got := into[LimitsState](t, first)
	if first.Status != 200 || got.Own.User != nil || deref(got.Effective.User.Rate) != "600/min" || deref(got.Defaults.Repeats.Refuse) != 30 || got.Store != "valkey" {
		t.Errorf("%d %s", first.Status, first.Body)
	}
	if len(got.Tools) != 1 || got.Tools[0].Server != "orders" || got.Tools[0].Tool != "search" || got.Tools[0].All != nil || deref(got.Tools[0].User.Rate) != "60/min" || deref(got.Tools[0].User.Message) != "Narrow the query." {
		t.Errorf("tools: %+v", got.Tools)
	}
	// Where calls are counted is no change of the limits.
	where = "degraded"
	if again := w.do("reader", "GET", at, nil); again.Header.Get("ETag") != first.Header.Get("ETag") || into[LimitsState](t, again).Store != "degraded" {
		t.Errorf("%s %s", again.Header.Get("ETag"), again.Body)
	}

	own := map[string]any{"user": map[string]any{"rate": "60/min", "burst": 5, "message": "Slowly."}, "tenant": map[string]any{"concurrency": -1}, "repeats": map[string]any{"refuse": -1}}
	if a := w.do("reader", "PUT", at, own); a.Status != http.StatusForbidden && a.Status != http.StatusNotFound {
		t.Errorf("who only reads: %d %s", a.Status, a.Body)
	}
	put := w.do("admin", "PUT", at, own, "If-Match", first.Header.Get("ETag"))
	got = into[LimitsState](t, put)
	if put.Status != 200 || deref(got.Own.User.Message) != "Slowly." || deref(got.Effective.User.Concurrency) != 32 || deref(got.Effective.Tenant.Concurrency) != -1 ||
		got.Own.Session != nil || deref(got.Effective.Repeats.Refuse) != -1 || deref(got.Effective.Repeats.Notice) != 5 {
		t.Errorf("%d %s", put.Status, put.Body)
	}
	if a := w.do("admin", "PUT", at, map[string]any{}, "If-Match", first.Header.Get("ETag")); a.problem().Code != fault.Stale.Name {
		t.Errorf("over what somebody changed: %d %s", a.Status, a.Body)
	}
	if a := w.do("stranger", "GET", at, nil); a.Status != http.StatusNotFound {
		t.Errorf("another tenant's key: %d", a.Status)
	}

	for body, pointer := range map[string]string{
		`{"user":{"burst":5}}`:               "/user/burst",
		`{"tool":{"rate":"none","burst":5}}`: "/tool/burst",
		`{"user":{"rate":"60 per minute"}}`:  "/user/rate",
		`{"user":{"rate":"0/min"}}`:          "/user/rate",
		`{"session":{"concurrency":0}}`:      "/session/concurrency",
		`{"fan_out":{"calls":0}}`:            "/fan_out/calls",
		`{"repeats":{"notice":0}}`:           "/repeats/notice",
		`{"repeats":{"refuse":1}}`:           "/repeats/refuse",
		`{"everybody":{}}`:                   "/everybody",
	} {
		a := w.do("admin", "PUT", at, body)
		p := a.problem()
		if a.Status != http.StatusBadRequest && a.Status != http.StatusUnprocessableEntity || p.Errors == nil || len(*p.Errors) != 1 || (*p.Errors)[0].Pointer != pointer {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
	// Nothing set is the defaults again.
	if a := into[LimitsState](t, w.do("admin", "PUT", at, map[string]any{})); a.Own.User != nil || deref(a.Effective.User.Rate) != "600/min" {
		t.Errorf("%+v", a)
	}
}
