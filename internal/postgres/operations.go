package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ tenants.Operations = (*DB)(nil)

const operationColumns = `o.id, o.tenant_id, o.tenant, o.kind, o.target, o.name, o.state, o.attempts, o.error, o.created_by, o.created_at, o.started_at, o.finished_at`

func scanOperation(row pgx.CollectableRow) (o tenants.Operation, err error) {
	return o, row.Scan(&o.ID, &o.Tenant, &o.TenantSlug, &o.Kind, &o.Target, &o.Name, &o.State, &o.Attempts, &o.Error, &o.CreatedBy, &o.CreatedAt,
		(*zeroTime)(&o.StartedAt), (*zeroTime)(&o.FinishedAt))
}

// enqueue stores an operation in the transaction of the change that asks for
// it, inside the tenant. Where the same is under way, that one is returned.
func enqueue(ctx context.Context, tx pgx.Tx, op tenants.Operation) (tenants.Operation, error) {
	found, err := many(ctx, tx, scanOperation, `
		INSERT INTO operations AS o (tenant_id, id, tenant, kind, target, name, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (tenant_id, kind, target) WHERE state IN ('queued', 'running') DO NOTHING RETURNING `+operationColumns,
		op.Tenant, tenants.RandomID("op"), op.TenantSlug, op.Kind, op.Target, op.Name, op.CreatedBy, op.CreatedAt)
	if err != nil || len(found) == 1 {
		return first(found), err
	}
	return one(ctx, tx, scanOperation, `
		SELECT `+operationColumns+` FROM operations o WHERE (o.tenant_id, o.kind, o.target) = ($1, $2, $3) AND o.state IN ('queued', 'running')`,
		op.Tenant, op.Kind, op.Target)
}

func first[T any](list []T) (v T) {
	if len(list) > 0 {
		v = list[0]
	}
	return v
}

// Operations lists a tenant's, newest first.
func (db *DB) Operations(ctx context.Context, t tenants.ID, beforeAt time.Time, beforeID string, limit int) (os []tenants.Operation, err error) {
	defer fault.Wrap(&err, "postgres.Operations(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		os, err = many(ctx, tx, scanOperation, `
			SELECT `+operationColumns+` FROM operations o WHERE $1::timestamptz IS NULL OR (o.created_at, o.id) < ($1, $2)
			ORDER BY o.created_at DESC, o.id DESC LIMIT $3`, orNull(beforeAt), beforeID, limit)
		return err
	})
	return os, err
}

// Operation finds one of a tenant.
func (db *DB) Operation(ctx context.Context, t tenants.ID, id string) (o tenants.Operation, err error) {
	defer fault.Wrap(&err, "postgres.Operation(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		o, err = one(ctx, tx, scanOperation, `SELECT `+operationColumns+` FROM operations o WHERE o.id = $1`, id)
		return err
	})
	return o, err
}

// PlatformOperation finds one of any tenant.
func (db *DB) PlatformOperation(ctx context.Context, id string) (o tenants.Operation, err error) {
	defer fault.Wrap(&err, "postgres.PlatformOperation(%.40q)", id)
	err = db.AcrossTenants(ctx, "an operator follows an operation, whose tenant may be gone", func(ctx context.Context, tx pgx.Tx) error {
		o, err = one(ctx, tx, scanOperation, `SELECT `+operationColumns+` FROM operations o WHERE o.id = $1`, id)
		return err
	})
	return o, err
}

// ClaimOperation takes one that is due. Runners on all edges pass each other
// by: a row that another one is just claiming is skipped.
func (db *DB) ClaimOperation(ctx context.Context, kinds []string, lease time.Duration) (op tenants.Operation, ok bool, err error) {
	defer fault.Wrap(&err, "postgres.ClaimOperation")
	err = db.AcrossTenants(ctx, "claim an operation that is due", func(ctx context.Context, tx pgx.Tx) error {
		found, err := many(ctx, tx, scanOperation, `
			UPDATE operations o SET state = 'running', attempts = o.attempts + 1, started_at = coalesce(o.started_at, now()), due_at = now() + $2
			FROM (SELECT tenant_id, id FROM operations WHERE state IN ('queued', 'running') AND due_at <= now() AND kind = ANY ($1)
			      ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) due
			WHERE (o.tenant_id, o.id) = (due.tenant_id, due.id) RETURNING `+operationColumns, kinds, lease)
		op, ok = first(found), len(found) == 1
		return err
	})
	return op, ok && err == nil, err
}

// KeepOperation renews a lease.
func (db *DB) KeepOperation(ctx context.Context, op tenants.Operation, lease time.Duration) (err error) {
	defer fault.Wrap(&err, "postgres.KeepOperation(%s)", op.ID)
	return db.changeOperation(ctx, "renew the lease of a running operation", op, `due_at = now() + $4`, lease)
}

// RetryOperation gives an operation back.
func (db *DB) RetryOperation(ctx context.Context, op tenants.Operation, reason string, after time.Duration) (err error) {
	defer fault.Wrap(&err, "postgres.RetryOperation(%s)", op.ID)
	return db.changeOperation(ctx, "give an operation back for another try", op, `state = 'queued', error = left($4, 2000), due_at = now() + $5`, reason, after)
}

// FinishOperation ends an operation.
func (db *DB) FinishOperation(ctx context.Context, op tenants.Operation, reason string) (err error) {
	defer fault.Wrap(&err, "postgres.FinishOperation(%s)", op.ID)
	return db.changeOperation(ctx, "end an operation", op,
		`state = CASE WHEN $4 = '' THEN 'done' ELSE 'failed' END, error = left($4, 2000), finished_at = now()`, reason)
}

// changeOperation changes a running operation for whoever claimed it last.
func (db *DB) changeOperation(ctx context.Context, why string, op tenants.Operation, set string, args ...any) error {
	return db.AcrossTenants(ctx, why, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE operations SET `+set+` WHERE (tenant_id, id, attempts) = ($1, $2, $3) AND state = 'running'`,
			append([]any{op.Tenant, op.ID, op.Attempts}, args...)...)
		if err == nil && tag.RowsAffected() == 0 {
			return fault.New(fault.Conflict, "Somebody else has this operation by now.")
		}
		return err
	})
}
