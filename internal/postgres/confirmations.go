package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/approvals"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ approvals.Store = (*DB)(nil)

const confirmationColumns = `c.id, c.token_hash, c.user_id, c.server_id, c.tool, c.definition_hash, c.request, c.grant_id, c.created_at, c.expires_at, c.used_at, c.used_key, c.used_until`

func scanConfirmation(row pgx.CollectableRow) (c approvals.Confirmation, err error) {
	var token, request, key []byte
	err = row.Scan(&c.ID, &token, &c.User, &c.Server, &c.Tool, &c.Definition, &request, &c.Grant, &c.CreatedAt, &c.ExpiresAt,
		(*zeroTime)(&c.Used.At), &key, (*zeroTime)(&c.Used.Until))
	copy(c.Token[:], token)
	copy(c.Request[:], request)
	copy(c.Used.Key[:], key)
	return c, err
}

// CreateConfirmation stores a confirmation. A loop of dry runs does not fill the
// store: the person's oldest unused ones give way.
func (db *DB) CreateConfirmation(ctx context.Context, t tenants.ID, c approvals.Confirmation) (err error) {
	defer fault.Wrap(&err, "postgres.CreateConfirmation(%s, %s)", t, c.ID)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
			DELETE FROM confirmations WHERE id IN (
				SELECT id FROM confirmations WHERE user_id = $1 AND used_at IS NULL ORDER BY created_at DESC, id OFFSET $2 FOR UPDATE SKIP LOCKED)`,
			c.User, approvals.MaxUnused-1); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO confirmations (tenant_id, id, token_hash, user_id, server_id, tool, definition_hash, request, grant_id, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			t, c.ID, c.Token[:], c.User, c.Server, c.Tool, c.Definition, c.Request[:], c.Grant, c.CreatedAt, c.ExpiresAt)
		return err
	})
}

// UseConfirmation spends a confirmation. Its row is locked meanwhile.
func (db *DB) UseConfirmation(ctx context.Context, t tenants.ID, token approvals.Hash, s approvals.Subject, grant string, u approvals.Use) (c approvals.Confirmation, err error) {
	defer fault.Wrap(&err, "postgres.UseConfirmation(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if c, err = one(ctx, tx, scanConfirmation, `SELECT `+confirmationColumns+` FROM confirmations c WHERE c.token_hash = $1 FOR UPDATE`, token[:]); err != nil {
			return err
		}
		before := c.Used
		if err := c.Spend(s, grant, u); err != nil || c.Used == before {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE confirmations SET used_at = $2, used_key = $3, used_until = $4 WHERE id = $1`, c.ID, c.Used.At, c.Used.Key[:], c.Used.Until)
		return err
	})
	return c, err
}

// DropConfirmation forgets a confirmation that was not used.
func (db *DB) DropConfirmation(ctx context.Context, t tenants.ID, token approvals.Hash, by tenants.UserID) (err error) {
	defer fault.Wrap(&err, "postgres.DropConfirmation(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM confirmations WHERE token_hash = $1 AND user_id = $2 AND used_at IS NULL`, token[:], by)
		return err
	})
}

// CollectAgreements removes, of all tenants, the confirmations that are good for
// nothing any more, and approvals with their arguments after their time.
func (db *DB) CollectAgreements(ctx context.Context, now time.Time) (n int64, err error) {
	defer fault.Wrap(&err, "postgres.CollectAgreements")
	err = db.AcrossTenants(ctx, "confirmations and approvals have had their time", func(ctx context.Context, tx pgx.Tx) error {
		for _, old := range []struct {
			sql    string
			before time.Time
		}{
			{`DELETE FROM confirmations WHERE greatest(expires_at, used_until) < $1`, now.Add(-approvals.KnownFor)},
			{`DELETE FROM approvals WHERE requested_at < $1`, now.Add(-approvals.KeptFor)},
			{`DELETE FROM approval_letters WHERE sent_at < $1`, now.Add(-approvals.LetterEvery)},
		} {
			tag, err := tx.Exec(ctx, old.sql, old.before)
			if err != nil {
				return err
			}
			n += tag.RowsAffected()
		}
		return nil
	})
	return n, err
}
