package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

var _ registry.Offers = (*DB)(nil)

const offeredQuery = `
	SELECT s.tenant_id, s.id, coalesce(o.pinned_hash, ''), p.offer, o.pinned_at, coalesce(o.pinned_by, ''),
	       coalesce(o.pending_hash, ''), n.offer, o.pending_since, o.seen_at,
	       coalesce(o.awaited_revision, ''), coalesce(o.awaited_by, ''), coalesce(o.awaited_breaking, false), coalesce(o.problem, '')
	FROM servers s LEFT JOIN offer_states o ON o.server_id = s.id
	LEFT JOIN offers p ON (p.server_id, p.hash) = (s.id, o.pinned_hash)
	LEFT JOIN offers n ON (n.server_id, n.hash) = (s.id, o.pending_hash)`

func scanOffered(row pgx.CollectableRow) (o registry.Offered, err error) {
	var pinned, pending json.RawMessage
	err = row.Scan(&o.Tenant, &o.Server, &o.Pinned.Hash, &pinned, (*zeroTime)(&o.Pinned.At), &o.Pinned.By,
		&o.Pending.Hash, &pending, (*zeroTime)(&o.Pending.Since), (*zeroTime)(&o.Pending.Seen),
		&o.Awaited.Revision, &o.Awaited.By, &o.Awaited.AllowBreaking, &o.Problem)
	if err == nil && pinned != nil {
		err = json.Unmarshal(pinned, &o.Pinned.Offer)
	}
	if err == nil && pending != nil {
		err = json.Unmarshal(pending, &o.Pending.Offer)
	}
	if o.Pending.Hash == "" {
		o.Pending.Seen = time.Time{}
	}
	return o, err
}

// Offered reads what is known of one server's upstream.
func (db *DB) Offered(ctx context.Context, t tenants.ID, s registry.ServerID) (o registry.Offered, err error) {
	defer fault.Wrap(&err, "postgres.Offered(%s, %s)", t, s)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		o, err = one(ctx, tx, scanOffered, offeredQuery+` WHERE s.id = $1`, s)
		return err
	})
	return o, err
}

// AllOffered reads it of all servers.
func (db *DB) AllOffered(ctx context.Context, t tenants.ID) (all map[registry.ServerID]registry.Offered, err error) {
	defer fault.Wrap(&err, "postgres.AllOffered(%s)", t)
	all = map[registry.ServerID]registry.Offered{}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		list, err := many(ctx, tx, scanOffered, offeredQuery+` WHERE o.server_id IS NOT NULL`)
		for _, o := range list {
			all[o.Server] = o
		}
		return err
	})
	return all, err
}

// SeeOffer keeps an offer. The server's row puts those who do it at once in
// order.
func (db *DB) SeeOffer(ctx context.Context, t tenants.ID, s registry.ServerID, o registry.Offer, at time.Time) (seen registry.Seen, err error) {
	hash := o.Hash()
	defer fault.Wrap(&err, "postgres.SeeOffer(%s, %s, %.8s)", t, s, hash)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockServer(ctx, tx, s); err != nil {
			return err
		}
		var pinned, pending string
		var refused bool
		err := tx.QueryRow(ctx, `
			SELECT coalesce(pinned_hash, ''), coalesce(pending_hash, ''), EXISTS (SELECT FROM refused_offers r WHERE (r.server_id, r.hash) = ($1, $2))
			FROM offer_states WHERE server_id = $1`, s, hash).Scan(&pinned, &pending, &refused)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		switch {
		case pinned == "":
			seen = registry.SeenFirst
			return pinOffer(ctx, tx, t, s, o, "", at)
		case hash == pinned || refused:
			if seen = registry.SeenSame; refused {
				seen = registry.SeenRefused
			}
			if pending == "" {
				return nil
			}
			if _, err := tx.Exec(ctx, `UPDATE offer_states SET (pending_hash, pending_since, seen_at) = (NULL, NULL, $2) WHERE server_id = $1`, s, at); err != nil {
				return err
			}
			return forgetOffers(ctx, tx, s)
		case hash == pending:
			seen = registry.SeenPending
			_, err = tx.Exec(ctx, `UPDATE offer_states SET seen_at = $2 WHERE server_id = $1`, s, at)
			return err
		}
		seen = registry.SeenChanged
		if err := keepOffer(ctx, tx, t, s, hash, o, at); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE offer_states SET (pending_hash, pending_since, seen_at) = ($2, $3, $3) WHERE server_id = $1`, s, hash, at); err != nil {
			return err
		}
		return forgetOffers(ctx, tx, s)
	})
	return seen, err
}

// keepOffer stores one that may be there.
func keepOffer(ctx context.Context, tx pgx.Tx, t tenants.ID, s registry.ServerID, hash string, o registry.Offer, at time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO offers (tenant_id, server_id, hash, offer, found_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, t, s, hash, o, at)
	return err
}

// forgetOffers removes those that are neither pinned nor pending.
func forgetOffers(ctx context.Context, tx pgx.Tx, s registry.ServerID) error {
	_, err := tx.Exec(ctx, `
		DELETE FROM offers o USING offer_states n WHERE n.server_id = $1 AND o.server_id = $1
		AND o.hash IS DISTINCT FROM n.pinned_hash AND o.hash IS DISTINCT FROM n.pending_hash`, s)
	return err
}

// PinOffer makes an offer the pinned one.
func (db *DB) PinOffer(ctx context.Context, t tenants.ID, s registry.ServerID, o registry.Offer, by string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.PinOffer(%s, %s)", t, s)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockServer(ctx, tx, s); err != nil {
			return err
		}
		return pinOffer(ctx, tx, t, s, o, by, at)
	})
}

func pinOffer(ctx context.Context, tx pgx.Tx, t tenants.ID, s registry.ServerID, o registry.Offer, by string, at time.Time) error {
	hash := o.Hash()
	if err := keepOffer(ctx, tx, t, s, hash, o, at); err != nil {
		return err
	}
	// Of a pending one that is another, the pending one stays.
	if _, err := tx.Exec(ctx, `
		INSERT INTO offer_states AS n (tenant_id, server_id, pinned_hash, pinned_at, pinned_by, seen_at) VALUES ($1, $2, $3, $4, $5, $4)
		ON CONFLICT (tenant_id, server_id) DO UPDATE SET
			pinned_hash = $3, pinned_at = $4, pinned_by = $5, seen_at = $4,
			pending_hash = nullif(n.pending_hash, $3), pending_since = CASE WHEN n.pending_hash = $3 THEN NULL ELSE n.pending_since END`,
		t, s, hash, at, by); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM refused_offers WHERE (server_id, hash) = ($1, $2)`, s, hash); err != nil {
		return err
	}
	return forgetOffers(ctx, tx, s)
}

// maxRefused is how many refusals of a server are remembered: an upstream that
// always offers something else must not fill the store.
const maxRefused = 200

// RefuseOffer says no to the pending offer.
func (db *DB) RefuseOffer(ctx context.Context, t tenants.ID, s registry.ServerID, hash, by string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.RefuseOffer(%s, %s)", t, s)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockServer(ctx, tx, s); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE offer_states SET (pending_hash, pending_since) = (NULL, NULL) WHERE server_id = $1 AND pending_hash = $2`, s, hash)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return registry.ErrOfferGone()
		}
		if _, err := tx.Exec(ctx, `INSERT INTO refused_offers (tenant_id, server_id, hash, refused_at, refused_by) VALUES ($1, $2, $3, $4, $5)`, t, s, hash, at, by); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			DELETE FROM refused_offers WHERE server_id = $1 AND hash IN (SELECT hash FROM refused_offers WHERE server_id = $1 ORDER BY refused_at DESC, hash OFFSET $2)`, s, maxRefused); err != nil {
			return err
		}
		return forgetOffers(ctx, tx, s)
	})
}

// AwaitOffer keeps what is to be published when it is known what is offered.
func (db *DB) AwaitOffer(ctx context.Context, t tenants.ID, s registry.ServerID, a registry.Awaited) (err error) {
	defer fault.Wrap(&err, "postgres.AwaitOffer(%s, %s)", t, s)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockServer(ctx, tx, s); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO offer_states (tenant_id, server_id, awaited_revision, awaited_by, awaited_breaking) VALUES ($1, $2, nullif($3, ''), $4, $5)
			ON CONFLICT (tenant_id, server_id) DO UPDATE SET (awaited_revision, awaited_by, awaited_breaking, problem) =
				(EXCLUDED.awaited_revision, EXCLUDED.awaited_by, EXCLUDED.awaited_breaking, '')`, t, s, a.Revision, a.By, a.AllowBreaking)
		return err
	})
}

// EndAwait takes back what is awaited.
func (db *DB) EndAwait(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID, problem string) (err error) {
	defer fault.Wrap(&err, "postgres.EndAwait(%s, %s, %s)", t, s, r)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := one(ctx, tx, pgx.RowTo[string], `SELECT id FROM servers WHERE id = $1`, s); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			UPDATE offer_states SET (awaited_revision, awaited_by, awaited_breaking, problem) = (NULL, '', false, left($3, 2000))
			WHERE server_id = $1 AND awaited_revision = $2`, s, r, problem)
		return err
	})
}
