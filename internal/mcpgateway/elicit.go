package mcpgateway

import (
	"context"
	"encoding/json"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// A client that can ask its person is asked there instead of by a dry run. In
// the newest revision the answer to the call is a question, and the call comes
// again with the person's answer; for a session of an older one the SDK asks in
// between and calls the handler again. Either way the question carries the
// confirmation as its state, and the second call is a call like every other.

// confirmQuestion names the one question that a call asks.
const confirmQuestion = "confirm"

// asking follows a request whose session is asked in between.
type asking struct {
	unable bool // the client said that it can ask, and could not
	open   bool // a question is out
	end    context.CancelFunc
	timer  *time.Timer
}

type askingKey struct{}

// fallBack makes a dry run of a call whose question came to nothing: some
// clients declare that they can ask, and fail, or never answer.
func (g *Gateway) fallBack(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		if method != "tools/call" {
			return next(ctx, method, req)
		}
		a := &asking{}
		first, cancel := context.WithCancel(context.WithValue(ctx, askingKey{}, a))
		defer cancel()
		a.end = cancel
		defer func() {
			if a.timer != nil {
				a.timer.Stop()
			}
		}()
		res, err := next(first, method, req)
		if err == nil || !a.open || ctx.Err() != nil {
			return res, err
		}
		g.cfg.Log.DebugContext(ctx, "a client that can ask its person could not", "error", err)
		return next(context.WithValue(ctx, askingKey{}, &asking{unable: true}), method, req)
	}
}

// canAsk reports whether the client of a call can ask its person. Without a
// session, an older revision has no way to.
func canAsk(ctx context.Context, req *mcp.CallToolRequest, ex *exchange) bool {
	a, ok := ctx.Value(askingKey{}).(*asking)
	if !ok || a.unable || req.Params.InputResponses != nil { // direct.go leaves such clients to the SDK; nobody is asked twice
		return false
	}
	caps := req.ClientCapabilities()
	if caps == nil || caps.Elicitation == nil || caps.Elicitation.Form == nil && caps.Elicitation.URL != nil {
		return false
	}
	version, _ := req.Params.Meta[mcp.MetaKeyProtocolVersion].(string)
	return version >= modern || ex.session != ""
}

// answered reads a person's answer into the call. Any but accept is a no.
func (c *call) answered(ctx context.Context, p *mcp.CallToolParamsRaw) {
	if a, ok := ctx.Value(askingKey{}).(*asking); ok && a.open {
		a.open = false
		a.timer.Stop()
	}
	if res, ok := p.InputResponses[confirmQuestion].(*mcp.ElicitResult); ok {
		c.confirmation, c.declined = p.RequestState, res.Action != "accept"
	}
	if res, ok := p.InputResponses[connectQuestionID].(*mcp.ElicitResult); ok {
		c.connecting = res.Action == "accept"
	}
}

// question asks for the confirmation that a call needs.
func (p *pending) question(ctx context.Context) *mcp.CallToolResult {
	if a, ok := ctx.Value(askingKey{}).(*asking); ok {
		a.open = true
		a.timer = time.AfterFunc(p.good, a.end)
	}
	return &mcp.CallToolResult{
		InputRequests: mcp.InputRequestMap{confirmQuestion: &mcp.ElicitParams{
			Mode: "form", Message: p.Message + "\n\nDo you want this?", RequestedSchema: json.RawMessage(`{"type":"object","properties":{}}`),
		}},
		RequestState: p.Confirmation,
	}
}
