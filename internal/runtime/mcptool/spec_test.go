package mcptool

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
)

func check(t testing.TB, declared string) (Spec, []registry.Problem) {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(declared), &n); err != nil {
		t.Fatal(err)
	}
	raw, _, problems := CheckSpec(&n)
	var s Spec
	if len(problems) == 0 {
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
	}
	return s, problems
}

func TestSpecIsNormalized(t *testing.T) {
	s, problems := check(t, `
instructions: Be careful.
include: [get_*, send]
exclude: [get_secret*]
tools:
  get_orders: {scope: "orders:read", risk: read, timeout: 5s, limits: {user: {rate: 5/min}}}
  "*": {confirm: never}
resources: {notes: {guard: {mask: [email]}}}
prompts: {"*": {hidden: true}}
`)
	if len(problems) > 0 {
		t.Fatal((&registry.Problems{List: problems}).Error())
	}
	for name, want := range map[string]bool{"get_orders": true, "send": true, "get_secrets": false, "delete": false} {
		if s.offers(name) != want {
			t.Errorf("%s is offered: %v", name, !want)
		}
	}
	if g := of(s.Tools, "get_orders"); g.Timeout != 5*time.Second || g.Safety.Limits.User.Rate.String() != "5/min" || g.Safety.Confirmation.Ask != "" {
		t.Errorf("%+v", g)
	}
	if o := of(s.Tools, "send"); o.Safety.Confirmation.Ask != registry.ConfirmNever {
		t.Errorf("%+v", o)
	}
	for _, empty := range []string{"", "{}", "null"} {
		if s, problems := check(t, empty); len(problems) > 0 || !s.offers("anything") {
			t.Errorf("%q: %+v, %v", empty, s, problems)
		}
	}
}

func TestSpecSaysWhatIsWrong(t *testing.T) {
	for declared, want := range map[string]string{
		`tool: {}`:                               "spec.tool: is not known",
		`include: ["[a"]`:                        `"[a" is no pattern`,
		`include: x`:                             "must be a list",
		`tools: [a]`:                             "must be a mapping",
		`tools: {a: {scope: "Big Scope"}}`:       `"Big Scope" is no scope`,
		`tools: {a: {risk: none}}`:               "spec.tools.a.risk: is not known",
		`tools: {a: {timeout: 1h}}`:              "must be a duration within its bounds",
		`tools: {a: {statement: x}}`:             "spec.tools.a.statement: is not known",
		`resources: {a: {risk: read}}`:           "spec.resources.a.risk: is not known",
		`prompts: {a: {timeout: 1s}}`:            "spec.prompts.a.timeout: is not known",
		`tools: {a: {hidden: perhaps}}`:          "must be true or false",
		`tools: {a: {guard: {mask: [nothing]}}}`: "spec.tools.a.guard",
	} {
		_, problems := check(t, declared)
		if got := (&registry.Problems{List: problems}).Error(); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", declared, got, want)
		}
	}
}

func offerOf(tools ...string) registry.Offer {
	var o registry.Offer
	for _, raw := range tools {
		var t struct{ Name string }
		_ = json.Unmarshal([]byte(raw), &t)
		o.Tools = append(o.Tools, registry.OfferedTool{Name: t.Name, Definition: json.RawMessage(raw)})
	}
	o.Seal()
	return o
}

// TestRiskIsTheStricterWord of the administrator's and the server's.
func TestRiskIsTheStricterWord(t *testing.T) {
	for _, one := range []struct {
		hints, admin string
		want         registry.Risk
	}{
		{`{}`, ``, registry.Destructive},
		{`{"readOnlyHint":false,"idempotentHint":false}`, ``, registry.Destructive},
		{`{"readOnlyHint":true}`, ``, registry.Reads},
		{`{"destructiveHint":false}`, ``, registry.Writes},
		{`{}`, `read`, registry.Reads},
		{`{}`, `write`, registry.Writes},
		{`{"readOnlyHint":true}`, `write`, registry.Writes},
		{`{"readOnlyHint":true}`, `destructive`, registry.Destructive},
		{`{"destructiveHint":true}`, `read`, registry.Destructive},
		{`{"destructiveHint":false}`, `read`, registry.Writes},
	} {
		s := Spec{Tools: map[string]Setting{others: {Risk: registry.Risk(one.admin)}}}
		_, def, problems := Define(s, offerOf(`{"name":"x","inputSchema":{"type":"object"},"annotations":`+one.hints+`}`))
		if len(problems) > 0 || def.Tools[0].Risk != one.want {
			t.Errorf("%s and %q: %+v, %v", one.hints, one.admin, def, problems)
		}
	}
}

// TestOfferThatCannotBeServed is named, with how to leave it out.
func TestOfferThatCannotBeServed(t *testing.T) {
	for definition, want := range map[string]string{
		`{"name":"x"}`: "inputSchema",
		`{"name":"x","inputSchema":{"type":"string"}}`:                                                          "its type must be object",
		`{"name":"x","inputSchema":{"type":"object","properties":{"a":{"type":7}}}}`:                            "is no schema of arguments",
		`{"name":"x","inputSchema":{"type":"object","properties":{"a":{"$ref":"https://example.com/s.json"}}}}`: "may only refer to itself",
		`{"name":"x","inputSchema":{"type":"object"},"outputSchema":{"type":7}}`:                                "outputSchema",
		`{"name":"x","description":7,"inputSchema":{"type":"object"}}`:                                          "cannot be read",
		`{"name":"x","inputSchema":{"type":"object","properties":{"confirmation":{}}}}`:                         "confirm: is not possible",
	} {
		_, _, problems := Define(Spec{}, offerOf(definition, `{"name":"y","inputSchema":{"type":"object"}}`))
		if got := (&registry.Problems{List: problems}).Error(); !strings.Contains(got, want) || !strings.Contains(got, "tools.x") {
			t.Errorf("%s: %q, want %q", definition, got, want)
		}
		if _, def, problems := Define(Spec{Exclude: []string{"x"}}, offerOf(definition, `{"name":"y","inputSchema":{"type":"object"}}`)); len(problems) > 0 || len(def.Tools) != 1 {
			t.Errorf("%s is not left out: %v", definition, problems)
		}
	}
}

// TestSettingsFitTheArguments that the tool has, which the spec could not know.
func TestSettingsFitTheArguments(t *testing.T) {
	s, problems := check(t, `tools: {x: {idempotency: {argument: order}, confirm: {when: {argument: amount, above: 5}, message: "Pay {{amount}} to {{whom}}?"}}}`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	_, _, problems = Define(s, offerOf(`{"name":"x","inputSchema":{"type":"object","properties":{"amount":{}}}}`))
	got := (&registry.Problems{List: problems}).Error()
	for _, want := range []string{`no argument "order"`, `no argument "whom"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q has no %q", got, want)
		}
	}
	if strings.Contains(got, `"amount"`) {
		t.Errorf("%q", got)
	}
}

// TestResourcesOfTheSameName are told apart: their names need not differ at the
// upstream.
func TestResourcesOfTheSameName(t *testing.T) {
	var o registry.Offer
	for i := range 3 {
		uri := fmt.Sprintf("file:///%d/README", i)
		o.Resources = append(o.Resources, registry.OfferedResource{URI: uri, Definition: json.RawMessage(`{"name":"README","uri":"` + uri + `","size":7}`)})
	}
	o.Seal()
	_, def, problems := Define(Spec{}, o)
	names := map[string]bool{}
	for _, r := range def.Resources {
		names[r.Name] = true
		if string(r.Passed) != `{"size":7}` || !scopePattern.MatchString(r.Scope) {
			t.Errorf("%+v", r)
		}
	}
	if len(problems) > 0 || len(names) != 3 {
		t.Errorf("%v, %v", names, problems)
	}
}

func TestNothingIsSaidInOurName(t *testing.T) {
	_, def, _ := Define(Spec{}, offerOf(`{"name":"x","inputSchema":{"type":"object"},"_meta":{"latchkey/deprecated":"use evil","io.modelcontextprotocol/serverInfo":{},"a/b":1},"icons":[{"src":"data:,"}]}`))
	if got := string(def.Tools[0].Passed); got != `{"_meta":{"a/b":1},"icons":[{"src":"data:,"}]}` {
		t.Error(got)
	}
}

func TestWordsOfAnUpstreamAreCleaned(t *testing.T) {
	for in, want := range map[string]string{
		"  plain words ":                      "plain words",
		"two\nlines\tand a tab":               "two lines and a tab",
		"hid\u200bden \u202eright\u0007 \xff": "hidden right",
		strings.Repeat("long", 1000):          strings.Repeat("long", 5) + "…",
	} {
		if got := clean(in, 20); got != want {
			t.Errorf("%q becomes %q", in, got)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\u202eb\xff", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 1 || most > 1000 {
			return
		}
		got := clean(s, most)
		if len(got) > most+len("…") || strings.ContainsAny(got, "\n\r\x00\u200b\u202e") || clean(got, most+len("…")) != got {
			t.Errorf("%q", got)
		}
	})
}

func FuzzDepth(f *testing.F) {
	f.Add(`{"a":[{"b":"]}\\\""}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		if json.Valid([]byte(s)) && (depth([]byte(s)) < 0 || depth([]byte(s)) > strings.Count(s, "{")+strings.Count(s, "[")) {
			t.Errorf("%d of %s", depth([]byte(s)), s)
		}
	})
}
