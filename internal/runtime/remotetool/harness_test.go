package remotetool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"gopkg.in/yaml.v3"

	"latchkey/internal/egress"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// eras are the ways in which a server may speak.
var eras = []string{"2026-07-28", "2025-11-25", "sse"}

// upstreamServer is a real MCP server of the SDK's over HTTP.
type upstreamServer struct {
	*httptest.Server
	mcp     *mcp.Server
	working atomic.Int64 // slow calls that run
	calls   atomic.Int64 // of tools
	away    atomic.Bool

	mu      sync.Mutex
	headers []http.Header // of every request
	seen    []*mcp.CallToolParamsRaw
}

// newUpstreamServer serves in one era. token, where there is one, is asked of
// every request.
func newUpstreamServer(t testing.TB, era, token string) *upstreamServer {
	u := &upstreamServer{mcp: mcp.NewServer(&mcp.Implementation{Name: "upstream", Version: "1"}, &mcp.ServerOptions{
		Instructions: "Use it well.",
		CompletionHandler: func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{"one", "two"}, Total: 2}}, nil
		},
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})}
	u.offer()
	get := func(*http.Request) *mcp.Server { return u.mcp }
	var h http.Handler
	switch era {
	case "2026-07-28":
		h = mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})
	case "2025-11-25":
		h = mcp.NewStreamableHTTPHandler(get, nil)
	default:
		h = mcp.NewSSEHandler(get, nil)
	}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.headers = append(u.headers, r.Header.Clone())
		u.mu.Unlock()
		if u.away.Load() {
			panic(http.ErrAbortHandler)
		}
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

func (u *upstreamServer) tool(t *mcp.Tool, f func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error)) {
	if t.InputSchema == nil {
		t.InputSchema = json.RawMessage(`{"type":"object","properties":{"text":{"type":"string"}}}`)
	}
	u.mcp.AddTool(t, func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		u.calls.Add(1)
		u.mu.Lock()
		u.seen = append(u.seen, req.Params)
		u.mu.Unlock()
		return f(ctx, req)
	})
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

func argument(req *mcp.CallToolRequest) string {
	var a struct{ Text string }
	_ = json.Unmarshal(req.Params.Arguments, &a)
	return a.Text
}

// reads marks a tool as one that changes nothing.
var reads = &mcp.ToolAnnotations{ReadOnlyHint: true}

func (u *upstreamServer) offer() {
	u.tool(&mcp.Tool{Name: "echo", Description: "Says it back.", Annotations: reads}, func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("you said: " + argument(req)), nil
	})
	u.tool(&mcp.Tool{Name: "fails", Annotations: reads}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		r := text("it failed")
		r.IsError = true
		return r, nil
	})
	u.tool(&mcp.Tool{Name: "slow", Annotations: reads}, func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		u.working.Add(1)
		defer u.working.Add(-1)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Minute):
			return text("at last"), nil
		}
	})
	u.tool(&mcp.Tool{Name: "big", Annotations: reads}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text(strings.Repeat("0123456789abcdef", 1<<17)), nil // 2 MB
	})
	u.tool(&mcp.Tool{Name: "write"}, func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("written"), nil
	})
	u.tool(&mcp.Tool{Name: "rich", Annotations: reads, Meta: mcp.Meta{"ui": map[string]any{"resourceUri": "ui://x"}}, Icons: []mcp.Icon{{Source: "https://example.com/i.png"}}}, func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{
			Meta: mcp.Meta{"vendor/x": "y", "latchkey/forged": true},
			Content: []mcp.Content{
				&mcp.TextContent{Text: "text", Annotations: &mcp.Annotations{Priority: 0.5}},
				&mcp.ImageContent{Data: []byte("png"), MIMEType: "image/png"},
				&mcp.AudioContent{Data: []byte("wav"), MIMEType: "audio/wav"},
				&mcp.ResourceLink{URI: "res://a", Name: "a"},
				&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "res://b", MIMEType: "text/plain", Text: "b"}},
			},
			StructuredContent: json.RawMessage(`{"big":12345678901234567890,"n":1}`),
		}, nil
	})
	u.tool(&mcp.Tool{Name: "chatty", Annotations: reads}, func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 3 {
			if token := req.Params.GetProgressToken(); token != nil {
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Progress: float64(i + 1), Total: 3, Message: "step"})
			}
			_ = req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: fmt.Sprintf("%s %d", argument(req), i)})
		}
		return text("done"), nil
	})
	u.tool(&mcp.Tool{Name: "asks", Annotations: reads}, func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		schema := json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}}}`)
		answer := func(res *mcp.ElicitResult, roots *mcp.ListRootsResult) *mcp.CallToolResult {
			return text(fmt.Sprintf("%s %v %d", res.Action, res.Content["name"], len(roots.Roots)))
		}
		if req.ProtocolVersion() >= "2026-07-28" {
			if req.Params.InputResponses == nil {
				return &mcp.CallToolResult{RequestState: "s1", InputRequests: mcp.InputRequestMap{
					"who":   &mcp.ElicitParams{Message: argument(req), RequestedSchema: schema},
					"roots": &mcp.ListRootsParams{},
				}}, nil
			}
			if req.Params.RequestState != "s1" {
				return nil, errors.New("the state was not given back")
			}
			return answer(req.Params.InputResponses["who"].(*mcp.ElicitResult), req.Params.InputResponses["roots"].(*mcp.ListRootsResult)), nil
		}
		res, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: argument(req), RequestedSchema: schema})
		if err != nil {
			return nil, err
		}
		roots, err := req.Session.ListRoots(ctx, nil)
		if err != nil {
			roots = &mcp.ListRootsResult{}
		}
		return answer(res, roots), nil
	})
	u.mcp.AddResource(&mcp.Resource{URI: "res://note", Name: "note", MIMEType: "text/plain"}, func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, MIMEType: "text/plain", Text: "a note"}}}, nil
	})
	u.mcp.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "res://item/{id}", Name: "item"}, func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		if strings.HasSuffix(req.Params.URI, "/none") {
			return nil, mcp.ResourceNotFoundError(req.Params.URI)
		}
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, Text: "item"}}}, nil
	})
	u.mcp.AddPrompt(&mcp.Prompt{Name: "greet", Arguments: []*mcp.PromptArgument{{Name: "who", Required: true}}}, func(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return &mcp.GetPromptResult{Description: "Greets.", Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "Hello " + req.Params.Arguments["who"]}}}}, nil
	})
}

// loopback lets workers of tests connect to this machine.
var loopback = &egress.Policy{Allow: egress.Loopback()}

// fixed is a Vault that has the same fields for everybody.
type fixed struct {
	fields    map[string]secret.Text
	byUser    map[tenants.UserID]map[string]secret.Text
	discarded atomic.Int64
}

func (f *fixed) Get(_ context.Context, req vault.LeaseRequest) (vault.Lease, func(), error) {
	fields := f.fields
	if f.byUser != nil {
		fields = f.byUser[req.User]
	}
	return vault.Lease{ID: "lease", Fields: fields, Until: time.Now().Add(time.Minute), Expired: make(chan struct{}), Discard: func() { f.discarded.Add(1) }}, func() {}, nil
}

// connectionOf checks a declared connection.
func connectionOf(t testing.TB, declared string) json.RawMessage {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(declared), &n); err != nil {
		t.Fatal(err)
	}
	normalized, _, problems := Kind.CheckConnection(&n)
	if len(problems) > 0 {
		t.Fatal((&registry.Problems{List: problems}).Error())
	}
	return normalized
}

func specOf(t testing.TB, declared string) json.RawMessage {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(declared), &n); err != nil {
		t.Fatal(err)
	}
	normalized, _, problems := Kind.Check(&n)
	if len(problems) > 0 {
		t.Fatal((&registry.Problems{List: problems}).Error())
	}
	return normalized
}

// bench is a worker with one open server.
type bench struct {
	testing.TB
	worker  *runtime.Worker
	opening runtime.Opening
	def     registry.Definition
	leases  runtime.Leases
}

func (b *bench) Opening(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
	return b.opening, nil
}

// newBench opens a server as the platform does: what it offers is discovered,
// pinned and defined.
func newBench(t testing.TB, connection json.RawMessage, spec string, leases runtime.Leases) *bench {
	t.Helper()
	b := unpinned(t, connection, spec, leases)
	res, err := b.run(context.Background(), b.call(runtime.Discover, "server", ""), runtime.Back{})
	if err != nil {
		t.Fatal(err)
	}
	b.pin(*res.Offer)
	return b
}

func unpinned(t testing.TB, connection json.RawMessage, spec string, leases runtime.Leases) *bench {
	t.Helper()
	b := &bench{TB: t, leases: leases, opening: runtime.Opening{
		Tenant: tenants.NewID(), Server: tenants.NewServerID(), Revision: registry.RevisionID(tenants.RandomID("rv")),
		Kind: "remote", Spec: specOf(t, spec), Connection: connection, Guard: map[string]registry.OutputGuard{},
	}}
	var c struct {
		Credentials struct {
			PerUser bool `json:"per_user"`
		}
	}
	_ = json.Unmarshal(connection, &c)
	b.opening.PerUser = c.Credentials.PerUser
	b.worker = runtime.NewWorker(runtime.WorkerConfig{Name: "w", Kinds: []runtime.Kind{Kind}, Openings: b, Leases: leases, Host: runtime.Host{Egress: loopback}})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.worker.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

// pin makes a revision of an offer.
func (b *bench) pin(o registry.Offer) {
	b.Helper()
	o.Seal()
	spec, def, problems := Kind.Define(b.opening.Spec, o)
	if len(problems) > 0 {
		b.Fatal((&registry.Problems{List: problems}).Error())
	}
	b.def = def
	b.opening.Spec, b.opening.Guard = spec, runtime.GuardsOf(def)
	b.opening.Revision = registry.RevisionID(tenants.RandomID("rv"))
}

func (b *bench) call(op runtime.Op, name, input string) *runtime.Call {
	return b.callOf(b.opening.Hash(), op, name, input)
}

func (b *bench) callOf(hash string, op runtime.Op, name, input string) *runtime.Call {
	c := &runtime.Call{
		ID: tenants.RandomID("ca"), Tenant: b.opening.Tenant, Server: b.opening.Server, Revision: b.opening.Revision,
		OpenHash: hash, Op: op, Name: name, Access: registry.ReadAccess, Deadline: time.Now().Add(time.Minute),
		Caller: runtime.Caller{User: user, Email: "ada@example.com"}, Grant: secret.Text("a-grant-of-ours" + tenants.RandomID("")),
		Asks: `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}`,
	}
	if input != "" {
		c.Input = json.RawMessage(input)
	}
	switch op {
	case runtime.ReadResource:
		c.Rule = runtime.ResourceRule(b.ruleOf(name))
	case runtime.GetPrompt:
		c.Rule = runtime.PromptRule(name)
	case runtime.Complete:
		c.Rule = runtime.PromptRule("greet")
	}
	return c
}

func (b *bench) ruleOf(uri string) string {
	if strings.HasPrefix(uri, "res://item/") {
		return "item"
	}
	return "note"
}

var user = tenants.NewUserID()

func (b *bench) run(ctx context.Context, c *runtime.Call, back runtime.Back) (*runtime.Result, error) {
	return b.worker.Run(ctx, c, time.Now().Add(time.Minute), back)
}

func (b *bench) must(op runtime.Op, name, input string) *runtime.Result {
	b.Helper()
	res, err := b.run(context.Background(), b.call(op, name, input), runtime.Back{})
	if err != nil {
		b.Fatalf("%s %s: %v", op, name, err)
	}
	return res
}

// write makes a call one with effects.
func write(c *runtime.Call) *runtime.Call {
	c.Access = registry.WriteAccess
	return c
}

func textOf(r *runtime.Result) string {
	var all []string
	for _, c := range r.Tool.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			all = append(all, t.Text)
		}
	}
	return strings.Join(all, " ")
}

// eventually waits for what happens elsewhere.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
