// Package tasks is the memory of calls that outlive their request: who asked for
// what, how far it has come, and what came of it. A task survives the process
// that runs it, and every process there is.
//
// It owns the states, what may follow on what, and the fence that keeps a runner
// which was taken for dead from speaking for its task. It leaves storage to
// postgres, running and MCP's words to mcpgateway, and what a task's arguments
// and result are to whoever sealed them.
package tasks

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// State is how far a task has come.
type State string

// The states. The last three are ends: nothing follows on them.
const (
	Queued    State = "queued"
	Running   State = "running"
	Asking    State = "input_required" // it runs, and waits for its caller's answer
	Completed State = "completed"      // the tool answered, well or not
	Failed    State = "failed"         // it did not, or nobody knows
	Cancelled State = "cancelled"
)

// States lists all of them.
var States = []State{Queued, Running, Asking, Completed, Failed, Cancelled}

// Ended reports whether nothing follows on the state.
func (s State) Ended() bool { return s == Completed || s == Failed || s == Cancelled }

// The bounds of a task.
const (
	// MaxRuns is how often a task that may run again is run in all.
	MaxRuns = 3
	// Patience is how long a task may wait until it runs. With the time of one run
	// it is the time by which the task has to have ended.
	Patience = time.Hour
	// MaxOpen is how many tasks of a tenant may not have ended.
	MaxOpen = 1000
	// MaxResult is the largest sealed end, in bytes, and MaxInput the largest
	// sealed arguments: those of one request.
	MaxResult = 4 << 20
	MaxInput  = 1<<20 + 1024
	// MaxQuestions are open at once, and MaxAsked in a task's life; MaxQuestion
	// bounds one, and its answer, in bytes.
	MaxQuestions = 8
	MaxAsked     = 100
	MaxQuestion  = 64 << 10
	// MaxMessage is in characters.
	MaxMessage = 200
)

// Through is the toolset that a tool was called through. The task is of the server
// that has the tool, like its calls there; its caller has it at the toolset.
type Through struct {
	Server registry.ServerID
	Slug   string // filled in by the store
	Tool   string // its name in the toolset
}

// At is the server whose URL the caller has the task at.
func (t *Task) At() registry.ServerID {
	if t.Through != nil {
		return t.Through.Server
	}
	return t.Server
}

// Called is the tool's name as its caller knows it.
func (t *Task) Called() string {
	if t.Through != nil {
		return t.Through.Tool
	}
	return t.Tool
}

// Task is one call. What is sealed is bound to the task's id.
type Task struct {
	ID     string // NewID
	Tenant tenants.ID
	// TenantSlug and ServerSlug are filled in by the store.
	TenantSlug, ServerSlug string
	Server                 registry.ServerID
	// Through is how its caller reached the tool; nil: at its own server.
	Through       *Through
	User          tenants.UserID
	Email         string // of User, filled in by the store
	Client, Grant string // the app that asked, and the consent it had
	Tool, Scope   string
	Revision      registry.RevisionID
	Definition    string // hash: another one is not run
	Risk          registry.Risk
	CallID        string // of all its records
	Trace         string // traceparent
	Notes         string // audit.Notes as text, of the agreement it runs with
	Repeatable    bool   // it may run again after a run whose end nobody saw
	Timeout       time.Duration
	TTL           time.Duration // what came of it is kept so long
	// Asks are the requests that the client can be put, such as
	// elicitation/create.
	Asks []string
	// Name is what the call is known by to repeats; nil: by nothing. Upstream is
	// the key for the tool's upstream.
	Name     *idempotency.CallName
	Request  idempotency.Hash // with Name
	Upstream string
	Input    []byte // sealed

	State   State
	Message string // for people, of Running
	// Attempt is the fence: it counts how often the task was claimed. Runs
	// counts how often it was handed to a worker, and Started says that one may
	// have begun whose end nobody saw.
	Attempt, Runs int
	Started       bool
	Begun         bool   // a runner's own: this attempt was begun, see BeginTask
	Owner         string // of the last attempt
	CancelAsked   bool
	CancelledBy   string // in words, for administrators; empty: its caller
	Code          string // of the fault, where it failed
	Unknown       bool   // it may or may not have taken effect
	Result        []byte // sealed

	CreatedAt, UpdatedAt, StartedAt, EndedAt time.Time
	// Due is when a queued one is looked at next, and when a running one has lost
	// its runner.
	Due time.Time
	// Deadline is when it has to have ended, ExpiresAt when it is forgotten.
	Deadline, ExpiresAt time.Time

	Questions []Question // open ones
}

// NewID makes an id that nobody guesses: 130 random bits.
func NewID() string { return "tk" + strings.ToLower(rand.Text()) }

// ValidID reports whether s can be one.
func ValidID(s string) bool {
	return len(s) == 28 && strings.HasPrefix(s, "tk") && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// SealedInput, SealedResult and SealedQuestion are the places that what is
// sealed is bound to.
func (t *Task) SealedInput() string              { return "task/" + t.ID + "/input" }
func (t *Task) SealedResult() string             { return "task/" + t.ID + "/result" }
func (t *Task) SealedQuestion(key string) string { return "task/" + t.ID + "/question/" + key }
func (t *Task) SealedAnswer(key string) string   { return "task/" + t.ID + "/answer/" + key }

// Question is what a running task asks its caller. Keys are unique in a task's
// life.
type Question struct {
	Key    string
	Sealed []byte // a runtime.Question
}

// Answer is a caller's.
type Answer struct {
	Key    string
	Sealed []byte
}

// End is what came of a task.
type End struct {
	State   State // one that has ended
	Message string
	Code    string
	Unknown bool
	Result  []byte // sealed; may be nil of what was cancelled
	// Name ends the name of the call, where the task has one.
	Name idempotency.End
	At   time.Time
}

// Bounds of what one person may have that has not ended.
type Bounds struct{ PerTool int }

// Step is what a runner does with a task that it has claimed.
type Step int

// The steps.
const (
	Run    Step = iota
	Cancel      // somebody asked for it, and nothing runs
	Late        // nothing was begun in time
	Lost        // its run was lost, and it may not run again
)

// Next says what to do with a task that was just claimed: nothing of it runs any
// more, whatever its state says.
func (t *Task) Next(now time.Time) Step {
	switch {
	case t.CancelAsked:
		return Cancel
	case t.Started && !t.Repeatable, t.Started && (t.Runs >= MaxRuns || !now.Before(t.Deadline)):
		return Lost
	case !t.Started && !now.Before(t.Deadline.Add(-t.Timeout)):
		return Late
	}
	return Run
}

// InDoubt reports whether the task may have taken effect without anybody having
// seen it end.
func (t *Task) InDoubt() bool { return t.Started && t.Risk != registry.Reads }

// Seen is what a runner learns when it keeps its task.
type Seen struct{ CancelAsked bool }

// Query narrows a list. Zero values do not.
type Query struct {
	States   []State
	Server   string // slug
	Tool     string
	User     tenants.UserID
	BeforeAt time.Time // with BeforeID: those after this position, newest first
	BeforeID string
	Limit    int
}

// Store keeps tasks, inside a tenant. What a runner changes, it changes as the
// task that it claimed: where another has claimed it since, or it has ended,
// that is fault.Conflict and nothing changes.
type Store interface {
	// CreateTask stores a queued one, and takes its name in the same step. Where
	// the name is another call's, nothing is stored, and that call returned. Too
	// many are fault.LimitReached.
	CreateTask(ctx context.Context, t Task, claim *idempotency.Claim, b Bounds) (was idempotency.Call, taken bool, err error)
	Task(ctx context.Context, t tenants.ID, id string) (Task, error)
	// TaskOfCall finds the task that runs a call.
	TaskOfCall(ctx context.Context, t tenants.ID, call string) (Task, error)
	// Tasks lists, without inputs and results, newest first.
	Tasks(ctx context.Context, t tenants.ID, q Query) ([]Task, error)
	// CancelTask asks a task that has not ended to end; of one that has it
	// changes nothing.
	CancelTask(ctx context.Context, t tenants.ID, id, by string, now time.Time) (Task, error)
	// AnswerTask answers open questions, each once. Others are ignored.
	AnswerTask(ctx context.Context, t tenants.ID, id string, answers []Answer, now time.Time) (taken int, err error)

	// ClaimTask takes one that is due, for as long as lease; with ending only one
	// that is to end without running.
	ClaimTask(ctx context.Context, owner string, lease time.Duration, ending bool) (t Task, ok bool, err error)
	// BeginTask notes that a worker is about to have it.
	BeginTask(ctx context.Context, t *Task, lease time.Duration) error
	// KeepTask renews the lease and says how far it is.
	KeepTask(ctx context.Context, t *Task, lease time.Duration, message string) (Seen, error)
	// PutBack queues it again. With clean nothing was done in this run.
	PutBack(ctx context.Context, t *Task, after time.Duration, clean bool) error
	// AskTask puts a question; the task is Asking until it has no open one.
	AskTask(ctx context.Context, t *Task, q Question) error
	// TakeAnswer gives the answer to a question, once there is one.
	TakeAnswer(ctx context.Context, t *Task, key string) (sealed []byte, ok bool, err error)
	// WithdrawQuestion takes one back that nobody has answered.
	WithdrawQuestion(ctx context.Context, t *Task, key string) error
	// EndTask ends it, and its name.
	EndTask(ctx context.Context, t *Task, e End) error

	// CollectTasks removes those of all tenants that have had their time, and
	// CountTasks counts the others.
	CollectTasks(ctx context.Context, now time.Time) (int64, error)
	CountTasks(ctx context.Context) (map[State]int, error)
}

// ErrLost is for a runner that does not have its task any more.
func ErrLost() error {
	return fault.New(fault.Conflict, "Somebody else has this task by now, or it has ended.")
}

// TooMany is the refusal of one more task.
func TooMany(n int, of string) error {
	return fault.New(fault.LimitReached, "%d tasks of %s have not ended. Nothing was done. Wait until one has, or cancel one.", n, of).After(30 * time.Second)
}
