package mcpgateway

import (
	"context"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
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
	h := c.ex.hosted
	opening := OpeningOf(h.Server, c.revision)
	hash := g.servers.openHash(h, c.revision)
	grant, err := g.grant(c, hash, deadline)
	if err != nil {
		return nil, err
	}
	c.outcome, err = g.cfg.Dispatch.Dispatch(ctx, &runtime.Call{
		ID: c.id, Tenant: opening.Tenant, Server: opening.Server, Revision: opening.Revision, OpenHash: hash,
		Op: c.op, Name: c.name, Rule: c.rule, Input: c.input, Access: c.runsWith(),
		Caller:         runtime.Caller{User: c.caller.ID, Email: c.caller.Email, Name: c.caller.Name, Roles: c.caller.Roles, Client: c.ex.principal.Client},
		IdempotencyKey: c.key, Traceparent: c.trace, Deadline: deadline, Grant: grant,
	}, DispatchOptions{Pool: h.Server.Pool, Repeatable: c.repeat, Progress: c.progress})
	if err != nil {
		return nil, explain(ctx, c, err)
	}
	return g.guarded(ctx, c, c.outcome.Result)
}

// grant signs what the worker gets the call's credential for. A server without
// a connection has none at Vault, so that a grant could only be stolen: its
// calls carry none, and a worker that asks for a credential all the same is
// refused.
func (g *Gateway) grant(c *call, openHash string, deadline time.Time) (secret.Text, error) {
	s := c.ex.hosted.Server
	if c := string(s.Connection); (c == "" || c == "{}") && !s.PerUser {
		return "", nil
	}
	return g.cfg.Signer.Sign(vault.Grant{
		Tenant: c.ex.tenant.ID, Server: s.ID, Revision: c.revision.ID, Tool: c.name,
		Access: c.runsWith(), User: c.ex.principal.User, CallID: c.id, OpenHash: openHash, Rule: c.rule, Deadline: deadline,
	})
}

// explain makes an unclear end of a call with effects say so, and one by a kill
// switch by what.
func explain(ctx context.Context, c *call, err error) error {
	f := fault.Of(err)
	if s := c.stop(ctx, f); s != nil {
		return s
	}
	if !c.repeat && c.outcome.Started && unclear(f) {
		return fault.New(fault.OutcomeUnknown, "%s It is not known whether %s took effect: check before you repeat it.", f.Message, c.name).Because(err)
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
