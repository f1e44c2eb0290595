package postgres

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

var _ registry.Store = (*DB)(nil)

const (
	serverColumns   = `s.tenant_id, s.id, s.slug, s.kind, s.title, s.description, s.connection, s.pool, s.per_user, coalesce(s.active_revision, ''), s.updated_at`
	revisionColumns = `r.tenant_id, r.id, r.server_id, r.number, r.hash, r.kind, r.spec, r.definition, r.created_at, r.created_by`
)

func serverFields(s *registry.Server) []any {
	return []any{&s.Tenant, &s.ID, &s.Slug, &s.Kind, &s.Title, &s.Description, &s.Connection, &s.Pool, &s.PerUser, &s.Active, &s.UpdatedAt}
}

func revisionFields(r *registry.Revision) []any {
	return []any{&r.Tenant, &r.ID, &r.Server, &r.Number, &r.Hash, &r.Kind, &r.Spec, &r.Definition, &r.CreatedAt, &r.CreatedBy}
}

func scanServer(row pgx.CollectableRow) (s registry.Server, err error) {
	return s, row.Scan(serverFields(&s)...)
}

func scanRevision(row pgx.CollectableRow) (r registry.Revision, err error) {
	return r, row.Scan(revisionFields(&r)...)
}

func scanHosted(row pgx.CollectableRow) (h registry.Hosted, err error) {
	return h, row.Scan(append(serverFields(&h.Server), revisionFields(&h.Revision)...)...)
}

const hostedQuery = `SELECT ` + serverColumns + `, ` + revisionColumns + `
	FROM servers s JOIN revisions r ON (r.tenant_id, r.id) = (s.tenant_id, s.active_revision)`

// Server finds a server.
func (db *DB) Server(ctx context.Context, t tenants.ID, id registry.ServerID) (s registry.Server, err error) {
	defer fault.Wrap(&err, "postgres.Server(%s, %s)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		s, err = one(ctx, tx, scanServer, `SELECT `+serverColumns+` FROM servers s WHERE s.id = $1`, id)
		return err
	})
	return s, err
}

// Hosted finds a published server by slug, with its active revision.
func (db *DB) Hosted(ctx context.Context, t tenants.ID, slug string) (h registry.Hosted, err error) {
	defer fault.Wrap(&err, "postgres.Hosted(%s, %q)", t, slug)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		h, err = one(ctx, tx, scanHosted, hostedQuery+` WHERE s.slug = $1`, slug)
		return err
	})
	return h, err
}

// HostedAll lists a tenant's published servers, by slug.
func (db *DB) HostedAll(ctx context.Context, t tenants.ID) (hs []registry.Hosted, err error) {
	defer fault.Wrap(&err, "postgres.HostedAll(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		hs, err = many(ctx, tx, scanHosted, hostedQuery+` ORDER BY s.slug`)
		return err
	})
	return hs, err
}

// Revision finds a revision.
func (db *DB) Revision(ctx context.Context, t tenants.ID, id registry.RevisionID) (r registry.Revision, err error) {
	defer fault.Wrap(&err, "postgres.Revision(%s, %s)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		r, err = one(ctx, tx, scanRevision, `SELECT `+revisionColumns+` FROM revisions r WHERE r.id = $1`, id)
		return err
	})
	return r, err
}

// Revisions lists a server's revisions, newest first.
func (db *DB) Revisions(ctx context.Context, t tenants.ID, s registry.ServerID) (rs []registry.Revision, err error) {
	defer fault.Wrap(&err, "postgres.Revisions(%s, %s)", t, s)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		rs, err = many(ctx, tx, scanRevision, `SELECT `+revisionColumns+` FROM revisions r WHERE r.server_id = $1 ORDER BY r.number DESC`, s)
		return err
	})
	return rs, err
}

// PutServer creates or updates by slug. A server keeps its kind: another kind
// is another server.
func (db *DB) PutServer(ctx context.Context, t tenants.ID, s registry.Server) (out registry.Server, err error) {
	defer fault.Wrap(&err, "postgres.PutServer(%s, %q)", t, s.Slug)
	if len(s.Connection) == 0 {
		s.Connection = json.RawMessage(`{}`)
	}
	if s.Pool == "" {
		s.Pool = "default"
	}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		out, err = one(ctx, tx, scanServer, `
			INSERT INTO servers AS s (tenant_id, id, slug, kind, title, description, connection, pool, per_user)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (tenant_id, slug) DO UPDATE
			SET (title, description, connection, pool, per_user, updated_at) = (EXCLUDED.title, EXCLUDED.description, EXCLUDED.connection, EXCLUDED.pool, EXCLUDED.per_user,
			    CASE WHEN (s.title, s.description, s.connection, s.pool, s.per_user) = (EXCLUDED.title, EXCLUDED.description, EXCLUDED.connection, EXCLUDED.pool, EXCLUDED.per_user)
			         THEN s.updated_at ELSE now() END)
			RETURNING `+serverColumns, t, tenants.NewServerID(), s.Slug, s.Kind, s.Title, s.Description, s.Connection, s.Pool, s.PerUser)
		if err == nil && out.Kind != s.Kind {
			return fault.New(fault.Conflict, "The server %q is of kind %q and cannot become %q. Choose another slug, or delete the server first.", s.Slug, out.Kind, s.Kind)
		}
		return err
	})
	return out, err
}

// Publish stores a revision and makes it active. Two publishers at once are
// put in order by the server's row.
func (db *DB) Publish(ctx context.Context, t tenants.ID, r registry.Revision) (out registry.Revision, published bool, err error) {
	defer fault.Wrap(&err, "postgres.Publish(%s, %s)", t, r.Server)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var active registry.RevisionID
		if err := tx.QueryRow(ctx, `SELECT coalesce(active_revision, '') FROM servers WHERE id = $1 FOR UPDATE`, r.Server).Scan(&active); err != nil {
			return err
		}
		if active != "" {
			out, err = one(ctx, tx, scanRevision, `SELECT `+revisionColumns+` FROM revisions r WHERE r.id = $1`, active)
			if err != nil || out.Hash == r.Hash {
				return err
			}
		}
		out, err = one(ctx, tx, scanRevision, `
			INSERT INTO revisions AS r (tenant_id, id, server_id, number, hash, kind, spec, definition, created_by)
			SELECT $1, $2, $3, coalesce(max(number), 0) + 1, $4, $5, $6, $7, $8 FROM revisions WHERE server_id = $3
			RETURNING `+revisionColumns, t, tenants.RandomID("rv"), r.Server, r.Hash, r.Kind, r.Spec, r.Definition, r.CreatedBy)
		if err != nil {
			return err
		}
		published = true
		return changed(tx.Exec(ctx, `UPDATE servers SET active_revision = $2, updated_at = now() WHERE id = $1`, r.Server, out.ID))
	})
	return out, published && err == nil, err
}

// DeleteServer removes a server with its revisions and what roles open on it.
func (db *DB) DeleteServer(ctx context.Context, t tenants.ID, id registry.ServerID) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteServer(%s, %s)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `DELETE FROM servers WHERE id = $1`, id))
	})
}
