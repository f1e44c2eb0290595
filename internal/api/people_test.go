package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/mail"
	"latchkey/internal/operations"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// newPeople is a world with the area of people, and a mailbox.
func newPeople(t *testing.T) (*world, *mail.Mailbox) {
	t.Helper()
	box, err := mail.OpenMailbox(t.TempDir())
	check(t, err)
	return newWorld(t, func(w *world, c *Config) {
		c.People = People{Store: w.db, EndSessions: w.db.DeleteSessionsOf, Mail: box, Mailbox: box}
	}), box
}

// offer publishes a server of acme whose tools have these scopes.
func (w *world) offer(slug string, scopes ...string) registry.Server {
	w.Helper()
	ctx := context.Background()
	s, err := w.db.PutServer(ctx, w.acme.ID, registry.Server{Slug: slug, Kind: "echo", Title: strings.ToUpper(slug)})
	check(w.T, err)
	var def registry.Definition
	for _, sc := range scopes {
		def.Tools = append(def.Tools, registry.Tool{Name: "use_" + strings.NewReplacer(":", "_").Replace(sc), Scope: sc, Risk: registry.Writes, InputSchema: json.RawMessage(`{}`)})
	}
	rev, err := registry.NewRevision(s, json.RawMessage(`{}`), def, "test")
	check(w.T, err)
	_, _, err = w.db.Publish(ctx, w.acme.ID, rev)
	check(w.T, err)
	return s
}

func places(p Problem) string {
	var at []string
	for _, e := range deref(p.Errors) {
		at = append(at, e.Pointer)
	}
	return strings.Join(at, " ")
}

type object map[string]any

func TestTenants(t *testing.T) {
	w, box := newPeople(t)
	made := into[TenantCreated](t, w.must(201, "operator", "POST", "/tenants", object{
		"slug": "initech", "name": "Initech", "quotas": object{"members": 3}, "admin": object{"email": "Bill@Initech.test", "name": "Bill"},
	}))
	if made.Tenant.BaseUrl != "http://127.0.0.1:8080/t/initech" || made.Tenant.Quotas.Members != (QuotaUse{Limit: 3}) || made.Tenant.Quotas.Roles.Used != 1 || made.Tenant.Quotas.Servers.Limit != 200 {
		t.Errorf("%+v", made.Tenant)
	}
	i := made.Invitation
	if i == nil || i.MailError != nil || i.Invitation.Email != "bill@initech.test" || !deref(i.Invitation.Mailed) || !strings.HasPrefix(i.Url, "http://127.0.0.1:8080/t/initech/invitation?token=") {
		t.Fatalf("%+v", i)
	}
	letters, err := box.Letters()
	if err != nil || len(letters) != 1 || !strings.Contains(letters[0].Text, i.Url) || letters[0].To != "bill@initech.test" {
		t.Errorf("%+v, %v", letters, err)
	}
	if seen := into[MailList](t, w.must(200, "operator", "GET", "/mailbox", nil)); !seen.Development || len(seen.Data) != 1 || seen.Data[0].Text != letters[0].Text {
		t.Errorf("%+v", seen)
	}

	// What is refused leaves nothing behind.
	w.refused(fault.Conflict, "operator", "POST", "/tenants", object{"slug": "acme", "name": "Another", "admin": object{"email": "x@y.test"}})
	if p := w.refused(fault.InvalidRequest, "operator", "POST", "/tenants", object{"slug": "platform", "name": "Another"}); places(p) != "/slug" {
		t.Errorf("%+v", p)
	}
	w.refused(fault.InvalidRequest, "operator", "POST", "/tenants", object{"slug": "half", "name": "Half", "admin": object{"email": "a@b@c"}})
	w.refused(fault.NotFound, "operator", "GET", "/tenants/half", nil)
	w.refused(fault.NotFound, "admin", "POST", "/tenants", object{"slug": "mine", "name": "Mine"})

	page := into[TenantPage](t, w.must(200, "operator", "GET", "/tenants?limit=2", nil))
	if len(page.Data) != 2 || page.Data[0].Slug != "acme" || page.Data[0].Quotas.Members.Used != 1 || !page.HasMore {
		t.Errorf("%+v", page)
	}
	page = into[TenantPage](t, w.must(200, "operator", "GET", "/tenants?limit=2&cursor="+*page.NextCursor, nil))
	if len(page.Data) != 1 || page.Data[0].Slug != "initech" || page.HasMore || page.NextCursor != nil {
		t.Errorf("%+v", page)
	}
	if own := into[TenantPage](t, w.must(200, "admin", "GET", "/tenants", nil)); len(own.Data) != 1 || own.Data[0].Slug != "acme" {
		t.Errorf("a tenant's admin sees %+v", own)
	}

	if got := into[Tenant](t, w.must(200, "admin", "PATCH", "/tenants/acme", object{"name": "Acme 2"})); got.Name != "Acme 2" {
		t.Errorf("%+v", got)
	}
	w.refused(fault.RoleNotAllowed, "admin", "PATCH", "/tenants/acme", object{"suspended": true})
	w.refused(fault.RoleNotAllowed, "admin", "PATCH", "/tenants/acme", object{"quotas": object{"servers": 1000}})
	got := into[Tenant](t, w.must(200, "operator", "PATCH", "/tenants/acme", object{"suspended": true, "quotas": object{"roles": 1}}))
	if !got.Suspended || got.Quotas.Roles.Limit != 1 || got.Name != "Acme 2" {
		t.Errorf("%+v", got)
	}
	w.refused(fault.NotFound, "admin", "GET", "/tenants/acme", nil)
	w.must(200, "operator", "PATCH", "/tenants/acme", object{"suspended": false})
	w.must(200, "admin", "GET", "/tenants/acme", nil)
}

func TestTenantIsDeletedInWordsAndThenForGood(t *testing.T) {
	w, _ := newPeople(t)
	w.offer("orders", "a")
	d := into[Deletion](t, w.must(200, "operator", "DELETE", "/tenants/acme?dry_run=true", nil))
	if !d.DryRun || fmt.Sprint(d.Effects) != "[{1 servers, with their revisions and their credentials at Vault} {1 people, with their passwords and browser sessions} {1 roles}]" {
		t.Errorf("%+v", d)
	}
	w.must(200, "admin", "GET", "/tenants/acme", nil)
	op := into[Operation](t, w.must(202, "operator", "DELETE", "/tenants/acme", nil))
	if op.Kind != OperationKindDeleteTenant || op.Target != "acme" || op.State != OperationStateQueued || op.CreatedBy != "ops@example.test" {
		t.Errorf("%+v", op)
	}
	w.refused(fault.NotFound, "admin", "GET", "/tenants/acme", nil)
	w.refused(fault.Conflict, "operator", "PATCH", "/tenants/acme", object{"suspended": false})
	w.refused(fault.Conflict, "operator", "POST", "/tenants", object{"slug": "acme", "name": "Another"})
	if again := into[Operation](t, w.must(202, "operator", "DELETE", "/tenants/acme", nil)); again.Id != op.Id {
		t.Errorf("%+v", again)
	}
	if list := into[OperationPage](t, w.must(200, "operator", "GET", "/tenants/acme/operations", nil)); len(list.Data) != 1 || list.Data[0].Id != op.Id {
		t.Errorf("%+v", list)
	}
	w.must(200, "operator", "GET", "/tenants/acme/operations/"+op.Id, nil)
	w.refused(fault.NotFound, "operator", "GET", "/tenants/globex/operations/"+op.Id, nil)
	running, stop := context.WithTimeout(t.Context(), 30*time.Second)
	r := operations.New(w.db, nil, operations.DeleteTenant(vault.NewServers(w.vault), kindOf(func(ctx context.Context, id tenants.ID) error {
		defer stop()
		return w.db.DeleteTenant(ctx, id)
	})))
	r.Run(running)
	w.refused(fault.NotFound, "operator", "GET", "/tenants/acme/operations/"+op.Id, nil)
	if still := into[Operation](t, w.must(200, "operator", "GET", "/operations/"+op.Id, nil)); still.Target != "acme" {
		t.Errorf("%+v", still)
	}
	w.refused(fault.NotFound, "stranger", "GET", "/operations/"+op.Id, nil)
}

func TestMembers(t *testing.T) {
	w, _ := newPeople(t)
	const at = "/tenants/acme/members"
	w.must(200, "admin", "PUT", "/tenants/acme/roles/admin", object{"scopes": []any{}, "permissions": []string{"admin"}})
	for i := range 5 {
		w.must(200, "admin", "PUT", fmt.Sprintf("%s/p%d@acme.test", at, i), object{"name": fmt.Sprintf("Person %d", i), "roles": []string{"member"}, "disabled": i == 4})
	}
	page := into[MemberPage](t, w.must(200, "admin", "GET", at+"?limit=4", nil))
	next := into[MemberPage](t, w.must(200, "admin", "GET", at+"?limit=4&cursor="+deref(page.NextCursor), nil))
	if len(page.Data) != 4 || len(next.Data) != 2 || page.Data[0].Email != "p0@acme.test" || next.Data[1].Email != "pat@acme.test" || next.HasMore {
		t.Errorf("%+v %+v", page, next)
	}
	w.refused(fault.InvalidRequest, "admin", "GET", "/tenants/acme/roles?cursor="+deref(page.NextCursor), nil)
	if found := into[MemberPage](t, w.must(200, "admin", "GET", at+"?q=person+4&status=disabled&role=member", nil)); len(found.Data) != 1 || !found.Data[0].Disabled {
		t.Errorf("%+v", found)
	}
	one := into[Member](t, w.must(200, "admin", "GET", at+"/P1%40ACME.test", nil))
	if byID := into[Member](t, w.must(200, "admin", "GET", at+"/"+one.Id, nil)); byID.Email != "p1@acme.test" {
		t.Errorf("%+v", byID)
	}
	a := w.must(200, "admin", "GET", at+"/p1@acme.test", nil)
	put := w.must(200, "admin", "PUT", at+"/"+one.Id, object{"name": "Renamed", "roles": []string{}}, "If-Match", a.Header.Get("ETag"))
	if got := into[Member](t, put); got.Name != "Renamed" || got.Roles == nil || len(got.Roles) != 0 || got.Email != "p1@acme.test" {
		t.Errorf("%+v", got)
	}
	if read := w.must(200, "admin", "GET", at+"/p1@acme.test", nil); read.Body != put.Body {
		t.Errorf("PUT answers\n%s\nGET\n%s", put.Body, read.Body)
	}
	w.refused(fault.Stale, "admin", "PUT", at+"/p1@acme.test", object{"name": "Late", "roles": []string{}}, "If-Match", a.Header.Get("ETag"))
	w.must(200, "admin", "PUT", at+"/a%2Bb@acme.test", object{"name": "Plus", "roles": []string{}})
	if plus := into[Member](t, w.must(200, "admin", "GET", at+"/a+b@acme.test", nil)); plus.Email != "a+b@acme.test" {
		t.Errorf("%+v", plus)
	}

	if p := w.refused(fault.InvalidRequest, "admin", "PUT", at+"/p1@acme.test", object{"name": "x", "roles": []string{"member", "nothing"}}); places(p) != "/roles/1" || !strings.Contains(deref((*p.Errors)[0].Fix), "admin, member") {
		t.Errorf("%+v", p)
	}
	w.refused(fault.InvalidRequest, "admin", "PUT", at+"/two@at@signs", object{"name": "x", "roles": []string{}})
	w.refused(fault.NotFound, "admin", "PUT", at+"/us222222222222222222", object{"name": "x", "roles": []string{}})
	w.refused(fault.NotFound, "admin", "GET", at+"/nobody@acme.test", nil)

	// The last admin stays, whoever asks.
	w.must(200, "admin", "PUT", at+"/boss@acme.test", object{"name": "Boss", "roles": []string{"admin"}})
	for _, who := range []string{"admin", "operator"} {
		w.refused(fault.Conflict, who, "DELETE", at+"/boss@acme.test", nil)
		w.refused(fault.Conflict, who, "DELETE", at+"/boss@acme.test?dry_run=true", nil)
		w.refused(fault.Conflict, who, "PUT", at+"/boss@acme.test", object{"name": "Boss", "roles": []string{"admin"}, "disabled": true})
		w.refused(fault.Conflict, who, "PUT", at+"/boss@acme.test", object{"name": "Boss", "roles": []string{}})
		w.refused(fault.Conflict, who, "DELETE", "/tenants/acme/roles/admin", nil)
		w.refused(fault.Conflict, who, "PUT", "/tenants/acme/roles/admin", object{"scopes": []any{}})
	}

	if d := into[Deletion](t, w.must(200, "admin", "DELETE", at+"/p0@acme.test?dry_run=true", nil)); !d.DryRun || len(d.Effects) != 1 {
		t.Errorf("%+v", d)
	}
	w.must(200, "admin", "DELETE", at+"/p0@acme.test", nil)
	w.refused(fault.NotFound, "admin", "DELETE", at+"/p0@acme.test", nil)
	w.must(204, "admin", "DELETE", at+"/pat@acme.test/sessions", nil)
	w.refused(fault.NotFound, "admin", "DELETE", at+"/p0@acme.test/sessions", nil)

	used := into[Tenant](t, w.must(200, "operator", "GET", "/tenants/acme", nil)).Quotas.Members.Used
	w.must(200, "operator", "PATCH", "/tenants/acme", object{"quotas": object{"members": used}})
	w.refused(fault.Conflict, "admin", "PUT", at+"/more@acme.test", object{"name": "x", "roles": []string{}})
	w.refused(fault.Conflict, "admin", "POST", "/tenants/acme/invitations", object{"email": "more@acme.test"})
	w.must(200, "admin", "PUT", at+"/p1@acme.test", object{"name": "y", "roles": []string{}})
}

// TestNobodyGivesWhatTheyDoNotHold tries every way to get at a permission
// through others.
func TestNobodyGivesWhatTheyDoNotHold(t *testing.T) {
	w, _ := newPeople(t)
	const at = "/tenants/acme"
	w.as("hr", tenants.MembersWrite, tenants.RolesWrite)
	w.must(200, "admin", "PUT", at+"/roles/admin", object{"scopes": []any{}, "permissions": []string{"admin"}})
	w.must(200, "admin", "PUT", at+"/roles/auditor", object{"scopes": []any{}, "permissions": []string{"audit:read"}})
	w.must(200, "admin", "PUT", at+"/roles/people", object{"scopes": []any{}, "permissions": []string{"members:read"}})
	w.must(200, "admin", "PUT", at+"/members/boss@acme.test", object{"name": "Boss", "roles": []string{"admin"}})
	w.must(200, "admin", "PUT", at+"/members/off@acme.test", object{"name": "Off", "roles": []string{"auditor"}, "disabled": true})
	w.must(200, "admin", "PUT", at+"/members/aud@acme.test", object{"name": "Aud", "roles": []string{"auditor"}})
	pending := into[InvitationCreated](t, w.must(201, "admin", "POST", at+"/invitations", object{"email": "next@acme.test", "roles": []string{"auditor"}, "send": false}))
	before := w.must(200, "admin", "GET", at+"/access", nil).Body
	for what, try := range map[string]struct {
		method, path string
		body         any
	}{
		"a role given to oneself":            {"PUT", "/members/pat@acme.test", object{"name": "Pat", "roles": []string{"admin"}}},
		"a role given to a new person":       {"PUT", "/members/new@acme.test", object{"name": "New", "roles": []string{"auditor"}}},
		"an account that is let in again":    {"PUT", "/members/off@acme.test", object{"name": "Off", "roles": []string{"auditor"}}},
		"a role for a closed account":        {"PUT", "/members/off@acme.test", object{"name": "Off", "roles": []string{"admin"}, "disabled": true}},
		"a new role":                         {"PUT", "/roles/mine", object{"scopes": []any{}, "permissions": []string{"admin"}}},
		"one's own role":                     {"PUT", "/roles/member", object{"scopes": []any{}, "permissions": []string{"keys:read"}}},
		"an invitation":                      {"POST", "/invitations", object{"email": "new@acme.test", "roles": []string{"auditor"}}},
		"the account of somebody with more":  {"POST", "/invitations", object{"email": "boss@acme.test"}},
		"the account of an auditor":          {"POST", "/invitations", object{"email": "AUD@acme.test", "roles": []string{"people"}}},
		"another's invitation, for its link": {"POST", "/invitations/" + pending.Invitation.Id + "/resend", nil},
	} {
		if p := w.in(t).refused(fault.RoleNotAllowed, "hr", try.method, at+try.path, try.body); deref(p.Permission) == "" {
			t.Errorf("%s: no permission is named: %+v", what, p)
		}
	}
	if after := w.must(200, "admin", "GET", at+"/access", nil).Body; after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	// To take away, to keep and to give what is held is allowed.
	w.must(200, "hr", "PUT", at+"/members/aud@acme.test", object{"name": "Renamed", "roles": []string{"auditor", "people"}})
	w.must(200, "hr", "PUT", at+"/members/aud@acme.test", object{"name": "Renamed", "roles": []string{"people"}})
	w.must(200, "hr", "PUT", at+"/roles/auditor", object{"description": "x", "scopes": []any{}, "permissions": []string{"audit:read"}})
	w.must(200, "hr", "PUT", at+"/roles/auditor", object{"scopes": []any{}, "permissions": []string{}})
	w.must(200, "hr", "PUT", at+"/roles/people", object{"scopes": []any{}, "permissions": []string{"members:write", "roles:read"}})
	w.must(201, "hr", "POST", at+"/invitations", object{"email": "aud@acme.test", "send": false})
	w.must(204, "hr", "DELETE", at+"/invitations/"+pending.Invitation.Id, nil)
	// An operator's letter makes the first admin, also of a tenant that has none.
	w.must(201, "operator", "POST", at+"/invitations", object{"email": "second@acme.test", "roles": []string{"admin"}})
}

func TestInvitations(t *testing.T) {
	w, box := newPeople(t)
	const at = "/tenants/acme/invitations"
	first := into[InvitationCreated](t, w.must(201, "admin", "POST", at, object{"email": "New@acme.test", "roles": []string{"member"}, "expires_in_hours": 1}, "Idempotency-Key", "one"))
	again := into[InvitationCreated](t, w.must(201, "admin", "POST", at, object{"email": "New@acme.test", "roles": []string{"member"}, "expires_in_hours": 1}, "Idempotency-Key", "one"))
	if again.Url != first.Url || first.Invitation.Status != InvitationStatusPending || first.Invitation.CreatedBy != "pat@acme.test" || first.Invitation.ExpiresAt.Sub(first.Invitation.CreatedAt) != time.Hour {
		t.Errorf("%+v\n%+v", first, again)
	}
	tokenOf := func(i InvitationCreated) tenants.TokenHash {
		t.Helper()
		u, err := url.Parse(i.Url)
		check(t, err)
		h, ok := tenants.ParseInvitationToken(secretText(u.Query().Get("token")))
		if !ok {
			t.Fatalf("no token in %s", i.Url)
		}
		return h
	}
	second := into[InvitationCreated](t, w.must(200, "admin", "POST", at+"/"+first.Invitation.Id+"/resend", nil))
	if second.Invitation.Id != first.Invitation.Id || second.Url == first.Url || second.Invitation.ExpiresAt.Sub(time.Now()) < 6*24*time.Hour {
		t.Errorf("%+v", second)
	}
	if _, err := w.db.InvitationByToken(t.Context(), w.acme.ID, tokenOf(first)); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("the old link: %v", err)
	}
	if letters, err := box.Letters(); err != nil || len(letters) != 2 || !strings.Contains(letters[0].Text, second.Url) {
		t.Errorf("%+v, %v", letters, err)
	}
	third := into[InvitationCreated](t, w.must(201, "admin", "POST", at, object{"email": "new@acme.test", "send": false}))
	if deref(third.Invitation.Mailed) || third.MailError != nil {
		t.Errorf("%+v", third)
	}
	list := into[InvitationPage](t, w.must(200, "admin", "GET", at+"?limit=1", nil))
	rest := into[InvitationPage](t, w.must(200, "admin", "GET", at+"?limit=1&cursor="+deref(list.NextCursor), nil))
	if len(list.Data) != 1 || list.Data[0].Id != third.Invitation.Id || len(rest.Data) != 1 || rest.Data[0].Status != InvitationStatusRevoked || rest.HasMore {
		t.Errorf("%+v %+v", list, rest)
	}
	w.refused(fault.InvalidRequest, "admin", "GET", at+"?cursor="+*cursor("listInvitations", "yesterday", "x"), nil)
	if pending := into[InvitationPage](t, w.must(200, "admin", "GET", at+"?status=pending", nil)); len(pending.Data) != 1 {
		t.Errorf("%+v", pending)
	}
	w.refused(fault.Conflict, "admin", "POST", at+"/"+first.Invitation.Id+"/resend", nil)
	if _, err := w.db.AcceptInvitation(t.Context(), w.acme.ID, tokenOf(third), "New", "hash", time.Now()); err != nil {
		t.Fatal(err)
	}
	w.refused(fault.Conflict, "admin", "DELETE", at+"/"+third.Invitation.Id, nil)
	if got := into[Invitation](t, w.must(200, "admin", "GET", at+"/"+third.Invitation.Id, nil)); got.Status != InvitationStatusAccepted || got.AcceptedAt == nil {
		t.Errorf("%+v", got)
	}
	w.refused(fault.NotFound, "operator", "GET", "/tenants/globex/invitations/"+third.Invitation.Id, nil)
	if p := w.refused(fault.InvalidRequest, "admin", "POST", at, object{"email": "x@y.test", "roles": []string{"nothing"}}); places(p) != "/roles/0" {
		t.Errorf("%+v", p)
	}
	// Somebody who has a password gets a letter that says what it is.
	w.must(201, "admin", "POST", at, object{"email": "new@acme.test"})
	if letters, err := box.Letters(); err != nil || !strings.Contains(letters[0].Subject, "new password") || letters[0].Name != "New" {
		t.Errorf("%+v, %v", letters[0], err)
	}
	w.must(200, "admin", "PUT", "/tenants/acme/members/new@acme.test", object{"name": "New", "roles": []string{}, "disabled": true})
	w.refused(fault.Conflict, "admin", "POST", at, object{"email": "new@acme.test"})
}

func TestInvitationWithoutMail(t *testing.T) {
	w, _ := newPeople(t)
	w.api.People.Mail, w.api.People.Mailbox = nil, nil
	got := into[InvitationCreated](t, w.must(201, "admin", "POST", "/tenants/acme/invitations", object{"email": "new@acme.test"}))
	if got.Url == "" || !strings.Contains(deref(got.MailError), "Hand the link over") || deref(got.Invitation.Mailed) {
		t.Errorf("%+v", got)
	}
	sender, err := mail.NewSMTP("smtp://127.0.0.1:1?from=a@example.com", nil)
	check(t, err)
	w.api.People.Mail = sender
	got = into[InvitationCreated](t, w.must(201, "admin", "POST", "/tenants/acme/invitations", object{"email": "new@acme.test"}))
	if got.Url == "" || !strings.Contains(deref(got.MailError), "cannot be reached") {
		t.Errorf("%+v", got)
	}
	if list := into[MailList](t, w.must(200, "operator", "GET", "/mailbox", nil)); list.Development || len(list.Data) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestRolesAndAccess(t *testing.T) {
	w, _ := newPeople(t)
	const at = "/tenants/acme"
	w.offer("orders", "orders:read", "refunds:write")
	gone := w.offer("zoo", "zoo:feed")
	draft, err := w.db.PutServer(t.Context(), w.acme.ID, registry.Server{Slug: "bare", Kind: "echo", Title: "Bare"})
	check(t, err)
	open := func(pairs ...string) []object {
		var out []object
		for _, p := range pairs {
			server, scope, _ := strings.Cut(p, "/")
			out = append(out, object{"server": server, "scope": scope})
		}
		return out
	}
	put := w.must(200, "admin", "PUT", at+"/roles/support", object{"description": "Helps", "scopes": open("zoo/zoo:feed", "orders/orders:read", "orders/orders:read"), "permissions": []string{"usage:read"}})
	got := into[Role](t, put)
	if fmt.Sprint(got.Scopes) != "[{orders:read orders} {zoo:feed zoo}]" || got.Description != "Helps" || !slices.Equal(got.Permissions, []Permission{"usage:read"}) || got.Members != 0 {
		t.Errorf("%+v", got)
	}
	if read := w.must(200, "admin", "GET", at+"/roles/support", nil); read.Body != put.Body {
		t.Errorf("PUT answers\n%s\nGET\n%s", put.Body, read.Body)
	}
	p := w.refused(fault.InvalidRequest, "admin", "PUT", at+"/roles/support", object{"scopes": open("orders/orders:read", "nothing/a", "orders/no:such", "bare/x")})
	if places(p) != "/scopes/1/server /scopes/2/scope /scopes/3/scope" || deref((*p.Errors)[0].Fix) != "the servers are bare, orders, zoo" || deref((*p.Errors)[1].Fix) != "the scopes are orders:read, refunds:write" {
		t.Errorf("%+v", p)
	}
	if list := into[RolePage](t, w.must(200, "admin", "GET", at+"/roles?limit=1", nil)); len(list.Data) != 1 || list.Data[0].Name != "member" || list.Data[0].Members != 1 || !list.HasMore {
		t.Errorf("%+v", list)
	}

	// A scope that nothing has any more can be kept, and closed, but not opened.
	w.offer("zoo", "zoo:clean")
	w.must(200, "admin", "PUT", at+"/roles/support", object{"scopes": open("zoo/zoo:feed", "orders/orders:read")})
	m := into[AccessMatrix](t, w.must(200, "admin", "GET", at+"/access", nil))
	var rows []string
	for _, s := range m.Scopes {
		rows = append(rows, fmt.Sprintf("%s/%s %v %d", s.Server, s.Scope, deref(s.Published), len(s.Tools)))
	}
	if fmt.Sprint(rows) != "[orders/orders:read true 1 orders/refunds:write true 1 zoo/zoo:clean true 1 zoo/zoo:feed false 0]" || fmt.Sprint(m.Open) != "[1 0 1 3]" || m.Roles[1].Name != "support" {
		t.Errorf("%v %+v", rows, m)
	}
	cell := func(role, server, scope string, open bool) object {
		return object{"role": role, "server": server, "scope": scope, "open": open}
	}
	p = w.refused(fault.InvalidRequest, "admin", "PATCH", at+"/access", object{"changes": []object{
		cell("member", "zoo", "zoo:feed", true), cell("nobody", "zoo", "zoo:feed", false), cell("member", "nothing", "x", false), cell("member", "orders", "orders:read", true), cell("member", "orders", "orders:read", false),
	}})
	if places(p) != "/changes/0/scope /changes/1/role /changes/2/server /changes/4/open" {
		t.Errorf("%+v", p)
	}
	before := w.must(200, "admin", "GET", at+"/access", nil)
	changed := w.must(200, "admin", "PATCH", at+"/access", object{"changes": []object{cell("support", "zoo", "zoo:feed", false), cell("member", "orders", "refunds:write", true)}}, "If-Match", before.Header.Get("ETag"))
	if m = into[AccessMatrix](t, changed); len(m.Scopes) != 3 || fmt.Sprint(m.Open) != "[0 1 1 0]" {
		t.Errorf("%+v", m)
	}
	w.refused(fault.Stale, "admin", "PATCH", at+"/access", object{"changes": []object{cell("support", "orders", "orders:read", false)}}, "If-Match", before.Header.Get("ETag"))

	sc := into[ScopePage](t, w.must(200, "admin", "GET", at+"/scopes?limit=2", nil))
	rest := into[ScopePage](t, w.must(200, "admin", "GET", at+"/scopes?limit=2&cursor="+deref(sc.NextCursor), nil))
	if len(sc.Data) != 2 || fmt.Sprint(deref(sc.Data[1].Roles)) != "[member]" || len(rest.Data) != 1 || rest.Data[0].Scope != "zoo:clean" || rest.HasMore {
		t.Errorf("%+v %+v", sc, rest)
	}
	if unopened := into[ScopePage](t, w.must(200, "admin", "GET", at+"/scopes?unopened=true", nil)); len(unopened.Data) != 1 || unopened.Data[0].Server != "zoo" {
		t.Errorf("%+v", unopened)
	}
	if orders := into[ScopePage](t, w.must(200, "admin", "GET", at+"/scopes?server=orders", nil)); len(orders.Data) != 2 {
		t.Errorf("%+v", orders)
	}

	w.must(200, "admin", "PUT", at+"/members/pat@acme.test", object{"name": "Pat", "roles": []string{"member", "support"}})
	w.must(200, "admin", "PUT", at+"/roles/support", object{"scopes": open("orders/orders:read"), "permissions": []string{"usage:read"}})
	acc := into[EffectiveAccess](t, w.must(200, "admin", "GET", at+"/members/pat@acme.test/access", nil))
	if len(acc.Servers) != 2 || len(acc.Servers[0].Scopes) != 2 || fmt.Sprint(acc.Servers[0].Scopes[1].Roles) != "[member]" || len(acc.Servers[0].ClosedTools) != 0 ||
		len(acc.Servers[1].ClosedTools) != 1 || fmt.Sprint(acc.Permissions) != "[{usage:read [support]}]" {
		t.Errorf("%+v", acc)
	}

	if d := into[Deletion](t, w.must(200, "admin", "DELETE", at+"/roles/support?dry_run=true", nil)); fmt.Sprint(d.Effects) != "[{1 role} {1 people who hold it and stay} {1 scopes that it opens}]" {
		t.Errorf("%+v", d)
	}
	w.must(200, "admin", "DELETE", at+"/roles/support", nil)
	w.refused(fault.NotFound, "admin", "GET", at+"/roles/support", nil)
	w.refused(fault.NotFound, "admin", "DELETE", at+"/roles/support", nil)
	w.must(200, "operator", "PATCH", at, object{"quotas": object{"roles": 1}})
	w.refused(fault.Conflict, "admin", "PUT", at+"/roles/another", object{"scopes": []any{}})
	_, _ = gone, draft
}

// TestMatrixOfManyScopes has the largest change of a matrix. It takes a second
// or two; the bounds are for what grows with the square of it.
func TestMatrixOfManyScopes(t *testing.T) {
	w, _ := newPeople(t)
	const servers, perServer, roles = 20, 25, 50
	var scopes []object
	for s := range servers {
		var names []string
		for i := range perServer {
			names = append(names, fmt.Sprintf("scope:%02d", i))
			scopes = append(scopes, object{"server": fmt.Sprintf("server-%02d", s), "scope": names[i]})
		}
		w.offer(fmt.Sprintf("server-%02d", s), names...)
	}
	var cells []object
	for r := range roles {
		name := fmt.Sprintf("role-%02d", r)
		check(t, w.db.PutRole(t.Context(), w.acme.ID, tenants.Role{Name: name}))
		for _, s := range scopes {
			cells = append(cells, object{"role": name, "server": s["server"], "scope": s["scope"], "open": true})
		}
	}
	began := time.Now()
	m := into[AccessMatrix](t, w.must(200, "admin", "PATCH", "/tenants/acme/access", object{"changes": cells}))
	changed := time.Since(began)
	began = time.Now()
	body := w.must(200, "admin", "GET", "/tenants/acme/access", nil).Body
	read := time.Since(began)
	if len(m.Open) != 2*roles*servers*perServer || len(m.Roles) != roles+1 || len(body) > 1<<20 {
		t.Errorf("%d open, %d roles, %d bytes", len(m.Open)/2, len(m.Roles), len(body))
	}
	t.Logf("%d cells changed in %s, read in %s, %d bytes", len(cells), changed, read, len(body))
	if changed > time.Minute || read > 15*time.Second { // on a loaded machine, with the race detector
		t.Errorf("%d cells changed in %s, read in %s", len(cells), changed, read)
	}
}

// kindOf is a store that deletes tenants so.
type kindOf func(ctx context.Context, t tenants.ID) error

func (f kindOf) DeleteTenant(ctx context.Context, t tenants.ID) error { return f(ctx, t) }

func secretText(s string) secret.Text { return secret.Text(s) }
