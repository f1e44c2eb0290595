package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var (
	_ tenants.Store   = (*DB)(nil)
	_ tenants.Hosting = (*DB)(nil)
)

const tenantColumns = `t.id, t.slug, t.name, t.created_at, t.suspended_at IS NOT NULL, t.deleting_at IS NOT NULL,
	coalesce((t.quotas ->> 'servers')::int, -1), coalesce((t.quotas ->> 'members')::int, -1),
	coalesce((t.quotas ->> 'roles')::int, -1), coalesce((t.quotas ->> 'api_keys')::int, -1)`

func scanTenant(row pgx.CollectableRow) (t tenants.Tenant, err error) {
	q := &t.Quotas
	err = row.Scan(&t.ID, &t.Slug, &t.Name, &t.CreatedAt, &t.Suspended, &t.Deleting, &q.Servers, &q.Members, &q.Roles, &q.APIKeys)
	for _, v := range []struct {
		own *int
		def int
	}{
		{&q.Servers, tenants.DefaultQuotas.Servers}, {&q.Members, tenants.DefaultQuotas.Members},
		{&q.Roles, tenants.DefaultQuotas.Roles}, {&q.APIKeys, tenants.DefaultQuotas.APIKeys},
	} {
		if *v.own < 0 {
			*v.own = v.def
		}
	}
	return t, err
}

// TenantBySlug finds the tenant that a URL names.
func (db *DB) TenantBySlug(ctx context.Context, slug string) (t tenants.Tenant, err error) {
	defer fault.Wrap(&err, "postgres.TenantBySlug(%q)", slug)
	err = db.AcrossTenants(ctx, "find the tenant that a URL names", func(ctx context.Context, tx pgx.Tx) error {
		t, err = one(ctx, tx, scanTenant, `SELECT `+tenantColumns+` FROM tenants t WHERE t.slug = $1`, slug)
		return err
	})
	return t, err
}

// Tenants lists all, by slug.
func (db *DB) Tenants(ctx context.Context) (ts []tenants.Tenant, err error) {
	defer fault.Wrap(&err, "postgres.Tenants")
	err = db.AcrossTenants(ctx, "list tenants for the platform itself", func(ctx context.Context, tx pgx.Tx) error {
		ts, err = many(ctx, tx, scanTenant, `SELECT `+tenantColumns+` FROM tenants t ORDER BY t.slug`)
		return err
	})
	return ts, err
}

// TenantsPage lists tenants after a slug, whose slug or name holds what is
// searched for.
func (db *DB) TenantsPage(ctx context.Context, search, after string, limit int) (ts []tenants.TenantUse, err error) {
	defer fault.Wrap(&err, "postgres.TenantsPage")
	err = db.AcrossTenants(ctx, "list tenants for an operator", func(ctx context.Context, tx pgx.Tx) error {
		ts, err = many(ctx, tx, func(row pgx.CollectableRow) (u tenants.TenantUse, err error) {
			u.Tenant, err = scanTenant(appended{row, usageFields(&u.Used)})
			return u, err
		}, `
			SELECT `+tenantColumns+`, `+usageColumns+` FROM tenants t
			WHERE t.slug > $2 AND ($1 = '' OR t.slug LIKE lower($1) OR t.name ILIKE $1) ORDER BY t.slug LIMIT $3`, containing(search), after, limit)
		return err
	})
	return ts, err
}

// PutTenant creates or renames.
func (db *DB) PutTenant(ctx context.Context, slug, name string) (t tenants.Tenant, err error) {
	defer fault.Wrap(&err, "postgres.PutTenant(%q)", slug)
	if err := tenants.ValidTenantSlug(slug); err != nil {
		return t, fault.New(fault.InvalidRequest, "%s.", err)
	}
	err = db.AcrossTenants(ctx, "an operator creates or renames a tenant", func(ctx context.Context, tx pgx.Tx) error {
		t, err = one(ctx, tx, scanTenant, `
			INSERT INTO tenants AS t (id, slug, name) VALUES ($1, $2, $3)
			ON CONFLICT (slug) DO UPDATE SET name = EXCLUDED.name
			RETURNING `+tenantColumns, tenants.NewID(), slug, name)
		return err
	})
	return t, err
}

// CreateTenant makes a tenant with its first roles and its first invitation.
func (db *DB) CreateTenant(ctx context.Context, n tenants.NewTenant) (t tenants.Tenant, err error) {
	defer fault.Wrap(&err, "postgres.CreateTenant(%q)", n.Slug)
	if err := tenants.ValidTenantSlug(n.Slug); err != nil {
		return t, fault.New(fault.InvalidRequest, "%s.", err)
	}
	err = db.AcrossTenants(ctx, "an operator provisions a tenant", func(ctx context.Context, tx pgx.Tx) error {
		found, err := many(ctx, tx, scanTenant, `
			INSERT INTO tenants AS t (id, slug, name, quotas) VALUES ($1, $2, $3, $4)
			ON CONFLICT (slug) DO NOTHING RETURNING `+tenantColumns, tenants.NewID(), n.Slug, n.Name, n.Quotas)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fault.New(fault.Conflict, "There is a tenant %q already. Choose another slug.", n.Slug)
		}
		t = found[0]
		if err := enter(ctx, tx, t.ID); err != nil {
			return err
		}
		for _, r := range n.Roles {
			if err := saveRole(ctx, tx, t.ID, r); err != nil {
				return err
			}
		}
		if n.Invitation == nil {
			return nil
		}
		return insertInvitation(ctx, tx, t.ID, *n.Invitation)
	})
	return t, err
}

// enter leaves AcrossTenants for one tenant, within the same transaction and
// with the rights that serving it has.
func enter(ctx context.Context, tx pgx.Tx, t tenants.ID) error {
	if _, err := tx.Exec(ctx, `SET LOCAL ROLE NONE`); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `SELECT set_config('latchkey.tenant', $1, true)`, string(t))
	return err
}

// UpdateTenant changes what an operator says of a tenant. One that is being
// deleted stays suspended.
func (db *DB) UpdateTenant(ctx context.Context, id tenants.ID, c tenants.TenantChange) (t tenants.Tenant, err error) {
	defer fault.Wrap(&err, "postgres.UpdateTenant(%s)", id)
	if _, err := tenants.ParseID(string(id)); err != nil {
		return t, fault.New(fault.Unexpected, "A tenant is missing here.").Because(err)
	}
	err = db.AcrossTenants(ctx, "the name, quotas and suspension of one tenant", func(ctx context.Context, tx pgx.Tx) error {
		t, err = one(ctx, tx, scanTenant, `
			UPDATE tenants t SET name = coalesce($2, t.name), quotas = t.quotas || $4::jsonb,
			  suspended_at = CASE WHEN t.deleting_at IS NOT NULL OR $3::boolean IS NULL THEN t.suspended_at WHEN $3 THEN coalesce(t.suspended_at, now()) END
			WHERE t.id = $1 RETURNING `+tenantColumns, id, c.Name, c.Suspended, c.Quotas)
		return err
	})
	return t, err
}

// usageColumns count what quotas bound, of tenant t.
const usageColumns = `(SELECT count(*) FROM servers x WHERE x.tenant_id = t.id), (SELECT count(*) FROM users x WHERE x.tenant_id = t.id),
	(SELECT count(*) FROM roles x WHERE x.tenant_id = t.id),
	(SELECT count(*) FROM api_keys x WHERE x.tenant_id = t.id AND x.revoked_at IS NULL AND (x.expires_at IS NULL OR x.expires_at > now()))`

func usageFields(u *tenants.Quotas) []any {
	return []any{&u.Servers, &u.Members, &u.Roles, &u.APIKeys}
}

// appended is a row that is scanned into some more.
type appended struct {
	pgx.CollectableRow
	more []any
}

func (r appended) Scan(into ...any) error { return r.CollectableRow.Scan(append(into, r.more...)...) }

// QuotasUsed counts what quotas bound.
func (db *DB) QuotasUsed(ctx context.Context, t tenants.ID) (u tenants.Quotas, err error) {
	defer fault.Wrap(&err, "postgres.QuotasUsed(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT `+usageColumns+` FROM tenants t`).Scan(usageFields(&u)...)
	})
	return u, err
}

// TenantEffects counts what DeleteTenant removes.
func (db *DB) TenantEffects(ctx context.Context, t tenants.ID) (e tenants.Effects, err error) {
	defer fault.Wrap(&err, "postgres.TenantEffects(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		e, err = effects(ctx, tx, `
			SELECT 'servers, with their revisions and their credentials at Vault', count(*) FROM servers
			UNION ALL SELECT 'people, with their passwords and browser sessions', count(*) FROM users
			UNION ALL SELECT 'roles', count(*) FROM roles
			UNION ALL SELECT 'invitations that nobody has used yet', count(*) FROM invitations WHERE accepted_at IS NULL AND revoked_at IS NULL
			UNION ALL SELECT 'API keys, whose next call is refused', count(*) FROM api_keys WHERE `+grantInForce+`
			UNION ALL SELECT 'apps that people connected', count(*) FROM oauth_clients WHERE deleted_at IS NULL AND kind <> 'console'
			UNION ALL SELECT 'grants of apps in force', count(*) FROM oauth_grants WHERE `+grantOfApp)
		return err
	})
	return e, err
}

const grantInForce = `revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`

// effects reads lines of what and how many, and leaves out those that are none.
func effects(ctx context.Context, tx pgx.Tx, query string, args ...any) (tenants.Effects, error) {
	return many(ctx, tx, func(row pgx.CollectableRow) (e tenants.Effect, err error) {
		return e, row.Scan(&e.What, &e.Count)
	}, `SELECT * FROM (`+query+`) AS e (what, n) WHERE n > 0`, args...)
}

// BeginDeleteTenant marks the tenant and queues its end.
func (db *DB) BeginDeleteTenant(ctx context.Context, t tenants.ID, createdBy string, at time.Time) (op tenants.Operation, err error) {
	defer fault.Wrap(&err, "postgres.BeginDeleteTenant(%s)", t)
	if _, err := tenants.ParseID(string(t)); err != nil {
		return op, fault.New(fault.Unexpected, "A tenant is missing here.").Because(err)
	}
	err = db.AcrossTenants(ctx, "an operator deletes a tenant", func(ctx context.Context, tx pgx.Tx) error {
		var slug string
		if err := tx.QueryRow(ctx, `
			UPDATE tenants SET deleting_at = coalesce(deleting_at, $2), suspended_at = coalesce(suspended_at, $2)
			WHERE id = $1 RETURNING slug`, t, at).Scan(&slug); err != nil {
			return err
		}
		if err := enter(ctx, tx, t); err != nil {
			return err
		}
		op, err = enqueue(ctx, tx, tenants.Operation{
			Tenant: t, TenantSlug: slug, Kind: tenants.DeleteTenantOperation, Target: string(t), Name: slug, CreatedBy: createdBy, CreatedAt: at,
		})
		return err
	})
	return op, err
}

// deleteBatch bounds what one transaction of DeleteTenant removes.
const deleteBatch = 500

// DeleteTenant removes the rows of a tenant, a part at a time, so that no
// transaction is long and one that was interrupted is gone on with.
func (db *DB) DeleteTenant(ctx context.Context, t tenants.ID) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteTenant(%s)", t)
	for _, table := range []string{"servers", "users", "oauth_clients"} {
		for more := true; more; {
			err := db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
				tag, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE id IN (SELECT id FROM `+table+` LIMIT $1)`, deleteBatch)
				more = tag.RowsAffected() == deleteBatch
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	// No foreign key leads there: they are the platform's, too.
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		for _, table := range []string{"api_idempotency", "switches", "events"} {
			if _, err := tx.Exec(ctx, `DELETE FROM `+table); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return db.AcrossTenants(ctx, "remove a tenant that an operator deleted", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM tenants WHERE id = $1`, t)
		return err
	})
}
