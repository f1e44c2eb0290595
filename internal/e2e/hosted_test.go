package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// sandboxHolds tells whether a worker hosts processes here.
func sandboxHolds(t testing.TB) error {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(HostingBinaries(t), "worker"), "doctor").CombinedOutput()
	if err != nil {
		return fmt.Errorf("no sandbox holds on this machine: %s", out)
	}
	return nil
}

// needsSandbox skips where a worker would host no processes.
func needsSandbox(t testing.TB) {
	t.Helper()
	if err := sandboxHolds(t); err != nil {
		t.Skip(err)
	}
}

// published waits until a server that its upstream describes has a revision.
func published(t testing.TB, p *Platform, tenant, server string) {
	t.Helper()
	Eventually(t, 3*time.Minute, func() error {
		r, err := http.NewRequestWithContext(t.Context(), "GET", p.APIURL+"/tenants/"+tenant+"/servers/"+server, nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+p.Operator.APIKey)
		res, err := p.HTTP.Do(r)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		var s struct {
			Status string
			Health json.RawMessage
		}
		if err := json.NewDecoder(res.Body).Decode(&s); err != nil || s.Status != "published" {
			return fmt.Errorf("%s is %q (%d, %v): %s", server, s.Status, res.StatusCode, err, s.Health)
		}
		return nil
	})
}

func said1(res *mcp.CallToolResult) string {
	var all []string
	for _, c := range res.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			all = append(all, text.Text)
		}
	}
	return strings.Join(all, "\n")
}

// Packages from npm, hosted by `platform dev` and used by a real client that
// signs in; and what it is told when their worker is killed.
func TestPackagedServersAreHosted(t *testing.T) {
	needsSandbox(t)
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not on PATH")
	}
	t.Parallel()
	p := StartHosting(t, "--packaged=true")
	published(t, p, "acme", "files")
	published(t, p, "acme", "everything")

	files := connectGo(t, &clicks{person: person(t, p, "sam@acme.test"), ticks: [][]string{{"files:read"}}}, p.Resource("acme", "files"), "2026-07-28")
	names := toolNames(t, files)
	if !slices.Contains(names, "read_text_file") || slices.Contains(names, "write_file") {
		t.Errorf("with files:read there are %v", names)
	}
	res, err := files.CallTool(t.Context(), &mcp.CallToolParams{Name: "read_text_file", Arguments: map[string]any{"path": "/state/handbook/refunds.md"}})
	if err != nil || res.IsError || !strings.Contains(said1(res), "Up to 100 EUR") {
		t.Errorf("%+v, %v", res, err)
	}
	res, err = files.CallTool(t.Context(), &mcp.CallToolParams{Name: "read_text_file", Arguments: map[string]any{"path": "/etc/passwd"}})
	if err != nil || !res.IsError || strings.Contains(said1(res), "root:") {
		t.Errorf("%+v, %v", res, err)
	}

	every := connectGo(t, &clicks{person: person(t, p, "sam@acme.test"), ticks: [][]string{{"everything"}}}, p.Resource("acme", "everything"), "2025-06-18")
	sum := func() (string, error) {
		res, err := every.CallTool(t.Context(), &mcp.CallToolParams{Name: "get-sum", Arguments: map[string]any{"a": 2, "b": 3}})
		if err != nil || res.IsError {
			return "", fmt.Errorf("%+v, %w", res, err)
		}
		return said1(res), nil
	}
	for range 2 {
		if got, err := sum(); err != nil || !strings.Contains(got, "5") || strings.Contains(got, "restarted") {
			t.Fatal(got, err)
		}
	}
	memory := unique("memory-")
	hostOpenly(t, p, memory, object{"kind": "stdio", "spec": object{
		"package": object{"npm": "@modelcontextprotocol/server-memory@2026.8.31"}, "state": true, "per": "user", "env": object{"MEMORY_FILE_PATH": "/state/memory.jsonl"},
	}})
	remembers := func(email string) *mcp.ClientSession {
		return connectGo(t, &clicks{person: person(t, p, email), ticks: [][]string{{"conformance"}}}, p.Resource("acme", memory), "2026-07-28")
	}
	dana, fred := remembers("dana@acme.test"), remembers("fred@acme.test")
	entity := map[string]any{"entities": []any{map[string]any{"name": "Latchkey", "entityType": "product", "observations": []any{"opens doors"}}}}
	if res, err := dana.CallTool(t.Context(), &mcp.CallToolParams{Name: "create_entities", Arguments: entity}); err != nil || res.IsError {
		t.Fatalf("%+v, %v", res, err)
	}
	knows := func(s *mcp.ClientSession) (string, error) {
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "read_graph", Arguments: map[string]any{}})
		if err != nil || res.IsError {
			return "", fmt.Errorf("%+v, %w", res, err)
		}
		return said1(res), nil
	}
	if got, err := knows(fred); err != nil || strings.Contains(got, "Latchkey") {
		t.Errorf("the other person is told %s, %v", got, err)
	}

	worker, err := p.Worker()
	if err != nil {
		t.Fatal(err)
	}
	hosted := descendants(worker)
	if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var got string
	Eventually(t, time.Minute, func() error { got, err = sum(); return err })
	if !strings.Contains(got, "5") || !strings.Contains(got, "The server was restarted since your last call") {
		t.Errorf("after the worker was killed: %s", got)
	}
	if got, err := sum(); err != nil || strings.Contains(got, "restarted") {
		t.Errorf("told twice: %s, %v", got, err)
	}
	Eventually(t, time.Minute, func() error { got, err = knows(dana); return err })
	if !strings.Contains(got, "opens doors") {
		t.Errorf("what stood in the state folder is forgotten: %s", got)
	}
	Eventually(t, 20*time.Second, func() error {
		for _, h := range hosted {
			if h.alive() {
				return fmt.Errorf("%s (%d) of the killed worker lives on", h.name, h.pid)
			}
		}
		return nil
	})
}

// crashing is a server that ends when it is told to.
const crashing = `tenant: acme
name: Acme Corp
roles:
  crasher: {scopes: {crashing: [use]}}
servers:
- slug: crashing
  kind: stdio
  spec:
    command:
      argv: [node, /app/server.mjs]
      files:
        server.mjs: |
          import { createInterface } from 'node:readline';
          const send = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result }) + '\n');
          createInterface({ input: process.stdin }).on('line', (line) => {
            const { id, method } = JSON.parse(line);
            if (method === 'initialize') send(id, { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'crashing', version: '1' } });
            else if (method === 'tools/list') send(id, { tools: [{ name: 'crash', description: 'Ends the server. Use it in tests.', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } }] });
            else if (method === 'tools/call') { console.error('secret plans at /etc/plans'); process.exit(4); }
            else if (id !== undefined) process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'Method not found' } }) + '\n');
          });
    tools: {"*": {scope: use, risk: read}}
members:
- {email: dana@acme.test, name: Dana Admin, roles: [admin, tester, crasher]}
`

// crash provokes server_crashed.
func crash(w *codes) said {
	needsSandbox(w.T)
	if got := w.p.Apply(w.T, crashing); got.code != 0 {
		w.Fatalf("%+v", got)
	}
	published(w.T, w.p, "acme", "crashing")
	w.token["crashing"] = w.p.Token(w.T, "dana@acme.test", "crashing", "use").Access
	s := w.tool("crashing", "crash", map[string]any{})
	if !strings.Contains(s.Message, "exit code 4") || strings.Contains(s.text, "secret plans") {
		w.Error(s.text)
	}
	return s
}
