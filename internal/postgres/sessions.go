package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/signin"
	"latchkey/internal/tenants"
)

var _ signin.Sessions = (*DB)(nil)

// CreateSession stores a browser session, and drops those of the tenant that
// were last seen before staleBefore.
func (db *DB) CreateSession(ctx context.Context, t tenants.ID, s signin.Record, staleBefore time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.CreateSession(%s, %s)", t, s.ID)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM browser_sessions WHERE last_seen_at < $1`, staleBefore); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO browser_sessions (tenant_id, id, user_id, token_hash, signed_in_at, last_seen_at)
			VALUES ($1, $2, $3, $4, $5, $6)`,
			t, s.ID, s.User, s.Token[:], s.SignedInAt, s.LastSeenAt)
		return err
	})
}

// SessionByToken finds a browser session by its cookie's hash, with its user.
func (db *DB) SessionByToken(ctx context.Context, t tenants.ID, token signin.TokenHash) (s signin.Record, u tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.SessionByToken(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT s.id, s.user_id, s.signed_in_at, s.last_seen_at,
			       u.tenant_id, u.id, u.email, u.name, u.disabled_at IS NOT NULL,
			       ARRAY (SELECT r.role FROM user_roles r WHERE (r.tenant_id, r.user_id) = (u.tenant_id, u.id) ORDER BY r.role)
			FROM browser_sessions s JOIN users u ON (u.tenant_id, u.id) = (s.tenant_id, s.user_id)
			WHERE s.token_hash = $1`, token[:]).
			Scan(&s.ID, &s.User, &s.SignedInAt, &s.LastSeenAt,
				&u.Tenant, &u.ID, &u.Email, &u.Name, &u.Disabled, &u.Roles)
	})
	s.Token = token
	return s, u, err
}

// TouchSession notes when a session was last seen; it never goes back.
func (db *DB) TouchSession(ctx context.Context, t tenants.ID, id string, seen time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.TouchSession(%s, %s)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE browser_sessions SET last_seen_at = greatest(last_seen_at, $2) WHERE id = $1`, id, seen)
		return err
	})
}

// DeleteSession ends a session; one that is gone already is no error.
func (db *DB) DeleteSession(ctx context.Context, t tenants.ID, id string) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteSession(%s, %s)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM browser_sessions WHERE id = $1`, id)
		return err
	})
}

// DeleteSessionsOf ends all sessions of a person, in every browser, and those
// of the console.
func (db *DB) DeleteSessionsOf(ctx context.Context, t tenants.ID, user tenants.UserID) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteSessionsOf(%s, %s)", t, user)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return endSessions(ctx, tx, user)
	})
}

// endSessions signs a person out in the transaction that gives them another
// password, or on their own account.
func endSessions(ctx context.Context, tx pgx.Tx, user tenants.UserID) error {
	var b pgx.Batch
	b.Queue(`DELETE FROM browser_sessions WHERE user_id = $1`, user)
	b.Queue(`DELETE FROM console_sessions WHERE user_id = $1`, user)
	b.Queue(`
		UPDATE oauth_grants SET revoked_at = now(), revoked_reason = 'signed out everywhere'
		WHERE user_id = $1 AND client_id = $2 AND revoked_at IS NULL`, user, oauth.ConsoleClient)
	return tx.SendBatch(ctx, &b).Close()
}
