package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/peers"
)

// AnnounceEdge says that an edge is there now, by the database's clock.
func (db *DB) AnnounceEdge(ctx context.Context, e peers.Edge) (err error) {
	defer fault.Wrap(&err, "postgres.AnnounceEdge(%s)", e.ID)
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM edges WHERE seen_at < clock_timestamp() - interval '1 hour'`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO edges (id, url, seen_at) VALUES ($1, $2, clock_timestamp())
			ON CONFLICT (id) DO UPDATE SET url = excluded.url, seen_at = excluded.seen_at`, e.ID, e.URL)
		return err
	})
}

// RetireEdge forgets an edge that ends.
func (db *DB) RetireEdge(ctx context.Context, id string) (err error) {
	defer fault.Wrap(&err, "postgres.RetireEdge(%s)", id)
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM edges WHERE id = $1`, id)
		return err
	})
}

// Edges lists those that announced themselves within a time.
func (db *DB) Edges(ctx context.Context, within time.Duration) (all []peers.Edge, err error) {
	defer fault.Wrap(&err, "postgres.Edges")
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		all, err = many(ctx, tx, pgx.RowToStructByPos[peers.Edge], `
			SELECT id, url FROM edges WHERE seen_at > clock_timestamp() - make_interval(secs => $1) ORDER BY id`, within.Seconds())
		return err
	})
	return all, err
}
