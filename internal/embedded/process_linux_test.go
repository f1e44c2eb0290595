package embedded

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
)

// The parent-death signal is the death of the forking thread: a child must
// not go with the thread that happened to call StartChild.
func TestChildOutlivesTheThreadThatAskedForIt(t *testing.T) {
	type started struct {
		*Child
		thread int
	}
	ch, hold := make(chan started), make(chan struct{})
	defer close(hold)
	var ask func()
	ask = func() {
		runtime.LockOSThread()                    // never unlocked: the thread ends with this goroutine
		if syscall.Gettid() == syscall.Getpid() { // but for the first thread, which stays
			go ask()
			<-hold
			runtime.UnlockOSThread()
			return
		}
		c, err := StartChild(ChildOptions{Name: "sleep", Path: "/bin/sleep", Args: []string{"1000"}})
		if err != nil {
			t.Error(err)
		}
		ch <- started{c, syscall.Gettid()}
	}
	go ask()
	c := <-ch
	if c.Child == nil {
		return
	}
	defer c.Stop()
	eventually(t, "the thread has ended", func() bool { return !exists(fmt.Sprintf("/proc/self/task/%d", c.thread)) })
	if c.ended(0) || !lives(c.Pid()) {
		t.Errorf("the child ended with it: %v", c.Err())
	}
}

// Whatever way `platform dev` ends, no server stays behind, and the next start
// finds its data.
func TestKilledParentLeavesNoServer(t *testing.T) {
	dir := stateDir(t)
	platform, is := startPlatform(t, dir)
	for name, pid := range map[string]int{"Postgres": is.PostgresPid, "Vault": is.VaultPid, "sleep": is.SleepPid} {
		if !lives(pid) {
			t.Fatalf("%s does not run", name)
		}
	}
	_, err := OpenState(dir)
	wantError(t, err, "in use by", fmt.Sprintf("(pid %d)", platform.Process.Pid), fmt.Sprintf("kill %d", platform.Process.Pid))
	wantError(t, Reset(dir), "in use by")

	platform.Process.Kill()
	for name, pid := range map[string]int{"Postgres": is.PostgresPid, "Vault": is.VaultPid, "sleep": is.SleepPid} {
		eventually(t, name+" has ended", func() bool { return !lives(pid) })
	}
	state, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	startPostgres(t, postgresOptions(dir)).Stop()
	startVault(t, vaultOptions(dir)).Stop()
}
