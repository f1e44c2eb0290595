package sandbox

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	firstTry = 20 * time.Second // what a worker's start waits for at most
	laterTry = time.Minute
	rarely   = 5 * time.Minute // between tries, in the end
)

// Kept is a driver that runs nothing until it was seen to hold. A machine that
// was too busy to show it, or that an operator mends, is tried again: nobody
// has to start the worker anew.
type Kept struct{ held atomic.Pointer[Driver] }

// Keep tries a driver out, and goes on in the background until it holds or ctx
// is done. What came of each try is told, from one goroutine at a time. Where
// the sandbox is switched off it is tried once.
func Keep(ctx context.Context, o Options, tell func(Driver, Guarantees, error)) *Kept {
	k := &Kept{}
	if k.try(ctx, o, firstTry, tell) {
		return k
	}
	go func() {
		for wait := o.Again; ; wait = min(2*wait, rarely) {
			if wait == 0 {
				wait = 5 * time.Second
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if k.try(ctx, o, laterTry, tell) {
				return
			}
		}
	}()
	return k
}

// try reports whether no other one is needed.
func (k *Kept) try(ctx context.Context, o Options, most time.Duration, tell func(Driver, Guarantees, error)) bool {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	d, g, err := Ready(bounded, o)
	if ctx.Err() != nil {
		return true
	}
	if err == nil {
		k.held.Store(&d)
	}
	tell(d, g, err)
	return err == nil || errors.Is(err, ErrOff)
}

// ErrNotHeld is that a driver was not seen to hold yet.
var ErrNotHeld = errors.New("no sandbox holds on this machine so far")

// Name implements Driver. It is empty as long as nothing holds.
func (k *Kept) Name() string {
	if d := k.held.Load(); d != nil {
		return (*d).Name()
	}
	return ""
}

// Probe implements Driver.
func (k *Kept) Probe(ctx context.Context) (Guarantees, error) {
	if d := k.held.Load(); d != nil {
		return (*d).Probe(ctx)
	}
	return Guarantees{}, ErrNotHeld
}

// Start implements Driver.
func (k *Kept) Start(ctx context.Context, s Spec) (Process, error) {
	if d := k.held.Load(); d != nil {
		return (*d).Start(ctx, s)
	}
	return nil, ErrNotHeld
}
