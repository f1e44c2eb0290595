package tenants

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"latchkey/internal/secret"
)

// Invitation lets whoever has its link become one person of a tenant, once.
type Invitation struct {
	ID    string // `iv` and 90 random bits
	Email string // lower case
	Name  string // proposed; may be empty
	Roles []string
	// May is what the inviter held. The link is no way into an account that
	// holds more by the time it is used.
	May        []Permission
	CreatedBy  string // for people: an address, or the name of a key
	CreatedAt  time.Time
	ExpiresAt  time.Time
	AcceptedAt time.Time // zero: not yet
	RevokedAt  time.Time // zero: not
	Mailed     bool
	Token      TokenHash // only to be written
}

// TokenHash is the SHA-256 of a link's token, which is all that is stored.
type TokenHash [sha256.Size]byte

// NewInvitationToken makes the token of a link: 256 random bits.
func NewInvitationToken() (secret.Text, TokenHash) {
	var b [32]byte
	rand.Read(b[:])
	return secret.Text(base64.RawURLEncoding.EncodeToString(b[:])), sha256.Sum256(b[:])
}

// ParseInvitationToken hashes a token from outside; ok is false for what can
// be none.
func ParseInvitationToken(token secret.Text) (h TokenHash, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token.Reveal())
	if err != nil || len(b) != 32 {
		return h, false
	}
	return sha256.Sum256(b), true
}

// InvitationStatus is what became of an invitation.
type InvitationStatus string

const (
	InvitationPending  InvitationStatus = "pending"
	InvitationAccepted InvitationStatus = "accepted"
	InvitationExpired  InvitationStatus = "expired"
	InvitationRevoked  InvitationStatus = "revoked"
)

// Status at a time.
func (i Invitation) Status(at time.Time) InvitationStatus {
	switch {
	case !i.AcceptedAt.IsZero():
		return InvitationAccepted
	case !i.RevokedAt.IsZero():
		return InvitationRevoked
	case !at.Before(i.ExpiresAt):
		return InvitationExpired
	}
	return InvitationPending
}

// InvitationQuery narrows a list of invitations, which is newest first.
type InvitationQuery struct {
	Status   InvitationStatus // empty: all
	At       time.Time        // what tells expired from pending
	BeforeAt time.Time        // zero: from the newest
	BeforeID string
	Limit    int
}

// Invitations is the part of a store that keeps invitations, inside a tenant.
type Invitations interface {
	// CreateInvitation revokes the pending one of the same address.
	CreateInvitation(ctx context.Context, t ID, i Invitation) error
	Invitations(ctx context.Context, t ID, q InvitationQuery) ([]Invitation, error)
	Invitation(ctx context.Context, t ID, id string) (Invitation, error)
	// RenewInvitation gives one that was neither accepted nor revoked a new
	// token and a new time, so that the old link ends; else fault.Conflict.
	RenewInvitation(ctx context.Context, t ID, id string, token TokenHash, may []Permission, expires time.Time) (Invitation, error)
	// RevokeInvitation ends one; an accepted one is fault.Conflict.
	RevokeInvitation(ctx context.Context, t ID, id string, at time.Time) error
	NoteInvitationMailed(ctx context.Context, t ID, id string) error
	// InvitationByToken finds one whatever became of it.
	InvitationByToken(ctx context.Context, t ID, token TokenHash) (Invitation, error)
	// AcceptInvitation spends the link: of two at once one succeeds, the other
	// is fault.Conflict. The person is created, or gets the name, the password
	// and the roles added; their sessions end. fault.RoleNotAllowed: the account
	// is closed, or holds more than the inviter could give. fault.LimitReached:
	// the tenant has as many people as it may.
	AcceptInvitation(ctx context.Context, t ID, token TokenHash, name, passwordHash string, at time.Time) (User, error)
}
