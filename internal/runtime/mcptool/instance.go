package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// Instance passes calls through to an upstream, and what the upstream says back
// to their callers. It runs only what is pinned in its spec.
type Instance struct {
	spec Spec
	up   Upstream
	log  *slog.Logger
}

// New makes an instance of the shared part of an opening's spec. It owns the
// upstream from then on.
func New(s Spec, up Upstream, log *slog.Logger) *Instance {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Instance{spec: s, up: up, log: log}
}

var (
	_ runtime.Instance   = (*Instance)(nil)
	_ runtime.Prompter   = (*Instance)(nil)
	_ runtime.Completer  = (*Instance)(nil)
	_ runtime.Prober     = (*Instance)(nil)
	_ runtime.Listener   = (*Instance)(nil)
	_ runtime.Discoverer = (*Instance)(nil)
)

// Keys of a request's _meta that are the platform's. The first is W3C Trace
// Context's, as MCP has it.
const (
	metaTraceparent    = "traceparent"
	metaIdempotencyKey = "latchkey/idempotencyKey"
)

// maxRounds is how often an upstream may ask for more input in one call.
const maxRounds = 10

// run runs part of a call on a session. One that only reads, or that never
// reached the upstream, is run once more where its session broke.
func run[T any](ctx context.Context, in *Instance, c *runtime.Call, env runtime.Env, do func(r *Running) (T, error)) (res T, s *Session, err error) {
	for again := false; ; again = true {
		if s, err = in.up.Session(ctx, c, env); err != nil {
			return res, nil, in.failed(ctx, c, nil, err)
		}
		r, err := s.begin(ctx, c, env)
		if err != nil { // it broke meanwhile
			if !again {
				continue
			}
			return res, nil, in.failed(ctx, c, nil, err)
		}
		res, err := do(r)
		r.finish()
		if err == nil {
			return res, s, nil
		}
		err = r.because(err)
		broke := s.Err()
		if (broke != nil || errors.Is(err, ErrInterrupted)) && !isFault(err) && !again && ctx.Err() == nil && (c.Access == registry.ReadAccess || !r.mayHaveRun()) {
			continue
		}
		if broke != nil {
			err = errors.Join(err, broke)
		}
		return res, nil, in.failed(ctx, c, r, err)
	}
}

func isFault(err error) bool {
	var f *fault.Error
	return errors.As(err, &f)
}

// meta is that of a request to the upstream.
func (r *Running) meta() mcp.Meta {
	m := mcp.Meta{"progressToken": r.id}
	if r.call.Traceparent != "" {
		m[metaTraceparent] = r.call.Traceparent
	}
	if r.call.IdempotencyKey != "" {
		m[metaIdempotencyKey] = r.call.IdempotencyKey
	}
	if r.call.LogLevel != "" && r.session.modern() {
		m[mcp.MetaKeyLogLevel] = r.call.LogLevel
	}
	if r.session.modern() { // of this caller; a session of before has one answer for all
		m[mcp.MetaKeyClientCapabilities] = json.RawMessage("{}")
		if json.Valid([]byte(r.call.Asks)) {
			m[mcp.MetaKeyClientCapabilities] = json.RawMessage(r.call.Asks)
		}
	}
	return m
}

// CallTool runs a tool whose definition is still the one that is pinned.
func (in *Instance) CallTool(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	pin := ""
	if in.spec.Pins != nil {
		pin = in.spec.Pins.Tools[c.Name]
	}
	if pin == "" {
		return nil, fault.New(fault.NotFound, "This server has no tool %q.", c.Name)
	}
	res, s, err := run(ctx, in, c, env, func(r *Running) (*mcp.CallToolResult, error) {
		if err := r.same(r.session.toolHashes, pin, "tool"); err != nil {
			return nil, err
		}
		if err := r.setLevel(); err != nil {
			return nil, err
		}
		return r.callTool()
	})
	if err != nil {
		if f := (*fault.Error)(nil); errors.As(err, &f) && f.Code == fault.ToolFailed {
			return toolFailed(f), nil
		}
		return nil, err
	}
	res.Meta = foreign(res.Meta)
	if res.Content == nil {
		res.Content = []mcp.Content{}
	}
	return &runtime.Result{Tool: res, Rows: -1, Process: s.opts.Process}, nil
}

// same compares a definition with its pin, before anything is run.
func (r *Running) same(present func(context.Context) (map[string]string, error), pin, what string) error {
	var hashes map[string]string
	err := r.session.aside(r.ctx, func(ctx context.Context) (err error) {
		hashes, err = present(ctx)
		return err
	})
	if e := (*answered)(nil); errors.As(err, &e) {
		return fault.New(fault.ToolFailed, "The server does not say what it offers (%d). Nothing was done. It says: %s", e.rpc.Code, clean(e.rpc.Message, maxWords)).Because(err)
	}
	if err != nil {
		return err
	}
	switch now, there := hashes[r.call.Name]; {
	case !there:
		return fault.New(fault.DefinitionChanged, "The server behind it does not offer the %s %q any more. Nothing was done; ask an administrator to look at the change.", what, r.call.Name)
	case now != pin:
		return fault.New(fault.DefinitionChanged, "The server behind it has changed the definition of the %s %q since an administrator looked at it. Nothing was done; ask one to look at the change.", what, r.call.Name)
	}
	return nil
}

func (r *Running) callTool() (*mcp.CallToolResult, error) {
	args := r.call.Input
	if len(args) == 0 {
		args = json.RawMessage(`{}`)
	}
	p := &mcp.CallToolParams{Name: r.call.Name, Arguments: args}
	for range maxRounds {
		p.Meta = r.meta()
		res, err := r.session.cs.CallTool(r.ctx, p)
		if err != nil {
			return nil, r.connectFirst(err)
		}
		if !res.NeedsInput() && res.InputRequests == nil {
			r.exact(res)
			return res, nil
		}
		if p.InputResponses, err = r.answer(r.ctx, res.InputRequests); err != nil {
			return nil, err
		}
		p.RequestState = res.RequestState
	}
	return nil, manyRounds()
}

func manyRounds() error {
	return fault.New(fault.ToolFailed, "The server went on asking for more input; it was stopped after %d times.", maxRounds).Because(errManyRounds)
}

// exact puts back what decoding has lost of structured content.
func (r *Running) exact(res *mcp.CallToolResult) {
	if res.StructuredContent == nil {
		return
	}
	r.mu.Lock()
	raw := r.raw
	r.mu.Unlock()
	var whole struct {
		Structured json.RawMessage `json:"structuredContent"`
	}
	if raw != nil && json.Unmarshal(raw, &whole) == nil && len(whole.Structured) > 0 {
		res.StructuredContent = whole.Structured
	}
}

// connectFirst shows the person the pages that an upstream of the old era wants
// to be visited first (-32042). The call is not repeated for them: whether they
// are done there is theirs to say.
func (r *Running) connectFirst(err error) error {
	var e *jsonrpc.Error
	var data struct {
		Elicitations []json.RawMessage `json:"elicitations"`
	}
	if !errors.As(err, &e) || e.Code != mcp.CodeURLElicitationRequired || json.Unmarshal(e.Data, &data) != nil || len(data.Elicitations) == 0 || len(data.Elicitations) > maxQuestions {
		return err
	}
	for _, p := range data.Elicitations {
		if _, err := r.env.Ask(r.ctx, runtime.Question{Method: "elicitation/create", Params: p}); err != nil {
			return err
		}
	}
	return fault.New(fault.ToolFailed, "The server wants you to visit a page first. Do that, then call again.")
}

// setLevel asks an upstream of the old era for logs, once for the most talkative
// level that any caller wants: what another one did not ask for is kept back.
func (r *Running) setLevel() error {
	s, level := r.session, levelOf(r.call.LogLevel)
	c := s.cs.InitializeResult().Capabilities
	if level == noLogs || s.modern() || c == nil || c.Logging == nil {
		return nil
	}
	s.mu.Lock()
	lower := level < s.level
	s.level = min(level, s.level)
	s.mu.Unlock()
	if !lower {
		return nil
	}
	err := s.aside(r.ctx, func(ctx context.Context) error {
		return s.cs.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: mcp.LoggingLevel(r.call.LogLevel)})
	})
	if e := (*answered)(nil); errors.As(err, &e) {
		return nil // it has no logs after all
	}
	return err
}

// ReadResource reads a resource, or what a template stands for: the edge has
// found it in the definition.
func (in *Instance) ReadResource(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	if c.Access != registry.ReadAccess {
		return nil, fault.New(fault.InvalidRequest, "Resources are read with read access.")
	}
	res, s, err := run(ctx, in, c, env, func(r *Running) (*mcp.ReadResourceResult, error) {
		if err := r.setLevel(); err != nil {
			return nil, err
		}
		p := &mcp.ReadResourceParams{URI: c.Name}
		for range maxRounds {
			p.Meta = r.meta()
			// Not the session's own method, which keeps what one person read for
			// the next.
			res, err := mcp.CallCustomMethod[*mcp.ReadResourceParams, *mcp.ReadResourceResult](r.ctx, r.session.cs, "resources/read", p)
			if err != nil || !res.NeedsInput() && res.InputRequests == nil {
				return res, err
			}
			if p.InputResponses, err = r.answer(r.ctx, res.InputRequests); err != nil {
				return nil, err
			}
			p.RequestState = res.RequestState
		}
		return nil, manyRounds()
	})
	if err != nil {
		return nil, err
	}
	res.Meta = foreign(res.Meta)
	if res.Contents == nil {
		res.Contents = []*mcp.ResourceContents{}
	}
	return &runtime.Result{Resource: res, Rows: -1, Process: s.opts.Process}, nil
}

// GetPrompt fills in a prompt whose definition is still the one that is pinned.
func (in *Instance) GetPrompt(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	pin := ""
	if in.spec.Pins != nil {
		pin = in.spec.Pins.Prompts[c.Name]
	}
	if pin == "" {
		return nil, fault.New(fault.NotFound, "This server has no prompt %q.", c.Name)
	}
	var arguments map[string]string
	if len(c.Input) > 0 {
		if err := json.Unmarshal(c.Input, &arguments); err != nil {
			return nil, fault.New(fault.InvalidArguments, "The arguments of a prompt must be an object of strings.").Because(err)
		}
	}
	res, s, err := run(ctx, in, c, env, func(r *Running) (*mcp.GetPromptResult, error) {
		if err := r.same(r.session.promptHashes, pin, "prompt"); err != nil {
			return nil, err
		}
		p := &mcp.GetPromptParams{Name: c.Name, Arguments: arguments}
		for range maxRounds {
			p.Meta = r.meta()
			res, err := r.session.cs.GetPrompt(r.ctx, p)
			if err != nil || !res.NeedsInput() && res.InputRequests == nil {
				return res, err
			}
			if p.InputResponses, err = r.answer(r.ctx, res.InputRequests); err != nil {
				return nil, err
			}
			p.RequestState = res.RequestState
		}
		return nil, manyRounds()
	})
	if err != nil {
		return nil, err
	}
	res.Meta = foreign(res.Meta)
	if res.Messages == nil {
		res.Messages = []*mcp.PromptMessage{}
	}
	return &runtime.Result{Prompt: res, Rows: -1, Process: s.opts.Process}, nil
}

// Complete completes an argument of a prompt or template.
func (in *Instance) Complete(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	var p mcp.CompleteParams
	if err := json.Unmarshal(c.Input, &p); err != nil || p.Ref == nil {
		return nil, fault.New(fault.InvalidArguments, "This is no request for a completion.").Because(err)
	}
	res, s, err := run(ctx, in, c, env, func(r *Running) (*mcp.CompleteResult, error) {
		if caps := r.session.cs.InitializeResult().Capabilities; caps == nil || caps.Completions == nil {
			return &mcp.CompleteResult{}, nil
		}
		ask := p
		ask.Meta = nil
		if c.Traceparent != "" {
			ask.Meta = mcp.Meta{metaTraceparent: c.Traceparent}
		}
		return r.session.cs.Complete(r.ctx, &ask)
	})
	if err != nil {
		return nil, err
	}
	res.Meta = foreign(res.Meta)
	if res.Completion.Values == nil {
		res.Completion.Values = []string{}
	}
	return &runtime.Result{Completion: res, Rows: -1, Process: s.opts.Process}, nil
}

// Probe asks whether the upstream is there, and gives the hash of what it offers
// now: that is listed again only after it said that something changed, or after half a
// minute and more; see kept.
func (in *Instance) Probe(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	if idler, ok := in.up.(Idler); ok && idler.Idle(c) {
		return &runtime.Result{Health: &runtime.Health{Idle: true}, Rows: -1}, nil
	}
	if reacher, ok := in.up.(Reacher); ok {
		if without, err := reacher.Reach(ctx, c); err != nil {
			return nil, in.failed(ctx, c, nil, err)
		} else if without {
			return &runtime.Result{Health: &runtime.Health{}, Rows: -1}, nil
		}
	}
	health, s, err := run(ctx, in, c, env, func(r *Running) (*runtime.Health, error) {
		if err := r.ping(); err != nil {
			return nil, err
		}
		hash, err := r.session.offerHash(r.ctx)
		return &runtime.Health{Offer: hash, Era: r.session.Protocol()}, err
	})
	if err != nil {
		return nil, err
	}
	return &runtime.Result{Health: health, Rows: -1, Process: s.opts.Process}, nil
}

// ping asks for a sign of life, in the words of the era.
func (r *Running) ping() (err error) {
	if r.session.modern() {
		_, err = mcp.CallCustomMethod[*mcp.DiscoverParams, *mcp.DiscoverResult](r.ctx, r.session.cs, "server/discover", &mcp.DiscoverParams{})
		return err
	}
	if err = r.session.cs.Ping(r.ctx, nil); err != nil && isMethodUnknown(r.because(err)) {
		r.set(func() { r.rpc = nil })
		return nil // an answer is an answer
	}
	return err
}

// Discover lists everything that the upstream offers now.
func (in *Instance) Discover(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	offer, s, err := run(ctx, in, c, env, func(r *Running) (registry.Offer, error) { return r.session.read(r.ctx) })
	if err != nil {
		return nil, err
	}
	return &runtime.Result{Offer: &offer, Rows: -1, Process: s.opts.Process}, nil
}

// Close closes the upstream.
func (in *Instance) Close() error { return in.up.Close() }
