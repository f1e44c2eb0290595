package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

const grantColumns = `g.id, g.user_id, g.client_id, g.redirect_host, coalesce(g.server_id, ''), g.scopes, g.created_at, g.expires_at,
	g.used_at, g.revoked_at, g.revoked_reason, g.challenged_at, c.name, u.email, coalesce(s.slug, ''), coalesce(s.title, '')`

const grantTables = `oauth_grants g
	JOIN oauth_clients c ON (c.tenant_id, c.id) = (g.tenant_id, g.client_id)
	JOIN users u ON (u.tenant_id, u.id) = (g.tenant_id, g.user_id)
	LEFT JOIN servers s ON (s.tenant_id, s.id) = (g.tenant_id, g.server_id)`

// grantRow is where a grant's columns are scanned to.
type grantRow struct {
	oauth.Grant
	expires, used, revoked, challenged *time.Time
}

func (r *grantRow) fields() []any {
	return []any{&r.ID, &r.User, &r.Client, &r.RedirectHost, &r.Server, &r.Scopes, &r.CreatedAt, &r.expires,
		&r.used, &r.revoked, &r.RevokedReason, &r.challenged, &r.ClientName, &r.UserEmail, &r.ServerSlug, &r.ServerTitle}
}

func (r *grantRow) grant() oauth.Grant {
	r.ExpiresAt, r.UsedAt = timeOrZero(r.expires), timeOrZero(r.used)
	r.RevokedAt, r.ChallengedAt = timeOrZero(r.revoked), timeOrZero(r.challenged)
	return r.Grant
}

func scanGrant(row pgx.CollectableRow) (oauth.Grant, error) {
	var g grantRow
	err := row.Scan(g.fields()...)
	return g.grant(), err
}

// Consent finds what a person agreed to.
func (db *DB) Consent(ctx context.Context, t tenants.ID, k oauth.ConsentKey) (c oauth.Consent, err error) {
	defer fault.Wrap(&err, "postgres.Consent(%s, %s)", t, k.User)
	c.ConsentKey = k
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var expires *time.Time
		err := tx.QueryRow(ctx, `
			SELECT scopes, given_at, expires_at FROM oauth_consents
			WHERE (user_id, client_id, redirect_host, server_id) = ($1, $2, $3, $4)`,
			k.User, k.Client, k.RedirectHost, k.Server).Scan(&c.Scopes, &c.GivenAt, &expires)
		c.ExpiresAt = timeOrZero(expires)
		return err
	})
	return c, err
}

// Issue stores a grant, its code and the consent behind it, and uses up the
// ticket, in one commit.
func (db *DB) Issue(ctx context.Context, t tenants.ID, i oauth.Issue) (err error) {
	defer fault.Wrap(&err, "postgres.Issue(%s, %s)", t, i.Grant.ID)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if i.Ticket != nil {
			if err := takeShown(ctx, tx, *i.Ticket); err != nil {
				return err
			}
		}
		var b pgx.Batch
		g := i.Grant
		b.Queue(`
			INSERT INTO oauth_grants (tenant_id, id, user_id, client_id, redirect_host, server_id, scopes, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, nullif($6, ''), $7, $8, $9)`,
			t, g.ID, g.User, g.Client, g.RedirectHost, g.Server, g.Scopes, g.CreatedAt, nullTime(g.ExpiresAt))
		b.Queue(`
			INSERT INTO oauth_codes (tenant_id, hash, grant_id, redirect_uri, challenge, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6)`,
			t, i.Code.Hash[:], g.ID, i.Code.RedirectURI, i.Code.Challenge, i.Code.ExpiresAt)
		if c := i.Consent; c != nil {
			b.Queue(`
				INSERT INTO oauth_consents (tenant_id, user_id, client_id, redirect_host, server_id, scopes, given_at, expires_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
				ON CONFLICT (tenant_id, user_id, client_id, redirect_host, server_id) DO UPDATE
				SET scopes = EXCLUDED.scopes, given_at = EXCLUDED.given_at, expires_at = EXCLUDED.expires_at`,
				t, c.User, c.Client, c.RedirectHost, c.Server, c.Scopes, c.GivenAt, nullTime(c.ExpiresAt))
		}
		b.Queue(`UPDATE oauth_clients SET authorized_at = $2 WHERE id = $1 AND authorized_at IS NULL`, g.Client, g.CreatedAt)
		return tx.SendBatch(ctx, &b).Close()
	})
}

// WithCode locks a code and its grant, lets decide look, and writes its turn.
func (db *DB) WithCode(ctx context.Context, t tenants.ID, h oauth.Hash, decide func(oauth.Code, oauth.Grant) oauth.Turn) (err error) {
	defer fault.Wrap(&err, "postgres.WithCode(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var g grantRow
		code, used := oauth.Code{Hash: h}, (*time.Time)(nil)
		err := tx.QueryRow(ctx, `
			SELECT x.grant_id, x.redirect_uri, x.challenge, x.expires_at, x.used_at, `+grantColumns+`
			FROM oauth_codes x JOIN `+grantTables+` ON (g.tenant_id, g.id) = (x.tenant_id, x.grant_id)
			WHERE x.hash = $1 FOR UPDATE OF x, g`, h[:]).
			Scan(append([]any{&code.Grant, &code.RedirectURI, &code.Challenge, &code.ExpiresAt, &used}, g.fields()...)...)
		if err != nil {
			return err
		}
		code.UsedAt = timeOrZero(used)
		turn := decide(code, g.grant())
		var b pgx.Batch
		if !turn.Use.IsZero() {
			b.Queue(`UPDATE oauth_codes SET used_at = $2 WHERE hash = $1`, h[:], turn.Use)
		}
		return applyTurn(ctx, tx, t, &b, code.Grant, turn)
	})
}

const refreshQuery = `
	SELECT x.grant_id, x.expires_at, x.used_at, x.successor, ` + grantColumns + `
	FROM oauth_refresh_tokens x JOIN ` + grantTables + ` ON (g.tenant_id, g.id) = (x.tenant_id, x.grant_id)
	WHERE x.hash = $1`

func readRefreshToken(ctx context.Context, tx pgx.Tx, query string, h oauth.Hash) (oauth.RefreshToken, oauth.Grant, error) {
	var g grantRow
	token, used := oauth.RefreshToken{Hash: h}, (*time.Time)(nil)
	err := tx.QueryRow(ctx, query, h[:]).
		Scan(append([]any{&token.Grant, &token.ExpiresAt, &used, &token.Successor}, g.fields()...)...)
	token.UsedAt = timeOrZero(used)
	return token, g.grant(), err
}

// WithRefreshToken locks a token and its grant, lets decide look, and writes
// its turn.
func (db *DB) WithRefreshToken(ctx context.Context, t tenants.ID, h oauth.Hash, decide func(oauth.RefreshToken, oauth.Grant) oauth.Turn) (err error) {
	defer fault.Wrap(&err, "postgres.WithRefreshToken(%s)", t)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		token, grant, err := readRefreshToken(ctx, tx, refreshQuery+` FOR UPDATE OF x, g`, h)
		if err != nil {
			return err
		}
		turn := decide(token, grant)
		var b pgx.Batch
		if !turn.Use.IsZero() {
			b.Queue(`UPDATE oauth_refresh_tokens SET used_at = $2, successor = $3 WHERE hash = $1`, h[:], turn.Use, turn.Successor)
		}
		return applyTurn(ctx, tx, t, &b, token.Grant, turn)
	})
}

// applyTurn queues what both kinds have in common and sends all in one go.
func applyTurn(ctx context.Context, tx pgx.Tx, t tenants.ID, b *pgx.Batch, grant string, turn oauth.Turn) error {
	if n := turn.Next; n != nil {
		b.Queue(`INSERT INTO oauth_refresh_tokens (tenant_id, hash, grant_id, expires_at) VALUES ($1, $2, $3, $4)`,
			t, n.Hash[:], grant, n.ExpiresAt)
	}
	if !turn.Use.IsZero() {
		b.Queue(`UPDATE oauth_grants SET used_at = $2 WHERE id = $1`, grant, turn.Use)
	}
	if turn.ClearChallenge {
		b.Queue(`UPDATE oauth_grants SET challenged_at = NULL WHERE id = $1`, grant)
	}
	if turn.Revoke != "" {
		queueRevoke(b, grant, turn.Revoke, turn.At)
	}
	if b.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, b).Close()
}

// queueRevoke ends a grant and forgets the consent behind it.
func queueRevoke(b *pgx.Batch, grant, reason string, at time.Time) {
	b.Queue(`UPDATE oauth_grants SET revoked_at = $2, revoked_reason = $3 WHERE id = $1 AND revoked_at IS NULL`, grant, at, reason)
	b.Queue(`
		DELETE FROM oauth_consents c USING oauth_grants g
		WHERE g.id = $1 AND (c.tenant_id, c.user_id, c.client_id, c.redirect_host, c.server_id)
		                  = (g.tenant_id, g.user_id, g.client_id, g.redirect_host, g.server_id)`, grant)
}

// Grant finds a grant, whatever became of it.
func (db *DB) Grant(ctx context.Context, t tenants.ID, id string) (g oauth.Grant, err error) {
	defer fault.Wrap(&err, "postgres.Grant(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		g, err = one(ctx, tx, scanGrant, `SELECT `+grantColumns+` FROM `+grantTables+` WHERE g.id = $1`, id)
		return err
	})
	return g, err
}

// GrantOfRefreshToken finds a token and its grant.
func (db *DB) GrantOfRefreshToken(ctx context.Context, t tenants.ID, h oauth.Hash) (token oauth.RefreshToken, g oauth.Grant, err error) {
	defer fault.Wrap(&err, "postgres.GrantOfRefreshToken(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		token, g, err = readRefreshToken(ctx, tx, refreshQuery, h)
		return err
	})
	return token, g, err
}

// Grants lists a person's grants in force that were used, newest first.
func (db *DB) Grants(ctx context.Context, t tenants.ID, user tenants.UserID, now, since time.Time) (gs []oauth.Grant, err error) {
	defer fault.Wrap(&err, "postgres.Grants(%s, %s)", t, user)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		gs, err = many(ctx, tx, scanGrant, `
			SELECT `+grantColumns+` FROM `+grantTables+`
			WHERE g.user_id = $1 AND g.revoked_at IS NULL AND g.used_at >= $3 AND (g.expires_at IS NULL OR g.expires_at > $2)
			ORDER BY g.created_at DESC, g.id LIMIT 500`, user, now, since)
		return err
	})
	return gs, err
}

// RevokeGrant ends a grant; every edge hears of it when this commits.
func (db *DB) RevokeGrant(ctx context.Context, t tenants.ID, id, reason string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.RevokeGrant(%s, %.40q)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		var known bool
		if err := tx.QueryRow(ctx, `SELECT true FROM oauth_grants WHERE id = $1 FOR UPDATE`, id).Scan(&known); err != nil {
			return err
		}
		var b pgx.Batch
		queueRevoke(&b, id, reason, at)
		return tx.SendBatch(ctx, &b).Close()
	})
}

// NoteChallenge marks a grant whose call was refused for want of a scope.
func (db *DB) NoteChallenge(ctx context.Context, t tenants.ID, grant string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.NoteChallenge(%s, %.40q)", t, grant)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE oauth_grants SET challenged_at = $2 WHERE id = $1 AND revoked_at IS NULL`, grant, at)
		return err
	})
}
