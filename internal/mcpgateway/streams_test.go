package mcpgateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/runtime"
)

// A call that says nothing for long, on every kind of stream that there is.
func TestSilentStreamsAreKeptAlive(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.KeepAlive = 50 * time.Millisecond })
	goOn, ok := make(chan bool), w.run
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		<-goOn
		return ok(ctx, c, o)
	}
	token := w.token(ann, "read")
	id := w.session(token)
	headers := []string{"Mcp-Session-Id", id, "MCP-Protocol-Version"}
	sse, _ := w.openSSE(token)
	streams := map[string]*eventStream{
		"HTTP+SSE":             sse,
		"GET":                  w.stream("GET", w.url, token, "", append(headers, "2025-11-25")...),
		"subscriptions/listen": w.listenModern(token, allLists),
		"a call of 2025-11-25": w.stream("POST", w.url, token, callLook, append(headers, "2025-11-25")...),
		"a call of 2025-06-18": w.stream("POST", w.url, token, strings.Replace(callLook, `"id":5`, `"id":6`, 1), append(headers, "2025-06-18")...),
		"a call of the newest": w.stream("POST", w.url, token, strings.Replace(callLook, `"progressToken":"p"`, `"progressToken":"p",`+modernMeta[len(`"_meta":{`):len(modernMeta)-1], 1), "MCP-Protocol-Version", modern, "Mcp-Method", "tools/call", "Mcp-Name", "look"),
	}
	for what, s := range streams {
		if k := s.res.Header.Get("Content-Type"); k != "text/event-stream" || s.res.StatusCode != 200 {
			t.Errorf("%s: %d %s", what, s.res.StatusCode, k)
			continue
		}
		s.want(": keep-alive")
		s.want(": keep-alive")
	}
	close(goOn)
	for what, s := range streams {
		if strings.HasPrefix(what, "a call") {
			s.want(`"n":1`)
		}
	}
}

// The first event of a stream is held back for a moment, so that a call which
// lacks a scope is still answered with the 403 that asks for it; and no longer.
func TestPrimeEventWaitsForTheDecisionOnly(t *testing.T) {
	w := newWorld(t)
	goOn, ok := make(chan bool), w.run
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		<-goOn
		return ok(ctx, c, o)
	}
	token := w.token(ann, "read")
	id := w.session(token)
	headers := []string{"Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25"}
	res, body := w.post(token, `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"refund","arguments":{"id":1}}}`, headers...)
	if res.StatusCode != 403 || !strings.Contains(res.Header.Get("WWW-Authenticate"), "insufficient_scope") || strings.Contains(body, "prime") || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
	s := w.stream("POST", w.url, token, callLook, headers...)
	s.want("event: prime") // although the call says nothing
	close(goOn)
	s.want(`"n":1`)
}

// Plain JSON has nothing in it but itself.
func TestJSONAnswersHaveNoComments(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.KeepAlive = time.Millisecond })
	ok := w.run
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		<-time.After(50 * time.Millisecond)
		return ok(ctx, c, o)
	}
	res, body := w.post(w.token(ann, "read"), `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{},`+strings.Replace(modernMeta, `{}}`, `{"elicitation":{}}}`, 1)+`}}`,
		"MCP-Protocol-Version", modern, "Mcp-Method", "tools/call", "Mcp-Name", "look")
	if res.StatusCode != 200 || !strings.HasPrefix(body, "{") || strings.Contains(body, "keep-alive") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// stalled is a connection whose client reads nothing: a write waits until its
// deadline.
type stalled struct {
	http.ResponseWriter
	deadline atomic.Pointer[time.Time]
	full     atomic.Bool
}

func (s *stalled) SetWriteDeadline(t time.Time) error { s.deadline.Store(&t); return nil }

func (s *stalled) Write(b []byte) (int, error) {
	if !s.full.Load() {
		return s.ResponseWriter.Write(b)
	}
	if d := s.deadline.Load(); d == nil || time.Until(*d) > stallAfter || d.IsZero() {
		return len(b), nil // it would wait for ever
	}
	return 0, context.DeadlineExceeded
}

func TestEveryWriteToAStreamHasATime(t *testing.T) {
	rec := &stalled{ResponseWriter: httptest.NewRecorder()}
	a := newAnswer(rec, time.Hour)
	defer a.end()
	a.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	if _, err := a.Write([]byte("data: x\n\n")); err != nil {
		t.Fatal(err)
	}
	rec.full.Store(true)
	if _, err := a.Write([]byte("data: y\n\n")); err == nil {
		t.Error("a write waits for a client that reads nothing")
	}
}

func TestNothingIsWrittenAfterTheRequest(t *testing.T) {
	rec := httptest.NewRecorder()
	a := newAnswer(rec, time.Millisecond)
	a.Header().Set("Content-Type", "text/event-stream")
	if _, err := a.Write([]byte("data: x\n\n")); err != nil {
		t.Fatal(err)
	}
	a.end()
	before := rec.Body.Len()
	<-time.After(20 * time.Millisecond)
	if _, err := a.Write([]byte("data: y\n\n")); err == nil || rec.Body.Len() != before {
		t.Errorf("%v, %q", err, rec.Body)
	}
}
