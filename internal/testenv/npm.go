package testenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// pinned is name@version with a whole version: a range would make the cached
// folder depend on the day it was made.
var pinned = regexp.MustCompile(`^(@[\w.-]+/)?[\w.-]+@\d+\.\d+\.\d+[\w.+-]*$`)

// NPM installs packages such as "mcp-remote@0.1.38" and returns the folder
// that holds their node_modules. Their install scripts do not run. The folder
// is cached for each list of packages and shared between tests: do not write
// into it.
func NPM(t testing.TB, packages ...string) string {
	t.Helper()
	for _, p := range packages {
		if !pinned.MatchString(p) {
			t.Fatalf("npm package %q is not pinned: want name@1.2.3", p)
		}
	}
	node := Node(t)
	ctx, cancel := startContext()
	defer cancel()
	dir, err := installNPM(ctx, filepath.Join(current(t).cacheDir, "npm"), node, packages)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func installNPM(ctx context.Context, cache, node string, packages []string) (dir string, err error) {
	packages = slices.Sorted(slices.Values(packages))
	sum := sha256.Sum256([]byte(strings.Join(packages, "\n")))
	dir = filepath.Join(cache, hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil { // waits
		return "", err
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}

	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("npm is not on PATH. Run `scripts/need` to see what is missing")
	}
	tmp, err := os.MkdirTemp(cache, ".installing-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // sandboxed accounts read it
		return "", err
	}
	say("npm install " + strings.Join(packages, " ") + ", once")
	args := append([]string{"install", "--prefix", tmp, "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"}, packages...)
	cmd := exec.CommandContext(ctx, npm, args...)
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "PATH="+node+string(filepath.ListSeparator)+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("`npm install %s` failed: %w\n%s", strings.Join(packages, " "), err, out)
	}
	return dir, os.Rename(tmp, dir)
}
