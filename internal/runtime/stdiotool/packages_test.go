package stdiotool

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/egress"
	"latchkey/internal/embedded"
	"latchkey/internal/packages"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// cached is the cache of packages that `make prepare` has filled.
func cached(t testing.TB) *packages.Cache {
	t.Helper()
	dir, err := embedded.CacheDir(os.Getenv(embedded.EnvCacheDir))
	if err != nil {
		t.Skip(err)
	}
	node, err := embedded.Node22(t.Context(), dir, nil)
	if err != nil {
		t.Skip(err)
	}
	return packages.New(packages.Options{Dir: filepath.Join(dir, "packages"), Node: filepath.Join(node, "node"), Env: os.Environ()})
}

// hosted publishes a real package, or skips where it is neither in the cache
// nor to be had.
func hosted(t testing.TB, o options, npm, more string) (*house, runtime.Opening) {
	t.Helper()
	if o.packages == nil {
		o.packages = cached(t)
	}
	p, err := packages.Parse(npm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.packages.Install(t.Context(), p); err != nil {
		t.Skipf("%s cannot be installed here: %v", npm, err)
	}
	h := newHouse(t, o)
	return h, h.publish(`package: {npm: "`+npm+`"}`+"\n"+more, nil)
}

const (
	filesystem = "@modelcontextprotocol/server-filesystem@2026.8.31"
	everything = "@modelcontextprotocol/server-everything@2026.8.31"
	memory     = "@modelcontextprotocol/server-memory@2026.8.31"
)

// released is a release page: it has one archive, with the server of testdata.
type released struct {
	*httptest.Server
	sum   [sha256.Size]byte
	asked atomic.Int64
}

func release(t *testing.T) *released {
	var archive bytes.Buffer
	zw := zip.NewWriter(&archive)
	for name, content := range map[string]string{"release/server.mjs": serverJS, "release/LICENSE": "Free."} {
		w, err := zw.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	r := &released{sum: sha256.Sum256(archive.Bytes())}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.asked.Add(1)
		w.Write(archive.Bytes())
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *released) spec() string {
	return fmt.Sprintf("download: {url: %s/server.zip, sha256: %x, run: release/server.mjs}\ntools: {\"*\": {risk: read}}", r.URL, r.sum)
}

// A program of a release page: fetched, held to its hash, and run.
func TestDownloadedServerIsRun(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	h := newHouse(t, options{packages: packages.New(packages.Options{Dir: t.TempDir(), Egress: &egress.Policy{Allow: egress.Loopback()}, Log: log})})
	o := h.publish(release(t).spec(), nil)
	if got := h.call(o, "echo", `{"text":"fetched"}`); !strings.Contains(got, "fetched") {
		t.Error(got)
	}
}

// What a process runs stays in the cache, however long ago that began and
// however small the cache is. What none runs goes, and comes back.
func TestPrunedProgramIsInstalledAgain(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	h := newHouse(t, options{packages: packages.New(packages.Options{Dir: dir, Egress: &egress.Policy{Allow: egress.Loopback()}, MaxTotal: 1, Log: log})})
	page := release(t)
	o := h.publish(page.spec(), nil)
	h.call(o, "echo", `{"text":"x"}`)
	trees, err := filepath.Glob(filepath.Join(dir, "downloads", "*"))
	if err != nil || len(trees) != 1 {
		t.Fatalf("%v, %v", trees, err)
	}
	// prune has a round of another worker go over it, and ends when that removed
	// what is younger and that nobody runs.
	prune := func() {
		other := filepath.Join(dir, "downloads", "other")
		if err := os.MkdirAll(other, 0o755); err != nil {
			t.Fatal(err)
		}
		for at, tree := range []string{trees[0], other} {
			long := time.Now().AddDate(-1, 0, at)
			if err := os.Chtimes(tree, long, long); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var ended sync.WaitGroup
		defer ended.Wait()
		defer cancel()
		ended.Go(func() { packages.New(packages.Options{Dir: dir, MaxTotal: 1, Log: log}).Prune(ctx) })
		h.eventually("nothing is pruned", func() bool { _, err := os.Stat(other); return os.IsNotExist(err) })
	}
	prune()
	if got := h.call(o, "read", `{"file":"/package/release/LICENSE"}`); got != "Free." {
		t.Fatalf("the running server's program is gone: %s", got)
	}
	if n := page.asked.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	h.writes = "exit" // so that it is not called twice
	if _, err := h.do(o, runtime.CallTool, "exit", `{"code":0,"text":"bye"}`, ""); err == nil {
		t.Error("the process did not end")
	}
	h.eventually("the program stays, though nothing runs", func() bool {
		prune()
		_, err := os.Stat(trees[0])
		return os.IsNotExist(err)
	})
	if got := h.call(o, "echo", `{"text":"again"}`); !strings.Contains(got, "again") || page.asked.Load() != 2 {
		t.Errorf("%s, fetched %d times", got, page.asked.Load())
	}
}

func TestFilesystemServerSeesItsFolderOnly(t *testing.T) {
	h, o := hosted(t, options{}, filesystem, "args: [/state]\nstate: true\nseed: {a.md: hello}")
	if got := h.call(o, "read_text_file", `{"path":"/state/a.md"}`); got != "hello" {
		t.Error(got)
	}
	h.writes = "write_file"
	h.call(o, "write_file", `{"path":"/state/b.md","content":"written"}`)
	if got := h.call(o, "list_directory", `{"path":"/state"}`); !strings.Contains(got, "a.md") || !strings.Contains(got, "b.md") {
		t.Error(got)
	}
	for _, path := range []string{"/etc/passwd", "/state/../etc/passwd", "/package/package.json"} {
		res, err := h.do(o, runtime.CallTool, "read_text_file", `{"path":"`+path+`"}`, "")
		if err != nil || !res.Tool.IsError {
			t.Errorf("%s: %+v, %v", path, res, err)
		}
	}
	if !strings.Contains(string(o.Spec), "lockfileVersion") {
		t.Error("the published spec does not pin what the package needs")
	}
}

func TestMemoryServerRemembersAcrossProcesses(t *testing.T) {
	h, o := hosted(t, options{}, memory, "state: true\nenv: {MEMORY_FILE_PATH: /state/memory.jsonl}\nper: user")
	h.writes = "create_entities"
	ann, bob := tenants.NewUserID(), tenants.NewUserID()
	h.as(ann, o, "create_entities", `{"entities":[{"name":"Latchkey","entityType":"product","observations":["opens doors"]}]}`)
	again := newHouse(t, options{packages: h.host.Packages, stateDir: h.host.StateDir})
	again.tenant, again.server = h.tenant, h.server
	h.close()
	o.Revision = "rvagain"
	again.openings[o.Revision] = o
	if got := again.as(ann, o, "search_nodes", `{"query":"Latchkey"}`); !strings.Contains(got, "opens doors") {
		t.Errorf("forgotten: %s", got)
	}
	if got := again.as(bob, o, "read_graph", `{}`); strings.Contains(got, "Latchkey") {
		t.Errorf("the other person sees %s", got)
	}
}

func TestEverythingServerAnswersAllAtOnce(t *testing.T) {
	h, o := hosted(t, options{}, everything, "")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got := h.call(o, "echo", `{"message":"hi"}`); !strings.Contains(got, "hi") {
				t.Error(got)
			}
			if got := h.call(o, "get-sum", `{"a":2,"b":3}`); !strings.Contains(got, "5") {
				t.Error(got)
			}
		})
	}
	all.Wait()
	res, err := h.do(o, runtime.GetPrompt, "simple-prompt", `{}`, "")
	if err != nil || len(res.Prompt.Messages) == 0 {
		t.Errorf("%+v, %v", res, err)
	}
	input, _ := json.Marshal(map[string]any{"ref": map[string]any{"type": "ref/prompt", "name": "completable-prompt"}, "argument": map[string]any{"name": "department", "value": "E"}})
	if res, err := h.do(o, runtime.Complete, "completable-prompt", string(input), ""); err != nil || len(res.Completion.Completion.Values) == 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

// What a worker needs of a package it has before the first call needs it.
func TestDiscoveryWarmsUp(t *testing.T) {
	h, o := hosted(t, options{}, filesystem, "args: [/state]\nstate: true")
	if res, err := h.do(o, runtime.Probe, "server", "", ""); err != nil || res.Health.Idle {
		t.Errorf("the process of the discovery is not that of the published revision: %+v, %v", res, err)
	}
	h.call(o, "list_allowed_directories", `{}`)
	if n := strings.Count(h.logged(), "server started"); n != 1 {
		t.Errorf("%d processes were started, though the one of the discovery runs", n)
	}
}
