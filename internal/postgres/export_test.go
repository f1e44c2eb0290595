package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/audit"
	"latchkey/internal/tenants"
)

// AsPlatform lets tests look at what a transaction without a tenant sees.
func AsPlatform(db *DB) func(context.Context, func(context.Context, pgx.Tx) error) error {
	return db.asPlatform
}

// SearchOutOfTime is SearchAudit whose time is up after its first look.
func SearchOutOfTime(ctx context.Context, db *DB, t tenants.ID, f audit.Filter, after audit.Position, limit int) (page audit.Page, err error) {
	s := newScan(f, after, true)
	s.budget = 0
	err = db.scan(ctx, t, s, limit, &page)
	return page, err
}
