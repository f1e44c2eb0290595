package api

import (
	"context"
	"encoding/json"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

func (a *API) showConnection(s registry.Server) Connection {
	out := Connection{Server: s.Slug, Kind: s.Kind, Connection: json.RawMessage(`{}`), SecretsSet: append([]string{}, s.SecretsSet...)}
	if !s.HasConnection() {
		return out
	}
	out.Connection = s.Declared
	if k, err := a.Servers.kind(s.Kind); err == nil && k.Source != nil {
		out.Source = optional(k.Source(s.Connection))
	}
	return out
}

// ListConnections implements StrictServerInterface.
func (a *API) ListConnections(ctx context.Context, r ListConnectionsRequestObject) (ListConnectionsResponseObject, error) {
	after, err := readCursor("listConnections", r.Params.Cursor, 1)
	if err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	q := registry.ServerQuery{Connected: true, Limit: limit + 1}
	if after != nil {
		q.After = after[0]
	}
	t := tenantOf(ctx).ID
	all, err := a.Servers.Registry.Servers(ctx, t, q)
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	var ids []registry.ServerID
	for _, l := range page {
		ids = append(ids, l.Server.ID)
	}
	last, err := a.Servers.Registry.LastCredentials(ctx, t, ids)
	if err != nil {
		return nil, err
	}
	out := ConnectionPage{Data: []Connection{}, HasMore: more}
	for _, l := range page {
		c, used := a.showConnection(l.Server), last[l.Server.ID]
		c.LastIssuedAt, c.LastFailedAt, c.LastFailure = optionalTime(used.LastIssued), optionalTime(used.LastFailed), optional(used.LastFailure)
		out.Data = append(out.Data, c)
	}
	if more {
		out.NextCursor = cursor("listConnections", page[len(page)-1].Server.Slug)
	}
	return ListConnections200JSONResponse(out), nil
}

// GetConnection implements StrictServerInterface. When it was last used is in
// the list only: here it would make another ETag of every call.
func (a *API) GetConnection(ctx context.Context, r GetConnectionRequestObject) (GetConnectionResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	return GetConnection200JSONResponse(a.showConnection(s)), nil
}

// PutConnection implements StrictServerInterface.
func (a *API) PutConnection(ctx context.Context, r PutConnectionRequestObject) (PutConnectionResponseObject, error) {
	s, err := a.server(ctx, r.Server)
	if err != nil {
		return nil, err
	}
	if s.Deleting {
		return nil, registry.ErrDeleting
	}
	c, wrong := checkConnection(a.Servers.Checker, s.Kind, r.Body.Connection)
	if len(wrong) > 0 {
		return nil, invalidSpec(wrong)
	}
	keep, err := c.Keeps(s)
	if err != nil {
		return nil, err
	}
	s, err = a.Servers.editor(a).Put(ctx, s.Tenant, s, registry.Settings{Server: s, Connection: c, HasConnection: true, Keep: keep})
	if fault.HasCode(err, fault.NotFound) {
		return nil, notFound()
	}
	if err != nil {
		return nil, err
	}
	return PutConnection200JSONResponse(a.showConnection(s)), nil
}
