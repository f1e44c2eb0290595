package oauth

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"latchkey/internal/fault"
	"latchkey/internal/site"
)

// The errors of the protocol: RFC 6749 section 5.2 and 4.1.2.1, RFC 7591
// section 3.2.2, RFC 8707 section 2, OpenID Connect Core section 3.1.2.6.
var (
	errInvalidRequest          = protocol("invalid_request", http.StatusBadRequest)
	errInvalidClient           = protocol("invalid_client", http.StatusUnauthorized)
	errInvalidGrant            = protocol("invalid_grant", http.StatusBadRequest)
	errUnauthorizedClient      = protocol("unauthorized_client", http.StatusBadRequest)
	errUnsupportedGrantType    = protocol("unsupported_grant_type", http.StatusBadRequest)
	errUnsupportedResponseType = protocol("unsupported_response_type", http.StatusBadRequest)
	errInvalidScope            = protocol("invalid_scope", http.StatusBadRequest)
	errInvalidTarget           = protocol("invalid_target", http.StatusBadRequest)
	errAccessDenied            = protocol("access_denied", http.StatusForbidden)
	errLoginRequired           = protocol("login_required", http.StatusForbidden)
	errConsentRequired         = protocol("consent_required", http.StatusForbidden)
	errRequestNotSupported     = protocol("request_not_supported", http.StatusBadRequest)
	errRequestURINotSupported  = protocol("request_uri_not_supported", http.StatusBadRequest)
	errInvalidRequestURI       = protocol("invalid_request_uri", http.StatusBadRequest)
	errInvalidRedirectURI      = protocol("invalid_redirect_uri", http.StatusBadRequest)
	errInvalidClientMetadata   = protocol("invalid_client_metadata", http.StatusBadRequest)
	errInvalidToken            = protocol("invalid_token", http.StatusUnauthorized)
	errTooLarge                = protocol("invalid_request", http.StatusRequestEntityTooLarge)
	errTooMany                 = protocol("temporarily_unavailable", http.StatusTooManyRequests)
	errUnavailable             = protocol("temporarily_unavailable", http.StatusServiceUnavailable)
	errNotFound                = protocol("not_found", http.StatusNotFound)
	errUnsupportedTokenType    = protocol("unsupported_token_type", http.StatusBadRequest)
	errServer                  = protocol("server_error", http.StatusInternalServerError)
)

func protocol(name string, status int) *fosite.RFC6749Error {
	return &fosite.RFC6749Error{ErrorField: name, CodeField: status}
}

// say gives an error its words, which tell a developer what to send instead.
func say(e *fosite.RFC6749Error, format string, args ...any) *fosite.RFC6749Error {
	return e.WithDescription(fmt.Sprintf(format, args...))
}

// inProtocol is the one table from errors of the platform to errors of the
// protocol. What is not in it is a server_error that says nothing more.
func inProtocol(err error) *fosite.RFC6749Error {
	var f *fault.Error
	if errors.As(err, &f) {
		switch f.Code {
		case fault.StoreAway, fault.CredentialsAway, fault.Busy, fault.UpstreamAway:
			return say(errUnavailable, "%s", f.Message).WithWrap(err)
		case fault.LimitReached:
			return say(errTooMany, "%s", f.Message).WithWrap(err)
		case fault.InvalidRequest, fault.InvalidArguments:
			return say(errInvalidRequest, "%s", f.Message).WithWrap(err)
		case fault.NotFound:
			return say(errNotFound, "%s", f.Message).WithWrap(err)
		}
		return say(errServer, "The platform could not handle this request. Try again in a minute.").WithWrap(err)
	}
	var e *fosite.RFC6749Error
	if errors.As(err, &e) && e.ErrorField != "error" && e.CodeField != http.StatusInternalServerError {
		return e
	}
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return say(errTooLarge, "The body is larger than %d bytes.", big.Limit)
	}
	return say(errServer, "The platform could not handle this request. Try again in a minute.").WithWrap(err)
}

// writeError answers an API request and returns the error's name. Pages show
// their errors themselves.
func (s *Server) writeError(c echo.Context, err error) string {
	e := inProtocol(err)
	s.logServerError(c, e)
	h := c.Response().Header()
	noStore(h)
	retryAfter(h, err)
	if e.CodeField == http.StatusUnauthorized {
		scheme, _, _ := strings.Cut(c.Request().Header.Get("Authorization"), " ")
		if strings.EqualFold(scheme, "basic") { // RFC 6749 section 5.2
			h.Set("WWW-Authenticate", `Basic realm="`+site.From(c.Request().Context()).Slug+`", charset="UTF-8"`)
		} else if e.ErrorField == errInvalidToken.ErrorField { // RFC 7592 section 2
			h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		}
	}
	c.JSON(e.CodeField, struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.ErrorField, describe(e)})
	return e.ErrorField
}

// retryAfter says when to come back, if that is known.
func retryAfter(h http.Header, err error) {
	if f := fault.Of(err); f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(f.RetryAfter.Seconds())))))
	}
}

// logServerError is the one line for what is our fault.
func (s *Server) logServerError(c echo.Context, e *fosite.RFC6749Error) {
	if e.CodeField >= http.StatusInternalServerError {
		ctx := c.Request().Context()
		s.Log.ErrorContext(ctx, "oauth", "tenant", site.From(ctx).ID, "path", c.Path(), "status", e.CodeField, "error", e.Unwrap())
	}
}

// describe keeps to the characters that error_description may hold.
func describe(e *fosite.RFC6749Error) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\' || r > '~':
			return '?'
		case r < ' ':
			return ' '
		}
		return r
	}, e.GetDescription())
}
