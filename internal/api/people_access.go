package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// catalog is what a tenant's roles can open and do open, in two queries,
// whatever its size.
type catalog struct {
	servers registry.Catalog
	roles   []tenants.RoleUse
}

func (a *API) catalog(ctx context.Context, t tenants.ID) (c catalog, err error) {
	if c.servers, err = a.People.Store.Catalog(ctx, t); err != nil {
		return c, err
	}
	c.roles, err = a.People.Store.RoleUses(ctx, t)
	return c, err
}

// held are the roles of these names.
func (c catalog) held(names []string) []tenants.RoleUse {
	return slices.DeleteFunc(slices.Clone(c.roles), func(r tenants.RoleUse) bool { return !slices.Contains(names, r.Name) })
}

// entry is one scope of the matrix.
type entry struct {
	key   tenants.Scope
	shown Scope
}

// entries are the scopes of all published servers, and those that a role opens
// though nothing that is served has them. They are by server, then by name.
func (c catalog) entries() []entry {
	open := map[tenants.Scope]bool{}
	for _, r := range c.roles {
		for _, s := range r.Scopes {
			open[s] = true
		}
	}
	var out []entry
	for _, s := range c.servers {
		for _, sc := range s.Scopes {
			key := tenants.Scope{Server: s.ID, Name: sc.Name}
			if s.Published || open[key] {
				out = append(out, entry{key, Scope{
					Server: s.Slug, ServerTitle: s.Title, Scope: sc.Name, Risk: Risk(cmp.Or(sc.Risk, registry.Destructive)), Tools: toolRefs(sc.Tools),
					Resources: optional(sc.Resources), Prompts: optional(sc.Prompts), Published: ptr(s.Published),
				}})
			}
			delete(open, key)
		}
		for key := range open {
			if key.Server == s.ID {
				out = append(out, entry{key, Scope{Server: s.Slug, ServerTitle: s.Title, Scope: key.Name, Risk: RiskRead, Tools: []ToolRef{}, Published: ptr(false)}})
			}
		}
	}
	slices.SortFunc(out, func(a, b entry) int {
		return compare2(a.shown.Server, b.shown.Server, a.shown.Scope, b.shown.Scope)
	})
	return out
}

func compare2(a1, b1, a2, b2 string) int { return cmp.Or(cmp.Compare(a1, b1), cmp.Compare(a2, b2)) }

func contains[T comparable](list []T, v T) bool { return slices.Contains(list, v) }

func toolRefs(tools []registry.CatalogTool) []ToolRef {
	out := make([]ToolRef, 0, len(tools))
	for _, t := range tools {
		out = append(out, ToolRef{Name: t.Name, Title: cmp.Or(t.Title, t.Name), Description: optional(t.Description), Risk: Risk(cmp.Or(t.Risk, registry.Destructive))})
	}
	return out
}

// GetAccess shows the whole matrix.
func (a *API) GetAccess(ctx context.Context, _ GetAccessRequestObject) (GetAccessResponseObject, error) {
	out, err := a.matrix(ctx)
	return GetAccess200JSONResponse(out), err
}

func (a *API) matrix(ctx context.Context) (AccessMatrix, error) {
	c, err := a.catalog(ctx, tenantOf(ctx).ID)
	if err != nil {
		return AccessMatrix{}, err
	}
	entries := c.entries()
	out := AccessMatrix{Roles: make([]MatrixRole, 0, len(c.roles)), Scopes: make([]Scope, 0, len(entries)), Open: []int{}}
	at := make(map[tenants.Scope]int, len(entries))
	for i, e := range entries {
		at[e.key] = i
		out.Scopes = append(out.Scopes, e.shown)
	}
	for i, r := range c.roles {
		out.Roles = append(out.Roles, MatrixRole{Name: r.Name, Description: r.Description, Members: r.Members, Permissions: permissionList(r.Permissions)})
		open := make([]int, 0, len(r.Scopes))
		for _, s := range r.Scopes {
			if i, ok := at[s]; ok { // not so of a server that is just going
				open = append(open, i)
			}
		}
		slices.Sort(open)
		for _, scope := range open {
			out.Open = append(out.Open, i, scope)
		}
	}
	return out, nil
}

// ChangeAccess opens and closes scopes, all or nothing.
func (a *API) ChangeAccess(ctx context.Context, r ChangeAccessRequestObject) (ChangeAccessResponseObject, error) {
	t := tenantOf(ctx)
	c, err := a.catalog(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	open, closed, places := c.changes(r.Body.Changes)
	if len(places) > 0 {
		return nil, invalid(places)
	}
	if err := a.People.Store.ChangeAccess(ctx, t.ID, open, closed); err != nil {
		return nil, err
	}
	out, err := a.matrix(ctx)
	return ChangeAccess200JSONResponse(out), err
}

// changes finds what cells stand for, and points at those that stand for
// nothing. What is open though no server has it any more can be closed.
func (c catalog) changes(cells []AccessCell) (open, closed []tenants.RoleScope, places []fault.Detail) {
	roles := map[string]tenants.RoleUse{}
	var names []string
	for _, r := range c.roles {
		roles[r.Name] = r
		names = append(names, r.Name)
	}
	type known struct {
		registry.CatalogServer
		scopes map[string]bool
	}
	servers := map[string]known{}
	for _, s := range c.servers {
		k := known{s, map[string]bool{}}
		for _, sc := range s.Scopes {
			k.scopes[sc.Name] = true
		}
		servers[s.Slug] = k
	}
	seen := map[AccessCell]int{}
	for i, cell := range cells {
		at := fmt.Sprintf("/changes/%d", i)
		if len(places) >= maxPlaces {
			break
		}
		other := cell
		other.Open = !cell.Open
		if j, twice := seen[other]; twice {
			places = append(places, fault.Detail{Pointer: at + "/open", Reason: fmt.Sprintf("says the contrary of /changes/%d", j), Fix: "send each cell once"})
			continue
		}
		seen[cell] = i
		r, ok := roles[cell.Role]
		if !ok {
			places = append(places, fault.Detail{Pointer: at + "/role", Reason: fmt.Sprintf("there is no role %q", cell.Role), Fix: choices("roles", names)})
			continue
		}
		s, ok := servers[cell.Server]
		scope := tenants.RoleScope{Role: r.Name, Scope: tenants.Scope{Server: s.ID, Name: cell.Scope}}
		switch {
		case ok && !cell.Open:
			closed = append(closed, scope)
		case ok && s.scopes[cell.Scope]:
			open = append(open, scope)
		default:
			if _, wrong := offered(c.servers, r.Scopes, cell.Server, cell.Scope, at); wrong != nil {
				places = append(places, *wrong)
			}
		}
	}
	return open, closed, places
}

// ListScopes lists the matrix's scopes with the roles that open each.
func (a *API) ListScopes(ctx context.Context, r ListScopesRequestObject) (ListScopesResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	after, err := readCursor("listScopes", r.Params.Cursor, 2)
	if err != nil {
		return nil, err
	}
	c, err := a.catalog(ctx, tenantOf(ctx).ID)
	if err != nil {
		return nil, err
	}
	openers := map[tenants.Scope][]string{}
	for _, role := range c.roles {
		for _, s := range role.Scopes {
			openers[s] = append(openers[s], role.Name)
		}
	}
	all := slices.DeleteFunc(c.entries(), func(e entry) bool {
		return after != nil && compare2(e.shown.Server, after[0], e.shown.Scope, after[1]) <= 0 ||
			deref(r.Params.Server) != "" && e.shown.Server != *r.Params.Server || deref(r.Params.Unopened) && len(openers[e.key]) > 0
	})
	page, more := cut(all, limit)
	out := ScopePage{Data: make([]Scope, 0, len(page)), HasMore: more}
	for _, e := range page {
		e.shown.Roles = ptr(texts(openers[e.key]))
		out.Data = append(out.Data, e.shown)
	}
	if more {
		last := page[limit-1].shown
		out.NextCursor = cursor("listScopes", last.Server, last.Scope)
	}
	return ListScopes200JSONResponse(out), nil
}
