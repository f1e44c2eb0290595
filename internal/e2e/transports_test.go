package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/embedded"
	"latchkey/internal/testenv"
)

// balancer sends each request to the edge that is chosen, under the platform's
// own name, as a balancer in front of several does.
type balancer struct {
	host  string
	token string
	edges []*serving
	next  atomic.Int32
}

func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	at, err := url.Parse(b.edges[int(b.next.Load())%len(b.edges)].base)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Host, r.Host = at.Host, b.host
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

func (b *balancer) turn(t *testing.T, edge int) {
	t.Helper()
	b.next.Store(int32(edge))
}

// Sessions of older clients live on one edge each, and are served by all.
func TestOlderClientsAreServedByEveryEdge(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	edges, _ := serve(t, p, 2)
	base, err := url.Parse(p.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	k := p.Token(t, "dana@acme.test", "diagnostics", "diagnostics")
	b := &balancer{host: base.Host, token: k.Access, edges: edges}
	changed, progress := make(chan bool, 10), make(chan bool, 1000)
	options := &mcp.ClientOptions{
		ToolListChangedHandler:      func(context.Context, *mcp.ToolListChangedRequest) { changed <- true },
		ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { progress <- true },
	}
	hear := func(what string, from chan bool) {
		t.Helper()
		select {
		case <-from:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing was heard", what)
		}
	}
	has := func(s *mcp.ClientSession, tool string) bool { return slices.Contains(toolNames(t, s), tool) }
	connect := func(transport mcp.Transport) *mcp.ClientSession {
		t.Helper()
		var s *mcp.ClientSession
		Eventually(t, 20*time.Second, func() (err error) { // until edges know one another
			b.turn(t, 0)
			s, err = mcp.NewClient(&mcp.Implementation{Name: "older", Version: "1"}, options).Connect(t.Context(), transport, &mcp.ClientSessionOptions{ProtocolVersion: "2025-06-18"})
			return err
		})
		return s
	}
	call := func(s *mcp.ClientSession) {
		t.Helper()
		params := &mcp.CallToolParams{Name: "wait", Arguments: map[string]any{"seconds": 0.6}}
		params.SetProgressToken("p")
		if res, err := s.CallTool(t.Context(), params); err != nil || res.IsError {
			t.Fatalf("%v %+v", err, res)
		}
		hear("progress", progress)
	}

	streamable := connect(&mcp.StreamableClientTransport{Endpoint: p.Resource("acme", "diagnostics"), HTTPClient: &http.Client{Transport: b}})
	for edge := range edges {
		b.turn(t, edge)
		if !has(streamable, "wait") {
			t.Errorf("edge %d does not list", edge)
		}
		call(streamable)
	}
	sse := connect(&mcp.SSEClientTransport{Endpoint: p.Tenants["acme"] + "/sse/diagnostics", HTTPClient: &http.Client{Transport: b}})
	for edge := range edges {
		b.turn(t, edge)
		if !has(sse, "wait") {
			t.Errorf("edge %d does not list over HTTP+SSE", edge)
		}
		call(sse)
	}
	// A switch that is thrown at another process is told to both.
	at := p.APIURL + "/tenants/acme/switches/" + url.PathEscape("tool:diagnostics/fail")
	if status, s := p.api(t.Context(), t, "PUT", at, p.APIKey, map[string]any{"reason": "a drill"}); status != 200 {
		t.Fatalf("%d %v", status, s)
	}
	hear("a switch", changed)
	hear("a switch", changed)
	if has(streamable, "fail") || has(sse, "fail") {
		t.Error("what is switched off is listed")
	}
	if status, _ := p.api(t.Context(), t, "DELETE", at, p.APIKey, nil); status != 204 {
		t.Error(status)
	}
	hear("its end", changed)
	hear("its end", changed)

	// The edge that has the session is killed. The other one says so at once.
	if err := syscall.Kill(edges[0].child.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-edges[0].child.Done()
	b.turn(t, 1)
	began := time.Now()
	if _, err := streamable.ListTools(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "session") {
		t.Errorf("a session of an edge that is gone: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("that took %s", took)
	}
	streamable.Close()
	sse.Close()
	b.edges = edges[1:]
	again := connect(&mcp.StreamableClientTransport{Endpoint: p.Resource("acme", "diagnostics"), HTTPClient: &http.Client{Transport: b}})
	defer again.Close()
	if !has(again, "wait") {
		t.Error("a new session on the other edge lists nothing")
	}
}

// mcp-remote, told to use the older transport and left to find it out.
func TestMCPRemoteOverHTTPAndSSE(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	proxy := filepath.Join(testenv.NPM(t, mcpRemote), "node_modules/mcp-remote/dist/proxy.js")
	for _, transport := range []string{"sse-only", "http-first"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read}}}
			callback, err := embedded.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			cmd := node(t, proxy, p.Tenants["acme"]+"/sse/orders", fmt.Sprint(callback), "--allow-http", "--transport", transport)
			said := c.watch(t)
			cmd.Stderr = said
			client := mcp.NewClient(&mcp.Implementation{Name: "desktop app", Version: "1"}, nil)
			s, err := client.Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-06-18"})
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			defer s.Close()
			if got := toolNames(t, s); !slices.Equal(got, readTools) {
				t.Errorf("tools: %v", got)
			}
			found, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "search_orders", Arguments: map[string]any{"query": "", "limit": 5}})
			if err != nil || found.IsError || !strings.Contains(found.Content[0].(*mcp.TextContent).Text, "customer") {
				t.Fatalf("search: %v %+v\n%s", err, found, said)
			}
			if c.times() != 1 {
				t.Errorf("asked %d times\n%s", c.times(), said)
			}
		})
	}
}

// What an upstream says of a resource goes from a worker's process to whoever
// subscribed to it, over each transport.
func TestResourceThatTicksIsHeard(t *testing.T) {
	t.Parallel()
	p := Start(t)
	if got := p.Apply(t, talkingServer); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	var token atomic.Value // each way's own would do; one that is fresh when they begin is enough
	bearing := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token.Load().(string))
		return http.DefaultTransport.RoundTrip(r)
	})}
	for name, way := range map[string]struct {
		transport mcp.Transport
		version   string
	}{
		"HTTP+SSE":   {&mcp.SSEClientTransport{Endpoint: p.Tenants["acme"] + "/sse/talks", HTTPClient: bearing}, "2024-11-05"},
		"a session":  {&mcp.StreamableClientTransport{Endpoint: p.Resource("acme", "talks"), HTTPClient: bearing}, "2025-11-25"},
		"the newest": {&mcp.StreamableClientTransport{Endpoint: p.Resource("acme", "talks"), HTTPClient: bearing}, "2026-07-28"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token.Store(p.Token(t, "sam@acme.test", "talks", "use").Access)
			updated := make(chan string, 1000)
			s, err := mcp.NewClient(&mcp.Implementation{Name: "listener", Version: "1"}, &mcp.ClientOptions{
				ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) { updated <- r.Params.URI },
			}).Connect(t.Context(), way.transport, &mcp.ClientSessionOptions{ProtocolVersion: way.version})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			const uri = "echo://tick"
			err = s.Subscribe(t.Context(), &mcp.SubscribeParams{URI: uri}) // in the newest revision that is subscriptions/listen
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				select {
				case got := <-updated:
					if got != uri {
						t.Errorf("heard of %s", got)
					}
				case <-time.After(30 * time.Second):
					t.Fatal("nothing was heard")
				}
			}
		})
	}
}
