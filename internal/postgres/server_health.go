package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

var _ health.Store = (*DB)(nil)

// ServerHealth lists a tenant's records. Cached has them in memory.
func (db *DB) ServerHealth(ctx context.Context, t tenants.ID) (set health.Set, err error) {
	defer fault.Wrap(&err, "postgres.ServerHealth(%s)", t)
	set = health.Set{}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		list, err := many(ctx, tx, func(row pgx.CollectableRow) (r health.Record, err error) {
			return r, row.Scan(&r.Tenant, &r.Server, &r.State, &r.Since, &r.Checked, &r.Next, (*zeroTime)(&r.LastOK), (*zeroTime)(&r.Failed), &r.Code, &r.Message, &r.Failures, &r.Latency, &r.Era)
		}, `SELECT tenant_id, server_id, state, since, checked_at, next_at, ok_at, failed_at, code, message, failures, latency, era FROM server_health`)
		for _, r := range list {
			set[r.Server] = r
		}
		return err
	})
	return set, err
}

// PutServerHealth replaces a record. Of a server that is gone there is none.
func (db *DB) PutServerHealth(ctx context.Context, t tenants.ID, r health.Record) (err error) {
	defer fault.Wrap(&err, "postgres.PutServerHealth(%s, %s)", t, r.Server)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO server_health AS h (tenant_id, server_id, state, since, checked_at, next_at, ok_at, failed_at, code, message, failures, latency, era)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
			ON CONFLICT (tenant_id, server_id) DO UPDATE SET (state, since, checked_at, next_at, ok_at, failed_at, code, message, failures, latency, era) =
				(EXCLUDED.state, EXCLUDED.since, EXCLUDED.checked_at, EXCLUDED.next_at, EXCLUDED.ok_at, EXCLUDED.failed_at, EXCLUDED.code, EXCLUDED.message, EXCLUDED.failures, EXCLUDED.latency, EXCLUDED.era)`,
			t, r.Server, r.State, r.Since, r.Checked, r.Next, orNull(r.LastOK), orNull(r.Failed), r.Code, r.Message, r.Failures, r.Latency, r.Era)
		return err
	})
}

// CountServerHealth counts the records of all tenants.
func (db *DB) CountServerHealth(ctx context.Context) (n map[health.State]int, err error) {
	defer fault.Wrap(&err, "postgres.CountServerHealth")
	type line struct {
		State health.State
		N     int
	}
	n = map[health.State]int{}
	err = db.AcrossTenants(ctx, "how many servers answer", func(ctx context.Context, tx pgx.Tx) error {
		lines, err := many(ctx, tx, pgx.RowToStructByPos[line], `SELECT state, count(*)::int FROM server_health GROUP BY 1`)
		for _, l := range lines {
			n[l.State] = l.N
		}
		return err
	})
	return n, err
}

// Upstreams lists what is to be kept an eye on, of all tenants that are served.
func (db *DB) Upstreams(ctx context.Context, kinds []string) (list []registry.Upstream, err error) {
	defer fault.Wrap(&err, "postgres.Upstreams")
	err = db.AcrossTenants(ctx, "servers whose upstream is looked at", func(ctx context.Context, tx pgx.Tx) error {
		list, err = many(ctx, tx, func(row pgx.CollectableRow) (u registry.Upstream, err error) {
			return u, row.Scan(&u.Tenant, &u.Server, &u.Slug, &u.Kind, &u.PerUser, &u.Connected, &u.UpdatedAt, &u.Active, &u.Newest, &u.Pinned, &u.Pending, &u.Awaited)
		}, `
			SELECT s.tenant_id, s.id, s.slug, s.kind, s.per_user, s.per_user OR s.connection <> '{}', s.updated_at, coalesce(s.active_revision, ''),
			       coalesce((SELECT r.id FROM revisions r WHERE (r.tenant_id, r.server_id) = (s.tenant_id, s.id) ORDER BY r.number DESC LIMIT 1), ''),
			       coalesce(o.pinned_hash, ''), coalesce(o.pending_hash, ''), coalesce(o.awaited_revision, '')
			FROM servers s JOIN tenants t ON t.id = s.tenant_id LEFT JOIN offer_states o ON (o.tenant_id, o.server_id) = (s.tenant_id, s.id)
			WHERE s.deleting_at IS NULL AND t.suspended_at IS NULL AND t.deleting_at IS NULL AND s.kind = ANY ($1)`, kinds)
		return err
	})
	return list, err
}

// HintProbe tells whoever looks after upstreams that a call of this one failed.
func (db *DB) HintProbe(ctx context.Context, t tenants.ID, s registry.ServerID) (err error) {
	defer fault.Wrap(&err, "postgres.HintProbe(%s, %s)", t, s)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT pg_notify('latchkey', json_build_object('topic', 'probe', 'tenant', $1::text, 'id', $2::text)::text)`, t, s)
		return err
	})
}

// PutTrial keeps what a worker opens to try a server that is not saved, or puts
// another opening in its place.
func (db *DB) PutTrial(ctx context.Context, t tenants.ID, o runtime.Opening, saved bool, until time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.PutTrial(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO trial_openings (tenant_id, revision, server_id, opening, saved, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (tenant_id, revision) DO UPDATE SET opening = EXCLUDED.opening`, t, o.Revision, o.Server, o, saved, until)
		return err
	})
}

// Trial gives what PutTrial kept.
func (db *DB) Trial(ctx context.Context, t tenants.ID, r registry.RevisionID) (o runtime.Opening, err error) {
	defer fault.Wrap(&err, "postgres.Trial(%s, %s)", t, r)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		raw, err := one(ctx, tx, pgx.RowTo[json.RawMessage], `SELECT opening FROM trial_openings WHERE revision = $1`, r)
		if err == nil {
			err = json.Unmarshal(raw, &o)
		}
		return err
	})
	return o, err
}

// DropTrial removes it.
func (db *DB) DropTrial(ctx context.Context, t tenants.ID, r registry.RevisionID) (err error) {
	defer fault.Wrap(&err, "postgres.DropTrial(%s, %s)", t, r)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM trial_openings WHERE revision = $1`, r)
		return err
	})
}

// StaleTrials lists those of all tenants that nobody dropped, because whoever
// tried ended before.
func (db *DB) StaleTrials(ctx context.Context, at time.Time) (list []registry.Trial, err error) {
	defer fault.Wrap(&err, "postgres.StaleTrials")
	err = db.AcrossTenants(ctx, "what was left of trials", func(ctx context.Context, tx pgx.Tx) error {
		list, err = many(ctx, tx, pgx.RowToStructByPos[registry.Trial], `SELECT tenant_id, server_id, revision, saved FROM trial_openings WHERE expires_at <= $1 LIMIT 100`, at)
		return err
	})
	return list, err
}
