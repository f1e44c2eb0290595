package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/authn"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

// office is what edges that run tasks share: a real Postgres with its
// notifications, a real Vault, a tenant with two people.
type office struct {
	t      *testing.T
	db     *postgres.DB
	tenant tenants.Tenant
	server registry.Server
	rev    registry.Revision
	pat    tenants.User
	olaf   tenants.User
	raised raised

	mu      sync.Mutex
	edges   []*world
	revoked map[string]bool
	down    bool // the tenant is suspended
}

func newOffice(t *testing.T, change ...func(*registry.Definition)) *office {
	t.Helper()
	o := &office{t: t, db: postgrestest.New(t), revoked: map[string]bool{}}
	o.tenant, o.pat = postgrestest.Tenant(t, o.db, "acme")
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	o.server, err = o.db.PutServer(t.Context(), o.tenant.ID, registry.Server{Slug: "orders", Kind: "echo", Title: "Orders"})
	ok(err)
	o.olaf, err = o.db.PutUser(t.Context(), o.tenant.ID, "olaf@acme.test", "Olaf", nil)
	ok(err)
	schema := json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"id":{"type":"integer"}}}`)
	never := registry.Confirmation{Ask: registry.ConfirmNever}
	def := registry.Definition{Tools: []registry.Tool{
		{Name: "look", InputSchema: schema, Scope: "read", Risk: registry.Reads},
		{Name: "export", InputSchema: schema, Scope: "read", Risk: registry.Reads, Timeout: 5 * time.Minute},
		{Name: "only", InputSchema: schema, Scope: "read", Risk: registry.Reads, Safety: registry.Safety{Task: registry.TaskRule{Mode: registry.TaskRequired}}},
		{Name: "pay", InputSchema: schema, Scope: "write", Risk: registry.Writes, Safety: registry.Safety{Confirmation: never, Task: registry.TaskRule{Mode: registry.TaskOptional, Max: 3}}},
		{Name: "erase", InputSchema: schema, Scope: "write", Risk: registry.Destructive, Safety: registry.Safety{Task: registry.TaskRule{Mode: registry.TaskOptional}}},
	}}
	for _, c := range change {
		c(&def)
	}
	o.rev, err = registry.NewRevision(o.server, json.RawMessage(`{}`), def, "test")
	ok(err)
	o.rev.ID, o.rev.Number = "rvaaaaaaaaaaaaaaaaaa", 1
	return o
}

// edge is one of the office's edges. It runs tasks until the test ends, or stop.
func (o *office) edge(change ...func(*world, *Config)) (w *world, stop func()) {
	o.t.Helper()
	w = newWorld(o.t, append([]func(*world, *Config){func(w *world, c *Config) {
		w.tenant, w.user, w.hosted = o.tenant, o.pat.ID, registry.Hosted{Server: o.server, Revision: o.rev}
		w.access = tenants.Access{User: o.pat, Scopes: map[tenants.Scope]bool{{Server: o.server.ID, Name: "read"}: true, {Server: o.server.ID, Name: "write"}: true}}
		seal := envelope(o.t)
		c.Once, c.Sealer, c.Results, c.Approvals, c.Events = Once{Store: o.db, Sealer: seal}, seal, o.db, o.db, &o.raised
		c.Tasks = Tasks{
			Store: o.db, Lease: 2 * time.Second, Drain: 100 * time.Millisecond,
			Tenant: func(context.Context, string) (tenants.Tenant, error) {
				o.mu.Lock()
				defer o.mu.Unlock()
				t := o.tenant
				t.Suspended = o.down
				return t, nil
			},
			GrantActive: func(_ context.Context, _ tenants.ID, grant string) (bool, error) {
				o.mu.Lock()
				defer o.mu.Unlock()
				return !o.revoked[grant], nil
			},
		}
	}}, change...)...)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { w.gateway.RunTasks(ctx) })
	all.Go(func() {
		o.db.Listen(ctx, func(c postgres.Change) {
			if c.Topic == "task" {
				w.gateway.TaskChanged(c.ID)
			}
		})
	})
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	o.t.Cleanup(stop)
	o.mu.Lock()
	o.edges = append(o.edges, w)
	o.mu.Unlock()
	return w, stop
}

const tasksMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}`

// answerOf is what comes back, as the extension's schema has it.
type answerOf struct {
	Result struct {
		ResultType, TaskID, Status, StatusMessage string
		CreatedAt, LastUpdatedAt                  time.Time
		TTLMs, PollIntervalMs                     int64
		InputRequests                             map[string]struct {
			Method string
			Params json.RawMessage
		}
		Result *struct {
			Content []struct{ Text string }
			IsError bool
		}
		Error *struct {
			Code    int
			Message string
			Data    failure
		}
		Content    []struct{ Text string }
		IsError    bool
		Structured struct{ Error failure } `json:"structuredContent"`
	}
	Error *struct {
		Code    int
		Message string
		Data    json.RawMessage
	}
	raw  string
	http int
}

func (w *world) rpc(token, method, name, params string) (m answerOf) {
	w.t.Helper()
	res, body := w.post(token, `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`,
		"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", method, "Mcp-Name", name)
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		w.t.Fatalf("%v: %s", err, body)
	}
	m.raw, m.http = body, res.StatusCode
	return m
}

func (w *world) mine() string { return w.token(w.user, "read", "write") }

func (w *world) begin(tool, arguments string, meta ...string) answerOf {
	w.t.Helper()
	m := tasksMeta
	if len(meta) > 0 {
		m = strings.TrimSuffix(m, "}") + "," + strings.Join(meta, ",") + "}"
	}
	return w.rpc(w.mine(), "tools/call", tool, `{"name":"`+tool+`","arguments":`+arguments+`,`+m+`}`)
}

// handle makes a task and gives its id.
func (w *world) handle(tool, arguments string, meta ...string) string {
	w.t.Helper()
	m := w.begin(tool, arguments, meta...)
	if m.Result.ResultType != "task" || !tasks.ValidID(m.Result.TaskID) {
		w.t.Fatalf("no task: %s", m.raw)
	}
	return m.Result.TaskID
}

func (w *world) ask(method, id string, more ...string) answerOf {
	w.t.Helper()
	return w.rpc(w.mine(), method, id, `{"taskId":"`+id+`",`+strings.Join(append(more, tasksMeta), ",")+`}`)
}

// pollPace is within what a grant may ask.
const pollPace = 250 * time.Millisecond

// ended waits for a task's end.
func (w *world) ended(t *testing.T, id string) (m answerOf) {
	t.Helper()
	untilEvery(t, pollPace, "the end of "+id, func() bool {
		m = w.ask("tasks/get", id)
		if m.Error != nil {
			t.Fatal(m.raw)
		}
		return m.Result.Status != "working" && m.Result.Status != "input_required"
	})
	return m
}

func TestTaskIsDurableBeforeItsReplyAndGivesTheResult(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	began, release := w.held()
	m := w.begin("export", `{"id":7}`)
	r := m.Result
	if r.ResultType != "task" || r.Status != "working" || r.TTLMs < time.Hour.Milliseconds() || r.PollIntervalMs < 1000 || r.CreatedAt.IsZero() || r.Result != nil || r.Content != nil || m.http != 200 {
		t.Fatal(m.raw)
	}
	stored, err := o.db.Task(t.Context(), o.tenant.ID, r.TaskID)
	if err != nil || strings.Contains(string(stored.Input), `"id"`) {
		t.Fatalf("not stored, or not sealed: %v %s", err, stored.Input)
	}
	c := <-began
	if string(c.Input) != `{"id":7}` || c.Caller.Email != o.pat.Email || time.Until(c.Deadline) < 4*time.Minute || c.ID != stored.CallID {
		t.Errorf("%+v", c)
	}
	if got := w.ask("tasks/get", r.TaskID); got.Result.ResultType != "complete" || got.Result.Status != "working" {
		t.Error(got.raw)
	}
	release()
	got := w.ended(t, r.TaskID).Result
	if got.Status != "completed" || got.Result == nil || got.Result.Content[0].Text != "ok" || got.Result.IsError || got.Error != nil || got.TTLMs < 23*time.Hour.Milliseconds() {
		t.Errorf("%+v", got)
	}
	if stored, err = o.db.Task(t.Context(), o.tenant.ID, r.TaskID); err != nil || strings.Contains(string(stored.Result), `"ok"`) || len(stored.Input) != 0 {
		t.Errorf("the result is not sealed, or the arguments are still there: %v", err)
	}
	if want := []string{"intent pending ", "outcome done "}; !slices.Equal(w.phases(), want) {
		t.Errorf("on record: %v", w.phases())
	}
	for _, e := range w.events {
		if e.Notes[audit.NoteTask] != r.TaskID || e.CallID != stored.CallID || e.Grant != "gr" || e.DefinitionHash != o.rev.Definition.Tools[1].Hash {
			t.Errorf("on record: %+v", e)
		}
	}
}

// The whole dance with the SDK's client and its custom methods.
func TestSDKClientFollowsATask(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{Extensions: map[string]any{extTasks: map[string]any{}}},
	})
	for _, method := range []string{"tasks/get", "tasks/cancel"} {
		if err := mcp.AddSendingCustomMethod[*taskParams, *taskResult](c, method); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: w.url, HTTPClient: &http.Client{Transport: bearer{w.mine()}}, MaxRetries: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, offered := s.InitializeResult().Capabilities.Extensions[extTasks]; !offered {
		t.Errorf("the server does not offer the extension: %+v", s.InitializeResult().Capabilities)
	}
	tools, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]any{}
	for _, tool := range tools.Tools {
		modes[tool.Name] = tool.Meta[metaTask]
	}
	if modes["look"] != nil || modes["export"] != "optional" || modes["only"] != "required" {
		t.Errorf("modes %v", modes)
	}
	id := w.handle("export", `{"id":1}`)
	untilEvery(t, pollPace, "the end", func() bool {
		got, err := mcp.CallCustomMethod[*taskParams, *taskResult](t.Context(), s, "tasks/get", &taskParams{TaskID: id})
		if err != nil {
			t.Fatal(err)
		}
		return got.Status == "completed" && strings.Contains(string(got.Result), `"ok"`)
	})
	if ack, err := mcp.CallCustomMethod[*taskParams, *taskResult](t.Context(), s, "tasks/cancel", &taskParams{TaskID: id}); err != nil || ack.ResultType != "complete" || ack.TaskID != "" {
		t.Errorf("%+v, %v", ack, err)
	}
	_, err = mcp.CallCustomMethod[*taskParams, *taskResult](t.Context(), s, "tasks/get", &taskParams{TaskID: tasks.NewID()})
	var rpc *jsonrpc.Error
	if !errors.As(err, &rpc) || rpc.Code != jsonrpc.CodeInvalidParams {
		t.Errorf("%v", err)
	}
}

func TestWhoDeclaresNothingWaitsForTheAnswer(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	for name, meta := range map[string]string{
		"nothing":            modernMeta,
		"another extension":  `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/ui":{}}}}`,
		"the old form":       `"task":{"ttl":60000},` + modernMeta,
		"null":               `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":null}}}`,
		"in the wrong place": `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"experimental":{"io.modelcontextprotocol/tasks":{}}}}`,
	} {
		m := w.rpc(w.mine(), "tools/call", "export", `{"name":"export","arguments":{},`+meta+`}`)
		if m.Result.ResultType == "task" || len(m.Result.Content) == 0 || m.Result.Content[0].Text != "ok" {
			t.Errorf("%s: %s", name, m.raw)
		}
		m = w.rpc(w.mine(), "tools/call", "only", `{"name":"only","arguments":{},`+meta+`}`)
		if m.Error == nil || m.Error.Code != -32021 || m.http != 400 || !strings.Contains(string(m.Error.Data), `"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}`) || !strings.Contains(string(m.Error.Data), "task_needed") {
			t.Errorf("%s, of a tool that needs one: %s", name, m.raw)
		}
		for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
			if m := w.rpc(w.mine(), method, "x", `{"taskId":"`+tasks.NewID()+`",`+meta+`}`); m.Error == nil || m.Error.Code != -32021 {
				t.Errorf("%s: %s: %s", name, method, m.raw)
			}
		}
	}
	// An older revision has no such extension, whatever its client says.
	s := w.connect(w.mine(), "2025-11-25")
	if res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "export"}); err != nil || len(res.Content) == 0 {
		t.Errorf("%v %v", res, err)
	}
	if _, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "only"}); err == nil || !strings.Contains(err.Error(), "runs as a task only") {
		t.Errorf("%v", err)
	}
	if m := w.begin("look", `{}`); m.Result.ResultType != "complete" || len(m.Result.Content) == 0 {
		t.Errorf("a short tool was made a task: %s", m.raw)
	}
	if all, err := o.db.Tasks(t.Context(), o.tenant.ID, tasks.Query{Limit: 10}); err != nil || len(all) != 0 {
		t.Errorf("%d tasks, %v", len(all), err)
	}
}

// What refuses a call refuses a task, before it is one.
func TestTaskPassesEveryStepOfACall(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	if m := w.begin("export", `{"id":"x"}`); m.Result.Structured.Error.Code != "invalid_arguments" {
		t.Error(m.raw)
	}
	if m := w.rpc(w.token(w.user, "read"), "tools/call", "pay", `{"name":"pay","arguments":{},`+tasksMeta+`}`); m.http != 403 {
		t.Errorf("%d %s", m.http, m.raw)
	}
	// The confirmation comes first, then the task.
	if m := w.rpc(w.mine(), "tools/call", "erase", `{"name":"erase","arguments":{"id":1},`+strings.Replace(tasksMeta, `"elicitation":{},`, "", 1)+`}`); m.Result.Structured.Error.Code != "confirmation_needed" {
		t.Error(m.raw)
	} else {
		var s struct {
			Result struct {
				Structured struct{ Pending pending } `json:"structuredContent"`
			}
		}
		if err := json.Unmarshal([]byte(m.raw), &s); err != nil {
			t.Fatal(err)
		}
		id := w.handle("erase", string(s.Result.Structured.Pending.Next.Arguments))
		if got := w.ended(t, id); got.Result.Status != "completed" {
			t.Error(got.raw)
		}
		if w.runs() != 1 || string(w.dispatched[0].Input) != `{"id":1}` {
			t.Errorf("%+v", w.dispatched)
		}
		last := w.events[len(w.events)-1]
		if last.Notes[audit.NoteConfirmation] == nil {
			t.Errorf("its record does not name the confirmation: %+v", last)
		}
	}
	// As many as a person may have open.
	_, release := w.held()
	defer release()
	for i := range 3 {
		w.handle("pay", fmt.Sprintf(`{"id":%d}`, i))
	}
	if m := w.begin("pay", `{"id":9}`); m.Result.Structured.Error.Code != "limit_reached" || !strings.Contains(m.raw, "3 tasks of pay") {
		t.Error(m.raw)
	}
}

// Not one of these learns that there is such a task.
func TestTaskOfAnotherIsAsNone(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	began, release := w.held()
	defer release()
	id := w.handle("pay", `{"id":1}`)
	<-began
	none := w.ask("tasks/get", tasks.NewID()).raw
	asked := func(what, token, method, id string) {
		t.Helper()
		m := w.rpc(token, method, id, `{"taskId":"`+id+`","inputResponses":{"q1-1":{"action":"accept"}},`+tasksMeta+`}`)
		if m.raw != none {
			t.Errorf("%s: %s: %s, want %s", what, method, m.raw, none)
		}
	}
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		asked("another person", w.token(o.olaf.ID, "read", "write"), method, id)
		asked("without the scope", w.token(w.user, "read"), method, id)
		for _, bad := range []string{"", "tk", strings.ToUpper(id), id + "a", id[:27], "../" + id, strings.Repeat("a", 5000)} {
			asked("no id", w.mine(), method, bad)
		}
	}
	// Another app of the same person, and another tenant's edge.
	other, _ := o.edge(func(w *world, c *Config) { c.Verifier = app{w, "another app"} })
	if m := other.ask("tasks/get", id); m.raw != none {
		t.Errorf("another app: %s", m.raw)
	}
	globex, gus := postgrestest.Tenant(t, o.db, "globex")
	far, _ := o.edge(func(w *world, c *Config) { w.tenant, w.user = globex, gus.ID })
	if m := far.ask("tasks/cancel", id); m.raw != none {
		t.Errorf("another tenant: %s", m.raw)
	}
	w.mu.Lock()
	w.access.Scopes[tenants.Scope{Server: o.server.ID, Name: "write"}] = false
	w.mu.Unlock()
	if m := w.ask("tasks/get", id); m.raw != none {
		t.Errorf("whose role was narrowed: %s", m.raw)
	}
	if k, err := o.db.Task(t.Context(), o.tenant.ID, id); err != nil || k.CancelAsked {
		t.Errorf("somebody else cancelled it: %v", err)
	}
}

// app makes tokens those of another app.
type app struct {
	*world
	client string
}

func (a app) Verify(ctx context.Context, t tenants.ID, issuer, audience, token string) (authn.Principal, error) {
	p, err := a.world.Verify(ctx, t, issuer, audience, token)
	p.Client = a.client
	return p, err
}

func TestHugeUpdateIsRefused(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	id := w.handle("export", `{}`)
	big := strings.Repeat("x", tasks.MaxQuestion)
	many := []string{}
	for i := range tasks.MaxQuestions + 1 {
		many = append(many, fmt.Sprintf(`"q%d":{}`, i))
	}
	for _, responses := range []string{`{"q1":{"content":{"a":"` + big + `"}}}`, `{"q1":"yes"}`, `{"q1":null}`, `{` + strings.Join(many, ",") + `}`} {
		if m := w.ask("tasks/update", id, `"inputResponses":`+responses); m.Error == nil || m.Error.Code != -32602 {
			t.Errorf("%.60s: %.200s", responses, m.raw)
		}
	}
	if m := w.ask("tasks/update", id, `"inputResponses":{"never":{"action":"accept"}}`); m.Error != nil || m.Result.ResultType != "complete" {
		t.Errorf("an answer to nothing is ignored: %s", m.raw)
	}
}

func TestRepeatGetsTheSameTask(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	began, release := w.held()
	const key = `"latchkey/idempotencyKey":"mine"`
	id := w.handle("pay", `{"id":1}`, key)
	<-began
	if again := w.handle("pay", `{"id":1}`, key); again != id {
		t.Errorf("a repeat got another task")
	}
	const other = `"latchkey/idempotencyKey":"of a read"`
	if first := w.handle("export", `{"id":1}`, other); w.handle("export", `{"id":1}`, other) != first { // also of what reads, where it has a key
		t.Error("a read's own key counts for nothing")
	}
	if w.handle("export", `{"id":1}`) == w.handle("export", `{"id":1}`) {
		t.Error("two reads without a key are one task")
	}
	if m := w.begin("pay", `{"id":2}`, key); m.Result.Structured.Error.Code != "key_reused" {
		t.Error(m.raw)
	}
	if derived := w.handle("pay", `{"id":5}`); derived == id || w.handle("pay", `{"id":5}`) != derived {
		t.Error("the arguments alone make no name")
	}
	release()
	w.ended(t, id)
	if again := w.handle("pay", `{"id":1}`, key); again != id {
		t.Error("a repeat after the end got another task")
	}
	// Who waits gets what came of the task.
	m := w.rpc(w.mine(), "tools/call", "pay", `{"name":"pay","arguments":{"id":1},`+strings.TrimSuffix(modernMeta, "}")+`,`+key+`}}`)
	if len(m.Result.Content) < 2 || m.Result.Content[0].Text != "ok" || !strings.Contains(m.raw, "nothing was done again") {
		t.Error(m.raw)
	}
	paid := 0
	for _, c := range w.dispatched {
		if c.Name == "pay" && string(c.Input) == `{"id":1}` {
			paid++
		}
	}
	if paid != 1 {
		t.Errorf("it ran %d times", paid)
	}
}
