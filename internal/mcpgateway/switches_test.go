package mcpgateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

// panel says what is off, as the store's cache does.
type panel struct {
	mu  sync.Mutex
	on  map[tenants.ID][]switches.Switch
	err error
}

func (p *panel) Off(_ context.Context, t tenants.ID) (*switches.Set, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return switches.NewSet(p.on[t]), p.err
}

func (p *panel) put(t tenants.ID, target string, change func(*switches.Switch)) {
	parsed, err := switches.ParseTarget(target)
	if err != nil {
		panic(err)
	}
	s := switches.Switch{Tenant: t, Target: parsed, Reason: "SECRETREASON", By: "dana@acme.test", ByRole: "oncall", CreatedAt: time.Now()}
	if change != nil {
		change(&s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.on == nil {
		p.on = map[tenants.ID][]switches.Switch{}
	}
	p.on[t] = append(p.on[t], s)
}

func (p *panel) lift() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on = nil
}

func (w *world) withPanel() *panel {
	p := &panel{}
	w.gateway.cfg.Switches = p
	return p
}

func TestSwitchedOffIsRefusedAndOnRecord(t *testing.T) {
	w := newWorld(t)
	p := w.withPanel()
	token := w.token(ann, "read", "write")
	off := func(name string) bool {
		_, body := w.call(token, name, `{"id":1}`)
		return strings.Contains(body, `"switched_off"`)
	}
	for _, c := range []struct {
		target         string
		of             tenants.ID
		look, refund   bool
		kind, readable string
	}{
		{"tool:orders/refund", w.tenant.ID, false, true, "", "refund is switched off at Acme by an administrator (role oncall). Do not retry; ask them."},
		{"tool:crm/refund", w.tenant.ID, false, false, "", ""},
		{"server:orders", w.tenant.ID, true, true, "", "The server orders is switched off at Acme by an administrator (role oncall)"},
		{"member:" + string(ann), w.tenant.ID, true, true, "", "Tool calls of this account are switched off at Acme by"},
		{"member:" + string(bob), w.tenant.ID, false, false, "", ""},
		{"client:cl", w.tenant.ID, true, true, "", "This app is switched off at Acme by"},
		{"tenant", w.tenant.ID, true, true, "", "Every tool call is switched off at Acme by"},
		{"platform", tenants.Platform, true, true, "", "Every tool call is switched off at every tenant by"},
	} {
		p.lift()
		p.put(c.of, c.target, nil)
		w.events, w.dispatched = nil, nil
		if look, refund := off("look"), off("refund"); look != c.look || refund != c.refund {
			t.Errorf("%s: look off %v, refund off %v", c.target, look, refund)
		}
		if !c.refund {
			continue
		}
		last := w.events[len(w.events)-1]
		if last.Phase != audit.Refusal || last.Allowed || last.Code != "switched_off" || last.Category != "access" || last.Notes[audit.NoteSwitch] != c.target || !strings.Contains(last.Reason, c.readable) {
			t.Errorf("%s: on record %+v", c.target, last)
		}
		for _, d := range w.dispatched {
			if d.Name == "refund" {
				t.Errorf("%s: it ran", c.target)
			}
		}
	}
	p.lift()
	if off("look") || off("refund") {
		t.Error("lifted, and still off")
	}
}

func TestReasonNeverReachesTheCaller(t *testing.T) {
	w := newWorld(t)
	p := w.withPanel()
	token := w.token(ann, "read", "write")
	for _, target := range []string{"tool:orders/refund", "tool:orders/look", "server:orders", "member:" + string(ann), "client:cl", "tenant"} {
		p.lift()
		p.put(w.tenant.ID, target, func(s *switches.Switch) { s.ExpiresAt = time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC) })
		var said strings.Builder
		for _, name := range []string{"look", "refund"} {
			_, body := w.call(token, name, `{"id":1}`)
			said.WriteString(body)
		}
		for _, version := range eras {
			s := w.connect(token, version)
			if _, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "doc://1"}); err != nil {
				said.WriteString(err.Error())
			}
			if _, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "ask", Arguments: map[string]string{"what": "x"}}); err != nil {
				said.WriteString(err.Error())
			}
		}
		if text := said.String(); !strings.Contains(text, "oncall") || strings.Contains(text, "SECRETREASON") || strings.Contains(text, "dana") || strings.Contains(text, "2099") {
			t.Errorf("%s: %s", target, text)
		}
	}
}

func TestSwitchedOffIsInNoList(t *testing.T) {
	w := newWorld(t)
	p := w.withPanel()
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			s := w.connect(w.token(ann, "read", "write"), version)
			count := func() (tools, others int) {
				t.Helper()
				ts, err := s.ListTools(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				rs, err := s.ListResourceTemplates(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				ps, err := s.ListPrompts(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				return len(ts.Tools), len(rs.ResourceTemplates) + len(ps.Prompts)
			}
			for target, want := range map[string][2]int{"tool:orders/refund": {1, 3}, "server:orders": {0, 0}, "member:" + string(ann): {0, 0}, "tenant": {0, 0}, "tool:orders/none": {2, 3}} {
				p.lift()
				p.put(w.tenant.ID, target, nil)
				if tools, others := count(); tools != want[0] || others != want[1] {
					t.Errorf("%s: %d tools, %d others; want %v", target, tools, others, want)
				}
			}
			p.lift()
		})
	}
}

func TestOtherTenantsSwitchIsNotMine(t *testing.T) {
	w := newWorld(t)
	p := w.withPanel()
	for _, target := range []string{"tenant", "server:orders", "tool:orders/look", "client:cl", "member:" + string(ann)} {
		p.put("tnbbbbbbbbbbbbbbbbbb", target, func(s *switches.Switch) { s.CancelRunning = true })
	}
	if _, body := w.call(w.token(ann, "read"), "look", `{}`); strings.Contains(body, "switched_off") {
		t.Error(body)
	}
}

func TestPlatformSwitchStopsEveryTenant(t *testing.T) {
	w := newWorld(t)
	p := w.withPanel()
	p.put(tenants.Platform, "platform", func(s *switches.Switch) { s.ByRole = switches.OperatorRole })
	for _, id := range []tenants.ID{w.tenant.ID, "tnbbbbbbbbbbbbbbbbbb"} {
		w.tenant.ID = id
		_, body := w.call(w.token(ann, "read"), "look", `{}`)
		if !strings.Contains(body, "Every tool call is switched off at every tenant by whoever runs the platform (platform operator)") || len(w.dispatched) != 0 {
			t.Errorf("%s: %s", id, body)
		}
	}
}

// Who may not call a tool does not learn that it is off, and nobody is asked to
// consent to what is.
func TestSwitchIsToldOnlyToWhoMayCall(t *testing.T) {
	w := newWorld(t)
	w.withPanel().put(w.tenant.ID, "server:orders", nil)
	w.access.Scopes = nil
	if _, body := w.call(w.token(ann, "read"), "look", `{}`); !strings.Contains(body, "role_not_allowed") {
		t.Error(body)
	}
	w = newWorld(t)
	w.withPanel().put(w.tenant.ID, "tool:orders/refund", nil)
	if _, body := w.call(w.token(ann, "read"), "refund", `{"id":1}`); !strings.Contains(body, "switched_off") || len(w.challenged) != 0 {
		t.Errorf("%s, challenged %v", body, w.challenged)
	}
}

func TestUnknownSwitchesFailClosed(t *testing.T) {
	w := newWorld(t)
	w.withPanel().err = fault.New(fault.StoreAway, "away")
	if _, body := w.call(w.token(ann, "read"), "look", `{}`); !strings.Contains(body, "platform_store_unavailable") || len(w.dispatched) != 0 {
		t.Error(body)
	}
}

// stoppable is a call that hangs on its worker until it is cancelled.
func (w *world) hang(outcome DispatchOutcome, end error) (started chan string) {
	started = make(chan string, 10)
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		started <- c.Name
		<-ctx.Done()
		return outcome, end
	}
	return started
}

func TestSwitchCancelsRunningCalls(t *testing.T) {
	cancelled := fault.New(fault.Cancelled, "The call was cancelled.")
	for _, c := range []struct {
		name, tool string
		outcome    DispatchOutcome
		end        error
		code       string
		state      audit.State
	}{
		{"a read", "look", DispatchOutcome{Started: true}, cancelled, "switched_off", audit.Failed},
		{"with effects, begun", "refund", DispatchOutcome{Started: true}, cancelled, "outcome_unknown", audit.Unknown},
		{"with effects, not begun", "refund", DispatchOutcome{}, fault.New(fault.Busy, "busy"), "switched_off", audit.Failed},
		{"ended by itself", "refund", DispatchOutcome{}, fault.New(fault.ToolFailed, "no"), "tool_failed", audit.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			p, started := w.withPanel(), w.hang(c.outcome, c.end)
			answer := make(chan string, 1)
			go func() {
				_, body := w.call(w.token(ann, "read", "write"), c.tool, `{"id":1}`)
				answer <- body
			}()
			<-started
			stop := func() {
				t.Helper()
				if err := w.gateway.StopSwitchedOff(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			// What does not cancel, or is about something else, lets it run.
			p.put(w.tenant.ID, "tool:orders/"+c.tool, nil)
			p.put(w.tenant.ID, "member:"+string(bob), func(s *switches.Switch) { s.CancelRunning = true })
			p.put("tnbbbbbbbbbbbbbbbbbb", "tenant", func(s *switches.Switch) { s.CancelRunning = true })
			stop()
			select {
			case body := <-answer:
				t.Fatalf("it was stopped: %s", body)
			default:
			}
			p.put(w.tenant.ID, "client:cl", func(s *switches.Switch) { s.CancelRunning = true })
			stop()
			body := <-answer
			if !strings.Contains(body, `"`+c.code+`"`) || strings.Contains(body, "SECRETREASON") {
				t.Errorf("the caller reads %s", body)
			}
			e := w.events[len(w.events)-1]
			if e.Phase != audit.Outcome || e.State != c.state || e.Code != c.code || c.code != "tool_failed" && e.Notes[audit.NoteSwitch] != "client:cl" {
				t.Errorf("on record %+v", e)
			}
			if n := len(w.gateway.running.calls); n != 0 {
				t.Errorf("%d calls are still there", n)
			}
		})
	}
}

// A repeatable call with effects may be with a worker that has not said so yet.
func TestStoppedRepeatableCallIsUnknown(t *testing.T) {
	c := &call{ex: &exchange{tenant: tenants.Tenant{Name: "Acme"}}, name: "create", risk: "write", repeat: true}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped{switches.Switch{ByRole: "admin"}})
	if f := c.stop(ctx, fault.New(fault.Cancelled, "x")); f == nil || f.Code != fault.OutcomeUnknown {
		t.Errorf("%v", f)
	}
	cancelled, cancel2 := context.WithCancel(t.Context())
	cancel2()
	if f := c.stop(cancelled, fault.New(fault.Cancelled, "x")); f != nil {
		t.Errorf("cancelled by its caller: %v", f)
	}
}

// What is stopped between two steps reaches no worker.
func TestStoppedBeforeDispatchIsNotHandedOut(t *testing.T) {
	w := newWorld(t)
	p := w.withPanel()
	w.auditErr = func(e audit.Event) error {
		if e.Phase == audit.Intent {
			p.put(w.tenant.ID, "tenant", func(s *switches.Switch) { s.CancelRunning = true })
			w.mu.Unlock()
			defer w.mu.Lock()
			return w.gateway.StopSwitchedOff(context.Background())
		}
		return nil
	}
	_, body := w.call(w.token(ann, "read", "write"), "refund", `{"id":1}`)
	if !strings.Contains(body, `"switched_off"`) || len(w.dispatched) != 0 {
		t.Errorf("%d dispatched, %s", len(w.dispatched), body)
	}
}

// A call that looks at the switches before one arrives is there to be stopped.
func TestNoCallSlipsBetweenLookAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{})
		p := &panel{}
		g.cfg.Switches = p
		var all sync.WaitGroup
		for i := range 200 {
			c := &call{ex: &exchange{tenant: tenants.Tenant{ID: "tnaaaaaaaaaaaaaaaaaa"}}, op: runtime.CallTool, name: "x"}
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				ctx, end := g.begin(t.Context(), c)
				defer end()
				if g.off(ctx, c) != nil {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Hour):
					t.Error("a call ran on")
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		p.put("tnaaaaaaaaaaaaaaaaaa", "tenant", func(s *switches.Switch) { s.CancelRunning = true })
		if err := g.StopSwitchedOff(t.Context()); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
}

func TestStopTellsThatItCouldNotLook(t *testing.T) {
	w := newWorld(t)
	p, started := w.withPanel(), w.hang(DispatchOutcome{}, fault.New(fault.Cancelled, "x"))
	answer := make(chan struct{})
	go func() { w.call(w.token(ann, "read"), "look", `{}`); close(answer) }()
	<-started
	away := errors.New("away")
	p.mu.Lock()
	p.err = away
	p.mu.Unlock()
	if err := w.gateway.StopSwitchedOff(t.Context()); !errors.Is(err, away) {
		t.Errorf("%v", err)
	}
	p.mu.Lock()
	p.err = nil
	p.mu.Unlock()
	p.put(tenants.Platform, "platform", func(s *switches.Switch) { s.CancelRunning = true })
	if err := w.gateway.StopSwitchedOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-answer
}

// BenchmarkSwitches is what the look at the switches costs a call.
func BenchmarkSwitches(b *testing.B) {
	for name, on := range map[string]int{"none on": 0, "1000 on": 1000} {
		b.Run(name, func(b *testing.B) {
			g := New(Config{})
			var list []switches.Switch
			for i := range on {
				list = append(list, switches.Switch{Target: switches.Target{Kind: switches.Tool, Server: "orders", Tool: string(rune('a' + i))}})
			}
			g.cfg.Switches = fixed{switches.NewSet(list)}
			c := &call{ex: &exchange{tenant: tenants.Tenant{ID: "tnaaaaaaaaaaaaaaaaaa"}}, op: runtime.CallTool, name: "look"}
			b.ReportAllocs()
			for b.Loop() {
				ctx, end := g.begin(b.Context(), c)
				if err := g.off(ctx, c); err != nil {
					b.Fatal(err)
				}
				end()
			}
		})
	}
}

type fixed struct{ set *switches.Set }

func (f fixed) Off(context.Context, tenants.ID) (*switches.Set, error) { return f.set, nil }
