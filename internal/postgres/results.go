package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/guard"
	"latchkey/internal/tenants"
)

var _ guard.Results = (*DB)(nil)

// KeepResult stores the parts of a large result. Of two at once that have room
// for one, one is refused.
func (db *DB) KeepResult(ctx context.Context, t tenants.ID, k guard.Kept, most int64) (err error) {
	defer fault.Wrap(&err, "postgres.KeepResult(%s, %s)", t, k.ID)
	size := int64(0)
	for _, p := range k.Parts {
		size += int64(len(p.Sealed))
	}
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('kept_results ' || $1, 0))`, t); err != nil {
			return err
		}
		var have int64
		if err := tx.QueryRow(ctx, `SELECT coalesce(sum(octet_length(sealed)), 0) FROM kept_results WHERE expires_at > $1`, k.CreatedAt).Scan(&have); err != nil {
			return err
		}
		if have+size > most {
			return guard.ErrNoRoom
		}
		for i, p := range k.Parts {
			if _, err := tx.Exec(ctx, `
				INSERT INTO kept_results (tenant_id, id, part, parts, server_id, user_id, grant_id, scope, tool, mime, sealed, created_at, expires_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
				t, k.ID, i+1, len(k.Parts), k.Server, k.User, k.Grant, k.Scope, k.Tool, p.MIME, p.Sealed, k.CreatedAt, k.ExpiresAt); err != nil {
				return err
			}
		}
		return nil
	})
}

// KeptPart finds one part of a large result.
func (db *DB) KeptPart(ctx context.Context, t tenants.ID, id string, part int, now time.Time) (k guard.Kept, err error) {
	defer fault.Wrap(&err, "postgres.KeptPart(%s, %s, %d)", t, id, part)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var p guard.KeptPart
		k.ID = id
		err := tx.QueryRow(ctx, `
			SELECT server_id, user_id, grant_id, scope, tool, mime, sealed, created_at, expires_at
			FROM kept_results WHERE id = $1 AND part = $2 AND expires_at > $3`, id, part, now).
			Scan(&k.Server, &k.User, &k.Grant, &k.Scope, &k.Tool, &p.MIME, &p.Sealed, &k.CreatedAt, &k.ExpiresAt)
		k.Parts = []guard.KeptPart{p}
		return err
	})
	return k, err
}

// CollectResults removes large results of all tenants that have had their hour.
func (db *DB) CollectResults(ctx context.Context, now time.Time) (n int64, err error) {
	defer fault.Wrap(&err, "postgres.CollectResults")
	err = db.AcrossTenants(ctx, "results kept to be read in parts have had their hour", func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM kept_results WHERE expires_at <= $1`, now)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}
