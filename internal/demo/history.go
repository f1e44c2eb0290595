package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Cast is who the demo is played by: people by address, and the servers that
// they call.
type Cast struct {
	Tenant tenants.ID
	Users  map[string]tenants.UserID
	Hosted []registry.Hosted
}

// habit is what one person's agent does in an hour of work.
type habit struct {
	email, client, server, tool string
	most                        int // calls in an hour, at the middle of the day
	millis                      float64
	arguments                   string
}

var habits = []habit{
	{"sam@acme.test", "Claude Desktop", "orders", "search_orders", 6, 14, `{"limit":20,"query":"…"}`},
	{"sam@acme.test", "Claude Desktop", "orders", "summarize_order", 4, 18, `{"order_id":1}`},
	{"fred@acme.test", "Claude Code", "orders", "search_orders", 4, 13, `{"limit":20,"query":"…","status":"paid"}`},
	{"fred@acme.test", "Claude Code", "orders", "issue_refund", 1, 41, `{"amount":1,"order_id":1,"reason":"…"}`},
	{"vic@acme.test", "VS Code", "orders", "search_orders", 3, 15, `{"query":"…"}`},
	{"dana@acme.test", "Cursor", "diagnostics", "whoami", 1, 3, `{}`},
}

// History is the week before now as the demo's people might have spent it: the
// records of their calls, oldest first. It is the same for the same hour.
func History(now time.Time, c Cast) []audit.Event {
	w := &writing{cast: c, dice: rand.New(rand.NewPCG(7, uint64(now.Truncate(time.Hour).Unix())))}
	for at := now.Truncate(time.Hour).AddDate(0, 0, -7); at.Before(now.Add(-time.Hour)); at = at.Add(time.Hour) {
		for _, h := range habits {
			for range w.dice.IntN(1 + int(float64(h.most)*busy(at)*2)) {
				w.call(h, at.Add(time.Duration(w.dice.Int64N(int64(time.Hour)))))
			}
		}
	}
	// Vic's agent once tried what his role does not open.
	denied := habit{"vic@acme.test", "VS Code", "orders", "issue_refund", 1, 1, `{"amount":1,"order_id":1,"reason":"…"}`}
	w.add(denied, now.Add(-26*time.Hour), func(e *audit.Event) {
		refuse(e, fault.RoleNotAllowed, "Your roles at Acme Corp do not allow issue_refund. Ask an administrator for the scope refunds:write on orders.")
	})
	return w.events
}

// CountAnew makes the platform add up its usage from the first record on: some
// of them are older than what it has added up already.
func CountAnew(ctx context.Context, superuser string) (err error) {
	defer fault.Wrap(&err, "demo.CountAnew")
	conn, err := pgx.Connect(ctx, superuser)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `UPDATE usage_levels SET since = 'epoch', upto = 'epoch'`)
	return err
}

// busy is how much of a day's work falls into an hour, from 0 to 1.
func busy(at time.Time) float64 {
	if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
		return 0.05
	}
	switch h := at.Hour(); {
	case h >= 9 && h < 12, h >= 13 && h < 17:
		return 1
	case h == 8, h == 12, h == 17, h == 18:
		return 0.5
	}
	return 0.05
}

type writing struct {
	cast   Cast
	dice   *rand.Rand
	events []audit.Event
}

// call is one call and how it went.
func (w *writing) call(h habit, at time.Time) {
	luck := w.dice.IntN(100)
	switch {
	case luck < 4 && h.tool == "search_orders":
		w.add(h, at, func(e *audit.Event) {
			refuse(e, fault.InvalidArguments, "The arguments do not fit this tool's input schema.")
		})
	case luck < 6 && h.tool == "issue_refund":
		w.add(h, at, func(e *audit.Event) {
			e.State, e.Category, e.Code, e.Reason = audit.Failed, string(fault.Downstream), fault.ToolFailed.Name, "The tool reported a failure."
		})
	case luck == 99:
		w.add(h, at, func(e *audit.Event) {
			e.Latency = 5 * time.Second
			e.State, e.Category, e.Code, e.Reason = audit.Failed, string(fault.Downstream), fault.DeadlineExceeded.Name, "The statement took longer than it may and was stopped."
		})
	default:
		w.add(h, at, func(e *audit.Event) { e.ResultBytes = 300 + w.dice.IntN(4000) })
	}
}

func refuse(e *audit.Event, code fault.Code, reason string) {
	e.Phase, e.State, e.Allowed, e.Latency = audit.Refusal, audit.Refused, false, 400*time.Microsecond
	e.Category, e.Code, e.Reason = string(code.Category), code.Name, reason
}

func (w *writing) add(h habit, at time.Time, change func(*audit.Event)) {
	e := audit.Event{
		Tenant: w.cast.Tenant, At: at, CallID: tenants.RandomID("ca"), Phase: audit.Outcome, State: audit.Done, Allowed: true,
		User: w.cast.Users[h.email], Client: h.client, Server: h.server, Method: "tools/call", Tool: h.tool, Arguments: h.arguments,
		Latency: time.Duration(h.millis * (0.6 + w.dice.ExpFloat64()*0.5) * float64(time.Millisecond)), Worker: "demo",
		TraceID: fmt.Sprintf("%016x%016x", w.dice.Uint64(), w.dice.Uint64()),
	}
	var risk registry.Risk
	for _, hosted := range w.cast.Hosted {
		if hosted.Server.Slug != h.server {
			continue
		}
		e.ServerID, e.Revision = hosted.Server.ID, hosted.Revision.ID
		if t, ok := hosted.Revision.Definition.Tool(h.tool); ok {
			e.Scope, e.DefinitionHash, risk = t.Scope, t.Hash, t.Risk
		}
	}
	change(&e)
	if risk != registry.Reads && e.Phase == audit.Outcome {
		intent := e
		intent.Phase, intent.State, intent.Latency, intent.ResultBytes = audit.Intent, audit.Pending, time.Millisecond, 0
		intent.Category, intent.Code, intent.Reason, intent.Worker = "", "", "", ""
		w.number(intent)
		e.At = e.At.Add(e.Latency)
	}
	w.number(e)
}

// number gives records of the history a writer of their own, so that none of
// them can be missed.
func (w *writing) number(e audit.Event) {
	e.ID, e.WriterID, e.WriterSeq = audit.NewID(e.At), "demo", int64(len(w.events)+1)
	w.events = append(w.events, e)
}
