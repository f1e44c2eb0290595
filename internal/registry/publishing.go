package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Review is what stands against a revision becoming the active one.
type Review struct {
	Classified
	// Refused are the breaking changes that nothing makes up for. Whoever
	// publishes may say that they are meant; see Refusal.
	Refused  []Effect
	Invalid  []Effect // of what is declared; nobody may mean that
	Findings []Finding
}

// ReviewOf holds what is to be published against what is: before is nil for a
// server that was never published, which breaks nobody.
//
// A breaking change of a tool is made up for by a higher version that says how
// long the one before goes on; the removal of one by its deprecation, once that
// is over.
func ReviewOf(before *Definition, after Definition, neighbours []Neighbour, now time.Time) (r Review) {
	r.Class = SameClass
	r.Findings = Lint(after, neighbours)
	r.Invalid = successors(after, neighbours)
	if before == nil {
		if len(after.Tools)+len(after.Resources)+len(after.Prompts) > 0 {
			r.Class = Additive
		}
		return r
	}
	r.Classified = Classify(*before, after)
	for _, e := range r.Breaking() {
		if e.What == "tool" {
			was, _ := before.Tool(e.Name)
			is, kept := after.Tool(e.Name)
			if kept && replaced(was, is, now) || !kept && was.Deprecated.Gone(now) {
				continue
			}
			if kept && version(is) > version(was) {
				e.Fix = fmt.Sprintf("say replaces: {version: %d, sunset: a day to come}, so that sessions can go on until then", version(was))
			}
		}
		r.Refused = append(r.Refused, e)
	}
	r.Refused = append(r.Refused, shortened(*before, after, now)...)
	return r
}

func version(t *Tool) int { return max(t.Version, 1) }

func replaced(was, is *Tool, now time.Time) bool {
	return version(is) > version(was) && is.Replaces != nil && is.Replaces.Version == version(was) && is.Replaces.Sunset.Time().After(now)
}

// shortened are promises that would be broken: the version before goes on until
// its day, and a deprecated tool until its.
func shortened(before, after Definition, now time.Time) (out []Effect) {
	for i := range before.Tools {
		was := &before.Tools[i]
		is, kept := after.Tool(was.Name)
		if !kept {
			continue
		}
		say := func(field string, day Date) {
			out = append(out, Effect{Class: Breaking, What: "tool", Name: was.Name, Field: field, Detail: fmt.Sprintf("callers were promised until %s", day), Fix: "keep that day, or a later one"})
		}
		if p := was.Replaces; p != nil && p.Sunset.Time().After(now) && version(is) == version(was) &&
			(is.Replaces == nil || is.Replaces.Version != p.Version || is.Replaces.Sunset < p.Sunset) {
			say("replaces", p.Sunset)
		}
		if d := was.Deprecated; d != nil && d.Sunset.Time().After(now) && is.Deprecated != nil && is.Deprecated.Sunset < d.Sunset {
			say("deprecated", d.Sunset)
		}
	}
	return out
}

// successors that there are none of.
func successors(d Definition, neighbours []Neighbour) (out []Effect) {
	for _, t := range d.Tools {
		if t.Deprecated == nil || t.Deprecated.Successor == "" {
			continue
		}
		name := t.Deprecated.Successor
		_, own := d.Tool(name)
		if own && name != t.Name || slices.ContainsFunc(neighbours, func(n Neighbour) bool { return n.Server+"/"+n.Tool == name }) {
			continue
		}
		out = append(out, Effect{Class: Breaking, What: "tool", Name: t.Name, Field: "deprecated/successor",
			Detail: fmt.Sprintf("its successor %.80q is no other tool of this server", name), Fix: "name a tool of this server, or server/tool of another one"})
	}
	return out
}

// Unsafe are the findings that nothing lets through.
func (r Review) Unsafe() (out []Finding) {
	for _, f := range r.Findings {
		if f.Error {
			out = append(out, f)
		}
	}
	return out
}

const maxDetails = 50 // of one refusal

// Refusal is why the revision may not be published, or nil. pointer says where in
// the request what is wrong stands.
func (r Review) Refusal(server string, allowBreaking bool, pointer func(what, name, field string) fault.Detail) error {
	at := func(what, name, field, reason, fix string) fault.Detail {
		d := fault.Detail{Pointer: "/spec"}
		if pointer != nil {
			d = pointer(what, name, field)
		}
		d.Reason, d.Fix = placed(what, name, field)+": "+reason, fix
		return d
	}
	var details []fault.Detail
	for _, e := range r.Invalid {
		details = append(details, at(e.What, e.Name, e.Field, e.Detail, e.Fix))
	}
	if len(details) > 0 {
		return fault.New(fault.InvalidSpec, "%s was not published: what is declared of its deprecated tools cannot be.", server).WithDetails(details[:min(len(details), maxDetails)]...)
	}
	for _, f := range r.Unsafe() {
		details = append(details, at(f.What, f.Name, f.Field, f.Detail, f.Fix))
	}
	if len(details) > 0 {
		return fault.New(fault.UnsafeDescription, "%s was not published: what it says could mislead a model that reads it. Correct what is named; nothing lets it through.", server).
			WithDetails(details[:min(len(details), maxDetails)]...)
	}
	if allowBreaking {
		return nil
	}
	for _, e := range r.Refused {
		details = append(details, at(e.What, e.Name, e.Field, e.Detail, e.Fix))
	}
	if len(details) == 0 {
		return nil
	}
	return fault.New(fault.BreakingChange, "%s was not published: it would break who uses it. Change what is named, or publish with allow_breaking if that is meant.", server).
		WithDetails(details[:min(len(details), maxDetails)]...)
}

func placed(what, name, field string) string {
	s := what
	if name != "" {
		s += " " + name
	}
	if field != "" && field != what {
		s += ", " + field
	}
	return s
}

// RefusedTools names what is published although it breaks, for the record.
func (r Review) RefusedTools() (names []string) {
	for _, e := range r.Refused {
		if name := placed(e.What, e.Name, ""); !slices.Contains(names, name) && len(names) < maxDetails {
			names = append(names, name)
		}
	}
	return names
}

// Review holds a revision against the server's active one, and against the tools
// of the tenant's other servers.
func (e *Editor) Review(ctx context.Context, t tenants.ID, s Server, after Definition) (r Review, err error) {
	var before *Definition
	if s.Active != "" {
		active, err := e.Registry.Revision(ctx, t, s.Active)
		if err != nil {
			return r, err
		}
		before = &active.Definition
	}
	all, err := e.Registry.Current(ctx, t)
	if err != nil {
		return r, err
	}
	return ReviewOf(before, after, Neighbours(all, s.Slug), e.now()), nil
}

func (e *Editor) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// Publish makes a revision the active one, if nothing stands against it. It is
// stored before, where it is not yet; what was refused is not stored. Whoever
// calls it keeps other changes of the tenant out meanwhile.
func (e *Editor) Publish(ctx context.Context, t tenants.ID, s Server, rev Revision, allowBreaking bool) (Revision, Review, error) {
	review, err := e.Review(ctx, t, s, rev.Definition)
	if err != nil {
		return rev, review, err
	}
	if err := review.Refusal(s.Slug, allowBreaking, nil); err != nil {
		return rev, review, err
	}
	if rev.ID == "" {
		if rev, _, err = e.Registry.Stage(ctx, t, rev); err != nil {
			return rev, review, err
		}
	}
	rev, err = e.Registry.Activate(ctx, t, s.ID, rev.Number)
	return rev, review, err
}
