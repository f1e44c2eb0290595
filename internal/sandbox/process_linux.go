package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a started sandbox, whatever the driver.
type process struct {
	cmd     *exec.Cmd
	in      *os.File
	out     *os.File
	err     *tail
	bounds  *bounds
	group   *cgroup
	cleanup []func()
	alone   bool     // what was started is the first process of the namespace
	control *os.File // asks the inner helper to end the tenant's process; or nil
	done    chan struct{}
	exit    Exit

	mu     sync.Mutex
	root   int // the pid, on the host, of the first process inside
	rootFD int // a pidfd of it, or -1
}

// launch is what a driver wants started.
type launch struct {
	stage   stageSpec
	inside  insideSpec
	files   []*os.File // from firstFD on; closed here
	group   *cgroup
	bounds  *bounds
	timeout time.Duration
	cleanup []func() // in order, also when the start fails
}

// start runs the helper and waits until the tenant's program has begun.
func start(ctx context.Context, l launch) (_ *process, err error) {
	p := &process{group: l.group, bounds: l.bounds, cleanup: l.cleanup, done: make(chan struct{}), rootFD: -1}
	var mine, theirs []*os.File
	defer func() {
		closeAll(theirs)
		closeAll(l.files)
		if err != nil && p.cmd == nil {
			closeAll(mine)
			p.clean()
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	inR, inW := pipe()
	outR, outW := pipe()
	errR, errW := pipe()
	statusR, statusW := pipe()
	readyR, readyW := pipe()
	mine = []*os.File{inW, outR, errR, statusR, readyR}
	theirs = []*os.File{inR, outW, errW, statusW, readyW}
	if err != nil {
		return nil, err
	}
	if l.inside.Control != 0 {
		r, w := pipe()
		if err != nil {
			return nil, err
		}
		p.control, l.files = w, append([]*os.File{r}, l.files...)
		mine = append(mine, w)
	}
	stage, err := specFile(l.stage)
	if err != nil {
		return nil, err
	}
	theirs = append(theirs, stage)
	inside, err := specFile(l.inside)
	if err != nil {
		return nil, err
	}
	theirs = append(theirs, inside)

	cmd := exec.Command("/proc/self/exe", helperWord, "stage")
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, errW
	cmd.ExtraFiles = append([]*os.File{stage, inside, statusW, readyW}, l.files...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if len(l.stage.Binds) > 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
	}
	if l.stage.Alone {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWPID
		p.alone = true
	}
	if l.group != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, l.group.fd()
	}
	p.in, p.out, p.err = inW, outR, readTail(errR)
	if err := p.run(cmd); err != nil {
		return nil, err
	}
	closeAll(theirs)
	theirs = nil
	err = p.awaitReady(ctx, statusR, readyR, l.timeout)
	// To its end: who reports the exit and finds nobody reading dies of that.
	go func() {
		defer statusR.Close()
		_, _ = io.Copy(io.Discard, statusR)
	}()
	if err != nil {
		p.kill()
		<-p.done
		p.in.Close()
		p.out.Close()
		return nil, err
	}
	return p, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// run starts the command and waits for it, both on one thread that does
// nothing else: the kernel kills the sandbox when that thread is gone, not when
// the worker is.
func (p *process) run(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.cmd = cmd
		}
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait()
		p.ended()
	}()
	return <-started
}

// awaitReady reads what the two stages report.
func (p *process) awaitReady(ctx context.Context, status, ready *os.File, timeout time.Duration) error {
	defer ready.Close()
	deadline := time.Now().Add(timeout)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	_ = status.SetReadDeadline(deadline)
	_ = ready.SetReadDeadline(deadline)
	stop := context.AfterFunc(ctx, func() {
		_ = status.SetReadDeadline(time.Unix(1, 0))
		_ = ready.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()

	said := bufio.NewReader(io.LimitReader(status, 64<<10))
	root := 0
	if p.alone {
		root = p.cmd.Process.Pid
		p.rooted(root)
	}
	for root == 0 {
		line, err := said.ReadBytes('\n')
		if err != nil {
			return p.notStarted(ctx, err)
		}
		var report struct {
			Child int `json:"child-pid"`
		}
		if json.Unmarshal(line, &report) == nil {
			root = report.Child
		}
		if root != 0 {
			p.rooted(root)
		}
	}
	line, err := bufio.NewReader(io.LimitReader(ready, 4<<10)).ReadString('\n')
	if err != nil {
		return p.notStarted(ctx, err)
	}
	if line = strings.TrimSpace(line); line != readyWord {
		return errors.New(printable(line))
	}
	if !stop() {
		return fmt.Errorf("starting the sandbox: %w", context.Cause(ctx))
	}
	_ = status.SetReadDeadline(time.Time{})
	p.bounds.begin(p.root, p.kill)
	return nil
}

func (p *process) rooted(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.root = pid
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		p.rootFD = fd
	}
}

func (p *process) notStarted(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("starting the sandbox: %w", context.Cause(ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the sandbox did not start in time")
	}
	p.kill()
	<-p.done
	return fmt.Errorf("the sandbox ended before it began (exit code %d): %s", p.exit.Code, p.exit.Stderr)
}

// ended gathers how it went, once nothing of it is left.
func (p *process) ended() {
	state := p.cmd.ProcessState
	p.exit.Code = state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		p.exit.Code = 128 + int(status.Signal())
	}
	// Inside, a signal is told as 128 and its number.
	if n := p.exit.Code - 128; n > 0 && n < 65 {
		p.exit.Signal = unix.SignalName(syscall.Signal(n))
	}
	p.kill() // nothing but what the kernel is about to end anyway
	select {
	case <-p.err.done:
	case <-time.After(time.Second):
	}
	p.exit.Stderr = p.err.String()
	p.bounds.end(&p.exit)
	if p.group != nil {
		p.group.end(&p.exit)
	}
	p.clean()
	if p.control != nil {
		p.control.Close()
	}
	p.mu.Lock()
	if p.rootFD >= 0 {
		unix.Close(p.rootFD)
		p.rootFD = -1
	}
	p.mu.Unlock()
	close(p.done)
}

func (p *process) clean() {
	for _, f := range p.cleanup {
		f()
	}
	p.cleanup = nil
}

// kill ends all of it at once: with the first process of a pid namespace every
// other one goes.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.group != nil {
		p.group.kill()
	}
	if p.rootFD >= 0 {
		_ = unix.PidfdSendSignal(p.rootFD, unix.SIGKILL, nil, 0)
	}
	_ = p.cmd.Process.Kill()
}

func (p *process) Stdio() (io.ReadCloser, io.WriteCloser) { return p.out, p.in }

func (p *process) Stats() Stats {
	select {
	case <-p.done:
		return Stats{}
	default:
	}
	if p.group != nil {
		return p.group.stats()
	}
	return p.bounds.stats()
}

func (p *process) Wait() Exit {
	<-p.done
	return p.exit
}

func (p *process) Stop(grace time.Duration) {
	p.in.Close()
	if p.within(grace / 2) {
		return
	}
	p.terminate()
	if p.within(grace - grace/2) {
		return
	}
	p.kill()
	<-p.done
}

func (p *process) within(d time.Duration) bool {
	if d <= 0 {
		d = time.Millisecond
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}

// terminate sends SIGTERM to the tenant's first process: what the sandbox's own
// first process has as its child, as long as it is that.
func (p *process) terminate() {
	if p.control != nil {
		_, _ = p.control.Write([]byte{1})
		return
	}
	for _, pid := range children(p.root) {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if parentOf(pid) == p.root {
			_ = unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)
		}
		unix.Close(fd)
	}
}

// specFile is a file in memory.
func specFile(v any) (*os.File, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return memoryFile("spec", b)
}

func memoryFile(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
