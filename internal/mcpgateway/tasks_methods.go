package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/limits"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

// tasks/get, tasks/update and tasks/cancel, as the extension's schema of
// 2026-07-28 has them. Any edge answers: nothing here knows who runs a task.

type taskParams struct {
	mcp.ParamsBase
	TaskID         string                     `json:"taskId"`
	InputResponses map[string]json.RawMessage `json:"inputResponses,omitempty"` // of tasks/update
}

// taskResult is CreateTaskResult and GetTaskResult; they differ in ResultType.
type taskResult struct {
	mcp.ResultBase
	ResultType     string                  `json:"resultType"`
	TaskID         string                  `json:"taskId"`
	Status         string                  `json:"status"`
	StatusMessage  string                  `json:"statusMessage,omitempty"`
	CreatedAt      time.Time               `json:"createdAt"`
	LastUpdatedAt  time.Time               `json:"lastUpdatedAt"`
	TTLMs          int64                   `json:"ttlMs"`
	PollIntervalMs int64                   `json:"pollIntervalMs,omitempty"`
	InputRequests  map[string]inputRequest `json:"inputRequests,omitempty"`
	Result         json.RawMessage         `json:"result,omitempty"`
	Error          json.RawMessage         `json:"error,omitempty"`
}

type inputRequest struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

// taskAck is the empty answer to tasks/update and tasks/cancel.
type taskAck struct {
	mcp.ResultBase
	ResultType string `json:"resultType"`
}

type taskCallerKey struct{}

// addTasks serves the methods at every server, also one that has no such tool
// any more: its tasks are still there.
func (g *Gateway) addTasks(srv *mcp.Server) {
	if g.cfg.Tasks.Store == nil {
		return
	}
	add := func(method string, handle func(context.Context, *exchange, *taskParams) (mcp.Result, error)) {
		// The names are no standard methods of the SDK's: it does not happen.
		_ = mcp.AddReceivingCustomMethod(srv, method, func(ctx context.Context, _ *mcp.ServerSession, p *taskParams) (mcp.Result, error) {
			ex, _ := ctx.Value(taskCallerKey{}).(*exchange)
			if ex == nil {
				return nil, errNoTask()
			}
			if p == nil {
				p = &taskParams{}
			}
			if !declaresTasks(p.Meta) {
				return nil, missingCapability(taskNeeded(method), "")
			}
			return handle(ctx, ex, p)
		})
	}
	add("tasks/get", g.getTask)
	add("tasks/update", g.updateTask)
	add("tasks/cancel", g.cancelTask)
}

// missingCapability is the error that the extension has for clients which do not
// declare it.
func missingCapability(f *fault.Error, callID string) error {
	return &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: f.Message, Data: plainJSON(struct {
		Required map[string]any `json:"requiredCapabilities"`
		failure
	}{map[string]any{"extensions": map[string]any{extTasks: struct{}{}}}, failureOf(f, callID)})}
}

// errNoTask answers for what does not exist, has expired, or is somebody else's.
func errNoTask() error {
	return rpcError(fault.New(fault.NotFound, "There is no such task here. It may have expired; or it was made by another person or app, or at another server."), "")
}

// pollLimits bound the questions about tasks of one grant and one tenant, on each
// edge: they cost the store a look each, and count against no other limit.
type pollLimits struct{}

func (pollLimits) Limits(context.Context, tenants.ID) (tenants.Limits, error) {
	return tenants.Limits{
		Session: tenants.Limit{Rate: tenants.Rate{Calls: 300, Per: time.Minute}, Burst: 60},
		Tenant:  tenants.Limit{Rate: tenants.Rate{Calls: 12_000, Per: time.Minute}, Burst: 2000},
	}, nil
}

// taskOf finds the caller's task: of this server, made by the same person through
// the same app, with a scope that is still theirs. A token that was renewed, and a
// consent that was given anew, see it; nobody else learns that it exists.
func (g *Gateway) taskOf(ctx context.Context, ex *exchange, method, id string) (t tasks.Task, err error) {
	p := ex.principal
	if _, err := g.polls.Spend(ctx, limits.Call{ID: newCallID(), Tenant: ex.tenant.ID, TenantName: ex.tenant.Name, User: p.User, Grant: p.Grant, Op: method, Name: method, Part: limits.Arrival}); err != nil {
		return t, rpcError(fault.Of(err), "")
	}
	if !tasks.ValidID(id) {
		return t, errNoTask()
	}
	t, err = g.cfg.Tasks.Store.Task(ctx, ex.tenant.ID, id)
	switch {
	case fault.HasCode(err, fault.NotFound):
		return t, errNoTask()
	case err != nil:
		return t, rpcError(fault.Of(err), "")
	case t.At() != ex.hosted.Server.ID || t.User != p.User || t.Client != p.Client || p.Grant == "" || t.State.Ended() && !g.now().Before(t.ExpiresAt):
		return t, errNoTask()
	}
	c := taskCall(&t)
	c.ex, c.op = ex, runtime.CallTool
	if err := g.allow(ctx, c); err != nil {
		f := fault.Of(err)
		if f.Code.Category == fault.Access && f.Code != fault.SwitchedOff {
			ex.missing.Store(nil) // nothing to ask for: there is no such task
			return t, errNoTask()
		}
		return t, rpcError(f, "")
	}
	return t, nil
}

func (g *Gateway) getTask(ctx context.Context, ex *exchange, p *taskParams) (mcp.Result, error) {
	t, err := g.taskOf(ctx, ex, "tasks/get", p.TaskID)
	if err != nil {
		return nil, err
	}
	res, err := g.showTask(ctx, &t)
	if err != nil {
		return nil, rpcError(fault.Of(err), t.CallID)
	}
	return res, nil
}

// showTask is a task as its caller sees it.
func (g *Gateway) showTask(ctx context.Context, t *tasks.Task) (*taskResult, error) {
	r := &taskResult{
		ResultType: "complete", TaskID: t.ID, Status: "working", StatusMessage: statusOf(t), CreatedAt: t.CreatedAt.UTC(), LastUpdatedAt: t.UpdatedAt.UTC(),
		TTLMs: t.ExpiresAt.Sub(t.CreatedAt).Milliseconds(), PollIntervalMs: pollInterval(g.now().Sub(t.CreatedAt)).Milliseconds(),
	}
	open := func(place string, sealed []byte) ([]byte, error) {
		return g.cfg.Sealer.Open(ctx, t.Tenant, place, sealed)
	}
	switch t.State {
	case tasks.Queued, tasks.Running:
	case tasks.Asking:
		if len(t.Questions) == 0 { // answered in this moment
			break
		}
		r.Status, r.InputRequests = string(t.State), map[string]inputRequest{}
		for _, q := range t.Questions {
			plain, err := open(t.SealedQuestion(q.Key), q.Sealed)
			if err != nil {
				return nil, err
			}
			var asked runtime.Question
			if err := json.Unmarshal(plain, &asked); err != nil {
				return nil, err
			}
			r.InputRequests[q.Key] = inputRequest{asked.Method, asked.Params}
		}
	default:
		r.Status, r.PollIntervalMs = string(t.State), 0
		if t.State == tasks.Cancelled {
			break
		}
		plain, err := open(t.SealedResult(), t.Result)
		if err != nil {
			return nil, err
		}
		if r.Result = plain; t.State == tasks.Failed {
			r.Result, r.Error = nil, plain
		}
	}
	return r, nil
}

// statusOf is what a person may read of a task.
func statusOf(t *tasks.Task) string {
	switch {
	case t.CancelAsked && !t.State.Ended():
		return "It is being cancelled."
	case t.State == tasks.Queued && t.Runs > 0:
		return "Its worker was lost; it waits to be run again."
	case t.State == tasks.Queued:
		return "It waits for a worker."
	case t.State == tasks.Asking:
		return "It waits for an answer of yours."
	case t.State == tasks.Running && t.Runs > 1:
		return fmt.Sprintf("Run %d of at most %d. %s", t.Runs, tasks.MaxRuns, t.Message)
	}
	return t.Message
}

// pollInterval grows with a task's age: a tenth of it, from one to ten seconds.
func pollInterval(age time.Duration) time.Duration {
	return min(max(age/10, time.Second), 10*time.Second).Round(100 * time.Millisecond)
}

// cancelTask signals that the caller wants no more of it. What runs is told to
// stop, and may end otherwise all the same.
func (g *Gateway) cancelTask(ctx context.Context, ex *exchange, p *taskParams) (mcp.Result, error) {
	t, err := g.taskOf(ctx, ex, "tasks/cancel", p.TaskID)
	if err != nil {
		return nil, err
	}
	if !t.State.Ended() {
		if _, err := g.cfg.Tasks.Store.CancelTask(ctx, t.Tenant, t.ID, "", g.now()); err != nil {
			return nil, rpcError(fault.Of(err), "")
		}
	}
	return g.acknowledge(ctx, ex, &t, "tasks/cancel")
}

// updateTask gives answers to what a task asks. Those to nothing that is open are
// ignored, as the extension wants it.
func (g *Gateway) updateTask(ctx context.Context, ex *exchange, p *taskParams) (mcp.Result, error) {
	if err := boundedAnswers(p.InputResponses); err != nil {
		return nil, rpcError(err, "")
	}
	t, err := g.taskOf(ctx, ex, "tasks/update", p.TaskID)
	if err != nil {
		return nil, err
	}
	var answers []tasks.Answer
	for key, answer := range p.InputResponses {
		if !slices.ContainsFunc(t.Questions, func(q tasks.Question) bool { return q.Key == key }) {
			continue
		}
		sealed, err := g.cfg.Sealer.Seal(ctx, t.Tenant, t.SealedAnswer(key), answer)
		if err != nil {
			return nil, rpcError(fault.Of(err), "")
		}
		answers = append(answers, tasks.Answer{Key: key, Sealed: sealed})
	}
	if len(answers) > 0 {
		if _, err := g.cfg.Tasks.Store.AnswerTask(ctx, t.Tenant, t.ID, answers, g.now()); err != nil {
			return nil, rpcError(fault.Of(err), "")
		}
	}
	return g.acknowledge(ctx, ex, &t, "tasks/update")
}

func boundedAnswers(all map[string]json.RawMessage) *fault.Error {
	if len(all) > tasks.MaxQuestions {
		return fault.New(fault.InvalidArguments, "inputResponses may have %d entries. Send less at once.", tasks.MaxQuestions)
	}
	for key, answer := range all {
		if len(answer) > tasks.MaxQuestion || len(answer) == 0 || answer[0] != '{' {
			return fault.New(fault.InvalidArguments, "An answer must be an object of at most %d KB.", tasks.MaxQuestion>>10).
				WithDetails(fault.Detail{Pointer: pointer([]string{"inputResponses", oneLine(key, 40)}), Reason: "it is none, or larger", Fix: "send the result of the request that is asked"})
		}
	}
	return nil
}

// acknowledge puts on record that somebody changed a task, before they are told.
func (g *Gateway) acknowledge(ctx context.Context, ex *exchange, t *tasks.Task, method string) (mcp.Result, error) {
	c := taskCall(t)
	c.ex, c.id, c.op, c.risk, c.began, c.notes = ex, newCallID(), runtime.Op(method), registry.Reads, time.Now(), audit.Notes{audit.NoteTask: t.ID}
	if err := g.add(ctx, c.event(audit.Outcome, audit.Done)); err != nil {
		return nil, rpcError(fault.Of(err), "")
	}
	return &taskAck{ResultType: "complete"}, nil
}
