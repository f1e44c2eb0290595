package limits

import (
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// A call that is queued counts when it arrives, and takes its place when it runs.
func TestQueuedCallCountsOnceAndTakesItsPlaceLater(t *testing.T) {
	one := tenants.Limits{
		User:    tenants.Limit{Rate: tenants.Rate{Calls: 1, Per: time.Hour}, Burst: 2, Concurrency: 1},
		Repeats: tenants.Repeats{Refuse: 4},
	}
	l := New(Config{Store: NewMemory(), Settings: set(one)})
	spend := func(id string, p Part) (Spent, error) {
		return l.Spend(t.Context(), Call{ID: id, Tenant: "tnaaaaaaaaaaaaaaaaaa", User: "us1", Op: "tools/call", Name: "export", Part: p})
	}
	for _, id := range []string{"a", "b"} { // without a place, both arrive
		if s, err := spend(id, Arrival); err != nil {
			t.Fatal(err)
		} else {
			s.Release()
		}
	}
	if s, err := spend("c", Arrival); !fault.HasCode(err, fault.LimitReached) || s.Reached != User {
		t.Errorf("beyond the rate: %+v, %v", s, err)
	}
	first, err := spend("a", Place)
	if err != nil {
		t.Fatalf("the rate is counted again: %v", err)
	}
	if _, err := spend("b", Place); !fault.HasCode(err, fault.LimitReached) {
		t.Errorf("two have one place: %v", err)
	}
	first.Release()
	for range 5 { // nor are runs repeats
		s, err := spend("b", Place)
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
	}
}
