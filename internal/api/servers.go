package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// Servers is what the operations on servers ask for.
type Servers struct {
	Registry registry.Store
	// Kinds can be hosted here; Checker checks what is declared of them.
	Kinds       []runtime.Kind
	Checker     registry.Kinds
	Provisioner registry.Provisioner
	// Offers are what upstreams offer, Health whether they answer; Upstreams asks
	// them.
	Offers registry.Offers
	Health interface {
		ServerHealth(ctx context.Context, t tenants.ID) (health.Set, error)
	}
	Upstreams Upstreams
	// People is for whole tenants as files.
	People registry.People
	Usage  interface {
		QuotasUsed(ctx context.Context, t tenants.ID) (tenants.Quotas, error)
	}
	// Try calls a tool like an app would, for a person.
	Try func(ctx context.Context, t TryCall) (Tried, error)
}

// TryCall is one call of a tool of any revision.
type TryCall struct {
	Tenant    tenants.Tenant
	Server    registry.Server
	Revision  registry.Revision
	Tool      string
	Arguments json.RawMessage
	User      tenants.UserID
	Key       string // idempotency key, empty for none
}

// Tried is what came of it.
type Tried struct {
	CallID     string
	IsError    bool
	Text       string
	Structured json.RawMessage
	Worker     string
	Latency    time.Duration
}

func (s *Servers) editor(a *API) *registry.Editor {
	return &registry.Editor{Registry: s.Registry, Provisioner: s.Provisioner, Offers: s.Offers, Now: a.Now}
}

func (s *Servers) kind(name string) (runtime.Kind, error) {
	for _, k := range s.Kinds {
		if k.Name == name {
			return k, nil
		}
	}
	return runtime.Kind{}, fault.New(fault.InvalidRequest, "There is no kind of server %q here.", name).
		WithDetails(fault.Detail{Pointer: "/kind", Reason: "is not a kind of server", Fix: "write one of " + strings.Join(s.Checker.Names(), ", ")})
}

// server finds one of the tenant's by slug, in whatever state.
func (a *API) server(ctx context.Context, slug string) (registry.Server, error) {
	s, err := a.Servers.Registry.ServerBySlug(ctx, tenantOf(ctx).ID, slug)
	if fault.HasCode(err, fault.NotFound) {
		return s, notFound()
	}
	return s, err
}

// current is the revision that is in force, or the newest of a draft. Its ID is
// empty where there is none.
func (a *API) current(ctx context.Context, s registry.Server) (r registry.Revision, err error) {
	if s.Active != "" {
		return a.Servers.Registry.Revision(ctx, s.Tenant, s.Active)
	}
	if r, err = a.Servers.Registry.Newest(ctx, s.Tenant, s.ID); fault.HasCode(err, fault.NotFound) {
		return registry.Revision{}, nil
	}
	return r, err
}

// revision finds one of a server's by its number.
func (a *API) revision(ctx context.Context, slug string, number int) (s registry.Server, r registry.Revision, err error) {
	if s, err = a.server(ctx, slug); err != nil {
		return s, r, err
	}
	if r, err = a.Servers.Registry.RevisionByNumber(ctx, s.Tenant, s.ID, number); fault.HasCode(err, fault.NotFound) {
		err = notFound()
	}
	return s, r, err
}

// declaredSpec is a spec as a request has it.
type declaredSpec struct {
	JSON *json.RawMessage
	YAML *string
}

func (d declaredSpec) given() bool { return d.JSON != nil || d.YAML != nil }

// check reads a spec by its kind. Its problems point into `spec`, and have lines
// where it came as text.
func (d declaredSpec) check(kinds registry.Kinds, kind string) (registry.Spec, []fault.Detail) {
	var n *yaml.Node
	var problems []registry.Problem
	switch {
	case d.JSON != nil && d.YAML != nil:
		return registry.Spec{}, []fault.Detail{{Pointer: "/spec_yaml", Reason: "is given beside spec", Fix: "send one of them"}}
	case d.YAML != nil:
		n, problems = registry.ReadYAML(*d.YAML)
	default:
		n, problems = registry.ReadJSON(*d.JSON)
	}
	var spec registry.Spec
	if len(problems) == 0 {
		spec, problems = registry.CheckSpec(kinds, kind, n)
	}
	return spec, detailsOf(problems, "spec", n, d.YAML != nil)
}

// checkConnection reads a connection by its kind.
func checkConnection(kinds registry.Kinds, kind string, raw json.RawMessage) (registry.Connection, []fault.Detail) {
	n, problems := registry.ReadJSON(raw)
	var c registry.Connection
	if len(problems) == 0 {
		c, problems = registry.CheckConnection(kinds, kind, n, nil)
	}
	return c, detailsOf(problems, "connection", n, false)
}

// detailsOf turns problems into places of a request: paths begin at key.
func detailsOf(problems []registry.Problem, key string, n *yaml.Node, lines bool) (out []fault.Detail) {
	for _, p := range problems {
		path := strings.TrimPrefix(strings.TrimPrefix(p.Path, key), ".")
		d := fault.Detail{Pointer: "/" + key + registry.Pointer(n, path), Reason: p.Reason, Fix: p.Fix}
		if lines {
			d.Line, d.Column = p.Line, p.Column
		}
		out = append(out, d)
	}
	return out
}

func invalidSpec(details []fault.Detail) error {
	if len(details) == 0 {
		return nil
	}
	what := "one place has"
	if len(details) > 1 {
		what = fmt.Sprintf("%d places have", len(details))
	}
	return fault.New(fault.InvalidSpec, "What is declared cannot be used: %s to be corrected.", what).WithDetails(details...)
}

// ofFile turns the problems of a tenant file into places in it.
func ofFile(err error) error {
	var ps *registry.Problems
	if !errors.As(err, &ps) {
		return err
	}
	var details []fault.Detail
	for _, p := range ps.List {
		reason := p.Reason
		if p.Path != "" {
			reason = p.Path + ": " + reason
		}
		details = append(details, fault.Detail{Pointer: "/file", Reason: reason, Fix: p.Fix, Line: p.Line, Column: p.Column})
	}
	return invalidSpec(details)
}

// How things of the registry are shown.

func (a *API) showServer(ctx context.Context, s registry.Server, active, latest, tools int) Server {
	out := Server{
		Id: string(s.ID), Slug: s.Slug, Kind: s.Kind, Title: s.Title, Description: s.Description, Pool: s.Pool, Status: ServerStatus(s.State()),
		McpUrl: a.Sites.Resource(tenantOf(ctx).Slug, s.Slug), UpdatedAt: s.UpdatedAt.UTC(), SecretsSet: append([]string{}, s.SecretsSet...),
		ActiveRevision: optional(active), LatestRevision: optional(latest),
	}
	if latest > 0 {
		out.Tools = &tools
	}
	return out
}

// discovering says of a server that nobody can call yet whether that waits for
// its upstream to say what it offers.
func (a *API) discovering(ctx context.Context, s registry.Server, out *Server) error {
	if s.Active != "" || !a.Servers.Checker.Discovers(s.Kind) {
		return nil
	}
	o, err := a.Servers.Offers.Offered(ctx, s.Tenant, s.ID)
	if err != nil {
		return err
	}
	out.Discovering = optional(o.Pinned.Hash == "" && o.Awaited.Revision != "")
	return nil
}

// wholeServer is a server with what is declared of it.
func (a *API) wholeServer(ctx context.Context, s registry.Server) (Server, error) {
	r, err := a.current(ctx, s)
	if err != nil {
		return Server{}, err
	}
	active, latest := 0, r.Number
	if s.Active != "" {
		active = r.Number
		newest, err := a.Servers.Registry.Newest(ctx, s.Tenant, s.ID)
		if err != nil {
			return Server{}, err
		}
		latest = newest.Number
	}
	out := a.showServer(ctx, s, active, latest, len(r.Definition.Tools))
	if len(r.Declared) > 0 {
		out.Spec = &r.Declared
	}
	if s.HasConnection() {
		out.Connection = &s.Declared
	}
	if err := a.discovering(ctx, s, &out); err != nil {
		return out, err
	}
	one := []Server{out}
	err = a.healthOf(ctx, one)
	return one[0], err
}

func showTool(t registry.ListedTool) Tool {
	out := Tool{
		Server: t.Server, Name: t.Tool.Name, Title: t.Tool.Title, Description: t.Tool.Description, Scope: t.Tool.Scope, Risk: Risk(t.Tool.Risk),
		TimeoutMs: int(t.Tool.Timeout.Milliseconds()), Idempotent: t.Tool.Idempotent, OpenWorld: optional(t.Tool.OpenWorld), InputSchema: t.Tool.InputSchema,
		Hash: optional(t.Tool.Hash),
	}
	if len(t.Tool.OutputSchema) > 0 {
		out.OutputSchema = &t.Tool.OutputSchema
	}
	if t.Roles != nil {
		out.Roles = &t.Roles
	}
	out.Origin = optional(t.Tool.Origin.String())
	out.Version = ptr(max(t.Tool.Version, 1))
	out.Confirmed = ptr(t.Tool.Confirmation.MayAsk(t.Tool.Risk))
	out.Deprecated = showDeprecation(t.Tool.Deprecated)
	if t.Revision > 0 {
		out.Revision, out.Published = &t.Revision, &t.Published
	}
	return out
}

// declared adds what the spec says of how the tool is kept safe, as it says it.
func (t Tool) declared(spec json.RawMessage) Tool {
	if raw := registry.DeclaredSafety(spec, t.Name); len(raw) > 0 {
		t.Safety = &raw
	}
	return t
}

// toolsOf a definition, as far as it and its spec know them.
func toolsOf(server string, d registry.Definition, spec json.RawMessage) []Tool {
	out := make([]Tool, 0, len(d.Tools))
	for _, t := range d.Tools {
		out = append(out, showTool(registry.ListedTool{Server: server, Tool: t}).declared(spec))
	}
	return out
}

func showRevision(s registry.Server, r registry.Revision) (Revision, error) {
	out := Revision{
		Id: string(r.ID), Number: r.Number, Hash: r.Hash, Kind: r.Kind, Active: r.ID == s.Active, CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy,
		Tools: toolsOf(s.Slug, r.Definition, r.Declared), Scopes: ptr(scopesOf(r.Definition)), Resources: ptr(len(r.Definition.Resources)), Prompts: ptr(len(r.Definition.Prompts)),
	}
	if len(r.Declared) > 0 {
		text, err := registry.YAMLOf(r.Declared)
		if err != nil {
			return out, err
		}
		out.Spec, out.SpecYaml = &r.Declared, &text
	}
	return out, nil
}

func scopesOf(d registry.Definition) []string { return append([]string{}, d.Scopes()...) }

func showFields(fields []registry.FieldChange) *[]FieldChange {
	if len(fields) == 0 {
		return nil
	}
	out := make([]FieldChange, 0, len(fields))
	for _, f := range fields {
		out = append(out, FieldChange{Field: f.Field, Before: optional(f.Before), After: optional(f.After)})
	}
	return &out
}

// showDiff compares a revision with another one, whose ID is empty where there
// is none.
func showDiff(from, to registry.Revision) Diff {
	d := registry.DiffOf(from, to)
	class := registry.Classify(from.Definition, to.Definition)
	out := Diff{Class: ptr(ChangeClass(class.Class)), Breaking: showEffects(class.Breaking()), Same: d.Same, From: optional(from.Number), To: optional(to.Number), Changes: []DiffChange{}}
	for _, c := range d.Changes {
		out.Changes = append(out.Changes, DiffChange{Verb: DiffChangeVerb(c.Verb), What: DiffChangeWhat(c.What), Name: c.Name, Fields: showFields(c.Fields)})
	}
	return out
}

// withinServers holds a new server against the tenant's quota.
func (a *API) withinServers(ctx context.Context) error {
	t := tenantOf(ctx)
	used, err := a.Servers.Usage.QuotasUsed(ctx, t.ID)
	if err != nil {
		return err
	}
	return withinQuota("servers", used.Servers, t.Quotas.Servers)
}

func connects(k runtime.Kind) bool { return k.CheckConnection != nil }
