package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ events.Store = (*DB)(nil)

// InsertEvents adds events of any tenants, and counts those that are there for
// their minute. Those of a tenant that is gone meanwhile are left out.
func (db *DB) InsertEvents(ctx context.Context, es []events.Event) (err error) {
	defer fault.Wrap(&err, "postgres.InsertEvents(%d)", len(es))
	var text [12][]string
	var at, minute []time.Time
	var count []int64
	for _, e := range es {
		at, minute, count = append(at, e.At), append(minute, e.At.Truncate(time.Minute)), append(count, int64(max(1, e.Count)))
		for j, s := range [12]string{string(e.Tenant), tenants.RandomID("ev"), string(e.Kind), string(e.Severity), e.Detail, string(e.User), e.Client,
			string(e.ServerID), e.Server, e.Tool, e.CallID, e.Same} {
			text[j] = append(text[j], storable(s))
		}
	}
	t := &text
	return db.AcrossTenants(ctx, "events of any tenants", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO events AS e (tenant_id, id, kind, severity, detail, user_id, client_id, server_id, server, tool, call_id, same, at, minute, count)
			SELECT n.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
				$13::timestamptz[], $14::timestamptz[], $15::bigint[]) AS n (tenant_id)
			WHERE n.tenant_id = $16 OR EXISTS (SELECT FROM tenants t WHERE t.id = n.tenant_id)
			ON CONFLICT (tenant_id, kind, same, minute) WHERE same <> '' DO UPDATE SET count = e.count + EXCLUDED.count`,
			t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11], at, minute, count, tenants.Platform)
		return err
	})
}

const eventColumns = `tenant_id, id, at, kind, severity, detail, user_id, client_id, server_id, server, tool, call_id, count, acknowledged_at, acknowledged_by`

func scanSafetyEvent(row pgx.CollectableRow) (e events.Event, err error) {
	return e, row.Scan(&e.Tenant, &e.ID, &e.At, &e.Kind, &e.Severity, &e.Detail, &e.User, &e.Client, &e.ServerID, &e.Server, &e.Tool, &e.CallID, &e.Count,
		(*zeroTime)(&e.AcknowledgedAt), &e.AcknowledgedBy)
}

// Events lists a page, newest first.
func (db *DB) Events(ctx context.Context, t tenants.ID, q events.Query) (es []events.Event, err error) {
	defer fault.Wrap(&err, "postgres.Events(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		es, err = many(ctx, tx, scanSafetyEvent, `
			SELECT `+eventColumns+` FROM events
			WHERE ($1::text = '' OR kind = $1) AND ($2::text = '' OR server = $2) AND ($3::boolean IS NULL OR (acknowledged_at IS NULL) = $3)
			AND ($4::timestamptz IS NULL OR (at, id) < ($4, $5))
			ORDER BY at DESC, id DESC LIMIT $6`, q.Kind, q.Server, q.Open, orNull(q.After), q.AfterID, q.Limit)
		return err
	})
	return es, err
}

// Acknowledge says that somebody has looked. Who was first stays.
func (db *DB) Acknowledge(ctx context.Context, t tenants.ID, id, by string, at time.Time) (e events.Event, err error) {
	defer fault.Wrap(&err, "postgres.Acknowledge(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		e, err = one(ctx, tx, scanSafetyEvent, `
			UPDATE events SET acknowledged_by = CASE WHEN acknowledged_at IS NULL THEN $2 ELSE acknowledged_by END, acknowledged_at = coalesce(acknowledged_at, $3)
			WHERE id = $1 RETURNING `+eventColumns, id, by, at)
		return err
	})
	return e, err
}

// CollectEvents removes those of all tenants that are older.
func (db *DB) CollectEvents(ctx context.Context, before time.Time) (n int64, err error) {
	defer fault.Wrap(&err, "postgres.CollectEvents")
	err = db.AcrossTenants(ctx, "events have had their time", func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM events WHERE at < $1`, before)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}
