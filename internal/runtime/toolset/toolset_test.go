package toolset

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

var schema = json.RawMessage(`{"type":"object"}`)

// servers are a tenant's: two that are published, one draft, one toolset.
func servers(t testing.TB) []registry.Hosted {
	t.Helper()
	make := func(slug, kind string, published bool, tools ...registry.Tool) registry.Hosted {
		h := registry.Hosted{Server: registry.Server{Slug: slug, Kind: kind}}
		rev, err := registry.NewRevision(h.Server, json.RawMessage(`{}`), registry.Definition{Tools: tools, Logging: slug == "crm"}, "test")
		if err != nil {
			t.Fatal(err)
		}
		if h.Revision = rev; published {
			h.Server.Active = "rv1"
		}
		return h
	}
	erase := registry.Tool{Name: "erase_customer", InputSchema: schema, Scope: "crm:delete", Risk: registry.Destructive, Timeout: time.Second,
		Safety: registry.Safety{Approval: &registry.Approval{Role: "lead"}, Deprecated: &registry.Deprecation{Since: "2026-01-01", Sunset: "2030-01-01", Successor: "find_customer"}}}
	return []registry.Hosted{
		make("orders", "sql", true, registry.Tool{Name: "search", InputSchema: schema, Scope: "orders:read", Risk: registry.Reads}, registry.Tool{Name: "Refund", InputSchema: schema, Risk: registry.Destructive}),
		make("crm", "http", true, registry.Tool{Name: "find_customer", Title: "Find", Description: "Finds.", InputSchema: schema, Scope: "crm:read", Risk: registry.Reads}, erase, registry.Tool{Name: "search", InputSchema: schema, Risk: registry.Reads}),
		make("later", "http", false, registry.Tool{Name: "soon", InputSchema: schema, Risk: registry.Reads}),
		make("desk", name, true, registry.Tool{Name: "nested", InputSchema: schema, Risk: registry.Reads, Origin: &registry.Origin{Server: "crm", Tool: "search"}}),
	}
}

func read(t testing.TB, yaml string, leaveOut bool) (registry.Definition, []registry.Problem) {
	t.Helper()
	n, problems := registry.ReadYAML(yaml)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	spec, _, problems := check(n)
	if len(problems) > 0 {
		return registry.Definition{}, problems
	}
	_, def, problems := compose(spec, registry.Composing{Servers: servers(t), LeaveOut: leaveOut})
	return def, problems
}

func TestToolsetHasTheNamesAndScopesItSays(t *testing.T) {
	def, problems := read(t, `
instructions: Help.
tools:
- orders/search
- {tool: crm/find_customer, name: find_client, title: Find a client, description: Finds a client., scope: desk}
- {server: crm, include: ["*"], exclude: [find_*], prefix: crm_}
`, false)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := map[string][3]string{ // origin, scope, title
		"search":             {"orders/search", "orders:orders:read", ""},
		"find_client":        {"crm/find_customer", "desk", "Find a client"},
		"crm_erase_customer": {"crm/erase_customer", "crm:crm:delete", ""},
		"crm_search":         {"crm/search", "crm:tool:search", ""},
	}
	if len(def.Tools) != len(want) || def.Instructions != "Help." || !def.Logging || def.Search {
		t.Errorf("%+v", def)
	}
	for _, tool := range def.Tools {
		w := want[tool.Name]
		if tool.Origin == nil || tool.Origin.Server+"/"+tool.Origin.Tool != w[0] || tool.Scope != w[1] || tool.Title != w[2] || tool.Origin.Hash == "" {
			t.Errorf("%s: %+v %+v", tool.Name, tool, tool.Origin)
		}
	}
}

// What a tool may do is its server's word: a toolset has no key for it, and its copy
// says the same.
func TestToolsetWidensNothing(t *testing.T) {
	for _, key := range append(registry.SafetyKeys(), "risk", "timeout", "input_schema", "idempotent") {
		if _, problems := read(t, "tools: [{tool: crm/erase_customer, "+key+": {}}]", false); len(problems) == 0 || !strings.Contains(problems[0].Reason, "not known") {
			t.Errorf("%s: %v", key, problems)
		}
	}
	def, problems := read(t, "tools: [{tool: crm/erase_customer, name: erase}, {tool: crm/find_customer, name: find}]", false)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if e := def.Tools[0]; e.Risk != registry.Destructive || e.Approval == nil || e.Approval.Role != "lead" || e.Timeout != time.Second || e.Deprecated.Successor != "find" {
		t.Errorf("%+v", e)
	}
	if def, _ := read(t, "tools: [{tool: crm/erase_customer, name: erase}]", false); def.Tools[0].Deprecated.Successor != "" {
		t.Errorf("a successor that is not in the toolset: %+v", def.Tools[0].Deprecated)
	}
}

func TestToolsetProblemsSayWhereAndWhat(t *testing.T) {
	for yaml, want := range map[string]string{
		"mode: fast":                   "spec.mode: \"fast\" is no mode",
		"scope: Admin!":                "is no scope",
		"tools: [find]":                "names no tool of a server",
		"tools: [crm/]":                "names no tool of a server",
		"tools: [CRM/find_customer]":   "names no tool of a server",
		"tools: [crm/find_customer/x]": "has no tool",
		"tools: [{tool: crm/search, name: two words}]":                    "is no name of a tool",
		"tools: [{tool: crm/search, name: nаme}]":                         "is no name of a tool", // a Cyrillic letter
		"tools: [{server: crm, include: [\"[\"]}]":                        "is no pattern",
		"tools: [{server: crm, prefix: \" \"}]":                           "is no beginning of a name",
		"tools: [{server: crm, include: [nothing_*]}]":                    "takes no tool of the server crm",
		"tools: [elsewhere/find]":                                         "there is no server \"elsewhere\"",
		"tools: [crm/nothing]":                                            "has no tool \"nothing\"; it has find_customer, erase_customer, search",
		"tools: [desk/nested]":                                            "toolsets hold no toolsets",
		"tools: [orders/search, crm/search]":                              "spec.tools[1]: crm/search would be called search, as orders/search is",
		"tools: [orders/search, {tool: crm/search, name: Search}]":        "reads as search",
		"{mode: search, tools: [{tool: crm/search, name: execute_tool}]}": "a tool of every toolset that is searched",
		"tools: [{tool: crm/search, name: x, risk: read}]":                "is not known",
	} {
		_, problems := read(t, yaml, false)
		if len(problems) == 0 {
			t.Errorf("%s: no problem", yaml)
			continue
		}
		if said := (&registry.Problems{List: problems}).Error(); !strings.Contains(said, want) {
			t.Errorf("%s: %s", yaml, said)
		}
	}
}

// A server that is there and not published yet is waited for: a file may declare
// both at once.
func TestUnpublishedMemberIsWaitedFor(t *testing.T) {
	def, problems := read(t, "tools: [later/soon, orders/search]", false)
	if len(problems) > 0 || len(def.Tools) != 1 {
		t.Errorf("%v %v", def.Tools, problems)
	}
}

// What a member takes away is left out without a word, and what it adds takes no
// name that another has.
func TestToolsetFollowsWithoutWhatIsGone(t *testing.T) {
	def, problems := read(t, "tools: [crm/nothing, elsewhere/find, desk/nested, orders/search, {server: crm, include: [search]}]", true)
	if len(problems) > 0 || len(def.Tools) != 1 || def.Tools[0].Origin.Server != "orders" {
		t.Errorf("%+v %v", def.Tools, problems)
	}
}

func TestTemplateIsASpec(t *testing.T) {
	if _, problems := read(t, Kind.Template, false); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestNoWorkerOpensAToolset(t *testing.T) {
	if _, err := Kind.Open(t.Context(), runtime.Opening{}, runtime.Host{}); err == nil {
		t.Error("opened")
	}
}

func FuzzCompose(f *testing.F) {
	for _, s := range []string{"tools: [crm/find_customer]", "mode: search\ntools: [{server: crm, include: [\"*\"], prefix: x_}]", "scope: a\ntools: [{tool: crm/search, name: y}]"} {
		f.Add(s)
	}
	all := servers(f)
	f.Fuzz(func(t *testing.T, yaml string) {
		n, problems := registry.ReadYAML(yaml)
		if len(problems) > 0 {
			return
		}
		spec, _, problems := check(n)
		if len(problems) > 0 {
			return
		}
		_, def, problems := compose(spec, registry.Composing{Servers: all})
		if len(problems) > 0 {
			return
		}
		names := map[string]bool{}
		for _, tool := range def.Tools {
			key := strings.ToLower(tool.Name)
			if names[key] || !scopePattern.MatchString(tool.Scope) || tool.Origin == nil {
				t.Errorf("%s: %+v", yaml, tool)
			}
			names[key] = true
		}
	})
}
