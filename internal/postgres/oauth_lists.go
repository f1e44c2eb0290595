package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

// listedClients has each client with its grants in force at $1.
const listedClients = `
	SELECT c.id, c.kind, c.name, c.uri, c.auth_method, c.redirect_uris, c.grant_types, c.scope, c.created_at, c.authorized_at,
	       (SELECT count(*) FROM oauth_grants g WHERE (g.tenant_id, g.client_id) = (c.tenant_id, c.id)
	         AND g.revoked_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > $1)),
	       (SELECT max(g.used_at) FROM oauth_grants g WHERE (g.tenant_id, g.client_id) = (c.tenant_id, c.id))
	FROM oauth_clients c WHERE c.deleted_at IS NULL`

func scanListedClient(row pgx.CollectableRow) (c oauth.ListedClient, err error) {
	var authorized, used *time.Time
	err = row.Scan(&c.ID, &c.Kind, &c.Name, &c.URI, &c.AuthMethod, &c.RedirectURIs, &c.GrantTypes, &c.Scope, &c.CreatedAt, &authorized, &c.Grants, &used)
	c.AuthorizedAt, c.LastUsedAt = timeOrZero(authorized), timeOrZero(used)
	return c, err
}

// ListClients lists a page of clients, newest first.
func (db *DB) ListClients(ctx context.Context, t tenants.ID, f oauth.ClientFilter, after callers.Position, limit int, now time.Time) (cs []oauth.ListedClient, err error) {
	defer fault.Wrap(&err, "postgres.ListClients(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		cs, err = many(ctx, tx, scanListedClient, listedClients+`
			AND ($2::text = '' OR position(lower($2) IN lower(c.name)) > 0 OR position(lower($2) IN lower(c.id)) > 0)
			AND ($3::bool IS NULL OR (c.authorized_at IS NOT NULL) = $3)
			AND ($4::timestamptz IS NULL OR (c.created_at, c.id) < ($4, $5))
			ORDER BY c.created_at DESC, c.id DESC LIMIT $6`,
			now, f.Search, f.Authorized, nullTime(after.At), after.ID, limit)
		return err
	})
	return cs, err
}

// ListedClient finds one client that was not deleted.
func (db *DB) ListedClient(ctx context.Context, t tenants.ID, id string, now time.Time) (c oauth.ListedClient, err error) {
	defer fault.Wrap(&err, "postgres.ListedClient(%s, %.200q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		c, err = one(ctx, tx, scanListedClient, listedClients+` AND c.id = $2`, now, id)
		return err
	})
	return c, err
}

// ListGrants lists a page of grants, newest first.
func (db *DB) ListGrants(ctx context.Context, t tenants.ID, f oauth.GrantFilter, after callers.Position, limit int, now time.Time) (gs []oauth.Grant, err error) {
	defer fault.Wrap(&err, "postgres.ListGrants(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		gs, err = many(ctx, tx, scanGrant, `
			SELECT `+grantColumns+` FROM `+grantTables+`
			WHERE ($2::text = '' OR u.email = lower($2) OR u.id = $2)
			AND ($3::text = '' OR g.client_id = $3)
			AND ($4::text = '' OR s.slug = $4)
			AND CASE $5::text WHEN 'active' THEN g.revoked_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > $1)
			                  WHEN 'expired' THEN g.revoked_at IS NULL AND g.expires_at <= $1
			                  WHEN 'revoked' THEN g.revoked_at IS NOT NULL ELSE true END
			AND ($6::timestamptz IS NULL OR (g.created_at, g.id) < ($6, $7))
			ORDER BY g.created_at DESC, g.id DESC LIMIT $8`,
			now, f.Member, f.Client, f.Server, f.Status, nullTime(after.At), after.ID, limit)
		return err
	})
	return gs, err
}

// ClientUse counts what deleting a client takes along.
func (db *DB) ClientUse(ctx context.Context, t tenants.ID, id string, now time.Time) (n oauth.ClientUse, err error) {
	defer fault.Wrap(&err, "postgres.ClientUse(%s, %.200q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT count(g.id), count(DISTINCT g.user_id), (SELECT count(*) FROM oauth_consents x WHERE x.client_id = c.id)
			FROM oauth_clients c LEFT JOIN oauth_grants g ON (g.tenant_id, g.client_id) = (c.tenant_id, c.id)
			     AND g.revoked_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > $2)
			WHERE c.id = $1 AND c.deleted_at IS NULL GROUP BY c.tenant_id, c.id`, id, now).Scan(&n.Grants, &n.People, &n.Consents)
	})
	return n, err
}
