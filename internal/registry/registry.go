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

	"latchkey/internal/fault"
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
	// Declared is the connection as it was written, in JSON with the order of
	// its keys; the place of a secret holds {"secret": "[set]"}.
	Declared json.RawMessage
	// SecretsSet are the paths of the connection's secrets that Vault has.
	SecretsSet []string
	// SecretsVersion names those that Vault keeps as they are; another version has
	// other values. Empty: there are none.
	SecretsVersion string
	Pool           string // the worker pool that runs it; "default"
	// PerUser asks for credentials of each user's own instead of the server's.
	PerUser bool
	// Active is empty for a draft, which no client sees.
	Active RevisionID
	// Deleting: it takes no call any more and waits to be removed.
	Deleting  bool
	UpdatedAt time.Time
}

// HasConnection reports whether credentials of the server are at Vault.
func (s *Server) HasConnection() bool {
	return s.PerUser || len(s.Connection) > 0 && string(s.Connection) != "{}"
}

// Revision is an immutable state of a server. Publishing makes a new one.
type Revision struct {
	ID     RevisionID
	Server ServerID
	Tenant tenants.ID
	Number int    // 1, 2, …
	Hash   string // SHA-256 over kind, spec and definition, hex
	Kind   string
	Spec   json.RawMessage // normalized by the kind, what a worker opens
	// Declared is the spec as it was written, in JSON with the order of its
	// keys. Revisions of before it was kept have none.
	Declared   json.RawMessage
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
	// Completions: the upstream completes arguments of prompts and templates.
	// Subscribe: it says when a resource has changed. Logging: it sends logs.
	Completions bool `json:"completions,omitempty"`
	Subscribe   bool `json:"subscribe,omitempty"`
	Logging     bool `json:"logging,omitempty"`
	// Search: clients find, describe and execute the tools of a toolset by three
	// tools instead of getting a list of all.
	Search bool `json:"search,omitempty"`
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
	// Passed is what else of the upstream's list entry is passed on as it is: an
	// object that may have icons, _meta and annotations.
	Passed json.RawMessage `json:"passed,omitempty"`
	// Origin is where a tool of a toolset is; nil: at the server itself.
	Origin *Origin `json:"origin,omitempty"`
	Safety
	Hash string `json:"hash"` // SHA-256 over all of the above, hex
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
	Guard       OutputGuard   `json:"guard,omitzero"`
	// Passed is as a tool's; it may have size too.
	Passed json.RawMessage `json:"passed,omitempty"`
	Hash   string          `json:"hash"`
}

// Prompt is one prompt template: text with {{argument}} places, or one that the
// upstream fills in.
type Prompt struct {
	Name        string           `json:"name"`
	Title       string           `json:"title,omitempty"`
	Description string           `json:"description,omitempty"`
	Arguments   []PromptArgument `json:"arguments,omitempty"`
	Text        string           `json:"text"`
	Upstream    bool             `json:"upstream,omitempty"` // Text is empty
	Passed      json.RawMessage  `json:"passed,omitempty"`
	Scope       string           `json:"scope"`
	Hash        string           `json:"hash"`
}

// PromptArgument is a place in a prompt's text.
type PromptArgument struct {
	Name        string `json:"name"`
	Title       string `json:"title,omitempty"`
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

// Listed is a server as a list shows it.
type Listed struct {
	Server Server
	// ActiveNumber and LatestNumber are 0 where there is no such revision.
	ActiveNumber, LatestNumber int
	Tools                      int // of the active revision, or of the newest of a draft
}

// ServerState is where a server is in its life.
type ServerState string

const (
	Published ServerState = "published"
	Draft     ServerState = "draft" // without an active revision
	Deleting  ServerState = "deleting"
)

// State of a server.
func (s *Server) State() ServerState {
	switch {
	case s.Deleting:
		return Deleting
	case s.Active == "":
		return Draft
	}
	return Published
}

// ServerQuery asks for servers by slug.
type ServerQuery struct {
	After  string // the slug that the page before ended with
	Search string // part of slug or title
	State  ServerState
	// Connected leaves out servers without a connection.
	Connected bool
	Limit     int
}

// ListedTool is a tool with its server and the roles that open it.
type ListedTool struct {
	Server    string
	Published bool
	Revision  int
	Tool      Tool
	Roles     []string
}

// ToolQuery asks for tools of active revisions, and of the newest revisions of
// drafts, by server and name.
type ToolQuery struct {
	AfterServer, AfterTool string
	Search                 string // part of name, title or description
	Server                 string
	Tool                   string // exactly this one
	Risk                   Risk
	Scope                  string
	Role                   string // that opens it
	Limit                  int
}

// Credentials says when credentials of a server were last used, from the audit
// record.
type Credentials struct {
	LastIssued, LastFailed time.Time // zero: not in the time that was looked at
	LastFailure            string
}

// Calls are those of one tool in some time: how many, by whom, the last one.
type Calls struct {
	Count int
	Users []tenants.UserID // at most 20
	Last  time.Time
}

// ErrDeleting is what a change of a server that is being deleted gets.
var ErrDeleting = fault.New(fault.Conflict, "This server is being deleted. Wait until that is done, or choose another slug.")

// MayBecome checks that a stored server takes a new state: a server keeps its
// kind, and one that is being deleted stays as it is.
func MayBecome(stored, want Server) error {
	switch {
	case stored.Kind != want.Kind:
		return fault.New(fault.Conflict, "The server %q is of kind %q and cannot become %q. Choose another slug, or delete the server first.", stored.Slug, stored.Kind, want.Kind)
	case stored.Deleting:
		return ErrDeleting
	}
	return nil
}

// SameAs reports whether a revision says the same as another. One of before
// specs were kept as declared is replaced by one that has its spec.
func (r Revision) SameAs(other Revision) bool {
	return r.Hash == other.Hash && (len(r.Declared) > 0 || len(other.Declared) == 0)
}

// Store keeps servers and revisions, inside a tenant. Unknown things are
// fault.NotFound.
type Store interface {
	Server(ctx context.Context, t tenants.ID, id ServerID) (Server, error)
	// ServerBySlug finds drafts and servers that are being deleted too.
	ServerBySlug(ctx context.Context, t tenants.ID, slug string) (Server, error)
	// Hosted finds what clients may see: a server with an active revision that
	// is not being deleted.
	Hosted(ctx context.Context, t tenants.ID, slug string) (Hosted, error)
	HostedAll(ctx context.Context, t tenants.ID) ([]Hosted, error)
	// Current lists every server that is not being deleted, by slug: with its
	// active revision, or the newest of a draft, or none (Revision.ID empty).
	Current(ctx context.Context, t tenants.ID) ([]Hosted, error)
	Servers(ctx context.Context, t tenants.ID, q ServerQuery) ([]Listed, error)
	Tools(ctx context.Context, t tenants.ID, q ToolQuery) ([]ListedTool, error)
	Revision(ctx context.Context, t tenants.ID, id RevisionID) (Revision, error)
	RevisionByNumber(ctx context.Context, t tenants.ID, s ServerID, number int) (Revision, error)
	// Newest is the revision with the highest number.
	Newest(ctx context.Context, t tenants.ID, s ServerID) (Revision, error)
	// Revisions lists a server's revisions, newest first.
	Revisions(ctx context.Context, t tenants.ID, s ServerID) ([]Revision, error)
	// RevisionsBefore lists those with a lower number, newest first.
	RevisionsBefore(ctx context.Context, t tenants.ID, s ServerID, number, limit int) ([]Revision, error)
	// PutServer creates the server of that slug, with the given id if there is
	// one, or updates everything but its id, kind and active revision.
	PutServer(ctx context.Context, t tenants.ID, s Server) (Server, error)
	// Stage stores the revision without making it active. One with the same
	// hash that the server has already is given instead, and staged is false.
	Stage(ctx context.Context, t tenants.ID, r Revision) (rev Revision, staged bool, err error)
	// Activate makes one of the server's revisions the active one.
	Activate(ctx context.Context, t tenants.ID, s ServerID, number int) (Revision, error)
	// Publish stores the revision and makes it the active one, in one
	// transaction. A revision whose hash is the active one's is not stored
	// again: the active one is returned and published is false.
	Publish(ctx context.Context, t tenants.ID, r Revision) (rev Revision, published bool, err error)
	// BeginDeleteServer takes a server away from its clients, so that it is
	// hosted no more and its grants end, and queues the operation that removes
	// it, in one transaction. One that is under way is returned.
	BeginDeleteServer(ctx context.Context, t tenants.ID, id ServerID, createdBy string, at time.Time) (tenants.Operation, error)
	// ServerEffects counts what DeleteServer removes.
	ServerEffects(ctx context.Context, t tenants.ID, id ServerID) (tenants.Effects, error)
	// LastCredentials looks through the newest records of calls.
	LastCredentials(ctx context.Context, t tenants.ID, ids []ServerID) (map[ServerID]Credentials, error)
	// ToolCalls looks through the newest records of a tool's calls; with older,
	// of those that went to an older revision than the active one.
	ToolCalls(ctx context.Context, t tenants.ID, server, tool string, older bool, since time.Time) (Calls, error)
	// DeleteServer removes the server's row with all that refers to it.
	DeleteServer(ctx context.Context, t tenants.ID, id ServerID) error
}
