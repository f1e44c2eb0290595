package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// proxyAddress is where HTTP clients inside find the way out.
const proxyAddress = "127.0.0.1:3128"

// maxShimConns bounds what the shim holds at once; the proxy outside has a
// bound of its own, for who goes around the shim.
const maxShimConns = 128

// runShim forwards connections to the egress socket, if there is one, and has
// the tenant's process as its child, which has standard input and output to
// itself. It ends as the child does.
func runShim(s insideSpec, path string, ready *os.File) error {
	if s.Proxy != "" {
		l, err := net.Listen("tcp", proxyAddress)
		if err != nil {
			fmt.Fprintf(ready, "the egress proxy's address: %s\n", err)
			return err
		}
		go forwardAll(l, s.Proxy)
	}
	cmd := &exec.Cmd{Path: path, Args: s.Argv, Env: s.Env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(ready, "command: %s\n", err)
		return err
	}
	fmt.Fprintln(ready, readyWord)
	ready.Close()
	os.Stdin.Close() // else the child's end of input would never be seen by who writes
	go func() {
		for sig := range signals {
			_ = cmd.Process.Signal(sig)
		}
	}()
	if s.Control != 0 {
		go obey(s.Control, cmd.Process)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		os.Exit(128 + int(status.Signal()))
	}
	os.Exit(cmd.ProcessState.ExitCode())
	return nil
}

// obey waits to be asked to end the process.
func obey(fd int, p *os.Process) {
	f := os.NewFile(uintptr(fd), "control")
	if n, _ := f.Read(make([]byte, 1)); n == 1 {
		_ = p.Signal(syscall.SIGTERM)
	}
}

func forwardAll(l net.Listener, socket string) {
	slots := make(chan struct{}, maxShimConns)
	for {
		slots <- struct{}{}
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { <-slots }()
			defer conn.Close()
			out, err := net.Dial("unix", socket)
			if err != nil {
				return
			}
			defer out.Close()
			join(conn.(*net.TCPConn), out.(*net.UnixConn))
		}()
	}
}

type halfCloser interface {
	io.ReadWriter
	CloseWrite() error
}

// join copies both ways until both have ended.
func join(a, b halfCloser) {
	var both sync.WaitGroup
	for _, way := range [][2]halfCloser{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].CloseWrite()
		})
	}
	both.Wait()
}
