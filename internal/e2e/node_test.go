package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/embedded"
	"latchkey/internal/testenv"
)

const (
	sdkV1       = "@modelcontextprotocol/sdk@1.32.2"
	sdkV2       = "@modelcontextprotocol/client@2.4.0"
	mcpRemote   = "mcp-remote@0.15.1"
	inspector   = "@modelcontextprotocol/inspector@2.12.0"
	conformance = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
)

// external skips what plays with other people's clients in short runs.
func external(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("plays with a client that needs Node or a browser")
	}
}

// step is a line of one of the scripts in clients/.
type step struct {
	Step, URL, Scope, Text string
	Names                  []string
	Rows                   int
	Error                  any
	Refresh                bool
}

// node is a Node command that ends with the test at the latest.
func node(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	bin := testenv.Node(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "node"), args...)
	// Without a PATH to browsers: the harness is one.
	cmd.Env = []string{"PATH=" + bin, "HOME=" + t.TempDir(), "NO_COLOR=1", "NODE_NO_WARNINGS=1", "BROWSER=none", "MCP_AUTO_OPEN_ENABLED=true"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// goTo does with an app's loopback listener what a browser does. A person is
// slower than the harness, so that some apps listen only a moment later.
func goTo(ctx context.Context, to *url.URL) error {
	return poll(15*time.Second, func() error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
}

// play runs a script and is the browser that it asks for.
func (c *clicks) play(t *testing.T, cmd *exec.Cmd) []step {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var steps []step
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Errorf("the script says %s", lines.Text())
			continue
		}
		steps = append(steps, s)
		if s.Step == "open" {
			to, err := c.open(t.Context(), s.URL)
			if err == nil {
				err = goTo(t.Context(), to)
			}
			if err != nil {
				t.Errorf("sign in at %s: %v", s.URL, err)
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %+v\n%s", err, steps, stderr.String())
	}
	return steps
}

func script(t *testing.T, name, modules, endpoint string, args ...string) *exec.Cmd {
	t.Helper()
	return node(t, append([]string{filepath.Join(testenv.RepoRoot(t), "internal/e2e/clients", name), modules, endpoint}, args...)...)
}

// wantChain checks what a script said: reads only at first, rows, a second
// question for the refund, the refund, and all tools.
func wantChain(t *testing.T, p *Platform, c *clicks, steps []step, reason string) {
	t.Helper()
	var told []string
	for _, s := range steps {
		switch s.Step {
		case "tools":
			slices.Sort(s.Names)
			told = append(told, strings.Join(s.Names, " "))
		case "search":
			told = append(told, fmt.Sprintf("search %d", s.Rows))
		case "refund":
			told = append(told, fmt.Sprintf("refund, error %v", s.Error))
		case "failed", "denied":
			t.Errorf("%+v", s)
		}
	}
	want := []string{strings.Join(readTools, " "), "search 5", "refund, error false", strings.Join(allTools, " ")}
	if !slices.Equal(told, want) {
		t.Errorf("the client saw\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if c.times() != 2 {
		t.Errorf("the person was asked %d times", c.times())
	}
	if l := p.LedgerOf(t, "acme", reason); len(l) != 1 || l[0].Cents != 7 || l[0].By != "fred@acme.test" {
		t.Errorf("the ledger has %+v", l)
	}
}

func TestTypeScriptSDKv1FromURLToRefund(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	modules, reason := testenv.NPM(t, sdkV1), unique("ts v1 ")
	c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read}, {read, write}}}
	steps := c.play(t, script(t, "v1.mjs", modules, p.Resource("acme", "orders"), fmt.Sprint(payable(t, p)), reason))
	wantChain(t, p, c, steps, reason)
}

func TestTypeScriptSDKv2FromURLToRefund(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	modules := testenv.NPM(t, sdkV2)
	for _, era := range []string{"modern", "auto", "legacy"} {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			reason := unique("ts v2 " + era + " ")
			c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read}, {read, write}}}
			steps := c.play(t, script(t, "v2.mjs", modules, p.Resource("acme", "orders"), fmt.Sprint(payable(t, p)), reason, era))
			wantChain(t, p, c, steps, reason)
		})
	}
}

var authorizeURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+/t/\w+/authorize\?[^\s"'\x1b]+`)

// watch reads what a program says, opens each authorization URL in it once,
// and keeps all of it.
type watch struct {
	t *testing.T
	c *clicks

	mu   sync.Mutex
	text strings.Builder
	line []byte
	seen map[string]bool
	open sync.WaitGroup
}

func (c *clicks) watch(t *testing.T) *watch {
	w := &watch{t: t, c: c, seen: map[string]bool{}}
	t.Cleanup(w.open.Wait)
	return w
}

func (w *watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	w.line = append(w.line, b...)
	for {
		i := bytes.IndexByte(w.line, '\n')
		if i < 0 {
			return len(b), nil
		}
		u := string(authorizeURL.Find(w.line[:i]))
		w.line = w.line[i+1:]
		if u == "" || w.seen[u] {
			continue
		}
		w.seen[u] = true
		w.open.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			to, err := w.c.open(ctx, u)
			if err == nil {
				err = goTo(ctx, to)
			}
			if err != nil {
				w.t.Errorf("sign in at %s: %v", u, err)
			}
		})
	}
}

func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// mcp-remote stands between a desktop app that speaks stdio and a server: the
// app here is the Go SDK.
func TestMCPRemoteFromURLToRefund(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	proxy := filepath.Join(testenv.NPM(t, mcpRemote), "node_modules/mcp-remote/dist/proxy.js")
	for _, protocol := range []string{"legacy", "auto"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			reason := unique("mcp-remote " + protocol + " ")
			c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read}, {read, write}}}
			callback, err := embedded.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			cmd := node(t, proxy, p.Resource("acme", "orders"), fmt.Sprint(callback), "--allow-http", "--transport", "http-only", "--protocol", protocol)
			said := c.watch(t)
			cmd.Stderr = said
			client := mcp.NewClient(&mcp.Implementation{Name: "desktop app", Version: "1"}, nil)
			s, err := client.Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-06-18"})
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			defer s.Close()
			if got := toolNames(t, s); !slices.Equal(got, readTools) {
				t.Errorf("tools: %v", got)
			}
			found, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "search_orders", Arguments: map[string]any{"query": "", "limit": 5}})
			if err != nil || found.IsError || !strings.Contains(found.Content[0].(*mcp.TextContent).Text, "customer") {
				t.Fatalf("search: %v %+v\n%s", err, found, said)
			}
			refund, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "issue_refund", Arguments: refundOf(payable(t, p), reason)})
			if err != nil || refund.IsError {
				t.Fatalf("refund: %v %+v\n%s", err, refund, said)
			}
			if l := p.LedgerOf(t, "acme", reason); len(l) != 1 || c.times() != 2 {
				t.Errorf("asked %d times, the ledger has %+v\n%s", c.times(), l, said)
			}
		})
	}
}

// The inspector's command line starts anew for each call and keeps what it was
// given in its home.
func TestInspectorSignsInAndCalls(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	cli := filepath.Join(testenv.NPM(t, inspector), "node_modules/.bin/mcp-inspector")
	for _, era := range []string{"modern", "legacy"} {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read}}}
			home := t.TempDir()
			run := func(args ...string) (string, string, error) {
				callback, err := embedded.FreePort()
				if err != nil {
					t.Fatal(err)
				}
				cmd := node(t, append([]string{cli, "--cli", p.Resource("acme", "orders"), "--transport", "http", "--protocol-era", era, "--format", "json",
					"--callback-url", fmt.Sprintf("http://127.0.0.1:%d/oauth/callback", callback)}, args...)...)
				cmd.Env = append(cmd.Env, "HOME="+home, "MCP_INSPECTOR_SECRET_STORE=file")
				var out bytes.Buffer
				said := c.watch(t)
				cmd.Stdout, cmd.Stderr = &out, said
				err = cmd.Run()
				return out.String(), said.String(), err
			}
			out, said, err := run("--method", "tools/list")
			if err != nil || !strings.Contains(out, "search_orders") || strings.Contains(out, `"name":"issue_refund"`) {
				t.Fatalf("list: %v %s\n%s", err, out, said)
			}
			out, said, err = run("--method", "tools/call", "--tool-name", "search_orders", "--tool-args-json", `{"query":"","limit":2}`)
			if err != nil || !strings.Contains(out, "row_count") {
				t.Errorf("call: %v %s\n%s", err, out, said)
			}
		})
	}
}

func TestAuthorizationServerConformance(t *testing.T) {
	external(t)
	t.Parallel()
	p := Shared(t)
	bin := filepath.Join(testenv.NPM(t, conformance), "node_modules/.bin/conformance")
	callback, err := embedded.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Register(t.Context(), "acme", fmt.Sprintf("http://127.0.0.1:%d/callback", callback))
	if err != nil {
		t.Fatal(err)
	}
	c := &clicks{person: person(t, p, "dana@acme.test"), ticks: [][]string{{read}}}
	cmd := node(t, bin, "authorization", "--url", p.Tenants["acme"], "--client-id", a.ID, "--port", fmt.Sprint(callback), "--resource", p.Resource("acme", "orders"))
	said := c.watch(t)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Dir = t.TempDir()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if text := said.String(); !strings.Contains(text, "authorization-code-grant") || !strings.Contains(text, "authorization-server-metadata-endpoint") || strings.Contains(text, "FAILURE") || c.times() != 1 {
		t.Errorf("asked %d times: %s", c.times(), text)
	}
}
