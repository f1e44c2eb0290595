package registry_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

const small = `
tenant: acme
name: Acme Corp
members: [{email: dana@example.com}, {email: alex@example.com}]
servers:
- {slug: check, kind: echo}
`

const switchedOff = small + `
switches:
- {target: "tool:check/to_come", reason: not yet, expires: 2099-01-01T00:00:00Z}
- {target: "member:Dana@example.com", reason: on leave, cancel_running: true}
- {target: "client:https://app.example/c", reason: a loop}
`

func (a *applying) switching(data string, o registry.PlanOptions) (registry.Result, error) {
	a.Helper()
	x := a.applier()
	x.Switches, x.Role = a.db, "oncall"
	return x.Apply(context.Background(), a.parse(data), registry.ApplyOptions{PlanOptions: o})
}

// switched applies and compares what it did about switches.
func (a *applying) switched(data string, o registry.PlanOptions, want string) {
	a.Helper()
	r, err := a.switching(data, o)
	if err != nil {
		a.Fatal(err)
	}
	var got []string
	for _, d := range r.Done {
		if d.What == "switch" {
			got = append(got, d.Verb+" "+d.Name)
		}
	}
	if s := strings.Join(got, "\n"); s != strings.TrimSpace(strings.ReplaceAll(want, "\t", "")) {
		a.Errorf("did\n%s\nwant\n%s", s, want)
	}
}

func (a *applying) on() map[string]switches.Switch {
	a.Helper()
	list, err := a.db.SwitchesOn(context.Background(), a.tenant())
	if err != nil {
		a.Fatal(err)
	}
	out := map[string]switches.Switch{}
	for _, s := range list {
		out[s.Target.String()] = s
	}
	return out
}

func TestFileSwitchesOffTwiceChangesNothing(t *testing.T) {
	a := newApplying(t)
	a.switched(switchedOff, registry.PlanOptions{}, `created tool:check/to_come
		created client:https://app.example/c
		created member:dana@example.com`)
	on := a.on()
	dana, err := a.db.UserByEmail(t.Context(), a.tenant(), "dana@example.com")
	if err != nil {
		t.Fatal(err)
	}
	tool, member := on["tool:check/to_come"], on["member:"+string(dana.ID)]
	if len(on) != 3 || tool.Reason != "not yet" || tool.By != "test" || tool.ByRole != "oncall" || !tool.ExpiresAt.Equal(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)) || !member.CancelRunning {
		t.Errorf("%+v", on)
	}
	a.switched(switchedOff, registry.PlanOptions{}, `unchanged tool:check/to_come
		unchanged client:https://app.example/c
		unchanged member:dana@example.com`)
	a.switched(strings.Replace(switchedOff, "on leave", "gone", 1), registry.PlanOptions{}, `unchanged tool:check/to_come
		unchanged client:https://app.example/c
		updated member:dana@example.com`)
	if s := a.on()["member:"+string(dana.ID)]; s.Reason != "gone" || s.ID != member.ID {
		t.Errorf("%+v", s)
	}
	// What is not mentioned stays, and prune lifts it.
	a.switched(small, registry.PlanOptions{}, "")
	if len(a.on()) != 3 {
		t.Errorf("%v", a.on())
	}
	part := strings.Split(switchedOff, "- {target: \"member")[0]
	a.switched(part, registry.PlanOptions{Prune: true}, `unchanged tool:check/to_come
		deleted client:https://app.example/c
		deleted member:dana@example.com`)
	if len(a.on()) != 1 {
		t.Errorf("%v", a.on())
	}
}

func TestExportHasWhatIsSwitchedOff(t *testing.T) {
	a := newApplying(t)
	if _, err := a.switching(switchedOff, registry.PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	put := func(target string, s switches.Switch) {
		t.Helper()
		var err error
		if s.Target, err = switches.ParseTarget(target); err == nil {
			s.Reason, s.By, s.ByRole = "test", "test", "admin"
			_, err = a.db.PutSwitch(t.Context(), a.tenant(), s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	put("server:check", switches.Switch{CreatedAt: now.Add(-time.Hour), ExpiresAt: now.Add(-time.Minute)}) // has run out
	put("member:"+string(tenants.NewUserID()), switches.Switch{CreatedAt: now})                            // is gone
	x := a.applier()
	x.Switches = a.db
	s, err := x.State(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	file, _, err := registry.Export(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"target: tool:check/to_come", "reason: not yet", "2099-01-01T00:00:00Z", "target: member:dana@example.com", "cancel_running: true"} {
		if !strings.Contains(file, want) {
			t.Errorf("no %q in\n%s", want, file)
		}
	}
	if strings.Contains(file, "server:check") || strings.Count(file, "member:") != 1 {
		t.Errorf("what is not on, or nobody's:\n%s", file)
	}
	a.switched(file, registry.PlanOptions{}, `unchanged client:https://app.example/c
		unchanged tool:check/to_come
		unchanged member:dana@example.com`)
}

func TestSwitchOfWhatIsNotThereIsNamed(t *testing.T) {
	a := newApplying(t)
	for target, want := range map[string]string{
		"tool:nowhere/x": "declare the server", "server:nowhere": "declare the server", "member:nobody@example.com": "declare the member",
	} {
		_, err := a.switching(small+"switches: [{target: \""+target+"\", reason: a loop}]\n", registry.PlanOptions{})
		if err == nil || !strings.Contains(err.Error(), target+" is not there") || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ":7:") {
			t.Errorf("%s: %v", target, err)
		}
	}
	// What has run out before it was applied switches nothing off.
	a.switched(small+"switches: [{target: tenant, reason: long ago, expires: 2020-01-01T00:00:00Z}]\n", registry.PlanOptions{}, "unchanged tenant")
	if on := a.on(); len(on) != 0 {
		t.Errorf("%v", on)
	}
}

func TestFileSwitchesNothingThatItsWriterMayNot(t *testing.T) {
	a := newApplying(t)
	no := fault.New(fault.RoleNotAllowed, "You may not.")
	asked := 0
	refuse := registry.PlanOptions{MaySwitch: func(before switches.Switch) error {
		if asked++; before.ByRole == "" || before.ByRole == "oncall" {
			return no
		}
		return nil
	}}
	if _, err := a.switching(switchedOff, refuse); !fault.HasCode(err, fault.RoleNotAllowed) || asked == 0 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	if _, err := a.switching(switchedOff, registry.PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	asked = 0
	if _, err := a.switching(switchedOff, refuse); err != nil || asked != 0 {
		t.Errorf("nothing is changed: %v, asked %d times", err, asked)
	}
	refuse.Prune = true
	if _, err := a.switching(small, refuse); !fault.HasCode(err, fault.RoleNotAllowed) {
		t.Errorf("pruned: %v", err)
	}
	if len(a.on()) != 3 {
		t.Errorf("%v", a.on())
	}
}
