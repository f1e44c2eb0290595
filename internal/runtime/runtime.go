// Package runtime is the worker's half of a call: receive, trade the grant for
// a credential, execute in the server's kind, inspect, answer. run.go is its
// table of contents.
//
// It owns Call, Result and Kind. It leaves transport to natsrt, what a kind
// does to the kind's own package, and every decision about who may call what
// to the edge: a worker runs what it was handed and can obtain no more than
// the grant in it allows.
package runtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"gopkg.in/yaml.v3"

	"latchkey/internal/egress"
	"latchkey/internal/guard"
	"latchkey/internal/packages"
	"latchkey/internal/registry"
	"latchkey/internal/sandbox"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// Op is what a call asks a server to do.
type Op string

const (
	CallTool     Op = "tools/call"
	ReadResource Op = "resources/read"
	GetPrompt    Op = "prompts/get"         // Input is the request's arguments, an object of strings
	Complete     Op = "completion/complete" // Name is the prompt, or the template of the resource; Input is a CompleteParams
	// Listen runs until it is cancelled or its deadline comes, and passes what the
	// upstream says of itself on through Env.Notify. Its Name is "server", its
	// Input a ListenInput. An edge has one for each server, or each person where
	// PerUser, however many sessions listen.
	Listen Op = "subscriptions/listen"
	// Probe and Discover are the control plane's own: whether the upstream is
	// there, and what it offers now. Their Name is "server".
	Probe    Op = "probe"
	Discover Op = "discover"
)

// Ops lists what a worker knows.
func Ops() []Op { return []Op{CallTool, ReadResource, GetPrompt, Complete, Listen, Probe, Discover} }

// ListenInput says what is listened to.
type ListenInput struct {
	Resources []string `json:"resources,omitempty"` // URIs: notifications/resources/updated
	Lists     bool     `json:"lists,omitempty"`     // notifications/*/list_changed
}

// Call is one piece of work for a worker. It crosses the wire as JSON.
type Call struct {
	ID       string              `json:"id"` // also the audit record's and the grant's jti
	Tenant   tenants.ID          `json:"tenant"`
	Server   registry.ServerID   `json:"server"`
	Revision registry.RevisionID `json:"revision"`
	// OpenHash is the hash of the Opening the worker must use: the edge signed it
	// into the grant, so a spec that was changed on its way is refused.
	OpenHash string `json:"open_hash"`
	Op       Op     `json:"op"`
	Name     string `json:"name"` // tool or prompt name, or resource URI
	// Rule is the output guard of a resource or prompt, as ResourceRule and
	// PromptRule make it: its URI does not say. A tool's is that of its name,
	// whatever stands here. Complete has that of what is completed.
	Rule   string          `json:"rule,omitempty"`
	Input  json.RawMessage `json:"input,omitempty"`
	Access registry.Access `json:"access"`
	Caller Caller          `json:"caller"`
	// IdempotencyKey reaches the upstream for tools with effects.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// LogLevel is from which on the caller wants the upstream's log
	// notifications (debug, info, …); empty: none.
	LogLevel string `json:"log_level,omitempty"`
	// Asks is what the caller's client can be asked for while the call runs, as
	// MCP's client capabilities; empty: nothing.
	Asks        string      `json:"asks,omitempty"`
	Traceparent string      `json:"traceparent,omitempty"`
	Deadline    time.Time   `json:"deadline"`
	Grant       secret.Text `json:"grant"` // a signed JWT for this one call, traded at Vault
}

// CapabilitiesPointer is where a request of the newest revision says what its
// client can be asked for. A fault's detail there names what is missing.
const CapabilitiesPointer = "/_meta/io.modelcontextprotocol~1clientCapabilities"

// Caller is the person on whose behalf the call runs, as far as a kind may
// bind it into statements and requests.
type Caller struct {
	User   tenants.UserID `json:"user"`
	Email  string         `json:"email"`
	Name   string         `json:"name"`
	Roles  []string       `json:"roles"`
	Client string         `json:"client"`
}

// Value is what a parameter takes from the call instead of from the model, by its
// name in params.Froms; empty where there is none.
func (c *Call) Value(from string) string {
	switch from {
	case "caller.id":
		return string(c.Caller.User)
	case "caller.email":
		return c.Caller.Email
	case "caller.name":
		return c.Caller.Name
	case "caller.client":
		return c.Caller.Client
	case "call.id":
		return c.ID
	case "call.idempotency_key":
		return c.IdempotencyKey
	}
	return ""
}

// Result is what a worker answers. Exactly one of the first six is set, by the
// call's Op. On the edge, structured content of a tool is a json.RawMessage.
type Result struct {
	Tool       *mcp.CallToolResult     `json:"tool,omitempty"`
	Resource   *mcp.ReadResourceResult `json:"resource,omitempty"`
	Prompt     *mcp.GetPromptResult    `json:"prompt,omitempty"`
	Completion *mcp.CompleteResult     `json:"completion,omitempty"`
	Health     *Health                 `json:"health,omitempty"`
	Offer      *registry.Offer         `json:"offer,omitempty"`
	// Rows is how many records the answer holds, -1 where that means nothing.
	Rows int `json:"rows"`
	// Worker and LeaseID go into the audit record, never to the caller.
	Worker  string `json:"worker"`
	LeaseID string `json:"lease_id,omitempty"`
	// Process names the process that ran the call, where it keeps a state of its
	// own between calls: another one than before has lost that.
	Process string `json:"process,omitempty"`
	// Guard is what the output guard did; nil: nothing.
	Guard *guard.Report `json:"guard,omitempty"`
}

// Health is what a worker knows of a server's upstream. A probe that fails is an
// error, with the time after which to look again.
type Health struct {
	// Offer is the hash of what the upstream offers now, where the kind can tell
	// at no great cost: another one than that of the revision is a change to look
	// at. Empty: not known.
	Offer string `json:"offer,omitempty"`
	// Idle: nothing runs, and nothing was started to find out.
	Idle bool `json:"idle,omitempty"`
	// Era is the newest protocol revision that the upstream speaks, of kinds
	// that speak MCP to it.
	Era string `json:"era,omitempty"`
}

// Opening is all that a worker needs to open a server, without any secret.
type Opening struct {
	Tenant     tenants.ID          `json:"tenant"`
	Server     registry.ServerID   `json:"server"`
	Revision   registry.RevisionID `json:"revision"`
	Kind       string              `json:"kind"`
	PerUser    bool                `json:"per_user,omitempty"`
	Spec       json.RawMessage     `json:"spec"`
	Connection json.RawMessage     `json:"connection,omitempty"`
	// SecretsVersion names the static secrets that the connection has now, see
	// vault.Servers.SecretsVersion: other secrets are another opening.
	SecretsVersion string `json:"secrets_version,omitempty"`
	// Guard has the output guard of every tool and resource, by its rule. What
	// has none here is not run. It is part of the hash that the edge signs.
	Guard map[string]registry.OutputGuard `json:"guard,omitempty"`
}

// ToolRule, ResourceRule and PromptRule name an output guard in an Opening.
func ToolRule(name string) string     { return "tool:" + name }
func ResourceRule(name string) string { return "resource:" + name }
func PromptRule(name string) string   { return "prompt:" + name }

// GuardsOf are the output guards of what a server offers.
func GuardsOf(d registry.Definition) map[string]registry.OutputGuard {
	all := map[string]registry.OutputGuard{}
	for _, t := range d.Tools {
		all[ToolRule(t.Name)] = t.Guard
	}
	for _, r := range d.Resources {
		all[ResourceRule(r.Name)] = r.Guard
	}
	for _, p := range d.Prompts {
		if p.Upstream {
			all[PromptRule(p.Name)] = registry.OutputGuard{}
		}
	}
	return all
}

// own reports whether the call is the control plane's: no tool, and no guard.
func (c *Call) own() bool { return c.Op == Probe || c.Op == Discover || c.Op == Listen }

// rule is that of the call.
func (c *Call) rule() string {
	if c.Op == CallTool {
		return ToolRule(c.Name)
	}
	return c.Rule
}

// Kind is a kind of server. A new kind is one package that exports one, a line
// in kinds.All, and runtimetest.Run.
type Kind struct {
	Name string
	// Title and Description say to who makes a server what the kind is for, and
	// Template is a spec in YAML to begin with, which Check takes.
	Title, Description, Template string
	// Check reads a declared spec and says what it offers. Problems carry the
	// line of the node that is wrong and what to write instead; with any
	// problem the other results mean nothing. An empty mapping means the same as
	// no spec.
	Check func(spec *yaml.Node) (normalized json.RawMessage, def registry.Definition, problems []registry.Problem)
	// CheckConnection reads a declared connection. The result holds no secret;
	// each of those is named by its path in the connection, such as
	// admin.password. Nil means the kind has no connection.
	CheckConnection func(conn *yaml.Node) (normalized json.RawMessage, secrets map[string]secret.Text, problems []registry.Problem)
	// Source says in words where the credentials of a checked connection come
	// from. Nil means there are none.
	Source func(connection json.RawMessage) string
	// Provision makes the server's credentials obtainable in Vault, from its
	// checked connection and the secrets of it. The control plane calls it at
	// every apply; the same input changes nothing. Nil means there are none. A
	// kind with static secrets calls vault.Servers.PutSecrets, with or without
	// any.
	Provision func(ctx context.Context, v *vault.Servers, t tenants.ID, s registry.Server, secrets map[string]secret.Text) error
	// Account says of a checked connection which account its calls run with, where
	// somebody has to connect one by OAuth. Nil, or false: none.
	Account func(connection json.RawMessage) (registry.Account, bool)
	// Static: the credential of a call is what Vault keeps for the server, in
	// Credential.Fields by the paths of the connection's secrets, and not one
	// that it makes.
	Static bool
	// Define says what a server offers whose upstream says it: from the checked
	// spec and what the upstream offered when an administrator last looked. The
	// spec that it gives is what workers open; it has what is pinned. Check gives
	// such a server a definition without the upstream's part. Nil means that the
	// spec says everything.
	Define func(spec json.RawMessage, pinned registry.Offer) (normalized json.RawMessage, def registry.Definition, problems []registry.Problem)
	// Compose says what a server offers that has nothing of its own: tools of the
	// tenant's other servers, from the checked spec and those. Check gives such a
	// server a definition without tools. No worker opens one: a call goes to the
	// server that has the tool. Nil: the kind has tools of its own.
	Compose func(spec json.RawMessage, over registry.Composing) (normalized json.RawMessage, def registry.Definition, problems []registry.Problem)
	// Stateful: a process keeps a state between calls, so that all calls of a
	// server, or of a person where PerUser, go to one worker while it lives.
	Stateful bool
	// Asks: the upstream may put questions to the caller (Env.Ask). A kind with
	// Define may, whatever stands here.
	Asks bool
	// Open makes an instance that serves many concurrent calls, until Close.
	Open func(ctx context.Context, o Opening, h Host) (Instance, error)
}

// NeedsConnection reports whether a server of the kind cannot be without one.
func (k Kind) NeedsConnection() bool {
	if k.CheckConnection == nil {
		return false
	}
	_, _, problems := k.CheckConnection(nil)
	return len(problems) > 0
}

// Host is what a worker gives to all that it opens. It is filled in by cmd.
type Host struct {
	// Egress says where upstreams may be.
	Egress *egress.Policy
	// Sandbox runs tenants' processes. Without one, or while it has no name, this
	// worker runs none.
	Sandbox sandbox.Driver
	// StateDir is where servers keep what outlives their processes, and CacheDir
	// what can be had again, such as packages. Empty: there is no such place.
	StateDir, CacheDir string
	// Packages are those that are installed here; nil: none can be.
	Packages *packages.Cache
	// Processes and TenantProcesses bound how many tenants' processes live at
	// once, of all tenants and of one; 0: the kind's own defaults.
	Processes, TenantProcesses int
	Log                        *slog.Logger
}

// Instance is an open server on a worker. Its methods are called concurrently.
// A tool that fails is a result with IsError; an error is a fault of the
// infrastructure and should be a *fault.Error. Neither may hold a credential.
// An error says that nothing was done, so that a repeat may run the call again,
// unless it is fault.OutcomeUnknown: a kind answers that wherever an effect
// cannot be ruled out.
type Instance interface {
	CallTool(ctx context.Context, c *Call, env Env) (*Result, error)
	ReadResource(ctx context.Context, c *Call, env Env) (*Result, error)
	Close() error
}

// What an Instance may be besides. One that is not has no prompts of its
// upstream, completes nothing, is healthy when it is open, or offers what its
// spec says.
type (
	Prompter interface {
		GetPrompt(ctx context.Context, c *Call, env Env) (*Result, error)
	}
	Completer interface {
		Complete(ctx context.Context, c *Call, env Env) (*Result, error)
	}
	Prober interface {
		Probe(ctx context.Context, c *Call, env Env) (*Result, error)
	}
	Listener interface {
		// Listen answers with a Health when it ends.
		Listen(ctx context.Context, c *Call, env Env) (*Result, error)
	}
	Discoverer interface {
		Discover(ctx context.Context, c *Call, env Env) (*Result, error)
	}
	// Keeper has a time of its own for what is not used: it is not closed for
	// want of calls while it Keeps something.
	Keeper interface{ Keeps() bool }
)

// Env is what a call gets from its worker.
type Env struct {
	// Credential obtains the credential for this call, at the first time it is
	// asked. It is valid until the call ends.
	Credential func(ctx context.Context) (Credential, error)
	// Progress reports to the caller; it never blocks.
	Progress func(progress, total float64, message string)
	// Notify passes a notification of the upstream on to the caller, such as
	// notifications/message; it never blocks. What no caller waits for is
	// dropped.
	Notify func(n Notification)
	// Ask puts a request of the upstream (elicitation/create,
	// sampling/createMessage, roots/list) to the caller's client and waits for
	// its answer. An error is a *fault.Error: fault.Unanswerable where the client
	// cannot be asked.
	Ask func(ctx context.Context, q Question) (json.RawMessage, error)
}

// Notification is one of MCP's, as the upstream sent it.
type Notification struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

// Question is a request of MCP's from a server to its client.
type Question struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

// A question may be one of several that an upstream asks at once, each under a
// name of its own (MCP 2026-07-28, InputRequests). Both go with its params.
const (
	metaQuestion  = "latchkey/question"
	metaQuestions = "latchkey/questions"
)

// Named gives the question the name that its upstream gave it, among so many that
// were asked at once. Params that are no object are left as they are.
func (q Question) Named(name string, among int) Question {
	params := map[string]json.RawMessage{}
	if len(q.Params) > 0 && json.Unmarshal(q.Params, &params) != nil {
		return q
	}
	meta := map[string]any{}
	if raw, has := params["_meta"]; has && json.Unmarshal(raw, &meta) != nil {
		return q
	}
	meta[metaQuestion], meta[metaQuestions] = name, among
	raw, err := json.Marshal(meta)
	if err != nil {
		return q
	}
	params["_meta"] = raw
	if raw, err = json.Marshal(params); err == nil {
		q.Params = raw
	}
	return q
}

// Name is what Named gave it: empty and 1 of one that stands for itself.
func (q Question) Name() (name string, among int) {
	var p struct {
		Meta map[string]any `json:"_meta"`
	}
	if json.Unmarshal(q.Params, &p) != nil {
		return "", 1
	}
	name, _ = p.Meta[metaQuestion].(string)
	n, _ := p.Meta[metaQuestions].(float64)
	return name, int(max(n, 1))
}

// Credential is what Vault issued for a call. Kinds must not keep it, except
// to key a pool by ID and close that pool when Expired is closed.
type Credential struct {
	// ID is that of the lease. For static secrets it names their version: as long
	// as it is the same, so are the values, whatever Expired says.
	ID       string
	Username string
	Password secret.Text
	// Fields are static secrets by their path in the connection, and what the
	// platform keeps beside them, such as a token of the person's own. Not to be
	// changed.
	Fields map[string]secret.Text
	// Until is when the credential stops being handed out; the lease itself
	// ends later. Expired is closed when it must not be used any more.
	Until   time.Time
	Expired <-chan struct{}
	// Discard says that the upstream refuses the credential: the next call gets
	// another one. It may be nil.
	Discard func()
}
