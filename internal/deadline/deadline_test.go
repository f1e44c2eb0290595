package deadline

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func ended(ctx context.Context) bool {
	synctest.Wait()
	return ctx.Err() != nil
}

func TestTimeStandsStillWhileItIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		d := New(start.Add(time.Minute), time.Hour)
		ctx, cancel := d.With(t.Context())
		defer cancel()
		child, stop := context.WithCancel(ctx)
		defer stop()
		time.Sleep(50 * time.Second)
		release, other := d.Hold(), d.Hold()
		time.Sleep(10 * time.Minute)
		release()
		release()
		time.Sleep(10 * time.Minute)
		if ended(ctx) {
			t.Fatal("it ended while it was held")
		}
		if at, _ := ctx.Deadline(); !at.Equal(start.Add(61 * time.Minute)) {
			t.Errorf("while it is held it ends at the latest after %v", at.Sub(start))
		}
		other()
		if at, _ := ctx.Deadline(); !at.Equal(start.Add(21 * time.Minute)) {
			t.Errorf("it ends after %v", at.Sub(start))
		}
		time.Sleep(9 * time.Second)
		if ended(child) {
			t.Error("it ended before the ten seconds that were left")
		}
		time.Sleep(time.Second)
		if !ended(child) || !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Errorf("ended with %v, and what was made of it with %v", ctx.Err(), child.Err())
		}
	})
}

func TestTimeIsPutOffNoFurtherThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		d := New(start.Add(time.Second), time.Minute)
		ctx, cancel := d.With(t.Context())
		defer cancel()
		for range 3 { // each takes of the one minute
			release := d.Hold()
			time.Sleep(19 * time.Second)
			release()
		}
		release := d.Hold()
		defer release()
		<-ctx.Done()
		if took := time.Since(start); took != 61*time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("ended after %v with %v", took, ctx.Err())
		}
	})
}

func TestContextEndsWithItsParentAndItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("switched off")
		parent, end := context.WithCancelCause(t.Context())
		d := New(time.Now().Add(time.Minute), time.Minute)
		ctx, cancel := d.With(parent)
		defer cancel()
		child, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		ran := make(chan struct{})
		context.AfterFunc(ctx, func() { close(ran) })
		undone := context.AfterFunc(ctx, func() { t.Error("what was taken back ran") })
		if !undone() || undone() {
			t.Error("it could be taken back other than once")
		}
		end(why)
		<-ran
		if !ended(child) || !errors.Is(ctx.Err(), context.Canceled) || context.Cause(ctx) != why || context.Cause(child) != why {
			t.Errorf("ended with %v for %v; what was made of it with %v for %v", ctx.Err(), context.Cause(ctx), child.Err(), context.Cause(child))
		}
	})
}

func TestCancelledContextLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(time.Now().Add(time.Minute), time.Minute)
		ctx, cancel := d.With(t.Context())
		other, cancelOther := d.With(t.Context())
		cancel()
		cancel()
		if !errors.Is(ctx.Err(), context.Canceled) || ended(other) || len(d.contexts) != 1 {
			t.Errorf("%v, the other %v; %d are kept", ctx.Err(), other.Err(), len(d.contexts))
		}
		cancelOther()
		if len(d.contexts) != 0 {
			t.Error("a context that ended is kept")
		}
		late, cancelLate := d.With(ctx)
		defer cancelLate()
		if !ended(late) {
			t.Error("a context of one that has ended goes on")
		}
	})
}
