package limits

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// clock is moved by a test.
type clock struct{ moved atomic.Int64 }

func (c *clock) advance(d time.Duration) { c.moved.Add(int64(d)) }
func (c *clock) shift() time.Duration    { return time.Duration(c.moved.Load()) }

// frozen begins at a fixed moment: in memory, no time passes but what a test
// says. At a server it does, so that tests of both leave room for it.
func (c *clock) frozen() time.Time { return time.Unix(1_800_000_000, 0).Add(c.shift()) }

type heard struct {
	mu  sync.Mutex
	all []events.Event
}

func (h *heard) Raise(_ context.Context, e events.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, e)
}

func (h *heard) of(k events.Kind) (out []events.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.all {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

type set tenants.Limits

func (s set) Limits(context.Context, tenants.ID) (tenants.Limits, error) {
	return tenants.Limits(s), nil
}

// place is a tenant with limits, counted somewhere.
type place struct {
	*Limiter
	*clock
	t      *testing.T
	tenant tenants.ID
	heard  *heard
}

// call is one of a person's app; change says what is different.
func (p *place) call(change ...func(*Call)) Call {
	c := Call{
		ID: tenants.RandomID("ca"), Tenant: p.tenant, TenantName: "Acme", User: "us1", Grant: "gr1", ServerID: "se1", Server: "orders",
		Op: "tools/call", Name: "search_orders", Tool: &registry.Tool{Name: "search_orders"}, Arguments: json.RawMessage(`{"n":"` + tenants.RandomID("n") + `"}`),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func by(u tenants.UserID) func(*Call) {
	return func(c *Call) { c.User, c.Grant = u, "gr-"+string(u) }
}

func arguments(s string) func(*Call) {
	return func(c *Call) { c.Arguments = json.RawMessage(s) }
}

func limited(l registry.ToolLimits) func(*Call) {
	return func(c *Call) { c.Tool = &registry.Tool{Name: c.Name}; c.Tool.Limits = l }
}

func (p *place) pass(c Call) Spent {
	p.t.Helper()
	s, err := p.Spend(p.t.Context(), c)
	if err != nil {
		p.t.Fatalf("refused: %v", err)
	}
	return s
}

func (p *place) refused(c Call, code fault.Code, d Dimension) *fault.Error {
	p.t.Helper()
	s, err := p.Spend(p.t.Context(), c)
	if !fault.HasCode(err, code) || s.Reached != d {
		p.t.Fatalf("got %v at %q, want %s at %q", err, s.Reached, code, d)
	}
	f := fault.Of(err)
	if f.RetryAfter <= 0 || f.RetryAfter > 48*time.Hour {
		p.t.Errorf("to wait: %s", f.RetryAfter)
	}
	return f
}

func perMinute(calls, burst int) tenants.Limit {
	return tenants.Limit{Rate: tenants.Rate{Calls: calls, Per: time.Minute}, Burst: burst}
}

func atOnce(n int) tenants.Limit { return tenants.Limit{Concurrency: n} }

// conformance is what every store holds.
var conformance = map[string]struct {
	limits tenants.Limits
	test   func(t *testing.T, p *place)
}{
	"RefusedCallSpendsNothing": {tenants.Limits{Tenant: perMinute(10, 10), User: perMinute(2, 2), Repeats: tenants.Repeats{Refuse: 3}}, func(t *testing.T, p *place) {
		p.pass(p.call())
		p.pass(p.call())
		for range 20 {
			p.refused(p.call(), fault.LimitReached, User)
		}
		// The tenant still has eight calls, and no more.
		for i := range 8 {
			p.pass(p.call(by(tenants.UserID(fmt.Sprintf("other%d", i)))))
		}
		p.refused(p.call(by("last")), fault.LimitReached, Tenant)
	}},
	"CallRefusedForItsPlaceSpendsNothing": {tenants.Limits{Tenant: perMinute(3, 3), User: atOnce(1)}, func(t *testing.T, p *place) {
		s := p.pass(p.call())
		for range 10 {
			p.refused(p.call(), fault.LimitReached, User)
		}
		s.Release()
		s = p.pass(p.call())
		s.Release()
		p.pass(p.call())
	}},
	"CallRefusedForItsRateTakesNoPlace": {tenants.Limits{Tenant: atOnce(2), User: perMinute(1, 1)}, func(t *testing.T, p *place) {
		p.pass(p.call(by("one")))
		for range 5 {
			p.refused(p.call(by("one")), fault.LimitReached, User)
		}
		p.pass(p.call(by("two")))
		p.refused(p.call(by("three")), fault.LimitReached, Tenant)
	}},
	"RetryAfterIsWhenItPasses": {tenants.Limits{User: perMinute(6, 3)}, func(t *testing.T, p *place) {
		for range 3 {
			p.pass(p.call())
		}
		f := p.refused(p.call(), fault.LimitReached, User)
		if f.RetryAfter > 10*time.Second || f.RetryAfter < 9*time.Second {
			t.Errorf("to wait: %s, want 10 s", f.RetryAfter)
		}
		p.advance(f.RetryAfter - 500*time.Millisecond)
		f = p.refused(p.call(), fault.LimitReached, User)
		p.advance(f.RetryAfter)
		p.pass(p.call())
		p.refused(p.call(), fault.LimitReached, User)
		p.advance(time.Minute)
		for range 3 { // not more than its burst, however long it was idle
			p.pass(p.call())
		}
		p.refused(p.call(), fault.LimitReached, User)
	}},
	"OneUserCannotStarveTenant": {tenants.Limits{Tenant: perMinute(1000, 100), User: perMinute(60, 10)}, func(t *testing.T, p *place) {
		passed := 0
		for range 300 {
			if _, err := p.Spend(t.Context(), p.call(by("greedy"))); err == nil {
				passed++
			}
		}
		if passed < 10 || passed > 14 {
			t.Errorf("%d calls of the greedy one passed, want its burst", passed)
		}
		for i := range 20 {
			p.pass(p.call(by(tenants.UserID(fmt.Sprintf("modest%d", i)))))
		}
	}},
	"SessionsAreApart": {tenants.Limits{Session: perMinute(1, 1)}, func(t *testing.T, p *place) {
		in := func(grant string) func(*Call) { return func(c *Call) { c.Grant = grant } }
		p.pass(p.call(in("a")))
		p.pass(p.call(in("b")))
		p.pass(p.call(in(""))) // the person stands for it
		p.refused(p.call(in("a")), fault.LimitReached, Session)
		p.refused(p.call(in("")), fault.LimitReached, Session)
		p.pass(p.call(in(""), func(c *Call) { c.User = "us2" }))
	}},
	"ToolsOwnLimitsComeOnTop": {tenants.Limits{Tool: perMinute(4, 4)}, func(t *testing.T, p *place) {
		own := limited(registry.ToolLimits{Tool: perMinute(3, 3), User: perMinute(2, 2), Session: perMinute(1, 1)})
		p.pass(p.call(own))
		p.refused(p.call(own), fault.LimitReached, Session)
		second := func(c *Call) { c.Grant = "second" }
		p.pass(p.call(own, second))
		p.refused(p.call(own, func(c *Call) { c.Grant = "third" }), fault.LimitReached, User)
		p.pass(p.call(own, by("us2")))
		p.refused(p.call(own, by("us3")), fault.LimitReached, Tool)
		// What the tenant says of every tool holds for each of them by itself.
		other := func(c *Call) { c.Name, c.Tool = "other", &registry.Tool{Name: "other"} }
		for range 4 {
			p.pass(p.call(other))
		}
		p.refused(p.call(other), fault.LimitReached, Tool)
		p.pass(p.call(other, func(c *Call) { c.ServerID = "se2" })) // the same name elsewhere
		// What is no tool is under none of it.
		for range 6 {
			p.pass(p.call(func(c *Call) { c.Op, c.Tool = "resources/read", nil }))
		}
	}},
	"TenantsAreApart": {tenants.Limits{Tenant: perMinute(1, 1), Repeats: tenants.Repeats{Refuse: 2}}, func(t *testing.T, p *place) {
		p.pass(p.call(arguments(`{}`)))
		p.pass(p.call(arguments(`{}`), func(c *Call) { c.Tenant = tenants.NewID() }))
	}},
	"PlacesComeBack": {tenants.Limits{Tenant: atOnce(3), User: atOnce(2), Session: atOnce(1)}, func(t *testing.T, p *place) {
		grant := func(g string) func(*Call) { return func(c *Call) { c.Grant = g } }
		one := p.pass(p.call(grant("a")))
		f := p.refused(p.call(grant("a")), fault.LimitReached, Session)
		if f.RetryAfter != time.Second {
			t.Errorf("to wait for a place: %s", f.RetryAfter)
		}
		two := p.pass(p.call(grant("b")))
		p.refused(p.call(grant("c")), fault.LimitReached, User)
		p.pass(p.call(by("us2")))
		p.refused(p.call(by("us3")), fault.LimitReached, Tenant)
		one.Release()
		two.Release()
		for range 50 { // each waits for the one before only
			s := p.pass(p.call(grant("a")))
			s.Release()
		}
	}},
	"ManyAtOnceAreCountedOnce": {tenants.Limits{Tenant: perMinute(1, 40), User: atOnce(30)}, func(t *testing.T, p *place) {
		var passed, refused atomic.Int64
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 10 {
					switch _, err := p.Spend(t.Context(), p.call()); {
					case err == nil:
						passed.Add(1)
					case fault.HasCode(err, fault.LimitReached):
						refused.Add(1)
					default:
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if passed.Load() != 30 || refused.Load() != 130 {
			t.Errorf("%d passed and %d were refused, want 30 and 130", passed.Load(), refused.Load())
		}
	}},
	"LoopIsNamed": {tenants.Limits{Repeats: tenants.Repeats{Notice: 3, Refuse: 6}}, func(t *testing.T, p *place) {
		same := []string{`{"a":1,"b":[2]}`, `{"b":[2.0],"a":1}`, ` { "a" : 1e0, "b" : [2] } `}
		for i := 1; i <= 5; i++ {
			s := p.pass(p.call(arguments(same[i%3])))
			if i < 3 && (s.Notice != "" || s.Repeats != 0) || i >= 3 && (s.Repeats != i || !strings.Contains(s.Notice, fmt.Sprintf("identical call number %d within a minute", i))) {
				t.Errorf("call %d: %d, %q", i, s.Repeats, s.Notice)
			}
		}
		for range 4 {
			f := p.refused(p.call(arguments(same[0])), fault.RepeatedCall, "")
			if f.RetryAfter > time.Minute || f.RetryAfter < 50*time.Second || !strings.Contains(f.Message, "identical call number 6") {
				t.Errorf("%s: %s", f.RetryAfter, f.Message)
			}
		}
		if got := p.heard.of(events.RepeatedCalls); len(got) != 1 || got[0].Tool != "search_orders" || got[0].Tenant != p.tenant || got[0].Same == "" || got[0].CallID == "" {
			t.Errorf("events: %+v", got)
		}
		// It is that call of that session which is refused, and nothing else.
		p.pass(p.call(arguments(`{"a":2,"b":[2]}`)))
		p.pass(p.call(arguments(same[0]), func(c *Call) { c.Grant = "another" }))
		p.pass(p.call(arguments(same[0]), func(c *Call) { c.Name = "another" }))
		p.pass(p.call(arguments(same[0]), func(c *Call) { c.Op = "prompts/get" }))
		p.advance(time.Minute)
		if s := p.pass(p.call(arguments(same[0]))); s.Repeats != 0 {
			t.Errorf("a minute later it is number %d", s.Repeats)
		}
		for range 10 {
			p.Spend(t.Context(), p.call(arguments(same[0])))
		}
		if n := len(p.heard.of(events.RepeatedCalls)); n != 2 {
			t.Errorf("%d events after two minutes of it", n)
		}
	}},
	"FanOutRaisesOneEvent": {tenants.Limits{FanOut: tenants.FanOut{Calls: 5}}, func(t *testing.T, p *place) {
		for i := range 20 {
			p.pass(p.call())
			want := 0
			if i >= 5 {
				want = 1
			}
			if got := p.heard.of(events.FanOut); len(got) != want {
				t.Fatalf("%d events after %d calls", len(got), i+1)
			}
		}
		for range 5 {
			p.pass(p.call(by("us2"))) // who stays below
		}
		p.advance(time.Minute)
		for range 6 {
			p.pass(p.call(func(c *Call) { c.Grant = tenants.RandomID("gr") })) // whatever their apps
		}
		got := p.heard.of(events.FanOut)
		if len(got) != 2 || got[1].User != "us1" || got[1].Tenant != p.tenant || got[1].Same != "us1" {
			t.Errorf("events: %+v", got)
		}
	}},
	"NothingIsCountedWhereNothingIsLimited": {tenants.Limits{
		Tenant: tenants.Limit{Rate: tenants.NoRate, Concurrency: tenants.Unbounded}, FanOut: tenants.FanOut{Calls: tenants.Unbounded},
		Repeats: tenants.Repeats{Notice: tenants.Unbounded, Refuse: tenants.Unbounded},
	}, func(t *testing.T, p *place) {
		for range 200 {
			if s := p.pass(p.call(arguments(`{}`))); s.Notice != "" {
				t.Fatal(s.Notice)
			}
		}
		if len(p.heard.all) > 0 {
			t.Errorf("events: %+v", p.heard.all)
		}
	}},
	"FastRatesAreHeld": {tenants.Limits{User: tenants.Limit{Rate: tenants.Rate{Calls: 9_999_999, Per: time.Second}, Burst: 1_000_000}, Session: tenants.Limit{Rate: tenants.Rate{Calls: 1, Per: 24 * time.Hour}, Burst: 1}}, func(t *testing.T, p *place) {
		p.pass(p.call())
		if f := p.refused(p.call(), fault.LimitReached, Session); f.RetryAfter < 23*time.Hour || f.RetryAfter > 24*time.Hour {
			t.Errorf("to wait: %s", f.RetryAfter)
		}
		p.pass(p.call(func(c *Call) { c.Grant = "another" }))
	}},
}

func TestMemory(t *testing.T) {
	for name, c := range conformance {
		t.Run(name, func(t *testing.T) {
			k, h := &clock{}, &heard{}
			l := New(Config{Store: newMemory(k.frozen, maxKeys), Settings: set(c.limits), Events: h})
			c.test(t, &place{l, k, t, tenants.NewID(), h})
		})
	}
}

func TestValkey(t *testing.T) {
	server := testenv.Valkey(t)
	for name, c := range conformance {
		t.Run(name, func(t *testing.T) {
			k, h := &clock{}, &heard{}
			s := shared(t, server, k, SharedOptions{})
			c.test(t, &place{New(Config{Store: s, Settings: set(c.limits), Events: h}), k, t, tenants.NewID(), h})
			if s.State() != InValkey {
				t.Errorf("it counted in %s", s.State())
			}
		})
	}
}

// shared is an edge of a server.
func shared(t testing.TB, server *testenv.ValkeyServer, k *clock, o SharedOptions) *Shared {
	t.Helper()
	o.URL = secret.Text(server.URL())
	s, err := openShared(context.Background(), o, k.shift)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSettingsThatCannotBeReadRefuseTheCall(t *testing.T) {
	away := fault.New(fault.StoreAway, "The store is away.")
	l := New(Config{Store: NewMemory(), Settings: failing{away}})
	if _, err := l.Spend(t.Context(), Call{}); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Limits(context.Context, tenants.ID) (tenants.Limits, error) {
	return tenants.Limits{}, f.err
}
