package mcpgateway

import "context"

// spend is step 5: the call counts against the limits of tenant, user, session
// and tool. release ends its place among those that run.
func (g *Gateway) spend(ctx context.Context, c *call) (release func(), err error) {
	return func() {}, nil
}
