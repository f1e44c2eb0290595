package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/sandbox"
	"latchkey/internal/tenants"
)

// TestMain makes the test binary the worker when a test starts it as one.
func TestMain(m *testing.M) {
	sandbox.Helper()
	if len(os.Args) > 1 && (os.Args[1] == "run" || os.Args[1] == "doctor") {
		main()
		return
	}
	os.Exit(m.Run())
}

func environment(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(k string) string { return m[k] }
}

func TestConfigNamesEveryWrongSetting(t *testing.T) {
	_, err := readConfig(environment("LATCHKEY_WORKER_SLOTS", "0", "LATCHKEY_WORKER_DRAIN", "x", "LATCHKEY_LOG_LEVEL", "loud", "LATCHKEY_GRANT_KEYS", "AAAA",
		"LATCHKEY_SANDBOX", "docker", "LATCHKEY_SANDBOX_ACCEPT", "memory, luck", "LATCHKEY_SANDBOX_UIDS", "0-5", "LATCHKEY_SANDBOX_DIR", "here", "LATCHKEY_EGRESS_ALLOW", "10.0.0.0/99"))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"LATCHKEY_NATS_URL", "LATCHKEY_WORKER_SLOTS", "LATCHKEY_WORKER_DRAIN", "LATCHKEY_LOG_LEVEL", "LATCHKEY_GRANT_KEYS",
		"LATCHKEY_SANDBOX:", "LATCHKEY_SANDBOX_ACCEPT", "LATCHKEY_SANDBOX_UIDS", "LATCHKEY_SANDBOX_DIR", "LATCHKEY_EGRESS_ALLOW"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("nothing is said of %s: %v", name, err)
		}
	}
}

func TestConfigDefaultsWork(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize))
	c, err := readConfig(environment("LATCHKEY_NATS_URL", "nats://w:p@h:1", "LATCHKEY_GRANT_KEYS", key+", "+key))
	if err != nil || c.Pool != "default" || c.Slots != 64 || c.Name == "" || strings.Contains(c.Name, ".") || len(c.GrantKeys) != 2 {
		t.Errorf("config is %+v, %v", c, err)
	}
}

// worker is the real program in a process of its own.
type worker struct {
	cmd    *exec.Cmd
	lines  chan string
	stderr *buffer
}

type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

func startWorker(t *testing.T, env ...string) *worker {
	t.Helper()
	w := &worker{cmd: exec.Command(os.Args[0], "run"), lines: make(chan string, 16), stderr: &buffer{}}
	w.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LATCHKEY_SANDBOX_DIR=" + t.TempDir()}, env...)
	w.cmd.Stderr = w.stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			w.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { w.cmd.Process.Kill(); w.cmd.Wait() })
	return w
}

func (w *worker) ready(t *testing.T) {
	t.Helper()
	select {
	case line := <-w.lines:
		var ready struct{ Msg, Name, Pool string }
		if err := json.Unmarshal([]byte(line), &ready); err != nil || ready.Msg != "worker ready" || ready.Name != "w1" || ready.Pool != "default" {
			t.Fatalf("first line is %q; stderr: %s", line, w.stderr)
		}
	case <-time.After(15 * time.Second):
		t.Fatalf("not ready within 15 s; stderr: %s", w.stderr)
	}
}

// exit waits for the process's end and gives its exit code.
func (w *worker) exit(t *testing.T) int {
	t.Helper()
	done := make(chan struct{})
	go func() { w.cmd.Wait(); close(done) }()
	select {
	case <-done:
		return w.cmd.ProcessState.ExitCode()
	case <-time.After(15 * time.Second):
		t.Fatalf("still running after 15 s; stderr: %s", w.stderr)
		return -1
	}
}

var opening = runtime.Opening{
	Tenant: tenants.NewID(), Server: tenants.NewServerID(), Revision: "rv1", Kind: "echo",
	Spec:  json.RawMessage(`{"tools":[{"name":"echo","scope":"tool:echo"},{"name":"wait","scope":"tool:wait"}]}`),
	Guard: map[string]registry.OutputGuard{runtime.ToolRule("echo"): {}, runtime.ToolRule("wait"): {}},
}

func newEdge(t *testing.T) (*natsrt.Server, *natsrt.Edge) {
	t.Helper()
	s, err := natsrt.StartServer(natsrt.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	conn, err := s.EdgeConn("edge")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	e, err := natsrt.NewEdge(natsrt.EdgeConfig{Conn: conn, Opening: func(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
		return opening, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return s, e
}

func echoCall(name, input string) *runtime.Call {
	return &runtime.Call{
		ID: tenants.RandomID("cl"), Tenant: opening.Tenant, Server: opening.Server, Revision: opening.Revision, OpenHash: opening.Hash(),
		Op: runtime.CallTool, Name: name, Input: json.RawMessage(input), Access: registry.ReadAccess, Deadline: time.Now().Add(20 * time.Second),
	}
}

func TestTerminatedWorkerFinishesItsCalls(t *testing.T) {
	s, e := newEdge(t)
	w := startWorker(t, "LATCHKEY_NATS_URL="+s.WorkerURL().Reveal(), "LATCHKEY_WORKER_NAME=w1", "VAULT_TOKEN=canary-token")
	w.ready(t)

	progress := make(chan struct{}, 64)
	type ending struct {
		out natsrt.Outcome
		err error
	}
	ended := make(chan ending, 1)
	go func() {
		out, err := e.Do(context.Background(), echoCall("wait", `{"seconds":1.5}`), natsrt.DoOptions{Pool: "default",
			Progress: func(_, _ float64, _ string) { progress <- struct{}{} }})
		ended <- ending{out, err}
	}()
	<-progress
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got := <-ended
	if got.err != nil || got.out.Worker != "w1" {
		t.Errorf("the running call ended with %+v, %v", got.out, got.err)
	} else if text := got.out.Result.Tool.Content[0].(*mcp.TextContent).Text; text != "Waited 1.5 s." {
		t.Errorf("the running call answered %q", text)
	}
	if code := w.exit(t); code != 0 {
		t.Errorf("exit code %d; stderr: %s", code, w.stderr)
	}
	if _, err := e.Do(context.Background(), echoCall("echo", `{}`), natsrt.DoOptions{Pool: "default", Retryable: true}); !fault.HasCode(err, fault.NoWorker) {
		t.Errorf("after the stop: %v", err)
	}
	if log := w.stderr.String(); strings.Contains(log, "canary-token") || !strings.Contains(log, "VAULT_TOKEN") {
		t.Errorf("a standing credential must be named and not printed: %s", log)
	}
}

func TestWorkerWaitsForNATS(t *testing.T) {
	w := startWorker(t, "LATCHKEY_NATS_URL=nats://worker:canary-password@127.0.0.1:1")
	for end := time.Now().Add(10 * time.Second); !strings.Contains(w.stderr.String(), "cannot reach NATS"); {
		if time.Now().After(end) {
			t.Fatalf("it does not say what it waits for: %s", w.stderr)
		}
		<-time.After(5 * time.Millisecond)
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := w.exit(t); code != 1 || strings.Contains(w.stderr.String(), "canary-password") {
		t.Errorf("exit code %d; stderr: %s", code, w.stderr)
	}
}

func TestWrongPasswordEndsWorker(t *testing.T) {
	s, _ := newEdge(t)
	url := strings.Replace(s.WorkerURL().Reveal(), "worker:", "worker:canary", 1)
	w := startWorker(t, "LATCHKEY_NATS_URL="+url)
	if code := w.exit(t); code != 1 || !strings.Contains(w.stderr.String(), "LATCHKEY_NATS_URL") || strings.Contains(w.stderr.String(), "canary") {
		t.Errorf("exit code %d; stderr: %s", code, w.stderr)
	}
}

// Without a sandbox that holds, the worker serves all but tenants' processes.
func TestWorkerWithoutSandboxServesTheRest(t *testing.T) {
	s, e := newEdge(t)
	w := startWorker(t, "LATCHKEY_NATS_URL="+s.WorkerURL().Reveal(), "LATCHKEY_WORKER_NAME=w1", "LATCHKEY_SANDBOX_BWRAP=/no/bwrap", "LATCHKEY_SANDBOX_RUNSC=/no/runsc")
	w.ready(t)
	if log := w.stderr.String(); !strings.Contains(log, "hosts no processes of tenants") || !strings.Contains(log, "LATCHKEY_SANDBOX_BWRAP") {
		t.Errorf("it does not say so: %s", log)
	}
	if _, err := e.Do(context.Background(), echoCall("echo", `{"text":"hi"}`), natsrt.DoOptions{Pool: "default"}); err != nil {
		t.Error(err)
	}
}

func TestDoctorFailsWhereNothingHolds(t *testing.T) {
	cmd := exec.Command(os.Args[0], "doctor", "--json")
	cmd.Env = []string{"LATCHKEY_SANDBOX_DIR=" + t.TempDir(), "LATCHKEY_SANDBOX_BWRAP=/no/bwrap", "LATCHKEY_SANDBOX_RUNSC=/no/runsc"}
	out, err := cmd.Output()
	var report sandboxReport
	if jerr := json.Unmarshal(out, &report); err == nil || jerr != nil || report.Driver != "" || report.Problem == "" || len(report.Held) > 0 {
		t.Errorf("%s, %v, %v", out, err, jerr)
	}
	cmd = exec.Command(os.Args[0], "doctor", "--json")
	cmd.Env = []string{"LATCHKEY_SANDBOX=off"}
	if out, _ := cmd.Output(); json.Unmarshal(out, &report) != nil || !report.Off {
		t.Errorf("%s", out)
	}
}
