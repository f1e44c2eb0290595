package mcpgateway

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/guard"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/switches"
	"latchkey/internal/tenants"
)

const toolset1 = tenants.ServerID("svtttttttttttttttttt")

// desk makes a toolset `support` over a world's server: what a spec comes to, as it
// does when it is published.
func (w *world) desk(spec string) {
	w.t.Helper()
	n, problems := registry.ReadYAML(spec)
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	s, problems := registry.CheckSpec(kinds.Checker(), "toolset", n)
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	member := w.hosted
	member.Server.Active = member.Revision.ID
	s, err := s.Compose(registry.Composing{Servers: []registry.Hosted{member}})
	if err != nil {
		w.t.Fatal(err)
	}
	server := registry.Server{ID: toolset1, Tenant: w.tenant.ID, Slug: "support", Kind: "toolset", Title: "Support", Pool: "default"}
	rev, err := s.Revision(server, nil, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	number := w.others["support"].Revision.Number + 1
	rev.ID, rev.Number = registry.RevisionID("rvttttttttttttttttt"+string(rune('a'+number))), number
	w.others = map[string]registry.Hosted{"support": {Server: server, Revision: rev}}
	w.url = w.server.URL + "/mcp/support"
}

// opened are all that the person's roles open.
func (w *world) opened(scopes ...tenants.Scope) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.access.Scopes = map[tenants.Scope]bool{}
	for _, s := range scopes {
		w.access.Scopes[s] = true
	}
}

func atDesk(scope string) tenants.Scope { return tenants.Scope{Server: toolset1, Name: scope} }

// member changes the server that has the tools, as publishing does.
func (w *world) member(change func(tools map[string]*registry.Tool)) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	tools, def := map[string]*registry.Tool{}, w.hosted.Revision.Definition
	for _, tool := range def.Tools {
		tools[tool.Name] = &tool
	}
	change(tools)
	def.Tools = nil
	for _, name := range slices.Sorted(maps.Keys(tools)) {
		def.Tools = append(def.Tools, *tools[name])
	}
	rev, err := registry.NewRevision(w.hosted.Server, json.RawMessage(`{}`), def, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	rev.Number = w.hosted.Revision.Number + 1
	rev.ID = registry.RevisionID("rvmmmmmmmmmmmmmmmmm" + string(rune('a'+rev.Number)))
	w.hosted.Revision = rev
}

const twoTools = `
tools:
- {tool: orders/look, name: find, title: Find it, description: Finds an order.}
- {tool: orders/refund, scope: money}
`

func newDesk(t testing.TB) *world {
	w := newWorld(t)
	w.desk(twoTools)
	w.opened(atDesk("orders:read"), atDesk("money"))
	return w
}

func (w *world) desks(scopes ...string) string {
	if len(scopes) == 0 {
		scopes = []string{"orders:read", "money"}
	}
	return w.token(ann, scopes...)
}

func codeOf(body string) string {
	_, after, _ := strings.Cut(body, `"code":"`)
	code, _, _ := strings.Cut(after, `"`)
	return code
}

func TestToolsetsCallIsTheOriginsCall(t *testing.T) {
	for era, version := range eras {
		w := newDesk(t)
		s := w.connect(w.desks(), version)
		tools := w.mustList(s)
		if find := tools["find"]; len(tools) != 2 || find == nil || find.Title != "Find it" || find.Description != "Finds an order." || tools["refund"] == nil {
			t.Fatalf("%s: %v", era, tools)
		}
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "find", Arguments: map[string]any{"id": 7}})
		if err != nil || res.IsError {
			t.Fatalf("%s: %v %v", era, res, err)
		}
		c := w.dispatched[0]
		if c.Server != server1 || c.Name != "look" || c.Revision != w.hosted.Revision.ID || c.OpenHash != OpeningOf(w.hosted.Server, w.hosted.Revision).Hash() {
			t.Errorf("%s: the worker got %+v", era, c)
		}
		e := w.last()
		if e.ServerID != server1 || e.Server != "orders" || e.Tool != "look" || e.Scope != "orders:read" || e.Revision != w.hosted.Revision.ID || e.Notes["toolset"] != "support/find" {
			t.Errorf("%s: on record is %+v", era, e)
		}
	}
}

// A role may hold a toolset without its servers, and the reverse: neither opens the
// other, whatever a token carries.
func TestScopesOfToolsetAndServerAreNotEachOthers(t *testing.T) {
	orders := func(scope string) tenants.Scope { return tenants.Scope{Server: server1, Name: scope} }
	for name, c := range map[string]struct {
		opened []tenants.Scope
		token  []string
		url    string
		tool   string
		want   string
	}{
		"the toolset alone":                    {[]tenants.Scope{atDesk("orders:read")}, []string{"orders:read"}, "support", "find", ""},
		"toolset's scope at the server":        {[]tenants.Scope{atDesk("orders:read")}, []string{"orders:read"}, "orders", "look", "role_not_allowed"},
		"server's scope in a token for it":     {[]tenants.Scope{atDesk("orders:read")}, []string{"read"}, "orders", "look", "role_not_allowed"},
		"server's role at the toolset":         {[]tenants.Scope{orders("read")}, []string{"orders:read"}, "support", "find", "role_not_allowed"},
		"server's scope at the toolset":        {[]tenants.Scope{orders("read"), atDesk("orders:read")}, []string{"read"}, "support", "find", "insufficient_scope"},
		"toolset's scope named as the servers": {[]tenants.Scope{atDesk("read")}, []string{"read"}, "support", "find", "role_not_allowed"},
		"one tool's scope for another":         {[]tenants.Scope{atDesk("orders:read")}, []string{"orders:read", "money"}, "support", "refund", "role_not_allowed"},
		"the origin's name at the toolset":     {[]tenants.Scope{atDesk("orders:read")}, []string{"orders:read"}, "support", "look", "unknown tool"},
		"a tool that it does not list":         {[]tenants.Scope{atDesk("secret"), atDesk("orders:secret")}, []string{"secret", "orders:secret"}, "support", "hidden", "unknown tool"},
		"path of server and tool":              {[]tenants.Scope{atDesk("orders:read")}, []string{"orders:read"}, "support", "orders/look", "unknown tool"},
		"another case":                         {[]tenants.Scope{atDesk("orders:read")}, []string{"orders:read"}, "support", "FIND", "unknown tool"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newDesk(t)
			w.opened(c.opened...)
			w.url = w.server.URL + "/mcp/" + c.url
			res, body := w.call(w.token(ann, c.token...), c.tool, `{"id":1}`)
			if c.want == "" {
				if w.runs() != 1 || !strings.Contains(body, `"n":1`) {
					t.Errorf("did not run: %s", body)
				}
				return
			}
			if !strings.Contains(body, c.want) || w.runs() != 0 {
				t.Errorf("%d %s, ran %d", res.StatusCode, body, w.runs())
			}
			if c.want == "insufficient_scope" && (res.StatusCode != http.StatusForbidden || !strings.Contains(res.Header.Get("WWW-Authenticate"), `orders:read"`) || !strings.Contains(res.Header.Get("WWW-Authenticate"), "/mcp/support")) {
				t.Errorf("challenged with %s", res.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

// What the toolset's own definition says of a tool is a copy, and may be seconds
// old: what counts is what its server says at the call.
func TestOriginsDefinitionOfTheMomentCounts(t *testing.T) {
	w := newDesk(t)
	find := func() string { _, body := w.call(w.desks(), "find", `{"id":1}`); return body }
	if !strings.Contains(find(), `"n":1`) {
		t.Fatal("the call does not work at all")
	}
	w.member(func(tools map[string]*registry.Tool) {
		tools["look"].InputSchema = json.RawMessage(`{"type":"object","required":["number"],"properties":{"number":{"type":"integer"}}}`)
	})
	if body := find(); codeOf(body) != "invalid_arguments" || !strings.Contains(body, "number") {
		t.Errorf("by the old schema: %s", body)
	}
	w.member(func(tools map[string]*registry.Tool) {
		tools["look"].InputSchema = json.RawMessage(`{"type":"object"}`)
		tools["look"].Risk = registry.Writes
	})
	find()
	if phases := w.phases(); !slices.Contains(phases, "intent pending ") || w.dispatched[len(w.dispatched)-1].Access != registry.WriteAccess {
		t.Errorf("a tool that writes now left no intent: %v", phases)
	}
	w.member(func(tools map[string]*registry.Tool) {
		tools["look"].Deprecated = &registry.Deprecation{Since: "2020-01-01", Sunset: "2020-02-01", Successor: "refund"}
	})
	if body := find(); codeOf(body) != "tool_sunset" || !strings.Contains(body, "find was retired") || !strings.Contains(body, "Use refund") {
		t.Errorf("after its sunset: %s", body)
	}
	before := w.runs()
	w.member(func(tools map[string]*registry.Tool) { delete(tools, "look") })
	if body := find(); codeOf(body) != "not_found" || !strings.Contains(body, "find is not offered any more") || w.runs() != before {
		t.Errorf("of a tool that was taken away: %s", body)
	}
	if tools := w.mustList(w.connect(w.desks(), modern)); tools["find"] != nil || tools["refund"] == nil {
		t.Errorf("listed: %v", tools)
	}
	if e := w.last(); e.Server != "orders" && e.Server != "support" || e.Code != "" && e.Code != "not_found" {
		t.Errorf("on record: %+v", e)
	}
	w.mu.Lock()
	w.hosted.Server.Deleting = true // or it has no active revision
	w.mu.Unlock()
	if _, body := w.call(w.desks(), "refund", `{"id":1}`); codeOf(body) != "not_found" {
		t.Errorf("of a server that is gone: %s", body)
	}
	if tools := w.mustList(w.connect(w.desks(), modern)); len(tools) != 0 {
		t.Errorf("listed: %v", tools)
	}
}

// Who may not call a tool does not learn that it is gone.
func TestGoneToolIsToldOnlyToWhoMayCall(t *testing.T) {
	w := newDesk(t)
	w.member(func(tools map[string]*registry.Tool) { delete(tools, "look") })
	w.opened(atDesk("money"))
	if _, body := w.call(w.desks(), "find", `{"id":1}`); codeOf(body) != "role_not_allowed" {
		t.Error(body)
	}
}

// A slug that becomes a toolset's does not make toolsets hold toolsets.
func TestToolsetIsNoMemberOfAToolset(t *testing.T) {
	w := newDesk(t)
	w.mu.Lock()
	w.hosted.Revision.ID = "rvzzzzzzzzzzzzzzzzzz"
	for i := range w.hosted.Revision.Definition.Tools {
		w.hosted.Revision.Definition.Tools[i].Origin = &registry.Origin{Server: "support", Tool: "find"}
	}
	w.mu.Unlock()
	if _, body := w.call(w.desks(), "find", `{"id":1}`); codeOf(body) != "not_found" || w.runs() != 0 {
		t.Error(body)
	}
}

func TestSwitchesCountAtToolsetAndOrigin(t *testing.T) {
	for target, hides := range map[string]string{
		"server:orders": "find refund", "tool:orders/look": "find", "server:support": "find refund", "tool:support/find": "find",
		"tool:support/look": "", "tool:orders/find": "",
	} {
		w := newDesk(t)
		w.withPanel().put(w.tenant.ID, target, nil)
		tools := w.mustList(w.connect(w.desks(), modern))
		for _, tool := range []string{"find", "refund"} {
			_, body := w.call(w.desks(), tool, `{"id":1}`)
			off := strings.Contains(hides, tool)
			if (codeOf(body) == "switched_off") != off || (tools[tool] == nil) != off {
				t.Errorf("%s: %s listed %v: %s", target, tool, tools[tool] != nil, body)
			}
		}
	}
}

func TestSwitchOfTheOriginStopsARunningCall(t *testing.T) {
	w := newDesk(t)
	p := w.withPanel()
	began := w.hung()
	done := make(chan string)
	go func() { _, body := w.call(w.desks(), "refund", `{"id":1}`); done <- body }()
	<-began
	p.put(w.tenant.ID, "tool:orders/refund", func(s *switches.Switch) { s.CancelRunning = true })
	if err := w.gateway.StopSwitchedOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body := <-done; !strings.Contains(body, "outcome_unknown") {
		t.Error(body)
	}
}

func TestLimitsOfAToolCountToolsetAndServerTogether(t *testing.T) {
	w := newWorld(t)
	w.hosted.Revision.Definition.Tools[0].Limits.User = daily(2, "")
	w.desk(twoTools)
	w.opened(atDesk("orders:read"), tenants.Scope{Server: server1, Name: "read"})
	support, orders := w.url, w.server.URL+"/mcp/orders"
	for i, c := range []struct{ url, token, tool, want string }{
		{support, w.desks(), "find", ""}, {orders, w.token(ann, "read"), "look", ""}, {support, w.desks(), "find", "limit_reached"}, {orders, w.token(ann, "read"), "look", "limit_reached"},
	} {
		w.url = c.url
		if _, body := w.call(c.token, c.tool, `{"id":1}`); codeOf(body) != c.want {
			t.Errorf("call %d: %s", i+1, body)
		}
	}
}

func TestOriginThatDoesNotAnswerIsRefusedThroughTheToolset(t *testing.T) {
	w := newDesk(t)
	w.withWard().is(unhealthyFor(20 * time.Second))
	if _, body := w.call(w.desks(), "find", `{"id":1}`); codeOf(body) != "server_unhealthy" || !strings.Contains(body, "The server orders does not answer") {
		t.Error(body)
	}
	if tools := w.mustList(w.connect(w.desks(), modern)); len(tools) != 2 {
		t.Errorf("taken out of the list: %v", tools)
	}
	all, down, err := w.gateway.healthOf(t.Context(), health.Set{server1: sick}, w.others["support"])
	if err != nil || all.State != health.Unhealthy || len(down) != 1 || down[0] != "orders" {
		t.Errorf("%+v %v %v", all, down, err)
	}
}

// A repeat is the same call, whichever way it comes.
func TestRepeatThroughToolsetIsTheSameCall(t *testing.T) {
	s := newShop(t)
	w := s.edge()
	w.desk(twoTools)
	w.opened(atDesk("money"), tenants.Scope{Server: server1, Name: "write"})
	if _, body := w.call(w.desks(), "refund", `{"id":7}`); w.runs() != 1 {
		t.Fatal(body)
	}
	w.url = w.server.URL + "/mcp/orders"
	if _, body := w.call(w.token(ann, "write"), "refund", `{"id":7}`); w.runs() != 1 || !strings.Contains(body, "nothing was done again") {
		t.Errorf("done twice: %s", body)
	}
	w.url = w.server.URL + "/mcp/support"
	w.opened()
	if _, body := w.call(w.desks(), "refund", `{"id":7}`); codeOf(body) != "role_not_allowed" {
		t.Errorf("an outcome was given to who may not call: %s", body)
	}
}

func TestConfirmationThroughToolsetIsOfTheOrigin(t *testing.T) {
	a := newAgreeing(t)
	a.desk("{scope: desk, tools: [{tool: orders/refund, name: give_back}, {tool: orders/pay, name: pay_out}]}")
	a.opened(atDesk("desk"))
	token := a.token(a.user, "desk")
	s := a.say(token, "give_back", `{"id":7,"amount":5}`)
	if s.code != "confirmation_needed" || s.pending == nil || s.pending.Next.Tool != "give_back" || !strings.Contains(s.text, "give_back, which is refund on orders") || a.ran() != 0 {
		t.Fatal(s.raw)
	}
	confirmed := string(s.pending.Next.Arguments)
	if s := a.say(token, "pay_out", confirmed); a.ran() != 0 {
		t.Errorf("a confirmation of one tool was good for another: %s", s.raw)
	}
	if s := a.say(token, "give_back", confirmed); s.isError || a.ran() != 1 {
		t.Errorf("%s", s.raw)
	}
	s = a.say(token, "pay_out", `{"id":7,"amount":900}`)
	if s.code != "approval_pending" || s.pending.Role != "lead" || s.pending.Next.Tool != "pay_out" {
		t.Fatal(s.raw)
	}
	got, err := a.db.Approval(t.Context(), a.tenant.ID, s.pending.Approval)
	if err != nil || got.Subject.Server != a.hosted.Server.ID || got.Subject.Tool != "pay" {
		t.Errorf("what is approved is %+v, %v", got.Subject, err)
	}
}

func TestSessionGoesOnWithTheVersionThatTheToolsetListed(t *testing.T) {
	w, s := versioned(t)
	spec := "{tools: [{tool: orders/look, name: find}]}"
	w.desk(spec)
	w.opened(atDesk("orders:read"))
	w.mustList(w.connect(w.desks(), modern))
	s.publish(w, second("2027-06-01"))
	if _, body := w.call(w.desks(), "find", `{"id":1}`); !strings.Contains(body, `"n":1`) || !strings.Contains(body, `"latchkey/deprecated"`) || !strings.Contains(body, `"successor":"find"`) {
		t.Errorf("what was listed: %s", body)
	}
	// A list that is behind its server does not count as the new version's.
	w.mustList(w.connect(w.desks(), modern))
	if _, body := w.call(w.desks(), "find", `{"id":1}`); !strings.Contains(body, `"n":1`) {
		t.Errorf("after a list that was behind: %s", body)
	}
	s.at("2027-06-02")
	if _, body := w.call(w.desks(), "find", `{"id":1}`); codeOf(body) != "tool_sunset" || strings.Contains(body, "look") {
		t.Errorf("after its day: %s", body)
	}
	w.desk(spec) // it has followed
	w.mustList(w.connect(w.desks(), modern))
	if _, body := w.call(w.desks(), "find", `{"number":1}`); !strings.Contains(body, `"n":1`) {
		t.Errorf("what is listed now: %s", body)
	}
}

func TestLargeResultOfAToolsetIsReadAtTheToolset(t *testing.T) {
	w, _, _ := guardedWorld(t, manyRows(6000), registry.OutputGuard{})
	w.desk(twoTools)
	w.opened(atDesk("orders:read"))
	p := w.withPanel()
	s := w.connect(w.desks(), modern)
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "find", Arguments: map[string]any{"id": 1}})
	if err != nil {
		t.Fatal(err)
	}
	uri := ""
	for _, c := range res.Content {
		if l, ok := c.(*mcp.ResourceLink); ok {
			uri = l.URI
		}
	}
	if _, _, ok := guard.ParseKeptURI(uri); !ok {
		t.Fatalf("nothing was kept: %+v", res.Content)
	}
	if _, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err != nil {
		t.Error(err)
	}
	p.put(w.tenant.ID, "tool:orders/look", nil)
	if _, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err == nil {
		t.Error("what is left of a tool that is switched off where it is was read")
	}
	p.lift()
	w.url = w.server.URL + "/mcp/orders"
	w.opened(tenants.Scope{Server: server1, Name: "read"})
	if _, err := w.connect(w.token(ann, "read"), modern).ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err == nil {
		t.Error("it was read at the server")
	}
}

// A draft is tried by who sets it up. It opens no server to them that their roles
// do not.
func TestDraftOfAToolsetOpensNoServer(t *testing.T) {
	w := newDesk(t)
	draft := w.others["support"]
	try := TryCall{Tenant: w.tenant, Server: draft.Server, Revision: draft.Revision, Tool: "find", Arguments: json.RawMessage(`{"id":1}`), User: ann}
	w.opened(tenants.Scope{Server: server1, Name: "write"})
	if _, err := w.gateway.Try(t.Context(), try); code(err) != "role_not_allowed" || w.runs() != 0 {
		t.Errorf("%v", err)
	}
	w.opened(tenants.Scope{Server: server1, Name: "read"})
	if got, err := w.gateway.Try(t.Context(), try); err != nil || got.IsError || w.dispatched[0].Server != server1 {
		t.Errorf("%+v %v", got, err)
	}
}

// A task is of the server that has the tool, and is had at the toolset.
func TestTaskOfAToolsetRunsAtTheOrigin(t *testing.T) {
	o := newOffice(t)
	toolset, err := o.db.PutServer(t.Context(), o.tenant.ID, registry.Server{Slug: "support", Kind: "toolset", Title: "Support"})
	if err != nil {
		t.Fatal(err)
	}
	w, _ := o.edge()
	w.desk("{scope: read, tools: [{tool: orders/export, name: get_all}]}")
	h := w.others["support"]
	h.Server.ID, h.Server.Tenant = toolset.ID, o.tenant.ID
	w.others["support"] = h
	w.mu.Lock()
	w.access.Scopes[tenants.Scope{Server: toolset.ID, Name: "read"}] = true
	w.mu.Unlock()
	id := w.handle("get_all", `{"id":1}`)
	if got := w.ended(t, id); got.Result.Status != "completed" {
		t.Fatal(got.raw)
	}
	if k := o.task(id); k.Server != o.server.ID || k.Tool != "export" || k.Through == nil || k.Through.Server != toolset.ID || k.Through.Tool != "get_all" {
		t.Errorf("%+v", k)
	}
	if c := w.dispatched[0]; c.Server != o.server.ID || c.Name != "export" {
		t.Errorf("%+v", c)
	}
	w.url = w.server.URL + "/mcp/orders"
	if got := w.ask("tasks/get", id); got.Error == nil {
		t.Errorf("it is had at the server too: %s", got.raw)
	}
}
