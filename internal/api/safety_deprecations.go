package api

import (
	"cmp"
	"context"
	"slices"
	"time"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"latchkey/internal/audit"
	"latchkey/internal/registry"
)

func showDeprecation(d *registry.Deprecation) *Deprecation {
	if d == nil {
		return nil
	}
	out := &Deprecation{Sunset: openapi_types.Date{Time: d.Sunset.Time()}, Gone: d.Gone(time.Now()), Successor: optional(d.Successor), Message: optional(d.Message)}
	if d.Since != "" {
		out.Since = &openapi_types.Date{Time: d.Since.Time()}
	}
	return out
}

const (
	maxDeprecations = 200 // of a tenant; those that end first
	callsOf         = 7 * 24 * time.Hour
)

// ListDeprecations implements StrictServerInterface: what ends, of all active
// revisions, and who still calls it.
func (a *API) ListDeprecations(ctx context.Context, _ ListDeprecationsRequestObject) (ListDeprecationsResponseObject, error) {
	t := tenantOf(ctx).ID
	servers, err := a.Servers.Registry.HostedAll(ctx, t)
	if err != nil {
		return nil, err
	}
	type ending struct {
		server  string
		tool    registry.Tool
		version int
		until   registry.Deprecation
		older   bool
	}
	var all []ending
	for _, h := range servers {
		for _, tool := range h.Revision.Definition.Tools {
			if tool.Deprecated != nil {
				all = append(all, ending{h.Server.Slug, tool, max(tool.Version, 1), *tool.Deprecated, false})
			}
			if p := tool.Replaces; p != nil {
				all = append(all, ending{h.Server.Slug, tool, p.Version, registry.Deprecation{Sunset: p.Sunset, Successor: tool.Name}, true})
			}
		}
	}
	slices.SortStableFunc(all, func(x, y ending) int {
		return cmp.Or(cmp.Compare(x.until.Sunset, y.until.Sunset), cmp.Compare(x.server, y.server), cmp.Compare(x.tool.Name, y.tool.Name), cmp.Compare(x.version, y.version))
	})
	all, _ = cut(all, maxDeprecations)
	out := DeprecationList{Data: []DeprecatedTool{}}
	calls := make([]registry.Calls, len(all))
	var named []audit.Event
	for i, e := range all {
		if calls[i], err = a.Servers.Registry.ToolCalls(ctx, t, e.server, e.tool.Name, e.older, a.Now().Add(-callsOf)); err != nil {
			return nil, err
		}
		for _, u := range calls[i].Users {
			named = append(named, audit.Event{User: u})
		}
	}
	names, err := a.Records.Store.AuditNames(ctx, t, named)
	if err != nil {
		return nil, err
	}
	for i, e := range all {
		d := DeprecatedTool{
			Server: e.server, Tool: e.tool.Name, Title: optional(e.tool.Title), Version: e.version, Deprecation: *showDeprecation(&e.until),
			Calls: calls[i].Count, Members: []string{}, LastCallAt: optionalTime(calls[i].Last),
		}
		for _, u := range calls[i].Users {
			d.Members = append(d.Members, names.User(u))
		}
		out.Data = append(out.Data, d)
	}
	return ListDeprecations200JSONResponse(out), nil
}
