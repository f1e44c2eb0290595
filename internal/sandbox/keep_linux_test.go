package sandbox_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"latchkey/internal/sandbox"
	"latchkey/internal/sandbox/sandboxtest"
)

// What an operator mends is taken up without a new start, and runs nothing
// before.
func TestSandboxThatIsMendedIsTakenUp(t *testing.T) {
	openDriver(t, "bwrap", sandbox.Options{Dir: sandboxtest.Folder(t)})
	program, err := exec.LookPath("bwrap")
	if err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "bwrap")
	type verdict struct {
		driver sandbox.Driver
		err    error
	}
	told := make(chan verdict, 100)
	k := sandbox.Keep(t.Context(), sandbox.Options{
		Driver: "bwrap", Bwrap: missing, Dir: sandboxtest.Folder(t), Helper: sandboxtest.HelperFor(), Cgroup: os.Getenv("LATCHKEY_SANDBOX_CGROUP"), Again: time.Millisecond,
	}, func(d sandbox.Driver, _ sandbox.Guarantees, err error) { told <- verdict{d, err} })
	if v := <-told; v.err == nil || v.driver != nil {
		t.Fatalf("without its program: %+v", v)
	}
	spec := sandbox.Spec{Tenant: "tn_a", Server: "sv_a", Argv: []string{"true"}}
	if _, err := k.Start(t.Context(), spec); !errors.Is(err, sandbox.ErrNotHeld) || k.Name() != "" {
		t.Errorf("%q started something: %v", k.Name(), err)
	}
	if err := os.Symlink(program, missing); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case v := <-told:
			if v.err != nil {
				continue
			}
			p, err := k.Start(t.Context(), spec)
			if err != nil || k.Name() != "bwrap" {
				t.Fatalf("%q: %v", k.Name(), err)
			}
			if e := p.Wait(); e.Code != 0 {
				t.Errorf("%+v", e)
			}
			return
		case <-time.After(2 * time.Minute):
			t.Fatal("it was not taken up")
		}
	}
}

func TestSandboxThatIsSwitchedOffIsTriedOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	k := sandbox.Keep(ctx, sandbox.Options{Driver: "off", Again: time.Nanosecond}, func(_ sandbox.Driver, _ sandbox.Guarantees, err error) {
		if n++; !errors.Is(err, sandbox.ErrOff) {
			t.Error(err)
		}
	})
	if n != 1 || k.Name() != "" {
		t.Errorf("told %d times, named %q", n, k.Name())
	}
}
