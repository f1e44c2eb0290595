package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/tenants"
)

var _ idempotency.Store = (*DB)(nil)

// ClaimName begins a request under its name, or finds who has it. A claim that
// never ended, and an answer that has had its day, give way.
func (db *DB) ClaimName(ctx context.Context, t tenants.ID, n idempotency.Name, request idempotency.Hash, now time.Time) (was idempotency.Answer, taken bool, err error) {
	defer fault.Wrap(&err, "postgres.ClaimName(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			INSERT INTO api_idempotency AS i (tenant_id, caller, key, request, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (tenant_id, caller, key) DO UPDATE SET request = EXCLUDED.request, answer = NULL, created_at = EXCLUDED.created_at
			WHERE i.created_at < $6 OR i.answer IS NULL AND i.created_at < $7`,
			t, n.Caller, n.Key, request[:], now, now.Add(-idempotency.Life), now.Add(-idempotency.ClaimLife))
		if err != nil {
			return err
		}
		if taken = tag.RowsAffected() == 1; taken {
			return nil
		}
		var hash []byte
		if err := tx.QueryRow(ctx, `SELECT request, answer FROM api_idempotency WHERE caller = $1 AND key = $2`, n.Caller, n.Key).Scan(&hash, &was.Sealed); err != nil {
			return err
		}
		was.Request, was.Done = idempotency.Hash(hash), was.Sealed != nil
		return nil
	})
	return was, taken, err
}

// KeepAnswer ends a request that was claimed.
func (db *DB) KeepAnswer(ctx context.Context, t tenants.ID, n idempotency.Name, sealed []byte) (err error) {
	defer fault.Wrap(&err, "postgres.KeepAnswer(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `UPDATE api_idempotency SET answer = $3 WHERE caller = $1 AND key = $2`, n.Caller, n.Key, sealed))
	})
}

// DropName gives the name of a request that changed nothing free.
func (db *DB) DropName(ctx context.Context, t tenants.ID, n idempotency.Name) (err error) {
	defer fault.Wrap(&err, "postgres.DropName(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM api_idempotency WHERE caller = $1 AND key = $2 AND answer IS NULL`, n.Caller, n.Key)
		return err
	})
}

// CollectAnswers removes the answers of all tenants that have had their day.
func (db *DB) CollectAnswers(ctx context.Context, now time.Time) (n int64, err error) {
	defer fault.Wrap(&err, "postgres.CollectAnswers")
	err = db.AcrossTenants(ctx, "answers kept for repeats have had their day", func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM api_idempotency WHERE created_at < $1`, now.Add(-idempotency.Life))
		n = tag.RowsAffected()
		return err
	})
	return n, err
}
