package api

import "context"

// Apps is what the operations of this area ask for.
type Apps struct{}

func (a *API) GetMe(context.Context, GetMeRequestObject) (GetMeResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListClients(context.Context, ListClientsRequestObject) (ListClientsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetClient(context.Context, GetClientRequestObject) (GetClientResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) DeleteClient(context.Context, DeleteClientRequestObject) (DeleteClientResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListGrants(context.Context, ListGrantsRequestObject) (ListGrantsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetGrant(context.Context, GetGrantRequestObject) (GetGrantResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) RevokeGrant(context.Context, RevokeGrantRequestObject) (RevokeGrantResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListAPIKeys(context.Context, ListAPIKeysRequestObject) (ListAPIKeysResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) CreateAPIKey(context.Context, CreateAPIKeyRequestObject) (CreateAPIKeyResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetAPIKey(context.Context, GetAPIKeyRequestObject) (GetAPIKeyResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) RevokeAPIKey(context.Context, RevokeAPIKeyRequestObject) (RevokeAPIKeyResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListOperators(context.Context, ListOperatorsRequestObject) (ListOperatorsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) PutOperator(context.Context, PutOperatorRequestObject) (PutOperatorResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) DeleteOperator(context.Context, DeleteOperatorRequestObject) (DeleteOperatorResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListOperatorKeys(context.Context, ListOperatorKeysRequestObject) (ListOperatorKeysResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) CreateOperatorKey(context.Context, CreateOperatorKeyRequestObject) (CreateOperatorKeyResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) RevokeOperatorKey(context.Context, RevokeOperatorKeyRequestObject) (RevokeOperatorKeyResponseObject, error) {
	return nil, errNoRoute
}
