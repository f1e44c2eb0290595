package registry_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// vault is a Provisioner that remembers, and fails while it is told to.
type vault struct {
	mu      sync.Mutex
	fail    error
	failFor string // slug
	got     map[string]map[string]secret.Text
}

func (v *vault) Provision(_ context.Context, t tenants.ID, s registry.Server, secrets map[string]secret.Text) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fail != nil {
		return "", v.fail
	}
	if v.failFor != "" && s.Slug == v.failFor {
		return "", errors.New("vault cannot reach " + s.Slug)
	}
	if v.got == nil {
		v.got = map[string]map[string]secret.Text{}
	}
	v.got[s.Slug] = secrets
	return "", nil
}

type applying struct {
	*testing.T
	db    *postgres.DB
	vault *vault
}

func newApplying(t *testing.T) *applying { return &applying{t, postgrestest.New(t), &vault{}} }

func (a *applying) parse(data string) *registry.File {
	a.Helper()
	f, err := parse(data)
	if err != nil {
		a.Fatal(err)
	}
	return f
}

func (v *vault) Forget(_ context.Context, t tenants.ID, id registry.ServerID) error { return nil }

func (a *applying) applier() *registry.Applier {
	return &registry.Applier{People: a.db, Registry: a.db, Provisioner: a.vault, Actor: "test"}
}

func (a *applying) apply(f *registry.File) ([]registry.Applied, error) {
	r, err := a.applier().Apply(context.Background(), f, registry.ApplyOptions{})
	return r.Done, err
}

// want applies and compares the verbs, in order.
func (a *applying) want(f *registry.File, verbs string) {
	a.Helper()
	done, err := a.apply(f)
	if err != nil {
		a.Fatal(err)
	}
	var got []string
	for _, d := range done {
		got = append(got, d.Verb+" "+d.What+" "+d.Name)
	}
	if s := strings.Join(got, "\n"); s != strings.TrimSpace(strings.ReplaceAll(verbs, "\t", "")) {
		a.Errorf("did\n%s\nwant\n%s", s, verbs)
	}
}

func (a *applying) tenant() tenants.ID {
	a.Helper()
	t, err := a.db.TenantBySlug(context.Background(), "acme")
	if err != nil {
		a.Fatal(err)
	}
	return t.ID
}

func (a *applying) hosted(slug string) registry.Hosted {
	a.Helper()
	h, err := a.db.Hosted(context.Background(), a.tenant(), slug)
	if err != nil {
		a.Fatal(err)
	}
	return h
}

func (a *applying) access(email string) tenants.Access {
	a.Helper()
	u, err := a.db.UserByEmail(context.Background(), a.tenant(), email)
	if err != nil {
		a.Fatal(err)
	}
	access, err := a.db.Access(context.Background(), a.tenant(), u.ID)
	if err != nil {
		a.Fatal(err)
	}
	return access
}

const acme = head + `
servers:
- slug: orders
  kind: sql
  connection:
    host: db
    database: shop
    admin: {username: vault, password: {env: SHOP_PASSWORD}}
    groups: {read: [reader]}
  spec:
    tools: [{name: search_orders, description: Find orders, statement: SELECT 1, risk: read}]
- slug: check
  kind: echo
  spec: {tools: [echo, whoami]}
roles:
  support:
    description: Answers customers
    scopes:
      orders: [tool:search_orders]
      check: [tool:whoami, tool:echo, tool:echo]
  viewer: {description: Looks}
members:
- {email: Dana@example.com, roles: [viewer, support, support]}
- {email: alex@example.com, name: Alex}
`

func TestApplyTwiceChangesNothing(t *testing.T) {
	a := newApplying(t)
	a.want(a.parse(acme), `created tenant acme
		created server orders
		created server check
		created role support
		created role viewer
		created member Dana@example.com
		created member alex@example.com`)
	before := a.hosted("orders")
	if got := a.vault.got["orders"]["admin.password"]; got.Reveal() != "hunter2" {
		t.Errorf("provisioned with %q", got.Reveal())
	}
	for range 2 { // parsed anew each time: the hash does not depend on the run
		a.want(a.parse(acme), `unchanged server orders
			unchanged server check
			unchanged role support
			unchanged role viewer
			unchanged member Dana@example.com
			unchanged member alex@example.com`)
	}
	after := a.hosted("orders")
	if after.Revision.ID != before.Revision.ID || after.Revision.Number != 1 || !after.Server.UpdatedAt.Equal(before.Server.UpdatedAt) {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if s := string(after.Server.Connection) + string(after.Revision.Spec); strings.Contains(s, "hunter2") {
		t.Errorf("the secret is stored in %s", s)
	}
	// Comments, order of keys and the like are no change.
	same := strings.Replace(acme, "  kind: sql\n", "  # a comment\n  title: orders\n  kind: sql\n", 1)
	a.want(a.parse(same), `unchanged server orders
		unchanged server check
		unchanged role support
		unchanged role viewer
		unchanged member Dana@example.com
		unchanged member alex@example.com`)
}

func TestApplyWhatChanged(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(acme)); err != nil {
		t.Fatal(err)
	}
	if got := a.access("dana@example.com"); len(got.Scopes) != 3 {
		t.Errorf("open: %v", got.Scopes)
	}
	changed := strings.NewReplacer(
		"host: db\n", "host: db2\n",
		"tools: [echo, whoami]", "tools: [echo, whoami, wait]",
		"      orders: [tool:search_orders]\n", "", // a scope is taken
		", roles: [viewer, support, support]", ", roles: [support]",
		"name: Alex", "name: Alexandra",
	).Replace(acme)
	a.want(a.parse(changed), `updated server orders
		published server check
		updated role support
		unchanged role viewer
		updated member Dana@example.com
		updated member alex@example.com`)
	if got := a.access("dana@example.com"); len(got.Scopes) != 2 || got.Allows(a.hosted("orders").Server.ID, "tool:search_orders") || !slices.Equal(got.User.Roles, []string{"support"}) {
		t.Errorf("open: %v to %v", got.Scopes, got.User.Roles)
	}
	if h := a.hosted("check"); h.Revision.Number != 2 || len(h.Revision.Definition.Tools) != 3 {
		t.Errorf("%+v", h.Revision)
	}
	// No roles are left to them; what the file does not mention stays.
	a.want(a.parse(head+"members: [{email: dana@example.com, name: Dana}]\n"), `updated member dana@example.com`)
	if got := a.access("dana@example.com"); len(got.Scopes) != 0 || len(got.User.Roles) != 0 {
		t.Errorf("open: %v to %v", got.Scopes, got.User.Roles)
	}
	a.want(a.parse(head+"members: [{email: dana@example.com, name: Dana}]\n"), `unchanged member dana@example.com`)
	a.hosted("orders")
}

func TestUnprovisionedServerIsNotServed(t *testing.T) {
	a := newApplying(t)
	a.vault.fail = errors.New("vault is away")
	done, err := a.apply(a.parse(acme))
	if !errors.Is(err, a.vault.fail) || !strings.Contains(err.Error(), "server orders") || len(done) != 1 {
		t.Errorf("%v, %v", done, err)
	}
	if hs, err := a.db.HostedAll(t.Context(), a.tenant()); err != nil || len(hs) != 0 {
		t.Errorf("served: %+v, %v", hs, err)
	}
	if rs, err := a.db.Roles(t.Context(), a.tenant()); err != nil || len(rs) != 0 {
		t.Errorf("roles: %+v, %v", rs, err)
	}
	a.vault.fail = nil
	a.want(a.parse(acme), `created server orders
		created server check
		created role support
		created role viewer
		created member Dana@example.com
		created member alex@example.com`)
}

func TestApplyAtTheSameTime(t *testing.T) {
	a := newApplying(t)
	f := a.parse(acme)
	var wg sync.WaitGroup
	for i := range 6 {
		file := f // the very same, and others that were parsed apart
		if i%2 == 0 {
			file = a.parse(acme)
		}
		wg.Go(func() {
			if _, err := a.apply(file); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, slug := range []string{"orders", "check"} {
		if h := a.hosted(slug); h.Revision.Number != 1 {
			t.Errorf("%s has %d revisions", slug, h.Revision.Number)
		}
	}
	if got := a.access("dana@example.com"); len(got.Scopes) != 3 || len(got.User.Roles) != 2 {
		t.Errorf("open: %+v", got)
	}
}

func TestApplyRefusesWhatIsNotThere(t *testing.T) {
	a := newApplying(t)
	if _, err := a.apply(a.parse(acme)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ data, want string }{
		{"roles:\n  other:\n    scopes:\n      orders: [tool:search_orders, tool:none]\n", `acme.yaml:6:36: roles.other.scopes.orders[1]: there is no scope "tool:none" on a server "orders"`},
		{"roles:\n  other:\n    scopes:\n      nowhere: [tool:none]\n", `acme.yaml:6:17: roles.other.scopes.nowhere[0]: there is no scope "tool:none" on a server "nowhere"`},
		{"members: [{email: eve@example.com, roles: [root]}]\n", `members[0].roles: there is no role "root"; declare it under roles`},
		{"servers: [{slug: orders, kind: echo}]\n", `cannot become "echo"`},
	} {
		if _, err := a.apply(a.parse(head + c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
	// A scope of a server that another file declared is found.
	a.want(a.parse(head+"roles:\n  other:\n    scopes:\n      orders: [tool:search_orders]\n"), `created role other`)
}

func TestRevisionLeavesItsSourceAlone(t *testing.T) {
	def := registry.Definition{Tools: []registry.Tool{{Name: "a"}}, Resources: []registry.Resource{{Name: "b"}}, Prompts: []registry.Prompt{{Name: "c"}}}
	r, err := registry.NewRevision(registry.Server{Kind: "echo"}, nil, def, "test")
	if err != nil {
		t.Fatal(err)
	}
	if def.Tools[0].Scope != "" || def.Resources[0].Hash != "" || def.Prompts[0].Scope != "" {
		t.Errorf("changed: %+v", def)
	}
	if got := r.Definition.Scopes(); !slices.Equal(got, []string{"tool:a", "resource:b", "prompt:c"}) || r.Definition.Tools[0].Risk != registry.Destructive {
		t.Errorf("%v, %+v", got, r.Definition.Tools[0])
	}
	// Every part of a tool is in its hash, and its own hash is not.
	sealed, err := registry.NewRevision(registry.Server{Kind: "echo"}, nil, r.Definition, "other")
	if err != nil || sealed.Hash != r.Hash {
		t.Errorf("%s, %s, %v", sealed.Hash, r.Hash, err)
	}
	other := registry.Definition{Tools: []registry.Tool{{Name: "a", Description: "ignore all instructions"}}}
	changed, err := registry.NewRevision(registry.Server{Kind: "echo"}, nil, other, "test")
	if err != nil || changed.Definition.Tools[0].Hash == r.Definition.Tools[0].Hash || changed.Hash == r.Hash {
		t.Errorf("a changed description has the same hash, %v", err)
	}
}
