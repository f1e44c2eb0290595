// Package eventstest is the suite that every store of events passes.
package eventstest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Fixture is a store with two tenants and no event.
type Fixture struct {
	Store         events.Store
	Tenant, Other tenants.ID
}

var began = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

type suite struct {
	*testing.T
	Fixture
}

// Run runs it. fresh makes a fixture for each part.
func Run(t *testing.T, fresh func(t *testing.T) Fixture) {
	for name, part := range map[string]func(suite){
		"counted within a minute": suite.counted,
		"found":                   suite.found,
		"acknowledged":            suite.acknowledged,
		"collected":               suite.collected,
		"of whom":                 suite.ofWhom,
	} {
		t.Run(name, func(t *testing.T) { part(suite{t, fresh(t)}) })
	}
}

func (s suite) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s suite) all(t tenants.ID, q events.Query) []events.Event {
	s.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	es, err := s.Store.Events(s.Context(), t, q)
	s.check(err)
	return es
}

func (s suite) event(change func(*events.Event)) events.Event {
	e := events.Event{Tenant: s.Tenant, At: began, Kind: events.FanOut, Severity: events.Warning, Detail: "Too many.", Count: 1}
	if change != nil {
		change(&e)
	}
	return e
}

func (s suite) counted() {
	same := func(at time.Duration, text string) events.Event {
		return s.event(func(e *events.Event) { e.At, e.Same = began.Truncate(time.Minute).Add(at), text })
	}
	ctx := s.Context()
	s.check(s.Store.InsertEvents(ctx, []events.Event{same(0, "ann"), same(time.Second, "bob"), same(0, ""), same(0, "")}))
	s.check(s.Store.InsertEvents(ctx, []events.Event{same(59*time.Second, "ann")}))
	three := same(30*time.Second, "ann")
	three.Count = 3
	s.check(s.Store.InsertEvents(ctx, []events.Event{three}))
	other := same(0, "ann")
	other.Kind = events.RepeatedCalls
	s.check(s.Store.InsertEvents(ctx, []events.Event{same(time.Minute, "ann"), other}))
	counts := map[int]int{}
	for _, e := range s.all(s.Tenant, events.Query{}) {
		counts[e.Count]++
	}
	if counts[5] != 1 || counts[1] != 5 || len(counts) != 2 {
		s.Errorf("events by count: %v", counts)
	}
	s.check(s.Store.InsertEvents(ctx, nil))
}

func (s suite) found() {
	ctx := s.Context()
	full := s.event(func(e *events.Event) {
		e.At, e.Kind, e.Severity, e.Detail = began.Add(time.Hour), events.SecretWithheld, events.Critical, "A key was on its way out.\x00"
		e.User, e.Client, e.ServerID, e.Server, e.Tool, e.CallID = "us1", "https://app.example/c", "sv1", "crm", "fetch", "ca1"
	})
	s.check(s.Store.InsertEvents(ctx, []events.Event{full}))
	for i := range 7 {
		s.check(s.Store.InsertEvents(ctx, []events.Event{s.event(func(e *events.Event) { e.Server, e.At = "orders", began.Add(time.Duration(i/2)*time.Second) })}))
	}
	got := s.all(s.Tenant, events.Query{Server: "crm"})
	if len(got) != 1 || got[0].Kind != full.Kind || got[0].Severity != full.Severity || got[0].User != "us1" || got[0].Client != full.Client || got[0].ServerID != "sv1" ||
		got[0].Tool != "fetch" || got[0].CallID != "ca1" || got[0].Count != 1 || !got[0].At.Equal(full.At) || got[0].Detail != "A key was on its way out.\uFFFD" || got[0].ID == "" {
		s.Fatalf("%+v", got)
	}
	if n := len(s.all(s.Tenant, events.Query{Kind: events.FanOut})); n != 7 {
		s.Errorf("%d of the kind", n)
	}
	var ids []string
	q := events.Query{Limit: 3}
	for range 10 {
		page := s.all(s.Tenant, q)
		for _, e := range page {
			ids = append(ids, e.ID)
			if !q.After.IsZero() && e.At.After(q.After) {
				s.Error("not newest first")
			}
			q.After, q.AfterID = e.At, e.ID
		}
		if len(page) < 3 {
			break
		}
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 8 {
		s.Errorf("pages have %d events", len(ids))
	}
}

func (s suite) acknowledged() {
	ctx := s.Context()
	s.check(s.Store.InsertEvents(ctx, []events.Event{s.event(nil), s.event(nil)}))
	id := s.all(s.Tenant, events.Query{})[0].ID
	for i, by := range []string{"dana@acme.test", "fred@acme.test"} {
		e, err := s.Store.Acknowledge(ctx, s.Tenant, id, by, began.Add(time.Duration(i+1)*time.Hour))
		if err != nil || e.ID != id || e.AcknowledgedBy != "dana@acme.test" || !e.AcknowledgedAt.Equal(began.Add(time.Hour)) {
			s.Errorf("%+v, %v", e, err)
		}
	}
	yes, no := true, false
	if open, seen := s.all(s.Tenant, events.Query{Open: &yes}), s.all(s.Tenant, events.Query{Open: &no}); len(open) != 1 || len(seen) != 1 || seen[0].ID != id {
		s.Errorf("open %+v, seen %+v", open, seen)
	}
	for _, t := range []tenants.ID{s.Other, tenants.Platform} {
		if _, err := s.Store.Acknowledge(ctx, t, id, "x", began); !fault.HasCode(err, fault.NotFound) {
			s.Errorf("from %s: %v", t, err)
		}
	}
}

func (s suite) collected() {
	ctx := s.Context()
	for i := range 4 {
		s.check(s.Store.InsertEvents(ctx, []events.Event{s.event(func(e *events.Event) {
			e.At = began.Add(time.Duration(i) * 24 * time.Hour)
			e.Tenant = []tenants.ID{s.Tenant, s.Other, tenants.Platform, s.Tenant}[i]
		})}))
	}
	if n, err := s.Store.CollectEvents(ctx, began.Add(72*time.Hour)); err != nil || n != 3 {
		s.Errorf("%d collected, %v", n, err)
	}
	if n := len(s.all(s.Tenant, events.Query{})); n != 1 {
		s.Errorf("%d are left", n)
	}
}

func (s suite) ofWhom() {
	of := func(t tenants.ID) events.Event { return s.event(func(e *events.Event) { e.Tenant = t }) }
	// Those of a tenant that is gone are left out, and take nothing with them.
	s.check(s.Store.InsertEvents(s.Context(), []events.Event{of(s.Tenant), of(tenants.NewID()), of(s.Other), of(tenants.Platform), of(tenants.Platform)}))
	var got []string
	for _, t := range []tenants.ID{s.Tenant, s.Other, tenants.Platform} {
		got = append(got, fmt.Sprint(len(s.all(t, events.Query{}))))
	}
	if !slices.Equal(got, []string{"1", "1", "2"}) {
		s.Errorf("%v", got)
	}
}
