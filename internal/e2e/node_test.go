package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

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
	cmd.Env = []string{"PATH=" + bin + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NO_COLOR=1", "NODE_NO_WARNINGS=1", "BROWSER=none"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// goTo does with an app's loopback listener what a browser does.
func goTo(ctx context.Context, to *url.URL) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	return res.Body.Close()
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
	modules := testenv.NPM(t, sdkV1)
	c := &clicks{person: person(t, p, "fred@acme.test"), ticks: [][]string{{read}, {read, write}}}
	steps := c.play(t, script(t, "v1.mjs", modules, p.Resource("acme", "orders"), fmt.Sprint(payable(t, p)), "ts v1"))
	wantChain(t, p, c, steps, "ts v1")
}
