package mcpgateway

import (
	"context"
	"encoding/json"
	"time"

	"latchkey/internal/approvals"
	"latchkey/internal/audit"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// askAgain is after how long a call that waits for an approval may be made again.
const askAgain = 30 * time.Second

// approved asks for somebody else's word, or spends it. A call waits for it as
// long as the tool says and its caller does.
func (g *Gateway) approved(ctx context.Context, c *call, how *registry.Approval) error {
	if len(c.input) > approvals.MaxArguments {
		return fault.New(fault.InvalidArguments, "The arguments are longer than %d KB: whoever has to approve this call could not be shown them. Send less at once.", approvals.MaxArguments>>10)
	}
	waiting, cancel := context.WithTimeout(ctx, how.Wait)
	defer cancel()
	for told := false; ; told = true {
		a, outcome, err := g.askApproval(ctx, c, how)
		if err != nil {
			return err
		}
		c.note(audit.NoteApproval, a.ID)
		switch outcome {
		case approvals.Allows:
			if told { // while it waited, rights may have changed
				return g.allow(ctx, c)
			}
			return nil
		case approvals.Refuses:
			reason := ""
			if a.Reason != "" {
				reason = " The reason: " + oneLine(a.Reason, 500)
			}
			return fault.New(fault.ApprovalDenied, "%s has refused this call of %s (approval %s). Nothing was done, and a repeat is answered the same until %s.%s",
				oneLine(a.DecidedBy, 100), c.called(), a.ID, clock(a.ExpiresAt), reason)
		}
		if !g.awaitDecision(waiting, c, a, told) {
			return c.stillWaits(a)
		}
	}
}

// askApproval finds what was said of the call, or asks and tells those who may
// answer.
func (g *Gateway) askApproval(ctx context.Context, c *call, how *registry.Approval) (approvals.Approval, approvals.Outcome, error) {
	now := time.Now()
	p := c.ex.principal
	a, outcome, err := g.cfg.Approvals.AskApproval(ctx, c.ex.tenant.ID, approvals.Approval{
		ID: tenants.RandomID("ap"), Subject: c.subject(), Client: p.Client, Grant: p.Grant, Title: oneLine(c.tool.Title, 190), Risk: c.risk,
		Arguments: orObject(c.input), Message: wouldDo(c.tool, how.Message, c.input), Role: how.Role, CallID: c.id,
		RequestedAt: now, ExpiresAt: now.Add(how.ExpiresAfter()),
	}, c.use(now))
	if err == nil && outcome == approvals.Asked {
		h := c.host().Server
		g.cfg.Events.Raise(ctx, events.Event{
			Tenant: c.ex.tenant.ID, At: now, Kind: events.ApprovalRequested, Severity: events.Info,
			Detail: "A call of " + c.name + " waits for the approval of somebody with the role " + how.Role + ".",
			User:   p.User, Client: p.Client, ServerID: h.ID, Server: h.Slug, Tool: c.name, CallID: c.id,
		})
		g.letters.tell(c.ex.tenant, a)
	}
	return a, outcome, err
}

func orObject(arguments json.RawMessage) json.RawMessage {
	if len(arguments) == 0 {
		return json.RawMessage(`{}`)
	}
	return arguments
}

// awaitDecision waits until something may have been decided, and reports whether
// to look again. It looks once more after it began to listen, so that nothing
// falls in between.
func (g *Gateway) awaitDecision(waiting context.Context, c *call, a approvals.Approval, listened bool) bool {
	if waiting.Err() != nil || g.cfg.Decisions.Closed() {
		return false
	}
	woken, stop := g.cfg.Decisions.Wait(c.ex.tenant.ID, a.ID)
	defer stop()
	if !listened {
		c.progress(0, 0, "Waits for the approval of somebody with the role "+a.Role+".")
	}
	// The decision may have come before it listened.
	if now, err := g.cfg.Approvals.Approval(waiting, c.ex.tenant.ID, a.ID); err == nil && now.State != approvals.Pending {
		return true
	}
	select {
	case <-woken:
		return true
	case <-waiting.Done():
		return false
	}
}

// stillWaits is the answer to a call that nobody has approved yet.
func (c *call) stillWaits(a approvals.Approval) error {
	c.pending = &pending{
		Kind: "approval", Message: a.Message, Approval: a.ID, Role: a.Role, ExpiresAt: a.ExpiresAt.UTC(), Next: c.next(echoed(orObject(c.input))),
	}
	return fault.New(fault.ApprovalPending, "Nothing was done yet: somebody with the role %s has to approve this call of %s first (approval %s, until %s). Tell your person. Call again with the same arguments in %d s, or when it was approved.",
		a.Role, c.called(), a.ID, clock(a.ExpiresAt), int(askAgain.Seconds())).After(askAgain)
}

func clock(t time.Time) string { return t.UTC().Format("2 January 15:04 MST") }
