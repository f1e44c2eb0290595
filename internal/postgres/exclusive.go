package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

const (
	// exclusiveWait is how long a change waits for the one before it.
	exclusiveWait = 15 * time.Second
	// maxExclusive bounds how many of the pool's connections only hold a lock:
	// what is done under it needs others.
	maxExclusive = 6
)

// exclusives is who changes which tenant in this process. Only the first in
// line takes a connection.
type exclusives struct {
	mu    sync.Mutex
	lines map[tenants.ID]*line
	slots chan struct{}
}

type line struct {
	turn chan struct{} // holds one token
	in   int
}

type exclusiveKey struct{}

// Exclusive runs fn while no other change of the tenant runs, on any edge: what
// is read, decided and written inside cannot be overtaken. Inside of fn, using
// its context, Exclusive of the same tenant runs at once. What waits too long is
// fault.Busy, and nothing was done.
//
// fn is not one transaction: what it did before it fails stays.
func (db *DB) Exclusive(ctx context.Context, t tenants.ID, fn func(ctx context.Context) error) error {
	if ctx.Value(exclusiveKey{}) == t {
		return fn(ctx)
	}
	if _, err := tenants.ParseID(string(t)); err != nil {
		return fault.New(fault.Unexpected, "A tenant is missing here.").Because(err)
	}
	waiting, cancel := context.WithTimeout(ctx, exclusiveWait)
	defer cancel()
	leave, err := db.exclusive.enter(waiting, t)
	if err != nil {
		return err
	}
	defer leave()
	tx, err := db.open(waiting, "BEGIN")
	if err != nil {
		return away(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		tx.Rollback(ctx)
	}()
	if err := lockTenant(waiting, tx, t); err != nil {
		return err
	}
	return fn(context.WithValue(ctx, exclusiveKey{}, t))
}

func (e *exclusives) enter(ctx context.Context, t tenants.ID) (leave func(), err error) {
	e.mu.Lock()
	l := e.lines[t]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		l.turn <- struct{}{}
		e.lines[t] = l
	}
	l.in++
	e.mu.Unlock()
	out := func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if l.in--; l.in == 0 {
			delete(e.lines, t)
		}
	}
	select {
	case <-l.turn:
	case <-ctx.Done():
		out()
		return nil, busy(ctx.Err())
	}
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		l.turn <- struct{}{}
		out()
		return nil, busy(ctx.Err())
	}
	return func() {
		<-e.slots
		l.turn <- struct{}{}
		out()
	}, nil
}

// lockTenant takes the tenant's advisory lock for the transaction, whose
// session is idle while the work is done on others.
func lockTenant(ctx context.Context, tx pgx.Tx, t tenants.ID) error {
	_, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', '15s', true), set_config('idle_in_transaction_session_timeout', '10min', true)`)
	if err == nil {
		_, err = tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('latchkey.change:' || $1, 0))`, string(t))
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55P03" || ctx.Err() != nil {
		return busy(err)
	}
	return translate(err)
}

func busy(cause error) error {
	return fault.New(fault.Busy, "Somebody else is changing this tenant at the moment, and nothing was changed here. Try again in a few seconds.").After(3 * time.Second).Because(cause)
}
