package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/embedded"
	"latchkey/internal/packages"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/stdiotool"
	"latchkey/internal/sandbox"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

const hostedPackage = "@modelcontextprotocol/server-everything@2026.8.31"

// BenchmarkHosted takes a packaged server as kind stdio hosts it beside the
// same package run by a plain client of the SDK without any sandbox: how long
// until the first answer, how long a call takes then, and what it holds.
func BenchmarkHosted(b *testing.B) {
	cache, node := hostedParts(b)
	p, err := packages.Parse(hostedPackage)
	if err != nil {
		b.Fatal(err)
	}
	installed, err := cache.Install(b.Context(), p)
	if err != nil {
		b.Skipf("%s cannot be installed here: %v", hostedPackage, err)
	}
	driver, _, err := sandbox.Ready(b.Context(), sandbox.Options{Dir: b.TempDir()})
	if err != nil {
		b.Skipf("no sandbox holds on this machine: %v", err)
	}
	plain := func(b *testing.B) side {
		return runPlainStdio(b, node, filepath.Join(installed.Dir, installed.Entry))
	}
	hosted := newHosted(b, runtime.Host{Sandbox: driver, Packages: cache, StateDir: b.TempDir()})

	const rounds, calls = 5, 300
	took := map[string]map[string][]float64{"plain": {}, "hosted": {}}
	for range rounds {
		for name, start := range map[string]func(*testing.B) side{"plain": plain, "hosted": hosted.start} {
			began := time.Now()
			s := start(b)
			s.call(b)
			add := func(what string, v float64) { took[name][what] = append(took[name][what], v) }
			add("cold start ms", time.Since(began).Seconds()*1000)
			for range 20 {
				s.call(b)
			}
			began = time.Now()
			for range calls {
				s.call(b)
			}
			add("warm call ms", time.Since(began).Seconds()*1000/calls)
			add("memory MB", float64(residentOf(s.pids()))/(1<<20))
			s.end()
		}
	}
	fmt.Printf("\n%s, %s sandbox\n\n| | plain SDK client, no sandbox | hosted | ratio |\n|---|---|---|---|\n", hostedPackage, driver.Name())
	for _, what := range []string{"cold start ms", "warm call ms", "memory MB"} {
		a, h := middle(took["plain"][what]), middle(took["hosted"][what])
		fmt.Printf("| %s | %.2f | %.2f | %.2f |\n", what, a, h, h/a)
		b.ReportMetric(h/a, strings.ReplaceAll(what, " ", "_")+"_ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// side is a running server of either sort.
type side struct {
	call func(*testing.B)
	pids func() []int
	end  func()
}

func hostedParts(b *testing.B) (*packages.Cache, string) {
	dir, err := embedded.CacheDir(os.Getenv(embedded.EnvCacheDir))
	if err != nil {
		b.Fatal(err)
	}
	node := filepath.Join(testenv.Node(b), "node")
	return packages.New(packages.Options{Dir: filepath.Join(dir, "packages"), Node: node, Env: os.Environ()}), node
}

func runPlainStdio(b *testing.B, node, entry string) side {
	cmd := exec.Command(node, entry)
	client := mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	s, err := client.Connect(context.Background(), &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return side{
		call: func(b *testing.B) {
			if _, err := s.CallTool(b.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"message": "x"}}); err != nil {
				b.Fatal(err)
			}
		},
		pids: func() []int { return []int{cmd.Process.Pid} },
		end:  func() { s.Close() },
	}
}

// hostedServer is a server of kind stdio in a worker without a wire.
type hostedServer struct {
	kind    runtime.Kind
	host    runtime.Host
	opening runtime.Opening
	hash    string // of the opening, which an edge computes once for each revision
}

func (h *hostedServer) Opening(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
	return h.opening, nil
}

func newHosted(b *testing.B, host runtime.Host) *hostedServer {
	h := &hostedServer{kind: stdiotool.New(), host: host}
	n, problems := registry.ReadYAML(`{package: {npm: "` + hostedPackage + `"}, tools: {"*": {risk: read}}}`)
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	spec, def, problems := h.kind.Check(n)
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	h.opening = runtime.Opening{Tenant: tenants.NewID(), Server: tenants.NewServerID(), Revision: "rv1", Kind: h.kind.Name, Spec: spec, Guard: runtime.GuardsOf(def)}
	h.hash = h.opening.Hash()
	w := runtime.NewWorker(runtime.WorkerConfig{Name: "w", Kinds: []runtime.Kind{h.kind}, Openings: h, Host: host})
	res, err := w.Run(b.Context(), h.asked(runtime.Discover, "server", ""), time.Now().Add(time.Minute), runtime.Back{})
	if err != nil {
		b.Fatal(err)
	}
	if err := w.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	if h.opening.Spec, def, problems = h.kind.Define(spec, *res.Offer); len(problems) > 0 {
		b.Fatal(problems)
	}
	h.opening.Guard = runtime.GuardsOf(def)
	h.hash = h.opening.Hash()
	return h
}

func (h *hostedServer) asked(op runtime.Op, name, input string) *runtime.Call {
	o := h.opening
	return &runtime.Call{ID: tenants.RandomID("cl"), Tenant: o.Tenant, Server: o.Server, Revision: o.Revision, OpenHash: h.hash, Op: op, Name: name,
		Input: json.RawMessage(input), Access: registry.ReadAccess, Deadline: time.Now().Add(time.Minute)}
}

func (h *hostedServer) start(b *testing.B) side {
	w := runtime.NewWorker(runtime.WorkerConfig{Name: "w", Kinds: []runtime.Kind{h.kind}, Openings: h, Host: h.host})
	others := childrenOf(os.Getpid()) // of other benchmarks, such as a Postgres
	return side{
		call: func(b *testing.B) {
			if _, err := w.Run(b.Context(), h.asked(runtime.CallTool, "echo", `{"message":"x"}`), time.Now().Add(time.Minute), runtime.Back{}); err != nil {
				b.Fatal(err)
			}
		},
		pids: func() []int {
			var all []int
			for _, pid := range childrenOf(os.Getpid()) {
				if !slices.Contains(others, pid) {
					all = append(append(all, pid), below(pid)...)
				}
			}
			return all
		},
		end: func() {
			if err := w.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		},
	}
}

// childrenOf are the processes that one has started.
func childrenOf(pid int) (all []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			all = append(all, child)
		}
	}
	return all
}

// below are all processes below one.
func below(pid int) (all []int) {
	for _, child := range childrenOf(pid) {
		all = append(append(all, child), below(child)...)
	}
	return all
}

// residentOf is what processes hold, in bytes: what they share counts in part.
func residentOf(pids []int) (sum int64) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
				sum += kb << 10
			}
		}
	}
	return sum
}

func middle(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
