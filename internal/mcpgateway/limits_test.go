package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/limits"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

type limitsOf tenants.Limits

func (l limitsOf) Limits(context.Context, tenants.ID) (tenants.Limits, error) {
	return tenants.Limits(l), nil
}

func (w *world) limit(l tenants.Limits) {
	w.gateway.cfg.Limits = limits.New(limits.Config{Store: limits.NewMemory(), Settings: limitsOf(l)})
}

func daily(calls int, message string) tenants.Limit {
	return tenants.Limit{Rate: tenants.Rate{Calls: calls, Per: 24 * time.Hour}, Burst: calls, Message: message}
}

// Whatever a person does counts, however it is asked for.
func TestEverythingCountsAgainstOnePerson(t *testing.T) {
	w := newWorld(t)
	w.limit(tenants.Limits{User: daily(4, "Too many for today: {{limit}}. Come back in {{seconds}} s.")})
	token := w.token(ann, "read", "write")
	s := w.connect(token, "2025-11-25")
	if _, body := w.call(token, "look", `{"id":1}`); !strings.Contains(body, `"n":1`) {
		t.Fatal(body)
	}
	if _, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "doc://1"}); err == nil { // the worker answers no resource here
		t.Fatal("a resource that is none")
	}
	if _, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "ask", Arguments: map[string]string{"what": "x"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.try("look", `{"id":2}`); err != nil { // from the console, without a grant
		t.Fatal(err)
	}

	dispatched := len(w.dispatched)
	_, body := w.call(token, "look", `{"id":3}`)
	var answer struct{ Result mcp.CallToolResult }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if f := failureIn(t, &answer.Result); f.Code != "limit_reached" || f.Category != fault.RateLimit || f.RetryAfterS < 21_000 || f.RetryAfterS > 21_600 ||
		f.Message != fmt.Sprintf("Too many for today: 4 a day for one person. Come back in %d s.", f.RetryAfterS) {
		t.Errorf("%+v", f)
	}
	if _, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "doc://1"}); err == nil || !strings.Contains(err.Error(), "Too many for today") {
		t.Errorf("a resource: %v", err)
	}
	if _, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "ask", Arguments: map[string]string{"what": "x"}}); err == nil || !strings.Contains(err.Error(), "Too many for today") {
		t.Errorf("a prompt: %v", err)
	}
	if _, err := w.try("look", `{"id":2}`); !fault.HasCode(err, fault.LimitReached) {
		t.Errorf("from the console: %v", err)
	}
	if len(w.dispatched) != dispatched {
		t.Error("a refused call was dispatched")
	}
	refusals := 0
	for _, e := range w.events {
		if e.Phase == audit.Refusal {
			refusals++
			if e.Code != "limit_reached" || e.Category != "rate_limit" || e.Allowed || e.Notes[audit.NoteLimit] != "user" {
				t.Errorf("%+v", e)
			}
		}
	}
	if refusals != 4 {
		t.Errorf("%d refusals on record, want 4: %v", refusals, w.phases())
	}
}

// What is not valid or not allowed is no call: it must not use up anything.
func TestWrongCallIsNotCounted(t *testing.T) {
	w := newWorld(t)
	w.limit(tenants.Limits{User: daily(1, "")})
	token := w.token(ann, "read")
	for range 5 {
		w.call(token, "look", `{"id":"x"}`)
		w.call(token, "refund", `{"id":1}`)
	}
	if _, body := w.call(token, "look", `{"id":1}`); !strings.Contains(body, `"n":1`) {
		t.Error(body)
	}
}

func TestPlaceIsFreeAfterEveryEnd(t *testing.T) {
	w := newWorld(t)
	w.limit(tenants.Limits{Session: tenants.Limit{Concurrency: 1}})
	token := w.token(ann, "read")
	run := w.run
	for name, end := range map[string]func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error){
		"result": run,
		"error": func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
			return DispatchOutcome{}, fault.New(fault.NoWorker, "none")
		},
		"panic": func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) { panic("here") },
	} {
		w.run = end
		w.call(token, "look", `{"id":1}`)
		w.run = run
		if _, body := w.call(token, "look", `{"id":2}`); !strings.Contains(body, `"n":1`) {
			t.Errorf("after %s: %s", name, body)
		}
	}
	// While one runs, the next is refused, and may come in a second.
	entered, leave, done := make(chan bool), make(chan bool), make(chan string)
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		entered <- true
		<-leave
		return run(ctx, c, o)
	}
	go func() { _, body := w.call(token, "look", `{"id":3}`); done <- body }()
	<-entered
	if _, body := w.call(token, "look", `{"id":4}`); !strings.Contains(body, `"code":"limit_reached"`) || !strings.Contains(body, `"retry_after_s":1`) {
		t.Error(body)
	}
	close(leave)
	if body := <-done; !strings.Contains(body, `"n":1`) {
		t.Error(body)
	}
}

func TestLoopIsToldInItsAnswer(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t)
			w.limit(tenants.Limits{Repeats: tenants.Repeats{Notice: 3, Refuse: 5}})
			shared := &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "ok"}}, StructuredContent: json.RawMessage(`{"n":1}`)}}
			w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
				return DispatchOutcome{Result: shared, Worker: "w1"}, nil
			}
			s := w.connect(w.token(ann, "read"), version)
			for i := 1; i <= 4; i++ {
				res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look", Arguments: map[string]any{"id": 1, "note": "a"}})
				if err != nil {
					t.Fatal(err)
				}
				told := len(res.Content) == 2 && strings.Contains(res.Content[1].(*mcp.TextContent).Text, fmt.Sprintf("identical call number %d within a minute", i))
				count, _ := res.Meta[metaRepeats].(float64)
				if want := i >= 3; told != want || want && int(count) != i || !want && res.Meta[metaRepeats] != nil {
					t.Errorf("call %d: %d parts, meta %v", i, len(res.Content), res.Meta)
				}
				if structured, ok := res.StructuredContent.(map[string]any); !ok || structured["n"] != 1.0 {
					t.Errorf("call %d: %v", i, res.StructuredContent)
				}
				e := w.events[len(w.events)-1]
				if got, _ := e.Notes[audit.NoteRepeats].(int); i >= 3 && got != i || i < 3 && e.Notes != nil {
					t.Errorf("call %d: notes %v", i, e.Notes)
				}
			}
			res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look", Arguments: map[string]any{"note": "a", "id": 1}})
			if err != nil {
				t.Fatal(err)
			}
			if f := failureIn(t, res); f.Code != "repeated_call" || f.RetryAfterS < 1 || f.RetryAfterS > 60 || len(w.dispatched) != 4 {
				t.Errorf("%+v after %d calls", f, len(w.dispatched))
			}
			if len(shared.Tool.Content) != 1 || shared.Tool.Meta[metaRepeats] != nil {
				t.Errorf("the worker's own result was changed: %+v", shared.Tool)
			}
			if _, body := w.call(w.token(ann, "read"), "look", `{"id":2}`); strings.Contains(body, "identical") {
				t.Error("another call is told too")
			}
		})
	}
}

// A failure that is asked for again says so too.
func TestLoopOverAFailureIsTold(t *testing.T) {
	w := newWorld(t)
	w.limit(tenants.Limits{Repeats: tenants.Repeats{Notice: 2}})
	w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{}, fault.New(fault.UpstreamAway, "It is away.")
	}
	token := w.token(ann, "read")
	if _, body := w.call(token, "look", `{"id":1}`); strings.Contains(body, "identical") {
		t.Error(body)
	}
	if _, body := w.call(token, "look", `{"id":1}`); !strings.Contains(body, "upstream_unavailable") || !strings.Contains(body, "identical call number 2") {
		t.Error(body)
	}
}

func TestToolsOwnLimitHoldsAtTheGateway(t *testing.T) {
	w := newWorld(t)
	w.limit(tenants.Limits{})
	def := w.hosted.Revision.Definition
	def.Tools[0].Limits = registry.ToolLimits{User: daily(1, "One look a day.")}
	token := w.token(ann, "read", "write")
	w.call(token, "look", `{"id":1}`)
	if _, body := w.call(token, "look", `{"id":2}`); !strings.Contains(body, "One look a day. The limit is 1 a day for one person.") {
		t.Error(body)
	}
	if _, body := w.call(token, "refund", `{"id":2}`); !strings.Contains(body, `"ok"`) {
		t.Error(body)
	}
}

func BenchmarkSpend(b *testing.B) {
	w := newWorld(b)
	g := w.gateway
	g.cfg.Limits = limits.New(limits.Config{Store: limits.NewMemory(), Settings: limitsOf(tenants.Limits{
		Tenant: tenants.Limit{Rate: tenants.Rate{Calls: 9_000_000, Per: time.Second}, Burst: 1_000_000, Concurrency: 10},
	}.Or(tenants.DefaultLimits))})
	ex := &exchange{tenant: w.tenant, hosted: w.hosted}
	tool := &w.hosted.Revision.Definition.Tools[0]
	b.ReportAllocs()
	for b.Loop() {
		c := newToolCall(ex, w.hosted.Revision, tool, &validator{}, json.RawMessage(`{"id":1}`))
		if release, err := g.spend(b.Context(), c); err == nil {
			release()
		}
	}
}
