package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/demo"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/kinds"
)

// newSearched is a desk whose tools are found by search.
func newSearched(t testing.TB) *world {
	w := newWorld(t)
	w.desk("mode: search\n" + twoTools)
	w.opened(atDesk("orders:read"), atDesk("money"))
	return w
}

func (w *world) execute(name, arguments string) (*http.Response, string) {
	return w.call(w.desks(), executeTool, `{"name":"`+name+`","arguments":`+arguments+`}`)
}

func namesFound(t *testing.T, res *mcp.CallToolResult) (names []string, total int) {
	t.Helper()
	if res.IsError {
		t.Fatalf("%+v", res.Content[0])
	}
	b, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var out searched
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	for _, f := range out.Tools {
		names = append(names, f.Name)
	}
	return names, out.Total
}

func TestSearchedToolsetIsUsedByThreeTools(t *testing.T) {
	for era, version := range eras {
		w := newSearched(t)
		s := w.connect(w.desks(), version)
		tools := w.mustList(s)
		if len(tools) != 3 || tools[searchTools] == nil || tools[describeTool] == nil || tools[executeTool] == nil {
			t.Fatalf("%s: %v", era, tools)
		}
		if a := tools[executeTool].Annotations; a.ReadOnlyHint || a.DestructiveHint == nil || !*a.DestructiveHint || a.OpenWorldHint == nil || !*a.OpenWorldHint {
			t.Errorf("%s: execute_tool says that it is %+v", era, a)
		}
		say := func(tool string, args map[string]any) *mcp.CallToolResult {
			res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		if names, total := namesFound(t, say(searchTools, map[string]any{"query": "find an order"})); len(names) == 0 || names[0] != "find" || total == 0 {
			t.Errorf("%s: found %v", era, names)
		}
		if names, total := namesFound(t, say(searchTools, map[string]any{"query": "zebra"})); len(names) != 0 || total != 0 {
			t.Errorf("%s: found %v", era, names)
		}
		if names, total := namesFound(t, say(searchTools, map[string]any{"query": "", "limit": 1})); len(names) != 1 || total != 2 {
			t.Errorf("%s: browsed %v of %d", era, names, total)
		}
		text := say(describeTool, map[string]any{"name": "find"}).Content[0].(*mcp.TextContent).Text
		if !strings.Contains(text, `"minimum":1`) || !strings.Contains(text, `"risk":"read"`) || !strings.Contains(text, `"confirmation":"none"`) {
			t.Errorf("%s: described as %s", era, text)
		}
		res := say(executeTool, map[string]any{"name": "find", "arguments": map[string]any{"id": 7}})
		if res.IsError || len(w.dispatched) != 1 || w.dispatched[0].Name != "look" || string(w.dispatched[0].Input) != `{"id":7}` {
			t.Fatalf("%s: %+v %+v", era, res, w.dispatched)
		}
		if e := w.last(); e.Server != "orders" || e.Tool != "look" || e.Scope != "orders:read" || e.Notes["toolset"] != "support/find" {
			t.Errorf("%s: on record is %+v", era, e)
		}
		for _, e := range w.events[:len(w.events)-1] {
			if e.Server != "support" || e.Tool != searchTools && e.Tool != describeTool {
				t.Errorf("%s: on record is %+v", era, e)
			}
		}
	}
}

// What execute_tool runs is refused as a direct call of it would be.
func TestExecutedCallIsCheckedAsADirectOne(t *testing.T) {
	for name, c := range map[string]struct {
		arguments, token, want string
		status                 int
	}{
		"a tool that is not listed":     {`{"name":"hidden","arguments":{}}`, "orders:read", "not_found", 200},
		"the origin's name":             {`{"name":"look","arguments":{"id":1}}`, "orders:read", "not_found", 200},
		"server and tool":               {`{"name":"orders/look","arguments":{"id":1}}`, "orders:read", "not_found", 200},
		"another case":                  {`{"name":"Find","arguments":{"id":1}}`, "orders:read", "not_found", 200},
		"a letter that looks alike":     {`{"name":"fіnd","arguments":{"id":1}}`, "orders:read", "not_found", 200},
		"a hidden character":            {`{"name":"find\u200b","arguments":{"id":1}}`, "orders:read", "not_found", 200},
		"full width":                    {`{"name":"ｆｉｎｄ","arguments":{"id":1}}`, "orders:read", "not_found", 200},
		"a trailing space":              {`{"name":"find ","arguments":{"id":1}}`, "orders:read", "not_found", 200},
		"itself":                        {`{"name":"execute_tool","arguments":{"name":"find"}}`, "orders:read", "not_found", 200},
		"no scope in the token":         {`{"name":"refund","arguments":{"id":1}}`, "orders:read", "insufficient_scope", 403},
		"the origin's scope":            {`{"name":"find","arguments":{"id":1}}`, "read", "insufficient_scope", 403},
		"arguments that do not fit":     {`{"name":"find","arguments":{"id":"x"}}`, "orders:read", "invalid_arguments", 200},
		"no arguments of an object":     {`{"name":"find","arguments":[1]}`, "orders:read", "invalid_arguments", 200},
		"a name twice":                  {`{"name":"find","name":"refund","arguments":{"id":1}}`, "orders:read+money", "invalid_arguments", 200},
		"arguments twice":               {`{"name":"refund","arguments":{"id":1},"arguments":{"id":2}}`, "orders:read+money", "invalid_arguments", 200},
		"arguments in another case too": {`{"name":"refund","arguments":{"id":1},"Arguments":{"id":2}}`, "orders:read+money", "invalid_arguments", 200},
		"arguments by an escape too":    {`{"name":"refund","arguments":{"id":1},"\u0061rguments":{"id":2}}`, "orders:read+money", "invalid_arguments", 200},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSearched(t)
			res, body := w.call(w.token(ann, strings.Split(c.token, "+")...), executeTool, c.arguments)
			if codeOf(body) != c.want || res.StatusCode != c.status || w.runs() != 0 {
				t.Errorf("%d %s, ran %d", res.StatusCode, body, w.runs())
			}
			if phases := w.phases(); len(phases) != 1 || !strings.HasPrefix(phases[0], "refusal refused") {
				t.Errorf("on record: %v", phases)
			}
		})
	}
}

func TestMembersOfASearchedToolsetAreNotCalledByName(t *testing.T) {
	w := newSearched(t)
	for _, tool := range []string{"find", "refund", "look"} {
		if _, body := w.call(w.desks(), tool, `{"id":1}`); !strings.Contains(body, "unknown tool") || w.runs() != 0 {
			t.Error(body)
		}
	}
}

// A session that began before the toolset was searched goes on with what it is now.
func TestSessionFollowsAToolsetIntoSearch(t *testing.T) {
	w := newDesk(t)
	s := w.connect(w.desks(), eras["legacy"])
	w.mustList(s)
	w.desk("mode: search\n" + twoTools)
	if tools := w.mustList(s); len(tools) != 3 || tools[executeTool] == nil {
		t.Fatalf("%v", tools)
	}
	if res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: executeTool, Arguments: map[string]any{"name": "find", "arguments": map[string]any{"id": 1}}}); err != nil || res.IsError || w.runs() != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if _, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "find", Arguments: map[string]any{"id": 1}}); err == nil || w.runs() != 1 {
		t.Errorf("called by name: %v", err)
	}
}

// A search shows what a list would.
func TestSearchShowsOnlyWhatTheCallerMayUse(t *testing.T) {
	find := func(w *world, token string) string {
		_, body := w.call(token, searchTools, `{"query":""}`)
		return body
	}
	w := newSearched(t)
	p := w.withPanel()
	if body := find(w, w.token(ann, "orders:read")); strings.Contains(body, "refund") || !strings.Contains(body, `\"find\"`) && !strings.Contains(body, `"find"`) {
		t.Errorf("without the token's scope: %s", body)
	}
	w.opened(atDesk("money"))
	if body := find(w, w.desks()); strings.Contains(body, `"find"`) || !strings.Contains(body, "refund") {
		t.Errorf("without the role's scope: %s", body)
	}
	if _, body := w.call(w.desks(), describeTool, `{"name":"find"}`); codeOf(body) != "not_found" {
		t.Errorf("described all the same: %s", body)
	}
	p.put(w.tenant.ID, "tool:orders/refund", nil)
	if body := find(w, w.desks()); strings.Contains(body, "refund") {
		t.Errorf("switched off where it is: %s", body)
	}
	p.lift()
	w.member(func(tools map[string]*registry.Tool) { delete(tools, "refund") })
	if body := find(w, w.desks()); strings.Contains(body, "refund") {
		t.Errorf("taken away where it was: %s", body)
	}
	p.put(w.tenant.ID, "server:support", nil)
	if body := find(w, w.desks()); codeOf(body) != "switched_off" {
		t.Errorf("switched off: %s", body)
	}
	p.lift()
	w.mu.Lock()
	w.access.User.Disabled = true
	w.mu.Unlock()
	if body := find(w, w.desks()); codeOf(body) != "role_not_allowed" {
		t.Errorf("of a closed account: %s", body)
	}
}

// What an agent was told when it described a tool may be old by the call: what is
// checked is what runs.
func TestToolChangedBetweenDescriptionAndExecution(t *testing.T) {
	w := newSearched(t)
	if _, body := w.call(w.desks(), describeTool, `{"name":"find"}`); !strings.Contains(body, "minimum") {
		t.Fatal(body)
	}
	w.member(func(tools map[string]*registry.Tool) {
		tools["look"].InputSchema = json.RawMessage(`{"type":"object","required":["number"],"properties":{"number":{"type":"integer"}}}`)
	})
	if _, body := w.execute("find", `{"id":1}`); codeOf(body) != "invalid_arguments" || !strings.Contains(body, "number") {
		t.Errorf("%s", body)
	}
	if _, body := w.call(w.desks(), describeTool, `{"name":"find"}`); !strings.Contains(body, "number") {
		t.Errorf("described as it was: %s", body)
	}
	if _, body := w.execute("find", `{"number":1}`); !strings.Contains(body, `"n":1`) {
		t.Error(body)
	}
}

func TestExecutedCallIsConfirmedForTheTool(t *testing.T) {
	a := newAgreeing(t)
	a.desk("{mode: search, scope: desk, tools: [{tool: orders/refund, name: give_back}, {tool: orders/pay, name: pay_out}]}")
	a.opened(atDesk("desk"))
	token := a.token(a.user, "desk")
	if s := a.say(token, describeTool, `{"name":"give_back"}`); !strings.Contains(s.text, "has to be confirmed") || !strings.Contains(s.text, `"confirmation"`) {
		t.Errorf("described as %s", s.text)
	}
	if s := a.say(token, describeTool, `{"name":"pay_out"}`); !strings.Contains(s.text, "some calls have to be approved by somebody with the role lead") {
		t.Errorf("described as %s", s.text)
	}
	s := a.say(token, executeTool, `{"name":"give_back","arguments":{"id":7,"amount":5}}`)
	if s.code != "confirmation_needed" || s.pending.Next.Tool != executeTool || !strings.Contains(string(s.pending.Next.Arguments), `"name":"give_back"`) || a.ran() != 0 {
		t.Fatal(s.raw)
	}
	other := strings.Replace(string(s.pending.Next.Arguments), `"amount":5`, `"amount":500`, 1)
	if s := a.say(token, executeTool, other); !s.isError || a.ran() != 0 {
		t.Fatalf("a confirmation was good for other arguments: %s", s.raw)
	}
	if s := a.say(token, executeTool, string(s.pending.Next.Arguments)); s.isError || a.ran() != 1 {
		t.Errorf("%s", s.raw)
	}
}

func TestExecutedRepeatIsTheSameCall(t *testing.T) {
	s := newShop(t)
	w := s.edge()
	w.desk("mode: search\n" + twoTools)
	w.opened(atDesk("money"))
	w.execute("refund", `{"id":7}`)
	if _, body := w.execute("refund", `{ "id": 7 }`); w.runs() != 1 || !strings.Contains(body, "nothing was done again") {
		t.Errorf("ran %d times: %s", w.runs(), body)
	}
	if _, body := w.execute("refund", `{"id":8}`); w.runs() != 2 {
		t.Error(body)
	}
}

func TestExecutedToolReportsProgress(t *testing.T) {
	w := newSearched(t)
	ok := w.run
	w.answer(func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		o.Progress(1, 2, "halfway")
		return ok(ctx, c, o)
	})
	got := make(chan string, 10)
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { got <- r.Params.Message },
	})
	s, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: w.url, HTTPClient: &http.Client{Transport: bearer{w.desks()}}, MaxRetries: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := &mcp.CallToolParams{Name: executeTool, Arguments: map[string]any{"name": "find", "arguments": map[string]any{"id": 1}}}
	p.SetProgressToken("p1")
	if res, err := s.CallTool(t.Context(), p); err != nil || res.IsError {
		t.Fatalf("%+v %v", res, err)
	}
	if message := <-got; message != "halfway" {
		t.Error(message)
	}
}

// hundreds are tools as a company's servers have them: every verb for every noun.
func hundreds() registry.Definition {
	var d registry.Definition
	for _, noun := range []string{"invoice", "customer", "order", "ticket", "incident", "contract", "employee", "warehouse", "shipment", "supplier", "campaign", "lead", "project", "budget", "server", "certificate", "backup", "database", "deployment", "dashboard", "holiday", "payslip", "meeting", "room", "survey"} {
		for verb, what := range map[string]string{"list": "Lists every %s that matches, the newest first.", "get": "Gives one %s with its details.", "create": "Creates a new %s.", "update": "Changes fields of a %s.", "delete": "Deletes a %s for good.",
			"assign": "Gives a %s to somebody who is then responsible for it.", "export": "Writes every %s into a CSV file.", "comment_on": "Adds a remark to a %s.", "archive": "Puts a %s away so that lists do not show it.", "restore": "Brings a %s back that was put away.",
			"approve": "Approves a %s that waits for it.", "reject": "Refuses a %s that waits for approval, with a reason.", "count": "Counts each %s by state.", "watch": "Tells you when a %s changes.", "merge": "Makes one %s of two that are the same.",
			"share": "Lets another team see a %s.", "print": "Renders a %s as PDF.", "tag": "Puts labels on a %s.", "history": "Shows who changed a %s and when.", "duplicate": "Copies a %s under another name."} {
			d.Tools = append(d.Tools, registry.Tool{Name: verb + "_" + noun, Description: fmt.Sprintf(what, noun), Risk: registry.Reads, InputSchema: json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"}}}`)})
		}
	}
	slices.SortFunc(d.Tools, func(a, b registry.Tool) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// An agent asks in its own words. What it wants should be among the first five of
// five hundred.
func TestSearchAmongHundreds(t *testing.T) {
	d := hundreds()
	if len(d.Tools) != 500 {
		t.Fatal(len(d.Tools))
	}
	index, first, five := indexOf(&d), 0, 0
	wanted := map[string]string{
		"find all invoices": "list_invoice", "show me one customer": "get_customer", "open a new ticket": "create_ticket", "change an order": "update_order", "remove a supplier": "delete_supplier",
		"delegate the incident to somebody": "assign_incident", "download employees as csv": "export_employee", "add a note to the contract": "comment_on_contract", "approve the budget": "approve_budget", "how many shipments are there": "count_shipment",
		"merge duplicate leads": "merge_lead", "print a payslip": "print_payslip", "who changed the deployment": "history_deployment", "notify me when a certificate changes": "watch_certificate", "bring back an archived project": "restore_project",
		"label a campaign": "tag_campaign", "copy the dashboard": "duplicate_dashboard", "refuse a holiday request": "reject_holiday", "let another team see the survey": "share_survey", "put the meeting away": "archive_meeting",
		"delete_backup": "delete_backup", "createDatabase": "create_database", "warehuse list": "list_warehouse", "get client": "get_customer", "edit purchase": "update_order",
	}
	for query, want := range wanted {
		best, _ := index.Search(query, 5, func(int) bool { return true })
		var names []string
		for _, i := range best {
			names = append(names, d.Tools[i].Name)
		}
		switch at := slices.Index(names, want); {
		case at == 0:
			first++
			five++
		case at > 0:
			five++
			t.Logf("%q: %v", query, names)
		default:
			t.Logf("MISSED %q: %v", query, names)
		}
	}
	t.Logf("of %d: %d first, %d among the first five", len(wanted), first, five)
	if five < len(wanted)*9/10 || first < len(wanted)*7/10 {
		t.Errorf("of %d: %d first, %d among the first five", len(wanted), first, five)
	}
}

// The demo's own tools, all in one, as people ask for them.
func TestSearchAmongTheDemosTools(t *testing.T) {
	file := demo.Files()[0]
	f, err := registry.ParseFile(file.Name, file.Data, kinds.Checker(), func(_, name string) (string, error) {
		switch name {
		case "DEMO_PG_PORT":
			return "5432", nil
		case "DEMO_UPSTREAM_URL":
			return "http://127.0.0.1:1", nil
		case "DEMO_PG_HOST":
			return "127.0.0.1", nil
		}
		return "x", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all registry.Definition
	for _, server := range f.Servers {
		all.Tools = append(all.Tools, server.Spec.Definition.Tools...)
	}
	index := indexOf(&all)
	for query, want := range map[string]string{
		"give a customer their money back": "issue_refund", "what was in order 1007": "summarize_order", "which tickets are open": "list_incidents",
		"report that the checkout is broken": "create_incident_ticket", "phone number of a customer": "fetch_customer", "forget everything about a person": "delete_customer",
		"orders of Miller": "search_orders", "customer moved to another e-mail address": "update_customer", "who am I": "whoami",
	} {
		best, total := index.Search(query, 3, func(int) bool { return true })
		var names []string
		for _, i := range best {
			names = append(names, all.Tools[i].Name)
		}
		t.Logf("%q: %v of %d", query, names, total)
		if !slices.Contains(names, want) {
			t.Errorf("%q: %v, want %s among them", query, names, want)
		}
	}
}

func BenchmarkSearchAmongHundreds(b *testing.B) {
	d := hundreds()
	index := indexOf(&d)
	for b.Loop() {
		index.Search("download employees as csv", 10, func(int) bool { return true })
	}
}
