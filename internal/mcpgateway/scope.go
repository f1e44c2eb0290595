package mcpgateway

import (
	"context"

	"latchkey/internal/fault"
)

// allow is step 3: the person's roles must still open the scope, and the token
// must carry it. Both are needed: consent cannot widen a role, and a role
// cannot widen what a person consented to. What is switched off is refused in
// between: who may not call it does not learn of it, and nobody is sent to
// consent to it.
func (g *Gateway) allow(ctx context.Context, c *call) error {
	access, err := g.cfg.People.Access(ctx, c.ex.tenant.ID, c.ex.principal.User)
	if err != nil {
		if fault.HasCode(err, fault.NotFound) {
			return fault.New(fault.RoleNotAllowed, "This account no longer exists at %s. Ask an administrator.", c.ex.tenant.Name).Because(err)
		}
		return err
	}
	c.caller = access.User
	switch {
	case access.User.Disabled:
		return fault.New(fault.RoleNotAllowed, "This account is closed at %s. Ask an administrator.", c.ex.tenant.Name)
	case !c.draft && !access.Allows(c.ex.hosted.Server.ID, c.scope):
		return fault.New(fault.RoleNotAllowed, "Your roles at %s do not allow %s. Ask an administrator for the scope %s on %s.", c.ex.tenant.Name, c.name, c.scope, c.ex.hosted.Server.Slug).WithScope(c.scope)
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

func scopeFault(scope string) *fault.Error {
	return fault.New(fault.InsufficientScope, "You have not allowed this app to use the scope %s. Sign in again and tick it, or go on without this tool.", scope).WithScope(scope)
}
