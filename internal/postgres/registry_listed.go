package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// ListedRevision is the revision of a server that a grant listed last, or empty.
func (db *DB) ListedRevision(ctx context.Context, t tenants.ID, grant string, s registry.ServerID) (r registry.RevisionID, err error) {
	defer fault.Wrap(&err, "postgres.ListedRevision(%s, %s, %s)", t, grant, s)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT revision_id FROM listed_revisions WHERE grant_id = $1 AND server_id = $2`, grant, s).Scan(&r)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return r, err
}

// RememberListed puts it down. Of a grant that has ended it is fault.NotFound.
func (db *DB) RememberListed(ctx context.Context, t tenants.ID, grant string, s registry.ServerID, r registry.RevisionID) (err error) {
	defer fault.Wrap(&err, "postgres.RememberListed(%s, %s, %s)", t, grant, r)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO listed_revisions AS l (tenant_id, grant_id, server_id, revision_id) VALUES ($1, $2, $3, $4)
			ON CONFLICT (tenant_id, grant_id, server_id) DO UPDATE SET (revision_id, listed_at) = (EXCLUDED.revision_id, now())
			WHERE l.revision_id <> EXCLUDED.revision_id`, t, grant, s, r)
		return err
	})
}

// newestCalls bounds what ToolCalls reads, whatever the traffic.
const newestCalls = 20_000

// ToolCalls counts the newest calls of a tool; with older, those of sessions that
// went on with an older revision.
func (db *DB) ToolCalls(ctx context.Context, t tenants.ID, server, tool string, older bool, since time.Time) (c registry.Calls, err error) {
	defer fault.Wrap(&err, "postgres.ToolCalls(%s, %s, %.80q)", t, server, tool)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var last *time.Time
		err := tx.QueryRow(ctx, `
			SELECT count(*), max(at), coalesce((array_agg(DISTINCT user_id) FILTER (WHERE user_id <> ''))[:20], '{}')
			FROM (SELECT at, user_id FROM audit_events
			      WHERE server = $1 AND tool = $2 AND octet_length(tool) <= 512 AND at > $3 AND method = 'tools/call' AND phase <> 'intent' AND (NOT $4 OR notes LIKE '%"revision":%')
			      ORDER BY at DESC LIMIT $5) e`, server, tool, since, older, newestCalls).Scan(&c.Count, &last, &c.Users)
		if last != nil {
			c.Last = *last
		}
		return err
	})
	return c, err
}
