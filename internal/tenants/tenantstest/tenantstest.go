// Package tenantstest is the contract of tenants.Store as a test: each
// implementation runs it.
package tenantstest

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Fixture is a store, and what its contract needs of others.
type Fixture struct {
	Store Store
	// AddServer makes a server that scopes can be of.
	AddServer func(t *testing.T, tenant tenants.ID) tenants.ServerID
}

// Store is all that a store of tenants does.
type Store interface {
	tenants.Store
	tenants.Hosting
	tenants.Members
	tenants.RoleAdmin
	tenants.Invitations
	tenants.Operations
}

// Run runs the suite on one store; each part has tenants of its own.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	f := open(t)
	for name, test := range map[string]func(*suite){
		"Tenants":              (*suite).tenants,
		"People":               (*suite).people,
		"SamePersonTwoTenants": (*suite).same,
		"RolesOfAPerson":       (*suite).rolesOfAPerson,
		"Roles":                (*suite).roles,
		"AccessFollowsRoles":   (*suite).access,
		"UnknownIsNotFound":    (*suite).unknown,
		"PutAtTheSameTime":     (*suite).concurrent,
		"Permissions":          (*suite).permissions,
		"LastAdminStays":       (*suite).lastAdmin,
		"ListOfMembers":        (*suite).members,
		"MemberLeaves":         (*suite).leaves,
		"AccessIsChanged":      (*suite).changeAccess,
		"RoleLeaves":           (*suite).roleLeaves,
		"Invitations":          (*suite).invitations,
		"Acceptance":           (*suite).acceptance,
		"AcceptedOnce":         (*suite).acceptedOnce,
		"SameTokenTwoTenants":  (*suite).sameToken,
		"Provisioning":         (*suite).provisioning,
		"Quotas":               (*suite).quotas,
		"Operations":           (*suite).operations,
	} {
		t.Run(name, func(t *testing.T) {
			s := &suite{T: t, Fixture: f}
			s.a, s.b = s.tenant(), s.tenant()
			test(s)
		})
	}
}

type suite struct {
	*testing.T
	Fixture
	a, b tenants.ID
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) code(what string, err error, c fault.Code) {
	s.Helper()
	if !fault.HasCode(err, c) {
		s.Errorf("%s: got %v, want %s", what, err, c)
	}
}

func (s *suite) tenant() tenants.ID {
	s.Helper()
	t, err := s.Store.PutTenant(s.Context(), tenants.RandomID("tt"), "Some company")
	s.must(err)
	return t.ID
}

func (s *suite) role(name string, scopes ...tenants.Scope) {
	s.Helper()
	s.must(s.Store.PutRole(s.Context(), s.a, tenants.Role{Name: name, Scopes: scopes}))
}

func (s *suite) person(email string, roles ...string) tenants.User {
	s.Helper()
	u, err := s.Store.PutUser(s.Context(), s.a, email, "Pat", roles)
	s.must(err)
	return u
}

func (s *suite) tenants() {
	slug := tenants.RandomID("tt")
	made, err := s.Store.PutTenant(s.Context(), slug, "One")
	s.must(err)
	if _, err := tenants.ParseID(string(made.ID)); err != nil || made.Slug != slug || made.Name != "One" || made.CreatedAt.IsZero() || made.Suspended {
		s.Errorf("made %+v, %v", made, err)
	}
	renamed, err := s.Store.PutTenant(s.Context(), slug, "Two")
	s.must(err)
	if renamed.ID != made.ID || renamed.Name != "Two" || !renamed.CreatedAt.Equal(made.CreatedAt) {
		s.Errorf("renamed to %+v", renamed)
	}
	found, err := s.Store.TenantBySlug(s.Context(), slug)
	s.must(err)
	if found != renamed {
		s.Errorf("found %+v, want %+v", found, renamed)
	}
	all, err := s.Store.Tenants(s.Context())
	s.must(err)
	if !slices.Contains(all, renamed) || !slices.IsSortedFunc(all, func(a, b tenants.Tenant) int { return strings.Compare(a.Slug, b.Slug) }) {
		s.Errorf("listed %+v", all)
	}
	for _, bad := range []string{"", "a", "A-b", "-ab", "ab-", "a_b", strings.Repeat("a", 41), "a b", "ab\n", "é1"} {
		_, err := s.Store.PutTenant(s.Context(), bad, "x")
		s.code("slug "+bad, err, fault.InvalidRequest)
	}
	for _, own := range []string{"platform", "ops", "api"} {
		_, err := s.Store.PutTenant(s.Context(), own, "x")
		s.code("the platform's own slug "+own, err, fault.InvalidRequest)
	}
	for _, bad := range []string{"", strings.Repeat("x", 201), "a\x00b"} {
		_, err := s.Store.PutTenant(s.Context(), slug, bad)
		s.code("name", err, fault.InvalidRequest)
	}
}

func (s *suite) people() {
	ctx := s.Context()
	s.role("support")
	u := s.person(" Dana@Example.COM ", "support")
	if _, err := tenants.ParseUserID(string(u.ID)); err != nil || u.Email != "dana@example.com" || u.Tenant != s.a || u.Disabled || !slices.Equal(u.Roles, []string{"support"}) {
		s.Errorf("made %+v, %v", u, err)
	}
	byID, err := s.Store.UserByID(ctx, s.a, u.ID)
	s.must(err)
	byEmail, err := s.Store.UserByEmail(ctx, s.a, "DANA@example.com")
	s.must(err)
	if byID.ID != u.ID || byEmail.ID != u.ID || byEmail.Name != "Pat" {
		s.Errorf("found %+v and %+v", byID, byEmail)
	}
	renamed, err := s.Store.PutUser(ctx, s.a, "dana@example.com", "Dana", []string{"support"})
	s.must(err)
	if renamed.ID != u.ID || renamed.Name != "Dana" {
		s.Errorf("renamed to %+v", renamed)
	}
	s.person("alex@example.com")
	all, err := s.Store.Users(ctx, s.a)
	s.must(err)
	if len(all) != 2 || all[0].Email != "alex@example.com" || all[1].Email != "dana@example.com" {
		s.Errorf("listed %+v", all)
	}
	for range 2 {
		s.must(s.Store.SetUserDisabled(ctx, s.a, u.ID, true))
	}
	if u, err = s.Store.UserByID(ctx, s.a, u.ID); err != nil || !u.Disabled {
		s.Errorf("%+v, %v", u, err)
	}
	// Being put again does not let a disabled person in.
	if u = s.person("dana@example.com"); !u.Disabled {
		s.Error("enabled by PutUser")
	}
	s.must(s.Store.SetUserDisabled(ctx, s.a, u.ID, false))
	if u, err = s.Store.UserByID(ctx, s.a, u.ID); err != nil || u.Disabled {
		s.Errorf("%+v, %v", u, err)
	}
	if hash, err := s.Store.PasswordHash(ctx, s.a, u.ID); err != nil || hash != "" {
		s.Errorf("hash %q, %v", hash, err)
	}
	s.must(s.Store.SetPasswordHash(ctx, s.a, u.ID, "$argon2id$x"))
	s.person("dana@example.com")
	if hash, err := s.Store.PasswordHash(ctx, s.a, u.ID); err != nil || hash != "$argon2id$x" {
		s.Errorf("hash %q, %v", hash, err)
	}
}

func (s *suite) same() {
	ctx := s.Context()
	for _, t := range []tenants.ID{s.a, s.b} {
		s.must(s.Store.PutRole(ctx, t, tenants.Role{Name: "support", Description: string(t)}))
		_, err := s.Store.PutUser(ctx, t, "dana@example.com", "Dana of "+string(t), []string{"support"})
		s.must(err)
	}
	a, err := s.Store.UserByEmail(ctx, s.a, "dana@example.com")
	s.must(err)
	b, err := s.Store.UserByEmail(ctx, s.b, "dana@example.com")
	s.must(err)
	if a.ID == b.ID || a.Tenant != s.a || b.Tenant != s.b {
		s.Errorf("%+v and %+v", a, b)
	}
	_, err = s.Store.UserByID(ctx, s.b, a.ID)
	s.code("by id", err, fault.NotFound)
	_, err = s.Store.Access(ctx, s.b, a.ID)
	s.code("access", err, fault.NotFound)
	_, err = s.Store.PasswordHash(ctx, s.b, a.ID)
	s.code("hash", err, fault.NotFound)
	s.code("set hash", s.Store.SetPasswordHash(ctx, s.b, a.ID, "stolen"), fault.NotFound)
	s.code("disable", s.Store.SetUserDisabled(ctx, s.b, a.ID, true), fault.NotFound)
	s.must(s.Store.DeleteRole(ctx, s.b, "support"))
	if a, err = s.Store.UserByID(ctx, s.a, a.ID); err != nil || a.Disabled || !slices.Equal(a.Roles, []string{"support"}) {
		s.Errorf("touched from the other tenant: %+v, %v", a, err)
	}
	if rs, err := s.Store.Roles(ctx, s.b); err != nil || len(rs) != 0 {
		s.Errorf("%+v, %v", rs, err)
	}
	server := s.AddServer(s.T, s.b)
	s.code("scope of the other's server", s.Store.PutRole(ctx, s.a, tenants.Role{Name: "support", Scopes: []tenants.Scope{{Server: server, Name: "tool:x"}}}), fault.NotFound)
}

// rolesOfAPerson takes roles away too, down to none: nil and empty are alike.
func (s *suite) rolesOfAPerson() {
	s.role("support")
	s.role("finance")
	for _, roles := range [][]string{{"support", "finance"}, {"finance"}, nil, {"support"}, {}, {"support", "support"}} {
		u := s.person("dana@example.com", roles...)
		want := slices.Compact(slices.Sorted(slices.Values(roles)))
		if !slices.Equal(u.Roles, want) {
			s.Errorf("put %v, got %v", roles, u.Roles)
		}
		if u, err := s.Store.UserByEmail(s.Context(), s.a, u.Email); err != nil || !slices.Equal(u.Roles, want) {
			s.Errorf("put %v, read %v, %v", roles, u.Roles, err)
		}
	}
	_, err := s.Store.PutUser(s.Context(), s.a, "dana@example.com", "Other", []string{"nothing"})
	s.code("unknown role", err, fault.NotFound)
	if u, err := s.Store.UserByEmail(s.Context(), s.a, "dana@example.com"); err != nil || u.Name != "Pat" || len(u.Roles) != 1 {
		s.Errorf("a refused change was made in part: %+v, %v", u, err)
	}
}

func (s *suite) roles() {
	ctx := s.Context()
	one, two := s.AddServer(s.T, s.a), s.AddServer(s.T, s.a)
	if two < one {
		one, two = two, one
	}
	full := []tenants.Scope{{Server: one, Name: "a"}, {Server: one, Name: "b"}, {Server: two, Name: "a"}}
	s.must(s.Store.PutRole(ctx, s.a, tenants.Role{Name: "support", Description: "Helps", Scopes: []tenants.Scope{full[2], full[0], full[1], full[0]}}))
	s.role("admin")
	rs, err := s.Store.Roles(ctx, s.a)
	s.must(err)
	if len(rs) != 2 || rs[0].Name != "admin" || len(rs[0].Scopes) != 0 || rs[1].Description != "Helps" || !slices.Equal(rs[1].Scopes, full) {
		s.Errorf("listed %+v", rs)
	}
	s.must(s.Store.PutRole(ctx, s.a, tenants.Role{Name: "support", Scopes: full[1:2]}))
	if rs, err = s.Store.Roles(ctx, s.a); err != nil || rs[1].Description != "" || !slices.Equal(rs[1].Scopes, full[1:2]) {
		s.Errorf("replaced by %+v, %v", rs, err)
	}
	s.code("unknown server", s.Store.PutRole(ctx, s.a, tenants.Role{Name: "other", Scopes: []tenants.Scope{{Server: tenants.NewServerID(), Name: "a"}}}), fault.NotFound)
	s.code("bad name", s.Store.PutRole(ctx, s.a, tenants.Role{Name: "No Slug"}), fault.InvalidRequest)
	if rs, err = s.Store.Roles(ctx, s.a); err != nil || len(rs) != 2 {
		s.Errorf("%+v, %v", rs, err)
	}
}

func (s *suite) access() {
	ctx := s.Context()
	server, other := s.AddServer(s.T, s.a), s.AddServer(s.T, s.a)
	s.role("support", tenants.Scope{Server: server, Name: "a"}, tenants.Scope{Server: server, Name: "b"})
	s.role("finance", tenants.Scope{Server: server, Name: "b"}, tenants.Scope{Server: server, Name: "c"})
	u := s.person("dana@example.com", "support", "finance")
	allowed := func(want string) {
		s.Helper()
		a, err := s.Store.Access(ctx, s.a, u.ID)
		s.must(err)
		got := ""
		for _, scope := range []string{"a", "b", "c"} {
			if a.Allows(server, scope) {
				got += scope
			}
			if a.Allows(other, scope) {
				s.Errorf("%s is open on another server", scope)
			}
		}
		if got != want || a.User.ID != u.ID {
			s.Errorf("open: %q, want %q", got, want)
		}
	}
	allowed("abc")
	s.role("finance", tenants.Scope{Server: server, Name: "c"})
	allowed("abc")
	s.role("support")
	allowed("c")
	s.must(s.Store.SetUserDisabled(ctx, s.a, u.ID, true))
	allowed("")
	s.must(s.Store.SetUserDisabled(ctx, s.a, u.ID, false))
	allowed("c")
	s.must(s.Store.DeleteRole(ctx, s.a, "finance"))
	allowed("")
	if u, err := s.Store.UserByID(ctx, s.a, u.ID); err != nil || !slices.Equal(u.Roles, []string{"support"}) {
		s.Errorf("%+v, %v", u, err)
	}
}

func (s *suite) unknown() {
	ctx, nobody := s.Context(), tenants.NewUserID()
	_, err := s.Store.TenantBySlug(ctx, "nobody")
	s.code("tenant", err, fault.NotFound)
	_, err = s.Store.UserByID(ctx, s.a, nobody)
	s.code("user", err, fault.NotFound)
	_, err = s.Store.UserByEmail(ctx, s.a, "nobody@example.com")
	s.code("email", err, fault.NotFound)
	_, err = s.Store.Access(ctx, s.a, nobody)
	s.code("access", err, fault.NotFound)
	_, err = s.Store.PasswordHash(ctx, s.a, nobody)
	s.code("hash", err, fault.NotFound)
	s.code("set hash", s.Store.SetPasswordHash(ctx, s.a, nobody, "x"), fault.NotFound)
	s.code("disable", s.Store.SetUserDisabled(ctx, s.a, nobody, true), fault.NotFound)
	s.code("delete role", s.Store.DeleteRole(ctx, s.a, "nothing"), fault.NotFound)
	gone := tenants.NewID()
	_, err = s.Store.PutUser(ctx, gone, "a@b.c", "x", nil)
	s.code("user of no tenant", err, fault.NotFound)
	s.code("role of no tenant", s.Store.PutRole(ctx, gone, tenants.Role{Name: "role"}), fault.NotFound)
	if us, err := s.Store.Users(ctx, gone); err != nil || len(us) != 0 {
		s.Errorf("%v, %v", us, err)
	}
}

func (s *suite) concurrent() {
	server, slug := s.AddServer(s.T, s.a), tenants.RandomID("tt")
	s.role("support")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Store.PutTenant(s.Context(), slug, "x"); err != nil {
				s.Error(err)
			}
			if err := s.Store.PutRole(s.Context(), s.a, tenants.Role{Name: "role", Scopes: []tenants.Scope{{Server: server, Name: "a"}, {Server: server, Name: "b"}}}); err != nil {
				s.Error(err)
			}
			if _, err := s.Store.PutUser(s.Context(), s.a, "dana@example.com", "Dana", []string{"support", "role"}); err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	us, err := s.Store.Users(s.Context(), s.a)
	if err != nil || len(us) != 1 || len(us[0].Roles) != 2 {
		s.Errorf("%+v, %v", us, err)
	}
}
