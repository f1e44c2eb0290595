package postgres

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// OwnLimits are what the tenant sets itself; nothing where it sets none.
func (db *DB) OwnLimits(ctx context.Context, t tenants.ID) (l tenants.Limits, err error) {
	defer fault.Wrap(&err, "postgres.OwnLimits(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := many(ctx, tx, pgx.RowTo[json.RawMessage], `SELECT limits FROM tenant_limits`)
		if err != nil || len(rows) == 0 {
			return err
		}
		return json.Unmarshal(rows[0], &l)
	})
	return l, err
}

// PutLimits replaces all that the tenant sets itself.
func (db *DB) PutLimits(ctx context.Context, t tenants.ID, l tenants.Limits) (err error) {
	defer fault.Wrap(&err, "postgres.PutLimits(%s)", t)
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if l == (tenants.Limits{}) {
			_, err := tx.Exec(ctx, `DELETE FROM tenant_limits`)
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO tenant_limits (tenant_id, limits, updated_at) VALUES ($1, $2, clock_timestamp())
			ON CONFLICT (tenant_id) DO UPDATE SET limits = excluded.limits, updated_at = excluded.updated_at
			WHERE tenant_limits.limits <> excluded.limits`, t, string(raw))
		return err
	})
}
