package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/fresh"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// Cached reads what each call needs through caches that are dropped by the
// database's own notifications. Everything else is DB's.
type Cached struct {
	*DB
	tenants *fresh.Cache[string, tenants.Tenant]
	access  *fresh.Cache[accessKey, tenants.Access]
	hosted  *fresh.Cache[hostedKey, registry.Hosted]
	grants  *fresh.Cache[grantKey, bool]
	listed  *fresh.Cache[listedKey, registry.RevisionID]
	off     *fresh.Cache[tenants.ID, *switches.Set]
	limits  *fresh.Cache[tenants.ID, tenants.Limits]
	health  *fresh.Cache[tenants.ID, health.Set]
	// OnChange, if set before Run, hears every change after the caches did.
	OnChange func(Change)
}

type (
	accessKey struct {
		tenant tenants.ID
		user   tenants.UserID
	}
	hostedKey struct {
		tenant tenants.ID
		slug   string
	}
	grantKey struct {
		tenant tenants.ID
		grant  string
	}
	listedKey struct {
		tenant tenants.ID
		grant  string
		server registry.ServerID
	}
)

// NewCached makes the caches; Run lets them keep anything.
func NewCached(db *DB) *Cached {
	return &Cached{
		DB:      db,
		tenants: fresh.New(10_000, func(s string) string { return s }, db.TenantBySlug),
		access: fresh.New(50_000, func(k accessKey) string { return string(k.tenant) + string(k.user) },
			func(ctx context.Context, k accessKey) (tenants.Access, error) {
				return db.Access(ctx, k.tenant, k.user)
			}),
		hosted: fresh.New(10_000, func(k hostedKey) string { return string(k.tenant) + k.slug },
			func(ctx context.Context, k hostedKey) (registry.Hosted, error) {
				return db.Hosted(ctx, k.tenant, k.slug)
			}),
		grants: fresh.New(100_000, func(k grantKey) string { return string(k.tenant) + k.grant },
			func(ctx context.Context, k grantKey) (bool, error) { return db.GrantActive(ctx, k.tenant, k.grant) }),
		listed: fresh.New(100_000, func(k listedKey) string { return string(k.tenant) + k.grant + string(k.server) },
			func(ctx context.Context, k listedKey) (registry.RevisionID, error) {
				return db.ListedRevision(ctx, k.tenant, k.grant, k.server)
			}),
		off: fresh.New(10_000, func(t tenants.ID) string { return string(t) }, db.Off),
		limits: fresh.New(10_000, func(t tenants.ID) string { return string(t) }, func(ctx context.Context, t tenants.ID) (tenants.Limits, error) {
			own, err := db.OwnLimits(ctx, t)
			return own.Or(tenants.DefaultLimits), err
		}),
		health: fresh.New(10_000, func(t tenants.ID) string { return string(t) }, db.ServerHealth),
	}
}

// TenantBySlug, Access, Hosted, GrantActive, ListedRevision and Off are DB's, from memory.

func (c *Cached) TenantBySlug(ctx context.Context, slug string) (tenants.Tenant, error) {
	return c.tenants.Get(ctx, slug)
}

func (c *Cached) Access(ctx context.Context, t tenants.ID, u tenants.UserID) (tenants.Access, error) {
	return c.access.Get(ctx, accessKey{t, u})
}

func (c *Cached) Hosted(ctx context.Context, t tenants.ID, slug string) (registry.Hosted, error) {
	return c.hosted.Get(ctx, hostedKey{t, slug})
}

func (c *Cached) GrantActive(ctx context.Context, t tenants.ID, grant string) (bool, error) {
	return c.grants.Get(ctx, grantKey{t, grant})
}

func (c *Cached) ListedRevision(ctx context.Context, t tenants.ID, grant string, s registry.ServerID) (registry.RevisionID, error) {
	return c.listed.Get(ctx, listedKey{t, grant, s})
}

// RememberListed is DB's. What this edge wrote, it reads at once.
func (c *Cached) RememberListed(ctx context.Context, t tenants.ID, grant string, s registry.ServerID, r registry.RevisionID) error {
	err := c.DB.RememberListed(ctx, t, grant, s, r)
	c.listed.Drop(func(k listedKey) bool { return k == listedKey{t, grant, s} })
	return err
}

func (c *Cached) Off(ctx context.Context, t tenants.ID) (*switches.Set, error) {
	return c.off.Get(ctx, t)
}

// Limits are those that hold: what the tenant sets, and the defaults for the
// rest.
func (c *Cached) Limits(ctx context.Context, t tenants.ID) (tenants.Limits, error) {
	return c.limits.Get(ctx, t)
}

// ServerHealth is DB's, from memory.
func (c *Cached) ServerHealth(ctx context.Context, t tenants.ID) (health.Set, error) {
	return c.health.Get(ctx, t)
}

// Run listens for changes until ctx ends.
func (c *Cached) Run(ctx context.Context) {
	c.Listen(ctx, func(ch Change) {
		c.apply(ch)
		if c.OnChange != nil {
			c.OnChange(ch)
		}
	})
}

func (c *Cached) apply(ch Change) {
	t := tenants.ID(ch.Tenant)
	switch ch.Topic {
	case Lost, Reconnected:
		hearing := ch.Topic == Reconnected
		c.tenants.Hearing(hearing)
		c.access.Hearing(hearing)
		c.hosted.Hearing(hearing)
		c.grants.Hearing(hearing)
		c.listed.Hearing(hearing)
		c.off.Hearing(hearing)
		c.limits.Hearing(hearing)
		c.health.Hearing(hearing)
	case "tenant":
		c.tenants.Drop(func(string) bool { return true })
	case "access":
		c.access.Drop(func(k accessKey) bool { return k.tenant == t })
	case "server":
		c.hosted.Drop(func(k hostedKey) bool { return k.tenant == t })
		c.access.Drop(func(k accessKey) bool { return k.tenant == t })
	case "switch":
		c.off.Drop(func(k tenants.ID) bool { return k == t })
	case "limits":
		c.limits.Drop(func(id tenants.ID) bool { return id == t })
	case "health":
		c.health.Drop(func(id tenants.ID) bool { return id == t })
	case "grant":
		c.grants.Drop(func(k grantKey) bool { return k.tenant == t && k.grant == ch.ID })
	case "listed":
		c.listed.Drop(func(k listedKey) bool { return k.tenant == t && k.grant == ch.ID })
	}
}

// GrantActive says whether a consent stands: it exists, was not revoked and
// has not run out. Of an unknown one it does not.
func (db *DB) GrantActive(ctx context.Context, t tenants.ID, grant string) (active bool, err error) {
	defer fault.Wrap(&err, "postgres.GrantActive(%s, %s)", t, grant)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM oauth_grants WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()))`, grant).Scan(&active)
	})
	return active, err
}
