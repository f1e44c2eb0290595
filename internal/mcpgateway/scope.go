package mcpgateway

import (
	"context"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// allow is step 3: the person's roles must still open the scope, and the token
// must carry it. Both are needed: consent cannot widen a role, and a role
// cannot widen what a person consented to. What is switched off is refused in
// between: who may not call it does not learn of it, and nobody is sent to
// consent to it.
func (g *Gateway) allow(ctx context.Context, c *call) error {
	if err := g.mayStill(ctx, c); err != nil {
		return err
	}
	if err := g.off(ctx, c); err != nil {
		return err
	}
	if !c.ex.principal.Has(c.scope) {
		scope := c.scope
		c.ex.missing.Store(&scope)
		g.cfg.Challenged(ctx, c.ex.tenant.ID, c.ex.principal.Grant)
		return scopeFault(scope)
	}
	return nil
}

// mayStill is the part of allow that is about the person and their roles.
func (g *Gateway) mayStill(ctx context.Context, c *call) error {
	access, err := g.person(ctx, c)
	if err != nil {
		return err
	}
	switch {
	case !c.draft && !access.Allows(c.ex.hosted.Server.ID, c.scope):
		return fault.New(fault.RoleNotAllowed, "Your roles at %s do not allow %s. Ask an administrator for the scope %s on %s.", c.ex.tenant.Name, c.called(), c.scope, c.ex.hosted.Server.Slug).WithScope(c.scope)
	case c.draft && c.via != nil && !access.Allows(c.host().Server.ID, c.via.scope):
		// No role opens a draft, and none has to: but this would open somebody else's server.
		return fault.New(fault.RoleNotAllowed, "Your roles at %s do not allow %s on %s. Until the toolset is published, only who may call its tools there may try them.", c.ex.tenant.Name, c.name, c.host().Server.Slug).WithScope(c.via.scope)
	}
	return nil
}

// person is who calls, with what their roles open. An account that is closed calls
// nothing.
func (g *Gateway) person(ctx context.Context, c *call) (tenants.Access, error) {
	access, err := g.cfg.People.Access(ctx, c.ex.tenant.ID, c.ex.principal.User)
	if fault.HasCode(err, fault.NotFound) {
		return access, fault.New(fault.RoleNotAllowed, "This account no longer exists at %s. Ask an administrator.", c.ex.tenant.Name).Because(err)
	}
	if err != nil {
		return access, err
	}
	c.caller = access.User
	if access.User.Disabled {
		return access, fault.New(fault.RoleNotAllowed, "This account is closed at %s. Ask an administrator.", c.ex.tenant.Name)
	}
	return access, nil
}

func scopeFault(scope string) *fault.Error {
	return fault.New(fault.InsufficientScope, "You have not allowed this app to use the scope %s. Sign in again and tick it, or go on without this tool.", scope).WithScope(scope)
}
