package postgres_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/tenants"
)

// Two edges, many callers each: one at a time, and none is stuck because the
// pool only holds those that wait.
func TestExclusiveIsOneAtATime(t *testing.T) {
	urls := postgrestest.Database(t)
	a, b := postgrestest.Open(t, urls.App), postgrestest.Open(t, urls.App)
	one, other := tenants.NewID(), tenants.NewID()
	var in, most, done atomic.Int32
	var all sync.WaitGroup
	for i := range 60 {
		db := a
		if i%2 == 1 {
			db = b
		}
		all.Go(func() {
			err := db.Exclusive(t.Context(), one, func(ctx context.Context) error {
				n := in.Add(1)
				defer in.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				// Work under the lock needs connections of its own.
				if _, err := db.Tenants(ctx); err != nil {
					return err
				}
				return db.Exclusive(ctx, one, func(context.Context) error { done.Add(1); return nil })
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() != 1 || done.Load() != 60 {
		t.Errorf("%d at once, %d done", most.Load(), done.Load())
	}
	// Another tenant does not wait, and an error comes through.
	err := a.Exclusive(t.Context(), one, func(context.Context) error {
		return b.Exclusive(t.Context(), other, func(context.Context) error { return errExample })
	})
	if !errors.Is(err, errExample) {
		t.Error(err)
	}
	if err := a.Exclusive(t.Context(), "no tenant", func(context.Context) error { t.Error("ran"); return nil }); err == nil {
		t.Error("ran without a tenant")
	}
}

var errExample = errors.New("example")
