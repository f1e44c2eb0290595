package registry_test

import (
	"strings"
	"testing"

	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

const limitsFile = `
tenant: acme
name: Acme Corp
limits:
  tenant: {rate: none, concurrency: none}
  user: {rate: 60/min, burst: 5, concurrency: 3, message: "Too many: {{limit}}."}
  tool: {rate: 5/s, message: "60"}
  fan_out: {calls: 80}
  repeats: {notice: 3, refuse: -1}
`

func TestLimitsOfAFile(t *testing.T) {
	a := newApplying(t)
	a.want(a.parse("tenant: acme\nname: Acme Corp\n"), "created tenant acme")
	own := func() tenants.Limits {
		t.Helper()
		l, err := a.db.OwnLimits(t.Context(), a.tenant())
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	plan, err := a.applyWith(a.parse(limitsFile), registry.ApplyOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, f := range plan.Done[0].Fields {
		fields = append(fields, f.Field+"="+f.Before+">"+f.After)
	}
	const want = "tenant.rate=>none tenant.concurrency=>none user.rate=>60/min user.burst=>5 user.concurrency=>3 user.message=>Too many: {{limit}}. " +
		"tool.rate=>5/s tool.message=>60 fan_out.calls=>80 repeats.notice=>3 repeats.refuse=>none"
	if got := strings.Join(fields, " "); got != want || verbs(plan.Done) != "updated limits acme" || plan.Done[0].Note != "11 set" {
		t.Errorf("%s: %+v\ngot  %s\nwant %s", verbs(plan.Done), plan.Done, got, want)
	}
	if own() != (tenants.Limits{}) {
		t.Error("a dry run changed the limits")
	}

	a.want(a.parse(limitsFile), "updated limits acme")
	set := own()
	if set.User.Message != "Too many: {{limit}}." || set.Tenant.Rate != tenants.NoRate || set.Repeats != (tenants.Repeats{Notice: 3, Refuse: tenants.Unbounded}) || set.Session != (tenants.Limit{}) {
		t.Errorf("%+v", set)
	}
	a.want(a.parse(limitsFile), "unchanged limits acme")
	a.want(a.parse("tenant: acme\nname: Acme Corp\n"), "")
	if own() != set {
		t.Error("a file that says nothing of limits changed them")
	}

	// What is exported is what is set, and nothing of it changes when it is applied.
	state, err := a.applier().State(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := registry.Export(state)
	if err != nil {
		t.Fatal(err)
	}
	a.want(a.parse(text), "unchanged limits acme")

	a.want(a.parse("tenant: acme\nname: Acme Corp\nlimits: {user: {rate: 60/min, burst: 5}}\n"), "updated limits acme")
	if got := own(); got.User.Message != "" || got.FanOut.Calls != 0 || got.User.Burst != 5 {
		t.Errorf("what the file leaves out stays: %+v", got)
	}
	a.want(a.parse("tenant: acme\nname: Acme Corp\nlimits: {}\n"), "updated limits acme")
	if own() != (tenants.Limits{}) {
		t.Errorf("no limits leave %+v", own())
	}
	state.Limits = own()
	if text, _, _ := registry.Export(state); strings.Contains(text, "limits") {
		t.Errorf("a tenant without limits exports some:\n%s", text)
	}
}
