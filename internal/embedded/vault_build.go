package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// setVaultBin names the setting that makes building needless, in messages.
const setVaultBin = EnvVaultBin + " (for tests " + EnvTestVaultBin + ")"

// buildVault returns a vaultd built from o.SourceDir, from the cache if the
// same source was built before by the same Go. Of several processes that want
// one at the same time, one builds and the others wait for it.
func buildVault(ctx context.Context, o VaultOptions) (bin string, err error) {
	say := progress(o.Progress)
	if o.SourceDir == "" || o.CacheDir == "" {
		return "", fmt.Errorf("there is no `vault` or `bao` on PATH, and no source to build one from. Install Vault or OpenBao, or set %s to such a binary", setVaultBin)
	}
	key, err := vaultKey(ctx, o.SourceDir)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(o.CacheDir, "vaultd", key)
	bin = filepath.Join(dir, "vaultd")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	began := time.Now()
	stop := func() {}
	lock, err := waitLock(ctx, dir, func() {
		stop = say.every(5*time.Second, func() string {
			return fmt.Sprintf("waiting for Vault, which another process builds … %s", seconds(began))
		})
	})
	stop()
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	return bin, compileVault(ctx, o.SourceDir, bin, say)
}

func compileVault(ctx context.Context, sourceDir, bin string, say progress) error {
	began := time.Now()
	say.sayf("building Vault, once: about 2 minutes, more where its modules must be downloaded first")
	stop := say.every(5*time.Second, func() string {
		return fmt.Sprintf("building Vault, once: about 2 minutes … %s", seconds(began))
	})
	defer stop()

	logFile := bin + ".log"
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	tmp := fmt.Sprintf("%s.%d", bin, os.Getpid())
	defer os.Remove(tmp)
	// Flags win over GOFLAGS, so a developer's -mod=vendor or -race does no harm.
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-race=false",
		"-ldflags=-s -w", "-o", tmp, ".")
	cmd.Dir = sourceDir
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOOS=", "GOARCH=")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("building Vault was interrupted: %w", ctx.Err())
		}
		return fmt.Errorf("building vaultd in %s failed: %w. If this machine is offline, go online once, or set %s to a vault or bao binary; else run `cd %s && go build .`. The whole output is in %s; it ends:%s",
			sourceDir, err, setVaultBin, sourceDir, logFile, tail(logFile, 12))
	}
	say.sayf("built Vault in %s", seconds(began))
	return os.Rename(tmp, bin)
}

func seconds(since time.Time) string { return fmt.Sprintf("%d s", int(time.Since(since).Seconds())) }

// vaultKey changes with everything that a built vaultd depends on.
func vaultKey(ctx context.Context, sourceDir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = sourceDir // its go.mod may choose another toolchain
	version, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("building Vault needs Go: `go env GOVERSION` in %s failed: %w. Install Go, or set %s to a vault or bao binary", sourceDir, err, setVaultBin)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s/%s\n", bytes.TrimSpace(version), runtime.GOOS, runtime.GOARCH)
	err = filepath.WalkDir(sourceDir, func(path string, d fs.DirEntry, err error) error { // sorted by name
		if err != nil || d.IsDir() {
			return err
		}
		name := d.Name()
		source := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
		if !source && name != "go.mod" && name != "go.sum" {
			return nil
		}
		rel, err := filepath.Rel(sourceDir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\n", rel)
		return hashFile(h, path)
	})
	if err != nil {
		return "", fmt.Errorf("read vaultd's source: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func hashFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}
