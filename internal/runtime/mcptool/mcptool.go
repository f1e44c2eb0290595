// Package mcptool is what the kinds share whose upstream speaks MCP: the part of
// their specs that says what of the upstream is offered and how, the definition
// that is made of a pinned offer, a session that carries many calls, and an
// Instance that passes everything through it.
//
// It leaves to its kinds where the upstream is, how it is connected to, with
// which credential, and how its failures are put into words: an Upstream gives
// sessions and says that. It decides nothing about who may call what.
package mcptool

import (
	"context"

	"latchkey/internal/runtime"
)

// Upstream gives the session that a call runs on, one for all calls or one for
// each person. It is used concurrently.
type Upstream interface {
	// Session gives one that is not broken, connecting if there is none. It
	// stays the upstream's: nobody else closes it. Errors are a *fault.Error and
	// say that nothing was done.
	Session(ctx context.Context, c *runtime.Call, env runtime.Env) (*Session, error)
	// Explain makes the error for the caller of one that ended a call whose
	// session could not carry it to its end, such as a process that ran out of
	// memory. It gives nil where it knows no better than the general words.
	Explain(c *runtime.Call, err error) error
	// Close closes every session. No call runs any more.
	Close() error
}

// Idler is an Upstream that need not run between calls.
type Idler interface {
	// Idle reports whether a probe would have to start what does not run.
	Idle(c *runtime.Call) bool
}

// Reacher is an Upstream whose sessions need a person, of which a probe has none.
type Reacher interface {
	// Reach asks for a sign of life without a session, if the call can have none.
	Reach(ctx context.Context, c *runtime.Call) (without bool, err error)
}
