package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ tenants.Store = (*DB)(nil)

const tenantColumns = `id, slug, name, created_at, suspended_at IS NOT NULL`

func scanTenant(row pgx.CollectableRow) (tenants.Tenant, error) {
	var t tenants.Tenant
	err := row.Scan(&t.ID, &t.Slug, &t.Name, &t.CreatedAt, &t.Suspended)
	return t, err
}

// TenantBySlug finds the tenant that a URL names.
func (db *DB) TenantBySlug(ctx context.Context, slug string) (t tenants.Tenant, err error) {
	defer fault.Wrap(&err, "postgres.TenantBySlug(%q)", slug)
	err = db.AcrossTenants(ctx, "find the tenant that a URL names", func(ctx context.Context, tx pgx.Tx) error {
		t, err = one(ctx, tx, scanTenant, `SELECT `+tenantColumns+` FROM tenants WHERE slug = $1`, slug)
		return err
	})
	return t, err
}

// Tenants lists all, by slug.
func (db *DB) Tenants(ctx context.Context) (ts []tenants.Tenant, err error) {
	defer fault.Wrap(&err, "postgres.Tenants")
	err = db.AcrossTenants(ctx, "list tenants for an operator", func(ctx context.Context, tx pgx.Tx) error {
		ts, err = many(ctx, tx, scanTenant, `SELECT `+tenantColumns+` FROM tenants ORDER BY slug`)
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
			INSERT INTO tenants (id, slug, name) VALUES ($1, $2, $3)
			ON CONFLICT (slug) DO UPDATE SET name = EXCLUDED.name
			RETURNING `+tenantColumns, tenants.NewID(), slug, name)
		return err
	})
	return t, err
}

const userQuery = `
	SELECT u.tenant_id, u.id, u.email, u.name, u.disabled_at IS NOT NULL,
	       coalesce(array_agg(r.role ORDER BY r.role) FILTER (WHERE r.role IS NOT NULL), '{}')
	FROM users u LEFT JOIN user_roles r ON (r.tenant_id, r.user_id) = (u.tenant_id, u.id)`

func scanUser(row pgx.CollectableRow) (tenants.User, error) {
	var u tenants.User
	err := row.Scan(&u.Tenant, &u.ID, &u.Email, &u.Name, &u.Disabled, &u.Roles)
	return u, err
}

// UserByID finds a person.
func (db *DB) UserByID(ctx context.Context, t tenants.ID, id tenants.UserID) (u tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.UserByID(%s, %s)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		u, err = one(ctx, tx, scanUser, userQuery+` WHERE u.id = $1 GROUP BY u.tenant_id, u.id`, id)
		return err
	})
	return u, err
}

// UserByEmail finds a person by the address they sign in with.
func (db *DB) UserByEmail(ctx context.Context, t tenants.ID, email string) (u tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.UserByEmail(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		u, err = one(ctx, tx, scanUser, userQuery+` WHERE u.email = $1 GROUP BY u.tenant_id, u.id`, normalEmail(email))
		return err
	})
	return u, err
}

// Users lists a tenant's people, by address.
func (db *DB) Users(ctx context.Context, t tenants.ID) (us []tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.Users(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		us, err = many(ctx, tx, scanUser, userQuery+` GROUP BY u.tenant_id, u.id ORDER BY u.email`)
		return err
	})
	return us, err
}

// PutUser creates a person or updates name and roles.
func (db *DB) PutUser(ctx context.Context, t tenants.ID, email, name string, roles []string) (u tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.PutUser(%s)", t)
	email = normalEmail(email)
	// A nil slice would be NULL, which no role is unlike: it would take none away.
	roles = append([]string{}, roles...)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var id tenants.UserID
		if err := tx.QueryRow(ctx, `
			INSERT INTO users (tenant_id, id, email, name) VALUES ($1, $2, $3, $4)
			ON CONFLICT (tenant_id, email) DO UPDATE SET name = EXCLUDED.name RETURNING id`,
			t, tenants.NewUserID(), email, name).Scan(&id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM user_roles WHERE user_id = $1 AND NOT role = ANY ($2)`, id, roles); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO user_roles (tenant_id, user_id, role) SELECT $1, $2, unnest($3::text[])
			ON CONFLICT DO NOTHING`, t, id, roles); err != nil {
			return err
		}
		u, err = one(ctx, tx, scanUser, userQuery+` WHERE u.id = $1 GROUP BY u.tenant_id, u.id`, id)
		return err
	})
	return u, err
}

// SetUserDisabled closes or opens an account. Disabled people keep their rows,
// so that the audit record can name them.
func (db *DB) SetUserDisabled(ctx context.Context, t tenants.ID, id tenants.UserID, disabled bool) (err error) {
	defer fault.Wrap(&err, "postgres.SetUserDisabled(%s, %s)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `UPDATE users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE id = $1`, id, disabled))
	})
}

// PasswordHash reads a person's hash; signin is its only reader.
func (db *DB) PasswordHash(ctx context.Context, t tenants.ID, id tenants.UserID) (hash string, err error) {
	defer fault.Wrap(&err, "postgres.PasswordHash(%s, %s)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT password_hash FROM users WHERE id = $1`, id).Scan(&hash)
	})
	return hash, err
}

// SetPasswordHash stores a person's hash.
func (db *DB) SetPasswordHash(ctx context.Context, t tenants.ID, id tenants.UserID, hash string) (err error) {
	defer fault.Wrap(&err, "postgres.SetPasswordHash(%s, %s)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `UPDATE users SET password_hash = $2 WHERE id = $1`, id, hash))
	})
}

// Roles lists a tenant's roles with what they open, by name.
func (db *DB) Roles(ctx context.Context, t tenants.ID) (rs []tenants.Role, err error) {
	defer fault.Wrap(&err, "postgres.Roles(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		rs, err = many(ctx, tx, func(row pgx.CollectableRow) (r tenants.Role, err error) {
			var servers, scopes []string
			if err := row.Scan(&r.Name, &r.Description, &servers, &scopes); err != nil {
				return r, err
			}
			for i := range servers {
				r.Scopes = append(r.Scopes, tenants.Scope{Server: tenants.ServerID(servers[i]), Name: scopes[i]})
			}
			return r, nil
		}, `
			SELECT r.name, r.description,
			       coalesce(array_agg(s.server_id ORDER BY s.server_id, s.scope) FILTER (WHERE s.scope IS NOT NULL), '{}'),
			       coalesce(array_agg(s.scope ORDER BY s.server_id, s.scope) FILTER (WHERE s.scope IS NOT NULL), '{}')
			FROM roles r LEFT JOIN role_scopes s ON (s.tenant_id, s.role) = (r.tenant_id, r.name)
			GROUP BY r.tenant_id, r.name ORDER BY r.name`)
		return err
	})
	return rs, err
}

// PutRole creates the role or replaces what it opens.
func (db *DB) PutRole(ctx context.Context, t tenants.ID, r tenants.Role) (err error) {
	defer fault.Wrap(&err, "postgres.PutRole(%s, %s)", t, r.Name)
	servers, scopes := make([]string, len(r.Scopes)), make([]string, len(r.Scopes))
	for i, s := range r.Scopes {
		servers[i], scopes[i] = string(s.Server), s.Name
	}
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
			INSERT INTO roles (tenant_id, name, description) VALUES ($1, $2, $3)
			ON CONFLICT (tenant_id, name) DO UPDATE SET description = EXCLUDED.description`, t, r.Name, r.Description); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			DELETE FROM role_scopes WHERE role = $1 AND (server_id, scope) NOT IN (SELECT * FROM unnest($2::text[], $3::text[]))`,
			r.Name, servers, scopes); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO role_scopes (tenant_id, role, server_id, scope)
			SELECT $1, $2, s.server, s.scope FROM unnest($3::text[], $4::text[]) AS s (server, scope)
			ON CONFLICT DO NOTHING`, t, r.Name, servers, scopes)
		return err
	})
}

// DeleteRole takes the role from everyone who holds it.
func (db *DB) DeleteRole(ctx context.Context, t tenants.ID, name string) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteRole(%s, %s)", t, name)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `DELETE FROM roles WHERE name = $1`, name))
	})
}

// Access reads a person and everything that their roles open.
func (db *DB) Access(ctx context.Context, t tenants.ID, id tenants.UserID) (a tenants.Access, err error) {
	defer fault.Wrap(&err, "postgres.Access(%s, %s)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if a.User, err = one(ctx, tx, scanUser, userQuery+` WHERE u.id = $1 GROUP BY u.tenant_id, u.id`, id); err != nil {
			return err
		}
		scopes, err := many(ctx, tx, func(row pgx.CollectableRow) (s tenants.Scope, err error) {
			return s, row.Scan(&s.Server, &s.Name)
		}, `SELECT DISTINCT s.server_id, s.scope FROM user_roles u JOIN role_scopes s USING (tenant_id, role) WHERE u.user_id = $1`, id)
		a.Scopes = make(map[tenants.Scope]bool, len(scopes))
		for _, s := range scopes {
			a.Scopes[s] = true
		}
		return err
	})
	return a, err
}

func normalEmail(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
