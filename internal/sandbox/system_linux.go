package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// system is what of the host is shown to every sandbox: programs and libraries,
// and nothing of its settings. links are path and target.
func system() (links [][2]string, paths []string) {
	for _, path := range []string{
		"/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/share", "/usr/local/bin", "/usr/local/lib", "/usr/local/share",
		"/bin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache",
	} {
		if to, err := os.Readlink(path); err == nil {
			links = append(links, [2]string{path, to})
		} else if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return links, paths
}

// settings are the few files of /etc that programs ask for.
func settings(uid int) [][2]string {
	return [][2]string{
		{"/etc/passwd", fmt.Sprintf("mcp:x:%d:%d::/tmp/home:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n", uid, uid)},
		{"/etc/group", fmt.Sprintf("mcp:x:%d:\nnogroup:x:65534:\n", uid)},
		{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
		{"/etc/resolv.conf", "# no names are resolved in here: the egress proxy does\n"},
		{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"},
	}
}

// certificateBundle is where this system keeps the authorities that it trusts.
func certificateBundle() string {
	for _, path := range []string{certificates, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
	}
	return ""
}

// limitsInside are set in the sandbox, where a count of processes is one of its
// own user namespace.
func limitsInside(l Limits, counted bool) []rlimit {
	all := []rlimit{
		{syscall.RLIMIT_NOFILE, uint64(l.OpenFiles)},
		{syscall.RLIMIT_CORE, 0},
		{unix.RLIMIT_MEMLOCK, 8 << 20},
		{unix.RLIMIT_MSGQUEUE, 64 << 10},
		{unix.RLIMIT_SIGPENDING, 1024},
		{syscall.RLIMIT_FSIZE, uint64(max(l.StateBytes, l.TmpBytes))},
	}
	if !counted {
		all = append(all,
			// As many as it may have, and its own wrapping.
			rlimit{unix.RLIMIT_NPROC, uint64(l.Pids + 2)},
			// Of each process, what it could write to; threads' stacks count whole.
			rlimit{syscall.RLIMIT_DATA, uint64(l.MemoryBytes + dataSlack)})
	}
	return all
}

// dataSlack is for stacks that are reserved and not used: 8 MB each thread.
const dataSlack = 128 << 20
