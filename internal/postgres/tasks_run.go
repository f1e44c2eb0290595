package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

// Leases go by the database's clock, so that edges whose clocks differ agree on
// who has a task.

// ClaimTask takes one that is due. Runners on all edges pass each other by. The
// tenant that has the fewest running comes first: who queues a thousand does not
// hold the others up. A suspended tenant's tasks wait, until they are too late.
func (db *DB) ClaimTask(ctx context.Context, owner string, lease time.Duration, ending bool) (k tasks.Task, ok bool, err error) {
	defer fault.Wrap(&err, "postgres.ClaimTask")
	var tenant tenants.ID
	var id string
	err = db.AcrossTenants(ctx, "claim a task that is due", func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			WITH running AS (SELECT tenant_id, count(*) AS n FROM tasks WHERE ended_at IS NULL AND state <> 'queued' AND due_at > now() GROUP BY tenant_id),
			next AS (
				SELECT k.tenant_id, k.id FROM tasks k LEFT JOIN running r ON r.tenant_id = k.tenant_id
				WHERE k.ended_at IS NULL AND k.due_at <= now()
				  AND (k.cancel_asked OR k.deadline <= now()
				    OR NOT $3 AND NOT EXISTS (SELECT FROM tenants n WHERE n.id = k.tenant_id AND n.suspended_at IS NOT NULL))
				ORDER BY coalesce(r.n, 0), k.due_at LIMIT 1 FOR UPDATE OF k SKIP LOCKED)
			UPDATE tasks k SET attempt = k.attempt + 1, owner = $1, due_at = now() + $2, state = 'running'
			FROM next WHERE (k.tenant_id, k.id) = (next.tenant_id, next.id) RETURNING k.tenant_id, k.id`, owner, lease, ending).Scan(&tenant, &id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		ok = err == nil
		return err
	})
	if err != nil || !ok {
		return k, false, err
	}
	k, err = db.Task(ctx, tenant, id)
	return k, err == nil, err
}

// BeginTask notes that a worker is about to have it. What an earlier run asked
// is void.
func (db *DB) BeginTask(ctx context.Context, k *tasks.Task, lease time.Duration) (err error) {
	defer fault.Wrap(&err, "postgres.BeginTask(%s)", k.ID)
	defer func() { k.Begun = err == nil }()
	return db.asClaimed(ctx, k, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM task_questions WHERE task_id = $1 AND attempt < $2`, k.ID, k.Attempt); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			UPDATE tasks SET state = 'running', runs = runs + 1, started = true, started_at = coalesce(started_at, now()), updated_at = now(), due_at = now() + $2
			WHERE id = $1 RETURNING runs, started_at`, k.ID, lease).Scan(&k.Runs, &k.StartedAt)
	})
}

// KeepTask renews the lease.
func (db *DB) KeepTask(ctx context.Context, k *tasks.Task, lease time.Duration, message string) (seen tasks.Seen, err error) {
	defer fault.Wrap(&err, "postgres.KeepTask(%s)", k.ID)
	err = db.asClaimed(ctx, k, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			UPDATE tasks SET due_at = now() + $2, updated_at = CASE WHEN message <> $3 THEN now() ELSE updated_at END, message = $3
			WHERE id = $1 RETURNING cancel_asked`, k.ID, lease, message).Scan(&seen.CancelAsked)
	})
	return seen, err
}

// PutBack queues a task again, no later than it has to end.
func (db *DB) PutBack(ctx context.Context, k *tasks.Task, after time.Duration, clean bool) (err error) {
	defer fault.Wrap(&err, "postgres.PutBack(%s)", k.ID)
	begun := 0
	if k.Begun {
		begun = 1
	}
	return db.asClaimed(ctx, k, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE tasks SET state = 'queued', owner = '', message = '', updated_at = now(),
				started = CASE WHEN $3 THEN $4 ELSE started END, runs = CASE WHEN $3 THEN runs - $5 ELSE runs END,
				due_at = CASE WHEN cancel_asked THEN now() ELSE least(now() + $2, greatest(deadline - timeout, now())) END
			WHERE id = $1`, k.ID, after, clean, k.Started, begun)
		return err
	})
}

// AskTask puts a question.
func (db *DB) AskTask(ctx context.Context, k *tasks.Task, q tasks.Question) (err error) {
	defer fault.Wrap(&err, "postgres.AskTask(%s)", k.ID)
	return db.asClaimed(ctx, k, func(ctx context.Context, tx pgx.Tx) error {
		var open, asked int
		if err := tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM task_questions WHERE task_id = $1 AND attempt = $2 AND answer IS NULL), asked FROM tasks WHERE id = $1`,
			k.ID, k.Attempt).Scan(&open, &asked); err != nil {
			return err
		}
		if open >= tasks.MaxQuestions || asked >= tasks.MaxAsked {
			return fault.New(fault.Unanswerable, "A task may ask %d things at once, and %d in all.", tasks.MaxQuestions, tasks.MaxAsked)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO task_questions (tenant_id, task_id, key, attempt, request) VALUES ($1, $2, $3, $4, $5)`,
			k.Tenant, k.ID, q.Key, k.Attempt, q.Sealed); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE tasks SET state = 'input_required', asked = asked + 1, updated_at = now() WHERE id = $1`, k.ID)
		return err
	})
}

// TakeAnswer gives an answer out, once.
func (db *DB) TakeAnswer(ctx context.Context, k *tasks.Task, key string) (sealed []byte, ok bool, err error) {
	defer fault.Wrap(&err, "postgres.TakeAnswer(%s, %s)", k.ID, key)
	err = db.asClaimed(ctx, k, func(ctx context.Context, tx pgx.Tx) error {
		found, err := many(ctx, tx, pgx.RowTo[[]byte], `
			SELECT answer FROM task_questions WHERE task_id = $1 AND key = $2 AND attempt = $3 AND answer IS NOT NULL`, k.ID, key, k.Attempt)
		sealed, ok = first(found), len(found) == 1
		return err
	})
	return sealed, ok && err == nil, err
}

// WithdrawQuestion takes a question back that nobody has answered.
func (db *DB) WithdrawQuestion(ctx context.Context, k *tasks.Task, key string) (err error) {
	defer fault.Wrap(&err, "postgres.WithdrawQuestion(%s, %s)", k.ID, key)
	return db.asClaimed(ctx, k, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM task_questions WHERE task_id = $1 AND key = $2`, k.ID, key); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			UPDATE tasks SET state = 'running', updated_at = now() WHERE id = $1 AND state = 'input_required'
			  AND NOT EXISTS (SELECT FROM task_questions WHERE task_id = $1 AND attempt = $2 AND answer IS NULL)`, k.ID, k.Attempt)
		return err
	})
}

// EndTask ends a task and the name of its call in one step. What it was given and
// what it asked is not needed any more.
func (db *DB) EndTask(ctx context.Context, k *tasks.Task, e tasks.End) (err error) {
	defer fault.Wrap(&err, "postgres.EndTask(%s)", k.ID)
	return db.asClaimed(ctx, k, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
			UPDATE tasks SET state = $2, message = $3, code = $4, unknown = $5, result = $6, input = '', started = false, owner = '',
				ended_at = $7::timestamptz, updated_at = $7, expires_at = $7::timestamptz + ttl, due_at = $7
			WHERE id = $1`, k.ID, string(e.State), e.Message, e.Code, e.Unknown, e.Result, e.At); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM task_questions WHERE task_id = $1`, k.ID); err != nil || k.Name == nil {
			return err
		}
		_, err := tx.Exec(ctx, endCallQuery, endCallArgs(*k.Name, k.CallID, e.Name)...)
		return err
	})
}

// asClaimed runs fn while nobody else can claim the task, if it is still of this
// attempt and has not ended.
func (db *DB) asClaimed(ctx context.Context, k *tasks.Task, fn func(ctx context.Context, tx pgx.Tx) error) error {
	return db.InTenant(ctx, k.Tenant, func(ctx context.Context, tx pgx.Tx) error {
		found, err := many(ctx, tx, pgx.RowTo[int], `
			SELECT 1 FROM tasks WHERE (id, attempt, owner) = ($1, $2, $3) AND ended_at IS NULL AND state <> 'queued' FOR UPDATE`, k.ID, k.Attempt, k.Owner)
		if err == nil && len(found) == 0 {
			return tasks.ErrLost()
		}
		if err != nil {
			return err
		}
		return fn(ctx, tx)
	})
}
