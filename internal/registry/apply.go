package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Provisioner makes a server's credentials obtainable: it puts the secrets of
// a connection where workers can trade a grant for them, and nowhere else.
type Provisioner interface {
	Provision(ctx context.Context, t tenants.ID, s Server, secrets map[string]secret.Text) error
}

// Applier brings a tenant to what a file declares. Applying the same file
// again changes nothing.
type Applier struct {
	Tenants     tenants.Store
	Registry    Store
	Provisioner Provisioner
	Actor       string // stands in each revision
}

// Applied is one line of what an Apply did.
type Applied struct {
	Verb string // created, updated, published, unchanged
	What string // server orders, role support, …
	Note string
}

// Apply creates or updates the tenant, its servers, roles and people, in this
// order: each refers to those before. It stops at the first error; what was
// done stays and is found unchanged the next time.
func (a *Applier) Apply(ctx context.Context, f *File) (done []Applied, err error) {
	t, err := a.Tenants.PutTenant(ctx, f.Tenant, f.Title)
	if err != nil {
		return nil, err
	}
	all, err := a.Registry.HostedAll(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	roles, err := a.Tenants.Roles(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	if err := f.refersTo(all, roles); err != nil {
		return nil, err
	}
	hosted := map[string]Hosted{}
	for _, h := range all {
		hosted[h.Server.Slug] = h
	}
	for _, s := range f.Servers {
		h, line, err := a.server(ctx, t.ID, s, hosted[s.Server.Slug])
		if err != nil {
			return done, fmt.Errorf("server %s: %w", s.Server.Slug, err)
		}
		hosted[s.Server.Slug] = h
		done = append(done, line)
	}
	lines, err := a.roles(ctx, t.ID, f, hosted)
	done = append(done, lines...)
	if err != nil {
		return done, err
	}
	lines, err = a.members(ctx, t.ID, f)
	return append(done, lines...), err
}

// refersTo finds, before anything is changed, what the file refers to and
// neither declares nor finds at the tenant.
func (f *File) refersTo(hosted []Hosted, roles []tenants.Role) error {
	scopes, known := map[string][]string{}, map[string]bool{}
	for _, h := range hosted {
		scopes[h.Server.Slug] = h.Revision.Definition.Scopes()
	}
	for _, s := range f.Servers {
		scopes[s.Server.Slug] = s.Definition.Scopes()
	}
	for _, r := range roles {
		known[r.Name] = true
	}
	var wrong []Problem
	for _, r := range f.Roles {
		known[r.Name] = true
		for _, s := range r.Scopes {
			if !slices.Contains(scopes[s.Server], s.Scope) {
				wrong = append(wrong, ProblemAt(s.node, s.path, fmt.Sprintf("there is no scope %q on a server %q", s.Scope, s.Server), "publish the server first, or correct the name"))
			}
		}
	}
	for _, m := range f.Members {
		for _, r := range m.Roles {
			if !known[r] {
				wrong = append(wrong, ProblemAt(m.node, m.path, fmt.Sprintf("there is no role %q", r), "declare it under roles, or correct the name"))
			}
		}
	}
	if len(wrong) > 0 {
		return &Problems{File: f.Name, List: wrong}
	}
	return nil
}

// server brings one server to what is declared; before is what was served of
// it, if anything.
func (a *Applier) server(ctx context.Context, t tenants.ID, s FileServer, before Hosted) (h Hosted, line Applied, err error) {
	// Credentials first, whose making tries the connection: a server that is
	// served goes on with the old one when the new one does not work.
	served := before.Server.ID != "" && before.Server.Kind == s.Server.Kind
	if served {
		declared := s.Server
		declared.ID, declared.Tenant = before.Server.ID, t
		if err := a.Provisioner.Provision(ctx, t, declared, s.Secrets); err != nil {
			return h, line, err
		}
	}
	server, err := a.Registry.PutServer(ctx, t, s.Server)
	if err != nil {
		return h, line, err
	}
	if !served {
		if err := a.Provisioner.Provision(ctx, t, server, s.Secrets); err != nil {
			return h, line, err
		}
	}
	rev, err := NewRevision(server, s.Spec, s.Definition, a.Actor)
	if err != nil {
		return h, line, err
	}
	rev, published, err := a.Registry.Publish(ctx, t, rev)
	if err != nil {
		return h, line, err
	}
	line = Applied{
		Verb: "unchanged", What: "server " + s.Server.Slug,
		Note: fmt.Sprintf("revision %d, %d tools", rev.Number, len(rev.Definition.Tools)),
	}
	switch {
	case published && before.Server.ID == "":
		line.Verb = "created"
	case published:
		line.Verb = "published"
	case before.Server.ID != "" && !before.Server.UpdatedAt.Equal(server.UpdatedAt):
		line.Verb = "updated" // its connection, say: what it offers is the same
	}
	return Hosted{Server: server, Revision: rev}, line, nil
}

func (a *Applier) roles(ctx context.Context, t tenants.ID, f *File, hosted map[string]Hosted) (done []Applied, err error) {
	before, err := a.Tenants.Roles(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, r := range f.Roles {
		want := tenants.Role{Name: r.Name, Description: r.Description, Permissions: r.Permissions}
		for _, s := range r.Scopes {
			want.Scopes = append(want.Scopes, tenants.Scope{Server: hosted[s.Server].Server.ID, Name: s.Scope})
		}
		slices.SortFunc(want.Scopes, func(a, b tenants.Scope) int {
			return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Name, b.Name))
		})
		want.Scopes = slices.Compact(want.Scopes)
		line := Applied{Verb: "created", What: "role " + r.Name, Note: fmt.Sprintf("%d scopes", len(want.Scopes))}
		if i := slices.IndexFunc(before, func(b tenants.Role) bool { return b.Name == r.Name }); i >= 0 {
			line.Verb = "updated"
			if before[i].Description == want.Description && slices.Equal(before[i].Scopes, want.Scopes) && slices.Equal(before[i].Permissions, want.Permissions) {
				line.Verb = "unchanged"
			}
		}
		if line.Verb != "unchanged" {
			if err := a.Tenants.PutRole(ctx, t, want); err != nil {
				return done, fmt.Errorf("role %s: %w", r.Name, err)
			}
		}
		done = append(done, line)
	}
	return done, nil
}

func (a *Applier) members(ctx context.Context, t tenants.ID, f *File) (done []Applied, err error) {
	for _, m := range f.Members {
		roles := slices.Clone(m.Roles)
		slices.Sort(roles)
		roles = slices.Compact(roles)
		line := Applied{Verb: "created", What: "member " + m.Email}
		u, err := a.Tenants.UserByEmail(ctx, t, m.Email)
		switch {
		case err == nil && u.Name == m.Name && slices.Equal(u.Roles, roles):
			line.Verb = "unchanged"
		case err == nil:
			line.Verb = "updated"
		case !fault.HasCode(err, fault.NotFound):
			return done, err
		}
		if line.Verb != "unchanged" {
			if _, err := a.Tenants.PutUser(ctx, t, m.Email, m.Name, roles); err != nil {
				if fault.HasCode(err, fault.NotFound) {
					return done, fault.New(fault.InvalidSpec, "Member %s: one of the roles %v does not exist. Declare it under roles.", m.Email, m.Roles).Because(err)
				}
				return done, fmt.Errorf("member %s: %w", m.Email, err)
			}
		}
		done = append(done, line)
	}
	return done, nil
}

// NewRevision completes a definition with its hashes and defaults and makes
// the revision to publish.
func NewRevision(s Server, spec json.RawMessage, def Definition, actor string) (Revision, error) {
	if err := def.seal(); err != nil {
		return Revision{}, err
	}
	r := Revision{Server: s.ID, Tenant: s.Tenant, Kind: s.Kind, Spec: spec, Definition: def, CreatedBy: actor}
	hash, err := hashOf(struct {
		Kind       string
		Spec       json.RawMessage
		Definition Definition
	}{r.Kind, r.Spec, r.Definition})
	r.Hash = hash
	return r, err
}

// seal gives each tool, resource and prompt its scope and its hash. What the
// definition was copied from stays as it is.
func (d *Definition) seal() (err error) {
	d.Tools, d.Resources, d.Prompts = slices.Clone(d.Tools), slices.Clone(d.Resources), slices.Clone(d.Prompts)
	for i := range d.Tools {
		t := &d.Tools[i]
		t.Hash = ""
		if t.Scope == "" {
			t.Scope = "tool:" + t.Name
		}
		if t.Risk == "" {
			t.Risk = Destructive
		}
		if t.Hash, err = hashOf(t); err != nil {
			return err
		}
	}
	for i := range d.Resources {
		r := &d.Resources[i]
		r.Hash = ""
		if r.Scope == "" {
			r.Scope = "resource:" + r.Name
		}
		if r.Hash, err = hashOf(r); err != nil {
			return err
		}
	}
	for i := range d.Prompts {
		p := &d.Prompts[i]
		p.Hash = ""
		if p.Scope == "" {
			p.Scope = "prompt:" + p.Name
		}
		if p.Hash, err = hashOf(p); err != nil {
			return err
		}
	}
	return nil
}

func hashOf(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
