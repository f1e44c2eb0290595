// Package callers owns what callers of the platform API prove who they are
// with: API keys of a tenant, sessions of its console, and operators with
// their sessions, keys and tokens.
//
// It leaves to oauth the tokens that are got with a tenant's key, to console
// the pages and cookies, and to api what a caller may do.
package callers

import (
	"context"
	"time"

	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Key is an API key without its secret, of a tenant (`ak…`) or of operators
// (`ok…`).
type Key struct {
	ID          string
	Name        string
	Hash        Hash
	Hint        string               // the beginning and the last four characters
	Permissions []tenants.Permission // of a tenant's key
	CreatedBy   string
	// Author is whose right a tenant's key was made with, also through other
	// keys: the id of a person, or ByOperator. Empty where that is not known.
	Author     string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: until it is revoked
	LastUsedAt time.Time // to the minute; zero: never
	RevokedAt  time.Time // zero: in force
}

// ByOperator is the author of a key that was made by who runs the platform.
const ByOperator = "operator"

// Live reports whether the key opens anything.
func (k Key) Live(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// NewKey makes a key of a tenant. The secret is to be shown once.
func NewKey(k Key) (Key, secret.Text) { return newKey(k, "ak", PrefixKey) }

// NewOperatorKey makes a key of operators.
func NewOperatorKey(k Key) (Key, secret.Text) {
	k.Permissions = nil
	return newKey(k, "ok", PrefixOperatorKey)
}

func newKey(k Key, id, prefix string) (Key, secret.Text) {
	s := newSecret(prefix)
	k.ID, k.Hash, k.Hint = tenants.RandomID(id), HashOf(s), hint(s)
	return k, s
}

// usedEvery bounds how often a busy key writes to the store.
const usedEvery = time.Minute

// UseDue reports whether a use now is to be written down.
func (k Key) UseDue(now time.Time) bool { return now.Sub(k.LastUsedAt) >= usedEvery }

// Session is a person at a tenant's console. It stands on an OAuth grant and
// ends with it.
type Session struct {
	ID         string // `cs` and 90 random bits
	User       tenants.UserID
	Grant      string
	Token      Hash // of the cookie's value
	CreatedAt  time.Time
	LastSeenAt time.Time
}

// SessionState is what a session stands on, at this moment.
type SessionState struct {
	User        tenants.User
	GrantActive bool
}

// Sessions keeps console sessions, each inside its tenant. An unknown token is
// fault.NotFound; touching or deleting an unknown session is no error.
type Sessions interface {
	// CreateConsoleSession also drops what was last seen before staleBefore.
	CreateConsoleSession(ctx context.Context, t tenants.ID, s Session, staleBefore time.Time) error
	ConsoleSession(ctx context.Context, t tenants.ID, token Hash) (Session, SessionState, error)
	TouchConsoleSession(ctx context.Context, t tenants.ID, id string, seen time.Time) error
	DeleteConsoleSession(ctx context.Context, t tenants.ID, id string) error
}

// Keys keeps a tenant's keys. Unknown things are fault.NotFound.
type Keys interface {
	// APIKeyByHash finds a key of any tenant, also one that is not live: who
	// holds a key need not say whose it is.
	APIKeyByHash(ctx context.Context, h Hash) (tenants.Tenant, Key, error)
	APIKey(ctx context.Context, t tenants.ID, id string) (Key, error)
	// APIKeys lists the newest first, those after the given one.
	APIKeys(ctx context.Context, t tenants.ID, after Position, limit int) ([]Key, error)
	CountAPIKeys(ctx context.Context, t tenants.ID, now time.Time) (live int, err error)
	CreateAPIKey(ctx context.Context, t tenants.ID, k Key) error
	// RevokeAPIKey is done for a revoked key already.
	RevokeAPIKey(ctx context.Context, t tenants.ID, id string, at time.Time) error
	// UseAPIKey notes a use; an unknown key is no error.
	UseAPIKey(ctx context.Context, t tenants.ID, id string, at time.Time) error
}

// Position is the last entry of a page that is sorted by time, newest first.
// The zero one is the beginning.
type Position struct {
	At time.Time
	ID string
}
