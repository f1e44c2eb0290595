package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// AsPlatform lets tests look at what a transaction without a tenant sees.
func AsPlatform(db *DB) func(context.Context, func(context.Context, pgx.Tx) error) error {
	return db.asPlatform
}
