package api

import "context"

func (a *API) ListEvents(context.Context, ListEventsRequestObject) (ListEventsResponseObject, error) {
	return nil, notFound()
}

func (a *API) AcknowledgeEvent(context.Context, AcknowledgeEventRequestObject) (AcknowledgeEventResponseObject, error) {
	return nil, notFound()
}
