package echotool

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/runtimetest"
)

func TestConformance(t *testing.T) {
	spec, _, problems := check(nil)
	if problems != nil {
		t.Fatal(problems)
	}
	runtimetest.Run(t, runtimetest.Harness{
		Kind:    Kind,
		Opening: runtime.Opening{Spec: spec},
		Normal:  runtimetest.Tool{Name: "echo", Input: `{"text":"hello"}`},
		Failing: runtimetest.Tool{Name: "fail", Input: `{"message":"no"}`},
		Slow:    runtimetest.Tool{Name: "wait", Input: `{"seconds":30}`},
		Big:     runtimetest.Tool{Name: "big", Input: `{"bytes":2000000}`},
		Canary:  runtimetest.Tool{Name: "echo", Input: `{"deep":[{"text":"mine is ` + runtimetest.CanarySecret + `"}]}`},
	})
}

func parse(t *testing.T, text string) (json.RawMessage, registry.Definition, []registry.Problem) {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return check(&n)
}

func TestSpecChoosesToolsAndScopes(t *testing.T) {
	normalized, def, problems := parse(t, "tools:\n  - echo\n  - {name: wait, scope: diagnostics}\n")
	if problems != nil {
		t.Fatal(problems)
	}
	if got, want := string(normalized), `{"tools":[{"name":"echo","scope":"tool:echo"},{"name":"wait","scope":"diagnostics"}]}`; got != want {
		t.Errorf("normalized to %s, want %s", got, want)
	}
	if len(def.Tools) != 2 || def.Tools[1].Scope != "diagnostics" || def.Tools[1].Risk != registry.Reads {
		t.Errorf("definition is %+v", def.Tools)
	}
	in, err := open(context.Background(), runtime.Opening{Spec: normalized}, runtime.Host{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.CallTool(context.Background(), &runtime.Call{Name: "big"}, runtime.Env{}); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("a tool that is not offered: %v", err)
	}
}

func TestEmptySpecOffersAll(t *testing.T) {
	for _, text := range []string{"", "null", "{}"} {
		if _, def, problems := parse(t, text); len(def.Tools) != len(tools) || problems != nil {
			t.Errorf("%q: %d tools, problems %v", text, len(def.Tools), problems)
		}
	}
}

func TestInputSchemasAreJSON(t *testing.T) {
	for _, tl := range tools {
		if !json.Valid([]byte(tl.input)) {
			t.Errorf("%s: %s", tl.name, tl.input)
		}
	}
}

func TestWrongSpecNamesTheLine(t *testing.T) {
	for _, c := range []struct{ text, path, reason string }{
		{"tools: echo", "spec.tools", "must be a list"},
		{"tools: []", "spec.tools", "at least one"},
		{"tools: [ecco]", "spec.tools[0]", "no tool"},
		{"tools: [echo, echo]", "spec.tools[1]", "twice"},
		{"tools: [{name: echo, scope: 'A B'}]", "spec.tools[0].scope", "no scope"},
		{"tools: [{name: echo, scopes: x}]", "spec.tools[0].scopes", "not known"},
		{"prompts: 7x", "spec.prompts", "no scope"},
		{"resources: [a]", "spec.resources", "no scope"},
		{"tool: [echo]", "spec.tool", "not known"},
		{"[echo]", "spec", "mapping"},
	} {
		_, _, problems := parse(t, c.text)
		if len(problems) == 0 {
			t.Errorf("%s: accepted", c.text)
			continue
		}
		p := problems[0]
		if p.Path != c.path || !strings.Contains(p.Reason, c.reason) || p.Fix == "" || p.Line != 1 {
			t.Errorf("%s: problem is %+v", c.text, p)
		}
	}
}

func TestWhoamiSaysNothingOfTheWorker(t *testing.T) {
	c := &runtime.Call{ID: "call-1", Name: "whoami", Caller: runtime.Caller{Email: "a@example.com", Name: "A", Roles: []string{"viewer"}, Client: "x"}, Grant: "canary"}
	res, err := whoami(context.Background(), c, runtime.Env{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(raw); !strings.Contains(s, "a@example.com") || !strings.Contains(s, "viewer") || strings.Contains(s, "canary") {
		t.Errorf("whoami answered %s", s)
	}
}

func TestWaitReportsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports int
		env := runtime.Env{Progress: func(done, total float64, message string) {
			if reports++; done > total || total != 2 || message == "" {
				t.Errorf("progress %g of %g: %q", done, total, message)
			}
		}}
		start := time.Now()
		if _, err := wait(context.Background(), &runtime.Call{Input: json.RawMessage(`{"seconds":2}`)}, env); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 2*time.Second || reports < 7 {
			t.Errorf("waited %v with %d reports", took, reports)
		}
	})
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for _, c := range []struct{ tool, input string }{
		{"work", `{"seconds":3601}`}, {"work", `{"seconds":-1}`}, {"work", `{"seconds":1,"question":7}`},
		{"wait", `{"seconds":31}`}, {"wait", `{"seconds":-1}`}, {"wait", `{"seconds":1e300}`}, {"wait", `{"seconds":"x"}`}, {"big", `{"bytes":-1}`}, {"big", `{"bytes":100000000}`}, {"fail", `[]`},
	} {
		if _, err := byName(c.tool).run(context.Background(), &runtime.Call{Input: json.RawMessage(c.input)}, runtime.Env{}); !fault.HasCode(err, fault.InvalidArguments) {
			t.Errorf("%s %s: %v", c.tool, c.input, err)
		}
	}
}

func TestWorkAsksFirst(t *testing.T) {
	for answer, want := range map[string]string{
		`{"action":"accept","content":{"answer":"blue"}}`: "blue", `{"action":"decline"}`: "(none)", `{"action":"accept","content":{"answer":7}}`: "(none)", `[]`: "(none)", ``: "(none)",
	} {
		env := runtime.Env{Progress: func(float64, float64, string) {}, Ask: func(_ context.Context, q runtime.Question) (json.RawMessage, error) {
			if q.Method != "elicitation/create" || !strings.Contains(string(q.Params), "Which colour?") {
				t.Errorf("asked %+v", q)
			}
			return json.RawMessage(answer), nil
		}}
		res, err := work(context.Background(), &runtime.Call{Input: json.RawMessage(`{"seconds":0,"question":"Which colour?"}`)}, env)
		if err != nil || res.StructuredContent.(map[string]any)["answer"] != want {
			t.Errorf("%s: %+v, %v", answer, res, err)
		}
	}
	refuses := runtime.Env{Ask: func(context.Context, runtime.Question) (json.RawMessage, error) {
		return nil, fault.New(fault.Unanswerable, "no")
	}}
	if _, err := work(context.Background(), &runtime.Call{Input: json.RawMessage(`{"seconds":0,"question":"Which?"}`)}, refuses); !fault.HasCode(err, fault.Unanswerable) {
		t.Errorf("%v", err)
	}
}
