package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// current joins a server's active revision, or the newest of a draft.
const current = `
	LEFT JOIN LATERAL (
		SELECT * FROM revisions c WHERE c.server_id = s.id AND (s.active_revision IS NULL OR c.id = s.active_revision)
		ORDER BY c.number DESC LIMIT 1) r ON true`

// ServerBySlug finds a server in whatever state.
func (db *DB) ServerBySlug(ctx context.Context, t tenants.ID, slug string) (s registry.Server, err error) {
	defer fault.Wrap(&err, "postgres.ServerBySlug(%s, %.50q)", t, slug)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		s, err = one(ctx, tx, scanServer, `SELECT `+serverColumns+` FROM servers s WHERE s.slug = $1`, slug)
		return err
	})
	return s, err
}

// Current lists servers with the revision that is in force or comes next.
func (db *DB) Current(ctx context.Context, t tenants.ID) (hs []registry.Hosted, err error) {
	defer fault.Wrap(&err, "postgres.Current(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		hs, err = many(ctx, tx, func(row pgx.CollectableRow) (h registry.Hosted, err error) {
			var r revisionOrNone
			err = row.Scan(append(serverFields(&h.Server), r.fields()...)...)
			h.Revision = r.revision()
			return h, err
		}, `SELECT `+serverColumns+`, `+revisionColumns+` FROM servers s `+current+` WHERE s.deleting_at IS NULL ORDER BY s.slug COLLATE "C"`)
		return err
	})
	return hs, err
}

// revisionOrNone is a revision of an outer join.
type revisionOrNone struct {
	tenant, id, server, hash, kind, by *string
	number                             *int
	spec, declared                     json.RawMessage
	definition                         *registry.Definition
	at                                 *time.Time
}

func (r *revisionOrNone) fields() []any {
	return []any{&r.tenant, &r.id, &r.server, &r.number, &r.hash, &r.kind, &r.spec, &r.declared, &r.definition, &r.at, &r.by}
}

func (r *revisionOrNone) revision() registry.Revision {
	if r.id == nil {
		return registry.Revision{}
	}
	return registry.Revision{
		Tenant: tenants.ID(*r.tenant), ID: registry.RevisionID(*r.id), Server: registry.ServerID(*r.server), Number: *r.number, Hash: *r.hash, Kind: *r.kind,
		Spec: r.spec, Declared: r.declared, Definition: *r.definition, CreatedAt: *r.at, CreatedBy: *r.by,
	}
}

// Servers lists by slug.
func (db *DB) Servers(ctx context.Context, t tenants.ID, q registry.ServerQuery) (ls []registry.Listed, err error) {
	defer fault.Wrap(&err, "postgres.Servers(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		ls, err = many(ctx, tx, func(row pgx.CollectableRow) (l registry.Listed, err error) {
			return l, row.Scan(append(serverFields(&l.Server), &l.ActiveNumber, &l.LatestNumber, &l.Tools)...)
		}, `
			SELECT `+serverColumns+`, CASE WHEN s.active_revision IS NULL THEN 0 ELSE coalesce(r.number, 0) END,
			       coalesce((SELECT max(n.number) FROM revisions n WHERE n.server_id = s.id), 0), coalesce(json_array_length(r.definition -> 'tools'), 0)
			FROM servers s `+current+`
			WHERE s.slug COLLATE "C" > $1 AND ($2 = '' OR s.slug ILIKE $3 OR s.title ILIKE $3)
			  AND CASE $4 WHEN 'deleting' THEN s.deleting_at IS NOT NULL WHEN 'published' THEN s.deleting_at IS NULL AND s.active_revision IS NOT NULL
			              WHEN 'draft' THEN s.deleting_at IS NULL AND s.active_revision IS NULL ELSE true END
			  AND (NOT $6 OR s.per_user OR s.connection <> '{}')
			ORDER BY s.slug COLLATE "C" LIMIT $5`, q.After, q.Search, containing(q.Search), string(q.State), q.Limit, q.Connected)
		return err
	})
	return ls, err
}

// Tools lists by server and name. A definition's text stays as it is, so that
// the order of a schema's keys does.
func (db *DB) Tools(ctx context.Context, t tenants.ID, q registry.ToolQuery) (ls []registry.ListedTool, err error) {
	defer fault.Wrap(&err, "postgres.Tools(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		ls, err = many(ctx, tx, func(row pgx.CollectableRow) (l registry.ListedTool, err error) {
			return l, row.Scan(&l.Server, &l.Published, &l.Revision, &l.Tool, &l.Roles)
		}, `
			SELECT s.slug, s.active_revision IS NOT NULL, r.number, d.tool,
			       coalesce((SELECT array_agg(o.role ORDER BY o.role) FROM role_scopes o WHERE o.server_id = s.id AND o.scope = d.tool ->> 'scope'), '{}')
			FROM servers s `+current+` CROSS JOIN LATERAL json_array_elements(coalesce(r.definition -> 'tools', '[]')) AS d (tool)
			WHERE s.deleting_at IS NULL AND (s.slug COLLATE "C", (d.tool ->> 'name') COLLATE "C") > ($1, $2) AND s.slug COLLATE "C" >= $1
			  AND ($3 = '' OR d.tool ->> 'name' ILIKE $4 OR d.tool ->> 'title' ILIKE $4 OR d.tool ->> 'description' ILIKE $4)
			  AND ($5 = '' OR s.slug = $5) AND ($6 = '' OR d.tool ->> 'name' = $6) AND ($7 = '' OR d.tool ->> 'risk' = $7) AND ($8 = '' OR d.tool ->> 'scope' = $8)
			  AND ($9 = '' OR EXISTS (SELECT FROM role_scopes o WHERE o.server_id = s.id AND o.scope = d.tool ->> 'scope' AND o.role = $9))
			ORDER BY s.slug COLLATE "C", (d.tool ->> 'name') COLLATE "C" LIMIT $10`,
			q.AfterServer, q.AfterTool, q.Search, containing(q.Search), q.Server, q.Tool, string(q.Risk), q.Scope, q.Role, q.Limit)
		return err
	})
	return ls, err
}

// RevisionByNumber finds a server's revision.
func (db *DB) RevisionByNumber(ctx context.Context, t tenants.ID, s registry.ServerID, number int) (r registry.Revision, err error) {
	defer fault.Wrap(&err, "postgres.RevisionByNumber(%s, %s, %d)", t, s, number)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		r, err = one(ctx, tx, scanRevision, `SELECT `+revisionColumns+` FROM revisions r WHERE r.server_id = $1 AND r.number = $2`, s, number)
		return err
	})
	return r, err
}

// Newest finds a server's last revision.
func (db *DB) Newest(ctx context.Context, t tenants.ID, s registry.ServerID) (r registry.Revision, err error) {
	rs, err := db.RevisionsBefore(ctx, t, s, maxNumber, 1)
	if err == nil && len(rs) == 0 {
		return r, fault.New(fault.NotFound, "This server has no revision yet.")
	}
	if err != nil {
		return r, err
	}
	return rs[0], nil
}

const maxNumber = 1 << 30

// RevisionsBefore lists a server's revisions, newest first.
func (db *DB) RevisionsBefore(ctx context.Context, t tenants.ID, s registry.ServerID, number, limit int) (rs []registry.Revision, err error) {
	defer fault.Wrap(&err, "postgres.RevisionsBefore(%s, %s)", t, s)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		rs, err = many(ctx, tx, scanRevision, `
			SELECT `+revisionColumns+` FROM revisions r WHERE r.server_id = $1 AND r.number < $2 ORDER BY r.number DESC LIMIT $3`, s, number, limit)
		return err
	})
	return rs, err
}

// newestRecords bounds what LastCredentials reads, whatever the traffic.
const newestRecords = 20_000

// LastCredentials reads the newest records once, for all servers.
func (db *DB) LastCredentials(ctx context.Context, t tenants.ID, ids []registry.ServerID) (out map[registry.ServerID]registry.Credentials, err error) {
	defer fault.Wrap(&err, "postgres.LastCredentials(%s)", t)
	out = map[registry.ServerID]registry.Credentials{}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, fmt.Sprintf(`
			SELECT server_id, max(at) FILTER (WHERE lease_id <> ''), max(at) FILTER (WHERE code = $3),
			       coalesce((array_agg(reason ORDER BY at DESC) FILTER (WHERE code = $3))[1], '')
			FROM (SELECT at, server_id, lease_id, code, reason FROM audit_events WHERE at > $1 ORDER BY at DESC LIMIT %d) e
			WHERE server_id = ANY ($2) AND (lease_id <> '' OR code = $3) GROUP BY server_id`, newestRecords),
			time.Now().Add(-30*24*time.Hour), names, fault.CredentialsAway.Name)
		var id registry.ServerID
		var issued, failed *time.Time
		var reason string
		_, err := pgx.ForEachRow(rows, []any{&id, &issued, &failed, &reason}, func() error {
			c := registry.Credentials{LastFailure: reason}
			if issued != nil {
				c.LastIssued = *issued
			}
			if failed != nil {
				c.LastFailed = *failed
			}
			out[id] = c
			return nil
		})
		return err
	})
	return out, err
}
