package mcpgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/authn"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// world is a gateway between real clients and parts that the test controls.
// The whole chain with the real ones is played in internal/e2e.
type world struct {
	t       testing.TB
	gateway *Gateway
	url     string
	server  *httptest.Server
	hosted  registry.Hosted
	tenant  tenants.Tenant
	user    tenants.UserID

	mu         sync.Mutex
	access     tenants.Access
	events     []audit.Event
	auditErr   func(audit.Event) error
	run        func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error)
	dispatched []*runtime.Call
	challenged []string
	revoked    bool
	others     map[string]registry.Hosted // besides hosted, by slug
}

const (
	server1 = tenants.ServerID("svaaaaaaaaaaaaaaaaaa")
	ann     = tenants.UserID("usaaaaaaaaaaaaaaaaaa")
	bob     = tenants.UserID("usbbbbbbbbbbbbbbbbbb")
)

func newWorld(t testing.TB, change ...func(*world, *Config)) *world {
	t.Helper()
	w := &world{t: t, tenant: tenants.Tenant{ID: "tnaaaaaaaaaaaaaaaaaa", Slug: "acme", Name: "Acme"}}
	srv := registry.Server{ID: server1, Tenant: w.tenant.ID, Slug: "orders", Kind: "test", Title: "Orders", Pool: "default"}
	object := json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"id":{"type":"integer","minimum":1},"note":{"type":"string","maxLength":5}}}`)
	rev, err := registry.NewRevision(srv, json.RawMessage(`{}`), registry.Definition{
		Tools: []registry.Tool{
			{Name: "look", InputSchema: object, Scope: "read", Risk: registry.Reads, OutputSchema: json.RawMessage(`{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}`)},
			{Name: "refund", InputSchema: object, Scope: "write", Risk: registry.Destructive, Safety: registry.Safety{Confirmation: registry.Confirmation{Ask: registry.ConfirmNever}}},
			{Name: "hidden", InputSchema: object, Scope: "secret", Risk: registry.Reads},
		},
		Resources: []registry.Resource{{Name: "doc", URITemplate: "doc://{id}", Scope: "read"}, {Name: "top", URI: "top://secret", Scope: "secret"}},
		Prompts:   []registry.Prompt{{Name: "ask", Text: "Say {{what}}, {{what}}.", Scope: "read", Arguments: []registry.PromptArgument{{Name: "what", Required: true}}}},
	}, "test")
	if err != nil {
		t.Fatal(err)
	}
	rev.ID, rev.Number = "rvaaaaaaaaaaaaaaaaaa", 1
	w.hosted = registry.Hosted{Server: srv, Revision: rev}
	w.access = tenants.Access{User: tenants.User{ID: ann, Tenant: w.tenant.ID, Email: "ann@acme.test"}, Scopes: map[tenants.Scope]bool{
		{Server: server1, Name: "read"}: true, {Server: server1, Name: "write"}: true,
	}}
	w.run = func(_ context.Context, c *runtime.Call, _ DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Worker: "w1", Started: true, Result: &runtime.Result{Tool: &mcp.CallToolResult{
			Content: []mcp.Content{&mcp.TextContent{Text: "ok"}}, StructuredContent: json.RawMessage(`{"n":1}`)}, LeaseID: "lease"}}, nil
	}
	sites, err := site.Parse("http://127.0.0.1:1/t/{tenant}")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Sites: sites, Verifier: w, Registry: w, People: w, Signer: w, Dispatch: w, Audit: w,
		Challenged: func(_ context.Context, _ tenants.ID, grant string) { w.challenged = append(w.challenged, grant) },
	}
	for _, c := range change {
		c(w, &cfg)
	}
	g := New(cfg)
	w.gateway = g
	ts := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(ts.Close)
	w.url = ts.URL + "/mcp/orders"
	w.server = ts
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	r = r.WithContext(site.With(r.Context(), w.tenant))
	if slug, ok := strings.CutPrefix(r.URL.Path, "/t/acme/sse/"); ok {
		w.gateway.ServeSSE(rw, r, slug)
		return
	}
	w.gateway.ServeMCP(rw, r, strings.TrimPrefix(r.URL.Path, "/mcp/"))
}

// Verify reads a token of the form `user scope scope…`, base64 not needed.
func (w *world) Verify(_ context.Context, t tenants.ID, _, audience, token string) (authn.Principal, error) {
	user, scopes, ok := strings.Cut(token, "~")
	if !ok {
		return authn.Principal{}, fault.New(fault.Unauthenticated, "The access token cannot be used.")
	}
	return authn.Principal{Tenant: t, User: tenants.UserID(user), Client: "cl", Grant: "gr", Audience: audience,
		Scopes: strings.Split(scopes, "+"), ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (w *world) Hosted(_ context.Context, _ tenants.ID, slug string) (registry.Hosted, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h, ok := w.others[slug]; ok {
		return h, nil
	}
	if slug != "orders" || w.hosted.Server.Deleting {
		return registry.Hosted{}, fault.New(fault.NotFound, "no")
	}
	return w.hosted, nil
}

func (w *world) Access(context.Context, tenants.ID, tenants.UserID) (tenants.Access, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.access
	a.Scopes = maps.Clone(a.Scopes) // tests change it
	return a, nil
}

func (w *world) Sign(g vault.Grant) (secret.Text, error) { return "grant", nil }

func (w *world) Dispatch(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
	w.mu.Lock()
	w.dispatched = append(w.dispatched, c)
	run := w.run
	w.mu.Unlock()
	return run(ctx, c, o)
}

func (w *world) Add(_ context.Context, e audit.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.auditErr != nil {
		if err := w.auditErr(e); err != nil {
			return err
		}
	}
	w.events = append(w.events, e)
	return nil
}

func (w *world) token(user tenants.UserID, scopes ...string) string {
	return string(user) + "~" + strings.Join(scopes, "+")
}

type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

// eras are the two ways of speaking MCP; the SDK's client speaks both.
var eras = map[string]string{"modern": "2026-07-28", "legacy": "2025-11-25"}

func (w *world) connect(token, version string) *mcp.ClientSession {
	w.t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	s, err := c.Connect(w.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: w.url, HTTPClient: &http.Client{Transport: bearer{token}}, MaxRetries: -1,
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close() })
	return s
}

// post sends one raw modern or legacy message.
func (w *world) post(token, body string, headers ...string) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "POST", w.url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(b)
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

func (w *world) call(token, name, arguments string) (*http.Response, string) {
	return w.post(token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+name+`","arguments":`+arguments+`,`+modernMeta+`}}`,
		"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", name)
}

func (w *world) phases() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		out = append(out, string(e.Phase)+" "+string(e.State)+" "+e.Code)
	}
	return out
}

func failureIn(t *testing.T, res *mcp.CallToolResult) failure {
	t.Helper()
	b, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Error failure }
	if err := json.Unmarshal(b, &s); err != nil || !res.IsError {
		t.Fatalf("not a failure: %s", b)
	}
	return s.Error
}

func TestListsShowOnlyWhatTokenAndRolesAllow(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t)
			s := w.connect(w.token(ann, "read", "secret"), version)
			tools, err := s.ListTools(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			// write: not consented to. secret: consented to once, and taken from the role since.
			if len(tools.Tools) != 1 || tools.Tools[0].Name != "look" {
				t.Errorf("tools %v", tools.Tools)
			}
			if era == "modern" && (tools.CacheScope != "private" || tools.TTLMs > 60_000) {
				t.Errorf("cacheable %+v", tools.Cacheable)
			}
			resources, err := s.ListResources(t.Context(), nil)
			if err != nil || len(resources.Resources) != 0 {
				t.Errorf("resources %v, %v", resources, err)
			}
			templates, err := s.ListResourceTemplates(t.Context(), nil)
			if err != nil || len(templates.ResourceTemplates) != 2 { // doc, and the parts of large results
				t.Errorf("templates %v, %v", templates, err)
			}
			prompts, err := s.ListPrompts(t.Context(), nil)
			if err != nil || len(prompts.Prompts) != 1 {
				t.Errorf("prompts %v, %v", prompts, err)
			}
		})
	}
}

func TestMissingScopeIsChallengedAndNothingRuns(t *testing.T) {
	w := newWorld(t)
	res, body := w.call(w.token(ann, "read"), "refund", `{"id":1}`)
	challenge := res.Header.Get("WWW-Authenticate")
	if res.StatusCode != 403 || !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, `scope="read write"`) ||
		!strings.Contains(challenge, `resource_metadata="http://127.0.0.1:1/.well-known/oauth-protected-resource/t/acme/mcp/orders"`) {
		t.Errorf("%d %s\n%s", res.StatusCode, challenge, body)
	}
	if len(w.dispatched) != 0 || !slices.Equal(w.phases(), []string{"refusal refused insufficient_scope"}) || !slices.Equal(w.challenged, []string{"gr"}) {
		t.Errorf("dispatched %v, records %v, challenged %v", w.dispatched, w.phases(), w.challenged)
	}
}

func TestRoleWithoutScopeIsRefusedWithoutChallenge(t *testing.T) {
	w := newWorld(t)
	delete(w.access.Scopes, tenants.Scope{Server: server1, Name: "write"})
	s := w.connect(w.token(ann, "read", "write"), "2026-07-28")
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 1}})
	if err != nil {
		t.Fatal(err)
	}
	if f := failureIn(t, res); f.Code != "role_not_allowed" || f.Category != fault.Access || f.Scope != "write" || len(w.dispatched) != 0 {
		t.Errorf("%+v", f)
	}
	w.access.User.Disabled = true
	res, err = s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
	if err != nil || failureIn(t, res).Code != "role_not_allowed" {
		t.Errorf("a closed account got %v, %v", res, err)
	}
}

// The ways in which others' checks, which look into the body, were passed by.
func TestScopeCheckCannotBePassedBy(t *testing.T) {
	w := newWorld(t)
	token := w.token(ann, "read")
	t.Run("batch array", func(t *testing.T) {
		for _, v := range []string{"2025-03-26", "2026-07-28", ""} {
			res, body := w.post(token, `[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"refund","arguments":{"id":1}}}]`, "MCP-Protocol-Version", v)
			if res.StatusCode != 400 || !strings.Contains(body, "batches are not accepted") {
				t.Errorf("%s: %d %s", v, res.StatusCode, body)
			}
		}
	})
	t.Run("duplicate key", func(t *testing.T) {
		for _, params := range []string{
			`"name":"look","NAME":"refund"`, `"NAME":"refund","name":"look"`, `"name":"look","name":"refund"`, `"Name":"refund"`,
		} {
			for _, header := range []string{"look", "refund"} {
				w.post(token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{`+params+`,"arguments":{"id":1},`+modernMeta+`}}`,
					"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", header)
				w.post(token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{`+params+`,"arguments":{"id":1}}}`, "MCP-Protocol-Version", "2025-06-18")
			}
		}
	})
	for _, c := range w.dispatched {
		if c.Name != "look" || c.Access != registry.ReadAccess {
			t.Errorf("dispatched %s with %s access", c.Name, c.Access)
		}
	}
}

func TestUnauthenticatedIsToldWhereToSignIn(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ name, token, header, want string }{
		{"none", "", "", `Bearer resource_metadata=`},
		{"bad", "garbage", "", `error="invalid_token"`},
		{"basic", "", "Basic abc", `error="invalid_token"`},
		{"two words", "", "Bearer a b~c", ""},
	} {
		headers := []string{}
		if c.header != "" {
			headers = append(headers, "Authorization", c.header)
		}
		res, body := w.post(c.token, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, headers...)
		challenge := res.Header.Get("WWW-Authenticate")
		if c.want != "" && (res.StatusCode != 401 || !strings.Contains(challenge, c.want) || !strings.Contains(challenge, `scope="read write secret"`)) {
			t.Errorf("%s: %d %s %s", c.name, res.StatusCode, challenge, body)
		}
	}
	w.url += "?access_token=" + w.token(ann, "read")
	if res, body := w.post("", `{}`); res.StatusCode != 400 || !strings.Contains(body, "URLs are logged") {
		t.Errorf("token in the query: %d %s", res.StatusCode, body)
	}
}

func TestBadRequestsGetClearErrors(t *testing.T) {
	w := newWorld(t)
	token := w.token(ann, "read")
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"empty", "", 400, "one JSON-RPC message"},
		{"not JSON", "{nope", 400, "not valid JSON"},
		{"text", `"hi"`, 400, "an object"},
		{"oversized", `{"a":"` + strings.Repeat("x", maxBody) + `"}`, 413, "larger than"},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"evil/thing"}`, 400, ""},
	} {
		res, body := w.post(token, c.body)
		if res.StatusCode != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s", c.name, res.StatusCode, body)
		}
	}
	if len(w.dispatched) != 0 {
		t.Error("something ran")
	}
}

func TestForeignOriginIsRefused(t *testing.T) {
	w := newWorld(t)
	token := w.token(ann, "read")
	for origin, want := range map[string]int{"https://evil.example": 403, "null": 403, "http://localhost.evil.example": 403, "http://127.0.0.1:1": 200, "http://localhost:6274": 200} {
		res, _ := w.post(token, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`, "Origin", origin, "MCP-Protocol-Version", "2025-06-18")
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", origin, res.StatusCode, want)
		}
		if want == 200 && (res.Header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(res.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate")) {
			t.Errorf("%s: CORS headers %v", origin, res.Header)
		}
	}
}

func TestArgumentsAreNamedByPointer(t *testing.T) {
	w := newWorld(t)
	s := w.connect(w.token(ann, "read"), "2026-07-28")
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look", Arguments: map[string]any{"id": "x", "note": "far too long", "extra": 1}})
	if err != nil {
		t.Fatal(err)
	}
	f := failureIn(t, res)
	pointers := map[string]bool{}
	for _, d := range f.Details {
		pointers[d.Pointer] = true
	}
	if f.Code != "invalid_arguments" || !pointers["/id"] || !pointers["/note"] || !pointers[""] || len(w.dispatched) != 0 {
		t.Errorf("%+v", f)
	}
	if _, body := w.call(w.token(ann, "read"), "look", `{"id":1,"id":2}`); !strings.Contains(body, "twice") {
		t.Errorf("duplicate argument: %s", body)
	}
}

func TestOutputSchemaAllowsFailures(t *testing.T) {
	w := newWorld(t)
	s := w.connect(w.token(ann, "read"), "2025-11-25")
	tools, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := json.Marshal(tools.Tools[0].OutputSchema)
	if err != nil {
		t.Fatal(err)
	}
	v, err := newValidator(schema)
	if err != nil {
		t.Fatal(err)
	}
	failed, err := json.Marshal(toolError(fault.New(fault.Busy, "busy").After(1500*time.Millisecond), "ca1").StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	for doc, ok := range map[string]bool{`{"n":1}`: true, string(failed): true, `{"n":"x"}`: false, `{}`: false} {
		if err := v.check(json.RawMessage(doc)); (err == nil) != ok {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestEffectsHaveAnIntentBeforeAndAnOutcomeAfter(t *testing.T) {
	w := newWorld(t)
	var atDispatch []string
	ok := w.run
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		atDispatch = w.phases()
		if o.Repeatable || c.Access != registry.WriteAccess {
			t.Errorf("options %+v, access %s", o, c.Access)
		}
		return ok(ctx, c, o)
	}
	s := w.connect(w.token(ann, "read", "write"), "2026-07-28")
	if _, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 1}, Meta: mcp.Meta{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(atDispatch, []string{"intent pending "}) || !slices.Equal(w.phases(), []string{"intent pending ", "outcome done "}) {
		t.Errorf("at dispatch %v, in the end %v", atDispatch, w.phases())
	}
	e := w.events[1]
	if e.CallID != w.events[0].CallID || e.IdempotencyKey == "" || w.dispatched[0].IdempotencyKey != e.IdempotencyKey || w.dispatched[0].Traceparent[3:35] != e.TraceID || e.LeaseID != "lease" || e.Worker != "w1" ||
		e.DefinitionHash == "" || e.Scope != "write" || len(e.TraceID) != 32 || e.User != ann || e.Client != "cl" || e.Grant != "gr" {
		t.Errorf("%+v", e)
	}
}

func TestStoreAwayFailsClosed(t *testing.T) {
	away := fault.New(fault.StoreAway, "away").After(time.Second)
	w := newWorld(t)
	w.auditErr = func(audit.Event) error { return away }
	s := w.connect(w.token(ann, "read", "write"), "2026-07-28")
	for _, name := range []string{"refund", "look"} {
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: map[string]any{"id": 1}})
		if err != nil {
			t.Fatal(err)
		}
		if f := failureIn(t, res); f.Code != "platform_store_unavailable" || f.Category != fault.Downstream || f.RetryAfterS != 1 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	for _, c := range w.dispatched {
		if c.Access == registry.WriteAccess {
			t.Error("a call with effects ran without a record")
		}
	}
	// The store goes away between intent and outcome.
	w.auditErr = func(e audit.Event) error {
		if e.Phase == audit.Outcome {
			return away
		}
		return nil
	}
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 1}})
	if err != nil || failureIn(t, res).Code != "outcome_unknown" {
		t.Errorf("%v %v", res, err)
	}
}

func TestLostWorkerWithEffectsIsUnknown(t *testing.T) {
	w := newWorld(t)
	w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Worker: "w1", Started: true}, fault.New(fault.WorkerLost, "The worker was lost.")
	}
	s := w.connect(w.token(ann, "read", "write"), "2026-07-28")
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 1}})
	if err != nil {
		t.Fatal(err)
	}
	if f := failureIn(t, res); f.Code != "outcome_unknown" || !strings.Contains(res.Content[0].(*mcp.TextContent).Text, "do not repeat") {
		t.Errorf("%+v", f)
	}
	if !slices.Equal(w.phases(), []string{"intent pending ", "outcome unknown outcome_unknown"}) || w.events[1].Worker != "w1" {
		t.Errorf("%v", w.phases())
	}
}

func TestNothingInsideLeaks(t *testing.T) {
	w := newWorld(t)
	w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{}, errors.New("dial tcp 10.1.2.3:5432: password=hunter2 SELECT * FROM cards")
	}
	_, body := w.call(w.token(ann, "read"), "look", `{}`)
	for _, inner := range []string{"10.1.2.3", "hunter2", "SELECT", "dial"} {
		if strings.Contains(body, inner) {
			t.Errorf("leaks %q: %s", inner, body)
		}
	}
	if !strings.Contains(body, "internal_error") {
		t.Error(body)
	}
}

func TestPanicDoesNotTakeTheProcessDown(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t)
			ok := w.run
			w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
				panic("boom at 10.1.2.3")
			}
			s := w.connect(w.token(ann, "read"), version)
			_, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
			if err == nil || strings.Contains(err.Error(), "boom") {
				t.Errorf("got %v", err)
			}
			w.mu.Lock()
			w.run = ok
			w.mu.Unlock()
			if res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"}); err != nil || res.IsError {
				t.Errorf("after the panic: %v %v", res, err)
			}
			// A handler that answers nothing at all.
			w.mu.Lock()
			w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
				return DispatchOutcome{Result: &runtime.Result{}}, nil
			}
			w.mu.Unlock()
			if res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"}); err != nil || failureIn(t, res).Code != "tool_failed" {
				t.Errorf("empty result: %v %v", res, err)
			}
		})
	}
}

func TestLegacySessionBelongsToOnePerson(t *testing.T) {
	w := newWorld(t)
	s := w.connect(w.token(ann, "read"), "2025-11-25")
	if s.ID() == "" {
		t.Fatal("no legacy session")
	}
	res, _ := w.post(w.token(bob, "read"), `{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{}}`, "Mcp-Session-Id", s.ID(), "MCP-Protocol-Version", "2025-11-25")
	if res.StatusCode != 404 { // as one that does not exist
		t.Errorf("another person in the session: %d", res.StatusCode)
	}
	res, _ = w.post(w.token(ann, "read"), `{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{}}`, "Mcp-Session-Id", "made-up", "MCP-Protocol-Version", "2025-11-25")
	if res.StatusCode != 404 {
		t.Errorf("an unknown session: %d", res.StatusCode)
	}
}

func TestSessionsTokenIsThatOfEachRequest(t *testing.T) {
	w := newWorld(t)
	s := w.connect(w.token(ann, "read", "write"), "2025-11-25")
	res, body := w.post(w.token(ann, "read"), `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"refund","arguments":{"id":1}}}`, "Mcp-Session-Id", s.ID(), "MCP-Protocol-Version", "2025-11-25")
	if res.StatusCode != 403 || len(w.dispatched) != 0 {
		t.Errorf("a narrower token in a wider session: %d %s", res.StatusCode, body)
	}
}

func TestProgressReachesTheCaller(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newWorld(t)
			ok := w.run
			w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
				o.Progress(1, 2, "half")
				return ok(ctx, c, o)
			}
			got := make(chan *mcp.ProgressNotificationParams, 1)
			c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { got <- r.Params },
			})
			s, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: w.url, HTTPClient: &http.Client{Transport: bearer{w.token(ann, "read")}}},
				&mcp.ClientSessionOptions{ProtocolVersion: version})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			p := &mcp.CallToolParams{Name: "look"}
			p.SetProgressToken("tok")
			if _, err := s.CallTool(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			select {
			case n := <-got:
				if n.Progress != 1 || n.Total != 2 || n.Message != "half" {
					t.Errorf("%+v", n)
				}
			case <-time.After(5 * time.Second):
				t.Error("no progress came")
			}
		})
	}
}

func TestDisconnectCancelsTheCall(t *testing.T) {
	w := newWorld(t)
	started, cancelled := make(chan struct{}), make(chan struct{})
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		close(started)
		<-ctx.Done()
		close(cancelled)
		return DispatchOutcome{}, fault.New(fault.Cancelled, "cancelled")
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", w.url, bytes.NewReader([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look",`+modernMeta+`}}`)))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + w.token(ann, "read"),
		"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "look"} {
		req.Header.Set(k, v)
	}
	go http.DefaultClient.Do(req)
	<-started
	cancel()
	select {
	case <-cancelled:
	case <-time.After(5 * time.Second):
		t.Fatal("the call went on after its caller had left")
	}
}

func TestResourcesAndPromptsAreScoped(t *testing.T) {
	w := newWorld(t)
	w.run = func(_ context.Context, c *runtime.Call, _ DispatchOptions) (DispatchOutcome, error) {
		if c.Op != runtime.ReadResource || c.Access != registry.ReadAccess {
			t.Errorf("%s with %s access", c.Op, c.Access)
		}
		if c.Name == "doc://404" {
			return DispatchOutcome{}, fault.New(fault.NotFound, "no such")
		}
		return DispatchOutcome{Result: &runtime.Result{Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{Text: "text"}}}}}, nil
	}
	s := w.connect(w.token(ann, "read"), "2026-07-28")
	if res, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "doc://1"}); err != nil || res.Contents[0].Text != "text" {
		t.Errorf("%v %v", res, err)
	}
	for _, uri := range []string{"doc://404", "top://secret", "other://x"} {
		if _, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err == nil {
			t.Errorf("%s was read", uri)
		}
	}
	p, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "ask", Arguments: map[string]string{"what": "{{what}}"}})
	if err != nil || p.Messages[0].Content.(*mcp.TextContent).Text != "Say {{what}}, {{what}}." {
		t.Errorf("%v %v", p, err)
	}
	if _, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "ask"}); err == nil || !strings.Contains(err.Error(), "what") {
		t.Errorf("a missing argument: %v", err)
	}
}

func TestBrowserIsToldWhatTheURLIsFor(t *testing.T) {
	w := newWorld(t)
	get := func(headers ...string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(b)
	}
	res, body := get("Sec-Fetch-Mode", "navigate", "Accept", "text/html")
	if res.StatusCode != 200 || !strings.Contains(body, "claude mcp add --transport http orders http://127.0.0.1:1/t/acme/mcp/orders") || res.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
	if res, _ := get("Accept", "text/event-stream"); res.StatusCode != 401 {
		t.Errorf("a client got %d", res.StatusCode)
	}
}

func TestSchemaCannotFetch(t *testing.T) {
	for _, schema := range []string{
		`{"$ref":"http://127.0.0.1:9/x"}`, `{"$ref":"file:///etc/passwd"}`, `{"type":"object","properties":{"a":{"$ref":"https://example.org/s"}}}`, `{"type":3}`, `nope`,
	} {
		if _, err := newValidator(json.RawMessage(schema)); err == nil {
			t.Errorf("%s was accepted", schema)
		}
	}
}

func FuzzArguments(f *testing.F) {
	v, err := newValidator(json.RawMessage(`{"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}},"b":{"type":"string","maxLength":3}},"additionalProperties":false}`))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{`{}`, `{"a":[1,"x"],"b":"long"}`, `{"a":1,"a":2}`, strings.Repeat("[", 100), `{"a":{"b":{}}}`, "", "null"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		err := v.check(in)
		if err == nil {
			return
		}
		e := fault.Of(err)
		if e.Code != fault.InvalidArguments || len(e.Details) > maxProblems {
			t.Fatalf("%+v", e)
		}
		for _, d := range e.Details {
			if len(d.Reason) > 2000 || len(d.Pointer) > 2000 {
				t.Fatalf("unbounded detail: %d, %d bytes", len(d.Reason), len(d.Pointer))
			}
		}
	})
}

// What could only be stolen is not made.
func TestOnlyServersWithAConnectionHaveGrants(t *testing.T) {
	for _, c := range []struct {
		connection string
		perUser    bool
		want       secret.Text
	}{{"", false, ""}, {"{}", false, ""}, {"{}", true, "grant"}, {`{"host":"db"}`, false, "grant"}} {
		w := newWorld(t)
		w.hosted.Server.Connection, w.hosted.Server.PerUser = json.RawMessage(c.connection), c.perUser
		w.call(w.token(ann, "read"), "look", `{}`)
		if len(w.dispatched) != 1 || w.dispatched[0].Grant != c.want {
			t.Errorf("%+v: dispatched %+v", c, w.dispatched)
		}
	}
}
