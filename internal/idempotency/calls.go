package idempotency

import (
	"context"
	"time"

	"latchkey/internal/tenants"
)

// CallName is what a call with effects is known by, inside its tenant: another
// person's equal key is another name.
type CallName struct {
	User   tenants.UserID
	Server tenants.ServerID
	Key    Hash // see GivenKey and DerivedKey
}

// MaxKept is the largest answer, in bytes, that is kept; of a larger one only
// that the call is done.
const MaxKept = 1 << 20

// CallState is how far a call has come.
type CallState string

// The states.
const (
	Running CallState = "running"
	Done    CallState = "done"    // it ended, well or not, and a repeat gets what came of it
	Unknown CallState = "unknown" // it may or may not have taken effect
	Free    CallState = "free"    // certainly nothing was done: whoever comes next runs it
)

// Claim is a call that wants to run under a name.
type Claim struct {
	CallID  string
	Tool    string
	Request Hash // see RequestHash
	// Upstream is the key for the tool's upstream. A claim that goes on with the
	// same request where an earlier one left off gets that one's.
	Upstream string
	// Again: it may run although an earlier one of the same request is unknown.
	Again     bool
	Now       time.Time
	RunsUntil time.Time     // by then it has ended, or its edge is dead
	Keep      time.Duration // how long its outcome is kept
}

// Call is what is known under a name.
type Call struct {
	ID       string
	Tool     string
	Request  Hash
	Upstream string
	State    CallState
	Sealed   []byte // of what is done; nil: only that it was
	BeganAt  time.Time
	// RunsUntil is when whoever waits for a running one can stop.
	RunsUntil time.Time
	// Lost: it is unknown since this moment, because its edge died.
	Lost bool
}

// Overdue reports whether its edge must be dead.
func (c Call) Overdue(now time.Time) bool { return c.State == Running && now.After(c.RunsUntil) }

// End is what came of a call that was claimed.
type End struct {
	State     CallState // any but Running
	Sealed    []byte
	ExpiresAt time.Time
}

// CallStore keeps calls with effects, inside a tenant.
type CallStore interface {
	// ClaimCall begins a call. It is taken where the name is new, free or has had
	// its day, and with Again where it is unknown; of many at once by one. The
	// call is then the claim itself with the Upstream key to use, else the one
	// that has the name. One whose edge died becomes unknown here.
	ClaimCall(ctx context.Context, t tenants.ID, n CallName, c Claim) (was Call, taken bool, err error)
	// CallNamed reads what a name stands for; NotFound where it stands for none.
	CallNamed(ctx context.Context, t tenants.ID, n CallName, now time.Time) (Call, error)
	// ProlongCall moves on by when a running call must have ended. It never moves
	// back, and nothing changes where another has taken the name since.
	ProlongCall(ctx context.Context, t tenants.ID, n CallName, callID string, runsUntil time.Time) error
	// EndCall says what came of a call. Where another has taken the name since,
	// nothing changes.
	EndCall(ctx context.Context, t tenants.ID, n CallName, callID string, e End) error
}
