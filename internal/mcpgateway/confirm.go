package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"latchkey/internal/approvals"
	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// agree is step 6: who makes the call confirms it, or somebody else approves
// it, where the tool asks for that. An approved call needs no confirmation.
func (g *Gateway) agree(ctx context.Context, c *call) error {
	if c.tool == nil {
		return nil
	}
	s := &c.tool.Safety
	approval := s.Approval != nil && s.Approval.When.Holds(c.input)
	switch {
	case !approval && !s.Confirmation.Wanted(c.risk, c.input):
		return nil
	case g.cfg.Approvals == nil:
		return errors.New("a call has to be agreed to, and there is nowhere to keep that")
	case approval:
		return g.approved(ctx, c, s.Approval)
	}
	return g.confirmed(ctx, c, &s.Confirmation)
}

// subject is the call as somebody agrees to it.
func (c *call) subject() approvals.Subject {
	return approvals.Subject{User: c.ex.principal.User, Server: c.host().Server.ID, Tool: c.name, Definition: c.hash, Request: approvals.RequestHash(c.input)}
}

// use is the call as a word is spent on it. Calls that run once together spend
// it together: a repeat under the same key, and where the caller has none, the
// same bytes by the same app, which have the same key however step 7 makes one.
// A word is not good for longer than the repeat is recognised. What reads runs
// each time, and needs a word each time.
func (c *call) use(now time.Time) approvals.Use {
	u := approvals.Use{Call: c.id, At: now, Until: now.Add(c.safety().Idempotency.KeepFor())}
	switch {
	case c.risk == registry.Reads:
		u.Key, u.Until = approvals.HashOf("call "+c.id), now
	case c.givenKey == "":
		u.Key = approvals.HashOf("as sent " + c.ex.principal.Client + " " + c.ex.principal.Grant + " " + string(c.input))
	default:
		u.Key = approvals.HashOf("key " + c.givenKey)
	}
	return u
}

// confirmed asks who makes the call, or takes their word.
func (g *Gateway) confirmed(ctx context.Context, c *call, how *registry.Confirmation) error {
	t, now := c.ex.tenant.ID, time.Now()
	if c.declined {
		if token, ok := approvals.ParseToken(c.confirmation); ok {
			if err := g.cfg.Approvals.DropConfirmation(ctx, t, token, c.ex.principal.User); err != nil {
				return err
			}
		}
		return fault.New(fault.Declined, "Your person was asked whether to call %s and said no. Nothing was done. Ask them what they want instead.", c.called())
	}
	if c.confirmation != "" {
		token, ok := approvals.ParseToken(c.confirmation)
		if !ok {
			return approvals.ErrUnknown
		}
		word, err := g.cfg.Approvals.UseConfirmation(ctx, t, token, c.subject(), c.ex.principal.Grant, c.use(now))
		if fault.HasCode(err, fault.NotFound) {
			return approvals.ErrUnknown
		}
		if err == nil {
			c.note(audit.NoteConfirmation, word.ID)
		}
		return err
	}
	token, hash := approvals.NewToken()
	word := approvals.Confirmation{
		ID: tenants.RandomID("cn"), Token: hash, Subject: c.subject(), Grant: c.ex.principal.Grant, CreatedAt: now, ExpiresAt: now.Add(how.ExpiresAfter()),
	}
	if err := g.cfg.Approvals.CreateConfirmation(ctx, t, word); err != nil {
		return err
	}
	c.note(audit.NoteConfirmation, word.ID)
	c.pending = &pending{
		Kind: "confirmation", Message: wouldDo(c.tool, how.Message, c.input), Confirmation: token.Reveal(), ExpiresAt: word.ExpiresAt.UTC(),
		Next: c.next(withConfirmation(c.input, token.Reveal(), c.takesConfirmation)), good: how.ExpiresAfter(),
	}
	return fault.New(fault.ConfirmationNeeded, "Nothing was done yet: this call of %s has to be confirmed first.", c.called())
}

// pending stands in structuredContent.pending of a call that was not run because
// somebody's word is missing: what it would do, and what to call next.
type pending struct {
	Kind         string    `json:"kind"` // confirmation, approval
	Message      string    `json:"message"`
	Confirmation string    `json:"confirmation,omitempty"` // a token: it stands in the answer, and in no record
	Approval     string    `json:"approval,omitempty"`     // an id
	Role         string    `json:"role,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`
	Next         nextCall  `json:"next"`

	good time.Duration // how long the token is
}

type nextCall struct {
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments,omitempty"` // left out where they are long: the same again
}
