package mcpgateway

import (
	"context"
	"maps"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/limits"
	"latchkey/internal/runtime"
)

// metaRepeats is where a result says how many identical calls there were.
const metaRepeats = "latchkey/repeats"

// spend is step 5: the call counts against the limits of tenant, user, session
// and tool. release ends its place among those that run.
func (g *Gateway) spend(ctx context.Context, c *call) (release func(), err error) {
	p, s := c.ex.principal, c.host().Server
	spent, err := g.cfg.Limits.Spend(ctx, limits.Call{
		ID: c.id, Tenant: c.ex.tenant.ID, TenantName: c.ex.tenant.Name, User: p.User, Grant: p.Grant, Client: p.Client,
		ServerID: s.ID, Server: s.Slug, Op: string(c.op), Name: c.name, Tool: c.tool, Arguments: c.input, Typing: c.op == runtime.Complete, Part: c.part,
	})
	if key, value, ok := spent.NoteOf(); ok {
		c.note(key, value)
	}
	if err != nil {
		return nil, err
	}
	c.repeats, c.loop = spent.Repeats, spent.Notice
	return spent.Release, nil
}

// noticed tells a loop that it is one, with the answer that it asks for again.
// The result may be somebody else's too: it is copied.
func (c *call) noticed(res *mcp.CallToolResult) *mcp.CallToolResult {
	if c.loop == "" {
		return res
	}
	out := *res
	out.Content = append(slices.Clip(slices.Clone(res.Content)), &mcp.TextContent{Text: c.loop})
	out.Meta = maps.Clone(res.Meta)
	if out.Meta == nil {
		out.Meta = mcp.Meta{}
	}
	out.Meta[metaRepeats] = c.repeats
	return &out
}
