package embedded

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// VaultOptions says which Vault to run and where its data lives.
type VaultOptions struct {
	StateDir  string       // data and log live below it
	CacheDir  string       // where a built vaultd is kept, shared by all state dirs
	InMemory  bool         // keep no data, even where that is possible
	Port      int          // loopback TCP port, 0 = any free one
	Bin       string       // a vault or bao binary, or a vaultd; "" = PATH, then vaultd
	SourceDir string       // tools/vaultd of the repository, to build vaultd from
	Progress  func(string) // human progress lines, may be nil
}

// Vault is a running, unsealed Vault on loopback. It is bare: a `vault` or
// `bao` in dev mode has a kv engine at secret/, a vaultd has no mount at all.
type Vault struct {
	*Child
	lock       *os.File
	addr       string
	rootToken  string
	persistent bool
}

// StartVault starts a Vault and returns when it is unsealed and answers: the
// binary that is named, else a `vault` or `bao` on PATH in dev mode, else a
// vaultd, which is built the first time. Only a vaultd keeps its data.
//
// ctx bounds the start only; Stop ends the server, and so does the end of this
// process.
func StartVault(ctx context.Context, o VaultOptions) (_ *Vault, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start Vault: %w", err)
		}
	}()
	bin, kind, err := findVault(ctx, o)
	if err != nil {
		return nil, err
	}
	if o.Port != 0 {
		if err := PortTaken(net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port))); err != nil {
			if taken, ok := errors.AsType[*PortTakenError](err); ok {
				taken.Advice = "Stop that one, or leave Vault's port unset: a free one is then taken."
			}
			return nil, err
		}
	}
	stateDir, err := prepareState(o.StateDir)
	if err != nil {
		return nil, err
	}
	home := vaultHome(filepath.Join(stateDir, "vault"))
	if err := os.MkdirAll(string(home), 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFolder(string(home))
	if err != nil {
		return nil, err
	}
	v := &Vault{lock: lock}
	defer func() {
		if err != nil {
			v.release()
		}
	}()
	if err := home.stopOrphan(o.Progress); err != nil {
		return nil, err
	}
	if kind == vaultdBinary {
		err = v.startVaultd(ctx, bin, home, o)
	} else {
		err = v.startDevMode(ctx, bin, home, o)
	}
	if err != nil {
		if v.Child != nil {
			v.Child.Stop()
		}
		return nil, err
	}
	return v, nil
}

// Addr is the base URL, such as http://127.0.0.1:41873.
func (v *Vault) Addr() string { return v.addr }

// RootToken may do everything. It stays the same as long as the data does.
func (v *Vault) RootToken() string { return v.rootToken }

// Persistent reports whether the data is there again at the next start.
func (v *Vault) Persistent() bool { return v.persistent }

// Stop ends the server and lets the state folder go.
func (v *Vault) Stop() error {
	err := v.Child.Stop()
	v.release()
	return err
}

func (v *Vault) release() { v.lock.Close() }

// vaultKind is what a binary turned out to be.
type vaultKind int

const (
	vaultdBinary vaultKind = iota
	devModeBinary
)

// FindVault returns the binary that StartVault would run, building it if need
// be. StartVault does the same; this is for doing the long part ahead of time.
func FindVault(ctx context.Context, o VaultOptions) (bin string, err error) {
	bin, _, err = findVault(ctx, o)
	return bin, err
}

func findVault(ctx context.Context, o VaultOptions) (bin string, kind vaultKind, err error) {
	if err := absolute(&o.CacheDir, &o.SourceDir); err != nil {
		return "", 0, err
	}
	if o.Bin != "" {
		bin, err := exec.LookPath(o.Bin) // a path, or a name on PATH
		if err == nil {
			bin, err = filepath.Abs(bin)
		}
		if err == nil {
			kind, err = probeVault(ctx, bin)
		}
		if err != nil {
			return "", 0, fmt.Errorf("%s=%s: %w", EnvVaultBin, o.Bin, err)
		}
		return bin, kind, nil
	}
	for _, name := range []string{"vault", "bao"} {
		bin, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		// Something else of that name is passed over.
		if kind, err := probeVault(ctx, bin); err == nil {
			return bin, kind, nil
		}
	}
	bin, err = buildVault(ctx, o)
	return bin, vaultdBinary, err
}

// probeVault asks a binary what it is: "Vault v1.13.0 (…)", "OpenBao v2.1.0
// (…)" or "vaultd over Vault v1.13.0, …".
func probeVault(ctx context.Context, bin string) (vaultKind, error) {
	out, err := exec.CommandContext(ctx, bin, "version").CombinedOutput()
	switch {
	case err != nil:
		return 0, fmt.Errorf("`%s version` failed: %w%s", bin, err, indent(string(out)))
	case strings.HasPrefix(string(out), "vaultd "):
		return vaultdBinary, nil
	case strings.HasPrefix(string(out), "Vault "), strings.HasPrefix(string(out), "OpenBao "):
		return devModeBinary, nil
	}
	return 0, fmt.Errorf("`%s version` does not answer like vault, bao or vaultd:%s", bin, indent(string(out)))
}

func (v *Vault) startVaultd(ctx context.Context, bin string, home vaultHome, o VaultOptions) error {
	args := []string{"-listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port)), "-until-stdin-closes"}
	if o.InMemory {
		args = append(args, "-storage", "inmem", "-dir", home.data()) // -dir only marks it as ours
	} else {
		args = append(args, "-storage", "file", "-dir", home.data())
	}
	stdout, childsEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	v.Child, err = home.start(ChildOptions{
		Path: bin, Args: args, Env: vaultEnv(home), Stdout: childsEnd, HoldStdin: true,
	}, home.data())
	childsEnd.Close()
	if err != nil {
		stdout.Close()
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	lines := bufio.NewReader(stdout)
	line := make(chan []byte, 1)
	go func() {
		b, _ := lines.ReadBytes('\n') // ends when the child does
		line <- b
		io.Copy(io.Discard, lines)
		stdout.Close()
	}()
	select {
	case b := <-line:
		var ready struct {
			Addr      string `json:"addr"`
			RootToken string `json:"root_token"`
		}
		if err := json.Unmarshal(b, &ready); err != nil || ready.Addr == "" {
			return fmt.Errorf("vaultd ended at once; its log is %s%s", home.log(), v.LogTail())
		}
		v.addr, v.rootToken, v.persistent = ready.Addr, ready.RootToken, !o.InMemory
	case <-ctx.Done():
		return fmt.Errorf("vaultd does not get ready: %w; its log is %s%s", ctx.Err(), home.log(), v.LogTail())
	}
	return v.awaitUnsealed(ctx, home)
}

// startDevMode runs a real vault or bao in the mode meant for trying it out:
// unsealed, in memory, with a root token that we choose.
func (v *Vault) startDevMode(ctx context.Context, bin string, home vaultHome, o VaultOptions) error {
	if !o.InMemory {
		progress(o.Progress).sayf("Vault runs as %s in dev mode: its data is in memory and gone when it stops", bin)
	}
	port := o.Port
	if port == 0 {
		var err error
		if port, err = FreePort(); err != nil {
			return err
		}
	}
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	v.addr, v.rootToken = "http://"+listen, "dev-"+rand.Text()
	env := append(vaultEnv(home), // not as arguments, which every account can read
		"VAULT_DEV_ROOT_TOKEN_ID="+v.rootToken, "BAO_DEV_ROOT_TOKEN_ID="+v.rootToken)
	var err error
	v.Child, err = home.start(ChildOptions{
		Path: bin, Env: env,
		Args: []string{"server", "-dev", "-dev-no-store-token", "-dev-listen-address=" + listen},
	}, listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	return v.awaitUnsealed(ctx, home)
}

// awaitUnsealed returns once the health check says: initialized, unsealed, active.
func (v *Vault) awaitUnsealed(ctx context.Context, home vaultHome) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.addr+"/v1/sys/health", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("its health check answers %s", res.Status)
		}
		select {
		case <-v.Done():
			return fmt.Errorf("the server ended at once (%v); its log is %s%s", v.Err(), home.log(), v.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("the server does not get ready: %w; its log is %s%s", err, home.log(), v.LogTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// vaultEnv keeps VAULT_ADDR, VAULT_CONFIG_PATH and the like out, and gives
// vault and bao a home of their own, so that ~/.vault-token is left alone.
func vaultEnv(home vaultHome) []string {
	return []string{"PATH=/usr/bin:/bin", "HOME=" + string(home), "TZ=UTC"}
}

// vaultHome is the folder with one Vault's data and what belongs to it.
type vaultHome string

func (h vaultHome) data() string    { return filepath.Join(string(h), "data") }
func (h vaultHome) log() string     { return filepath.Join(string(h), "vault.log") }
func (h vaultHome) pidFile() string { return filepath.Join(string(h), "pid") }

// start starts a server and writes down what it takes to find it again: its
// process id, and an argument that tells it from others.
func (h vaultHome) start(o ChildOptions, mark string) (*Child, error) {
	o.Name, o.Dir, o.Log = "Vault", string(h), h.log()
	child, err := StartChild(o)
	if err != nil {
		return nil, err
	}
	err = os.WriteFile(h.pidFile(), fmt.Appendf(nil, "%d %s\n", child.Pid(), mark), 0o600)
	return child, err
}

// stopOrphan ends the server of an earlier run that still has this data open.
// It is rare: a vaultd ends by itself when its parent does.
func (h vaultHome) stopOrphan(say progress) error {
	b, err := os.ReadFile(h.pidFile())
	if err != nil {
		return nil
	}
	pid, mark, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	stopped, err := stopOrphan(leadingInt(pid), mark, []StopStep{{syscall.SIGTERM, 10 * time.Second}})
	if err != nil {
		return err
	}
	if stopped {
		say.sayf("stopped a Vault that an earlier run left behind")
	}
	return os.Remove(h.pidFile())
}

// resetVault makes sure nothing runs inside a state folder's Vault.
func resetVault(stateDir string) error {
	home := vaultHome(filepath.Join(stateDir, "vault"))
	if _, err := os.Stat(string(home)); err != nil {
		return nil
	}
	lock, err := lockFolder(string(home))
	if err != nil {
		return err
	}
	defer lock.Close()
	return home.stopOrphan(nil)
}
