// Package operations does work that outlives the process which began it, such
// as deleting a tenant: it claims what is stored, runs it, and tries again.
//
// It owns leases and patience. What an operation does belongs to its Kind, and
// it is queued by the store in the transaction of the change that asks for it.
package operations

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Kind is one sort of operation. Run may be called again for an operation that
// was interrupted anywhere, so it goes on from whatever is there; when nothing
// is left to do it returns nil. Its context ends when somebody else has the
// operation.
//
// An error whose category is validation or access cannot be mended by waiting:
// the operation fails for good. Any other is tried again.
type Kind struct {
	Name string
	Run  func(ctx context.Context, op tenants.Operation) error
}

// Store is what a Runner asks of tenants.Operations.
type Store interface {
	ClaimOperation(ctx context.Context, kinds []string, lease time.Duration) (op tenants.Operation, ok bool, err error)
	KeepOperation(ctx context.Context, op tenants.Operation, lease time.Duration) error
	RetryOperation(ctx context.Context, op tenants.Operation, reason string, after time.Duration) error
	FinishOperation(ctx context.Context, op tenants.Operation, reason string) error
}

const (
	// lease is how long nobody else takes an operation whose runner is silent:
	// what a kill -9 costs.
	lease = 30 * time.Second
	// poll is how often a runner looks by itself; Wake makes it look at once.
	poll = 2 * time.Second
	// maxAttempts, with the waits between, gives up after about a day.
	maxAttempts = 100
	maxWait     = 15 * time.Minute
)

// Runner runs operations, one at a time; each edge has one.
type Runner struct {
	store Store
	kinds map[string]Kind
	names []string
	log   *slog.Logger
	wake  chan struct{}
	lease time.Duration
}

// New makes a runner of these kinds. What is of another kind stays for a runner
// that knows it.
func New(store Store, log *slog.Logger, kinds ...Kind) *Runner {
	r := &Runner{store: store, kinds: map[string]Kind{}, log: log, wake: make(chan struct{}, 1), lease: lease}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	for _, k := range kinds {
		r.kinds[k.Name] = k
		r.names = append(r.names, k.Name)
	}
	slices.Sort(r.names)
	return r
}

// Wake makes the runner look now: something was queued.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. An operation under way is then interrupted and
// given back.
func (r *Runner) Run(ctx context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		for ctx.Err() == nil {
			worked, err := r.next(ctx)
			if err != nil && ctx.Err() == nil {
				r.log.ErrorContext(ctx, "operations", "error", err)
			}
			if err != nil || !worked {
				break
			}
		}
		select {
		case <-r.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// next does one operation that is due, if there is one.
func (r *Runner) next(ctx context.Context) (worked bool, err error) {
	op, ok, err := r.store.ClaimOperation(ctx, r.names, r.lease)
	if err != nil || !ok {
		return false, err
	}
	began := time.Now()
	failure := r.run(ctx, op)
	// What is known is written also while this process ends.
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	f := fault.Of(failure)
	log := r.log.With("operation", op.ID, "kind", op.Kind, "tenant", op.Tenant, "attempt", op.Attempts, "took", time.Since(began))
	switch {
	case failure == nil:
		log.InfoContext(ctx, "operation done")
		err = r.store.FinishOperation(noting, op, "")
	case ctx.Err() != nil:
		log.InfoContext(ctx, "operation interrupted")
		err = r.store.RetryOperation(noting, op, op.Error, 0)
	case f.Code.Category == fault.Validation || f.Code.Category == fault.Access || op.Attempts >= maxAttempts:
		log.ErrorContext(ctx, "operation failed", "error", failure)
		err = r.store.FinishOperation(noting, op, f.Message)
	default:
		log.WarnContext(ctx, "operation to be tried again", "error", failure, "after", wait(op.Attempts))
		err = r.store.RetryOperation(noting, op, f.Message, wait(op.Attempts))
		time.AfterFunc(wait(op.Attempts), r.Wake)
	}
	if fault.HasCode(err, fault.Conflict) {
		log.WarnContext(ctx, "operation was taken over") // and is somebody else's to end
		err = nil
	}
	return true, err
}

// wait doubles from a second to maxWait.
func wait(attempts int) time.Duration {
	return min(time.Second<<min(attempts-1, 20), maxWait)
}

// run calls the kind, and keeps the lease while it works.
func (r *Runner) run(ctx context.Context, op tenants.Operation) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer cancel()
	keeping.Go(func() {
		tick := time.NewTicker(r.lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if err := r.store.KeepOperation(ctx, op, r.lease); fault.HasCode(err, fault.Conflict) {
				cancel()
				return
			}
		}
	})
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Unexpected, "The platform stumbled over this. It is tried again.")
			r.log.ErrorContext(ctx, "operation panicked", "operation", op.ID, "panic", p)
		}
	}()
	return r.kinds[op.Kind].Run(ctx, op)
}

// Hosting is what DeleteTenant asks of a store.
type Hosting interface {
	DeleteTenant(ctx context.Context, t tenants.ID) error
}

// Credentials is where a tenant's secrets are.
type Credentials interface {
	DeleteTenant(ctx context.Context, t tenants.ID) error
}

// DeleteTenant removes what a tenant has at Vault, then its rows: as long as
// there are rows, somebody can see what is still to be removed.
func DeleteTenant(credentials Credentials, store Hosting) Kind {
	return Kind{Name: tenants.DeleteTenantOperation, Run: func(ctx context.Context, op tenants.Operation) error {
		if err := credentials.DeleteTenant(ctx, op.Tenant); err != nil {
			return err
		}
		return store.DeleteTenant(ctx, op.Tenant)
	}}
}
