// Package echotool is the kind `echo`: a diagnostics server for trying a
// connection end to end, from the agent through sign-in, scopes, dispatch and
// a worker, without any upstream that could be at fault instead.
//
// It owns its tools, and a prompt and two resources. It needs no credential and
// asks for none. A spec says which tools are offered and under which scopes;
// without a list all are. Prompt and resources are offered under the scope that
// stands there, and without it not:
//
//	tools:
//	  - echo                       # under the scope tool:echo
//	  - {name: wait, scope: diagnostics}
//	prompts: diagnostics
//	resources: diagnostics
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
	Template: "tools:\n- {name: echo, scope: diagnostics}\n- {name: whoami, scope: diagnostics}\n", Check: check, Open: open, Asks: true,
}

const (
	maxWait = 30 * time.Second
	maxWork = time.Hour
	maxBig  = 64 << 20 // more than any result may have, to try the bound
)

// tool is one of them, with how it runs.
type tool struct {
	name, title, description string
	input                    string // JSON schema
	timeout                  time.Duration
	run                      func(ctx context.Context, c *runtime.Call, env runtime.Env) (*mcp.CallToolResult, error)
}

var tools = append([]tool{
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
		name: "work", title: "Work", timeout: maxWork, // more than a call may take: a task may
		description: "Works for up to an hour, reports progress, and can ask a question first, to try tasks: what goes on after the call was answered.",
		input:       `{"type":"object","properties":{"seconds":{"type":"number","minimum":0,"maximum":3600,"description":"How long to work."},"question":{"type":"string","maxLength":500,"description":"What to ask the person at the client first."}},"required":["seconds"],"additionalProperties":false}`,
		run:         work,
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
}, talking...)

func byName(name string) *tool {
	for i := range tools {
		if tools[i].name == name {
			return &tools[i]
		}
	}
	return nil
}

// open makes an instance. It holds nothing but what is offered.
func open(_ context.Context, o runtime.Opening, _ runtime.Host) (runtime.Instance, error) {
	var s spec
	if err := json.Unmarshal(o.Spec, &s); err != nil {
		return nil, fmt.Errorf("echo: read spec: %w", err)
	}
	in := &instance{tools: map[string]*tool{}, prompts: s.Prompts != "", resources: s.Resources != ""}
	for _, offered := range s.Tools {
		if t := byName(offered.Name); t != nil {
			in.tools[t.name] = t
		}
	}
	return in, nil
}

type instance struct {
	tools              map[string]*tool
	prompts, resources bool
}

func (in *instance) CallTool(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	t := in.tools[c.Name]
	if t == nil {
		return nil, fault.New(fault.NotFound, "This server has no tool %q.", c.Name)
	}
	res, err := t.run(ctx, c, env)
	if err != nil {
		return nil, err
	}
	return &runtime.Result{Tool: res, Rows: -1}, nil
}

func (*instance) Close() error { return nil }

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
	if err := pass(ctx, args.Seconds, "waited", env); err != nil {
		return nil, err
	}
	return &mcp.CallToolResult{
		Content:           text(fmt.Sprintf("Waited %g s.", args.Seconds)),
		StructuredContent: map[string]any{"seconds": args.Seconds},
	}, nil
}

// pass lets time go by and says so.
func pass(ctx context.Context, seconds float64, verb string, env runtime.Env) error {
	start := time.Now()
	end := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer end.Stop()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			done := time.Since(start).Seconds()
			env.Progress(done, seconds, fmt.Sprintf("%s %.1f of %g s", verb, done, seconds))
		case <-end.C:
			return nil
		}
	}
}

func work(ctx context.Context, c *runtime.Call, env runtime.Env) (*mcp.CallToolResult, error) {
	var args struct {
		Seconds  float64 `json:"seconds"`
		Question string  `json:"question"`
	}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	if args.Seconds < 0 || args.Seconds > maxWork.Seconds() {
		return nil, invalid("/seconds", "must be 0 to 3600")
	}
	out := map[string]any{"seconds": args.Seconds}
	said := ""
	if args.Question != "" {
		answer, err := askPerson(ctx, args.Question, env)
		if err != nil {
			return nil, err
		}
		out["answer"], said = answer, fmt.Sprintf(" The answer to the question: %s.", answer)
	}
	if err := pass(ctx, args.Seconds, "worked", env); err != nil {
		return nil, err
	}
	return &mcp.CallToolResult{Content: text(fmt.Sprintf("Worked %g s.%s", args.Seconds, said)), StructuredContent: out}, nil
}

// askPerson puts a question with a text for its answer to the person at the client.
func askPerson(ctx context.Context, question string, env runtime.Env) (string, error) {
	params, err := json.Marshal(mcp.ElicitParams{
		Mode: "form", Message: question,
		RequestedSchema: json.RawMessage(`{"type":"object","properties":{"answer":{"type":"string","maxLength":500}},"required":["answer"]}`),
	})
	if err != nil {
		return "", err
	}
	raw, err := env.Ask(ctx, runtime.Question{Method: "elicitation/create", Params: params})
	if err != nil {
		return "", err
	}
	var got struct {
		Action  string `json:"action"`
		Content struct {
			Answer string `json:"answer"`
		} `json:"content"`
	}
	if json.Unmarshal(raw, &got) != nil || got.Action != "accept" {
		return "(none)", nil
	}
	return fmt.Sprintf("%.500s", got.Content.Answer), nil
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
