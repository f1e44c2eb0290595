// Package runtimetest is the suite that every kind of server must pass. It
// runs the kind in a real runtime.Worker, against whatever the kind's own test
// provides as its upstream.
//
// It owns what is true of all kinds. What a tool of a kind means is left to
// the kind's own tests.
package runtimetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// Tool is a tool call of the harness.
type Tool struct {
	Name   string
	Input  string          // JSON
	Access registry.Access // "" is read
}

// Harness is a kind with an upstream and calls that do what their names say.
// Only what is marked optional may be missing.
type Harness struct {
	Kind runtime.Kind
	// Opening opens the server. Tenant, Server and Revision are filled in when
	// they are empty.
	Opening runtime.Opening

	Normal  Tool // succeeds at once, with the same answer each time
	Failing Tool // fails as a tool does: the statement or request is refused
	Slow    Tool // takes 10 s or more unless it is stopped
	Big     Tool // would answer with more than MaxResult
	// Canary gives the caller's own text back: the JSON of Canary.Input holds
	// CanarySecret in some argument, and the answer would hold it too.
	Canary Tool

	// Host is what the worker gives to the kind.
	Host runtime.Host
	// Leases give the credential. Nil for a kind that needs none.
	Leases runtime.Leases
	// Secrets are texts that may appear in no result, error or log line, such
	// as the password that Leases hand out. Grants are looked for in any case.
	Secrets []string
	// Prepare, optional, completes each call, such as with a real grant.
	Prepare func(t *testing.T, c *runtime.Call)
	// Working, optional, counts what the upstream is doing for Slow calls. Where
	// it is given, a stopped call must bring it back to zero.
	Working func(t *testing.T) int
	// Break, optional, takes the upstream away until restore is called.
	Break func(t *testing.T) (restore func())
}

// MaxResult is the bound of results in the suite, in bytes.
const MaxResult = 1 << 20

// CanarySecret has the form of a credential and opens nothing.
const CanarySecret = "AK" + "IAQ3EGW5XN7RLZ4T2Y"

// soon is how long something may take that should happen at once, on a machine
// that is doing other things too.
const soon = 3 * time.Second

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	h.fill()
	t.Run("CallSucceeds", func(t *testing.T) { newBench(t, h).callSucceeds() })
	t.Run("ToolFailureIsResult", func(t *testing.T) { newBench(t, h).toolFailureIsResult() })
	t.Run("UnknownNameIsNotFound", func(t *testing.T) { newBench(t, h).unknownNameIsNotFound() })
	t.Run("CancellationStopsWork", func(t *testing.T) { newBench(t, h).cancellationStopsWork() })
	t.Run("DeadlineHolds", func(t *testing.T) { newBench(t, h).deadlineHolds() })
	t.Run("OversizedOutputIsBounded", func(t *testing.T) { newBench(t, h).oversizedOutputIsBounded() })
	t.Run("CanaryNeverLeaves", func(t *testing.T) { newBench(t, h).canaryNeverLeaves() })
	t.Run("UnguardedToolIsNotRun", func(t *testing.T) { newBench(t, h).unguardedToolIsNotRun() })
	t.Run("ConcurrentCallsAreSafe", func(t *testing.T) { newBench(t, h).concurrentCallsAreSafe() })
	t.Run("StoppedCallLeavesOthersAlone", func(t *testing.T) { newBench(t, h).stoppedCallLeavesOthersAlone() })
	t.Run("CloseEndsEverything", func(t *testing.T) { newBench(t, h).closeEndsEverything() })
	if h.Leases != nil {
		t.Run("NoCredentialIsError", func(t *testing.T) { newBench(t, h.withoutVault()).noCredentialIsError() })
	}
	if h.Break != nil {
		t.Run("UpstreamAwayIsError", func(t *testing.T) { newBench(t, h).upstreamAwayIsError() })
	}
}

func (h *Harness) fill() {
	if h.Opening.Tenant == "" {
		h.Opening.Tenant = tenants.NewID()
	}
	if h.Opening.Server == "" {
		h.Opening.Server = tenants.NewServerID()
	}
	if h.Opening.Revision == "" {
		h.Opening.Revision = registry.RevisionID(tenants.RandomID("rv"))
	}
	h.Opening.Kind = h.Kind.Name
	if h.Opening.Guard == nil {
		h.Opening.Guard = map[string]registry.OutputGuard{}
	}
	for _, t := range []Tool{h.Normal, h.Failing, h.Slow, h.Big, h.Canary} {
		h.Opening.Guard[runtime.ToolRule(t.Name)] = registry.OutputGuard{}
	}
}

func (h Harness) withoutVault() Harness {
	h.Leases = noLeases{}
	return h
}

type noLeases struct{}

func (noLeases) Get(context.Context, vault.LeaseRequest) (vault.Lease, func(), error) {
	return vault.Lease{}, nil, fault.New(fault.CredentialsAway, "No credential can be issued. Try again in a minute.")
}

// bench is a worker with the kind in it, and everything it says.
type bench struct {
	*testing.T
	h       Harness
	worker  *runtime.Worker
	entered atomic.Int64 // calls that the kind was given

	mu     sync.Mutex
	log    bytes.Buffer
	grants []string
}

func newBench(t *testing.T, h Harness) *bench {
	b := &bench{T: t, h: h}
	kind := h.Kind
	kind.Open = func(ctx context.Context, o runtime.Opening, host runtime.Host) (runtime.Instance, error) {
		in, err := h.Kind.Open(ctx, o, host)
		if in == nil {
			return nil, err
		}
		return &counted{in, &b.entered}, err
	}
	b.worker = runtime.NewWorker(runtime.WorkerConfig{
		Name: "suite", Kinds: []runtime.Kind{kind}, Openings: b, Leases: h.Leases, MaxResult: MaxResult, Host: h.Host,
		Log: slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	t.Cleanup(b.close)
	return b
}

// counted tells the suite when a call has reached the kind.
type counted struct {
	runtime.Instance
	entered *atomic.Int64
}

func (c *counted) CallTool(ctx context.Context, call *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	c.entered.Add(1)
	return c.Instance.CallTool(ctx, call, env)
}

// Opening makes the bench the worker's source of openings.
func (b *bench) Opening(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
	return b.h.Opening, nil
}

// Write collects the worker's log.
func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bench) close() {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*soon)
	defer cancel()
	if err := b.worker.Close(ctx); err != nil {
		b.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noSecret("the log", b.log.String())
}

// noSecret runs with b.mu held.
func (b *bench) noSecret(where, text string) {
	b.Helper()
	for _, s := range append(b.grants, b.h.Secrets...) {
		if s != "" && strings.Contains(text, s) {
			b.Errorf("%s holds a secret: %s", where, strings.ReplaceAll(text, s, "[SECRET]"))
		}
	}
}

// call runs a tool, and looks for secrets in all that comes back. The error is
// looked at as the log would print it, with its causes.
func (b *bench) call(ctx context.Context, tool Tool, timeout time.Duration) (*runtime.Result, error) {
	b.Helper()
	c := &runtime.Call{
		ID: tenants.RandomID("cl"), Tenant: b.h.Opening.Tenant, Server: b.h.Opening.Server, Revision: b.h.Opening.Revision,
		OpenHash: b.h.Opening.Hash(), Op: runtime.CallTool, Name: tool.Name, Input: json.RawMessage(tool.Input), Access: tool.Access,
		Caller:   runtime.Caller{User: tenants.NewUserID(), Email: "suite@example.com", Name: "Suite", Roles: []string{"admin"}, Client: "runtimetest"},
		Deadline: time.Now().Add(timeout),
	}
	if c.Access == "" {
		c.Access = registry.ReadAccess
	}
	c.Grant = secret.Text("grant-canary-" + c.ID)
	if b.h.Prepare != nil {
		b.h.Prepare(b.T, c)
	}
	b.mu.Lock()
	b.grants = append(b.grants, c.Grant.Reveal())
	b.mu.Unlock()

	res, err := b.worker.Run(ctx, c, time.Now().Add(time.Minute), runtime.Back{Progress: func(_, _ float64, message string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.noSecret("progress", message)
	}, Notify: func(n runtime.Notification) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.noSecret("a notification", string(n.Params))
	}})

	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		text := err.Error()
		for e := err; e != nil; e = errors.Unwrap(e) {
			text += fmt.Sprintf("\n%+v", e)
		}
		b.noSecret("the error", text)
		return nil, err
	}
	raw, jsonErr := json.Marshal(res)
	if jsonErr != nil {
		b.Errorf("result cannot be encoded: %v", jsonErr)
	}
	b.noSecret("the result", string(raw))
	return res, nil
}

func (b *bench) mustSucceed(when string) *runtime.Result {
	b.Helper()
	res, err := b.call(context.Background(), b.h.Normal, 30*time.Second)
	if err != nil {
		b.Fatalf("%s: Normal: %v", when, err)
	}
	if res.Tool == nil || res.Tool.IsError {
		b.Fatalf("%s: Normal did not succeed: %+v", when, res.Tool)
	}
	return res
}

func (b *bench) callSucceeds() {
	res := b.mustSucceed("first call")
	if len(res.Tool.Content) == 0 {
		b.Error("no content: a client that does not read structured content sees nothing")
	}
	if res.Worker != "suite" {
		b.Errorf("worker is %q", res.Worker)
	}
}

func (b *bench) toolFailureIsResult() {
	res, err := b.call(context.Background(), b.h.Failing, 30*time.Second)
	if err != nil {
		b.Fatalf("a tool's failure came as an error: %v", err)
	}
	if res.Tool == nil || !res.Tool.IsError {
		b.Fatal("a tool's failure came as a success")
	}
	if len(res.Tool.Content) == 0 {
		b.Error("the failure says nothing")
	}
	b.mustSucceed("after a failure")
}

func (b *bench) unknownNameIsNotFound() {
	if _, err := b.call(context.Background(), Tool{Name: "no_such_tool_in_any_kind", Input: "{}"}, 10*time.Second); !fault.HasCode(err, fault.NotFound) {
		b.Errorf("error is %v, want %s", err, fault.NotFound)
	}
}

// inBackground starts a slow call and returns when the upstream is at work.
func (b *bench) inBackground(ctx context.Context, timeout time.Duration) <-chan error {
	b.Helper()
	before := b.entered.Load()
	ended := make(chan error, 1)
	go func() {
		_, err := b.call(ctx, b.h.Slow, timeout)
		ended <- err
	}()
	b.eventually("the slow call did not begin", func() bool {
		return b.entered.Load() > before && (b.h.Working == nil || b.h.Working(b.T) > 0)
	})
	return ended
}

func (b *bench) stopped(ended <-chan error, code fault.Code) {
	b.Helper()
	select {
	case err := <-ended:
		if !fault.HasCode(err, code) {
			b.Errorf("error is %v, want %s", err, code)
		}
	case <-time.After(soon):
		b.Fatal("the call was still running 3 s after it was stopped")
	}
	if b.h.Working != nil {
		b.eventually("the upstream went on working", func() bool { return b.h.Working(b.T) == 0 })
	}
}

func (b *bench) cancellationStopsWork() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := b.inBackground(ctx, time.Minute)
	cancel()
	b.stopped(ended, fault.Cancelled)
	b.mustSucceed("after a cancellation")
}

func (b *bench) deadlineHolds() {
	b.mustSucceed("to open the server")
	start := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := b.call(context.Background(), b.h.Slow, 700*time.Millisecond)
		ended <- err
	}()
	b.stopped(ended, fault.DeadlineExceeded)
	if took := time.Since(start); took < 650*time.Millisecond {
		b.Errorf("Slow ended after %v by itself: the suite needs 10 s or more", took)
	}
	b.mustSucceed("after a deadline")
}

func (b *bench) oversizedOutputIsBounded() {
	res, err := b.call(context.Background(), b.h.Big, 30*time.Second)
	if err != nil {
		if f := fault.Of(err); f.Code != fault.ResultTooLarge || f.Message == "" {
			b.Errorf("error is %v, want %s", err, fault.ResultTooLarge)
		}
	} else if raw, err := json.Marshal(res); err != nil || len(raw) > 2*MaxResult { // twice: JSON adds escapes
		b.Errorf("the result has %d bytes (%v)", len(raw), err)
	} else if len(raw) < MaxResult/1024 {
		b.Errorf("Big answered with only %d bytes: it does not try the bound", len(raw))
	}
	b.mustSucceed("after an oversized result")
}

// canaryNeverLeaves: whatever a kind makes its results of, they pass the guard.
func (b *bench) canaryNeverLeaves() {
	if !strings.Contains(b.h.Canary.Input, CanarySecret) {
		b.Fatal("the harness has no Canary with CanarySecret in its input")
	}
	res, err := b.call(context.Background(), b.h.Canary, 30*time.Second)
	if err != nil || res.Tool == nil || res.Tool.IsError {
		b.Fatalf("Canary did not succeed: %+v, %v", res, err)
	}
	raw, err := json.Marshal(res)
	if err != nil {
		b.Fatal(err)
	}
	if strings.Contains(string(raw), CanarySecret) {
		b.Errorf("a credential left the worker: %s", raw)
	}
	if res.Guard == nil || res.Guard.Withheld["aws-access-key"] == 0 || !strings.Contains(string(raw), "[withheld: aws-access-key]") {
		b.Errorf("nobody is told that a credential was withheld: %s", raw)
	}
}

// unguardedToolIsNotRun: the guard is part of what the edge signs, and a tool
// without one is no tool of the server.
func (b *bench) unguardedToolIsNotRun() {
	guards := map[string]registry.OutputGuard{}
	for rule, g := range b.h.Opening.Guard {
		if rule != runtime.ToolRule(b.h.Normal.Name) {
			guards[rule] = g
		}
	}
	b.h.Opening.Guard = guards
	if _, err := b.call(context.Background(), b.h.Normal, 10*time.Second); !fault.HasCode(err, fault.NotFound) {
		b.Errorf("error is %v, want %s", err, fault.NotFound)
	}
	if n := b.entered.Load(); n != 0 {
		b.Errorf("the kind was given %d calls", n)
	}
}

func (b *bench) concurrentCallsAreSafe() {
	want := contentOf(b.T, b.mustSucceed("first call"))
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			for j := range 4 {
				if (i+j)%6 == 0 {
					if res, err := b.call(context.Background(), b.h.Failing, 30*time.Second); err != nil || !res.Tool.IsError {
						b.Errorf("Failing among others: %v", err)
					}
					continue
				}
				res, err := b.call(context.Background(), b.h.Normal, 30*time.Second)
				if err != nil {
					b.Errorf("Normal among others: %v", err)
				} else if got := contentOf(b.T, res); got != want {
					b.Errorf("Normal among others answered %s, alone %s", got, want)
				}
			}
		})
	}
	all.Wait()
}

func contentOf(t *testing.T, res *runtime.Result) string {
	raw, err := json.Marshal(res.Tool)
	if err != nil {
		t.Error(err)
	}
	return string(raw)
}

func (b *bench) stoppedCallLeavesOthersAlone() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := b.inBackground(ctx, time.Minute)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if _, err := b.call(context.Background(), b.h.Normal, 30*time.Second); err != nil {
					b.Errorf("Normal beside a cancelled call: %v", err)
				}
			}
		})
	}
	cancel()
	all.Wait()
	b.stopped(ended, fault.Cancelled)
}

// closeEndsEverything finds leaked goroutines by the label that each inherits
// from the one that started it.
func (b *bench) closeEndsEverything() {
	const key = "runtimetest"
	pprof.Do(context.Background(), pprof.Labels(key, b.Name()), func(ctx context.Context) {
		// The labels count for goroutines, the context must not.
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		b.mustSucceed("first call")
		ended := b.inBackground(ctx, time.Minute)
		b.mustSucceed("beside a slow call")
		cancel()
		<-ended
		b.close()
	})
	var left string
	label := fmt.Sprintf("%q:%q", key, b.Name())
	for end := time.Now().Add(soon); ; {
		if left = labelled(label); left == "" {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("goroutines are left after Close:\n%s", left)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func labelled(label string) string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return err.Error()
	}
	var found []string
	for one := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(one, label) {
			found = append(found, one)
		}
	}
	return strings.Join(found, "\n\n")
}

func (b *bench) noCredentialIsError() {
	if _, err := b.call(context.Background(), b.h.Normal, 10*time.Second); !fault.HasCode(err, fault.CredentialsAway) {
		b.Errorf("error is %v, want %s as Vault's client said it", err, fault.CredentialsAway)
	}
}

func (b *bench) upstreamAwayIsError() {
	b.mustSucceed("before")
	restore := b.h.Break(b.T)
	restored := sync.OnceFunc(restore)
	defer restored()
	res, err := b.call(context.Background(), b.h.Normal, 15*time.Second)
	switch f := (*fault.Error)(nil); {
	case err == nil:
		b.Errorf("the upstream is away and the call answered: %+v", res.Tool)
	case !errors.As(err, &f) || f.Code.Category != fault.Downstream:
		b.Errorf("error is %v, want one of category %s", err, fault.Downstream)
	}
	restored()
	b.eventually("no call succeeded after the upstream came back", func() bool {
		res, err := b.call(context.Background(), b.h.Normal, 10*time.Second)
		return err == nil && !res.Tool.IsError
	})
}

func (b *bench) eventually(what string, ok func() bool) {
	b.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			b.Fatal(what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
