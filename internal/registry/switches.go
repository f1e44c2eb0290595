package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// SwitchStore is what an Applier asks of the store of kill switches.
type SwitchStore interface {
	PutSwitch(ctx context.Context, t tenants.ID, s switches.Switch) (switches.Switch, error)
	LiftSwitch(ctx context.Context, t tenants.ID, target switches.Target, by string, at time.Time) (switches.Switch, error)
	SwitchesOn(ctx context.Context, t tenants.ID) ([]switches.Switch, error)
}

// FileSwitch is a kill switch that is to be on. A member is named by address. An
// app need not be known yet, and a tool need not exist: its server must.
type FileSwitch struct {
	Target        switches.Target
	Reason        string
	Expires       time.Time
	CancelRunning bool
	node          *yaml.Node
	path          string
}

func (p *parser) switches(file Object) (all []FileSwitch) {
	seen := map[switches.Target]bool{}
	file.List("switches", func(n *yaml.Node, path string) {
		o := p.Object(n, path, "target", "reason", "expires", "cancel_running")
		s := FileSwitch{node: o.Node, path: path, Reason: strings.TrimSpace(o.Needed("reason", "say why, for the next one who looks")), CancelRunning: o.Flag("cancel_running")}
		if c := utf8.RuneCountInString(s.Reason); s.Reason != "" && (c < switches.MinReason || c > switches.MaxReason) {
			o.Bad("reason", fmt.Sprintf("is not of %d to %d characters", switches.MinReason, switches.MaxReason), "say why, in a sentence")
		}
		if text := o.Text("expires"); text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil || at.Year() < 2000 || at.Year() > 9999 {
				o.Bad("expires", "is not a time", "write one such as 2027-01-01T00:00:00Z")
			}
			s.Expires = at.UTC().Truncate(time.Microsecond)
		}
		text := o.Needed("target", "write tenant, server:slug, tool:slug/tool, member:address or client:id")
		if text == "" {
			return
		}
		var err error
		switch s.Target, err = switches.ParseTarget(text); {
		case err != nil:
			o.Bad("target", err.Error(), "")
			return
		case s.Target.Kind == switches.Platform:
			o.Bad("target", "is not a tenant's to switch", "write tenant for all of this one")
			return
		case s.Target.Kind == switches.Member && s.Target.Address() == "":
			o.Bad("target", "does not name a member by address", "write one such as member:dana@example.com")
			return
		case s.Target.Kind == switches.Member:
			s.Target.Member = tenants.UserID(s.Target.Address())
		}
		if seen[s.Target] {
			p.Problem(n, path, fmt.Sprintf("%s is switched off twice", s.Target), "remove one of them")
		}
		seen[s.Target] = true
		all = append(all, s)
	})
	return all
}

// switchReferences finds targets that neither the file nor the tenant has.
func (p *planner) switchReferences() {
	for _, s := range p.file.Switches {
		known, fix := true, ""
		switch t := s.Target; t.Kind {
		case switches.Server, switches.Tool:
			known = p.servers[t.Server] != nil && !p.options.Prune || slices.ContainsFunc(p.file.Servers, func(f FileServer) bool { return f.Server.Slug == t.Server })
			fix = "declare the server, or correct its slug"
		case switches.Member:
			known = p.memberNamed(t) != "" && !p.options.Prune || slices.ContainsFunc(p.file.Members, func(f FileMember) bool { return strings.EqualFold(strings.TrimSpace(f.Email), t.Address()) })
			fix = "declare the member, or correct the address"
		}
		if !known {
			p.problems = append(p.problems, ProblemAt(s.node, s.path+".target", fmt.Sprintf("%s is not there", s.Target), fix))
		}
	}
}

// memberNamed is the id of who has the address of a target now.
func (p *planner) memberNamed(t switches.Target) tenants.UserID {
	for _, u := range p.state.Members {
		if u.Email == t.Address() {
			return u.ID
		}
	}
	return ""
}

// named gives a target as the tenant has it, in the form of a file: who is gone
// has no address.
func (s State) named(t switches.Target) switches.Target {
	for _, u := range s.Members {
		if t.Kind == switches.Member && u.ID == t.Member {
			t.Member = tenants.UserID(u.Email)
		}
	}
	return t
}

func (p *planner) toggle(f *FileSwitch) {
	step := Step{Applied: Applied{Verb: "created", What: "switch", Name: f.Target.String()}, toggle: f, target: f.Target, rank: rankSwitch}
	if f.Target.Kind == switches.Member {
		step.rank = rankMemberSwitch
	}
	if !f.Expires.IsZero() && !f.Expires.After(p.state.At) {
		step.Verb, step.Note = "unchanged", "it has run out"
		p.add(step)
		return
	}
	var was switches.Switch
	if i := slices.IndexFunc(p.state.Switches, func(s switches.Switch) bool { return s.On(p.state.At) && p.state.named(s.Target) == f.Target }); i >= 0 {
		was, step.Verb = p.state.Switches[i], "unchanged"
	}
	step.Fields = changed(step.Fields, "reason", was.Reason, f.Reason)
	step.Fields = changed(step.Fields, "expires", moment(was.ExpiresAt), moment(f.Expires))
	step.Fields = changed(step.Fields, "cancel_running", flag(was.CancelRunning), flag(f.CancelRunning))
	if step.Verb == "unchanged" && len(step.Fields) > 0 {
		step.Verb = "updated"
	}
	p.add(step)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (p *planner) unmentionedSwitches() {
	for _, s := range p.state.Switches {
		name := p.state.named(s.Target)
		if !s.On(p.state.At) || slices.ContainsFunc(p.file.Switches, func(f FileSwitch) bool { return f.Target == name }) {
			continue
		}
		line := Applied{Verb: "unchanged", What: "switch", Name: name.String()}
		p.plan.Unmentioned = append(p.plan.Unmentioned, line)
		if p.options.Prune {
			line.Verb = "deleted"
			p.add(Step{Applied: line, target: s.Target, rank: rankDelete})
		}
	}
}

// switchesOwn lets nobody switch through a file what they could not switch
// otherwise.
func (p *planner) switchesOwn() error {
	if p.options.MaySwitch == nil {
		return nil
	}
	for _, s := range p.plan.Steps {
		if s.What != "switch" || s.Verb == "unchanged" {
			continue
		}
		var before switches.Switch
		for _, on := range p.state.Switches {
			if on.On(p.state.At) && p.state.named(on.Target) == p.state.named(s.target) {
				before = on
			}
		}
		if err := p.options.MaySwitch(before); err != nil {
			return at(err, s.What+" "+s.Name, 0)
		}
	}
	return nil
}

func (x *execution) toggle(ctx context.Context, s *Step) error {
	if x.Switches == nil {
		return fault.New(fault.Unexpected, "Kill switches cannot be changed here.")
	}
	target := s.target
	if address := target.Address(); address != "" {
		target.Member = x.users[address]
	}
	_, err := x.Switches.PutSwitch(ctx, x.tenant.ID, switches.Switch{
		Target: target, Reason: s.toggle.Reason, By: x.Actor, ByRole: x.Role, CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
		ExpiresAt: s.toggle.Expires, CancelRunning: s.toggle.CancelRunning,
	})
	return err
}

// lift ends a switch that the file does not mention. One that has run out
// meanwhile is as good as lifted.
func (x *execution) lift(ctx context.Context, s *Step) error {
	_, err := x.Switches.LiftSwitch(ctx, x.tenant.ID, s.target, x.Actor, time.Now())
	if fault.HasCode(err, fault.NotFound) {
		return nil
	}
	return err
}

// exportSwitches writes those that are on. Who is gone has no address: theirs
// are left out.
func exportSwitches(s State) *yaml.Node {
	all := list()
	for _, w := range s.Switches {
		target := s.named(w.Target)
		if !w.On(s.At) || target.Kind == switches.Member && target.Address() == "" {
			continue
		}
		o := object()
		add(o, "target", text(target.String()))
		add(o, "reason", text(w.Reason))
		if !w.ExpiresAt.IsZero() {
			add(o, "expires", text(moment(w.ExpiresAt)))
		}
		if w.CancelRunning {
			add(o, "cancel_running", truth(true))
		}
		all.Content = append(all.Content, o)
	}
	return all
}
