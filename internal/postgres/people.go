package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

var _ tenants.Members = (*DB)(nil)

// changePeople runs what changes people or roles. Such changes of one tenant
// wait for each other, so that the rule of keepAdmin holds whoever makes them.
func (db *DB) changePeople(ctx context.Context, t tenants.ID, fn func(ctx context.Context, tx pgx.Tx) error) error {
	return db.InTenant(ctx, t, peopleChange(t, fn))
}

func peopleChange(t tenants.ID, fn func(ctx context.Context, tx pgx.Tx) error) func(ctx context.Context, tx pgx.Tx) error {
	return func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('latchkey.people:' || $1, 0))`, string(t)); err != nil {
			return err
		}
		return keepAdmin(ctx, tx, fn)
	}
}

var errRehearsed = errors.New("rehearsed, to be rolled back")

// rehearse is changePeople that changes nothing: it says whether the change
// would be refused.
func (db *DB) rehearse(ctx context.Context, t tenants.ID, fn func(ctx context.Context, tx pgx.Tx) error) error {
	err := db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if err := peopleChange(t, fn)(ctx, tx); err != nil {
			return err
		}
		return errRehearsed
	})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	return err
}

// keepAdmin refuses a change after which nobody could undo it: a tenant that
// has an enabled person with the permission admin keeps one.
func keepAdmin(ctx context.Context, tx pgx.Tx, change func(ctx context.Context, tx pgx.Tx) error) error {
	hasAdmin := func() (has bool, err error) {
		return has, tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM roles r JOIN user_roles ur ON (ur.tenant_id, ur.role) = (r.tenant_id, r.name)
			JOIN users u ON (u.tenant_id, u.id) = (ur.tenant_id, ur.user_id)
			WHERE 'admin' = ANY (r.permissions) AND u.disabled_at IS NULL)`).Scan(&has)
	}
	before, err := hasAdmin()
	if err != nil {
		return err
	}
	if err := change(ctx, tx); err != nil || !before {
		return err
	}
	after, err := hasAdmin()
	if err == nil && !after {
		return fault.New(fault.Conflict, "Nobody would be left who holds the permission admin, and nothing was changed. Give a role that opens it to somebody else first.")
	}
	return err
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

// UsersAmong gives those of the people whom the tenant has, disabled ones too.
func (db *DB) UsersAmong(ctx context.Context, t tenants.ID, all []tenants.UserID) (known []tenants.UserID, err error) {
	defer fault.Wrap(&err, "postgres.UsersAmong(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		known, err = many(ctx, tx, pgx.RowTo[tenants.UserID], `SELECT id FROM users WHERE id = ANY ($1) ORDER BY id`, all)
		return err
	})
	return known, err
}

// PutUser creates a person or updates name and roles.
func (db *DB) PutUser(ctx context.Context, t tenants.ID, email, name string, roles []string) (u tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.PutUser(%s)", t)
	err = db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		u, err = putUser(ctx, tx, t, email, name, roles)
		return err
	})
	return u, err
}

func putUser(ctx context.Context, tx pgx.Tx, t tenants.ID, email, name string, roles []string) (u tenants.User, err error) {
	// A nil slice would be NULL, which no role is unlike: it would take none away.
	roles = append([]string{}, roles...)
	var id tenants.UserID
	if err := tx.QueryRow(ctx, `
		INSERT INTO users (tenant_id, id, email, name) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, email) DO UPDATE SET name = EXCLUDED.name RETURNING id`,
		t, tenants.NewUserID(), normalEmail(email), name).Scan(&id); err != nil {
		return u, err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM user_roles WHERE user_id = $1 AND NOT role = ANY ($2)`, id, roles); err != nil {
		return u, err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO user_roles (tenant_id, user_id, role) SELECT $1, $2, unnest($3::text[])
		ON CONFLICT DO NOTHING`, t, id, roles); err != nil {
		return u, err
	}
	return one(ctx, tx, scanUser, userQuery+` WHERE u.id = $1 GROUP BY u.tenant_id, u.id`, id)
}

// SetUserDisabled closes or opens an account. Disabled people keep their rows,
// so that the audit record can name them.
func (db *DB) SetUserDisabled(ctx context.Context, t tenants.ID, id tenants.UserID, disabled bool) (err error) {
	defer fault.Wrap(&err, "postgres.SetUserDisabled(%s, %s)", t, id)
	return db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return setDisabled(ctx, tx, id, disabled)
	})
}

func setDisabled(ctx context.Context, tx pgx.Tx, id tenants.UserID, disabled bool) error {
	return changed(tx.Exec(ctx, `UPDATE users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE id = $1`, id, disabled))
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

// SaveMember creates or replaces a person, by address.
func (db *DB) SaveMember(ctx context.Context, t tenants.ID, email, name string, roles []string, disabled bool) (u tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.SaveMember(%s)", t)
	err = db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if u, err = putUser(ctx, tx, t, email, name, roles); err != nil || u.Disabled == disabled {
			return err
		}
		u.Disabled = disabled
		return setDisabled(ctx, tx, u.ID, disabled)
	})
	return u, err
}

const memberQuery = `
	SELECT u.tenant_id, u.id, u.email, u.name, u.disabled_at IS NOT NULL,
	       ARRAY (SELECT r.role FROM user_roles r WHERE (r.tenant_id, r.user_id) = (u.tenant_id, u.id) ORDER BY r.role),
	       u.created_at, u.password_hash <> '',
	       greatest((SELECT max(s.last_seen_at) FROM browser_sessions s WHERE (s.tenant_id, s.user_id) = (u.tenant_id, u.id)),
	                (SELECT max(s.last_seen_at) FROM console_sessions s WHERE (s.tenant_id, s.user_id) = (u.tenant_id, u.id))),
	       (SELECT count(*) FROM oauth_grants g WHERE (g.tenant_id, g.user_id) = (u.tenant_id, u.id) AND ` + grantOfApp + `)
	FROM users u`

// grantOfApp leaves out what the console itself holds for a session.
const grantOfApp = grantInForce + ` AND client_id <> '` + oauth.ConsoleClient + `'`

func scanMember(row pgx.CollectableRow) (m tenants.Member, err error) {
	return m, row.Scan(&m.Tenant, &m.ID, &m.Email, &m.Name, &m.Disabled, &m.Roles, &m.CreatedAt, &m.HasPassword, (*zeroTime)(&m.LastSeenAt), &m.Grants)
}

// Members lists people after an address.
func (db *DB) Members(ctx context.Context, t tenants.ID, q tenants.MemberQuery) (ms []tenants.Member, err error) {
	defer fault.Wrap(&err, "postgres.Members(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		ms, err = many(ctx, tx, scanMember, memberQuery+`
			WHERE u.email > $1 AND ($2 = '' OR u.email LIKE lower($2) OR u.name ILIKE $2)
			  AND ($3 = '' OR EXISTS (SELECT FROM user_roles r WHERE (r.tenant_id, r.user_id, r.role) = (u.tenant_id, u.id, $3)))
			  AND CASE $4 WHEN 'disabled' THEN u.disabled_at IS NOT NULL
			              WHEN 'active' THEN u.disabled_at IS NULL AND u.password_hash <> ''
			              WHEN 'no_password' THEN u.disabled_at IS NULL AND u.password_hash = '' ELSE true END
			ORDER BY u.email LIMIT $5`, q.After, containing(q.Search), q.Role, string(q.Status), q.Limit)
		return err
	})
	return ms, err
}

// Member finds a person by id or address.
func (db *DB) Member(ctx context.Context, t tenants.ID, key string) (m tenants.Member, err error) {
	defer fault.Wrap(&err, "postgres.Member(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		m, err = one(ctx, tx, scanMember, memberQuery+` WHERE u.id = $1 OR u.email = $2 ORDER BY u.id <> $1 LIMIT 1`, key, normalEmail(key))
		return err
	})
	return m, err
}

// DeleteUser removes a person; the audit record keeps their id.
func (db *DB) DeleteUser(ctx context.Context, t tenants.ID, id tenants.UserID) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteUser(%s, %s)", t, id)
	return db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error { return deleteUser(ctx, tx, id) })
}

func deleteUser(ctx context.Context, tx pgx.Tx, id tenants.UserID) error {
	var email string
	if err := tx.QueryRow(ctx, `DELETE FROM users WHERE id = $1 RETURNING email`, id).Scan(&email); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE invitations SET revoked_at = now() WHERE email = $1 AND accepted_at IS NULL AND revoked_at IS NULL`, email)
	return err
}

// MemberEffects counts what DeleteUser removes, and is refused where it is.
func (db *DB) MemberEffects(ctx context.Context, t tenants.ID, id tenants.UserID) (e tenants.Effects, err error) {
	defer fault.Wrap(&err, "postgres.MemberEffects(%s, %s)", t, id)
	err = db.rehearse(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		e, err = effects(ctx, tx, `
			SELECT 'person', count(*) FROM users WHERE id = $1
			UNION ALL SELECT 'browser sessions', (SELECT count(*) FROM browser_sessions WHERE user_id = $1) + (SELECT count(*) FROM console_sessions WHERE user_id = $1)
			UNION ALL SELECT 'grants of apps, which end at their next call', count(*) FROM oauth_grants WHERE user_id = $1 AND `+grantOfApp+`
			UNION ALL SELECT 'invitations to this address', count(*) FROM invitations i JOIN users u ON (u.tenant_id, u.email) = (i.tenant_id, i.email)
				WHERE u.id = $1 AND i.accepted_at IS NULL AND i.revoked_at IS NULL`, id)
		if err != nil {
			return err
		}
		return deleteUser(ctx, tx, id)
	})
	return e, err
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
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			SELECT ARRAY (SELECT DISTINCT p FROM user_roles u JOIN roles r ON (r.tenant_id, r.name) = (u.tenant_id, u.role), unnest(r.permissions) p
			WHERE u.user_id = $1 ORDER BY p)`, id).Scan(&a.Permissions)
	})
	return a, err
}

func normalEmail(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
