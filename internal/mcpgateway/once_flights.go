package mcpgateway

import (
	"context"
	"errors"
	"sync"

	"latchkey/internal/deadline"
	"latchkey/internal/idempotency"
)

// flights are the calls with effects that this edge runs or waits for, by name.
type flights struct {
	mu     sync.Mutex
	flying map[flightName]*flight
}

// flight is one of them, and those that wait for it here.
type flight struct {
	request idempotency.Hash
	done    chan struct{}
	landed  landed // once done is closed

	// of its leader, before anybody else can see it
	call, tool string

	// guarded by flights.mu
	wanted int // callers that still want its outcome
	cancel context.CancelCauseFunc
}

// join finds the flight of a name. The first one makes it, and must land it.
func (fs *flights) join(n flightName, request idempotency.Hash, c *call) (f *flight, first bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f = fs.flying[n]; f == nil {
		f, first = &flight{request: request, done: make(chan struct{}), call: c.id, tool: c.name}, true
		if fs.flying == nil {
			fs.flying = map[flightName]*flight{}
		}
		fs.flying[n] = f
	}
	f.wanted++
	return f, first
}

// land gives the outcome to all that wait.
func (fs *flights) land(n flightName, f *flight, l landed) {
	fs.mu.Lock()
	delete(fs.flying, n)
	fs.mu.Unlock()
	f.landed = l
	close(f.done)
}

// leave is for one that waits no more. When nobody does, the call is cancelled.
func (fs *flights) leave(f *flight, cause error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.wanted--; f.wanted == 0 && f.cancel != nil {
		f.cancel(cause)
	}
}

// detach is the context that a call runs in: it has the deadline of its first
// caller, and is cancelled when nobody wants its outcome any more.
func (fs *flights) detach(ctx context.Context, f *flight, moves *deadline.Deadline) (own context.Context, release func()) {
	own, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := func() {}
	if moves != nil {
		own, stop = moves.With(own)
	} else if d, ok := ctx.Deadline(); ok {
		own, stop = context.WithDeadline(own, d)
	}
	fs.mu.Lock()
	f.cancel = end
	fs.mu.Unlock()
	gone := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) { // else its time is over, and so is the call's
			fs.leave(f, context.Cause(ctx))
		}
	})
	return own, func() { gone(); stop(); end(nil) }
}
