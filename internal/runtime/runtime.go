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
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"gopkg.in/yaml.v3"

	"latchkey/internal/guard"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// Op is what a call asks a server to do.
type Op string

const (
	CallTool     Op = "tools/call"
	ReadResource Op = "resources/read"
)

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
	Name     string `json:"name"` // tool name, or resource URI
	// Rule is the output guard of a resource, as ResourceRule makes it: its URI
	// does not say. A tool's is that of its name, whatever stands here.
	Rule   string          `json:"rule,omitempty"`
	Input  json.RawMessage `json:"input,omitempty"`
	Access registry.Access `json:"access"`
	Caller Caller          `json:"caller"`
	// IdempotencyKey reaches the upstream for tools with effects.
	IdempotencyKey string      `json:"idempotency_key,omitempty"`
	Traceparent    string      `json:"traceparent,omitempty"`
	Deadline       time.Time   `json:"deadline"`
	Grant          secret.Text `json:"grant"` // a signed JWT for this one call, traded at Vault
}

// Caller is the person on whose behalf the call runs, as far as a kind may
// bind it into statements and requests.
type Caller struct {
	User   tenants.UserID `json:"user"`
	Email  string         `json:"email"`
	Name   string         `json:"name"`
	Roles  []string       `json:"roles"`
	Client string         `json:"client"`
}

// Result is what a worker answers. Exactly one of Tool and Resource is set. On
// the edge, structured content of a tool is a json.RawMessage.
type Result struct {
	Tool     *mcp.CallToolResult     `json:"tool,omitempty"`
	Resource *mcp.ReadResourceResult `json:"resource,omitempty"`
	// Rows is how many records the answer holds, -1 where that means nothing.
	Rows int `json:"rows"`
	// Worker and LeaseID go into the audit record, never to the caller.
	Worker  string `json:"worker"`
	LeaseID string `json:"lease_id,omitempty"`
	// Guard is what the output guard did; nil: nothing.
	Guard *guard.Report `json:"guard,omitempty"`
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
	// Guard has the output guard of every tool and resource, by its rule. What
	// has none here is not run. It is part of the hash that the edge signs.
	Guard map[string]registry.OutputGuard `json:"guard,omitempty"`
}

// ToolRule and ResourceRule name an output guard in an Opening.
func ToolRule(name string) string     { return "tool:" + name }
func ResourceRule(name string) string { return "resource:" + name }

// GuardsOf are the output guards of what a server offers.
func GuardsOf(d registry.Definition) map[string]registry.OutputGuard {
	all := map[string]registry.OutputGuard{}
	for _, t := range d.Tools {
		all[ToolRule(t.Name)] = t.Guard
	}
	for _, r := range d.Resources {
		all[ResourceRule(r.Name)] = r.Guard
	}
	return all
}

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
	// every apply; the same input changes nothing. Nil means there are none.
	Provision func(ctx context.Context, v *vault.Servers, t tenants.ID, s registry.Server, secrets map[string]secret.Text) error
	// Open makes an instance that serves many concurrent calls, until Close.
	Open func(ctx context.Context, o Opening) (Instance, error)
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

// Env is what a call gets from its worker.
type Env struct {
	// Credential obtains the credential for this call, at the first time it is
	// asked. It is valid until the call ends.
	Credential func(ctx context.Context) (Credential, error)
	// Progress reports to the caller; it never blocks.
	Progress func(progress, total float64, message string)
}

// Credential is what Vault issued for a call. Kinds must not keep it, except
// to key a pool by ID and close that pool when Expired is closed.
type Credential struct {
	ID       string // the lease
	Username string
	Password secret.Text
	Fields   map[string]secret.Text // further values, for kinds with static secrets
	// Until is when the credential stops being handed out; the lease itself
	// ends later. Expired is closed when it must not be used any more.
	Until   time.Time
	Expired <-chan struct{}
	// Discard says that the upstream refuses the credential: the next call gets
	// another one. It may be nil.
	Discard func()
}
