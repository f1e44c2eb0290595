package api

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/registry"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

// tasked is a world with tasks of two people at acme.
type tasked struct {
	*world
	fred, lena tenants.User
	server     registry.Server
	at         time.Time
}

func newTasked(t *testing.T) *tasked {
	t.Helper()
	d := &tasked{at: time.Now().UTC().Truncate(time.Microsecond).Add(-time.Minute)}
	d.world = newWorld(t, func(w *world, c *Config) { c.Tasks, c.People = Tasks{Store: w.db}, People{Store: w.db} })
	d.server = d.offer("orders", "refunds:write")
	var err error
	d.fred, err = d.db.PutUser(context.Background(), d.acme.ID, "fred@acme.test", "Fred", nil)
	check(t, err)
	d.lena, err = d.db.PutUser(context.Background(), d.acme.ID, "lena@acme.test", "Lena", nil)
	check(t, err)
	return d
}

func (d *tasked) add(u tenants.User, tool string) string {
	d.Helper()
	d.at = d.at.Add(time.Second)
	k := tasks.Task{
		ID: tasks.NewID(), Tenant: d.acme.ID, Server: d.server.ID, User: u.ID, Client: "app", Grant: "gr", Tool: tool, Scope: "refunds:write", Revision: "rv", Risk: registry.Writes,
		CallID: tenants.RandomID("ca"), Timeout: time.Minute, TTL: time.Hour, Input: []byte("sealed secret"), CreatedAt: d.at, UpdatedAt: d.at, Deadline: d.at.Add(time.Hour), ExpiresAt: d.at.Add(2 * time.Hour),
	}
	_, _, err := d.db.CreateTask(context.Background(), k, nil, tasks.Bounds{PerTool: 10})
	check(d.T, err)
	return k.ID
}

func TestTasksAreListedByWhatIsAskedFor(t *testing.T) {
	d := newTasked(t)
	first, second, third := d.add(d.fred, "refund"), d.add(d.lena, "refund"), d.add(d.fred, "export")
	list := func(query string) (ids []string) {
		t.Helper()
		for _, k := range into[TaskPage](t, d.must(200, "admin", "GET", "/tenants/acme/tasks"+query, nil)).Data {
			ids = append(ids, k.Id)
		}
		return ids
	}
	for query, want := range map[string][]string{
		"": {third, second, first}, "?member=fred@acme.test": {third, first}, "?tool=refund&server=orders": {second, first}, "?status=queued": {third, second, first},
		"?status=running": nil, "?member=nobody@acme.test": nil, "?server=nowhere": nil,
	} {
		if got := list(query); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	page := into[TaskPage](t, d.must(200, "admin", "GET", "/tenants/acme/tasks?limit=2", nil))
	if !page.HasMore || !slices.Equal(list("?limit=2&cursor="+deref(page.NextCursor)), []string{first}) {
		t.Errorf("%+v", page)
	}
	raw := d.must(200, "admin", "GET", "/tenants/acme/tasks/"+first, nil)
	if k := into[Task](t, raw); k.Member != "fred@acme.test" || k.Status != "queued" || k.Tool != "refund" || k.Server != "orders" || k.Runs != 0 {
		t.Errorf("%+v", k)
	}
}

func TestAdminCancelsATaskAndIsOnRecord(t *testing.T) {
	d := newTasked(t)
	id := d.add(d.fred, "refund")
	d.as("reader", tenants.ServersRead)
	d.as("outsider")
	path := "/tenants/acme/tasks/" + id
	d.must(200, "reader", "GET", path, nil)
	d.must(403, "reader", "PUT", path+"/cancellation", nil)
	d.must(403, "outsider", "GET", path, nil)
	d.must(404, "stranger", "PUT", "/tenants/globex/tasks/"+id+"/cancellation", nil)
	if k, err := d.db.Task(context.Background(), d.acme.ID, id); err != nil || k.CancelAsked {
		t.Fatalf("%+v %v", k, err)
	}
	got := into[Task](t, d.must(200, "admin", "PUT", path+"/cancellation", nil))
	if !deref(got.CancelAsked) || deref(got.CancelledBy) == "" {
		t.Errorf("%+v", got)
	}
	d.must(200, "admin", "PUT", path+"/cancellation", nil)
	records, err := d.db.RecentAudit(context.Background(), d.acme.ID, time.Now().Add(-time.Minute), nil, 100)
	check(t, err)
	if !slices.ContainsFunc(records, func(e audit.Event) bool {
		return e.Tool == "cancelTask" && e.State == audit.Done && strings.Contains(e.Arguments, id)
	}) {
		t.Errorf("it is not on record: %+v", records)
	}
}
