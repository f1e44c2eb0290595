package tenants

import (
	"context"
	"time"
)

// OperationState of long work.
type OperationState string

const (
	OperationQueued  OperationState = "queued" // also between two tries
	OperationRunning OperationState = "running"
	OperationDone    OperationState = "done"
	OperationFailed  OperationState = "failed" // for good
)

// The kinds of operation.
const (
	DeleteTenantOperation = "delete_tenant"
	DeleteServerOperation = "delete_server"
)

// Operation is work that outlives the process that began it: it is stored with
// the change that asks for it, and done by whichever edge claims it.
type Operation struct {
	ID         string // `op` and 90 random bits
	Tenant     ID     // may be gone
	TenantSlug string
	Kind       string
	Target     string // the id of what it is about
	Name       string // the same for people
	State      OperationState
	Attempts   int
	Error      string // of the last try, for people
	CreatedBy  string
	CreatedAt  time.Time
	StartedAt  time.Time // zero: not yet
	FinishedAt time.Time // zero: not yet
}

// Operations is the part of a store that keeps operations.
type Operations interface {
	// Operations lists a tenant's, newest first; from the newest where before
	// is zero.
	Operations(ctx context.Context, t ID, beforeAt time.Time, beforeID string, limit int) ([]Operation, error)
	Operation(ctx context.Context, t ID, id string) (Operation, error)
	// PlatformOperation finds one of any tenant, also of one that is gone.
	PlatformOperation(ctx context.Context, id string) (Operation, error)

	// ClaimOperation takes the next that is due, or whose runner let its lease
	// run out. Of several that ask at once each gets another one.
	ClaimOperation(ctx context.Context, kinds []string, lease time.Duration) (op Operation, ok bool, err error)
	// KeepOperation renews the lease. Like the two below it is
	// fault.Conflict when somebody else has the operation by now.
	KeepOperation(ctx context.Context, op Operation, lease time.Duration) error
	// RetryOperation gives it back, to be tried after a while.
	RetryOperation(ctx context.Context, op Operation, reason string, after time.Duration) error
	// FinishOperation ends it, as done where the reason is empty.
	FinishOperation(ctx context.Context, op Operation, reason string) error
}
