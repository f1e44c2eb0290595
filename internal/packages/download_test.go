package packages

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
)

// depot serves files by name.
type depot struct {
	*httptest.Server
	files map[string][]byte
	asked atomic.Int64
}

func newDepot(t *testing.T) *depot {
	d := &depot{files: map[string][]byte{}}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.asked.Add(1)
		switch name := strings.TrimPrefix(r.URL.Path, "/"); name {
		case "busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "moved":
			http.Redirect(w, r, "/plain", http.StatusFound)
		case "inwards":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		case "in-the-clear":
			http.Redirect(w, r, "http://downloads.example.com/plain", http.StatusFound)
		case "circle":
			http.Redirect(w, r, "/circle", http.StatusFound)
		default:
			if b, ok := d.files[name]; ok {
				w.Write(b)
				return
			}
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(d.Close)
	return d
}

// put adds a file, and gives what asks for it.
func (d *depot) put(name string, content []byte, run string) Download {
	d.files[name] = content
	sum := sha256.Sum256(content)
	return Download{URL: d.URL + "/" + name, SHA256: hex.EncodeToString(sum[:]), Run: run}
}

func downloads(t *testing.T, allow bool) *Cache {
	o := Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Egress: &egress.Policy{}}
	if allow {
		o.Egress.Allow = egress.Loopback()
	}
	return New(o)
}

type packed struct {
	name, content string
	mode          int64
	link          string
}

func tarGz(t testing.TB, all ...packed) []byte {
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	for _, p := range all {
		h := &tar.Header{Name: p.name, Mode: p.mode | 0o600, Size: int64(len(p.content)), Typeflag: tar.TypeReg}
		switch {
		case p.link != "":
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, p.link, 0
		case strings.HasSuffix(p.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(tw, p.content); err != nil {
				t.Fatal(err)
			}
		}
	}
	tw.Close()
	gz.Close()
	return b.Bytes()
}

func zipped(t testing.TB, all ...packed) []byte {
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for _, p := range all {
		h := &zip.FileHeader{Name: p.name, Method: zip.Deflate}
		h.SetMode(fs.FileMode(p.mode | 0o600))
		content := p.content
		if p.link != "" {
			h.SetMode(fs.ModeSymlink | 0o777)
			content = p.link
		}
		w, err := zw.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	zw.Close()
	return b.Bytes()
}

func TestDownloadIsFetchedOnceAndHasItsProgram(t *testing.T) {
	d := newDepot(t)
	program := "\x7fELF and so on"
	for name, tc := range map[string]struct {
		asked  Download
		beside string // another file of the tree
		native bool
	}{
		"tar.gz":      {d.put("a.tar.gz", tarGz(t, packed{name: "./LICENSE", content: "Free."}, packed{name: "bin/"}, packed{name: "bin/server", content: program}), "bin/server"), "LICENSE", true},
		"zip":         {d.put("b.zip", zipped(t, packed{name: "lib/x.js", content: "1"}, packed{name: "server.mjs", content: "import './lib/x.js'"}), "server.mjs"), "lib/x.js", false},
		"a file":      {d.put("server-linux-amd64", []byte(program), ""), "", true},
		"called .exe": {d.put("odd.tar.gz.exe", []byte(program), "odd.tar.gz.exe"), "", true},
		"moved":       {func() Download { p := d.put("plain", []byte(program), ""); p.URL = d.URL + "/moved"; return p }(), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := downloads(t, true)
			if _, ok := c.FindDownload(tc.asked); ok {
				t.Fatal("found before it was fetched")
			}
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					got, err := c.Fetch(t.Context(), tc.asked)
					if err != nil {
						t.Error(err)
						return
					}
					if st, err := os.Stat(filepath.Join(got.Dir, got.Entry)); err != nil || st.Mode().Perm() != 0o755 || got.Native != tc.native {
						t.Errorf("%+v: %v, %v", got, st, err)
					}
				})
			}
			all.Wait()
			got, ok := c.FindDownload(tc.asked)
			if st, err := os.Stat(filepath.Join(got.Dir, tc.beside)); !ok || err != nil || st.Mode()&0o022 != 0 {
				t.Errorf("%+v, %v: %v, %v", got, ok, st, err)
			}
			before := d.asked.Load()
			if _, err := c.Fetch(t.Context(), tc.asked); err != nil || d.asked.Load() != before {
				t.Errorf("fetched again: %v", err)
			}
			if left, _ := os.ReadDir(filepath.Join(c.opts.Dir, "downloads")); len(left) != 1 {
				t.Errorf("left beside the tree: %v", left)
			}
		})
	}
}

func TestDownloadThatCannotBeUsedSaysWhy(t *testing.T) {
	d := newDepot(t)
	plain := d.put("plain", []byte("\x7fELF"), "")
	at := func(name string) Download { return Download{URL: d.URL + "/" + name, SHA256: plain.SHA256} }
	file := packed{name: "run", content: "x"}
	for name, tc := range map[string]struct {
		d    Download
		want string
	}{
		"another file":          {Download{URL: plain.URL, SHA256: strings.Repeat("0", 64)}, "its sha256 begins with " + plain.SHA256[:12] + ", not with 000000000000"},
		"nothing there":         {at("gone"), "status 404"},
		"busy":                  {at("busy"), "try again in a minute"},
		"redirected inwards":    {at("inwards"), "is not encrypted"},
		"redirected in clear":   {at("in-the-clear"), "is not encrypted"},
		"redirected in circles": {at("circle"), "redirected too often"},
		"empty":                 {d.put("empty", nil, ""), "it is empty"},
		"xz":                    {d.put("a.tar.xz", []byte("\xfd7zXZ\x00...."), "run"), "an archive of xz"},
		"not an archive":        {d.put("b", []byte("\x7fELF"), "run"), "remove run"},
		"an archive without":    {d.put("c.tar.gz", tarGz(t, file), ""), "write as run"},
		"no such program":       {d.put("d.tar.gz", tarGz(t, file), "bin/run"), `no file "bin/run" in it`},
		"a folder as program":   {d.put("e.tar.gz", tarGz(t, packed{name: "bin/run/x", content: "1"}), "bin/run"), `no file "bin/run" in it`},
		"gzip of no tar":        {d.put("f.tar.gz", func() []byte { b := tarGz(t, file); return b[:len(b)/2] }(), "run"), "no .tar.gz that can be unpacked"},
		"broken zip":            {d.put("g.zip", []byte("PK\x03\x04 and then nothing"), "run"), "no .zip that can be unpacked"},
		"a link":                {d.put("h.tar.gz", tarGz(t, file, packed{name: "l", link: "/etc/passwd"}), "run"), "neither a file nor a folder"},
		"a link in a zip":       {d.put("i.zip", zipped(t, file, packed{name: "l", link: "/etc/passwd"}), "run"), "neither a file nor a folder"},
		"upwards":               {d.put("j.tar.gz", tarGz(t, file, packed{name: "a/../../x", content: "1"}), "run"), "no path below it"},
		"upwards in a zip":      {d.put("k.zip", zipped(t, file, packed{name: "../x", content: "1"}), "run"), "no path below it"},
		"absolute":              {d.put("l.tar.gz", tarGz(t, file, packed{name: "/tmp/x", content: "1"}), "run"), "no path below it"},
		"twice":                 {d.put("m.tar.gz", tarGz(t, file, file), "run"), "in it twice"},
		"large":                 {d.put("n", bytes.Repeat([]byte("x"), 3<<20), ""), "more than 2 MB"},
		"large unpacked":        {d.put("o.tar.gz", tarGz(t, file, packed{name: "zeros", content: strings.Repeat("\x00", 3<<20)}), "run"), "more than may be hosted"},
		"many files":            {d.put("p.zip", zipped(t, manyFiles(101)...), "f0"), "more than may be hosted"},
	} {
		t.Run(name, func(t *testing.T) {
			c := downloads(t, true)
			c.opts.MaxBytes, c.opts.MaxFiles = 2<<20, 100
			_, err := c.Fetch(t.Context(), tc.d)
			f := fault.Of(err)
			if !fault.HasCode(err, fault.ServerUnhealthy) || !strings.Contains(f.Message, tc.want) || f.RetryAfter == 0 {
				t.Fatalf("error is %v, want one that says %q", err, tc.want)
			}
			if strings.Contains(f.Message, "127.0.0.1") || strings.Contains(f.Message, c.opts.Dir) {
				t.Errorf("it tells an address or a path: %s", f.Message)
			}
			if left, _ := os.ReadDir(filepath.Join(c.opts.Dir, "downloads")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	t.Run("not allowed", func(t *testing.T) {
		if _, err := downloads(t, false).Fetch(t.Context(), plain); !strings.Contains(fault.Of(err).Message, "LATCHKEY_EGRESS_ALLOW") {
			t.Error(err)
		}
	})
}

func manyFiles(n int) (all []packed) {
	for i := range n {
		all = append(all, packed{name: "f" + string(rune('0'+i/10)) + string(rune('0'+i%10)), content: "1"})
	}
	return all
}

func TestAddressesOfDownloads(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://github.com/o/n/releases/download/v1/n.tar.gz": true,
		"http://127.0.0.1:8080/n":                              true,
		"http://files.internal/n":                              true,
		"http://github.com/n":                                  false,
		"https://user:pass@example.com/n":                      false,
		"https://example.com":                                  false,
		"https://example.com/":                                 false,
		"https://example.com/n#v1":                             false,
		"file:///etc/passwd":                                   false,
		"ftp://example.com/n":                                  false,
		"n.tar.gz":                                             false,
	} {
		if _, err := ParseURL(text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Whatever an archive says, nothing is written outside of its tree, no more than
// was allowed, and nothing but plain files.
func FuzzUnpack(f *testing.F) {
	f.Add(tarGz(f, packed{name: "a/b", content: "1"}, packed{name: "../c", content: "2"}))
	f.Add(tarGz(f, packed{name: "a", link: "/tmp"}, packed{name: "a/b", content: "1"}))
	f.Add(zipped(f, packed{name: "a/b", content: "1"}, packed{name: "a/b/c", content: "1"}))
	f.Add([]byte("PK\x03\x04"))
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Fuzz(func(t *testing.T, archive []byte) {
		outer := t.TempDir()
		tree := filepath.Join(outer, "tree")
		file := filepath.Join(outer, "file")
		if err := os.Mkdir(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, archive, 0o600); err != nil {
			t.Fatal(err)
		}
		c := New(Options{MaxBytes: 1 << 20, MaxFiles: 50})
		_ = c.unpack(Download{URL: "https://x.test/f", Run: "run"}, file, tree)
		var size int64
		filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() && !e.Type().IsRegular() {
				t.Errorf("%s: %v, %v", path, e, err)
			} else if info, err := e.Info(); err == nil && !e.IsDir() {
				size += info.Size()
			}
			return nil
		})
		if size > 1<<20+1 {
			t.Errorf("%d bytes", size)
		}
		if all, _ := os.ReadDir(outer); len(all) > 2 {
			t.Errorf("beside the tree: %v", all)
		}
	})
}
