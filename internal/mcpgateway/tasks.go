package mcpgateway

import (
	"context"
	"encoding/json"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/limits"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

// A call of a tool that may run as a task, by a client that declares the
// extension io.modelcontextprotocol/tasks (2026-07-28, SEP-2663) on the request,
// is answered with a handle as soon as the task is durable. It has been through
// every step that could refuse it; tasks_run.go takes it from there, on whatever
// edge has a place. The extension is not defined for older revisions of MCP:
// their clients wait for the answer, as do those that declare nothing.

// Tasks is what tasks are made of. Without a store there are none, and what runs
// as a task only cannot be called.
type Tasks struct {
	Store tasks.Store
	// Tenant finds one by its slug, and GrantActive says whether a consent stands:
	// both are asked before a task runs, and while it does.
	Tenant      func(ctx context.Context, slug string) (tenants.Tenant, error)
	GrantActive func(ctx context.Context, t tenants.ID, grant string) (bool, error)
	Slots       int           // tasks at once on this edge; 0: 32
	Lease       time.Duration // after which a silent runner has lost its task; 0: 20 s
	Drain       time.Duration // for tasks that may not run again, when the edge stops; 0: 15 s
	// Observe hears of every end.
	Observe func(t tasks.Task, e tasks.End)
}

// extTasks names the extension.
const extTasks = "io.modelcontextprotocol/tasks"

// metaTask is where a tool in a list says that it may, or only, runs as a task.
// The extension leaves it to the server, so that this is a hint for people.
const metaTask = "latchkey/task"

// capabilities are those that the SDK does not find out by itself.
func (g *Gateway) capabilities(def *registry.Definition) *mcp.ServerCapabilities {
	c := &mcp.ServerCapabilities{}
	if def.Logging {
		c.Logging = &mcp.LoggingCapabilities{}
	}
	if g.cfg.Tasks.Store == nil {
		return c
	}
	for i := range def.Tools {
		if def.Tools[i].TaskMode() != registry.TaskForbidden {
			c.AddExtension(extTasks, nil)
			break
		}
	}
	return c
}

// taskOffer is what a tools/call says of tasks, and what it is answered where
// that is no tool result.
type taskOffer struct {
	declared bool
	handle   *taskResult
	err      error
}

type taskOfferKey struct{}

// offerTasks lets a call be answered with a task. A handler of a tool can only
// give a tool result, so that the answer is put in its place here.
func (g *Gateway) offerTasks(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		switch method {
		case "tools/call":
			call, ok := req.(*mcp.CallToolRequest)
			if !ok {
				break
			}
			o := &taskOffer{declared: declaresTasks(call.Params.Meta)}
			res, err := next(context.WithValue(ctx, taskOfferKey{}, o), method, req)
			switch {
			case err != nil:
			case o.err != nil:
				return nil, o.err
			case o.handle != nil:
				return o.handle, nil
			}
			return res, err
		case "tasks/get", "tasks/update", "tasks/cancel":
			ctx = context.WithValue(ctx, taskCallerKey{}, exchangeOf(req.GetExtra().TokenInfo))
		}
		return next(ctx, method, req)
	}
}

// declaresTasks reports whether this very request declares the extension: what
// was declared on another one, or in an older revision's initialize, counts for
// nothing.
func declaresTasks(m mcp.Meta) bool {
	if version, _ := m[mcp.MetaKeyProtocolVersion].(string); version < modern {
		return false
	}
	all, _ := m[mcp.MetaKeyClientCapabilities].(map[string]any)
	extensions, _ := all["extensions"].(map[string]any)
	settings, declared := extensions[extTasks]
	return declared && settings != nil
}

// asTask makes a tool's call a task, or refuses it for want of one; nil leaves it
// to run at once. What the handle stands for is in the request's offer.
func (g *Gateway) asTask(ctx context.Context, c *call, req *mcp.CallToolRequest) *mcp.CallToolResult {
	o, _ := ctx.Value(taskOfferKey{}).(*taskOffer)
	mode, declared := c.tool.TaskMode(), o != nil && o.declared
	switch {
	case mode == registry.TaskRequired && (!declared || g.cfg.Tasks.Store == nil):
		err := g.recordRefusal(ctx, c, taskNeeded(c.called()))
		if o != nil && fault.HasCode(err, fault.TaskNeeded) {
			o.err = missingCapability(fault.Of(err), c.id)
		}
		return toolError(fault.Of(err), c.id)
	case mode == registry.TaskForbidden || !declared || g.cfg.Tasks.Store == nil || c.ex.principal.Grant == "":
		return nil
	}
	t, res, err := g.queue(ctx, c, asksOf(req))
	if t != nil {
		if o.handle, err = g.showTask(ctx, t); err == nil {
			o.handle.ResultType = "task"
			o.handle.Result, o.handle.Error, o.handle.InputRequests = nil, nil, nil // tasks/get has them
			return &mcp.CallToolResult{}                                            // nobody sees it
		}
	}
	if fault.HasCode(err, fault.ConfirmationNeeded) && canAsk(ctx, req, c.ex) {
		return c.pending.question(ctx)
	}
	return c.marked(g.replyTool(c, res, err))
}

func taskNeeded(tool string) *fault.Error {
	return fault.New(fault.TaskNeeded, "%s takes long and runs as a task only. Nothing was done. Use a client that declares the MCP extension %s, or ask your administrator for a tool that answers at once.", tool, extTasks)
}

// asksOf are the requests that a client says it can be put while a task runs.
func asksOf(req *mcp.CallToolRequest) (methods []string) {
	caps := req.ClientCapabilities()
	if caps == nil {
		return nil
	}
	if caps.Elicitation != nil {
		methods = append(methods, "elicitation/create")
	}
	if caps.Sampling != nil {
		methods = append(methods, "sampling/createMessage")
	}
	if caps.RootsV2 != nil {
		methods = append(methods, "roots/list")
	}
	return methods
}

// queue takes a call through the steps that may refuse it and makes it a task. A
// repeat gets the task of before; of one that was no task, what came of it.
func (g *Gateway) queue(ctx context.Context, c *call, asks []string) (*tasks.Task, *runtime.Result, error) {
	ctx, end := g.begin(ctx, c)
	defer end()
	c.part = limits.Arrival // it takes a place when it runs
	release, err := g.permit(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	if err := c.stopBeforeDispatch(ctx, nil); err != nil {
		return nil, nil, g.recordRefusal(ctx, c, err)
	}
	t, id, claim, err := g.newTask(ctx, c, asks)
	if err != nil {
		return nil, nil, g.recordRefusal(ctx, c, err)
	}
	c.note(audit.NoteTask, t.ID)
	if err := g.add(ctx, c.event(audit.Intent, audit.Pending)); err != nil { // step 8: before it can begin
		return nil, nil, err
	}
	was, taken, err := g.cfg.Tasks.Store.CreateTask(context.WithoutCancel(ctx), t, claim, tasks.Bounds{PerTool: c.tool.Task.AtOnce()})
	switch {
	case err != nil:
		_, err = g.recordOutcome(ctx, c, nil, err)
		return nil, nil, err
	case taken:
		return &t, nil, nil
	}
	return g.queuedBefore(ctx, c, id, was)
}

// newTask is the call as it is stored. What reads is known by a name only where
// its caller gives it one.
func (g *Gateway) newTask(ctx context.Context, c *call, asks []string) (t tasks.Task, id identity, claim *idempotency.Claim, err error) {
	p, now := c.ex.principal, g.now().UTC().Truncate(time.Microsecond)
	t = tasks.Task{
		ID: tasks.NewID(), Tenant: c.ex.tenant.ID, TenantSlug: c.ex.tenant.Slug, Server: c.host().Server.ID, ServerSlug: c.host().Server.Slug,
		User: p.User, Client: p.Client, Grant: p.Grant, Tool: c.name, Scope: c.scope, Revision: c.revision.ID, Definition: c.hash, Risk: c.risk,
		CallID: c.id, Trace: c.trace, Notes: c.notes.Text(), Repeatable: c.repeat, Timeout: runTimeout(c), TTL: c.tool.Task.KeepFor(),
		Asks: asks, Upstream: c.key, State: tasks.Queued, CreatedAt: now, UpdatedAt: now,
	}
	if c.via != nil {
		t.Through = &tasks.Through{Server: c.ex.hosted.Server.ID, Slug: c.ex.hosted.Server.Slug, Tool: c.via.name}
	}
	t.Deadline = now.Add(tasks.Patience + t.Timeout)
	t.ExpiresAt = t.Deadline.Add(t.TTL)
	if t.Input, err = g.cfg.Sealer.Seal(ctx, t.Tenant, t.SealedInput(), c.input); err != nil {
		return t, id, nil, err
	}
	if c.risk == registry.Reads && c.givenKey == "" || g.cfg.Once.Store == nil {
		return t, id, nil, nil
	}
	if id, err = identify(c); err != nil {
		return t, id, nil, err
	}
	t.Name, t.Request, t.Upstream = &id.CallName, id.request, id.upstream
	return t, id, &idempotency.Claim{
		CallID: c.id, Tool: c.name, Request: id.request, Upstream: id.upstream, Again: c.repeat, Now: now, RunsUntil: t.Deadline.Add(onceGrace + tasksGrace), Keep: c.safety().Idempotency.KeepFor(),
	}, nil
}

// runTimeout bounds one run: a tool may say that it takes longer than a call may.
func runTimeout(c *call) time.Duration {
	return min(c.tool.Task.RunTimeout(max(c.timeout, c.tool.Timeout)), registry.MaxTaskTimeout)
}

// tasksGrace is what the end of a task may take beyond its deadline: a runner
// that died, and the next one's look.
const tasksGrace = 2 * time.Minute

// queuedBefore answers a call whose name is another's.
func (g *Gateway) queuedBefore(ctx context.Context, c *call, id identity, was idempotency.Call) (*tasks.Task, *runtime.Result, error) {
	if was.Request != id.request {
		return nil, nil, g.recordRefusal(ctx, c, keyReused(c, was.Tool))
	}
	t, err := g.cfg.Tasks.Store.TaskOfCall(ctx, c.ex.tenant.ID, was.ID)
	switch {
	case err == nil && t.Client == c.ex.principal.Client && t.At() == c.ex.hosted.Server.ID:
		c.replayOf = was.ID
		c.note(audit.NoteReplayOf, was.ID)
		c.note(audit.NoteTask, t.ID)
		if err := g.add(ctx, c.event(audit.Outcome, audit.Done)); err != nil {
			return nil, nil, err
		}
		return &t, nil, nil
	case err != nil && !fault.HasCode(err, fault.NotFound):
		_, err = g.recordOutcome(ctx, c, nil, err)
		return nil, nil, err
	}
	// It was no task, or one of another app or URL: who asks waits for what came of it.
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := g.once(ctx, c, func(ctx context.Context) (*runtime.Result, error) {
		return g.recordOutcome(ctx, c, nil, fault.New(fault.Busy, "The same call of before has just come to nothing. Call again.").After(time.Second))
	})
	return nil, res, err
}

// taskCall is a task as a call, with what the record needs of it and no more.
func taskCall(t *tasks.Task) *call {
	ex := &exchange{tenant: tenants.Tenant{ID: t.Tenant, Slug: t.TenantSlug}}
	ex.hosted.Server.ID, ex.hosted.Server.Slug, ex.hosted.Server.Tenant = t.Server, t.ServerSlug, t.Tenant
	ex.principal.Tenant, ex.principal.User, ex.principal.Client, ex.principal.Grant = t.Tenant, t.User, t.Client, t.Grant
	ex.principal.Scopes = []string{t.Scope} // the token's, when it was made
	c := &call{
		ex: ex, id: t.CallID, op: runtime.CallTool, name: t.Tool, scope: t.Scope, hash: t.Definition, risk: t.Risk, repeat: t.Repeatable, timeout: t.Timeout,
		key: t.Upstream, trace: t.Trace, began: t.CreatedAt, notes: audit.ParseNotes(t.Notes), progress: func(float64, float64, string) {},
	}
	c.revision.ID = t.Revision
	if v := t.Through; v != nil {
		c.via = &via{hosted: ex.hosted, name: v.Tool}
		ex.hosted = registry.Hosted{Server: registry.Server{ID: v.Server, Slug: v.Slug, Tenant: t.Tenant}}
	}
	c.note(audit.NoteTask, t.ID)
	return c
}

// identityOf is the name of a task's call.
func identityOf(t *tasks.Task) (id identity) {
	id.tenant, id.CallName, id.request, id.upstream = t.Tenant, *t.Name, t.Request, t.Upstream
	return id
}

// plainJSON is a message as a client gets it.
func plainJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // of our own types: it does not happen
		b = []byte(`{}`)
	}
	return b
}
