package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// pipes is an upstream at the other end of two pipes, as a process is. It may be
// killed, and is started again when it is needed.
type pipes struct {
	server  *mcp.Server
	mu      sync.Mutex
	session *Session
	speak   string // Options.Protocol
	started int
	kill    func()
	explain error
}

func (p *pipes) Session(ctx context.Context, _ *runtime.Call, _ runtime.Env) (*Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil && p.session.Err() == nil {
		return p.session, nil
	}
	p.started++
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	p.kill = func() { in.CloseWithError(io.EOF); out.CloseWithError(io.EOF) }
	ss, err := p.server.Connect(context.Background(), &mcp.IOTransport{Reader: in, Writer: out}, nil)
	if err != nil {
		return nil, err
	}
	p.session, err = Connect(ctx, Options{Process: "p1", Protocol: p.speak}, func(context.Context, *Session) (mcp.Transport, error) {
		return &mcp.IOTransport{Reader: fromServer, Writer: toServer, MaxLineLength: MaxMessage}, nil
	})
	if err != nil {
		ss.Close()
	}
	return p.session, err
}

func (p *pipes) Explain(*runtime.Call, error) error { return p.explain }

func (p *pipes) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil {
		p.session.Close()
	}
	p.kill()
	return nil
}

// A server of the newest revision is spoken to in an older one where that is
// asked for, and in the newest one else.
func TestNoNewerRevisionIsSpokenThanAskedFor(t *testing.T) {
	for asked, want := range map[string]string{"": revisions[0], "2025-11-25": "2025-11-25", "2025-06-18": "2025-06-18"} {
		p := &pipes{server: mcp.NewServer(&mcp.Implementation{Name: "piped", Version: "1"}, nil), speak: asked}
		s, err := p.Session(t.Context(), nil, nobody)
		if err != nil {
			t.Fatal(err)
		}
		if s.Protocol() != want {
			t.Errorf("asked for %q it is %s", asked, s.Protocol())
		}
		p.Close()
	}
}

// piped opens an instance over pipes, with everything pinned.
func piped(t *testing.T, add func(*mcp.Server)) (*Instance, *pipes) {
	t.Helper()
	p := &pipes{server: mcp.NewServer(&mcp.Implementation{Name: "piped", Version: "1"}, nil)}
	add(p.server)
	in := New(Spec{}, p, nil)
	t.Cleanup(func() { in.Close() })
	res, err := in.Discover(t.Context(), &runtime.Call{Op: runtime.Discover, Access: registry.ReadAccess}, nobody)
	if err != nil {
		t.Fatal(err)
	}
	spec, _, problems := Define(Spec{}, *res.Offer)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	in.spec = spec
	return in, p
}

func toolOf(s *mcp.Server, name string, f func(context.Context) string) {
	s.AddTool(&mcp.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object"}`)}, func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: f(ctx)}}}, nil
	})
}

func callOf(name string, a registry.Access) *runtime.Call {
	return &runtime.Call{Op: runtime.CallTool, Name: name, Access: a}
}

// TestProcessThatDiesUnderACall: what reads runs again on the next one, what has
// effects does not, whenever the caller hears of it.
func TestProcessThatDiesUnderACall(t *testing.T) {
	var runs atomic.Int64
	var p *pipes
	in, p := piped(t, func(s *mcp.Server) {
		toolOf(s, "dies", func(context.Context) string {
			if runs.Add(1) == 1 {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.kill()
			}
			return "lives"
		})
	})
	res, err := in.CallTool(t.Context(), callOf("dies", registry.ReadAccess), nobody)
	if err != nil || res.Process != "p1" || runs.Load() != 2 || p.started != 2 {
		t.Errorf("%+v, %v; ran %d times in %d processes", res, err, runs.Load(), p.started)
	}
	runs.Store(0)
	if _, err = in.CallTool(t.Context(), callOf("dies", registry.WriteAccess), nobody); !fault.HasCode(err, fault.OutcomeUnknown) || runs.Load() != 1 {
		t.Errorf("%v; ran %d times", err, runs.Load())
	}
}

// TestUpstreamExplainsItself where it knows better.
func TestUpstreamExplainsItself(t *testing.T) {
	var p *pipes
	in, p := piped(t, func(s *mcp.Server) {
		toolOf(s, "dies", func(context.Context) string {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.kill()
			return "dead"
		})
	})
	p.explain = fault.New(fault.ServerCrashed, "It ran out of memory.")
	if _, err := in.CallTool(t.Context(), callOf("dies", registry.ReadAccess), nobody); !errors.Is(err, p.explain) {
		t.Errorf("error is %v", err)
	}
}

// TestRetiredSessionEndsWithItsLastCall, and takes no new one.
func TestRetiredSessionEndsWithItsLastCall(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	in, p := piped(t, func(s *mcp.Server) {
		toolOf(s, "waits", func(context.Context) string { close(entered); <-leave; return "done" })
	})
	ended := make(chan error, 1)
	go func() {
		_, err := in.CallTool(t.Context(), callOf("waits", registry.WriteAccess), nobody)
		ended <- err
	}()
	<-entered
	old := p.session
	old.Retire(errors.New("replaced"))
	if _, err := old.begin(t.Context(), &runtime.Call{}, nobody); err == nil || old.Busy() != 1 {
		t.Errorf("it takes a call more: %v, %d", err, old.Busy())
	}
	close(leave)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	select {
	case <-old.life.Done():
	case <-time.After(30 * time.Second):
		t.Error("it was not closed")
	}
}

// TestUnpinnedIsNotThere: what no administrator has looked at has no name here.
func TestUnpinnedIsNotThere(t *testing.T) {
	var ran atomic.Bool
	in, p := piped(t, func(s *mcp.Server) { toolOf(s, "old", func(context.Context) string { return "x" }) })
	toolOf(p.server, "new", func(context.Context) string { ran.Store(true); return "x" })
	if _, err := in.CallTool(t.Context(), callOf("new", registry.WriteAccess), nobody); !fault.HasCode(err, fault.NotFound) || ran.Load() {
		t.Errorf("error is %v", err)
	}
	in.spec.Pins = nil
	if _, err := in.CallTool(t.Context(), callOf("old", registry.WriteAccess), nobody); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("error is %v", err)
	}
}

// TestListeningGoesOnAfterABreak, and says that everything may have changed.
func TestListeningGoesOnAfterABreak(t *testing.T) {
	in, p := piped(t, func(s *mcp.Server) { toolOf(s, "a", func(context.Context) string { return "x" }) })
	heard := make(chan string, 100)
	env := nobody
	env.Notify = func(n runtime.Notification) { heard <- n.Method + string(n.Params) }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := in.Listen(ctx, &runtime.Call{Op: runtime.Listen, Name: "server", Access: registry.ReadAccess, Input: json.RawMessage(`{"lists":true,"resources":["res://a"]}`)}, env)
		ended <- err
	}()
	for end := time.Now().Add(30 * time.Second); p.session.Busy() == 0; <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("listening did not begin")
		}
	}
	p.mu.Lock()
	p.kill()
	p.mu.Unlock()
	want := map[string]bool{`notifications/tools/list_changed`: true, `notifications/prompts/list_changed`: true, `notifications/resources/list_changed`: true, `notifications/resources/updated{"uri":"res://a"}`: true}
	for len(want) > 0 {
		select {
		case h := <-heard:
			delete(want, h)
		case <-time.After(30 * time.Second):
			t.Fatalf("not heard: %v", want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// One that cannot begin says why.
	if _, err := in.Listen(t.Context(), &runtime.Call{Op: runtime.Listen, Input: json.RawMessage(`[]`)}, env); !fault.HasCode(err, fault.InvalidRequest) {
		t.Errorf("error is %v", err)
	}
}
