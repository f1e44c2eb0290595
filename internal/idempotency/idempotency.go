// Package idempotency owns what is remembered of a request so that a repeat of
// it gets the first answer and nothing happens twice: requests to the platform
// API, and calls of tools with effects (calls.go).
//
// It leaves to each caller which answers are worth keeping, and to Vault the
// keys under which they are sealed: they may hold what is shown once. It never
// runs or waits for anything.
package idempotency

import (
	"context"
	"crypto/sha256"
	"time"

	"latchkey/internal/tenants"
)

// Life is how long a repeat gets the first answer again.
const Life = 24 * time.Hour

// ClaimLife is after how long a request that never ended, because its process
// was lost, gives its key free. No request takes that long.
const ClaimLife = 15 * time.Minute

// Name is a caller's word for one request.
type Name struct {
	Caller string
	Key    string // 1 to 255 characters
}

// Hash is the SHA-256 of all that makes a request the same.
type Hash [sha256.Size]byte

// Answer is what is known of a request under its name.
type Answer struct {
	Request Hash
	Done    bool   // false: it is still running
	Sealed  []byte // once it is done
}

// Store keeps answers, inside a tenant; tenants.Platform is for what is of none.
type Store interface {
	// ClaimName begins a request. Where the name is in use, taken is false and the
	// answer is the one that has it. Of two at once one is taken.
	ClaimName(ctx context.Context, t tenants.ID, n Name, request Hash, now time.Time) (was Answer, taken bool, err error)
	// KeepAnswer ends a request that was claimed.
	KeepAnswer(ctx context.Context, t tenants.ID, n Name, sealed []byte) error
	// DropName gives the name of a request that changed nothing free.
	DropName(ctx context.Context, t tenants.ID, n Name) error
}
