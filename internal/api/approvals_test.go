package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/approvals"
	"latchkey/internal/audit"
	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// deciding is a world in which fred asks and lena holds the role.
type deciding struct {
	*world
	server     registry.Server
	fred, lena tenants.User
	now        time.Time
}

func newDeciding(t *testing.T) *deciding {
	t.Helper()
	d := &deciding{now: time.Now().UTC().Truncate(time.Microsecond)}
	d.world = newWorld(t, func(w *world, c *Config) {
		c.Approvals = Approvals{Store: w.db, Keys: w.db}
		c.Apps = Apps{Keys: w.db}
		c.Now = func() time.Time { return d.now }
	})
	ctx := context.Background()
	d.server = d.offer("orders", "refunds:write")
	check(t, d.db.PutRole(ctx, d.acme.ID, tenants.Role{Name: "finance-lead"}))
	check(t, d.db.PutRole(ctx, d.acme.ID, tenants.Role{Name: "finance"}))
	var err error
	d.fred, err = d.db.PutUser(ctx, d.acme.ID, "fred@acme.test", "Fred", []string{"finance", "finance-lead"})
	check(t, err)
	d.lena, err = d.db.PutUser(ctx, d.acme.ID, "lena@acme.test", "Lena", []string{"finance-lead"})
	check(t, err)
	d.person("fred", d.fred, tenants.Admin)
	d.person("lena", d.lena)
	return d
}

// person lets somebody call with what they hold.
func (d *deciding) person(name string, u tenants.User, held ...tenants.Permission) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.callers[name] = Principal{Kind: MeKindMember, ID: string(u.ID), Name: u.Name, Email: u.Email, Tenant: d.acme, User: u.ID, Roles: u.Roles, Permissions: held, Via: "latchkey-console"}
}

// key makes a key through the API, by somebody, and lets it call by that name.
func (d *deciding) key(name, by string, held ...tenants.Permission) {
	d.Helper()
	made := into[APIKeyCreated](d.T, d.must(201, by, "POST", "/tenants/acme/api-keys", object{"name": name, "permissions": held}))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.callers[name] = Principal{Kind: MeKindApiKey, ID: made.Key.Id, Name: name, Tenant: d.acme, Permissions: held, Via: made.Key.Id}
}

// ask is a call of fred's that waits.
func (d *deciding) ask(amount int) string {
	d.Helper()
	arguments := fmt.Sprintf(`{"amount":%d,"note":"x"}`, amount)
	a, outcome, err := d.db.AskApproval(context.Background(), d.acme.ID, approvals.Approval{
		ID:      tenants.RandomID("ap"),
		Subject: approvals.Subject{User: d.fred.ID, Server: d.server.ID, Tool: "refund", Request: approvals.RequestHash([]byte(arguments))},
		Risk:    registry.Destructive, Arguments: []byte(arguments), Message: "Refund it.", Role: "finance-lead", CallID: "ca1",
		RequestedAt: d.now, ExpiresAt: d.now.Add(time.Hour),
	}, approvals.Use{At: d.now})
	check(d.T, err)
	if outcome != approvals.Asked {
		d.Fatalf("outcome %d", outcome)
	}
	return a.ID
}

func decision(id string) string { return "/tenants/acme/approvals/" + id + "/decision" }

var approve, deny = object{"decision": "approve"}, object{"decision": "deny", "reason": "too much"}

func TestApprovalIsDecidedByARoleHolder(t *testing.T) {
	d := newDeciding(t)
	id := d.ask(600)
	seen := into[Approval](t, d.must(200, "lena", "GET", "/tenants/acme/approvals/"+id, nil))
	if seen.Status != "pending" || !seen.MayDecide || seen.Member != "fred@acme.test" || seen.Server != "orders" || string(seen.Arguments) != `{"amount":600,"note":"x"}` || seen.Role != "finance-lead" {
		t.Errorf("%+v", seen)
	}
	if mine := into[Approval](t, d.must(200, "fred", "GET", "/tenants/acme/approvals/"+id, nil)); mine.MayDecide {
		t.Error("the requester is told that he may decide")
	}
	got := into[Approval](t, d.must(200, "lena", "POST", decision(id), approve))
	if got.Status != "approved" || deref(got.DecidedBy) != "lena@acme.test" || got.MayDecide {
		t.Errorf("%+v", got)
	}
	d.must(200, "lena", "POST", decision(id), approve)
	if p := d.refused(fault.Conflict, "lena", "POST", decision(id), deny); !strings.Contains(p.Detail, "final") {
		t.Error(p.Detail)
	}
	denied := into[Approval](t, d.must(200, "lena", "POST", decision(d.ask(601)), deny))
	if denied.Status != "denied" || deref(denied.Reason) != "too much" {
		t.Errorf("%+v", denied)
	}
}

// Every way to a word of one's own, and each attempt on record.
func TestSelfApprovalRefused(t *testing.T) {
	d := newDeciding(t)
	dana, err := d.db.PutUser(context.Background(), d.acme.ID, "dana@acme.test", "Dana", nil)
	check(t, err)
	d.person("dana", dana, tenants.Admin)
	d.key("freds", "fred", tenants.ApprovalsWrite, tenants.KeysWrite)
	d.key("freds key's", "freds", tenants.ApprovalsWrite)
	d.key("danas", "dana", tenants.ApprovalsWrite)
	d.key("reads only", "dana", tenants.ApprovalsRead)
	id := d.ask(600)
	for _, who := range []string{"fred", "freds", "freds key's", "dana", "reads only", "operator"} {
		d.refused(fault.RoleNotAllowed, who, "POST", decision(id), approve)
		records, err := d.db.RecentAudit(context.Background(), d.acme.ID, time.Now().Add(-time.Minute), nil, 100)
		check(t, err)
		if !slices.ContainsFunc(records, func(e audit.Event) bool {
			return e.Tool == "decideApproval" && e.State == audit.Refused && e.Code == "role_not_allowed" && strings.Contains(e.Arguments, id) && strings.Contains(e.Arguments, "approve")
		}) {
			t.Errorf("the attempt of %s is not on record: %+v", who, records)
		}
	}
	if got := into[Approval](t, d.must(200, "lena", "GET", "/tenants/acme/approvals/"+id, nil)); got.Status != "pending" {
		t.Errorf("%+v", got)
	}
	if got := into[Approval](t, d.must(200, "danas", "POST", decision(id), approve)); deref(got.DecidedBy) != "key danas" {
		t.Errorf("%+v", got)
	}
}

func TestKeyOfRequesterCannotApprove(t *testing.T) {
	d := newDeciding(t)
	id := d.ask(600)
	// Keys of before it was written down whose right they were made with.
	for name, by := range map[string]string{"old": "fred@acme.test", "old key's": "key old"} {
		k, _ := callers.NewKey(callers.Key{Name: name, Permissions: []tenants.Permission{tenants.Admin}, CreatedBy: by, CreatedAt: d.now})
		check(t, d.db.CreateAPIKey(context.Background(), d.acme.ID, k))
		d.callers[name] = Principal{Kind: MeKindApiKey, ID: k.ID, Name: name, Tenant: d.acme, Permissions: k.Permissions, Via: k.ID}
		d.refused(fault.RoleNotAllowed, name, "POST", decision(id), approve)
	}
}

func TestApprovalExpires(t *testing.T) {
	d := newDeciding(t)
	id := d.ask(600)
	d.now = d.now.Add(time.Hour)
	if p := d.refused(fault.Conflict, "lena", "POST", decision(id), approve); !strings.Contains(p.Detail, "expired") {
		t.Error(p.Detail)
	}
	if got := into[Approval](t, d.must(200, "lena", "GET", "/tenants/acme/approvals/"+id, nil)); got.Status != "expired" || got.MayDecide {
		t.Errorf("%+v", got)
	}
}

// A role that was taken, and an account that was closed, decide nothing more,
// also while whoever authenticates them is a moment behind.
func TestFormerHolderCannotApprove(t *testing.T) {
	d := newDeciding(t)
	id := d.ask(600)
	check(t, d.db.SetUserDisabled(context.Background(), d.acme.ID, d.lena.ID, true))
	d.refused(fault.RoleNotAllowed, "lena", "POST", decision(id), approve)
	check(t, d.db.SetUserDisabled(context.Background(), d.acme.ID, d.lena.ID, false))
	_, err := d.db.PutUser(context.Background(), d.acme.ID, d.lena.Email, d.lena.Name, nil)
	check(t, err)
	d.refused(fault.RoleNotAllowed, "lena", "POST", decision(id), approve)
}

func TestApprovalsAreSeenByThoseConcerned(t *testing.T) {
	d := newDeciding(t)
	first := d.ask(600)
	d.now = d.now.Add(time.Second)
	second := d.ask(601)
	d.as("outsider")
	d.as("auditor", tenants.ApprovalsRead)
	d.person("fred", d.fred) // without his permissions, and his role counts for what others ask
	list := func(who, query string) (ids []string) {
		for _, a := range into[ApprovalPage](t, d.must(200, who, "GET", "/tenants/acme/approvals"+query, nil)).Data {
			ids = append(ids, a.Id)
		}
		return ids
	}
	both := []string{second, first}
	for who, want := range map[string][]string{"lena": both, "fred": both, "auditor": both, "outsider": nil, "operator": both} {
		if got := list(who, ""); !slices.Equal(got, want) {
			t.Errorf("%s sees %v, want %v", who, got, want)
		}
	}
	d.must(404, "outsider", "GET", "/tenants/acme/approvals/"+first, nil)
	d.must(404, "outsider", "POST", decision(first), approve)
	d.must(404, "stranger", "GET", "/tenants/globex/approvals/"+first, nil)
	d.must(200, "lena", "POST", decision(first), deny)
	for query, want := range map[string][]string{"?status=pending": {second}, "?status=denied": {first}, "?status=used": nil, "?server=orders&tool=refund": both, "?tool=other": nil} {
		if got := list("lena", query); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	page := into[ApprovalPage](t, d.must(200, "lena", "GET", "/tenants/acme/approvals?limit=1", nil))
	if len(page.Data) != 1 || !page.HasMore || !slices.Equal(list("lena", "?limit=1&cursor="+deref(page.NextCursor)), []string{first}) {
		t.Errorf("%+v", page)
	}
}
