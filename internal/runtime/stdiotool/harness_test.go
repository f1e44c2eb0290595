package stdiotool

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/packages"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/sandbox"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

func TestMain(m *testing.M) {
	sandbox.Helper()
	os.Exit(m.Run())
}

//go:embed testdata/server.mjs
var serverJS string

// tester is the spec of the server in testdata, with more lines of YAML.
func tester(args []string, more string) string {
	script, _ := json.Marshal(serverJS)
	argv, _ := json.Marshal(append([]string{"node", "/app/server.mjs"}, args...))
	return fmt.Sprintf("command: {argv: %s, files: {server.mjs: %s}}\ntools: {\"*\": {risk: read}, write: {risk: write}, remember: {risk: write}}\n%s", argv, script, more)
}

// driver is the sandbox of this machine; a test that needs one is skipped where
// it holds nothing.
func driver(t testing.TB) sandbox.Driver {
	t.Helper()
	d, err := sharedDriver()
	if err != nil {
		t.Skipf("no sandbox on this machine: %v", err)
	}
	return d
}

var sharedDriver = sync.OnceValues(func() (sandbox.Driver, error) {
	dir, err := os.MkdirTemp("", "latchkey-stdio-")
	if err != nil {
		return nil, err
	}
	d, err := sandbox.Open(sandbox.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p, err := d.Start(ctx, sandbox.Spec{Tenant: "t", Server: "s", Argv: []string{"/bin/true"}})
	if err != nil {
		return nil, err
	}
	p.Wait()
	return d, nil
})

// house is a worker that hosts servers, and what it says.
type house struct {
	testing.TB
	kind   runtime.Kind
	host   runtime.Host
	worker *runtime.Worker
	tenant tenants.ID
	server registry.ServerID
	leases *leases
	writes string // a tool that is called with write access

	mu       sync.Mutex
	openings map[registry.RevisionID]runtime.Opening
	people   []tenants.UserID
	log      strings.Builder
}

type options struct {
	driver   sandbox.Driver
	stateDir string
	packages *packages.Cache
	change   func(*runtime.Host)
}

func newHouse(t testing.TB, o options) *house {
	t.Helper()
	if o.driver == nil {
		o.driver = driver(t)
	}
	h := &house{TB: t, kind: New(), tenant: tenants.NewID(), server: tenants.NewServerID(), openings: map[registry.RevisionID]runtime.Opening{}, leases: &leases{}}
	log := slog.New(slog.NewTextHandler(h, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.packages == nil {
		o.packages = packages.New(packages.Options{Dir: t.TempDir(), Log: log})
	}
	if o.stateDir == "" {
		o.stateDir = t.TempDir()
	}
	h.host = runtime.Host{Sandbox: o.driver, StateDir: o.stateDir, Packages: o.packages, Log: log}
	if o.change != nil {
		o.change(&h.host)
	}
	h.worker = runtime.NewWorker(runtime.WorkerConfig{Name: "w", Kinds: []runtime.Kind{h.kind}, Openings: h, Leases: h.leases, Log: log, Host: h.host})
	t.Cleanup(h.close)
	return h
}

func (h *house) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := h.worker.Close(ctx); err != nil {
		h.Error(err)
	}
	if h.Failed() {
		h.Log(h.logged())
	}
}

func (h *house) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(p)
}

func (h *house) logged() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

func (h *house) Opening(_ context.Context, _ tenants.ID, _ registry.ServerID, r registry.RevisionID) (runtime.Opening, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.openings[r]
	if !ok {
		return o, fault.New(fault.NotFound, "There is no such server.")
	}
	return o, nil
}

// People gives those of the people whom the tenant has (Known).
func (h *house) People(_ context.Context, t tenants.ID, all []tenants.UserID) ([]tenants.UserID, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(all), func(u tenants.UserID) bool {
		return t != h.tenant || !slices.Contains(h.people, u)
	}), nil
}

// leases hand out static secrets.
type leases struct {
	mu     sync.Mutex
	fields map[string]secret.Text
}

func (l *leases) set(fields map[string]secret.Text) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fields = fields
}

func (l *leases) Get(context.Context, vault.LeaseRequest) (vault.Lease, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return vault.Lease{ID: "l", Fields: l.fields}, func() {}, nil
}

// parse reads a spec as the registry would.
func parse(t testing.TB, text string) *yaml.Node {
	t.Helper()
	n, problems := registry.ReadYAML(text)
	if len(problems) > 0 {
		t.Fatal((&registry.Problems{List: problems}).Error())
	}
	return n
}

// add keeps an opening for a checked spec.
func (h *house) add(spec, conn json.RawMessage, d registry.Definition) runtime.Opening {
	o := runtime.Opening{
		Tenant: h.tenant, Server: h.server, Revision: registry.RevisionID(tenants.RandomID("rv")), Kind: h.kind.Name, Spec: spec, Connection: conn, Guard: runtime.GuardsOf(d),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.openings[o.Revision] = o
	return o
}

// publish takes a spec the way a server's first publication goes: checked,
// asked what it offers, pinned.
func (h *house) publish(specYAML string, conn json.RawMessage) runtime.Opening {
	h.Helper()
	spec, d, problems := h.kind.Check(parse(h, specYAML))
	if len(problems) > 0 {
		h.Fatal((&registry.Problems{List: problems}).Error())
	}
	res, err := h.do(h.add(spec, conn, d), runtime.Discover, "server", "", "")
	if err != nil {
		h.Fatalf("discover: %v", err)
	}
	spec, d, problems = h.kind.Define(spec, *res.Offer)
	if len(problems) > 0 {
		h.Fatal((&registry.Problems{List: problems}).Error())
	}
	return h.add(spec, conn, d)
}

func (h *house) do(o runtime.Opening, op runtime.Op, name, input string, user tenants.UserID) (*runtime.Result, error) {
	return h.within(h.Context(), time.Minute, o, op, name, input, user)
}

func (h *house) within(ctx context.Context, timeout time.Duration, o runtime.Opening, op runtime.Op, name, input string, user tenants.UserID) (*runtime.Result, error) {
	access := registry.ReadAccess
	if name == "write" || name == "remember" || name == h.writes {
		access = registry.WriteAccess
	}
	rule := ""
	if op == runtime.GetPrompt || op == runtime.Complete {
		rule = runtime.PromptRule(name)
	}
	return h.worker.Run(ctx, &runtime.Call{
		ID: tenants.RandomID("cl"), Tenant: o.Tenant, Server: o.Server, Revision: o.Revision, OpenHash: o.Hash(), Op: op, Name: name, Rule: rule, Input: json.RawMessage(input),
		Access: access, Caller: runtime.Caller{User: user}, Deadline: time.Now().Add(timeout), Grant: "g." + secret.Text(tenants.RandomID("x")),
	}, time.Now().Add(time.Minute), runtime.Back{})
}

// call runs a tool that must succeed, and gives its text.
func (h *house) call(o runtime.Opening, tool, input string) string {
	h.Helper()
	return h.as("", o, tool, input)
}

func (h *house) as(user tenants.UserID, o runtime.Opening, tool, input string) string {
	h.Helper()
	res, err := h.do(o, runtime.CallTool, tool, input, user)
	if err != nil {
		h.Fatalf("%s: %v", tool, err)
	}
	if res.Tool.IsError {
		h.Fatalf("%s: %+v", tool, res.Tool.Content)
	}
	return textOf(res)
}

func textOf(res *runtime.Result) string {
	var all []string
	for _, c := range res.Tool.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			all = append(all, t.Text)
		}
	}
	return strings.Join(all, "\n")
}

// defOf is what an opening's guards say that the server offers.
func defOf(t testing.TB, o runtime.Opening) (d registry.Definition) {
	t.Helper()
	for rule := range o.Guard {
		if name, ok := strings.CutPrefix(rule, "tool:"); ok {
			d.Tools = append(d.Tools, registry.Tool{Name: name})
		}
	}
	return d
}

func ownerOf(t testing.TB, path string) uint32 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Uid
}

func (h *house) eventually(what string, ok func() bool) {
	h.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			h.Fatal(what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// only has the kind alone (registry.Kinds).
type only struct{}

func (only) Names() []string { return []string{"stdio"} }

func (only) CheckSpec(_ string, n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	return check(n)
}

func (only) CheckConnection(_ string, n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	return checkConnection(n)
}

func (only) Discovers(string) bool { return true }

func (only) Define(_ string, spec json.RawMessage, pinned registry.Offer) (json.RawMessage, registry.Definition, []registry.Problem) {
	return define(spec, pinned)
}

func (only) Composes(string) bool { return false }

func (only) Compose(string, json.RawMessage, registry.Composing) (json.RawMessage, registry.Definition, []registry.Problem) {
	return nil, registry.Definition{}, nil
}
