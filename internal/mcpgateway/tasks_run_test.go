package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/switches"
	"latchkey/internal/tasks"
)

func (o *office) set(f func()) { o.mu.Lock(); f(); o.mu.Unlock() }

func (o *office) task(id string) tasks.Task {
	o.t.Helper()
	k, err := o.db.Task(o.t.Context(), o.tenant.ID, id)
	if err != nil {
		o.t.Fatal(err)
	}
	return k
}

// hung makes a worker that hears nothing, and forgets what it had: as one that
// was killed.
func (w *world) hung() (began <-chan *runtime.Call) {
	started := make(chan *runtime.Call, 100)
	w.answer(func(ctx context.Context, c *runtime.Call, _ DispatchOptions) (DispatchOutcome, error) {
		started <- c
		<-ctx.Done()
		return DispatchOutcome{Worker: "w1", Started: true}, fault.New(fault.Cancelled, "The call was cancelled.")
	})
	return started
}

func (w *world) last() audit.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[len(w.events)-1]
}

// abandon is a task whose edge stops while it runs.
func (o *office) abandon(tool string) string {
	o.t.Helper()
	w, stop := o.edge()
	began := w.hung()
	id := w.handle(tool, `{"id":1}`)
	<-began
	stop()
	if k := o.task(id); k.State.Ended() != !k.Repeatable {
		o.t.Fatalf("%+v", k)
	}
	return id
}

func TestTaskOfAStoppedEdgeIsRunByAnother(t *testing.T) {
	o := newOffice(t)
	id := o.abandon("export")
	w, _ := o.edge()
	got := w.ended(t, id)
	if got.Result.Status != "completed" || w.runs() != 1 {
		t.Error(got.raw)
	}
	if c := w.dispatched[0]; c.ID == o.task(id).CallID || !strings.HasPrefix(c.ID, o.task(id).CallID) {
		t.Errorf("a second run under the id of the first, %s: its grant is spent", c.ID)
	}
}

func TestTaskWithEffectsOfAStoppedEdgeIsUnknown(t *testing.T) {
	o := newOffice(t)
	id := o.abandon("pay")
	w, _ := o.edge()
	got := w.ask("tasks/get", id).Result
	if got.Status != "failed" || got.Error == nil || got.Error.Data.Code != "outcome_unknown" || got.Result != nil || w.runs() != 0 {
		t.Errorf("%+v", got)
	}
}

// A runner whose claims do not reach the store any more, as one that was killed or
// cut off, has lost its task when the lease is over; the next one finds it. What
// the first says when it comes back counts for nothing.
func TestRunnerThatLostItsLeaseIsNotHeard(t *testing.T) {
	for tool, want := range map[string]string{"export": "completed", "pay": "failed"} {
		t.Run(tool, func(t *testing.T) {
			o := newOffice(t)
			cut := &cutOff{Store: o.db}
			first, _ := o.edge(func(_ *world, c *Config) { c.Tasks.Store = cut })
			gate, began := make(chan struct{}), make(chan struct{}, 1)
			first.answer(func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) { // hears nothing
				began <- struct{}{}
				<-gate
				return DispatchOutcome{Started: true, Result: &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "from the dead"}}}}}, nil
			})
			id := first.handle(tool, `{"id":1}`)
			<-began
			cut.off.Store(true)
			second, _ := o.edge()
			got := second.ended(t, id).Result
			if got.Status != want || want == "failed" && got.Error.Data.Code != "outcome_unknown" || want == "completed" && got.Result.Content[0].Text != "ok" {
				t.Errorf("%+v", got)
			}
			cut.off.Store(false)
			close(gate)
			until(t, "the first one to let go", func() bool {
				r := first.gateway.tasks
				r.mu.Lock()
				defer r.mu.Unlock()
				return len(r.live) == 0
			})
			if k := o.task(id); string(k.State) != want || k.Attempt != 2 || len(o.outcomes(id)) != 1 {
				t.Errorf("%s in attempt %d, on record %+v", k.State, k.Attempt, o.outcomes(id))
			}
		})
	}
}

// cutOff is a store that a runner does not reach.
type cutOff struct {
	tasks.Store
	off atomic.Bool
}

func (c *cutOff) KeepTask(ctx context.Context, t *tasks.Task, lease time.Duration, message string) (tasks.Seen, error) {
	if c.off.Load() {
		return tasks.Seen{}, fault.New(fault.StoreAway, "away")
	}
	return c.Store.KeepTask(ctx, t, lease, message)
}

func (c *cutOff) ClaimTask(ctx context.Context, owner string, lease time.Duration, ending bool) (tasks.Task, bool, error) {
	if c.off.Load() {
		return tasks.Task{}, false, fault.New(fault.StoreAway, "away")
	}
	return c.Store.ClaimTask(ctx, owner, lease, ending)
}

func TestCancelStopsWhatRuns(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	other, _ := o.edge(func(_ *world, c *Config) { c.Tasks.Slots = 1 })
	for _, c := range []struct{ tool, message, state, code string }{
		{"export", "It was cancelled. Nothing was done.", "failed", "cancelled"},
		{"pay", "not known", "unknown", "outcome_unknown"},
	} {
		began := w.hung()
		otherBegan := other.hung()
		id := w.handle(c.tool, `{"id":1}`)
		select {
		case <-began:
		case <-otherBegan:
		}
		// Any edge takes the word, and the one that runs it hears it.
		if m := other.ask("tasks/cancel", id); m.Error != nil || m.Result.ResultType != "complete" {
			t.Fatal(m.raw)
		}
		got := w.ended(t, id).Result
		if got.Status != "cancelled" || !strings.Contains(got.StatusMessage, c.message) || got.Result != nil || got.Error != nil {
			t.Errorf("%s: %+v", c.tool, got)
		}
		// An end is an end.
		if m := w.ask("tasks/cancel", id); m.Error != nil {
			t.Error(m.raw)
		}
		if k := o.task(id); k.State != tasks.Cancelled || k.Unknown != (c.tool == "pay") {
			t.Errorf("%+v", k)
		}
		outcomes := o.outcomes(id)
		if len(outcomes) != 1 || string(outcomes[0].State) != c.state || outcomes[0].Code != c.code {
			t.Errorf("%s is on record as %+v", c.tool, outcomes)
		}
	}
}

// outcomes are the records of a task's end, on all edges.
func (o *office) outcomes(id string) (out []audit.Event) {
	call := o.task(id).CallID
	o.set(func() {
		for _, w := range o.edges {
			w.mu.Lock()
			for _, e := range w.events {
				if e.CallID == call && e.Phase != audit.Intent {
					out = append(out, e)
				}
			}
			w.mu.Unlock()
		}
	})
	return out
}

func TestCancelInTheQueueRunsNothing(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge(func(_ *world, c *Config) { c.Tasks.Slots = 1 })
	began, release := w.held()
	first := w.handle("export", `{}`)
	<-began
	second := w.handle("pay", `{"id":1}`) // waits for the place
	w.ask("tasks/cancel", second)
	if got := w.ended(t, second).Result; got.Status != "cancelled" || !strings.Contains(got.StatusMessage, "before it began") {
		t.Errorf("%+v", got)
	}
	release()
	w.ended(t, first)
	if w.runs() != 1 {
		t.Errorf("%d ran", w.runs())
	}
	// Nothing was done: the same call may be made again.
	if again := w.handle("pay", `{"id":1}`); again == second {
		t.Error("a repeat got the cancelled task")
	} else if got := w.ended(t, again).Result; got.Status != "completed" {
		t.Errorf("%+v", got)
	}
}

// Who may not call any more has nothing begun, and nothing going on.
func TestWithdrawnTaskDoesNotRunOn(t *testing.T) {
	for name, how := range map[string]struct {
		withdraw func(o *office, w *world)
		code     string
	}{
		"grant revoked":   {func(o *office, w *world) { o.set(func() { o.revoked["gr"] = true }) }, "unauthenticated"},
		"person disabled": {func(o *office, w *world) { w.mu.Lock(); w.access.User.Disabled = true; w.mu.Unlock() }, "role_not_allowed"},
		"role narrowed": {func(o *office, w *world) {
			w.mu.Lock()
			w.access.Scopes = nil
			w.mu.Unlock()
		}, "role_not_allowed"},
		"tenant suspended": {func(o *office, w *world) { o.set(func() { o.down = true }) }, "switched_off"},
	} {
		t.Run(name+" while it runs", func(t *testing.T) {
			o := newOffice(t)
			w, _ := o.edge()
			began := w.hung()
			read, write := w.handle("export", `{}`), w.handle("pay", `{"id":1}`)
			<-began
			<-began
			how.withdraw(o, w)
			for id, code := range map[string]string{read: how.code, write: "outcome_unknown"} {
				until(t, "the end", func() bool { return o.task(id).State.Ended() })
				if k := o.task(id); k.State != tasks.Failed || k.Code != code {
					t.Errorf("%s ended as %s %s, want %s", k.Tool, k.State, k.Code, code)
				}
			}
		})
		t.Run(name+" before it runs", func(t *testing.T) {
			o := newOffice(t)
			w, _ := o.edge(func(_ *world, c *Config) { c.Tasks.Slots = 1 })
			began, release := w.held()
			w.handle("export", `{}`)
			<-began
			id := w.handle("pay", `{"id":1}`)
			how.withdraw(o, w)
			release()
			until(t, "the end", func() bool { return o.task(id).State.Ended() })
			if k := o.task(id); k.State != tasks.Failed || k.Code != how.code || k.Unknown || w.runs() != 1 {
				t.Errorf("%s %s, %d ran", k.State, k.Code, w.runs())
			}
		})
	}
}

func TestKillSwitchReachesTasks(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	p := w.withPanel()
	began := w.hung()
	id := w.handle("export", `{}`)
	<-began
	p.put(o.tenant.ID, "tool:orders/export", func(s *switches.Switch) { s.CancelRunning = true })
	if err := w.gateway.StopSwitchedOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the end", func() bool { return o.task(id).State.Ended() })
	if k := o.task(id); k.State != tasks.Failed || k.Code != "switched_off" {
		t.Errorf("%+v", k)
	}
	if m := w.ask("tasks/get", id); m.Error == nil || !strings.Contains(string(m.Error.Data), "switched_off") { // nor does what it was leave
		t.Error(m.raw)
	}
}

func TestLostWorkerIsTriedAgainAndCounted(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	w.answer(failing(true, fault.New(fault.OutcomeUnknown, "The worker that had this call was lost.")))
	id := w.handle("export", `{}`)
	got := w.ended(t, id).Result
	if got.Status != "failed" || got.Error.Data.Code != "worker_lost" || w.runs() != tasks.MaxRuns || !strings.Contains(got.StatusMessage, "3 times") {
		t.Errorf("%+v after %d runs", got, w.runs())
	}
	ids := map[string]bool{}
	for _, c := range w.dispatched {
		ids[c.ID] = true
	}
	if len(ids) != tasks.MaxRuns {
		t.Errorf("runs shared ids: %v", ids)
	}
	w.answer(failing(true, fault.New(fault.OutcomeUnknown, "The worker that had this call was lost.")))
	before := w.runs()
	id = w.handle("pay", `{"id":1}`)
	if got := w.ended(t, id).Result; got.Status != "failed" || got.Error.Data.Code != "outcome_unknown" || w.runs() != before+1 {
		t.Errorf("%+v after %d runs", got, w.runs()-before)
	}
	if n := len(o.raised.of(events.OutcomeUnknown)); n != 1 {
		t.Errorf("%d events", n)
	}
	if n := len(o.outcomes(id)); n != 1 {
		t.Errorf("%d outcomes on record", n)
	}
}

func TestBusyWorkersMakeATaskWait(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	ok := w.run
	var mu sync.Mutex
	busy := 2
	w.answer(func(ctx context.Context, c *runtime.Call, d DispatchOptions) (DispatchOutcome, error) {
		mu.Lock()
		defer mu.Unlock()
		if busy--; busy >= 0 {
			return DispatchOutcome{}, fault.New(fault.NoWorker, "No worker for this server is running.")
		}
		return ok(ctx, c, d)
	})
	id := w.handle("pay", `{"id":1}`)
	if got := w.ended(t, id).Result; got.Status != "completed" || o.task(id).Runs != 1 || len(o.outcomes(id)) != 1 {
		t.Errorf("%+v, %d runs", got, o.task(id).Runs)
	}
}

func TestToolFailureCompletesATask(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	w.answer(func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Worker: "w1", Started: true, Result: &runtime.Result{Tool: &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: "no such row"}}}}}, nil
	})
	got := w.ended(t, w.handle("pay", `{"id":1}`)).Result
	if got.Status != "completed" || got.Result == nil || !got.Result.IsError || got.Result.Content[0].Text != "no such row" || got.Error != nil {
		t.Errorf("%+v", got)
	}
}

func TestChangedToolIsNotRunAsAnother(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge(func(_ *world, c *Config) { c.Tasks.Slots = 1 })
	began, release := w.held()
	w.handle("export", `{}`)
	<-began
	id := w.handle("pay", `{"id":1}`)
	def := o.rev.Definition
	def.Tools = slices.Clone(def.Tools)
	def.Tools[3].Description = "Pays twice."
	changed, err := registry.NewRevision(o.server, json.RawMessage(`{}`), def, "test")
	if err != nil {
		t.Fatal(err)
	}
	changed.ID, changed.Number = "rvbbbbbbbbbbbbbbbbbb", 2
	w.mu.Lock()
	w.hosted.Revision = changed
	w.mu.Unlock()
	release()
	if got := w.ended(t, id).Result; got.Status != "failed" || got.Error.Data.Code != "definition_changed" || w.runs() != 1 {
		t.Errorf("%+v", got)
	}
}

func TestProgressStandsInTheTask(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	gate := make(chan struct{})
	ok := w.run
	w.answer(func(ctx context.Context, c *runtime.Call, d DispatchOptions) (DispatchOutcome, error) {
		for i := range 10_000 {
			d.Progress(float64(i), 10_000, fmt.Sprintf("row %d\nof\u202e 10000", i))
		}
		<-gate
		return ok(ctx, c, d)
	})
	id := w.handle("export", `{}`)
	untilEvery(t, pollPace, "progress", func() bool {
		return strings.Contains(w.ask("tasks/get", id).Result.StatusMessage, "row 9999 of")
	})
	close(gate)
	w.ended(t, id)
}

func TestTaskAsksItsCallerAndGoesOn(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	other, _ := o.edge(func(_ *world, c *Config) { c.Tasks.Slots = 1 })
	asks := func(ctx context.Context, c *runtime.Call, d DispatchOptions) (DispatchOutcome, error) {
		var said []string
		for _, q := range []string{"Which one?", "Really?"} {
			answer, err := d.Ask(ctx, runtime.Question{Method: "elicitation/create", Params: json.RawMessage(`{"mode":"form","message":"` + q + `"}`)})
			if err != nil {
				return DispatchOutcome{Started: true}, err
			}
			said = append(said, string(answer))
		}
		if _, err := d.Ask(ctx, runtime.Question{Method: "sampling/createMessage"}); !fault.HasCode(err, fault.Unanswerable) {
			t.Errorf("a client that cannot sample was asked to: %v", err)
		}
		return DispatchOutcome{Started: true, Result: &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: strings.Join(said, " ")}}}}}, nil
	}
	w.answer(asks)
	other.answer(asks)
	id := w.handle("export", `{}`)
	keys := map[string]bool{}
	for i, question := range []string{"Which one?", "Really?"} {
		var key string
		untilEvery(t, pollPace, question, func() bool {
			m := w.ask("tasks/get", id).Result
			if m.Status != "input_required" {
				return false
			}
			for k, q := range m.InputRequests {
				key = k
				if q.Method != "elicitation/create" {
					t.Fatalf("%+v", q)
				}
				return strings.Contains(string(q.Params), question)
			}
			return false
		})
		if keys[key] {
			t.Errorf("the key %s was used before", key)
		}
		keys[key] = true
		answer := fmt.Sprintf(`"inputResponses":{"%s":{"action":"accept","content":{"n":%d}},"other":{}}`, key, i)
		if m := other.ask("tasks/update", id, answer); m.Error != nil || m.Result.ResultType != "complete" {
			t.Fatal(m.raw)
		}
		if m := w.ask("tasks/update", id, strings.Replace(answer, "accept", "decline", 1)); m.Error != nil { // a replay
			t.Fatal(m.raw)
		}
	}
	got := w.ended(t, id).Result
	if got.Status != "completed" || got.Result.Content[0].Text != `{"action":"accept","content":{"n":0}} {"action":"accept","content":{"n":1}}` {
		t.Errorf("%+v", got.Result)
	}
}

func TestTasksOfManyEdgesRunOnceEach(t *testing.T) {
	o := newOffice(t)
	var edges []*world
	for range 3 {
		w, _ := o.edge(func(_ *world, c *Config) { c.Tasks.Slots = 2 })
		edges = append(edges, w)
	}
	var ids []string
	for i := range 9 {
		ids = append(ids, edges[i%3].handle("export", fmt.Sprintf(`{"id":%d}`, i)))
	}
	for _, id := range ids {
		if got := edges[0].ended(t, id).Result; got.Status != "completed" {
			t.Errorf("%+v", got)
		}
		if n := len(o.outcomes(id)); n != 1 {
			t.Errorf("%d outcomes on record", n)
		}
	}
	ran := map[string]int{}
	for _, w := range edges {
		w.mu.Lock()
		for _, c := range w.dispatched {
			ran[string(c.Input)]++
		}
		w.mu.Unlock()
	}
	for input, n := range ran {
		if n != 1 {
			t.Errorf("%s ran %d times", input, n)
		}
	}
}

// Nothing is given out before it is on record; a record that cannot be written
// holds the task back, and it ends when it can.
func TestTaskWaitsForItsRecord(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	var mu sync.Mutex
	failures := 3
	w.mu.Lock()
	w.auditErr = func(e audit.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if e.Phase == audit.Outcome && failures > 0 {
			failures--
			return fault.New(fault.StoreAway, "away")
		}
		return nil
	}
	w.mu.Unlock()
	id := w.handle("pay", `{"id":1}`)
	if got := w.ended(t, id).Result; got.Status != "completed" || failures != 0 || w.runs() != 1 || len(o.outcomes(id)) != 1 {
		t.Errorf("%+v, %d failures left, %d runs", got, failures, w.runs())
	}
	w.mu.Lock()
	w.auditErr = func(e audit.Event) error { return fault.New(fault.StoreAway, "away") }
	w.mu.Unlock()
	if m := w.begin("pay", `{"id":2}`); m.Result.ResultType == "task" || m.Result.Structured.Error.Code != "platform_store_unavailable" {
		t.Errorf("a task was made without an intent on record: %s", m.raw)
	}
}
