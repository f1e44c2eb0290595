package callers

import (
	"context"
	"time"
)

// Operator runs the platform. Operators belong to no tenant and are told apart
// by address.
type Operator struct {
	Email       string // lower case
	Name        string
	Disabled    bool
	HasPassword bool
	CreatedAt   time.Time
	LastSeenAt  time.Time // zero: no session
}

// OperatorSession is an operator at a browser.
type OperatorSession struct {
	Email      string
	Token      Hash // of the cookie's value
	CreatedAt  time.Time
	LastSeenAt time.Time
}

// OperatorToken is what a key of operators was traded for.
type OperatorToken struct {
	Hash      Hash
	Key       string
	ExpiresAt time.Time
}

// Operators keeps who runs the platform. Unknown things are fault.NotFound;
// touching or deleting an unknown session is no error.
type Operators interface {
	Operators(ctx context.Context) ([]Operator, error)
	Operator(ctx context.Context, email string) (Operator, error)
	// PutOperator creates or replaces name and Disabled. Disabling ends the
	// operator's sessions. Somebody who is not disabled remains, or it is a
	// fault.Conflict.
	PutOperator(ctx context.Context, o Operator) (Operator, error)
	// DeleteOperator leaves at least one who is not disabled.
	DeleteOperator(ctx context.Context, email string) error
	// OperatorPassword is the encoded argon2id hash, empty if none is set.
	OperatorPassword(ctx context.Context, email string) (string, error)
	// SetOperatorPassword also ends the operator's sessions.
	SetOperatorPassword(ctx context.Context, email, hash string) error

	// CreateOperatorSession also drops what was last seen before staleBefore.
	CreateOperatorSession(ctx context.Context, s OperatorSession, staleBefore time.Time) error
	OperatorSession(ctx context.Context, token Hash) (OperatorSession, Operator, error)
	TouchOperatorSession(ctx context.Context, token Hash, seen time.Time) error
	DeleteOperatorSession(ctx context.Context, token Hash) error

	OperatorKeys(ctx context.Context) ([]Key, error)
	OperatorKey(ctx context.Context, id string) (Key, error)
	OperatorKeyByHash(ctx context.Context, h Hash) (Key, error)
	CreateOperatorKey(ctx context.Context, k Key) error
	RevokeOperatorKey(ctx context.Context, id string, at time.Time) error
	UseOperatorKey(ctx context.Context, id string, at time.Time) error

	// CreateOperatorToken also drops what has expired at now.
	CreateOperatorToken(ctx context.Context, t OperatorToken, now time.Time) error
	// OperatorKeyByToken finds the key of a token that has not expired at now.
	OperatorKeyByToken(ctx context.Context, h Hash, now time.Time) (Key, error)
}
