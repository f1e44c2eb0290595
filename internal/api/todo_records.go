package api

import (
	"context"

	"github.com/labstack/echo/v4"
)

// Records is what the operations of this area ask for.
type Records struct{}

func (a *API) ListAuditEvents(context.Context, ListAuditEventsRequestObject) (ListAuditEventsResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetAuditEvent(context.Context, GetAuditEventRequestObject) (GetAuditEventResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetUsage(context.Context, GetUsageRequestObject) (GetUsageResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) ListWorkers(context.Context, ListWorkersRequestObject) (ListWorkersResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) GetHealth(context.Context, GetHealthRequestObject) (GetHealthResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) VerifyAudit(context.Context, VerifyAuditRequestObject) (VerifyAuditResponseObject, error) {
	return nil, errNoRoute
}

func (a *API) registerStreams(g *echo.Echo) {
	no := func(echo.Context) error { return errNoRoute }
	g.GET(Base+"/tenants/:tenant/audit/export", no)
	g.GET(Base+"/tenants/:tenant/audit/tail", no)
}
