// Package audit records every call before its answer leaves.
//
// It owns the record's form and the writer that commits groups of records. It
// leaves storage to postgres and what to record to whoever handles the call.
// It never drops a record to go faster: a full queue holds its callers back,
// and a store that is away fails the call.
package audit

import (
	"context"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Phase says which part of a call a record is about.
type Phase string

const (
	// Intent is durable before a call with effects is dispatched. An intent
	// without an outcome is a call whose outcome is unknown.
	Intent Phase = "intent"
	// Outcome is durable before the reply.
	Outcome Phase = "outcome"
	// Refusal stands for a call that was never dispatched.
	Refusal Phase = "refusal"
)

// State is how a call ended, as far as is known.
type State string

const (
	Pending State = "pending" // an intent
	Done    State = "done"
	Failed  State = "failed"  // it ran and failed, or could not be run; nothing is left half done
	Refused State = "refused" // it was not allowed or not valid
	Unknown State = "unknown" // it may or may not have taken effect
)

// Event is one record. Nothing in it is a secret: arguments are a redacted
// summary, and a lease is named by its id.
type Event struct {
	Tenant         tenants.ID
	At             time.Time
	ID             string
	CallID         string
	Phase          Phase
	WriterID       string // set by Writer, with WriterSeq: a gap shows a lost record
	WriterSeq      int64
	User           tenants.UserID
	Client         string
	Grant          string
	Session        string
	ServerID       registry.ServerID
	Server         string // slug
	Revision       registry.RevisionID
	Method         string // tools/call, resources/read, prompts/get
	Tool           string // tool or prompt name, or resource URI
	DefinitionHash string
	Scope          string // the scope that was checked
	Allowed        bool
	Reason         string // why it was refused, for the admin
	IdempotencyKey string
	Arguments      string // see Summarize
	State          State
	Category       string // of the error, if any
	Code           string
	Latency        time.Duration
	ResultBytes    int
	Worker         string
	LeaseID        string
	TraceID        string
}

// Store keeps records. Insert is all or nothing.
type Store interface {
	InsertAudit(ctx context.Context, events []Event) error
}
