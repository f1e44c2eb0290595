package api

import (
	"context"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// ListKinds implements StrictServerInterface.
func (a *API) ListKinds(context.Context, ListKindsRequestObject) (ListKindsResponseObject, error) {
	out := KindList{Data: []Kind{}}
	for _, k := range a.Servers.Kinds {
		out.Data = append(out.Data, Kind{Name: k.Name, Title: k.Title, Description: k.Description, HasConnection: connects(k), Template: k.Template})
	}
	return ListKinds200JSONResponse(out), nil
}

// ListServers implements StrictServerInterface.
func (a *API) ListServers(ctx context.Context, r ListServersRequestObject) (ListServersResponseObject, error) {
	after, err := readCursor("listServers", r.Params.Cursor, 1)
	if err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	q := registry.ServerQuery{Search: deref(r.Params.Q), State: registry.ServerState(deref(r.Params.Status)), Limit: limit + 1}
	if after != nil {
		q.After = after[0]
	}
	all, err := a.Servers.Registry.Servers(ctx, tenantOf(ctx).ID, q)
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	out := ServerPage{Data: []Server{}, HasMore: more}
	for _, l := range page {
		shown := a.showServer(ctx, l.Server, l.ActiveNumber, l.LatestNumber, l.Tools)
		if err := a.discovering(ctx, l.Server, &shown); err != nil {
			return nil, err
		}
		out.Data = append(out.Data, shown)
	}
	if err := a.healthOf(ctx, out.Data); err != nil {
		return nil, err
	}
	if more {
		out.NextCursor = cursor("listServers", page[len(page)-1].Server.Slug)
	}
	return ListServers200JSONResponse(out), nil
}

// GetServer implements StrictServerInterface.
func (a *API) GetServer(ctx context.Context, r GetServerRequestObject) (GetServerResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	out, err := a.wholeServer(ctx, s)
	return GetServer200JSONResponse(out), err
}

// PutServer implements StrictServerInterface. Everything that can be refused is
// refused before anything is changed.
func (a *API) PutServer(ctx context.Context, r PutServerRequestObject) (PutServerResponseObject, error) {
	before, err := a.server(ctx, r.Server)
	if fault.HasCode(err, fault.NotFound) {
		before, err = registry.Server{}, a.withinServers(ctx)
	}
	if err != nil {
		return nil, err
	}
	put, err := a.readServer(r.Server, r.Body, before)
	if err != nil {
		return nil, err
	}
	if put.spec != nil && deref(r.Body.Publish) {
		if err := a.mayPublish(ctx, before, *put.spec, r.Server, deref(r.Body.AllowBreaking)); err != nil {
			return nil, err
		}
	}
	s, err := a.Servers.editor(a).Put(ctx, tenantOf(ctx).ID, before, put.settings)
	if err != nil {
		return nil, err
	}
	if put.spec != nil {
		if _, _, err := a.addRevision(ctx, s, *put.spec, deref(r.Body.Publish), deref(r.Body.AllowBreaking)); err != nil {
			return nil, err
		}
		if s, err = a.server(ctx, r.Server); err != nil {
			return nil, err
		}
	}
	out, err := a.wholeServer(ctx, s)
	return PutServer200JSONResponse(out), err
}

// mayPublish refuses what publishing would refuse, before anything is changed.
func (a *API) mayPublish(ctx context.Context, s registry.Server, spec registry.Spec, slug string, allowBreaking bool) error {
	s.Slug = slug
	rev, discovering, err := a.define(ctx, s, spec)
	if err != nil || discovering { // held against it when it is known what it offers
		return err
	}
	review, err := a.Servers.editor(a).Review(ctx, tenantOf(ctx).ID, s, rev.Definition)
	if err != nil {
		return err
	}
	return review.Refusal(slug, allowBreaking, nil)
}

// serverPut is a checked ServerPut.
type serverPut struct {
	settings registry.Settings
	spec     *registry.Spec
}

// readServer checks what a server is to become. What is left out stays.
func (a *API) readServer(slug string, b *ServerPut, before registry.Server) (p serverPut, err error) {
	kind, err := a.Servers.kind(b.Kind)
	if err != nil {
		return p, err
	}
	s := registry.Server{Slug: slug, Kind: b.Kind, Title: before.Title, Description: before.Description, Pool: before.Pool}
	if before.ID != "" {
		if err := registry.MayBecome(before, s); err != nil {
			return p, err
		}
	}
	if b.Title != nil {
		s.Title = *b.Title
	}
	if b.Description != nil {
		s.Description = *b.Description
	}
	if b.Pool != nil {
		s.Pool = *b.Pool
	}
	var details []fault.Detail
	spec := declaredSpec{b.Spec, b.SpecYaml}
	if spec.given() {
		checked, wrong := spec.check(a.Servers.Checker, b.Kind)
		p.spec, details = &checked, wrong
	} else if deref(b.Publish) {
		details = append(details, fault.Detail{Pointer: "/publish", Reason: "there is no spec to publish", Fix: "send spec or spec_yaml too, or publish a revision by its number"})
	}
	p.settings = registry.Settings{Server: s, HasConnection: b.Connection != nil}
	if b.Connection != nil {
		c, wrong := checkConnection(a.Servers.Checker, b.Kind, *b.Connection)
		p.settings.Connection = c
		details = append(details, wrong...)
	}
	if len(details) > 0 {
		return p, invalidSpec(details)
	}
	if p.settings.Keep, err = p.settings.Connection.Keeps(before); err != nil {
		return p, err
	}
	if deref(b.Publish) && b.Connection == nil {
		before.Slug = slug
		return p, registry.Publishable(before, kind.NeedsConnection())
	}
	return p, nil
}

// DeleteServer implements StrictServerInterface.
func (a *API) DeleteServer(ctx context.Context, r DeleteServerRequestObject) (DeleteServerResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	if deref(r.Params.DryRun) {
		effects, err := a.Servers.Registry.ServerEffects(ctx, s.Tenant, s.ID)
		if err != nil {
			return nil, err
		}
		return DeleteServer200JSONResponse(deletion(true, effects)), nil
	}
	op, err := a.Servers.Registry.BeginDeleteServer(ctx, s.Tenant, s.ID, callerOf(ctx).Actor(), a.Now())
	if err != nil {
		return nil, err
	}
	a.queued()
	return DeleteServer202JSONResponse(operationOf(op)), nil
}

// CheckServer implements StrictServerInterface.
func (a *API) CheckServer(ctx context.Context, r CheckServerRequestObject) (CheckServerResponseObject, error) {
	if _, err := a.Servers.kind(r.Body.Kind); err != nil {
		return nil, err
	}
	before, err := a.server(ctx, r.Server)
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return nil, err
	}
	var was registry.Revision
	if before.ID != "" {
		if err := registry.MayBecome(before, registry.Server{Kind: r.Body.Kind}); err != nil {
			return nil, err
		}
		if was, err = a.current(ctx, before); err != nil {
			return nil, err
		}
	}
	out := ServerCheck{Tools: []Tool{}, Scopes: []string{}}
	var details []fault.Detail
	if spec := (declaredSpec{r.Body.Spec, r.Body.SpecYaml}); spec.given() {
		checked, wrong := spec.check(a.Servers.Checker, r.Body.Kind)
		if details = wrong; len(wrong) == 0 {
			rev, _, err := a.define(ctx, registry.Server{ID: before.ID, Tenant: tenantOf(ctx).ID, Kind: r.Body.Kind}, checked)
			if fault.HasCode(err, fault.InvalidSpec) {
				out.Problems = fieldErrors(fault.Of(err).Details)
				return CheckServer200JSONResponse(out), nil
			}
			if err != nil {
				return nil, err
			}
			out.Tools, out.Scopes = toolsOf(r.Server, rev.Definition, rev.Declared), scopesOf(rev.Definition)
			out.Resources, out.Prompts = ptr(len(rev.Definition.Resources)), ptr(len(rev.Definition.Prompts))
			out.Diff = ptr(showDiff(was, rev))
			if out.Findings, err = a.findings(ctx, r.Server, rev.Definition); err != nil {
				return nil, err
			}
		}
	}
	if r.Body.Connection != nil {
		c, wrong := checkConnection(a.Servers.Checker, r.Body.Kind, *r.Body.Connection)
		if len(wrong) == 0 {
			if _, err := c.Keeps(before); err != nil {
				wrong = fault.Of(err).Details
			}
		}
		details = append(details, wrong...)
	}
	out.Problems, out.Ok = fieldErrors(details), len(details) == 0
	return CheckServer200JSONResponse(out), nil
}
