package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// ListTools implements StrictServerInterface.
func (a *API) ListTools(ctx context.Context, r ListToolsRequestObject) (ListToolsResponseObject, error) {
	after, err := readCursor("listTools", r.Params.Cursor, 2)
	if err != nil {
		return nil, err
	}
	limit, p := limitOf(r.Params.Limit), r.Params
	q := registry.ToolQuery{
		Search: deref(p.Q), Server: deref(p.Server), Risk: registry.Risk(deref(p.Risk)), Scope: deref(p.Scope), Role: deref(p.Role), Limit: limit + 1,
	}
	if after != nil {
		q.AfterServer, q.AfterTool = after[0], after[1]
	}
	all, err := a.Servers.Registry.Tools(ctx, tenantOf(ctx).ID, q)
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	out := ToolPage{Data: []Tool{}, HasMore: more}
	for _, t := range page {
		out.Data = append(out.Data, showTool(t))
	}
	if more {
		last := page[len(page)-1]
		out.NextCursor = cursor("listTools", last.Server, last.Tool.Name)
	}
	return ListTools200JSONResponse(out), nil
}

// GetTool implements StrictServerInterface.
func (a *API) GetTool(ctx context.Context, r GetToolRequestObject) (GetToolResponseObject, error) {
	found, err := a.Servers.Registry.Tools(ctx, tenantOf(ctx).ID, registry.ToolQuery{Server: r.Server, Tool: r.Tool, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, notFound()
	}
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	rev, err := a.current(ctx, s)
	return GetTool200JSONResponse(showTool(found[0]).declared(rev.Declared)), err
}

// UpdateTool implements StrictServerInterface.
func (a *API) UpdateTool(ctx context.Context, r UpdateToolRequestObject) (UpdateToolResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	was, err := a.current(ctx, s)
	if err != nil {
		return nil, err
	}
	if _, ok := was.Definition.Tool(r.Tool); !ok {
		return nil, notFound()
	}
	patch := registry.ToolPatch{Title: r.Body.Title, Description: r.Body.Description, Scope: r.Body.Scope, Risk: (*registry.Risk)(r.Body.Risk)}
	if r.Body.TimeoutMs != nil {
		patch.Timeout = ptr(time.Duration(*r.Body.TimeoutMs) * time.Millisecond)
	}
	if r.Body.Safety != nil {
		patch.Safety = *r.Body.Safety
	}
	declared, err := registry.PatchTool(was.Declared, r.Tool, patch)
	if err != nil {
		return nil, err
	}
	spec, wrong := declaredSpec{JSON: &declared}.check(a.Servers.Checker, s.Kind)
	if len(wrong) > 0 {
		return nil, invalidSpec(ofTool(wrong))
	}
	out, err := a.stageOrPublish(ctx, s, spec, publishing{deref(r.Body.Publish), deref(r.Body.AllowBreaking), deref(r.Params.DryRun)})
	return UpdateTool200JSONResponse(out), err
}

// ofTool points to the fields of the request where the fields of a spec are
// wrong that it changes.
func ofTool(details []fault.Detail) []fault.Detail {
	for i, d := range details {
		parts := strings.Split(d.Pointer, "/")
		if len(parts) >= 5 && parts[1] == "spec" && parts[2] == "tools" && slices.Contains(registry.SafetyKeys(), parts[4]) {
			details[i].Pointer = "/safety/" + strings.Join(parts[4:], "/")
			continue
		}
		if len(parts) == 5 && parts[1] == "spec" && parts[2] == "tools" {
			switch parts[4] {
			case "title", "description", "scope", "risk":
				details[i].Pointer = "/" + parts[4]
			case "timeout":
				details[i].Pointer = "/timeout_ms"
			}
		}
	}
	return details
}
