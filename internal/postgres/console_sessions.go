package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ callers.Sessions = (*DB)(nil)

// CreateConsoleSession stores a session, and drops those of the tenant that
// were last seen before staleBefore.
func (db *DB) CreateConsoleSession(ctx context.Context, t tenants.ID, s callers.Session, staleBefore time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.CreateConsoleSession(%s, %s)", t, s.ID)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM console_sessions WHERE last_seen_at < $1`, staleBefore); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO console_sessions (tenant_id, id, user_id, grant_id, token_hash, created_at, last_seen_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			t, s.ID, s.User, s.Grant, s.Token[:], s.CreatedAt, s.LastSeenAt)
		return err
	})
}

// ConsoleSession finds a session by its cookie's hash, with the person and the
// state of the grant that it stands on.
func (db *DB) ConsoleSession(ctx context.Context, t tenants.ID, token callers.Hash) (s callers.Session, state callers.SessionState, err error) {
	defer fault.Wrap(&err, "postgres.ConsoleSession(%s)", t)
	s.Token = token
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		u := &state.User
		return tx.QueryRow(ctx, `
			SELECT s.id, s.user_id, s.grant_id, s.created_at, s.last_seen_at,
			       u.tenant_id, u.id, u.email, u.name, u.disabled_at IS NOT NULL,
			       ARRAY (SELECT r.role FROM user_roles r WHERE (r.tenant_id, r.user_id) = (u.tenant_id, u.id) ORDER BY r.role),
			       g.revoked_at IS NULL AND g.user_id = s.user_id AND (g.expires_at IS NULL OR g.expires_at > clock_timestamp())
			FROM console_sessions s
			JOIN users u ON (u.tenant_id, u.id) = (s.tenant_id, s.user_id)
			JOIN oauth_grants g ON (g.tenant_id, g.id) = (s.tenant_id, s.grant_id)
			WHERE s.token_hash = $1`, token[:]).
			Scan(&s.ID, &s.User, &s.Grant, &s.CreatedAt, &s.LastSeenAt, &u.Tenant, &u.ID, &u.Email, &u.Name, &u.Disabled, &u.Roles, &state.GrantActive)
	})
	return s, state, err
}

// TouchConsoleSession notes when a session was last seen.
func (db *DB) TouchConsoleSession(ctx context.Context, t tenants.ID, id string, seen time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.TouchConsoleSession(%s, %s)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE console_sessions SET last_seen_at = greatest(last_seen_at, $2) WHERE id = $1`, id, seen)
		return err
	})
}

// DeleteConsoleSession ends a session; one that is gone already is no error.
func (db *DB) DeleteConsoleSession(ctx context.Context, t tenants.ID, id string) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteConsoleSession(%s, %s)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM console_sessions WHERE id = $1`, id)
		return err
	})
}
