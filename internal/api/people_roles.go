package api

import (
	"context"
	"fmt"
	"slices"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

func role(r tenants.RoleUse, slugs map[tenants.ServerID]string) Role {
	out := Role{Name: r.Name, Description: r.Description, Scopes: make([]RoleScope, 0, len(r.Scopes)), Permissions: permissionList(r.Permissions), Members: r.Members}
	for _, s := range r.Scopes {
		if slug, ok := slugs[s.Server]; ok { // not so of a server that is just going
			out.Scopes = append(out.Scopes, RoleScope{Server: slug, Scope: s.Name})
		}
	}
	slices.SortFunc(out.Scopes, func(a, b RoleScope) int { return compare2(a.Server, b.Server, a.Scope, b.Scope) })
	return out
}

// ListRoles lists roles by name. A tenant has few enough to read them all.
func (a *API) ListRoles(ctx context.Context, r ListRolesRequestObject) (ListRolesResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	after, err := readCursor("listRoles", r.Params.Cursor, 1)
	if err != nil {
		return nil, err
	}
	all, err := a.People.Store.RoleUses(ctx, tenantOf(ctx).ID)
	if err != nil {
		return nil, err
	}
	slugs, err := a.People.Store.ServerSlugs(ctx, tenantOf(ctx).ID)
	if err != nil {
		return nil, err
	}
	if after != nil {
		all = slices.DeleteFunc(all, func(r tenants.RoleUse) bool { return r.Name <= after[0] })
	}
	page, more := cut(all, limit)
	out := RolePage{Data: make([]Role, 0, len(page)), HasMore: more}
	for _, one := range page {
		out.Data = append(out.Data, role(one, slugs))
	}
	if more {
		out.NextCursor = cursor("listRoles", page[limit-1].Name)
	}
	return ListRoles200JSONResponse(out), nil
}

// GetRole shows one.
func (a *API) GetRole(ctx context.Context, r GetRoleRequestObject) (GetRoleResponseObject, error) {
	out, err := a.role(ctx, r.Role)
	return GetRole200JSONResponse(out), err
}

func (a *API) role(ctx context.Context, name string) (Role, error) {
	t := tenantOf(ctx)
	found, err := a.People.Store.RoleUse(ctx, t.ID, name)
	if err != nil {
		return Role{}, err
	}
	slugs, err := a.People.Store.ServerSlugs(ctx, t.ID)
	return role(found, slugs), err
}

// PutRole creates or replaces a role. What it opens must be offered by a server,
// or be open already: a scope that is no more does not stand in the way.
func (a *API) PutRole(ctx context.Context, r PutRoleRequestObject) (PutRoleResponseObject, error) {
	t := tenantOf(ctx)
	before, err := a.People.Store.RoleUse(ctx, t.ID, r.Role)
	if fault.HasCode(err, fault.NotFound) {
		used, err := a.People.Store.QuotasUsed(ctx, t.ID)
		if err != nil {
			return nil, err
		}
		if err := withinQuota("roles", used.Roles, t.Quotas.Roles); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	servers, err := a.People.Store.Catalog(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	want := tenants.Role{Name: r.Role, Description: deref(r.Body.Description)}
	for _, p := range deref(r.Body.Permissions) {
		want.Permissions = append(want.Permissions, tenants.Permission(p))
	}
	if err := callerOf(ctx).mayGive(tenants.Beyond(before.Permissions, want.Permissions)); err != nil {
		return nil, err
	}
	var places []fault.Detail
	for i, s := range r.Body.Scopes {
		scope, wrong := offered(servers, before.Scopes, s.Server, s.Scope, fmt.Sprintf("/scopes/%d", i))
		if wrong != nil {
			places = append(places, *wrong)
		}
		want.Scopes = append(want.Scopes, scope)
	}
	if len(places) > 0 {
		return nil, invalid(places)
	}
	if err := a.People.Store.PutRole(ctx, t.ID, want); err != nil {
		return nil, err
	}
	out, err := a.role(ctx, r.Role)
	return PutRole200JSONResponse(out), err
}

// offered finds a scope that a role is to open, or says what there is instead.
func offered(servers registry.Catalog, open []tenants.Scope, server, scope, pointer string) (tenants.Scope, *fault.Detail) {
	s, ok := servers.Server(server)
	if !ok {
		var slugs []string
		for _, s := range servers {
			slugs = append(slugs, s.Slug)
		}
		return tenants.Scope{}, &fault.Detail{Pointer: pointer + "/server", Reason: fmt.Sprintf("there is no server %q", server), Fix: choices("servers", slugs)}
	}
	want := tenants.Scope{Server: s.ID, Name: scope}
	if _, ok := s.Scope(scope); ok || slices.Contains(open, want) {
		return want, nil
	}
	var names []string
	for _, sc := range s.Scopes {
		names = append(names, sc.Name)
	}
	return want, &fault.Detail{Pointer: pointer + "/scope", Reason: fmt.Sprintf("the server %s has no scope %q", server, clip(scope, 100)), Fix: choices("scopes", names)}
}

// DeleteRole takes a role from everyone who holds it.
func (a *API) DeleteRole(ctx context.Context, r DeleteRoleRequestObject) (DeleteRoleResponseObject, error) {
	t := tenantOf(ctx)
	effects, err := a.People.Store.RoleEffects(ctx, t.ID, r.Role)
	if err != nil {
		return nil, err
	}
	dry := deref(r.Params.DryRun)
	if !dry {
		if err := a.People.Store.DeleteRole(ctx, t.ID, r.Role); err != nil {
			return nil, err
		}
	}
	return DeleteRole200JSONResponse(deletion(dry, effects)), nil
}
