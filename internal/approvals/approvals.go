// Package approvals owns the word that a call has to wait for: of whoever makes
// it (a Confirmation, given with a one-time token) or of somebody else (an
// Approval, given out of band). Both are good for one call: of this person,
// tool and definition, with these arguments.
//
// It decides what a word is good for and who may give one. It leaves to
// mcpgateway which calls need one and how that is said, to api how a decision
// arrives, and storage to postgres.
package approvals

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// HashOf is the hash of a text, such as the key that a call runs once under.
func HashOf(text string) Hash { return sha256.Sum256([]byte(text)) }

// Subject is the call that somebody agrees to. A changed definition is another
// subject: what a person agreed to is what the tool was then.
type Subject struct {
	User       tenants.UserID
	Server     registry.ServerID
	Tool       string
	Definition string // hash of the tool's definition
	Request    Hash   // of the arguments; see RequestHash
}

// Use is a call that a word is spent on. Repeats under the same key are the same
// call, until Until: by then it is told apart by the key no more.
type Use struct {
	Key   Hash
	Call  string // id of the call
	At    time.Time
	Until time.Time
}

// Used says what a word was spent on; the zero one, that it was not.
type Used struct {
	Key       Hash
	At, Until time.Time
}

// again reports whether a use is a repeat of the one that was.
func (u Used) again(by Use) bool { return !u.At.IsZero() && u.Key == by.Key && by.At.Before(u.Until) }

// Status is what became of an approval.
type Status string

// The statuses. Expired is never stored: it is what pending and approved become
// with time.
const (
	Pending  Status = "pending"
	Approved Status = "approved"
	Denied   Status = "denied"
	Expired  Status = "expired"
	Spent    Status = "used" // a call ran with it
)

// Approval is the question whether one call may run, and the answer.
type Approval struct {
	ID string // `ap` and 90 random bits
	Subject
	Client, Grant string // that made the call
	Title         string // of the tool
	Risk          registry.Risk
	Arguments     json.RawMessage // as they were sent
	Message       string          // what the call would do
	Role          string          // who holds it may decide
	State         Status          // as it is stored
	CallID        string          // of the call that asked
	RequestedAt   time.Time
	ExpiresAt     time.Time // of the question, and of the answer
	DecidedAt     time.Time
	DecidedBy     string // for people: an address, or the name of a key
	Reason        string // of who decided
	Used          Used
	UsedCallID    string

	// Only read: how people know the requester, the app and the server.
	Email, ClientName, ServerSlug string
}

const (
	// MaxPending bounds how many questions of one person wait at a time.
	MaxPending = 20
	// MaxArguments is how many bytes of arguments can be shown to who decides.
	MaxArguments = 64 << 10
	// MaxUnused bounds the confirmations that one person has and does not use.
	MaxUnused = 50
	// KeptFor is how long an approval is kept.
	KeptFor = 30 * 24 * time.Hour
	// KnownFor is how long after its end a confirmation is told from one that
	// never was.
	KnownFor = time.Hour
	// LetterEvery is how often one person is told by mail of one tool.
	LetterEvery = time.Minute
)

// Status at a time.
func (a *Approval) Status(at time.Time) Status {
	if (a.State == Pending || a.State == Approved) && !at.Before(a.ExpiresAt) {
		return Expired
	}
	return a.State
}

// Outcome is what an approval says to a call that asks for it.
type Outcome int

const (
	Nothing Outcome = iota // it has expired or was used by another call: ask anew
	Waits                  // nobody has decided
	Asked                  // the same, and this call was the first to ask
	Refuses                // it was denied; a denial stands as long as the question would have
	Allows                 // this call may run
)

// For says what an approval means to a call of its subject.
func (a *Approval) For(u Use) Outcome {
	switch a.Status(u.At) {
	case Pending:
		return Waits
	case Approved:
		return Allows
	case Denied:
		if u.At.Before(a.ExpiresAt) {
			return Refuses
		}
	case Spent:
		if a.Used.again(u) {
			return Allows
		}
	}
	return Nothing
}

// Query narrows a list of approvals, which is newest first. Zero values narrow
// nothing but for Visible.
type Query struct {
	Status   Status
	Server   string // slug
	Tool     string
	At       time.Time // what tells expired from pending
	BeforeAt time.Time // zero: from the newest
	BeforeID string
	Limit    int
	Visible  Visible
}

// Visible says whose approvals are seen.
type Visible struct {
	All   bool
	User  tenants.UserID // those that this person asked for
	Roles []string       // and those that holders of these may decide
}

// Shows reports whether an approval is seen.
func (v Visible) Shows(a *Approval) bool {
	return v.All || v.User != "" && a.User == v.User || slices.Contains(v.Roles, a.Role)
}

// Store keeps both, inside a tenant. Unknown things are fault.NotFound.
type Store interface {
	// CreateConfirmation drops the person's oldest unused ones beyond MaxUnused.
	CreateConfirmation(ctx context.Context, t tenants.ID, c Confirmation) error
	// UseConfirmation spends one by Confirmation.Spend; of many calls at once
	// that differ, one succeeds.
	UseConfirmation(ctx context.Context, t tenants.ID, token Hash, s Subject, grant string, u Use) (Confirmation, error)
	// DropConfirmation forgets one that was not used; an unknown one is no error.
	DropConfirmation(ctx context.Context, t tenants.ID, token Hash, by tenants.UserID) error

	// AskApproval finds the newest approval of the subject that a has, and
	// spends it on the call where it allows it; where there is none that means
	// anything, it stores a. Of many calls at once, one asks. fault.LimitReached:
	// MaxPending of the person wait already.
	AskApproval(ctx context.Context, t tenants.ID, a Approval, u Use) (Approval, Outcome, error)
	Approval(ctx context.Context, t tenants.ID, id string) (Approval, error)
	Approvals(ctx context.Context, t tenants.ID, q Query) ([]Approval, error)
	// DecideApproval decides by Approval.Decide. That a person holds the role is
	// looked up in the same transaction.
	DecideApproval(ctx context.Context, t tenants.ID, id string, d Decision) (Approval, error)
	// ApproversToTell are those who may decide and were not told of that tool
	// for LetterEvery; they count as told.
	ApproversToTell(ctx context.Context, t tenants.ID, a Approval, at time.Time) ([]tenants.User, error)
}
