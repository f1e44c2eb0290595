package mcpgateway

import (
	"context"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Accounts is what the gateway asks of accounts.Service.
type Accounts interface {
	// Ready answers fault.ConnectNeeded where the person has to connect an
	// account of theirs first.
	Ready(ctx context.Context, t tenants.Tenant, s *registry.Server, user tenants.UserID) error
	// Refused hears that the upstream did not take the account's token.
	Refused(ctx context.Context, t tenants.ID, s *registry.Server, user tenants.UserID)
	ConnectURL(t tenants.Tenant, s *registry.Server) string
}

// connectFor is how long a call waits for the person who said that they would
// connect an account: the browser is open in front of them.
const connectFor = 2 * time.Minute

// accounted makes sure that the call has an account to run with, where its
// server's upstream wants one.
func (g *Gateway) accounted(ctx context.Context, c *call) error {
	if g.cfg.Accounts == nil {
		return nil
	}
	server := &c.host().Server
	ready := func() error { return g.cfg.Accounts.Ready(ctx, c.ex.tenant, server, c.ex.principal.User) }
	err := ready()
	if !c.connecting {
		return err
	}
	end := time.NewTimer(connectFor)
	defer end.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for fault.HasCode(err, fault.ConnectNeeded) {
		select {
		case <-look.C:
			err = ready()
		case <-end.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
	return err
}

// refusedUpstream takes notice of an account whose token the upstream did not
// take, and tells the person where to connect it again.
func (g *Gateway) refusedUpstream(ctx context.Context, c *call, f *fault.Error) *fault.Error {
	if g.cfg.Accounts == nil || f.Code != fault.ConnectNeeded && f.Code != fault.CredentialsAway {
		return f
	}
	server := &c.host().Server
	g.cfg.Accounts.Refused(context.WithoutCancel(ctx), c.ex.tenant.ID, server, c.ex.principal.User)
	if f.Code == fault.ConnectNeeded && f.URL == "" {
		return f.WithURL(g.cfg.Accounts.ConnectURL(c.ex.tenant, server))
	}
	return f
}

// connectQuestionID names the question that sends a person to a page.
const connectQuestionID = "connect"

// canOpen reports whether the client of a call can open a page for its person
// (elicitation in mode url).
func canOpen(ctx context.Context, req *mcp.CallToolRequest, ex *exchange) bool {
	a, ok := ctx.Value(askingKey{}).(*asking)
	if !ok || a.unable || req.Params.InputResponses != nil {
		return false
	}
	caps := req.ClientCapabilities()
	if caps == nil || caps.Elicitation == nil || caps.Elicitation.URL == nil {
		return false
	}
	version, _ := req.Params.Meta[mcp.MetaKeyProtocolVersion].(string)
	return version >= modern || ex.session != ""
}

// connectQuestion asks the person to connect their account, on the platform's
// own page, which says what it is for.
func connectQuestion(ctx context.Context, c *call, f *fault.Error) *mcp.CallToolResult {
	if a, ok := ctx.Value(askingKey{}).(*asking); ok {
		a.open = true
		a.timer = time.AfterFunc(connectFor, a.end)
	}
	title := c.host().Server.Title
	if title == "" {
		title = c.host().Server.Slug
	}
	return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{connectQuestionID: &mcp.ElicitParams{
		Mode: "url", URL: f.URL, ElicitationID: newCallID(),
		Message: title + " works with an account of your own. Connect it on this page of " + c.ex.tenant.Name + "; the call goes on when you have.",
	}}}
}
