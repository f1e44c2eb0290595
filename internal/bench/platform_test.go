package bench

import (
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
	"syscall"
	"testing"
	"time"

	"latchkey/internal/e2e"
	"latchkey/internal/embedded"
	"latchkey/internal/testenv"
)

// buildBinaries builds platform and worker as they are shipped.
func buildBinaries(b *testing.B, extra ...string) string {
	b.Helper()
	dir := b.TempDir()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	args := append(append([]string{"build"}, extra...), "-o", dir+string(filepath.Separator), "./cmd/platform", "./cmd/worker")
	build := exec.CommandContext(ctx, "go", args...)
	build.Dir = testenv.RepoRoot(b)
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// running is a `platform dev` of the bench's own.
type running struct {
	*e2e.Platform // for what a person and an app do
	child         *embedded.Child
	ready         time.Duration // from its start
}

func (r *running) pid(name string) int { return r.Pids[name] }

// stateDir is a folder that Postgres may reach as another account too.
func stateDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	return filepath.Join(dir, "state")
}

// start runs the binaries on a state folder and waits until they are ready.
func start(b *testing.B, bin, state string) *running {
	b.Helper()
	began := time.Now()
	child, err := embedded.StartChild(embedded.ChildOptions{
		Name: "platform dev", Path: filepath.Join(bin, "platform"), Args: []string{"dev", "--port", "0", "--state", state, "--packaged=false"},
		Dir: testenv.RepoRoot(b), Log: state + ".screen.log", Stop: []embedded.StopStep{{Signal: syscall.SIGINT, Wait: time.Minute}},
	})
	if err != nil {
		b.Fatal(err)
	}
	r := &running{child: child, Platform: &e2e.Platform{State: state, HTTP: &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}}
	b.Cleanup(func() { r.stop(b) })
	for end := began.Add(15 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if err = r.readReady(); err == nil {
			break
		}
		select {
		case <-child.Done():
			b.Fatalf("platform dev ended: %v\n%s", child.Err(), child.LogTail())
		default:
		}
		if time.Now().After(end) {
			b.Fatalf("platform dev does not become ready: %v\n%s", err, child.LogTail())
		}
	}
	r.ready = time.Since(began)
	if err := errors.Join(r.LiftLimits(), r.LiftToolLimits("acme", "orders")); err != nil {
		b.Fatal(err)
	}
	return r
}

func (r *running) readReady() error {
	text, err := os.ReadFile(r.Path("ready.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &r.Ready); err != nil {
		return err
	}
	if r.Pids["platform"] != r.child.Pid() {
		return errors.New("ready.json is of an earlier run")
	}
	return nil
}

func (r *running) stop(b *testing.B) {
	if err := r.child.Stop(); err != nil {
		b.Error(err)
	}
}

// memory is what a process holds, in bytes.
type memory struct {
	rss int64 // all pages that it has in memory
	pss int64 // the same, with shared pages divided among their users
}

func (m memory) String() string { return fmt.Sprintf("%.0f MB (PSS %.0f)", mb(m.rss), mb(m.pss)) }

func mb(n int64) float64 { return float64(n) / (1 << 20) }

func (m memory) max(o memory) memory { return memory{max(m.rss, o.rss), max(m.pss, o.pss)} }

func memoryOf(pid int) (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "Rss:":
			m.rss = kb << 10
		case "Pss:":
			m.pss = kb << 10
		}
	}
	return m, nil
}

// watchMemory keeps the most that a process held until stop.
func watchMemory(pid int) (stop func() memory) {
	done, most := make(chan struct{}), make(chan memory)
	go func() {
		var m memory
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			if now, err := memoryOf(pid); err == nil {
				m = m.max(now)
			}
			select {
			case <-tick.C:
			case <-done:
				most <- m
				return
			}
		}
	}()
	return func() memory { close(done); return <-most }
}

// processors is the processor time that processes have used, with their
// children where those run for them, as Postgres's do.
func processors(pids ...int) time.Duration {
	var ticks int64
	for _, pid := range pids {
		ticks += ticksOf(pid)
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil || !isPostgres(pid) {
			continue
		}
		for _, f := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				ticks += ticksOf(child)
			}
		}
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond)
}

const ticksPerSecond = 100 // USER_HZ, which Linux fixes for what it tells programs

func isPostgres(pid int) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.HasPrefix(string(name), "postgres")
}

func ticksOf(pid int) int64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return user + system
}
