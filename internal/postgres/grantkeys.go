package postgres

import (
	"context"
	"crypto/ed25519"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
)

// GrantKeys reads the sealed keys that grants are signed with, newest first.
func (db *DB) GrantKeys(ctx context.Context) (sealed [][]byte, err error) {
	defer fault.Wrap(&err, "postgres.GrantKeys")
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		sealed, err = many(ctx, tx, pgx.RowTo[[]byte], `SELECT sealed FROM grant_keys ORDER BY created_at DESC, kid`)
		return err
	})
	return sealed, err
}

// AddFirstGrantKey stores a key unless there is one. Of several processes that
// start at once, one wins.
func (db *DB) AddFirstGrantKey(ctx context.Context, kid string, public ed25519.PublicKey, sealed []byte) (err error) {
	defer fault.Wrap(&err, "postgres.AddFirstGrantKey(%s)", kid)
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('latchkey grant keys'))`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO grant_keys (kid, public, sealed)
			SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM grant_keys)`, kid, []byte(public), sealed)
		return err
	})
}
