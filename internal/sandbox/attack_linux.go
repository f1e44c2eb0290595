package sandbox

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// runAttack prints findings, a line each. It does nothing outside of a sandbox.
func runAttack(plan string) error {
	var a Attack
	if err := json.Unmarshal([]byte(plan), &a); err != nil {
		return err
	}
	if exe, err := os.Readlink("/proc/self/exe"); err != nil || exe != ours+"/helper" {
		return errors.New("this is for a sandbox alone")
	}
	out := json.NewEncoder(os.Stdout)
	say := func(rule, try string, held bool, said any) {
		_ = out.Encode(Finding{rule, try, held, fmt.Sprintf("%.200v", said)})
	}
	switch {
	case len(a.Fetch) > 0:
		a.fetch(say)
		return nil
	case a.Hoard != "":
		return a.hoard(say)
	}
	a.files(say)
	a.processes(say)
	a.network(say)
	if !a.OwnKernel {
		a.kernel(say)
	}
	a.rights(say)
	return nil
}

type report func(rule, try string, held bool, said any)

// refused reports an attempt that must fail.
func (r report) refused(rule, try string, err error) {
	if err == nil {
		r(rule, try, false, "it worked")
		return
	}
	r(rule, try, true, err)
}

func (a *Attack) files(say report) {
	paths := append([]string{"/etc/shadow", "/etc/ssh", "/root/.ssh", "/home", "/var", "/boot", "/proc/kcore", "/dev/mem", "/dev/vda", "/dev/sda"}, a.Read...)
	if !a.OwnKernel {
		paths = append(paths, "/sys/kernel", "/sys/class/net", "/sys/fs/cgroup")
	}
	for _, path := range paths {
		for _, by := range []string{"", "/proc/self/root", "/proc/1/root", "/proc/1/cwd", "/../.."} {
			say.refused("files", "read "+by+path, readable(by+path))
		}
	}
	dirs := append([]string{"/", "/usr/bin", "/usr/lib", "/etc", "/run", ours, "/proc/sys/kernel", "/sys"}, a.Write...)
	if !a.OwnKernel { // whose /dev is memory of the sandbox
		dirs = append(dirs, "/dev")
	}
	for _, dir := range dirs {
		say.refused("files", "write to "+dir, os.WriteFile(filepath.Join(dir, "latchkey-attack"), []byte("x"), 0o666))
	}
	files := []string{ours + "/helper", "/usr/bin/env"}
	if !a.OwnKernel { // whose /proc is its own
		files = append(files, "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/sys/fs/cgroup/cgroup.procs")
	}
	for _, path := range files {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		say.refused("files", "open for writing "+path, err)
	}
	say.refused("files", "make a device", unix.Mknod("/tmp/attack-device", unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))))
	a.links(say)
	if canary := a.Canary[0] + a.Canary[1]; canary != "" {
		found := "nowhere"
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		more, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range append(files, more...) {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(canary)) {
				found = f
			}
		}
		say("files", "find the worker's secrets in /proc", found == "nowhere", found)
	}
}

// links tries to get out through links in folders that may be written to.
func (a *Attack) links(say report) {
	dirs := []string{"/tmp"}
	if a.State != "" {
		dirs = append(dirs, a.State)
	}
	for _, dir := range dirs {
		for i, to := range append([]string{"/etc/shadow", "../../../../../../etc/shadow", "/proc/self/root/etc/shadow"}, a.Read...) {
			link := filepath.Join(dir, fmt.Sprintf("attack-link-%d", i))
			if err := os.Symlink(to, link); err != nil {
				say("files", "make a link in "+dir, true, err)
				continue
			}
			say.refused("files", "read a link in "+dir+" to "+to, readable(link))
		}
		for _, from := range a.Read {
			say.refused("files", "a hard link in "+dir+" to "+from, os.Link(from, filepath.Join(dir, "attack-hard")))
		}
	}
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Read(make([]byte, 1)); err != nil && !errors.Is(err, unix.EISDIR) {
		return err
	}
	return nil
}

func (a *Attack) processes(say report) {
	// Itself, the wrapping, and nothing else.
	pids, _ := filepath.Glob("/proc/[0-9]*")
	say("processes", "see others", len(pids) <= 4, fmt.Sprintf("%d are there", len(pids)))
	for _, pid := range a.Signal {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
			continue // a number of the host's, such as 1, that means one of ours in here
		}
		say.refused("processes", "signal process "+strconv.Itoa(pid)+" of the host", unix.Kill(pid, 0))
		_, err := unix.PidfdOpen(pid, 0)
		say.refused("processes", "hold process "+strconv.Itoa(pid)+" of the host", err)
	}
	say.refused("processes", "trace the first process", attempt(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1))
	say.refused("processes", "read the first process's memory", readable("/proc/1/mem"))
	if a.OwnKernel {
		return
	}
	say.refused("processes", "get a higher priority", unix.Setpriority(unix.PRIO_PROCESS, 0, -10))
}

func (a *Attack) network(say report) {
	interfaces, err := net.Interfaces()
	others := ""
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			others += i.Name + " "
		}
	}
	say("network", "interfaces", err == nil && others == "", others)
	dialer := net.Dialer{Timeout: 300 * time.Millisecond}
	for _, to := range append([]string{"169.254.169.254:80", "[fd00:ec2::254]:80", "1.1.1.1:443", "[2606:4700:4700::1111]:443"}, a.Dial...) {
		c, err := dialer.Dial("tcp", to)
		if err == nil {
			c.Close()
		}
		say.refused("network", "tcp to "+to, err)
	}
	for _, to := range []string{"1.1.1.1:53", "[2606:4700:4700::1111]:53", "255.255.255.255:67"} {
		c, err := dialer.Dial("udp", to)
		if err == nil {
			_, err = c.Write([]byte("x"))
			c.Close()
		}
		say.refused("network", "udp to "+to, err)
	}
	_, err = net.LookupHost("example.com")
	say.refused("network", "look up example.com", err)
	for _, name := range a.Abstract {
		c, err := dialer.Dial("unix", "@"+name)
		if err == nil {
			c.Close()
		}
		say.refused("network", "abstract socket of the host", err)
	}
	for _, s := range []struct {
		name                  string
		family, kind, through int
	}{
		{"raw", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, {"packet", unix.AF_PACKET, unix.SOCK_RAW, 0x300}, {"vsock", unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		{"alg", unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, {"netfilter", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, {"bluetooth", unix.AF_BLUETOOTH, unix.SOCK_RAW, 1},
		{"xdp", unix.AF_XDP, unix.SOCK_RAW, 0}, {"can", unix.AF_CAN, unix.SOCK_RAW, 1},
	} {
		fd, err := unix.Socket(s.family, s.kind, s.through)
		if err == nil {
			unix.Close(fd)
		}
		say.refused("network", "a "+s.name+" socket", err)
	}
}

// fetch gets URLs as programs do that follow HTTP_PROXY. What it gets is the
// finding; nothing is judged.
func (a *Attack) fetch(say report) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // of a test's own server
	}}
	for _, url := range a.Fetch {
		answer, err := client.Get(url)
		if err != nil {
			say("egress", url, true, err)
			continue
		}
		b, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
		answer.Body.Close()
		say("egress", url, answer.StatusCode != http.StatusOK, fmt.Sprintf("%d %s", answer.StatusCode, bytes.TrimSpace(b)))
	}
}

// status reads a line of /proc/self/status.
func status(name string) string {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func attackCommand(args []string) error {
	if len(args) != 1 {
		return errors.New("attack needs a plan")
	}
	if err := runAttack(args[0]); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}
