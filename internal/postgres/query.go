package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
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

// zeroTime reads NULL as the zero time.
type zeroTime time.Time

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (t *zeroTime) ScanTimestamptz(v pgtype.Timestamptz) error {
	if !v.Valid {
		*t = zeroTime{}
		return nil
	}
	if v.InfinityModifier != pgtype.Finite {
		return fmt.Errorf("a time is %s", v.InfinityModifier)
	}
	*t = zeroTime(v.Time)
	return nil
}

// containing is the pattern of LIKE for what holds the text; empty stays empty.
func containing(text string) string {
	if text == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
}
