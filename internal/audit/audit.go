// Package audit records every call before its answer leaves.
//
// It owns the record's form and the writer that commits groups of records. It
// leaves storage to postgres and what to record to whoever handles the call.
// It never drops a record to go faster: a full queue holds its callers back,
// and a store that is away fails the call.
package audit

import (
	"context"
	"encoding/json"
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
	Notes          Notes // how the call was kept safe; nil: nothing to say
}

// Notes say how a call was kept safe: names of what was masked and how often,
// the confirmation or approval it ran with, that its answer is a repeat. Keys
// are the Note constants. Nothing in them is a value that was masked.
type Notes map[string]any

// Keys of Notes.
const (
	NoteReplayOf     = "replay_of"    // id of the call whose outcome was given again
	NoteConfirmation = "confirmation" // id of the confirmation it ran with
	NoteApproval     = "approval"     // id of the approval that it waits for or ran with
	NoteRepeats      = "repeats"      // how many identical calls of the session within a minute
	NoteLimit        = "limit"        // which limit was reached: tenant, user, session, tool
	NoteSwitch       = "switch"       // what was switched off
	NoteMasked       = "masked"       // counts by what was found, such as {"email": 2}
	NoteWithheld     = "withheld"     // credentials that did not leave, by kind
	NoteFlagged      = "flagged"      // injection patterns, by name
	NoteKept         = "kept"         // id of the result that was too large to give inline
	NoteDeprecated   = "deprecated"   // the tool's sunset
	NoteBreaking     = "breaking"     // tools that were published although callers break
	NoteAsked        = "asked"        // questions of the upstream to the caller, by method
	NoteTyped        = "typed"        // how many completions the record stands for
	NoteTask         = "task"         // id of the task that the call runs as, or is about
	NoteToolset      = "toolset"      // through which toolset a tool was called, and its name there: support/find_client
	NoteRevision     = "revision"     // number of an older revision that a live session goes on with
)

// Text is notes as they are stored: a JSON object, or empty. What cannot be
// written is left out.
func (n Notes) Text() string {
	if len(n) == 0 {
		return ""
	}
	b, err := json.Marshal(n)
	if err != nil || len(b) > maxNotes {
		return `{"omitted":true}`
	}
	return string(b)
}

// ParseNotes reads what Text wrote.
func ParseNotes(s string) (n Notes) {
	if s != "" && json.Unmarshal([]byte(s), &n) != nil {
		return Notes{"omitted": true}
	}
	return n
}

const maxNotes = 4096 // bytes

// Store keeps records. Insert is all or nothing.
type Store interface {
	InsertAudit(ctx context.Context, events []Event) error
}
