package api

import "context"

// Servers is what the operations of this area ask for.
type Servers struct{}

func (a *API) ListKinds(context.Context, ListKindsRequestObject) (ListKindsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListServers(context.Context, ListServersRequestObject) (ListServersResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetServer(context.Context, GetServerRequestObject) (GetServerResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) PutServer(context.Context, PutServerRequestObject) (PutServerResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) DeleteServer(context.Context, DeleteServerRequestObject) (DeleteServerResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) CheckServer(context.Context, CheckServerRequestObject) (CheckServerResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListRevisions(context.Context, ListRevisionsRequestObject) (ListRevisionsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) CreateRevision(context.Context, CreateRevisionRequestObject) (CreateRevisionResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetRevision(context.Context, GetRevisionRequestObject) (GetRevisionResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) DiffRevision(context.Context, DiffRevisionRequestObject) (DiffRevisionResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) PublishRevision(context.Context, PublishRevisionRequestObject) (PublishRevisionResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) TryTool(context.Context, TryToolRequestObject) (TryToolResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetTool(context.Context, GetToolRequestObject) (GetToolResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) UpdateTool(context.Context, UpdateToolRequestObject) (UpdateToolResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListTools(context.Context, ListToolsRequestObject) (ListToolsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListConnections(context.Context, ListConnectionsRequestObject) (ListConnectionsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetConnection(context.Context, GetConnectionRequestObject) (GetConnectionResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) PutConnection(context.Context, PutConnectionRequestObject) (PutConnectionResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ApplyTenant(context.Context, ApplyTenantRequestObject) (ApplyTenantResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ExportTenant(context.Context, ExportTenantRequestObject) (ExportTenantResponseObject, error) {
	return nil, errNoRoute
}
