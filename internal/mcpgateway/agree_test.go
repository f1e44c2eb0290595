package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/approvals"
	"latchkey/internal/audit"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// agreeing is a world whose words are kept in a real store: `refund` is
// confirmed, `pay` approved by a lead above 500, `peek` reads and is confirmed.
type agreeing struct {
	*world
	db         *postgres.DB
	dbURL      string
	lena, olaf tenants.User
	raised     chan events.Event
}

func newAgreeing(t testing.TB, change ...func(*registry.Definition)) *agreeing {
	t.Helper()
	urls := postgrestest.Database(t)
	a := &agreeing{world: newWorld(t), db: postgrestest.Open(t, urls.App), dbURL: urls.App, raised: make(chan events.Event, 100)}
	ten, pat := postgrestest.Tenant(t, a.db, "acme")
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	srv, err := a.db.PutServer(ctx, ten.ID, registry.Server{Slug: "orders", Kind: "echo", Title: "Orders"})
	ok(err)
	ok(a.db.PutRole(ctx, ten.ID, tenants.Role{Name: "lead"}))
	a.lena, err = a.db.PutUser(ctx, ten.ID, "lena@acme.test", "Lena", []string{"lead"})
	ok(err)
	a.olaf, err = a.db.PutUser(ctx, ten.ID, "olaf@acme.test", "Olaf", nil)
	ok(err)
	schema := json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"id":{"type":"integer"},"amount":{"type":"number"},"note":{"type":"string"}}}`)
	above := json.Number("500")
	def := registry.Definition{Tools: []registry.Tool{
		{Name: "look", InputSchema: schema, Scope: "read", Risk: registry.Reads},
		{Name: "peek", InputSchema: schema, Scope: "read", Risk: registry.Reads, Safety: registry.Safety{Confirmation: registry.Confirmation{Ask: registry.ConfirmAlways}}},
		{Name: "refund", Title: "Refund", InputSchema: schema, Scope: "write", Risk: registry.Destructive,
			OutputSchema: json.RawMessage(`{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}`),
			Safety:       registry.Safety{Confirmation: registry.Confirmation{Message: "Refund {{amount}} of {{id}}."}}},
		{Name: "pay", InputSchema: schema, Scope: "write", Risk: registry.Destructive,
			Safety: registry.Safety{Approval: &registry.Approval{Role: "lead", When: &registry.Condition{Argument: "amount", Above: &above}, Message: "Pay {{amount}}: {{note}}"}}},
	}}
	for _, c := range change {
		c(&def)
	}
	rev, err := registry.NewRevision(srv, json.RawMessage(`{}`), def, "test")
	ok(err)
	rev.ID, rev.Number = "rvaaaaaaaaaaaaaaaaaa", 1
	a.tenant, a.user, a.hosted = ten, pat.ID, registry.Hosted{Server: srv, Revision: rev}
	a.access = tenants.Access{User: pat, Scopes: map[tenants.Scope]bool{{Server: srv.ID, Name: "read"}: true, {Server: srv.ID, Name: "write"}: true}}
	a.equip(a.gateway)
	return a
}

// equip gives a gateway the store.
func (a *agreeing) equip(g *Gateway) {
	g.cfg.Approvals, g.cfg.Events = a.db, a
	g.letters = newLetters(&g.cfg)
}

func (a *agreeing) Raise(_ context.Context, e events.Event) { a.raised <- e }

func (a *agreeing) mine() string { return a.token(a.user, "read", "write") }

// said is the answer to a call.
type said struct {
	isError bool
	code    string
	text    string
	pending *pending
	raw     string
}

// say calls a tool as a program does, by one of the two ways.
func (a *agreeing) say(token, tool, arguments string, meta ...string) said {
	a.t.Helper()
	return a.read(a.sayBy(directAccept, token, tool, arguments, meta...))
}

func (a *agreeing) sayBy(accept, token, tool, arguments string, meta ...string) string {
	m := modernMeta
	if len(meta) > 0 {
		m = strings.TrimSuffix(modernMeta, "}") + "," + strings.Join(meta, ",") + "}"
	}
	_, body := a.post(token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":`+arguments+`,`+m+`}}`,
		"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", tool, "Accept", accept)
	return body
}

func (a *agreeing) read(body string) said {
	a.t.Helper()
	var m struct {
		Result struct {
			IsError    bool
			Content    []struct{ Text string }
			Structured struct {
				Error   failure
				Pending *pending
			} `json:"structuredContent"`
		}
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || len(m.Result.Content) == 0 {
		a.t.Fatalf("%v: %s", err, body)
	}
	r := m.Result
	return said{r.IsError, r.Structured.Error.Code, r.Content[0].Text, r.Structured.Pending, body}
}

func (a *agreeing) ran() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.dispatched)
}

// confirmation is one from a dry run.
func (a *agreeing) confirmation(tool, arguments string) string {
	a.t.Helper()
	s := a.say(a.mine(), tool, arguments)
	if s.code != "confirmation_needed" || s.pending == nil {
		a.t.Fatalf("no dry run: %s", s.raw)
	}
	return s.pending.Confirmation
}

func with(arguments, token string) string {
	return string(withConfirmation(json.RawMessage(arguments), token, true))
}

const ownKey = `"latchkey/idempotencyKey":`

func TestDryRunDoesNothing(t *testing.T) {
	for way, accept := range map[string]string{"direct": directAccept, "SDK": sdkAccept} {
		t.Run(way, func(t *testing.T) {
			a := newAgreeing(t)
			s := a.read(a.sayBy(accept, a.mine(), "refund", `{"id":7,"amount":60}`))
			if !s.isError || s.code != "confirmation_needed" || a.ran() != 0 || !slices.Equal(a.phases(), []string{"refusal refused confirmation_needed"}) {
				t.Fatalf("%s\n%v", s.raw, a.phases())
			}
			token := s.pending.Confirmation
			for _, want := range []string{"Nothing was done yet", "Refund 60 of 7.", "call refund again with the same arguments", `confirmation="` + token + `"`} {
				if !strings.Contains(s.text, want) {
					t.Errorf("the text does not say %q:\n%s", want, s.text)
				}
			}
			if s.pending.Kind != "confirmation" || s.pending.Next.Tool != "refund" || string(s.pending.Next.Arguments) != `{"id":7,"amount":60,"confirmation":"`+token+`"}` ||
				time.Until(s.pending.ExpiresAt) > 5*time.Minute || time.Until(s.pending.ExpiresAt) < 4*time.Minute {
				t.Errorf("%+v", s.pending)
			}
			// What is next is what to send, and that runs, as if nothing had been asked.
			done := a.read(a.sayBy(accept, a.mine(), "refund", string(s.pending.Next.Arguments)))
			if done.isError || a.ran() != 1 || string(a.dispatched[0].Input) != `{"id":7,"amount":60}` {
				t.Fatalf("%s, dispatched %+v", done.raw, a.dispatched)
			}
			for _, e := range a.events {
				if e.Notes[audit.NoteConfirmation] == "" || strings.Contains(fmt.Sprintf("%+v", e), token) || strings.Contains(e.Arguments, "confirmation") {
					t.Errorf("on record is %+v", e)
				}
			}
		})
	}
}

func TestConfirmationIsForTheseArguments(t *testing.T) {
	a := newAgreeing(t)
	token := a.confirmation("refund", `{"id":7,"amount":60}`)
	for arguments, words := range map[string]string{
		`{"id":7,"amount":600}`:            "other arguments",
		`{"id":8,"amount":60}`:             "other arguments",
		`{"id":7,"amount":60,"note":""}`:   "other arguments",
		`{"id":7,"amount":60.00000000001}`: "other arguments",
	} {
		if s := a.say(a.mine(), "refund", with(arguments, token)); s.code != "confirmation_invalid" || !strings.Contains(s.text, words) {
			t.Errorf("%s: %s", arguments, s.raw)
		}
	}
	if s := a.say(a.mine(), "peek", with(`{"id":7,"amount":60}`, token)); s.code != "confirmation_invalid" || !strings.Contains(s.text, "another tool") {
		t.Errorf("of another tool: %s", s.raw)
	}
	if a.ran() != 0 {
		t.Fatalf("%d calls ran", a.ran())
	}
	// The same in another order and notation is the same.
	if s := a.say(a.mine(), "refund", `{ "confirmation":"`+token+`", "amount": 6e1, "id": 7 }`); s.isError || a.ran() != 1 {
		t.Errorf("%s", s.raw)
	}
}

func TestConfirmationOfAChangedToolRefused(t *testing.T) {
	a := newAgreeing(t)
	token := a.confirmation("refund", `{"id":7}`)
	a.hosted.Revision.ID = "rvbbbbbbbbbbbbbbbbbb"
	a.hosted.Revision.Definition.Tools = slices.Clone(a.hosted.Revision.Definition.Tools)
	a.hosted.Revision.Definition.Tools[2].Hash = "another"
	if s := a.say(a.mine(), "refund", with(`{"id":7}`, token)); s.code != "confirmation_invalid" || !strings.Contains(s.text, "before it changed") || a.ran() != 0 {
		t.Error(s.raw)
	}
}

func TestConfirmationIsGoodOnce(t *testing.T) {
	a := newAgreeing(t)
	token := a.confirmation("refund", `{"id":7}`)
	if s := a.say(a.mine(), "refund", with(`{"id":7}`, token), ownKey+`"first"`); s.isError {
		t.Fatal(s.raw)
	}
	for _, key := range []string{`"second"`, `"third"`} {
		if s := a.say(a.mine(), "refund", with(`{"id":7}`, token), ownKey+key); s.code != "confirmation_invalid" || !strings.Contains(s.text, "used already") {
			t.Error(s.raw)
		}
	}
	if s := a.say(a.mine(), "refund", with(`{"id":7}`, token)); s.code != "confirmation_invalid" {
		t.Errorf("without a key: %s", s.raw)
	}
	if a.ran() != 1 {
		t.Errorf("one confirmation ran %d calls", a.ran())
	}
}

// A repeat is for once to recognise: what is the same call passes here.
func TestRepeatsOfAConfirmedCallAreTheSameCall(t *testing.T) {
	a := newAgreeing(t)
	token := a.confirmation("refund", `{"id":7}`)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if body := a.sayBy(directAccept, a.mine(), "refund", with(`{"id":7}`, token)); strings.Contains(body, "confirmation_") {
				t.Error(body)
			}
		})
	}
	wg.Wait()
}

func TestReadIsConfirmedEachTime(t *testing.T) {
	a := newAgreeing(t)
	token := a.confirmation("peek", `{"id":7}`)
	if s := a.say(a.mine(), "peek", with(`{"id":7}`, token)); s.isError {
		t.Fatal(s.raw)
	}
	if s := a.say(a.mine(), "peek", with(`{"id":7}`, token)); s.code != "confirmation_invalid" || a.ran() != 1 {
		t.Error(s.raw)
	}
}

func TestConfirmationOfAnotherPersonRefused(t *testing.T) {
	a := newAgreeing(t)
	token := a.confirmation("refund", `{"id":7}`)
	other := a.say(a.token(a.olaf.ID, "read", "write"), "refund", with(`{"id":7}`, token))
	none := a.say(a.mine(), "refund", with(`{"id":7}`, "cf"+strings.Repeat("a", 26)))
	garbage := a.say(a.mine(), "refund", with(`{"id":7}`, "yes"))
	if other.code != "confirmation_invalid" || callIDs.ReplaceAllString(other.text, "") != callIDs.ReplaceAllString(none.text, "") || callIDs.ReplaceAllString(garbage.text, "") != callIDs.ReplaceAllString(none.text, "") || a.ran() != 0 {
		t.Errorf("%s\nof nobody: %s\n%s", other.raw, none.raw, garbage.raw)
	}
}

func TestConfirmationIsTakenFromMetadata(t *testing.T) {
	for way, accept := range map[string]string{"direct": directAccept, "SDK": sdkAccept} {
		t.Run(way, func(t *testing.T) {
			a := newAgreeing(t)
			token := a.confirmation("refund", `{"id":7}`)
			if s := a.read(a.sayBy(accept, a.mine(), "refund", `{"id":7}`, `"`+metaConfirmation+`":"`+token+`"`)); s.isError || a.ran() != 1 {
				t.Error(s.raw)
			}
		})
	}
}

func TestBadConfirmationArgumentIsNamed(t *testing.T) {
	for way, accept := range map[string]string{"direct": directAccept, "SDK": sdkAccept} {
		a := newAgreeing(t)
		for _, arguments := range []string{`{"id":7,"confirmation":7}`, `{"id":7,"confirmation":["x"]}`, `{"id":7,"confirmation":"` + strings.Repeat("x", 101) + `"}`, `{"confirmation":"a","id":7,"confirmation":"b"}`} {
			if s := a.read(a.sayBy(accept, a.mine(), "refund", arguments)); s.code != "invalid_arguments" || !strings.Contains(s.raw, `"/confirmation"`) || a.ran() != 0 {
				t.Errorf("%s: %s: %s", way, arguments, s.raw)
			}
		}
		for _, arguments := range []string{`{"id":7,"confirmation":null}`, `{"id":7,"confirmation":""}`} { // as models fill what they leave out
			if s := a.read(a.sayBy(accept, a.mine(), "refund", arguments)); s.code != "confirmation_needed" {
				t.Errorf("%s: %s: %s", way, arguments, s.raw)
			}
		}
		if s := a.read(a.sayBy(accept, a.mine(), "look", `{"id":7,"confirmation":"x"}`)); s.code != "invalid_arguments" {
			t.Errorf("%s: a tool that asks for none took it: %s", way, s.raw)
		}
	}
}

func TestOnlyToolsThatAskHaveTheArgument(t *testing.T) {
	a := newAgreeing(t)
	for era, version := range eras {
		tools, err := a.connect(a.mine(), version).ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range tools.Tools {
			b, err := json.Marshal(tool.InputSchema)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Contains(string(b), `"confirmation"`), tool.Name != "look"; got != want {
				t.Errorf("%s: %s: %s", era, tool.Name, b)
			}
		}
	}
}

func TestTryAnswersWithADryRun(t *testing.T) {
	a := newAgreeing(t)
	me := func(c *TryCall) { c.User = a.user }
	got, err := a.try("refund", `{"id":7}`, me)
	if err != nil || !got.IsError || a.ran() != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	var s struct{ Pending pending }
	if err := json.Unmarshal(got.Structured, &s); err != nil {
		t.Fatal(err)
	}
	if got, err = a.try("refund", string(s.Pending.Next.Arguments), me); err != nil || got.IsError || a.ran() != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func (a *agreeing) person(version string, answer func(ctx context.Context, message string) (*mcp.ElicitResult, error)) *mcp.ClientSession {
	a.t.Helper()
	return a.personWith(a.mine(), version, answer)
}

// personWith is a client whose person answers questions.
func (a *agreeing) personWith(token, version string, answer func(ctx context.Context, message string) (*mcp.ElicitResult, error)) *mcp.ClientSession {
	a.t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(ctx context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return answer(ctx, r.Params.Message)
		},
	})
	s, err := c.Connect(a.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: a.world.url, HTTPClient: &http.Client{Transport: bearer{token}}, MaxRetries: -1,
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { s.Close() })
	return s
}

func TestPersonAtTheClientIsAsked(t *testing.T) {
	for era, version := range eras {
		for _, mode := range []string{"", "direct", "search"} { // of the toolset through which it is called
			t.Run(era+" "+mode, func(t *testing.T) {
				a := newAgreeing(t)
				token, name := a.mine(), "refund"
				if mode != "" {
					a.desk("{mode: " + mode + ", scope: desk, tools: [{tool: orders/refund}]}")
					a.opened(atDesk("desk"))
					token = a.token(a.user, "desk")
				}
				if mode == "search" {
					name = executeTool
				}
				var asked []string
				s := a.personWith(token, version, func(_ context.Context, message string) (*mcp.ElicitResult, error) {
					if a.ran() != len(asked) {
						t.Error("it ran before the person answered")
					}
					asked = append(asked, message)
					return &mcp.ElicitResult{Action: "accept"}, nil
				})
				for n := range 2 { // the second is asked anew
					arguments := map[string]any{"id": 7 + n, "amount": 60}
					if mode == "search" {
						arguments = map[string]any{"name": "refund", "arguments": arguments}
					}
					res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: arguments})
					if err != nil || res.IsError || a.ran() != n+1 || len(asked) != n+1 || !strings.Contains(asked[n], "Refund 60 of") {
						t.Fatalf("%v %+v, asked %q, ran %d", err, res, asked, a.ran())
					}
				}
			})
		}
	}
}

func TestDeclinedElicitationDoesNothing(t *testing.T) {
	for era, version := range eras {
		for _, action := range []string{"decline", "cancel"} {
			t.Run(era+" "+action, func(t *testing.T) {
				a := newAgreeing(t)
				s := a.person(version, func(context.Context, string) (*mcp.ElicitResult, error) {
					return &mcp.ElicitResult{Action: action}, nil
				})
				res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 7}})
				if err != nil {
					t.Fatal(err)
				}
				if f := failureIn(t, res); f.Code != "declined" || a.ran() != 0 {
					t.Errorf("%+v, ran %d", f, a.ran())
				}
				if want := []string{"refusal refused confirmation_needed", "refusal refused declined"}; !slices.Equal(a.phases(), want) {
					t.Errorf("on record: %v", a.phases())
				}
			})
		}
	}
}

// Some clients say that they can ask, and fail, or do not answer.
func TestClientThatCannotAskGetsADryRun(t *testing.T) {
	fails := func(context.Context, string) (*mcp.ElicitResult, error) { return nil, fmt.Errorf("no window") }
	silent := func(ctx context.Context, _ string) (*mcp.ElicitResult, error) { <-ctx.Done(); return nil, ctx.Err() }
	for name, answer := range map[string]func(context.Context, string) (*mcp.ElicitResult, error){"fails": fails, "does not answer": silent} {
		t.Run(name, func(t *testing.T) {
			a := newAgreeing(t, func(d *registry.Definition) {
				if name == "does not answer" {
					d.Tools[2].Confirmation.Expires = 100 * time.Millisecond
				}
			})
			res, err := a.person("2025-11-25", answer).CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 7}})
			if err != nil {
				t.Fatal(err)
			}
			if f := failureIn(t, res); f.Code != "confirmation_needed" || !strings.Contains(res.Content[0].(*mcp.TextContent).Text, `confirmation="cf`) || a.ran() != 0 {
				t.Errorf("%+v", f)
			}
		})
	}
}

// What a client sends as its person's answer is only good with the question.
func TestAnswerWithoutAQuestionDoesNothing(t *testing.T) {
	a := newAgreeing(t)
	for state, want := range map[string]string{"": "confirmation_needed", "cf" + strings.Repeat("a", 26): "confirmation_invalid"} {
		_, body := a.post(a.mine(), `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund","arguments":{"id":7},"inputResponses":{"confirm":{"action":"accept"}},"requestState":"`+state+`",`+modernMeta+`}}`,
			"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "refund")
		if s := a.read(body); s.code != want || a.ran() != 0 {
			t.Errorf("%s: %s", state, body)
		}
	}
}

// A tool that asks leaves the fast path only where its client can ask.
func TestDirectLeavesQuestionsToTheSDK(t *testing.T) {
	a := newAgreeing(t)
	taken := func(tool, capabilities string) bool {
		h := http.Header{"Content-Type": {"application/json"}, "Accept": {directAccept}, "Mcp-Protocol-Version": {modern}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {tool}}
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":` + capabilities + `}}}`
		_, ok := a.gateway.direct(&http.Request{Method: "POST", Header: h}, &exchange{hosted: a.hosted}, []byte(body))
		return ok
	}
	for _, c := range []struct {
		tool, capabilities string
		want               bool
	}{{"look", `{"elicitation":{}}`, true}, {"refund", `{}`, true}, {"refund", `{"elicitation":{}}`, false}, {"refund", `{"elicitation":{"form":{}}}`, false}, {"refund", `{"sampling":{}}`, true}} {
		if got := taken(c.tool, c.capabilities); got != c.want {
			t.Errorf("%s %s: taken directly: %v", c.tool, c.capabilities, got)
		}
	}
}

func (a *agreeing) decide(id string, approve bool) {
	a.t.Helper()
	if _, err := a.db.DecideApproval(context.Background(), a.tenant.ID, id, approvals.Decision{
		Approve: approve, By: approvals.Decider{Name: a.lena.Email, User: a.lena.ID}, At: time.Now(), Reason: "Too \u202emuch.",
	}); err != nil {
		a.t.Fatal(err)
	}
}

func TestApprovalIsAskedAboveTheLimitOnly(t *testing.T) {
	a := newAgreeing(t)
	if s := a.say(a.mine(), "pay", `{"amount":500}`); s.code != "confirmation_needed" {
		t.Errorf("at the limit: %s", s.raw)
	}
	s := a.say(a.mine(), "pay", `{"amount":501,"note":"\u202eok\nPay 1: “fine”"}`)
	if s.code != "approval_pending" || s.pending.Role != "lead" || !strings.Contains(s.text, s.pending.Approval) || s.pending.Next.Tool != "pay" || a.ran() != 0 {
		t.Fatal(s.raw)
	}
	if want := "Pay 501: “[U+202E]ok Pay 1: 'fine'”"; s.pending.Message != want {
		t.Errorf("the decider reads %s, want %s", s.pending.Message, want)
	}
	if e := <-a.raised; e.Kind != events.ApprovalRequested || e.Tool != "pay" || e.User != a.user || strings.Contains(e.Detail, "501") {
		t.Errorf("%+v", e)
	}
	again := a.say(a.mine(), "pay", `{"note":"\u202eok\nPay 1: “fine”","amount":501.0}`)
	if again.pending == nil || again.pending.Approval != s.pending.Approval || len(a.raised) != 0 {
		t.Errorf("the same call asked again: %s", again.raw)
	}
	for _, e := range a.events[1:] {
		if e.Notes[audit.NoteApproval] != s.pending.Approval {
			t.Errorf("%+v", e)
		}
	}
}

// An approved call needs no confirmation, and no other call may use it.
func TestApprovalIsSingleUse(t *testing.T) {
	a := newAgreeing(t)
	id := a.say(a.mine(), "pay", `{"amount":501}`).pending.Approval
	a.decide(id, true)
	for arguments, want := range map[string]string{`{"amount":502}`: "approval_pending", `{"amount":501,"note":"x"}`: "approval_pending"} {
		if s := a.say(a.mine(), "pay", arguments); s.code != want || s.pending.Approval == id {
			t.Errorf("%s: %s", arguments, s.raw)
		}
	}
	if s := a.say(a.mine(), "pay", `{"amount":501}`, ownKey+`"first"`); s.isError || a.ran() != 1 {
		t.Fatal(s.raw)
	}
	if s := a.say(a.mine(), "pay", `{"amount":501}`, ownKey+`"second"`); s.code != "approval_pending" || s.pending.Approval == id || a.ran() != 1 {
		t.Errorf("a second call: %s", s.raw)
	}
}

func TestDeniedCallIsToldWhy(t *testing.T) {
	a := newAgreeing(t)
	a.decide(a.say(a.mine(), "pay", `{"amount":501}`).pending.Approval, false)
	for range 2 {
		s := a.say(a.mine(), "pay", `{"amount":501}`)
		if s.code != "approval_denied" || !strings.Contains(s.text, "lena@acme.test") || !strings.Contains(s.text, "Too [U+202E]much.") || a.ran() != 0 {
			t.Error(s.raw)
		}
	}
}

// waits makes `pay` wait that long.
func waits(d time.Duration) func(*registry.Definition) {
	return func(def *registry.Definition) { def.Tools[3].Approval.Wait = d }
}

// The call waits on one edge; the decision is made through another, which has
// connections of its own.
func TestApprovedOnOneEdgeWakesCallOnAnother(t *testing.T) {
	a := newAgreeing(t, waits(time.Minute))
	decisions := &approvals.Waiters{}
	a.gateway.cfg.Decisions = decisions
	listening := make(chan struct{})
	go a.db.Listen(t.Context(), func(c postgres.Change) {
		switch c.Topic {
		case postgres.Reconnected:
			close(listening)
		case "approval":
			decisions.Wake(tenants.ID(c.Tenant), c.ID)
		}
	})
	<-listening
	other := &agreeing{world: a.world, db: postgrestest.Open(t, a.dbURL), lena: a.lena}
	answer := make(chan said, 1)
	go func() { answer <- a.read(a.sayBy(directAccept, a.mine(), "pay", `{"amount":501}`)) }()
	call := (<-a.raised).CallID
	found, err := other.db.Approvals(t.Context(), a.tenant.ID, approvals.Query{At: time.Now(), Limit: 10, Visible: approvals.Visible{All: true}})
	if err != nil || len(found) != 1 || found[0].CallID != call {
		t.Fatalf("%+v, %v", found, err)
	}
	began := time.Now()
	other.decide(found[0].ID, true)
	if s := <-answer; s.isError || a.ran() != 1 {
		t.Fatal(s.raw)
	}
	t.Logf("it ran %s after the decision", time.Since(began).Round(time.Millisecond))
}

func TestWaitingCallEndsWithItsTime(t *testing.T) {
	a := newAgreeing(t, waits(50*time.Millisecond))
	if s := a.say(a.mine(), "pay", `{"amount":501}`); s.code != "approval_pending" || !strings.Contains(s.raw, `"retry_after_s":30`) {
		t.Error(s.raw)
	}
}

func TestShutdownKeepsNobodyWaiting(t *testing.T) {
	a := newAgreeing(t, waits(time.Hour))
	answer := make(chan said, 1)
	go func() { answer <- a.read(a.sayBy(directAccept, a.mine(), "pay", `{"amount":501}`)) }()
	<-a.raised
	a.gateway.cfg.Decisions.Close()
	if s := <-answer; s.code != "approval_pending" {
		t.Error(s.raw)
	}
}

// A right that was taken while the call waited does not run it.
func TestRightTakenWhileWaitingRefused(t *testing.T) {
	a := newAgreeing(t, waits(time.Hour))
	answer := make(chan said, 1)
	go func() { answer <- a.read(a.sayBy(directAccept, a.mine(), "pay", `{"amount":501}`)) }()
	<-a.raised
	found, err := a.db.Approvals(t.Context(), a.tenant.ID, approvals.Query{At: time.Now(), Limit: 1, Visible: approvals.Visible{All: true}})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	a.mu.Lock()
	a.access.User.Disabled = true
	a.mu.Unlock()
	a.decide(found[0].ID, true)
	a.gateway.cfg.Decisions.Wake(a.tenant.ID, found[0].ID)
	if s := <-answer; s.code != "role_not_allowed" || a.ran() != 0 {
		t.Error(s.raw)
	}
}

func TestManyPendingApprovalsAreRefused(t *testing.T) {
	a := newAgreeing(t)
	for i := range approvals.MaxPending {
		if s := a.say(a.mine(), "pay", fmt.Sprintf(`{"amount":%d}`, 501+i)); s.code != "approval_pending" {
			t.Fatal(s.raw)
		}
	}
	if s := a.say(a.mine(), "pay", `{"amount":9999}`); s.code != "limit_reached" || !strings.Contains(s.raw, `"retry_after_s":60`) {
		t.Error(s.raw)
	}
	if s := a.say(a.mine(), "pay", `{"amount":501,"note":"`+strings.Repeat("x", approvals.MaxArguments)+`"}`); s.code != "invalid_arguments" {
		t.Errorf("arguments that nobody could be shown: %.300s", s.raw)
	}
}

// A store that is away runs nothing.
func TestWithoutStoreNothingIsAgreed(t *testing.T) {
	a := newAgreeing(t)
	token := a.confirmation("refund", `{"id":7}`)
	a.db.Close()
	for _, arguments := range []string{`{"id":7}`, with(`{"id":7}`, token)} {
		if s := a.say(a.mine(), "refund", arguments); !s.isError || a.ran() != 0 {
			t.Error(s.raw)
		}
	}
	if fault.Of(a.db.Ping(t.Context())) == nil {
		t.Error("the store answers")
	}
}

func FuzzMessageKeepsItsWords(f *testing.F) {
	f.Add("Refund {{amount}} of {{id}}.", "60", "x")
	f.Add("{{ id }}{{id}}", "{{amount}}", "\u202e”\n")
	f.Fuzz(func(t *testing.T, words, amount, id string) {
		arguments, err := json.Marshal(map[string]string{"amount": amount, "id": id})
		if err != nil {
			t.Skip()
		}
		got := fill(words, arguments)
		if n := len([]rune(got)); n > maxWords+1 {
			t.Fatalf("%d characters", n)
		}
		if strings.ContainsAny(got, "\n\r\u202e\u200b\x00") {
			t.Fatalf("%q", got)
		}
		// With the values taken out, the same words are left however they are.
		if words == "Refund {{amount}} of {{id}}." {
			rest := got
			for _, between := range []string{"Refund “", "” of “", "”."} {
				_, after, ok := strings.Cut(rest, between)
				if !ok {
					t.Fatalf("%q closes its quotes", got)
				}
				rest = after
			}
			if rest != "" || strings.Count(got, "“") != 2 || strings.Count(got, "”") != 2 {
				t.Fatalf("%q", got)
			}
		}
	})
}

func FuzzConfirmationIsTakenOut(f *testing.F) {
	for _, s := range []string{`{"a":1,"confirmation":"cf"}`, `{"confirm\u0061tion":"x"}`, `{"a":{"confirmation":1}}`, `{"confirmation":null}`, `{}`, `[]`, `{"a":1,"a":2}`, `{"\ud800":1,"confirmation":""}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		rest, token, err := takeConfirmation(in)
		if err != nil {
			return
		}
		var before, after map[string]any
		if json.Unmarshal(in, &before) != nil {
			if token != "" {
				t.Fatalf("%q of what is no object", token)
			}
			return
		}
		if err := json.Unmarshal(rest, &after); err != nil {
			t.Fatalf("%s became %s", in, rest)
		}
		if _, there := after[confirmationArgument]; there {
			t.Fatalf("it is still in %s", rest)
		}
		delete(before, confirmationArgument)
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("%s became %s", in, rest)
		}
	})
}

// What every call goes through that nobody has to agree to.
func BenchmarkAgreeNothing(b *testing.B) {
	g := &Gateway{}
	c := &call{tool: &registry.Tool{Name: "look", Risk: registry.Reads}, risk: registry.Reads, input: json.RawMessage(`{"id":1}`)}
	b.ReportAllocs()
	for b.Loop() {
		if err := g.agree(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}
