package mcpgateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/runtime"
)

// addresses are where the edges of a test take requests.
type addresses struct {
	mu sync.Mutex
	of map[string]string
}

func (a *addresses) Peer(_ context.Context, edge string) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	base, ok := a.of[edge]
	return base, ok
}

// edges are gateways of one platform, in front of the same parts.
func edges(t *testing.T, names ...string) (all map[string]*world, known *addresses) {
	known = &addresses{of: map[string]string{}}
	all = map[string]*world{}
	for _, name := range names {
		w := newWorld(t, func(_ *world, c *Config) { c.Edge, c.Peers = name, NewForwarder(name, known) })
		all[name] = w
		known.of[name] = w.server.URL
	}
	return all, known
}

// balanced is a client's view of the platform: each request goes to the edge
// that is chosen.
func balanced(t *testing.T, all map[string]*world, first string) (url string, to func(string)) {
	var now atomic.Pointer[string]
	to = func(edge string) { now.Store(&edge) }
	to(first)
	lb := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		all[*now.Load()].server.Config.Handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(lb.Close)
	return lb.URL, to
}

func TestSessionIsServedThroughEveryEdge(t *testing.T) {
	all, _ := edges(t, "ed1", "ed2")
	url, to := balanced(t, all, "ed1")
	goOn, ok := make(chan bool), all["ed1"].run
	all["ed1"].run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		o.Progress(1, 2, "half")
		<-goOn
		return ok(ctx, c, o)
	}
	c := all["ed1"]
	heard := make(chan string, 1)
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { heard <- r.Params.Message },
	})
	s, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url + "/mcp/orders", HTTPClient: &http.Client{Transport: bearer{c.token(ann, "read")}}, MaxRetries: -1},
		&mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.ID(), "ed1.") {
		t.Fatalf("session %q", s.ID())
	}
	to("ed2")
	if tools, err := s.ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 1 {
		t.Fatalf("%v, %v", tools, err)
	}
	// A stream goes through as it comes.
	go func() {
		select {
		case <-heard:
		case <-time.After(inTime):
			t.Error("no progress through the other edge")
		}
		close(goOn)
	}()
	p := &mcp.CallToolParams{Name: "look"}
	p.SetProgressToken("p")
	if res, err := s.CallTool(t.Context(), p); err != nil || res.IsError {
		t.Fatalf("%v %+v", err, res)
	}
	if n := len(all["ed2"].dispatched); n != 0 || len(all["ed1"].dispatched) != 1 {
		t.Errorf("%d calls ran on the edge that passed them on", n)
	}
	if err := s.Close(); err != nil { // DELETE
		t.Error(err)
	}
	if n := all["ed1"].sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

func TestHTTPAndSSEThroughAnotherEdge(t *testing.T) {
	all, _ := edges(t, "ed1", "ed2")
	w, token := all["ed1"], all["ed1"].token(ann, "read")
	s, post := w.openSSE(token)
	elsewhere := strings.Replace(post, w.server.URL, all["ed2"].server.URL, 1)
	if got := w.stream("POST", elsewhere, token, legacyInitialize).res.StatusCode; got != 202 {
		t.Fatal(got)
	}
	s.want("protocolVersion")
}

func TestLastEventIDThroughAnotherEdge(t *testing.T) {
	all, _ := edges(t, "ed1", "ed2")
	w, token := all["ed1"], all["ed1"].token(ann, "read")
	id := w.session(token)
	headers := []string{"Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25"}
	first := w.stream("POST", w.url, token, strings.Replace(callLook, `"_meta":{"progressToken":"p"}`, `"_meta":{}`, 1), headers...)
	at := idOf(t, first.want("event: prime"))
	first.want(`"n":1`)
	again := w.stream("GET", all["ed2"].url, token, "", append(headers, "Last-Event-ID", at)...)
	again.want(`"n":1`)
}

// The edge that has the session decides who may use it; the one that passes the
// request on decides too.
func TestPassedOnRequestsAreAuthenticatedByBothEdges(t *testing.T) {
	all, _ := edges(t, "ed1", "ed2")
	w := all["ed1"]
	id := w.session(w.token(ann, "read"))
	list := func(edge, token string) int {
		s := w.stream("POST", all[edge].url, token, `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`, "Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25")
		return s.res.StatusCode
	}
	for what, got := range map[string][2]int{
		"nobody": {list("ed2", ""), 401}, "somebody else": {list("ed2", w.token(bob, "read")), 404}, "their owner": {list("ed2", w.token(ann, "read")), 200},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d, want %d", what, got[0], got[1])
		}
	}
}

func TestRequestIsPassedOnOnce(t *testing.T) {
	all, known := edges(t, "ed1", "ed2")
	w := all["ed1"]
	// Each believes that the other has it.
	known.mu.Lock()
	known.of["ed3"] = all["ed1"].server.URL
	known.mu.Unlock()
	var passed atomic.Int32
	inner := all["ed1"].server.Config.Handler
	all["ed1"].server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		passed.Add(1)
		inner.ServeHTTP(rw, r)
	})
	s := w.stream("POST", all["ed2"].url, w.token(ann, "read"), `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`, "Mcp-Session-Id", "ed3.ssx", "MCP-Protocol-Version", "2025-11-25")
	if s.res.StatusCode != 404 || passed.Load() != 1 {
		t.Errorf("%d, passed on %d times", s.res.StatusCode, passed.Load())
	}
}

// Session ids come from outside.
func TestSessionIDAimsAtNothingButAnEdge(t *testing.T) {
	reached := false
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer evil.Close()
	host := strings.TrimPrefix(evil.URL, "http://")
	all, _ := edges(t, "ed1")
	w := all["ed1"]
	for _, id := range []string{host + ".ss1", evil.URL + ".ss1", "ed1.ss1", "ed9.ss1", "..", ".", "", "ed1", "../ed1.x", strings.Repeat("e", 100) + ".x", "ed1@" + host + ".x"} {
		s := w.stream("POST", w.url, w.token(ann, "read"), `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`, "Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25")
		if id != "" && s.res.StatusCode != 404 || reached {
			t.Errorf("%q: %d, reached %v", id, s.res.StatusCode, reached)
		}
	}
}

func TestSessionOfAnEdgeThatIsGoneEnds(t *testing.T) {
	all, known := edges(t, "ed1", "ed2")
	w, token := all["ed1"], all["ed1"].token(ann, "read")
	id := w.session(token)
	call := func() (int, string, time.Duration) {
		began := time.Now()
		s := w.stream("POST", all["ed2"].url, token, callLook, "Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25")
		b, _ := io.ReadAll(s.res.Body)
		return s.res.StatusCode, string(b), time.Since(began)
	}
	if status, body, _ := call(); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	w.server.CloseClientConnections()
	w.server.Close() // as kill -9: it is still announced
	status, body, took := call()
	if status == 503 && strings.Contains(body, `"outcome_unknown"`) {
		// It went out on the connection that was kept, before that one was seen to
		// be dead: nobody knows how far it came. The next finds no connection.
		status, body, took = call()
	}
	if status != 404 || !strings.Contains(body, "Start a new one") || took > inTime/2 {
		t.Errorf("%d %s after %s", status, body, took)
	}
	known.mu.Lock()
	delete(known.of, "ed1")
	known.mu.Unlock()
	if status, _, _ := call(); status != 404 {
		t.Error(status)
	}
}

// What an edge had begun when it was lost may have happened: that is not "start
// anew".
func TestEdgeLostInTheMiddleOfACallSaysThatItIsNotKnown(t *testing.T) {
	all, _ := edges(t, "ed1", "ed2")
	w, token := all["ed1"], all["ed1"].token(ann, "read")
	id := w.session(token)
	w.mu.Lock()
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		go w.server.CloseClientConnections()
		<-t.Context().Done()
		return DispatchOutcome{}, errors.New("gone")
	}
	w.mu.Unlock()
	s := w.stream("POST", all["ed2"].url, token, strings.Replace(callLook, `,"_meta":{"progressToken":"p"}`, "", 1), "Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-06-18")
	b, _ := io.ReadAll(s.res.Body)
	if s.res.StatusCode != 503 || !strings.Contains(string(b), `"outcome_unknown"`) || strings.Contains(string(b), "127.0.0.1") {
		t.Errorf("%d %s", s.res.StatusCode, b)
	}
}

func TestCORSIsSaidOnceByForwardedAnswers(t *testing.T) {
	all, _ := edges(t, "ed1", "ed2")
	w, token := all["ed1"], all["ed1"].token(ann, "read")
	id := w.session(token)
	s := w.stream("POST", all["ed2"].url, token, `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`, "Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25", "Origin", "http://localhost:3000")
	if got := s.res.Header.Values("Access-Control-Allow-Origin"); !slices.Equal(got, []string{"http://localhost:3000"}) {
		t.Errorf("%q", got)
	}
}

// The tenant is in the Host or in the path: the other edge sees both as they were.
func TestForwardedRequestKeepsHostPathAndQuery(t *testing.T) {
	got := make(chan *http.Request, 1)
	peer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	defer peer.Close()
	f := NewForwarder("ed1", &addresses{of: map[string]string{"ed2": peer.URL}})
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		cut := *r.URL
		cut.Path = "/sse/orders" // as site does
		r.URL = &cut
		if !f.Forward(rw, r, "ed2") {
			t.Error("not passed on")
		}
	}))
	defer front.Close()
	req, err := http.NewRequestWithContext(t.Context(), "POST", front.URL+"/t/acme/sse/orders?sessionId=ed2.x", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "acme.example.com"
	req.Header.Set("Authorization", "Bearer t")
	req.Header.Set("X-Forwarded-For", "192.0.2.1")
	if _, err := http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	r := receive(t, "the request", got)
	if r.Host != "acme.example.com" || r.RequestURI != "/t/acme/sse/orders?sessionId=ed2.x" || r.Header.Get("Authorization") != "Bearer t" || r.Header.Get("X-Forwarded-For") != "192.0.2.1" || r.Header.Get(hopHeader) != "ed1" {
		t.Errorf("%s %s %v", r.Host, r.RequestURI, r.Header)
	}
}

func FuzzEdgeOf(f *testing.F) {
	for _, s := range []string{"ed1.ss1", ".", "a.b.c", "ED1.x", "http://a.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		edge := edgeOf(id)
		if edge == "" {
			return
		}
		if !strings.HasPrefix(id, edge+".") || len(edge) > maxEdgeName || strings.ContainsAny(edge, ":/@. %") {
			t.Fatalf("%q names the edge %q", id, edge)
		}
	})
}
