// Package tenants owns who is there: tenants, their people, and their roles
// with the scopes each role opens on each server.
//
// It leaves to oauth how a person signs in and what they consent to, to
// registry what a server offers, and to postgres how rows are kept apart.
package tenants

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Tenant is one company. Everything else belongs to exactly one.
type Tenant struct {
	ID        ID
	Slug      string // stands in URLs; see ValidSlug
	Name      string
	CreatedAt time.Time
	Suspended bool // nobody signs in and no call runs
}

// User is a person of one tenant.
type User struct {
	ID       UserID
	Tenant   ID
	Email    string // lower case, unique within the tenant
	Name     string
	Roles    []string // sorted
	Disabled bool
}

// Scope is a scope of one server: names are only unique within a server,
// because a token's audience is exactly one server.
type Scope struct {
	Server ServerID
	Name   string
}

// Role opens scopes to the people who hold it. There are no wildcards: a new
// tool is closed until an admin puts its scope into a role.
type Role struct {
	Name        string
	Description string
	Scopes      []Scope // sorted by server, then name
}

// Access is what one person may do at this moment.
type Access struct {
	User        User
	Scopes      map[Scope]bool
	Permissions []Permission // of all their roles; sorted, each once
}

// Allows reports whether the person's roles open the scope now.
func (a Access) Allows(server ServerID, scope string) bool {
	return !a.User.Disabled && a.Scopes[Scope{server, scope}]
}

// Store keeps tenants, users and roles. Every method but the two that find a
// tenant runs inside that tenant. Unknown things are fault.NotFound.
type Store interface {
	TenantBySlug(ctx context.Context, slug string) (Tenant, error)
	Tenants(ctx context.Context) ([]Tenant, error)
	// PutTenant creates the tenant of that slug or updates its name.
	PutTenant(ctx context.Context, slug, name string) (Tenant, error)

	UserByID(ctx context.Context, t ID, id UserID) (User, error)
	UserByEmail(ctx context.Context, t ID, email string) (User, error)
	Users(ctx context.Context, t ID) ([]User, error)
	// PutUser creates the user of that email or updates name and roles.
	PutUser(ctx context.Context, t ID, email, name string, roles []string) (User, error)
	SetUserDisabled(ctx context.Context, t ID, id UserID, disabled bool) error
	// PasswordHash is the encoded argon2id hash, empty if none is set.
	PasswordHash(ctx context.Context, t ID, id UserID) (string, error)
	SetPasswordHash(ctx context.Context, t ID, id UserID, hash string) error

	Roles(ctx context.Context, t ID) ([]Role, error)
	// PutRole creates the role or replaces its description and scopes.
	PutRole(ctx context.Context, t ID, r Role) error
	DeleteRole(ctx context.Context, t ID, name string) error

	// Access reads a person's roles and what they open, in one go.
	Access(ctx context.Context, t ID, id UserID) (Access, error)
}

var slugPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,38}[a-z0-9]$`)

// ValidSlug checks a tenant's or server's slug: 2-40 characters of a-z, 0-9
// and `-`, starting with a letter and not ending in `-` (a DNS label).
func ValidSlug(s string) error {
	if !slugPattern.MatchString(s) {
		return fmt.Errorf("%q is not a slug: use 2 to 40 characters of a-z, 0-9 and -, starting with a letter", trim(s))
	}
	return nil
}

// reservedSlugs stand where a tenant's would, or look like the platform's own.
var reservedSlugs = []string{"platform", "ops", "api", "www", "admin", "status", "docs"}

// ValidTenantSlug is ValidSlug, and not one of the platform's own.
func ValidTenantSlug(s string) error {
	if slices.Contains(reservedSlugs, s) {
		return fmt.Errorf("%q is the platform's own: choose another slug", s)
	}
	return ValidSlug(s)
}
