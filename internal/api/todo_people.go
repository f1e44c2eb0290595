package api

import "context"

// People is what the operations of this area ask for.
type People struct{}

func (a *API) ListTenants(context.Context, ListTenantsRequestObject) (ListTenantsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) CreateTenant(context.Context, CreateTenantRequestObject) (CreateTenantResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetTenant(context.Context, GetTenantRequestObject) (GetTenantResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) UpdateTenant(context.Context, UpdateTenantRequestObject) (UpdateTenantResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) DeleteTenant(context.Context, DeleteTenantRequestObject) (DeleteTenantResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListMembers(context.Context, ListMembersRequestObject) (ListMembersResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetMember(context.Context, GetMemberRequestObject) (GetMemberResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) PutMember(context.Context, PutMemberRequestObject) (PutMemberResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) DeleteMember(context.Context, DeleteMemberRequestObject) (DeleteMemberResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetMemberAccess(context.Context, GetMemberAccessRequestObject) (GetMemberAccessResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) EndMemberSessions(context.Context, EndMemberSessionsRequestObject) (EndMemberSessionsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListInvitations(context.Context, ListInvitationsRequestObject) (ListInvitationsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) CreateInvitation(context.Context, CreateInvitationRequestObject) (CreateInvitationResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetInvitation(context.Context, GetInvitationRequestObject) (GetInvitationResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) RevokeInvitation(context.Context, RevokeInvitationRequestObject) (RevokeInvitationResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ResendInvitation(context.Context, ResendInvitationRequestObject) (ResendInvitationResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListRoles(context.Context, ListRolesRequestObject) (ListRolesResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetRole(context.Context, GetRoleRequestObject) (GetRoleResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) PutRole(context.Context, PutRoleRequestObject) (PutRoleResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) DeleteRole(context.Context, DeleteRoleRequestObject) (DeleteRoleResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetAccess(context.Context, GetAccessRequestObject) (GetAccessResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ChangeAccess(context.Context, ChangeAccessRequestObject) (ChangeAccessResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListScopes(context.Context, ListScopesRequestObject) (ListScopesResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListOperations(context.Context, ListOperationsRequestObject) (ListOperationsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetOperation(context.Context, GetOperationRequestObject) (GetOperationResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetPlatformOperation(context.Context, GetPlatformOperationRequestObject) (GetPlatformOperationResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListMail(context.Context, ListMailRequestObject) (ListMailResponseObject, error) {
	return nil, errNoRoute
}
