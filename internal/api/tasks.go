package api

import (
	"context"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

// Tasks is what the operations on tasks ask for.
type Tasks struct {
	Store interface {
		Task(ctx context.Context, t tenants.ID, id string) (tasks.Task, error)
		Tasks(ctx context.Context, t tenants.ID, q tasks.Query) ([]tasks.Task, error)
		CancelTask(ctx context.Context, t tenants.ID, id, by string, now time.Time) (tasks.Task, error)
	}
}

// ListTasks lists, newest first.
func (a *API) ListTasks(ctx context.Context, r ListTasksRequestObject) (ListTasksResponseObject, error) {
	const op = "listTasks"
	before, id, err := timeCursor(op, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	t, limit := tenantOf(ctx).ID, limitOf(r.Params.Limit)
	q := tasks.Query{Server: deref(r.Params.Server), Tool: deref(r.Params.Tool), BeforeAt: before, BeforeID: id, Limit: limit + 1}
	if r.Params.Status != nil {
		q.States = []tasks.State{tasks.State(*r.Params.Status)}
	}
	page := TaskPage{Data: []Task{}}
	if who := deref(r.Params.Member); who != "" {
		m, err := a.People.Store.Member(ctx, t, who)
		if fault.HasCode(err, fault.NotFound) {
			return ListTasks200JSONResponse(page), nil
		}
		if err != nil {
			return nil, err
		}
		q.User = m.ID
	}
	all, err := a.Tasks.Store.Tasks(ctx, t, q)
	if err != nil {
		return nil, err
	}
	all, page.HasMore = cut(all, limit)
	for i := range all {
		page.Data = append(page.Data, showTask(&all[i]))
	}
	if page.HasMore {
		last := all[limit-1]
		page.NextCursor = cursor(op, last.CreatedAt.Format(time.RFC3339Nano), last.ID)
	}
	return ListTasks200JSONResponse(page), nil
}

// GetTask shows one.
func (a *API) GetTask(ctx context.Context, r GetTaskRequestObject) (GetTaskResponseObject, error) {
	k, err := a.Tasks.Store.Task(ctx, tenantOf(ctx).ID, r.Task)
	if err != nil {
		return nil, absent(err)
	}
	return GetTask200JSONResponse(showTask(&k)), nil
}

// CancelTask asks one to end. Its runner does.
func (a *API) CancelTask(ctx context.Context, r CancelTaskRequestObject) (CancelTaskResponseObject, error) {
	k, err := a.Tasks.Store.CancelTask(ctx, tenantOf(ctx).ID, r.Task, callerOf(ctx).Actor(), a.Now())
	if err != nil {
		return nil, absent(err)
	}
	return CancelTask200JSONResponse(showTask(&k)), nil
}

func showTask(k *tasks.Task) Task {
	out := Task{
		Id: k.ID, Status: TaskStatus(k.State), Message: optional(k.Message), Code: optional(k.Code), Server: k.ServerSlug, Tool: k.Tool, Risk: Risk(k.Risk),
		Member: k.Email, MemberId: optional(string(k.User)), Client: k.Client, CallId: k.CallID, Runs: k.Runs, CancelledBy: optional(k.CancelledBy),
		CreatedAt: k.CreatedAt.UTC(), UpdatedAt: optionalTime(k.UpdatedAt), StartedAt: optionalTime(k.StartedAt), EndedAt: optionalTime(k.EndedAt), ExpiresAt: k.ExpiresAt.UTC(),
	}
	if k.Unknown {
		out.OutcomeUnknown = &k.Unknown
	}
	if k.CancelAsked {
		out.CancelAsked = &k.CancelAsked
	}
	return out
}
