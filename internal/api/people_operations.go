package api

import (
	"context"
	"time"

	"latchkey/internal/tenants"
)

func operationOf(o tenants.Operation) Operation {
	return Operation{
		Id: o.ID, Kind: OperationKind(o.Kind), Target: o.Name, Tenant: &o.TenantSlug, State: OperationState(o.State), Attempts: &o.Attempts,
		Error: optional(o.Error), CreatedBy: o.CreatedBy, CreatedAt: o.CreatedAt.UTC(), FinishedAt: optionalTime(o.FinishedAt),
	}
}

// queued wakes this edge's runner: an operation was queued.
func (a *API) queued() {
	if a.People.Queued != nil {
		a.People.Queued()
	}
}

// ListOperations lists a tenant's long work, newest first.
func (a *API) ListOperations(ctx context.Context, r ListOperationsRequestObject) (ListOperationsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, id, err := timeCursor("listOperations", r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	all, err := a.People.Store.Operations(ctx, tenantOf(ctx).ID, before, id, limit+1)
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	out := OperationPage{Data: make([]Operation, 0, len(page)), HasMore: more}
	for _, o := range page {
		out.Data = append(out.Data, operationOf(o))
	}
	if more {
		last := page[limit-1]
		out.NextCursor = cursor("listOperations", last.CreatedAt.Format(time.RFC3339Nano), last.ID)
	}
	return ListOperations200JSONResponse(out), nil
}

// GetOperation shows one of a tenant.
func (a *API) GetOperation(ctx context.Context, r GetOperationRequestObject) (GetOperationResponseObject, error) {
	o, err := a.People.Store.Operation(ctx, tenantOf(ctx).ID, r.Operation)
	if err != nil {
		return nil, err
	}
	return GetOperation200JSONResponse(operationOf(o)), nil
}

// GetPlatformOperation shows one of any tenant, also of one that is gone.
func (a *API) GetPlatformOperation(ctx context.Context, r GetPlatformOperationRequestObject) (GetPlatformOperationResponseObject, error) {
	o, err := a.People.Store.PlatformOperation(ctx, r.Operation)
	if err != nil {
		return nil, err
	}
	return GetPlatformOperation200JSONResponse(operationOf(o)), nil
}

// ListMail shows what would have been sent, in development.
func (a *API) ListMail(context.Context, ListMailRequestObject) (ListMailResponseObject, error) {
	out := MailList{Data: []Mail{}, Development: a.People.Mailbox != nil}
	if !out.Development {
		return ListMail200JSONResponse(out), nil
	}
	letters, err := a.People.Mailbox.Letters()
	if err != nil {
		return nil, err
	}
	for _, l := range letters {
		out.Data = append(out.Data, Mail{At: l.At.UTC(), To: l.To, Subject: l.Subject, Text: l.Text})
	}
	return ListMail200JSONResponse(out), nil
}
