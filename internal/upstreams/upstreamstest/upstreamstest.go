// Package upstreamstest is a kind of server for tests whose upstream does as it
// is told: it offers this or that, answers or does not. It runs on a real worker
// and has no network in it.
package upstreamstest

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
)

// Name of the kind.
const Name = "moody"

// Eventually polls until it is so. The bound is for a machine that is very busy.
func Eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !so(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("it never came about: %s", what)
		}
	}
}

// Upstream is one for all servers of the kind.
type Upstream struct {
	mu      sync.Mutex
	offer   registry.Offer
	away    error
	idle    bool
	blind   bool // a probe does not say what is offered
	hold    chan struct{}
	Probes  atomic.Int64
	Asked   atomic.Int64 // discoveries
	Calls   atomic.Int64
	LastFor atomic.Value // string: the person of the last discovery
}

// New makes one that offers nothing.
func New() *Upstream { return &Upstream{offer: Offer()} }

// Offer makes an offer of names and descriptions in turn.
func Offer(tools ...string) registry.Offer {
	o := registry.Offer{Protocol: "2026-07-28", Name: "moody", Version: "1"}
	for i := 0; i+1 < len(tools); i += 2 {
		def, err := json.Marshal(map[string]any{"name": tools[i], "description": tools[i+1], "inputSchema": map[string]any{"type": "object"}})
		if err != nil {
			panic(err)
		}
		o.Tools = append(o.Tools, registry.OfferedTool{Name: tools[i], Definition: def})
	}
	o.Seal()
	return o
}

// Offers is what it offers from now on.
func (u *Upstream) Offers(o registry.Offer) { u.set(func() { u.offer = o }) }

// Away makes it fail with an error; nil: it answers again.
func (u *Upstream) Away(err error) { u.set(func() { u.away = err }) }

// Idle makes probes find that nothing runs.
func (u *Upstream) Idle(yes bool) { u.set(func() { u.idle = yes }) }

// Blind makes probes say nothing of what is offered.
func (u *Upstream) Blind(yes bool) { u.set(func() { u.blind = yes }) }

// Hold makes everything hang until the returned function is called.
func (u *Upstream) Hold() (release func()) {
	c := make(chan struct{})
	u.set(func() { u.hold = c })
	return sync.OnceFunc(func() { u.set(func() { u.hold = nil }); close(c) })
}

func (u *Upstream) set(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
}

type spec struct {
	Tools map[string]struct {
		Description string `json:"description,omitempty"`
	} `json:"tools,omitempty"`
	Pins map[string]string `json:"pins,omitempty"`
}

// Kind is the kind. Its spec may override descriptions by tool name; its
// connection may be left out, and has one secret, token.
func (u *Upstream) Kind() runtime.Kind {
	return runtime.Kind{
		Name: Name, Title: "Moody", Description: "For tests.", Check: check, Define: define, CheckConnection: checkConnection,
		Open: func(_ context.Context, o runtime.Opening, _ runtime.Host) (runtime.Instance, error) {
			in := &instance{up: u}
			return in, json.Unmarshal(o.Spec, &in.spec)
		},
	}
}

func check(n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	r := &registry.Reader{}
	o := r.Object(n, "spec", "tools")
	s := spec{}
	if raw := registry.JSONOf(o.Value("tools")); o.Has("tools") {
		if err := json.Unmarshal(raw, &s.Tools); err != nil {
			o.Bad("tools", "is not of the form", "write a tool's name with its description")
		}
	}
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return raw, registry.Definition{}, r.Problems
}

func define(raw json.RawMessage, pinned registry.Offer) (json.RawMessage, registry.Definition, []registry.Problem) {
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, registry.Definition{}, []registry.Problem{{Reason: err.Error()}}
	}
	s.Pins = map[string]string{}
	var d registry.Definition
	d.Instructions = pinned.Instructions
	for _, t := range pinned.Tools {
		var of struct {
			Description string          `json:"description"`
			InputSchema json.RawMessage `json:"inputSchema"`
		}
		if err := json.Unmarshal(t.Definition, &of); err != nil || len(of.InputSchema) == 0 {
			return nil, d, []registry.Problem{{Path: "tools." + t.Name, Reason: "has no schema", Fix: "leave it out"}}
		}
		if own, ok := s.Tools[t.Name]; ok && own.Description != "" {
			of.Description = own.Description
		}
		s.Pins[t.Name] = t.Hash
		d.Tools = append(d.Tools, registry.Tool{Name: t.Name, Description: of.Description, InputSchema: of.InputSchema, Risk: registry.Reads})
	}
	out, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return out, d, nil
}

func checkConnection(n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	if n == nil {
		return json.RawMessage(`{}`), nil, nil
	}
	r := &registry.Reader{}
	o := r.Object(n, "connection", "url", "token")
	secrets := map[string]secret.Text{}
	if t := o.Value("token"); registry.Referred(t) {
		secrets["token"] = secret.Text(t.Value)
	}
	raw, err := json.Marshal(map[string]string{"url": o.Needed("url", "say where")})
	if err != nil {
		panic(err)
	}
	return raw, secrets, r.Problems
}

type instance struct {
	up   *Upstream
	spec spec
}

// reach is how the upstream is at this moment.
func (in *instance) reach(ctx context.Context) (o registry.Offer, idle, blind bool, err error) {
	in.up.mu.Lock()
	o, idle, blind, err = in.up.offer, in.up.idle, in.up.blind, in.up.away
	hold := in.up.hold
	in.up.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return o, idle, blind, err
}

func (in *instance) Probe(ctx context.Context, _ *runtime.Call, _ runtime.Env) (*runtime.Result, error) {
	in.up.Probes.Add(1)
	o, idle, blind, err := in.reach(ctx)
	if err != nil {
		return nil, err
	}
	h := &runtime.Health{Offer: o.Hash(), Idle: idle, Era: o.Protocol}
	if blind || idle {
		h.Offer = ""
	}
	return &runtime.Result{Health: h, Rows: -1}, nil
}

func (in *instance) Discover(ctx context.Context, c *runtime.Call, _ runtime.Env) (*runtime.Result, error) {
	in.up.Asked.Add(1)
	in.up.LastFor.Store(string(c.Caller.User))
	o, _, _, err := in.reach(ctx)
	if err != nil {
		return nil, err
	}
	return &runtime.Result{Offer: &o, Rows: -1}, nil
}

// CallTool holds the upstream's present definition against the pinned one.
func (in *instance) CallTool(ctx context.Context, c *runtime.Call, _ runtime.Env) (*runtime.Result, error) {
	o, _, _, err := in.reach(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range o.Tools {
		if t.Name == c.Name && t.Hash == in.spec.Pins[t.Name] {
			in.up.Calls.Add(1)
			return &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, Rows: -1}, nil
		}
	}
	return nil, fault.New(fault.DefinitionChanged, "The upstream changed %s.", c.Name)
}

func (in *instance) ReadResource(context.Context, *runtime.Call, runtime.Env) (*runtime.Result, error) {
	return nil, fault.New(fault.NotFound, "There are no resources.")
}

func (in *instance) Close() error { return nil }

// Checker knows the kind, and those of another one.
type Checker struct {
	registry.Kinds
	kind runtime.Kind
}

// Checker adds the kind to others; nil: there are none.
func (u *Upstream) Checker(others registry.Kinds) Checker { return Checker{others, u.Kind()} }

func (c Checker) CheckSpec(kind string, n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	if kind == Name {
		return c.kind.Check(n)
	}
	return c.Kinds.CheckSpec(kind, n)
}

func (c Checker) CheckConnection(kind string, n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	if kind == Name {
		return c.kind.CheckConnection(n)
	}
	return c.Kinds.CheckConnection(kind, n)
}

func (c Checker) Discovers(kind string) bool {
	return kind == Name || c.Kinds != nil && c.Kinds.Discovers(kind)
}

// Composes and Compose are those of Kinds.
func (c Checker) Composes(kind string) bool { return c.Kinds != nil && c.Kinds.Composes(kind) }

func (c Checker) Compose(kind string, spec json.RawMessage, over registry.Composing) (json.RawMessage, registry.Definition, []registry.Problem) {
	return c.Kinds.Compose(kind, spec, over)
}

func (c Checker) Define(kind string, spec json.RawMessage, pinned registry.Offer) (json.RawMessage, registry.Definition, []registry.Problem) {
	if kind == Name {
		return c.kind.Define(spec, pinned)
	}
	return c.Kinds.Define(kind, spec, pinned)
}

func (c Checker) Names() []string {
	if c.Kinds == nil {
		return []string{Name}
	}
	return append(c.Kinds.Names(), Name)
}
