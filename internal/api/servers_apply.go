package api

import (
	"context"

	"latchkey/internal/registry"
)

func (a *API) applier(ctx context.Context) *registry.Applier {
	s := a.Servers
	return &registry.Applier{People: s.People, Registry: s.Registry, Provisioner: s.Provisioner, Actor: callerOf(ctx).Actor(), EndSessions: a.People.EndSessions}
}

// ApplyTenant implements StrictServerInterface.
func (a *API) ApplyTenant(ctx context.Context, r ApplyTenantRequestObject) (ApplyTenantResponseObject, error) {
	name := deref(r.Body.Name)
	if name == "" {
		name = "file"
	}
	f, err := registry.ParseFile(name, []byte(r.Body.File), a.Servers.Checker, nil)
	if err == nil {
		err = f.Of(tenantOf(ctx).Slug)
	}
	if err != nil {
		return nil, ofFile(err)
	}
	dryRun := deref(r.Params.DryRun)
	done, err := a.applier(ctx).Apply(ctx, f, registry.ApplyOptions{
		PlanOptions: registry.PlanOptions{Prune: deref(r.Body.Prune), MayGive: callerOf(ctx).mayGive}, DryRun: dryRun,
	})
	a.queued() // of what was pruned
	if err != nil {
		return nil, ofFile(err)
	}
	out := ApplyResult{DryRun: dryRun, Changes: []ApplyChange{}, Unmentioned: []Unmentioned{}}
	for _, d := range done.Done {
		out.Changes = append(out.Changes, ApplyChange{
			Verb: ApplyChangeVerb(d.Verb), What: ApplyChangeWhat(d.What), Name: d.Name, Note: optional(d.Note), Fields: showFields(d.Fields),
		})
	}
	for _, u := range done.Unmentioned {
		out.Unmentioned = append(out.Unmentioned, Unmentioned{What: u.What, Name: u.Name})
	}
	return ApplyTenant200JSONResponse(out), nil
}

// ExportTenant implements StrictServerInterface.
func (a *API) ExportTenant(ctx context.Context, _ ExportTenantRequestObject) (ExportTenantResponseObject, error) {
	state, err := a.applier(ctx).State(ctx, tenantOf(ctx).Slug)
	if err != nil {
		return nil, err
	}
	file, env, err := registry.Export(state)
	if err != nil {
		return nil, err
	}
	return ExportTenant200JSONResponse(Export{File: file, Env: append([]string{}, env...)}), nil
}
