package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// dispatch is step 9: a grant for this one call, signed here and traded by the
// worker at Vault, and the call itself.
func (g *Gateway) dispatch(ctx context.Context, c *call) (*runtime.Result, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = c.began.Add(c.timeout)
	}
	if err := c.stopBeforeDispatch(ctx, nil); err != nil {
		return nil, err
	}
	h := c.host()
	opening := OpeningOf(h.Server, c.revision)
	hash := g.servers.openHash(*h, c.revision)
	grant, err := g.grant(c, hash, deadline)
	if err != nil {
		return nil, err
	}
	o := DispatchOptions{Pool: h.Server.Pool, Repeatable: c.repeat && c.attempt == 0, Progress: c.progress, Notify: c.notify, Home: g.HomeOf(h.Server, c.ex.principal.User)}
	if c.put != nil {
		o.Ask = func(ctx context.Context, q runtime.Question) (json.RawMessage, error) { return g.ask(ctx, c, q) }
	}
	if c.ask != nil { // of a task
		o.Ask = c.ask
	}
	c.outcome, err = g.cfg.Dispatch.Dispatch(ctx, &runtime.Call{
		ID: c.workID(), Tenant: opening.Tenant, Server: opening.Server, Revision: opening.Revision, OpenHash: hash,
		Op: c.op, Name: c.name, Rule: c.rule, Input: c.input, Access: c.runsWith(),
		Caller:         runtime.Caller{User: c.caller.ID, Email: c.caller.Email, Name: c.caller.Name, Roles: c.caller.Roles, Client: c.ex.principal.Client},
		IdempotencyKey: c.key, Traceparent: c.trace, LogLevel: c.logLevel, Asks: c.can.capabilities(), Deadline: deadline, Grant: grant,
	}, o)
	c.noteQuestions()
	if err != nil {
		if f := fault.Of(err); f.Code == fault.Cancelled && context.Cause(ctx) == errUnanswered {
			err = g.unanswered(c).Because(err)
		}
		return nil, g.explain(ctx, c, err)
	}
	if res := c.outcome.Result; res != nil {
		c.restarted = g.processes.another(keyOf(c.ex, h.Server.ID), res.Process)
	}
	return g.guarded(ctx, c, c.outcome.Result)
}

// HomeOf is where calls of a server run together, of one person where each has
// their own; empty where it makes no difference. Probes and listeners of a server
// belong there too.
func (g *Gateway) HomeOf(s registry.Server, user tenants.UserID) string {
	switch {
	case !g.traits(s.Kind).stateful:
		return ""
	case s.PerUser:
		return string(s.ID) + "/" + string(user)
	}
	return string(s.ID)
}

// workID is the call's id at workers, and that of its grant: each run of a task
// has one of its own, because both are good once.
func (c *call) workID() string {
	if c.attempt <= 1 {
		return c.id
	}
	return fmt.Sprintf("%s-%d", c.id, c.attempt)
}

// grant signs what the worker gets the call's credential for. A server without
// a connection has none at Vault, so that a grant could only be stolen: its
// calls carry none, and a worker that asks for a credential all the same is
// refused.
func (g *Gateway) grant(c *call, openHash string, deadline time.Time) (secret.Text, error) {
	s := c.host().Server
	if c := string(s.Connection); (c == "" || c == "{}") && !s.PerUser {
		return "", nil
	}
	return g.cfg.Signer.Sign(vault.Grant{
		Tenant: c.ex.tenant.ID, Server: s.ID, Revision: c.revision.ID, Tool: c.name,
		Access: c.runsWith(), User: c.ex.principal.User, CallID: c.workID(), OpenHash: openHash, Rule: c.rule, Deadline: deadline,
	})
}

// explain makes an unclear end of a call with effects say so, and one by a kill
// switch by what.
func (g *Gateway) explain(ctx context.Context, c *call, err error) error {
	f := fault.Of(err)
	if s := c.stop(ctx, f); s != nil {
		return s
	}
	if told := g.refusedUpstream(ctx, c, f); told != f {
		return told
	}
	if !c.repeat && c.outcome.Started && unclear(f) {
		return fault.New(fault.OutcomeUnknown, "%s It is not known whether %s took effect: check before you repeat it.", f.Message, c.called()).Because(err)
	}
	if c.repeat && c.risk != registry.Reads && c.outcome.Started && !unclear(f) {
		// An attempt before the last one may have had effects: "nothing was done"
		// is not so any more.
		return fault.New(fault.WorkerLost, "The worker that had this call was lost, and no other could take it in time. It may have taken effect: a repeat with the same arguments and key is recognized and changes nothing more. Call again in a few seconds.").After(2 * time.Second).Because(err)
	}
	if f.RetryAfter == 0 && f.Code.Category == fault.Downstream && f.Code != fault.OutcomeUnknown {
		return f.After(2 * time.Second)
	}
	return err
}
