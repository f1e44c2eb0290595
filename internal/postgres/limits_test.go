package postgres_test

import (
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/tenants"
)

func TestLimitsAreKeptAsTheyWereSet(t *testing.T) {
	db := postgrestest.New(t)
	acme, _ := postgrestest.Tenant(t, db, "acme")
	want := func(l tenants.Limits) {
		t.Helper()
		if got, err := db.OwnLimits(t.Context(), acme.ID); err != nil || got != l {
			t.Errorf("got %+v, %v, want %+v", got, err, l)
		}
	}
	want(tenants.Limits{})
	all := tenants.Limits{
		Tenant:  tenants.Limit{Rate: tenants.NoRate, Concurrency: tenants.Unbounded},
		User:    tenants.Limit{Rate: tenants.Rate{Calls: 60, Per: time.Minute}, Burst: 5, Concurrency: 3, Message: "Too many: {{limit}} “ö”"},
		Session: tenants.Limit{Rate: tenants.Rate{Calls: 1, Per: 24 * time.Hour}}, Tool: tenants.Limit{Rate: tenants.Rate{Calls: 9_999_999, Per: time.Second}},
		FanOut: tenants.FanOut{Calls: tenants.Unbounded}, Repeats: tenants.Repeats{Notice: 3, Refuse: tenants.Unbounded},
	}
	for _, l := range []tenants.Limits{all, {User: tenants.Limit{Concurrency: 1}}, {}} {
		if err := db.PutLimits(t.Context(), acme.ID, l); err != nil {
			t.Fatal(err)
		}
		want(l)
	}
	wantCode(t, "limits of nobody", db.PutLimits(t.Context(), tenants.NewID(), all), fault.NotFound)
}

func TestEveryEdgeCountsByNewLimitsWithinASecond(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	acme, _ := postgrestest.Tenant(t, db, "acme")
	globex, _ := postgrestest.Tenant(t, db, "globex")
	edges := []*edge{newEdge(t, urls.App), newEdge(t, urls.App)}
	calls := func(e *edge, id tenants.ID) int {
		t.Helper()
		l, err := e.Limits(t.Context(), id)
		check(t, err)
		if l.Tenant != tenants.DefaultLimits.Tenant { // what is not set is the default's
			t.Errorf("%+v", l)
		}
		return l.FanOut.Calls
	}
	for _, set := range []int{0, 7, 9, 0} {
		if set > 0 || calls(edges[0], acme.ID) != 50 {
			check(t, db.PutLimits(t.Context(), acme.ID, tenants.Limits{FanOut: tenants.FanOut{Calls: set}}))
			for _, e := range edges {
				e.await("limits", seenWithin)
			}
		}
		for _, e := range edges {
			want := set
			if set == 0 {
				want = tenants.DefaultLimits.FanOut.Calls
			}
			if got := calls(e, acme.ID); got != want {
				t.Errorf("an edge goes on with %d, want %d", got, want)
			}
			if got := calls(e, globex.ID); got != tenants.DefaultLimits.FanOut.Calls {
				t.Errorf("the other tenant has %d", got)
			}
		}
	}
}
