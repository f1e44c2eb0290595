package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// ChildOptions says what to run and how it ends.
type ChildOptions struct {
	Name string   // what messages call it, such as "Postgres"
	Path string   // the binary
	Args []string // without the binary's own name
	Env  []string // all of it; nil gives the child our own
	Dir  string

	// Log takes standard error, and standard output where Stdout is nil. It is
	// appended to, after being set aside as <Log>.1 past 8 MB.
	Log    string
	Stdout *os.File

	// HoldStdin gives the child a standard input that ends when this process
	// does, for servers that stop at its end.
	HoldStdin bool

	// Credential is the account to run as; nil is our own.
	Credential *syscall.Credential

	// Stop is how the child is asked to end, one step after another. Its first
	// signal is also the one the child gets when this process dies, on Linux.
	// Empty means SIGTERM for ten seconds. SIGKILL to its group always follows.
	Stop []StopStep
}

// StopStep is a signal, and how long it is given to work.
type StopStep struct {
	Signal syscall.Signal
	Wait   time.Duration
}

// Child is a running process that does not outlive this one.
//
// It has a process group of its own: Ctrl-C at a terminal reaches this
// process, which then stops its children in the right order, rather than all
// of them at once.
type Child struct {
	opts     ChildOptions
	cmd      *exec.Cmd
	done     chan struct{}
	err      error     // of Wait; read it after done
	stdin    io.Closer // nil unless held
	stopOnce sync.Once
	stopErr  error
}

// StartChild starts a process and returns as soon as it runs.
func StartChild(o ChildOptions) (*Child, error) {
	if len(o.Stop) == 0 {
		o.Stop = []StopStep{{syscall.SIGTERM, 10 * time.Second}}
	}
	log, err := openLog(o.Log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	defer log.Close() // the child has its own copy

	cmd := exec.Command(o.Path, o.Args...)
	cmd.Env, cmd.Dir = o.Env, o.Dir
	cmd.Stdout, cmd.Stderr = log, log
	if o.Stdout != nil {
		cmd.Stdout = o.Stdout
	}
	c := &Child{opts: o, cmd: cmd, done: make(chan struct{})}
	if o.HoldStdin {
		if c.stdin, err = cmd.StdinPipe(); err != nil {
			return nil, fmt.Errorf("start %s: %w", o.Name, err)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: o.Credential}
	setDeathSignal(cmd.SysProcAttr, o.Stop[0].Signal)

	started := make(chan error)
	go func() {
		// The death signal follows the thread that forked, not the process:
		// this thread must live exactly as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	return c, nil
}

// Pid is the process id of the child.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// Done is closed when the child has ended, for whatever reason.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the child ended. It is nil while it runs and after an exit
// with status zero.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// LogTail returns the last lines of the child's log, for an error message.
func (c *Child) LogTail() string { return tail(c.opts.Log, 12) }

// Stop ends the child and waits for it. It may be called more than once, and
// on a child that has ended by itself. It returns an error only when the child
// had to be killed or could not be.
func (c *Child) Stop() error {
	c.stopOnce.Do(func() { c.stopErr = c.stop() })
	return c.stopErr
}

func (c *Child) stop() error {
	for _, step := range c.opts.Stop {
		if c.ended(0) {
			return nil
		}
		c.cmd.Process.Signal(step.Signal)
		if c.ended(step.Wait) {
			return nil
		}
	}
	syscall.Kill(-c.Pid(), syscall.SIGKILL)
	if c.ended(5 * time.Second) {
		return fmt.Errorf("%s (pid %d) did not stop when asked and was killed; its log is %s", c.opts.Name, c.Pid(), c.opts.Log)
	}
	return fmt.Errorf("%s (pid %d) does not stop, not even when killed; its log is %s", c.opts.Name, c.Pid(), c.opts.Log)
}

func (c *Child) ended(within time.Duration) bool {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-c.done:
		return true
	default:
	}
	select {
	case <-c.done:
		return true
	case <-t.C:
		return false
	}
}

// maxLog is where a log is set aside at the next start.
const maxLog = 8 << 20

func openLog(file string) (*os.File, error) {
	if file == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if st, err := os.Stat(file); err == nil && st.Size() > maxLog {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// stopOrphan ends a process that an earlier run left behind and that is not
// our child. It acts only when the process's command line contains mark, since
// a process id may long belong to somebody else.
func stopOrphan(pid int, mark string, steps []StopStep) (stopped bool, err error) {
	if pid <= 1 || mark == "" || !runsWith(pid, mark) {
		return false, nil
	}
	for _, step := range append(steps, StopStep{syscall.SIGKILL, 5 * time.Second}) {
		if err := syscall.Kill(pid, step.Signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fmt.Errorf("stop process %d, left by an earlier run: %w; run `kill %d`", pid, err, pid)
		}
		for end := time.Now().Add(step.Wait); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if !runsWith(pid, mark) {
				return true, nil
			}
		}
	}
	return false, fmt.Errorf("process %d, left by an earlier run, does not stop; run `kill -9 %d`", pid, pid)
}
