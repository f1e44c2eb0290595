package runtime

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

var opening = Opening{
	Tenant: tenants.NewID(), Server: tenants.NewServerID(), Revision: "rv1", Kind: "fake",
	Spec:  json.RawMessage(`{"b":1,"a":2}`),
	Guard: map[string]registry.OutputGuard{ToolRule("tool"): {}, ToolRule("hold"): {}, ToolRule("drop_everything"): {}, ResourceRule("doc"): {}},
}

// fake is a kind whose tool is the function, and which counts what is open.
type fake struct {
	tool     func(ctx context.Context, c *Call, env Env) (*Result, error)
	resource func(ctx context.Context, c *Call, env Env) (*Result, error)
	opened   atomic.Int64
	closed   atomic.Int64
	opening  func() error // what opening does before it succeeds
}

func (f *fake) kind() Kind {
	return Kind{Name: "fake", Open: func(context.Context, Opening, Host) (Instance, error) {
		f.opened.Add(1)
		if f.opening != nil {
			if err := f.opening(); err != nil {
				return nil, err
			}
		}
		return f, nil
	}}
}

func (f *fake) CallTool(ctx context.Context, c *Call, env Env) (*Result, error) {
	if f.tool == nil {
		return ok(), nil
	}
	return f.tool(ctx, c, env)
}
func (f *fake) ReadResource(ctx context.Context, c *Call, env Env) (*Result, error) {
	if f.resource != nil {
		return f.resource(ctx, c, env)
	}
	return &Result{Resource: &mcp.ReadResourceResult{}}, nil
}
func (f *fake) Close() error { f.closed.Add(1); return nil }

func ok() *Result {
	return &Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "ok"}}}}
}

type source func(s registry.ServerID) (Opening, error)

func (f source) Opening(_ context.Context, _ tenants.ID, s registry.ServerID, _ registry.RevisionID) (Opening, error) {
	return f(s)
}

func newTestWorker(t *testing.T, f *fake, change func(*WorkerConfig)) *Worker {
	t.Helper()
	cfg := WorkerConfig{Name: "w1", Kinds: []Kind{f.kind()}, Openings: source(func(s registry.ServerID) (Opening, error) {
		o := opening
		o.Server = s
		return o, nil
	})}
	if change != nil {
		change(&cfg)
	}
	w := NewWorker(cfg)
	t.Cleanup(func() { w.Close(context.Background()) })
	return w
}

func testCall() *Call { return callTo(opening) }

func callTo(o Opening) *Call {
	return &Call{
		ID: tenants.RandomID("cl"), Tenant: o.Tenant, Server: o.Server, Revision: o.Revision, OpenHash: o.Hash(),
		Op: CallTool, Name: "tool", Access: registry.ReadAccess, Deadline: time.Now().Add(10 * time.Second),
	}
}

func run(w *Worker, c *Call) (*Result, error) {
	return w.Run(context.Background(), c, time.Now().Add(time.Second), Back{})
}

func wantRefused(t *testing.T, err error, reason Reason) {
	t.Helper()
	var r *Refused
	if !errors.As(err, &r) || r.Reason != reason {
		t.Errorf("error is %v, want a refusal (%c)", err, reason)
	}
}

func wantCode(t *testing.T, err error, code fault.Code) {
	t.Helper()
	if !fault.HasCode(err, code) {
		t.Errorf("error is %v, want %s", err, code)
	}
}

func TestLateCallRefused(t *testing.T) {
	w := newTestWorker(t, &fake{}, nil)
	_, err := w.Run(context.Background(), testCall(), time.Now().Add(-time.Millisecond), Back{})
	wantRefused(t, err, Late)
	c := testCall()
	c.Deadline = time.Now().Add(-time.Millisecond)
	_, err = run(w, c)
	wantCode(t, err, fault.DeadlineExceeded)
}

func TestReplayedCallRefused(t *testing.T) {
	w := newTestWorker(t, &fake{}, nil)
	c := testCall()
	c.Grant = grant(t, map[string]any{"jti": c.ID})
	if _, err := run(w, c); err != nil {
		t.Fatal(err)
	}
	_, err := run(w, c)
	wantRefused(t, err, Replayed)

	// Another id does not help: the grant is the same, whatever its signature.
	stolen := testCall()
	stolen.Grant = c.Grant + "x"
	_, err = run(w, stolen)
	wantRefused(t, err, Replayed)
}

func TestAbandonedCallMayComeAgain(t *testing.T) {
	w := newTestWorker(t, &fake{}, nil)
	c := testCall()
	r, err := w.Receive(c, time.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	r.Abandon()
	if _, err := run(w, c); err != nil {
		t.Errorf("a call that was not started was refused: %v", err)
	}
	if w.Busy() != 0 {
		t.Errorf("%d slots are taken", w.Busy())
	}
}

func TestIdsAreForgottenAfterTheirDeadlines(t *testing.T) {
	r := newRecentIDs(2)
	now := time.Unix(1_000_000, 0)
	for i, want := range []spent{spendOK, spendOK, noRoom} {
		if got := r.spend([]mark{mark(i)}, now, now.Add(10*time.Second)); got != want {
			t.Errorf("id %d: %v, want %v", i, got, want)
		}
	}
	if got := r.spend([]mark{1}, now.Add(9*time.Second), now.Add(time.Minute)); got != spentBefore {
		t.Errorf("before its deadline: %v", got)
	}
	if got := r.spend([]mark{1}, now.Add(30*time.Second), now.Add(time.Minute)); got != spendOK || r.count != 1 {
		t.Errorf("after it: %v, %d kept", got, r.count)
	}
}

func TestFullWorkerRefuses(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	w := newTestWorker(t, &fake{tool: func(context.Context, *Call, Env) (*Result, error) {
		entered <- struct{}{}
		<-leave
		return ok(), nil
	}}, func(c *WorkerConfig) { c.Slots = 1 })
	ended := make(chan error)
	go func() {
		_, err := run(w, testCall())
		ended <- err
	}()
	<-entered
	_, err := run(w, testCall())
	wantRefused(t, err, Full)
	close(leave)
	if err := <-ended; err != nil || w.Busy() != 0 {
		t.Errorf("%v, %d slots are taken", err, w.Busy())
	}
}

// Those who listen take no call's slot, and one tenant not everybody's place.
func TestListensHavePlacesOfTheirOwn(t *testing.T) {
	w := newTestWorker(t, &fake{}, func(c *WorkerConfig) { c.Slots, c.MaxListens = 1, 8 })
	listen := func(tenant tenants.ID) (*Received, error) {
		c := testCall()
		c.Op, c.Tenant = Listen, tenant
		return w.Receive(c, time.Now().Add(time.Second))
	}
	var all []*Received
	for range 4 {
		tenant := tenants.NewID()
		for range 2 {
			r, err := listen(tenant)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		_, err := listen(tenant)
		wantRefused(t, err, Full)
	}
	_, err := listen(tenants.NewID())
	wantRefused(t, err, Full)
	if _, err := run(w, testCall()); err != nil {
		t.Errorf("a call beside them: %v", err)
	}
	for _, r := range all {
		r.Abandon()
	}
	if _, err := listen(tenants.NewID()); err != nil || w.Busy() != 0 || len(w.listens.taken) != 1 {
		t.Errorf("%v; %d slots and %v are taken", err, w.Busy(), w.listens.taken)
	}
}

func TestMalformedCallRefused(t *testing.T) {
	f := &fake{}
	w := newTestWorker(t, f, nil)
	for name, break_ := range map[string]func(*Call){
		"no id":                func(c *Call) { c.ID = "" },
		"tenant as a pattern":  func(c *Call) { c.Tenant = "tn+" },
		"tenant with a slash":  func(c *Call) { c.Tenant = "tnaaaaaaaaaaaaaaaa/a" },
		"server of a tenant":   func(c *Call) { c.Server = registry.ServerID(c.Tenant) },
		"no revision":          func(c *Call) { c.Revision = "" },
		"no hash":              func(c *Call) { c.OpenHash = "" },
		"no name":              func(c *Call) { c.Name = "" },
		"unknown op":           func(c *Call) { c.Op = "tools/delete" },
		"deadline in a decade": func(c *Call) { c.Deadline = time.Now().Add(90_000 * time.Hour) },
	} {
		c := testCall()
		break_(c)
		_, err := run(w, c)
		if !fault.HasCode(err, fault.InvalidRequest) || len(fault.Of(err).Details) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.opened.Load() != 0 {
		t.Error("something was opened")
	}
}

func TestLongDeadlineIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWorker(t, &fake{tool: func(ctx context.Context, _ *Call, _ Env) (*Result, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("driver: gave up on hunter2: %w", ctx.Err())
		}}, func(c *WorkerConfig) { c.MaxCall = time.Minute })
		c := testCall()
		c.Deadline = time.Now().Add(time.Hour)
		start := time.Now()
		_, err := run(w, c)
		wantCode(t, err, fault.DeadlineExceeded)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("ended after %v", took)
		}
	})
}

// A commit that was lost is not known to have done nothing because its time is
// over, too.
func TestUnknownOutcomeStaysUnknownAfterTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWorker(t, &fake{tool: func(ctx context.Context, _ *Call, _ Env) (*Result, error) {
			<-ctx.Done()
			return nil, fault.New(fault.OutcomeUnknown, "The connection was lost while the change was being confirmed.")
		}}, func(c *WorkerConfig) { c.MaxCall = time.Minute })
		c := testCall()
		c.Deadline = time.Now().Add(time.Hour)
		_, err := run(w, c)
		wantCode(t, err, fault.OutcomeUnknown)
	})
}

func TestPanicNamesOnlyTheCall(t *testing.T) {
	var log bytes.Buffer
	var released atomic.Bool
	w := newTestWorker(t, &fake{tool: func(ctx context.Context, _ *Call, env Env) (*Result, error) {
		cred, err := env.Credential(ctx)
		if err != nil {
			return nil, err
		}
		panic("password " + cred.Password.Reveal())
	}}, func(c *WorkerConfig) {
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Leases = leases{get: func(vault.LeaseRequest) (vault.Lease, error) { return vault.Lease{ID: "l1", Password: "hunter2"}, nil }, released: &released}
	})
	c := testCall()
	_, err := run(w, c)
	wantCode(t, err, fault.Unexpected)
	if text := err.Error(); !strings.Contains(text, c.ID) || strings.Contains(text, "hunter2") {
		t.Errorf("the caller reads %q", text)
	}
	if text := log.String(); !strings.Contains(text, c.ID) || !strings.Contains(text, "worker_test.go") || strings.Contains(text, "hunter2") {
		t.Errorf("the log reads %s", text)
	}
	if !released.Load() || w.Busy() != 0 {
		t.Error("the lease or the slot was kept")
	}
}

func TestPanicWhileOpeningEndsOnlyTheCall(t *testing.T) {
	f := &fake{}
	f.opening = func() error { panic("no") }
	w := newTestWorker(t, f, nil)
	_, err := run(w, testCall())
	wantCode(t, err, fault.Unexpected)
	f.opening = nil
	if _, err := run(w, testCall()); err != nil {
		t.Errorf("the failed opening was kept: %v", err)
	}
}

func TestUnknownErrorSaysNothing(t *testing.T) {
	w := newTestWorker(t, &fake{tool: func(context.Context, *Call, Env) (*Result, error) {
		return nil, errors.New("dial 10.1.2.3: hunter2")
	}}, nil)
	_, err := run(w, testCall())
	if f := fault.Of(err); f.Code != fault.Unexpected || strings.Contains(f.Message, "10.1.2.3") {
		t.Errorf("the caller reads %q", f.Message)
	}
}

func TestKindWithoutAnswerIsError(t *testing.T) {
	for _, res := range []*Result{nil, {}, {Tool: &mcp.CallToolResult{}, Resource: &mcp.ReadResourceResult{}}} {
		w := newTestWorker(t, &fake{tool: func(context.Context, *Call, Env) (*Result, error) { return res, nil }}, nil)
		_, err := run(w, testCall())
		wantCode(t, err, fault.Unexpected)
	}
}

func TestOversizedResultRefused(t *testing.T) {
	big := strings.Repeat("x", 600)
	for name, res := range map[string]*Result{
		"text":       {Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: big}, &mcp.TextContent{Text: big}}}},
		"structured": {Tool: &mcp.CallToolResult{StructuredContent: map[string]any{"a": big, "b": big}}},
		"image":      {Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.ImageContent{Data: []byte(big + big)}}}},
		"resource":   {Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "a://b", Text: big + big}}}},
	} {
		tool := func(context.Context, *Call, Env) (*Result, error) { return res, nil }
		w := newTestWorker(t, &fake{tool: tool, resource: tool}, func(c *WorkerConfig) { c.MaxResult = 1000 })
		c := testCall()
		if res.Resource != nil {
			c.Op, c.Name, c.Rule = ReadResource, "a://b", ResourceRule("doc")
		}
		_, err := run(w, c)
		if f := fault.Of(err); err == nil || f.Code != fault.ResultTooLarge || !strings.Contains(f.Message, "Ask for less") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResourceIsRead(t *testing.T) {
	w := newTestWorker(t, &fake{}, nil)
	c := testCall()
	c.Op, c.Rule = ReadResource, ResourceRule("doc")
	if res, err := run(w, c); err != nil || res.Resource == nil {
		t.Errorf("%+v, %v", res, err)
	}
}

// leases is a Vault that does what the function says.
type leases struct {
	get      func(vault.LeaseRequest) (vault.Lease, error)
	released *atomic.Bool
}

func (l leases) Get(_ context.Context, r vault.LeaseRequest) (vault.Lease, func(), error) {
	lease, err := l.get(r)
	if err != nil {
		return lease, nil, err
	}
	return lease, func() { l.released.Store(true) }, nil
}

func grant(t *testing.T, claims map[string]any) secret.Text {
	t.Helper()
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Text("head." + base64.RawURLEncoding.EncodeToString(raw) + ".sig")
}

func TestCredentialIsAskedOnceAndEndsWithTheCall(t *testing.T) {
	var asked atomic.Int64
	var released atomic.Bool
	var kept func(context.Context) (Credential, error)
	var got vault.LeaseRequest
	w := newTestWorker(t, &fake{tool: func(ctx context.Context, _ *Call, env Env) (*Result, error) {
		kept = env.Credential
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if c, err := env.Credential(ctx); err != nil || c.Username != "u" {
					t.Errorf("%+v, %v", c, err)
				}
			})
		}
		all.Wait()
		if released.Load() {
			t.Error("released while the call runs")
		}
		return ok(), nil
	}}, func(c *WorkerConfig) {
		c.Leases = leases{get: func(r vault.LeaseRequest) (vault.Lease, error) {
			asked.Add(1)
			got = r
			return vault.Lease{ID: "l1", Username: "u"}, nil
		}, released: &released}
	})
	c := testCall()
	c.Caller.User, c.Grant = "usaaaaaaaaaaaaaaaaaa", "g"
	res, err := run(w, c)
	if err != nil || res.LeaseID != "l1" || res.Worker != "w1" {
		t.Fatalf("%+v, %v", res, err)
	}
	if asked.Load() != 1 || !released.Load() {
		t.Errorf("asked %d times, released %v", asked.Load(), released.Load())
	}
	if got.User != "" || got.CallID != c.ID || got.Grant != c.Grant || got.Tenant != c.Tenant || got.Server != c.Server || got.Access != c.Access {
		t.Errorf("asked for %+v", got)
	}
	if cred, err := kept(context.Background()); err == nil {
		t.Errorf("a credential after the call's end: %+v", cred)
	}
}

func TestPerUserServerAsksForTheUser(t *testing.T) {
	var got vault.LeaseRequest
	perUser := opening
	perUser.PerUser = true
	w := newTestWorker(t, &fake{tool: func(ctx context.Context, _ *Call, env Env) (*Result, error) {
		_, err := env.Credential(ctx)
		return ok(), err
	}}, func(c *WorkerConfig) {
		c.Openings = source(func(registry.ServerID) (Opening, error) { return perUser, nil })
		c.Leases = leases{get: func(r vault.LeaseRequest) (vault.Lease, error) { got = r; return vault.Lease{}, nil }, released: &atomic.Bool{}}
	})
	c := callTo(perUser)
	c.Caller.User = "usaaaaaaaaaaaaaaaaaa"
	if _, err := run(w, c); err != nil || got.User != c.Caller.User {
		t.Errorf("asked for user %q, %v", got.User, err)
	}
}

func TestCallOtherThanItsGrantGetsNoCredential(t *testing.T) {
	key, err := vault.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := vault.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Call){
		"":               func(*Call) {},
		"other tool":     func(c *Call) { c.Name = "drop_everything" },
		"other revision": func(c *Call) { c.Revision = "rvaaaaaaaaaaaaaaaaab" },
		"other id":       func(c *Call) { c.ID = tenants.RandomID("cl") },
	} {
		t.Run(name, func(t *testing.T) {
			o := opening
			o.Revision = "rvaaaaaaaaaaaaaaaaaa"
			c := callTo(o)
			c.Caller.User = tenants.NewUserID()
			g, err := signer.Sign(vault.Grant{
				Tenant: c.Tenant, Server: c.Server, Revision: c.Revision, Tool: c.Name, Access: c.Access,
				User: c.Caller.User, CallID: c.ID, OpenHash: c.OpenHash, Deadline: c.Deadline,
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Grant = g
			change(c)
			o.Revision = c.Revision
			c.OpenHash = o.Hash()
			asked := false
			w := newTestWorker(t, &fake{tool: func(ctx context.Context, _ *Call, env Env) (*Result, error) {
				_, err := env.Credential(ctx)
				return ok(), err
			}}, func(cfg *WorkerConfig) {
				cfg.Openings = source(func(registry.ServerID) (Opening, error) { return o, nil })
				cfg.Leases = leases{get: func(vault.LeaseRequest) (vault.Lease, error) { asked = true; return vault.Lease{}, nil }, released: &atomic.Bool{}}
			})
			_, err = run(w, c)
			if name == "" {
				if err != nil || !asked {
					t.Errorf("the call in the grant: %v", err)
				}
				return
			}
			wantCode(t, err, fault.CredentialsAway)
			if asked {
				t.Error("Vault was asked")
			}
		})
	}
}
