package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/runtime/stdiotool"
	"latchkey/internal/tenants"
)

func TestHostingTakesNoMoreOfTheEnvironmentThanNPMNeeds(t *testing.T) {
	h, err := readHosting(environment("LATCHKEY_STATE_DIR", "state", "HOME", "/home/w", "LATCHKEY_WORKER_PROCESSES", "5"),
		[]string{"PATH=/bin", "HOME=/home/w", "NPM_CONFIG_REGISTRY=https://r.test", "https_proxy=http://p.test", "LATCHKEY_NATS_URL=nats://w:secret@h", "VAULT_TOKEN=secret", "NODE_AUTH_TOKEN=secret"})
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(h.StateDir) || h.CacheDir != "/home/w/.cache/latchkey" || h.Processes != 5 || h.TenantProcesses != 0 {
		t.Errorf("%+v", h)
	}
	if !slices.Equal(h.NPMEnv, []string{"PATH=/bin", "HOME=/home/w", "NPM_CONFIG_REGISTRY=https://r.test", "https_proxy=http://p.test"}) {
		t.Errorf("npm gets %v", h.NPMEnv)
	}
	for text, want := range map[string]int64{"500MB": 500 << 20, "2 GB": 2 << 30} {
		if h, err := readHosting(environment("LATCHKEY_CACHE_SIZE", text), nil); err != nil || h.CacheSize != want {
			t.Errorf("%s: %d, %v", text, h.CacheSize, err)
		}
	}
	for _, text := range []string{"0GB", "20", "-1GB", "1.5GB", "9999999GB"} {
		if _, err := readHosting(environment("LATCHKEY_CACHE_SIZE", text), nil); err == nil || !strings.Contains(err.Error(), "LATCHKEY_CACHE_SIZE") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := readHosting(environment("LATCHKEY_WORKER_TENANT_PROCESSES", "0"), nil); err == nil || !strings.Contains(err.Error(), "LATCHKEY_WORKER_TENANT_PROCESSES") {
		t.Error(err)
	}
}

// counter is a server that counts its calls in memory.
const counter = `command:
  argv: [node, /app/server.mjs]
  files:
    server.mjs: |
      import { createInterface } from 'node:readline';
      let n = 0;
      const send = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result }) + '\n');
      createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, method } = JSON.parse(line);
        if (method === 'initialize') send(id, { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'counter', version: '1' } });
        else if (method === 'tools/list') send(id, { tools: [{ name: 'count', description: 'Counts.', inputSchema: { type: 'object' } }] });
        else if (method === 'tools/call') send(id, { content: [{ type: 'text', text: String(++n) }] });
        else if (id !== undefined) process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'Method not found' } }) + '\n');
      });
tools: {"*": {risk: read}}
`

// The calls of a hosted server go to one worker. When that is killed, the next
// call works on another, in a process of its own that says which it is.
func TestKilledWorkerIsReplacedByAnother(t *testing.T) {
	kind := stdiotool.New()
	n, problems := registry.ReadYAML(counter)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	spec, def, problems := kind.Check(n)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	defer func(before runtime.Opening) { opening = before }(opening)
	opening = runtime.Opening{Tenant: tenants.NewID(), Server: tenants.NewServerID(), Revision: "rv1", Kind: kind.Name, Spec: spec, Guard: runtime.GuardsOf(def)}
	s, e := newEdge(t)
	workers := map[string]*worker{}
	state, cache := t.TempDir(), t.TempDir()
	for _, name := range []string{"wa", "wb"} {
		workers[name] = startWorker(t, "LATCHKEY_NATS_URL="+s.WorkerURL().Reveal(), "LATCHKEY_WORKER_NAME="+name, "HOME="+os.Getenv("HOME"),
			"LATCHKEY_STATE_DIR="+filepath.Join(state, name), "LATCHKEY_CACHE_DIR="+cache, "LATCHKEY_SANDBOX_DIR="+t.TempDir())
	}
	for name, w := range workers {
		select {
		case <-w.lines:
		case <-time.After(time.Minute):
			t.Fatalf("%s is not ready: %s", name, w.stderr)
		}
		if strings.Contains(w.stderr.String(), "hosts no processes") {
			t.Skipf("no sandbox holds on this machine: %s", w.stderr)
		}
	}
	ask := func(op runtime.Op, name string) (natsrt.Outcome, error) {
		c := echoCall(name, `{}`)
		c.Op, c.Deadline = op, time.Now().Add(time.Minute)
		return e.Do(context.Background(), c, natsrt.DoOptions{Pool: "default", Retryable: true, Home: string(opening.Server)})
	}
	found, err := ask(runtime.Discover, "server")
	if err != nil {
		t.Fatal(err)
	}
	if opening.Spec, def, problems = kind.Define(spec, *found.Result.Offer); len(problems) > 0 {
		t.Fatal(problems)
	}
	opening.Guard, opening.Revision = runtime.GuardsOf(def), "rv2"
	var last natsrt.Outcome
	for i := range 3 {
		if last, err = ask(runtime.CallTool, "count"); err != nil {
			t.Fatal(err)
		}
		if got := textOf(last); got != strconv.Itoa(i+1) {
			t.Errorf("call %d on %s counts %s: it is not at home", i, last.Worker, got)
		}
	}
	if err := workers[last.Worker].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var next natsrt.Outcome
	for end := time.Now().Add(time.Minute); ; {
		if next, err = ask(runtime.CallTool, "count"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
	}
	if next.Worker == last.Worker || textOf(next) != "1" || next.Result.Process == last.Result.Process || next.Result.Process == "" {
		t.Errorf("after the kill: %s on %s, process %s; before: %s, %s", textOf(next), next.Worker, next.Result.Process, last.Worker, last.Result.Process)
	}
}

func textOf(o natsrt.Outcome) string { return o.Result.Tool.Content[0].(*mcp.TextContent).Text }
