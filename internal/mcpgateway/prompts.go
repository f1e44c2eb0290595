package mcpgateway

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

const (
	maxPromptArguments = 100
	maxPromptArgument  = 10_000 // bytes
)

// addPrompt serves a prompt. One that is text of the tenant's own is filled in at
// the edge, and needs no worker; one of the upstream is a call like every other.
func (g *Gateway) addPrompt(srv adder, rev registry.Revision, p *registry.Prompt) {
	also := passedOf(p.Passed)
	prompt := &mcp.Prompt{Meta: also.meta, Name: p.Name, Title: p.Title, Description: p.Description, Icons: also.icons}
	for _, a := range p.Arguments {
		prompt.Arguments = append(prompt.Arguments, &mcp.PromptArgument{Name: a.Name, Title: a.Title, Description: a.Description, Required: a.Required})
	}
	srv.AddPrompt(prompt, func(ctx context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		c := newPromptCall(ctx, rev, p, req)
		if p.Upstream {
			c, res, rd, err := runFor(ctx, g, c, req, turn{req.Params.RequestState, req.Params.InputResponses})
			if rd != nil {
				return &mcp.GetPromptResult{InputRequests: rd.requests, RequestState: rd.state}, nil
			}
			return replyPrompt(c, res, err)
		}
		return g.ownPrompt(ctx, c, p, req.Params.Arguments)
	})
}

func newPromptCall(ctx context.Context, rev registry.Revision, p *registry.Prompt, req *mcp.GetPromptRequest) *call {
	ex := exchangeOf(req.Extra.TokenInfo)
	arguments := req.Params.Arguments
	if arguments == nil {
		arguments = map[string]string{}
	}
	input, _ := json.Marshal(arguments) // of texts
	return &call{
		ex: ex, id: newCallID(), op: runtime.GetPrompt, name: p.Name, rule: runtime.PromptRule(p.Name), scope: p.Scope, hash: p.Hash,
		risk: registry.Reads, repeat: true, timeout: defaultTimeout, revision: rev, input: input, given: input, began: time.Now(),
		check:    func(json.RawMessage) error { return checkPrompt(p, arguments) },
		progress: progressTo(ctx, req), notify: logTo(ctx, rev, req), trace: traceparent(req.Params.Meta, ex),
	}
}

func (g *Gateway) ownPrompt(ctx context.Context, c *call, p *registry.Prompt, arguments map[string]string) (*mcp.GetPromptResult, error) {
	err := g.allow(ctx, c)
	if err == nil {
		err = checkPrompt(p, arguments)
	}
	if err == nil {
		var release func()
		if release, err = g.spend(ctx, c); err == nil {
			defer release()
		}
	}
	if err != nil {
		return nil, rpcError(fault.Of(g.recordRefusal(ctx, c, err)), c.id)
	}
	if err := g.add(ctx, c.event(audit.Outcome, audit.Done)); err != nil {
		return nil, rpcError(fault.Of(err), c.id)
	}
	return &mcp.GetPromptResult{Description: p.Description, Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: fillPrompt(p, arguments)}}}}, nil
}

// checkPrompt is step 4 of a prompt.
func checkPrompt(p *registry.Prompt, arguments map[string]string) error {
	if len(arguments) > maxPromptArguments {
		return fault.New(fault.InvalidArguments, "The prompt is given more than %d arguments.", maxPromptArguments)
	}
	for name, v := range arguments {
		if len(v) > maxPromptArgument || len(name) > 200 {
			return fault.New(fault.InvalidArguments, "The argument %s is longer than %d bytes.", short(name), maxPromptArgument).
				WithDetails(fault.Detail{Pointer: pointer([]string{short(name)}), Reason: "it is too long", Fix: "shorten it"})
		}
	}
	for _, a := range p.Arguments {
		if _, given := arguments[a.Name]; !given && a.Required {
			return fault.New(fault.InvalidArguments, "The prompt needs the argument %s.", a.Name).
				WithDetails(fault.Detail{Pointer: pointer([]string{a.Name}), Reason: "it is missing", Fix: "add it"})
		}
	}
	return nil
}

// fillPrompt puts arguments into the text, once: a value is never looked at
// for further places.
func fillPrompt(p *registry.Prompt, arguments map[string]string) string {
	var pairs []string
	for _, a := range p.Arguments {
		pairs = append(pairs, "{{"+a.Name+"}}", arguments[a.Name])
	}
	return strings.NewReplacer(pairs...).Replace(p.Text)
}

func replyPrompt(c *call, res *runtime.Result, err error) (*mcp.GetPromptResult, error) {
	if err == nil && res.Prompt == nil {
		err = fault.New(fault.ToolFailed, "The server answered something that is no prompt. Tell its administrator.")
	}
	if err != nil {
		return nil, rpcError(fault.Of(err), c.id)
	}
	out := *res.Prompt
	if out.Messages == nil {
		out.Messages = []*mcp.PromptMessage{}
	}
	return &out, nil
}
