package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/approvals"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

const approvalColumns = `a.id, a.user_id, a.server_id, a.tool, a.definition_hash, a.request, a.client, a.grant_id, a.title, a.risk, a.arguments, a.message, a.role, a.state,
	a.call_id, a.requested_at, a.expires_at, a.decided_at, a.decided_by, a.reason, a.used_at, a.used_call_id, a.used_key, a.used_until,
	u.email, coalesce(c.name, ''), s.slug`

const approvalTables = `approvals a JOIN users u ON (u.tenant_id, u.id) = (a.tenant_id, a.user_id) JOIN servers s ON (s.tenant_id, s.id) = (a.tenant_id, a.server_id)
	LEFT JOIN oauth_clients c ON (c.tenant_id, c.id) = (a.tenant_id, a.client)`

func scanApproval(row pgx.CollectableRow) (a approvals.Approval, err error) {
	var request, key []byte
	var arguments string
	err = row.Scan(&a.ID, &a.User, &a.Server, &a.Tool, &a.Definition, &request, &a.Client, &a.Grant, &a.Title, &a.Risk, &arguments, &a.Message, &a.Role, &a.State,
		&a.CallID, &a.RequestedAt, &a.ExpiresAt, (*zeroTime)(&a.DecidedAt), &a.DecidedBy, &a.Reason, (*zeroTime)(&a.Used.At), &a.UsedCallID, &key, (*zeroTime)(&a.Used.Until),
		&a.Email, &a.ClientName, &a.ServerSlug)
	a.Arguments = []byte(arguments)
	copy(a.Request[:], request)
	copy(a.Used.Key[:], key)
	return a, err
}

// AskApproval finds what was said of a call, or asks. One person's questions
// come one after another, so that the same call asks once and their number is
// held.
func (db *DB) AskApproval(ctx context.Context, t tenants.ID, ask approvals.Approval, u approvals.Use) (a approvals.Approval, outcome approvals.Outcome, err error) {
	defer fault.Wrap(&err, "postgres.AskApproval(%s, %s)", t, ask.ID)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('latchkey.approvals:' || $1 || ':' || $2, 0))`, string(t), string(ask.User)); err != nil {
			return err
		}
		found, err := many(ctx, tx, scanApproval, `
			SELECT `+approvalColumns+` FROM `+approvalTables+`
			WHERE (a.user_id, a.request, a.server_id, a.tool, a.definition_hash) = ($1, $2, $3, $4, $5)
			ORDER BY a.requested_at DESC, a.id DESC LIMIT 1 FOR UPDATE OF a`, ask.User, ask.Request[:], ask.Server, ask.Tool, ask.Definition)
		if err != nil {
			return err
		}
		if len(found) == 1 {
			a = found[0]
			if outcome = a.For(u); outcome != approvals.Nothing {
				return spendApproval(ctx, tx, &a, outcome, u)
			}
		}
		var waiting int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM approvals WHERE user_id = $1 AND state = 'pending' AND expires_at > $2`, ask.User, u.At).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= approvals.MaxPending {
			return fault.New(fault.LimitReached, "%d calls of this person wait for approval already. Nothing was done. Wait until some are decided.", waiting).After(time.Minute)
		}
		outcome = approvals.Asked
		if _, err := tx.Exec(ctx, `
			INSERT INTO approvals (tenant_id, id, user_id, client, grant_id, server_id, tool, title, risk, definition_hash, request, arguments, message, role, call_id, requested_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
			t, ask.ID, ask.User, ask.Client, ask.Grant, ask.Server, ask.Tool, ask.Title, ask.Risk, ask.Definition, ask.Request[:], string(ask.Arguments), ask.Message, ask.Role,
			ask.CallID, ask.RequestedAt, ask.ExpiresAt); err != nil {
			return err
		}
		a, err = oneApproval(ctx, tx, ask.ID, "")
		return err
	})
	return a, outcome, err
}

// spendApproval notes the call that runs with it; a repeat of that call is it.
func spendApproval(ctx context.Context, tx pgx.Tx, a *approvals.Approval, o approvals.Outcome, u approvals.Use) error {
	if o != approvals.Allows || a.State == approvals.Spent {
		return nil
	}
	a.State, a.Used, a.UsedCallID = approvals.Spent, approvals.Used{Key: u.Key, At: u.At, Until: u.Until}, u.Call
	_, err := tx.Exec(ctx, `UPDATE approvals SET state = 'used', used_at = $2, used_call_id = $3, used_key = $4, used_until = $5 WHERE id = $1`,
		a.ID, u.At, u.Call, u.Key[:], u.Until)
	return err
}

func oneApproval(ctx context.Context, tx pgx.Tx, id, lock string) (approvals.Approval, error) {
	return one(ctx, tx, scanApproval, `SELECT `+approvalColumns+` FROM `+approvalTables+` WHERE a.id = $1 `+lock, id)
}

// Approval finds one.
func (db *DB) Approval(ctx context.Context, t tenants.ID, id string) (a approvals.Approval, err error) {
	defer fault.Wrap(&err, "postgres.Approval(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		a, err = oneApproval(ctx, tx, id, "")
		return err
	})
	return a, err
}

// Approvals lists, newest first.
func (db *DB) Approvals(ctx context.Context, t tenants.ID, q approvals.Query) (as []approvals.Approval, err error) {
	defer fault.Wrap(&err, "postgres.Approvals(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		as, err = many(ctx, tx, scanApproval, `
			SELECT `+approvalColumns+` FROM `+approvalTables+`
			WHERE ($1::timestamptz IS NULL OR (a.requested_at, a.id) < ($1, $2))
			  AND ($3 = '' OR s.slug = $3) AND ($4 = '' OR a.tool = $4)
			  AND CASE $5 WHEN '' THEN true WHEN 'expired' THEN a.state IN ('pending', 'approved') AND a.expires_at <= $6
			      WHEN 'pending' THEN a.state = 'pending' AND a.expires_at > $6 WHEN 'approved' THEN a.state = 'approved' AND a.expires_at > $6
			      ELSE a.state = $5 END
			  AND ($7 OR a.user_id = $8 OR a.role = ANY ($9))
			ORDER BY a.requested_at DESC, a.id DESC LIMIT $10`,
			orNull(q.BeforeAt), q.BeforeID, q.Server, q.Tool, string(q.Status), q.At, q.Visible.All, string(q.Visible.User), append([]string{}, q.Visible.Roles...), q.Limit)
		return err
	})
	return as, err
}

// DecideApproval decides. What roles a person holds is read while they cannot
// change.
func (db *DB) DecideApproval(ctx context.Context, t tenants.ID, id string, d approvals.Decision) (a approvals.Approval, err error) {
	defer fault.Wrap(&err, "postgres.DecideApproval(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if a, err = oneApproval(ctx, tx, id, "FOR UPDATE OF a"); err != nil {
			return err
		}
		if d.By.User != "" {
			rows, _ := tx.Query(ctx, `
				SELECT r.role FROM user_roles r JOIN users u ON (u.tenant_id, u.id) = (r.tenant_id, r.user_id)
				WHERE r.user_id = $1 AND u.disabled_at IS NULL FOR SHARE OF r, u`, d.By.User)
			if d.By.Roles, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
				return err
			}
		}
		before := a.State
		if err := a.Decide(d); err != nil || a.State == before {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE approvals SET state = $2, decided_at = $3, decided_by = $4, reason = $5 WHERE id = $1`,
			id, string(a.State), a.DecidedAt, a.DecidedBy, a.Reason)
		return err
	})
	return a, err
}

// maxTold bounds the letters about one approval.
const maxTold = 50

// ApproversToTell notes those who are told of an approval as told.
func (db *DB) ApproversToTell(ctx context.Context, t tenants.ID, a approvals.Approval, at time.Time) (us []tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.ApproversToTell(%s, %s)", t, a.ID)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		us, err = many(ctx, tx, func(row pgx.CollectableRow) (u tenants.User, err error) {
			u.Tenant = t
			return u, row.Scan(&u.ID, &u.Email, &u.Name)
		}, `
			WITH told AS (
				INSERT INTO approval_letters AS l (tenant_id, user_id, server_id, tool, sent_at)
				SELECT u.tenant_id, u.id, $2, $3, $4 FROM users u JOIN user_roles r ON (r.tenant_id, r.user_id) = (u.tenant_id, u.id)
				WHERE r.role = $1 AND u.id <> $5 AND u.disabled_at IS NULL ORDER BY u.email LIMIT $6
				ON CONFLICT (tenant_id, user_id, server_id, tool) DO UPDATE SET sent_at = EXCLUDED.sent_at WHERE l.sent_at <= $7
				RETURNING user_id)
			SELECT u.id, u.email, u.name FROM users u JOIN told ON told.user_id = u.id ORDER BY u.email`,
			a.Role, a.Server, a.Tool, at, a.User, maxTold, at.Add(-approvals.LetterEvery))
		return err
	})
	return us, err
}
