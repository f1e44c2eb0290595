// Package switchestest is the suite that every store of kill switches passes.
package switchestest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// Fixture is a store with two tenants and no switch.
type Fixture struct {
	Store         switches.Store
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
		"one at a time":        suite.oneAtATime,
		"ends by itself":       suite.endsByItself,
		"pages":                suite.pages,
		"tenants are apart":    suite.tenantsAreApart,
		"the platform's":       suite.platforms,
		"two at the same time": suite.twoAtOnce,
		"every target":         suite.everyTarget,
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

func target(text string) switches.Target {
	t, err := switches.ParseTarget(text)
	if err != nil {
		panic(err)
	}
	return t
}

func (s suite) put(t tenants.ID, text string, at time.Time, change func(*switches.Switch)) switches.Switch {
	s.Helper()
	w := switches.Switch{Target: target(text), Reason: "a loop", By: "dana@acme.test", ByRole: "admin", CreatedAt: at}
	if change != nil {
		change(&w)
	}
	put, err := s.Store.PutSwitch(context.Background(), t, w)
	s.check(err)
	return put
}

func (s suite) on(t tenants.ID, at time.Time) (out []string) {
	s.Helper()
	all, err := s.Store.SwitchesOn(context.Background(), t)
	s.check(err)
	for _, w := range all {
		if w.On(at) {
			out = append(out, w.Target.String())
		}
	}
	slices.Sort(out)
	return out
}

func (s suite) oneAtATime() {
	ctx := s.Context()
	first := s.put(s.Tenant, "tool:orders/refund", began, nil)
	if first.Tenant != s.Tenant || first.ID == "" || first.Reason != "a loop" || first.By != "dana@acme.test" || first.ByRole != "admin" ||
		!first.CreatedAt.Equal(began) || !first.ExpiresAt.IsZero() || !first.LiftedAt.IsZero() || first.CancelRunning || !first.On(began) {
		s.Errorf("%+v", first)
	}
	again := s.put(s.Tenant, "tool:orders/refund", began.Add(time.Minute), func(w *switches.Switch) {
		w.Reason, w.By, w.ByRole, w.CancelRunning, w.ExpiresAt = "worse", "fred@acme.test", "oncall", true, began.Add(time.Hour)
	})
	if again.ID != first.ID || !again.CreatedAt.Equal(began) || again.Reason != "worse" || again.By != "fred@acme.test" || again.ByRole != "oncall" || !again.CancelRunning || !again.ExpiresAt.Equal(began.Add(time.Hour)) {
		s.Errorf("the same switch, changed: %+v", again)
	}
	if got, err := s.Store.Switch(ctx, s.Tenant, first.Target); err != nil || got.ID != first.ID || got.Reason != "worse" {
		s.Errorf("%+v, %v", got, err)
	}
	lifted, err := s.Store.LiftSwitch(ctx, s.Tenant, first.Target, "dana@acme.test", began.Add(2*time.Minute))
	if err != nil || lifted.On(began.Add(2*time.Minute)) || lifted.LiftedBy != "dana@acme.test" || !lifted.LiftedAt.Equal(began.Add(2*time.Minute)) {
		s.Errorf("%+v, %v", lifted, err)
	}
	if on := s.on(s.Tenant, began.Add(2*time.Minute)); on != nil {
		s.Errorf("still off: %v", on)
	}
	for _, name := range []string{"tool:orders/refund", "tool:orders/other"} {
		if _, err := s.Store.LiftSwitch(ctx, s.Tenant, target(name), "x", began.Add(3*time.Minute)); !fault.HasCode(err, fault.NotFound) {
			s.Errorf("lifting what is on: %v", err)
		}
	}
	if _, err := s.Store.Switch(ctx, s.Tenant, target("tool:orders/other")); !fault.HasCode(err, fault.NotFound) {
		s.Errorf("an unknown one: %v", err)
	}
	next := s.put(s.Tenant, "tool:orders/refund", began.Add(time.Hour), nil)
	if next.ID == first.ID || !next.CreatedAt.Equal(began.Add(time.Hour)) {
		s.Errorf("a later one is another: %+v", next)
	}
	if got, err := s.Store.Switch(ctx, s.Tenant, first.Target); err != nil || got.ID != next.ID {
		s.Errorf("%+v, %v", got, err)
	}
}

func (s suite) endsByItself() {
	ctx := s.Context()
	end := began.Add(time.Hour)
	expires := func(w *switches.Switch) { w.ExpiresAt = end }
	first := s.put(s.Tenant, "server:orders", began, expires)
	s.put(s.Tenant, "server:crm", began, nil)
	s.put(s.Other, "tenant", began, expires)
	if early, err := s.Store.EndSwitches(ctx, end.Add(-time.Microsecond)); err != nil || len(early) != 0 {
		s.Errorf("ended early: %+v, %v", early, err)
	}
	if n, err := s.Store.CountSwitches(ctx, end.Add(-time.Microsecond)); err != nil || n[switches.Server] != 2 || n[switches.Tenant] != 1 || n[switches.Tool] != 0 {
		s.Errorf("%v, %v", n, err)
	}
	if n, err := s.Store.CountSwitches(ctx, end); err != nil || n[switches.Server] != 1 || n[switches.Tenant] != 0 {
		s.Errorf("%v, %v", n, err)
	}
	if on := s.on(s.Tenant, end); !slices.Equal(on, []string{"server:crm"}) {
		s.Errorf("on: %v", on)
	}
	if _, err := s.Store.LiftSwitch(ctx, s.Tenant, first.Target, "late", end); !fault.HasCode(err, fault.NotFound) {
		s.Errorf("lifting what has run out: %v", err)
	}
	// What has run out makes room for the next without anybody's looking.
	second := s.put(s.Tenant, "server:orders", end.Add(time.Minute), nil)
	if second.ID == first.ID {
		s.Error("what had run out goes on")
	}
	ended, err := s.Store.EndSwitches(ctx, end.Add(time.Minute))
	if err != nil || len(ended) != 1 || ended[0].Tenant != s.Other || ended[0].LiftedBy != "" || !ended[0].LiftedAt.Equal(end) {
		s.Errorf("%+v, %v", ended, err)
	}
	if ended, err := s.Store.EndSwitches(ctx, end.Add(time.Minute)); err != nil || len(ended) != 0 {
		s.Errorf("told twice: %+v, %v", ended, err)
	}
}

func (s suite) pages() {
	ctx := s.Context()
	at := began.Add(time.Hour)
	var want []string
	for i, name := range []string{"a", "b", "c", "d"} {
		s.put(s.Tenant, "tool:orders/"+name, began.Add(time.Duration(i)*time.Minute), nil)
	}
	s.put(s.Tenant, "client:cl1", began.Add(10*time.Minute), func(w *switches.Switch) { w.ExpiresAt = began.Add(20 * time.Minute) })
	_, err := s.Store.LiftSwitch(ctx, s.Tenant, target("tool:orders/d"), "x", began.Add(30*time.Minute))
	s.check(err)
	want = []string{"tool:orders/c", "tool:orders/b", "tool:orders/a", "client:cl1", "tool:orders/d"}
	yes, no := true, false
	for _, c := range []struct {
		on   *bool
		want []string
	}{{nil, want}, {&yes, want[:3]}, {&no, want[3:]}} {
		var got []string
		var after switches.Position
		for range 10 {
			page, err := s.Store.Switches(ctx, s.Tenant, switches.Query{At: at, On: c.on, After: after, Limit: 2})
			s.check(err)
			for _, w := range page {
				got = append(got, w.Target.String())
				after = switches.Position{On: w.On(at), At: w.CreatedAt, ID: w.ID}
			}
			if len(page) < 2 {
				break
			}
		}
		if !slices.Equal(got, c.want) {
			s.Errorf("%v\nwant %v", got, c.want)
		}
	}
}

func (s suite) tenantsAreApart() {
	ctx := s.Context()
	s.put(s.Tenant, "tool:orders/refund", began, nil)
	if on := s.on(s.Other, began); on != nil {
		s.Errorf("the other tenant has %v", on)
	}
	if _, err := s.Store.LiftSwitch(ctx, s.Other, target("tool:orders/refund"), "x", began); !fault.HasCode(err, fault.NotFound) {
		s.Errorf("lifted from another tenant: %v", err)
	}
	s.put(s.Other, "tool:orders/refund", began, nil)
	_, err := s.Store.LiftSwitch(ctx, s.Other, target("tool:orders/refund"), "x", began)
	s.check(err)
	if on := s.on(s.Tenant, began); len(on) != 1 {
		s.Errorf("the first tenant's: %v", on)
	}
}

func (s suite) platforms() {
	s.put(tenants.Platform, "platform", began, nil)
	if on := s.on(tenants.Platform, began); !slices.Equal(on, []string{"platform"}) {
		s.Errorf("%v", on)
	}
	if on := s.on(s.Tenant, began); on != nil {
		s.Errorf("a tenant has %v", on)
	}
	if n, err := s.Store.CountSwitches(s.Context(), began); err != nil || n[switches.Platform] != 1 {
		s.Errorf("%v, %v", n, err)
	}
}

func (s suite) twoAtOnce() {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			w := switches.Switch{Target: target("tenant"), Reason: "a loop", By: "x", ByRole: "admin", CreatedAt: began}
			if _, err := s.Store.PutSwitch(context.Background(), s.Tenant, w); err != nil {
				s.Error(err)
			}
		})
	}
	all.Wait()
	page, err := s.Store.Switches(s.Context(), s.Tenant, switches.Query{At: began, Limit: 10})
	s.check(err)
	if len(page) != 1 {
		s.Errorf("%d switches", len(page))
	}
}

func (s suite) everyTarget() {
	for _, name := range []string{"tenant", "server:orders", "tool:orders/refund", "tool:orders/a/b c:ü", "member:" + string(tenants.NewUserID()),
		"client:https://app.example/" + strings.Repeat("c", 500)} {
		if w := s.put(s.Tenant, name, began, nil); w.Target.String() != name {
			s.Errorf("%s came back as %s", name, w.Target)
		}
	}
}
