package api

import (
	"context"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// applier is one whose switches bear the caller's role.
func (a *API) applier(ctx context.Context, role string) *registry.Applier {
	s, caller := a.Servers, callerOf(ctx)
	x := &registry.Applier{People: s.People, Registry: s.Registry, Provisioner: s.Provisioner, Offers: s.Offers, Actor: caller.Actor(), EndSessions: a.People.EndSessions, Role: role}
	if caller.Holds(tenants.SwitchesRead) { // else neither plan nor export tells of them
		x.Switches = a.Safety.Switches
	}
	return x
}

// mayToggle lets through a file just the switches that the caller may switch.
func mayToggle(caller Principal, role string) func(before switches.Switch) error {
	return func(before switches.Switch) error {
		if !caller.Holds(tenants.SwitchesWrite) {
			return fault.New(fault.RoleNotAllowed, "This needs the permission %s, which you do not hold. Ask an administrator for a role with it.", tenants.SwitchesWrite).WithScope(string(tenants.SwitchesWrite))
		}
		return before.MayChange(role)
	}
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
	role, err := a.switchRole(ctx)
	if err != nil {
		return nil, err
	}
	caller, dryRun := callerOf(ctx), deref(r.Params.DryRun)
	done, err := a.applier(ctx, role).Apply(ctx, f, registry.ApplyOptions{
		PlanOptions: registry.PlanOptions{Prune: deref(r.Body.Prune), AllowBreaking: deref(r.Body.AllowBreaking), Now: a.Now(), MayGive: caller.mayGive, MaySwitch: mayToggle(caller, role)}, DryRun: dryRun,
	})
	a.queued() // of what was pruned
	if err != nil {
		return nil, ofFile(err)
	}
	breaks(ctx, done.Broken)
	out := ApplyResult{DryRun: dryRun, Changes: []ApplyChange{}, Unmentioned: []Unmentioned{}}
	for _, d := range done.Done {
		out.Changes = append(out.Changes, ShowApplied(d))
	}
	for _, u := range done.Unmentioned {
		out.Unmentioned = append(out.Unmentioned, Unmentioned{What: u.What, Name: u.Name})
	}
	if done.Refusal != nil {
		id := ""
		if r, _ := ctx.Value(requestKey{}).(*request); r != nil {
			id = r.id
		}
		out.Refused = ptr(problemOf(fault.Of(done.Refusal), id))
	}
	return ApplyTenant200JSONResponse(out), nil
}

// ShowApplied is one line of a plan. The command line makes plans too, of tenants
// that do not exist yet.
func ShowApplied(d registry.Applied) ApplyChange {
	c := ApplyChange{
		Verb: ApplyChangeVerb(d.Verb), What: ApplyChangeWhat(d.What), Name: d.Name, Note: optional(d.Note), Fields: showFields(d.Fields),
		Breaking: showEffects(d.Review.Breaking()), Findings: showFindings(d.Review.Findings),
	}
	if d.Review.Class != "" {
		c.Class = ptr(ChangeClass(d.Review.Class))
	}
	return c
}

// ExportTenant implements StrictServerInterface.
func (a *API) ExportTenant(ctx context.Context, _ ExportTenantRequestObject) (ExportTenantResponseObject, error) {
	state, err := a.applier(ctx, "").State(ctx, tenantOf(ctx).Slug)
	if err != nil {
		return nil, err
	}
	file, env, err := registry.Export(state)
	if err != nil {
		return nil, err
	}
	return ExportTenant200JSONResponse(Export{File: file, Env: append([]string{}, env...)}), nil
}
