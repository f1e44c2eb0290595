// Package testenv gives tests real servers: one Postgres and one Vault for
// each test process, started at first use and stopped at its end, and pinned
// npm packages, a Node and a browser.
//
// A package whose tests use it has, once:
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// What is missing on the machine fails the test and says how to install it;
// nothing is skipped. What tests put into the servers is theirs.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/embedded"
)

// startTimeout bounds a first use, which may build Vault or download things.
const startTimeout = 20 * time.Minute

// process is what this test process has started. Main makes and ends it.
var process *environment

type environment struct {
	dir      string // temporary, ours alone
	lock     *os.File
	cacheDir string

	postgres once[*embedded.Postgres]
	vault    once[*embedded.Vault]
}

// once keeps the outcome of a first use, a failure too: later tests fail at
// once rather than each after the same wait.
type once[T any] struct {
	sync.Once
	value T
	err   error
}

func (o *once[T]) get(make func() (T, error)) (T, error) {
	o.Do(func() { o.value, o.err = make() })
	return o.value, o.err
}

// Main runs a package's tests, then stops what they started and removes its
// files. Before that it runs what the package itself has to stop. It does not
// return.
func Main(m *testing.M, before ...func() error) {
	code, err := run(m, before)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M, before []func() error) (code int, err error) {
	removeStale()
	e := &environment{}
	// The environment is read here because a test process has no other main.
	if e.cacheDir, err = embedded.CacheDir(os.Getenv(embedded.EnvCacheDir)); err != nil {
		return 1, err
	}
	if e.dir, err = Folder(tempPrefix); err != nil {
		return 1, err
	}
	if e.lock, err = os.Create(filepath.Join(e.dir, tempLock)); err != nil {
		return 1, err
	}
	if err := syscall.Flock(int(e.lock.Fd()), syscall.LOCK_EX); err != nil {
		return 1, err
	}
	process = e
	code = m.Run()
	for _, end := range before {
		err = errors.Join(err, end())
	}
	return code, errors.Join(err, e.close())
}

func (e *environment) close() error {
	// Using up the onces keeps a goroutine that a test left behind from
	// starting anything now.
	if v, _ := e.vault.get(func() (*embedded.Vault, error) { return nil, nil }); v != nil {
		if err := v.Stop(); err != nil {
			return err
		}
	}
	if p, _ := e.postgres.get(func() (*embedded.Postgres, error) { return nil, nil }); p != nil {
		if err := p.Stop(); err != nil {
			return err
		}
	}
	if err := embedded.Reset(e.stateDir()); err != nil {
		return err
	}
	return os.RemoveAll(e.dir)
}

func (e *environment) stateDir() string { return filepath.Join(e.dir, "state") }

// Folder makes an empty folder for the state of servers, which may be in memory.
// Who makes it removes it.
func Folder(prefix string) (string, error) {
	dir, err := os.MkdirTemp(tempRoot(), prefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711) // Postgres may run as another account, which has to get in
}

// current returns the process's environment, or fails a test whose package
// has no TestMain.
func current(t testing.TB) *environment {
	t.Helper()
	if process == nil {
		t.Fatal("testenv is not running: add `func TestMain(m *testing.M) { testenv.Main(m) }` to this package's tests")
	}
	return process
}

func startContext() (context.Context, context.CancelFunc) {
	// Not a test's own context: what starts here outlives the test.
	return context.WithTimeout(context.Background(), startTimeout)
}

// say prints progress beside the tests' own output: a first use can take
// minutes, and a silent test looks hung.
func say(line string) { fmt.Fprintln(os.Stderr, "testenv:", line) }

// Postgres returns the test process's server. It is fast and forgets: nothing
// is synced to disk.
func Postgres(t testing.TB) *embedded.Postgres {
	t.Helper()
	e := current(t)
	p, err := e.postgres.get(func() (*embedded.Postgres, error) {
		ctx, cancel := startContext()
		defer cancel()
		return embedded.StartPostgres(ctx, embedded.PostgresOptions{
			StateDir: e.stateDir(), CacheDir: e.cacheDir, Progress: say,
			Settings: map[string]string{
				"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
				"max_wal_size": "128MB", "min_wal_size": "32MB", // it may be in memory
			},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Vault returns the test process's server, in memory and bare.
func Vault(t testing.TB) *embedded.Vault {
	t.Helper()
	e := current(t)
	root := RepoRoot(t)
	v, err := e.vault.get(func() (*embedded.Vault, error) {
		ctx, cancel := startContext()
		defer cancel()
		return embedded.StartVault(ctx, embedded.VaultOptions{
			StateDir: e.stateDir(), CacheDir: e.cacheDir, InMemory: true, Progress: say,
			Bin: os.Getenv(embedded.EnvTestVaultBin), SourceDir: filepath.Join(root, "tools", "vaultd"),
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Node returns a folder with a node of version 22 or newer. Put it first on
// PATH to have npm's scripts run on it too.
func Node(t testing.TB) string {
	t.Helper()
	ctx, cancel := startContext()
	defer cancel()
	dir, err := embedded.Node22(ctx, current(t).cacheDir, say)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Chromium returns the path of a Chromium or Chrome.
func Chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{
		"chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
		"/Applications/Chromium.app/Contents/MacOS/Chromium",
	} {
		if bin, err := exec.LookPath(name); err == nil {
			return bin
		}
	}
	t.Fatal("no Chromium or Chrome was found. Run `scripts/need`, or `apt-get install chromium`")
	return ""
}

var moduleLine = regexp.MustCompile(`(?m)^module latchkey$`)

// RepoRoot returns the root of the repository, which the tests run inside of.
func RepoRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		if b, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && moduleLine.Match(b) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatalf("%s is in no checkout of Latchkey", start)
		}
	}
}

const (
	tempPrefix = "latchkey-test-"
	tempLock   = "lock"
)

// removeStale clears what test processes left that were killed. A folder whose
// lock is held, or that is too new to have one, belongs to a live process.
func removeStale() {
	dirs, _ := filepath.Glob(filepath.Join(tempRoot(), tempPrefix+"*"))
	for _, dir := range dirs {
		st, err := os.Lstat(dir)
		if err != nil || !st.IsDir() || time.Since(st.ModTime()) < time.Hour || !strings.HasPrefix(filepath.Base(dir), tempPrefix) {
			continue
		}
		lock, err := os.Open(filepath.Join(dir, tempLock))
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if embedded.Reset(filepath.Join(dir, "state")) == nil {
				os.RemoveAll(dir)
			}
		}
		lock.Close()
	}
}
