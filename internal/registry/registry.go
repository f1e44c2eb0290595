// Package registry owns what tenants host: servers, their immutable revisions,
// and the definitions of tools, resources and prompts in them, each with a hash.
//
// It leaves execution to runtime, the meaning of a kind's spec to that kind,
// and credentials to vault: a secret is never part of a revision or connection.
package registry

import (
	"context"
	"encoding/json"
	"time"

	"latchkey/internal/tenants"
)

// ServerID and RevisionID name what is stored. A RevisionID is `rv` and 90
// random bits in the charset of tenants.ID.
type (
	ServerID   = tenants.ServerID
	RevisionID string
)

// Server is a hosted MCP server of one tenant.
type Server struct {
	ID          ServerID
	Tenant      tenants.ID
	Slug        string // stands in {base}/mcp/{slug}
	Kind        string // sql, echo, …
	Title       string
	Description string
	// Connection says where the server's upstream is, without secrets. Its
	// form belongs to the kind.
	Connection json.RawMessage
	Pool       string // the worker pool that runs it; "default"
	// PerUser asks for credentials of each user's own instead of the server's.
	PerUser   bool
	Active    RevisionID
	UpdatedAt time.Time
}

// Revision is an immutable state of a server. Publishing makes a new one.
type Revision struct {
	ID         RevisionID
	Server     ServerID
	Tenant     tenants.ID
	Number     int    // 1, 2, …
	Hash       string // SHA-256 over kind, spec and definition, hex
	Kind       string
	Spec       json.RawMessage // normalized by the kind, what a worker opens
	Definition Definition
	CreatedAt  time.Time
	CreatedBy  string
}

// Definition is what a server offers over MCP.
type Definition struct {
	Instructions string     `json:"instructions,omitempty"`
	Tools        []Tool     `json:"tools,omitempty"`
	Resources    []Resource `json:"resources,omitempty"`
	Prompts      []Prompt   `json:"prompts,omitempty"`
}

// Risk orders tools by what a wrong call costs.
type Risk string

const (
	Reads       Risk = "read"        // changes nothing
	Writes      Risk = "write"       // changes something, in a way that can be undone
	Destructive Risk = "destructive" // cannot be undone; what has no annotation counts as this
)

// Access is the credential a tool runs with.
type Access string

const (
	ReadAccess  Access = "read"
	WriteAccess Access = "write"
)

// Access of a risk: only Reads runs on a read credential.
func (r Risk) Access() Access {
	if r == Reads {
		return ReadAccess
	}
	return WriteAccess
}

// Tool is one tool of a revision.
type Tool struct {
	Name         string          `json:"name"`
	Title        string          `json:"title,omitempty"`
	Description  string          `json:"description,omitempty"`
	InputSchema  json.RawMessage `json:"input_schema"`
	OutputSchema json.RawMessage `json:"output_schema,omitempty"`
	Scope        string          `json:"scope"` // exactly one; `tool:<name>` unless the tenant groups
	Risk         Risk            `json:"risk"`
	Idempotent   bool            `json:"idempotent,omitempty"` // a repeat with the same arguments changes nothing more
	OpenWorld    bool            `json:"open_world,omitempty"`
	Timeout      time.Duration   `json:"timeout"` // of one call, nanoseconds in JSON
	Hash         string          `json:"hash"`    // SHA-256 over all of the above, hex
}

// Resource is one resource (URI) or resource template (URITemplate, RFC 6570)
// of a revision. It is under a scope as a tool is, and always read access.
type Resource struct {
	Name        string        `json:"name"`
	Title       string        `json:"title,omitempty"`
	Description string        `json:"description,omitempty"`
	URI         string        `json:"uri,omitempty"`
	URITemplate string        `json:"uri_template,omitempty"`
	MIMEType    string        `json:"mime_type,omitempty"`
	Scope       string        `json:"scope"`
	Timeout     time.Duration `json:"timeout"`
	Hash        string        `json:"hash"`
}

// Prompt is one prompt template: text with {{argument}} places.
type Prompt struct {
	Name        string           `json:"name"`
	Title       string           `json:"title,omitempty"`
	Description string           `json:"description,omitempty"`
	Arguments   []PromptArgument `json:"arguments,omitempty"`
	Text        string           `json:"text"`
	Scope       string           `json:"scope"`
	Hash        string           `json:"hash"`
}

// PromptArgument is a place in a prompt's text.
type PromptArgument struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required,omitempty"`
}

// Tool finds a tool by its exact name.
func (d *Definition) Tool(name string) (*Tool, bool) {
	for i := range d.Tools {
		if d.Tools[i].Name == name {
			return &d.Tools[i], true
		}
	}
	return nil, false
}

// Scopes lists every scope of the definition once, in order of appearance.
func (d *Definition) Scopes() []string {
	var out []string
	seen := map[string]bool{}
	add := func(s string) {
		if s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for _, t := range d.Tools {
		add(t.Scope)
	}
	for _, r := range d.Resources {
		add(r.Scope)
	}
	for _, p := range d.Prompts {
		add(p.Scope)
	}
	return out
}

// Hosted is a server with its active revision: what an edge serves.
type Hosted struct {
	Server   Server
	Revision Revision
}

// Store keeps servers and revisions, inside a tenant. Unknown things are
// fault.NotFound.
type Store interface {
	Server(ctx context.Context, t tenants.ID, id ServerID) (Server, error)
	Hosted(ctx context.Context, t tenants.ID, slug string) (Hosted, error)
	HostedAll(ctx context.Context, t tenants.ID) ([]Hosted, error)
	Revision(ctx context.Context, t tenants.ID, id RevisionID) (Revision, error)
	Revisions(ctx context.Context, t tenants.ID, s ServerID) ([]Revision, error)
	// PutServer creates the server of that slug or updates everything but its
	// id, kind and active revision.
	PutServer(ctx context.Context, t tenants.ID, s Server) (Server, error)
	// Publish stores the revision and makes it the active one, in one
	// transaction. A revision whose hash is the active one's is not stored
	// again: the active one is returned and published is false.
	Publish(ctx context.Context, t tenants.ID, r Revision) (rev Revision, published bool, err error)
	DeleteServer(ctx context.Context, t tenants.ID, id ServerID) error
}
