package testenv

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/embedded"
)

// ValkeyServer is a Valkey, or a Redis, which speaks the same, of one test. It
// keeps nothing.
type ValkeyServer struct {
	bin, dir, password string
	child              *embedded.Child
}

// Valkey starts one, which stops with the test.
func Valkey(t testing.TB) *ValkeyServer {
	t.Helper()
	bin := ""
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			bin = path
			break
		}
	}
	if bin == "" {
		t.Fatal("no valkey-server or redis-server was found. Run `scripts/need`, or `apt-get install redis-server`")
	}
	dir, err := os.MkdirTemp(current(t).dir, "valkey-") // short: a socket's path has 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	v := &ValkeyServer{bin: bin, dir: dir, password: rand.Text()}
	t.Cleanup(func() { v.Stop(t) })
	v.Start(t)
	return v
}

// URL has a password in it.
func (v *ValkeyServer) URL() string { return "unix://:" + v.password + "@" + v.socket() }

func (v *ValkeyServer) socket() string { return filepath.Join(v.dir, "s") }

// Start starts it again after Stop, with nothing in it.
func (v *ValkeyServer) Start(t testing.TB) {
	t.Helper()
	config := "port 0\nunixsocket " + v.socket() + "\nrequirepass " + v.password + "\nsave \"\"\nappendonly no\ndir " + v.dir + "\n"
	file := filepath.Join(v.dir, "conf") // a password has no place in a command line
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if v.child, err = embedded.StartChild(embedded.ChildOptions{Name: "Valkey", Path: v.bin, Args: []string{file}, Log: filepath.Join(v.dir, "log")}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", v.socket()); err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-v.child.Done():
			t.Fatalf("Valkey ended by itself: %v\n%s", v.child.Err(), v.child.LogTail())
		case <-ctx.Done():
			t.Fatalf("Valkey does not answer\n%s", v.child.LogTail())
		}
	}
}

// Stop ends it, as when its machine is lost.
func (v *ValkeyServer) Stop(t testing.TB) {
	t.Helper()
	if v.child == nil {
		return
	}
	if err := v.child.Stop(); err != nil && !strings.Contains(err.Error(), "was killed") {
		t.Error(err)
	}
	os.Remove(v.socket())
}

// Pause keeps it from answering, with its connections open, until Resume.
func (v *ValkeyServer) Pause(t testing.TB)  { t.Helper(); v.signal(t, syscall.SIGSTOP) }
func (v *ValkeyServer) Resume(t testing.TB) { t.Helper(); v.signal(t, syscall.SIGCONT) }

func (v *ValkeyServer) signal(t testing.TB, s syscall.Signal) {
	if err := syscall.Kill(v.child.Pid(), s); err != nil {
		t.Fatal(err)
	}
}
