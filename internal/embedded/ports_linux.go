package embedded

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portHolder finds who listens on a TCP port: the socket's inode from the
// kernel's table, then the process that has it open. Processes of others are
// hidden from an ordinary account; then the answer is 0.
func portHolder(port int) (name string, pid int) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeners(table, port, sockets)
	}
	if len(sockets) == 0 {
		return "", 0
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && sockets[link] {
			pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
			return processName(pid), pid
		}
	}
	return "", 0
}

// listeners adds "socket:[inode]" for each socket in table that listens on port.
func listeners(table string, port int, found map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close()
	suffix := fmt.Sprintf(":%04X", port)
	for s := bufio.NewScanner(f); s.Scan(); {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		col := strings.Fields(s.Text())
		if len(col) > 9 && strings.HasSuffix(col[1], suffix) && col[3] == "0A" /* LISTEN */ {
			found["socket:["+col[9]+"]"] = true
		}
	}
}

func processName(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
