package api

import (
	"context"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

func (a *API) tenant(t tenants.Tenant, used tenants.Quotas) Tenant {
	use := func(limit, used int) QuotaUse { return QuotaUse{Limit: limit, Used: used} }
	return Tenant{
		Id: string(t.ID), Slug: t.Slug, Name: t.Name, Suspended: t.Suspended, CreatedAt: t.CreatedAt.UTC(),
		BaseUrl: a.Sites.Base(t.Slug), Issuer: a.Sites.Base(t.Slug),
		Quotas: QuotasUsed{
			Servers: use(t.Quotas.Servers, used.Servers), Members: use(t.Quotas.Members, used.Members),
			Roles: use(t.Quotas.Roles, used.Roles), ApiKeys: use(t.Quotas.APIKeys, used.APIKeys),
		},
	}
}

func quotaChange(q *Quotas) tenants.QuotaChange {
	if q == nil {
		return tenants.QuotaChange{}
	}
	return tenants.QuotaChange{Servers: q.Servers, Members: q.Members, Roles: q.Roles, APIKeys: q.ApiKeys}
}

// ListTenants lists all of them for an operator, and for others their own.
func (a *API) ListTenants(ctx context.Context, r ListTenantsRequestObject) (ListTenantsResponseObject, error) {
	caller, limit := callerOf(ctx), limitOf(r.Params.Limit)
	after, err := readCursor("listTenants", r.Params.Cursor, 1)
	if err != nil {
		return nil, err
	}
	if !caller.Operator() {
		used, err := a.People.Store.QuotasUsed(ctx, caller.Tenant.ID)
		if err != nil {
			return nil, err
		}
		return ListTenants200JSONResponse{Data: []Tenant{a.tenant(caller.Tenant, used)}}, nil
	}
	var last string
	if after != nil {
		last = after[0]
	}
	all, err := a.People.Store.TenantsPage(ctx, deref(r.Params.Q), last, limit+1)
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	out := TenantPage{Data: make([]Tenant, 0, len(page)), HasMore: more}
	for _, t := range page {
		out.Data = append(out.Data, a.tenant(t.Tenant, t.Used))
	}
	if more {
		out.NextCursor = cursor("listTenants", page[limit-1].Slug)
	}
	return ListTenants200JSONResponse(out), nil
}

// CreateTenant provisions a tenant: it has a role that holds everything, and an
// invitation for the first person who gets it.
func (a *API) CreateTenant(ctx context.Context, r CreateTenantRequestObject) (CreateTenantResponseObject, error) {
	if err := tenants.ValidTenantSlug(r.Body.Slug); err != nil {
		return nil, invalid([]fault.Detail{{Pointer: "/slug", Reason: err.Error(), Fix: "choose another slug"}})
	}
	n := tenants.NewTenant{
		Slug: r.Body.Slug, Name: r.Body.Name, Quotas: quotaChange(r.Body.Quotas),
		Roles: []tenants.Role{{Name: "admin", Description: "Administers the tenant.", Permissions: []tenants.Permission{tenants.Admin}}},
	}
	var sent letter
	if first := r.Body.Admin; first != nil {
		i, token, err := a.newInvitation(ctx, first.Email, deref(first.Name), []string{"admin"}, defaultInvitation)
		if err != nil {
			return nil, err
		}
		n.Invitation, sent = &i, letter{token: token, send: first.Send == nil || *first.Send}
	}
	t, err := a.People.Store.CreateTenant(ctx, n)
	if err != nil {
		return nil, err
	}
	used, err := a.People.Store.QuotasUsed(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	out := TenantCreated{Tenant: a.tenant(t, used)}
	if n.Invitation != nil {
		created := a.invite(ctx, t, *n.Invitation, sent)
		out.Invitation = &created
	}
	return CreateTenant201JSONResponse(out), nil
}

// GetTenant shows one.
func (a *API) GetTenant(ctx context.Context, _ GetTenantRequestObject) (GetTenantResponseObject, error) {
	t, err := a.People.Store.TenantBySlug(ctx, tenantOf(ctx).Slug)
	if err != nil {
		return nil, err
	}
	used, err := a.People.Store.QuotasUsed(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	return GetTenant200JSONResponse(a.tenant(t, used)), nil
}

// UpdateTenant renames; only an operator suspends, lets in again and sets
// quotas.
func (a *API) UpdateTenant(ctx context.Context, r UpdateTenantRequestObject) (UpdateTenantResponseObject, error) {
	t := tenantOf(ctx)
	if !callerOf(ctx).Operator() && (r.Body.Suspended != nil || r.Body.Quotas != nil) {
		return nil, fault.New(fault.RoleNotAllowed, "Only whoever runs the platform suspends tenants and sets quotas. Send the name alone.")
	}
	if t.Deleting && r.Body.Suspended != nil && !*r.Body.Suspended {
		return nil, fault.New(fault.Conflict, "This tenant is being deleted and cannot be let in again.")
	}
	changed, err := a.People.Store.UpdateTenant(ctx, t.ID, tenants.TenantChange{Name: r.Body.Name, Suspended: r.Body.Suspended, Quotas: quotaChange(r.Body.Quotas)})
	if err != nil {
		return nil, err
	}
	used, err := a.People.Store.QuotasUsed(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	return UpdateTenant200JSONResponse(a.tenant(changed, used)), nil
}

// DeleteTenant suspends the tenant at once and queues the rest.
func (a *API) DeleteTenant(ctx context.Context, r DeleteTenantRequestObject) (DeleteTenantResponseObject, error) {
	t := tenantOf(ctx)
	if deref(r.Params.DryRun) {
		effects, err := a.People.Store.TenantEffects(ctx, t.ID)
		if err != nil {
			return nil, err
		}
		return DeleteTenant200JSONResponse(deletion(true, effects)), nil
	}
	op, err := a.People.Store.BeginDeleteTenant(ctx, t.ID, callerOf(ctx).Actor(), a.Now())
	if err != nil {
		return nil, err
	}
	a.queued()
	return DeleteTenant202JSONResponse(operationOf(op)), nil
}
