package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/limits"
	"latchkey/internal/runtime"
	"latchkey/internal/tasks"
)

// liveTask is a task that this edge holds.
type liveTask struct {
	r      *taskRunner
	t      *tasks.Task
	c      *call
	ctx    context.Context // ends with the run
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the keeper
	kept   sync.WaitGroup
	asked  atomic.Int32

	mu      sync.Mutex
	message string
	news    chan struct{} // closed at the next news, and made anew
}

// begin holds a claimed task until close.
func (r *taskRunner) begin(ctx context.Context, t *tasks.Task) *liveTask {
	l := &liveTask{r: r, t: t, c: taskCall(t), news: make(chan struct{}), message: t.Message}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	r.mu.Lock()
	r.live[t.ID] = l
	r.mu.Unlock()
	l.kept.Go(func() { l.keep(keeping) })
	return l
}

func (l *liveTask) close() {
	l.stop()
	l.kept.Wait()
	l.cancel(nil)
	l.r.mu.Lock()
	delete(l.r.live, l.t.ID)
	l.r.mu.Unlock()
}

// poke tells those who wait for something of the task to look.
func (l *liveTask) poke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.news)
	l.news = make(chan struct{})
}

func (l *liveTask) heard() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

// keep renews the lease, passes on how far the task is, and stops it when it is
// to be stopped. Who cannot renew it stops in time for the next one.
func (l *liveTask) keep(ctx context.Context) {
	r, last := l.r, time.Now()
	tick := time.NewTicker(r.lease / 8)
	defer tick.Stop()
	for {
		news := l.heard()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-news:
		}
		l.mu.Lock()
		message := l.message
		l.mu.Unlock()
		now := time.Now()
		seen, err := r.g.cfg.Tasks.Store.KeepTask(ctx, l.t, r.lease, message)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			last = now
		case fault.HasCode(err, fault.Conflict) || time.Since(last) > r.lease*3/4:
			l.cancel(errTaskLost)
			return
		}
		if seen.CancelAsked {
			l.cancel(errCancelAsked)
		}
		if err := r.g.stillWanted(ctx, l.t, taskCall(l.t)); err != nil && final(err) {
			l.cancel(withdrawn{fault.Of(err)})
		}
	}
}

// final tells a refusal from a store that is away.
func final(err error) bool {
	c := fault.Of(err).Code.Category
	return c == fault.Access || c == fault.Validation
}

// attempt is one run.
func (l *liveTask) attempt() {
	g, t := l.r.g, l.t
	c, err := g.prepare(l.ctx, t)
	l.c = c
	c.attempt, c.part, c.progress, c.ask, c.can = t.Attempt, limits.Place, l.progress, l.ask, askableBy(t.Asks)
	ctx, end := g.begin(l.ctx, c) // a kill switch reaches it from here on
	defer end()
	if err == nil {
		err = l.admit(ctx)
	}
	if err != nil {
		l.settle(ctx, nil, err)
		return
	}
	release, err := g.spend(ctx, c)
	if err != nil {
		l.settle(ctx, nil, err)
		return
	}
	defer release()
	if err := g.cfg.Tasks.Store.BeginTask(ctx, t, l.r.lease); err != nil {
		l.settle(ctx, nil, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(t.Timeout, t.Deadline.Sub(g.now())))
	defer cancel()
	res, err := g.dispatch(ctx, c) // steps 9-13
	l.settle(ctx, res, err)
}

// admit is what a run is asked again of the steps that its call went through:
// time has passed.
func (l *liveTask) admit(ctx context.Context) error {
	if err := l.r.g.stillWanted(ctx, l.t, l.c); err != nil {
		return err
	}
	if err := l.r.g.allow(ctx, l.c); err != nil {
		return err
	}
	if l.c.retired != nil {
		return l.c.retired
	}
	if err := l.c.check(l.c.input); err != nil {
		return err
	}
	return l.r.g.accounted(ctx, l.c)
}

// progress is kept for tasks/get. The keeper writes it, so that an upstream that
// reports a thousand times a second costs no more than one that reports once.
func (l *liveTask) progress(done, total float64, message string) {
	text := clipped(done, total, message)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.message = text
}

// settle decides what comes of a run.
func (l *liveTask) settle(ctx context.Context, res *runtime.Result, err error) {
	t, c := l.t, l.c
	begun := t.Begun && (c.outcome.Started || err == nil)
	doubt := effects(t) && (t.Started || err != nil && t.Begun && mayHaveRun(c, err))
	cause := context.Cause(ctx)
	var gone withdrawn
	switch {
	case errors.Is(cause, errTaskLost) || err != nil && !t.Begun && fault.HasCode(err, fault.Conflict):
		return // it is somebody else's to end
	case err == nil:
		l.end(res, nil, tasks.Completed)
	case errors.Is(cause, errCancelAsked):
		l.end(nil, err, tasks.Cancelled)
	case errors.As(cause, &gone):
		l.end(nil, unlessUnknown(t, gone.fault, doubt), tasks.Failed)
	case errors.Is(cause, errEdgeStops) && (!begun || t.Repeatable):
		l.putBack(0, !begun)
	default:
		f := fault.Of(err)
		if after, yes := later(f, t.Attempt); yes && !begun {
			l.putBack(after, true)
		} else if t.Repeatable && begun && lostRun(f) && t.Runs < tasks.MaxRuns {
			l.putBack(time.Second, false)
		} else if t.Repeatable && begun && lostRun(f) {
			t.Started = true
			l.end(nil, lostFor(t), tasks.Failed)
		} else {
			l.end(nil, unlessUnknown(t, f, doubt), tasks.Failed)
		}
	}
}

// lostRun are ends of a run that nobody saw.
func lostRun(f *fault.Error) bool {
	return f.Code == fault.WorkerLost || f.Code == fault.OutcomeUnknown || f.Code == fault.ServerCrashed
}

// unlessUnknown says of a failure that an earlier run may have taken effect.
func unlessUnknown(t *tasks.Task, f *fault.Error, doubt bool) error {
	if !doubt || f.Code == fault.OutcomeUnknown {
		return f
	}
	return fault.New(fault.OutcomeUnknown, "%s It is not known whether %s took effect: check before you repeat it.", f.Message, t.Called()).Because(f)
}

// persist tries until it is done, or the task is somebody else's.
func (l *liveTask) persist(what string, do func(ctx context.Context) error) bool {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), recordGrace)
		err := do(ctx)
		cancel()
		if err == nil {
			return true
		}
		l.r.g.cfg.Log.Error("a task could not be settled", "task", l.t.ID, "step", what, "error", err)
		if fault.HasCode(err, fault.Conflict) || errors.Is(context.Cause(l.ctx), errTaskLost) || errors.Is(context.Cause(l.ctx), errEdgeStops) {
			return false
		}
		<-time.After(wait)
	}
}

func (l *liveTask) putBack(after time.Duration, clean bool) {
	if l.persist("put back", func(ctx context.Context) error { return l.r.g.cfg.Tasks.Store.PutBack(ctx, l.t, after, clean) }) && after > 0 {
		time.AfterFunc(after+10*time.Millisecond, l.r.look)
	}
}

// end records the outcome (step 14), then ends the task: nothing of it is given
// out before it is on record.
func (l *liveTask) end(res *runtime.Result, err error, state tasks.State) {
	g, t, c := l.r.g, l.t, l.c
	e := tasks.End{State: state, Name: idempotency.End{State: idempotency.Free}}
	switch {
	case state == tasks.Cancelled:
		e.Message, e.Code = "It was cancelled before it began.", fault.Cancelled.Name
		e.Unknown = t.InDoubt() || effects(t) && t.Begun && err != nil && mayHaveRun(c, err)
		err = fault.New(fault.Cancelled, "The task was cancelled before it began.")
		switch {
		case e.Unknown:
			e.Message = "It was cancelled while it ran, and it is not known whether it took effect."
			err = fault.New(fault.OutcomeUnknown, "The task was cancelled while it ran.")
		case t.Begun:
			e.Message = "It was cancelled. Nothing was done."
		}
		if t.CancelledBy != "" {
			e.Message += " An administrator did it."
		}
	case err != nil:
		f := fault.Of(err)
		e.Unknown = effects(t) && (f.Code == fault.OutcomeUnknown || t.InDoubt())
		e.Code, e.Message = f.Code.Name, oneLine(f.Message, 900)
		e.Result = plainJSON(rpcErrorOf(f, c.id))
	default:
		e.Message = "It is done."
		out := c.marked(g.replyTool(c, res, nil))
		if out.IsError {
			e.Message, e.Code = "The tool reported a failure.", fault.ToolFailed.Name
		}
		e.Result = boundedResult(out, c.id)
	}
	e.At = g.now().UTC().Truncate(time.Microsecond)
	if e.Unknown {
		e.Name.State = idempotency.Unknown
	} else if state == tasks.Completed || e.Code == fault.ResultTooLarge.Name {
		e.Name.State = idempotency.Done
	}
	record := c.ended(res, err)
	if !l.persist("record", func(ctx context.Context) error { return g.add(ctx, record) }) {
		return
	}
	if !l.persist("end", func(ctx context.Context) error { return l.seal(ctx, &e, res, err) }) {
		return
	}
	if e.Unknown {
		g.raiseUnknown(l.ctx, c, c.id, "The outcome of a task of a tool with effects is unknown.")
	}
	g.cfg.Tasks.Observe(*t, e)
}

// seal ends the task with what came of it.
func (l *liveTask) seal(ctx context.Context, e *tasks.End, res *runtime.Result, err error) error {
	g, t, end := l.r.g, l.t, *e
	if end.Result != nil {
		sealed, err := g.cfg.Sealer.Seal(ctx, t.Tenant, t.SealedResult(), end.Result)
		if err != nil {
			return err
		}
		end.Result = sealed
	}
	end.Name.ExpiresAt = end.At.Add(l.c.safety().Idempotency.KeepFor())
	if t.Name != nil && end.Name.State == idempotency.Done && g.cfg.Once.Sealer != nil {
		k := kept{Failure: nil}
		if err != nil {
			k.Failure = fault.Of(err)
		} else {
			k.Result = shared(res)
		}
		end.Name.Sealed = g.seal(ctx, l.c, identityOf(t), k)
	}
	return g.cfg.Tasks.Store.EndTask(ctx, t, end)
}

// rpcErrorOf is a failure as it stands in a task.
func rpcErrorOf(f *fault.Error, callID string) any {
	var e *jsonrpc.Error
	if errors.As(rpcError(f, callID), &e) {
		return struct {
			Code    int64           `json:"code"`
			Message string          `json:"message"`
			Data    json.RawMessage `json:"data,omitempty"`
		}{e.Code, f.Message + " (" + advice(f) + ")", e.Data}
	}
	return struct{}{}
}

// boundedResult is a tool's result as it is kept.
func boundedResult(out *mcp.CallToolResult, callID string) []byte {
	plain := plainJSON(out)
	if len(plain) <= tasks.MaxResult {
		return plain
	}
	return plainJSON(toolError(runtime.TooLarge(len(plain), tasks.MaxResult), callID))
}

// ask puts an upstream's request to the task's caller, and waits for tasks/update
// as long as the run may take.
func (l *liveTask) ask(ctx context.Context, q runtime.Question) (json.RawMessage, error) {
	g, t := l.r.g, l.t
	if !slices.Contains(t.Asks, q.Method) {
		return nil, fault.New(fault.Unanswerable, "The server asked for %s, which this client cannot be asked for. Use a client that supports it, or call the tool so that it need not ask.", oneLine(q.Method, 60))
	}
	fit, err := l.c.prepare(q) // bounded, cleaned, and with the name of who asks
	if err != nil {
		return nil, err
	}
	if q.Params, err = json.Marshal(fit.params); err != nil {
		return nil, err
	}
	plain := plainJSON(q)
	if len(plain) > tasks.MaxQuestion {
		return nil, fault.New(fault.Unanswerable, "The server asked for something in more than %d KB.", tasks.MaxQuestion>>10)
	}
	key := fmt.Sprintf("q%d-%d", t.Attempt, l.asked.Add(1)) // unique in the task's life
	sealed, err := g.cfg.Sealer.Seal(ctx, t.Tenant, t.SealedQuestion(key), plain)
	if err != nil {
		return nil, fault.New(fault.Unanswerable, "The question could not be kept.").Because(err)
	}
	if err := g.cfg.Tasks.Store.AskTask(ctx, t, tasks.Question{Key: key, Sealed: sealed}); err != nil {
		return nil, err
	}
	tick := time.NewTicker(taskPoll)
	defer tick.Stop()
	for {
		news := l.heard()
		sealed, ok, err := g.cfg.Tasks.Store.TakeAnswer(ctx, t, key)
		if ok {
			raw, err := g.cfg.Sealer.Open(ctx, t.Tenant, t.SealedAnswer(key), sealed)
			if err != nil {
				return nil, err
			}
			return fit.read(raw)
		}
		if fault.HasCode(err, fault.Conflict) {
			return nil, err
		}
		select {
		case <-news:
		case <-tick.C:
		case <-ctx.Done():
			back, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordGrace)
			defer cancel()
			_ = g.cfg.Tasks.Store.WithdrawQuestion(back, t, key) // else the task's end takes it back
			return nil, fault.New(fault.Unanswerable, "Nobody answered in time.").Because(ctx.Err())
		}
	}
}

// askableBy reads what a client said that it can be asked for when it made the
// task.
func askableBy(methods []string) askable {
	elicit := slices.Contains(methods, methodElicit)
	return askable{form: elicit, url: elicit, sampling: slices.Contains(methods, methodSample), roots: slices.Contains(methods, methodRoots)}
}
