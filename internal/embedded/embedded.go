// Package embedded starts what `platform dev` and the tests need on one
// machine: a private Postgres, a Vault, a Node. It owns their processes, their
// state folders and their orderly end, and finds, fetches or builds their
// binaries. What runs inside them (schemas, roles, mounts, policies) belongs
// to others, and nothing here is meant for production.
//
// It reads no environment: callers pass values in. The names below are only
// what its messages tell people to set, so that cmd and the messages agree.
package embedded

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Settings that the messages of this package name. They are read in cmd, and
// by the tests' own main.
const (
	EnvPostgresBin = "POSTGRES_BIN"       // PostgresOptions.BinDir
	EnvVaultBin    = "VAULT_BIN"          // VaultOptions.Bin
	EnvCacheDir    = "LATCHKEY_CACHE_DIR" // the argument of CacheDir

	EnvTestVaultBin = "LATCHKEY_TEST_VAULT_BIN" // runs the tests on another vault, bao or vaultd
)

// CacheDir returns the folder for what is fetched or built once and shared by
// all state folders: override where it is set, else the user's cache folder.
// It is created when it is missing.
func CacheDir(override string) (string, error) {
	dir := override
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder: %w; set %s to a folder of yours", err, EnvCacheDir)
		}
		dir = filepath.Join(base, "latchkey")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w; set %s to a folder of yours", err, EnvCacheDir)
	}
	return dir, nil
}

// absolute makes paths independent of the folders that commands run in. An
// empty one stays empty.
func absolute(paths ...*string) (err error) {
	for _, p := range paths {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	return nil
}

// progress is a func(string) that may be nil.
type progress func(string)

func (p progress) sayf(format string, args ...any) {
	if p != nil {
		p(fmt.Sprintf(format, args...))
	}
}

// every says what line returns each interval until the returned func is called.
func (p progress) every(interval time.Duration, line func() string) (stop func()) {
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				p.sayf("%s", line())
			}
		}
	}()
	return func() { close(done); <-finished }
}

// tail returns the last n lines of a log, indented, for an error message.
func tail(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	lines = lines[max(0, len(lines)-n):]
	return indent(strings.Join(lines, "\n"))
}

func indent(s string) string {
	return "\n    " + strings.ReplaceAll(string(bytes.TrimSpace([]byte(s))), "\n", "\n    ")
}
