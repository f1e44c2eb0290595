package mcpgateway

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/limits"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// listening is a world whose server has resources that its upstream says have
// changed: what is dispatched to listen waits until the test lets it speak.
type listening struct {
	*world
	calls chan *upstreamCall
}

type upstreamCall struct {
	*runtime.Call
	input  runtime.ListenInput
	notify func(runtime.Notification)
	fail   chan error
	ended  chan error
}

func newListening(t *testing.T) *listening {
	l := &listening{calls: make(chan *upstreamCall, 10)}
	l.world = newWorld(t, func(w *world, c *Config) { c.Grants = w })
	l.hosted.Revision.Definition.Subscribe = true
	ok := l.run
	l.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		if c.Op != runtime.Listen {
			return ok(ctx, c, o)
		}
		u := &upstreamCall{Call: c, notify: o.Notify, fail: make(chan error), ended: make(chan error, 1)}
		if err := json.Unmarshal(c.Input, &u.input); err != nil {
			t.Error(err)
		}
		l.calls <- u
		select {
		case err := <-u.fail:
			return DispatchOutcome{}, err
		case <-ctx.Done():
			u.ended <- ctx.Err()
			return DispatchOutcome{}, ctx.Err()
		}
	}
	return l
}

func (u *upstreamCall) updated(uri string) {
	p, _ := json.Marshal(map[string]string{"uri": uri})
	u.notify(runtime.Notification{Method: "notifications/resources/updated", Params: p})
}

// GrantActive makes a world the Grants of its gateway.
func (w *world) GrantActive(context.Context, tenants.ID, string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.revoked, nil
}

func (w *world) change(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
	w.gateway.Changed(w.tenant.ID)
}

// hears are the notifications that a client got.
type hears struct {
	tools, resources, prompts chan bool
	updated                   chan string
}

func newHears() (*hears, *mcp.ClientOptions) {
	h := &hears{make(chan bool, 100), make(chan bool, 100), make(chan bool, 100), make(chan string, 1000)}
	return h, &mcp.ClientOptions{
		ToolListChangedHandler:     func(context.Context, *mcp.ToolListChangedRequest) { h.tools <- true },
		ResourceListChangedHandler: func(context.Context, *mcp.ResourceListChangedRequest) { h.resources <- true },
		PromptListChangedHandler:   func(context.Context, *mcp.PromptListChangedRequest) { h.prompts <- true },
		ResourceUpdatedHandler:     func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) { h.updated <- r.Params.URI },
	}
}

func listTools(t *testing.T, s *mcp.ClientSession) (names []string) {
	t.Helper()
	res, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range res.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// listenModern opens a subscriptions/listen by hand.
func (w *world) listenModern(token, want string) *eventStream {
	w.t.Helper()
	s := w.stream("POST", w.url, token, `{"jsonrpc":"2.0","id":"sub-1","method":"subscriptions/listen","params":{"notifications":`+want+`,`+modernMeta+`}}`,
		"MCP-Protocol-Version", modern, "Mcp-Method", "subscriptions/listen")
	if s.res.StatusCode != 200 {
		b, _ := io.ReadAll(s.res.Body)
		w.t.Fatalf("%d %s", s.res.StatusCode, b)
	}
	return s
}

const allLists = `{"toolsListChanged":true,"resourcesListChanged":true,"promptsListChanged":true}`

func TestChangedRightsReachThoseWhoseListChangesAndNobodyElse(t *testing.T) {
	w := newListening(t)
	heard, o := newHears()
	sse, err := w.connectSSE(w.token(ann, "read", "write"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sse.Close() })
	listTools(t, sse)
	streamable := w.session(w.token(ann, "read", "write"))
	get := w.stream("GET", w.url, w.token(ann, "read", "write"), "", "Mcp-Session-Id", streamable)
	get.want(": ok")
	modern := w.listenModern(w.token(ann, "read", "write"), allLists)
	modern.want("notifications/subscriptions/acknowledged")
	// Neither token carries what is about to change.
	other := w.listenModern(w.token(ann, "read"), allLists)
	other.want("notifications/subscriptions/acknowledged")
	quiet, quietOptions := newHears()
	narrow, err := w.connectSSE(w.token(ann, "read"), quietOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { narrow.Close() })
	listTools(t, narrow)

	write := tenants.Scope{Server: server1, Name: "write"}
	w.change(func() { delete(w.access.Scopes, write) })
	receive(t, "over HTTP+SSE", heard.tools)
	get.want("notifications/tools/list_changed")
	if got := modern.want("notifications/tools/list_changed"); !strings.Contains(got, `"io.modelcontextprotocol/subscriptionId":"sub-1"`) {
		t.Errorf("of which subscription? %s", got)
	}
	if got := listTools(t, sse); !slices.Equal(got, []string{"look"}) {
		t.Errorf("%v", got)
	}
	// What is not a change is told to nobody; and the next one to those it is of.
	w.change(func() {})
	read := tenants.Scope{Server: server1, Name: "read"}
	w.change(func() { delete(w.access.Scopes, read) })
	receive(t, "over HTTP+SSE", heard.tools)
	receive(t, "over HTTP+SSE", heard.prompts)
	receive(t, "over HTTP+SSE", heard.resources)
	receive(t, "a narrower token", quiet.tools)
	if got, _ := other.next(); !strings.Contains(got, "list_changed") {
		t.Errorf("the narrower listener heard %q", got)
	}
	if len(quiet.tools)+len(heard.tools) != 0 {
		t.Errorf("told of what was no change: %d and %d times", len(quiet.tools), len(heard.tools))
	}
}

func TestNewRevisionIsToldAndSessionsListIt(t *testing.T) {
	w := newListening(t)
	heard, o := newHears()
	s, err := w.connectSSE(w.token(ann, "read"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	listTools(t, s)
	if _, err := s.ListPrompts(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	def := w.hosted.Revision.Definition
	def.Prompts = append(slices.Clone(def.Prompts), registry.Prompt{Name: "also", Text: "Also.", Scope: "read"})
	def.Resources = append(slices.Clone(def.Resources), registry.Resource{Name: "new", URI: "new://one", Scope: "read", MIMEType: "text/plain"})
	rev, err := registry.NewRevision(w.hosted.Server, json.RawMessage(`{}`), def, "test")
	if err != nil {
		t.Fatal(err)
	}
	rev.ID, rev.Number = "rvbbbbbbbbbbbbbbbbbb", 2
	ok := w.run
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		if c.Op == runtime.ReadResource && c.Revision == rev.ID {
			return DispatchOutcome{Result: &runtime.Result{Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{Text: "new"}}}}}, nil
		}
		return ok(ctx, c, o)
	}
	w.change(func() { w.hosted.Revision = rev })
	receive(t, "prompts", heard.prompts)
	receive(t, "resources", heard.resources)
	prompts, err := s.ListPrompts(t.Context(), nil)
	if err != nil || len(prompts.Prompts) != 2 {
		t.Errorf("prompts %v, %v", prompts, err)
	}
	if p, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "also"}); err != nil || p.Messages[0].Content.(*mcp.TextContent).Text != "Also." {
		t.Errorf("%v, %v", p, err)
	}
	resources, err := s.ListResources(t.Context(), nil)
	if err != nil || len(resources.Resources) != 1 || resources.Resources[0].URI != "new://one" {
		t.Errorf("resources %v, %v", resources, err)
	}
	if r, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "new://one"}); err != nil || r.Contents[0].Text != "new" || r.Contents[0].URI != "new://one" || r.Contents[0].MIMEType != "text/plain" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "none"}); err == nil {
		t.Error("a prompt that is not there")
	}
	if templates, err := s.ListResourceTemplates(t.Context(), nil); err != nil || len(templates.ResourceTemplates) != 2 {
		t.Errorf("templates %v, %v", templates, err)
	}
	if len(heard.tools) != 0 {
		t.Error("told that tools have changed")
	}
}

func TestRevokedAccessEndsStreams(t *testing.T) {
	for what, take := range map[string]func(w *world){
		"the grant":   func(w *world) { w.revoked = true },
		"the account": func(w *world) { w.access.User.Disabled = true },
		"the server":  func(w *world) { w.hosted.Server.ID = "svbbbbbbbbbbbbbbbbbb" },
	} {
		t.Run(what, func(t *testing.T) {
			w := newListening(t)
			token := w.token(ann, "read")
			id := w.session(token)
			get := w.stream("GET", w.url, token, "", "Mcp-Session-Id", id)
			get.want(": ok")
			sse, _ := w.openSSE(token)
			modern := w.listenModern(token, allLists)
			modern.want("acknowledged")
			w.change(func() { take(w.world) })
			for name, s := range map[string]*eventStream{"GET": get, "HTTP+SSE": sse} {
				for {
					if _, err := s.next(); err != nil {
						break
					}
					_ = name
				}
			}
			// The newest revision has a word for the end.
			if got := modern.want(`"result"`); !strings.Contains(got, `"id":"sub-1"`) {
				t.Error(got)
			}
		})
	}
}

// Many sessions, one call; whoever subscribes to a resource and may read it is
// told, on their stream, and nobody else.
func TestResourceUpdatesReachThoseWhoSubscribedAndMayRead(t *testing.T) {
	w := newListening(t)
	heard, o := newHears()
	s, err := w.connectSSE(w.token(ann, "read", "write"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if !s.InitializeResult().Capabilities.Resources.Subscribe {
		t.Error("it does not say that resources can be subscribed to")
	}
	if err := s.Subscribe(t.Context(), &mcp.SubscribeParams{URI: "doc://1"}); err != nil {
		t.Fatal(err)
	}
	first := receive(t, "a call to listen", w.calls)
	if first.Op != runtime.Listen || first.Name != "server" || !slices.Equal(first.input.Resources, []string{"doc://1"}) || first.Access != registry.ReadAccess || first.Caller.User != ann {
		t.Errorf("%+v", first.Call)
	}
	modern := w.listenModern(w.token(ann, "read"), `{"resourceSubscriptions":["doc://1","doc://2","top://secret","none://x"]}`)
	if got := modern.want("acknowledged"); !strings.Contains(got, `["doc://1","doc://2"]`) {
		t.Errorf("what is agreed to: %s", got)
	}
	second := receive(t, "a call for both", w.calls)
	if !slices.Equal(second.input.Resources, []string{"doc://1", "doc://2"}) {
		t.Errorf("%+v", second.input)
	}
	second.updated("doc://2")
	if got := modern.want("notifications/resources/updated"); !strings.Contains(got, `"uri":"doc://2"`) || !strings.Contains(got, `"io.modelcontextprotocol/subscriptionId":"sub-1"`) {
		t.Error(got)
	}
	second.updated("doc://1")
	if got := receive(t, "an update", heard.updated); got != "doc://1" {
		t.Errorf("heard of %s", got)
	}
	modern.want(`"uri":"doc://1"`)
	for _, e := range w.world.events {
		if e.Method == "resources/subscribe" && (e.Tool == "top://secret") != (e.Code != "") {
			t.Errorf("on record: %+v", e)
		}
	}
	// Rights are looked at when something is told.
	w.change(func() { delete(w.access.Scopes, tenants.Scope{Server: server1, Name: "read"}) })
	receive(t, "the change", heard.resources)
	receive(t, "the change", heard.tools)
	second.updated("doc://1")
	w.change(func() { delete(w.access.Scopes, tenants.Scope{Server: server1, Name: "write"}) })
	receive(t, "a later change", heard.tools)
	w.change(func() { w.access.Scopes[tenants.Scope{Server: server1, Name: "read"}] = true })
	receive(t, "the change back", heard.resources)
	if len(heard.updated) != 0 {
		t.Error("told of a resource that they may not read")
	}
	// Nobody listens: nothing runs.
	if err := s.Unsubscribe(t.Context(), &mcp.UnsubscribeParams{URI: "doc://1"}); err != nil {
		t.Fatal(err)
	}
	modern.end()
	receive(t, "the end of the call", second.ended)
	if len(w.calls) != 0 {
		t.Errorf("%d further calls", len(w.calls))
	}
}

type unlimited struct{}

func (unlimited) Spend(context.Context, limits.Call) (limits.Spent, error) {
	return limits.Spent{}, nil
}

func TestSubscriptionNeedsWhatReadingNeeds(t *testing.T) {
	w := newListening(t)
	w.gateway.cfg.Limits = unlimited{}
	s, err := w.connectSSE(w.token(ann, "read"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, uri := range []string{"top://secret", "none://x", "doc://" + strings.Repeat("x", 3000)} {
		if err := s.Subscribe(t.Context(), &mcp.SubscribeParams{URI: uri}); err == nil {
			t.Errorf("%.20s is subscribed to", uri)
		}
	}
	var subscribed int
	for i := range maxSubscriptions + 1 {
		if s.Subscribe(t.Context(), &mcp.SubscribeParams{URI: "doc://" + strings.Repeat("x", i+1)}) == nil {
			subscribed++
		}
	}
	if subscribed != maxSubscriptions {
		t.Errorf("%d subscriptions in one session", subscribed)
	}
}

func TestServerThatSaysNothingOffersNoSubscriptions(t *testing.T) {
	w := newWorld(t)
	s, err := w.connectSSE(w.token(ann, "read"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if s.InitializeResult().Capabilities.Resources.Subscribe || s.Subscribe(t.Context(), &mcp.SubscribeParams{URI: "doc://1"}) == nil {
		t.Error("it offers subscriptions")
	}
	modern := w.listenModern(w.token(ann, "read"), `{"toolsListChanged":true,"resourceSubscriptions":["doc://1"]}`)
	if got := modern.want("acknowledged"); strings.Contains(got, "doc://1") {
		t.Error(got)
	}
}

// What was missed while nothing was heard is not known, so that everything that
// is subscribed to may have changed.
func TestLostUpstreamIsListenedToAgainAndTheGapIsTold(t *testing.T) {
	w := newListening(t)
	heard, o := newHears()
	s, err := w.connectSSE(w.token(ann, "read"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Subscribe(t.Context(), &mcp.SubscribeParams{URI: "doc://1"}); err != nil {
		t.Fatal(err)
	}
	receive(t, "a call", w.calls).fail <- fault.New(fault.WorkerLost, "gone")
	receive(t, "another call", w.calls)
	if got := receive(t, "what may have changed", heard.updated); got != "doc://1" {
		t.Error(got)
	}
}

func TestServerNobodyCanListenToIsNotAskedAgain(t *testing.T) {
	w := newListening(t)
	s, err := w.connectSSE(w.token(ann, "read"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Subscribe(t.Context(), &mcp.SubscribeParams{URI: "doc://1"}); err != nil {
		t.Fatal(err)
	}
	receive(t, "a call", w.calls).fail <- fault.New(fault.InvalidRequest, "Servers of this kind say nothing by themselves.")
	select {
	case <-w.calls:
		t.Error("asked again")
	case <-time.After(2 * listenBackoff):
	}
	w.gateway.Changed(w.tenant.ID) // it may be another server now
	receive(t, "a call after a change", w.calls)
}

// An upstream's own word on its lists is for those who administer it: nothing is
// offered by that.
func TestUpstreamsListChangeIsForAdministrators(t *testing.T) {
	w := newListening(t)
	var once sync.Once
	told := make(chan registry.ServerID, 1)
	w.gateway.cfg.OfferChanged = func(_ tenants.ID, s registry.ServerID) { once.Do(func() { told <- s }) }
	heard, o := newHears()
	s, err := w.connectSSE(w.token(ann, "read"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	listTools(t, s)
	if err := s.Subscribe(t.Context(), &mcp.SubscribeParams{URI: "doc://1"}); err != nil {
		t.Fatal(err)
	}
	u := receive(t, "a call", w.calls)
	if !u.input.Lists {
		t.Error("lists are not listened to")
	}
	u.notify(runtime.Notification{Method: "notifications/tools/list_changed"})
	if got := receive(t, "the word", told); got != server1 {
		t.Error(got)
	}
	u.updated("doc://1") // after which everything before has been looked at
	receive(t, "an update", heard.updated)
	if len(heard.tools) != 0 {
		t.Error("clients were told of a list that is the same")
	}
}

func TestShutdownEndsStreamsWithAWord(t *testing.T) {
	w := newListening(t)
	token := w.token(ann, "read")
	id := w.session(token)
	get := w.stream("GET", w.url, token, "", "Mcp-Session-Id", id)
	get.want(": ok")
	modern := w.listenModern(token, allLists)
	modern.want("acknowledged")
	ok, began, goOn := w.run, make(chan bool), make(chan bool)
	finish := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(finish)
	w.mu.Lock()
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		close(began)
		<-goOn
		if ctx.Err() != nil {
			return DispatchOutcome{}, ctx.Err()
		}
		return ok(ctx, c, o)
	}
	w.mu.Unlock()
	sse, post := w.openSSE(token)
	w.stream("POST", post, token, legacyInitialize)
	sse.want("protocolVersion")
	w.stream("POST", post, token, strings.Replace(callLook, `,"_meta":{"progressToken":"p"}`, "", 1))
	receive(t, "the call", began)
	w.gateway.Drain()
	modern.want(`"result"`)
	for {
		if _, err := get.next(); err != nil {
			break
		}
	}
	finish() // what runs, and it is answered
	sse.want(`"n":1`)
	for {
		if _, err := sse.next(); err != nil {
			break
		}
	}
	if s := w.listenModern(token, allLists); !strings.Contains(s.want("-32"), "stopping") {
		t.Error("somebody listens to an edge that stops")
	}
	if s := w.stream("POST", w.url, token, legacyInitialize); s.res.StatusCode != 429 || s.res.Header.Get("Retry-After") == "" {
		t.Errorf("a session begins on an edge that stops: %d", s.res.StatusCode)
	}
	comesTrue(t, "sessions are left", func() bool { return w.sessions() == 0 })
}
