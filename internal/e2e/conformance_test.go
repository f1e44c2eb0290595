package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/embedded"
	"latchkey/internal/testenv"
)

// The official conformance suite measures how faithful the platform is: its
// fixtures are those of the SDK's everything-server, which is asked once by
// itself and once behind the platform, hosted as `remote` and as `stdio`. What
// passes there has to pass here; what does not stands in docs/conformance.md with
// its reason.

// revisions that have requirements, each with how the server by itself serves it.
var conformanceRevisions = []struct {
	name      string
	stateless bool
}{{"2026-07-28", true}, {"2025-11-25", false}}

// conformanceMisses reads the table of docs/conformance.md: hosting, revision,
// check and reason.
func conformanceMisses(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.RepoRoot(t), "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	misses := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| `([0-9-]+)` \\| `([^`]+)` \\| (.+) \\|$").FindAllStringSubmatch(string(text), -1) {
		misses[m[1]+" "+m[2]+" "+m[3]] = m[4]
	}
	return misses
}

func TestConformanceThroughThePlatform(t *testing.T) {
	external(t)
	t.Parallel()
	p := StartHosting(t)
	bin := buildEverything(t)
	direct := map[string]map[string]check{}
	for _, r := range conformanceRevisions {
		direct[r.name] = conform(t, serveEverything(t, bin, r.stateless), r.name)
	}
	// Where a process is hosted, there is one connection for clients of each
	// revision; the server by itself is started for the one or for the other.
	remote, legacy := hostRemote(t, p, serveEverything(t, bin, true)), hostRemote(t, p, serveEverything(t, bin, false))
	hostings := map[string]func(revision string) string{
		"remote": func(string) string { return remote },
		"legacy": func(string) string { return legacy },
	}
	if sandboxHolds(t) == nil {
		at := serveFile(t, bin)
		hostings["stdio"] = func(revision string) string { return hostDownload(t, p, at, revision) }
	}
	misses, seen := conformanceMisses(t), map[string]bool{}
	var table strings.Builder
	fmt.Fprintf(&table, "%-8s  %-10s  %14s  %14s\n", "hosting", "revision", "by itself", "through us")
	for _, hosting := range []string{"remote", "legacy", "stdio"} {
		hosted := hostings[hosting]
		if hosted == nil {
			continue
		}
		for _, r := range conformanceRevisions {
			slug := hosted(r.name)
			front := bearerProxy(t, p, slug, "dana@acme.test")
			through := conform(t, front, r.name)
			if worse(direct[r.name], through, func(name string) bool { return misses[hosting+" "+r.name+" "+name] != "" }) {
				// Some checks wait for a given number of seconds. What fails twice has not
				// been late; as another person, since questions that a first run left
				// open count against who left them.
				for name, c := range conform(t, bearerProxy(t, p, slug, "fred@acme.test"), r.name) {
					if c.ok {
						through[name] = c
					}
				}
			}
			fmt.Fprintf(&table, "%-8s  %-10s  %14s  %14s\n", hosting, r.name, passed(direct[r.name]), passed(through))
			for name, alone := range direct[r.name] {
				key := hosting + " " + r.name + " " + name
				switch reason := misses[key]; {
				case alone.ok && !through[name].ok && reason == "":
					t.Errorf("%s passes by itself and not through the platform; mend it, or give the reason in docs/conformance.md: %s", key, through[name].why)
				case reason != "":
					seen[key] = true
					if through[name].ok {
						t.Errorf("%s passes: take it out of docs/conformance.md", key)
					}
				}
			}
		}
	}
	for key := range misses {
		if hostings[strings.Fields(key)[0]] != nil && !seen[key] {
			t.Errorf("docs/conformance.md has a check that was not run: %s", key)
		}
	}
	t.Log("\n" + table.String())
}

// worse says whether a check passes alone and not through us, for no known reason.
func worse(alone, through map[string]check, known func(string) bool) bool {
	for name, c := range alone {
		if c.ok && !through[name].ok && !known(name) {
			return true
		}
	}
	return false
}

func passed(checks map[string]check) string {
	n := 0
	for _, c := range checks {
		if c.ok {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(checks))
}

// buildEverything builds the SDK's everything-server, of the version that the
// platform itself is built with.
func buildEverything(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "everything-server")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server")
	cmd.Dir = testenv.RepoRoot(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// serveEverything runs it over HTTP, and returns its address.
func serveEverything(t *testing.T, bin string, stateless bool) string {
	t.Helper()
	port, err := embedded.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(bin, "-http", addr, fmt.Sprintf("-stateless=%t", stateless))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	Eventually(t, 20*time.Second, func() error {
		res, err := http.Get("http://" + addr + "/")
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
	return "http://" + addr + "/"
}

// bearerProxy puts a token into each request: the suite has none.
func bearerProxy(t *testing.T, p *Platform, slug, email string) string {
	t.Helper()
	to, err := url.Parse(p.Resource("acme", slug))
	if err != nil {
		t.Fatal(err)
	}
	token := p.Token(t, email, slug, "conformance").Access
	var own string
	s := httptest.NewUnstartedServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.Path, r.Out.URL.RawPath = to.Scheme, to.Host, to.Path, ""
		// A foreign Host is part of what is tried, and has to arrive.
		if r.Out.Host = to.Host; r.In.Host != own {
			r.Out.Host = r.In.Host
		}
		if strings.Contains(r.In.Header.Get("Origin"), own) {
			r.Out.Header.Set("Origin", to.Scheme+"://"+to.Host)
		}
		r.Out.Header.Set("Authorization", "Bearer "+token)
	}})
	own = s.Listener.Addr().String()
	s.Start()
	t.Cleanup(s.Close)
	return s.URL + "/"
}

// check is one of the suite.
type check struct {
	ok  bool
	why string
}

// conform runs the suite of a revision, and says of each check whether it passed.
func conform(t *testing.T, at, revision string) map[string]check {
	t.Helper()
	dir := t.TempDir()
	cmd := node(t, filepath.Join(testenv.NPM(t, conformance), "node_modules/.bin/conformance"), "server", "--url", at, "--requirements", revision, "-o", dir)
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput() // it fails by a check's failure, which is looked at here
	files, err := filepath.Glob(filepath.Join(dir, "*", "checks.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing was checked at %s (%v):\n%.4000s", at, err, out)
	}
	stamp := regexp.MustCompile(`^server-(.*)-\d{4}-\d\d-\d\dT[\dZ-]+$`)
	all := map[string]check{}
	for _, f := range files {
		var checks []struct {
			ID, Status   string
			ErrorMessage string
		}
		raw, err := os.ReadFile(f)
		if err != nil || json.Unmarshal(raw, &checks) != nil {
			t.Fatalf("%s: %v", f, err)
		}
		scenario := stamp.ReplaceAllString(filepath.Base(filepath.Dir(f)), "$1")
		count := map[string]int{}
		for _, c := range checks {
			if !slices.Contains([]string{"SUCCESS", "FAILURE", "WARNING"}, c.Status) {
				continue
			}
			count[c.ID]++
			name := scenario + "/" + c.ID
			if n := count[c.ID]; n > 1 {
				name += fmt.Sprintf("#%d", n)
			}
			all[name] = check{c.Status != "FAILURE", c.ErrorMessage}
		}
	}
	return all
}

// hostRemote hosts a server by its address, opened to the administrator's role.
func hostRemote(t *testing.T, p *Platform, at string) string {
	t.Helper()
	slug := unique("conformance-")
	hostOpenly(t, p, slug, object{"kind": "remote", "connection": object{"url": at}})
	return slug
}

// fetchable is a file that is served, and its SHA-256.
type fetchable struct{ url, sum string }

func serveFile(t *testing.T, file string) fetchable {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	t.Cleanup(site.Close)
	return fetchable{site.URL + "/" + filepath.Base(file), fmt.Sprintf("%x", sha256.Sum256(content))}
}

// hostDownload hosts a program in a sandbox, which is spoken to in a revision.
func hostDownload(t *testing.T, p *Platform, at fetchable, revision string) string {
	t.Helper()
	slug := unique("conformance-")
	hostOpenly(t, p, slug, object{"kind": "stdio", "spec": object{"download": object{"url": at.url, "sha256": at.sum}, "protocol": revision}})
	return slug
}

// hostOpenly publishes a server whose upstream says what it offers, under one scope and
// without the platform's own confirmations: what is measured is what passes
// through.
func hostOpenly(t *testing.T, p *Platform, slug string, server object) {
	t.Helper()
	all := object{"*": object{"scope": "conformance", "risk": "read", "confirm": "never"}}
	spec, _ := server["spec"].(object)
	if spec == nil {
		spec = object{}
	}
	spec["tools"], spec["resources"], spec["prompts"] = all, object{"*": object{"scope": "conformance"}}, object{"*": object{"scope": "conformance"}}
	server["title"], server["spec"], server["publish"] = "Conformance", spec, true
	if err := p.operate(http.MethodPut, "/tenants/acme/servers/"+slug, server, nil); err != nil {
		t.Fatal(err)
	}
	published(t, p, "acme", slug)
	if err := p.operate(http.MethodPatch, "/tenants/acme/access", object{"changes": []object{
		{"role": "admin", "server": slug, "scope": "conformance", "open": true}, {"role": "finance", "server": slug, "scope": "conformance", "open": true},
	}}, nil); err != nil {
		t.Fatal(err)
	}
}
