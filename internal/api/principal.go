package api

import (
	"context"
	"slices"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Principal is who calls.
type Principal struct {
	Kind MeKind
	// ID is the person's, the key's, or the operator's address. It stands in the
	// audit and counts requests.
	ID   string
	Name string // for people: the person's or the key's
	// Email is set for people and operators.
	Email string
	// Tenant is the tenant that the caller belongs to; empty for operators.
	Tenant tenants.Tenant
	// User is set for a member only.
	User  tenants.UserID
	Roles []string
	// Permissions are what the caller holds in Tenant; an operator holds
	// operatorPermissions in every tenant.
	Permissions []tenants.Permission
	// Via is how they came: the console's client id, a key's id. It stands in the
	// audit as the client.
	Via string
}

// Operator reports whether the caller runs the platform.
func (p Principal) Operator() bool {
	return p.Kind == MeKindOperator || p.Kind == MeKindOperatorKey
}

// Actor is how the caller is named in what they made: an address, or the name
// of a key.
func (p Principal) Actor() string {
	switch p.Kind {
	case MeKindMember, MeKindOperator:
		return p.Email
	}
	return "key " + p.Name
}

// Holds reports whether the caller has a permission in a tenant.
func (p Principal) Holds(want tenants.Permission) bool { return tenants.Holds(p.held(), want) }

func (p Principal) held() []tenants.Permission {
	if p.Operator() {
		return operatorPermissions
	}
	return p.Permissions
}

// operatorPermissions are all but calling a tenant's tools: that would use the
// tenant's credentials.
var operatorPermissions = slices.DeleteFunc(tenants.Permissions(), func(p tenants.Permission) bool {
	return p == tenants.ToolsTry || p == tenants.Admin
})

// mayGive refuses to let a caller give away permissions that they do not hold
// themselves. An operator may make administrators.
func (p Principal) mayGive(asked []tenants.Permission) error {
	if p.Operator() {
		return nil
	}
	if beyond := tenants.Beyond(p.Permissions, asked); len(beyond) > 0 {
		return fault.New(fault.RoleNotAllowed, "This would give away the permission %s, which you do not hold yourself. Ask somebody who does.", beyond[0]).WithScope(string(beyond[0]))
	}
	return nil
}

type (
	callerKey struct{}
	tenantKey struct{}
)

// callerOf is who calls, in a handler.
func callerOf(ctx context.Context) Principal {
	p, _ := ctx.Value(callerKey{}).(Principal)
	return p
}

// tenantOf is the tenant of the path, in a handler of one.
func tenantOf(ctx context.Context) tenants.Tenant {
	t, _ := ctx.Value(tenantKey{}).(tenants.Tenant)
	return t
}

// notFound is the one answer for what does not exist and what may not be seen.
func notFound() error {
	return fault.New(fault.NotFound, "There is nothing of that name here, or you may not see it. Check the path.")
}
