package mcpgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/toolsearch"
)

// A toolset of hundreds of tools lists three instead: to find one, to read what it
// takes, and to call it. What is executed goes on as the call of that tool, through
// callListed: scope, confirmation, key, progress, questions, tasks and record are
// those of a direct call, and none of them is of execute_tool.

const (
	searchTools  = "search_tools"
	describeTool = "describe_tool"
	executeTool  = "execute_tool"
)

// ownTool is a tool that the edge itself has.
type ownTool func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error)

const (
	searchLimit    = 10 // tools of one answer, unless its caller says otherwise
	maxSearchLimit = 50
	maxSummary     = 300 // characters of a description in an answer
)

const (
	searchInput   = `{"type":"object","properties":{"query":{"type":"string","maxLength":300,"description":"What you want to do, in a few words, such as: refund an order. Empty lists everything by name."},"limit":{"type":"integer","minimum":1,"maximum":50,"default":10,"description":"How many tools at most."}},"required":["query"],"additionalProperties":false}`
	describeInput = `{"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":128,"description":"The name of a tool, from search_tools."}},"required":["name"],"additionalProperties":false}`
	executeInput  = `{"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":128,"description":"The name of a tool, from search_tools."},"arguments":{"type":"object","description":"Its arguments, as describe_tool has them.","additionalProperties":true}},"required":["name"],"additionalProperties":false}`
)

// addSearch puts the three in the place of the tools.
func (g *Gateway) addSearch(srv *mcp.Server, rev registry.Revision, into *builtServer) {
	found := finder{g: g, rev: rev, built: into, index: indexOf(&rev.Definition)}
	reads := &mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true, DestructiveHint: new(false), OpenWorldHint: new(false)}
	into.listed, into.direct, into.own = nil, nil, map[string]ownTool{}
	for _, t := range []struct {
		tool *mcp.Tool
		run  func(*validator) ownTool
	}{
		{&mcp.Tool{Name: describeTool, Title: "Describe a tool", Annotations: reads, InputSchema: json.RawMessage(describeInput),
			Description: "Gives the arguments of a tool, what it answers, how risky it is, and whether a call has to be confirmed or approved. Read it before you execute a tool for the first time."}, found.describe},
		{&mcp.Tool{Name: executeTool, Title: "Execute a tool", InputSchema: json.RawMessage(executeInput),
			Annotations: &mcp.ToolAnnotations{DestructiveHint: new(true), OpenWorldHint: new(true)}, // what it can do is what the riskiest tool can
			Description: "Calls a tool by its name with its arguments. It is checked, confirmed and recorded as a call of that tool."}, found.execute},
		{&mcp.Tool{Name: searchTools, Title: "Search tools", Annotations: reads, InputSchema: json.RawMessage(searchInput),
			Description: "Finds the tools that you may use now, best first, by what you want to do. Try other words if nothing fits."}, found.search},
	} {
		v, err := newValidator(t.tool.InputSchema.(json.RawMessage))
		if err == nil {
			run := t.run(v)
			into.own[t.tool.Name] = run
			err = addTool(srv, t.tool, mcp.ToolHandler(run))
		}
		if err != nil { // of our own schemas: it does not happen
			g.cfg.Log.Error("tool left out", "tool", t.tool.Name, "error", err)
			continue
		}
		into.listed = append(into.listed, t.tool)
	}
}

func indexOf(def *registry.Definition) *toolsearch.Index {
	tools := make([]toolsearch.Tool, 0, len(def.Tools))
	for i := range def.Tools {
		t := &def.Tools[i]
		tools = append(tools, toolsearch.Tool{Name: t.Name, Title: t.Title, Description: t.Description, Arguments: argumentWords(t.InputSchema)})
	}
	return toolsearch.New(tools)
}

// argumentWords are the names of a schema's arguments with their descriptions.
func argumentWords(schema json.RawMessage) string {
	var s struct {
		Properties map[string]struct {
			Description string `json:"description"`
		} `json:"properties"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return ""
	}
	var b strings.Builder
	for name, p := range s.Properties {
		b.WriteString(name + " " + p.Description + " ")
	}
	return b.String()
}

// unlisted is the answer to a call by name where tools are executed.
func unlisted(name string) error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf("unknown tool %q: this server has %s, %s and %s, and its other tools are called by %s", short(name), searchTools, describeTool, executeTool, executeTool)}
}

// finder has the tools of one revision of a toolset.
type finder struct {
	g     *Gateway
	rev   registry.Revision
	built *builtServer
	index *toolsearch.Index
}

// foundTool is a tool in the answer to a search.
type foundTool struct {
	Name        string        `json:"name"`
	Title       string        `json:"title,omitempty"`
	Description string        `json:"description"`
	Risk        registry.Risk `json:"risk"`
	Deprecated  bool          `json:"deprecated,omitempty"`
}

type searched struct {
	Tools []foundTool `json:"tools"`
	Total int         `json:"total"` // that fit; those that are not shown too
}

func (f finder) search(v *validator) ownTool {
	return func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return f.answer(ctx, searchTools, v, req, func(ctx context.Context, c *call) (*mcp.CallToolResult, error) {
			var in struct {
				Query string
				Limit int
			}
			if err := readMembers(c.input, map[string]any{"query": &in.Query, "limit": &in.Limit}); err != nil {
				return nil, err
			}
			if in.Limit == 0 {
				in.Limit = searchLimit
			}
			counts, err := f.usable(ctx, c.ex)
			if err != nil {
				return nil, err
			}
			best, total := f.index.Search(in.Query, min(in.Limit, maxSearchLimit), counts)
			out := searched{Tools: []foundTool{}, Total: total}
			for _, i := range best {
				t := &f.rev.Definition.Tools[i]
				out.Tools = append(out.Tools, foundTool{t.Name, oneLine(t.Title, 200), oneLine(t.Description, maxSummary), t.Risk, t.Deprecated != nil})
			}
			return structured(out.words(in.Query), out), nil
		}), nil
	}
}

func (s searched) words(query string) string {
	if len(s.Tools) == 0 {
		return "No tool that you may use fits these words. Try others, or an empty query to see all by name."
	}
	var b strings.Builder
	for _, t := range s.Tools {
		fmt.Fprintf(&b, "%s (%s): %s\n", t.Name, t.Risk, t.Description)
	}
	if more := s.Total - len(s.Tools); more > 0 {
		fmt.Fprintf(&b, "And %d more. ", more)
	}
	fmt.Fprintf(&b, "Read the arguments of one with %s, then call it with %s.", describeTool, executeTool)
	return b.String()
}

// usable tells which tools the caller may use now.
func (f finder) usable(ctx context.Context, ex *exchange) (func(int) bool, error) {
	hidden, off, err := f.g.hidden(ctx, ex)
	if err != nil {
		return nil, err
	}
	now, tools := f.g.cfg.Now(), f.rev.Definition.Tools
	return func(i int) bool {
		t := &tools[i]
		return !hidden(t.Scope) && f.built.tools[t.Name] != nil && !t.Deprecated.Gone(now) && !off(t.Name)
	}, nil
}

// described is what describe_tool answers.
type describedTool struct {
	Name         string          `json:"name"`
	Title        string          `json:"title,omitempty"`
	Description  string          `json:"description"`
	Arguments    json.RawMessage `json:"arguments"` // a schema
	Answers      json.RawMessage `json:"answers,omitempty"`
	Risk         registry.Risk   `json:"risk"`
	Confirmation string          `json:"confirmation"`
	Approval     string          `json:"approval,omitempty"`
	Task         string          `json:"task,omitempty"`
}

func (f finder) describe(v *validator) ownTool {
	return func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return f.answer(ctx, describeTool, v, req, func(ctx context.Context, c *call) (*mcp.CallToolResult, error) {
			var name string
			if err := readMembers(c.input, map[string]any{"name": &name}); err != nil {
				return nil, err
			}
			out, err := f.look(ctx, c.ex, name)
			if err != nil {
				return nil, err
			}
			return structured(string(plainJSON(out)), out), nil
		}), nil
	}
}

// look describes a tool as its server has it now. One that the caller may not use
// is not there, as in a list.
func (f finder) look(ctx context.Context, ex *exchange, name string) (*describedTool, error) {
	counts, err := f.usable(ctx, ex)
	if err != nil {
		return nil, err
	}
	at := -1
	for i := range f.rev.Definition.Tools {
		if f.rev.Definition.Tools[i].Name == name {
			at = i
		}
	}
	if at < 0 || !counts(at) {
		return nil, noSuchTool(name)
	}
	own := &f.rev.Definition.Tools[at]
	now := own
	if own.Origin != nil {
		_, origin, err := f.g.origin(ctx, ex, own)
		if err != nil {
			return nil, err
		}
		now = origin.tool
	}
	out := &describedTool{
		Name: own.Name, Title: own.Title, Description: described(own), Arguments: servedSchema(now), Answers: now.OutputSchema, Risk: now.Risk, Confirmation: "none",
	}
	if c := now.Confirmation; c.MayAsk(now.Risk) {
		if out.Confirmation = "every call is a dry run first, and has to be confirmed"; c.When != nil {
			out.Confirmation = "some calls are a dry run first, and have to be confirmed"
		}
	}
	if a := now.Approval; a != nil {
		if out.Approval = "every call has to be approved by somebody with the role " + a.Role; a.When != nil {
			out.Approval = "some calls have to be approved by somebody with the role " + a.Role
		}
	}
	if m := now.TaskMode(); m == registry.TaskRequired {
		out.Task = "it runs as a task only"
	}
	return out, nil
}

func noSuchTool(name string) *fault.Error {
	return fault.New(fault.NotFound, "There is no tool %q here that you may use. Names are exact: find one with %s.", short(name), searchTools)
}

// execute hands the call to the tool that it names. The arguments that it passes on
// are the very bytes that came.
func (f finder) execute(v *validator) ownTool {
	return func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		refuse := func(err error) (*mcp.CallToolResult, error) {
			c := f.ownCall(executeTool, v, req)
			return toolError(fault.Of(f.g.recordRefusal(ctx, c, err)), c.id), nil
		}
		if err := v.check(req.Params.Arguments); err != nil {
			return refuse(err)
		}
		var name string
		var arguments json.RawMessage
		if err := readMembers(req.Params.Arguments, map[string]any{"name": &name, "arguments": &arguments}); err != nil {
			return refuse(err)
		}
		t := f.built.tools[name]
		if t == nil {
			return refuse(noSuchTool(name))
		}
		params := *req.Params
		params.Name, params.Arguments = name, arguments
		inner := *req
		inner.Params = &params
		return f.g.callListed(ctx, t, &inner, true)
	}
}

// readMembers reads an object's members into what is there for each, and refuses one
// that stands twice: of two, one would be checked and the other could be meant.
func readMembers(object json.RawMessage, into map[string]any) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fault.New(fault.InvalidArguments, "The arguments are no JSON object.")
	}
	for seen := map[string]bool{}; d.More(); {
		var value json.RawMessage
		t, err := d.Token()
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			return fault.New(fault.InvalidArguments, "The arguments are no JSON object.").Because(err)
		}
		key, _ := t.(string)
		if seen[key] {
			return fault.New(fault.InvalidArguments, "An argument is given twice.").WithDetails(fault.Detail{Pointer: pointer([]string{key}), Reason: "is given twice", Fix: "send it once"})
		}
		seen[key] = true
		if at := into[key]; at != nil && string(value) != "null" {
			if err := json.Unmarshal(value, at); err != nil {
				return fault.New(fault.InvalidArguments, "An argument cannot be read.").WithDetails(fault.Detail{Pointer: pointer([]string{key}), Reason: "cannot be read", Fix: "send it as the schema has it"})
			}
		}
	}
	return nil
}

// ownCall is a call of a tool of the edge's own, for limits and the record.
func (f finder) ownCall(name string, v *validator, req *mcp.CallToolRequest) *call {
	ex := exchangeOf(req.Extra.TokenInfo)
	return &call{
		ex: ex, id: newCallID(), op: runtime.CallTool, name: name, risk: registry.Reads, repeat: true, timeout: defaultTimeout, revision: f.rev,
		input: req.Params.Arguments, given: req.Params.Arguments, began: time.Now(), check: v.check, trace: traceparent(req.Params.Meta, ex),
		progress: func(float64, float64, string) {},
	}
}

// answer takes a call of a tool of the edge's own through the steps: who calls,
// what is switched off, arguments, limits, record. It has no scope: it shows nothing
// but what the caller's scopes open.
func (f finder) answer(ctx context.Context, name string, v *validator, req *mcp.CallToolRequest, do func(context.Context, *call) (*mcp.CallToolResult, error)) *mcp.CallToolResult {
	g, c := f.g, f.ownCall(name, v, req)
	ctx, end := g.begin(ctx, c)
	defer end()
	refuse := func(err error) *mcp.CallToolResult {
		return toolError(fault.Of(g.recordRefusal(ctx, c, err)), c.id)
	}
	if _, err := g.person(ctx, c); err != nil {
		return refuse(err)
	}
	if err := g.off(ctx, c); err != nil {
		return refuse(err)
	}
	if err := c.check(c.input); err != nil {
		return refuse(err)
	}
	release, err := g.spend(ctx, c)
	if err != nil {
		return refuse(err)
	}
	defer release()
	out, err := do(ctx, c)
	if err != nil && fault.Of(err).Code.Category != fault.Internal {
		return refuse(err)
	}
	res, err := g.recordOutcome(ctx, c, &runtime.Result{Tool: out, Rows: -1}, err)
	return g.replyTool(c, res, err)
}

func structured(text string, v any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}, StructuredContent: plainJSON(v)}
}
