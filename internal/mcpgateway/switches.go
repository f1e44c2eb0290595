package mcpgateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// Switches says what is switched off of a tenant, or of tenants.Platform. It is
// asked twice for each call, so it must answer from memory, and never with what
// it may have missed a change of.
type Switches interface {
	Off(ctx context.Context, t tenants.ID) (*switches.Set, error)
}

type nothingOff struct{}

func (nothingOff) Off(context.Context, tenants.ID) (*switches.Set, error) { return nil, nil }

// off is the part of step 3 that refuses what is switched off. The clock is
// looked at here, so that a switch ends to the moment.
func (g *Gateway) off(ctx context.Context, c *call) error {
	sets, err := g.switchesFor(ctx, c.ex.tenant.ID)
	if err != nil {
		return err
	}
	by, off := sets.find((*switches.Set).Of, time.Now(), c.switchable()...)
	if !off {
		return nil
	}
	c.note(audit.NoteSwitch, by.Target.String())
	return by.Refusal(c.ex.tenant.Name)
}

// switchable is what a switch may be about of the call: of a toolset's tool, the
// toolset and the server that has the tool, by the name that it has at each.
func (c *call) switchable() []switches.Call {
	s := c.ex.switchable()
	if c.op == runtime.CallTool {
		s.Tool = c.called()
	}
	if c.via == nil {
		return []switches.Call{s}
	}
	at := s
	at.Server, at.Tool = c.host().Server.Slug, c.name
	return []switches.Call{s, at}
}

func (ex *exchange) switchable() switches.Call {
	return switches.Call{Server: ex.hosted.Server.Slug, Member: ex.principal.User, Client: ex.principal.Client}
}

// switchSets are the platform's and one tenant's.
type switchSets [2]*switches.Set

func (g *Gateway) switchesFor(ctx context.Context, t tenants.ID) (s switchSets, err error) {
	if s[0], err = g.cfg.Switches.Off(ctx, tenants.Platform); err != nil {
		return s, err
	}
	s[1], err = g.cfg.Switches.Off(ctx, t)
	return s, err
}

func (s switchSets) find(in func(*switches.Set, switches.Call, time.Time) (switches.Switch, bool), now time.Time, about ...switches.Call) (switches.Switch, bool) {
	for _, set := range s {
		for _, c := range about {
			if w, ok := in(set, c, now); ok {
				return w, true
			}
		}
	}
	return switches.Switch{}, false
}

// running are the calls that are under way on this edge.
type running struct {
	mu    sync.Mutex
	calls map[*call]context.CancelCauseFunc
}

// begin lets a kill switch reach the call until end. It comes before the look at
// the switches: so a call either sees one or is there to be stopped by it.
func (g *Gateway) begin(ctx context.Context, c *call) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.cancel = cancel
	g.running.mu.Lock()
	g.running.calls[c] = cancel
	g.running.mu.Unlock()
	return ctx, func() {
		g.running.mu.Lock()
		delete(g.running.calls, c)
		g.running.mu.Unlock()
		cancel(nil)
	}
}

// StopSwitchedOff cancels the calls that run and are of a switch that cancels
// running calls. It is to be called after each change of a switch, and after
// changes may have been missed.
func (g *Gateway) StopSwitchedOff(ctx context.Context) error {
	type at struct {
		of     []switches.Call
		cancel context.CancelCauseFunc
	}
	byTenant := map[tenants.ID][]at{}
	g.running.mu.Lock()
	for c, cancel := range g.running.calls {
		byTenant[c.ex.tenant.ID] = append(byTenant[c.ex.tenant.ID], at{c.switchable(), cancel})
	}
	g.running.mu.Unlock()
	var errs []error
	for t, calls := range byTenant {
		sets, err := g.switchesFor(ctx, t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, a := range calls {
			if by, ok := sets.find((*switches.Set).Cancels, time.Now(), a.of...); ok {
				a.cancel(stopped{by})
			}
		}
	}
	return errors.Join(errs...)
}

// stopped is why a call's context ended.
type stopped struct{ by switches.Switch }

func (s stopped) Error() string { return "stopped by a kill switch: " + s.by.Target.String() }

// stop says how a call ended that a switch has stopped: nil if none has, or if
// it ended by itself. A call with effects that a worker has, or may have, is
// unknown. It is not for use while a worker has the call.
func (c *call) stop(ctx context.Context, f *fault.Error) *fault.Error {
	var s stopped
	if !errors.As(context.Cause(ctx), &s) {
		return nil
	}
	switch f.Code {
	case fault.Cancelled, fault.Busy, fault.NoWorker, fault.WorkerLost, fault.OutcomeUnknown:
	default:
		return nil
	}
	c.note(audit.NoteSwitch, s.by.Target.String())
	unknown := c.risk != registry.Reads && (c.outcome.Started || c.repeat)
	return s.by.Stopped(c.ex.tenant.Name, c.called(), unknown).Because(f)
}

// stopBeforeDispatch is stop for a call that no worker was handed: whatever step
// it was in, it is refused as what is off.
func (c *call) stopBeforeDispatch(ctx context.Context, refusal error) error {
	var s stopped
	if !errors.As(context.Cause(ctx), &s) {
		return refusal
	}
	c.note(audit.NoteSwitch, s.by.Target.String())
	return s.by.Refusal(c.ex.tenant.Name).Because(refusal)
}
