package switches

import (
	"strings"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func TestExpiredSwitchLetsThrough(t *testing.T) {
	end := now.Add(time.Hour)
	set := NewSet([]Switch{{Target: Target{Kind: Tool, Server: "orders", Tool: "refund"}, ExpiresAt: end, CancelRunning: true}})
	c := Call{Server: "orders", Tool: "refund"}
	for at, want := range map[time.Time]bool{now: true, end.Add(-1): true, end: false, end.Add(time.Hour): false} {
		if _, off := set.Of(c, at); off != want {
			t.Errorf("at %s off: %v", at, off)
		}
		if _, off := set.Cancels(c, at); off != want {
			t.Errorf("at %s cancels: %v", at, off)
		}
	}
}

func TestSwitchIsOfWhatItNames(t *testing.T) {
	call := Call{Server: "orders", Tool: "refund", Member: "us1", Client: "cl1"}
	for text, want := range map[string]bool{
		"platform": true, "tenant": true, "server:orders": true, "server:crm": false, "tool:orders/refund": true, "tool:orders/refunds": false, "tool:crm/refund": false,
		"member:us1": true, "member:us2": false, "client:cl1": true, "client:cl": false,
	} {
		target, err := ParseTarget(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, off := NewSet([]Switch{{Target: target}}).Of(call, now); off != want {
			t.Errorf("%s: %v", text, off)
		}
	}
	// A resource has no tool, and a call may have no member.
	for _, s := range []Target{{Kind: Tool, Server: "orders"}, {Kind: Tool}, {}} {
		if _, off := NewSet([]Switch{{Target: s}}).Of(Call{Server: "orders", Member: "us1", Client: "cl1"}, now); off && s.Kind != "" {
			t.Errorf("%+v stops what is no tool", s)
		}
	}
	both := NewSet([]Switch{{Target: Target{Kind: Tool, Server: "orders", Tool: "refund"}}, {Target: Target{Kind: Tenant}}})
	if w, _ := both.Of(call, now); w.Target.Kind != Tenant {
		t.Errorf("of two, %s is told", w.Target)
	}
}

func TestReasonIsNotInTheRefusal(t *testing.T) {
	s := Switch{Target: Target{Kind: Tool, Server: "incidents", Tool: "create_incident_ticket"}, Reason: "SECRETREASON", By: "dana@acme.test", ByRole: "admin", ExpiresAt: now.Add(time.Hour)}
	if got := s.Refusal("Acme Corp").Message; got != "create_incident_ticket is switched off at Acme Corp by an administrator (role admin). Do not retry; ask them." {
		t.Error(got)
	}
	for _, kind := range Kinds {
		for _, role := range []string{"admin", OperatorRole, KeyRole("CI")} {
			s.Target.Kind, s.ByRole = kind, role
			for _, f := range []*fault.Error{s.Refusal("Acme"), s.Stopped("Acme", "create", false), s.Stopped("Acme", "create", true)} {
				text := f.Error() + f.Message
				if strings.Contains(text, "SECRETREASON") || strings.Contains(text, "dana") || strings.Contains(text, "2026") || !strings.Contains(text, strings.TrimPrefix(role, "API key ")) {
					t.Errorf("%s by %s: %s", kind, role, text)
				}
			}
		}
	}
}

func TestTenantCannotLiftWhatTheOperatorSwitchedOff(t *testing.T) {
	for _, c := range []struct {
		was, who string
		may      bool
	}{{OperatorRole, "admin", false}, {OperatorRole, KeyRole("platform operator"), false}, {OperatorRole, OperatorRole, true}, {"admin", "oncall", true}, {"admin", OperatorRole, true}, {"", "admin", true}} {
		if err := (Switch{ByRole: c.was}).MayChange(c.who); (err == nil) != c.may {
			t.Errorf("%s over %s: %v", c.who, c.was, err)
		}
	}
	if tenants.ValidSlug(OperatorRole) == nil {
		t.Error("a tenant can make a role of the operator's name")
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, text := range []string{"", "tool", "tool:", "tool:orders", "tool:orders/", "tool:/x", "tool:Or ders/x", "server:", "server:a/b", "member:", "client:", "tenant:x", "platform:x", "all",
		"tool:orders/a\x00", "client:\xff", "client: x", "client:" + strings.Repeat("x", MaxTarget)} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("%.40q is read as %+v", text, got)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"tenant", "platform", "server:orders", "tool:orders/refund/x:y", "member:dana@acme.test", "client:https://a.b/c?d#e", "tool:orders/", ":", "client:\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		target, err := ParseTarget(text)
		if err != nil {
			if err.Error() == "" || len(err.Error()) > 700 {
				t.Fatalf("%q", err)
			}
			return
		}
		if target.String() != text {
			t.Fatalf("%q is written as %q", text, target.String())
		}
		if again, err := ParseTarget(target.String()); err != nil || again != target {
			t.Fatalf("%+v, %v", again, err)
		}
	})
}
