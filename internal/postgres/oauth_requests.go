package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

// PushRequest stores a request that a client sent ahead.
func (db *DB) PushRequest(ctx context.Context, t tenants.ID, p oauth.Pushed) (err error) {
	defer fault.Wrap(&err, "postgres.PushRequest(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO oauth_requests (tenant_id, hash, kind, client_id, parameters, expires_at)
			VALUES ($1, $2, 'pushed', $3, $4, $5)`,
			t, p.Handle[:], p.Client, p.Parameters, p.ExpiresAt)
		return err
	})
}

// PushedRequest finds a request that a client sent ahead.
func (db *DB) PushedRequest(ctx context.Context, t tenants.ID, handle oauth.Hash) (p oauth.Pushed, err error) {
	defer fault.Wrap(&err, "postgres.PushedRequest(%s)", t)
	p.Handle = handle
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT client_id, parameters, expires_at FROM oauth_requests WHERE hash = $1 AND kind = 'pushed'`, handle[:]).
			Scan(&p.Client, &p.Parameters, &p.ExpiresAt)
	})
	return p, err
}

// ShowRequest stores a request whose consent page is about to be shown.
func (db *DB) ShowRequest(ctx context.Context, t tenants.ID, s oauth.Shown) (err error) {
	defer fault.Wrap(&err, "postgres.ShowRequest(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO oauth_requests (tenant_id, hash, kind, client_id, parameters, session_id, user_id, shown, pushed, expires_at)
			VALUES ($1, $2, 'shown', $3, $4, $5, $6, $7, $8, $9)`,
			t, s.Ticket[:], s.Client, s.Parameters, s.Session, s.User, s.Scopes, hashBytes(s.Pushed), s.ExpiresAt)
		return err
	})
}

// ShownRequest finds a shown request by its ticket.
func (db *DB) ShownRequest(ctx context.Context, t tenants.ID, ticket oauth.Hash) (s oauth.Shown, err error) {
	defer fault.Wrap(&err, "postgres.ShownRequest(%s)", t)
	s.Ticket = ticket
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var pushed []byte
		err := tx.QueryRow(ctx, `
			SELECT client_id, parameters, session_id, user_id, shown, pushed, expires_at
			FROM oauth_requests WHERE hash = $1 AND kind = 'shown'`, ticket[:]).
			Scan(&s.Client, &s.Parameters, &s.Session, &s.User, &s.Scopes, &pushed, &s.ExpiresAt)
		s.Pushed = hashPointer(pushed)
		return err
	})
	return s, err
}

// TakeShownRequest uses the ticket up, and the pushed request it came from.
func (db *DB) TakeShownRequest(ctx context.Context, t tenants.ID, ticket oauth.Hash) (err error) {
	defer fault.Wrap(&err, "postgres.TakeShownRequest(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error { return takeShown(ctx, tx, ticket) })
}

func takeShown(ctx context.Context, tx pgx.Tx, ticket oauth.Hash) error {
	var pushed []byte
	err := tx.QueryRow(ctx, `DELETE FROM oauth_requests WHERE hash = $1 AND kind = 'shown' RETURNING pushed`, ticket[:]).Scan(&pushed)
	if err != nil || pushed == nil {
		return err
	}
	return changed(tx.Exec(ctx, `DELETE FROM oauth_requests WHERE hash = $1 AND kind = 'pushed'`, pushed))
}
