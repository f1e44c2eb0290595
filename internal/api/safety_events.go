package api

import (
	"cmp"
	"context"

	"latchkey/internal/audit"
	"latchkey/internal/events"
)

// ListEvents lists what somebody should look at, newest first.
func (a *API) ListEvents(ctx context.Context, in ListEventsRequestObject) (ListEventsResponseObject, error) {
	const op = "listEvents"
	after, err := positionOf(op, in.Params.Cursor)
	if err != nil {
		return nil, err
	}
	limit := limitOf(in.Params.Limit)
	t := tenantOf(ctx).ID
	all, err := a.Safety.Events.Events(ctx, t, events.Query{
		Kind: events.Kind(deref(in.Params.Kind)), Server: deref(in.Params.Server), Open: in.Params.Open, After: after.At, AfterID: after.ID, Limit: limit + 1,
	})
	if err != nil {
		return nil, err
	}
	all, more := cut(all, limit)
	page := EventPage{HasMore: more}
	if page.Data, err = a.showEvents(ctx, all...); err != nil {
		return nil, err
	}
	if more {
		page.NextCursor = nextPosition(op, more, all[limit-1].At, all[limit-1].ID)
	}
	return ListEvents200JSONResponse(page), nil
}

// AcknowledgeEvent says that the caller has looked.
func (a *API) AcknowledgeEvent(ctx context.Context, in AcknowledgeEventRequestObject) (AcknowledgeEventResponseObject, error) {
	e, err := a.Safety.Events.Acknowledge(ctx, tenantOf(ctx).ID, in.SafetyEvent, callerOf(ctx).Actor(), a.Now())
	if err != nil {
		return nil, absent(err)
	}
	shown, err := a.showEvents(ctx, e)
	if err != nil {
		return nil, err
	}
	return AcknowledgeEvent200JSONResponse(shown[0]), nil
}

// showEvents names people by address, where they are still there.
func (a *API) showEvents(ctx context.Context, list ...events.Event) ([]Event, error) {
	about := make([]audit.Event, len(list))
	for i, e := range list {
		about[i] = audit.Event{User: e.User}
	}
	names, err := a.Records.Store.AuditNames(ctx, tenantOf(ctx).ID, about)
	if err != nil {
		return nil, err
	}
	out := make([]Event, 0, len(list))
	for _, e := range list {
		out = append(out, Event{
			Id: e.ID, At: e.At.UTC(), Kind: EventKind(e.Kind), Severity: EventSeverity(e.Severity), Detail: e.Detail,
			Member: optional(cmp.Or(names.Users[e.User], string(e.User))), Client: optional(e.Client), Server: optional(e.Server), Tool: optional(e.Tool),
			CallId: optional(e.CallID), Count: e.Count, AcknowledgedAt: optionalTime(e.AcknowledgedAt), AcknowledgedBy: optional(e.AcknowledgedBy),
		})
	}
	return out, nil
}
