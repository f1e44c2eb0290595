package sandbox

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroups is a part of the cgroup tree (version 2) that is this worker's to
// divide, and in which each sandbox gets a group.
type cgroups struct {
	dir string
	cpu bool
}

// groupPrefix is how the groups of sandboxes are called.
const groupPrefix = "latchkey-"

// openCgroups finds the part and makes it ready. The error says what is in the
// way and what brings it.
func openCgroups(set string) (*cgroups, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, errors.New("this system has no cgroups of version 2 at " + cgroupMount)
	}
	dir, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	if set != "" {
		if dir = filepath.Clean(set); !within(dir, cgroupMount) {
			dir = filepath.Join(cgroupMount, dir)
		}
	} else if dir != cgroupMount && !delegated(dir) {
		return nil, fmt.Errorf("the worker's cgroup is not delegated to it: start it by systemd with Delegate=yes (by hand: `systemd-run --scope -p Delegate=yes …`), or name a group that is its own (LATCHKEY_SANDBOX_CGROUP)")
	}
	g := &cgroups{dir: dir}
	if err := g.prepare(); err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", dir, err)
	}
	g.sweep()
	return g, nil
}

func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join(cgroupMount, path), nil
		}
	}
	return "", errors.New("this process is in no cgroup of version 2")
}

// delegated reports whether systemd says so. (https://systemd.io/CGROUP_DELEGATION)
func delegated(dir string) bool {
	b := make([]byte, 8)
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, name, b); err == nil && string(b[:n]) == "1" {
			return true
		}
	}
	return false
}

// prepare moves this process into a leaf, as groups with controllers must have
// no processes of their own, and switches the controllers on.
func (g *cgroups) prepare() error {
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	have := strings.Fields(string(b))
	want := "+memory +pids"
	for _, need := range []string{"memory", "pids"} {
		if !slices.Contains(have, need) {
			return fmt.Errorf("the %s controller is not there", need)
		}
	}
	if g.cpu = slices.Contains(have, "cpu"); g.cpu {
		want += " +cpu"
	}
	control := filepath.Join(g.dir, "cgroup.subtree_control")
	err = os.WriteFile(control, []byte(want), 0)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	procs, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	if self := strconv.Itoa(os.Getpid()); string(bytes.TrimSpace(procs)) != self {
		return errors.New("it has other processes than this worker, which would be in the way")
	}
	leaf := filepath.Join(g.dir, "worker")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	return os.WriteFile(control, []byte(want), 0)
}

// sweep removes groups that a worker which was killed has left.
func (g *cgroups) sweep() {
	left, _ := filepath.Glob(filepath.Join(g.dir, groupPrefix+"*"))
	for _, dir := range left {
		// One made just now may be another worker's, about to be entered.
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Minute {
			_ = unix.Rmdir(dir)
		}
	}
}

// cgroup is a sandbox's group.
type cgroup struct {
	dir    string
	handle *os.File
}

// groupSlack is for the driver's own processes and threads in a group.
const groupSlack = 24

func (g *cgroups) add(l Limits) (*cgroup, error) {
	c := &cgroup{dir: filepath.Join(g.dir, groupPrefix+strings.ToLower(rand.Text()[:16]))}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, err
	}
	settings := [][2]string{
		{"memory.max", strconv.FormatInt(l.MemoryBytes, 10)}, {"memory.oom.group", "1"}, {"pids.max", strconv.Itoa(l.Pids + groupSlack)},
	}
	if g.cpu {
		settings = append(settings, [2]string{"cpu.max", fmt.Sprintf("%d 100000", l.CPUMillis*100)})
	}
	for _, s := range settings {
		if err := c.write(s[0], s[1]); err != nil {
			c.remove()
			return nil, err
		}
	}
	// Absent where the kernel has no swap.
	if err := c.write("memory.swap.max", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.remove()
		return nil, err
	}
	var err error
	if c.handle, err = os.Open(c.dir); err != nil {
		c.remove()
	}
	return c, err
}

func (c *cgroup) write(name, value string) error {
	return os.WriteFile(filepath.Join(c.dir, name), []byte(value), 0)
}

func (c *cgroup) fd() int { return int(c.handle.Fd()) }

func (c *cgroup) kill() { _ = c.write("cgroup.kill", "1") }

// number reads a file of one number, or the one that follows key.
func (c *cgroup) number(name, key string) int64 {
	b, _ := os.ReadFile(filepath.Join(c.dir, name))
	for line := range strings.Lines(string(b)) {
		value := strings.TrimSpace(line)
		if key != "" {
			var ok bool
			if value, ok = strings.CutPrefix(value, key+" "); !ok {
				continue
			}
		}
		n, _ := strconv.ParseInt(value, 10, 64)
		return n
	}
	return 0
}

func (c *cgroup) stats() Stats {
	return Stats{
		MemoryBytes: c.number("memory.current", ""), PeakBytes: c.number("memory.peak", ""), Pids: int(c.number("pids.current", "")),
		CPU: time.Duration(c.number("cpu.stat", "usage_usec")) * time.Microsecond,
	}
}

// end adds what the kernel saw, and removes the group.
func (c *cgroup) end(e *Exit) {
	e.OutOfMemory = e.OutOfMemory || c.number("memory.events", "oom_kill") > 0
	e.OutOfPids = e.OutOfPids || c.number("pids.events", "max") > 0
	c.kill()
	c.remove()
}

// remove waits a moment for the kernel to have taken the last process out.
func (c *cgroup) remove() {
	if c.handle != nil {
		c.handle.Close()
	}
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		if err := unix.Rmdir(c.dir); err == nil || errors.Is(err, unix.ENOENT) {
			return
		}
		time.Sleep(wait)
	}
}
