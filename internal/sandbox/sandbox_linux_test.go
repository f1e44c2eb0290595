package sandbox_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"latchkey/internal/sandbox"
	"latchkey/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	sandboxtest.Main(m, func(name, dir string) (sandbox.Driver, error) {
		return sandbox.Open(sandbox.Options{Driver: name, Dir: dir, Runsc: runsc(), Helper: sandboxtest.HelperFor(), Cgroup: os.Getenv("LATCHKEY_SANDBOX_CGROUP")})
	})
}

// runsc is what `make runsc` built, unless another is named.
func runsc() string {
	if set := os.Getenv("LATCHKEY_SANDBOX_RUNSC"); set != "" {
		return set
	}
	if path, err := filepath.Abs("../../bin/runsc"); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// openDriver skips where the machine cannot, and says why; LATCHKEY_SANDBOX_TEST
// names drivers that have to work, for CI.
func openDriver(t testing.TB, name string, o sandbox.Options) sandboxtest.Fixture {
	t.Helper()
	o.Driver, o.Runsc, o.Cgroup = name, runsc(), os.Getenv("LATCHKEY_SANDBOX_CGROUP")
	o.Helper = sandboxtest.HelperFor()
	d, err := sandbox.Open(o)
	if err == nil {
		var p sandbox.Process
		if p, err = d.Start(t.Context(), sandbox.Spec{Tenant: "tn_first", Server: "sv_first", Argv: []string{"true"}}); err == nil {
			p.Wait()
		}
	}
	if err != nil {
		if os.Getenv("LATCHKEY_SANDBOX_TEST") == name {
			t.Fatal(err)
		}
		t.Skipf("this machine cannot run %s: %v", name, err)
	}
	return sandboxtest.Fixture{Driver: d, OwnKernel: name == "gvisor", OwnUsers: os.Getuid() == 0}
}

func TestBwrap(t *testing.T) {
	sandboxtest.Run(t, func(t *testing.T, o sandbox.Options) sandboxtest.Fixture { return openDriver(t, "bwrap", o) })
}

func TestGvisor(t *testing.T) {
	sandboxtest.Run(t, func(t *testing.T, o sandbox.Options) sandboxtest.Fixture { return openDriver(t, "gvisor", o) })
}

// As on a developer's machine: all of the suite again, by an ordinary user.
func TestBwrapAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("TestBwrap is that already")
	}
	openDriver(t, "bwrap", sandbox.Options{Dir: t.TempDir()})
	dir := sandboxtest.Folder(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "sandbox.test")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(dir, "tmp")
	const uid = 1_899_999_999
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, uid, uid); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestBwrap$", "-test.v")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=" + tmp, "LATCHKEY_SANDBOX_TEST=bwrap"}
	if helper := sandboxtest.HelperFor(); helper != "" {
		cmd.Env = append(cmd.Env, "LATCHKEY_SANDBOXTEST_HELPER="+helper)
	}
	cmd.Dir = tmp
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestGuarantees prints what each driver holds on this machine:
// go test -v -run TestGuarantees ./internal/sandbox
func TestGuarantees(t *testing.T) {
	for _, name := range []string{"bwrap", "gvisor"} {
		t.Run(name, func(t *testing.T) {
			f := openDriver(t, name, sandbox.Options{Dir: sandboxtest.Folder(t)})
			g, err := f.Driver.Probe(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if missing := g.Missing(); len(missing) > 0 {
				t.Errorf("not held: %v", missing)
			}
			t.Logf("%s: %+v\n%s", name, g, sandboxtest.Table(sandboxtest.Attack(t, f)))
		})
	}
}
