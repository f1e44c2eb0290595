package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

var _ oauth.Store = (*DB)(nil)

const clientColumns = `id, kind, name, uri, auth_method, secret_hash, registration_hash, redirect_uris, grant_types, scope, created_at, authorized_at`

func scanClient(row pgx.CollectableRow) (oauth.Client, error) {
	var c oauth.Client
	var secret, registration []byte
	var authorized *time.Time
	err := row.Scan(&c.ID, &c.Kind, &c.Name, &c.URI, &c.AuthMethod, &secret, &registration,
		&c.RedirectURIs, &c.GrantTypes, &c.Scope, &c.CreatedAt, &authorized)
	c.Secret, c.Registration, c.AuthorizedAt = hashPointer(secret), hashPointer(registration), timeOrZero(authorized)
	return c, err
}

// OAuthClient finds a client that was not deleted.
func (db *DB) OAuthClient(ctx context.Context, t tenants.ID, id string) (c oauth.Client, err error) {
	defer fault.Wrap(&err, "postgres.OAuthClient(%s, %.200q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		c, err = one(ctx, tx, scanClient, `SELECT `+clientColumns+` FROM oauth_clients WHERE id = $1 AND deleted_at IS NULL`, id)
		return err
	})
	return c, err
}

// CreateOAuthClient stores a new client.
func (db *DB) CreateOAuthClient(ctx context.Context, t tenants.ID, c oauth.Client) (err error) {
	defer fault.Wrap(&err, "postgres.CreateOAuthClient(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO oauth_clients (tenant_id, id, kind, name, uri, auth_method, secret_hash, registration_hash,
			                           redirect_uris, grant_types, scope, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			t, c.ID, c.Kind, c.Name, c.URI, c.AuthMethod, hashBytes(c.Secret), hashBytes(c.Registration),
			c.RedirectURIs, c.GrantTypes, c.Scope, c.CreatedAt)
		return err
	})
}

// UpdateOAuthClient replaces what a client says of itself.
func (db *DB) UpdateOAuthClient(ctx context.Context, t tenants.ID, c oauth.Client) (err error) {
	defer fault.Wrap(&err, "postgres.UpdateOAuthClient(%s, %.200q)", t, c.ID)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `
			UPDATE oauth_clients SET name = $2, uri = $3, auth_method = $4, secret_hash = $5,
			       redirect_uris = $6, grant_types = $7, scope = $8
			WHERE id = $1 AND deleted_at IS NULL`,
			c.ID, c.Name, c.URI, c.AuthMethod, hashBytes(c.Secret), c.RedirectURIs, c.GrantTypes, c.Scope))
	})
}

// PutOAuthClient creates or updates a client that did not register. One of
// another kind and the same id, which cannot be, is left alone.
func (db *DB) PutOAuthClient(ctx context.Context, t tenants.ID, c oauth.Client) (err error) {
	defer fault.Wrap(&err, "postgres.PutOAuthClient(%s, %.200q)", t, c.ID)
	if c.Kind == oauth.Registered {
		return fault.New(fault.Unexpected, "A registered client cannot be put.")
	}
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `
			INSERT INTO oauth_clients AS old (tenant_id, id, kind, name, uri, auth_method, redirect_uris, grant_types, scope, created_at)
			VALUES ($1, $2, $9, $3, $4, 'none', $5, $6, $7, $8)
			ON CONFLICT (tenant_id, id) DO UPDATE
			SET name = EXCLUDED.name, uri = EXCLUDED.uri, redirect_uris = EXCLUDED.redirect_uris,
			    grant_types = EXCLUDED.grant_types, scope = EXCLUDED.scope, deleted_at = NULL
			WHERE old.kind = EXCLUDED.kind`,
			t, c.ID, c.Name, c.URI, c.RedirectURIs, c.GrantTypes, c.Scope, c.CreatedAt, c.Kind))
	})
}

// DeleteOAuthClient hides the client and revokes its grants. The row stays for
// a while: were it gone, so would be the record that the grants are revoked.
func (db *DB) DeleteOAuthClient(ctx context.Context, t tenants.ID, id string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteOAuthClient(%s, %.200q)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if err := changed(tx.Exec(ctx, `UPDATE oauth_clients SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL`, id, at)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			UPDATE oauth_grants SET revoked_at = $2, revoked_reason = 'client deleted'
			WHERE client_id = $1 AND revoked_at IS NULL`, id, at); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM oauth_consents WHERE client_id = $1`, id)
		return err
	})
}

// CollectOAuth removes what has run out, of all tenants. Foreign keys take
// along what belongs to it.
func (db *DB) CollectOAuth(ctx context.Context, d oauth.Deadlines) (n oauth.Collected, err error) {
	defer fault.Wrap(&err, "postgres.CollectOAuth")
	err = db.AcrossTenants(ctx, "collect what has run out", func(ctx context.Context, tx pgx.Tx) error {
		for _, step := range []struct {
			count *int64
			query string
			args  []any
		}{
			{&n.Requests, `DELETE FROM oauth_requests WHERE expires_at < $1`, []any{d.Now}},
			{&n.Consents, `DELETE FROM oauth_consents WHERE expires_at < $1`, []any{d.Now}},
			{&n.Codes, `DELETE FROM oauth_codes WHERE expires_at < $1`, []any{d.Ended}},
			{&n.RefreshTokens, `DELETE FROM oauth_refresh_tokens WHERE expires_at < $1 OR used_at < $2`, []any{d.Now, d.Spent}},
			{&n.Grants, `DELETE FROM oauth_grants WHERE expires_at < $1 OR revoked_at < $1 OR used_at < $2 OR (used_at IS NULL AND created_at < $1)`, []any{d.Ended, d.Idle}},
			{&n.Clients, `
				DELETE FROM oauth_clients
				WHERE (authorized_at IS NULL AND created_at < $1) OR deleted_at < $2`, []any{d.Unauthorized, d.Ended}},
		} {
			tag, err := tx.Exec(ctx, step.query, step.args...)
			if err != nil {
				return err
			}
			*step.count = tag.RowsAffected()
		}
		return nil
	})
	return n, err
}

func hashBytes(h *oauth.Hash) []byte {
	if h == nil {
		return nil
	}
	return h[:]
}

func hashPointer(b []byte) *oauth.Hash {
	if len(b) != len(oauth.Hash{}) {
		return nil
	}
	h := oauth.Hash(b)
	return &h
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
