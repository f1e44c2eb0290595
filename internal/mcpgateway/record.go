package mcpgateway

import (
	"context"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// recordGrace is how long a record may take once the call itself is over: its
// deadline must not lose the record.
const recordGrace = 6 * time.Second

func (c *call) event(phase audit.Phase, state audit.State) audit.Event {
	s, p := c.host().Server, c.ex.principal
	e := audit.Event{
		Tenant: c.ex.tenant.ID, At: time.Now(), CallID: c.id, Phase: phase, State: state, Allowed: true,
		User: p.User, Client: p.Client, Grant: p.Grant, Session: c.ex.session,
		ServerID: s.ID, Server: s.Slug, Revision: c.revision.ID,
		Method: string(c.op), Tool: c.name, DefinitionHash: c.hash, Scope: c.scope,
		Arguments: audit.Summarize(c.input), Latency: time.Since(c.began), Notes: c.notes,
	}
	if c.risk != registry.Reads {
		e.IdempotencyKey = c.key
	}
	if c.trace != "" {
		e.TraceID = c.trace[3:35]
	}
	return e
}

func failed(e *audit.Event, f *fault.Error) {
	e.Category, e.Code, e.Reason = string(f.Code.Category), f.Code.Name, f.Message
}

// add commits a record. Its caller may be gone by now; the record is not lost
// for that.
func (g *Gateway) add(ctx context.Context, e audit.Event) error {
	if e.Phase != audit.Intent {
		g.cfg.Observe(Observation{e})
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordGrace)
	defer cancel()
	return g.cfg.Audit.Add(ctx, e)
}

// recordRefusal puts a refusal on record and returns it, or the store's error:
// a refusal that cannot be recorded fails closed like any call.
func (g *Gateway) recordRefusal(ctx context.Context, c *call, refusal error) error {
	refusal = c.stopBeforeDispatch(ctx, refusal)
	e := c.event(audit.Refusal, audit.Refused)
	e.Allowed = false
	f := fault.Of(refusal)
	failed(&e, f)
	if f.Code.Category == fault.Internal {
		g.cfg.Log.ErrorContext(ctx, "call failed before dispatch", "call", c.id, "error", refusal)
	}
	if err := g.add(ctx, e); err != nil {
		c.ex.missing.Store(nil)
		return err
	}
	return refusal
}

// recordIntent is step 8. Only calls with effects have one: nothing that reads
// can be left half done.
func (g *Gateway) recordIntent(ctx context.Context, c *call) error {
	if c.risk == registry.Reads {
		return nil
	}
	return g.add(ctx, c.event(audit.Intent, audit.Pending))
}

// recordOutcome is step 14: the outcome is committed before the reply. An
// outcome that cannot be recorded is not told as a success: of a read, nothing
// is given out; of a call with effects, the truth is that it is not known to
// anyone who looks at the record, and the intent stands.
func (g *Gateway) recordOutcome(ctx context.Context, c *call, res *runtime.Result, callErr error) (*runtime.Result, error) {
	e := c.ended(res, callErr)
	if c.op == runtime.Complete && e.State == audit.Done && g.typed.counted(e) {
		g.cfg.Observe(Observation{e})
		return res, callErr
	}
	if err := g.add(ctx, e); err != nil {
		if c.risk != registry.Reads && (callErr == nil || c.outcome.Started || fault.HasCode(callErr, fault.ResultTooLarge)) {
			return nil, fault.New(fault.OutcomeUnknown, "The call was run, but its outcome could not be recorded. Check whether it took effect before you repeat it.").Because(err)
		}
		return nil, err
	}
	return res, callErr
}

// ended is the record of an outcome.
func (c *call) ended(res *runtime.Result, callErr error) audit.Event {
	e := c.event(audit.Outcome, audit.Done)
	e.Worker = c.outcome.Worker
	if callErr == nil {
		answered(&e, res)
		return e
	}
	f := fault.Of(callErr)
	e.State = audit.Failed
	if c.risk != registry.Reads && (f.Code == fault.OutcomeUnknown || unclear(f) && c.outcome.Started) {
		e.State = audit.Unknown
	}
	failed(&e, f)
	return e
}

// answered adds what a result says to the record of an outcome.
func answered(e *audit.Event, res *runtime.Result) {
	e.LeaseID = res.LeaseID
	e.ResultBytes = resultBytes(res)
	if res.Tool != nil && res.Tool.IsError {
		e.State, e.Category, e.Code, e.Reason = audit.Failed, string(fault.Downstream), fault.ToolFailed.Name, "The tool reported a failure."
	}
}

// unclear are the faults after which a call that had started may have taken
// effect although nobody said so.
func unclear(f *fault.Error) bool {
	switch f.Code {
	case fault.WorkerLost, fault.DeadlineExceeded, fault.Cancelled, fault.Unexpected, fault.Conflict:
		return true
	}
	return false
}
