package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
)

const (
	// unsettled is how long after a record's time it may still be committed,
	// clocks of edges that differ included.
	unsettled = 30 * time.Second
	// longestCall is how long an outcome may follow its intent.
	longestCall = 15 * time.Minute
)

// VerifyAudit looks for numbers of writers that no record has, since a time,
// in all tenants. It cannot tell a writer's very first and last records: a
// number before or after all that are there.
//
// A writer's records are not in the order of their times, so that what lies
// just before since counts as there, and what is newer than some seconds is not
// held against anybody yet.
func (db *DB) VerifyAudit(ctx context.Context, since, now time.Time) (v audit.Verification, err error) {
	defer fault.Wrap(&err, "postgres.VerifyAudit")
	v = audit.Verification{Since: since, Until: now.Add(-unsettled)}
	err = db.AcrossTenants(ctx, "a writer's numbers run through all tenants", func(ctx context.Context, tx pgx.Tx) error {
		// Sums tell a hole without sorting a million numbers.
		rows, _ := tx.Query(ctx, `SELECT writer_id, count(*), max(writer_seq) - min(writer_seq) + 1,
				sum(writer_seq) * 2 = (max(writer_seq) + min(writer_seq))::numeric * count(*)
			FROM audit_events WHERE at >= $1 AND at < $2 GROUP BY writer_id`, since, now)
		var writer string
		var n, span int64
		var even bool
		var broken []string
		if _, err := pgx.ForEachRow(rows, []any{&writer, &n, &span, &even}, func() error {
			v.Writers++
			v.Records += n
			if n != span || !even {
				broken = append(broken, writer)
			}
			return nil
		}); err != nil {
			return err
		}
		if len(broken) > 0 {
			v.Gaps, err = many(ctx, tx, pgx.RowToStructByPos[audit.Gap], `
				SELECT writer_id, before, writer_seq FROM (
					SELECT writer_id, writer_seq, at, lag(writer_seq) OVER (PARTITION BY writer_id ORDER BY writer_seq) AS before
					FROM audit_events WHERE at >= $1 AND writer_id = ANY ($4)
				) w WHERE writer_seq - before > 1 AND at >= $2 AND at < $3 ORDER BY at, writer_seq LIMIT $5`,
				since.Add(-longestCall), since, v.Until, broken, audit.MaxGaps)
			if err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, `
			SELECT count(*) FROM audit_events i WHERE phase = 'intent' AND at >= $1 AND at < $2
			AND NOT EXISTS (SELECT FROM audit_events o WHERE o.tenant_id = i.tenant_id AND o.call_id = i.call_id AND o.phase = 'outcome' AND o.at >= $1)`,
			since, now.Add(-longestCall)).Scan(&v.OpenIntents)
	})
	return v, err
}
