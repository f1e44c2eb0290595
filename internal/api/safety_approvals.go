package api

import (
	"context"
	"time"

	"latchkey/internal/approvals"
	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Approvals is what the operations on approvals ask for.
type Approvals struct {
	Store interface {
		Approval(ctx context.Context, t tenants.ID, id string) (approvals.Approval, error)
		Approvals(ctx context.Context, t tenants.ID, q approvals.Query) ([]approvals.Approval, error)
		DecideApproval(ctx context.Context, t tenants.ID, id string, d approvals.Decision) (approvals.Approval, error)
	}
	// Keys say who made a key that decides.
	Keys interface {
		APIKey(ctx context.Context, t tenants.ID, id string) (callers.Key, error)
	}
}

// ListApprovals lists, newest first, what the caller may see.
func (a *API) ListApprovals(ctx context.Context, r ListApprovalsRequestObject) (ListApprovalsResponseObject, error) {
	const op = "listApprovals"
	before, id, err := timeCursor(op, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	decider, err := a.decider(ctx)
	if err != nil {
		return nil, err
	}
	limit := limitOf(r.Params.Limit)
	all, err := a.Approvals.Store.Approvals(ctx, tenantOf(ctx).ID, approvals.Query{
		Status: approvals.Status(deref(r.Params.Status)), Server: deref(r.Params.Server), Tool: deref(r.Params.Tool), At: a.Now(),
		BeforeAt: before, BeforeID: id, Limit: limit + 1, Visible: visibleTo(callerOf(ctx)),
	})
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	out := ApprovalPage{Data: make([]Approval, 0, len(page)), HasMore: more}
	for i := range page {
		out.Data = append(out.Data, a.approval(&page[i], decider))
	}
	if more {
		last := page[limit-1]
		out.NextCursor = cursor(op, last.RequestedAt.Format(time.RFC3339Nano), last.ID)
	}
	return ListApprovals200JSONResponse(out), nil
}

// GetApproval shows one.
func (a *API) GetApproval(ctx context.Context, r GetApprovalRequestObject) (GetApprovalResponseObject, error) {
	found, err := a.visibleApproval(ctx, r.Approval)
	if err != nil {
		return nil, err
	}
	decider, err := a.decider(ctx)
	if err != nil {
		return nil, err
	}
	return GetApproval200JSONResponse(a.approval(&found, decider)), nil
}

// DecideApproval approves or denies. What a person holds is looked up where the
// decision is written: the caller's roles here may be a moment old.
func (a *API) DecideApproval(ctx context.Context, r DecideApprovalRequestObject) (DecideApprovalResponseObject, error) {
	if _, err := a.visibleApproval(ctx, r.Approval); err != nil {
		return nil, err
	}
	decider, err := a.decider(ctx)
	if err != nil {
		return nil, err
	}
	decided, err := a.Approvals.Store.DecideApproval(ctx, tenantOf(ctx).ID, r.Approval, approvals.Decision{
		Approve: r.Body.Decision == ApprovalDecisionDecisionApprove, By: decider, At: a.Now().UTC().Truncate(time.Microsecond), Reason: deref(r.Body.Reason),
	})
	if err != nil {
		return nil, err
	}
	return DecideApproval200JSONResponse(a.approval(&decided, decider)), nil
}

// visibleTo is whose approvals a caller sees: all with the permission, else
// those that they may decide and those that they asked for.
func visibleTo(p Principal) approvals.Visible {
	return approvals.Visible{All: p.Holds(tenants.ApprovalsRead), User: p.User, Roles: p.Roles}
}

func (a *API) visibleApproval(ctx context.Context, id string) (approvals.Approval, error) {
	found, err := a.Approvals.Store.Approval(ctx, tenantOf(ctx).ID, id)
	if fault.HasCode(err, fault.NotFound) || err == nil && !visibleTo(callerOf(ctx)).Shows(&found) {
		return approvals.Approval{}, notFound()
	}
	return found, err
}

// decider is the caller as who decides. An operator is nobody of the tenant, and
// decides nothing.
func (a *API) decider(ctx context.Context) (d approvals.Decider, err error) {
	caller := callerOf(ctx)
	d = approvals.Decider{Name: caller.Actor(), User: caller.User, Roles: caller.Roles}
	if caller.Kind == MeKindApiKey {
		k, err := a.Approvals.Keys.APIKey(ctx, tenantOf(ctx).ID, caller.ID)
		if err != nil {
			return d, err
		}
		d.Key, d.May = &k, caller.Holds(tenants.ApprovalsWrite)
	}
	return d, nil
}

func (a *API) approval(p *approvals.Approval, d approvals.Decider) Approval {
	status := p.Status(a.Now())
	return Approval{
		Id: p.ID, Status: ApprovalStatus(status), Server: p.ServerSlug, Tool: p.Tool, Title: optional(p.Title), Risk: Risk(p.Risk),
		Message: optional(p.Message), Arguments: p.Arguments, Role: p.Role, Member: p.Email, MemberId: optional(string(p.User)),
		Client: optional(p.Client), ClientName: optional(p.ClientName), CallId: optional(p.CallID),
		RequestedAt: p.RequestedAt.UTC(), ExpiresAt: p.ExpiresAt.UTC(), DecidedAt: optionalTime(p.DecidedAt), DecidedBy: optional(p.DecidedBy),
		Reason: optional(p.Reason), UsedCallId: optional(p.UsedCallID), MayDecide: status == approvals.Pending && p.MayDecide(d) == nil,
	}
}
