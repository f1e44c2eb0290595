package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
)

// Health is what the database says of itself.
type Health struct {
	Version       string // 15.8
	Major         int
	Schema, Wants int64 // schema versions: there, and of this binary
	Clock         time.Time
	// Powers are attributes that the serving role must not have: superuser,
	// bypasses row security, …
	Powers []string
	// Partitions are how many of the next months have a place for records.
	Partitions int
	UsageUpto  time.Time // up to when calls were added up; zero: not yet
}

// Health asks as the serving role.
func (db *DB) Health(ctx context.Context) (h Health, err error) {
	defer fault.Wrap(&err, "postgres.Health")
	if h.Wants, err = newestEmbedded(); err != nil {
		return h, err
	}
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, clock_timestamp(),
				array_remove(ARRAY[CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolbypassrls THEN 'bypasses row security' END,
					CASE WHEN rolcreaterole THEN 'creates roles' END, CASE WHEN rolcreatedb THEN 'creates databases' END], NULL)
			FROM pg_roles WHERE rolname = current_user`).Scan(&h.Version, &h.Major, &h.Clock, &h.Powers)
		if err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL AND has_table_privilege('goose_db_version', 'SELECT')`).Scan(&there); err != nil || !there {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&h.Schema); err != nil || h.Schema < h.Wants {
			return err
		}
		var upto time.Time
		if err := tx.QueryRow(ctx, `SELECT (SELECT upto FROM usage_levels WHERE level = 'quarter'), (SELECT count(*) FROM generate_series(0, 1) i
			WHERE to_regclass('audit_events_' || to_char(now() AT TIME ZONE 'UTC' + i * interval '1 month', 'YYYYMM')) IS NOT NULL)`).Scan(&upto, &h.Partitions); err != nil {
			return err
		}
		if upto.Unix() > 0 {
			h.UsageUpto = upto
		}
		return nil
	})
	return h, err
}
