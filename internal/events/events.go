// Package events owns what somebody should look at: a loop, a credential in an
// answer, a switch that was thrown. An event names calls; the audit has them.
//
// It leaves storage to postgres, and what is worth an event to who notices it.
package events

import (
	"context"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Kind is what happened.
type Kind string

// The kinds.
const (
	FanOut            Kind = "fan_out"           // more calls in one person's minute than the tenant's limit says
	RepeatedCalls     Kind = "repeated_calls"    // the identical call, refused for it
	SecretWithheld    Kind = "secret_withheld"   // a credential was on its way out
	InjectionFlagged  Kind = "injection_flagged" // a result tells the model what to do
	SwitchedOff       Kind = "switched_off"      // a kill switch
	SwitchedOn        Kind = "switched_on"       // it was lifted or has run out
	ApprovalRequested Kind = "approval_requested"
	OutcomeUnknown    Kind = "outcome_unknown"    // of a call with effects
	DefinitionChanged Kind = "definition_changed" // an upstream offers something else than what was agreed to
	ServerUnhealthy   Kind = "server_unhealthy"   // a server does not answer, and its calls are refused
	LimitsDegraded    Kind = "limits_degraded"    // each edge counts for itself: Valkey is away
	AccountExpired    Kind = "account_expired"    // at an upstream: somebody has to connect it again
)

// Severity orders events for people.
type Severity string

const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Event is something that happened once, or often within a minute.
type Event struct {
	Tenant   tenants.ID // tenants.Platform where it is of none
	ID       string     // `ev…`; given by who stores it
	At       time.Time
	Kind     Kind
	Severity Severity
	Detail   string // one sentence, without values from the call
	User     tenants.UserID
	Client   string
	ServerID registry.ServerID
	Server   string // slug
	Tool     string
	CallID   string
	// Same makes events one within a minute: those of one tenant and kind with
	// the same text are counted, not added. Empty: each stands for itself.
	Same           string
	Count          int
	AcknowledgedAt time.Time
	AcknowledgedBy string
}

// Raiser takes events without holding up who raises them.
type Raiser interface {
	Raise(ctx context.Context, e Event)
}
