package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/registry"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

var _ tasks.Store = (*DB)(nil)

const taskColumns = `k.id, k.tenant_id, n.slug, s.slug, k.server_id, k.user_id, u.email, k.client, k.grant_id, k.tool, k.scope, k.revision_id, k.definition_hash, k.risk,
	k.call_id, k.trace, k.notes, k.repeatable, k.timeout, k.ttl, k.asks, k.name_key, k.request, k.upstream_key,
	k.state, k.message, k.attempt, k.runs, k.started, k.owner, k.cancel_asked, k.cancelled_by, k.code, k.unknown,
	k.created_at, k.updated_at, k.started_at, k.ended_at, k.due_at, k.deadline, k.expires_at, k.toolset_id, v.slug, k.toolset_tool`

const taskTables = `tasks k JOIN tenants n ON n.id = k.tenant_id JOIN servers s ON (s.tenant_id, s.id) = (k.tenant_id, k.server_id)
	JOIN users u ON (u.tenant_id, u.id) = (k.tenant_id, k.user_id) LEFT JOIN servers v ON (v.tenant_id, v.id) = (k.tenant_id, k.toolset_id)`

// scanTask reads taskColumns, and what is added to them into more.
func scanTask(row pgx.CollectableRow, more func(*tasks.Task) []any) (t tasks.Task, err error) {
	var key, request []byte
	var toolset, slug, called *string
	into := []any{&t.ID, &t.Tenant, &t.TenantSlug, &t.ServerSlug, &t.Server, &t.User, &t.Email, &t.Client, &t.Grant, &t.Tool, &t.Scope, &t.Revision, &t.Definition, &t.Risk,
		&t.CallID, &t.Trace, &t.Notes, &t.Repeatable, &t.Timeout, &t.TTL, &t.Asks, &key, &request, &t.Upstream,
		&t.State, &t.Message, &t.Attempt, &t.Runs, &t.Started, &t.Owner, &t.CancelAsked, &t.CancelledBy, &t.Code, &t.Unknown,
		&t.CreatedAt, &t.UpdatedAt, (*zeroTime)(&t.StartedAt), (*zeroTime)(&t.EndedAt), &t.Due, &t.Deadline, &t.ExpiresAt, &toolset, &slug, &called}
	if more != nil {
		into = append(into, more(&t)...)
	}
	if err = row.Scan(into...); err != nil {
		return t, err
	}
	if toolset != nil && slug != nil && called != nil {
		t.Through = &tasks.Through{Server: registry.ServerID(*toolset), Slug: *slug, Tool: *called}
	}
	if key != nil {
		t.Name = &idempotency.CallName{User: t.User, Server: t.Server, Key: idempotency.Hash(key)}
		t.Request = idempotency.Hash(request)
	}
	return t, nil
}

func scanListedTask(row pgx.CollectableRow) (tasks.Task, error) { return scanTask(row, nil) }

func scanWholeTask(row pgx.CollectableRow) (tasks.Task, error) {
	return scanTask(row, func(t *tasks.Task) []any { return []any{&t.Input, &t.Result} })
}

// CreateTask stores a queued task. A tenant's are counted one after the other, so
// that their number is held.
func (db *DB) CreateTask(ctx context.Context, t tasks.Task, claim *idempotency.Claim, b tasks.Bounds) (was idempotency.Call, taken bool, err error) {
	defer fault.Wrap(&err, "postgres.CreateTask(%s, %s)", t.Tenant, t.CallID)
	err = db.InTenant(ctx, t.Tenant, func(ctx context.Context, tx pgx.Tx) error {
		if taken = claim == nil; !taken {
			if was, taken, err = claimCall(ctx, tx, t.Tenant, *t.Name, *claim); err != nil || !taken {
				return err
			}
			t.Upstream = was.Upstream
		}
		if err := roomForTask(ctx, tx, &t, b); err != nil {
			return err
		}
		var key, request []byte
		if t.Name != nil {
			key, request = t.Name.Key[:], t.Request[:]
		}
		var toolset, called *string
		if t.Through != nil {
			toolset, called = (*string)(&t.Through.Server), &t.Through.Tool
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO tasks (tenant_id, id, server_id, user_id, client, grant_id, tool, scope, revision_id, definition_hash, risk, call_id, trace, notes, repeatable,
				timeout, ttl, asks, name_key, request, upstream_key, input, created_at, updated_at, due_at, deadline, expires_at, toolset_id, toolset_tool)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $23, now(), $24, $25, $26, $27)`,
			t.Tenant, t.ID, t.Server, t.User, t.Client, t.Grant, t.Tool, t.Scope, t.Revision, t.Definition, t.Risk, t.CallID, t.Trace, t.Notes, t.Repeatable,
			t.Timeout, t.TTL, append([]string{}, t.Asks...), key, request, t.Upstream, t.Input, t.CreatedAt, t.Deadline, t.ExpiresAt, toolset, called)
		return err
	})
	return was, taken && err == nil, err
}

// roomForTask counts what has not ended. What is over its time will end soon, and
// does not count.
func roomForTask(ctx context.Context, tx pgx.Tx, t *tasks.Task, b tasks.Bounds) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('latchkey.tasks:' || $1, 0))`, string(t.Tenant)); err != nil {
		return err
	}
	var all, own int
	if err := tx.QueryRow(ctx, `
		SELECT count(*), count(*) FILTER (WHERE user_id = $1 AND server_id = $2 AND tool = $3) FROM tasks WHERE ended_at IS NULL AND deadline > now()`,
		t.User, t.Server, t.Tool).Scan(&all, &own); err != nil {
		return err
	}
	switch {
	case own >= b.PerTool:
		return tasks.TooMany(own, t.Tool+" that you began")
	case all >= tasks.MaxOpen:
		return tasks.TooMany(all, "everybody here")
	}
	return nil
}

// Task finds one, with what it asks.
func (db *DB) Task(ctx context.Context, t tenants.ID, id string) (k tasks.Task, err error) {
	defer fault.Wrap(&err, "postgres.Task(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		k, err = oneTask(ctx, tx, `k.id = $1`, id)
		return err
	})
	return k, err
}

// TaskOfCall finds the one that runs a call.
func (db *DB) TaskOfCall(ctx context.Context, t tenants.ID, call string) (k tasks.Task, err error) {
	defer fault.Wrap(&err, "postgres.TaskOfCall(%s, %.40q)", t, call)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		k, err = oneTask(ctx, tx, `k.call_id = $1`, call)
		return err
	})
	return k, err
}

func oneTask(ctx context.Context, tx pgx.Tx, where string, arg any) (k tasks.Task, err error) {
	if k, err = one(ctx, tx, scanWholeTask, `SELECT `+taskColumns+`, k.input, k.result FROM `+taskTables+` WHERE `+where, arg); err != nil {
		return k, err
	}
	k.Questions, err = many(ctx, tx, func(row pgx.CollectableRow) (q tasks.Question, err error) {
		return q, row.Scan(&q.Key, &q.Sealed)
	}, `SELECT key, request FROM task_questions WHERE task_id = $1 AND attempt = $2 AND answer IS NULL ORDER BY key`, k.ID, k.Attempt)
	return k, err
}

// Tasks lists, newest first.
func (db *DB) Tasks(ctx context.Context, t tenants.ID, q tasks.Query) (ks []tasks.Task, err error) {
	defer fault.Wrap(&err, "postgres.Tasks(%s)", t)
	states := []string{}
	for _, s := range q.States {
		states = append(states, string(s))
	}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		ks, err = many(ctx, tx, scanListedTask, `
			SELECT `+taskColumns+` FROM `+taskTables+`
			WHERE ($1::timestamptz IS NULL OR (k.created_at, k.id) < ($1, $2))
			  AND (cardinality($3::text[]) = 0 OR k.state = ANY ($3)) AND ($4 = '' OR s.slug = $4) AND ($5 = '' OR k.tool = $5) AND ($6 = '' OR k.user_id = $6)
			ORDER BY k.created_at DESC, k.id DESC LIMIT $7`,
			orNull(q.BeforeAt), q.BeforeID, states, q.Server, q.Tool, string(q.User), q.Limit)
		return err
	})
	return ks, err
}

// CancelTask asks a task to end. One that waits is due at once: whoever takes it
// ends it.
func (db *DB) CancelTask(ctx context.Context, t tenants.ID, id, by string, now time.Time) (k tasks.Task, err error) {
	defer fault.Wrap(&err, "postgres.CancelTask(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
			UPDATE tasks SET cancel_asked = true, cancelled_by = $2, updated_at = $3, due_at = CASE state WHEN 'queued' THEN now() ELSE due_at END
			WHERE id = $1 AND ended_at IS NULL AND NOT cancel_asked`, id, by, now); err != nil {
			return err
		}
		k, err = one(ctx, tx, scanListedTask, `SELECT `+taskColumns+` FROM `+taskTables+` WHERE k.id = $1`, id)
		return err
	})
	return k, err
}

// AnswerTask answers open questions. The task is locked, so that it cannot end or
// be claimed in between.
func (db *DB) AnswerTask(ctx context.Context, t tenants.ID, id string, answers []tasks.Answer, now time.Time) (taken int, err error) {
	defer fault.Wrap(&err, "postgres.AnswerTask(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		attempt, err := one(ctx, tx, pgx.RowTo[int], `SELECT attempt FROM tasks WHERE id = $1 FOR UPDATE`, id)
		if err != nil {
			return err
		}
		for _, a := range answers {
			tag, err := tx.Exec(ctx, `
				UPDATE task_questions SET answer = $4 WHERE task_id = $1 AND key = $2 AND attempt = $3 AND answer IS NULL
				  AND EXISTS (SELECT FROM tasks WHERE id = $1 AND state = 'input_required')`, id, a.Key, attempt, a.Sealed)
			if err != nil {
				return err
			}
			taken += int(tag.RowsAffected())
		}
		if taken == 0 {
			return nil
		}
		_, err = tx.Exec(ctx, `
			UPDATE tasks SET updated_at = $2, state = CASE WHEN EXISTS (SELECT FROM task_questions WHERE task_id = $1 AND attempt = $3 AND answer IS NULL)
				THEN state ELSE 'running' END
			WHERE id = $1 AND state = 'input_required'`, id, now, attempt)
		return err
	})
	return taken, err
}

// CollectTasks removes those that have had their time, of all tenants. One that
// has not ended is never among them: its runner ends it first.
func (db *DB) CollectTasks(ctx context.Context, now time.Time) (n int64, err error) {
	defer fault.Wrap(&err, "postgres.CollectTasks")
	for range 200 {
		var removed int64
		err = db.AcrossTenants(ctx, "what came of tasks has had its time", func(ctx context.Context, tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `DELETE FROM tasks WHERE ended_at IS NOT NULL AND expires_at <= $1 AND ctid = ANY (ARRAY(
				SELECT ctid FROM tasks WHERE ended_at IS NOT NULL AND expires_at <= $1 ORDER BY expires_at LIMIT 1000))`, now)
			removed = tag.RowsAffected()
			return err
		})
		n += removed
		if err != nil || removed < 1000 {
			return n, err
		}
	}
	return n, nil
}

// CountTasks counts those of all tenants by state.
func (db *DB) CountTasks(ctx context.Context) (n map[tasks.State]int, err error) {
	defer fault.Wrap(&err, "postgres.CountTasks")
	n = map[tasks.State]int{}
	err = db.AcrossTenants(ctx, "count tasks for metrics", func(ctx context.Context, tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `SELECT state, count(*) FROM tasks WHERE ended_at IS NULL GROUP BY state`)
		var state tasks.State
		var count int
		_, err := pgx.ForEachRow(rows, []any{&state, &count}, func() error { n[state] = count; return nil })
		return err
	})
	return n, err
}
