package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// method is what stands in a record of a change, beside tools/call.
const method = "api"

func (a *API) event(r *request, phase audit.Phase, state audit.State) audit.Event {
	e := audit.Event{
		Tenant: r.of(), At: a.Now(), CallID: r.id, Phase: phase, State: state, Allowed: true,
		User: r.caller.User, Client: r.caller.Via, Method: method, Tool: r.op.id,
	}
	if e.Client == "" {
		e.Client = r.caller.ID
	}
	if r.caller.Kind == MeKindOperator { // no tenant's person, but somebody
		e.User = tenants.UserID(r.caller.Email)
	}
	for _, p := range r.op.needs {
		e.Scope = strings.TrimSpace(e.Scope + " " + string(p))
	}
	return e
}

// describe puts into a record what is to be changed: the path's parameters and
// a summary of the body without secrets.
func (r *request) describe(c echo.Context, e *audit.Event) {
	what := map[string]any{}
	for i, name := range c.ParamNames() {
		if name != "tenant" {
			what[name] = c.ParamValues()[i]
		}
	}
	if q := c.QueryParams(); len(q) > 0 {
		what["query"] = q
	}
	var body any
	if json.Unmarshal(r.body, &body) == nil && body != nil {
		if o, ok := body.(map[string]any); ok {
			// A tenant file is text with secrets in it, wherever they stand.
			if text, ok := o["file"].(string); ok {
				o["file"] = strconv.Itoa(len(text)) + " bytes"
			}
		}
		what["body"] = body
	}
	if b, err := json.Marshal(what); err == nil {
		e.Arguments = audit.Summarize(b)
	}
	if name := c.Param("server"); name != "" {
		e.Server = name
	}
}

// recorded puts a change on record: the intent before it, so that nothing
// happens that cannot be recorded, and what became of it before the answer.
func (a *API) recorded(c echo.Context, r *request, do func() (*held, error)) (*held, error) {
	if r.op.unrecorded || c.QueryParam("dry_run") == "true" {
		return do()
	}
	ctx := c.Request().Context()
	began := a.Now()
	intent := a.event(r, audit.Intent, audit.Pending)
	r.describe(c, &intent)
	if err := a.add(ctx, intent); err != nil {
		return nil, err
	}
	h, err := do()
	e := a.event(r, audit.Outcome, audit.Done)
	e.Arguments, e.Server, e.Latency, e.Notes = intent.Arguments, intent.Server, a.Now().Sub(began), r.notes
	if err != nil {
		e.State = audit.Failed
		if f := fault.Of(err); f.Code.Category == fault.Validation || f.Code.Category == fault.Access {
			e.State, e.Allowed = audit.Refused, f.Code.Category != fault.Access
		}
		failed(&e, fault.Of(err))
	} else {
		e.ResultBytes = h.body.Len()
		if h.status == http.StatusAccepted {
			e.Reason = "accepted: an operation goes on with it"
		}
	}
	if addErr := a.add(ctx, e); addErr != nil && err == nil {
		return nil, fault.New(fault.OutcomeUnknown, "The change was made, but that could not be recorded. Read it before you repeat it.").Because(addErr)
	}
	return h, err
}

// recordRefusal puts a refused change on record; a refused read is not one.
func (a *API) recordRefusal(ctx context.Context, r *request, refusal error) error {
	f := fault.Of(refusal)
	if !r.op.write() || r.op.unrecorded || f.Code.Category == fault.Internal {
		return refusal
	}
	e := a.event(r, audit.Refusal, audit.Refused)
	e.Allowed = f.Code.Category != fault.Access
	failed(&e, f)
	if err := a.add(ctx, e); err != nil {
		return err
	}
	return refusal
}

func failed(e *audit.Event, f *fault.Error) {
	e.Category, e.Code, e.Reason = string(f.Code.Category), f.Code.Name, f.Message
	if len(f.Details) > 0 {
		e.Reason += " (" + strconv.Itoa(len(f.Details)) + " places)"
	}
}

func (a *API) add(ctx context.Context, e audit.Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 6*time.Second)
	defer cancel()
	return a.Audit.Add(ctx, e)
}
