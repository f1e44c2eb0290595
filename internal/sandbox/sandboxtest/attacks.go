//go:build linux

package sandboxtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"latchkey/internal/sandbox"
)

// attacks tries all that one run can, with things of this machine that it must
// not reach.
func (s *suite) attacks() {
	found := Attack(s.T, func() Fixture { s.driver(sandbox.Options{}); return s.Fixture }())
	rules := map[string]int{}
	for _, f := range found {
		rules[f.Rule]++
		if !f.Held {
			s.Errorf("%s: could %s: %s", f.Rule, f.Try, f.Said)
		}
	}
	least := map[string]int{"files": 90, "processes": 4, "network": 15, "syscalls": 6}
	if !s.OwnKernel {
		least["syscalls"] = 45
	}
	for rule, n := range least {
		if rules[rule] < n {
			s.Errorf("only %d attempts on %s", rules[rule], rule)
		}
	}
}

// Attack lays out what must not be reached, and gives what was tried.
func Attack(t interface {
	Helper()
	Fatal(...any)
	TempDir() string
	Cleanup(func())
	Setenv(string, string)
}, f Fixture) []sandbox.Finding {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "host-file")
	must(os.WriteFile(file, []byte("host"), 0o644))
	must(os.Chmod(dir, 0o777))
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	t.Cleanup(func() { tcp.Close() })
	name := fmt.Sprintf("latchkey-test-%d", os.Getpid())
	abstract, err := net.Listen("unix", "@"+name)
	must(err)
	t.Cleanup(func() { abstract.Close() })
	bystander := exec.Command("sleep", "1000")
	must(bystander.Start())
	t.Cleanup(func() { bystander.Process.Kill(); bystander.Wait() })
	// In the environment of this process, which is the worker here.
	t.Setenv("LATCHKEY_TEST_CANARY", "left-half-right-half")
	state := t.TempDir()

	a := sandbox.Attack{
		Read: []string{file, dir, "/proc/self/environ/../../../" + file}, Write: []string{dir}, Signal: []int{os.Getpid(), bystander.Process.Pid, os.Getppid()},
		Dial: []string{tcp.Addr().String()}, Abstract: []string{name}, Canary: [2]string{"left-half-", "right-half"}, State: "/state", OwnKernel: f.OwnKernel,
	}
	p, err := f.Driver.Start(contextOf(t), sandbox.Spec{Tenant: "tn_hostile", Server: "sv_hostile", Argv: a.Command(), State: []sandbox.Mount{{Source: state, Target: "/state"}}})
	must(err)
	t.Cleanup(func() { p.Stop(0) })
	found := sandbox.Findings(p)
	if e := p.Wait(); e.Code != 0 {
		t.Fatal(fmt.Sprintf("the attack ended with %+v", e))
	}
	return found
}

// Table is what was found, for a reader.
func Table(found []sandbox.Finding) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, f := range found {
		held := "held"
		if !f.Held {
			held = "BROKEN"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", held, f.Rule, f.Try, strings.ReplaceAll(f.Said, "\n", " "))
	}
	w.Flush()
	return b.String()
}
