package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ callers.Keys = (*DB)(nil)

const keyColumns = `k.id, k.name, k.hash, k.hint, k.permissions, k.created_by, k.author, k.created_at, k.expires_at, k.last_used_at, k.revoked_at`

// callerKeyRow is where a key's columns are scanned to.
type callerKeyRow struct {
	callers.Key
	hash                   []byte
	expires, used, revoked *time.Time
}

func (r *callerKeyRow) fields() []any {
	return []any{&r.ID, &r.Name, &r.hash, &r.Hint, &r.Permissions, &r.CreatedBy, &r.Author, &r.CreatedAt, &r.expires, &r.used, &r.revoked}
}

func (r *callerKeyRow) key() callers.Key {
	copy(r.Hash[:], r.hash)
	r.ExpiresAt, r.LastUsedAt, r.RevokedAt = timeOrZero(r.expires), timeOrZero(r.used), timeOrZero(r.revoked)
	return r.Key
}

func scanCallerKey(row pgx.CollectableRow) (callers.Key, error) {
	var k callerKeyRow
	err := row.Scan(k.fields()...)
	return k.key(), err
}

// APIKeyByHash finds a key of any tenant, with the tenant.
func (db *DB) APIKeyByHash(ctx context.Context, h callers.Hash) (t tenants.Tenant, k callers.Key, err error) {
	defer fault.Wrap(&err, "postgres.APIKeyByHash")
	err = db.AcrossTenants(ctx, "find whose API key it is", func(ctx context.Context, tx pgx.Tx) error {
		var row callerKeyRow
		t, err = one(ctx, tx, func(r pgx.CollectableRow) (tenants.Tenant, error) { return scanTenant(appended{r, row.fields()}) }, `
			SELECT `+tenantColumns+`, `+keyColumns+` FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE k.hash = $1`, h[:])
		k = row.key()
		return err
	})
	return t, k, err
}

// APIKey finds a key, also one that was revoked.
func (db *DB) APIKey(ctx context.Context, t tenants.ID, id string) (k callers.Key, err error) {
	defer fault.Wrap(&err, "postgres.APIKey(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		k, err = one(ctx, tx, scanCallerKey, `SELECT `+keyColumns+` FROM api_keys k WHERE k.id = $1`, id)
		return err
	})
	return k, err
}

// APIKeys lists a page of keys, newest first.
func (db *DB) APIKeys(ctx context.Context, t tenants.ID, after callers.Position, limit int) (ks []callers.Key, err error) {
	defer fault.Wrap(&err, "postgres.APIKeys(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		ks, err = many(ctx, tx, scanCallerKey, `
			SELECT `+keyColumns+` FROM api_keys k
			WHERE $1::timestamptz IS NULL OR (k.created_at, k.id) < ($1, $2)
			ORDER BY k.created_at DESC, k.id DESC LIMIT $3`, nullTime(after.At), after.ID, limit)
		return err
	})
	return ks, err
}

// CountAPIKeys counts the keys in force.
func (db *DB) CountAPIKeys(ctx context.Context, t tenants.ID, now time.Time) (live int, err error) {
	defer fault.Wrap(&err, "postgres.CountAPIKeys(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)`, now).Scan(&live)
	})
	return live, err
}

// CreateAPIKey stores a new key.
func (db *DB) CreateAPIKey(ctx context.Context, t tenants.ID, k callers.Key) (err error) {
	defer fault.Wrap(&err, "postgres.CreateAPIKey(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO api_keys (tenant_id, id, name, hash, hint, permissions, created_by, author, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			t, k.ID, k.Name, k.Hash[:], k.Hint, k.Permissions, k.CreatedBy, k.Author, k.CreatedAt, nullTime(k.ExpiresAt))
		return err
	})
}

// RevokeAPIKey ends a key.
func (db *DB) RevokeAPIKey(ctx context.Context, t tenants.ID, id string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.RevokeAPIKey(%s, %.40q)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1`, id, at))
	})
}

// UseAPIKey notes that a key was used.
func (db *DB) UseAPIKey(ctx context.Context, t tenants.ID, id string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.UseAPIKey(%s, %.40q)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE api_keys SET last_used_at = greatest(last_used_at, date_trunc('minute', $2::timestamptz)) WHERE id = $1`, id, at)
		return err
	})
}
