package mcpgateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/guard"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/switches"
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
	ready    atomic.Bool // once is done
	server   *mcp.Server
	tools    map[string]*directTool // by name
	direct   map[string]*directTool // those that direct.go may run
	listed   []*mcp.Tool            // by name
	info     json.RawMessage        // the metadata of every result
	offered  *offered               // beside the tools
	own      map[string]ownTool     // of a toolset that is searched: what it lists instead of its tools
	lastUsed time.Time

	mu      sync.Mutex
	openOf  string // the connection that open is the hash for
	open    string
	windows map[string]registry.Date // until when earlier versions go on, by revision and tool
}

// has reports whether a tool is called by this name here.
func (b *builtServer) has(name string) bool {
	if b.own != nil {
		return b.own[name] != nil
	}
	return b.tools[name] != nil
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
	b.once.Do(func() {
		s.gateway.build(h, b)
		b.ready.Store(true)
	})
	return b
}

// older is the entry of a revision that is not the active one any more, built.
// It is read from the store where this edge has not served it of late.
func (s *servers) older(ctx context.Context, h registry.Hosted, rev registry.RevisionID) (*builtServer, error) {
	b := s.entry(h, rev)
	if b.ready.Load() {
		return b, nil
	}
	r, err := s.gateway.cfg.Versions.Revision(ctx, h.Server.Tenant, rev)
	if err != nil {
		return nil, err
	}
	h.Revision = r
	return s.complete(h), nil
}

// openHash is the hash of what a worker opens, kept while the connection and its
// secrets are the same.
func (s *servers) openHash(h registry.Hosted, rev registry.Revision) string {
	b := s.entry(h, rev.ID)
	of := string(h.Server.Connection) + " " + h.Server.SecretsVersion
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
	return runtime.Opening{Tenant: s.Tenant, Server: s.ID, Revision: r.ID, Kind: r.Kind, PerUser: s.PerUser, Spec: r.Spec, Connection: s.Connection, SecretsVersion: s.SecretsVersion, Guard: runtime.GuardsOf(r.Definition)}
}

// build makes the SDK's server for a revision. Its schemas were checked when
// the revision was published; a tool that cannot be served all the same is
// left out and logged, and takes nothing else with it.
func (g *Gateway) build(h registry.Hosted, into *builtServer) {
	def := h.Revision.Definition
	self := &mcp.Implementation{Name: h.Server.Slug, Title: h.Server.Title, Version: fmt.Sprintf("%d", h.Revision.Number)}
	options := &mcp.ServerOptions{
		GetSessionID: func() string { return g.newID("ss") },
		Instructions: def.Instructions,
		Capabilities: g.capabilities(&def),
		// Nil where nothing is completed: then the SDK says so.
		CompletionHandler: g.completer(h.Revision),
		PageSize:          200,
		// Lists differ by person, and a change of rights must show soon: some
		// clients never listen for list_changed.
		SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) {
			c.CacheScope, c.TTLMs = "private", listTTL
		},
	}
	if def.Subscribe {
		options.SubscribeHandler, options.UnsubscribeHandler = g.onSubscribe, g.onUnsubscribe
	}
	srv := mcp.NewServer(self, options)
	into.tools, into.direct = map[string]*directTool{}, map[string]*directTool{}
	for i := range def.Tools {
		t := &def.Tools[i]
		listed, v, err := g.listedTool(t)
		if err != nil {
			g.cfg.Log.Error("tool left out", "server", h.Server.Slug, "tool", t.Name, "error", err)
			continue
		}
		if !def.Search {
			err = addTool(srv, listed, func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return g.callTool(ctx, h.Revision, t, v, req)
			})
			if err != nil {
				g.cfg.Log.Error("tool left out", "server", h.Server.Slug, "tool", t.Name, "error", err)
				continue
			}
		}
		into.listed = append(into.listed, listed)
		into.tools[t.Name] = &directTool{h.Revision, t, v, t.Confirmation.MayAsk(t.Risk), g.traits(h.Server.Kind).asks, t.TaskMode()}
		// Arguments that are to stand in headers too are the SDK's to compare.
		if !bytes.Contains(t.InputSchema, []byte("x-mcp-header")) {
			into.direct[t.Name] = into.tools[t.Name]
		}
	}
	slices.SortFunc(into.listed, func(a, b *mcp.Tool) int { return strings.Compare(a.Name, b.Name) })
	if def.Search {
		g.addSearch(srv, h.Revision, into)
	}
	into.offered = newOffered(&def)
	offers := recording{srv, into.offered}
	if len(def.Tools) > 0 {
		g.addKept(offers, h.Revision)
	}
	for i := range def.Resources {
		g.addResource(offers, h.Revision, &def.Resources[i])
	}
	for i := range def.Prompts {
		g.addPrompt(offers, h.Revision, &def.Prompts[i])
	}
	g.addTasks(srv)
	srv.AddReceivingMiddleware(g.recoverPanics, g.began, g.offerTasks, g.sawList, g.listen, g.followRevision(h.Revision.ID), g.filterLists, g.followOffered(h.Revision.ID), g.fallBack)
	srv.AddSendingMiddleware(sendAs, acknowledged)
	into.server = srv
	var err error
	if into.info, err = json.Marshal(mcp.Meta{mcp.MetaKeyServerInfo: self}); err != nil {
		into.direct = nil // strings only: it does not happen
	}
}

// listTTL is in milliseconds. Whatever a client may keep, it keeps after its
// rights have changed, as after a step-up.
const listTTL = 0

func addTool(srv *mcp.Server, t *mcp.Tool, handle mcp.ToolHandler) (err error) {
	defer func() {
		if p := recover(); p != nil { // AddTool panics on a bad schema
			err = fmt.Errorf("%v", p)
		}
	}()
	srv.AddTool(t, handle)
	return nil
}

// listedTool is a tool as a list has it.
func (g *Gateway) listedTool(t *registry.Tool) (tool *mcp.Tool, v *validator, err error) {
	if v, err = newValidator(t.InputSchema); err != nil {
		return nil, nil, err
	}
	also := passedOf(t.Passed)
	tool = &mcp.Tool{
		Meta: also.meta, Icons: also.icons,
		Name: t.Name, Title: t.Title, Description: described(t), InputSchema: servedSchema(t),
		Annotations: &mcp.ToolAnnotations{
			Title: cmp.Or(t.Title, also.title), ReadOnlyHint: t.Risk == registry.Reads, IdempotentHint: t.Idempotent,
			DestructiveHint: new(t.Risk == registry.Destructive), OpenWorldHint: new(t.OpenWorld),
		},
	}
	if len(t.OutputSchema) > 0 {
		tool.OutputSchema = json.RawMessage(`{"type":"object","anyOf":[` + string(guard.Schema(t.OutputSchema, t.Guard)) + `,` + errorSchema + `,` + keptSchema + `]}`)
	}
	if tool.Meta == nil {
		tool.Meta = mcp.Meta{}
	}
	if n := noticeOf(t); n != nil {
		tool.Meta[metaDeprecated] = n
	}
	if m := t.TaskMode(); m != registry.TaskForbidden && g.cfg.Tasks.Store != nil {
		tool.Meta[metaTask] = m
	}
	return tool, v, nil
}

func (g *Gateway) addResource(srv adder, rev registry.Revision, r *registry.Resource) {
	handler := func(ctx context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return g.readResource(ctx, rev, r, req)
	}
	defer func() {
		if p := recover(); p != nil {
			g.cfg.Log.Error("resource left out", "resource", r.Name, "error", p)
		}
	}()
	also := passedOf(r.Passed)
	if r.URITemplate != "" {
		srv.AddResourceTemplate(&mcp.ResourceTemplate{
			Name: r.Name, Title: r.Title, Description: r.Description, URITemplate: r.URITemplate, MIMEType: r.MIMEType,
			Meta: also.meta, Icons: also.icons, Annotations: also.annotations,
		}, handler)
		return
	}
	srv.AddResource(&mcp.Resource{
		Name: r.Name, Title: r.Title, Description: r.Description, URI: r.URI, MIMEType: r.MIMEType,
		Meta: also.meta, Icons: also.icons, Annotations: also.annotations, Size: also.size,
	}, handler)
}

// followRevision serves a session of a legacy client, which keeps the SDK's
// server that it began with, the tools of the revision that is active now. It
// also answers calls of tools that are there no more.
func (g *Gateway) followRevision(built registry.RevisionID) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			if method != "tools/list" && method != "tools/call" || req.GetExtra() == nil {
				return next(ctx, method, req)
			}
			ex := exchangeOf(req.GetExtra().TokenInfo)
			if ex == nil {
				return next(ctx, method, req)
			}
			other := ex.hosted.Revision.ID != built
			switch req := req.(type) {
			case *mcp.ListToolsRequest:
				if other {
					return g.listTools(ctx, ex, &mcp.ListToolsResult{Tools: slices.Clone(g.servers.complete(ex.hosted).listed)})
				}
				res, err := next(ctx, method, req)
				if list, ok := res.(*mcp.ListToolsResult); ok && err == nil {
					return g.listTools(ctx, ex, list)
				}
				return res, err
			case *mcp.CallToolRequest:
				if other || !g.servers.complete(ex.hosted).has(req.Params.Name) {
					return g.callNamed(ctx, ex, req)
				}
			}
			return next(ctx, method, req)
		}
	}
}

// listTools leaves of a list what is past its sunset and what the caller may not
// use, and remembers that they have it.
func (g *Gateway) listTools(ctx context.Context, ex *exchange, res *mcp.ListToolsResult) (mcp.Result, error) {
	hidden, off, err := g.hidden(ctx, ex)
	if err != nil {
		return nil, err
	}
	b, now := g.servers.complete(ex.hosted), g.cfg.Now()
	res.Tools = slices.DeleteFunc(res.Tools, func(t *mcp.Tool) bool {
		if b.own != nil {
			return b.own[t.Name] == nil
		}
		known := b.tools[t.Name]
		return known == nil || hidden(known.tool.Scope) || off(t.Name) || known.tool.Deprecated.Gone(now)
	})
	g.listings.remember(ex, &ex.hosted)
	g.rememberMembers(ctx, ex)
	return res, nil
}

// hidden tells which scopes the token, the roles or a switch do not open now,
// and which tools are switched off by name.
func (g *Gateway) hidden(ctx context.Context, ex *exchange) (scopes, tools func(string) bool, err error) {
	access, err := g.cfg.People.Access(ctx, ex.tenant.ID, ex.principal.User)
	if err != nil {
		return nil, nil, rpcError(fault.Of(err), "")
	}
	sets, err := g.switchesFor(ctx, ex.tenant.ID)
	if err != nil {
		return nil, nil, rpcError(fault.Of(err), "")
	}
	now := g.cfg.Now()
	_, allOff := sets.find((*switches.Set).Of, now, ex.switchable())
	scopes = func(scope string) bool {
		return scope == "" || allOff || !ex.principal.Has(scope) || !access.Allows(ex.hosted.Server.ID, scope)
	}
	at, known := memberLook{g: g, ex: ex}, map[string]*directTool(nil)
	if len(ex.hosted.Revision.Definition.Origins()) > 0 {
		known = g.servers.complete(ex.hosted).tools
	}
	tools = func(tool string) bool {
		c := ex.switchable()
		c.Tool = tool
		about := []switches.Call{c}
		if t := known[tool]; t != nil && t.tool.Origin != nil {
			if at.gone(ctx, t.tool.Origin) {
				return true
			}
			about = append(about, ex.switchableAt(t.tool.Origin))
		}
		_, off := sets.find((*switches.Set).Of, now, about...)
		return off
	}
	return scopes, tools, nil
}

// filterLists shows only what the token and the roles open now and what is not
// switched off. It hides; what refuses is allow.
func (g *Gateway) filterLists(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		res, err := next(ctx, method, req)
		if err != nil {
			return res, err
		}
		switch caps := capabilitiesIn(res); {
		case *caps != nil && (*caps).Completions != nil: // only where there is something to complete
			ex := exchangeOf(req.GetExtra().TokenInfo)
			hidden, _, err := g.hidden(ctx, ex)
			if err != nil {
				return nil, err
			}
			any := false
			for _, c := range completables(&ex.hosted.Revision.Definition) {
				any = any || !hidden(c.scope)
			}
			if !any {
				without := **caps
				without.Completions = nil
				*caps = &without
			}
			return res, nil
		case !strings.HasSuffix(method, "/list"):
			return res, nil
		}
		ex := exchangeOf(req.GetExtra().TokenInfo)
		now, def := g.servers.complete(ex.hosted).offered, &ex.hosted.Revision.Definition
		hidden, off, err := g.hidden(ctx, ex)
		if err != nil {
			return nil, err
		}
		noTools := !slices.ContainsFunc(def.Tools, func(t registry.Tool) bool { return !hidden(t.Scope) && !off(t.Name) })
		switch res := res.(type) {
		case *mcp.ListResourcesResult:
			res.Resources = slices.DeleteFunc(res.Resources, func(r *mcp.Resource) bool { return hidden(now.resourceScopes[r.URI]) })
		case *mcp.ListResourceTemplatesResult:
			res.ResourceTemplates = slices.DeleteFunc(res.ResourceTemplates, func(r *mcp.ResourceTemplate) bool {
				if r.URITemplate == guard.KeptTemplate { // what is read through it has the scope of its tool
					return noTools
				}
				return hidden(now.resourceScopes[r.URITemplate])
			})
		case *mcp.ListPromptsResult:
			res.Prompts = slices.DeleteFunc(res.Prompts, func(p *mcp.Prompt) bool { return hidden(now.promptScopes[p.Name]) })
		}
		return res, nil
	}
}

// capabilitiesIn is where a result says what the server can do; of most results,
// nowhere.
func capabilitiesIn(res mcp.Result) **mcp.ServerCapabilities {
	switch r := res.(type) {
	case *mcp.InitializeResult:
		return &r.Capabilities
	case *mcp.DiscoverResult:
		return &r.Capabilities
	}
	return new(*mcp.ServerCapabilities)
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
