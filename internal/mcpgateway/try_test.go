package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

func (w *world) try(tool, arguments string, change ...func(*TryCall)) (Tried, error) {
	server := w.hosted.Server
	server.Active = w.hosted.Revision.ID
	t := TryCall{Tenant: w.tenant, Server: server, Revision: w.hosted.Revision, Tool: tool, Arguments: json.RawMessage(arguments), User: ann}
	for _, c := range change {
		c(&t)
	}
	return w.gateway.Try(context.Background(), t)
}

func TestTryTakesEveryStep(t *testing.T) {
	w := newWorld(t)
	got, err := w.try("refund", `{"id":7}`)
	if err != nil || got.IsError || got.Text != "ok" || string(got.Structured) != `{"n":1}` || got.Worker != "w1" || got.CallID == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	if want := []string{"intent pending ", "outcome done "}; !slices.Equal(w.phases(), want) {
		t.Errorf("%v", w.phases())
	}
	for _, e := range w.events {
		if e.Client != ConsoleClient || e.Method != "tools/call" || e.Tool != "refund" || e.User != ann || e.CallID != got.CallID || e.Grant != "" || e.Scope != "write" {
			t.Errorf("%+v", e)
		}
	}
	if c := w.dispatched[0]; c.Caller.Client != ConsoleClient || c.Caller.Email != "ann@acme.test" || c.Access != "write" || c.IdempotencyKey != got.CallID || len(c.Traceparent) != 55 {
		t.Errorf("%+v", c)
	}
}

func TestTryIsRefusedLikeACall(t *testing.T) {
	draft := func(c *TryCall) { c.Server.Active = "" }
	for _, c := range []struct {
		name, tool, arguments string
		change                []func(*TryCall)
		prepare               func(*world)
		want                  fault.Code // zero: it runs
		records               string
	}{
		{"a scope that no role opens", "hidden", `{}`, nil, nil, fault.RoleNotAllowed, "refusal refused role_not_allowed"},
		{"of a draft, it may", "hidden", `{}`, []func(*TryCall){draft}, nil, fault.Code{}, "outcome done "},
		{"a closed account", "look", `{}`, nil, func(w *world) { w.access.User.Disabled = true }, fault.RoleNotAllowed, "refusal refused role_not_allowed"},
		{"a closed account and a draft", "look", `{}`, []func(*TryCall){draft}, func(w *world) { w.access.User.Disabled = true }, fault.RoleNotAllowed, "refusal refused role_not_allowed"},
		{"wrong arguments", "look", `{"id":0}`, nil, nil, fault.InvalidArguments, "refusal refused invalid_arguments"},
		{"no JSON", "look", `{`, nil, nil, fault.InvalidArguments, "refusal refused invalid_arguments"},
		{"another tool", "nothing", `{}`, nil, nil, fault.NotFound, ""},
		{"no worker", "look", `{}`, nil, func(w *world) {
			w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
				return DispatchOutcome{}, fault.New(fault.NoWorker, "none")
			}
		}, fault.NoWorker, "outcome failed no_worker"},
		{"an intent that cannot be recorded", "refund", `{}`, nil, func(w *world) {
			w.auditErr = func(audit.Event) error { return errors.New("away") }
		}, fault.Unexpected, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.prepare != nil {
				c.prepare(w)
			}
			_, err := w.try(c.tool, c.arguments, c.change...)
			if (c.want != fault.Code{}) != (err != nil) || err != nil && fault.Of(err).Code != c.want {
				t.Errorf("%v", err)
			}
			if got := strings.Join(w.phases(), "; "); got != c.records {
				t.Errorf("recorded %q, want %q", got, c.records)
			}
		})
	}
}

// What a tool answers besides text is named, and a failure says so.
func TestTryShowsWhatAClientWouldGet(t *testing.T) {
	w := newWorld(t)
	w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Result: &runtime.Result{Tool: &mcp.CallToolResult{IsError: true, Content: []mcp.Content{
			&mcp.TextContent{Text: "one"}, &mcp.ImageContent{MIMEType: "image/png", Data: make([]byte, 5)}, &mcp.TextContent{Text: "two"},
		}}}}, nil
	}
	got, err := w.try("look", ``)
	if err != nil || !got.IsError || got.Text != "one\n(an image, image/png, 5 bytes)\ntwo" || !strings.Contains(string(got.Structured), `"code":"tool_failed"`) {
		t.Errorf("%+v, %v", got, err)
	}
	if want := []string{"outcome failed tool_failed"}; !slices.Equal(w.phases(), want) {
		t.Errorf("%v", w.phases())
	}
	// Of a tenant that the person is not of.
	w.access = tenants.Access{}
	if _, err := w.try("look", `{}`); !fault.HasCode(err, fault.RoleNotAllowed) {
		t.Error(err)
	}
}
