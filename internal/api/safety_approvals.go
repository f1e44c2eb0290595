package api

import "context"

func (a *API) ListApprovals(context.Context, ListApprovalsRequestObject) (ListApprovalsResponseObject, error) {
	return nil, notFound()
}

func (a *API) GetApproval(context.Context, GetApprovalRequestObject) (GetApprovalResponseObject, error) {
	return nil, notFound()
}

func (a *API) DecideApproval(context.Context, DecideApprovalRequestObject) (DecideApprovalResponseObject, error) {
	return nil, notFound()
}
