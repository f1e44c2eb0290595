package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Provisioner makes a server's credentials obtainable: it puts the secrets of
// a connection where workers can trade a grant for them, and nowhere else.
type Provisioner interface {
	// Provision tries the connection first: one that does not work changes
	// nothing. It gives what Server.SecretsVersion is then.
	Provision(ctx context.Context, t tenants.ID, s Server, secrets map[string]secret.Text) (version string, err error)
	// Forget removes all that Vault knows of a server. It may be repeated.
	Forget(ctx context.Context, t tenants.ID, id ServerID) error
}

// People is what an Applier asks of the store of tenants.
type People interface {
	TenantBySlug(ctx context.Context, slug string) (tenants.Tenant, error)
	PutTenant(ctx context.Context, slug, name string) (tenants.Tenant, error)
	Users(ctx context.Context, t tenants.ID) ([]tenants.User, error)
	Roles(ctx context.Context, t tenants.ID) ([]tenants.Role, error)
	SaveMember(ctx context.Context, t tenants.ID, email, name string, roles []string, disabled bool) (tenants.User, error)
	DeleteUser(ctx context.Context, t tenants.ID, id tenants.UserID) error
	PutRole(ctx context.Context, t tenants.ID, r tenants.Role) error
	DeleteRole(ctx context.Context, t tenants.ID, name string) error
	OwnLimits(ctx context.Context, t tenants.ID) (tenants.Limits, error)
	PutLimits(ctx context.Context, t tenants.ID, l tenants.Limits) error
}

// Applier brings a tenant to what a file declares. Applying the same file
// again changes nothing. Whoever calls it keeps other changes of the tenant out
// meanwhile: what was planned is what is done.
type Applier struct {
	People      People
	Registry    Store
	Provisioner Provisioner
	// Offers may be nil where no server's kind discovers what it offers.
	Offers Offers
	Actor  string // stands in each revision
	// Switches may be nil where a tenant has none and its file declares none.
	Switches SwitchStore
	// Role is what callers are told of who switches; see switches.Switch.
	Role string
	// EndSessions signs a person out everywhere whose account was closed; may be
	// nil.
	EndSessions func(ctx context.Context, t tenants.ID, user tenants.UserID) error
}

// ApplyOptions of Apply.
type ApplyOptions struct {
	PlanOptions
	// DryRun plans, with every check, and changes nothing.
	DryRun bool
}

// Result is what an Apply did, or would do.
type Result struct {
	Done        []Applied
	Unmentioned []Applied
	// Refusal is why a plan that was only made would be refused, or nil.
	Refusal error
	// Broken names what was published although it breaks who uses it.
	Broken []string
}

// Apply plans and does it: servers, then roles, then people, each of which
// refers to those before; deletions come last. It stops at the first error; what
// was done stays and is found unchanged the next time.
func (a *Applier) Apply(ctx context.Context, f *File, o ApplyOptions) (r Result, err error) {
	state, err := a.State(ctx, f.Tenant)
	if err != nil {
		return r, err
	}
	plan, err := MakePlan(f, state, o.PlanOptions)
	if err != nil {
		return r, err
	}
	r.Unmentioned, r.Broken = plan.Unmentioned, plan.Broken()
	refusal := plan.Refusal(o.PlanOptions)
	if o.DryRun {
		r.Refusal = refusal
		for _, s := range plan.Steps {
			r.Done = append(r.Done, s.Applied)
		}
		return r, nil
	}
	if refusal != nil {
		return Result{}, refusal
	}
	r.Done, err = a.execute(ctx, f, state, plan)
	return r, err
}

// State reads a tenant. Of one that does not exist everything is empty.
func (a *Applier) State(ctx context.Context, slug string) (s State, err error) {
	s.At = time.Now()
	if s.Tenant, err = a.People.TenantBySlug(ctx, slug); err != nil {
		if fault.HasCode(err, fault.NotFound) {
			return State{At: s.At}, nil
		}
		return s, err
	}
	t := s.Tenant.ID
	if s.Servers, err = a.Registry.Current(ctx, t); err != nil {
		return s, err
	}
	if a.Offers != nil {
		if s.Offered, err = a.Offers.AllOffered(ctx, t); err != nil {
			return s, err
		}
	}
	going, err := a.Registry.Servers(ctx, t, ServerQuery{State: Deleting, Limit: 100_000})
	if err != nil {
		return s, err
	}
	for _, l := range going {
		s.Deleting = append(s.Deleting, l.Server.Slug)
	}
	if s.Roles, err = a.People.Roles(ctx, t); err != nil {
		return s, err
	}
	if s.Limits, err = a.People.OwnLimits(ctx, t); err != nil {
		return s, err
	}
	if s.Members, err = a.People.Users(ctx, t); err != nil || a.Switches == nil {
		return s, err
	}
	s.Switches, err = a.Switches.SwitchesOn(ctx, t)
	return s, err
}

// execution is a plan that is being done.
type execution struct {
	*Applier
	tenant tenants.Tenant
	ids    map[string]ServerID // by slug
	roles  map[string]bool
	users  map[string]tenants.UserID // by address
}

func (a *Applier) execute(ctx context.Context, f *File, s State, p *Plan) (done []Applied, err error) {
	x := &execution{Applier: a, tenant: s.Tenant, ids: map[string]ServerID{}, users: map[string]tenants.UserID{}}
	for _, h := range s.Servers {
		x.ids[h.Server.Slug] = h.Server.ID
	}
	for _, u := range s.Members {
		x.users[u.Email] = u.ID
	}
	steps := slices.Clone(p.Steps)
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.rank, b.rank) })
	for i := range steps {
		if err := x.step(ctx, &steps[i]); err != nil {
			return done, at(err, steps[i].What+" "+steps[i].Name, len(done))
		}
		done = append(done, steps[i].Applied)
	}
	return done, nil
}

// at says to the caller where it stopped, and that what was done stays.
func at(err error, where string, done int) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return fmt.Errorf("%s: %w", where, err)
	}
	stopped := fault.New(f.Code, "%s: %s", where, f.Message).WithDetails(f.Details...).WithScope(f.Scope).After(f.RetryAfter)
	if done > 0 {
		stopped.Message += " What was done before stays; apply again when this is put right."
	}
	return stopped.Because(err)
}

func (x *execution) step(ctx context.Context, s *Step) (err error) {
	t := x.tenant.ID
	switch {
	case s.Verb == "deleted" && s.What == "server":
		_, err = x.Registry.BeginDeleteServer(ctx, t, x.ids[s.Name], x.Actor, time.Now())
	case s.Verb == "deleted" && s.What == "role":
		err = x.People.DeleteRole(ctx, t, s.Name)
	case s.Verb == "deleted" && s.What == "switch":
		err = x.lift(ctx, s)
	case s.Verb == "deleted" && s.What == "member":
		err = x.People.DeleteUser(ctx, t, x.users[s.Name])
	case s.What == "tenant":
		x.tenant, err = x.People.PutTenant(ctx, s.Name, s.title)
	case s.server != nil:
		return x.server(ctx, s)
	case s.Verb == "unchanged":
	case s.toggle != nil:
		err = x.toggle(ctx, s)
	case s.limits != nil:
		err = x.People.PutLimits(ctx, t, *s.limits)
	case s.role != nil:
		want := tenants.Role{Name: s.Name, Description: s.role.Description, Permissions: s.role.Permissions}
		for _, o := range s.scopes {
			want.Scopes = append(want.Scopes, tenants.Scope{Server: x.ids[o.server], Name: o.scope})
		}
		slices.SortFunc(want.Scopes, func(a, b tenants.Scope) int {
			return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Name, b.Name))
		})
		err = x.People.PutRole(ctx, t, want)
	case s.member != nil:
		var u tenants.User
		u, err = x.People.SaveMember(ctx, t, s.member.Email, s.member.Name, s.member.Roles, s.member.Disabled)
		x.users[s.member.Email] = u.ID
		if err == nil && s.closes && x.EndSessions != nil {
			err = x.EndSessions(ctx, t, u.ID)
		}
	}
	return err
}

func (x *execution) server(ctx context.Context, s *Step) error {
	e := Editor{Registry: x.Registry, Provisioner: x.Provisioner, Offers: x.Offers}
	var before Server
	if s.before != nil {
		before = s.before.Server
	}
	server, err := e.Put(ctx, x.tenant.ID, before, Settings{
		Server: s.server.Server, Connection: s.server.Connection, HasConnection: s.server.HasConnection, Keep: s.keep,
	})
	if err != nil {
		return err
	}
	x.ids[s.Name] = server.ID
	if !s.server.HasSpec {
		return nil
	}
	rev, discovering, err := e.Define(ctx, x.tenant.ID, server, s.server.Spec, x.Actor)
	if err != nil {
		return err
	}
	switch {
	case discovering:
		rev, err = e.Await(ctx, x.tenant.ID, rev, Awaited{By: x.Actor}, !s.server.Draft)
	case s.server.Draft:
		rev, _, err = x.Registry.Stage(ctx, x.tenant.ID, rev)
	default:
		rev, _, err = x.Registry.Publish(ctx, x.tenant.ID, rev)
	}
	if err != nil {
		return err
	}
	if discovering {
		s.Note = beingDiscovered
	} else {
		s.Note = fmt.Sprintf("revision %d, %d tools", rev.Number, len(rev.Definition.Tools))
	}
	if s.server.Draft {
		s.Note += ", not published"
	}
	return nil
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
