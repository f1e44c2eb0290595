package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
)

// statuses is the one table from codes to HTTP. What is not in it has its
// category's.
var statuses = map[fault.Code]int{
	fault.Unauthenticated:  http.StatusUnauthorized,
	fault.NotFound:         http.StatusNotFound,
	fault.Conflict:         http.StatusConflict,
	fault.Stale:            http.StatusPreconditionFailed,
	fault.KeyReused:        http.StatusUnprocessableEntity,
	fault.InvalidArguments: http.StatusUnprocessableEntity,
	fault.InvalidSpec:      http.StatusUnprocessableEntity,
	fault.Busy:             http.StatusTooManyRequests,
	fault.ToolFailed:       http.StatusBadGateway,
	fault.OutcomeUnknown:   http.StatusBadGateway,
	fault.DeadlineExceeded: http.StatusGatewayTimeout,
}

var categoryStatuses = map[fault.Category]int{
	fault.Access:     http.StatusForbidden,
	fault.Validation: http.StatusBadRequest,
	fault.Downstream: http.StatusServiceUnavailable,
	fault.RateLimit:  http.StatusTooManyRequests,
	fault.Internal:   http.StatusInternalServerError,
}

func statusOf(code fault.Code) int {
	if s, ok := statuses[code]; ok {
		return s
	}
	return categoryStatuses[code.Category]
}

// writeProblem answers with an error as RFC 9457 has it. What is not a fault is
// an internal error that says nothing more.
func (a *API) writeProblem(c echo.Context, err error) {
	if c.Response().Committed {
		return // a stream that broke: its end is missing
	}
	var he *echo.HTTPError
	if errors.As(err, &he) {
		err = fromEcho(he)
	}
	if errors.Is(err, context.Canceled) && c.Request().Context().Err() != nil {
		err = fault.New(fault.Cancelled, "The request was given up.").Because(err)
	}
	f := fault.Of(err)
	h := c.Response().Header()
	p := problemOf(f, h.Get("X-Request-Id"))
	if f.Code.Category == fault.Internal {
		a.Log.ErrorContext(c.Request().Context(), "api request failed", "request", p.RequestId, "path", c.Path(), "error", err)
	}
	if p.RetryAfterS != nil {
		h.Set("Retry-After", strconv.Itoa(*p.RetryAfterS))
	}
	if f.Code == fault.Unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="latchkey"`)
	}
	b, err := json.Marshal(p)
	if err != nil { // texts and numbers only
		panic(err)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	c.Response().WriteHeader(p.Status)
	c.Response().Write(b)
}

var titles = map[fault.Category]string{
	fault.Access:     "This is not allowed",
	fault.Validation: "The request has to be corrected",
	fault.Downstream: "Something behind the platform does not work at the moment",
	fault.RateLimit:  "Too much at once",
	fault.Internal:   "The platform failed",
}

// fieldErrors says each wrong place as the API does.
// problemOf writes a fault as a problem.
func problemOf(f *fault.Error, request string) Problem {
	p := Problem{
		Type: "https://latchkey.dev/errors#" + f.Code.Name, Title: titles[f.Code.Category], Status: statusOf(f.Code), Code: f.Code.Name,
		Category: Category(f.Code.Category), Detail: f.Message, RequestId: request,
	}
	if f.RetryAfter > 0 {
		p.RetryAfterS = ptr(int(math.Ceil(f.RetryAfter.Seconds())))
	}
	if f.Code == fault.RoleNotAllowed && f.Scope != "" {
		p.Permission = &f.Scope
	}
	if len(f.Details) > 0 {
		fields := fieldErrors(f.Details)
		p.Errors = &fields
	}
	return p
}

func fieldErrors(details []fault.Detail) []FieldError {
	out := make([]FieldError, 0, len(details))
	for _, d := range details {
		out = append(out, FieldError{Pointer: d.Pointer, Detail: d.Reason, Fix: optional(d.Fix), Line: optional(d.Line), Column: optional(d.Column)})
	}
	return out
}

// fromEcho translates what the router and the generated binding refuse.
func fromEcho(he *echo.HTTPError) error {
	switch he.Code {
	case http.StatusNotFound:
		return errNoRoute
	case http.StatusMethodNotAllowed:
		return fault.New(fault.InvalidRequest, "This path does not take that method. The reference is at %s/docs.", Base).Because(he)
	case http.StatusUnsupportedMediaType:
		return fault.New(fault.InvalidRequest, "Send the body as application/json.").Because(he)
	}
	if he.Code < 500 {
		return fault.New(fault.InvalidRequest, "The request cannot be read. Compare it with the reference at %s/docs.", Base).Because(he)
	}
	return he
}
