package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"runtime/debug"

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
	switch c.Op {
	case ReadResource:
		res, err = in.ReadResource(ctx, c, env)
	default:
		res, err = in.CallTool(ctx, c, env)
	}
	if err == nil && (res == nil || (res.Tool == nil) == (res.Resource == nil)) {
		err = fmt.Errorf("the kind answered %s with neither or both of a tool result and a resource", c.Op)
	}
	return res, err
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
