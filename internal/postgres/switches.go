package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

var _ switches.Store = (*DB)(nil)

const switchColumns = `tenant_id, id, target, reason, by, by_role, created_at, expires_at, cancel_running, lifted_at, lifted_by`

func scanSwitch(row pgx.CollectableRow) (s switches.Switch, err error) {
	var target string
	if err := row.Scan(&s.Tenant, &s.ID, &target, &s.Reason, &s.By, &s.ByRole, &s.CreatedAt, (*zeroTime)(&s.ExpiresAt), &s.CancelRunning, (*zeroTime)(&s.LiftedAt), &s.LiftedBy); err != nil {
		return s, err
	}
	s.Target, err = switches.ParseTarget(target)
	return s, err
}

// endOf marks what has run out at $1 as lifted then.
const endOf = `UPDATE switches SET lifted_at = expires_at WHERE lifted_at IS NULL AND expires_at <= $1`

// PutSwitch switches a target off. Every edge hears of it when this commits.
func (db *DB) PutSwitch(ctx context.Context, t tenants.ID, s switches.Switch) (put switches.Switch, err error) {
	defer fault.Wrap(&err, "postgres.PutSwitch(%s, %s)", t, s.Target)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, endOf+` AND target = $2`, s.CreatedAt, s.Target.String()); err != nil {
			return err
		}
		put, err = one(ctx, tx, scanSwitch, `
			INSERT INTO switches AS s (tenant_id, id, target, reason, by, by_role, created_at, expires_at, cancel_running)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (tenant_id, target) WHERE lifted_at IS NULL DO UPDATE SET
				reason = EXCLUDED.reason, by = EXCLUDED.by, by_role = EXCLUDED.by_role, expires_at = EXCLUDED.expires_at, cancel_running = EXCLUDED.cancel_running
			RETURNING `+switchColumns,
			t, tenants.RandomID("sw"), s.Target.String(), s.Reason, s.By, s.ByRole, s.CreatedAt, orNull(s.ExpiresAt), s.CancelRunning)
		return err
	})
	return put, err
}

// LiftSwitch lets calls of a target through again.
func (db *DB) LiftSwitch(ctx context.Context, t tenants.ID, target switches.Target, by string, at time.Time) (s switches.Switch, err error) {
	defer fault.Wrap(&err, "postgres.LiftSwitch(%s, %s)", t, target)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		s, err = one(ctx, tx, scanSwitch, `
			UPDATE switches SET lifted_at = $2, lifted_by = $3
			WHERE target = $1 AND lifted_at IS NULL AND (expires_at IS NULL OR expires_at > $2) RETURNING `+switchColumns, target.String(), at, by)
		return err
	})
	return s, err
}

// Switch finds the last one of a target.
func (db *DB) Switch(ctx context.Context, t tenants.ID, target switches.Target) (s switches.Switch, err error) {
	defer fault.Wrap(&err, "postgres.Switch(%s, %s)", t, target)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		s, err = one(ctx, tx, scanSwitch, `
			SELECT `+switchColumns+` FROM switches WHERE target = $1 ORDER BY lifted_at IS NOT NULL, created_at DESC, id DESC LIMIT 1`, target.String())
		return err
	})
	return s, err
}

// Switches lists a page.
func (db *DB) Switches(ctx context.Context, t tenants.ID, q switches.Query) (ss []switches.Switch, err error) {
	defer fault.Wrap(&err, "postgres.Switches(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		ss, err = many(ctx, tx, scanSwitch, `
			SELECT `+switchColumns+` FROM (SELECT *, lifted_at IS NULL AND (expires_at IS NULL OR expires_at > $1) AS off FROM switches) s
			WHERE ($2::boolean IS NULL OR off = $2)
			AND ($3::timestamptz IS NULL OR (off, created_at, id) < ($4::boolean, $3, $5))
			ORDER BY off DESC, created_at DESC, id DESC LIMIT $6`,
			q.At, q.On, orNull(q.After.At), q.After.On, q.After.ID, q.Limit)
		return err
	})
	return ss, err
}

// SwitchesOn lists those that nobody lifted.
func (db *DB) SwitchesOn(ctx context.Context, t tenants.ID) (ss []switches.Switch, err error) {
	defer fault.Wrap(&err, "postgres.SwitchesOn(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		ss, err = many(ctx, tx, scanSwitch, `SELECT `+switchColumns+` FROM switches WHERE lifted_at IS NULL ORDER BY target`)
		return err
	})
	return ss, err
}

// Off is the set of them, for calls. Cached has it in memory.
func (db *DB) Off(ctx context.Context, t tenants.ID) (*switches.Set, error) {
	on, err := db.SwitchesOn(ctx, t)
	return switches.NewSet(on), err
}

// EndSwitches ends those of all tenants that have run out. Of several edges
// that do it at once, one gets each.
func (db *DB) EndSwitches(ctx context.Context, now time.Time) (ss []switches.Switch, err error) {
	defer fault.Wrap(&err, "postgres.EndSwitches")
	err = db.AcrossTenants(ctx, "kill switches that have run out", func(ctx context.Context, tx pgx.Tx) error {
		ss, err = many(ctx, tx, scanSwitch, endOf+` RETURNING `+switchColumns, now)
		return err
	})
	return ss, err
}

// CountSwitches counts those of all tenants that are on, by kind.
func (db *DB) CountSwitches(ctx context.Context, now time.Time) (n map[switches.Kind]int, err error) {
	defer fault.Wrap(&err, "postgres.CountSwitches")
	type line struct {
		Kind switches.Kind
		N    int
	}
	n = map[switches.Kind]int{}
	err = db.AcrossTenants(ctx, "how many kill switches are on", func(ctx context.Context, tx pgx.Tx) error {
		lines, err := many(ctx, tx, pgx.RowToStructByPos[line], `
			SELECT split_part(target, ':', 1), count(*)::int FROM switches WHERE lifted_at IS NULL AND (expires_at IS NULL OR expires_at > $1) GROUP BY 1`, now)
		for _, l := range lines {
			n[l.Kind] = l.N
		}
		return err
	})
	return n, err
}
