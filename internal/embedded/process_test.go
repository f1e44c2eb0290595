package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStopAsksThenKills(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	c, err := StartChild(ChildOptions{
		Name: "mule", Path: "/bin/sh", Log: log,
		Args: []string{"-c", `trap 'echo asked' TERM; trap 'echo urged' INT; echo ready; while :; do sleep 0.05; done`},
		Stop: []StopStep{{syscall.SIGTERM, 300 * time.Millisecond}, {syscall.SIGINT, 300 * time.Millisecond}},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is ready", func() bool { return strings.Contains(c.LogTail(), "ready") })
	wantError(t, c.Stop(), "mule", "was killed", log)
	if said := strings.Join(strings.Fields(c.LogTail()), " "); said != "ready asked urged" {
		t.Errorf("the child said %q", said)
	}
	if c.Err() == nil {
		t.Error("Err is nil after a kill")
	}
	if again := c.Stop(); again == nil {
		t.Error("the second Stop forgot what the first one said")
	}
}

func TestStopOfAChildThatEnded(t *testing.T) {
	c, err := StartChild(ChildOptions{Name: "brief", Path: "/bin/sh", Args: []string{"-c", "exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	wantError(t, c.Err(), "exit status 3")
}

func TestChildIsInAGroupOfItsOwn(t *testing.T) {
	c, err := StartChild(ChildOptions{Name: "sleep", Path: "/bin/sleep", Args: []string{"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	if group, err := syscall.Getpgid(c.Pid()); err != nil || group != c.Pid() {
		t.Errorf("the child %d is in group %d, %v: Ctrl-C would reach it first", c.Pid(), group, err)
	}
}

func TestHeldStdinEndsWithStop(t *testing.T) {
	c, err := StartChild(ChildOptions{Name: "cat", Path: "/bin/cat", HoldStdin: true})
	if err != nil {
		t.Fatal(err)
	}
	if c.ended(50 * time.Millisecond) {
		t.Error("cat saw the end of its input at once")
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

func TestLargeLogIsSetAside(t *testing.T) {
	log := writeFile(t, "", 0o600, t.TempDir(), "log")
	if err := os.Truncate(log, maxLog+1); err != nil {
		t.Fatal(err)
	}
	c, err := StartChild(ChildOptions{Name: "echo", Path: "/bin/echo", Args: []string{"fresh"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if got := readFrom(log, 0); got != "fresh\n" {
		t.Errorf("the log is %q", got)
	}
	if size := fileSize(log + ".1"); size != maxLog+1 {
		t.Errorf("the old log has %d bytes", size)
	}
}

func TestStopOrphanSparesStrangers(t *testing.T) {
	c, err := StartChild(ChildOptions{Name: "sleep", Path: "/bin/sleep", Args: []string{"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	eventually(t, "sleep runs", func() bool { return runsWith(c.Pid(), "sleep") })
	for _, mark := range []string{"", "/some/data/folder"} {
		if stopped, err := stopOrphan(c.Pid(), mark, nil); stopped || err != nil {
			t.Errorf("mark %q: stopped %v, %v", mark, stopped, err)
		}
	}
	if stopped, err := stopOrphan(c.Pid(), "sleep 1000", []StopStep{{syscall.SIGTERM, 5 * time.Second}}); !stopped || err != nil {
		t.Errorf("stopped %v, %v", stopped, err)
	}
}
