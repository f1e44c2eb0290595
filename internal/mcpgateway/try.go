package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/authn"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// ConsoleClient stands in the record where a person called from the console.
const ConsoleClient = "console"

// TryCall is one call of a tool of any revision, by a person whom somebody else
// has authenticated, outside of an MCP session.
type TryCall struct {
	Tenant    tenants.Tenant
	Server    registry.Server
	Revision  registry.Revision
	Tool      string
	Arguments json.RawMessage
	User      tenants.UserID
	Key       string // idempotency key, empty for none
}

// Tried is what came of it: what a client would get, for people to read.
type Tried struct {
	CallID     string
	IsError    bool
	Text       string
	Structured json.RawMessage // an object, or nil
	Worker     string
	Latency    time.Duration
}

// Try takes a call through the steps of run: it is refused, limited, granted and
// recorded like any other. The person's roles must open the scope, but for a
// draft, which no role can open yet. There is no consent to ask: no app calls.
// The id is given with an error too, where the call got one.
func (g *Gateway) Try(ctx context.Context, t TryCall) (Tried, error) {
	tool, ok := t.Revision.Definition.Tool(t.Tool)
	if !ok {
		return Tried{}, fault.New(fault.NotFound, "Revision %d of %s has no tool %q.", t.Revision.Number, t.Server.Slug, t.Tool)
	}
	v, err := newValidator(tool.InputSchema) // of a toolset's tool: of the copy, for the record
	if err != nil {
		return Tried{}, fault.New(fault.InvalidSpec, "The input schema of %s cannot be used: nobody could call it.", tool.Name).Because(err)
	}
	ex := &exchange{
		tenant: t.Tenant, hosted: registry.Hosted{Server: t.Server, Revision: t.Revision},
		principal: authn.Principal{Tenant: t.Tenant.ID, User: t.User, Client: ConsoleClient, Scopes: []string{tool.Scope}},
	}
	ex.hosted.Server.Tenant = t.Tenant.ID
	c, err := g.tried(ctx, ex, tool, v, t.Arguments)
	if err != nil {
		return Tried{CallID: c.id}, g.recordRefusal(ctx, c, err)
	}
	c.givenKey, c.draft = t.Key, t.Server.Active == ""
	c.progress, c.trace = func(float64, float64, string) {}, traceparent(nil, ex)
	res, err := g.run(ctx, c)
	tried := Tried{CallID: c.id, Worker: c.outcome.Worker, Latency: time.Since(c.began)}
	if err != nil && c.pending == nil {
		return tried, err
	}
	out := g.replyTool(c, res, err) // that a word is missing is an answer too: it says what to call next
	tried.IsError, tried.Text = out.IsError, readable(out.Content)
	switch structured := out.StructuredContent.(type) {
	case nil:
	case json.RawMessage:
		tried.Structured = structured
	default:
		if tried.Structured, err = json.Marshal(structured); err != nil {
			return tried, err
		}
	}
	return tried, nil
}

// tried makes the call of exactly the revision's tool; of a toolset's, of the tool
// as its server has it now.
func (g *Gateway) tried(ctx context.Context, ex *exchange, tool *registry.Tool, v *validator, arguments json.RawMessage) (*call, error) {
	t := &directTool{revision: ex.hosted.Revision, tool: tool, validator: v}
	if tool.Origin != nil {
		return g.toolCall(ctx, ex, t, arguments, true)
	}
	return newToolCall(ex, t.revision, tool, v, arguments), nil
}

// readable is the text of a result; what is none is named.
func readable(content []mcp.Content) string {
	var parts []string
	for _, c := range content {
		switch c := c.(type) {
		case *mcp.TextContent:
			parts = append(parts, c.Text)
		case *mcp.ImageContent:
			parts = append(parts, fmt.Sprintf("(an image, %s, %d bytes)", c.MIMEType, len(c.Data)))
		case *mcp.AudioContent:
			parts = append(parts, fmt.Sprintf("(audio, %s, %d bytes)", c.MIMEType, len(c.Data)))
		default:
			parts = append(parts, "(a link or an embedded resource)")
		}
	}
	return strings.Join(parts, "\n")
}

// newToolCall is a call of a tool, without what its caller has to say.
func newToolCall(ex *exchange, rev registry.Revision, tool *registry.Tool, v *validator, input json.RawMessage) *call {
	id := newCallID()
	c := &call{
		ex: ex, id: id, key: id, op: runtime.CallTool, name: tool.Name, scope: tool.Scope, hash: tool.Hash,
		risk: tool.Risk, repeat: tool.Risk == registry.Reads || tool.Idempotent || tool.Idempotency.Repeatable,
		timeout:  timeoutOf(tool.Timeout),
		revision: rev, tool: tool, began: time.Now(), check: v.check,
	}
	return c.with(input)
}

// with gives a call its arguments.
func (c *call) with(input json.RawMessage) *call {
	if c.takesConfirmation = mayConfirm(c.tool); c.takesConfirmation {
		var err error
		if input, c.confirmation, err = takeConfirmation(input); err != nil {
			c.check = func(json.RawMessage) error { return err }
		}
	}
	c.input, c.given = input, input
	return c
}
