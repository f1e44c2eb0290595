package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/fault"
)

// shop is a package registry that the real npm client installs from.
type shop struct {
	*httptest.Server
	mu       sync.Mutex
	versions map[string]map[string]version // by name and version
	fetched  atomic.Int64                  // files, not documents
	down     atomic.Bool
}

type version struct {
	manifest  map[string]any
	tarball   []byte
	integrity string // "": the right one
}

func newShop(t *testing.T) *shop {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not on PATH")
	}
	s := &shop{versions: map[string]map[string]version{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/files/"); ok {
		at := strings.LastIndexByte(name, '@')
		v, ok := s.versions[name[:at]][name[at+1:]]
		if !ok {
			http.NotFound(w, r)
			return
		}
		s.fetched.Add(1)
		w.Write(v.tarball)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	all, ok := s.versions[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	listed := map[string]any{}
	latest := ""
	for number, v := range all {
		m := map[string]any{}
		for k, x := range v.manifest {
			m[k] = x
		}
		hash := v.integrity
		if hash == "" {
			hash = hashOf(v.tarball)
		}
		m["dist"] = map[string]any{"tarball": s.URL + "/files/" + name + "@" + number, "integrity": hash}
		listed[number], latest = m, number
	}
	json.NewEncoder(w).Encode(map[string]any{"name": name, "dist-tags": map[string]string{"latest": latest}, "versions": listed})
}

func hashOf(b []byte) string {
	sum := sha512.Sum512(b)
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// put publishes a version with the given files, beside its package.json.
func (s *shop) put(name, number string, more map[string]any, files map[string]string) *version {
	m := map[string]any{"name": name, "version": number}
	for k, v := range more {
		m[k] = v
	}
	raw, _ := json.Marshal(m)
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	add := func(path, content string) {
		tw.WriteHeader(&tar.Header{Name: "package/" + path, Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg})
		io.WriteString(tw, content)
	}
	add("package.json", string(raw))
	for path, content := range files {
		if target, ok := strings.CutPrefix(content, "->"); ok {
			tw.WriteHeader(&tar.Header{Name: "package/" + path, Linkname: target, Typeflag: tar.TypeSymlink})
			continue
		}
		add(path, content)
	}
	tw.Close()
	gz.Close()
	v := version{manifest: m, tarball: b.Bytes()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions[name] == nil {
		s.versions[name] = map[string]version{}
	}
	s.versions[name][number] = v
	return &v
}

func (s *shop) cache(t *testing.T, dir string) *Cache {
	home := t.TempDir()
	rc := filepath.Join(home, "npmrc")
	if err := os.WriteFile(rc, []byte("registry="+s.URL+"/\nfetch-retries=0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return New(Options{Dir: dir, Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "npm_config_userconfig=" + rc}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
}

func good(s *shop) Package {
	s.put("@shop/dep", "1.4.0", nil, map[string]string{"index.js": "module.exports = 1"})
	s.put("@shop/server", "2.0.1", map[string]any{"bin": map[string]string{"serve": "dist/main.js"}, "dependencies": map[string]string{"@shop/dep": "^1.0.0"},
		"scripts": map[string]string{"preinstall": "touch ran", "install": "touch ran", "postinstall": "touch ran"}}, map[string]string{"dist/main.js": "require('@shop/dep')"})
	return Package{Name: "@shop/server", Version: "2.0.1"}
}

func TestInstalledPackageIsWholeAndNothingOfItRan(t *testing.T) {
	s := newShop(t)
	p := good(s)
	c := s.cache(t, t.TempDir())
	if _, ok := c.Find(p); ok {
		t.Fatal("found before it was installed")
	}
	got, err := c.Install(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got.Entry != "node_modules/@shop/server/dist/main.js" {
		t.Errorf("entry is %s", got.Entry)
	}
	for _, file := range []string{got.Entry, "node_modules/@shop/dep/index.js"} {
		st, err := os.Stat(filepath.Join(got.Dir, file))
		if err != nil || st.Mode().Perm()&0o044 != 0o044 {
			t.Errorf("%s: %v, %v", file, st, err)
		}
	}
	filepath.WalkDir(got.Dir, func(path string, d os.DirEntry, _ error) error {
		if d.Name() == "ran" {
			t.Errorf("a script of the package ran: %s", path)
		}
		return nil
	})
	if strings.Contains(string(got.Lock), s.URL) || strings.Contains(string(got.Lock), "127.0.0.1") {
		t.Errorf("the lock names the registry: %s", got.Lock)
	}
	if again, ok := c.Find(p); !ok || again.Dir != got.Dir || string(again.Lock) != string(got.Lock) {
		t.Errorf("found %+v, %v", again, ok)
	}
}

// A lock pins what the package needs, whatever is published later, on every
// machine, and whatever order a store gives its keys.
func TestLockPinsDependencies(t *testing.T) {
	s := newShop(t)
	p := good(s)
	first, err := s.cache(t, t.TempDir()).Install(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	s.put("@shop/dep", "1.5.0", nil, map[string]string{"index.js": "module.exports = 'evil'"})
	p.Lock = json.RawMessage(strings.ReplaceAll(string(first.Lock), `,"`, `,  "`))
	c := s.cache(t, t.TempDir())
	second, err := c.Install(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(second.Dir, "node_modules/@shop/dep/index.js")); string(b) != "module.exports = 1" {
		t.Errorf("the dependency is %q", b)
	}
	if string(second.Lock) != string(first.Lock) || filepath.Base(second.Dir) != filepath.Base(first.Dir) {
		t.Error("the same lock made another tree")
	}
	before := s.fetched.Load()
	p.Lock = first.Lock
	if _, err := c.Install(t.Context(), p); err != nil || s.fetched.Load() != before {
		t.Errorf("installed again: %v", err)
	}
}

func TestWhatCannotBeInstalledSaysWhy(t *testing.T) {
	s := newShop(t)
	p := good(s)
	s.put("linked", "1.0.0", map[string]any{"bin": "main.js", "dependencies": map[string]string{"x": "git+https://git.invalid/x.git"}}, map[string]string{"main.js": ""})
	s.put("outside", "1.0.0", map[string]any{"bin": "../../../../etc/passwd"}, map[string]string{"main.js": ""})
	s.put("absolute", "1.0.0", map[string]any{"bin": "/etc/passwd"}, map[string]string{"main.js": ""})
	s.put("symlink", "1.0.0", map[string]any{"bin": "main.js"}, map[string]string{"main.js": "->/etc/passwd"})
	s.put("library", "1.0.0", nil, map[string]string{"main.js": ""})
	s.put("native", "1.0.0", map[string]any{"bin": "run"}, map[string]string{"run": "\x7fELF"})
	s.put("several", "1.0.0", map[string]any{"bin": map[string]string{"a": "a.js", "b": "b.js"}}, map[string]string{"a.js": "", "b.js": ""})
	lying := s.put("lying", "1.0.0", map[string]any{"bin": "main.js"}, map[string]string{"main.js": ""})
	lying.integrity = hashOf([]byte("other"))
	s.versions["lying"]["1.0.0"] = *lying
	c := s.cache(t, t.TempDir())
	with := func(p Package, change func(*Package)) Package { change(&p); return p }
	for name, tc := range map[string]struct {
		p    Package
		want string
	}{
		"unknown name":      {Package{Name: "no-such", Version: "1.0.0"}, "no such package"},
		"unknown version":   {with(p, func(p *Package) { p.Version = "9.9.9" }), "no such version"},
		"pinned otherwise":  {with(p, func(p *Package) { p.Integrity = hashOf([]byte("x")) }), "integrity differs"},
		"bytes differ":      {Package{Name: "lying", Version: "1.0.0"}, "integrity differs"},
		"git dependency":    {Package{Name: "linked", Version: "1.0.0"}, "outside of the registry"},
		"program outside":   {Package{Name: "outside", Version: "1.0.0"}, "program"},
		"program absolute":  {Package{Name: "absolute", Version: "1.0.0"}, "program"},
		"program is a link": {Package{Name: "symlink", Version: "1.0.0"}, "program"},
		"no program":        {Package{Name: "library", Version: "1.0.0"}, "no program"},
		"not for Node":      {Package{Name: "native", Version: "1.0.0"}, "not one for Node"},
		"several programs":  {Package{Name: "several", Version: "1.0.0"}, "a, b"},
		"no such program":   {Package{Name: "several", Version: "1.0.0", Bin: "c"}, "a, b"},
		"another's lock":    {with(p, func(p *Package) { p.Lock = json.RawMessage(`{"lockfileVersion":3,"packages":{}}`) }), "another package"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Install(t.Context(), tc.p)
			f := fault.Of(err)
			if !fault.HasCode(err, fault.ServerUnhealthy) || !strings.Contains(f.Message, tc.want) || f.RetryAfter == 0 {
				t.Fatalf("error is %v, want one that says %q", err, tc.want)
			}
			if strings.Contains(f.Message, "127.0.0.1") || strings.Contains(f.Message, c.opts.Dir) {
				t.Errorf("it tells an address or a path: %s", f.Message)
			}
		})
	}
	if got, err := c.Install(t.Context(), Package{Name: "several", Version: "1.0.0", Bin: "b"}); err != nil || got.Entry != "node_modules/several/b.js" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRegistryAwayIsNotAskedByEveryCall(t *testing.T) {
	s := newShop(t)
	p := good(s)
	s.down.Store(true)
	c := s.cache(t, t.TempDir())
	_, err := c.Install(t.Context(), p)
	if f := fault.Of(err); f.Code != fault.ServerUnhealthy || !strings.Contains(f.Message, "cannot be reached") {
		t.Fatal(err)
	}
	s.down.Store(false)
	if _, err := c.Install(t.Context(), p); !fault.HasCode(err, fault.ServerUnhealthy) {
		t.Errorf("asked again at once: %v", err)
	}
	c.failed = map[string]failure{} // as after a while
	if _, err := c.Install(t.Context(), p); err != nil {
		t.Error(err)
	}
}

func TestTooLargePackageIsNotKept(t *testing.T) {
	s := newShop(t)
	s.put("large", "1.0.0", map[string]any{"bin": "main.js"}, map[string]string{"main.js": strings.Repeat("//\n", 1<<20)})
	dir := t.TempDir()
	c := s.cache(t, dir)
	c.opts.MaxBytes = 1 << 20
	if _, err := c.Install(t.Context(), Package{Name: "large", Version: "1.0.0"}); err == nil || !strings.Contains(fault.Of(err).Message, "more than 1 MB") {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "npm")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnfinishedInstallationOfKilledWorkerIsRemoved(t *testing.T) {
	s := newShop(t)
	p := good(s)
	dir := t.TempDir()
	c := s.cache(t, dir)
	old, young := filepath.Join(dir, "npm", unfinished+"old"), filepath.Join(dir, "npm", unfinished+"young")
	for _, d := range []string{old, young} {
		if err := os.MkdirAll(filepath.Join(d, "node_modules"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Install(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("what was left long ago is there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("another's installation was removed: %v", err)
	}
}

// Two workers on one cache, and many calls of each.
func TestConcurrentInstallersAgree(t *testing.T) {
	s := newShop(t)
	p := good(s)
	dir := t.TempDir()
	caches := []*Cache{s.cache(t, dir), s.cache(t, dir)}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			got, err := caches[i%2].Install(t.Context(), p)
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(got.Dir, got.Entry)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := s.fetched.Load(); n > 4 { // two files for each process
		t.Errorf("%d files were fetched", n)
	}
	left, err := os.ReadDir(filepath.Join(dir, "npm"))
	if err != nil || len(left) != 1 {
		t.Errorf("the cache holds %v, %v", left, err)
	}
}

func TestWaitEndsWithItsCallAndInstallationGoesOn(t *testing.T) {
	s := newShop(t)
	p := good(s)
	c := s.cache(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Install(ctx, p); err != context.Canceled {
		t.Errorf("error is %v", err)
	}
	if _, err := c.Install(t.Context(), p); err != nil {
		t.Error(err)
	}
}

func TestLocksThatReachBeyondAreRefused(t *testing.T) {
	p := Package{Name: "a", Version: "1.0.0"}
	hash := hashOf([]byte("a"))
	whole := func(more string) string {
		return fmt.Sprintf(`{"lockfileVersion":3,"packages":{"":{"dependencies":{"a":"1.0.0"}},"node_modules/a":{"version":"1.0.0","integrity":%q}%s}}`, hash, more)
	}
	if !LockOf(p, json.RawMessage(whole(""))) {
		t.Fatal("a plain lock is refused")
	}
	for _, more := range []string{
		`,"../../x":{"version":"1.0.0","integrity":"` + hash + `"}`,
		`,"node_modules/../../x":{"version":"1.0.0","integrity":"` + hash + `"}`,
		`,"/etc":{"version":"1.0.0","integrity":"` + hash + `"}`,
		`,"node_modules/b":{"version":"1.0.0"}`,
		`,"node_modules/b":{"version":"1.0.0","integrity":"sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="}`,
		`,"node_modules/b":{"resolved":"https://elsewhere.invalid/b.tgz","integrity":"` + hash + `"}`,
		`,"node_modules/b":{"resolved":"file:../b","link":true}`,
		`,"node_modules/b":{"link":true,"integrity":"` + hash + `"}`,
	} {
		if LockOf(p, json.RawMessage(whole(more))) {
			t.Errorf("taken: %s", more)
		}
	}
	for _, other := range []Package{{Name: "b", Version: "1.0.0"}, {Name: "a", Version: "1.0.1"}, {Name: "a", Version: "1.0.0", Integrity: hashOf([]byte("b"))}} {
		if LockOf(other, json.RawMessage(whole(""))) {
			t.Errorf("%s took another's lock", other)
		}
	}
}

func TestParseTakesOneExactVersion(t *testing.T) {
	for _, s := range []string{"@modelcontextprotocol/server-filesystem@2026.8.31", "left-pad@1.3.0", "a@1.0.0-beta.1"} {
		if p, err := Parse(s); err != nil || p.String() != s {
			t.Errorf("%s: %v, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "a", "@a/b", "a@latest", "a@^1.0.0", "a@1", "a@1.0", "a@1.x.0", "a@>=1.0.0", "a@git+https://x.invalid/a.git", "../a@1.0.0", "a/../b@1.0.0", "--registry=x@1.0.0", "a b@1.0.0", "@/a@1.0.0", "A@1.0.0", "a@1.0.0 "} {
		if p, err := Parse(s); err == nil {
			t.Errorf("%q was taken as %+v", s, p)
		}
	}
}

func FuzzLock(f *testing.F) {
	f.Add([]byte(`{"lockfileVersion":3,"packages":{"":{"dependencies":{"a":"1.0.0"}},"node_modules/a":{"version":"1.0.0","integrity":"x"}}}`))
	f.Add([]byte(`{"lockfileVersion":3,"packages":{"node_modules/../a":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := Package{Name: "a", Version: "1.0.0"}
		if !LockOf(p, raw) {
			return
		}
		var l lock
		if err := json.Unmarshal(raw, &l); err != nil {
			t.Fatal(err)
		}
		for where, e := range l.Packages {
			if where != "" && (!filepath.IsLocal(where) || !strings.HasPrefix(filepath.Clean(where), "node_modules/") || e.Resolved != "" || e.Link) {
				t.Errorf("took %q: %+v", where, e)
			}
		}
		if string(canonical(canonical(raw))) != string(canonical(raw)) {
			t.Error("the canonical form is not stable")
		}
	})
}
