package tenants

import (
	"context"
	"time"
)

// Quotas is how many of each a tenant may have.
type Quotas struct{ Servers, Members, Roles, APIKeys int }

// DefaultQuotas hold where a tenant has none of its own.
var DefaultQuotas = Quotas{Servers: 200, Members: 10_000, Roles: 200, APIKeys: 200}

// QuotaChange sets some of a tenant's quotas; nil leaves one as it is.
type QuotaChange struct {
	Servers *int `json:"servers,omitempty"`
	Members *int `json:"members,omitempty"`
	Roles   *int `json:"roles,omitempty"`
	APIKeys *int `json:"api_keys,omitempty"`
}

// TenantChange sets some of what an operator says of a tenant.
type TenantChange struct {
	Name      *string
	Suspended *bool
	Quotas    QuotaChange
}

// NewTenant is a tenant as an operator provisions it.
type NewTenant struct {
	Slug, Name string
	Quotas     QuotaChange
	Roles      []Role
	Invitation *Invitation // of its first person, with its token's hash
}

// TenantUse is a tenant with how much of its quotas is used.
type TenantUse struct {
	Tenant
	Used Quotas
}

// Hosting is the part of a store that provisions tenants.
type Hosting interface {
	TenantsPage(ctx context.Context, search, afterSlug string, limit int) ([]TenantUse, error)
	// CreateTenant makes all of it or nothing; a slug that is taken is
	// fault.Conflict.
	CreateTenant(ctx context.Context, n NewTenant) (Tenant, error)
	UpdateTenant(ctx context.Context, t ID, c TenantChange) (Tenant, error)
	// QuotasUsed counts what quotas bound.
	QuotasUsed(ctx context.Context, t ID) (Quotas, error)
	TenantEffects(ctx context.Context, t ID) (Effects, error)
	// BeginDeleteTenant suspends the tenant for good and queues the operation
	// that removes it, in one transaction. One that is under way is returned.
	BeginDeleteTenant(ctx context.Context, t ID, createdBy string, at time.Time) (Operation, error)
	// DeleteTenant removes its rows; audit records and operations stay. One
	// that is gone already is no error.
	DeleteTenant(ctx context.Context, t ID) error
}
