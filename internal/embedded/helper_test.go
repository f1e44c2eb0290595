package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests run this binary again as another process: a `platform dev` to kill
// with -9, or a `vault` of somebody else's. envRole says as which.
const envRole = "LATCHKEY_EMBEDDED_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(envRole) {
	case "":
		os.Exit(m.Run())
	case "platform":
		err = actAsPlatform(os.Args[1])
	case "vault":
		err = actAsVault(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// platformIs what the helper tells the test on its standard output.
type platformIs struct{ PostgresPid, VaultPid, SleepPid int }

// actAsPlatform holds a state folder with everything running in it until it is
// killed or its standard input ends.
func actAsPlatform(dir string) error {
	state, err := OpenState(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	p, err := StartPostgres(ctx, postgresOptions(state.Dir()))
	if err != nil {
		return err
	}
	v, err := StartVault(ctx, vaultOptions(state.Dir()))
	if err != nil {
		return err
	}
	s, err := StartChild(ChildOptions{Name: "sleep", Path: "/bin/sleep", Args: []string{"1000"}})
	if err != nil {
		return err
	}
	err = json.NewEncoder(os.Stdout).Encode(platformIs{p.Pid(), v.Pid(), s.Pid()})
	io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Stop(), v.Stop(), p.Stop())
}

// actAsVault answers like `vault version` and `vault server -dev`.
func actAsVault(args []string) error {
	if args[0] == "version" {
		fmt.Println("Vault v1.99.0 (0123456), built 2026-01-01T00:00:00Z")
		return nil
	}
	listen, ok := strings.CutPrefix(args[len(args)-1], "-dev-listen-address=")
	if !ok || strings.Join(args[:2], " ") != "server -dev" || os.Getenv("VAULT_DEV_ROOT_TOKEN_ID") == "" || os.Getenv("VAULT_ADDR") != "" {
		return fmt.Errorf("a vault would not run like this: %q", args)
	}
	return http.ListenAndServe(listen, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// startPlatform runs actAsPlatform in another process.
func startPlatform(t *testing.T, dir string) (*exec.Cmd, platformIs) {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), envRole+"=platform")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the helper did not start: %v", err)
	}
	var is platformIs
	if err := json.Unmarshal(line, &is); err != nil {
		t.Fatal(err)
	}
	return cmd, is
}

// stateDir makes a folder that Postgres's account can reach, unlike those of
// t.TempDir, and that is reset after the test.
func stateDir(t *testing.T) string {
	t.Helper()
	base, err := os.MkdirTemp("", "latchkey-embedded-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o711); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "state")
	t.Cleanup(func() {
		if err := Reset(dir); err != nil {
			t.Errorf("reset: %v", err)
		}
		os.RemoveAll(base)
	})
	return dir
}

func postgresOptions(dir string) PostgresOptions {
	return PostgresOptions{StateDir: dir, CacheDir: sharedCache(), Settings: map[string]string{"fsync": "off"}}
}

func vaultOptions(dir string) VaultOptions {
	return VaultOptions{
		StateDir: dir, CacheDir: sharedCache(), SourceDir: filepath.Join("..", "..", "tools", "vaultd"),
		Bin: os.Getenv(EnvTestVaultBin), Progress: func(s string) { fmt.Fprintln(os.Stderr, s) },
	}
}

func sharedCache() string {
	dir, err := CacheDir(os.Getenv(EnvCacheDir))
	if err != nil {
		panic(err)
	}
	return dir
}

func startPostgres(t *testing.T, o PostgresOptions) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	return p
}

func startVault(t *testing.T, o VaultOptions) *Vault {
	t.Helper()
	v, err := StartVault(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Stop() })
	return v
}

// eventually polls until ok, and fails the test after a while.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// lives reports whether a process runs; one that nobody has waited for yet
// does not.
func lives(pid int) bool { return syscall.Kill(pid, 0) == nil && runsWith(pid, "") }

// wantError fails the test unless err says all of the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func writeFile(t *testing.T, content string, mode os.FileMode, elem ...string) string {
	t.Helper()
	file := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}
