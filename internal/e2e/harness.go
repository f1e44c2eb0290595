// Package e2e plays what users do, against the real binaries: it starts
// `platform dev` as a process, signs people in, lets apps connect, calls tools
// and breaks things. Nothing of the platform is called directly.
//
// What is here is the harness; every test is one of the platform's outside.
// The tests read audit records, the demo's ledger and Vault's own log, to hold
// what was answered against what happened.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/embedded"
	"latchkey/internal/testenv"
)

// Ready is ready.json.
type Ready struct {
	BaseURL    string            `json:"base_url"`
	Console    string            `json:"console"`
	APIURL     string            `json:"api_url"`
	APIKey     string            `json:"api_key"` // of acme, with the permission admin
	Operator   Operator          `json:"operator"`
	MCP        map[string]string `json:"mcp"`
	Tenants    map[string]string `json:"tenants"`
	Users      []User            `json:"users"`
	VaultAddr  string            `json:"vault_addr"`
	MetricsURL string            `json:"metrics_url"`
	Upstream   string            `json:"upstream_url"`
	Pids       map[string]int    `json:"pids"`
}

// User is somebody who can sign in.
type User struct{ Tenant, Email, Password string }

// Operator is who runs the platform.
type Operator struct {
	URL, Email, Password string
	APIKey               string `json:"api_key"`
}

// Platform is a running `platform dev`.
type Platform struct {
	Ready
	State string       // its state folder
	HTTP  *http.Client // remembers every answer, for Secrets.In; follows no redirect

	child  *embedded.Child
	screen string // log of what it prints
	seen   *transcript
	vault  string // Vault's log of what it issued, as it is

	mu     sync.Mutex
	people map[string]*onceValue[*Person]
	apps   map[string]*onceValue[*App]
}

type onceValue[T any] struct {
	sync.Once
	value T
	err   error
}

func (o *onceValue[T]) get(make func() (T, error)) (T, error) {
	o.Do(func() { o.value, o.err = make() })
	return o.value, o.err
}

// Binaries builds the platform and its worker with the race detector, once a
// test process, and returns their folder.
func Binaries(t testing.TB) string {
	t.Helper()
	dir, err := binaries.get(func() (string, error) {
		dir, err := os.MkdirTemp("", "latchkey-e2e-bin-")
		if err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		build := exec.CommandContext(ctx, "go", "build", "-race", "-o", dir+string(filepath.Separator), "./cmd/platform", "./cmd/worker")
		build.Dir = testenv.RepoRoot(t)
		if out, err := build.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build: %w\n%s", err, out)
		}
		return dir, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// HostingBinaries are those of which the worker can host processes: what keeps
// them in bounds memory, and the race detector reserves more of it than there
// is. It is the platform of Binaries with a worker that has none.
func HostingBinaries(t testing.TB) string {
	t.Helper()
	with := Binaries(t)
	dir := filepath.Join(with, "hosting")
	_, err := hostingBinaries.get(func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		build := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "./cmd/worker")
		build.Dir = testenv.RepoRoot(t)
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build: %w\n%s", err, out)
		}
		return dir, os.Link(filepath.Join(with, "platform"), filepath.Join(dir, "platform"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var binaries, hostingBinaries onceValue[string]

const statePrefix = "latchkey-e2e-"

// StateDir makes an empty folder for a platform's state. It is removed after
// the test.
func StateDir(t testing.TB) string {
	t.Helper()
	dir, err := testenv.Folder(statePrefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "state")
}

// Start runs a platform of the test's own until the test ends, and then checks
// that it leaked nothing.
func Start(t testing.TB) *Platform {
	t.Helper()
	return StartIn(t, StateDir(t))
}

// StartHosting is Start with a worker that can host processes.
func StartHosting(t testing.TB, args ...string) *Platform {
	t.Helper()
	return startIn(t, HostingBinaries(t), StateDir(t), args...)
}

// StartIn is Start on a given state folder.
func StartIn(t testing.TB, state string) *Platform {
	t.Helper()
	return startIn(t, Binaries(t), state)
}

func startIn(t testing.TB, bin, state string, args ...string) *Platform {
	t.Helper()
	p, err := launch(bin, testenv.RepoRoot(t), state, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Shared is the platform for tests that leave no mark on others: it is started
// once a test process.
func Shared(t testing.TB) *Platform {
	t.Helper()
	bin, root := Binaries(t), testenv.RepoRoot(t)
	p, err := shared.get(func() (*Platform, error) {
		dir, err := testenv.Folder(statePrefix)
		if err != nil {
			return nil, err
		}
		return launch(bin, root, filepath.Join(dir, "state"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var shared onceValue[*Platform]

// end stops the shared platform and removes what the process made.
func end() error {
	var errs []error
	if p, _ := shared.get(func() (*Platform, error) { return nil, nil }); p != nil {
		errs = append(errs, p.Stop(), os.RemoveAll(filepath.Dir(p.State)))
	}
	if dir, _ := binaries.get(func() (string, error) { return "", nil }); dir != "" {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// noRaceSleep spares the second for which a binary with the race detector
// waits at its end.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"

// stopSteps give a platform the time for everything that it stops in turn.
var stopSteps = []embedded.StopStep{{Signal: syscall.SIGINT, Wait: 60 * time.Second}}

func launch(bin, root, state string, args ...string) (_ *Platform, err error) {
	p := &Platform{
		State: state, screen: state + ".screen.log", vault: state + ".vault.json", seen: &transcript{},
		people: map[string]*onceValue[*Person]{}, apps: map[string]*onceValue[*App]{},
	}
	p.HTTP = &http.Client{
		Timeout:       60 * time.Second,
		Transport:     p.seen.record(&http.Transport{MaxIdleConnsPerHost: 64}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	p.child, err = embedded.StartChild(embedded.ChildOptions{
		Name: "platform dev", Path: filepath.Join(bin, "platform"), Args: append([]string{"dev", "--port", "0", "--state", state, "--packaged=false"}, args...),
		Env: append(os.Environ(), noRaceSleep), Dir: root, Log: p.screen, Stop: stopSteps,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.child.Stop())
		}
	}()
	// The first run of a machine builds Vault.
	err = poll(15*time.Minute, func() error {
		select {
		case <-p.child.Done():
			return final{fmt.Errorf("platform dev ended: %v\n%s", p.child.Err(), p.child.LogTail())}
		default:
		}
		b, err := os.ReadFile(filepath.Join(state, "ready.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &p.Ready); err != nil {
			return err
		}
		if p.Pids["platform"] != p.child.Pid() { // of an earlier run, which was killed
			return errors.New("ready.json is not this run's")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, errors.Join(p.LiftLimits(), p.logVault())
}

// Stop ends the platform as Ctrl-C does. It reports a race that the platform
// or its worker ran into, processes that it left behind, and secrets that got
// out.
func (p *Platform) Stop() error {
	select {
	case <-p.child.Done():
		return p.raced()
	default:
	}
	leaked := p.leaks()
	tree := descendants(p.child.Pid())
	err := p.child.Stop()
	return errors.Join(leaked, err, stillThere(tree), p.raced())
}

func (p *Platform) raced() error {
	var errs []error
	for _, log := range []string{p.screen, p.Path("worker.log")} {
		b, err := os.ReadFile(log)
		if err != nil {
			continue
		}
		if _, race, found := bytes.Cut(b, []byte("WARNING: DATA RACE")); found {
			errs = append(errs, fmt.Errorf("data race, in %s: %.4000s", filepath.Base(log), race))
		}
	}
	return errors.Join(errs...)
}

// Path names a file in the state folder.
func (p *Platform) Path(name string) string { return filepath.Join(p.State, name) }

// Resource is the URL of a tenant's server.
func (p *Platform) Resource(tenant, server string) string {
	return p.Tenants[tenant] + "/mcp/" + server
}

// User finds who signs in with an address.
func (p *Platform) User(email string) (User, error) {
	for _, u := range p.Users {
		if u.Email == email {
			return u, nil
		}
	}
	return User{}, fmt.Errorf("ready.json has no user %s", email)
}

// Worker is the process id of the worker that runs now.
func (p *Platform) Worker() (int, error) { return p.childNamed("worker") }

// Vault is the process id of Vault.
func (p *Platform) Vault() (int, error) {
	b, err := os.ReadFile(p.Path("vault/pid"))
	if err != nil {
		return 0, err
	}
	pid, _, _ := strings.Cut(string(b), " ")
	return strconv.Atoi(pid)
}

func (p *Platform) childNamed(name string) (int, error) {
	for _, d := range descendants(p.child.Pid()) {
		if d.parent == p.child.Pid() && d.name == name && d.alive() {
			return d.pid, nil
		}
	}
	return 0, fmt.Errorf("no process %s runs below platform dev", name)
}

// process is one of the process table, told from a later one with the same id
// by when it began.
type process struct {
	pid, parent int
	name        string
	state       string
	began       string
}

func readProcess(pid int) (process, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// pid (name) state ppid …, with the start at field 22
	open, close := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || close < open {
		return process{}, false
	}
	f := strings.Fields(string(b[close+1:]))
	if len(f) < 20 {
		return process{}, false
	}
	parent, _ := strconv.Atoi(f[1])
	return process{pid: pid, parent: parent, name: string(b[open+1 : close]), state: f[0], began: f[19]}, true
}

// alive reports whether it still runs: neither gone, nor a zombie, nor another.
func (p process) alive() bool {
	now, ok := readProcess(p.pid)
	return ok && now.began == p.began && now.state != "Z" && now.state != "X"
}

// descendants lists all processes below one.
func descendants(pid int) []process {
	entries, _ := os.ReadDir("/proc")
	children := map[int][]process{}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if c, ok := readProcess(id); ok {
			children[c.parent] = append(children[c.parent], c)
		}
	}
	var out []process
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, c := range children[queue[0]] {
			out = append(out, c)
			queue = append(queue, c.pid)
		}
	}
	return out
}

func stillThere(tree []process) error {
	return poll(5*time.Second, func() error {
		var errs []error
		for _, d := range tree {
			if d.alive() {
				errs = append(errs, fmt.Errorf("%s (pid %d) was left behind", d.name, d.pid))
			}
		}
		return errors.Join(errs...)
	})
}

// final is an error after which it is no use to go on.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// poll tries until f gives no error, and returns the last one when the time is
// over.
func poll(within time.Duration, f func() error) error {
	end := time.NewTimer(within)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		var f final
		if err == nil || errors.As(err, &f) {
			return err
		}
		select {
		case <-end.C:
			return fmt.Errorf("after %s: %w", within, err)
		case <-tick.C:
		}
	}
}

// Eventually fails the test if f does not come true in time.
func Eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	if err := poll(within, f); err != nil {
		t.Fatal(err)
	}
}
