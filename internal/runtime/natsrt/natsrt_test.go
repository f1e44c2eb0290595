package natsrt_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// TestMain makes the test binary a worker when a test starts it as one.
func TestMain(m *testing.M) {
	if url := os.Getenv("NATSRT_TEST_WORKER"); url != "" {
		workerProcess(secret.Text(url), os.Getenv("NATSRT_TEST_NAME"))
		return
	}
	if url := os.Getenv("NATSRT_BENCH_WORKER"); url != "" {
		benchWorkerProcess(secret.Text(url), os.Getenv("NATSRT_TEST_NAME"))
		return
	}
	os.Exit(m.Run())
}

// workerProcess prints a line when it serves, and one whenever a call begins
// and ends, which the test reads.
func workerProcess(url secret.Text, name string) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	conn, err := natsrt.DialWorker(url, name, log)
	if err != nil {
		panic(err)
	}
	w := newWorker(name, 64, probeKind(func(s string) { fmt.Println(s) }), natsrt.NewOpenings(conn), log)
	if _, err := natsrt.ServeWorker(context.Background(), conn, "default", w); err != nil {
		panic(err)
	}
	if err := conn.Flush(); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	select {}
}

func newWorker(name string, slots int, kind runtime.Kind, o runtime.Openings, log *slog.Logger) *runtime.Worker {
	return runtime.NewWorker(runtime.WorkerConfig{Name: name, Version: "test", Slots: slots, Kinds: []runtime.Kind{kind}, Openings: o, Log: log})
}

var opening = runtime.Opening{Tenant: tenants.NewID(), Server: tenants.NewServerID(), Revision: "rv1", Kind: "probe", Spec: json.RawMessage(`{}`), Guard: guards("ask", "ask-many", "big", "echo", "fault", "hang", "leak", "logs", "panic", "progress")}

func guards(tools ...string) map[string]registry.OutputGuard {
	all := map[string]registry.OutputGuard{}
	for _, t := range tools {
		all[runtime.ToolRule(t)] = registry.OutputGuard{}
	}
	return all
}

// probeKind is a kind whose tools do what a test needs. It says what happens.
func probeKind(say func(string)) runtime.Kind {
	return runtime.Kind{Name: "probe", Open: func(context.Context, runtime.Opening, runtime.Host) (runtime.Instance, error) { return probe{say}, nil }}
}

type probe struct{ say func(string) }

func (p probe) CallTool(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	p.say("begin " + c.ID)
	switch c.Name {
	case "hang":
		<-ctx.Done()
		p.say("cancelled " + c.ID)
		return nil, ctx.Err()
	case "panic":
		panic("with a secret")
	case "fault":
		return nil, fault.New(fault.UpstreamAway, "The database is away.").After(3 * time.Second).
			WithDetails(fault.Detail{Pointer: "/a", Reason: "b"}).Because(fmt.Errorf("dial 10.1.2.3 with hunter2"))
	case "leak":
		return nil, fmt.Errorf("dial 10.1.2.3 with hunter2")
	case "big":
		var n int
		if err := json.Unmarshal(c.Input, &n); err != nil {
			return nil, err
		}
		return toolText(strings.Repeat("x", n)), nil
	case "ask":
		answer, err := env.Ask(ctx, runtime.Question{Method: "elicitation/create", Params: c.Input})
		if err != nil {
			p.say("unanswered " + c.ID)
			return nil, err
		}
		return toolText(string(answer)), nil
	case "ask-many":
		return p.askMany(ctx, c, env)
	case "logs":
		n := 100
		json.Unmarshal(c.Input, &n)
		for i := range n {
			if i == 50 {
				env.Progress(1, 2, "half")
			}
			env.Notify(runtime.Notification{Method: "notifications/message", Params: json.RawMessage(fmt.Sprintf(`{"level":"info","data":%d}`, i))})
		}
		p.say("sent " + c.ID)
	case "progress":
		for i := range 3 {
			env.Progress(float64(i), 3, "step")
		}
	}
	return toolText(string(c.Input)), nil
}

// askMany asks as many questions at once as it is told, and gives the answers and
// what was refused.
func (p probe) askMany(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	var n int
	if err := json.Unmarshal(c.Input, &n); err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	answers := make([]string, n)
	for i := range n {
		all.Go(func() {
			raw, err := env.Ask(ctx, runtime.Question{Method: "elicitation/create", Params: json.RawMessage(strconv.Itoa(i))})
			if answers[i] = string(raw); err != nil {
				answers[i] = "refused"
				p.say("refused " + c.ID)
			}
		})
	}
	all.Wait()
	return toolText(strings.Join(answers, " ")), nil
}

func (probe) ReadResource(context.Context, *runtime.Call, runtime.Env) (*runtime.Result, error) {
	return nil, fault.New(fault.NotFound, "none")
}
func (probe) Close() error { return nil }

func toolText(s string) *runtime.Result {
	return &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}, Rows: -1}
}

var serial struct {
	sync.Mutex
	n int
}

func call(name, input string, timeout time.Duration) *runtime.Call {
	serial.Lock()
	serial.n++
	id := fmt.Sprintf("call-%d-%d", os.Getpid(), serial.n)
	serial.Unlock()
	return &runtime.Call{
		ID: id, Tenant: opening.Tenant, Server: opening.Server, Revision: opening.Revision, OpenHash: opening.Hash(),
		Op: runtime.CallTool, Name: name, Input: json.RawMessage(input), Access: registry.ReadAccess, Deadline: time.Now().Add(timeout),
	}
}

// rig is a server with an edge.
func secretText(s string) secret.Text { return secret.Text(s) }

type rig struct {
	*testing.T
	server *natsrt.Server
	edge   *natsrt.Edge
}

func newRig(t *testing.T) *rig { return newRigWith(t, true) }

func newRigWith(t *testing.T, sys bool) *rig {
	t.Helper()
	return newRigOn(t, must(natsrt.StartServer(natsrt.ServerOptions{}))(t), sys)
}

func newRigOn(t *testing.T, s *natsrt.Server, sys bool) *rig {
	t.Helper()
	t.Cleanup(func() { s.Close() })
	cfg := natsrt.EdgeConfig{Conn: must(s.EdgeConn("edge-1"))(t), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Opening: func(_ context.Context, tn tenants.ID, sv registry.ServerID, r registry.RevisionID) (runtime.Opening, error) {
			return opening, nil
		}}
	t.Cleanup(cfg.Conn.Close)
	if sys {
		cfg.Sys = must(s.SysConn())(t)
		t.Cleanup(cfg.Sys.Close)
	}
	e := must(natsrt.NewEdge(cfg))(t)
	t.Cleanup(func() { e.Close() })
	return &rig{t, s, e}
}

func must[V any](v V, err error) func(t testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// local serves a worker of this process and tells what it says.
func (r *rig) local(name string, slots int) (*natsrt.Served, <-chan string) {
	r.Helper()
	said := make(chan string, 1024)
	log := slog.New(slog.DiscardHandler)
	conn := must(natsrt.DialWorker(r.server.WorkerURL(), name, log))(r.T)
	served := must(natsrt.ServeWorker(context.Background(), conn, "default",
		newWorker(name, slots, probeKind(func(s string) { said <- s }), natsrt.NewOpenings(conn), log)))(r.T)
	r.Cleanup(func() { stop(served); conn.Close() })
	if err := conn.Flush(); err != nil {
		r.Fatal(err)
	}
	return served, said
}

func stop(s *natsrt.Served) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Stop(ctx)
}

// process is a worker in a process of its own.
type process struct {
	cmd  *exec.Cmd
	said <-chan string
}

func (r *rig) process(name string) *process {
	r.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NATSRT_TEST_WORKER="+r.server.WorkerURL().Reveal(), "NATSRT_TEST_NAME="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	said := make(chan string, 4096)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said <- lines.Text()
		}
	})
	r.Cleanup(func() { cmd.Process.Kill(); reading.Wait(); cmd.Wait() })
	await(r.T, said, "ready")
	return &process{cmd, said}
}

// await reads until a line with the prefix.
func await(t testing.TB, said <-chan string, prefix string) string {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case line, ok := <-said:
			if !ok {
				t.Fatalf("the worker ended before it said %q", prefix)
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-timeout:
			t.Fatalf("the worker did not say %q within 10 s", prefix)
		}
	}
}

func (r *rig) do(c *runtime.Call, o natsrt.DoOptions) (natsrt.Outcome, error) {
	if o.Pool == "" {
		o.Pool = "default"
	}
	return r.edge.Do(context.Background(), c, o)
}

func wantCode(t testing.TB, err error, code fault.Code) *fault.Error {
	t.Helper()
	if !fault.HasCode(err, code) {
		t.Fatalf("error is %v, want %s", err, code)
	}
	return fault.Of(err)
}

func textOf(t testing.TB, out natsrt.Outcome) string {
	t.Helper()
	if out.Result == nil || out.Result.Tool == nil || len(out.Result.Tool.Content) != 1 {
		t.Fatalf("no text result: %+v", out.Result)
	}
	return out.Result.Tool.Content[0].(*mcp.TextContent).Text
}

// until polls for what comes about by itself.
func (r *rig) until(not string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			r.Fatal(not)
		}
		<-time.After(5 * time.Millisecond)
	}
}
