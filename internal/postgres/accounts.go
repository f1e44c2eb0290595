package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/accounts"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

const accountColumns = `server_id, coalesce(user_id, ''), state, issuer, scopes, expires_at, renewable, connected_by, connected_at, renewed_at, failure, version`

func scanAccount(row pgx.CollectableRow) (a accounts.Account, err error) {
	err = row.Scan(&a.Server, &a.User, &a.State, &a.Issuer, &a.Scopes, (*zeroTime)(&a.ExpiresAt), &a.Renewable, &a.ConnectedBy, &a.ConnectedAt, &a.RenewedAt, &a.Failure, &a.Version)
	return a, err
}

// UpstreamAccount finds the account of a person, or of the tenant where u is
// empty.
func (db *DB) UpstreamAccount(ctx context.Context, t tenants.ID, s registry.ServerID, u tenants.UserID) (a accounts.Account, err error) {
	defer fault.Wrap(&err, "postgres.UpstreamAccount(%s, %s, %.40q)", t, s, u)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		a, err = one(ctx, tx, scanAccount, `SELECT `+accountColumns+` FROM upstream_accounts WHERE server_id = $1 AND user_id IS NOT DISTINCT FROM nullif($2, '')`, s, u)
		return err
	})
	return a, err
}

// UpstreamAccounts lists the accounts of a server.
func (db *DB) UpstreamAccounts(ctx context.Context, t tenants.ID, s registry.ServerID) (as []accounts.Account, err error) {
	defer fault.Wrap(&err, "postgres.UpstreamAccounts(%s, %s)", t, s)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		as, err = many(ctx, tx, scanAccount, `SELECT `+accountColumns+` FROM upstream_accounts WHERE server_id = $1 ORDER BY user_id NULLS FIRST`, s)
		return err
	})
	return as, err
}

// UpstreamAccountsOf lists the accounts of a person.
func (db *DB) UpstreamAccountsOf(ctx context.Context, t tenants.ID, u tenants.UserID) (as []accounts.Account, err error) {
	defer fault.Wrap(&err, "postgres.UpstreamAccountsOf(%s, %.40q)", t, u)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		as, err = many(ctx, tx, scanAccount, `SELECT `+accountColumns+` FROM upstream_accounts WHERE user_id = $1 ORDER BY server_id`, u)
		return err
	})
	return as, err
}

// PutUpstreamAccount writes an account over the version that was read.
func (db *DB) PutUpstreamAccount(ctx context.Context, t tenants.ID, a accounts.Account) (out accounts.Account, err error) {
	defer fault.Wrap(&err, "postgres.PutUpstreamAccount(%s, %s, %.40q)", t, a.Server, a.User)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		written, err := many(ctx, tx, scanAccount, `
			INSERT INTO upstream_accounts AS a (tenant_id, server_id, user_id, state, issuer, scopes, expires_at, renewable, connected_by, connected_at, renewed_at, failure, version)
			VALUES ($1, $2, nullif($3, ''), $4, $5, $6, $7, $8, $9, $10, $11, $12, 1)
			ON CONFLICT (tenant_id, server_id, user_id) DO UPDATE SET
			  state = excluded.state, issuer = excluded.issuer, scopes = excluded.scopes, expires_at = excluded.expires_at, renewable = excluded.renewable,
			  connected_by = excluded.connected_by, connected_at = excluded.connected_at, renewed_at = excluded.renewed_at, failure = excluded.failure,
			  renewing_until = NULL, version = a.version + 1
			WHERE a.version = $13
			RETURNING `+accountColumns,
			t, a.Server, a.User, a.State, a.Issuer, append([]string{}, a.Scopes...), orNull(a.ExpiresAt), a.Renewable, a.ConnectedBy, a.ConnectedAt, orNow(a.RenewedAt, a.ConnectedAt), a.Failure, a.Version)
		if err != nil {
			return err
		}
		if len(written) == 0 || written[0].Version != a.Version+1 {
			return fault.New(fault.Stale, "The account has been changed meanwhile.") // rolled back
		}
		out = written[0]
		return nil
	})
	return out, err
}

func orNow(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return t
}

// DeleteUpstreamAccount removes one.
func (db *DB) DeleteUpstreamAccount(ctx context.Context, t tenants.ID, s registry.ServerID, u tenants.UserID) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteUpstreamAccount(%s, %s, %.40q)", t, s, u)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `DELETE FROM upstream_accounts WHERE server_id = $1 AND user_id IS NOT DISTINCT FROM nullif($2, '')`, s, u))
	})
}

// ClaimRenewal lets one caller renew an account of that version.
func (db *DB) ClaimRenewal(ctx context.Context, t tenants.ID, a accounts.Account, now, until time.Time) (mine bool, err error) {
	defer fault.Wrap(&err, "postgres.ClaimRenewal(%s, %s, %.40q)", t, a.Server, a.User)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE upstream_accounts SET renewing_until = $5
			WHERE server_id = $1 AND user_id IS NOT DISTINCT FROM nullif($2, '') AND version = $3 AND (renewing_until IS NULL OR renewing_until <= $4)`,
			a.Server, a.User, a.Version, now, until)
		mine = tag.RowsAffected() == 1
		return err
	})
	return mine, err
}

// UpstreamClient is how the platform is known at a server's upstream.
func (db *DB) UpstreamClient(ctx context.Context, t tenants.ID, s registry.ServerID) (c accounts.Client, err error) {
	defer fault.Wrap(&err, "postgres.UpstreamClient(%s, %s)", t, s)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		c, err = one(ctx, tx, func(row pgx.CollectableRow) (c accounts.Client, err error) {
			err = row.Scan(&c.Server, &c.ID, &c.How, &c.AuthMethod, &c.Issuer, &c.Resource, &c.Authorize, &c.Token, &c.Revoke, &c.SaysIssuer, &c.Scopes, &c.FoundAt)
			return c, err
		}, `SELECT server_id, client_id, how, auth_method, issuer, resource, authorize, token, revoke, says_issuer, scopes, found_at FROM upstream_clients WHERE server_id = $1`, s)
		return err
	})
	return c, err
}

// PutUpstreamClient replaces it.
func (db *DB) PutUpstreamClient(ctx context.Context, t tenants.ID, c accounts.Client) (err error) {
	defer fault.Wrap(&err, "postgres.PutUpstreamClient(%s, %s)", t, c.Server)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO upstream_clients (tenant_id, server_id, client_id, how, auth_method, issuer, resource, authorize, token, revoke, says_issuer, scopes, found_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
			ON CONFLICT (tenant_id, server_id) DO UPDATE SET
			  client_id = excluded.client_id, how = excluded.how, auth_method = excluded.auth_method, issuer = excluded.issuer, resource = excluded.resource,
			  authorize = excluded.authorize, token = excluded.token, revoke = excluded.revoke, says_issuer = excluded.says_issuer, scopes = excluded.scopes, found_at = excluded.found_at`,
			t, c.Server, c.ID, c.How, c.AuthMethod, c.Issuer, c.Resource, c.Authorize, c.Token, c.Revoke, c.SaysIssuer, append([]string{}, c.Scopes...), c.FoundAt)
		return err
	})
}

// BeginUpstreamFlow keeps an authorization that begins, and removes old ones.
func (db *DB) BeginUpstreamFlow(ctx context.Context, t tenants.ID, f accounts.Flow, now time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.BeginUpstreamFlow(%s, %s)", t, f.Server)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
			DELETE FROM upstream_flows WHERE expires_at <= $1
			  OR state IN (SELECT state FROM upstream_flows WHERE begun_by = $2 ORDER BY expires_at DESC, state OFFSET $3)`, now, f.By, accounts.MaxFlows-1); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO upstream_flows (tenant_id, state, server_id, user_id, begun_by, verifier, return_to, expires_at)
			VALUES ($1, $2, $3, nullif($4, ''), $5, $6, $7, $8)`, t, f.State[:], f.Server, f.User, f.By, f.Verifier.Reveal(), f.ReturnTo, f.Expires)
		return err
	})
}

// TakeUpstreamFlow gives an authorization and removes it.
func (db *DB) TakeUpstreamFlow(ctx context.Context, t tenants.ID, state accounts.Hash) (f accounts.Flow, err error) {
	defer fault.Wrap(&err, "postgres.TakeUpstreamFlow(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		f, err = one(ctx, tx, func(row pgx.CollectableRow) (f accounts.Flow, err error) {
			var verifier string
			err = row.Scan(&f.Server, &f.User, &f.By, &verifier, &f.ReturnTo, &f.Expires)
			f.State, f.Verifier = state, secret.Text(verifier)
			return f, err
		}, `DELETE FROM upstream_flows WHERE state = $1 RETURNING server_id, coalesce(user_id, ''), begun_by, verifier, return_to, expires_at`, state[:])
		return err
	})
	return f, err
}
