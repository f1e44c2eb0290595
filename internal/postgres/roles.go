package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ tenants.RoleAdmin = (*DB)(nil)

const roleQuery = `
	SELECT r.name, r.description, r.permissions,
	       coalesce(array_agg(s.server_id ORDER BY s.server_id, s.scope) FILTER (WHERE s.scope IS NOT NULL), '{}'),
	       coalesce(array_agg(s.scope ORDER BY s.server_id, s.scope) FILTER (WHERE s.scope IS NOT NULL), '{}'),
	       (SELECT count(*) FROM user_roles u WHERE (u.tenant_id, u.role) = (r.tenant_id, r.name))
	FROM roles r LEFT JOIN role_scopes s ON (s.tenant_id, s.role) = (r.tenant_id, r.name)`

func scanRole(row pgx.CollectableRow) (r tenants.RoleUse, err error) {
	var servers, scopes []string
	if err := row.Scan(&r.Name, &r.Description, &r.Permissions, &servers, &scopes, &r.Members); err != nil {
		return r, err
	}
	for i := range servers {
		r.Scopes = append(r.Scopes, tenants.Scope{Server: tenants.ServerID(servers[i]), Name: scopes[i]})
	}
	return r, nil
}

// Roles lists a tenant's roles with what they open, by name.
func (db *DB) Roles(ctx context.Context, t tenants.ID) (rs []tenants.Role, err error) {
	uses, err := db.RoleUses(ctx, t)
	for _, u := range uses {
		rs = append(rs, u.Role)
	}
	return rs, err
}

// RoleUses is Roles with how many people hold each.
func (db *DB) RoleUses(ctx context.Context, t tenants.ID) (rs []tenants.RoleUse, err error) {
	defer fault.Wrap(&err, "postgres.Roles(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		rs, err = many(ctx, tx, scanRole, roleQuery+` GROUP BY r.tenant_id, r.name ORDER BY r.name`)
		return err
	})
	return rs, err
}

// RoleUse finds one role.
func (db *DB) RoleUse(ctx context.Context, t tenants.ID, name string) (r tenants.RoleUse, err error) {
	defer fault.Wrap(&err, "postgres.RoleUse(%s, %.40q)", t, name)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		r, err = one(ctx, tx, scanRole, roleQuery+` WHERE r.name = $1 GROUP BY r.tenant_id, r.name`, name)
		return err
	})
	return r, err
}

// PutRole creates the role or replaces what it opens.
func (db *DB) PutRole(ctx context.Context, t tenants.ID, r tenants.Role) (err error) {
	defer fault.Wrap(&err, "postgres.PutRole(%s, %s)", t, r.Name)
	return db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error { return saveRole(ctx, tx, t, r) })
}

func saveRole(ctx context.Context, tx pgx.Tx, t tenants.ID, r tenants.Role) error {
	servers, scopes := columnsOf(r.Scopes)
	permissions := slices.Compact(slices.Sorted(slices.Values(r.Permissions)))
	if permissions == nil {
		permissions = []tenants.Permission{}
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO roles (tenant_id, name, description, permissions) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, name) DO UPDATE SET (description, permissions) = (EXCLUDED.description, EXCLUDED.permissions)`,
		t, r.Name, r.Description, permissions); err != nil {
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
}

func columnsOf(list []tenants.Scope) (servers, scopes []string) {
	servers, scopes = make([]string, len(list)), make([]string, len(list))
	for i, s := range list {
		servers[i], scopes[i] = string(s.Server), s.Name
	}
	return servers, scopes
}

// DeleteRole takes the role from everyone who holds it.
func (db *DB) DeleteRole(ctx context.Context, t tenants.ID, name string) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteRole(%s, %s)", t, name)
	return db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return deleteRole(ctx, tx, name)
	})
}

func deleteRole(ctx context.Context, tx pgx.Tx, name string) error {
	return changed(tx.Exec(ctx, `DELETE FROM roles WHERE name = $1`, name))
}

// RoleEffects counts what DeleteRole removes, and is refused where it is.
func (db *DB) RoleEffects(ctx context.Context, t tenants.ID, name string) (e tenants.Effects, err error) {
	defer fault.Wrap(&err, "postgres.RoleEffects(%s, %.40q)", t, name)
	err = db.rehearse(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		e, err = effects(ctx, tx, `
			SELECT 'role', count(*) FROM roles WHERE name = $1
			UNION ALL SELECT 'people who hold it and stay', count(*) FROM user_roles WHERE role = $1
			UNION ALL SELECT 'scopes that it opens', count(*) FROM role_scopes WHERE role = $1
			UNION ALL SELECT 'invitations that name it, which stay without it', count(*) FROM invitations
				WHERE $1 = ANY (roles) AND accepted_at IS NULL AND revoked_at IS NULL`, name)
		if err != nil {
			return err
		}
		return deleteRole(ctx, tx, name)
	})
	return e, err
}

// ChangeAccess opens and closes scopes of any number of roles. It is two
// statements, whatever their number, and each tells edges once.
func (db *DB) ChangeAccess(ctx context.Context, t tenants.ID, open, close []tenants.RoleScope) (err error) {
	defer fault.Wrap(&err, "postgres.ChangeAccess(%s, %d opened, %d closed)", t, len(open), len(close))
	columns := func(list []tenants.RoleScope) (roles, servers, scopes []string) {
		roles, servers, scopes = make([]string, len(list)), make([]string, len(list)), make([]string, len(list))
		for i, c := range list {
			roles[i], servers[i], scopes[i] = c.Role, string(c.Server), c.Name
		}
		return roles, servers, scopes
	}
	return db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		roles, servers, scopes := columns(close)
		if _, err := tx.Exec(ctx, `
			DELETE FROM role_scopes s USING unnest($1::text[], $2::text[], $3::text[]) AS c (role, server, scope)
			WHERE (s.tenant_id, s.role, s.server_id, s.scope) = ($4, c.role, c.server, c.scope)`, roles, servers, scopes, t); err != nil {
			return err
		}
		roles, servers, scopes = columns(open)
		_, err := tx.Exec(ctx, `
			INSERT INTO role_scopes (tenant_id, role, server_id, scope)
			SELECT $1, c.role, c.server, c.scope FROM unnest($2::text[], $3::text[], $4::text[]) AS c (role, server, scope)
			ON CONFLICT DO NOTHING`, t, roles, servers, scopes)
		return err
	})
}
