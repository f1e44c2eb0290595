package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"runtime/debug"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
)

// execute runs the call in its kind. A panic there ends the call, not the
// worker.
func (w *Worker) execute(ctx context.Context, in Instance, c *Call, env Env) (res *Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			res, err = nil, panicked(w.Log, p, c.ID)
		}
	}()
	if env.Progress == nil {
		env.Progress = func(float64, float64, string) {}
	}
	if env.Notify == nil {
		env.Notify = func(Notification) {}
	}
	if env.Ask == nil {
		env.Ask = func(context.Context, Question) (json.RawMessage, error) { return nil, unanswerable() }
	}
	if res, err = do(ctx, in, c, env); err == nil && !res.answers(c.Op) {
		err = fmt.Errorf("the kind did not answer %s with what belongs to it", c.Op)
	}
	return res, err
}

// do gives the call to the part of the kind that runs its sort.
func do(ctx context.Context, in Instance, c *Call, env Env) (*Result, error) {
	switch c.Op {
	case ReadResource:
		return in.ReadResource(ctx, c, env)
	case GetPrompt:
		if p, ok := in.(Prompter); ok {
			return p.GetPrompt(ctx, c, env)
		}
		return nil, fault.New(fault.NotFound, "This server has no prompt %q.", c.Name)
	case Complete:
		if p, ok := in.(Completer); ok {
			return p.Complete(ctx, c, env)
		}
		return &Result{Completion: &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}}, nil
	case Probe:
		if p, ok := in.(Prober); ok {
			return p.Probe(ctx, c, env)
		}
		return &Result{Health: &Health{}}, nil
	case Listen:
		if p, ok := in.(Listener); ok {
			return p.Listen(ctx, c, env)
		}
		return nil, fault.New(fault.InvalidRequest, "Servers of this kind say nothing by themselves.")
	case Discover:
		if p, ok := in.(Discoverer); ok {
			return p.Discover(ctx, c, env)
		}
		return nil, fault.New(fault.InvalidRequest, "What servers of this kind offer stands in their spec.")
	}
	return in.CallTool(ctx, c, env)
}

// answers reports whether the result is the one of the call's sort, and no other.
func (r *Result) answers(op Op) bool {
	if r == nil {
		return false
	}
	sorts := [...]struct {
		op  Op
		set bool
	}{{CallTool, r.Tool != nil}, {ReadResource, r.Resource != nil}, {GetPrompt, r.Prompt != nil}, {Complete, r.Completion != nil}, {Probe, r.Health != nil && op != Listen}, {Listen, r.Health != nil && op == Listen}, {Discover, r.Offer != nil}}
	for _, s := range sorts {
		if s.set != (s.op == op) {
			return false
		}
	}
	return true
}

func unanswerable() error {
	return fault.New(fault.Unanswerable, "The server asked for something that this client cannot be asked for. Use a client that supports it, or call the tool so that it need not ask.")
}

// panicked logs where it happened and names only the call to the caller. What
// was panicked with may hold a credential, so that only its type is kept,
// unless it is the Go runtime's own.
func panicked(log *slog.Logger, p any, call string) error {
	what := fmt.Sprintf("%T", p)
	if re, ok := p.(goruntime.Error); ok {
		what = re.Error()
	}
	log.Error("panic in a kind", "call", call, "panic", what, "stack", string(debug.Stack()))
	return fault.New(fault.Unexpected, "The platform failed while it ran this call. Name the call id %s to your administrator.", call)
}

// answerable makes the error that may leave the worker. Drivers and Vault put
// the end of a context in words of their own, so that a downstream failure
// after that end is taken for the end itself, but for one whose outcome is not
// known: that stays so whatever time it is.
func answerable(ctx context.Context, err error) *fault.Error {
	var f *fault.Error
	if known := errors.As(err, &f); known && (ctx.Err() == nil || f.Code.Category != fault.Downstream || f.Code == fault.OutcomeUnknown) {
		return f
	}
	switch ctx.Err() {
	case nil:
		return fault.Of(err)
	case context.DeadlineExceeded:
		return fault.New(fault.DeadlineExceeded, "The call took longer than it may and was stopped. Ask for less at a time, or call again later.").Because(err)
	}
	return fault.New(fault.Cancelled, "The call was cancelled.").Because(err)
}
