package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"latchkey/internal/secret"
)

// File descriptors that both helpers find open.
const (
	specFD   = 3 // a stageSpec
	insideFD = 4 // an insideSpec
	statusFD = 5 // what bubblewrap reports
	readyFD  = 6 // the inner helper's one line
	firstFD  = 7 // the driver's own
)

var helperCalled bool

// Helper must be the first statement of main in a program that opens a driver,
// and of TestMain in tests that do: started by the driver, it becomes the
// helper and does not return.
func Helper() {
	helperCalled = true
	if len(os.Args) < 3 || os.Args[1] != helperWord {
		return
	}
	var err error
	switch os.Args[2] {
	case "stage":
		err = runStage()
	case "attack":
		err = attackCommand(os.Args[3:])
	case "inside":
		err = runInside()
	default:
		err = fmt.Errorf("there is no %.20q", os.Args[2])
	}
	fmt.Fprintln(os.Stderr, "sandbox:", err)
	os.Exit(126)
}

// stageSpec is what the outer helper does.
type stageSpec struct {
	UID   int           // 0: stays who it is
	Binds []string      // shown at Dir/0, Dir/1, … to the UID, for which their folders may be closed
	Files []secret.Text // in memory, as Dir/f0, Dir/f1, …
	Dir   string
	Alone bool   // it is the first process of a pid namespace
	NProc uint64 // of the user; 0: as it is
	Exec  string
	Args  []string
	Env   []string
}

const stateFolder = "state" // in the stage, for the driver's program to write to

func runStage() error {
	runtime.LockOSThread() // the signal at the parent's death belongs to the thread
	var s stageSpec
	if err := readSpec(specFD, &s); err != nil {
		return err
	}
	// Before the host's memory runs out, this goes.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	if len(s.Binds) > 0 {
		if err := s.gather(); err != nil {
			return err
		}
	}
	if s.UID != 0 {
		if err := dropTo(s.UID); err != nil {
			return fmt.Errorf("becoming user %d: %w", s.UID, err)
		}
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	// It may have died before the kernel was asked to tell.
	if gone, err := readerIsGone(statusFD); err != nil || gone {
		return errors.Join(errors.New("the worker is gone"), err)
	}
	if s.NProc > 0 {
		if err := syscall.Setrlimit(unix.RLIMIT_NPROC, &syscall.Rlimit{Cur: s.NProc, Max: s.NProc}); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w", s.Exec, syscall.Exec(s.Exec, append([]string{s.Exec}, s.Args...), s.Env))
}

// readerIsGone asks of the writing end of a pipe.
func readerIsGone(fd int32) (bool, error) {
	for {
		pipe := []unix.PollFd{{Fd: fd}}
		n, err := unix.Poll(pipe, 0)
		if errors.Is(err, unix.EINTR) { // a signal of Go's own scheduler
			continue
		}
		return n > 0 && pipe[0].Revents&unix.POLLERR != 0, err
	}
}

// gather brings mounts together in a folder that every account may enter. It is
// in a mount namespace of its own, in which it hides whatever the folder has.
func (s *stageSpec) gather() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	var opened []int
	for _, source := range s.Binds {
		fd, err := unix.Open(source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		opened = append(opened, fd)
	}
	if err := unix.Mount("stage", s.Dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=4m,mode=0755"); err != nil {
		return fmt.Errorf("a tmpfs on %s: %w", s.Dir, err)
	}
	if s.Alone {
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("/proc: %w", err)
		}
	}
	for i, fd := range opened {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		target := filepath.Join(s.Dir, strconv.Itoa(i))
		var err error
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = os.Mkdir(target, 0o755)
		} else {
			err = os.WriteFile(target, nil, 0o644)
		}
		if err == nil {
			err = unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND|unix.MS_REC, "")
		}
		if err != nil {
			return fmt.Errorf("binding %s: %w", s.Binds[i], err)
		}
		unix.Close(fd)
	}
	for i, content := range s.Files {
		name := filepath.Join(s.Dir, "f"+strconv.Itoa(i))
		if err := os.WriteFile(name, []byte(content.Reveal()), 0o400); err != nil {
			return err
		}
		if err := os.Chown(name, s.UID, s.UID); err != nil {
			return err
		}
	}
	own := filepath.Join(s.Dir, stateFolder)
	if err := os.Mkdir(own, 0o700); err != nil {
		return err
	}
	return os.Chown(own, s.UID, s.UID)
}

func dropTo(uid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setresgid(uid, uid, uid); err != nil {
		return err
	}
	return syscall.Setresuid(uid, uid, uid)
}

// insideSpec is what the inner helper does and the process that it becomes.
type insideSpec struct {
	Argv, Env []string
	Dir       string
	Limits    []rlimit
	Nice      int
	Proxy     string // where the egress socket is; empty: no network
	Control   int    // a descriptor: a byte there asks the process to end; 0: none
}

type rlimit struct {
	Resource int
	Max      uint64
}

func runInside() error {
	runtime.LockOSThread()
	var s insideSpec
	if err := readSpec(insideFD, &s); err != nil {
		return err
	}
	// Whatever else came through is nobody's business from here on.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	ready := os.NewFile(readyFD, "ready")
	path, err := prepare(&s)
	if err != nil {
		fmt.Fprintf(ready, "%s\n", err)
		return err
	}
	if s.Proxy != "" || s.Control != 0 {
		return runShim(s, path, ready)
	}
	fmt.Fprintln(ready, readyWord)
	return fmt.Errorf("%s: %w", s.Argv[0], syscall.Exec(path, s.Argv, s.Env))
}

const readyWord = "ready"

// prepare sets limits and finds the program.
func prepare(s *insideSpec) (path string, err error) {
	_ = os.Mkdir("/tmp/home", 0o700)
	if s.Dir != "" {
		if err := os.Chdir(s.Dir); err != nil {
			return "", fmt.Errorf("working folder: %w", err)
		}
	}
	for _, e := range s.Env {
		if value, ok := bytes.CutPrefix([]byte(e), []byte("PATH=")); ok {
			os.Setenv("PATH", string(value)) // for the look-up
		}
	}
	if path, err = exec.LookPath(s.Argv[0]); err != nil {
		return "", fmt.Errorf("command: %w", err)
	}
	if s.Nice != 0 {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, s.Nice)
	}
	for _, l := range s.Limits {
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: l.Max, Max: l.Max}); err != nil {
			return "", fmt.Errorf("limit %d: %w", l.Resource, err)
		}
	}
	return path, nil
}

// readSpec reads what stands in a memory file, and empties it.
func readSpec(fd int, into any) error {
	f := os.NewFile(uintptr(fd), "spec")
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 8<<20))
	if err != nil {
		return fmt.Errorf("the helper is for the sandbox's driver alone: %w", err)
	}
	_ = f.Truncate(0)
	return json.Unmarshal(b, into)
}
