package embedded

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// npmPackage is one published file, pinned by its hash. It comes through the
// npm client, so that a developer's registry, proxy and credentials apply.
type npmPackage struct {
	name, version string
	integrity     string // as npm prints it: sha512-<base64>
}

// errNoNPM tells callers to add what else would help.
var errNoNPM = errors.New("npm is not on PATH")

// unpack puts the package's files that keep wants under dest. It does nothing
// when dest is there; processes that race for it wait for one another.
func (p npmPackage) unpack(ctx context.Context, dest string, keep func(rel string) bool, say progress) error {
	parent := filepath.Dir(dest)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	lock, err := waitLock(ctx, parent, func() { say.sayf("another process is fetching %s; waiting for it", p.name) })
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(dest); err == nil {
		return nil
	}

	tmp, err := os.MkdirTemp(parent, ".fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	archive, err := p.pack(ctx, tmp, say)
	if err != nil {
		return err
	}
	if err := p.verify(archive); err != nil {
		return err
	}
	tree := filepath.Join(tmp, "tree")
	if err := extract(archive, tree, keep); err != nil {
		return fmt.Errorf("unpack %s@%s: %w", p.name, p.version, err)
	}
	return os.Rename(tree, dest)
}

// pack has npm download the package into dir and returns the file.
func (p npmPackage) pack(ctx context.Context, dir string, say progress) (archive string, err error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errNoNPM
	}
	spec := p.name + "@" + p.version
	began := time.Now()
	say.sayf("fetching %s, once", spec)
	stop := say.every(5*time.Second, func() string {
		return fmt.Sprintf("fetching %s … %d s", spec, int(time.Since(began).Seconds()))
	})
	cmd := exec.CommandContext(ctx, npm, "pack", spec, "--pack-destination", dir, "--ignore-scripts", "--silent")
	cmd.Dir = dir
	cmd.WaitDelay = 2 * time.Second
	out, err := cmd.CombinedOutput()
	stop()
	if err != nil {
		return "", fmt.Errorf("fetch %s: `npm pack %s` failed: %w%s", spec, spec, err, indent(string(out)))
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if len(found) != 1 {
		return "", fmt.Errorf("fetch %s: `npm pack %s` left %d files, not one", spec, spec, len(found))
	}
	return found[0], nil
}

func (p npmPackage) verify(archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); got != p.integrity {
		return fmt.Errorf("fetch %s@%s: the file is not the one that was pinned (%s, not %s); it was not used. Check `npm config get registry`", p.name, p.version, got, p.integrity)
	}
	return nil
}

// extract unpacks the regular files of an npm archive. npm archives have no
// links, and everything is below "package/".
func extract(archive, dest string, keep func(rel string) bool) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(h.Name, "package/")
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(rel) || !keep(rel) {
			continue
		}
		if err := extractFile(tr, filepath.Join(dest, rel), h.FileInfo().Mode()); err != nil {
			return err
		}
	}
}

func extractFile(r io.Reader, file string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode&0o755|0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
