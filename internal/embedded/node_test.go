package embedded

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func TestNodeOnPathIsUsedWhenNewEnough(t *testing.T) {
	node := writeFile(t, "#!/bin/sh\necho v24.1.0\n", 0o755, t.TempDir(), "node")
	t.Setenv("PATH", filepath.Dir(node)+":/bin")
	if dir, err := Node22(t.Context(), t.TempDir(), nil); err != nil || dir != filepath.Dir(node) {
		t.Errorf("Node22 = %q, %v", dir, err)
	}
}

func TestOldNodeIsPassedOver(t *testing.T) {
	node := writeFile(t, "#!/bin/sh\necho v20.20.2\n", 0o755, t.TempDir(), "node")
	// Fetching needs npm, whose own `#!/usr/bin/env node` must find a true one.
	t.Setenv("PATH", filepath.Dir(node)+":/bin")
	if exists("/bin/npm") {
		t.Setenv("PATH", filepath.Dir(node))
	}
	_, err := Node22(t.Context(), t.TempDir(), nil)
	wantError(t, err, "the one on PATH is 20", "npm is not on PATH", "Install Node.js 22")
}

func TestNodeFetchedRuns(t *testing.T) {
	dir, err := Node22(t.Context(), sharedCache(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(dir, "node"), "-p", "6*7").Output()
	if err != nil || string(out) != "42\n" {
		t.Errorf("node: %q, %v", out, err)
	}
}

// What the registry sends must be what was pinned.
func TestTamperedPackageIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads")
	}
	dest := filepath.Join(t.TempDir(), "is-number", "7.0.0")
	pkg := npmPackage{"is-number", "7.0.0", "sha512-" + "A"}
	err := pkg.unpack(t.Context(), dest, func(string) bool { return true }, nil)
	wantError(t, err, "is-number@7.0.0", "not the one that was pinned")
	left, _ := os.ReadDir(filepath.Dir(dest))
	left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return e.Name() == lockFile })
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPackageThatDoesNotExist(t *testing.T) {
	if testing.Short() {
		t.Skip("asks the registry")
	}
	pkg := npmPackage{"is-number", "0.0.99", "sha512-A"}
	err := pkg.unpack(t.Context(), filepath.Join(t.TempDir(), "x"), func(string) bool { return true }, nil)
	wantError(t, err, "`npm pack is-number@0.0.99` failed")
}

func TestExtractStaysInItsFolder(t *testing.T) {
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	for _, h := range []tar.Header{
		{Name: "package/bin/tool", Mode: 0o4777, Size: 2, Typeflag: tar.TypeReg},
		{Name: "package/../../evil", Mode: 0o644, Size: 2, Typeflag: tar.TypeReg},
		{Name: "/evil", Mode: 0o644, Size: 2, Typeflag: tar.TypeReg},
		{Name: "package/link", Linkname: "/etc", Typeflag: tar.TypeSymlink},
		{Name: "package/link/evil", Mode: 0o600, Size: 2, Typeflag: tar.TypeReg},
		{Name: "package/unwanted", Mode: 0o644, Size: 2, Typeflag: tar.TypeReg},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			tw.Write([]byte("ok"))
		}
	}
	tw.Close()
	gz.Close()

	base := t.TempDir()
	archive := writeFile(t, b.String(), 0o600, base, "a.tgz")
	if err := extract(archive, filepath.Join(base, "in", "tree"), func(rel string) bool { return rel != "unwanted" }); err != nil {
		t.Fatal(err)
	}
	var got []string
	filepath.WalkDir(base, func(path string, e os.DirEntry, err error) error {
		if info, _ := e.Info(); !e.IsDir() {
			rel, _ := filepath.Rel(base, path)
			got = append(got, rel+" "+info.Mode().String())
		}
		return err
	})
	want := []string{"a.tgz -rw-------", "in/tree/bin/tool -rwxr-xr-x", "in/tree/link/evil -rw-r--r--"}
	if !slices.Equal(got, want) {
		t.Errorf("extracted %q, want %q", got, want)
	}
}
