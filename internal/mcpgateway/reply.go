package mcpgateway

import (
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// replyTool turns what is known of a call into its MCP result.
func (g *Gateway) replyTool(c *call, res *runtime.Result, err error) *mcp.CallToolResult {
	out := c.restartTold(c.noticed(g.resultOf(c, res, err)))
	if c.replayOf != "" {
		if out.Meta == nil {
			out.Meta = mcp.Meta{}
		}
		out.Meta[metaReplayOf] = c.replayOf
	}
	return out
}

func (g *Gateway) resultOf(c *call, res *runtime.Result, err error) *mcp.CallToolResult {
	if err != nil {
		f := fault.Of(err)
		if f.Code.Category == fault.Internal {
			g.cfg.Log.Error("call failed", "call", c.id, "tool", c.name, "error", err)
		}
		return c.refuse(f)
	}
	out := res.Tool
	if out == nil {
		return toolError(fault.New(fault.ToolFailed, "The server answered something that is not a tool result. Tell its administrator."), c.id)
	}
	if out.Content == nil {
		out.Content = []mcp.Content{}
	}
	if out.IsError && out.StructuredContent == nil {
		out.StructuredContent = map[string]any{"error": failureOf(fault.New(fault.ToolFailed, "The tool reported a failure; its text says what."), c.id)}
	}
	return out
}

// refuse says a failure, and what a call that was not run waits for. Such an
// answer is an error to programs, which look at isError and nothing else: who
// takes a dry run for the deed would report as done what was not.
func (c *call) refuse(f *fault.Error) *mcp.CallToolResult {
	out := toolError(f, c.id)
	if p := c.pending; p != nil {
		out.StructuredContent = map[string]any{"error": failureOf(f, c.id), "pending": p}
		if p.Kind == "confirmation" {
			out.Content = []mcp.Content{&mcp.TextContent{Text: p.dryRun(c) + "\n(" + advice(f) + "; call " + c.id + ")"}}
		}
	}
	return out
}

func replyResource(c *call, res *runtime.Result, err error) (*mcp.ReadResourceResult, error) {
	if err != nil {
		if fault.HasCode(err, fault.NotFound) {
			return nil, mcp.ResourceNotFoundError(c.name)
		}
		return nil, rpcError(fault.Of(err), c.id)
	}
	if res.Resource == nil || res.Resource.Contents == nil {
		return nil, mcp.ResourceNotFoundError(c.name)
	}
	out := *res.Resource
	out.Meta = c.restartMeta(out.Meta)
	return &out, nil
}

// resultBytes is the size of what the caller gets, for the record.
func resultBytes(res *runtime.Result) int {
	n := 0
	if res.Tool != nil {
		for _, c := range res.Tool.Content {
			switch c := c.(type) {
			case *mcp.TextContent:
				n += len(c.Text)
			case *mcp.ImageContent:
				n += len(c.Data)
			case *mcp.AudioContent:
				n += len(c.Data)
			}
		}
		if raw, ok := res.Tool.StructuredContent.(json.RawMessage); ok {
			n += len(raw)
		}
	}
	if res.Prompt != nil {
		for _, m := range res.Prompt.Messages {
			if m == nil {
				continue
			}
			if t, ok := m.Content.(*mcp.TextContent); ok {
				n += len(t.Text)
			}
		}
	}
	if res.Resource != nil {
		for _, c := range res.Resource.Contents {
			n += len(c.Text) + len(c.Blob)
		}
	}
	return n
}
