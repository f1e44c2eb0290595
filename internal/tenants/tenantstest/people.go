package tenantstest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var began = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func (s *suite) opens(role string, permissions ...tenants.Permission) {
	s.Helper()
	s.must(s.Store.PutRole(s.Context(), s.a, tenants.Role{Name: role, Permissions: permissions}))
}

func (s *suite) permissions() {
	ctx := s.Context()
	s.opens("people", tenants.RolesRead, tenants.MembersWrite, tenants.RolesRead)
	s.opens("records", tenants.AuditRead, tenants.RolesRead)
	u := s.person("dana@example.com", "people", "records")
	rs, err := s.Store.Roles(ctx, s.a)
	s.must(err)
	if !slices.Equal(rs[0].Permissions, []tenants.Permission{tenants.MembersWrite, tenants.RolesRead}) {
		s.Errorf("stored %v", rs[0].Permissions)
	}
	a, err := s.Store.Access(ctx, s.a, u.ID)
	s.must(err)
	if !slices.Equal(a.Permissions, []tenants.Permission{tenants.AuditRead, tenants.MembersWrite, tenants.RolesRead}) || !a.May(tenants.MembersRead) || a.May(tenants.Admin) {
		s.Errorf("may %v", a.Permissions)
	}
	s.must(s.Store.SetUserDisabled(ctx, s.a, u.ID, true))
	if a, err = s.Store.Access(ctx, s.a, u.ID); err != nil || a.May(tenants.AuditRead) {
		s.Errorf("a disabled person may: %+v, %v", a, err)
	}
	s.must(s.Store.SetUserDisabled(ctx, s.a, u.ID, false))
	s.opens("records")
	if a, err = s.Store.Access(ctx, s.a, u.ID); err != nil || a.May(tenants.AuditRead) || !a.May(tenants.RolesRead) {
		s.Errorf("after the role was narrowed: %v, %v", a.Permissions, err)
	}
	s.code("an unknown permission", s.Store.PutRole(ctx, s.a, tenants.Role{Name: "people", Permissions: []tenants.Permission{"everything"}}), fault.InvalidRequest)
	nobody := s.person("eve@example.com")
	if a, err = s.Store.Access(ctx, s.a, nobody.ID); err != nil || a.Permissions == nil || len(a.Permissions) != 0 {
		s.Errorf("without a role: %v, %v", a.Permissions, err)
	}
}

// lastAdmin tries every way to leave a tenant without an admin.
func (s *suite) lastAdmin() {
	ctx := s.Context()
	// A tenant that has none is not bound: this is how its first one comes.
	s.opens("admin")
	s.opens("owner", tenants.Admin)
	s.person("sam@example.com")
	s.opens("admin", tenants.Admin)
	u := s.person("dana@example.com", "admin")
	ways := map[string]func() error{
		"put without the role": func() error { _, err := s.Store.PutUser(ctx, s.a, u.Email, "x", nil); return err },
		"saved without the role": func() error {
			_, err := s.Store.SaveMember(ctx, s.a, u.Email, "x", nil, false)
			return err
		},
		"saved as disabled": func() error {
			_, err := s.Store.SaveMember(ctx, s.a, u.Email, "x", []string{"admin"}, true)
			return err
		},
		"disabled": func() error { return s.Store.SetUserDisabled(ctx, s.a, u.ID, true) },
		"deleted":  func() error { return s.Store.DeleteUser(ctx, s.a, u.ID) },
		"role narrowed": func() error {
			return s.Store.PutRole(ctx, s.a, tenants.Role{Name: "admin", Permissions: []tenants.Permission{tenants.MembersWrite}})
		},
		"role deleted": func() error { return s.Store.DeleteRole(ctx, s.a, "admin") },
	}
	for what, way := range ways {
		s.code(what, way(), fault.Conflict)
		a, err := s.Store.Access(ctx, s.a, u.ID)
		if err != nil || !a.May(tenants.Admin) || a.User.Name != "Pat" {
			s.Fatalf("%s changed something: %+v, %v", what, a, err)
		}
	}
	// A second one who is disabled does not count; one who is enabled does.
	second := s.person("ann@example.com", "owner")
	s.must(s.Store.SetUserDisabled(ctx, s.a, second.ID, true))
	s.code("with a disabled second one", s.Store.DeleteUser(ctx, s.a, u.ID), fault.Conflict)
	s.must(s.Store.SetUserDisabled(ctx, s.a, second.ID, false))
	s.must(s.Store.DeleteRole(ctx, s.a, "admin"))
	s.must(s.Store.DeleteUser(ctx, s.a, u.ID))
}

func emails(ms []tenants.Member) string {
	var out []string
	for _, m := range ms {
		name, _, _ := strings.Cut(m.Email, "@")
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func (s *suite) members() {
	ctx := s.Context()
	s.role("support")
	s.role("finance")
	for i, name := range []string{"ann", "bob", "cy_d", "dana"} {
		u, err := s.Store.SaveMember(ctx, s.a, name+"@example.com", strings.ToUpper(name), []string{[]string{"support", "finance"}[i%2]}, i == 1)
		s.must(err)
		if i > 1 {
			s.must(s.Store.SetPasswordHash(ctx, s.a, u.ID, "hash"))
		}
	}
	_, err := s.Store.PutUser(ctx, s.b, "eve@example.com", "EVE", nil)
	s.must(err)
	for want, q := range map[string]tenants.MemberQuery{
		"ann bob cy_d dana": {},
		"cy_d dana":         {After: "bob@example.com"},
		"ann bob":           {Limit: 2},
		"dana":              {Search: "DANA"},
		"cy_d":              {Search: "_"},
		"":                  {Search: "%a%"},
		"ann cy_d":          {Role: "support"},
		"ann":               {Role: "support", Status: tenants.MemberNoPassword},
		"bob":               {Status: tenants.MemberDisabled},
		"cy_d dana ":        {Status: tenants.MemberActive, Search: "example"},
		" ":                 {Role: "nothing"},
	} {
		if q.Limit == 0 {
			q.Limit = 100
		}
		ms, err := s.Store.Members(ctx, s.a, q)
		s.must(err)
		if got := emails(ms); got != strings.TrimSpace(want) {
			s.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	one, err := s.Store.Member(ctx, s.a, " Dana@EXAMPLE.com ")
	s.must(err)
	if !one.HasPassword || one.Disabled || one.Name != "DANA" || !slices.Equal(one.Roles, []string{"finance"}) || one.CreatedAt.IsZero() || !one.LastSeenAt.IsZero() || one.Grants != 0 {
		s.Errorf("%+v", one)
	}
	if byID, err := s.Store.Member(ctx, s.a, string(one.ID)); err != nil || byID.Email != one.Email {
		s.Errorf("by id: %+v, %v", byID, err)
	}
	_, err = s.Store.Member(ctx, s.b, string(one.ID))
	s.code("in another tenant", err, fault.NotFound)
	enabled, err := s.Store.SaveMember(ctx, s.a, "bob@example.com", "Bob", nil, false)
	if err != nil || enabled.Disabled || len(enabled.Roles) != 0 {
		s.Errorf("%+v, %v", enabled, err)
	}
}

func (s *suite) leaves() {
	ctx := s.Context()
	u := s.person("dana@example.com")
	id := s.invite(tenants.Invitation{Email: u.Email}).ID
	e, err := s.Store.MemberEffects(ctx, s.a, u.ID)
	s.must(err)
	if fmt.Sprint(e) != "[{person 1} {invitations to this address 1}]" {
		s.Errorf("%v", e)
	}
	s.code("from another tenant", s.Store.DeleteUser(ctx, s.b, u.ID), fault.NotFound)
	if m, err := s.Store.Member(ctx, s.a, u.Email); err != nil || m.ID != u.ID {
		s.Errorf("counting changed something: %+v, %v", m, err)
	}
	s.must(s.Store.DeleteUser(ctx, s.a, u.ID))
	s.code("again", s.Store.DeleteUser(ctx, s.a, u.ID), fault.NotFound)
	_, err = s.Store.MemberEffects(ctx, s.a, u.ID)
	s.code("effects on nobody", err, fault.NotFound)
	if i, err := s.Store.Invitation(ctx, s.a, id); err != nil || i.RevokedAt.IsZero() {
		s.Errorf("the way back is open: %+v, %v", i, err)
	}
}

func (s *suite) changeAccess() {
	ctx := s.Context()
	one, two := s.AddServer(s.T, s.a), s.AddServer(s.T, s.a)
	s.role("support", tenants.Scope{Server: one, Name: "a"})
	s.role("finance")
	cell := func(role string, server tenants.ServerID, name string) tenants.RoleScope {
		return tenants.RoleScope{Role: role, Scope: tenants.Scope{Server: server, Name: name}}
	}
	state := func() string {
		s.Helper()
		rs, err := s.Store.RoleUses(ctx, s.a)
		s.must(err)
		var out []string
		for _, r := range rs {
			for _, sc := range r.Scopes {
				out = append(out, r.Name+"/"+map[tenants.ServerID]string{one: "1", two: "2"}[sc.Server]+sc.Name)
			}
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	s.must(s.Store.ChangeAccess(ctx, s.a,
		[]tenants.RoleScope{cell("support", one, "b"), cell("finance", two, "a"), cell("finance", two, "a")},
		[]tenants.RoleScope{cell("support", one, "a"), cell("support", two, "never")}))
	if got := state(); got != "finance/2a support/1b" {
		s.Error(got)
	}
	for what, bad := range map[string]tenants.RoleScope{
		"an unknown role":         cell("nothing", one, "a"),
		"an unknown server":       cell("support", tenants.NewServerID(), "a"),
		"another tenant's server": cell("support", s.AddServer(s.T, s.b), "a"),
	} {
		s.code(what, s.Store.ChangeAccess(ctx, s.a, []tenants.RoleScope{cell("support", one, "c"), bad}, []tenants.RoleScope{cell("finance", two, "a")}), fault.NotFound)
	}
	if got := state(); got != "finance/2a support/1b" {
		s.Errorf("a refused change was made in part: %s", got)
	}
	s.must(s.Store.ChangeAccess(ctx, s.b, nil, []tenants.RoleScope{cell("support", one, "b")}))
	if got := state(); got != "finance/2a support/1b" {
		s.Errorf("closed from another tenant: %s", got)
	}
}

func (s *suite) roleLeaves() {
	ctx := s.Context()
	server := s.AddServer(s.T, s.a)
	s.role("support", tenants.Scope{Server: server, Name: "a"}, tenants.Scope{Server: server, Name: "b"})
	s.person("dana@example.com", "support")
	r, err := s.Store.RoleUse(ctx, s.a, "support")
	s.must(err)
	if r.Members != 1 || len(r.Scopes) != 2 {
		s.Errorf("%+v", r)
	}
	e, err := s.Store.RoleEffects(ctx, s.a, "support")
	s.must(err)
	if fmt.Sprint(e) != "[{role 1} {people who hold it and stay 1} {scopes that it opens 2}]" {
		s.Errorf("%v", e)
	}
	for _, t := range []tenants.ID{s.b, tenants.NewID()} {
		_, err = s.Store.RoleUse(ctx, t, "support")
		s.code("another tenant's", err, fault.NotFound)
		_, err = s.Store.RoleEffects(ctx, t, "support")
		s.code("effects on another tenant's", err, fault.NotFound)
	}
}

// invite stores an invitation of tenant a, with what is left out made up.
func (s *suite) invite(i tenants.Invitation) tenants.Invitation {
	s.Helper()
	i = complete(i)
	s.must(s.Store.CreateInvitation(s.Context(), s.a, i))
	return i
}

func complete(i tenants.Invitation) tenants.Invitation {
	i.ID, i.CreatedBy = tenants.RandomID("iv"), "dana@example.com"
	if i.Email == "" {
		i.Email = "new@example.com"
	}
	if i.CreatedAt.IsZero() {
		i.CreatedAt = began
	}
	i.ExpiresAt = i.CreatedAt.Add(time.Hour)
	if i.Token == (tenants.TokenHash{}) {
		rand.Read(i.Token[:])
	}
	return i
}

func (s *suite) invitations() {
	ctx := s.Context()
	one := s.invite(tenants.Invitation{Email: "One@Example.com", Name: "One", Roles: []string{"support", "gone"}, May: []tenants.Permission{tenants.MembersWrite}})
	got, err := s.Store.Invitation(ctx, s.a, one.ID)
	s.must(err)
	one.Token, one.Email = tenants.TokenHash{}, "one@example.com"
	if !(got.CreatedAt.Equal(one.CreatedAt) && got.ExpiresAt.Equal(one.ExpiresAt) && got.Email == one.Email && got.Name == "One" && len(got.Roles) == 2 && len(got.May) == 1) {
		s.Errorf("%+v, want %+v", got, one)
	}
	second := s.invite(tenants.Invitation{Email: "one@example.com", CreatedAt: began.Add(time.Minute)})
	other := s.invite(tenants.Invitation{Email: "two@example.com", CreatedAt: began.Add(2 * time.Minute)})
	status := func(at time.Time, only tenants.InvitationStatus) string {
		s.Helper()
		is, err := s.Store.Invitations(ctx, s.a, tenants.InvitationQuery{Status: only, At: at, Limit: 10})
		s.must(err)
		var out []string
		for _, i := range is {
			out = append(out, string(i.Status(at)))
		}
		return strings.Join(out, " ")
	}
	now := began.Add(3 * time.Minute)
	for _, c := range []struct {
		at   time.Time
		only tenants.InvitationStatus
		want string
	}{
		{now, "", "pending pending revoked"}, {now, tenants.InvitationRevoked, "revoked"}, {now, tenants.InvitationPending, "pending pending"},
		{began.Add(61 * time.Minute), tenants.InvitationExpired, "expired"}, {began.Add(61 * time.Minute), tenants.InvitationPending, "pending"}, {now, tenants.InvitationAccepted, ""},
	} {
		if got := status(c.at, c.only); got != c.want {
			s.Errorf("%s at %s: %q, want %q", c.only, c.at, got, c.want)
		}
	}
	page, err := s.Store.Invitations(ctx, s.a, tenants.InvitationQuery{BeforeAt: other.CreatedAt, BeforeID: other.ID, Limit: 1})
	s.must(err)
	if len(page) != 1 || page[0].ID != second.ID {
		s.Errorf("%+v", page)
	}
	s.must(s.Store.NoteInvitationMailed(ctx, s.a, second.ID))
	var token tenants.TokenHash
	rand.Read(token[:])
	renewed, err := s.Store.RenewInvitation(ctx, s.a, second.ID, token, []tenants.Permission{tenants.Admin}, now.Add(time.Hour))
	s.must(err)
	if renewed.Mailed || !renewed.ExpiresAt.Equal(now.Add(time.Hour)) || len(renewed.May) != 1 {
		s.Errorf("%+v", renewed)
	}
	_, err = s.Store.InvitationByToken(ctx, s.a, second.Token)
	s.code("the old link", err, fault.NotFound)
	if found, err := s.Store.InvitationByToken(ctx, s.a, token); err != nil || found.ID != second.ID {
		s.Errorf("the new link: %+v, %v", found, err)
	}
	for range 2 {
		s.must(s.Store.RevokeInvitation(ctx, s.a, second.ID, now))
	}
	_, err = s.Store.RenewInvitation(ctx, s.a, second.ID, token, nil, now)
	s.code("renew a revoked one", err, fault.Conflict)
	s.code("revoke in another tenant", s.Store.RevokeInvitation(ctx, s.b, other.ID, now), fault.NotFound)
	_, err = s.Store.RenewInvitation(ctx, s.b, other.ID, token, nil, now)
	s.code("renew in another tenant", err, fault.NotFound)
}

func (s *suite) acceptance() {
	ctx := s.Context()
	s.role("support")
	s.role("finance")
	s.opens("admin", tenants.Admin)
	i := s.invite(tenants.Invitation{Email: "new@example.com", Roles: []string{"support", "gone"}})
	u, err := s.Store.AcceptInvitation(ctx, s.a, i.Token, "Nina", "hash 1", began)
	s.must(err)
	if u.Email != "new@example.com" || u.Name != "Nina" || !slices.Equal(u.Roles, []string{"support"}) {
		s.Errorf("%+v", u)
	}
	_, err = s.Store.AcceptInvitation(ctx, s.a, i.Token, "Nina", "hash 2", began)
	s.code("twice", err, fault.Conflict)
	s.code("revoke what was used", s.Store.RevokeInvitation(ctx, s.a, i.ID, began), fault.Conflict)

	// Of somebody who is there it adds roles, and sets the password anew.
	i = s.invite(tenants.Invitation{Email: "new@example.com", Roles: []string{"finance"}})
	again, err := s.Store.AcceptInvitation(ctx, s.a, i.Token, "Nina N", "hash 3", began)
	s.must(err)
	hash, err := s.Store.PasswordHash(ctx, s.a, u.ID)
	if err != nil || again.ID != u.ID || hash != "hash 3" || !slices.Equal(again.Roles, []string{"finance", "support"}) {
		s.Errorf("%+v, %s, %v", again, hash, err)
	}

	refused := func(what string, i tenants.Invitation, at time.Time, c fault.Code) {
		s.Helper()
		_, err := s.Store.AcceptInvitation(ctx, s.a, i.Token, "Eve", "stolen", at)
		s.code(what, err, c)
		if hash, err := s.Store.PasswordHash(ctx, s.a, u.ID); err != nil || hash == "stolen" {
			s.Errorf("%s: the password was set, %v", what, err)
		}
	}
	i = s.invite(tenants.Invitation{})
	refused("expired", i, began.Add(time.Hour), fault.Conflict)
	s.must(s.Store.RevokeInvitation(ctx, s.a, i.ID, began))
	refused("revoked", i, began, fault.Conflict)
	refused("unknown", complete(tenants.Invitation{}), began, fault.NotFound)

	// The account got more than the inviter could give meanwhile.
	i = s.invite(tenants.Invitation{May: []tenants.Permission{tenants.MembersWrite}})
	s.person("new@example.com", "admin")
	refused("account with more rights", i, began, fault.RoleNotAllowed)
	i = s.invite(tenants.Invitation{May: []tenants.Permission{tenants.Admin}})
	_, err = s.Store.AcceptInvitation(ctx, s.a, i.Token, "Nina", "hash 4", began)
	s.must(err)

	s.person("ann@example.com", "admin")
	s.must(s.Store.SetUserDisabled(ctx, s.a, u.ID, true))
	i = s.invite(tenants.Invitation{May: []tenants.Permission{tenants.Admin}})
	refused("account that is turned off", i, began, fault.RoleNotAllowed)

	full := 2
	_, err = s.Store.UpdateTenant(ctx, s.a, tenants.TenantChange{Quotas: tenants.QuotaChange{Members: &full}})
	s.must(err)
	refused("one person too many", s.invite(tenants.Invitation{Email: "third@example.com"}), began, fault.LimitReached)
}

// acceptedOnce has many who hold the same link.
func (s *suite) acceptedOnce() {
	i := s.invite(tenants.Invitation{})
	var mu sync.Mutex
	var accepted []string
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			hash := fmt.Sprintf("hash %d", n)
			_, err := s.Store.AcceptInvitation(s.Context(), s.a, i.Token, "x", hash, began)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				accepted = append(accepted, hash)
			} else {
				s.code("the others", err, fault.Conflict)
			}
		})
	}
	wg.Wait()
	u, err := s.Store.UserByEmail(s.Context(), s.a, i.Email)
	s.must(err)
	hash, err := s.Store.PasswordHash(s.Context(), s.a, u.ID)
	if err != nil || len(accepted) != 1 || accepted[0] != hash {
		s.Errorf("accepted %v, stored %q, %v", accepted, hash, err)
	}
}

func (s *suite) sameToken() {
	ctx := s.Context()
	a := s.invite(tenants.Invitation{Email: "a@example.com"})
	_, err := s.Store.InvitationByToken(ctx, s.b, a.Token)
	s.code("another tenant's link", err, fault.NotFound)
	_, err = s.Store.AcceptInvitation(ctx, s.b, a.Token, "x", "hash", began)
	s.code("accepting it", err, fault.NotFound)
	b := complete(tenants.Invitation{Email: "b@example.com", Token: a.Token})
	s.must(s.Store.CreateInvitation(ctx, s.b, b))
	u, err := s.Store.AcceptInvitation(ctx, s.b, b.Token, "x", "hash", began)
	if err != nil || u.Email != "b@example.com" || u.Tenant != s.b {
		s.Errorf("%+v, %v", u, err)
	}
	if i, err := s.Store.Invitation(ctx, s.a, a.ID); err != nil || i.Status(began) != tenants.InvitationPending {
		s.Errorf("spent with the other's: %+v, %v", i, err)
	}
}

func (s *suite) provisioning() {
	ctx, slug := s.Context(), tenants.RandomID("tt")
	first := complete(tenants.Invitation{Email: "first@example.com", Roles: []string{"admin"}, May: []tenants.Permission{tenants.Admin}})
	servers := 3
	t, err := s.Store.CreateTenant(ctx, tenants.NewTenant{
		Slug: slug, Name: "New", Quotas: tenants.QuotaChange{Servers: &servers},
		Roles: []tenants.Role{{Name: "admin", Permissions: []tenants.Permission{tenants.Admin}}}, Invitation: &first,
	})
	s.must(err)
	if t.Slug != slug || t.Quotas.Servers != 3 || t.Quotas.Members != tenants.DefaultQuotas.Members {
		s.Errorf("%+v", t)
	}
	u, err := s.Store.AcceptInvitation(ctx, t.ID, first.Token, "First", "hash", began)
	s.must(err)
	if a, err := s.Store.Access(ctx, t.ID, u.ID); err != nil || !a.May(tenants.TenantWrite) {
		s.Errorf("%+v, %v", a, err)
	}
	_, err = s.Store.CreateTenant(ctx, tenants.NewTenant{Slug: slug, Name: "Other"})
	s.code("a slug that is taken", err, fault.Conflict)
	if found, err := s.Store.TenantBySlug(ctx, slug); err != nil || found != t {
		s.Errorf("%+v, %v", found, err)
	}
	// All or nothing.
	other := tenants.RandomID("tt")
	_, err = s.Store.CreateTenant(ctx, tenants.NewTenant{Slug: other, Name: "Other", Roles: []tenants.Role{{Name: "No Slug"}}})
	s.code("a bad role", err, fault.InvalidRequest)
	_, err = s.Store.TenantBySlug(ctx, other)
	s.code("the tenant of it", err, fault.NotFound)
	_, err = s.Store.CreateTenant(ctx, tenants.NewTenant{Slug: "api", Name: "x"})
	s.code("the platform's own slug", err, fault.InvalidRequest)

	page, err := s.Store.TenantsPage(ctx, strings.ToUpper(slug), "", 10)
	if err != nil || len(page) != 1 || page[0].Tenant != t || page[0].Used != (tenants.Quotas{Members: 1, Roles: 1}) {
		s.Errorf("%+v, %v", page, err)
	}
	if page, err = s.Store.TenantsPage(ctx, "", "tt", 2); err != nil || len(page) != 2 || page[0].Slug >= page[1].Slug {
		s.Errorf("%+v, %v", page, err)
	}
}

func (s *suite) quotas() {
	ctx := s.Context()
	n, none, name, yes := 7, 0, "Renamed", true
	t, err := s.Store.UpdateTenant(ctx, s.a, tenants.TenantChange{Quotas: tenants.QuotaChange{Roles: &n, APIKeys: &none}})
	s.must(err)
	t, err = s.Store.UpdateTenant(ctx, s.a, tenants.TenantChange{Name: &name, Suspended: &yes, Quotas: tenants.QuotaChange{Members: &n}})
	s.must(err)
	want := tenants.Quotas{Servers: tenants.DefaultQuotas.Servers, Members: 7, Roles: 7, APIKeys: 0}
	if t.Quotas != want || t.Name != "Renamed" || !t.Suspended {
		s.Errorf("%+v", t)
	}
	no := false
	if t, err = s.Store.UpdateTenant(ctx, s.a, tenants.TenantChange{Suspended: &no}); err != nil || t.Suspended || t.Quotas != want {
		s.Errorf("%+v, %v", t, err)
	}
	_, err = s.Store.UpdateTenant(ctx, tenants.NewID(), tenants.TenantChange{Name: &name})
	s.code("no tenant", err, fault.NotFound)
	s.AddServer(s.T, s.a)
	s.role("support")
	s.person("dana@example.com")
	s.person("sam@example.com")
	if u, err := s.Store.QuotasUsed(ctx, s.a); err != nil || u != (tenants.Quotas{Servers: 1, Members: 2, Roles: 1}) {
		s.Errorf("%+v, %v", u, err)
	}
	if e, err := s.Store.TenantEffects(ctx, s.a); err != nil || len(e) != 3 || e[1].Count != 2 {
		s.Errorf("%+v, %v", e, err)
	}
}

func (s *suite) operations() {
	ctx, kinds := s.Context(), []string{tenants.DeleteTenantOperation}
	a, err := s.Store.BeginDeleteTenant(ctx, s.a, "op@example.com", began)
	s.must(err)
	b, err := s.Store.BeginDeleteTenant(ctx, s.b, "op@example.com", began.Add(time.Second))
	s.must(err)
	if _, ok, err := s.Store.ClaimOperation(ctx, []string{"other"}, time.Hour); err != nil || ok {
		s.Errorf("another kind was given: %v", err)
	}
	// Many who ask get one each.
	var mu sync.Mutex
	got := map[string]tenants.Operation{}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			op, ok, err := s.Store.ClaimOperation(ctx, kinds, time.Hour)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.Error(err)
			}
			if ok {
				if _, twice := got[op.ID]; twice {
					s.Errorf("%s was given twice", op.ID)
				}
				got[op.ID] = op
			}
		})
	}
	wg.Wait()
	if len(got) != 2 {
		s.Fatalf("%+v", got)
	}
	mine := got[a.ID]
	if mine.State != tenants.OperationRunning || mine.Attempts != 1 || mine.Tenant != s.a || mine.Target != string(s.a) || mine.StartedAt.IsZero() {
		s.Errorf("%+v", mine)
	}
	s.must(s.Store.KeepOperation(ctx, mine, time.Hour))
	s.must(s.Store.RetryOperation(ctx, mine, "Vault is away.", 0))
	s.code("what was given back", s.Store.KeepOperation(ctx, mine, time.Hour), fault.Conflict)
	next, ok, err := s.Store.ClaimOperation(ctx, kinds, 0) // a lease that is over at once
	if err != nil || !ok || next.ID != a.ID || next.Attempts != 2 || next.Error != "Vault is away." {
		s.Fatalf("%+v, %v, %v", next, ok, err)
	}
	taken, ok, err := s.Store.ClaimOperation(ctx, kinds, time.Hour)
	if err != nil || !ok || taken.ID != a.ID || taken.Attempts != 3 {
		s.Fatalf("%+v, %v, %v", taken, ok, err)
	}
	s.code("a late runner", s.Store.FinishOperation(ctx, next, ""), fault.Conflict)
	s.must(s.Store.FinishOperation(ctx, taken, ""))
	s.must(s.Store.FinishOperation(ctx, got[b.ID], "It cannot be done."))
	one, err := s.Store.Operation(ctx, s.a, a.ID)
	s.must(err)
	if one.State != tenants.OperationDone || one.Error != "" || one.FinishedAt.IsZero() {
		s.Errorf("%+v", one)
	}
	other, err := s.Store.PlatformOperation(ctx, b.ID)
	s.must(err)
	if other.State != tenants.OperationFailed || other.Error != "It cannot be done." {
		s.Errorf("%+v", other)
	}
	_, err = s.Store.Operation(ctx, s.a, b.ID)
	s.code("another tenant's", err, fault.NotFound)
	if list, err := s.Store.Operations(ctx, s.a, time.Time{}, "", 10); err != nil || len(list) != 1 {
		s.Errorf("%+v, %v", list, err)
	}
	if list, err := s.Store.Operations(ctx, s.a, one.CreatedAt, one.ID, 10); err != nil || len(list) != 0 {
		s.Errorf("%+v, %v", list, err)
	}
	// One that failed can be asked for again.
	if again, err := s.Store.BeginDeleteTenant(ctx, s.b, "op@example.com", began); err != nil || again.ID == b.ID {
		s.Errorf("%+v, %v", again, err)
	}
}
