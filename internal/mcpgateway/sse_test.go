package mcpgateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/runtime"
)

// inTime is how long tests wait for something, with a bound that a busy machine keeps.
const inTime = 20 * time.Second

func receive[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(inTime):
		t.Fatalf("%s: nothing came", what)
	}
	return v
}

func comesTrue(t testing.TB, what string, is func() bool) {
	t.Helper()
	end, tick := time.NewTimer(inTime), time.NewTicker(5*time.Millisecond)
	defer end.Stop()
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatal(what)
		}
	}
}

func (w *world) sseURL() string { return w.server.URL + "/t/acme/sse/orders" }

func (w *world) connectSSE(token string, o *mcp.ClientOptions) (*mcp.ClientSession, error) {
	return mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, o).Connect(w.t.Context(),
		&mcp.SSEClientTransport{Endpoint: w.sseURL(), HTTPClient: &http.Client{Transport: bearer{token}}}, nil)
}

// eventStream is a raw client of a stream.
type eventStream struct {
	t    testing.TB
	res  *http.Response
	body *bufio.Reader
	end  context.CancelFunc
}

func (w *world) stream(method, url, token, body string, headers ...string) *eventStream {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json, text/event-stream")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { res.Body.Close() })
	return &eventStream{w.t, res, bufio.NewReader(res.Body), cancel}
}

// next reads one event or comment, as its lines, or io.EOF.
func (s *eventStream) next() (string, error) {
	type read struct {
		text string
		err  error
	}
	got := make(chan read, 1)
	go func() {
		var text strings.Builder
		for {
			line, err := s.body.ReadString('\n')
			if err != nil || line == "\n" {
				got <- read{text.String(), err}
				return
			}
			text.WriteString(line)
		}
	}()
	r := receive(s.t, "an event", got)
	return r.text, r.err
}

// want reads up to an event with a text in it.
func (s *eventStream) want(text string) string {
	s.t.Helper()
	for {
		got, err := s.next()
		if err != nil {
			s.t.Fatalf("the stream ended (%v) before %s; status %d, last %s", err, text, s.res.StatusCode, got)
		}
		if strings.Contains(got, text) {
			return got
		}
	}
}

func TestClientOfHTTPAndSSEListsCallsAndHearsProgress(t *testing.T) {
	w := newWorld(t)
	ok := w.run
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		o.Progress(1, 2, "half")
		return ok(ctx, c, o)
	}
	progress := make(chan string, 1)
	s, err := w.connectSSE(w.token(ann, "read"), &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { progress <- r.Params.Message },
	})
	if err != nil {
		t.Fatal(err)
	}
	if v := s.InitializeResult().ProtocolVersion; v >= modern {
		t.Errorf("a revision without this transport was agreed on: %s", v)
	}
	tools, err := s.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 1 || tools.Tools[0].Name != "look" {
		t.Fatalf("tools %v, %v", tools, err)
	}
	p := &mcp.CallToolParams{Name: "look"}
	p.SetProgressToken("p")
	res, err := s.CallTool(t.Context(), p)
	if err != nil || res.IsError {
		t.Fatalf("%v %+v", err, res)
	}
	if got := receive(t, "progress", progress); got != "half" {
		t.Errorf("progress %q", got)
	}
	// What the token does not carry is refused in the result: nothing is left of
	// the request that could be answered with a challenge.
	res, err = s.CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 1}})
	if err != nil || failureIn(t, res).Code != "insufficient_scope" {
		t.Errorf("%v %+v", err, res)
	}
	if n := len(w.dispatched); n != 1 {
		t.Errorf("%d calls were dispatched", n)
	}
	for _, e := range w.events {
		if e.User != ann || !strings.HasPrefix(e.Session, w.gateway.cfg.Edge+".") {
			t.Errorf("on record as %s in session %q", e.User, e.Session)
		}
	}
	s.Close()
	comesTrue(t, "the session outlives its stream", func() bool { return w.sessions() == 0 })
}

func (w *world) sessions() int {
	w.gateway.sessions.mu.Lock()
	defer w.gateway.sessions.mu.Unlock()
	return len(w.gateway.sessions.all)
}

func TestSSEWithoutTokenIsToldItsOwnMetadata(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"GET", "POST"} {
		s := w.stream(method, w.sseURL(), "", "{}")
		if c := s.res.Header.Get("WWW-Authenticate"); s.res.StatusCode != 401 || !strings.Contains(c, `resource_metadata="http://127.0.0.1:1/.well-known/oauth-protected-resource/t/acme/sse/orders"`) {
			t.Errorf("%s: %d %s", method, s.res.StatusCode, c)
		}
	}
}

// atEvent is called before an event is sent.
type atEvent struct {
	*httptest.ResponseRecorder
	send func(event string)
}

func (a *atEvent) Write(b []byte) (int, error) {
	a.send(string(b))
	return a.ResponseRecorder.Write(b)
}

func (a *atEvent) SetWriteDeadline(time.Time) error { return nil }

// A client may post as soon as it knows where: what it says then is answered as
// what it says later, with the revisions of this transport.
func TestSSEAddressIsToldWhenTheSessionIsThere(t *testing.T) {
	w := newWorld(t)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	r := httptest.NewRequestWithContext(ctx, "GET", w.sseURL(), nil)
	r.Header.Set("Authorization", "Bearer "+w.token(ann, "read"))
	told := 0
	w.server.Config.Handler.ServeHTTP(&atEvent{httptest.NewRecorder(), func(event string) {
		told++
		end()
		w.gateway.sessions.mu.Lock()
		defer w.gateway.sessions.mu.Unlock()
		for _, n := range w.gateway.sessions.all {
			n.mu.Lock()
			if n.sdk == nil {
				t.Errorf("told before: %s", event)
			}
			n.mu.Unlock()
		}
		if len(w.gateway.sessions.all) != 1 || !strings.HasPrefix(event, "event: endpoint") {
			t.Errorf("%d sessions, %s", len(w.gateway.sessions.all), event)
		}
	}}, r)
	if told != 1 || w.sessions() != 0 {
		t.Errorf("told %d times, %d sessions are left", told, w.sessions())
	}
}

// A client that does not know which transport a URL is for tries the newer one.
func TestClientThatTriesTheNewerTransportAtSSEFallsBack(t *testing.T) {
	w := newWorld(t)
	s := w.stream("POST", w.sseURL(), w.token(ann, "read"), `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)
	b, _ := io.ReadAll(s.res.Body)
	if s.res.StatusCode != 405 || !strings.Contains(string(b), "/mcp/orders") {
		t.Errorf("%d %s", s.res.StatusCode, b)
	}
}

// open opens a stream by hand and returns where to post.
func (w *world) openSSE(token string) (s *eventStream, post string) {
	w.t.Helper()
	s = w.stream("GET", w.sseURL(), token, "")
	first, err := s.next()
	lines := strings.Split(first, "\n")
	if err != nil || len(lines) < 2 || lines[0] != "event: endpoint" || !strings.HasPrefix(lines[1], "data: /t/acme/sse/orders?sessionId=") {
		w.t.Fatalf("the first event is %q, %v (%d)", first, err, s.res.StatusCode)
	}
	return s, w.server.URL + strings.TrimPrefix(lines[1], "data: ")
}

const legacyInitialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

func TestSSESessionIsOnePersonsAndEachMessageIsAuthenticated(t *testing.T) {
	w := newWorld(t)
	s, post := w.openSSE(w.token(ann, "read"))
	status := func(token, body string, headers ...string) int {
		return w.stream("POST", post, token, body, headers...).res.StatusCode
	}
	for what, got := range map[string]int{
		"no token":         status("", legacyInitialize) - 401,
		"a bad token":      status("garbage", legacyInitialize) - 401,
		"somebody else's":  status(w.token(bob, "read"), legacyInitialize) - 404,
		"a batch":          status(w.token(ann, "read"), "["+legacyInitialize+"]") - 400,
		"no JSON-RPC":      status(w.token(ann, "read"), `{"jsonrpc":"1.0"}`) - 400,
		"too large":        status(w.token(ann, "read"), `{"x":"`+strings.Repeat("x", maxBody)+`"}`) - 413,
		"an origin":        status(w.token(ann, "read"), legacyInitialize, "Origin", "https://evil.example") - 403,
		"another type":     status(w.token(ann, "read"), legacyInitialize, "Content-Type", "text/plain") - 415,
		"a made up id":     w.stream("POST", w.sseURL()+"?sessionId=x", w.token(ann, "read"), legacyInitialize).res.StatusCode - 404,
		"another server's": w.stream("POST", strings.Replace(post, "/orders?", "/crm?", 1), w.token(ann, "read"), legacyInitialize).res.StatusCode - 404,
		"a session of the newer transport": func() int {
			newer := w.connect(w.token(ann, "read"), "2025-11-25")
			return w.stream("POST", w.sseURL()+"?sessionId="+newer.ID(), w.token(ann, "read"), legacyInitialize).res.StatusCode
		}() - 404,
		"this one over the newer transport": func() int {
			_, id, _ := strings.Cut(post, "=")
			res, _ := w.post(w.token(ann, "read"), `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`, "Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-06-18")
			return res.StatusCode
		}() - 404,
	} {
		if got != 0 {
			t.Errorf("%s: off by %d", what, got)
		}
	}
	if got := status(w.token(ann, "read"), legacyInitialize); got != 202 {
		t.Fatalf("initialize: %d", got)
	}
	s.want(`"protocolVersion":"2024-11-05"`)
	// The token of each message counts, not that of the stream.
	status(w.token(ann, "secret"), `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"look","arguments":{}}}`)
	if got := s.want(`"id":2`); !strings.Contains(got, "insufficient_scope") || len(w.dispatched) != 0 {
		t.Errorf("a narrower token in a wider session: %s", got)
	}
}

func TestEndOfSSEStreamStopsWhatRunsInIt(t *testing.T) {
	w := newWorld(t)
	began, ended := make(chan bool, 1), make(chan error, 1)
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		began <- true
		<-ctx.Done()
		ended <- ctx.Err()
		return DispatchOutcome{}, ctx.Err()
	}
	s, post := w.openSSE(w.token(ann, "read"))
	w.stream("POST", post, w.token(ann, "read"), legacyInitialize)
	s.want("protocolVersion")
	w.stream("POST", post, w.token(ann, "read"), `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"look","arguments":{}}}`)
	receive(t, "the call", began)
	s.end()
	receive(t, "the end of the call", ended)
}

func TestStreamsOfOnePersonAreBounded(t *testing.T) {
	w := newWorld(t)
	token := w.token(ann, "read")
	var open []*eventStream
	for range maxStreams {
		s, _ := w.openSSE(token)
		open = append(open, s)
	}
	s := w.stream("GET", w.sseURL(), token, "")
	b, _ := io.ReadAll(s.res.Body)
	if s.res.StatusCode != 429 || !strings.Contains(string(b), fmt.Sprintf("%d streams", maxStreams)) || s.res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", s.res.StatusCode, b)
	}
	other, _ := w.openSSE(w.token(bob, "read"))
	other.end()
	open[0].end()
	comesTrue(t, "what was closed still counts", func() bool {
		s := w.stream("GET", w.sseURL(), token, "")
		s.end()
		return s.res.StatusCode == 200
	})
}

// A client that reads nothing costs its queue and no more: it is cut, and nobody
// else waits for it.
func TestSlowReaderOfSSEIsCut(t *testing.T) {
	c := &sseConn{id: "x", done: make(chan struct{}), ready: make(chan struct{}, 1)}
	msg := rawMessage(t, `{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"`+strings.Repeat("x", 1<<20)+`"}}`)
	var err error
	for i := 0; err == nil; i++ {
		if i > 2*sseQueue>>20 {
			t.Fatal("there is no bound")
		}
		err = c.Write(t.Context(), msg)
	}
	select {
	case <-c.done:
	default:
		t.Error("the session goes on")
	}
	if c.bytes != 0 || c.queue != nil {
		t.Errorf("%d bytes are still kept", c.bytes)
	}
	if err := c.Write(t.Context(), msg); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func rawMessage(t testing.TB, text string) jsonrpc.Message {
	t.Helper()
	msg, err := jsonrpc.DecodeMessage([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// The question goes out on the stream, and the answer comes with a POST.
func TestPersonAtAnHTTPAndSSEClientIsAsked(t *testing.T) {
	a := newAgreeing(t)
	asked := make(chan string, 1)
	s, err := a.connectSSE(a.mine(), &mcp.ClientOptions{
		ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			asked <- r.Params.Message
			return &mcp.ElicitResult{Action: "accept"}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 1, "amount": 5}})
	if err != nil || res.IsError || a.ran() != 1 {
		t.Fatalf("%v %+v, ran %d times", err, res, a.ran())
	}
	if got := receive(t, "the question", asked); !strings.Contains(got, "Refund 5 of 1.") {
		t.Errorf("asked %q", got)
	}
}
