package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

var _ registry.Store = (*DB)(nil)

const (
	serverColumns = `s.tenant_id, s.id, s.slug, s.kind, s.title, s.description, s.connection, s.connection_declared, s.secrets_set, s.secrets_version, s.pool, s.per_user,
	coalesce(s.active_revision, ''), s.deleting_at IS NOT NULL, s.updated_at`
	revisionColumns = `r.tenant_id, r.id, r.server_id, r.number, r.hash, r.kind, r.spec, r.declared, r.definition, r.created_at, r.created_by`
)

func serverFields(s *registry.Server) []any {
	return []any{&s.Tenant, &s.ID, &s.Slug, &s.Kind, &s.Title, &s.Description, &s.Connection, &s.Declared, &s.SecretsSet, &s.SecretsVersion, &s.Pool, &s.PerUser, &s.Active, &s.Deleting, &s.UpdatedAt}
}

func revisionFields(r *registry.Revision) []any {
	return []any{&r.Tenant, &r.ID, &r.Server, &r.Number, &r.Hash, &r.Kind, &r.Spec, &r.Declared, &r.Definition, &r.CreatedAt, &r.CreatedBy}
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
	FROM servers s JOIN revisions r ON (r.tenant_id, r.id) = (s.tenant_id, s.active_revision)
	WHERE s.deleting_at IS NULL`

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
		h, err = one(ctx, tx, scanHosted, hostedQuery+` AND s.slug = $1`, slug)
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
	if len(s.Declared) == 0 {
		s.Declared = json.RawMessage(`{}`)
	}
	if s.Pool == "" {
		s.Pool = "default"
	}
	if s.ID == "" {
		s.ID = tenants.NewServerID()
	}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		out, err = one(ctx, tx, scanServer, `
			INSERT INTO servers AS s (tenant_id, id, slug, kind, title, description, connection, connection_declared, secrets_set, secrets_version, pool, per_user)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (tenant_id, slug) DO UPDATE
			SET (title, description, connection, connection_declared, secrets_set, secrets_version, pool, per_user, updated_at) =
			    (EXCLUDED.title, EXCLUDED.description, EXCLUDED.connection, EXCLUDED.connection_declared, EXCLUDED.secrets_set, EXCLUDED.secrets_version, EXCLUDED.pool, EXCLUDED.per_user,
			    CASE WHEN (s.title, s.description, s.connection, s.connection_declared::text, s.secrets_set, s.secrets_version, s.pool, s.per_user) =
			         (EXCLUDED.title, EXCLUDED.description, EXCLUDED.connection, EXCLUDED.connection_declared::text, EXCLUDED.secrets_set, EXCLUDED.secrets_version, EXCLUDED.pool, EXCLUDED.per_user)
			         THEN s.updated_at ELSE now() END)
			RETURNING `+serverColumns, t, s.ID, s.Slug, s.Kind, s.Title, s.Description, s.Connection, s.Declared, append([]string{}, s.SecretsSet...), s.SecretsVersion, s.Pool, s.PerUser)
		if err == nil {
			err = registry.MayBecome(out, s)
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
		active, err := lockServer(ctx, tx, r.Server)
		if err != nil {
			return err
		}
		if active != "" {
			out, err = one(ctx, tx, scanRevision, `SELECT `+revisionColumns+` FROM revisions r WHERE r.id = $1`, active)
			if err != nil || out.SameAs(r) {
				return err
			}
		}
		if out, err = insertRevision(ctx, tx, t, r); err != nil {
			return err
		}
		published = true
		return activate(ctx, tx, r.Server, out.ID)
	})
	return out, published && err == nil, err
}

// Stage stores a revision, unless the server has one of its hash.
func (db *DB) Stage(ctx context.Context, t tenants.ID, r registry.Revision) (out registry.Revision, staged bool, err error) {
	defer fault.Wrap(&err, "postgres.Stage(%s, %s)", t, r.Server)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockServer(ctx, tx, r.Server); err != nil {
			return err
		}
		same, err := many(ctx, tx, scanRevision, `
			SELECT `+revisionColumns+` FROM revisions r
			WHERE r.server_id = $1 AND r.hash = $2 AND (r.declared IS NOT NULL OR $3) ORDER BY r.number DESC LIMIT 1`, r.Server, r.Hash, len(r.Declared) == 0)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			out = same[0]
			return nil
		}
		staged = true
		out, err = insertRevision(ctx, tx, t, r)
		return err
	})
	return out, staged && err == nil, err
}

// Activate makes a revision the active one.
func (db *DB) Activate(ctx context.Context, t tenants.ID, s registry.ServerID, number int) (out registry.Revision, err error) {
	defer fault.Wrap(&err, "postgres.Activate(%s, %s, %d)", t, s, number)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		active, err := lockServer(ctx, tx, s)
		if err != nil {
			return err
		}
		out, err = one(ctx, tx, scanRevision, `SELECT `+revisionColumns+` FROM revisions r WHERE r.server_id = $1 AND r.number = $2`, s, number)
		if err != nil || out.ID == active {
			return err
		}
		return activate(ctx, tx, s, out.ID)
	})
	return out, err
}

// lockServer keeps others from changing a server's revisions. One that is being
// deleted gets no more of them.
func lockServer(ctx context.Context, tx pgx.Tx, id registry.ServerID) (active registry.RevisionID, err error) {
	var deleting bool
	err = tx.QueryRow(ctx, `SELECT coalesce(active_revision, ''), deleting_at IS NOT NULL FROM servers WHERE id = $1 FOR UPDATE`, id).Scan(&active, &deleting)
	if err == nil && deleting {
		err = registry.ErrDeleting
	}
	return active, err
}

func insertRevision(ctx context.Context, tx pgx.Tx, t tenants.ID, r registry.Revision) (registry.Revision, error) {
	var declared any // NULL where there is none
	if len(r.Declared) > 0 {
		declared = r.Declared
	}
	return one(ctx, tx, scanRevision, `
		INSERT INTO revisions AS r (tenant_id, id, server_id, number, hash, kind, spec, declared, definition, created_by)
		SELECT $1, $2, $3, coalesce(max(number), 0) + 1, $4, $5, $6, $7, $8, $9 FROM revisions WHERE server_id = $3
		RETURNING `+revisionColumns, t, tenants.RandomID("rv"), r.Server, r.Hash, r.Kind, r.Spec, declared, r.Definition, r.CreatedBy)
}

func activate(ctx context.Context, tx pgx.Tx, s registry.ServerID, r registry.RevisionID) error {
	return changed(tx.Exec(ctx, `UPDATE servers SET active_revision = $2, updated_at = now() WHERE id = $1`, s, r))
}

// BeginDeleteServer hides a server, ends its grants and queues its end; every
// edge hears of the first two when this commits.
func (db *DB) BeginDeleteServer(ctx context.Context, t tenants.ID, id registry.ServerID, createdBy string, at time.Time) (op tenants.Operation, err error) {
	defer fault.Wrap(&err, "postgres.BeginDeleteServer(%s, %s)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var slug, tenant string
		if err := tx.QueryRow(ctx, `
			UPDATE servers SET (deleting_at, updated_at) = (coalesce(deleting_at, $2), $2) WHERE id = $1
			RETURNING slug, (SELECT t.slug FROM tenants t)`, id, at).Scan(&slug, &tenant); err != nil {
			return err
		}
		grants, err := many(ctx, tx, pgx.RowTo[string], `SELECT id FROM oauth_grants WHERE server_id = $1 AND revoked_at IS NULL ORDER BY id FOR UPDATE`, id)
		if err != nil {
			return err
		}
		var b pgx.Batch
		for _, g := range grants {
			queueRevoke(&b, g, "its server was deleted", at)
		}
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		op, err = enqueue(ctx, tx, tenants.Operation{
			Tenant: t, TenantSlug: tenant, Kind: tenants.DeleteServerOperation, Target: string(id), Name: slug, CreatedBy: createdBy, CreatedAt: at,
		})
		return err
	})
	return op, err
}

// ServerEffects counts what DeleteServer removes.
func (db *DB) ServerEffects(ctx context.Context, t tenants.ID, id registry.ServerID) (e tenants.Effects, err error) {
	defer fault.Wrap(&err, "postgres.ServerEffects(%s, %s)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		e, err = effects(ctx, tx, `
			SELECT 'server, with its credentials at Vault', count(*) FROM servers WHERE id = $1
			UNION ALL SELECT 'revisions', count(*) FROM revisions WHERE server_id = $1
			UNION ALL SELECT 'scopes that roles open on it', count(*) FROM role_scopes WHERE server_id = $1
			UNION ALL SELECT 'grants in force', count(*) FROM oauth_grants WHERE server_id = $1 AND `+grantInForce, id)
		if err == nil && len(e) == 0 {
			return pgx.ErrNoRows
		}
		return err
	})
	return e, err
}

// DeleteServer removes a server with its revisions and what roles open on it.
func (db *DB) DeleteServer(ctx context.Context, t tenants.ID, id registry.ServerID) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteServer(%s, %s)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `DELETE FROM servers WHERE id = $1`, id))
	})
}
