package embedded

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
)

func setDeathSignal(a *syscall.SysProcAttr, s syscall.Signal) { a.Pdeathsig = s }

// runsWith reports whether process pid lives and has mark in its command line.
// A process that has ended but was not yet waited for has an empty one.
func runsWith(pid int, mark string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(b) > 0 && strings.Contains(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})), mark)
}
