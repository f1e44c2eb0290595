package packages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"latchkey/internal/fault"
)

const (
	lockFile  = "package-lock.json"
	rootName  = "hosted" // of the package that depends on the one that is installed
	maxOutput = 16 << 10
)

// install resolves what the package needs, looks at it, and only then fetches
// it. Processes that race for the same tree each make one, and the first stays.
func (c *Cache) install(ctx context.Context, p Package) (got Installed, err error) {
	tmp, err := c.scratch(npmTrees)
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(tmp)
	lock, err := c.lock(ctx, p, tmp)
	if err != nil {
		return got, err
	}
	got = Installed{Dir: c.tree(lock), Lock: lock}
	release, err := c.Hold(got)
	if errors.Is(err, ErrGone) {
		if err := c.fetch(ctx, p, tmp); err != nil {
			return got, err
		}
		if err := settle(tmp, got.Dir); err != nil {
			return got, err
		}
		release, err = c.Hold(got)
	}
	if err != nil {
		return got, fault.Of(err)
	}
	defer release()
	if got.Entry, err = entry(got.Dir, p); err != nil {
		return got, err
	}
	// Both are true of the tree: what was asked for, and what it became.
	pinned := p
	pinned.Lock = lock
	if err := errors.Join(c.write(p, got), c.write(pinned, got)); err != nil {
		return got, fault.Of(err)
	}
	return got, nil
}

// scratch makes a folder that something is installed into, beside the trees of
// its sort.
func (c *Cache) scratch(sort string) (string, error) {
	base := filepath.Join(c.opts.Dir, sort)
	err := os.MkdirAll(base, 0o755)
	if err == nil {
		c.clearAway(base)
		var dir string
		if dir, err = os.MkdirTemp(base, unfinished); err == nil {
			return dir, nil
		}
	}
	return "", fault.New(fault.NoWorker, "This worker cannot write to its cache folder. Tell the operator.").Because(err)
}

// settle gives a finished tree its name, and has it count as used now. Of several
// that were made at the same time the first stays.
func settle(tmp, tree string) error {
	touch(tmp)
	if err := os.Rename(tmp, tree); err != nil {
		if _, there := os.Stat(tree); there != nil {
			return fault.Of(err)
		}
	}
	return nil
}

// Beginnings of the names of folders that something is installed into, and of
// notes that are being written.
const (
	unfinished = ".installing-"
	unwritten  = ".new-"
)

// clearAway removes what a killed worker left unfinished.
func (c *Cache) clearAway(base string) {
	for _, begin := range []string{unfinished, unwritten} {
		left, _ := filepath.Glob(filepath.Join(base, begin+"*"))
		for _, path := range left {
			if st, err := os.Stat(path); err == nil && time.Since(st.ModTime()) > 2*c.opts.Timeout {
				if err := os.RemoveAll(path); err != nil {
					c.opts.Log.Warn("an unfinished installation cannot be removed", "err", err)
				}
			}
		}
	}
}

// lock puts package.json and a checked lock file into dir, and gives the
// latter.
func (c *Cache) lock(ctx context.Context, p Package, dir string) (json.RawMessage, error) {
	root, err := json.Marshal(map[string]any{"name": rootName, "private": true, "version": "0.0.0", "dependencies": map[string]string{p.Name: p.Version}})
	if err != nil {
		return nil, fault.Of(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), root, 0o644); err != nil {
		return nil, fault.Of(err)
	}
	if len(p.Lock) == 0 {
		if err := c.npm(ctx, p, dir, "install", "--package-lock-only"); err != nil {
			return nil, err
		}
	} else if err := os.WriteFile(filepath.Join(dir, lockFile), p.Lock, 0o644); err != nil {
		return nil, fault.Of(err)
	}
	lock, err := readBounded(filepath.Join(dir, lockFile), MaxLock)
	if err != nil {
		return nil, broken(p, "it has more dependencies than may be hosted").Because(err)
	}
	if err := checkLock(p, lock); err != nil {
		return nil, err
	}
	lock = canonical(lock)
	return lock, os.WriteFile(filepath.Join(dir, lockFile), lock, 0o644)
}

// canonical sorts keys and drops spaces: a lock that went through a store is
// the same one.
func canonical(lock json.RawMessage) json.RawMessage {
	var v any
	d := json.NewDecoder(bytes.NewReader(lock))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return lock
	}
	b, err := json.Marshal(v)
	if err != nil {
		return lock
	}
	return b
}

// fetch has npm bring the files that the lock names, each verified against its
// hash, and checks the tree.
func (c *Cache) fetch(ctx context.Context, p Package, dir string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go c.watch(ctx, dir, cancel)
	if err := c.npm(ctx, p, dir, "ci"); err != nil {
		var t *tooLarge
		if errors.As(context.Cause(ctx), &t) {
			return broken(p, t.Error())
		}
		return err
	}
	if err := c.checkTree(dir); err != nil {
		return broken(p, err.Error()).Because(err)
	}
	return os.Chmod(dir, 0o755)
}

// watch stops an installation that grows beyond its bounds.
func (c *Cache) watch(ctx context.Context, dir string, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.measure(dir); err != nil {
				cancel(err)
				return
			}
		}
	}
}

// npm runs the client. It runs no script of any package, asks for no audit, and
// fetches from nowhere but the operator's registry.
func (c *Cache) npm(ctx context.Context, p Package, dir string, args ...string) error {
	npm := c.opts.NPM
	if npm == "" {
		found, err := exec.LookPath("npm")
		if err != nil {
			return fault.New(fault.NoWorker, "This worker has no npm, so that it cannot install %s. Ask the operator to install npm 9 or newer on workers of this pool, or to set LATCHKEY_NPM.", p).Because(err)
		}
		npm = found
	}
	own, release, err := c.holdNPM()
	if err != nil {
		return fault.New(fault.NoWorker, "This worker cannot write to its cache folder. Tell the operator.").Because(err)
	}
	defer release()
	cmd := exec.CommandContext(ctx, npm, append(args,
		"--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--omit=dev", "--bin-links=false", "--omit-lockfile-registry-resolved",
		"--allow-git=none", "--allow-remote=none", "--allow-file=none", "--allow-directory=none", "--workspaces=false", "--install-strategy=hoisted",
		"--loglevel=error", "--logs-max=0", "--progress=false", "--cache="+own)...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(c.opts.Env), "PATH="+c.path(npm), "TMPDIR="+dir, "LANG=C.UTF-8")
	// What npm starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	out := &bounded{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return explain(ctx, p, out.String(), err)
	}
	return nil
}

// path puts the chosen Node first, as npm is a program of its.
func (c *Cache) path(npm string) string {
	dirs := []string{filepath.Dir(npm)}
	if c.opts.Node != "" {
		dirs = append([]string{filepath.Dir(c.opts.Node)}, dirs...)
	}
	for _, e := range c.opts.Env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = append(dirs, path)
		}
	}
	return strings.Join(dirs, string(os.PathListSeparator))
}

var npmCode = regexp.MustCompile(`(?m)^npm (?:error|ERR!) code ([A-Z0-9_]+)`)

// explain says what kept npm from installing. Its own words go to the log: they
// hold addresses and paths.
func explain(ctx context.Context, p Package, out string, cause error) error {
	cause = fmt.Errorf("%w: %s", cause, strings.TrimSpace(out))
	code := ""
	if m := npmCode.FindStringSubmatch(out); m != nil {
		code = m[1]
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return away(p, "that took too long").Because(cause)
	case code == "E404":
		return broken(p, "the registry has no such package").Because(cause)
	case code == "ETARGET":
		return broken(p, "the registry has no such version of it, or of something it needs").Because(cause)
	case code == "EINTEGRITY":
		return broken(p, "what the registry gave is not what was pinned: the integrity differs. It was not used").Because(cause)
	case strings.HasPrefix(code, "EALLOW"):
		return broken(p, "it needs something from outside of the registry").Because(cause)
	case code == "EUSAGE", code == "EJSONPARSE", code == "EINVALIDPACKAGENAME", code == "ERESOLVE":
		return broken(p, "what it needs does not fit together").Because(cause)
	case code == "E401", code == "E403":
		return broken(p, "the registry does not let this worker have it").Because(cause)
	case code == "ENOSPC", code == "EACCES", code == "EROFS", code == "EDQUOT":
		return fault.New(fault.NoWorker, "The worker could not store the package %s. Tell the operator to look at the disk of its cache folder.", p).Because(cause)
	case strings.HasPrefix(code, "E5"), strings.HasPrefix(code, "ECONN"), strings.HasPrefix(code, "ENET"), strings.HasPrefix(code, "ETIME"),
		strings.HasPrefix(code, "EHOST"), strings.HasPrefix(code, "ERR_SOCKET"), code == "ENOTFOUND", code == "EAI_AGAIN", code == "ESOCKETTIMEDOUT", code == "E429", code == "EIDLETIMEOUT":
		return away(p, "the package registry cannot be reached").Because(cause)
	}
	return away(p, "the npm client failed").Because(cause)
}

// broken is about something that will not get better by waiting.
func broken(w wanted, why string) *fault.Error {
	return fault.New(fault.ServerUnhealthy, "The %s of this server could not be installed: %s. Nothing was done; ask the server's administrator to correct it.", w.called(), why).After(time.Minute)
}

// away is about an installation that may work later.
func away(w wanted, why string) *fault.Error {
	return fault.New(fault.ServerUnhealthy, "The %s of this server could not be installed: %s. Nothing was done; try again in a minute.", w.called(), why).After(time.Minute)
}

func readBounded(file string, limit int64) ([]byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes", filepath.Base(file), st.Size())
	}
	return os.ReadFile(file)
}

// bounded keeps the beginning of what a program says.
type bounded struct{ b bytes.Buffer }

func (w *bounded) Write(p []byte) (int, error) {
	if room := maxOutput - w.b.Len(); room > 0 {
		w.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (w *bounded) String() string { return w.b.String() }
