package echotool

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// What a server says besides its answers: logs, questions to the caller, prompts,
// completions, and that a resource has changed.

const (
	maxLogs  = 1000
	maxTimes = 8

	promptName   = "greet"
	tickURI      = "echo://tick"
	tickEvery    = time.Second
	wordTemplate = "echo://word/{word}"
	wordPrefix   = "echo://word/"
)

var languages = []string{"Deutsch", "English", "Español", "Français", "Italiano", "Nederlands", "Polski", "Português", "Suomi"}

var talking = []tool{
	{
		name: "log", title: "Log", timeout: 30 * time.Second,
		description: "Sends log messages while it runs, to see whether they reach the client.",
		input:       `{"type":"object","properties":{"text":{"type":"string","maxLength":1000},"level":{"type":"string","enum":["debug","info","notice","warning","error","critical","alert","emergency"]},"messages":{"type":"integer","minimum":1,"maximum":1000}},"additionalProperties":false}`,
		run:         logs,
	},
	{
		name: "ask", title: "Ask", timeout: 30 * time.Second,
		description: "Asks the client something, and gives back what it answered: a form for its person, a page for them to open, a message of its model, or its roots.",
		input:       `{"type":"object","properties":{"what":{"type":"string","enum":["form","url","sampling","roots"]},"message":{"type":"string","maxLength":2000},"url":{"type":"string","maxLength":2000},"times":{"type":"integer","minimum":1,"maximum":8,"description":"How often it asks, one after the other."}},"additionalProperties":false}`,
		run:         ask,
	},
}

func logs(_ context.Context, c *runtime.Call, env runtime.Env) (*mcp.CallToolResult, error) {
	args := struct {
		Text, Level string
		Messages    int
	}{Level: "info", Messages: 1}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	if args.Messages < 1 || args.Messages > maxLogs {
		return nil, invalid("/messages", fmt.Sprintf("must be 1 to %d", maxLogs))
	}
	for i := range args.Messages {
		params, err := json.Marshal(map[string]any{"level": args.Level, "logger": "echo", "data": map[string]any{"text": args.Text, "number": i + 1}})
		if err != nil {
			return nil, err
		}
		env.Notify(runtime.Notification{Method: "notifications/message", Params: params})
	}
	return &mcp.CallToolResult{Content: text(fmt.Sprintf("Sent %d messages.", args.Messages))}, nil
}

// formSchema is what the person is asked for.
const formSchema = `{"type":"object","properties":{"answer":{"type":"string","title":"Answer","description":"Anything you like.","maxLength":200},"sure":{"type":"boolean","title":"Are you sure?"}},"required":["answer"]}`

func ask(ctx context.Context, c *runtime.Call, env runtime.Env) (*mcp.CallToolResult, error) {
	args := struct {
		What, Message, URL string
		Times              int
	}{What: "form", Message: "What do you say?", URL: "https://example.com/connect", Times: 1}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	if args.Times < 1 || args.Times > maxTimes {
		return nil, invalid("/times", fmt.Sprintf("must be 1 to %d", maxTimes))
	}
	q := runtime.Question{Method: "elicitation/create"}
	var params map[string]any
	switch args.What {
	case "form":
		params = map[string]any{"mode": "form", "message": args.Message, "requestedSchema": json.RawMessage(formSchema)}
	case "url":
		params = map[string]any{"mode": "url", "message": args.Message, "url": args.URL, "elicitationId": c.ID}
	case "sampling":
		q.Method = "sampling/createMessage"
		params = map[string]any{"maxTokens": 100, "messages": []any{map[string]any{"role": "user", "content": map[string]any{"type": "text", "text": args.Message}}}}
	case "roots":
		q.Method = "roots/list"
	default:
		return nil, invalid("/what", "must be form, url, sampling or roots")
	}
	if params != nil {
		var err error
		if q.Params, err = json.Marshal(params); err != nil {
			return nil, err
		}
	}
	answers := make([]json.RawMessage, 0, args.Times)
	for range args.Times {
		a, err := env.Ask(ctx, q)
		if err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	out := map[string]any{"answers": answers}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &mcp.CallToolResult{Content: text(string(raw)), StructuredContent: json.RawMessage(raw)}, nil
}

// talk adds what the spec asks for besides tools.
func (s spec) talk(d *registry.Definition) {
	d.Logging = slices.ContainsFunc(s.Tools, func(o offered) bool { return o.Name == "log" })
	if s.Prompts != "" {
		d.Completions = true
		d.Prompts = []registry.Prompt{{
			Name: promptName, Title: "Greet", Description: "Asks for a greeting in a language.", Upstream: true, Scope: s.Prompts,
			Arguments: []registry.PromptArgument{{Name: "name", Title: "Whom", Required: true}, {Name: "language", Title: "In which language"}},
		}}
	}
	if s.Resources != "" {
		d.Completions, d.Subscribe = true, true
		d.Resources = []registry.Resource{
			{Name: "tick", Title: "Tick", Description: "Changes each second while somebody listens.", URI: tickURI, MIMEType: "text/plain", Scope: s.Resources, Timeout: 10 * time.Second},
			{Name: "word", Title: "Word", Description: "The word that its address names.", URITemplate: wordTemplate, MIMEType: "text/plain", Scope: s.Resources, Timeout: 10 * time.Second},
		}
	}
}

func (in *instance) ReadResource(_ context.Context, c *runtime.Call, _ runtime.Env) (*runtime.Result, error) {
	says := ""
	switch word, ok := strings.CutPrefix(c.Name, wordPrefix); {
	case in.resources && c.Name == tickURI:
		says = time.Now().UTC().Format(time.RFC3339)
	case in.resources && ok && word != "" && !strings.Contains(word, "/"):
		says = word
	default:
		return nil, fault.New(fault.NotFound, "This server has no resource %q.", c.Name)
	}
	return &runtime.Result{Rows: -1, Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: c.Name, MIMEType: "text/plain", Text: says}}}}, nil
}

// GetPrompt fills the prompt in, as an upstream of its own would.
func (in *instance) GetPrompt(_ context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	if !in.prompts || c.Name != promptName {
		return nil, fault.New(fault.NotFound, "This server has no prompt %q.", c.Name)
	}
	args := struct{ Name, Language string }{Language: "English"}
	if err := arguments(c, &args); err != nil {
		return nil, err
	}
	if args.Name == "" {
		return nil, invalid("/name", "is missing")
	}
	env.Notify(runtime.Notification{Method: "notifications/message", Params: json.RawMessage(`{"level":"debug","logger":"echo","data":"filled in"}`)})
	says := fmt.Sprintf("Greet %s in %s.", args.Name, args.Language)
	return &runtime.Result{Rows: -1, Prompt: &mcp.GetPromptResult{Description: "A greeting", Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: says}}}}}, nil
}

func (in *instance) Complete(_ context.Context, c *runtime.Call, _ runtime.Env) (*runtime.Result, error) {
	var p mcp.CompleteParams
	if err := json.Unmarshal(c.Input, &p); err != nil {
		return nil, invalid("", "are no completion request")
	}
	values := []string{}
	if in.prompts && c.Name == promptName && p.Argument.Name == "language" || in.resources && c.Name == wordTemplate && p.Argument.Name == "word" {
		for _, l := range languages {
			if strings.HasPrefix(strings.ToLower(l), strings.ToLower(p.Argument.Value)) {
				values = append(values, l)
			}
		}
	}
	return &runtime.Result{Rows: -1, Completion: &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: values, Total: len(values)}}}, nil
}

// Listen says each second that tick has changed.
func (in *instance) Listen(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	var l runtime.ListenInput
	if err := arguments(c, &l); err != nil {
		return nil, err
	}
	every := time.NewTicker(tickEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return &runtime.Result{Rows: -1, Health: &runtime.Health{}}, nil
		case <-every.C:
			if in.resources && slices.Contains(l.Resources, tickURI) {
				env.Notify(runtime.Notification{Method: "notifications/resources/updated", Params: json.RawMessage(`{"uri":"` + tickURI + `"}`)})
			}
		}
	}
}
