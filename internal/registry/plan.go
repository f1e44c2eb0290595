package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// State is a tenant as it is.
type State struct {
	Tenant   tenants.Tenant // without an id it does not exist yet
	Servers  []Hosted       // see Store.Current
	Offered  map[ServerID]Offered
	Deleting []string // slugs
	Roles    []tenants.Role
	Members  []tenants.User
	Switches []switches.Switch // that nobody has lifted; some may have run out
	At       time.Time         // when it was so
	Limits   tenants.Limits    // what the tenant sets itself
}

// Applied is one line of a plan, or of what an Apply did.
type Applied struct {
	Verb   string // created, updated, published, deleted, unchanged
	What   string // tenant, server, role, member, switch, limits
	Name   string
	Note   string
	Fields []FieldChange
	// Review is what its change is to those who use a server's tools.
	Review Review
}

// Plan is what will be done to bring a tenant to what a file declares.
type Plan struct {
	Steps []Step
	// Unmentioned is what the tenant has and the file does not mention.
	Unmentioned []Applied
}

// Step is one change, or that there is none, with what it takes to make it.
type Step struct {
	Applied
	server *FileServer
	before *Hosted
	keep   bool // the secrets at Vault
	role   *FileRole
	scopes []scopeOf
	member *tenants.User
	limits *tenants.Limits
	closes bool // the account of somebody who could sign in
	title  string
	toggle *FileSwitch
	target switches.Target
	rank   int // steps are done in order of it
}

// scopeOf names a scope by its server's slug: a new server has no id yet.
type scopeOf struct{ server, scope string }

// PlanOptions of MakePlan.
type PlanOptions struct {
	// Prune deletes what the file does not mention.
	Prune bool
	// AllowBreaking publishes what breaks who uses it.
	AllowBreaking bool
	Now           time.Time // zero: by the clock
	// MayGive refuses permissions that whoever applies may not give to others;
	// nil is for the platform itself.
	MayGive func([]tenants.Permission) error
	// MaySwitch refuses to change kill switches, and one that is on as it is; nil
	// is for the platform itself.
	MaySwitch func(before switches.Switch) error
}

// MakePlan compares a file with a tenant. It changes nothing and asks nobody:
// the same file, state and day give the same plan. What the file refers to and
// neither declares nor finds is a *Problems; so is a secret that is to be kept
// and cannot be.
func MakePlan(f *File, s State, o PlanOptions) (*Plan, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	p := &planner{file: f, state: s, options: o, servers: map[string]*Hosted{}, defined: map[string]Revision{}, plan: &Plan{}}
	for i := range s.Servers {
		p.servers[s.Servers[i].Server.Slug] = &s.Servers[i]
	}
	if err := p.define(); err != nil {
		return nil, err
	}
	p.tenant()
	p.limits()
	for i := range f.Servers {
		if err := p.server(&f.Servers[i]); err != nil {
			return nil, err
		}
	}
	p.references()
	if len(p.problems) > 0 {
		return nil, &Problems{File: f.Name, List: p.problems}
	}
	for i := range f.Roles {
		p.role(&f.Roles[i])
	}
	for i := range f.Members {
		p.member(&f.Members[i])
	}
	for i := range f.Switches {
		p.toggle(&f.Switches[i])
	}
	p.unmentioned()
	for _, check := range []func() error{p.withinQuotas, p.keepsAdmin, p.givesOwn, p.switchesOwn} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return p.plan, nil
}

type planner struct {
	file     *File
	state    State
	options  PlanOptions
	servers  map[string]*Hosted
	defined  map[string]Revision // what the file's specs come to, by slug
	plan     *Plan
	problems []Problem
}

// define makes the revisions of the file's specs, over what is pinned of each
// server's upstream.
func (p *planner) define() error {
	for _, composes := range []bool{false, true} { // toolsets over what the others come to
		for i := range p.file.Servers {
			s := &p.file.Servers[i]
			if !s.HasSpec || s.Spec.Composes() != composes {
				continue
			}
			spec, err := s.Spec, error(nil)
			if composes {
				spec, err = spec.Compose(Composing{Servers: p.planned()})
			}
			var rev Revision
			if err == nil {
				rev, err = spec.Revision(s.Server, p.pinned(s), "")
			}
			var ps *Problems
			if errors.As(err, &ps) {
				p.unfit(s, ps)
				continue
			}
			if err != nil {
				return err
			}
			p.defined[s.Server.Slug] = rev
		}
	}
	if len(p.problems) > 0 {
		return &Problems{File: p.file.Name, List: p.problems}
	}
	return nil
}

// unfit says that a spec does not go with what it is over; of a toolset, at the
// entry.
func (p *planner) unfit(s *FileServer, ps *Problems) {
	for _, q := range ps.List {
		if !s.Spec.Composes() { // the words are about the upstream's offer
			p.problem(s, "spec", q.Reason, q.Fix)
			continue
		}
		i := slices.IndexFunc(p.file.Servers, func(o FileServer) bool { return o.Server.Slug == s.Server.Slug })
		p.problems = append(p.problems, ProblemAt(nodeAt(s.node, q.Path), fmt.Sprintf("servers[%d].%s", i, q.Path), q.Reason, q.Fix))
	}
}

// planned are the tenant's servers as they will be, but for toolsets of the file.
func (p *planner) planned() (out []Hosted) {
	declared := map[string]bool{}
	for i := range p.file.Servers {
		s := &p.file.Servers[i]
		declared[s.Server.Slug] = s.HasSpec
		if !s.HasSpec || s.Spec.Composes() {
			if s.HasSpec { // it is there, and no member
				out = append(out, Hosted{Server: s.Server})
			}
			continue
		}
		h := Hosted{Server: s.Server, Revision: p.defined[s.Server.Slug]}
		if !s.Draft && !p.discovering(s) {
			h.Server.Active = "planned"
		}
		out = append(out, h)
	}
	for _, h := range p.state.Servers {
		mentioned := slices.ContainsFunc(p.file.Servers, func(s FileServer) bool { return s.Server.Slug == h.Server.Slug })
		if !declared[h.Server.Slug] && (mentioned || !p.options.Prune) {
			out = append(out, h)
		}
	}
	return out
}

func (p *planner) pinned(s *FileServer) *Offer {
	if h := p.servers[s.Server.Slug]; h != nil {
		return p.state.Offered[h.Server.ID].PinnedOrNil()
	}
	return nil
}

// discovering reports whether it is not known yet what a declared server offers.
func (p *planner) discovering(s *FileServer) bool {
	return s.HasSpec && s.Spec.Discovering(p.pinned(s))
}

// awaits reports whether a declared toolset is over servers of which it is not
// known yet what they offer.
func (p *planner) awaits(s *FileServer) bool {
	if !s.HasSpec || !s.Spec.Composes() {
		return false
	}
	return slices.ContainsFunc(p.file.Servers, func(o FileServer) bool { return p.discovering(&o) }) ||
		slices.ContainsFunc(p.state.Servers, func(h Hosted) bool { return h.Server.Active == "" })
}

func (p *planner) add(s Step) { p.plan.Steps = append(p.plan.Steps, s) }

// Ranks. A tenant is never without an administrator on the way, so that a step
// that takes the permission from a role or a person comes after those that give
// it to another.
const (
	rankTenant = iota
	rankSwitch // before what is switched off is published
	rankServer
	rankToolset // over servers
	rankRole
	rankAdminMember
	rankMember
	rankRoleThatLoses
	rankMemberSwitch
	rankDelete
)

func (p *planner) tenant() {
	step := Step{Applied: Applied{Verb: "updated", What: "tenant", Name: p.file.Tenant}, title: p.file.Title, rank: rankTenant}
	switch {
	case p.state.Tenant.ID == "":
		step.Verb = "created"
	case p.state.Tenant.Name == p.file.Title:
		return
	}
	step.Fields = changed(step.Fields, "name", p.state.Tenant.Name, p.file.Title)
	p.add(step)
}

// changed adds a field whose values differ.
func changed(fields []FieldChange, field, before, after string) []FieldChange {
	if before == after {
		return fields
	}
	b, a := shown(before, after)
	return append(fields, FieldChange{field, b, a})
}

func (p *planner) problem(s *FileServer, key, reason, fix string) {
	n, path := s.node, "servers["+s.Server.Slug+"]"
	if i := slices.IndexFunc(p.file.Servers, func(o FileServer) bool { return o.Server.Slug == s.Server.Slug }); i >= 0 {
		path = fmt.Sprintf("servers[%d]", i)
	}
	if key == "connection" && s.conn != nil {
		n, path = s.conn, path+".connection"
	}
	p.problems = append(p.problems, ProblemAt(n, path, reason, fix))
}

func (p *planner) server(s *FileServer) error {
	step := Step{Applied: Applied{Verb: "created", What: "server", Name: s.Server.Slug}, server: s, rank: rankServer}
	if s.HasSpec && s.Spec.Composes() {
		step.rank = rankToolset
	}
	if slices.Contains(p.state.Deleting, s.Server.Slug) {
		return fault.New(fault.Conflict, "The server %s is being deleted. Apply again when that is done, or choose another slug.", s.Server.Slug)
	}
	before := p.servers[s.Server.Slug]
	var was Server
	if step.before = before; before != nil {
		was = before.Server
		if err := MayBecome(was, s.Server); err != nil {
			return err
		}
		step.Verb = "unchanged"
	}
	if s.HasConnection {
		keep, reason, fix := s.Connection.keeps(was)
		if reason != "" {
			p.problem(s, "connection", reason, fix)
			return nil
		}
		step.keep = keep
	}
	step.Fields = settingsDiff(was, s.Server, s.HasConnection)
	if len(step.Fields) > 0 && before != nil {
		step.Verb = "updated"
	}
	if s.HasSpec {
		rev := p.defined[s.Server.Slug]
		var old Revision
		if before != nil {
			old = before.Revision
		}
		step.Note = fmt.Sprintf("%d tools", len(rev.Definition.Tools))
		discovering := p.discovering(s)
		if discovering {
			step.Note = beingDiscovered
		}
		switch {
		case before == nil:
		case discovering && old.ID != "" && old.SameAs(rev) && p.state.Offered[was.ID].Awaited.Revision == old.ID == !s.Draft:
		case old.ID != "" && old.SameAs(rev) && (was.Active != "" || s.Draft):
		case s.Draft:
			step.Verb = "updated"
		default:
			step.Verb = "published"
		}
		if before == nil || step.Verb == "published" || step.Verb == "updated" {
			step.Fields = append(step.Fields, flatten(DiffOf(old, rev))...)
		}
		if step.Verb != "unchanged" {
			var active *Definition
			if was.Active != "" {
				active = &old.Definition
			}
			step.Review = ReviewOf(active, rev.Definition, p.neighbours(s), p.options.Now)
		}
		if old.ID != "" && step.Verb == "unchanged" {
			step.Note = fmt.Sprintf("revision %d, %s", old.Number, step.Note)
		}
	}
	if s.Draft {
		step.Note = strings.TrimPrefix(step.Note+", not published", ", ")
	}
	p.add(step)
	return nil
}

// neighbours are the tools of the other servers when the plan is done.
func (p *planner) neighbours(of *FileServer) (out []Neighbour) {
	declared := map[string]bool{of.Server.Slug: true}
	for i := range p.file.Servers {
		if s := &p.file.Servers[i]; s != of && s.HasSpec {
			declared[s.Server.Slug] = true
			def := p.defined[s.Server.Slug].Definition
			out = append(out, def.neighboursOf(s.Server.Slug, of.Server.Slug)...)
		}
	}
	for _, h := range p.state.Servers {
		if !declared[h.Server.Slug] {
			out = append(out, h.Revision.Definition.neighboursOf(h.Server.Slug, of.Server.Slug)...)
		}
	}
	return out
}

// Refusal is why the plan may not be done, or nil, with the places in the file.
// Of several servers it is about the first that something stands against, but
// for details.
func (p *Plan) Refusal(o PlanOptions) error {
	var first *fault.Error
	for _, s := range p.Steps {
		if s.server == nil || s.server.Draft {
			continue
		}
		err := s.Review.Refusal("The server "+s.Name, o.AllowBreaking, s.server.detail)
		var f *fault.Error
		if !errors.As(err, &f) {
			continue
		}
		if first == nil {
			first = f
		} else if first.Code == f.Code {
			first = first.WithDetails(f.Details...)
		}
	}
	if first == nil {
		return nil
	}
	return first
}

// Broken names what is published although it breaks, for the record.
func (p *Plan) Broken() (names []string) {
	for _, s := range p.Steps {
		if s.server != nil && !s.server.Draft {
			for _, name := range s.Review.RefusedTools() {
				names = append(names, s.Name+": "+name)
			}
		}
	}
	return names
}

// detail is the place of a tool, resource or prompt in the file, or of what is
// nearest to it.
func (s *FileServer) detail(what, name, field string) fault.Detail {
	n := s.node
	step := func(key string) bool {
		for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				n = n.Content[i+1]
				return true
			}
		}
		return false
	}
	if step("spec") && (what == "instructions" && step("instructions") || step(what+"s")) {
		for _, e := range n.Content {
			if n.Kind == yaml.SequenceNode && nameOf(e) == name {
				n = e
				key, _, _ := strings.Cut(field, "/")
				step(key)
				break
			}
		}
	}
	d := fault.Detail{Pointer: "/file"}
	if n != nil {
		d.Line, d.Column = n.Line, n.Column
	}
	return d
}

// settingsDiff compares servers without what they offer.
func settingsDiff(before, after Server, connection bool) (fields []FieldChange) {
	if before.ID != "" || after.Title != after.Slug {
		fields = changed(fields, "title", before.Title, after.Title)
	}
	fields = changed(fields, "description", before.Description, after.Description)
	if before.ID != "" || after.Pool != "default" {
		fields = changed(fields, "pool", before.Pool, after.Pool)
	}
	if !connection {
		return fields
	}
	// As it is declared; what the kind makes of it where that says nothing.
	declared := changeOf("", "", leaves("connection", before.Declared), leaves("connection", after.Declared)).Fields
	if len(declared) == 0 && !sameJSON(before.Connection, after.Connection) {
		declared = changeOf("", "", leaves("connection", before.Connection), leaves("connection", after.Connection)).Fields
	}
	if sameJSON(before.Declared, after.Declared) {
		declared = nil
	}
	if len(declared) == 0 && !slices.Equal(before.SecretsSet, after.SecretsSet) {
		declared = changed(declared, "secrets", strings.Join(before.SecretsSet, ", "), strings.Join(after.SecretsSet, ", "))
	}
	return append(fields, declared...)
}

// flatten writes a difference as one list of fields.
func flatten(d Diff) (fields []FieldChange) {
	for _, c := range d.Changes {
		at := c.What
		if c.Name != "" {
			at += " " + c.Name
		}
		switch c.Verb {
		case "added":
			fields = append(fields, FieldChange{Field: at, After: summary(c.Fields, func(f FieldChange) string { return f.After })})
		case "removed":
			fields = append(fields, FieldChange{Field: at, Before: summary(c.Fields, func(f FieldChange) string { return f.Before })})
		default:
			for _, f := range c.Fields {
				field := at + ": " + f.Field
				if f.Field == c.What {
					field = at
				}
				fields = append(fields, FieldChange{field, f.Before, f.After})
			}
			if len(c.Fields) == 0 {
				fields = append(fields, FieldChange{Field: at})
			}
		}
	}
	return fields
}

// summary says what matters most of what is new or gone.
func summary(fields []FieldChange, of func(FieldChange) string) string {
	var out []string
	for _, key := range []string{"risk", "scope", "uri", "uri_template"} {
		for _, f := range fields {
			if f.Field == key && of(f) != "" {
				out = append(out, key+" "+of(f))
			}
		}
	}
	return cmp.Or(strings.Join(out, ", "), "yes")
}

// references finds, before anything is changed, what the file refers to and
// neither declares nor finds at the tenant. A scope that a role opens already
// may stand in the file although no tool has it any more; and any scope of a
// server of which it is not known yet what it offers.
func (p *planner) references() {
	scopes, known, unknown := map[string][]string{}, map[string]bool{}, map[string]bool{}
	if !p.options.Prune {
		for slug, h := range p.servers {
			scopes[slug] = h.Revision.Definition.Scopes()
		}
		for _, r := range p.state.Roles {
			known[r.Name] = true
		}
	}
	for _, s := range p.file.Servers {
		switch {
		case s.HasSpec:
			def := p.defined[s.Server.Slug].Definition
			scopes[s.Server.Slug], unknown[s.Server.Slug] = def.Scopes(), p.discovering(&s) || p.awaits(&s)
		case p.servers[s.Server.Slug] != nil:
			scopes[s.Server.Slug] = p.servers[s.Server.Slug].Revision.Definition.Scopes()
		}
	}
	for _, r := range p.file.Roles {
		known[r.Name] = true
		opened := p.opened(r.Name)
		for _, s := range r.Scopes {
			have, declared := scopes[s.Server]
			if slices.Contains(have, s.Scope) || unknown[s.Server] || slices.Contains(opened, scopeOf{s.Server, s.Scope}) && (declared || !p.options.Prune) {
				continue
			}
			fix := "publish the server first, or correct the name"
			if len(have) > 0 {
				fix = "it has " + strings.Join(have[:min(len(have), 50)], ", ")
				if len(have) > 50 {
					fix += ", …"
				}
			}
			p.problems = append(p.problems, ProblemAt(s.node, s.path, fmt.Sprintf("there is no scope %q on a server %q", s.Scope, s.Server), fix))
		}
	}
	for _, m := range p.file.Members {
		for _, r := range m.Roles {
			if !known[r] {
				p.problems = append(p.problems, ProblemAt(m.node, m.path, fmt.Sprintf("there is no role %q", r), "declare it under roles, or correct the name"))
			}
		}
	}
	p.switchReferences()
	sortProblems(p.problems)
	if more := len(p.problems) - maxProblems; more > 0 {
		p.problems = append(p.problems[:maxProblems], Problem{Reason: fmt.Sprintf("and %d more", more)})
	}
}

func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// opened lists what a role opens on servers that are not being deleted.
func (p *planner) opened(role string) (out []scopeOf) {
	i := slices.IndexFunc(p.state.Roles, func(r tenants.Role) bool { return r.Name == role })
	if i < 0 {
		return nil
	}
	for _, s := range p.state.Roles[i].Scopes {
		for slug, h := range p.servers {
			if h.Server.ID == s.Server {
				out = append(out, scopeOf{slug, s.Name})
			}
		}
	}
	return sortScopes(out)
}

func sortScopes(list []scopeOf) []scopeOf {
	slices.SortFunc(list, func(a, b scopeOf) int {
		return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.scope, b.scope))
	})
	return slices.Compact(list)
}

func (p *planner) role(r *FileRole) {
	step := Step{Applied: Applied{Verb: "created", What: "role", Name: r.Name}, role: r, rank: rankRole}
	for _, s := range r.Scopes {
		step.scopes = append(step.scopes, scopeOf{s.Server, s.Scope})
	}
	step.scopes = sortScopes(step.scopes)
	step.Note = fmt.Sprintf("%d scopes", len(step.scopes))
	if n := len(r.Permissions); n > 0 {
		step.Note += fmt.Sprintf(", %d permissions", n)
	}
	var was tenants.Role
	if i := slices.IndexFunc(p.state.Roles, func(b tenants.Role) bool { return b.Name == r.Name }); i >= 0 {
		was, step.Verb = p.state.Roles[i], "unchanged"
	}
	step.Fields = changed(step.Fields, "description", was.Description, r.Description)
	before, after := slices.Sorted(slices.Values(was.Permissions)), slices.Sorted(slices.Values(r.Permissions))
	step.Fields = append(step.Fields, listDiff("permissions", before, after, func(x tenants.Permission) string { return string(x) })...)
	step.Fields = append(step.Fields, listDiff("scopes", p.opened(r.Name), step.scopes, func(s scopeOf) string { return s.server + ": " + s.scope })...)
	if step.Verb == "unchanged" && len(step.Fields) > 0 {
		step.Verb = "updated"
	}
	if slices.Contains(before, tenants.Admin) && !slices.Contains(after, tenants.Admin) {
		step.rank = rankRoleThatLoses
	}
	p.add(step)
}

// listDiff says what a list lost and gained.
func listDiff[T comparable](field string, before, after []T, text func(T) string) (fields []FieldChange) {
	for _, x := range before {
		if !slices.Contains(after, x) {
			fields = append(fields, FieldChange{Field: field, Before: text(x)})
		}
	}
	for _, x := range after {
		if !slices.Contains(before, x) {
			fields = append(fields, FieldChange{Field: field, After: text(x)})
		}
	}
	return fields
}

func (p *planner) member(m *FileMember) {
	want := tenants.User{Email: strings.ToLower(strings.TrimSpace(m.Email)), Name: m.Name, Roles: slices.Compact(slices.Sorted(slices.Values(m.Roles)))}
	step := Step{Applied: Applied{Verb: "created", What: "member", Name: m.Email, Note: strings.Join(want.Roles, ", ")}, member: &want, rank: rankMember}
	var was tenants.User
	if i := slices.IndexFunc(p.state.Members, func(u tenants.User) bool { return u.Email == want.Email }); i >= 0 {
		was, step.Verb = p.state.Members[i], "unchanged"
	}
	want.Disabled = was.Disabled
	if m.Disabled != nil {
		want.Disabled = *m.Disabled
	}
	step.Fields = changed(step.Fields, "name", was.Name, want.Name)
	step.Fields = append(step.Fields, listDiff("roles", was.Roles, want.Roles, func(s string) string { return s })...)
	step.Fields = changed(step.Fields, "disabled", flag(was.Disabled), flag(want.Disabled))
	step.closes = was.ID != "" && !was.Disabled && want.Disabled
	if step.Verb == "unchanged" && len(step.Fields) > 0 {
		step.Verb = "updated"
	}
	if slices.ContainsFunc(want.Roles, func(r string) bool { return slices.Contains(p.permissionsAfter(r), tenants.Admin) }) && !want.Disabled {
		step.rank = rankAdminMember
	}
	p.add(step)
}

// permissionsAfter are those of a role when the plan is done.
func (p *planner) permissionsAfter(role string) []tenants.Permission {
	if i := slices.IndexFunc(p.file.Roles, func(r FileRole) bool { return r.Name == role }); i >= 0 {
		return p.file.Roles[i].Permissions
	}
	if i := slices.IndexFunc(p.state.Roles, func(r tenants.Role) bool { return r.Name == role }); i >= 0 && !p.options.Prune {
		return p.state.Roles[i].Permissions
	}
	return nil
}

func (p *planner) unmentioned() {
	add := func(what, name string) {
		p.plan.Unmentioned = append(p.plan.Unmentioned, Applied{Verb: "unchanged", What: what, Name: name})
		if p.options.Prune {
			p.add(Step{Applied: Applied{Verb: "deleted", What: what, Name: name}, rank: rankDelete})
		}
	}
	for _, u := range p.state.Members {
		if !slices.ContainsFunc(p.file.Members, func(m FileMember) bool { return strings.EqualFold(strings.TrimSpace(m.Email), u.Email) }) {
			add("member", u.Email)
		}
	}
	for _, r := range p.state.Roles {
		if !slices.ContainsFunc(p.file.Roles, func(f FileRole) bool { return f.Name == r.Name }) {
			add("role", r.Name)
		}
	}
	for _, h := range p.state.Servers {
		if !slices.ContainsFunc(p.file.Servers, func(f FileServer) bool { return f.Server.Slug == h.Server.Slug }) {
			add("server", h.Server.Slug)
		}
	}
	p.unmentionedSwitches() // last: what goes is off until it is gone
}

func (p *planner) withinQuotas() error {
	q := p.state.Tenant.Quotas
	if p.state.Tenant.ID == "" {
		q = tenants.DefaultQuotas
	}
	have := map[string]int{"server": len(p.state.Servers) + len(p.state.Deleting), "role": len(p.state.Roles), "member": len(p.state.Members)}
	for _, s := range p.plan.Steps {
		switch s.Verb {
		case "created":
			have[s.What]++
		case "deleted":
			have[s.What]--
		}
	}
	for _, l := range []struct {
		what   string
		limit  int
		before int
	}{{"server", q.Servers, len(p.state.Servers) + len(p.state.Deleting)}, {"role", q.Roles, len(p.state.Roles)}, {"member", q.Members, len(p.state.Members)}} {
		if have[l.what] > l.limit && have[l.what] > l.before {
			return fault.New(fault.Conflict, "This tenant may have %d %ss, and would have %d. Remove what is not needed, or ask whoever runs the platform for a higher quota.", l.limit, l.what, have[l.what])
		}
	}
	return nil
}

// keepsAdmin refuses a plan after which nobody could administer the tenant.
func (p *planner) keepsAdmin() error {
	admin := func(u tenants.User, permissions func(string) []tenants.Permission) bool {
		return !u.Disabled && slices.ContainsFunc(u.Roles, func(r string) bool { return slices.Contains(permissions(r), tenants.Admin) })
	}
	before := func(role string) []tenants.Permission {
		if i := slices.IndexFunc(p.state.Roles, func(r tenants.Role) bool { return r.Name == role }); i >= 0 {
			return p.state.Roles[i].Permissions
		}
		return nil
	}
	if !slices.ContainsFunc(p.state.Members, func(u tenants.User) bool { return admin(u, before) }) {
		return nil
	}
	after := map[string]tenants.User{}
	if !p.options.Prune {
		for _, u := range p.state.Members {
			after[u.Email] = u
		}
	}
	for _, s := range p.plan.Steps {
		if s.member != nil {
			after[s.member.Email] = *s.member
		}
	}
	for _, u := range after {
		if admin(u, p.permissionsAfter) {
			return nil
		}
	}
	return fault.New(fault.Conflict, "After this nobody could administer %s. Keep one member who holds a role with the permission admin.", p.file.Tenant)
}

// givesOwn lets nobody give through a file what they could not give otherwise.
func (p *planner) givesOwn() error {
	if p.options.MayGive == nil {
		return nil
	}
	held := map[string][]tenants.Permission{}
	for _, r := range p.state.Roles {
		held[r.Name] = r.Permissions
	}
	for _, s := range p.plan.Steps {
		var gives []tenants.Permission
		switch {
		case s.Verb == "unchanged" || s.Verb == "deleted":
		case s.role != nil:
			gives = tenants.Beyond(held[s.Name], s.role.Permissions)
		case s.member != nil:
			for _, r := range s.member.Roles {
				gives = append(gives, p.permissionsAfter(r)...)
			}
			i := slices.IndexFunc(p.state.Members, func(u tenants.User) bool { return u.Email == s.member.Email })
			// To open an account again gives all that it holds.
			if i >= 0 && (!p.state.Members[i].Disabled || s.member.Disabled) {
				var had []tenants.Permission
				for _, r := range p.state.Members[i].Roles {
					had = append(had, held[r]...)
				}
				gives = tenants.Beyond(had, gives)
			}
		}
		if err := p.options.MayGive(gives); err != nil {
			return at(err, s.What+" "+s.Name, 0)
		}
	}
	return nil
}
