package postgres_test

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/tenants"
)

func TestAuditGroupOfSeveralTenants(t *testing.T) {
	db := postgrestest.New(t)
	acme, _ := postgrestest.Tenant(t, db, "acme")
	globex, _ := postgrestest.Tenant(t, db, "globex")
	group := make([]audit.Event, 2000)
	for i := range group {
		group[i] = event([]tenants.ID{acme.ID, globex.ID}[i%2], began.Add(time.Duration(i)*time.Millisecond))
	}
	// Whatever a model sends is recorded.
	group[0].Arguments, group[0].Tool, group[0].Client = "a\x00b\xff\xfec", "\xed\xa0\x80", strings.Repeat("é", 4000)
	check(t, db.InsertAudit(t.Context(), group))
	for _, id := range []tenants.ID{acme.ID, globex.ID} {
		es, err := db.AuditEvents(t.Context(), id, began, 5000)
		if err != nil || len(es) != 1000 {
			t.Fatalf("%d records of %s, %v", len(es), id, err)
		}
		for i, e := range es {
			if e.Tenant != id || i > 0 && e.At.Before(es[i-1].At) {
				t.Fatalf("record %d is %+v", i, e)
			}
		}
	}
	es, err := db.AuditEvents(t.Context(), acme.ID, began, 1)
	check(t, err)
	if len(es) != 1 || es[0].Arguments != "a\uFFFDb\uFFFDc" || es[0].Tool != "\uFFFD" || es[0].Client != group[0].Client {
		t.Errorf("stored as %q %q", es[0].Arguments, es[0].Tool)
	}
}

func TestAuditRecordComesBackWhole(t *testing.T) {
	db := postgrestest.New(t)
	acme, user := postgrestest.Tenant(t, db, "acme")
	want := audit.Event{
		Tenant: acme.ID, At: began, ID: "au1", CallID: "call", Phase: audit.Refusal, WriterID: "wr1", WriterSeq: 7, User: user.ID, Client: "client", Grant: "grant",
		Session: "session", ServerID: "sv1", Server: "orders", Revision: "rv1", Method: "tools/call", Tool: "say", DefinitionHash: "hash", Scope: "tool:say",
		Reason: "why", IdempotencyKey: "key", Arguments: "{}", State: audit.Refused, Category: "access", Code: "role_not_allowed",
		Latency: 1234 * time.Microsecond, ResultBytes: 5, Worker: "w1", LeaseID: "lease", TraceID: "trace",
		Notes: audit.Notes{audit.NoteReplayOf: "ca1", audit.NoteMasked: map[string]any{"email": 2.0}},
	}
	check(t, db.InsertAudit(t.Context(), []audit.Event{want}))
	es, err := db.AuditEvents(t.Context(), acme.ID, began, 10)
	check(t, err)
	if es[0].At = es[0].At.UTC(); len(es) != 1 || !reflect.DeepEqual(es[0], want) {
		t.Errorf("got %+v\nwant %+v", es, want)
	}
	// All or nothing: a record that breaks a rule takes its group along.
	bad := event(acme.ID, began)
	bad.State = "odd"
	wantCode(t, "odd state", db.InsertAudit(t.Context(), []audit.Event{event(acme.ID, began), bad}), fault.InvalidRequest)
	if es, _ := db.AuditEvents(t.Context(), acme.ID, began, 10); len(es) != 1 {
		t.Errorf("%d records", len(es))
	}
	check(t, db.InsertAudit(t.Context(), nil))
}

func TestAuditPartitions(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	acme, _ := postgrestest.Tenant(t, db, "acme")
	root := connect(t, urls.Superuser)
	where := func() map[string]int {
		out := map[string]int{}
		for _, s := range column[string](t, root, `SELECT tableoid::regclass || ' ' || count(*) FROM audit_events GROUP BY tableoid`) {
			var name string
			var n int
			fmt.Sscan(s, &name, &n)
			out[name] = n
		}
		return out
	}
	// A month that nobody made a partition for, at its edges in UTC.
	start := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{start.Add(-time.Microsecond), start, start.AddDate(0, 1, 0).Add(-time.Microsecond), start.AddDate(0, 1, 0)} {
		check(t, db.InsertAudit(t.Context(), []audit.Event{event(acme.ID, at)}))
	}
	if got := where(); got["audit_events_default"] != 4 {
		t.Fatalf("records are in %v", got)
	}
	// Made late, by a session in another time zone, several at once, and twice.
	exec(t, root, `ALTER ROLE latchkey_app SET timezone = 'Pacific/Auckland'`)
	t.Cleanup(func() { exec(t, root, `ALTER ROLE latchkey_app RESET timezone`) })
	auckland := time.FixedZone("", 13*3600)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			late := postgrestest.Open(t, urls.App)
			// In UTC, this is still May.
			if err := late.AddAuditPartitions(t.Context(), time.Date(2026, 6, 1, 9, 0, 0, 0, auckland)); err != nil {
				t.Error(err)
			}
			if err := late.InsertAudit(t.Context(), []audit.Event{event(acme.ID, start.AddDate(0, 0, 14))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := map[string]int{"audit_events_202606": 1, "audit_events_202607": 6, "audit_events_default": 1}
	if got := where(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("records are in %v, want %v", got, want)
	}
	if got := column[string](t, root, `SELECT relname::text FROM pg_class WHERE relname ~ '^audit_events_\d+$' ORDER BY 1`); fmt.Sprint(got) != "[audit_events_202605 audit_events_202606 audit_events_202607]" {
		t.Errorf("partitions are %v", got)
	}
	es, err := db.AuditEvents(t.Context(), acme.ID, start.AddDate(0, -1, 0), 100)
	if err != nil || len(es) != 8 {
		t.Errorf("the tenant sees %d, %v", len(es), err)
	}
	// The next months follow without a gap, and move the last one.
	check(t, db.AddAuditPartitions(t.Context(), start.AddDate(0, 1, 0)))
	if got := where(); got["audit_events_202608"] != 1 || got["audit_events_default"] != 0 {
		t.Errorf("records are in %v", got)
	}
	for _, v := range column[string](t, root, `SELECT relname::text FROM pg_class WHERE relname ~ '^audit_events_(\d+|default)$' AND relkind = 'r' AND NOT (relrowsecurity AND relforcerowsecurity AND pg_get_userbyid(relowner) = 'latchkey_owner')`) {
		t.Errorf("%s is not protected", v)
	}
}

// A search whose time is up says how far it came, also when it found nothing.
func TestAuditSearchOutOfTimeSaysHowFarItCame(t *testing.T) {
	db := postgrestest.New(t)
	acme, _ := postgrestest.Tenant(t, db, "acme")
	es := make([]audit.Event, 600)
	for i := range es {
		es[i] = event(acme.ID, began.Add(time.Duration(i)*time.Second))
	}
	es[50].Grant = "rare"
	check(t, db.InsertAudit(t.Context(), es))
	f := audit.Filter{Grant: "rare"}
	page, err := postgres.SearchOutOfTime(t.Context(), db, acme.ID, f, audit.Position{}, 10)
	check(t, err)
	if len(page.Events) != 0 || !page.More || !page.Next.At.Equal(es[100].At) {
		t.Fatalf("%d found, more %v, searched to %s, want %s", len(page.Events), page.More, page.Next.At, es[100].At)
	}
	page, err = postgres.SearchOutOfTime(t.Context(), db, acme.ID, f, page.Next, 10)
	check(t, err)
	if len(page.Events) != 1 || page.More {
		t.Errorf("%d found, more %v", len(page.Events), page.More)
	}
}
