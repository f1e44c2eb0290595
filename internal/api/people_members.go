package api

import (
	"context"
	netmail "net/mail"
	"strings"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

func member(m tenants.Member) Member {
	return Member{
		Id: string(m.ID), Email: m.Email, Name: m.Name, Roles: texts(m.Roles), Disabled: m.Disabled, HasPassword: m.HasPassword,
		CreatedAt: m.CreatedAt.UTC(), LastSeenAt: optionalTime(m.LastSeenAt), Grants: &m.Grants,
	}
}

// ListMembers lists people by address.
func (a *API) ListMembers(ctx context.Context, r ListMembersRequestObject) (ListMembersResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	after, err := readCursor("listMembers", r.Params.Cursor, 1)
	if err != nil {
		return nil, err
	}
	q := tenants.MemberQuery{Search: deref(r.Params.Q), Role: deref(r.Params.Role), Status: tenants.MemberStatus(deref(r.Params.Status)), Limit: limit + 1}
	if after != nil {
		q.After = after[0]
	}
	all, err := a.People.Store.Members(ctx, tenantOf(ctx).ID, q)
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	out := MemberPage{Data: make([]Member, 0, len(page)), HasMore: more}
	for _, m := range page {
		out.Data = append(out.Data, member(m))
	}
	if more {
		out.NextCursor = cursor("listMembers", page[limit-1].Email)
	}
	return ListMembers200JSONResponse(out), nil
}

// GetMember shows one person.
func (a *API) GetMember(ctx context.Context, r GetMemberRequestObject) (GetMemberResponseObject, error) {
	m, err := a.People.Store.Member(ctx, tenantOf(ctx).ID, r.Member)
	if err != nil {
		return nil, err
	}
	return GetMember200JSONResponse(member(m)), nil
}

// PutMember creates or replaces a person.
func (a *API) PutMember(ctx context.Context, r PutMemberRequestObject) (PutMemberResponseObject, error) {
	t := tenantOf(ctx)
	disabled := deref(r.Body.Disabled)
	before, err := a.People.Store.Member(ctx, t.ID, r.Member)
	known := err == nil
	switch {
	case known:
	case !fault.HasCode(err, fault.NotFound):
		return nil, err
	case !strings.Contains(r.Member, "@"): // an id, which is not for callers to choose
		return nil, notFound()
	default:
		if before.Email, err = address(r.Member, "{member}"); err != nil {
			return nil, err
		}
		used, err := a.People.Store.QuotasUsed(ctx, t.ID)
		if err != nil {
			return nil, err
		}
		if err := withinQuota("people", used.Members, t.Quotas.Members); err != nil {
			return nil, err
		}
	}
	roles, err := a.People.Store.RoleUses(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	if err := knownRoles(roles, r.Body.Roles); err != nil {
		return nil, err
	}
	// To let somebody in again gives them all that they hold.
	given := openedBy(roles, r.Body.Roles)
	if known && (!before.Disabled || disabled) {
		given = tenants.Beyond(openedBy(roles, before.Roles), given)
	}
	if err := callerOf(ctx).mayGive(given); err != nil {
		return nil, err
	}
	if _, err := a.People.Store.SaveMember(ctx, t.ID, before.Email, r.Body.Name, r.Body.Roles, disabled); err != nil {
		return nil, err
	}
	m, err := a.People.Store.Member(ctx, t.ID, before.Email)
	if err != nil {
		return nil, err
	}
	return PutMember200JSONResponse(member(m)), nil
}

// address checks an address that is to be stored, and gives its one form.
func address(s, pointer string) (string, error) {
	s = lower(s)
	if a, err := netmail.ParseAddress(s); err != nil || a.Address != s || len(s) > 254 {
		return "", invalid([]fault.Detail{{Pointer: pointer, Reason: "is not an e-mail address", Fix: "write one such as dana@example.com"}})
	}
	return s, nil
}

// DeleteMember removes a person.
func (a *API) DeleteMember(ctx context.Context, r DeleteMemberRequestObject) (DeleteMemberResponseObject, error) {
	t := tenantOf(ctx)
	m, err := a.People.Store.Member(ctx, t.ID, r.Member)
	if err != nil {
		return nil, err
	}
	effects, err := a.People.Store.MemberEffects(ctx, t.ID, m.ID)
	if err != nil {
		return nil, err
	}
	dry := deref(r.Params.DryRun)
	if !dry {
		if err := a.People.Store.DeleteUser(ctx, t.ID, m.ID); err != nil {
			return nil, err
		}
	}
	return DeleteMember200JSONResponse(deletion(dry, effects)), nil
}

// EndMemberSessions signs a person out of every browser.
func (a *API) EndMemberSessions(ctx context.Context, r EndMemberSessionsRequestObject) (EndMemberSessionsResponseObject, error) {
	t := tenantOf(ctx)
	m, err := a.People.Store.Member(ctx, t.ID, r.Member)
	if err != nil {
		return nil, err
	}
	if err := a.People.EndSessions(ctx, t.ID, m.ID); err != nil {
		return nil, err
	}
	return EndMemberSessions204Response{}, nil
}

// GetMemberAccess answers "what can this person call?", and which role opens
// it. Of a disabled person it says what they could, and that they are disabled.
func (a *API) GetMemberAccess(ctx context.Context, r GetMemberAccessRequestObject) (GetMemberAccessResponseObject, error) {
	t := tenantOf(ctx)
	m, err := a.People.Store.Member(ctx, t.ID, r.Member)
	if err != nil {
		return nil, err
	}
	c, err := a.catalog(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	held := c.held(m.Roles)
	out := EffectiveAccess{Member: member(m), Servers: []OpenedServer{}, Permissions: []OpenedPermission{}}
	for _, p := range openedBy(held, m.Roles) {
		opened := OpenedPermission{Permission: Permission(p), Roles: []string{}}
		for _, role := range held {
			if contains(role.Permissions, p) {
				opened.Roles = append(opened.Roles, role.Name)
			}
		}
		out.Permissions = append(out.Permissions, opened)
	}
	for _, s := range c.servers {
		if s.Published {
			out.Servers = append(out.Servers, openedServer(s, held))
		}
	}
	return GetMemberAccess200JSONResponse(out), nil
}

func openedServer(s registry.CatalogServer, held []tenants.RoleUse) OpenedServer {
	out := OpenedServer{Server: s.Slug, Title: s.Title, Scopes: []OpenedScope{}, ClosedTools: []ToolRef{}}
	for _, scope := range s.Scopes {
		var roles []string
		for _, r := range held {
			if contains(r.Scopes, tenants.Scope{Server: s.ID, Name: scope.Name}) {
				roles = append(roles, r.Name)
			}
		}
		if roles == nil {
			out.ClosedTools = append(out.ClosedTools, toolRefs(scope.Tools)...)
			continue
		}
		out.Scopes = append(out.Scopes, OpenedScope{Scope: scope.Name, Roles: roles, Tools: toolRefs(scope.Tools)})
	}
	return out
}
