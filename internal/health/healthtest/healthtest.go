// Package healthtest is the contract of health.Store as a test: each
// implementation runs it.
package healthtest

import (
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Fixture is an empty store with a server in each of two tenants.
type Fixture struct {
	Store   health.Store
	Tenants []tenants.ID
	Servers []registry.ServerID
}

var at = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// Run runs the suite on one store.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Run("ComesBackWhole", func(t *testing.T) { comesBack(t, open(t)) })
	t.Run("OneTenantSeesNothingOfAnother", func(t *testing.T) { apart(t, open(t)) })
	t.Run("OfAServerThatIsGoneThereIsNone", func(t *testing.T) { gone(t, open(t)) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func whole(s registry.ServerID, state health.State) health.Record {
	return health.Record{
		Server: s, State: state, Since: at, Checked: at.Add(time.Second), Next: at.Add(time.Minute), LastOK: at.Add(-time.Hour), Failed: at,
		Code: "upstream_unavailable", Message: "It does not answer. ⚠", Failures: 3, Latency: 1500 * time.Millisecond, Era: "2026-07-28",
	}
}

func comesBack(t *testing.T, f Fixture) {
	want := whole(f.Servers[0], health.Unhealthy)
	must(t, f.Store.PutServerHealth(t.Context(), f.Tenants[0], want))
	set, err := f.Store.ServerHealth(t.Context(), f.Tenants[0])
	must(t, err)
	want.Tenant = f.Tenants[0]
	if got := set.Of(f.Servers[0]); !equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	bare := health.Record{Tenant: f.Tenants[0], Server: f.Servers[0], State: health.Healthy, Since: at, Checked: at, Next: at}
	must(t, f.Store.PutServerHealth(t.Context(), f.Tenants[0], bare))
	set, err = f.Store.ServerHealth(t.Context(), f.Tenants[0])
	must(t, err)
	if got := set.Of(f.Servers[0]); !equal(got, bare) || !got.LastOK.IsZero() || !got.Failed.IsZero() {
		t.Errorf("got %+v", got)
	}
}

func equal(a, b health.Record) bool {
	for _, r := range []*health.Record{&a, &b} {
		for _, at := range []*time.Time{&r.Since, &r.Checked, &r.Next, &r.LastOK, &r.Failed} {
			*at = at.UTC()
		}
	}
	return a == b
}

func apart(t *testing.T, f Fixture) {
	must(t, f.Store.PutServerHealth(t.Context(), f.Tenants[0], whole(f.Servers[0], health.Unhealthy)))
	must(t, f.Store.PutServerHealth(t.Context(), f.Tenants[1], whole(f.Servers[1], health.Idle)))
	set, err := f.Store.ServerHealth(t.Context(), f.Tenants[1])
	must(t, err)
	if len(set) != 1 || set.Of(f.Servers[1]).State != health.Idle || set.Of(f.Servers[0]).State != health.Unknown {
		t.Errorf("sees %+v", set)
	}
	n, err := f.Store.CountServerHealth(t.Context())
	must(t, err)
	if n[health.Unhealthy] != 1 || n[health.Idle] != 1 || n[health.Healthy] != 0 {
		t.Errorf("counts %v", n)
	}
}

func gone(t *testing.T, f Fixture) {
	for tenant, server := range map[tenants.ID]registry.ServerID{f.Tenants[0]: f.Servers[1], f.Tenants[1]: "sv222222222222222222"} {
		if err := f.Store.PutServerHealth(t.Context(), tenant, whole(server, health.Healthy)); !fault.HasCode(err, fault.NotFound) {
			t.Errorf("got %v", err)
		}
	}
}
