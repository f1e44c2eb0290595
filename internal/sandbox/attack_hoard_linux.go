package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hoard takes as much of something as it gets.
func (a *Attack) hoard(say report) error {
	switch a.Hoard {
	case "forks":
		n, err := forkMany(a.Count, 0, 0)
		say("pids", "forks", n < a.Count, fmt.Sprintf("%d, then %v", n, err))
		waitIf(n == a.Count)
	case "memory":
		// Several at once: a bound of each alone is none.
		_, err := forkMany(a.Count, uintptr(a.Bytes), unix.MAP_PRIVATE)
		say("memory", "balloon", err != nil, fmt.Sprint("started: ", err))
		waitIf(err == nil)
	case "shared":
		_, err := forkMany(a.Count, uintptr(a.Bytes), unix.MAP_SHARED)
		say("memory", "shared balloon", err != nil, fmt.Sprint("started: ", err))
		waitIf(err == nil)
	case "sockets":
		n, err := fillSockets(a.Count)
		say("memory", "buffers of sockets", err != nil, fmt.Sprintf("%d sockets, then %v", n, err))
		waitIf(err == nil)
	case "tmp":
		for _, dir := range []string{"/tmp", "/dev/shm"} {
			n, err := fill(dir, a.Bytes)
			say("disk", "fill "+dir, n < a.Bytes, fmt.Sprintf("%d bytes, then %v", n, err))
		}
	case "files":
		n := 0
		var err error
		for ; err == nil && n < a.Count; n++ {
			err = unix.Mknod(fmt.Sprintf("%s/%d", a.State, n), unix.S_IFREG|0o600, 0)
		}
		say("disk", "many files", err != nil, fmt.Sprintf("%d, then %v", n, err))
		wait()
	case "state":
		n, err := fill(a.State, a.Bytes)
		say("disk", "fill the state", n < a.Bytes, fmt.Sprintf("%d bytes, then %v", n, err))
		wait()
	case "stderr":
		flood(os.Stderr, a.Bytes)
	case "stdout":
		flood(os.Stdout, a.Bytes)
	case "orphans":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
		n, err := forkMany(a.Count, 0, 0)
		say("processes", "leave some behind", true, fmt.Sprintf("%d, %v", n, err))
		if a.Bytes == 0 {
			return nil // and they stay
		}
		wait()
	}
	os.Exit(0)
	return nil
}

// waitIf waits for a bound that has to end it, unless the kernel has refused.
func waitIf(taken bool) {
	if taken {
		wait()
	}
}

// wait is until somebody ends it.
func wait() { time.Sleep(time.Hour) }

// forkMany makes processes that each take so much memory, and stay. In a child
// of Go nothing but system calls may be made.
func forkMany(count int, size, how uintptr) (n int, err error) {
	page := uintptr(os.Getpagesize())
	var at unsafe.Pointer
	if size > 0 {
		all := size
		if how == unix.MAP_SHARED {
			all *= uintptr(count) // a part for each; what is private becomes each one's own
		}
		if at, err = unix.MmapPtr(-1, 0, nil, all, unix.PROT_READ|unix.PROT_WRITE, int(how)|unix.MAP_ANONYMOUS); err != nil {
			return 0, err
		}
	}
	for ; n < count; n++ {
		pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return n, errno
		}
		if pid == 0 {
			for off := uintptr(0); off < size; off += page {
				*(*byte)(unsafe.Add(at, off)) = 1
			}
			hour := unix.Timespec{Sec: 3600}
			for {
				syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&hour)), 0, 0)
			}
		}
		if how == unix.MAP_SHARED {
			at = unsafe.Add(at, size)
		}
	}
	return n, nil
}

// fill writes files of a megabyte until it is refused or has enough.
func fill(dir string, most int64) (n int64, err error) {
	chunk := bytes.Repeat([]byte("latchkey"), 8<<10)
	for i := 0; n < most; i++ {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("attack-%d", i)))
		if err != nil {
			return n, err
		}
		for range 16 {
			written, err := f.Write(chunk)
			n += int64(written)
			if err != nil {
				f.Close()
				return n, err
			}
		}
		f.Close()
	}
	return n, nil
}

// fillSockets makes pairs, and sends until each is full.
func fillSockets(count int) (n int, err error) {
	chunk := make([]byte, 64<<10)
	for ; n < count; n += 2 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return n, err
		}
		for _, fd := range pair {
			for {
				if _, err := unix.Write(fd, chunk); err != nil {
					break
				}
			}
		}
	}
	return n, nil
}

func flood(f *os.File, most int64) {
	chunk := bytes.Repeat([]byte("\x1b[31mno\x00ise\n"), 4<<10)
	for n := int64(0); n < most; n += int64(len(chunk)) {
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}
