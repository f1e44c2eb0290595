package stdiotool

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/sandbox"
	"latchkey/internal/tenants"
)

// fake runs servers of the Go SDK in this very process, where time can stand
// still. It holds nothing back: it is for what has to do with time and numbers.
type fake struct {
	fails error

	mu      sync.Mutex
	started int
	live    map[*fakeProcess]bool
}

func (*fake) Name() string { return "bwrap" }

func (*fake) Probe(context.Context) (sandbox.Guarantees, error) { return sandbox.Guarantees{}, nil }

func (f *fake) Start(_ context.Context, s sandbox.Spec) (sandbox.Process, error) {
	if f.fails != nil {
		return nil, f.fails
	}
	p := &fakeProcess{driver: f, done: make(chan struct{})}
	fromServer, toClient := io.Pipe()
	fromClient, toServer := io.Pipe()
	p.out, p.in = fromServer, toServer
	server := mcp.NewServer(&mcp.Implementation{Name: "fake", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "wait"}, func(ctx context.Context, _ *mcp.CallToolRequest, in struct {
		Seconds float64 `json:"seconds"`
	}) (*mcp.CallToolResult, any, error) {
		select {
		case <-time.After(time.Duration(in.Seconds * float64(time.Second))):
		case <-ctx.Done():
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "waited"}}}, nil, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "die"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		p.end(sandbox.Exit{Code: 1})
		return nil, nil, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = func() { cancel(); toClient.Close(); fromClient.Close() }
	go func() {
		_ = server.Run(ctx, &mcp.IOTransport{Reader: fromClient, Writer: toClient})
		p.end(sandbox.Exit{})
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started++
	if f.live == nil {
		f.live = map[*fakeProcess]bool{}
	}
	f.live[p] = true
	return p, nil
}

func (f *fake) count() (started, live int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started, len(f.live)
}

type fakeProcess struct {
	driver *fake
	out    io.ReadCloser
	in     io.WriteCloser
	cancel func()
	once   sync.Once
	done   chan struct{}
	exit   sandbox.Exit
}

func (p *fakeProcess) end(e sandbox.Exit) {
	p.once.Do(func() {
		p.exit = e
		p.driver.mu.Lock()
		delete(p.driver.live, p)
		p.driver.mu.Unlock()
		close(p.done)
		p.cancel()
	})
}

func (p *fakeProcess) Stdio() (io.ReadCloser, io.WriteCloser) { return p.out, p.in }
func (p *fakeProcess) Stats() sandbox.Stats                   { return sandbox.Stats{} }
func (p *fakeProcess) Wait() sandbox.Exit                     { <-p.done; return p.exit }
func (p *fakeProcess) Stop(time.Duration)                     { p.end(sandbox.Exit{Signal: "terminated"}) }

const fakeSpec = "command: {argv: [/bin/fake]}\ntools: {\"*\": {risk: read, timeout: 10m}}\n"

func TestIdleProcessIsStoppedAndBusyOneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		h := newHouse(t, options{driver: f})
		o := h.publish(fakeSpec+"limits: {idle: 1h}", nil)
		if res, err := h.within(t.Context(), 10*time.Minute, o, runtime.CallTool, "wait", `{"seconds":550}`, ""); err != nil || textOf(res) != "waited" {
			t.Fatal(res, err)
		}
		// The worker closes what is not called after 10 minutes; a process has a
		// time of its own.
		time.Sleep(45 * time.Minute)
		if res, err := h.do(o, runtime.Probe, "server", "", ""); err != nil || res.Health.Idle {
			t.Errorf("ended before its time: %+v, %v", res, err)
		}
		time.Sleep(30 * time.Minute) // the probe does not count
		if started, live := f.count(); started != 1 || live != 0 {
			t.Errorf("%d started, %d live", started, live)
		}
		if res, err := h.do(o, runtime.Probe, "server", "", ""); err != nil || !res.Health.Idle {
			t.Errorf("%+v, %v", res, err)
		}
		if started, _ := f.count(); started != 1 {
			t.Error("a probe started it")
		}
		h.call(o, "wait", `{"seconds":1}`)
		if started, live := f.count(); started != 2 || live != 1 {
			t.Errorf("%d started, %d live", started, live)
		}
		h.close()
	})
}

func TestListenerDoesNotKeepAProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		h := newHouse(t, options{driver: f})
		o := h.publish(fakeSpec, nil)
		heard := make(chan error, 1)
		go func() {
			_, err := h.within(t.Context(), 2*time.Hour, o, runtime.Listen, "server", `{"lists":true}`, "")
			heard <- err
		}()
		time.Sleep(time.Hour)
		if started, live := f.count(); started != 1 || live != 0 {
			t.Errorf("%d started, %d live", started, live)
		}
		if err := <-heard; err != nil {
			t.Error(err)
		}
		h.close()
	})
}

func TestServerThatKeepsEndingRestsLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		h := newHouse(t, options{driver: f})
		h.writes = "die" // so that it is not repeated
		o := h.publish(fakeSpec, nil)
		var rests []time.Duration
		for range 9 {
			h.crashedWith(o, "die", `{}`)
			_, err := h.do(o, runtime.CallTool, "wait", `{"seconds":0}`, "")
			switch {
			case err == nil:
				rests = append(rests, 0)
			case fault.HasCode(err, fault.ServerCrashed):
				rest := fault.Of(err).RetryAfter
				rests = append(rests, rest.Round(time.Second))
				if _, err := h.do(o, runtime.Probe, "server", "", ""); !fault.HasCode(err, fault.ServerCrashed) {
					t.Errorf("healthy while it rests: %v", err)
				}
				time.Sleep(rest)
				if res, err := h.do(o, runtime.Probe, "server", "", ""); err != nil || !res.Health.Idle {
					t.Errorf("not back by itself: %+v, %v", res, err)
				}
			default:
				t.Fatal(err)
			}
		}
		want := "[0s 1s 2s 4s 8s 16s 32s 1m0s 1m0s]"
		if got := fmt.Sprint(rests); got != want {
			t.Errorf("rests are %s, want %s", got, want)
		}
		h.call(o, "wait", `{"seconds":0}`)
		time.Sleep(2 * steadyAfter)
		h.crashedWith(o, "die", `{}`)
		h.call(o, "wait", `{"seconds":0}`) // at once
		h.close()
	})
}

func TestProcessesAreCappedAndTheLongestIdleMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		h := newHouse(t, options{driver: f, change: func(h *runtime.Host) { h.Processes, h.TenantProcesses = 4, 2 }})
		o := h.publish(fakeSpec+"per: user\n", nil)
		ann, bob, eve := tenants.NewUserID(), tenants.NewUserID(), tenants.NewUserID()
		time.Sleep(time.Minute)
		h.as(ann, o, "wait", `{"seconds":0}`)
		time.Sleep(time.Minute)
		first, err := h.do(o, runtime.CallTool, "wait", `{"seconds":0}`, ann)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		h.as(bob, o, "wait", `{"seconds":0}`) // in the place of nobody's
		if _, live := f.count(); live != 2 {
			t.Errorf("%d live", live)
		}
		again, err := h.do(o, runtime.CallTool, "wait", `{"seconds":0}`, ann)
		if err != nil || again.Process != first.Process || first.Process == "" {
			t.Errorf("another than the longest idle was stopped: %v", err)
		}
		var all sync.WaitGroup
		for _, who := range []tenants.UserID{ann, bob} {
			all.Go(func() { h.as(who, o, "wait", `{"seconds":30}`) })
		}
		time.Sleep(10 * time.Second)
		_, err = h.do(o, runtime.CallTool, "wait", `{"seconds":0}`, eve)
		if f := fault.Of(err); f.Code != fault.Busy || f.RetryAfter == 0 {
			t.Errorf("with all at work: %v", err)
		}
		all.Wait()
		time.Sleep(time.Minute)
		h.as(eve, o, "wait", `{"seconds":0}`)
		h.close()
	})
}

// A call that would end before the start has ended is told to come back, and
// the start goes on.
func TestSlowStartIsToldAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, options{driver: &slowStart{fake: &fake{}, takes: 20 * time.Second}})
		o := h.publish(fakeSpec, nil)
		time.Sleep(time.Hour)
		_, err := h.within(t.Context(), 10*time.Second, o, runtime.CallTool, "wait", `{"seconds":0}`, "")
		if f := fault.Of(err); f.Code != fault.Busy || f.RetryAfter == 0 {
			t.Fatal(err)
		}
		if _, err := h.within(t.Context(), 12*time.Second, o, runtime.CallTool, "wait", `{"seconds":0}`, ""); err != nil {
			t.Error(err)
		}
		h.close()
	})
}

type slowStart struct {
	*fake
	takes time.Duration
}

func (s *slowStart) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Process, error) {
	<-time.After(s.takes)
	return s.fake.Start(ctx, spec)
}
