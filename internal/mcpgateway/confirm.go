package mcpgateway

import "context"

// agree is step 6: who makes the call confirms it, and somebody else approves
// it, where the tool asks for that.
func (g *Gateway) agree(ctx context.Context, c *call) error { return nil }
