package runtime

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"latchkey/internal/deadline"
	"latchkey/internal/fault"
	"latchkey/internal/guard"
)

// Back is what reaches the caller while the call runs. Each may be nil.
type Back struct {
	Progress func(done, total float64, message string)
	Notify   func(n Notification)
	Ask      func(ctx context.Context, q Question) (json.RawMessage, error)
}

const (
	// MaxHeld is by how much questions put off a call's deadline, in all. While a
	// question waits for its answer the call's time stands still, on the edge and
	// on the worker, each by its own clock: it is not the call that is slow.
	MaxHeld = 10 * time.Minute
	// MaxQuestion and MaxAnswer are bytes of JSON.
	MaxQuestion = 512 << 10
	MaxAnswer   = 512 << 10
	// MaxNotice is bytes of a notification. Larger ones are dropped.
	MaxNotice = 32 << 10
	// MaxAsking is how many questions of one call may wait at once.
	MaxAsking = 4
)

// wayBack is Back as a kind gets it: guarded, and with the call's time and slot
// given back for as long as a question waits.
type wayBack struct {
	received *Received
	back     Back
	time     *deadline.Deadline // nil: nobody can be asked
	policy   *guard.Policy      // nil: of the control plane's own calls, which answer nobody

	mu     sync.Mutex
	report *guard.Report
}

func (w *wayBack) env(credential func(context.Context) (Credential, error)) Env {
	env := Env{Credential: credential, Progress: w.back.Progress}
	if w.back.Notify != nil {
		env.Notify = func(n Notification) {
			if n.Params = w.guarded(n.Params); len(n.Method)+len(n.Params) <= MaxNotice {
				w.back.Notify(n)
			}
		}
	}
	if w.back.Ask != nil {
		env.Ask = w.ask
	}
	return env
}

// ask puts a question. A call that waits for a person takes no slot from those
// that work; how many may wait is bounded by itself.
func (w *wayBack) ask(ctx context.Context, q Question) (json.RawMessage, error) {
	worker := w.received.worker
	q.Params = w.guarded(q.Params)
	if len(q.Params) > MaxQuestion {
		return nil, fault.New(fault.Unanswerable, "The server asked something longer than %s, which nobody is shown.", bytesText(MaxQuestion))
	}
	if worker.asking.Add(1) > int64(worker.MaxAsking) {
		worker.asking.Add(-1)
		return nil, fault.New(fault.Busy, "Too many calls wait for an answer of their callers right now. Call again in a minute.").After(time.Minute)
	}
	defer worker.asking.Add(-1)
	defer w.time.Hold()()
	defer w.received.rest()()
	return w.back.Ask(ctx, q)
}

// guarded withholds what may not leave the worker, as of a result.
func (w *wayBack) guarded(params json.RawMessage) json.RawMessage {
	if w.policy == nil || len(params) == 0 {
		return params
	}
	out, report := w.policy.Message(params)
	if report != nil {
		w.mu.Lock()
		w.report = w.report.With(report)
		w.mu.Unlock()
	}
	return out
}

// guardReport is what was kept back of all that went this way.
func (w *wayBack) guardReport() *guard.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report
}
