// Package fault defines the errors that may reach a caller: a stable code, one
// of the categories an agent acts on, and words that say what to do next.
//
// It owns the table of codes. It leaves to each protocol's edge how a code is
// written (OAuth error, JSON-RPC error, tool result, HTTP problem), and to the
// log what the cause was: a cause never travels in a message.
package fault

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Category tells an agent how to react.
type Category string

const (
	// Access: do not retry; ask for the named scope or the named person.
	Access Category = "access"
	// Validation: correct what Details name and call again.
	Validation Category = "validation"
	// Downstream: something behind the platform failed; retry with backoff,
	// unless the outcome is unknown.
	Downstream Category = "downstream"
	// RateLimit: wait RetryAfter, then call again.
	RateLimit Category = "rate_limit"
	// Internal: a fault of the platform itself. Nothing more is said outside.
	Internal Category = "internal"
)

// Detail points at one wrong place in what the caller sent.
type Detail struct {
	// Pointer is an RFC 6901 JSON pointer into the input, or a file position.
	Pointer string `json:"pointer"`
	// Reason says what is wrong, Fix what to write instead.
	Reason string `json:"reason"`
	Fix    string `json:"fix,omitempty"`
	// Line and Column are in a text that was sent, from 1; 0 where there is none.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

// Error is an error whose Message may be shown to the caller.
type Error struct {
	Code       Code
	Message    string
	Details    []Detail
	RetryAfter time.Duration // zero: no time is known
	Scope      string        // the scope that is missing, with InsufficientScope
	URL        string        // the page on which a person can help, with ConnectNeeded
	cause      error
}

// New makes an error for the caller. The message says what to do next.
func New(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Because adds the cause, which goes to the log and never to the caller.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// WithDetails adds the places that are wrong.
func (e *Error) WithDetails(d ...Detail) *Error {
	c := *e
	c.Details = append(append([]Detail(nil), e.Details...), d...)
	return &c
}

// WithURL names the page on which a person can help.
func (e *Error) WithURL(url string) *Error {
	c := *e
	c.URL = url
	return &c
}

// After says when the caller may try again.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// WithScope names the scope that would allow what was refused.
func (e *Error) WithScope(s string) *Error {
	c := *e
	c.Scope = s
	return &c
}

// Error is for logs: it includes the cause.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code.Name, e.Message, e.cause)
	}
	return e.Code.Name + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, fault.New(code, "")) unnecessary: use HasCode.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}

// LogValue writes the error with its cause.
func (e *Error) LogValue() slog.Value {
	return slog.GroupValue(slog.String("code", e.Code.Name), slog.String("message", e.Message), slog.Any("cause", e.cause))
}

// Of returns the error for the caller that err holds. Anything unknown is an
// internal error that says nothing more.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return New(Unexpected, "The platform could not handle this request. Nothing needs to be changed on your side; try again in a minute, and name the call id to your administrator if it goes on.").Because(err)
}

// HasCode reports whether err carries the code.
func HasCode(err error, c Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == c
}

// Wrap adds the operation and its inputs to *err, once, for the log:
//
//	defer fault.Wrap(&err, "registry.Publish(%s, %s)", tenant, id)
func Wrap(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), *err)
	}
}
