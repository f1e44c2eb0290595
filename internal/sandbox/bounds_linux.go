package sandbox

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bounds watches what the kernel does not bound by itself, and kills the
// sandbox that goes over: the size of its state always; its memory where no
// cgroup counts it. It looks several times a second, so that a burst between
// two looks is not seen: what the kernel bounds (each process's memory, each
// file's size, the number of processes) is set as well.
type bounds struct {
	limits Limits
	state  []Mount
	memory bool // no cgroup does it
	driver int  // threads of the driver's own; above 0, their number is bounded here

	root int // the first process inside
	kill func()
	stop chan struct{}
	over sync.WaitGroup

	mu       sync.Mutex
	ended    bool
	last     Stats
	exceeded Exit // only its Out fields
}

const (
	look        = 200 * time.Millisecond
	lookClosely = 50 * time.Millisecond // above half of the bound
	measureTime = 5 * time.Second       // between two measures of a state that does not seem to change
	// perEntry is what a file costs at least, and perSocket what it may hold.
	perEntry  = 4 << 10
	perSocket = 208 << 10
)

func (b *bounds) begin(root int, kill func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.root, b.kill, b.stop = root, kill, make(chan struct{})
	b.over.Go(b.watch)
}

// end stops the watch, and tells what was over.
func (b *bounds) end(e *Exit) {
	b.mu.Lock()
	b.ended = true
	if b.stop != nil {
		close(b.stop)
	}
	b.mu.Unlock()
	b.over.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	e.OutOfMemory, e.OutOfPids, e.OutOfDisk = b.exceeded.OutOfMemory, b.exceeded.OutOfPids, b.exceeded.OutOfDisk
	if b.memory && !e.OutOfMemory && e.Code != 0 {
		e.OutOfMemory = diedOfMemory(e.Stderr)
	}
}

// diedOfMemory recognises what common runtimes print when the kernel gives them
// no more, for there is nobody else to tell.
func diedOfMemory(stderr string) bool {
	s := strings.ToLower(stderr)
	for _, sign := range []string{"out of memory", "cannot allocate memory", "memoryerror", "bad_alloc", "heap limit", "enomem", "allocation failed"} {
		if strings.Contains(s, sign) {
			return true
		}
	}
	return false
}

func (b *bounds) watch() {
	var free uint64
	var measured time.Time
	for wait := look; ; {
		t := time.NewTimer(wait)
		select {
		case <-b.stop:
			t.Stop()
			return
		case <-t.C:
		}
		wait = look
		if b.memory {
			used, threads := b.measure()
			if b.driver > 0 && threads > b.limits.Pids+b.driver {
				b.exceed(func(e *Exit) { e.OutOfPids = true })
			}
			if used > b.limits.MemoryBytes {
				b.exceed(func(e *Exit) { e.OutOfMemory = true })
			} else if used > b.limits.MemoryBytes/2 {
				wait = lookClosely
			}
		}
		if b.tmpEntries() > entries(b.limits.TmpBytes) {
			b.exceed(func(e *Exit) { e.OutOfDisk = true })
		}
		// Others write there too: less room is only a reason to look.
		if now := freeBytes(b.state); now != free || time.Since(measured) > measureTime {
			if free, measured = now, time.Now(); stateBytes(b.state, b.limits.StateBytes) > b.limits.StateBytes {
				b.exceed(func(e *Exit) { e.OutOfDisk = true })
			}
		}
	}
}

func (b *bounds) exceed(mark func(*Exit)) {
	b.mu.Lock()
	mark(&b.exceeded)
	b.mu.Unlock()
	b.kill()
}

// entries is how many files may be in so many bytes.
func entries(bytes int64) int64 { return 1000 + bytes/perEntry }

// measure adds up all processes, what lies in the sandbox's file systems in
// memory, and what its sockets may hold.
func (b *bounds) measure() (memory int64, threads int) {
	var s Stats
	var ticks int64
	for _, pid := range descendants(b.root, 4*b.limits.Pids) {
		u := usageOf(pid, b.driver > 0)
		s.MemoryBytes += u.memory
		s.Pids += u.threads
		ticks += u.ticks
	}
	inside := "/proc/" + strconv.Itoa(b.root) + "/root"
	for _, dir := range []string{"/tmp", "/dev/shm"} {
		var st unix.Statfs_t
		if unix.Statfs(inside+dir, &st) == nil && st.Type == unix.TMPFS_MAGIC {
			s.MemoryBytes += int64(st.Blocks-st.Bfree) * st.Bsize
		}
	}
	s.MemoryBytes += socketsOf(b.root) * perSocket
	s.CPU = time.Duration(ticks) * (time.Second / 100) // USER_HZ is 100 on all of Go's Linux
	b.mu.Lock()
	defer b.mu.Unlock()
	s.PeakBytes = max(b.last.PeakBytes, s.MemoryBytes)
	b.last = s
	if b.driver == 0 && s.Pids >= b.limits.Pids {
		b.exceeded.OutOfPids = true
	}
	return s.MemoryBytes, s.Pids
}

func (b *bounds) stats() Stats {
	if b.root == 0 {
		return Stats{}
	}
	b.measure()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

func (b *bounds) tmpEntries() int64 {
	var most int64
	for _, dir := range []string{"/tmp", "/dev/shm"} {
		var st unix.Statfs_t
		if unix.Statfs("/proc/"+strconv.Itoa(b.root)+"/root"+dir, &st) == nil && st.Type == unix.TMPFS_MAGIC {
			most = max(most, int64(st.Files-st.Ffree))
		}
	}
	return most
}

func freeBytes(mounts []Mount) (free uint64) {
	for _, m := range mounts {
		var st unix.Statfs_t
		if unix.Statfs(m.Source, &st) == nil {
			free += st.Bfree*uint64(st.Bsize) + st.Ffree
		}
	}
	return free
}

// stateBytes adds up folders, until they are over most.
func stateBytes(mounts []Mount, most int64) (used int64) {
	for _, m := range mounts {
		used += folderBytes(m.Source, most-used)
	}
	return used
}

// folderBytes is what the files of a folder take on disk, or something above
// most. It follows no links, and does not leave the folder whatever its owner
// turns into what meanwhile.
func folderBytes(dir string, most int64) (used int64) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		used += perEntry
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				used += max(st.Blocks*512-perEntry, 0)
			}
		}
		if used > most {
			return filepath.SkipAll
		}
		return nil
	})
	return used
}
