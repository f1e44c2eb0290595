package api

import (
	"context"

	"latchkey/internal/audit"
	"latchkey/internal/registry"
)

// Publishing: what a change is to those who use a server's tools, what was
// noticed of descriptions, and that a change which breaks is meant.

// publish makes a revision the active one, and puts on record what it breaks.
func (a *API) publish(ctx context.Context, s registry.Server, rev registry.Revision, allowBreaking bool) (registry.Revision, error) {
	rev, review, err := a.Servers.editor(a).Publish(ctx, s.Tenant, s, rev, allowBreaking)
	if err == nil {
		breaks(ctx, review.RefusedTools())
	}
	return rev, err
}

// breaks notes what was published although it breaks who uses it.
func breaks(ctx context.Context, what []string) {
	if r, _ := ctx.Value(requestKey{}).(*request); r != nil && len(what) > 0 {
		r.notes = audit.Notes{audit.NoteBreaking: what}
	}
}

func showEffects(list []registry.Effect) *[]BreakingChange {
	if len(list) == 0 {
		return nil
	}
	out := make([]BreakingChange, 0, len(list))
	for _, e := range list {
		out = append(out, BreakingChange{Tool: e.Name, Field: optional(e.Field), Detail: e.Detail, Fix: e.Fix})
	}
	return &out
}

func showFindings(list []registry.Finding) *[]LintFinding {
	if len(list) == 0 {
		return nil
	}
	out := make([]LintFinding, 0, len(list))
	for _, f := range list {
		level := LintFindingLevelWarning
		if f.Error {
			level = LintFindingLevelError
		}
		out = append(out, LintFinding{Tool: f.Name, Level: level, Code: f.Code, Field: optional(f.Field), Detail: f.Detail, Fix: optional(f.Fix)})
	}
	return &out
}

// findings are what is noticed of a definition, among the tenant's other servers.
func (a *API) findings(ctx context.Context, slug string, d registry.Definition) (*[]LintFinding, error) {
	all, err := a.Servers.Registry.Current(ctx, tenantOf(ctx).ID)
	if err != nil {
		return nil, err
	}
	return showFindings(registry.Lint(d, registry.Neighbours(all, slug))), nil
}
