// Package audittest is the suite that every store of audit records passes:
// what is found by which filter, in which order, page after page, by whom.
package audittest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Store is what the suite runs on.
type Store interface {
	audit.Store
	audit.Reader
	audit.UsageReader
	// RollUpUsage may add up what is over, so that Usage is quick.
	RollUpUsage(ctx context.Context, now time.Time) (time.Time, error)
}

// Fixture is a store with two tenants and nothing on record.
type Fixture struct {
	Store         Store
	Tenant, Other tenants.ID
	User          tenants.UserID // of Tenant
	Email         string
}

var began = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Records makes n of them, some at the same time, spread over a span.
func Records(t tenants.ID, n int, from time.Time, span time.Duration) []audit.Event {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	out := make([]audit.Event, n)
	for i := range out {
		at := from.Add(time.Duration(float64(span) * float64(i/3*3) / float64(n))).Truncate(time.Microsecond)
		e := audit.Event{
			Tenant: t, At: at, ID: audit.NewID(at), CallID: tenants.RandomID("ca"), Phase: audit.Outcome, WriterID: "wr" + string(t[2:]), WriterSeq: int64(i + 1),
			User: tenants.UserID(pick("us1", "us1", "us1", "us2", "us3")), Client: pick("https://app.example/client.json", "cl1"), Grant: pick("gr1", "gr2"),
			Server: pick("orders", "orders", "crm"), Tool: pick("search", "search", "refund"), Method: "tools/call", Allowed: true, State: audit.Done,
			Latency: time.Duration(50+r.ExpFloat64()*20_000) * time.Microsecond,
		}
		switch {
		case i%50 == 7:
			e.Phase, e.State, e.Allowed, e.Category, e.Code, e.Latency = audit.Refusal, audit.Refused, false, "access", "role_not_allowed", 0
		case i%50 == 8:
			e.State, e.Category, e.Code = audit.Failed, "downstream", "tool_failed"
		case i%50 == 9:
			e.Phase, e.State = audit.Intent, audit.Pending
		case i%50 == 10:
			e.Method, e.Server, e.Tool = "api", "", "putRole"
		case i%50 == 11:
			e.Method, e.Tool = "resources/read", fmt.Sprintf("orders://order/%d", i)
		case i%500 == 12:
			e.State, e.Category, e.Code = audit.Unknown, "downstream", "worker_lost"
		}
		out[i] = e
	}
	return out
}

func filtersOf(events []audit.Event) map[string]audit.Filter {
	e := events[len(events)/2]
	return map[string]audit.Filter{
		"all": {}, "server": {Server: "crm"}, "tool": {Tool: "refund"}, "server and tool": {Server: "orders", Tool: "search"},
		"long tool": {Tool: strings.Repeat("x", 600)}, "resource": {Tool: "orders://order/11", Method: "resources/read"},
		"member": {User: "us2"}, "client": {Client: "cl1"}, "grant": {Grant: "gr2"}, "member and client": {User: "us3", Client: "https://app.example/client.json"},
		"refused": {State: audit.Refused}, "pending": {State: audit.Pending}, "category": {Category: "downstream"}, "rare code": {Code: "worker_lost"},
		"member's failures": {User: "us1", Category: "downstream"}, "api": {Method: "api"}, "call": {CallID: e.CallID},
		"time":        {Since: events[len(events)/3].At, Until: events[2*len(events)/3].At},
		"everything":  {Since: began, Server: e.Server, Tool: e.Tool, User: e.User, Client: e.Client, Grant: e.Grant, State: e.State, Method: e.Method, CallID: e.CallID},
		"nobody":      {User: "usnobody"},
		"nothing yet": {Since: began.AddDate(1, 0, 0)}, "a contradiction": {Method: "api", Category: "downstream"},
	}
}

// Run runs the suite.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Run("Search", func(t *testing.T) { search(t, open(t)) })
	t.Run("Recent", func(t *testing.T) { recent(t, open(t)) })
	t.Run("OneRecord", func(t *testing.T) { oneRecord(t, open(t)) })
	t.Run("OtherTenant", func(t *testing.T) { otherTenant(t, open(t)) })
	t.Run("Usage", func(t *testing.T) { usage(t, open(t)) })
	t.Run("Names", func(t *testing.T) { names(t, open(t)) })
}

func insert(t testing.TB, s audit.Store, events []audit.Event) {
	t.Helper()
	for part := range slices.Chunk(events, 2000) {
		check(t, s.InsertAudit(t.Context(), part))
	}
}

type listing func(ctx context.Context, t tenants.ID, f audit.Filter, after audit.Position, limit int) (audit.Page, error)

// walk follows a list to its end.
func walk(t testing.TB, list listing, id tenants.ID, f audit.Filter, limit int) (ids []string) {
	t.Helper()
	var at audit.Position
	for range 10_000 {
		p, err := list(t.Context(), id, f, at, limit)
		check(t, err)
		if len(p.Events) > limit {
			t.Fatalf("a page of %d", len(p.Events))
		}
		for _, e := range p.Events {
			ids = append(ids, e.ID)
		}
		if !p.More {
			return ids
		}
		at = p.Next
	}
	t.Fatal("the list does not end")
	return nil
}

func search(t *testing.T, f Fixture) {
	events := Records(f.Tenant, 3000, began, 40*24*time.Hour)
	shuffled := slices.Clone(events)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	insert(t, f.Store, shuffled)
	for name, filter := range filtersOf(events) {
		t.Run(name, func(t *testing.T) {
			var want []string
			for i := range events {
				if filter.Match(&events[i]) {
					want = append(want, events[i].ID)
				}
			}
			for _, limit := range []int{7, 200, 5000} {
				newest, oldest := walk(t, f.Store.SearchAudit, f.Tenant, filter, limit), walk(t, f.Store.ExportAudit, f.Tenant, filter, limit)
				slices.Reverse(newest)
				if !slices.Equal(newest, oldest) {
					t.Fatalf("limit %d: newest first has %d, oldest first %d, or in another order", limit, len(newest), len(oldest))
				}
				if a, b := slices.Sorted(slices.Values(oldest)), slices.Sorted(slices.Values(want)); !slices.Equal(a, b) {
					t.Fatalf("limit %d: %d found, want %d", limit, len(a), len(b))
				}
			}
		})
	}
	p, err := f.Store.SearchAudit(t.Context(), f.Tenant, audit.Filter{}, audit.Position{}, 10)
	check(t, err)
	for i := 1; i < len(p.Events); i++ {
		if p.Events[i].At.After(p.Events[i-1].At) {
			t.Error("not newest first")
		}
	}
}

func recent(t *testing.T, f Fixture) {
	events := Records(f.Tenant, 30, began, 10*time.Second)
	insert(t, f.Store, events[:20])
	got, err := f.Store.RecentAudit(t.Context(), f.Tenant, events[10].At, []string{events[12].ID}, 100)
	check(t, err)
	for _, e := range got {
		if e.At.Before(events[10].At) || e.ID == events[12].ID {
			t.Errorf("%+v", e)
		}
	}
	want := 0
	for _, e := range events[:20] {
		if !e.At.Before(events[10].At) {
			want++
		}
	}
	if len(got) != want-1 {
		t.Errorf("%d, want %d", len(got), want-1)
	}
	// A record that comes late is found although newer ones are known.
	var known []string
	for _, e := range got {
		known = append(known, e.ID)
	}
	late := Records(f.Tenant, 1, events[11].At, 0)
	insert(t, f.Store, late)
	got, err = f.Store.RecentAudit(t.Context(), f.Tenant, events[10].At, append(known, events[12].ID), 100)
	if err != nil || len(got) != 1 || got[0].ID != late[0].ID {
		t.Errorf("%v, %v", got, err)
	}
	if got, err = f.Store.RecentAudit(t.Context(), f.Tenant, began, nil, 3); err != nil || len(got) != 3 {
		t.Errorf("%d, %v", len(got), err)
	}
}

func oneRecord(t *testing.T, f Fixture) {
	events := Records(f.Tenant, 10, began, time.Minute)
	events[4].CallID, events[4].Phase = events[5].CallID, audit.Intent
	events[7].ID = tenants.RandomID("au") // as earlier versions did
	insert(t, f.Store, events)
	e, call, err := f.Store.AuditEvent(t.Context(), f.Tenant, events[5].ID)
	if err != nil || e.ID != events[5].ID || len(call) != 2 {
		t.Errorf("%+v, %d of the call, %v", e, len(call), err)
	}
	if e, _, err := f.Store.AuditEvent(t.Context(), f.Tenant, events[7].ID); err != nil || !reflect.DeepEqual(e, events[7]) {
		t.Errorf("%+v, %v", e, err)
	}
	for _, id := range []string{audit.NewID(began), "au", "nonsense"} {
		if _, _, err := f.Store.AuditEvent(t.Context(), f.Tenant, id); !fault.HasCode(err, fault.NotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// otherTenant has the very same ids on record in two tenants.
func otherTenant(t *testing.T, f Fixture) {
	ours := Records(f.Tenant, 300, began, time.Hour)
	theirs := slices.Clone(ours)
	for i := range theirs {
		theirs[i].Tenant, theirs[i].Reason = f.Other, "theirs"
	}
	insert(t, f.Store, append(slices.Clone(theirs), ours...))
	mine := func(es []audit.Event, err error) {
		t.Helper()
		check(t, err)
		for _, e := range es {
			if e.Tenant != f.Tenant || e.Reason == "theirs" {
				t.Fatalf("saw %+v", e)
			}
		}
	}
	for _, filter := range filtersOf(ours) {
		p, err := f.Store.SearchAudit(t.Context(), f.Tenant, filter, audit.Position{}, 500)
		mine(p.Events, err)
		p, err = f.Store.ExportAudit(t.Context(), f.Tenant, filter, audit.Position{}, 500)
		mine(p.Events, err)
	}
	es, err := f.Store.RecentAudit(t.Context(), f.Tenant, began, nil, 1000)
	mine(es, err)
	e, call, err := f.Store.AuditEvent(t.Context(), f.Tenant, ours[3].ID)
	mine(append(call, e), err)
	q := audit.UsageQuery{Since: began.Truncate(time.Hour), Until: began.Add(2 * time.Hour), Step: time.Hour, By: audit.ByTool}
	for range 2 {
		u, err := f.Store.Usage(t.Context(), f.Tenant, q)
		check(t, err)
		if want := counted(ours, q); u.Totals.Calls() != want.Calls() {
			t.Errorf("%d calls, want %d", u.Totals.Calls(), want.Calls())
		}
		_, err = f.Store.RollUpUsage(t.Context(), began.AddDate(0, 0, 1))
		check(t, err)
	}
}

// counted adds up as the definition says.
func counted(events []audit.Event, q audit.UsageQuery) (n audit.Numbers) {
	for _, e := range events {
		if e.Phase == audit.Intent || e.Method == "api" || e.At.Before(q.Since) || !e.At.Before(q.Until) {
			continue
		}
		tool := e.Tool
		if e.Method == "resources/read" {
			tool = audit.AnyResource
		}
		if q.Server != "" && e.Server != q.Server || q.Tool != "" && tool != q.Tool || q.User != "" && e.User != q.User || q.Client != "" && e.Client != q.Client {
			continue
		}
		one := audit.Numbers{}
		switch e.State {
		case audit.Done:
			one.Done++
		case audit.Failed:
			one.Failed++
		case audit.Refused:
			one.Refused++
		case audit.Unknown:
			one.Unknown++
		}
		switch e.Category {
		case "access":
			one.Access++
		case "downstream":
			one.Downstream++
		}
		if e.Phase == audit.Outcome {
			one.Latency.Count(audit.BucketOf(e.Latency), 1)
		}
		n.Add(&one)
	}
	return n
}

func same(a, b audit.Numbers) bool {
	la, lb := a.Latency, b.Latency
	for len(la) < len(lb) {
		la = append(la, 0)
	}
	for len(lb) < len(la) {
		lb = append(lb, 0)
	}
	a.Latency, b.Latency = nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b) && slices.Equal(la, lb)
}

func usage(t *testing.T, f Fixture) {
	const days = 40
	end := began.AddDate(0, 0, days)
	events := Records(f.Tenant, 6000, began, days*24*time.Hour)
	insert(t, f.Store, events[:5000])
	queries := map[string]audit.UsageQuery{}
	for name, q := range map[string]audit.UsageQuery{
		"": {}, "of a server": {Server: "orders"}, "of a tool": {Server: "orders", Tool: "search"}, "of a member": {User: "us2"}, "of a client": {Client: "cl1"},
		"of resources": {Tool: audit.AnyResource}, "of a member's tool": {User: "us1", Tool: "refund"},
	} {
		for _, by := range []audit.Group{audit.ByServer, audit.ByTool, audit.ByMember, audit.ByClient} {
			for _, r := range []struct {
				step  time.Duration
				steps int
			}{{time.Minute, 60}, {15 * time.Minute, 96}, {time.Hour, 168}, {24 * time.Hour, 30}} {
				q.By, q.Step, q.Until = by, r.step, end.Add(-7*time.Second)
				q.Since = q.Until.Truncate(r.step).Add(-time.Duration(r.steps-1) * r.step)
				queries[fmt.Sprintf("%d × %s by %s %s", r.steps, r.step, by, name)] = q
			}
		}
	}
	compare := func(when string, events []audit.Event) {
		t.Helper()
		for name, q := range queries {
			u, err := f.Store.Usage(t.Context(), f.Tenant, q)
			check(t, err)
			var groups, series audit.Numbers
			for i := range u.Groups {
				groups.Add(&u.Groups[i].Numbers)
			}
			for i := range u.Series {
				series.Add(&u.Series[i].Numbers)
				p := q
				p.Since, p.Until = u.Series[i].At, u.Series[i].At.Add(q.Step)
				if p.Until.After(q.Until) {
					p.Until = q.Until
				}
				if i%7 == 0 && !same(u.Series[i].Numbers, counted(events, p)) {
					t.Errorf("%s: %s: step %d is %+v, want %+v", when, name, i, u.Series[i].Numbers, counted(events, p))
				}
			}
			want := counted(events, q)
			if !same(u.Totals, want) || !same(groups, want) || !same(series, want) {
				t.Errorf("%s: %s:\n totals %+v\n groups %+v\n series %+v\n want   %+v", when, name, u.Totals, groups, series, want)
			}
		}
	}
	compare("not added up", events[:5000])
	_, err := f.Store.RollUpUsage(t.Context(), began.AddDate(0, 0, 33))
	check(t, err)
	compare("partly added up", events[:5000])
	insert(t, f.Store, events[5000:])
	upto, err := f.Store.RollUpUsage(t.Context(), end)
	check(t, err)
	if end.Sub(upto) > time.Hour {
		t.Errorf("added up to %s", upto)
	}
	compare("added up", events)
	// Somebody does it again, with nothing new, and with a record that was late.
	late := Records(f.Tenant, 1, upto.Add(-time.Minute), 0)
	insert(t, f.Store, late)
	for range 2 {
		_, err = f.Store.RollUpUsage(t.Context(), end.Add(time.Hour+16*time.Minute))
		check(t, err)
	}
	for name, q := range queries {
		if q.Step != 15*time.Minute {
			delete(queries, name)
		}
	}
	compare("added up again", append(slices.Clone(events), late...))

	// Sixty calls in one minute stand out.
	end = end.Add(3 * time.Hour)
	burst := Records(f.Tenant, 60, end.Truncate(time.Minute), 50*time.Second)
	for i := range burst {
		burst[i].User, burst[i].Method, burst[i].Phase = "usloop", "tools/call", audit.Outcome
	}
	insert(t, f.Store, burst)
	for _, when := range []time.Time{end.Add(5 * time.Minute), end.AddDate(0, 0, 2)} {
		_, err := f.Store.RollUpUsage(t.Context(), when)
		check(t, err)
		u, err := f.Store.Usage(t.Context(), f.Tenant, audit.UsageQuery{Since: end.Truncate(time.Hour), Until: end.Add(time.Hour), Step: time.Hour, By: audit.ByTool})
		check(t, err)
		if len(u.Busiest) == 0 || u.Busiest[0] != (audit.Busiest{User: "usloop", At: end.Truncate(time.Minute), Calls: 60}) {
			t.Errorf("busiest: %+v", u.Busiest)
		}
	}
}

func names(t *testing.T, f Fixture) {
	n, err := f.Store.AuditNames(t.Context(), f.Tenant, []audit.Event{{User: f.User, Client: "clgone"}, {User: "usgone"}, {}})
	check(t, err)
	if n.User(f.User) != f.Email || n.User("usgone") != "usgone" || n.Clients["clgone"] != "" || len(n.Users) != 1 {
		t.Errorf("%+v", n)
	}
	if n, err = f.Store.AuditNames(t.Context(), f.Other, []audit.Event{{User: f.User}}); err != nil || len(n.Users) != 0 {
		t.Errorf("another tenant's person is named: %+v, %v", n, err)
	}
}
