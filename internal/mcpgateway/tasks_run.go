package mcpgateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

// Each edge runs tasks of all tenants: it claims one that is due, takes its call
// through dispatch with a grant of its own, and ends it. Whoever claims a task
// holds it for a lease, and renews that. A runner that is gone loses it, and the
// next one finds it as the store has it: run again where a repeat does no harm,
// else ended as unknown. Only the runner that holds a task ends it, so that
// cancelling, too, is a word to it.

// taskRunner is the part of an edge that runs tasks.
type taskRunner struct {
	g     *Gateway
	owner string
	lease time.Duration
	drain time.Duration
	slots chan struct{}
	wake  chan struct{}
	under sync.WaitGroup // tasks that are handled
	mu    sync.Mutex
	live  map[string]*liveTask // by id
}

const (
	taskSlots = 32
	taskLease = 20 * time.Second
	taskDrain = 15 * time.Second
	// taskPoll is how often a runner looks by itself; a new task wakes it.
	taskPoll = 2 * time.Second
)

func newTaskRunner(g *Gateway) *taskRunner {
	t := &g.cfg.Tasks
	if t.Store == nil {
		return nil
	}
	if t.Observe == nil {
		t.Observe = func(tasks.Task, tasks.End) {}
	}
	r := &taskRunner{
		g: g, owner: "edge-" + strings.ToLower(rand.Text()), lease: orDefault(t.Lease, taskLease), drain: orDefault(t.Drain, taskDrain),
		slots: make(chan struct{}, orDefault(t.Slots, taskSlots)), wake: make(chan struct{}, 1), live: map[string]*liveTask{},
	}
	return r
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// TaskChanged is to be called when a task was made, or one is to hear something:
// an answer, or that it is to end. With an empty id, when that may have been
// missed. It does not wait.
func (g *Gateway) TaskChanged(id string) {
	r := g.tasks
	if r == nil {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.live {
		if id == "" || l.t.ID == id {
			l.poke()
		}
	}
}

// RunTasks runs tasks until ctx ends. Those that may run again are then given
// back, and others have the time of Drain.
func (g *Gateway) RunTasks(ctx context.Context) {
	if r := g.tasks; r != nil {
		r.run(ctx)
	}
}

func (r *taskRunner) run(ctx context.Context) {
	ongoing, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	tick := time.NewTicker(taskPoll)
	defer tick.Stop()
	for ctx.Err() == nil {
		for ctx.Err() == nil && r.next(ctx, ongoing) {
		}
		select {
		case <-r.wake:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	r.giveBack()
	ended := make(chan struct{})
	go func() { r.under.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(r.drain):
		stop(errEdgeStops)
		<-ended
	}
}

// giveBack stops what another edge can run from the beginning.
func (r *taskRunner) giveBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.live {
		if l.t.Repeatable {
			l.cancel(errEdgeStops)
		}
	}
}

// next takes one task that is due. Without a free place it takes only one that
// is to end.
func (r *taskRunner) next(ctx, ongoing context.Context) bool {
	free := false
	select {
	case r.slots <- struct{}{}:
		free = true
	default:
	}
	release := func() {
		if free {
			<-r.slots
		}
	}
	t, ok, err := r.g.cfg.Tasks.Store.ClaimTask(ctx, r.owner, r.lease, !free)
	if err != nil || !ok {
		release()
		if err != nil && ctx.Err() == nil {
			r.g.cfg.Log.ErrorContext(ctx, "tasks", "error", err)
		}
		return false
	}
	r.under.Go(func() {
		defer r.look() // there may be one that waited for this place
		defer release()
		r.handle(ongoing, &t)
	})
	return true
}

func (r *taskRunner) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// handle does what is to be done with a claimed task. What goes wrong here leaves
// it to the next claim.
func (r *taskRunner) handle(ctx context.Context, t *tasks.Task) {
	l := r.begin(ctx, t)
	defer l.close()
	defer func() {
		if p := recover(); p != nil {
			r.g.cfg.Log.ErrorContext(ctx, "panic in a task", "task", t.ID, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	switch t.Next(r.g.now()) {
	case tasks.Cancel:
		l.end(nil, nil, tasks.Cancelled)
	case tasks.Late:
		l.end(nil, fault.New(fault.DeadlineExceeded, "No worker was free for it within %s. Nothing was done. Call again.", tasks.Patience), tasks.Failed)
	case tasks.Lost:
		l.end(nil, lostFor(t), tasks.Failed)
	case tasks.Run:
		l.attempt()
	}
}

// lostFor is the end of a task whose run was lost and that does not run again.
func lostFor(t *tasks.Task) error {
	if t.InDoubt() && !t.Repeatable {
		return fault.New(fault.OutcomeUnknown, "Whoever ran this task was lost, and it is not known whether %s took effect. It was not run again: check before you repeat it.", t.Called())
	}
	if t.InDoubt() {
		return fault.New(fault.OutcomeUnknown, "This task was run %d times and lost each time. It may have taken effect; a repeat with the same arguments and key changes nothing more.", t.Runs)
	}
	return fault.New(fault.WorkerLost, "This task was run %d times and lost each time. It changes nothing: call again.", t.Runs).After(time.Minute)
}

// Causes of a run's end that are not its own.
var (
	errEdgeStops   = errors.New("the edge stops")
	errTaskLost    = errors.New("the task is somebody else's by now")
	errCancelAsked = errors.New("the task is to be cancelled")
)

// withdrawn is that who made the task may not have it done any more.
type withdrawn struct{ fault *fault.Error }

func (w withdrawn) Error() string { return "withdrawn: " + w.fault.Message }

// prepare finds everything that the call needs as it is now, and holds it against
// what was allowed when the task was made: nothing of it may have gone.
func (g *Gateway) prepare(ctx context.Context, t *tasks.Task) (*call, error) {
	c := taskCall(t)
	tenant, err := g.tenantOf(ctx, t)
	if err != nil {
		return c, err
	}
	h, err := g.cfg.Registry.Hosted(ctx, t.Tenant, c.ex.hosted.Server.Slug)
	if err == nil && h.Server.ID != t.At() {
		err = fault.New(fault.NotFound, "The server is gone.")
	}
	if err != nil {
		return c, err
	}
	c.ex.tenant, c.ex.hosted = tenant, h
	built := g.servers.complete(h).tools[t.Called()]
	if built == nil {
		return c, changedSince(t)
	}
	full, err := g.toolCall(ctx, c.ex, built, nil, h.Revision.Definition.Search)
	if err != nil {
		return c, err
	}
	if full.hash != t.Definition || full.host().Server.ID != t.Server || full.name != t.Tool {
		return c, changedSince(t)
	}
	input, err := g.cfg.Sealer.Open(ctx, t.Tenant, t.SealedInput(), t.Input)
	if err != nil {
		return c, fault.New(fault.StoreAway, "What the task was asked cannot be read at the moment.").Because(err)
	}
	full.with(input)
	for k, v := range full.notes {
		c.note(k, v)
	}
	full.id, full.key, full.trace, full.began, full.notes, full.progress = c.id, c.key, c.trace, c.began, c.notes, c.progress
	return full, nil
}

// tenantOf finds a task's tenant, which must not be suspended.
func (g *Gateway) tenantOf(ctx context.Context, t *tasks.Task) (tenants.Tenant, error) {
	tenant, err := g.cfg.Tasks.Tenant(ctx, t.TenantSlug)
	if err == nil && tenant.Suspended {
		err = fault.New(fault.SwitchedOff, "This tenant is suspended.")
	}
	return tenant, err
}

func changedSince(t *tasks.Task) error {
	return fault.New(fault.DefinitionChanged, "%s was changed or removed after this task was made, and it was not run as another tool than was asked for. List the tools again and call anew.", t.Called())
}

// stillWanted says whether who made the task may have it done now: the consent
// stands, the person is there, and their roles open the scope. What switches stop
// reaches the call by itself.
func (g *Gateway) stillWanted(ctx context.Context, t *tasks.Task, c *call) error {
	if _, err := g.tenantOf(ctx, t); err != nil {
		return err
	}
	active, err := g.cfg.Tasks.GrantActive(ctx, t.Tenant, t.Grant)
	if err != nil {
		return err
	}
	if !active {
		return fault.New(fault.Unauthenticated, "The access that this task was made with was revoked or has run out.")
	}
	return g.mayStill(ctx, c)
}

// later reports whether a failure will pass by itself, and after which time to
// look again. It is for failures after which certainly nothing was done.
func later(f *fault.Error, attempt int) (after time.Duration, yes bool) {
	after = max(f.RetryAfter, min(time.Second<<min(max(attempt-1, 0), 5), 30*time.Second))
	switch f.Code {
	case fault.Busy, fault.NoWorker, fault.StoreAway, fault.LimitReached:
		return after, true
	case fault.CredentialsAway, fault.WorkerLost: // may be for good
		return after, attempt < 8
	}
	return 0, false
}

// clipped is a message of an upstream as it stands in a task.
func clipped(done, total float64, message string) string {
	if message = oneLine(message, tasks.MaxMessage); message != "" {
		return message
	}
	if total > 0 {
		return fmt.Sprintf("%.3g of %.3g", done, total)
	}
	return fmt.Sprintf("%.3g", done)
}

// effects reports whether a call of the task has any.
func effects(t *tasks.Task) bool { return t.Risk != registry.Reads }
