package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

const keyQuery = `SELECT kid, public, sealed, created_at, signs_from FROM oauth_keys ORDER BY signs_from, kid`

func scanKey(row pgx.CollectableRow) (oauth.Key, error) {
	var k oauth.Key
	err := row.Scan(&k.ID, &k.Public, &k.Sealed, &k.CreatedAt, &k.SignsFrom)
	return k, err
}

// SigningKeys lists a tenant's keys, oldest first.
func (db *DB) SigningKeys(ctx context.Context, t tenants.ID) (ks []oauth.Key, err error) {
	defer fault.Wrap(&err, "postgres.SigningKeys(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		ks, err = many(ctx, tx, scanKey, keyQuery)
		return err
	})
	return ks, err
}

// AddSigningKey stores k if admit says so. An advisory lock keeps two edges
// from both making a tenant's first key.
func (db *DB) AddSigningKey(ctx context.Context, t tenants.ID, k oauth.Key, admit func([]oauth.Key) bool) (err error) {
	defer fault.Wrap(&err, "postgres.AddSigningKey(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('oauth_keys/' || $1, 0))`, t); err != nil {
			return err
		}
		have, err := many(ctx, tx, scanKey, keyQuery)
		if err != nil || !admit(have) {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO oauth_keys (tenant_id, kid, public, sealed, created_at, signs_from) VALUES ($1, $2, $3, $4, $5, $6)`,
			t, k.ID, k.Public, k.Sealed, k.CreatedAt, k.SignsFrom)
		return err
	})
}

// DeleteSigningKeys removes keys by id.
func (db *DB) DeleteSigningKeys(ctx context.Context, t tenants.ID, kids []string) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteSigningKeys(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM oauth_keys WHERE kid = ANY ($1)`, kids)
		return err
	})
}
