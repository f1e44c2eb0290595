//go:build !linux

package embedded

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Elsewhere than on Linux a process cannot ask to be told of its parent's
// death; an orphan is stopped at the next start instead.
func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}

// runsWith reports whether process pid lives and has mark in its command line.
func runsWith(pid int, mark string) bool {
	out, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), mark)
}
