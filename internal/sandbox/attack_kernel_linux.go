package sandbox

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempt makes a system call that must not succeed.
func attempt(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := syscall.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return errno
	}
	if number == unix.SYS_CLONE && r == 0 { // the child of a clone that should not have been
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return nil
}

// kernel tries what ordinary programs never need. EFAULT and EINVAL would mean
// that the kernel looked at the arguments: that it was let through.
func (a *Attack) kernel(say report) {
	text := func(s string) uintptr { b, _ := unix.BytePtrFromString(s); return uintptr(unsafe.Pointer(b)) }
	tmp := text("/tmp")
	for _, c := range []struct {
		try  string
		call uintptr
		args []uintptr
	}{
		{"mount", unix.SYS_MOUNT, []uintptr{text("tmpfs"), tmp, text("tmpfs")}},
		{"umount", unix.SYS_UMOUNT2, []uintptr{text("/proc"), unix.MNT_DETACH}},
		{"pivot_root", unix.SYS_PIVOT_ROOT, []uintptr{tmp, tmp}},
		{"chroot", unix.SYS_CHROOT, []uintptr{tmp}},
		{"open_tree", unix.SYS_OPEN_TREE, []uintptr{^uintptr(99), text("/"), unix.OPEN_TREE_CLONE}},
		{"fsopen", unix.SYS_FSOPEN, []uintptr{text("tmpfs")}},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, nil},
		{"unshare a user namespace", unix.SYS_UNSHARE, []uintptr{unix.CLONE_NEWUSER}},
		{"unshare mounts", unix.SYS_UNSHARE, []uintptr{unix.CLONE_NEWNS}},
		{"clone into a user namespace", unix.SYS_CLONE, []uintptr{unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)}},
		{"clone3", unix.SYS_CLONE3, nil},
		{"setns", unix.SYS_SETNS, []uintptr{0, 0}},
		{"ptrace", unix.SYS_PTRACE, []uintptr{unix.PTRACE_TRACEME}},
		{"process_vm_readv", unix.SYS_PROCESS_VM_READV, []uintptr{uintptr(os.Getpid())}},
		{"pidfd_getfd", unix.SYS_PIDFD_GETFD, nil},
		{"kcmp", unix.SYS_KCMP, nil},
		{"bpf", unix.SYS_BPF, nil},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, nil},
		{"userfaultfd", unix.SYS_USERFAULTFD, []uintptr{1}},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, []uintptr{8}},
		{"io_uring_enter", unix.SYS_IO_URING_ENTER, nil},
		{"keyctl", unix.SYS_KEYCTL, []uintptr{unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2)}},
		{"add_key", unix.SYS_ADD_KEY, nil},
		{"request_key", unix.SYS_REQUEST_KEY, nil},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, nil},
		{"name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, nil},
		{"init_module", unix.SYS_INIT_MODULE, nil},
		{"finit_module", unix.SYS_FINIT_MODULE, nil},
		{"delete_module", unix.SYS_DELETE_MODULE, nil},
		{"kexec_load", unix.SYS_KEXEC_LOAD, nil},
		{"swapon", unix.SYS_SWAPON, nil},
		{"reboot", unix.SYS_REBOOT, nil},
		{"syslog", unix.SYS_SYSLOG, []uintptr{10}},
		{"quotactl", unix.SYS_QUOTACTL, nil},
		{"acct", unix.SYS_ACCT, []uintptr{tmp}},
		{"fanotify_init", unix.SYS_FANOTIFY_INIT, nil},
		{"vmsplice", unix.SYS_VMSPLICE, nil},
		{"memfd_secret", unix.SYS_MEMFD_SECRET, nil},
		{"personality", unix.SYS_PERSONALITY, []uintptr{0x0040000}},
		{"sethostname", unix.SYS_SETHOSTNAME, []uintptr{tmp, 4}},
		{"a call of the future", 700, nil},
	} {
		err := attempt(c.call, c.args...)
		held := err == unix.EPERM || err == unix.ENOSYS
		said := any(err)
		if err == nil {
			said = "it worked"
		}
		say("syscalls", c.try, held, said)
	}
	runtime.KeepAlive(tmp)
	say.refused("syscalls", "become root", attempt(unix.SYS_SETUID, 0))
	say.refused("syscalls", "root's group", attempt(unix.SYS_SETGID, 0))
	if runtime.GOARCH == "amd64" {
		err := attempt(0x40000000+unix.SYS_GETPID, 0)
		say("syscalls", "the x32 way in", err == unix.ENOSYS || err == unix.EPERM, err)
	}
}

// rights looks at what this process could do to the kernel that it has.
func (a *Attack) rights(say report) {
	for _, set := range []string{"CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"} {
		v := status(set)
		say("syscalls", set, strings.Trim(v, "0") == "", v)
	}
	say("syscalls", "no_new_privs", status("NoNewPrivs") == "1", status("NoNewPrivs"))
}
