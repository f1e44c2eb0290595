package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// one reads exactly one row; none is pgx.ErrNoRows, which translate turns
// into fault.NotFound.
func one[T any](ctx context.Context, tx pgx.Tx, scan pgx.RowToFunc[T], query string, args ...any) (T, error) {
	rows, _ := tx.Query(ctx, query, args...)
	return pgx.CollectExactlyOneRow(rows, scan)
}

// many reads all rows.
func many[T any](ctx context.Context, tx pgx.Tx, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	rows, _ := tx.Query(ctx, query, args...)
	return pgx.CollectRows(rows, scan)
}

// changed turns a statement that touched nothing into not found.
func changed(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return pgx.ErrNoRows
	}
	return err
}
