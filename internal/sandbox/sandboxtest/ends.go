//go:build linux

package sandboxtest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/sandbox"
)

func ownerOf(info fs.FileInfo) string {
	return strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid))
}

func contextOf(t any) context.Context {
	if t, ok := t.(*testing.T); ok {
		return t.Context()
	}
	return context.Background()
}

// host is a process of the host, by what no other ever has again.
type host struct {
	pid   int
	start string
}

func startOf(pid int) (ppid int, start string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ""
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0, ""
	}
	ppid, _ = strconv.Atoi(f[1])
	return ppid, f[19]
}

// family lists what descends from a process, without itself.
func (s *suite) family(of int) (all []host) {
	below := map[int][]host{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if ppid, start := startOf(pid); start != "" {
				below[ppid] = append(below[ppid], host{pid, start})
			}
		}
	}
	queue := []int{of}
	for len(queue) > 0 {
		for _, h := range below[queue[0]] {
			all = append(all, h)
			queue = append(queue, h.pid)
		}
		queue = queue[1:]
	}
	return all
}

// gone waits until none of them is left.
func (s *suite) gone(all []host) {
	s.Helper()
	for end := time.Now().Add(soon); ; {
		left := 0
		for _, h := range all {
			if _, start := startOf(h.pid); start == h.start {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%d of %d processes are left", left, len(all))
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (s *suite) survivors() {
	for name, end := range map[string]func(p sandbox.Process){
		"its first process ends": func(sandbox.Process) {},
		"stopped":                func(p sandbox.Process) { p.Stop(time.Millisecond) },
	} {
		a := sandbox.Attack{Hoard: "orphans", Count: 10}
		if name == "stopped" {
			a.Bytes = 1 // its first process stays, and ignores SIGTERM
		}
		p := s.start(sandbox.Spec{Argv: a.Command(), Tenant: "tn_a", Server: "sv_a"})
		r, _ := p.Stdio()
		line, err := bufio.NewReader(r).ReadString('\n')
		if err != nil || !strings.Contains(line, `"10, `) {
			s.Fatalf("%s: %q, %v", name, line, err)
		}
		all := s.family(os.Getpid())
		if name == "stopped" && len(all) < 2 {
			s.Errorf("only %d processes were seen", len(all))
		}
		end(p)
		s.wait(p)
		s.gone(all)
	}
}

const (
	crashVariable  = "LATCHKEY_SANDBOXTEST_CRASH"
	helperVariable = "LATCHKEY_SANDBOXTEST_HELPER"
)

// Main is TestMain of a package that runs the suite. The tests' process is also
// a worker that is going to be killed, when the suite starts it as one.
func Main(m *testing.M, open func(name, dir string) (sandbox.Driver, error)) {
	sandbox.Helper()
	if v := os.Getenv(crashVariable); v != "" {
		name, dir, _ := strings.Cut(v, ":")
		os.Exit(crash(open, name, dir))
	}
	os.Exit(mainWithHelper(m))
}

func mainWithHelper(m *testing.M) int {
	if raceDetector && os.Getenv(helperVariable) == "" {
		dir, err := os.MkdirTemp("", "sandboxtest-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		helper := filepath.Join(dir, "helper")
		build := exec.Command("go", "build", "-race=false", "-o", helper, "latchkey/internal/sandbox/sandboxtest/helper")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the helper: %v\n%s", err, out)
			return 1
		}
		os.Chmod(dir, 0o755)
		os.Setenv(helperVariable, helper)
	}
	return m.Run()
}

// HelperFor is what a test's driver has to mount inside, as Options.Helper.
func HelperFor() string { return os.Getenv(helperVariable) }

func crash(open func(name, dir string) (sandbox.Driver, error), name, dir string) int {
	d, err := open(name, dir)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	p, err := d.Start(context.Background(), sandbox.Spec{Tenant: "tn_a", Server: "sv_a", Argv: sandbox.Attack{Hoard: "orphans", Count: 10, Bytes: 1}.Command(), Egress: []string{"example.com:443"}})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	r, _ := p.Stdio()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("running")
	p.Wait()
	return 0
}

func (s *suite) killed() {
	dir := Folder(s.T)
	s.driver(sandbox.Options{Dir: dir})
	exe, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	worker := exec.Command(exe)
	worker.Env = append(os.Environ(), crashVariable+"="+s.Driver.Name()+":"+dir)
	out, err := worker.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		s.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "running\n" {
		worker.Process.Kill()
		s.Fatalf("%q, %v", line, err)
	}
	all := s.family(worker.Process.Pid)
	if len(all) < 3 {
		s.Errorf("only %d processes were seen", len(all))
	}
	if err := worker.Process.Kill(); err != nil {
		s.Fatal(err)
	}
	worker.Wait()
	s.gone(all)
	// What it left on disk goes with the next that opens the folder.
	s.driver(sandbox.Options{Dir: dir})
	if left, _ := os.ReadDir(dir + "/run"); len(left) > 2 {
		s.Errorf("%d folders are left", len(left))
	}
}
