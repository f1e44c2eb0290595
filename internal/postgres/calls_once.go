package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/tenants"
)

var _ idempotency.CallStore = (*DB)(nil)

const callQuery = `
	SELECT call_id, tool, request, upstream_key, state, result, created_at, runs_until FROM calls_once
	WHERE user_id = $1 AND server_id = $2 AND key = $3`

func scanCall(row pgx.CollectableRow) (c idempotency.Call, err error) {
	var request []byte
	if err = row.Scan(&c.ID, &c.Tool, &request, &c.Upstream, &c.State, &c.Sealed, &c.BeganAt, &c.RunsUntil); err == nil {
		c.Request = idempotency.Hash(request)
	}
	return c, err
}

// A claim is taken where the row gives way, or is its own: an answer of the
// database may have been lost.
const claimQuery = `
	INSERT INTO calls_once AS o (tenant_id, user_id, server_id, key, tool, request, call_id, upstream_key, state, created_at, runs_until, expires_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'running', $9, $10, $11)
	ON CONFLICT (tenant_id, user_id, server_id, key) DO UPDATE SET
		tool = EXCLUDED.tool, request = EXCLUDED.request, call_id = EXCLUDED.call_id, state = 'running', result = NULL,
		upstream_key = CASE WHEN o.expires_at > $9 AND o.request = EXCLUDED.request THEN o.upstream_key ELSE EXCLUDED.upstream_key END,
		created_at = EXCLUDED.created_at, runs_until = EXCLUDED.runs_until, expires_at = EXCLUDED.expires_at
	WHERE o.expires_at <= $9 OR o.state = 'free' OR o.call_id = EXCLUDED.call_id
		OR $12 AND o.request = EXCLUDED.request AND (o.state = 'unknown' OR o.state = 'running' AND o.runs_until < $9)
	RETURNING upstream_key`

// ClaimCall begins a call under its name, or finds who has it. Nearly always the
// name is new, which one round trip settles. Else the conflicting row is locked
// also where it does not give way, so that it is there to be read.
func (db *DB) ClaimCall(ctx context.Context, t tenants.ID, n idempotency.CallName, c idempotency.Claim) (was idempotency.Call, taken bool, err error) {
	defer fault.Wrap(&err, "postgres.ClaimCall(%s, %s)", t, c.CallID)
	args := claimArgs(t, n, c)
	err = db.stepInTenant(ctx, t, claimQuery, args, func(r pgx.BatchResults) error {
		rows, _ := r.Query()
		upstream, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if taken = len(upstream) == 1; taken {
			was = claimed(c, upstream[0])
		}
		return err
	})
	if err == nil && taken || err != nil && !onceMore(ctx, err) {
		return was, taken && err == nil, err
	}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		was, taken, err = claimCall(ctx, tx, t, n, c)
		return err
	})
	return was, taken && err == nil, err
}

// claimed is the call that a claim has become.
func claimed(c idempotency.Claim, upstream string) idempotency.Call {
	return idempotency.Call{ID: c.CallID, Tool: c.Tool, Request: c.Request, Upstream: upstream, State: idempotency.Running, BeganAt: c.Now, RunsUntil: c.RunsUntil}
}

func claimArgs(t tenants.ID, n idempotency.CallName, c idempotency.Claim) []any {
	return []any{t, n.User, n.Server, n.Key[:], c.Tool, c.Request[:], c.CallID, c.Upstream, c.Now, c.RunsUntil, c.RunsUntil.Add(c.Keep), c.Again}
}

// claimCall is ClaimCall in a transaction.
func claimCall(ctx context.Context, tx pgx.Tx, t tenants.ID, n idempotency.CallName, c idempotency.Claim) (was idempotency.Call, taken bool, err error) {
	upstream, err := many(ctx, tx, pgx.RowTo[string], claimQuery, claimArgs(t, n, c)...)
	if err != nil {
		return was, false, err
	}
	if len(upstream) == 1 {
		return claimed(c, upstream[0]), true, nil
	}
	if was, err = one(ctx, tx, scanCall, callQuery, n.User, n.Server, n.Key[:]); err != nil || !was.Overdue(c.Now) {
		return was, false, err
	}
	was.State, was.Lost = idempotency.Unknown, true
	_, err = tx.Exec(ctx, `UPDATE calls_once SET state = 'unknown' WHERE user_id = $1 AND server_id = $2 AND key = $3`, n.User, n.Server, n.Key[:])
	return was, false, err
}

// onceMore reports whether a statement that failed is worth another try: its
// connection was dead, as all are after the server was started anew. A server
// that is silent has had its time.
func onceMore(ctx context.Context, err error) bool {
	return ctx.Err() == nil && fault.HasCode(err, fault.StoreAway) && !errors.Is(err, context.DeadlineExceeded) && !pgconn.Timeout(err)
}

// CallNamed reads what a name stands for.
func (db *DB) CallNamed(ctx context.Context, t tenants.ID, n idempotency.CallName, now time.Time) (c idempotency.Call, err error) {
	defer fault.Wrap(&err, "postgres.CallNamed(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		c, err = one(ctx, tx, scanCall, callQuery+` AND expires_at > $4`, n.User, n.Server, n.Key[:], now)
		return err
	})
	return c, err
}

// ProlongCall moves on by when a call must have ended, and with it its day.
func (db *DB) ProlongCall(ctx context.Context, t tenants.ID, n idempotency.CallName, callID string, runsUntil time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.ProlongCall(%s, %s)", t, callID)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE calls_once SET expires_at = expires_at + ($5 - runs_until), runs_until = $5
			WHERE user_id = $1 AND server_id = $2 AND key = $3 AND call_id = $4 AND state = 'running' AND runs_until < $5`,
			n.User, n.Server, n.Key[:], callID, runsUntil)
		return err
	})
}

// EndCall says what came of a call, as long as the name is still its own.
func (db *DB) EndCall(ctx context.Context, t tenants.ID, n idempotency.CallName, callID string, e idempotency.End) (err error) {
	defer fault.Wrap(&err, "postgres.EndCall(%s, %s)", t, callID)
	args := endCallArgs(n, callID, e)
	err = db.stepInTenant(ctx, t, endCallQuery, args, func(r pgx.BatchResults) error { _, err := r.Exec(); return err })
	if err == nil || !onceMore(ctx, err) {
		return err
	}
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, endCallQuery, args...)
		return err
	})
}

const endCallQuery = `
	UPDATE calls_once SET state = $5, result = $6, expires_at = $7
	WHERE user_id = $1 AND server_id = $2 AND key = $3 AND call_id = $4`

func endCallArgs(n idempotency.CallName, callID string, e idempotency.End) []any {
	return []any{n.User, n.Server, n.Key[:], callID, string(e.State), e.Sealed, e.ExpiresAt}
}

// collectCalls is how many rows one statement removes: a day of them must not
// hold a transaction open for long.
const collectCalls = 5000

// CollectCalls removes the outcomes of all tenants that have had their day, at
// most a million in one run.
func (db *DB) CollectCalls(ctx context.Context, now time.Time) (n int64, err error) {
	defer fault.Wrap(&err, "postgres.CollectCalls")
	for range 200 {
		var removed int64
		err = db.AcrossTenants(ctx, "outcomes kept for repeats have had their day", func(ctx context.Context, tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `
				DELETE FROM calls_once WHERE expires_at < $1 AND ctid = ANY (ARRAY(
					SELECT ctid FROM calls_once WHERE expires_at < $1 ORDER BY expires_at LIMIT $2))`, now, collectCalls)
			removed = tag.RowsAffected()
			return err
		})
		n += removed
		if err != nil || removed < collectCalls {
			return n, err
		}
	}
	return n, nil
}
