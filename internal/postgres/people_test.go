package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// invited is what settle adds of people who are not there yet.
type invited struct {
	id, operation string
	token         tenants.TokenHash
}

func invite(t testing.TB, db *postgres.DB, p *place) invited {
	t.Helper()
	i := invited{id: tenants.RandomID("iv"), operation: tenants.RandomID("op"), token: randomHash()}
	check(t, db.CreateInvitation(context.Background(), p.id, invitationTo("new@"+p.slug+".test", i.id, i.token)))
	check(t, db.InTenant(context.Background(), p.id, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO operations (tenant_id, id, tenant, kind, target, name, created_by) VALUES ($1, $2, $3, 'settled', $3, $3, 'test')`, p.id, i.operation, p.slug)
		return err
	}))
	return i
}

func invitationTo(email, id string, token tenants.TokenHash) tenants.Invitation {
	return tenants.Invitation{ID: id, Email: email, Roles: []string{"member"}, CreatedBy: "test", CreatedAt: began, ExpiresAt: began.Add(time.Hour), Token: token}
}

func init() {
	notOneTenants = append(notOneTenants,
		"TenantsPage", "CreateTenant", // an operator's
		"PlatformOperation", "ClaimOperation", "KeepOperation", "RetryOperation", "FinishOperation", // of whichever tenant
	)
	maps.Copy(accesses, map[string]access{
		"UpdateTenant": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			name := "Renamed"
			made, err := db.UpdateTenant(ctx, t, tenants.TenantChange{Name: &name})
			return sees(errors.Join(err, of(t, made.ID)))
		}},
		"Catalog": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			c, err := db.Catalog(ctx, t)
			return len(c), err
		}},
		"ServerSlugs": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			slugs, err := db.ServerSlugs(ctx, t)
			return len(slugs), err
		}},
		"QuotasUsed": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			u, err := db.QuotasUsed(ctx, t)
			return u.Servers + u.Members + u.Roles + u.APIKeys, err
		}},
		"TenantEffects": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			e, err := db.TenantEffects(ctx, t)
			return len(e), err
		}},
		"BeginDeleteTenant": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			op, err := db.BeginDeleteTenant(ctx, t, "test", began)
			return sees(errors.Join(err, of(t, op.Tenant)))
		}},
		"DeleteTenant": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			if err := db.DeleteTenant(ctx, t); err != nil {
				return 0, err
			}
			// The other methods want it back.
			return 0, db.AcrossTenants(ctx, "test", func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO tenants (id, slug, name) VALUES ($1, 'globex', 'Globex')`, t)
				return err
			})
		}},
		"Members": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			ms, err := db.Members(ctx, t, tenants.MemberQuery{Limit: 10})
			return len(ms), err
		}},
		"Member": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			m, err := db.Member(ctx, t, string(p.user.ID))
			return sees(errors.Join(err, of(t, m.Tenant)))
		}},
		"UsersAmong": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			known, err := db.UsersAmong(ctx, t, []tenants.UserID{tenants.NewUserID(), p.user.ID})
			return len(known), err
		}},
		"SaveMember": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			_, err := db.SaveMember(ctx, t, p.user.Email, "Somebody else", []string{"member"}, true)
			return sees(err)
		}},
		"DeleteUser": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			return sees(db.DeleteUser(ctx, t, p.user.ID))
		}},
		"MemberEffects": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			e, err := db.MemberEffects(ctx, t, p.user.ID)
			return len(e), err
		}},
		"RoleUses": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			rs, err := db.RoleUses(ctx, t)
			return len(rs), err
		}},
		"RoleUse": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			_, err := db.RoleUse(ctx, t, "member")
			return sees(err)
		}},
		"RoleEffects": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			e, err := db.RoleEffects(ctx, t, "member")
			return len(e), err
		}},
		"ChangeAccess": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			cell := func(scope string) []tenants.RoleScope {
				return []tenants.RoleScope{{Role: "member", Scope: tenants.Scope{Server: p.server.ID, Name: scope}}}
			}
			return sees(db.ChangeAccess(ctx, t, cell("tool:other"), cell("tool:say")))
		}},
		"CreateInvitation": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			return sees(db.CreateInvitation(ctx, t, invitationTo("new@"+p.slug+".test", tenants.RandomID("iv"), randomHash())))
		}},
		"Invitations": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			is, err := db.Invitations(ctx, t, tenants.InvitationQuery{At: began, Limit: 10})
			return len(is), err
		}},
		"Invitation": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			_, err := db.Invitation(ctx, t, p.invited.id)
			return sees(err)
		}},
		"InvitationByToken": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			_, err := db.InvitationByToken(ctx, t, p.invited.token)
			return sees(err)
		}},
		"RenewInvitation": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			_, err := db.RenewInvitation(ctx, t, p.invited.id, randomHash(), nil, began)
			return sees(err)
		}},
		"RevokeInvitation": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			return sees(db.RevokeInvitation(ctx, t, p.invited.id, began))
		}},
		"NoteInvitationMailed": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			return sees(db.NoteInvitationMailed(ctx, t, p.invited.id))
		}},
		"AcceptInvitation": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			u, err := db.AcceptInvitation(ctx, t, p.invited.token, "New", "hash", began)
			return sees(errors.Join(err, of(t, u.Tenant)))
		}},
		"Operations": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			os, err := db.Operations(ctx, t, time.Time{}, "", 10)
			return len(os), err
		}},
		"Operation": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
			o, err := db.Operation(ctx, t, p.invited.operation)
			return sees(errors.Join(err, of(t, o.Tenant)))
		}},
	})
}

func TestCatalogOfScopes(t *testing.T) {
	db := postgrestest.New(t)
	p := settle(t, db, "acme")
	ctx := t.Context()
	tool := func(name, scope string, risk registry.Risk) registry.Tool {
		return registry.Tool{Name: name, Scope: scope, Risk: risk, Description: "What, \"it\" {does}", InputSchema: json.RawMessage(`{}`)}
	}
	staged := revisionOf(p.server.ID, "two")
	staged.Definition = registry.Definition{
		Tools:     []registry.Tool{tool("write", "both", registry.Writes), tool("read", "both", registry.Reads), tool("drop", "a", "")},
		Resources: []registry.Resource{{Name: "r", Scope: "both"}, {Name: "s", Scope: "c"}}, Prompts: []registry.Prompt{{Name: "p", Scope: "both"}},
	}
	_, _, err := db.Publish(ctx, p.id, staged)
	check(t, err)
	_, err = db.PutServer(ctx, p.id, registry.Server{Slug: "bare", Kind: "echo", Title: "Bare"})
	check(t, err)
	got, err := db.Catalog(ctx, p.id)
	check(t, err)
	want := registry.Catalog{
		{ID: got[0].ID, Slug: "bare", Title: "Bare"},
		{ID: p.server.ID, Slug: "orders", Title: "Orders", Published: true, Scopes: []registry.CatalogScope{
			{Name: "a", Risk: "", Tools: []registry.CatalogTool{{Name: "drop", Description: "What, \"it\" {does}"}}},
			{Name: "both", Risk: registry.Writes, Resources: 1, Prompts: 1, Tools: []registry.CatalogTool{
				{Name: "write", Description: "What, \"it\" {does}", Risk: registry.Writes}, {Name: "read", Description: "What, \"it\" {does}", Risk: registry.Reads}}},
			{Name: "c", Risk: registry.Reads, Resources: 1},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestTwoWhoRemoveEachOther is the race that a look before the change alone
// does not see.
func TestTwoWhoRemoveEachOther(t *testing.T) {
	db := postgrestest.New(t)
	ten, pat := postgrestest.Tenant(t, db, "acme")
	ctx := t.Context()
	check(t, db.PutRole(ctx, ten.ID, tenants.Role{Name: "admin", Permissions: []tenants.Permission{tenants.Admin}}))
	for range 10 {
		a, err := db.SaveMember(ctx, ten.ID, pat.Email, "Pat", []string{"admin"}, false)
		check(t, err)
		b, err := db.SaveMember(ctx, ten.ID, "ann@acme.test", "Ann", []string{"admin"}, false)
		check(t, err)
		errs := make([]error, 2)
		var wg sync.WaitGroup
		wg.Go(func() { errs[0] = db.SetUserDisabled(ctx, ten.ID, a.ID, true) })
		wg.Go(func() { _, errs[1] = db.PutUser(ctx, ten.ID, b.Email, "Ann", nil) })
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !fault.HasCode(errors.Join(errs...), fault.Conflict) {
			t.Fatalf("%v and %v", errs[0], errs[1])
		}
	}
}

// TestManyChangesAreOneNotification holds what keeps a matrix of 25,000 cells
// from being as many messages to every edge.
func TestManyChangesAreOneNotification(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	p := settle(t, db, "acme")
	ctx := t.Context()
	var cells []tenants.RoleScope
	for i := range 50 {
		role := fmt.Sprintf("role-%d", i)
		check(t, db.PutRole(ctx, p.id, tenants.Role{Name: role}))
		for j := range 500 {
			cells = append(cells, tenants.RoleScope{Role: role, Scope: tenants.Scope{Server: p.server.ID, Name: fmt.Sprintf("tool:%d", j)}})
		}
	}
	e := newEdge(t, urls.App)
	heard := func() (n int) {
		t.Helper()
		// Notifications keep their order: what comes after tells the end.
		_, err := db.PutTenant(ctx, "acme", "ACME")
		check(t, err)
		for c := range e.heard {
			switch c.Topic {
			case "access":
				n++
			case "tenant":
				return n
			}
		}
		return n
	}
	began := time.Now()
	check(t, db.ChangeAccess(ctx, p.id, cells, nil))
	opened := time.Since(began)
	if n := heard(); n != 1 {
		t.Errorf("opening %d cells sent %d notifications", len(cells), n)
	}
	check(t, db.ChangeAccess(ctx, p.id, cells[:100], cells[100:]))
	if n := heard(); n < 1 || n > 2 {
		t.Errorf("closing sent %d notifications", n)
	}
	check(t, db.ChangeAccess(ctx, p.id, cells[:100], cells[100:]))
	if n := heard(); n != 0 {
		t.Errorf("changing nothing sent %d notifications", n)
	}
	rs, err := db.RoleUses(ctx, p.id)
	check(t, err)
	open := 0
	for _, r := range rs {
		open += len(r.Scopes)
	}
	if open != 101 { // and settle's
		t.Errorf("%d scopes are open", open)
	}
	t.Logf("%d cells opened in %s", len(cells), opened)
}

func TestDeletedTenantLeavesItsRecords(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	root := connect(t, urls.Superuser)
	acme, globex := settle(t, db, "acme"), settle(t, db, "globex")
	twins := newTwins(t, connect(t, urls.Superuser))
	before := twins.snapshot(globex.id)
	for i := range 3 {
		exec(t, root, `INSERT INTO users (tenant_id, id, email, name) SELECT $1, 'us' || lpad(n::text, 18, 'x'), n || '@acme.test', 'x' FROM generate_series($2::int, $3) n`, acme.id, 400*i, 400*i+399)
	}
	op, err := db.BeginDeleteTenant(t.Context(), acme.id, "operator@example.com", began)
	check(t, err)
	again, err := db.BeginDeleteTenant(t.Context(), acme.id, "another", began.Add(time.Hour))
	check(t, err)
	ten, err := db.TenantBySlug(t.Context(), "acme")
	check(t, err)
	if again.ID != op.ID || op.Name != "acme" || op.State != tenants.OperationQueued || !ten.Suspended || !ten.Deleting {
		t.Errorf("%+v, %+v, %+v", op, again, ten)
	}
	no := false
	if ten, err = db.UpdateTenant(t.Context(), acme.id, tenants.TenantChange{Suspended: &no}); err != nil || !ten.Suspended {
		t.Errorf("let in again: %+v, %v", ten, err)
	}
	for range 2 {
		check(t, db.DeleteTenant(t.Context(), acme.id))
	}
	for _, table := range twins.tables {
		n := column[int](t, root, `SELECT count(*) FROM `+table+` WHERE tenant_id = $1`, acme.id)[0]
		// Sums of records stay as long as the records do.
		if kept := table == "audit_events" || table == "operations" || table == "usage"; kept != (n > 0) {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
	if found, err := db.PlatformOperation(t.Context(), op.ID); err != nil || found.ID != op.ID || found.CreatedBy != "operator@example.com" {
		t.Errorf("%+v, %v", found, err)
	}
	if after := twins.snapshot(globex.id); after != before {
		t.Errorf("the other tenant changed")
	}
	if next, err := db.CreateTenant(t.Context(), tenants.NewTenant{Slug: "acme", Name: "Another"}); err != nil || next.ID == acme.id {
		t.Errorf("the slug is not free again: %+v, %v", next, err)
	}
}

// TestPersonIsSignedOutEverywhere covers the console, whose sessions are apart.
func TestPersonIsSignedOutEverywhere(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	root := connect(t, urls.Superuser)
	sessions := func(p *place) int {
		return column[int](t, root, `SELECT ((SELECT count(*) FROM browser_sessions WHERE tenant_id = $1) + (SELECT count(*) FROM console_sessions WHERE tenant_id = $1))::int`, p.id)[0]
	}
	for slug, end := range map[string]func(*place) error{
		"acme": func(p *place) error { return db.DeleteSessionsOf(t.Context(), p.id, p.user.ID) },
		"globex": func(p *place) error {
			i := invitationTo(p.user.Email, tenants.RandomID("iv"), randomHash())
			check(t, db.CreateInvitation(t.Context(), p.id, i))
			_, err := db.AcceptInvitation(t.Context(), p.id, i.Token, "Pat", "hash", began)
			return err
		},
		"initech":  func(p *place) error { return db.SetUserDisabled(t.Context(), p.id, p.user.ID, true) },
		"umbrella": func(p *place) error { return db.DeleteUser(t.Context(), p.id, p.user.ID) },
	} {
		p := settle(t, db, slug)
		if n := sessions(p); n < 2 {
			t.Fatalf("settle makes %d sessions", n)
		}
		check(t, end(p))
		if n := sessions(p); n != 0 {
			t.Errorf("%s: %d sessions are left", slug, n)
		}
	}
}
