package mcpgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// servers keeps one SDK server for each revision: building one with 50 tools
// costs 5 ms. What a token may see of it is filtered for each list.
type servers struct {
	gateway *Gateway
	mu      sync.Mutex
	built   map[builtKey]*builtServer
}

type builtKey struct {
	tenant   tenants.ID
	revision registry.RevisionID
}

type builtServer struct {
	once     sync.Once
	server   *mcp.Server
	direct   map[string]*directTool // by name
	info     json.RawMessage        // the metadata of every result
	lastUsed time.Time

	mu     sync.Mutex
	openOf string // the connection that open is the hash for
	open   string
}

// maxBuilt bounds the memory of built servers; a legacy session keeps its own.
const maxBuilt = 2000

func newServers(g *Gateway) *servers {
	return &servers{gateway: g, built: map[builtKey]*builtServer{}}
}

func (s *servers) entry(h registry.Hosted, rev registry.RevisionID) *builtServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := builtKey{h.Server.Tenant, rev}
	b := s.built[key]
	if b == nil {
		if len(s.built) >= maxBuilt {
			s.evictOldest()
		}
		b = &builtServer{}
		s.built[key] = b
	}
	b.lastUsed = time.Now()
	return b
}

func (s *servers) evictOldest() {
	var oldest builtKey
	var at time.Time
	for k, b := range s.built {
		if at.IsZero() || b.lastUsed.Before(at) {
			oldest, at = k, b.lastUsed
		}
	}
	delete(s.built, oldest)
}

func (s *servers) get(h registry.Hosted) *mcp.Server { return s.complete(h).server }

// directTool is the tool of that name, if direct.go may run it.
func (s *servers) directTool(h registry.Hosted, name string) *directTool {
	return s.complete(h).direct[name]
}

// info is what every result of the newest revision says of its server.
func (s *servers) info(h registry.Hosted) json.RawMessage { return s.complete(h).info }

// complete is the entry of the active revision, built.
func (s *servers) complete(h registry.Hosted) *builtServer {
	b := s.entry(h, h.Revision.ID)
	b.once.Do(func() { s.gateway.build(h, b) })
	return b
}

// openHash is the hash of what a worker opens, kept while the connection is
// the same.
func (s *servers) openHash(h registry.Hosted, rev registry.Revision) string {
	b := s.entry(h, rev.ID)
	of := string(h.Server.Connection)
	if h.Server.PerUser {
		of += " per user"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == "" || b.openOf != of {
		b.openOf, b.open = of, OpeningOf(h.Server, rev).Hash()
	}
	return b.open
}

// OpeningOf is what a worker needs to open a revision of a server.
func OpeningOf(s registry.Server, r registry.Revision) runtime.Opening {
	return runtime.Opening{Tenant: s.Tenant, Server: s.ID, Revision: r.ID, Kind: r.Kind, PerUser: s.PerUser, Spec: r.Spec, Connection: s.Connection}
}

// build makes the SDK's server for a revision. Its schemas were checked when
// the revision was published; a tool that cannot be served all the same is
// left out and logged, and takes nothing else with it.
func (g *Gateway) build(h registry.Hosted, into *builtServer) {
	def := h.Revision.Definition
	self := &mcp.Implementation{Name: h.Server.Slug, Title: h.Server.Title, Version: fmt.Sprintf("%d", h.Revision.Number)}
	srv := mcp.NewServer(
		self,
		&mcp.ServerOptions{
			Instructions: def.Instructions,
			Capabilities: &mcp.ServerCapabilities{},
			PageSize:     200,
			// Lists differ by person, and a change of rights must show soon: some
			// clients never listen for list_changed.
			SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) {
				c.CacheScope, c.TTLMs = "private", listTTL
			},
		})
	into.direct = map[string]*directTool{}
	for i := range def.Tools {
		t := &def.Tools[i]
		v, err := g.addTool(srv, h.Revision, t)
		if err != nil {
			g.cfg.Log.Error("tool left out", "server", h.Server.Slug, "tool", t.Name, "error", err)
			continue
		}
		// Arguments that are to stand in headers too are the SDK's to compare.
		if !bytes.Contains(t.InputSchema, []byte("x-mcp-header")) {
			into.direct[t.Name] = &directTool{h.Revision, t, v}
		}
	}
	for i := range def.Resources {
		g.addResource(srv, h.Revision, &def.Resources[i])
	}
	for i := range def.Prompts {
		g.addPrompt(srv, h.Revision, &def.Prompts[i])
	}
	srv.AddReceivingMiddleware(g.recoverPanics, g.filterLists(h.Server.ID, &def))
	into.server = srv
	var err error
	if into.info, err = json.Marshal(mcp.Meta{mcp.MetaKeyServerInfo: self}); err != nil {
		into.direct = nil // strings only: it does not happen
	}
}

// listTTL is in milliseconds. Whatever a client may keep, it keeps after its
// rights have changed, as after a step-up.
const listTTL = 0

func (g *Gateway) addTool(srv *mcp.Server, rev registry.Revision, t *registry.Tool) (v *validator, err error) {
	defer func() {
		if p := recover(); p != nil { // AddTool panics on a bad schema
			err = fmt.Errorf("%v", p)
		}
	}()
	if v, err = newValidator(t.InputSchema); err != nil {
		return nil, err
	}
	tool := &mcp.Tool{
		Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: t.InputSchema,
		Annotations: &mcp.ToolAnnotations{
			Title: t.Title, ReadOnlyHint: t.Risk == registry.Reads, IdempotentHint: t.Idempotent,
			DestructiveHint: new(t.Risk == registry.Destructive), OpenWorldHint: new(t.OpenWorld),
		},
	}
	if len(t.OutputSchema) > 0 {
		tool.OutputSchema = json.RawMessage(`{"type":"object","anyOf":[` + string(t.OutputSchema) + `,` + errorSchema + `]}`)
	}
	srv.AddTool(tool, func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return g.callTool(ctx, rev, t, v, req), nil
	})
	return v, nil
}

func (g *Gateway) addResource(srv *mcp.Server, rev registry.Revision, r *registry.Resource) {
	handler := func(ctx context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return g.readResource(ctx, rev, r, req)
	}
	defer func() {
		if p := recover(); p != nil {
			g.cfg.Log.Error("resource left out", "resource", r.Name, "error", p)
		}
	}()
	if r.URITemplate != "" {
		srv.AddResourceTemplate(&mcp.ResourceTemplate{Name: r.Name, Title: r.Title, Description: r.Description, URITemplate: r.URITemplate, MIMEType: r.MIMEType}, handler)
		return
	}
	srv.AddResource(&mcp.Resource{Name: r.Name, Title: r.Title, Description: r.Description, URI: r.URI, MIMEType: r.MIMEType}, handler)
}

// addPrompt serves a prompt at the edge: it is text of the tenant's own, and
// needs no worker. It is under a scope and on record all the same.
func (g *Gateway) addPrompt(srv *mcp.Server, rev registry.Revision, p *registry.Prompt) {
	prompt := &mcp.Prompt{Name: p.Name, Title: p.Title, Description: p.Description}
	for _, a := range p.Arguments {
		prompt.Arguments = append(prompt.Arguments, &mcp.PromptArgument{Name: a.Name, Description: a.Description, Required: a.Required})
	}
	srv.AddPrompt(prompt, func(ctx context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		input, _ := json.Marshal(req.Params.Arguments)
		c := &call{
			ex: exchangeOf(req.Extra.TokenInfo), id: newCallID(), op: "prompts/get", name: p.Name, scope: p.Scope, hash: p.Hash,
			risk: registry.Reads, timeout: defaultTimeout, revision: rev, input: input, began: time.Now(), trace: traceparent(req.Params.Meta, exchangeOf(req.Extra.TokenInfo)),
		}
		text, err := "", g.allow(ctx, c)
		if err == nil {
			text, err = fillPrompt(p, req.Params.Arguments)
		}
		if err != nil {
			return nil, rpcError(fault.Of(g.recordRefusal(ctx, c, err)), c.id)
		}
		if err := g.add(ctx, c.event(audit.Outcome, audit.Done)); err != nil {
			return nil, rpcError(fault.Of(err), c.id)
		}
		return &mcp.GetPromptResult{Description: p.Description, Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: text}}}}, nil
	})
}

// fillPrompt puts arguments into the text, once: a value is never looked at
// for further places.
func fillPrompt(p *registry.Prompt, arguments map[string]string) (string, error) {
	var pairs []string
	for _, a := range p.Arguments {
		v, given := arguments[a.Name]
		if !given && a.Required {
			return "", fault.New(fault.InvalidArguments, "The prompt needs the argument %s.", a.Name).
				WithDetails(fault.Detail{Pointer: "/" + a.Name, Reason: "it is missing", Fix: "add it"})
		}
		if len(v) > 10_000 {
			return "", fault.New(fault.InvalidArguments, "The argument %s is longer than 10000 bytes.", a.Name)
		}
		pairs = append(pairs, "{{"+a.Name+"}}", v)
	}
	return strings.NewReplacer(pairs...).Replace(p.Text), nil
}

// filterLists shows only what the token and the roles open now. It hides; what
// refuses is allow.
func (g *Gateway) filterLists(server registry.ServerID, def *registry.Definition) mcp.Middleware {
	scopeOf := map[string]string{}
	for _, t := range def.Tools {
		scopeOf["tool "+t.Name] = t.Scope
	}
	for _, r := range def.Resources {
		scopeOf["resource "+r.URI+r.URITemplate] = r.Scope
	}
	for _, p := range def.Prompts {
		scopeOf["prompt "+p.Name] = p.Scope
	}
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			res, err := next(ctx, method, req)
			if err != nil || !strings.HasSuffix(method, "/list") {
				return res, err
			}
			ex := exchangeOf(req.GetExtra().TokenInfo)
			access, err := g.cfg.People.Access(ctx, ex.tenant.ID, ex.principal.User)
			if err != nil {
				return nil, rpcError(fault.Of(err), "")
			}
			hidden := func(what string) bool {
				scope, known := scopeOf[what]
				return !known || !ex.principal.Has(scope) || !access.Allows(server, scope)
			}
			switch res := res.(type) {
			case *mcp.ListToolsResult:
				res.Tools = slices.DeleteFunc(res.Tools, func(t *mcp.Tool) bool { return hidden("tool " + t.Name) })
			case *mcp.ListResourcesResult:
				res.Resources = slices.DeleteFunc(res.Resources, func(r *mcp.Resource) bool { return hidden("resource " + r.URI) })
			case *mcp.ListResourceTemplatesResult:
				res.ResourceTemplates = slices.DeleteFunc(res.ResourceTemplates, func(r *mcp.ResourceTemplate) bool { return hidden("resource " + r.URITemplate) })
			case *mcp.ListPromptsResult:
				res.Prompts = slices.DeleteFunc(res.Prompts, func(p *mcp.Prompt) bool { return hidden("prompt " + p.Name) })
			}
			return res, nil
		}
	}
}

// recoverPanics keeps a handler from taking the process down.
func (g *Gateway) recoverPanics(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (res mcp.Result, err error) {
		defer func() {
			if p := recover(); p != nil {
				g.cfg.Log.ErrorContext(ctx, "panic in a handler", "method", method, "panic", p, "stack", string(debug.Stack()))
				res, err = nil, rpcError(fault.Of(fmt.Errorf("panic: %v", p)), "")
			}
		}()
		return next(ctx, method, req)
	}
}
