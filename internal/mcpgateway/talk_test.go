package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// talks makes the world's kind one whose upstream asks, logs, and has prompts and
// completions of its own.
func talks(w *world, c *Config) {
	c.Kinds = func(string) (runtime.Kind, bool) { return runtime.Kind{Asks: true}, true }
	d := w.hosted.Revision.Definition
	d.Logging, d.Completions = true, true
	d.Prompts = append(slices.Clone(d.Prompts),
		registry.Prompt{Name: "greet", Upstream: true, Scope: "read", Arguments: []registry.PromptArgument{{Name: "name", Title: "Whom", Required: true}, {Name: "language"}}},
		registry.Prompt{Name: "secretly", Upstream: true, Scope: "secret"})
	d.Tools = slices.Clone(d.Tools)
	w.hosted.Revision.Definition = d
}

// asks has the worker ask before it answers with what it was told.
func (w *world) asks(questions ...runtime.Question) {
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		answers := []json.RawMessage{}
		for _, q := range questions {
			if o.Ask == nil {
				return DispatchOutcome{Worker: "w1"}, fault.New(fault.Unanswerable, "nobody to ask")
			}
			a, err := o.Ask(ctx, q)
			if fault.HasCode(err, fault.Cancelled) { // by nobody's answer: the call is being stopped
				<-ctx.Done()
			}
			if ctx.Err() != nil {
				return DispatchOutcome{Worker: "w1", Started: true}, fault.New(fault.Cancelled, "The call was cancelled.")
			}
			if err != nil {
				return DispatchOutcome{Worker: "w1"}, err
			}
			answers = append(answers, a)
		}
		raw, err := json.Marshal(answers)
		if err != nil {
			return DispatchOutcome{}, err
		}
		res := &runtime.Result{Rows: -1}
		switch c.Op {
		case runtime.GetPrompt:
			res.Prompt = &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: string(raw)}}}}
		case runtime.ReadResource:
			res.Resource = &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: c.Name, Text: string(raw)}}}
		default:
			res.Tool = &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(raw)}}}
		}
		return DispatchOutcome{Worker: "w1", Result: res}, nil
	}
}

const formParams = `{"mode":"form","message":"Which one?","requestedSchema":{"type":"object","properties":{"zulu":{"type":"string","title":"Zulu"},"alpha":{"type":"integer"}},"required":["zulu"]}}`

func question1(method, params string) runtime.Question {
	return runtime.Question{Method: method, Params: json.RawMessage(params)}
}

// asked collects what a client was asked, and answers.
type asked struct {
	mu       sync.Mutex
	elicits  []*mcp.ElicitParams
	samples  []*mcp.CreateMessageWithToolsParams
	answer   func(p *mcp.ElicitParams) (*mcp.ElicitResult, error)
	sampling bool
}

func (a *asked) options() *mcp.ClientOptions {
	o := &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{RootsV2: &mcp.RootCapabilities{}, Elicitation: &mcp.ElicitationCapabilities{Form: &mcp.FormElicitationCapabilities{}, URL: &mcp.URLElicitationCapabilities{}}},
		ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			a.mu.Lock()
			a.elicits = append(a.elicits, r.Params)
			a.mu.Unlock()
			return a.answer(r.Params)
		},
	}
	if a.sampling {
		o.CreateMessageWithToolsHandler = func(_ context.Context, r *mcp.CreateMessageWithToolsRequest) (*mcp.CreateMessageWithToolsResult, error) {
			a.mu.Lock()
			a.samples = append(a.samples, r.Params)
			a.mu.Unlock()
			return &mcp.CreateMessageWithToolsResult{Role: "assistant", Model: "m", Content: []mcp.Content{&mcp.TextContent{Text: "hi"}}}, nil
		}
	}
	return o
}

func accept(content map[string]any) func(*mcp.ElicitParams) (*mcp.ElicitResult, error) {
	return func(*mcp.ElicitParams) (*mcp.ElicitResult, error) {
		return &mcp.ElicitResult{Action: "accept", Content: content}, nil
	}
}

func (w *world) client(token, version string, o *mcp.ClientOptions) *mcp.ClientSession {
	w.t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, o)
	c.AddRoots(&mcp.Root{URI: "file:///home/ann", Name: "home"})
	s, err := c.Connect(w.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: w.url, HTTPClient: &http.Client{Transport: bearer{token}}, MaxRetries: -1,
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close() })
	return s
}

func contentText(t testing.TB, res *mcp.CallToolResult, err error) string {
	t.Helper()
	if err != nil || len(res.Content) == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	return res.Content[0].(*mcp.TextContent).Text
}

func TestPersonIsAskedWhatTheUpstreamAsks(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t, talks)
			w.asks(question1(methodElicit, formParams), question1(methodElicit, `{"mode":"url","message":"Connect.","url":"https://example.com/connect?state=abc","elicitationId":"e1"}`),
				question1(methodRoots, ``), question1(methodSample, `{"maxTokens":5,"includeContext":"allServers","messages":[{"role":"user","content":{"type":"text","text":"say hi"}}]}`))
			a := &asked{sampling: true, answer: func(p *mcp.ElicitParams) (*mcp.ElicitResult, error) {
				if p.Mode == "url" {
					return &mcp.ElicitResult{Action: "accept"}, nil
				}
				return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"zulu": "this", "alpha": 2}}, nil
			}}
			s := w.client(w.token(ann, "read"), version, a.options())
			res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look", Arguments: map[string]any{"id": 1}})
			got := contentText(t, res, err)
			if res.IsError || !strings.Contains(got, `"zulu":"this"`) || !strings.Contains(got, `{"action":"accept"}`) || !strings.Contains(got, "file:///home/ann") || !strings.Contains(got, `"text":"hi"`) {
				t.Errorf("the upstream was told %s", got)
			}
			if len(a.elicits) != 2 || len(a.samples) != 1 {
				t.Fatalf("asked %d and %d times", len(a.elicits), len(a.samples))
			}
			form, page := a.elicits[0], a.elicits[1]
			schema, _ := json.Marshal(form.RequestedSchema)
			if !strings.HasPrefix(form.Message, "The server Orders (orders) at Acme asks:\n\nWhich one?") || !strings.Contains(string(schema), "zulu") {
				t.Errorf("%+v", form)
			}
			if page.URL != "https://example.com/connect?state=abc" || page.ElicitationID != "e1" || !strings.HasPrefix(page.Message, "The server Orders (orders) at Acme asks:") || !strings.Contains(page.Message, "at example.com.") {
				t.Errorf("%+v", page)
			}
			if p := a.samples[0]; p.IncludeContext == "allServers" || p.Meta[metaAsker] != "orders" {
				t.Errorf("%+v", p)
			}
			// One call: one dispatch, one record, which says how often it asked.
			if len(w.dispatched) != 1 || !slices.Equal(w.phases(), []string{"outcome done "}) || fmt.Sprint(w.events[0].Notes[audit.NoteAsked]) != "map[elicitation/create:2 roots/list:1 sampling/createMessage:1]" {
				t.Errorf("%d dispatched, records %v, notes %v", len(w.dispatched), w.phases(), w.events[0].Notes)
			}
			if n := len(w.gateway.parking.calls); n != 0 {
				t.Errorf("%d calls are still parked", n)
			}
		})
	}
}

func TestPromptsAndResourcesMayAskToo(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t, talks)
			w.asks(question1(methodElicit, formParams))
			s := w.client(w.token(ann, "read"), version, (&asked{answer: accept(map[string]any{"zulu": "z"})}).options())
			p, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "greet", Arguments: map[string]string{"name": "Bo"}})
			if err != nil || !strings.Contains(p.Messages[0].Content.(*mcp.TextContent).Text, `"zulu":"z"`) {
				t.Errorf("%+v, %v", p, err)
			}
			r, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "doc://7"})
			if err != nil || !strings.Contains(r.Contents[0].Text, `"zulu":"z"`) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestDeclineIsTheUpstreamsAnswer(t *testing.T) {
	for era, version := range eras {
		for _, action := range []string{"decline", "cancel"} {
			t.Run(era+" "+action, func(t *testing.T) {
				w := newWorld(t, talks)
				w.asks(question1(methodElicit, formParams))
				s := w.client(w.token(ann, "read"), version, (&asked{answer: func(*mcp.ElicitParams) (*mcp.ElicitResult, error) {
					return &mcp.ElicitResult{Action: action, Content: map[string]any{"zulu": "not meant"}}, nil
				}}).options())
				res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
				if got := contentText(t, res, err); got != `[{"action":"`+action+`"}]` {
					t.Errorf("the upstream was told %s", got)
				}
			})
		}
	}
}

func TestClientThatCannotBeAskedIsToldSo(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t, talks)
			plain := w.client(w.token(ann, "read"), version, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}})
			only := w.client(w.token(ann, "read"), version, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{RootsV2: &mcp.RootCapabilities{}}})
			for what, q := range map[string]runtime.Question{"form": question1(methodElicit, formParams), "url": question1(methodElicit, `{"mode":"url","message":"m","url":"https://example.com/"}`),
				"sampling": question1(methodSample, `{"maxTokens":1,"messages":[{"role":"user","content":{"type":"text","text":"x"}}]}`), "unknown": question1("evil/thing", `{}`)} {
				for name, s := range map[string]*mcp.ClientSession{"without": plain, "with roots": only} {
					w.asks(q)
					res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
					if err != nil {
						t.Fatal(err)
					}
					if f := failureIn(t, res); f.Code != "client_cannot_answer" || f.Category != fault.Access {
						t.Errorf("%s, %s: %+v", what, name, f)
					}
				}
			}
		})
	}
}

// A client that declares that it can, and fails, is one that cannot.
func TestClientThatFailsAtAQuestion(t *testing.T) {
	w := newWorld(t, talks)
	w.asks(question1(methodElicit, formParams))
	s := w.client(w.token(ann, "read"), "2025-11-25", (&asked{answer: func(*mcp.ElicitParams) (*mcp.ElicitResult, error) { return nil, errors.New("canary") }}).options())
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
	if err != nil {
		t.Fatal(err)
	}
	if f := failureIn(t, res); f.Code != "client_cannot_answer" || strings.Contains(f.Message, "canary") {
		t.Errorf("%+v", f)
	}
}

func TestKindsThatDoNotAskAreNotGivenAWayTo(t *testing.T) {
	w := newWorld(t)
	w.asks(question1(methodElicit, formParams))
	s := w.client(w.token(ann, "read"), "2026-07-28", (&asked{answer: accept(nil)}).options())
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
	if err != nil || failureIn(t, res).Code != "client_cannot_answer" {
		t.Errorf("%+v, %v", res, err)
	}
}

// What an upstream asks is a stranger's text.
func TestQuestionsAreCleanedOrNotAsked(t *testing.T) {
	c := &call{ex: &exchange{hosted: registry.Hosted{Server: registry.Server{Slug: "orders", Title: "Or\u202Eders"}}}, name: "look"}
	c.can = askable{form: true, url: true, sampling: true, roots: true}
	q, err := c.prepare(question1(methodElicit, `{"message":"Type\u202E it\u0007\nhere`+strings.Repeat(" word", 3000)+`","_meta":{"x":1},
		"requestedSchema":{"type":"object","properties":{"b":{"type":"string","title":"B\u200Bee","enum":["x","y"],"enumNames":["X\u202E","Y"]},"a":{"type":"number","maximum":1e3}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	p := q.params.(*mcp.ElicitParams)
	schema := string(p.RequestedSchema.(json.RawMessage))
	if strings.ContainsAny(p.Message+schema, "\u202E\u200B\u0007") || len([]rune(p.Message)) > maxAskedText+300 || p.Meta["x"] != nil || strings.Index(schema, `"b"`) > strings.Index(schema, `"a"`) || !strings.Contains(schema, `"maximum":1e3`) || !strings.Contains(p.Message, "Or[U+202E]ders") {
		t.Errorf("asked %q with %s", p.Message, schema)
	}
	for name, bad := range map[string]runtime.Question{
		"http page":            question1(methodElicit, `{"mode":"url","message":"m","url":"http://example.com/"}`),
		"file page":            question1(methodElicit, `{"mode":"url","message":"m","url":"file:///etc/passwd"}`),
		"script page":          question1(methodElicit, `{"mode":"url","message":"m","url":"javascript:alert(1)"}`),
		"page with a user":     question1(methodElicit, `{"mode":"url","message":"m","url":"https://bank.example@evil.example/"}`),
		"page without host":    question1(methodElicit, `{"mode":"url","message":"m","url":"https:///x"}`),
		"page of other script": question1(methodElicit, `{"mode":"url","message":"m","url":"https://b\u0430nk.example/"}`),
		"long page":            question1(methodElicit, `{"mode":"url","message":"m","url":"https://example.com/`+strings.Repeat("x", maxURL)+`"}`),
		"long form":            question1(methodElicit, `{"message":"m","requestedSchema":{"type":"object","description":"`+strings.Repeat("x", maxFormBytes)+`"}}`),
		"form of no object":    question1(methodElicit, `{"message":"m","requestedSchema":{"type":"array"}}`),
		"hidden value":         question1(methodElicit, `{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"type":"string","enum":["a\u200Bb"]}}}}`),
		"hidden name":          question1(methodElicit, `{"message":"m","requestedSchema":{"type":"object","properties":{"a\u202Eb":{"type":"string"}}}}`),
		"form that fetches":    question1(methodElicit, `{"message":"m","requestedSchema":{"type":"object","$ref":"https://example.com/s"}}`),
		"deep form":            question1(methodElicit, `{"message":"m","requestedSchema":{"type":"object","properties":`+strings.Repeat(`{"a":`, 20)+`1`+strings.Repeat(`}`, 20)+`}}`),
		"no text":              question1(methodElicit, `{"message":7}`),
		"no messages":          question1(methodSample, `{"maxTokens":1,"messages":[]}`),
		"tools":                question1(methodSample, `{"maxTokens":1,"messages":[{"role":"user","content":{"type":"text","text":"x"}}],"tools":[{"name":"a","inputSchema":{"type":"object"}}]}`),
		"mode of tomorrow":     question1(methodElicit, `{"mode":"voice","message":"m"}`),
	} {
		if q, err := c.prepare(bad); !fault.HasCode(err, fault.Unanswerable) {
			t.Errorf("%s: %+v, %v", name, q.params, err)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add(formParams)
	f.Add(`{"mode":"url","message":"m","url":"https://example.com/?a=b","elicitationId":"x"}`)
	f.Add(`{"message":"a\u202Eb\n\n\u0000","requestedSchema":{"type":"object","properties":{"a":{"type":"array","items":{"anyOf":[{"const":"x","title":"X"}]}}}}}`)
	c := &call{ex: &exchange{hosted: registry.Hosted{Server: registry.Server{Slug: "orders"}}}, name: "look"}
	c.ex.tenant.Name = "Acme"
	c.can = askable{form: true, url: true, sampling: true, toolSampling: true, roots: true}
	f.Fuzz(func(t *testing.T, params string) {
		for _, method := range []string{methodElicit, methodSample} {
			q, err := c.prepare(question1(method, params))
			if err != nil {
				if !fault.HasCode(err, fault.Unanswerable) {
					t.Fatal(err)
				}
				continue
			}
			p, ok := q.params.(*mcp.ElicitParams)
			if !ok {
				continue
			}
			for _, line := range strings.Split(p.Message, "\n") {
				if oneLine(line, 2*maxAskedText) != line {
					t.Fatalf("a person is shown %q", line)
				}
			}
			if !strings.HasPrefix(p.Message, "The server orders at Acme asks:\n\n") && p.Message != "The server orders at Acme asks:" || len([]rune(p.Message)) > maxAskedText+300 {
				t.Fatalf("%q", p.Message)
			}
			if p.Mode == "url" {
				if !strings.HasPrefix(strings.ToLower(p.URL), "https://") || strings.ContainsAny(p.URL, " \t\n@") && strings.Contains(strings.SplitN(p.URL[8:], "/", 2)[0], "@") {
					t.Fatalf("page %q", p.URL)
				}
				continue
			}
			if schema := p.RequestedSchema.(json.RawMessage); !json.Valid(schema) || len(schema) > 8*maxFormBytes {
				t.Fatalf("form %s", schema)
			}
		}
	})
}

func TestLogsReachTheCallerThatAskedForThem(t *testing.T) {
	logging := func(level string, n int) runtime.Notification {
		return runtime.Notification{Method: "notifications/message", Params: json.RawMessage(fmt.Sprintf(`{"level":%q,"logger":"up\u202Estream","data":{"n":%d}}`, level, n))}
	}
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t, talks)
			ok := w.run
			w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
				if o.Notify != nil {
					o.Notify(logging("debug", 1))
					o.Notify(logging("warning", 2))
					o.Notify(runtime.Notification{Method: "notifications/tools/list_changed"})
					o.Notify(logging("made up", 3))
					o.Notify(logging("error", 4))
				}
				return ok(ctx, c, o)
			}
			got := make(chan *mcp.LoggingMessageParams, 10)
			s := w.client(w.token(ann, "read"), version, &mcp.ClientOptions{LoggingMessageHandler: func(_ context.Context, r *mcp.LoggingMessageRequest) { got <- r.Params }})
			if caps := s.InitializeResult().Capabilities; caps.Logging == nil {
				t.Errorf("capabilities %+v", caps)
			}
			p := &mcp.CallToolParams{Name: "look"}
			if era == "legacy" {
				if err := s.SetLoggingLevel(t.Context(), &mcp.SetLoggingLevelParams{Level: "warning"}); err != nil {
					t.Fatal(err)
				}
			} else {
				p.Meta = mcp.Meta{mcp.MetaKeyLogLevel: "warning"}
			}
			if _, err := s.CallTool(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			for _, want := range []float64{2, 4} {
				select {
				case m := <-got:
					if n := m.Data.(map[string]any)["n"]; n != want || strings.Contains(m.Logger, "\u202E") {
						t.Errorf("%+v, want number %g", m, want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("log %g did not come", want)
				}
			}
			// Without a level there is nobody to tell: the worker need not even send.
			if era == "modern" {
				w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
					if o.Notify != nil {
						t.Error("logs are asked for that nobody hears")
					}
					return ok(ctx, c, o)
				}
				if _, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestPromptsOfTheUpstreamAreCallsLikeEveryOther(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t, talks)
			w.run = func(_ context.Context, c *runtime.Call, _ DispatchOptions) (DispatchOutcome, error) {
				if c.Op != runtime.GetPrompt || c.Rule != "prompt:greet" || c.Access != registry.ReadAccess || string(c.Input) != `{"language":"fi","name":"Bo"}` {
					t.Errorf("dispatched %+v", c)
				}
				return DispatchOutcome{Worker: "w1", Result: &runtime.Result{Prompt: &mcp.GetPromptResult{Description: "d", Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "Moi Bo"}}}}}}, nil
			}
			s := w.client(w.token(ann, "read"), version, nil)
			list, err := s.ListPrompts(t.Context(), nil)
			if err != nil || len(list.Prompts) != 2 || list.Prompts[1].Name != "greet" || list.Prompts[1].Arguments[0].Title != "Whom" {
				t.Errorf("%+v, %v", list, err)
			}
			p, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "greet", Arguments: map[string]string{"name": "Bo", "language": "fi"}})
			if err != nil || p.Description != "d" || p.Messages[0].Content.(*mcp.TextContent).Text != "Moi Bo" {
				t.Errorf("%+v, %v", p, err)
			}
			for what, params := range map[string]*mcp.GetPromptParams{
				"a missing argument": {Name: "greet"}, "a long argument": {Name: "greet", Arguments: map[string]string{"name": strings.Repeat("x", maxPromptArgument+1)}},
				"another scope": {Name: "secretly"}, "no such prompt": {Name: "nothing"},
			} {
				if _, err := s.GetPrompt(t.Context(), params); err == nil {
					t.Errorf("%s: filled in", what)
				}
			}
			if got := w.phases(); len(w.dispatched) != 1 || got[0] != "outcome done " || w.events[0].Method != "prompts/get" || w.events[0].ResultBytes != 6 {
				t.Errorf("%d dispatched, records %v, %+v", len(w.dispatched), got, w.events[0])
			}
		})
	}
}

func TestCompletionsAreScopedAndCounted(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t, talks)
			values := make([]string, 150)
			for i := range values {
				values[i] = fmt.Sprintf("v\u202E%d", i)
			}
			w.run = func(_ context.Context, c *runtime.Call, _ DispatchOptions) (DispatchOutcome, error) {
				var p mcp.CompleteParams
				if err := json.Unmarshal(c.Input, &p); err != nil || c.Op != runtime.Complete || p.Argument.Value != "v" {
					t.Errorf("dispatched %+v, %v", c, err)
				}
				if want := map[string]string{"greet": "prompt:greet", "doc://{id}": "resource:doc"}[c.Name]; c.Rule != want {
					t.Errorf("%s has the guard %s", c.Name, c.Rule)
				}
				return DispatchOutcome{Worker: "w1", Result: &runtime.Result{Completion: &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: values}}}}, nil
			}
			s := w.client(w.token(ann, "read"), version, nil)
			if caps := s.InitializeResult().Capabilities; caps.Completions == nil {
				t.Errorf("capabilities %+v", caps)
			}
			greet := &mcp.CompleteReference{Type: "ref/prompt", Name: "greet"}
			for range 5 {
				res, err := s.Complete(t.Context(), &mcp.CompleteParams{Ref: greet, Argument: mcp.CompleteParamsArgument{Name: "language", Value: "v"}, Context: &mcp.CompleteContext{Arguments: map[string]string{"name": "Bo"}}})
				if err != nil || len(res.Completion.Values) != maxCompletions || !res.Completion.HasMore || strings.Contains(res.Completion.Values[0], "\u202E") {
					t.Fatalf("%+v, %v", res, err)
				}
			}
			if _, err := s.Complete(t.Context(), &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/resource", URI: "doc://{id}"}, Argument: mcp.CompleteParamsArgument{Name: "id", Value: "v"}}); err != nil {
				t.Error(err)
			}
			if res, err := s.Complete(t.Context(), &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "ask"}, Argument: mcp.CompleteParamsArgument{Name: "what", Value: "v"}}); err != nil || len(res.Completion.Values) != 0 {
				t.Errorf("a text of the tenant's own: %+v, %v", res, err)
			}
			n := len(w.dispatched)
			for what, p := range map[string]*mcp.CompleteParams{
				"another scope": {Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "secretly"}, Argument: mcp.CompleteParamsArgument{Name: "a"}},
				"nothing":       {Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "nothing"}, Argument: mcp.CompleteParamsArgument{Name: "a"}},
				"too long":      {Ref: greet, Argument: mcp.CompleteParamsArgument{Name: "language", Value: strings.Repeat("x", maxCompleted+1)}},
			} {
				if _, err := s.Complete(t.Context(), p); err == nil {
					t.Errorf("%s was completed", what)
				}
			}
			if len(w.dispatched) != n {
				t.Error("a refused completion reached a worker")
			}
			w.gateway.Close(t.Context())
			var done, refused, typed int
			for _, e := range w.events {
				switch {
				case e.Phase == audit.Refusal:
					refused++
				case e.Notes[audit.NoteTyped] != nil:
					typed += e.Notes[audit.NoteTyped].(int)
				case e.State == audit.Done:
					done++
				}
			}
			// Five of the prompt are one and one of four; that of the template is one.
			if done != 2 || typed != 4 || refused != 2 {
				t.Errorf("%d records, %d counted, %d refusals: %v", done, typed, refused, w.phases())
			}
		})
	}
}

func TestNobodySeesCompletionsOfWhatTheyMayNotUse(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t, talks)
			s := w.client(w.token(ann, "write"), version, nil)
			if caps := s.InitializeResult().Capabilities; caps.Completions != nil {
				t.Errorf("capabilities %+v", caps)
			}
		})
	}
}

func TestWhatTheUpstreamListsIsPassedOnButNeverOverThePlatform(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Config) {
		d := w.hosted.Revision.Definition
		d.Tools[0].Passed = json.RawMessage(`{"icons":[{"src":"https://example.com/i.png","mimeType":"image/png","sizes":["48x48"]},{"src":"http://example.com/i.png"},{"src":"javascript:x"},{"src":"data:image/png;base64,AA=="},{"src":"data:text/html,x"}],
			"_meta":{"ui":{"resourceUri":"ui://x"},"latchkey/deprecated":"no","io.modelcontextprotocol/serverInfo":{}},"annotations":{"title":"From upstream","readOnlyHint":false,"destructiveHint":true}}`)
		d.Resources[0].Passed = json.RawMessage(`{"annotations":{"audience":["user"],"priority":0.5},"size":12,"_meta":{"a":1}}`)
		d.Prompts[0].Passed = json.RawMessage(`{"icons":[{"src":"https://example.com/p.png"}]}`)
		d.Tools[1].Passed = json.RawMessage(`{"_meta":{"x":"` + strings.Repeat("x", maxPassed) + `"}}`)
	})
	s := w.connect(w.token(ann, "read", "write"), "2026-07-28")
	tools, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	look, refund := tools.Tools[0], tools.Tools[1]
	if len(look.Icons) != 2 || look.Icons[0].Source != "https://example.com/i.png" || look.Meta["ui"] == nil || look.Meta["latchkey/deprecated"] != nil || look.Meta["io.modelcontextprotocol/serverInfo"] != nil || !look.Annotations.ReadOnlyHint || *look.Annotations.DestructiveHint || look.Annotations.Title != "From upstream" {
		t.Errorf("%+v, %+v", look, look.Annotations)
	}
	if refund.Meta != nil {
		t.Error("what is far too large is passed on")
	}
	templates, err := s.ListResourceTemplates(t.Context(), nil)
	if err != nil || templates.ResourceTemplates[0].Annotations.Priority != 0.5 || templates.ResourceTemplates[0].Meta["a"] != 1.0 {
		t.Errorf("%+v, %v", templates, err)
	}
	prompts, err := s.ListPrompts(t.Context(), nil)
	if err != nil || len(prompts.Prompts[0].Icons) != 1 {
		t.Errorf("%+v, %v", prompts, err)
	}
}

func TestStatefulServersHaveAHome(t *testing.T) {
	for name, c := range map[string]struct {
		stateful, perUser bool
		want              string
	}{"stateless": {false, false, ""}, "one for all": {true, false, string(server1)}, "one for each": {true, true, string(server1) + "/" + string(ann)}} {
		w := newWorld(t, func(w *world, cfg *Config) {
			w.hosted.Server.PerUser = c.perUser
			cfg.Kinds = func(string) (runtime.Kind, bool) { return runtime.Kind{Stateful: c.stateful}, true }
		})
		got := "none"
		ok := w.run
		w.run = func(ctx context.Context, call *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
			got = o.Home
			return ok(ctx, call, o)
		}
		if w.call(w.token(ann, "read"), "look", `{}`); got != c.want {
			t.Errorf("%s: home %q", name, got)
		}
	}
}
