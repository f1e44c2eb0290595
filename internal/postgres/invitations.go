package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var _ tenants.Invitations = (*DB)(nil)

const invitationColumns = `i.id, i.email, i.name, i.roles, i.may, i.created_by, i.created_at, i.expires_at, i.accepted_at, i.revoked_at, i.mailed`

func scanInvitation(row pgx.CollectableRow) (i tenants.Invitation, err error) {
	return i, row.Scan(&i.ID, &i.Email, &i.Name, &i.Roles, &i.May, &i.CreatedBy, &i.CreatedAt, &i.ExpiresAt, (*zeroTime)(&i.AcceptedAt), (*zeroTime)(&i.RevokedAt), &i.Mailed)
}

// CreateInvitation stores an invitation; the one of the same address that was
// pending ends.
func (db *DB) CreateInvitation(ctx context.Context, t tenants.ID, i tenants.Invitation) (err error) {
	defer fault.Wrap(&err, "postgres.CreateInvitation(%s, %s)", t, i.ID)
	return db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE invitations SET revoked_at = $2 WHERE email = $1 AND accepted_at IS NULL AND revoked_at IS NULL`,
			normalEmail(i.Email), i.CreatedAt); err != nil {
			return err
		}
		return insertInvitation(ctx, tx, t, i)
	})
}

func insertInvitation(ctx context.Context, tx pgx.Tx, t tenants.ID, i tenants.Invitation) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO invitations (tenant_id, id, email, name, roles, may, token_hash, created_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		t, i.ID, normalEmail(i.Email), i.Name, append([]string{}, i.Roles...), append([]tenants.Permission{}, i.May...), i.Token[:], i.CreatedBy, i.CreatedAt, i.ExpiresAt)
	return err
}

// Invitations lists, newest first.
func (db *DB) Invitations(ctx context.Context, t tenants.ID, q tenants.InvitationQuery) (is []tenants.Invitation, err error) {
	defer fault.Wrap(&err, "postgres.Invitations(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		is, err = many(ctx, tx, scanInvitation, `
			SELECT `+invitationColumns+` FROM invitations i
			WHERE ($1::timestamptz IS NULL OR (i.created_at, i.id) < ($1, $2))
			  AND CASE $3 WHEN 'accepted' THEN i.accepted_at IS NOT NULL WHEN 'revoked' THEN i.revoked_at IS NOT NULL
			      WHEN 'expired' THEN i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at <= $4
			      WHEN 'pending' THEN i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > $4 ELSE true END
			ORDER BY i.created_at DESC, i.id DESC LIMIT $5`, orNull(q.BeforeAt), q.BeforeID, string(q.Status), q.At, q.Limit)
		return err
	})
	return is, err
}

// Invitation finds one.
func (db *DB) Invitation(ctx context.Context, t tenants.ID, id string) (i tenants.Invitation, err error) {
	defer fault.Wrap(&err, "postgres.Invitation(%s, %.40q)", t, id)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		i, err = one(ctx, tx, scanInvitation, `SELECT `+invitationColumns+` FROM invitations i WHERE i.id = $1`, id)
		return err
	})
	return i, err
}

// InvitationByToken finds the one of a link.
func (db *DB) InvitationByToken(ctx context.Context, t tenants.ID, token tenants.TokenHash) (i tenants.Invitation, err error) {
	defer fault.Wrap(&err, "postgres.InvitationByToken(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		i, err = one(ctx, tx, scanInvitation, `SELECT `+invitationColumns+` FROM invitations i WHERE i.token_hash = $1`, token[:])
		return err
	})
	return i, err
}

// RenewInvitation gives an invitation another link.
func (db *DB) RenewInvitation(ctx context.Context, t tenants.ID, id string, token tenants.TokenHash, may []tenants.Permission, expires time.Time) (i tenants.Invitation, err error) {
	defer fault.Wrap(&err, "postgres.RenewInvitation(%s, %.40q)", t, id)
	err = db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		if i, err = lockInvitation(ctx, tx, `i.id = $1`, id); err != nil {
			return err
		}
		if !i.AcceptedAt.IsZero() || !i.RevokedAt.IsZero() {
			return fault.New(fault.Conflict, "This invitation was used or revoked already. Make a new one.")
		}
		i, err = one(ctx, tx, scanInvitation, `
			UPDATE invitations i SET token_hash = $2, may = $3, expires_at = $4, mailed = false WHERE i.id = $1 RETURNING `+invitationColumns,
			id, token[:], append([]tenants.Permission{}, may...), expires)
		return err
	})
	return i, err
}

func lockInvitation(ctx context.Context, tx pgx.Tx, where string, arg any) (tenants.Invitation, error) {
	return one(ctx, tx, scanInvitation, `SELECT `+invitationColumns+` FROM invitations i WHERE `+where+` FOR UPDATE`, arg)
}

// RevokeInvitation ends an invitation; ending it twice is no error.
func (db *DB) RevokeInvitation(ctx context.Context, t tenants.ID, id string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.RevokeInvitation(%s, %.40q)", t, id)
	return db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		i, err := lockInvitation(ctx, tx, `i.id = $1`, id)
		if err != nil {
			return err
		}
		if !i.AcceptedAt.IsZero() {
			return fault.New(fault.Conflict, "This invitation was accepted already. Remove or disable the member instead.")
		}
		_, err = tx.Exec(ctx, `UPDATE invitations SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1`, id, at)
		return err
	})
}

// NoteInvitationMailed notes that a mail server took it.
func (db *DB) NoteInvitationMailed(ctx context.Context, t tenants.ID, id string) (err error) {
	defer fault.Wrap(&err, "postgres.NoteInvitationMailed(%s, %.40q)", t, id)
	return db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `UPDATE invitations SET mailed = true WHERE id = $1`, id))
	})
}

// AcceptInvitation spends a link and creates or completes its person.
func (db *DB) AcceptInvitation(ctx context.Context, t tenants.ID, token tenants.TokenHash, name, passwordHash string, at time.Time) (u tenants.User, err error) {
	defer fault.Wrap(&err, "postgres.AcceptInvitation(%s)", t)
	err = db.changePeople(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		i, err := lockInvitation(ctx, tx, `i.token_hash = $1`, token[:])
		if err != nil {
			return err
		}
		if status := i.Status(at); status != tenants.InvitationPending {
			return fault.New(fault.Conflict, "This invitation is %s. Ask for a new one.", status)
		}
		roles, err := rolesToGive(ctx, tx, i)
		if err != nil {
			return err
		}
		if u, err = putUser(ctx, tx, t, i.Email, name, roles); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE users SET password_hash = $2 WHERE id = $1`, u.ID, passwordHash); err != nil {
			return err
		}
		if err := endSessions(ctx, tx, u.ID); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE invitations SET accepted_at = $2 WHERE id = $1`, i.ID, at)
		return err
	})
	return u, err
}

// rolesToGive are those of the invitation that still exist, and those that the
// person has already. It refuses a person whom the link may not open.
func rolesToGive(ctx context.Context, tx pgx.Tx, i tenants.Invitation) (roles []string, err error) {
	var known, disabled, room bool
	var held []tenants.Permission
	if err := tx.QueryRow(ctx, `
		SELECT u.id IS NOT NULL, u.disabled_at IS NOT NULL,
		       (SELECT count(*) FROM users) < coalesce((t.quotas ->> 'members')::int, $3),
		       ARRAY (SELECT role FROM user_roles r WHERE r.user_id = u.id UNION SELECT name FROM roles WHERE name = ANY ($2)),
		       ARRAY (SELECT DISTINCT p FROM user_roles ur JOIN roles r ON (r.tenant_id, r.name) = (ur.tenant_id, ur.role), unnest(r.permissions) p WHERE ur.user_id = u.id)
		FROM tenants t LEFT JOIN users u ON u.tenant_id = t.id AND u.email = $1`, i.Email, i.Roles, tenants.DefaultQuotas.Members).
		Scan(&known, &disabled, &room, &roles, &held); err != nil {
		return nil, err
	}
	switch {
	case disabled:
		return nil, fault.New(fault.RoleNotAllowed, "This account is turned off. Ask an administrator to turn it on.")
	case known && len(tenants.Beyond(i.May, held)) > 0:
		return nil, fault.New(fault.RoleNotAllowed, "Since you were invited, your account got more rights than the person who invited you could give. Ask for a new invitation.")
	case !known && !room:
		return nil, fault.New(fault.LimitReached, "This company has as many people as it may have. Ask an administrator.")
	}
	return roles, nil
}

// orNull makes the zero time NULL.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
