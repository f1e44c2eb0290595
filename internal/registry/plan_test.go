package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/tenants"
)

// dump is every row of every table, as a superuser sees them.
func dump(t *testing.T, superuser string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, superuser)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, _ := conn.Query(ctx, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1`)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, table := range tables {
		rows, _ := conn.Query(ctx, `SELECT x::text FROM `+table+` x ORDER BY 1`)
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n  %s\n", table, strings.Join(all, "\n  "))
	}
	return b.String()
}

// applyWith applies alone in the tenant, as every caller does.
func (a *applying) applyWith(f *registry.File, o registry.ApplyOptions) (r registry.Result, err error) {
	ctx := context.Background()
	t, err := a.db.TenantBySlug(ctx, f.Tenant)
	if fault.HasCode(err, fault.NotFound) {
		return a.applier().Apply(ctx, f, o)
	}
	if err != nil {
		return r, err
	}
	err = a.db.Exclusive(ctx, t.ID, func(ctx context.Context) error {
		r, err = a.applier().Apply(ctx, f, o)
		return err
	})
	return r, err
}

func verbs(done []registry.Applied) string {
	var out []string
	for _, d := range done {
		out = append(out, d.Verb+" "+d.What+" "+d.Name)
	}
	return strings.Join(out, "\n")
}

func TestDryRunChangesNothing(t *testing.T) {
	urls := postgrestest.Database(t)
	a := &applying{t, postgrestest.Open(t, urls.App), &vault{}}
	dry := registry.ApplyOptions{DryRun: true}
	prune := registry.ApplyOptions{DryRun: true, PlanOptions: registry.PlanOptions{Prune: true}}
	run := func(o registry.ApplyOptions, data string) registry.Result {
		t.Helper()
		before := dump(t, urls.Superuser)
		a.vault.fail = errors.New("Vault was asked") // it is not
		r, err := a.applyWith(a.parse(data), o)
		a.vault.fail = nil
		if err != nil {
			t.Fatal(err)
		}
		if after := dump(t, urls.Superuser); after != before {
			t.Fatalf("changed\n%s\nto\n%s", before, after)
		}
		return r
	}
	want := run(dry, acme)
	done, err := a.applyWith(a.parse(acme), registry.ApplyOptions{})
	if err != nil || verbs(done.Done) != verbs(want.Done) {
		t.Fatalf("did\n%s\nsaid\n%s\n%v", verbs(done.Done), verbs(want.Done), err)
	}
	if got := run(dry, acme); strings.Contains(verbs(got.Done), "created") || len(got.Unmentioned) != 0 {
		t.Errorf("%s", verbs(got.Done))
	}
	changed := strings.NewReplacer("host: db\n", "host: db2\n", "tools: [echo, whoami]", "tools: [echo, whoami, wait]", "name: Alex", "name: Alexandra").Replace(acme)
	if got := verbs(run(dry, changed).Done); got != "updated server orders\npublished server check\nunchanged role support\nunchanged role viewer\nunchanged member Dana@example.com\nupdated member alex@example.com" {
		t.Error(got)
	}
	part := head + "members: [{email: dana@example.com, name: Dana}]\n"
	if got := run(dry, part); verbs(got.Done) != "updated member dana@example.com" || len(got.Unmentioned) != 5 {
		t.Errorf("%s\n%+v", verbs(got.Done), got.Unmentioned)
	}
	if got := verbs(run(prune, part).Done); got != "updated member dana@example.com\ndeleted member alex@example.com\ndeleted role support\ndeleted role viewer\ndeleted server check\ndeleted server orders" {
		t.Error(got)
	}
	// What would be refused is refused.
	for _, data := range []string{"roles:\n  other:\n    scopes:\n      orders: [tool:none]\n", "members: [{email: eve@example.com, roles: [root]}]\n", "servers: [{slug: orders, kind: echo}]\n"} {
		if _, err := a.applyWith(a.parse(head+data), dry); err == nil {
			t.Errorf("%s: not refused", data)
		}
	}
}

func TestFieldsSayWhatChanges(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(acme)); err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(
		"tenant: acme\nname: Acme", "tenant: acme\nname: Acme Corp", "host: db\n", "host: db2\n", "risk: read}]", "risk: read, scope: orders:read}]",
		"      orders: [tool:search_orders]\n", "      orders: [orders:read]\n", "description: Answers customers", "description: Answers customers\n    permissions: [members:read]",
		", roles: [viewer, support, support]", ", roles: [support]",
	).Replace(acme)
	r, err := a.applyWith(a.parse(changed), registry.ApplyOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range r.Done {
		for _, f := range d.Fields {
			got = append(got, fmt.Sprintf("%s %s %s: %s → %s", d.What, d.Name, f.Field, f.Before, f.After))
		}
	}
	want := []string{
		"tenant acme name: Acme → Acme Corp", "server orders connection/host: db → db2", "server orders tool search_orders: scope: tool:search_orders → orders:read",
		"role support permissions:  → members:read", "role support scopes: orders: tool:search_orders → ", "role support scopes:  → orders: orders:read",
		"member Dana@example.com roles: viewer → ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPruneDeletesWhatIsNotMentioned(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(acme)); err != nil {
		t.Fatal(err)
	}
	keep := head + "servers: [{slug: check, kind: echo, spec: {tools: [echo]}}]\nroles:\n  support:\n    scopes: {check: [tool:echo]}\nmembers: [{email: dana@example.com, name: Dana, roles: [support]}]\n"
	prune := registry.ApplyOptions{PlanOptions: registry.PlanOptions{Prune: true, AllowBreaking: true}}
	r, err := a.applyWith(a.parse(keep), prune)
	if err != nil || !strings.Contains(verbs(r.Done), "deleted member alex@example.com\ndeleted role viewer\ndeleted server orders") {
		t.Fatalf("%s, %v", verbs(r.Done), err)
	}
	if hs, err := a.db.HostedAll(t.Context(), a.tenant()); err != nil || len(hs) != 1 || hs[0].Server.Slug != "check" {
		t.Errorf("%+v, %v", hs, err)
	}
	s, err := a.db.ServerBySlug(t.Context(), a.tenant(), "orders")
	if err != nil || s.State() != registry.Deleting {
		t.Errorf("%+v, %v", s, err)
	}
	if ops, err := a.db.Operations(t.Context(), a.tenant(), s.UpdatedAt.Add(1e15), "", 10); err != nil || len(ops) != 1 || ops[0].Target != string(s.ID) {
		t.Errorf("%+v, %v", ops, err)
	}
	if r, err = a.applyWith(a.parse(keep), prune); err != nil || strings.Contains(verbs(r.Done), "deleted") {
		t.Errorf("again: %s, %v", verbs(r.Done), err)
	}
	// It comes back when it is gone, not before.
	if _, err := a.applyWith(a.parse(acme), registry.ApplyOptions{}); !fault.HasCode(err, fault.Conflict) || !strings.Contains(err.Error(), "being deleted") {
		t.Errorf("%v", err)
	}
	e := registry.Editor{Registry: a.db, Provisioner: a.vault}
	for range 2 {
		if err := e.Remove(t.Context(), s.Tenant, s.ID); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := a.applyWith(a.parse(acme), registry.ApplyOptions{}); err != nil || !strings.Contains(verbs(r.Done), "created server orders") {
		t.Errorf("%s, %v", verbs(r.Done), err)
	}
}

const admins = head + `
roles:
  admin: {permissions: [admin]}
  support: {permissions: [members:read]}
members:
- {email: dana@example.com, roles: [admin]}
- {email: eve@example.com, roles: [support]}
`

func TestTheLastAdminStays(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(admins)); err != nil {
		t.Fatal(err)
	}
	prune := registry.PlanOptions{Prune: true}
	for name, c := range map[string]struct {
		data string
		o    registry.PlanOptions
	}{
		"pruned":            {head + "members: [{email: eve@example.com}]\n", prune},
		"pruned role":       {head + "members: [{email: dana@example.com}]\n", prune},
		"taken":             {head + "members: [{email: dana@example.com, roles: [support]}]\n", registry.PlanOptions{}},
		"disabled":          {head + "members: [{email: dana@example.com, roles: [admin], disabled: true}]\n", registry.PlanOptions{}},
		"role without it":   {head + "roles: {admin: {permissions: [servers:write]}}\n", registry.PlanOptions{}},
		"given and no more": {head + "roles: {admin: {permissions: []}, boss: {permissions: [admin]}}\n", registry.PlanOptions{}},
	} {
		for _, dry := range []bool{true, false} {
			if _, err := a.applyWith(a.parse(c.data), registry.ApplyOptions{PlanOptions: c.o, DryRun: dry}); !fault.HasCode(err, fault.Conflict) || !strings.Contains(err.Error(), "could administer") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if got := a.access("dana@example.com"); !got.May(tenants.Admin) {
		t.Error("it was changed all the same")
	}
	// Handing over goes, whatever the order in the file, and never without one.
	for _, data := range []string{
		head + "roles: {admin: {permissions: []}, boss: {permissions: [admin]}}\nmembers: [{email: dana@example.com, roles: [support]}, {email: eve@example.com, roles: [boss]}]\n",
		head + "roles: {boss: {permissions: []}, admin: {permissions: [admin]}}\nmembers: [{email: eve@example.com, roles: []}, {email: dana@example.com, roles: [admin]}]\n",
	} {
		if _, err := a.applyWith(a.parse(data), registry.ApplyOptions{}); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
	if _, err := a.applyWith(a.parse(admins), registry.ApplyOptions{PlanOptions: prune}); err != nil {
		t.Error(err)
	}
}

// Somebody who may apply and is no administrator makes themselves one.
func TestApplyGivesNoMoreThanItsCallerHolds(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(admins)); err != nil {
		t.Fatal(err)
	}
	held := []tenants.Permission{tenants.RolesWrite, tenants.MembersWrite, tenants.ServersWrite, tenants.TenantWrite}
	o := registry.PlanOptions{MayGive: func(p []tenants.Permission) error {
		if beyond := tenants.Beyond(held, p); len(beyond) > 0 {
			return fault.New(fault.RoleNotAllowed, "not %s", beyond[0])
		}
		return nil
	}}
	for name, data := range map[string]string{
		"a role of their own":    "roles: {support: {permissions: [members:read, keys:write]}}\n",
		"a new role":             "roles: {boss: {permissions: [admin]}}\n",
		"a role that is there":   "members: [{email: eve@example.com, roles: [support, admin]}]\n",
		"a new person":           "members: [{email: mallory@example.com, roles: [admin]}]\n",
		"a person and a role":    "roles: {boss: {permissions: [admin]}}\nmembers: [{email: eve@example.com, roles: [boss]}]\n",
		"by way of a later role": "members: [{email: eve@example.com, roles: [late]}]\nroles: {late: {permissions: [tools:try]}}\n",
	} {
		for _, dry := range []bool{true, false} {
			if _, err := a.applyWith(a.parse(head+data), registry.ApplyOptions{PlanOptions: o, DryRun: dry}); !fault.HasCode(err, fault.RoleNotAllowed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if _, err := a.applyWith(a.parse(head+"members: [{email: dana@example.com, roles: [admin], disabled: true}, {email: fred@example.com, roles: [admin]}]\n"), registry.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.applyWith(a.parse(head+"members: [{email: dana@example.com, roles: [admin], disabled: false}]\n"), registry.ApplyOptions{PlanOptions: o}); !fault.HasCode(err, fault.RoleNotAllowed) {
		t.Errorf("an account with more is opened again: %v", err)
	}
	// What is there already is no gift, and neither is what they hold.
	if _, err := a.applyWith(a.parse(admins+"- {email: new@example.com, roles: [support]}\n"), registry.ApplyOptions{PlanOptions: o}); err != nil {
		t.Error(err)
	}
}

func TestQuotasHoldForFiles(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(acme)); err != nil {
		t.Fatal(err)
	}
	limit := 2
	if _, err := a.db.UpdateTenant(t.Context(), a.tenant(), tenants.TenantChange{Quotas: tenants.QuotaChange{Servers: &limit, Roles: &limit, Members: &limit}}); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"servers: [{slug: third, kind: echo}]\n", "roles: {third: {description: x}}\n", "members: [{email: c@example.com}]\n"} {
		if _, err := a.applyWith(a.parse(head+data), registry.ApplyOptions{}); !fault.HasCode(err, fault.Conflict) || !strings.Contains(err.Error(), "may have 2") {
			t.Errorf("%s: %v", data, err)
		}
	}
	if _, err := a.applyWith(a.parse(acme), registry.ApplyOptions{}); err != nil {
		t.Error(err)
	}
}

// A file that breaks in the middle is gone on with.
func TestApplyThatBrokeIsResumed(t *testing.T) {
	a := newApplying(t)
	f := a.parse(strings.Replace(acme, "- slug: check", "- slug: second\n  kind: sql\n  connection: &c\n    host: db\n    database: shop\n    admin: {username: vault, password: {env: SHOP_PASSWORD}}\n    groups: {read: [reader]}\n  spec:\n    tools: [{name: t, description: d, statement: SELECT 1, risk: read}]\n- slug: check", 1))
	a.vault.failFor = "second"
	r, err := a.applyWith(f, registry.ApplyOptions{})
	if err == nil || !strings.Contains(err.Error(), "server second") || verbs(r.Done) != "created tenant acme\ncreated server orders" {
		t.Fatalf("%s, %v", verbs(r.Done), err)
	}
	if _, err := a.db.ServerBySlug(t.Context(), a.tenant(), "second"); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("a server whose connection failed is there: %v", err)
	}
	a.vault.failFor = ""
	if r, err = a.applyWith(f, registry.ApplyOptions{}); err != nil || !strings.HasPrefix(verbs(r.Done), "unchanged server orders\ncreated server second\ncreated server check") {
		t.Errorf("%s, %v", verbs(r.Done), err)
	}
	// A served one goes on with what it has.
	before := a.hosted("second")
	a.vault.failFor = "second"
	worse := strings.Replace(acme, "- slug: check", "- slug: second\n  kind: sql\n  connection:\n    host: gone\n    database: shop\n    admin: {username: vault, password: {env: SHOP_PASSWORD}}\n    groups: {read: [reader]}\n  spec:\n    tools: [{name: t, description: other, statement: SELECT 1, risk: read}]\n- slug: check", 1)
	if _, err := a.applyWith(a.parse(worse), registry.ApplyOptions{}); err == nil {
		t.Error("a connection that fails is taken")
	}
	if after := a.hosted("second"); after.Revision.ID != before.Revision.ID || string(after.Server.Connection) != string(before.Server.Connection) {
		t.Errorf("%+v", after.Server)
	}
}

// Two files at once: whoever is first, each is applied whole.
func TestTwoAppliesAtOnceAreOneAfterTheOther(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(acme)); err != nil {
		t.Fatal(err)
	}
	files := []string{acme, strings.NewReplacer("tools: [echo, whoami]", "tools: [echo, whoami, big]", "[tool:whoami, tool:echo, tool:echo]", "[tool:big]").Replace(acme)}
	for range 5 {
		var wg sync.WaitGroup
		for _, data := range files {
			f := a.parse(data)
			wg.Go(func() {
				if _, err := a.applyWith(f, registry.ApplyOptions{PlanOptions: registry.PlanOptions{AllowBreaking: true}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		whole := 0
		for _, data := range files {
			r, err := a.applyWith(a.parse(data), registry.ApplyOptions{DryRun: true})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(verbs(r.Done), "published") && !strings.Contains(verbs(r.Done), "updated") {
				whole++
			}
		}
		if whole != 1 {
			t.Fatalf("%d of two files are in force", whole)
		}
	}
}

func TestDraftsInFiles(t *testing.T) {
	a := newApplying(t)
	draft := head + "servers:\n- {slug: check, kind: echo, publish: false, spec: {tools: [echo]}}\n- {slug: later, kind: sql, publish: false}\n"
	a.want(a.parse(draft), "created tenant acme\ncreated server check\ncreated server later")
	a.want(a.parse(draft), "unchanged server check\nunchanged server later")
	if hs, err := a.db.HostedAll(t.Context(), a.tenant()); err != nil || len(hs) != 0 {
		t.Errorf("a draft is served: %+v, %v", hs, err)
	}
	a.want(a.parse(strings.Replace(draft, "[echo]", "[echo, big]", 1)), "updated server check\nunchanged server later")
	a.want(a.parse(head+"servers: [{slug: check, kind: echo, spec: {tools: [echo, big]}}]\n"), "published server check")
	// A served one that is declared as a draft goes on; the new spec waits.
	a.want(a.parse(strings.Replace(draft, "[echo]", "[whoami]", 1)), "updated server check\nunchanged server later")
	if h := a.hosted("check"); len(h.Revision.Definition.Tools) != 2 {
		t.Errorf("%+v", h.Revision)
	}
}

// A secret that is to be kept is not asked for, and Vault is left alone.
func TestFileKeepsASecret(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(acme)); err != nil {
		t.Fatal(err)
	}
	kept := strings.Replace(acme, "{env: SHOP_PASSWORD}", `{secret: "[set]"}`, 1)
	a.vault.failFor = "orders"
	a.want(a.parse(strings.Replace(kept, "Find orders", "Find all orders", 1)), "published server orders\nunchanged server check\nunchanged role support\nunchanged role viewer\nunchanged member Dana@example.com\nunchanged member alex@example.com")
	var ps *registry.Problems
	if _, err := a.apply(a.parse(strings.Replace(kept, "host: db\n", "host: evil\n", 1))); !errors.As(err, &ps) || ps.List[0].Path != "servers[0].connection" || ps.List[0].Line == 0 {
		t.Errorf("%v", err)
	}
}

func fromEnv(all map[string]string) registry.Resolve {
	return func(_, name string) (string, error) {
		if v, ok := all[name]; ok {
			return v, nil
		}
		return "", fmt.Errorf("the environment has no %s", name)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// roundTrip exports a tenant and applies that: nothing changes. Under another
// slug, it makes the same.
func (a *applying) roundTrip(slug string) string {
	a.Helper()
	ctx := context.Background()
	export := func(slug string) (string, []string) {
		state, err := a.applier().State(ctx, slug)
		if err != nil {
			a.Fatal(err)
		}
		text, env, err := registry.Export(state)
		if err != nil {
			a.Fatal(err)
		}
		return text, env
	}
	text, env := export(slug)
	values := map[string]string{}
	for _, name := range env {
		values[name] = "hunter2"
	}
	f, err := registry.ParseFile("export.yaml", []byte(text), kinds.Checker(), fromEnv(values))
	if err != nil {
		a.Fatalf("%v in\n%s", err, text)
	}
	for _, o := range []registry.PlanOptions{{}, {Prune: true}} {
		r, err := a.applyWith(f, registry.ApplyOptions{PlanOptions: o})
		if err != nil {
			a.Fatal(err)
		}
		for _, d := range r.Done {
			if d.Verb != "unchanged" {
				a.Errorf("%s %s %s: %+v\n%s", d.Verb, d.What, d.Name, d.Fields, text)
			}
		}
	}
	if again, _ := export(slug); again != text {
		a.Errorf("the order is not stable:\n%s\n%s", text, again)
	}
	other := slug + "-copy"
	f, err = registry.ParseFile("copy.yaml", []byte(strings.Replace(text, "\ntenant: "+slug+"\n", "\ntenant: "+other+"\n", 1)), kinds.Checker(), fromEnv(values))
	if err != nil {
		a.Fatal(err)
	}
	if _, err := a.applyWith(f, registry.ApplyOptions{}); err != nil {
		a.Fatal(err)
	}
	copied, _ := export(other)
	if strings.ReplaceAll(copied, other, slug) != text {
		a.Errorf("the copy is\n%s\nof\n%s", copied, text)
	}
	if strings.Contains(text+copied, "hunter2") {
		a.Errorf("a secret is exported:\n%s", text)
	}
	return text
}

func TestExportOfTheDemoAppliesUnchanged(t *testing.T) {
	for _, slug := range []string{"acme", "globex"} {
		data, err := os.ReadFile("../demo/" + slug + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		a := newApplying(t)
		f, err := registry.ParseFile(slug, data, kinds.Checker(), fromEnv(map[string]string{"DEMO_PG_HOST": "127.0.0.1", "DEMO_PG_PORT": "5432", "DEMO_ACME_PASSWORD": "hunter2", "DEMO_GLOBEX_PASSWORD": "hunter2",
			"DEMO_UPSTREAM_URL": "http://127.0.0.1:9", "DEMO_UPSTREAM_KEY": "hunter2", "crm.openapi.yaml": readFile(t, "../demo/crm.openapi.yaml")}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.applyWith(f, registry.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		text := a.roundTrip(slug)
		for _, want := range []string{"ORDERS_ADMIN_PASSWORD", "password: {env: ORDERS_ADMIN_PASSWORD}", "      statement: |"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		}
		// The statement is as it was written.
		if want := "SELECT o.id, c.name AS customer"; !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// Whatever texts and settings a tenant has, its export is the same tenant.
func TestExportOfAnyTenantAppliesUnchanged(t *testing.T) {
	texts := []string{"plain", "yes", "1", "1.50", "null", "~", "- x", "a: b #c", "'quoted' \"twice\"", "éü", "line\nline", " lead", "trail ", "\ttab", "a\n\n  b\n c", "{x}", "*a", "&b", "!c", "%d", "@e", "`f`", "2024-01-01", "0x10", "#", "? x", "long " + strings.Repeat("wörd ", 38), "\u0085x", "a\rb", "😀", "|", ">", "007", "[set]"}
	a := newApplying(t)
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 9))
		pick := func() string { return texts[r.IntN(len(texts))] }
		quote := func(s string) string {
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		slug := fmt.Sprintf("gen%d", seed)
		var b strings.Builder
		fmt.Fprintf(&b, "tenant: %s\nname: %s\nservers:\n", slug, quote(pick()))
		for i := range r.IntN(4) {
			fmt.Fprintf(&b, "- slug: s%d\n  kind: sql\n  title: %s\n  description: %s\n  publish: %v\n", i, quote(pick()), quote(pick()), r.IntN(3) > 0)
			fmt.Fprintf(&b, "  connection: {host: db, port: %d, database: %s, admin: {username: %s, password: {env: SHOP_PASSWORD}}, groups: {read: [reader]}, credentials: {per_user: %v}}\n", 1+r.IntN(9999), quote("d"+pick()), quote("u"+pick()), r.IntN(2) == 0)
			fmt.Fprintf(&b, "  spec:\n    instructions: %s\n    tools:\n    - {name: t, description: %s, scope: shared, statement: %s, risk: read, max_rows: %d}\n    prompts:\n    - {name: p, text: %s}\n", quote(pick()), quote("d "+pick()), quote("SELECT 1 -- "+strings.ReplaceAll(pick(), "{{", "")), 1+r.IntN(10), quote("t "+pick()))
		}
		fmt.Fprintf(&b, "- {slug: check, kind: echo, publish: %v, spec: {}}\n", r.IntN(2) == 0)
		fmt.Fprintf(&b, "roles:\n  admin: {permissions: [admin], description: %s}\n  empty: {scopes: {}}\n  some: {scopes: {check: [tool:echo]}}\n", quote(pick()))
		fmt.Fprintf(&b, "members:\n- {email: a@x.test, name: %s, roles: [admin]}\n- {email: b@x.test, name: %s, disabled: true}\n", quote("n"+pick()), quote(pick()))
		f, err := registry.ParseFile(slug, []byte(b.String()), kinds.Checker(), resolve)
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		if _, err := a.applyWith(f, registry.ApplyOptions{}); err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		a.roundTrip(slug)
	}
}

// A scope that a role opens and no tool has any more is part of the tenant.
func TestExportKeepsScopesThatNoToolHas(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(acme)); err != nil {
		t.Fatal(err)
	}
	h := a.hosted("check")
	fewer := revisionOf(t, "echo", "tools: [echo]")
	fewer.Server = h.Server.ID
	if _, _, err := a.db.Publish(t.Context(), a.tenant(), fewer); err != nil {
		t.Fatal(err)
	}
	state, err := a.applier().State(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := registry.Export(state)
	if err != nil || !strings.Contains(text, "tool:whoami") {
		t.Fatalf("%v\n%s", err, text)
	}
	f, err := registry.ParseFile("x", []byte(text), kinds.Checker(), fromEnv(map[string]string{"ORDERS_ADMIN_PASSWORD": "x"}))
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.applyWith(f, registry.ApplyOptions{PlanOptions: registry.PlanOptions{Prune: true}})
	if err != nil || strings.Contains(verbs(r.Done), "updated") {
		t.Errorf("%s, %v", verbs(r.Done), err)
	}
}
