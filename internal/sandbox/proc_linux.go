package sandbox

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
)

// children lists the processes that a process has, as the kernel has them now.
func children(pid int) (all []int) {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return nil
	}
	for _, t := range tasks {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + t.Name() + "/children")
		for f := range bytes.FieldsSeq(b) {
			if n, err := strconv.Atoi(string(f)); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// descendants lists a process and all below it, at most limit.
func descendants(pid, limit int) []int {
	all := []int{pid}
	for i := 0; i < len(all) && len(all) < limit; i++ {
		all = append(all, children(all[i])...)
	}
	return all
}

func parentOf(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name, in brackets, may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// usage of one process.
type usage struct {
	memory  int64 // bytes that cannot be had back: no files' pages; with page tables
	threads int
	ticks   int64 // of CPU, of itself
}

// usageOf looks at one process. Where many map the same memory, each counts its
// share.
func usageOf(pid int, shares bool) (u usage) {
	dir := "/proc/" + strconv.Itoa(pid)
	of := fields(dir+"/status", "RssAnon", "RssShmem", "VmPTE", "Threads")
	u.threads = int(of["Threads"])
	u.memory = (of["RssAnon"] + of["RssShmem"] + of["VmPTE"]) << 10
	if shares {
		if share := fields(dir+"/smaps_rollup", "Pss_Anon", "Pss_Shmem"); len(share) == 2 {
			u.memory = (share["Pss_Anon"] + share["Pss_Shmem"] + of["VmPTE"]) << 10
		}
	}
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u
	}
	if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(f) > 14 {
		for _, s := range f[11:15] { // utime, stime, and of children waited for
			n, _ := strconv.ParseInt(s, 10, 64)
			u.ticks += n
		}
	}
	return u
}

// fields reads numbers of a file of "name: value" lines, without their unit.
func fields(path string, names ...string) map[string]int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	found := map[string]int64{}
	for line := range strings.SplitSeq(string(b), "\n") {
		name, value, _ := strings.Cut(line, ":")
		if !slices.Contains(names, name) {
			continue
		}
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			found[name] = n
		}
	}
	return found
}

// socketsOf counts the sockets of a process's network namespace.
func socketsOf(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/sockstat")
	if err != nil {
		return 0
	}
	rest, ok := bytes.CutPrefix(b, []byte("sockets: used "))
	if !ok {
		return 0
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, _ := strconv.ParseInt(string(line), 10, 64)
	return n
}
