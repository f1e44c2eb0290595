package api

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// ListRevisions implements StrictServerInterface.
func (a *API) ListRevisions(ctx context.Context, r ListRevisionsRequestObject) (ListRevisionsResponseObject, error) {
	keys, err := readCursor("listRevisions", r.Params.Cursor, 1)
	if err != nil {
		return nil, err
	}
	before := 1 << 30
	if keys != nil {
		if before, err = strconv.Atoi(keys[0]); err != nil {
			return nil, fault.New(fault.InvalidRequest, "The cursor is not one of this list. Pass next_cursor as it came, or leave it out to begin anew.")
		}
	}
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	all, err := a.Servers.Registry.RevisionsBefore(ctx, s.Tenant, s.ID, before, limit+1)
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	out := RevisionPage{Data: []RevisionSummary{}, HasMore: more}
	for _, v := range page {
		out.Data = append(out.Data, RevisionSummary{
			Id: string(v.ID), Number: v.Number, Hash: v.Hash, Active: v.ID == s.Active, CreatedAt: v.CreatedAt.UTC(), CreatedBy: v.CreatedBy, Tools: len(v.Definition.Tools),
		})
	}
	if more {
		out.NextCursor = cursor("listRevisions", strconv.Itoa(page[len(page)-1].Number))
	}
	return ListRevisions200JSONResponse(out), nil
}

// CreateRevision implements StrictServerInterface.
func (a *API) CreateRevision(ctx context.Context, r CreateRevisionRequestObject) (CreateRevisionResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	d := declaredSpec{r.Body.Spec, r.Body.SpecYaml}
	if !d.given() {
		return nil, invalidSpec([]fault.Detail{{Pointer: "/spec", Reason: "is missing", Fix: "send spec, or spec_yaml as text"}})
	}
	spec, wrong := d.check(a.Servers.Checker, s.Kind)
	if len(wrong) > 0 {
		return nil, invalidSpec(wrong)
	}
	out, err := a.stageOrPublish(ctx, s, spec, publishing{deref(r.Body.Publish), deref(r.Body.AllowBreaking), deref(r.Params.DryRun)})
	return CreateRevision201JSONResponse(out), err
}

type publishing struct{ publish, allowBreaking, dryRun bool }

// stageOrPublish adds a revision and says how it differs from the active one. A
// dry run is refused where publishing would be.
func (a *API) stageOrPublish(ctx context.Context, s registry.Server, spec registry.Spec, p publishing) (out RevisionStaged, err error) {
	if s.Deleting {
		return out, registry.ErrDeleting
	}
	var active registry.Revision
	if s.Active != "" {
		if active, err = a.Servers.Registry.Revision(ctx, s.Tenant, s.Active); err != nil {
			return out, err
		}
	}
	if p.publish {
		k, err := a.Servers.kind(s.Kind)
		if err != nil {
			return out, err
		}
		if err := registry.Publishable(s, k.NeedsConnection()); err != nil {
			return out, err
		}
	}
	var rev registry.Revision
	if p.dryRun {
		if rev, _, err = a.define(ctx, s, spec); err != nil {
			return out, err
		}
		if p.publish {
			if err := a.mayPublish(ctx, s, spec, s.Slug, p.allowBreaking); err != nil {
				return out, err
			}
		}
	} else {
		if rev, s, err = a.addRevision(ctx, s, spec, p.publish, p.allowBreaking); err != nil {
			return out, err
		}
		shown, err := showRevision(s, rev)
		if err != nil {
			return out, err
		}
		out.Revision, out.Published = &shown, shown.Active
	}
	out.Diff = showDiff(active, rev)
	out.Findings, err = a.findings(ctx, s.Slug, rev.Definition)
	return out, err
}

// addRevision stages a revision, and makes it the active one where publish says
// so. One of the same content that is there already is used again.
func (a *API) addRevision(ctx context.Context, s registry.Server, spec registry.Spec, publish, allowBreaking bool) (registry.Revision, registry.Server, error) {
	rev, discovering, err := a.define(ctx, s, spec)
	if err != nil {
		return rev, s, err
	}
	if discovering {
		rev, err = a.Servers.editor(a).Await(ctx, s.Tenant, rev, registry.Awaited{By: rev.CreatedBy, AllowBreaking: allowBreaking}, publish)
		return rev, s, err
	}
	if s.Active != "" {
		// What is active already is not looked for among older ones.
		if active, err := a.Servers.Registry.Revision(ctx, s.Tenant, s.Active); err != nil || active.SameAs(rev) {
			return active, s, err
		}
	}
	if !publish {
		rev, _, err = a.Servers.Registry.Stage(ctx, s.Tenant, rev)
		return rev, s, err
	}
	if rev, err = a.publish(ctx, s, rev, allowBreaking); err != nil {
		return rev, s, err
	}
	s.Active = rev.ID
	return rev, s, nil
}

// define makes the revision of a spec, over what is pinned of the server's
// upstream; discovering: nothing is yet. What does not fit it is an invalid spec.
func (a *API) define(ctx context.Context, s registry.Server, spec registry.Spec) (registry.Revision, bool, error) {
	rev, discovering, err := a.Servers.editor(a).Define(ctx, tenantOf(ctx).ID, s, spec, callerOf(ctx).Actor())
	var ps *registry.Problems
	if errors.As(err, &ps) {
		err = invalidSpec(detailsOf(ps.List, "spec", nil, false))
	}
	return rev, discovering, err
}

// GetRevision implements StrictServerInterface.
func (a *API) GetRevision(ctx context.Context, r GetRevisionRequestObject) (GetRevisionResponseObject, error) {
	s, rev, err := a.revision(ctx, r.Server, r.Revision)
	if err != nil {
		return nil, err
	}
	out, err := showRevision(s, rev)
	return GetRevision200JSONResponse(out), err
}

// DiffRevision implements StrictServerInterface.
func (a *API) DiffRevision(ctx context.Context, r DiffRevisionRequestObject) (DiffRevisionResponseObject, error) {
	s, to, err := a.revision(ctx, r.Server, r.Revision)
	if err != nil {
		return nil, err
	}
	var from registry.Revision
	switch {
	case r.Params.From != nil:
		if _, from, err = a.revision(ctx, r.Server, *r.Params.From); err != nil {
			return nil, err
		}
	case s.Active != "":
		if from, err = a.Servers.Registry.Revision(ctx, s.Tenant, s.Active); err != nil {
			return nil, err
		}
	}
	return DiffRevision200JSONResponse(showDiff(from, to)), nil
}

// PublishRevision implements StrictServerInterface.
func (a *API) PublishRevision(ctx context.Context, r PublishRevisionRequestObject) (PublishRevisionResponseObject, error) {
	s, rev, err := a.revision(ctx, r.Server, r.Revision)
	if err != nil {
		return nil, err
	}
	k, err := a.Servers.kind(s.Kind)
	if err != nil {
		return nil, err
	}
	if err := registry.Publishable(s, k.NeedsConnection()); err != nil {
		return nil, err
	}
	if a.Servers.Checker.Discovers(s.Kind) || a.Servers.Checker.Composes(s.Kind) {
		// What it says over what is pinned now, or the servers of now: what there was
		// when it was made may be gone.
		spec, wrong := declaredSpec{JSON: &rev.Declared}.check(a.Servers.Checker, s.Kind)
		if len(wrong) > 0 {
			return nil, invalidSpec(wrong)
		}
		if rev, s, err = a.addRevision(ctx, s, spec, true, deref(r.Params.AllowBreaking)); err != nil {
			return nil, err
		}
	} else {
		if rev, err = a.publish(ctx, s, rev, deref(r.Params.AllowBreaking)); err != nil {
			return nil, err
		}
		s.Active = rev.ID
	}
	out, err := showRevision(s, rev)
	return PublishRevision200JSONResponse(out), err
}

// TryTool implements StrictServerInterface.
func (a *API) TryTool(ctx context.Context, r TryToolRequestObject) (TryToolResponseObject, error) {
	caller := callerOf(ctx)
	if caller.Kind != MeKindMember {
		return nil, fault.New(fault.RoleNotAllowed, "Only people call tools here: a call is made on somebody's behalf. Sign in to the console.")
	}
	s, rev, err := a.revision(ctx, r.Server, r.Revision)
	if err != nil {
		return nil, err
	}
	if s.Deleting {
		return nil, registry.ErrDeleting
	}
	k, err := a.Servers.kind(s.Kind)
	if err != nil {
		return nil, err
	}
	if err := registry.Publishable(s, k.NeedsConnection()); err != nil {
		return nil, err
	}
	input := json.RawMessage(`{}`)
	if r.Body.Arguments != nil {
		input = *r.Body.Arguments
	}
	call := TryCall{Tenant: tenantOf(ctx), Server: s, Revision: rev, Tool: r.Body.Tool, Arguments: input, User: caller.User}
	if key := r.Params.IdempotencyKey; key != nil { // who clicks twice means it twice
		call.Key = *key
	}
	t, err := a.Servers.Try(ctx, call)
	if err != nil {
		return nil, inArguments(err)
	}
	out := TryResult{
		CallId: t.CallID, IsError: t.IsError, LatencyMs: float32(t.Latency.Microseconds()) / 1000, Text: optional(t.Text), Worker: optional(t.Worker),
	}
	if len(t.Structured) > 0 {
		out.Structured = &t.Structured
	}
	return TryTool200JSONResponse(out), nil
}

// inArguments points into the request's arguments what is wrong with a call's.
func inArguments(err error) error {
	f := fault.Of(err)
	if f.Code != fault.InvalidArguments || len(f.Details) == 0 {
		return err
	}
	moved := fault.New(f.Code, "%s", f.Message).Because(err)
	for _, d := range f.Details {
		d.Pointer = "/arguments" + d.Pointer
		moved = moved.WithDetails(d)
	}
	return moved
}
