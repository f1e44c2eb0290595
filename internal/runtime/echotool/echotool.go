// Package echotool is the kind `echo`: a diagnostics server for trying a
// connection end to end, from the agent through sign-in, scopes, dispatch and
// a worker, without any upstream that could be at fault instead.
//
// It owns its five tools. It needs no credential and asks for none. A spec
// says which tools are offered and under which scopes; without a list all are:
//
//	tools:
//	  - echo                       # under the scope tool:echo
//	  - {name: wait, scope: diagnostics}
package echotool

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// Kind is the kind `echo`. It has no connection.
var Kind = runtime.Kind{
	Name: "echo", Title: "Diagnostics", Description: "Tools that check the connection itself and touch nothing: for trying a client, and for tests.",
	Template: "tools:\n- {name: echo, scope: diagnostics}\n- {name: whoami, scope: diagnostics}\n", Check: check, Open: open,
}

const (
	maxWait = 30 * time.Second
	maxBig  = 64 << 20 // more than any result may have, to try the bound
)

// tool is one of the five, with how it runs.
type tool struct {
	name, title, description string
	input                    string // JSON schema
	timeout                  time.Duration
	run                      func(ctx context.Context, c *runtime.Call, env runtime.Env) (*mcp.CallToolResult, error)
}

var tools = []tool{
	{
		name: "echo", title: "Echo", timeout: 10 * time.Second,
		description: "Returns its arguments as they arrived, to check that a connection works and what it does to them.",
		input:       `{"type":"object","properties":{"text":{"type":"string","description":"Any text; other arguments are returned too."}},"additionalProperties":true}`,
		run:         echo,
	},
	{
		name: "whoami", title: "Who am I", timeout: 10 * time.Second,
		description: "Says what the platform knows about the caller: user, roles, client, tenant and server.",
		input:       `{"type":"object","properties":{},"additionalProperties":false}`,
		run:         whoami,
	},
	{
		name: "wait", title: "Wait", timeout: maxWait + 5*time.Second,
		description: "Waits up to 30 seconds and reports progress, to try progress, cancellation and time limits.",
		input:       `{"type":"object","properties":{"seconds":{"type":"number","minimum":0,"maximum":30,"description":"How long to wait."}},"required":["seconds"],"additionalProperties":false}`,
		run:         wait,
	},
	{
		name: "fail", title: "Fail", timeout: 10 * time.Second,
		description: "Fails as a tool does, to see how a client shows it.",
		input:       `{"type":"object","properties":{"message":{"type":"string","maxLength":1000,"description":"What the failure says."}},"additionalProperties":false}`,
		run:         fail,
	},
	{
		name: "big", title: "Big answer", timeout: 30 * time.Second,
		description: "Answers with a text of the given size, to try large results and their limit.",
		input:       `{"type":"object","properties":{"bytes":{"type":"integer","minimum":0,"maximum":67108864,"description":"Size of the text."}},"required":["bytes"],"additionalProperties":false}`,
		run:         big,
	},
}

func byName(name string) *tool {
	for i := range tools {
		if tools[i].name == name {
			return &tools[i]
		}
	}
	return nil
}

// open makes an instance. It holds nothing but the list of offered tools.
func open(_ context.Context, o runtime.Opening) (runtime.Instance, error) {
	var s spec
	if err := json.Unmarshal(o.Spec, &s); err != nil {
		return nil, fmt.Errorf("echo: read spec: %w", err)
	}
	in := instance{}
	for _, offered := range s.Tools {
		if t := byName(offered.Name); t != nil {
			in[t.name] = t
		}
	}
	return in, nil
}

type instance map[string]*tool

func (in instance) CallTool(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	t := in[c.Name]
	if t == nil {
		return nil, fault.New(fault.NotFound, "This server has no tool %q.", c.Name)
	}
	res, err := t.run(ctx, c, env)
	if err != nil {
		return nil, err
	}
	return &runtime.Result{Tool: res, Rows: -1}, nil
}

func (instance) ReadResource(context.Context, *runtime.Call, runtime.Env) (*runtime.Result, error) {
	return nil, fault.New(fault.NotFound, "This server has no resources.")
}

func (instance) Close() error { return nil }

func echo(_ context.Context, c *runtime.Call, _ runtime.Env) (*mcp.CallToolResult, error) {
	args := c.Input
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	return &mcp.CallToolResult{Content: text(string(args)), StructuredContent: args}, nil
}

// identity is what whoami answers. Nothing of the worker is in it: where a
// call runs is none of the caller's business.
type identity struct {
	User   string   `json:"user"`
	Email  string   `json:"email"`
	Name   string   `json:"name"`
	Roles  []string `json:"roles"`
	Client string   `json:"client"`
	Tenant string   `json:"tenant"`
	Server string   `json:"server"`
	Call   string   `json:"call"`
}

func whoami(_ context.Context, c *runtime.Call, _ runtime.Env) (*mcp.CallToolResult, error) {
	id := identity{
		User: string(c.Caller.User), Email: c.Caller.Email, Name: c.Caller.Name, Roles: append([]string{}, c.Caller.Roles...),
		Client: c.Caller.Client, Tenant: string(c.Tenant), Server: string(c.Server), Call: c.ID,
	}
	line := fmt.Sprintf("You are %s <%s> with roles [%s], through the client %s.", id.Name, id.Email, strings.Join(id.Roles, ", "), id.Client)
	return &mcp.CallToolResult{Content: text(line), StructuredContent: id}, nil
}

func wait(ctx context.Context, c *runtime.Call, env runtime.Env) (*mcp.CallToolResult, error) {
	var args struct {
		Seconds float64 `json:"seconds"`
	}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	if args.Seconds < 0 || args.Seconds > maxWait.Seconds() {
		return nil, invalid("/seconds", "must be 0 to 30")
	}
	total := time.Duration(args.Seconds * float64(time.Second))
	start := time.Now()
	end := time.NewTimer(total)
	defer end.Stop()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
			done := time.Since(start).Seconds()
			env.Progress(done, args.Seconds, fmt.Sprintf("waited %.1f of %g s", done, args.Seconds))
		case <-end.C:
			return &mcp.CallToolResult{
				Content:           text(fmt.Sprintf("Waited %g s.", args.Seconds)),
				StructuredContent: map[string]any{"seconds": args.Seconds},
			}, nil
		}
	}
}

func fail(_ context.Context, c *runtime.Call, _ runtime.Env) (*mcp.CallToolResult, error) {
	var args struct {
		Message string `json:"message"`
	}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	if args.Message == "" {
		args.Message = "This tool always fails: that it says so means that the connection works."
	}
	return &mcp.CallToolResult{Content: text(args.Message), IsError: true}, nil
}

func big(_ context.Context, c *runtime.Call, _ runtime.Env) (*mcp.CallToolResult, error) {
	var args struct {
		Bytes int `json:"bytes"`
	}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	if args.Bytes < 0 || args.Bytes > maxBig {
		return nil, invalid("/bytes", "must be 0 to 67108864")
	}
	const line = "All work and no play makes a dull result, but a large one.     \n"
	s := strings.Repeat(line, args.Bytes/len(line)+1)[:args.Bytes]
	return &mcp.CallToolResult{Content: text(s)}, nil
}

func text(s string) []mcp.Content { return []mcp.Content{&mcp.TextContent{Text: s}} }

func arguments(c *runtime.Call, into any) error {
	if len(c.Input) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Input, into); err != nil {
		return invalid("", "do not fit the tool's input schema")
	}
	return nil
}

func invalid(pointer, reason string) error {
	return fault.New(fault.InvalidArguments, "The arguments are not valid. Correct them and call again.").
		WithDetails(fault.Detail{Pointer: pointer, Reason: reason})
}
